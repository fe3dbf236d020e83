/* SPDX-License-Identifier: Apache-2.0 */
/* Election: who is the first of a name leads, and its key's value is what it proclaims. */
#include "api/contend.h"
#include "api/endless.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "proto/election.pb-c.h"

static const char not_leader[] = "election: not leader";

/* ---- Campaign ---- */

struct campaign_call {
    struct contend_call contend;
    struct bytes name;
};

/* The header is of the moment when the key was put, however long it had to wait then: etcd's way.
 */
static void on_elected(struct call *call)
{
    const struct campaign_call *state = CONTAINER_OF(call, struct campaign_call, contend.call);
    const struct contest *contest = &state->contend.contest;
    Etcdserverpb__ResponseHeader header = message_header(call, contest->entered_revision);
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    leader.name = message_bytes(state->name);
    leader.key = message_bytes(contest->key);
    leader.rev = contest->create_revision;
    leader.lease = contest->lease;
    V3electionpb__CampaignResponse answer = V3ELECTIONPB__CAMPAIGN_RESPONSE__INIT;
    answer.header = &header;
    answer.leader = &leader;
    call_answer_message(call, &answer.base);
}

static void rpc_election_campaign(struct call *call, const void *message)
{
    const V3electionpb__CampaignRequest *request = message;
    struct campaign_call *state = CONTAINER_OF(call, struct campaign_call, contend.call);
    struct contest_entry entry = {.name = message_view(request->name),
                                  .value = message_view(request->value),
                                  .lease = request->lease,
                                  .update = true,
                                  .arena = call_arena(call)};
    state->name = entry.name;
    contend(call, &entry, not_leader, on_elected);
}

/* ---- Proclaim, Resign ---- */

struct proclaim_call {
    struct call call;
    const V3electionpb__ProclaimRequest *request;
    int64_t lease;
};

/* What etcd looks at first. False: the call has failed. */
static bool check_leader_key(struct call *call, const V3electionpb__LeaderKey *leader, size_t cost)
{
    if (leader == NULL) {
        grpc_call_finish(call_grpc(call), GRPC_UNKNOWN, "\"leader\" field must be provided");
    } else if (leader->key.len == 0) {
        call_refuse(call, ERR_KEY_EMPTY, cost);
    }
    return leader != NULL && leader->key.len > 0;
}

static void answer_header_alone(struct call *call)
{
    struct answer_header header = call_header(call, call->op.result->revision);
    answer_only_header(call_scratch(call), &header);
    call_answer(call);
}

static void on_proclaimed(struct call *call)
{
    if (call->op.result->txn.succeeded) {
        answer_header_alone(call);
    } else {
        grpc_call_finish(call_grpc(call), GRPC_UNKNOWN, not_leader);
    }
}

static void proclaim(struct call *call)
{
    const struct proclaim_call *state = CONTAINER_OF(call, struct proclaim_call, call);
    const V3electionpb__LeaderKey *leader = state->request->leader;
    struct contest_change change;
    contest_change_put(&change, message_view(leader->key), leader->rev,
                       message_view(state->request->value), state->lease);
    call_propose(call, &change.command, on_proclaimed);
}

static void rpc_election_proclaim(struct call *call, const void *message)
{
    struct proclaim_call *state = CONTAINER_OF(call, struct proclaim_call, call);
    state->request = message;
    const V3electionpb__LeaderKey *leader = state->request->leader;
    if (!check_leader_key(call, leader, state->request->value.len)) {
        return;
    }
    state->lease = leader->lease;
    if (state->lease != 0) {
        proclaim(call);
        return;
    }
    state->lease = server_new_lease_id(call->server); /* etcd makes a session of it, too */
    struct command command = {.kind = COMMAND_LEASE_GRANT,
                              .lease_grant = {.id = state->lease, .ttl_s = SESSION_TTL_S}};
    call_propose(call, &command, proclaim);
}

