/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/plant.h"
#include "base/trace.h"
#include "server/forward.h"
#include "server/leaseframe.h"
#include "server/server_private.h"

/* The member's own command numbers never come back as somebody else's: see pending.h. */

#define REQUEST_MS           5000 /* and two election timeouts on top, as etcd's */
#define LEADERLESS_ELECTIONS 3
/* The core has its log in memory, so it is kept short while every member has it, and long while one
 * lacks it: a minute and a half of single puts, ten seconds of all that a disk takes. Not longer by
 * entries: to a follower that catches up the core shows all it lacks with each answer. */
#define SNAPSHOT_BYTES   (16u * 1024 * 1024)
#define TRAILING_ENTRIES 5000
#define TRAILING_BYTES   (4u * 1024 * 1024)
#define HELD_ENTRIES     250000
#define HELD_BYTES       (256u * 1024 * 1024)

/* ---- what the node tells ---- */

static void on_apply(void *ctx, uint64_t index, uint64_t term, struct bytes entry)
{
    struct server *server = ctx;
    fsm_apply(server->fsm, index, term, entry);
    hashcheck_note(&server->hashcheck, HASH_RECORDS);
    hub_publish(server->hub);
}

static uint64_t on_durable_index(void *ctx)
{
    struct server *server = ctx;
    return store_durable_index(server->store);
}

static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    struct server *server = ctx;
    (void)index;
    store_manifest(server->store, data);
}

static enum err on_may_restore(void *ctx, uint64_t index, struct why *why)
{
    struct server *server = ctx;
    if (store_durable_index(server->store) >= index || PLANTED(STATE_LOG_EARLY)) {
        return OK;
    }
    why_set(why, "the database ends at index %llu, the log begins after %llu",
            (unsigned long long)store_durable_index(server->store), (unsigned long long)index);
    return ERR_CORRUPT;
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    (void)manifest;
    enum err err = on_may_restore(ctx, index, why);
    return err == ERR_CORRUPT ? ERR_NOT_FOUND : err; /* it starts without: states.c */
}

static void on_state_changed(void *ctx, enum node_role role, uint64_t term, uint64_t leader_id)
{
    struct server *server = ctx;
    TRACE(server->env, "server: role, term", role, term);
    if (server->leader_id != leader_id) {
        if (leader_id == 0) {
            server->leaderless_since_ms = env_now_ms(server->env);
        } else {
            counter_add(server->leader_changes, 1);
        }
        server->leader_id = leader_id;
    }
    if (server->lessor != NULL) { /* else it looks for itself when it is made */
        lessor_update(server->lessor);
    }
    if (leader_id != 0 && server->state == SERVER_RUNNING) {
        leaseask_kick(&server->leaseask);
        batch_kick(&server->batch);
        query_kick(&server->query);
        announce_kick(&server->announce);
        if (server->membership.node != NULL) {
            membership_kick(&server->membership);
        }
    }
}

/* Commands of PEER for the leader. */
static void on_commands(struct server *server, uint64_t peer_id, struct bytes commands,
                        size_t count)
{
    if (server->state != SERVER_RUNNING || node_role(server->node) != NODE_LEADER) {
        (void)forward_send(server->node, peer_id, FORWARD_NOT_LEADER, commands);
        return;
    }
    CLEANUP(buf_fini) struct buf kept = {0};
    if (members_refuse_behind(server, peer_id, commands, &kept, &count)) {
        commands = buf_bytes(&kept);
    }
    if (count == 0 || !buf_ok(&kept)) {
        return; /* without memory they time out, as when the frame is lost */
    }
    bool full = store_pending_bytes(server->store) > RING_BYTES_MAX ||
                !batch_has_room(&server->batch, commands.len);
    if (full || !batch_add_encoded(&server->batch, commands, count)) {
        (void)forward_send(server->node, peer_id, FORWARD_TOO_MANY, commands);
    }
}

