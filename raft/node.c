/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/trace.h"
#include "raft/node_state.h"

/* ---- who leads, and what is where ---- */

enum node_role node_role(const struct node *node)
{
    switch (core_of(node)->state) {
    case RAFT_LEADER: /* a bare one does not lead, whatever the core says: raftbare.c */
        return raftio_bare_index(node->io) == 0 ? NODE_LEADER : NODE_CANDIDATE;
    case RAFT_CANDIDATE:
        return NODE_CANDIDATE;
    default:
        return NODE_FOLLOWER;
    }
}

uint64_t node_id(const struct node *node)
{
    return core_of(node)->id;
}

uint64_t node_term(const struct node *node)
{
    return core_of(node)->current_term;
}

uint64_t node_leader(const struct node *node)
{
    const struct raft *r = core_of(node);
    switch (r->state) {
    case RAFT_LEADER:
        return raftio_bare_index(node->io) == 0 ? r->id : 0;
    case RAFT_FOLLOWER:
        return r->follower_state.current_leader.id;
    default:
        return 0;
    }
}

uint64_t node_commit_index(const struct node *node)
{
    return core_of(node)->commit_index;
}

uint64_t node_applied_index(const struct node *node)
{
    return core_of(node)->last_applied;
}

uint64_t node_last_index(const struct node *node)
{
    return core_last_index(core_of(node));
}

uint64_t node_match_index(const struct node *node, uint64_t member_id)
{
    const struct raft *r = core_of(node);
    if (node_role(node) != NODE_LEADER) {
        return 0;
    }
    const struct raft_progress *progress = core_progress(r, member_id);
    return member_id == r->id ? r->last_stored : progress == NULL ? 0 : progress->match_index;
}

bool node_ready(const struct node *node)
{
    return node_role(node) == NODE_LEADER ? raftio_leads(node->io) : node_leader(node) != 0;
}

/* ---- outcomes ---- */

static struct proposal *proposal_of(struct queue *link)
{
    return QUEUE_ELEM(link, struct proposal, link);
}

static void answer(struct node *node, struct proposal *proposal, enum err status)
{
    queue_remove(&proposal->link);
    proposal->reserved[0] = status;
    queue_push_back(&node->answered, &proposal->link);
    env_defer(node->env, &node->notify);
}

static void answer_all(struct node *node, enum err status)
{
    while (!queue_empty(&node->proposed)) {
        answer(node, proposal_of(node->proposed.next), status);
    }
}

static bool state_differs(const struct node *node)
{
    return node->role != node_role(node) || node->term != node_term(node) ||
           node->leader_id != node_leader(node);
}

static void tell_state(struct node *node)
{
    enum node_role role = node_role(node);
    uint64_t term = node_term(node);
    if (role == NODE_LEADER && (node->role != role || node->term != term)) {
        LOG_INFO(node->log, "became leader", LOG_U64("term", term),
                 LOG_U64("last-index", node_last_index(node)));
    } else if (node->role == NODE_LEADER && role != NODE_LEADER) {
        LOG_INFO(node->log, "stepped down", LOG_U64("term", term));
    } else if (node->leader_id != node_leader(node)) {
        LOG_INFO(node->log, "leader changed", LOG_U64("term", term),
                 LOG_HEX("leader", node_leader(node)));
    }
    node->role = role;
    node->term = term;
    node->leader_id = node_leader(node);
    node->callbacks->state_changed(node->ctx, role, term, node->leader_id);
}

static void run_answers(struct node *node)
{
    struct queue *link;
    while ((link = queue_pop_front(&node->answered)) != NULL) {
        struct proposal *proposal = proposal_of(link);
        proposal->cb(proposal, (enum err)proposal->reserved[0]);
    }
    nodechange_call_back(node);
}

static void on_notify(struct env_task *task)
{
    struct node *node = CONTAINER_OF(task, struct node, notify);
    if (state_differs(node)) {
        tell_state(node);
    }
    nodechange_continue(node);
    run_answers(node);
}

/* ---- from the core ---- */

static void on_applied(void *ctx, uint64_t index, uint64_t term, bool command, struct bytes entry)
{
    struct node *node = ctx;
    ASSERT(command);
    node->callbacks->apply(node->ctx, index, term, entry);
    if (!queue_empty(&node->proposed) && proposal_of(node->proposed.next)->index == index) {
        struct proposal *proposal = proposal_of(node->proposed.next);
        answer(node, proposal, proposal->term == term ? OK : ERR_LEADER_CHANGED);
    }
}

static uint64_t on_durable_index(void *ctx)
{
    struct node *node = ctx;
    return node->callbacks->durable_index(node->ctx);
}

static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    struct node *node = ctx;
    node->callbacks->manifest(node->ctx, index, data);
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    struct node *node = ctx;
    return node->callbacks->restore(node->ctx, index, manifest, why);
}

