/* SPDX-License-Identifier: Apache-2.0 */
/* Lock: who is the first of a name has its lock, until its key is deleted. */
#include "api/contend.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "proto/lock.pb-c.h"

static void on_locked(struct call *call)
{
    const struct contest *contest = &CONTAINER_OF(call, struct contend_call, call)->contest;
    Etcdserverpb__ResponseHeader header = message_header(call, contest->first_revision);
    V3lockpb__LockResponse answer = V3LOCKPB__LOCK_RESPONSE__INIT;
    answer.header = &header;
    answer.key = message_bytes(contest->key);
    call_answer_message(call, &answer.base);
}

static void rpc_lock_lock(struct call *call, const void *message)
{
    const V3lockpb__LockRequest *request = message;
    struct contest_entry entry = {
        .name = message_view(request->name), .lease = request->lease, .arena = call_arena(call)};
    contend(call, &entry, "mutex: session is expired", on_locked);
}

static void on_unlocked(struct call *call)
{
    struct answer_header header = call_header(call, call->op.result->revision);
    answer_only_header(call_scratch(call), &header);
    call_answer(call);
}

static void rpc_lock_unlock(struct call *call, const void *message)
{
    const V3lockpb__UnlockRequest *request = message;
    struct command command = {.kind = COMMAND_DELETE_RANGE};
    command.delete_range.key = message_view(request->key);
    if (request->key.len == 0) {
        call_fail(call, ERR_KEY_EMPTY);
    } else {
        call_propose(call, &command, on_unlocked);
    }
}

static const struct method rows[] = {
    {
        .path = "/v3lockpb.Lock/Lock",
        .request = &v3lockpb__lock_request__descriptor,
        .state_bytes = sizeof(struct contend_call),
        .loses_codes = true,
        .handle = rpc_lock_lock,
        .closed = contend_closed,
    },
    {
        .path = "/v3lockpb.Lock/Unlock",
        .request = &v3lockpb__unlock_request__descriptor,
        .loses_codes = true,
        .handle = rpc_lock_unlock,
    },
};

const struct method_table rpc_lock = {.rows = rows, .count = ARRAY_LEN(rows)};
