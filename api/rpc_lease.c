/* SPDX-License-Identifier: Apache-2.0 */
/* Lease: grants and revocations go through the log; renewals and what is left of a lease are asked
 * of the leader's clock; the keys and the list of leases are this member's. */
#include "api/endless.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "base/limits.h"

static struct leases *leases_of(const struct call *call)
{
    return fsm_leases(server_fsm(call->server));
}

/* ---- LeaseGrant ---- */

struct grant_call {
    struct call call;
    struct command_lease_grant grant;
};

static void on_granted(struct call *call)
{
    struct grant_call *state = CONTAINER_OF(call, struct grant_call, call);
    Etcdserverpb__ResponseHeader header = message_header(call, call->op.result->revision);
    Etcdserverpb__LeaseGrantResponse answer = ETCDSERVERPB__LEASE_GRANT_RESPONSE__INIT;
    answer.header = &header;
    answer.id = state->grant.id;
    answer.ttl = state->grant.ttl_s;
    call_answer_message(call, &answer.base);
}

static void rpc_lease_grant(struct call *call, const void *message)
{
    const Etcdserverpb__LeaseGrantRequest *request = message;
    struct grant_call *state = CONTAINER_OF(call, struct grant_call, call);
    int64_t ttl_min_s = server_lease_ttl_min(call->server);
    state->grant.id = request->id != 0 ? request->id : server_new_lease_id(call->server);
    state->grant.ttl_s = request->ttl > ttl_min_s ? request->ttl : ttl_min_s;
    struct command command = {.kind = COMMAND_LEASE_GRANT, .lease_grant = state->grant};
    call_propose(call, &command, on_granted);
}

/* ---- LeaseRevoke ---- */

static void on_revoked(struct call *call)
{
    struct answer_header header = call_header(call, call->op.result->revision);
    answer_only_header(call_scratch(call), &header);
    call_answer(call);
}

static void rpc_lease_revoke(struct call *call, const void *message)
{
    const Etcdserverpb__LeaseRevokeRequest *request = message;
    int64_t id = request->id;
    struct command command = {.kind = COMMAND_LEASE_REVOKE,
                              .lease_revoke = {.ids = &id, .count = 1}};
    call_propose(call, &command, on_revoked);
}

/* ---- LeaseKeepAlive ----
 *
 *   messages ─▶ ids that came ─ when nothing is asked ─▶ ids that are asked ─▶ answers, in order
 */

struct keep_alive_call {
    struct call call;
    struct endless endless;
    struct buf came; /* int64_t each, as the next two */
    struct buf asked;
    struct buf answers;
    int64_t revision; /* before the renewal, as etcd says it */
    bool half_closed;
};

static struct keep_alive_call *keep_alive_of(struct call *call)
{
    return CONTAINER_OF(call, struct keep_alive_call, call);
}

static void renew_next(struct call *call);

static void on_renewed(struct call *call)
{
    struct keep_alive_call *state = keep_alive_of(call);
    struct answer_header header = call_header(call, state->revision);
    for (size_t i = 0; i < call->lease.count; i++) {
        struct buf *scratch = call_scratch(call);
        answer_lease_keep_alive(scratch, &header, call->lease.ids[i], call->lease.answers[i]);
        if (!buf_ok(scratch)) {
            call_fail(call, ERR_NOMEM);
            return;
        }
        grpc_call_send(call_grpc(call), buf_bytes(scratch));
    }
    if (!grpc_call_is_over(call_grpc(call))) {
        renew_next(call);
    }
}

static void renew_next(struct call *call)
{
    struct keep_alive_call *state = keep_alive_of(call);
    if (state->came.len == 0) {
        if (state->half_closed) {
            grpc_call_finish(call_grpc(call), GRPC_OK, NULL);
        }
        return;
    }
    struct buf empty = state->asked;
    state->asked = state->came;
    state->came = empty;
    buf_clear(&state->came);
    buf_clear(&state->answers);
    if (buf_extend(&state->answers, state->asked.len) == NULL) {
        call_fail(call, ERR_NOMEM);
        return;
    }
    state->revision = store_revision(server_store(call->server));
    call->lease.ids = (const int64_t *)(const void *)state->asked.data;
    call->lease.answers = (int64_t *)(void *)state->answers.data;
    call->lease.count = state->asked.len / sizeof(int64_t);
    call_lease(call, true, on_renewed);
}

static void rpc_lease_keep_alive(struct call *call, const void *message)
{
    const Etcdserverpb__LeaseKeepAliveRequest *request = message;
    struct keep_alive_call *state = keep_alive_of(call);
    if (state->came.len >= LEASE_ASK_MAX * sizeof request->id) {
        call_fail(call, ERR_TOO_MANY_REQUESTS);
        return;
    }
    buf_append(&state->came, &request->id, sizeof request->id);
    if (!buf_ok(&state->came)) {
        call_fail(call, ERR_NOMEM);
    } else if (call->wait == CALL_IDLE) {
        renew_next(call);
    }
}

static void on_half_close(struct call *call)
{
    keep_alive_of(call)->half_closed = true;
    if (call->wait == CALL_IDLE) {
        renew_next(call);
    }
}