/* Commands of this member that the leader certainly did not take. */
static void on_refused(struct server *server, struct bytes commands, enum err status)
{
    struct reader r = reader_of(commands);
    while (reader_left(&r) > 0) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        enum err err = command_skip(&r, &kind, &origin, &whole);
        ASSERT(err == OK); /* forward_decode read them */
        struct op *op = origin.member_id == server->config.member_id
                            ? pending_take(&server->pending, origin.op)
                            : NULL;
        if (op != NULL) {
            pending_finish(&server->pending, op, status);
        }
    }
}

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    struct server *server = ctx;
    enum forward_what what;
    struct bytes commands;
    size_t count;
    if (kind == FRAME_APP &&
        (hashframe_is(payload) ? hashcheck_on_frame(&server->hashcheck, peer_id, payload) == OK
                               : states_on_frame(server, peer_id, payload))) {
        return;
    }
    if (kind == FRAME_FORWARD && leaseframe_is(payload) &&
        leaseask_on_frame(&server->leaseask, peer_id, payload)) {
        return;
    }
    if (kind != FRAME_FORWARD ||
        forward_decode(payload, &server->arena, &what, &commands, &count) != OK) {
        LOG_WARN(server->log, "ignored a malformed frame from a peer", LOG_HEX("peer-id", peer_id));
        return;
    }
    switch (what) {
    case FORWARD_COMMANDS:
        on_commands(server, peer_id, commands, count);
        break;
    case FORWARD_NOT_LEADER:
        batch_put_back(&server->batch, commands);
        break;
    case FORWARD_TOO_MANY:
        on_refused(server, commands, ERR_TOO_MANY_REQUESTS);
        break;
    case FORWARD_LEARNER_BEHIND:
        on_refused(server, commands, ERR_LEARNER_BEHIND);
        break;
    }
}

/* ---- what the state machine tells ---- */

static void on_result(void *ctx, uint64_t number, const struct result *result)
{
    struct server *server = ctx;
    if (result->status == ERR_QUOTA && quota_defers(&server->quota, number)) {
        return;
    }
    struct op *op = pending_take(&server->pending, number);
    if (op != NULL) {
        op->result = result;
        op->cb(op, OK);
    }
}

void server_tell_alarm(struct server *server, struct alarm alarm, bool is_active)
{
    LOG_WARN(server->log, is_active ? "an alarm is active" : "an alarm was cleared",
             LOG_HEX("member-id", alarm.member_id), LOG_U64("type", alarm.type));
    gauges_alarm(server, alarm, is_active);
}

static enum err on_applied(void *ctx, const struct command *command, const struct result *result)
{
    struct server *server = ctx;
    if (command->kind == COMMAND_ALARM && result->alarm_found) {
        struct alarm alarm = {command->alarm.type, command->alarm.member_id};
        server_tell_alarm(server, alarm, !command->alarm.is_clear);
    }
    members_on_applied(server, command);
    return quota_applied(&server->quota, command);
}

static bool is_wanted(void *ctx, uint64_t number)
{
    struct server *server = ctx;
    return pending_has(&server->pending, number);
}

/* ---- the compactor's member ---- */

static bool compactor_leads(void *ctx)
{
    return server_is_leader(ctx);
}

static int64_t compactor_revision(void *ctx)
{
    struct server *server = ctx;
    return store_revision(server->store);
}

static void on_compacted(struct op *op, enum err status)
{
    struct server *server = CONTAINER_OF(op, struct server, compact_op);
    compactor_done(&server->compactor, status == OK ? op->result->status : status);
}

static void compactor_compact(void *ctx, int64_t revision)
{
    struct server *server = ctx;
    struct command command = {.kind = COMMAND_COMPACT, .compact = {.revision = revision}};
    server_propose(server, &server->compact_op, &command, on_compacted);
}

static enum err open_compactor(struct server *server)
{
    const struct server_config *config = &server->config;
    const struct compactor_host host = {
        .leads = compactor_leads,
        .revision = compactor_revision,
        .compact = compactor_compact,
        .ctx = server,
    };
    return compactor_init(&server->compactor, server->env, server->log, config->compactor_mode,
                          config->compactor_retention, &host);
}

/* ---- start ---- */

static enum err open_fsm(struct server *server, struct why *why)
{
    const struct server_config *config = &server->config;
    struct fsm_config fsm_config = {
        .store = config->store,
        .log = config->log,
        .member_id = config->member_id,
        .bootstrap = config->members,
        .bootstrap_count = config->member_count,
        .hash_seed = env_hash_seed(config->env),
        .is_wanted = is_wanted,
        .on_result = on_result,
        .on_applied = on_applied,
        .ctx = server,
    };
    return fsm_new(&fsm_config, &server->fsm, why);
}

static enum err open_hub(struct server *server)
{
    const struct server_config *config = &server->config;
    struct hub_config hub_config = {.env = config->env,
                                    .metrics = config->metrics,
                                    .store = config->store,
                                    .turn_work = config->watch_turn_work};
    return hub_new(&hub_config, &server->hub);
}

