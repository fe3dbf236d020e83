/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/plant.h"
#include "raft/node_state.h"

/* Whose disk has finished nothing for so many election timeouts leads no more. */
#define STILL_ELECTIONS 10

/* Changes of the configuration, one at a time, and leadership handed over. Every outcome comes at
 * the end of a turn. */

/* ---- outcomes ---- */

void nodechange_resolve(struct node *node, struct pending *pending, enum err status)
{
    if (pending->cb != NULL && !pending->done) {
        pending->done = true;
        pending->status = status;
        env_defer(node->env, &node->notify);
    }
}

static void call_back_one(struct pending *pending)
{
    if (pending->cb != NULL && pending->done) {
        struct pending done = *pending;
        *pending = (struct pending){0};
        done.cb(done.ctx, done.status);
    }
}

/* An outcome that needs no slot, because the slot is taken or nothing was begun. */
struct refusal {
    struct queue link;
    void (*cb)(void *ctx, enum err status);
    void *ctx;
    enum err status;
};

static void refuse(struct node *node, void (*cb)(void *ctx, enum err status), void *ctx,
                   enum err status)
{
    struct refusal *refusal = calloc(1, sizeof *refusal);
    if (refusal == NULL) {
        fatal("raft: out of memory");
    }
    refusal->cb = cb;
    refusal->ctx = ctx;
    refusal->status = status;
    queue_push_back(&node->refused, &refusal->link);
    env_defer(node->env, &node->notify);
}

static void run_refusals(struct node *node)
{
    struct queue *link;
    while ((link = queue_pop_front(&node->refused)) != NULL) {
        struct refusal *refusal = QUEUE_ELEM(link, struct refusal, link);
        refusal->cb(refusal->ctx, refusal->status);
        free(refusal);
    }
}

void nodechange_call_back(struct node *node)
{
    run_refusals(node);
    call_back_one(&node->change);
    call_back_one(&node->transfer);
}

/* ---- leadership handed over ---- */

/* The voter that is furthest, and connected. */
static uint64_t best_successor(const struct node *node)
{
    const struct raft *r = core_of(node);
    uint64_t best = 0;
    uint64_t best_match = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        const struct raft_progress *progress = core_progress(r, server->id);
        if (server->id == r->id || server->role != RAFT_VOTER || progress == NULL ||
            !node->transport->ops->connected(node->transport, server->id)) {
            continue;
        }
        if (best == 0 || progress->match_index > best_match) {
            best = server->id;
            best_match = progress->match_index;
        }
    }
    return best;
}

void node_transfer(struct node *node, uint64_t peer_id, void (*cb)(void *ctx, enum err status),
                   void *ctx)
{
    ASSERT(!node->closing && !raftio_inside(node->io));
    enum err err = ERR_NOT_LEADER;
    if (node->transfer.cb != NULL) {
        err = ERR_TOO_MANY_REQUESTS;
    } else if (node_role(node) == NODE_LEADER) {
        uint64_t target = peer_id != 0 ? peer_id : best_successor(node);
        node->transfer = (struct pending){.cb = cb, .ctx = ctx};
        node->transfer_until_ms = env_now_ms(node->env) + 2 * core_of(node)->election_timeout;
        err = target == 0 ? ERR_NOT_FOUND : raftio_transfer(node->io, target);
        if (err != OK) {
            node->transfer = (struct pending){0};
        }
    }
    if (err != OK) {
        refuse(node, cb, ctx, err);
    }
}

void nodechange_on_transferred(void *ctx)
{
    struct node *node = ctx;
    if (node_role(node) == NODE_LEADER) {
        nodechange_resolve(node, &node->transfer, ERR_TIMEOUT);
    }
}

/* Nothing is committed that is not on the leader's own disk, and its heartbeats, which keep it the
 * leader, do not wait for that: a disk that does not answer would stop the cluster. */