static void rpc_election_resign(struct call *call, const void *message)
{
    const V3electionpb__ResignRequest *request = message;
    if (!check_leader_key(call, request->leader, 0)) {
        return;
    }
    struct contest_change change;
    contest_change_delete(&change, message_view(request->leader->key), request->leader->rev);
    call_propose(call, &change.command, answer_header_alone); /* who leads no more has resigned */
}

/* ---- Leader ---- */

struct leader_call {
    struct call call;
    struct range_query first;
};

static struct leader_call *leader_call_of(struct call *call)
{
    return CONTAINER_OF(call, struct leader_call, call);
}

static V3electionpb__LeaderResponse leader_response(Etcdserverpb__ResponseHeader *header,
                                                    Mvccpb__KeyValue *kv)
{
    V3electionpb__LeaderResponse response = V3ELECTIONPB__LEADER_RESPONSE__INIT;
    response.header = header;
    response.kv = kv;
    return response;
}

static void answer_leader(struct call *call)
{
    CLEANUP(range_result_fini) struct range_result result = call->range.result;
    if (result.records.count == 0) {
        grpc_call_finish(call_grpc(call), GRPC_UNKNOWN, "election: no leader");
        return;
    }
    Etcdserverpb__ResponseHeader header = message_header(call, result.revision);
    Mvccpb__KeyValue kv = message_kv(result.records.items[0]);
    V3electionpb__LeaderResponse answer = leader_response(&header, &kv);
    call_answer_message(call, &answer.base);
}

static void find_leader(struct call *call)
{
    call_range(call, &leader_call_of(call)->first, answer_leader);
}

static void rpc_election_leader(struct call *call, const void *message)
{
    const V3electionpb__LeaderRequest *request = message;
    enum err err =
        contest_first(call_arena(call), message_view(request->name), &leader_call_of(call)->first);
    if (err != OK) {
        call_fail(call, err);
    } else {
        call_read(call, find_leader);
    }
}

/* ---- Observe ----
 *
 *   look for the first ── one ──▶ told, and each change of its key; when it is deleted: look again
 *           ▲             └ none ▶ whoever comes next is told, and so on
 *           └── nothing is looked for while the client does not read
 */

struct observe_call {
    struct call call;
    struct endless endless;
    struct range_query first;
    struct watch_stream stream;
    struct watcher watcher;
    bool leaderless; /* the watcher waits for anybody */
    bool waits_for_room;
};

static struct observe_call *observe_of(struct watch_stream *stream)
{
    return CONTAINER_OF(stream, struct observe_call, stream);
}

/* Nothing is told any more: the call is over, or its memory goes. */
static void close_observe(struct call *call)
{
    struct observe_call *state = CONTAINER_OF(call, struct observe_call, call);
    endless_close(&state->endless);
    hub_cancel(&state->watcher);
    hub_stream_close(&state->stream);
}

static void end_observe(struct call *call, enum err why)
{
    grpc_call_ref(call_grpc(call));
    call_fail(call, why);
    call_closed(call);
    close_observe(call);
    grpc_call_unref(call_grpc(call));
}

static void tell(struct observe_call *state, const struct record *record, int64_t revision)
{
    Etcdserverpb__ResponseHeader header = message_header(&state->call, revision);
    Mvccpb__KeyValue kv = message_kv(record);
    V3electionpb__LeaderResponse response = leader_response(&header, &kv);
    call_send_message(&state->call, &response.base);
}

static bool has_room(struct watch_stream *stream)
{
    return grpc_call_has_room(call_grpc(&observe_of(stream)->call), WATCH_STREAM_BYTES_MAX);
}

static void watch(struct observe_call *state, const struct watch_spec *spec)
{
    if (grpc_call_is_over(call_grpc(&state->call))) {
        return; /* no memory to tell it */
    }
    enum err err = hub_watch(&state->stream, &state->watcher, spec);
    if (err != OK) {
        end_observe(&state->call, err == ERR_LIMIT ? ERR_TOO_MANY_REQUESTS : err);
    }
}

/* RECORD's key is the first: tell it, and what becomes of it. */
static void follow(struct observe_call *state, const struct record *record, int64_t revision)
{
    struct watch_spec spec = {.key = record_key(record), .start_revision = revision + 1};
    state->leaderless = false;
    tell(state, record, revision);
    watch(state, &spec);
}