static enum err on_may_restore(void *ctx, uint64_t index, struct why *why)
{
    struct node *node = ctx;
    return node->callbacks->may_restore == NULL
               ? OK
               : node->callbacks->may_restore(node->ctx, index, why);
}

static void on_want_state(void *ctx, uint64_t peer)
{
    struct node *node = ctx;
    if (!node->closing && raftio_bare_index(node->io) == 0) {
        node->callbacks->want_state(node->ctx, peer);
    }
}

static void on_left(void *ctx)
{
    struct node *node = ctx;
    if (node->closing) {
        return;
    }
    if (!queue_empty(&node->proposed) &&
        (node_role(node) != NODE_LEADER || node_term(node) != node->proposed_term)) {
        answer_all(node, ERR_LEADER_CHANGED);
    }
    if (state_differs(node)) {
        uint64_t leader_id = node_leader(node);
        if (leader_id != 0 && leader_id != node_id(node)) {
            nodechange_resolve(node, &node->transfer, OK);
        }
        env_defer(node->env, &node->notify);
    }
    nodepeers_follow(node);
    readindex_update(&node->readindex);
}

static void on_ticked(void *ctx)
{
    struct node *node = ctx;
    readindex_tick(&node->readindex);
    nodechange_tick(node);
}

/* ---- from the network ---- */

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    struct node *node = ctx;
    if (node->closing) {
        return;
    }
    if (kind == FRAME_READ_INDEX) {
        readindex_on_frame(&node->readindex, peer_id, payload);
        return;
    }
    if (kind != FRAME_RAFT) {
        node->callbacks->on_frame(node->ctx, peer_id, kind, payload);
        return;
    }
    char address[ADDRESS_BYTES_MAX];
    address[0] = 0;
    if (raftio_on_frame(node->io, peer_id, payload, address, sizeof address) != OK) {
        LOG_WARN(node->log, "a malformed Raft message was dropped", LOG_HEX("member", peer_id));
        return;
    }
    /* Who is not in the configuration that we know can be in a later one. */
    if (address[0] != 0 && core_server(core_of(node), peer_id) == NULL) {
        nodepeers_add(node, peer_id, address);
    }
}

static void on_link(void *ctx, uint64_t peer_id, bool up)
{
    struct node *node = ctx;
    if (!node->closing) {
        nodepeers_on_link(node, peer_id, up);
        raftio_on_link(node->io, peer_id, up);
    }
}

static bool on_is_removed(void *ctx, uint64_t peer_id)
{
    struct node *node = ctx;
    return node->callbacks->is_removed != NULL && node_has_left(node, peer_id) &&
           node->callbacks->is_removed(node->ctx, peer_id);
}

static void on_removed(void *ctx)
{
    struct node *node = ctx;
    if (!node->closing && node->callbacks->on_removed != NULL) {
        node->callbacks->on_removed(node->ctx);
    }
}

/* Who is not in the configuration that it knows, or hears of no leader, may have missed the coming
 * of whoever calls: of the leader, say, which alone could tell. Not of one that was removed: it
 * would stay connected, and must call again to hear of that. */
static bool on_is_joining(void *ctx, uint64_t peer_id)
{
    struct node *node = ctx;
    bool was_removed =
        node->callbacks->is_removed != NULL && node->callbacks->is_removed(node->ctx, peer_id);
    return core_server(core_of(node), node_id(node)) == NULL ||
           (node_leader(node) == 0 && !was_removed);
}

static void on_describe(void *ctx, struct buf *ret)
{
    struct node *node = ctx;
    if (node->callbacks->describe != NULL) {
        node->callbacks->describe(node->ctx, ret);
    }
}

bool node_send(struct node *node, uint64_t peer_id, enum transport_lane lane, enum frame_kind kind,
               struct blob *payload)
{
    ASSERT(kind == FRAME_FORWARD || kind == FRAME_APP);
    return node->transport->ops->send(node->transport, peer_id, lane, kind, payload);
}

/* ---- requests ---- */

void node_propose(struct node *node, struct proposal *proposal, struct blob *entry,
                  void (*cb)(struct proposal *proposal, enum err status))
{
    ASSERT(!node->closing && !raftio_inside(node->io));
    proposal->cb = cb;
    proposal->index = 0;
    proposal->term = node_term(node);
    queue_init(&proposal->link);
    enum err err = ERR_NOT_LEADER;
    if (node_role(node) == NODE_LEADER) {
        node->proposed_term = proposal->term;
        err = raftio_propose(node->io, blob_bytes(entry), &proposal->index);
    }
    if (err != OK) {
        answer(node, proposal, ERR_NOT_LEADER);
    } else if (node_role(node) != NODE_LEADER || node_term(node) != proposal->term) {
        answer(node, proposal, ERR_LEADER_CHANGED);
    } else {
        queue_push_back(&node->proposed, &proposal->link);
    }
}