static enum err open_node(struct server *server, struct why *why)
{
    static const struct node_callbacks callbacks = {
        .apply = on_apply,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .may_restore = on_may_restore,
        .want_state = states_on_want,
        .state_changed = on_state_changed,
        .on_frame = on_frame,
        .is_removed = members_on_is_removed,
        .on_removed = members_on_removed,
        .members_changed = members_on_changed,
        .describe = members_on_describe,
    };
    struct server_config *config = &server->config;
    struct node_member bootstrap[MEMBERS_MAX];
    char addresses[MEMBERS_MAX][NODE_ADDRESS_SIZE];
    TRY(members_of_config(config, bootstrap, addresses, why));
    uint64_t held_entries = config->catchup_entries != 0 ? config->catchup_entries : HELD_ENTRIES;
    struct node_config node_config = {
        .env = config->env,
        .log = config->log,
        .metrics = config->metrics,
        .raftlog = TAKE(config->raftlog),
        .transport = TAKE(config->transport),
        .id = config->member_id,
        .bootstrap = bootstrap,
        .bootstrap_count = config->member_count,
        .heartbeat_ms = config->heartbeat_ms,
        .election_ms = config->election_ms,
        .snapshot_entries = config->snapshot_entries,
        .snapshot_bytes = SNAPSHOT_BYTES,
        .trailing_entries = held_entries < TRAILING_ENTRIES ? held_entries : TRAILING_ENTRIES,
        .trailing_bytes = TRAILING_BYTES,
        .held_entries = held_entries,
        .held_bytes = HELD_BYTES,
        .head_start = true,
    };
    return node_open(&node_config, &callbacks, server, &server->node, why);
}

static void propose_for_lessor(void *ctx, struct op *op, const struct command *command, op_cb cb)
{
    server_propose(ctx, op, command, cb);
}

static void on_lessor_settled(void *ctx)
{
    struct server *server = ctx;
    leaseask_kick(&server->leaseask);
}

static void open_lessor(struct server *server, uint64_t timeout_ms)
{
    struct lessor_config config = {
        .env = server->env,
        .log = server->log,
        .metrics = server->config.metrics,
        .leases = fsm_leases(server->fsm),
        .node = server->node,
        .election_ms = server->config.election_ms,
        .propose = propose_for_lessor,
        .on_settled = on_lessor_settled,
        .ctx = server,
    };
    if (lessor_new(&config, &server->lessor) != OK) {
        fatal("start a member: out of memory");
    }
    leaseask_init(&server->leaseask, server->env, server->node, server->lessor, timeout_ms,
                  server->config.election_ms);
    uint64_t started_ms = env_wall_ms(server->env) & ((1ull << 40) - 1);
    server->next_lease_id = server->config.member_id << 48 | started_ms << 8;
    lessor_update(server->lessor);
}

static void server_free(struct server *server)
{
    lessor_free(server->lessor);
    if (server->hub != NULL) {
        hub_stop(server->hub);
    }
    fsm_free(server->fsm);
    store_close(server->store); /* what it still reads for the hub comes back here */
    states_free(server);
    hub_free(server->hub);
    announce_fini(&server->announce);
    compactor_fini(&server->compactor);
    arena_fini(&server->arena);
    free(server);
}

/* Those that were active when the member ended. */
static void tell_alarms(struct server *server)
{
    const struct alarm *alarms;
    size_t count = alarm_list(fsm_alarms(server->fsm), &alarms);
    for (size_t i = 0; i < count; i++) {
        server_tell_alarm(server, alarms[i], true);
    }
}

