/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server_private.h"

/* The member that server/hashcheck.h works for. */

static bool leads(void *ctx)
{
    return server_is_leader(ctx);
}

static size_t members(void *ctx, const struct node_member **ret)
{
    struct server *server = ctx;
    return node_members(server->node, ret);
}

static void note(void *ctx, enum hash_topic topic, struct hash_note *ret)
{
    const struct server *server = ctx;
    if (topic == HASH_RECORDS) {
        *ret = (struct hash_note){.index = store_applied_index(server->store),
                                  .revision = store_revision(server->store),
                                  .hash = store_set_hash(server->store)};
    } else {
        *ret = (struct hash_note){.index = store_committed_index(server->store),
                                  .hash = store_tables_hash(server->store)};
    }
}

static void send(void *ctx, uint64_t peer_id, struct blob *frame)
{
    struct server *server = ctx;
    (void)node_send(server->node, peer_id, LANE_BULK, FRAME_APP, frame);
}

static const char *damage(void *ctx)
{
    const struct server *server = ctx;
    return store_damage(server->store);
}

static bool is_raised(void *ctx, uint64_t member_id)
{
    const struct server *server = ctx;
    struct alarm alarm = {.type = ALARM_CORRUPT, .member_id = member_id};
    return alarm_is_raised(fsm_alarms(server->fsm), alarm);
}

static void on_raised(struct op *op, enum err status)
{
    struct server *server = CONTAINER_OF(op, struct server, corrupt_op);
    hashcheck_raised(&server->hashcheck, status == OK);
}

static void raise_alarm(void *ctx, uint64_t member_id)
{
    struct server *server = ctx;
    struct command command = {.kind = COMMAND_ALARM,
                              .alarm = {.type = ALARM_CORRUPT, .member_id = member_id}};
    server_propose(server, &server->corrupt_op, &command, on_raised);
}

static void on_commit(void *ctx)
{
    struct server *server = ctx;
    hashcheck_note(&server->hashcheck, HASH_TABLES);
}

void agreement_open(struct server *server)
{
    const struct hashcheck_host host = {
        .leads = leads,
        .members = members,
        .note = note,
        .send = send,
        .damage = damage,
        .is_raised = is_raised,
        .raise = raise_alarm,
        .ctx = server,
    };
    const struct server_config *config = &server->config;
    hashcheck_init(&server->hashcheck, server->env, server->log, config->metrics, config->member_id,
                   config->hash_check_ms, &host);
    store_on_commit(server->store, on_commit, server);
}
