/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "base/fs_real.h"
#include "server/server_private.h"

/* A member that is far behind gets the database itself: what statesend and statetake need of a
 * server, and what changes in it when its database becomes another. */

void states_on_want(void *ctx, uint64_t peer_id)
{
    struct server *server = ctx;
    if (server->state == SERVER_RUNNING) {
        statesend_want(server->statesend, peer_id);
    }
}

bool states_on_frame(struct server *server, uint64_t peer_id, struct bytes payload)
{
    struct stateframe frame;
    if (stateframe_decode(payload, &frame) != OK) {
        return false;
    }
    switch (frame.what) {
    case STATE_HAVE:
    case STATE_WANT:
    case STATE_REFUSED:
    case STATE_LACK:
        statesend_on_frame(server->statesend, peer_id, &frame);
        break;
    default:
        statetake_on_frame(server->statetake, peer_id, &frame);
        break;
    }
    return true;
}

/* Those of FROM that are not in TO have become IS_ACTIVE. */
static void tell_difference(struct server *server, const struct alarm *from, size_t from_count,
                            const struct alarm *to, size_t to_count, bool is_active)
{
    for (size_t i = 0; i < from_count; i++) {
        bool in_both = false;
        for (size_t k = 0; k < to_count; k++) {
            in_both =
                in_both || (from[i].type == to[k].type && from[i].member_id == to[k].member_id);
        }
        if (!in_both) {
            server_tell_alarm(server, from[i], is_active);
        }
    }
}

/* Thread: the store's helper. Leases are many: they are read, and the old ones freed, beside the
 * traffic. */
static enum err prepare(void *ctx, struct store_reading *reading, struct why *why)
{
    struct server *server = ctx;
    leases_dispose(TAKE(server->prepared)); /* of one that came to nothing */
    return leases_prepare(server->prepared_seed, reading, &server->prepared, why);
}

/* Thread: the store's helper. */
static void dispose(void *ctx)
{
    struct server *server = ctx;
    leases_dispose(TAKE(server->prepared));
}

/* There is a state: entries are applied to it from now on, and clients may come. */
static void end_being_bare(struct server *server)
{
    uint64_t index = store_durable_index(server->store);
    if (index < node_bare_index(server->node)) {
        return; /* it is asked for again */
    }
    LOG_INFO(server->log, "the database is there again", LOG_U64("index", index),
             LOG_I64("revision", store_revision(server->store)));
    node_filled(server->node);
    if (server->config.on_filled != NULL && server->state == SERVER_RUNNING) {
        server->config.on_filled(server->config.ctx);
    }
}

/* Within the turn in which the store has become another: who keeps something of it in memory reads
 * it anew. Watchers go on from where they were: what they have still to see is in the new one, or
 * was compacted there. Ops that wait here for what the new state contains already are not told:
 * their outcome is unknown, and their time limit comes. */
static void on_replaced(void *ctx)
{
    struct server *server = ctx;
    struct alarm before[ALARMS_MAX];
    const struct alarm *alarms;
    size_t count = alarm_list(fsm_alarms(server->fsm), &alarms);
    memcpy(before, alarms, count * sizeof *before);
    struct why why = {.text = ""};
    enum err err = fsm_reload(server->fsm, server->prepared, &why);
    if (err != OK) {
        fatal("read the database that came from the leader: %s: %s", err_text(err), why.text);
    }
    size_t count_now = alarm_list(fsm_alarms(server->fsm), &alarms);
    tell_difference(server, before, count, alarms, count_now, false);
    tell_difference(server, alarms, count_now, before, count, true);
    hub_reset(server->hub, server->store);
    hashcheck_forget(&server->hashcheck);
    if (server_is_bare(server)) {
        end_being_bare(server);
    }
    if (server->state == SERVER_RUNNING) {
        membership_kick(&server->membership);
        announce_kick(&server->announce);
    }
}

static double helped_gauge(void *ctx)
{
    const struct server *server = ctx;
    return (double)statesend_count(server->statesend);
}

static double received_gauge(void *ctx)
{
    const struct server *server = ctx;
    return (double)statetake_received_bytes(server->statetake);
}

static double bare_gauge(void *ctx)
{
    return server_is_bare(ctx);
}

static void register_gauges(struct server *server)
{
    struct metrics *metrics = server->config.metrics;
    if (metrics == NULL) {
        return;
    }
    metrics_gauge_fn(metrics, "trivet_state_members",
                     "Members that are being sent the database, because they fell behind.", NULL,
                     helped_gauge, server);
    metrics_gauge_fn(metrics, "trivet_state_received_bytes",
                     "Bytes that have come of the leader's database that is on its way here.", NULL,
                     received_gauge, server);
    metrics_gauge_fn(metrics, "trivet_state_is_bare",
                     "1 while this member has lost its database and waits for the leader's.", NULL,
                     bare_gauge, server);
}

void states_open(struct server *server)
{
    struct fs *fs = server->config.fs != NULL ? server->config.fs : fs_real();
    const struct statesend_config send = {
        .env = server->env,
        .log = server->log,
        .metrics = server->config.metrics,
        .node = server->node,
        .store = server->store,
        .fs = fs,
    };
    server->prepared_seed = env_hash_seed(server->env);
    server->state_helper =
        (struct store_replace_helper){.prepare = prepare, .dispose = dispose, .ctx = server};
    const struct statetake_config take = {
        .env = server->env,
        .log = server->log,
        .node = server->node,
        .store = server->store,
        .fs = fs,
        .helper = &server->state_helper,
        .on_replaced = on_replaced,
        .ctx = server,
    };
    if (statesend_new(&send, &server->statesend) != OK ||
        statetake_new(&take, &server->statetake) != OK) {
        fatal("start a member: out of memory");
    }
    register_gauges(server);
    if (server_is_bare(server)) {
        LOG_WARN(server->log,
                 "the database ends before the log begins: the leader is asked for another",
                 LOG_U64("database-index", store_durable_index(server->store)),
                 LOG_U64("log-begins-after", node_bare_index(server->node)));
        statetake_lack(server->statetake, node_bare_index(server->node));
    }
}

void states_stop(struct server *server)
{
    statesend_stop(server->statesend);
    statetake_stop(server->statetake);
}

void states_free(struct server *server)
{
    statesend_free(server->statesend);
    statetake_free(server->statetake);
    leases_dispose(TAKE(server->prepared));
}