void node_read_index(struct node *node, struct read_index *request,
                     void (*cb)(struct read_index *request, enum err status, uint64_t index))
{
    ASSERT(!node->closing);
    request->cb = cb;
    readindex_add(&node->readindex, request);
}

void node_read_index_cancel(struct node *node, struct read_index *request)
{
    readindex_cancel(&node->readindex, request);
}

bool node_hold_state(struct node *node, uint64_t peer_id, uint64_t index, uint64_t size_bytes)
{
    return !node->closing && raftio_hold_state(node->io, peer_id, index, size_bytes);
}

bool node_holds(const struct node *node, uint64_t index, uint64_t term)
{
    return raftio_holds(node->io, index, term);
}

enum err node_install(struct node *node, uint64_t peer_id, uint64_t index, uint64_t term,
                      struct bytes manifest)
{
    ASSERT(!node->closing && !raftio_inside(node->io));
    return raftio_install(node->io, peer_id, index, term, manifest);
}

uint64_t node_bare_index(const struct node *node)
{
    return raftio_bare_index(node->io);
}

void node_filled(struct node *node)
{
    raftio_filled(node->io);
}

/* ---- life ---- */

static void node_free(struct node *node)
{
    raftio_close(node->io);
    raft_free(node->bootstrap.base);
    free(node);
}

static enum err open_io(struct node *node, const struct node_config *config, struct why *why)
{
    static const struct raftio_callbacks callbacks = {
        .applied = on_applied,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .may_restore = on_may_restore,
        .want_state = on_want_state,
        .left = on_left,
        .changed = nodechange_on_changed,
        .transferred = nodechange_on_transferred,
        .ticked = on_ticked,
    };
    struct raftio_config io_config = {
        .env = config->env,
        .log = config->log,
        .metrics = config->metrics,
        .raftlog = config->raftlog,
        .transport = config->transport,
        .id = config->id,
        .address = nodepeers_own_address(config),
        .bootstrap = bytes_of(node->bootstrap.base, node->bootstrap.len),
        .heartbeat_ms = config->heartbeat_ms,
        .election_ms = config->election_ms,
        .snapshot_entries = config->snapshot_entries,
        .snapshot_bytes = config->snapshot_bytes,
        .trailing_entries = config->trailing_entries,
        .trailing_bytes = config->trailing_bytes,
        .held_entries = config->held_entries,
        .held_bytes = config->held_bytes,
        .guard_off_mask = config->unguarded ? GUARD_ALL_OFF : config->guard_off_mask,
        .sends_state = node->callbacks->want_state != NULL,
        .head_start = config->head_start,
    };
    return raftio_open(&io_config, &callbacks, node, &node->io, why);
}

static void ignore(void *ctx)
{
    (void)ctx;
}

enum err node_open(const struct node_config *config, const struct node_callbacks *callbacks,
                   void *ctx, struct node **ret, struct why *why)
{
    static const struct transport_callbacks transport_callbacks = {
        .on_frame = on_frame,
        .on_link = on_link,
        .is_joining = on_is_joining,
        .is_removed = on_is_removed,
        .on_removed = on_removed,
        .describe = on_describe,
    };
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        fatal("raft: out of memory");
    }
    node->env = config->env;
    node->log = config->log;
    node->callbacks = callbacks;
    node->ctx = ctx;
    node->transport = config->transport;
    queue_init(&node->proposed);
    queue_init(&node->answered);
    queue_init(&node->refused);
    env_task_init(&node->notify, PHASE_RAFT, on_notify);

    enum err err = nodepeers_encode_first(config, &node->bootstrap, why);
    if (err == OK) {
        err = open_io(node, config, why);
    } else {
        config->raftlog->ops->close(config->raftlog);
    }
    if (err == OK) {
        readindex_init(&node->readindex, node->env, node->io, node->transport);
        err = node->transport->ops->start(node->transport, &transport_callbacks, node, why);
    }
    if (err != OK) {
        node->transport->ops->close(node->transport, ignore, NULL);
        node_free(node);
        return err;
    }
    nodepeers_follow(node);
    node->term = node_term(node);
    *ret = node;
    return OK;
}

static void on_transport_closed(void *ctx)
{
    struct node *node = ctx;
    void (*closed)(void *closed_ctx) = node->closed;
    void *closed_ctx = node->closed_ctx;
    node_free(node);
    closed(closed_ctx);
}

void node_close(struct node *node, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(!node->closing && !raftio_inside(node->io));
    node->closing = true;
    node->closed = cb;
    node->closed_ctx = ctx;
    answer_all(node, ERR_STOPPED);
    nodechange_resolve(node, &node->change, ERR_STOPPED);
    nodechange_resolve(node, &node->transfer, ERR_STOPPED);
    run_answers(node);
    env_task_cancel(&node->notify);
    readindex_fini(&node->readindex);
    node->transport->ops->close(node->transport, on_transport_closed, node);
}