static void on_first(struct call *call)
{
    struct observe_call *state = CONTAINER_OF(call, struct observe_call, call);
    CLEANUP(range_result_fini) struct range_result result = call->range.result;
    if (result.records.count > 0) {
        follow(state, result.records.items[0], result.revision);
        return;
    }
    struct watch_spec spec = {.key = state->first.key,
                              .range_end = state->first.range_end,
                              .start_revision = result.revision + 1,
                              .no_delete = true};
    state->leaderless = true;
    watch(state, &spec);
}

static void look_for_first(struct call *call)
{
    call_range(call, &CONTAINER_OF(call, struct observe_call, call)->first, on_first);
}

static void observe(struct observe_call *state)
{
    state->waits_for_room = !has_room(&state->stream);
    if (!state->waits_for_room) {
        call_read(&state->call, look_for_first);
    }
}

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    struct observe_call *state = observe_of(stream);
    if (state->leaderless) {
        const struct record *first = watch_events_record(events, 0);
        hub_cancel(watcher);
        follow(state, first, record_mod_revision(first));
        return;
    }
    for (size_t i = 0; i < events->count; i++) {
        const struct record *record = watch_events_record(events, i);
        if (record->tombstone) {
            hub_cancel(watcher);
            observe(state);
            return;
        }
        tell(state, record, events->revision);
    }
}

static void on_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                     int64_t compact_revision)
{
    (void)watcher;
    (void)compact_revision;
    if (why == ERR_COMPACTED) { /* it fell behind: who leads now? */
        observe(observe_of(stream));
    } else {
        end_observe(&observe_of(stream)->call, why);
    }
}

static const struct watch_stream_ops observe_ops = {
    .ready = has_room, .events = on_events, .ended = on_ended};

static void on_writable(struct call *call)
{
    struct observe_call *state = CONTAINER_OF(call, struct observe_call, call);
    if (state->waits_for_room) {
        observe(state);
    } else {
        hub_stream_ready(&state->stream);
    }
}

static void rpc_election_observe(struct call *call, const void *message)
{
    const V3electionpb__LeaderRequest *request = message;
    struct observe_call *state = CONTAINER_OF(call, struct observe_call, call);
    enum err err = contest_first(call_arena(call), message_view(request->name), &state->first);
    if (err != OK) {
        call_fail(call, err);
    } else if (endless_open(&state->endless, call, end_observe)) {
        hub_stream_open(server_hub(call->server), &state->stream, &observe_ops);
        observe(state);
    }
}

static const struct method rows[] = {
    {
        .path = "/v3electionpb.Election/Campaign",
        .request = &v3electionpb__campaign_request__descriptor,
        .state_bytes = sizeof(struct campaign_call),
        .loses_codes = true,
        .handle = rpc_election_campaign,
        .closed = contend_closed,
    },
    {
        .path = "/v3electionpb.Election/Proclaim",
        .request = &v3electionpb__proclaim_request__descriptor,
        .state_bytes = sizeof(struct proclaim_call),
        .loses_codes = true,
        .handle = rpc_election_proclaim,
    },
    {
        .path = "/v3electionpb.Election/Leader",
        .request = &v3electionpb__leader_request__descriptor,
        .state_bytes = sizeof(struct leader_call),
        .loses_codes = true,
        .handle = rpc_election_leader,
    },
    {
        .path = "/v3electionpb.Election/Observe",
        .request = &v3electionpb__leader_request__descriptor,
        .state_bytes = sizeof(struct observe_call),
        .server_stream = true,
        .loses_codes = true,
        .handle = rpc_election_observe,
        .writable = on_writable,
        .closed = close_observe,
        .release = close_observe,
    },
    {
        .path = "/v3electionpb.Election/Resign",
        .request = &v3electionpb__resign_request__descriptor,
        .loses_codes = true,
        .handle = rpc_election_resign,
    },
};

const struct method_table rpc_election = {.rows = rows, .count = ARRAY_LEN(rows)};