enum err server_start(const struct server_config *config, struct server **ret, struct why *why)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        fatal("start a member: out of memory");
    }
    server->config = *config;
    server->env = config->env;
    server->log = config->log;
    server->store = config->store;
    server->leaderless_since_ms = env_now_ms(config->env);
    uint64_t timeout_ms = REQUEST_MS + 2 * (uint64_t)config->election_ms;

    enum err err = announce_init(&server->announce, server, config);
    if (err == ERR_LIMIT) {
        why_set(why, "this member's name or client URLs are too long or too many");
    }
    if (err == OK) {
        err = open_compactor(server);
    }
    if (err == OK) {
        err = open_fsm(server, why);
    }
    if (err == OK) {
        err = open_hub(server);
    }
    if (err == OK) {
        pending_init(&server->pending, server->env, timeout_ms);
        quota_init(&server->quota, server, &server->pending, config->quota_bytes);
        agreement_open(server);
        err = open_node(server, why);
    }
    if (err != OK) {
        /* The process ends with the message: the log and the transport that were not handed on end
         * with it. */
        server_free(server);
        return err;
    }
    batch_init(&server->batch, server->env, server->log, server->node, is_wanted, server);
    query_init(&server->query, server->env, server->node, timeout_ms);
    contests_init(server);
    open_lessor(server, timeout_ms);
    members_open(server);
    states_open(server);
    gauges_register(server);
    tell_alarms(server);
    server->config.members = NULL;
    server->config.member_addresses = NULL;
    server->config.client_urls = NULL;
    server->config.name = NULL;
    announce_kick(&server->announce);
    compactor_start(&server->compactor);
    hashcheck_start(&server->hashcheck);
    *ret = server;
    return OK;
}

/* ---- requests ---- */

static enum err admit(const struct server *server, const struct command *command)
{
    if (server->state != SERVER_RUNNING) {
        return ERR_STOPPED;
    }
    if (server_is_bare(server)) {
        return ERR_NO_LEADER; /* its outcome would not be seen here */
    }
    size_t cost = quota_cost(command);
    if (cost > 0 && server->config.is_disk_full != NULL &&
        server->config.is_disk_full(server->config.ctx)) {
        return ERR_NO_SPACE;
    }
    if (quota_is_over(&server->quota, cost)) {
        return ERR_QUOTA;
    }
    if (command->kind == COMMAND_MEMBER_PROMOTE && node_role(server->node) == NODE_LEADER &&
        membership_is_behind(&server->membership, command->member.id)) {
        return ERR_LEARNER_BEHIND;
    }
    if (store_pending_bytes(server->store) > RING_BYTES_MAX ||
        server->pending.count >= PENDING_COMMANDS_MAX ||
        !batch_has_room(&server->batch, server->config.request_bytes_max)) {
        return ERR_TOO_MANY_REQUESTS;
    }
    return OK;
}

void server_propose(struct server *server, struct op *op, const struct command *command, op_cb cb)
{
    op->cb = cb;
    op->pending = false;
    queue_init(&op->link);
    enum err err = admit(server, command);
    if (err == ERR_QUOTA) {
        quota_refuse(&server->quota, op, cb);
        return;
    }
    if (err == OK) {
        err = pending_add(&server->pending, op, cb);
    }
    if (err == OK) {
        struct command_origin origin = {.member_id = server->config.member_id, .op = op->number};
        err = batch_add(&server->batch, origin, command);
    }
    if (err != OK) {
        pending_finish(&server->pending, op, err);
    }
}

bool server_is_over_quota(const struct server *server, size_t cost)
{
    return server->state == SERVER_RUNNING && quota_is_over(&server->quota, cost);
}

void server_refuse_quota(struct server *server, struct op *op, op_cb cb)
{
    quota_refuse(&server->quota, op, cb);
}

void server_cancel(struct server *server, struct op *op)
{
    if (op->pending) {
        pending_finish(&server->pending, op, ERR_CANCELLED);
    }
}

void server_read(struct server *server, struct read_op *op,
                 void (*cb)(struct read_op *op, enum err status))
{
    if (server->state == SERVER_CLOSING) {
        query_refuse(&server->query, op, cb, ERR_STOPPED); /* the node takes no questions */
    } else if (server_is_bare(server)) {
        query_refuse(&server->query, op, cb, ERR_NO_LEADER);
    } else {
        query_start(&server->query, op, cb);
    }
}

void server_read_cancel(struct server *server, struct read_op *op)
{
    query_cancel(&server->query, op);
}

static void ask_lessor(struct server *server, struct lease_ask *ask, bool renew,
                       void (*cb)(struct lease_ask *ask, enum err status))
{
    ask->cb = cb;
    ask->renew = renew;
    leaseask_start(&server->leaseask, ask);
}

void server_lease_renew(struct server *server, struct lease_ask *ask,
                        void (*cb)(struct lease_ask *ask, enum err status))
{
    ask_lessor(server, ask, true, cb);
}

void server_lease_remaining(struct server *server, struct lease_ask *ask,
                            void (*cb)(struct lease_ask *ask, enum err status))
{
    ask_lessor(server, ask, false, cb);
}

