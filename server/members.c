/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "server/forward.h"
#include "server/joining.h"
#include "server/server_private.h"

#define LEARNERS_MAX 1 /* unless something else is configured */

enum err members_of_config(const struct server_config *config, struct node_member *ret,
                           char addresses[MEMBERS_MAX][NODE_ADDRESS_SIZE], struct why *why)
{
    ASSERT(config->member_count <= MEMBERS_MAX);
    for (size_t i = 0; i < config->member_count; i++) {
        if (!node_address_format(config->members[i].id, config->member_addresses[i],
                                 addresses[i])) {
            why_set(why, "the address '%s' is too long", config->member_addresses[i]);
            return ERR_LIMIT;
        }
        ret[i] = (struct node_member){.id = config->members[i].id,
                                      .address = addresses[i],
                                      .role = config->members[i].learner ? MEMBER_LEARNER
                                                                         : MEMBER_VOTER};
    }
    return OK;
}

static void on_removed(void *ctx)
{
    struct server *server = ctx;
    if (server->config.on_removed != NULL) {
        server->config.on_removed(server->config.ctx);
    }
}

static const struct cluster *present_cluster(void *ctx)
{
    const struct server *server = ctx;
    return fsm_cluster(server->fsm);
}

/* Who removes what a compaction leaves before this member does: the leader, and whose ids are
 * lower. Without a leader, or when members know different ones, two may do it at once. */
static unsigned turn_to_remove(void *ctx)
{
    const struct server *server = ctx;
    uint64_t self = server->config.member_id;
    const struct cluster_member *members;
    size_t count = cluster_members(fsm_cluster(server->fsm), &members);
    unsigned before = 0;
    for (size_t i = 0; i < count && self != server->leader_id; i++) {
        before += members[i].id == server->leader_id || members[i].id < self;
    }
    return before;
}

void members_open(struct server *server)
{
    store_set_turn(server->store, turn_to_remove, server);
    server->membership = (struct membership){
        .env = server->env,
        .log = server->log,
        .node = server->node,
        .cluster = present_cluster,
        .self = server->config.member_id,
        .heartbeat_ms = server->config.heartbeat_ms,
        .timeout_ms = server->pending.timeout_ms,
        .on_removed = on_removed,
        .ctx = server,
    };
    membership_init(&server->membership);
    membership_kick(&server->membership);
}

bool members_on_is_removed(void *ctx, uint64_t member_id)
{
    struct server *server = ctx;
    return cluster_is_removed(fsm_cluster(server->fsm), member_id);
}

void members_on_removed(void *ctx)
{
    struct server *server = ctx;
    if (server->membership.node != NULL) {
        membership_told_removed(&server->membership);
    }
}

void members_on_changed(void *ctx)
{
    struct server *server = ctx;
    if (server->membership.node != NULL && server->state == SERVER_RUNNING) {
        membership_kick(&server->membership);
        announce_kick(&server->announce);
    }
}

void members_on_describe(void *ctx, struct buf *ret)
{
    struct server *server = ctx;
    const struct cluster *cluster = fsm_cluster(server->fsm);
    if (cluster_has_begun(cluster)) {
        const struct node_member *present;
        size_t count = node_members(server->node, &present);
        joining_describe(ret, server->config.cluster_id, cluster, present, count);
    }
}

void members_on_applied(struct server *server, const struct command *command)
{
    switch (command->kind) {
    case COMMAND_MEMBER_INIT:
    case COMMAND_MEMBER_ADD:
    case COMMAND_MEMBER_REMOVE:
    case COMMAND_MEMBER_UPDATE:
    case COMMAND_MEMBER_PROMOTE:
        if (server->membership.node != NULL && server->state == SERVER_RUNNING) {
            membership_kick(&server->membership);
            announce_kick(&server->announce);
        }
        break;
    default:
        break;
    }
}

static bool promotes_behind(struct server *server, struct bytes whole)
{
    struct reader r = reader_of(whole);
    struct command_origin origin;
    struct command command;
    arena_reset(&server->arena);
    return command_decode(&r, &server->arena, &origin, &command) == OK &&
           membership_is_behind(&server->membership, command.member.id);
}

bool members_refuse_behind(struct server *server, uint64_t peer_id, struct bytes commands,
                           struct buf *kept, size_t *kept_count)
{
    bool refused = false;
    struct reader r = reader_of(commands);
    *kept_count = 0;
    while (reader_left(&r) > 0) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        enum err err = command_skip(&r, &kind, &origin, &whole);
        ASSERT(err == OK); /* forward_decode read them */
        if (kind == COMMAND_MEMBER_PROMOTE && promotes_behind(server, whole)) {
            if (!refused) { /* all before it were good */
                buf_append_bytes(kept,
                                 bytes_of(commands.data, (size_t)(whole.data - commands.data)));
            }
            refused = true;
            (void)forward_send(server->node, peer_id, FORWARD_LEARNER_BEHIND, whole);
            continue;
        }
        (*kept_count)++;
        if (refused) {
            buf_append_bytes(kept, whole);
        }
    }
    return refused;
}

enum err server_check_change(struct server *server, struct command *command)
{
    command->member.strict = !server->config.loose_reconfig;
    command->member.learners_max =
        server->config.learners_max == 0 ? LEARNERS_MAX : server->config.learners_max;
    return membership_check(&server->membership, command->kind, &command->member);
}

void server_await_leave(struct server *server, struct leave_wait *wait, uint64_t member_id,
                        void (*cb)(struct leave_wait *wait, enum err status))
{
    membership_await_leave(&server->membership, wait, member_id, cb);
}

void server_cancel_leave(struct server *server, struct leave_wait *wait)
{
    (void)server;
    queue_remove(&wait->link);
}

bool server_is_learner(const struct server *server)
{
    const struct cluster_member *self =
        cluster_member(fsm_cluster(server->fsm), server->config.member_id);
    return self != NULL && self->learner;
}
