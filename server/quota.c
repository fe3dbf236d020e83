/* SPDX-License-Identifier: Apache-2.0 */
#include "server/quota.h"

#include "server/pending.h"
#include "server/server.h"

#define PUT_COST_BYTES   256 /* beside key and value */
#define LEASE_COST_BYTES 64

/* ---- costs ---- */

size_t quota_put_cost(size_t key_len, size_t value_len)
{
    return PUT_COST_BYTES + key_len + value_len;
}

static size_t txn_cost(const struct command_txn *txn);

static size_t ops_cost(const struct txn_op *ops, size_t count)
{
    size_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT) {
            cost += quota_put_cost(ops[i].put.key.len, ops[i].put.value.len);
        } else if (ops[i].kind == OP_TXN) {
            cost += txn_cost(ops[i].txn);
        }
    }
    return cost;
}

static size_t txn_cost(const struct command_txn *txn)
{
    size_t success = ops_cost(txn->success, txn->success_count);
    size_t failure = ops_cost(txn->failure, txn->failure_count);
    return success > failure ? success : failure;
}

size_t quota_cost(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_PUT:
        return quota_put_cost(command->put.key.len, command->put.value.len);
    case COMMAND_TXN:
        return txn_cost(&command->txn);
    case COMMAND_LEASE_GRANT:
        return LEASE_COST_BYTES;
    default:
        return 0;
    }
}

/* ---- decisions ---- */

bool quota_is_reached(uint64_t limit_bytes, uint64_t size_bytes, size_t cost)
{
    return limit_bytes > 0 && cost > 0 && size_bytes + cost >= limit_bytes;
}

bool quota_is_over(const struct quota *quota, size_t cost)
{
    return quota_is_reached(quota->limit_bytes, store_size_bytes(server_store(quota->server)),
                            cost);
}

/* ---- the alarm ---- */

void quota_init(struct quota *quota, struct server *server, struct pending *pending,
                uint64_t limit_bytes)
{
    *quota = (struct quota){.server = server, .pending = pending, .limit_bytes = limit_bytes};
}

static const struct alarm_set *alarms_of(const struct quota *quota)
{
    return fsm_alarms(server_fsm(quota->server));
}

static void on_raised(struct op *op, enum err status)
{
    struct quota *quota = CONTAINER_OF(op, struct quota, raise);
    (void)status; /* not raised: who is refused next tries again */
    quota->raising = false;
    pending_finish_refused(quota->pending);
}

static void raise_alarm(struct quota *quota)
{
    if (quota->raising) {
        return;
    }
    quota->raising = true;
    struct command command = {
        .kind = COMMAND_ALARM,
        .alarm = {.type = ALARM_NOSPACE, .member_id = server_member_id(quota->server)}};
    server_propose(quota->server, &quota->raise, &command, on_raised);
}

void quota_refuse(struct quota *quota, struct op *op, op_cb cb)
{
    struct alarm own = {.type = ALARM_NOSPACE, .member_id = server_member_id(quota->server)};
    op->cb = cb;
    if (alarm_is_raised(alarms_of(quota), own)) {
        op->pending = false;
        queue_init(&op->link);
        pending_finish(quota->pending, op, ERR_QUOTA);
        return;
    }
    raise_alarm(quota);
    enum err err = pending_add(quota->pending, op, cb);
    if (err != OK) {
        pending_finish(quota->pending, op, err);
    } else {
        op->refused = true;
    }
}

enum err quota_applied(struct quota *quota, const struct command *command)
{
    if (!quota_is_over(quota, quota_cost(command))) {
        return OK;
    }
    raise_alarm(quota); /* it cannot be active yet: COMMAND would not have been applied */
    return ERR_QUOTA;
}

bool quota_defers(struct quota *quota, uint64_t number)
{
    struct op *op = quota->raising ? pending_find(quota->pending, number) : NULL;
    if (op != NULL) {
        op->refused = true;
    }
    return op != NULL;
}