static void end_keep_alive(struct call *call, enum err why)
{
    call_fail(call, why);
    call_closed(call); /* a renewal is not waited for */
}

static void open_keep_alive(struct call *call)
{
    (void)endless_open(&keep_alive_of(call)->endless, call, end_keep_alive);
}

static void release_keep_alive(struct call *call)
{
    struct keep_alive_call *state = keep_alive_of(call);
    endless_close(&state->endless);
    buf_fini(&state->came);
    buf_fini(&state->asked);
    buf_fini(&state->answers);
}

/* ---- LeaseTimeToLive ---- */

struct time_to_live_call {
    struct call call;
    int64_t id;
    int64_t remaining_ms;
    bool keys;
};

/* What the leader said, and what this member has applied since it did. */
static void answer_time_to_live(struct call *call)
{
    struct time_to_live_call *state = CONTAINER_OF(call, struct time_to_live_call, call);
    const struct lease *lease = leases_find(leases_of(call), state->id);
    struct answer_header header = call_header(call, store_revision(server_store(call->server)));
    if (lease == NULL || state->remaining_ms == LEASE_GONE) {
        answer_lease_time_to_live(call_scratch(call), &header, state->id, -1, 0, NULL);
    } else {
        answer_lease_time_to_live(call_scratch(call), &header, state->id,
                                  state->remaining_ms / 1000, lease->ttl_s,
                                  state->keys ? lease : NULL);
    }
    call_answer(call);
}

static void on_remaining(struct call *call)
{
    call_read(call, answer_time_to_live);
}

static void rpc_lease_time_to_live(struct call *call, const void *message)
{
    const Etcdserverpb__LeaseTimeToLiveRequest *request = message;
    struct time_to_live_call *state = CONTAINER_OF(call, struct time_to_live_call, call);
    state->id = request->id;
    state->keys = request->keys != 0;
    call->lease.ids = &state->id;
    call->lease.answers = &state->remaining_ms;
    call->lease.count = 1;
    call_lease(call, false, on_remaining);
}

/* ---- LeaseLeases ---- */

#define LEASES_A_TURN 4096u

struct leases_call {
    struct call call;
    struct lease_walk walk;
    bool walking;
    struct buf answer; /* the scratch is everybody's, and this takes turns */
};

static struct leases_call *leases_call_of(struct call *call)
{
    return CONTAINER_OF(call, struct leases_call, call);
}

static void end_walk(struct call *call)
{
    struct leases_call *state = leases_call_of(call);
    if (state->walking) {
        lease_walk_end(&state->walk);
        state->walking = false;
    }
}

static void list_more(struct call *call)
{
    struct leases_call *state = leases_call_of(call);
    struct lease *lease = NULL;
    for (size_t i = 0; i < LEASES_A_TURN; i++) {
        lease = lease_walk_next(&state->walk);
        if (lease == NULL) {
            break;
        }
        answer_lease_status(&state->answer, lease->id);
    }
    if (lease != NULL) {
        call_writable(call, list_more);
        return;
    }
    end_walk(call);
    if (buf_ok(&state->answer)) {
        grpc_call_answer(call_grpc(call), buf_bytes(&state->answer));
    } else {
        call_fail(call, ERR_NOMEM);
    }
}

static void rpc_lease_leases(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    struct leases_call *state = leases_call_of(call);
    struct answer_header header = call_header(call, store_revision(server_store(call->server)));
    answer_only_header(&state->answer, &header);
    lease_walk_begin(&state->walk, leases_of(call));
    state->walking = true;
    list_more(call);
}

static void release_leases(struct call *call)
{
    buf_fini(&leases_call_of(call)->answer);
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Lease/LeaseGrant",
        .request = &etcdserverpb__lease_grant_request__descriptor,
        .state_bytes = sizeof(struct grant_call),
        .handle = rpc_lease_grant,
    },
    {
        .path = "/etcdserverpb.Lease/LeaseRevoke",
        .request = &etcdserverpb__lease_revoke_request__descriptor,
        .handle = rpc_lease_revoke,
    },
    {
        .path = "/etcdserverpb.Lease/LeaseKeepAlive",
        .request = &etcdserverpb__lease_keep_alive_request__descriptor,
        .state_bytes = sizeof(struct keep_alive_call),
        .client_stream = true,
        .server_stream = true,
        .open = open_keep_alive,
        .handle = rpc_lease_keep_alive,
        .half_close = on_half_close,
        .release = release_keep_alive,
    },
    {
        .path = "/etcdserverpb.Lease/LeaseTimeToLive",
        .request = &etcdserverpb__lease_time_to_live_request__descriptor,
        .state_bytes = sizeof(struct time_to_live_call),
        .handle = rpc_lease_time_to_live,
    },
    {
        .path = "/etcdserverpb.Lease/LeaseLeases",
        .request = &etcdserverpb__lease_leases_request__descriptor,
        .state_bytes = sizeof(struct leases_call),
        .handle = rpc_lease_leases,
        .closed = end_walk,
        .release = release_leases,
    },
};

const struct method_table rpc_lease = {.rows = rows, .count = ARRAY_LEN(rows)};