static void leave_still_disk(struct node *node)
{
    const struct raft *r = core_of(node);
    uint64_t limit_ms = STILL_ELECTIONS * (uint64_t)r->election_timeout;
    uint64_t now_ms = env_now_ms(node->env);
    uint64_t still_ms = raftio_still_ms(node->io);
    if (node_role(node) != NODE_LEADER || still_ms < limit_ms || now_ms < node->leave_again_ms ||
        r->transfer != NULL) {
        return;
    }
    uint64_t successor = best_successor(node);
    node->leave_again_ms = now_ms + limit_ms;
    if (successor != 0) {
        LOG_WARN(node->log, "the log's disk does not answer: leadership is handed over",
                 LOG_HEX("to", successor), LOG_U64("still-ms", still_ms));
        enum err err = raftio_transfer(node->io, successor);
        (void)err; /* it is tried again */
    }
}

void nodechange_tick(struct node *node)
{
    leave_still_disk(node);
    if (node->transfer.cb != NULL && env_now_ms(node->env) >= node->transfer_until_ms) {
        nodechange_resolve(node, &node->transfer, ERR_TIMEOUT);
    }
}

/* ---- changes of the configuration ---- */

/* A member is added as a spare, which gets no entries, and then made a learner. */
void nodechange_on_changed(void *ctx, enum err status)
{
    struct node *node = ctx;
    if (status != OK || !node->change_add) {
        nodechange_resolve(node, &node->change, status);
        return;
    }
    node->change_added = true;
    env_defer(node->env, &node->notify);
}

/* The second step of adding a member. */
void nodechange_continue(struct node *node)
{
    if (node->change_add && node->change_added) {
        node->change_add = false;
        enum raftio_change role = PLANTED(LEARNER_VOTES) ? RAFTIO_SET_VOTER : RAFTIO_SET_LEARNER;
        enum err err = raftio_change(node->io, role, node->change_id, NULL);
        if (err != OK) {
            nodechange_resolve(node, &node->change, err);
        }
    }
}

static unsigned voter_count(const struct raft *r)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        count += r->configuration.servers[i].role == RAFT_VOTER;
    }
    return count;
}

static enum err submit_change(struct node *node, enum change_kind kind, uint64_t id,
                              const char *address)
{
    const struct raft *r = core_of(node);
    const struct raft_server *server = core_server(r, id);
    node->change_id = id;
    node->change_add = false;
    node->change_added = false;
    if (kind == CHANGE_ADD_LEARNER && server == NULL) {
        node->change_add = true;
        return r->configuration.n >= MEMBERS_MAX ? ERR_LIMIT
                                                 : raftio_change(node->io, RAFTIO_ADD, id, address);
    }
    if (server == NULL) {
        return ERR_NOT_FOUND;
    }
    bool loses_vote = server->role == RAFT_VOTER && kind != CHANGE_PROMOTE;
    if (loses_vote && (id == r->id || voter_count(r) == 1)) {
        return ERR_INVALID;
    }
    switch (kind) {
    case CHANGE_ADD_LEARNER:
        return server->role == RAFT_SPARE ? raftio_change(node->io, RAFTIO_SET_LEARNER, id, address)
                                          : ERR_EXISTS;
    case CHANGE_PROMOTE:
        return raftio_change(node->io, RAFTIO_SET_VOTER, id, address);
    case CHANGE_DEMOTE:
        return raftio_change(node->io, RAFTIO_SET_LEARNER, id, address);
    case CHANGE_REMOVE:
        return raftio_change(node->io, RAFTIO_REMOVE, id, address);
    }
    return ERR_INVALID;
}

void node_change(struct node *node, enum change_kind kind, uint64_t member_id, const char *address,
                 void (*cb)(void *ctx, enum err status), void *ctx)
{
    ASSERT(!node->closing && !raftio_inside(node->io));
    enum err err = ERR_TOO_MANY_REQUESTS;
    if (node->change.cb == NULL) {
        node->change = (struct pending){.cb = cb, .ctx = ctx};
        err = node_role(node) == NODE_LEADER ? submit_change(node, kind, member_id, address)
                                             : ERR_NOT_LEADER;
        if (err != OK) {
            node->change = (struct pending){0};
        }
    }
    if (err != OK) {
        refuse(node, cb, ctx, err);
    }
}