void server_lease_cancel(struct server *server, struct lease_ask *ask)
{
    leaseask_cancel(&server->leaseask, ask);
}

/* ---- stop ---- */

static void on_node_closed(void *ctx)
{
    struct server *server = ctx;
    pending_finish_all(&server->pending, ERR_STOPPED);
    query_finish_all(&server->query, ERR_STOPPED);
    contests_close(server);
    leaseask_finish_all(&server->leaseask, ERR_STOPPED);
    leaseask_fini(&server->leaseask);
    pending_fini(&server->pending);
    batch_fini(&server->batch);
    query_fini(&server->query);
    void (*cb)(void *ctx) = server->stopped;
    void *cb_ctx = server->stopped_ctx;
    server_free(server);
    cb(cb_ctx);
}

static void close_node(struct server *server)
{
    if (server->state == SERVER_CLOSING) {
        return;
    }
    server->state = SERVER_CLOSING;
    env_timer_stop(server->env, &server->leave_limit);
    server->batch.closed = true;
    states_stop(server);
    leaseask_close(&server->leaseask);
    node_close(server->node, on_node_closed, server);
}

static void on_transferred(void *ctx, enum err status)
{
    struct server *server = ctx;
    if (status != OK) {
        LOG_WARN(server->log, "leadership was not handed over before the stop",
                 LOG_STR("error", err_text(status)));
    }
    close_node(server);
}

static void on_leave_limit(struct env_timer *timer)
{
    close_node(CONTAINER_OF(timer, struct server, leave_limit));
}

void server_stop(struct server *server, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(server->state == SERVER_RUNNING);
    server->stopped = cb;
    server->stopped_ctx = ctx;
    server->state = SERVER_LEAVING;
    announce_stop(&server->announce);
    membership_stop(&server->membership);
    compactor_stop(&server->compactor);
    hashcheck_stop(&server->hashcheck);
    lessor_stop(server->lessor);
    env_timer_init(&server->leave_limit, on_leave_limit);
    const struct node_member *members;
    if (node_role(server->node) == NODE_LEADER && node_members(server->node, &members) > 1) {
        env_timer_start(server->env, &server->leave_limit,
                        2 * (uint64_t)server->config.election_ms);
        node_transfer(server->node, 0, on_transferred, server);
    } else {
        close_node(server);
    }
}

/* ---- what others ask ---- */

struct store *server_store(struct server *server)
{
    return server->store;
}

struct fsm *server_fsm(struct server *server)
{
    return server->fsm;
}

struct node *server_node(struct server *server)
{
    return server->node;
}

struct hub *server_hub(struct server *server)
{
    return server->hub;
}

const struct cluster *server_cluster(const struct server *server)
{
    return fsm_cluster(server->fsm);
}

struct metrics *server_metrics(struct server *server)
{
    return server->config.metrics;
}

struct env *server_env(struct server *server)
{
    return server->env;
}

uint64_t server_cluster_id(const struct server *server)
{
    return server->config.cluster_id;
}

uint64_t server_member_id(const struct server *server)
{
    return server->config.member_id;
}

uint64_t server_term(const struct server *server)
{
    return node_term(server->node);
}

uint64_t server_leader(const struct server *server)
{
    return server->leader_id;
}

int64_t server_quota_bytes(const struct server *server)
{
    return server->config.quota_bytes == 0 ? -1 : (int64_t)server->config.quota_bytes;
}

uint32_t server_request_bytes_max(const struct server *server)
{
    return server->config.request_bytes_max;
}

int64_t server_new_lease_id(struct server *server)
{
    int64_t id = (int64_t)(server->next_lease_id++ & INT64_MAX);
    return id != 0 ? id : server_new_lease_id(server);
}

int64_t server_lease_ttl_min(const struct server *server)
{
    return (3 * (int64_t)server->config.election_ms / 2 + 999) / 1000;
}

unsigned server_txn_ops_max(const struct server *server)
{
    return server->config.txn_ops_max;
}

bool server_is_bare(const struct server *server)
{
    return node_bare_index(server->node) != 0;
}

bool server_is_leader(const struct server *server)
{
    return node_role(server->node) == NODE_LEADER;
}

bool server_has_leader(const struct server *server)
{
    if (server->leader_id != 0) {
        return true;
    }
    uint64_t limit = (uint64_t)LEADERLESS_ELECTIONS * server->config.election_ms;
    return env_now_ms(server->env) - server->leaderless_since_ms < limit;
}
