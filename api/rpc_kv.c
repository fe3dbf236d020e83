/* SPDX-License-Identifier: Apache-2.0 */
/* KV: Put, DeleteRange, Txn, Compact. A write is checked and proposed, and answered when it is
 * applied on this member. A transaction that only reads does not go through the log. */
#include <stdlib.h>

#include "api/call.h"
#include "api/convert.h"
#include "api/decode.h"
#include "base/cleanup.h"
#include "base/limits.h"

static const struct result *result_of(const struct call *call)
{
    return call->op.result;
}

/* ---- Put ---- */

static void on_put_applied(struct call *call)
{
    struct answer_header header = call_header(call, result_of(call)->revision);
    answer_put(call_scratch(call), &header, result_of(call)->prev);
    call_answer(call);
}

static void rpc_kv_put(struct call *call, const void *request)
{
    struct command command = {.kind = COMMAND_PUT};
    enum err err = convert_put(request, &command.put);
    if (err != OK) {
        call_refuse(call, err, convert_put_cost(request));
        return;
    }
    call_propose(call, &command, on_put_applied);
}

/* ---- DeleteRange ---- */

static void on_delete_range_applied(struct call *call)
{
    const struct result *result = result_of(call);
    struct answer_header header = call_header(call, result->revision);
    answer_delete_range(call_scratch(call), &header, result->delete_range.deleted,
                        &result->delete_range.prevs);
    call_answer(call);
}

static void rpc_kv_delete_range(struct call *call, const void *request)
{
    struct command command = {.kind = COMMAND_DELETE_RANGE};
    enum err err = convert_delete_range(request, &command.delete_range);
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    call_propose(call, &command, on_delete_range_applied);
}

/* ---- Txn ---- */

/* What a read-only one needs: txn ─▶ plan ─▶ parts, the plan's ranges. */
struct txn_call {
    struct call call;
    struct command_txn txn;
    struct txn_plan plan;
    struct range_part *parts;
};

/* How many operations the flag allows is asked later, as etcd does: after the quota. */
static enum err check_txn(const struct call *call, struct bytes message)
{
    (void)call;
    return decode_check_txn(message, TXN_OPS_MAX);
}

static void on_txn_applied(struct call *call)
{
    struct answer_header header = call_header(call, result_of(call)->revision);
    answer_txn(call_scratch(call), &header, &result_of(call)->txn);
    call_answer(call);
}

static struct txn_call *txn_call_of(struct call *call)
{
    return CONTAINER_OF(call, struct txn_call, call);
}

static void drop_plan(struct call *call)
{
    struct txn_call *state = txn_call_of(call);
    txn_plan_fini(&state->plan);
    free(state->parts);
    state->parts = NULL;
}

static enum err make_plan(struct txn_call *state)
{
    struct txn_plan *plan = &state->plan;
    TRY(fsm_plan_txn(server_fsm(state->call.server), &state->txn, plan));
    state->parts = calloc(plan->read_count + 1, sizeof *state->parts);
    if (state->parts == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < plan->read_count; i++) {
        state->parts[i] =
            (struct range_part){.request.query = *plan->reads[i].query, .ret = plan->reads[i].ret};
    }
    return OK;
}

/* Not if the ranges had to wait until the database was replaced by a newer one. */
static bool is_of_one_moment(const struct txn_plan *plan)
{
    for (size_t i = 0; i < plan->read_count; i++) {
        if (plan->reads[i].ret->revision != plan->revision) {
            return false;
        }
    }
    return true;
}

static void read_txn(struct call *call);

static void on_txn_read(struct call *call)
{
    struct txn_plan *plan = &txn_call_of(call)->plan;
    if (is_of_one_moment(plan)) {
        call_answer_txn(call, plan->revision, &plan->result);
    } else {
        drop_plan(call);
        read_txn(call);
    }
}

static void read_txn(struct call *call)
{
    struct txn_call *state = txn_call_of(call);
    enum err err = make_plan(state);
    if (err != OK) {
        call_fail(call, err);
    } else {
        call_ranges(call, state->parts, state->plan.read_count, on_txn_read);
    }
}

static void rpc_kv_txn(struct call *call, const void *request)
{
    struct command command = {.kind = COMMAND_TXN};
    enum err err =
        convert_txn(request, server_txn_ops_max(call->server), call_arena(call), &command.txn);
    if (err != OK) {
        call_refuse(call, err, convert_txn_cost(request));
        return;
    }
    if (!txn_is_read_only(&command.txn)) {
        call_propose(call, &command, on_txn_applied);
        return;
    }
    txn_call_of(call)->txn = command.txn;
    if (txn_is_serializable(request)) {
        read_txn(call);
    } else {
        call_read(call, read_txn);
    }
}

/* ---- Compact ---- */

struct compact_call {
    struct call call;
    int64_t revision; /* of the answer's header */
    bool physical;
};

static void answer_compact(struct call *call)
{
    struct compact_call *state = CONTAINER_OF(call, struct compact_call, call);
    struct answer_header header = call_header(call, state->revision);
    answer_only_header(call_scratch(call), &header);
    call_answer(call);
}

static void on_compact_applied(struct call *call)
{
    struct compact_call *state = CONTAINER_OF(call, struct compact_call, call);
    state->revision = result_of(call)->revision;
    if (state->physical) {
        call_compaction(call, answer_compact);
    } else {
        answer_compact(call);
    }
}

static void rpc_kv_compact(struct call *call, const void *request)
{
    struct compact_call *state = CONTAINER_OF(call, struct compact_call, call);
    struct command command = {.kind = COMMAND_COMPACT};
    convert_compact(request, &command.compact);
    state->physical = command.compact.physical;
    call_propose(call, &command, on_compact_applied);
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.KV/Put",
        .request = &etcdserverpb__put_request__descriptor,
        .handle = rpc_kv_put,
    },
    {
        .path = "/etcdserverpb.KV/DeleteRange",
        .request = &etcdserverpb__delete_range_request__descriptor,
        .handle = rpc_kv_delete_range,
    },
    {
        .path = "/etcdserverpb.KV/Txn",
        .request = &etcdserverpb__txn_request__descriptor,
        .state_bytes = sizeof(struct txn_call),
        .check = check_txn,
        .handle = rpc_kv_txn,
        .release = drop_plan,
    },
    {
        .path = "/etcdserverpb.KV/Compact",
        .request = &etcdserverpb__compaction_request__descriptor,
        .state_bytes = sizeof(struct compact_call),
        .handle = rpc_kv_compact,
    },
};

const struct method_table rpc_kv = {.rows = rows, .count = ARRAY_LEN(rows)};
