/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/node_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

struct sent {
    struct queue link;
    struct node_frame frame;
};

struct proposed {
    struct queue link;
    struct proposal *proposal;
    struct blob *entry;
};

struct outcome {
    void (*cb)(void *ctx, enum err status);
    void *ctx;
};

struct node {
    struct env *env;
    const struct node_callbacks *callbacks; /* NULL: none */
    void *ctx;
    uint64_t id;
    uint64_t term;
    uint64_t leader_id;
    uint64_t index;
    struct node_member members[MEMBERS_MAX];
    size_t member_count;
    bool unsettled;
    struct queue proposals;
    struct queue reads;
    struct queue frames;
    bool unready;
    uint64_t needs_state; /* a peer; 0: nobody */
    uint64_t log_start;
    uint64_t held_index;
    uint64_t bare_index;
    size_t installs;
    uint64_t installed_index;
    bool disconnected;
    struct outcome transfer;
    uint64_t transfer_target;
    struct outcome change;
    struct node_fake_change change_asked;
    struct fake_peer {
        uint64_t id;
        uint64_t connected_ms;
        uint64_t match_index;
    } peers[MEMBERS_MAX];
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static enum err next_open;

static void *must_calloc(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        fatal("fake node: out of memory");
    }
    return memory;
}

static size_t queue_count(const struct queue *queue)
{
    size_t count = 0;
    QUEUE_FOREACH (link, queue) {
        count++;
    }
    return count;
}

/* ---- its life ---- */

struct node *node_fake_new(struct env *env, uint64_t id)
{
    struct node *node = must_calloc(sizeof *node);
    node->env = env;
    node->id = id;
    node->term = 1;
    queue_init(&node->proposals);
    queue_init(&node->reads);
    queue_init(&node->frames);
    return node;
}

void node_fake_free(struct node *node)
{
    ASSERT(queue_empty(&node->proposals));
    ASSERT(queue_empty(&node->reads));
    ASSERT(node->transfer.cb == NULL);
    while (node_fake_frame_count(node) > 0) {
        blob_unref(node_fake_take_frame(node).payload);
    }
    free(node);
}

void node_fake_fail_open(enum err err)
{
    next_open = err;
}

enum err node_open(const struct node_config *config, const struct node_callbacks *callbacks,
                   void *ctx, struct node **ret, struct why *why)
{
    if (next_open != OK) {
        enum err err = next_open;
        next_open = OK;
        why_set(why, "the node was told to fail");
        return err;
    }
    struct node *node = node_fake_new(config->env, config->id);
    node->callbacks = callbacks;
    node->ctx = ctx;
    ASSERT(config->bootstrap_count <= MEMBERS_MAX);
    node->member_count = config->bootstrap_count;
    for (size_t i = 0; i < config->bootstrap_count; i++) {
        node->members[i] = config->bootstrap[i];
        node->members[i].address = ""; /* the caller's memory goes away */
    }
    *ret = node;
    return OK;
}

void node_close(struct node *node, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(!node->closing);
    node->closing = true;
    node->closed = cb;
    node->closed_ctx = ctx;
}

bool node_fake_closing(const struct node *node)
{
    return node->closing;
}

void node_fake_finish_close(struct node *node)
{
    ASSERT(node->closing);
    while (node_fake_proposal_count(node) > 0) {
        node_fake_refuse(node, ERR_STOPPED);
    }
    node_fake_answer_reads(node, ERR_STOPPED);
    if (node->transfer.cb != NULL) {
        node_fake_finish_transfer(node, ERR_STOPPED);
    }
    if (node->change.cb != NULL) {
        node_fake_finish_change(node, ERR_STOPPED);
    }
    void (*closed)(void *ctx) = node->closed;
    void *ctx = node->closed_ctx;
    node_fake_free(node);
    closed(ctx);
}

const struct node_callbacks *node_fake_callbacks(const struct node *node)
{
    return node->callbacks;
}

void *node_fake_ctx(const struct node *node)
{
    return node->ctx;
}

/* ---- who leads ---- */

void node_fake_set_leader_untold(struct node *node, uint64_t term, uint64_t leader_id)
{
    ASSERT(term >= node->term);
    node->term = term;
    node->leader_id = leader_id;
}

void node_fake_tell(struct node *node)
{
    if (node->callbacks != NULL) {
        node->callbacks->state_changed(node->ctx, node_role(node), node->term, node->leader_id);
    }
}

void node_fake_set_leader(struct node *node, uint64_t term, uint64_t leader_id)
{
    node_fake_set_leader_untold(node, term, leader_id);
    node_fake_tell(node);
}

enum node_role node_role(const struct node *node)
{
    return node->leader_id == node->id ? NODE_LEADER : NODE_FOLLOWER;
}

uint64_t node_id(const struct node *node)
{
    return node->id;
}

uint64_t node_term(const struct node *node)
{
    return node->term;
}

uint64_t node_leader(const struct node *node)
{
    return node->leader_id;
}

uint64_t node_commit_index(const struct node *node)
{
    return node->index;
}

uint64_t node_applied_index(const struct node *node)
{
    return node->index;
}

uint64_t node_last_index(const struct node *node)
{
    return node->index + queue_count(&node->proposals);
}

bool node_ready(const struct node *node)
{
    return node->leader_id != 0 && !node->unready;
}

void node_fake_set_ready(struct node *node, bool ready)
{
    node->unready = !ready;
}

size_t node_members(const struct node *node, const struct node_member **ret)
{
    *ret = node->members;
    return node->member_count;
}

bool node_has_left(const struct node *node, uint64_t member_id)
{
    for (size_t i = 0; i < node->member_count; i++) {
        if (node->members[i].id == member_id) {
            return false;
        }
    }
    return node->member_count > 0 && !node->unsettled;
}

void node_fake_set_settled(struct node *node, bool settled)
{
    node->unsettled = !settled;
}

/* ---- proposals ---- */

void node_propose(struct node *node, struct proposal *proposal, struct blob *entry,
                  void (*cb)(struct proposal *proposal, enum err status))
{
    ASSERT(!node->closing);
    struct proposed *proposed = must_calloc(sizeof *proposed);
    proposed->proposal = proposal;
    proposed->entry = blob_ref(entry);
    proposal->cb = cb;
    proposal->index = node_last_index(node) + 1;
    proposal->term = node->term;
    queue_push_back(&node->proposals, &proposed->link);
}

size_t node_fake_proposal_count(const struct node *node)
{
    return queue_count(&node->proposals);
}

struct bytes node_fake_entry(const struct node *node, size_t i)
{
    QUEUE_FOREACH (link, &node->proposals) {
        if (i-- == 0) {
            return blob_bytes(QUEUE_ELEM(link, struct proposed, link)->entry);
        }
    }
    fatal("fake node: nothing is proposed there");
}

static struct proposed *take_oldest(struct node *node)
{
    struct queue *link = queue_pop_front(&node->proposals);
    ASSERT(link != NULL);
    return QUEUE_ELEM(link, struct proposed, link);
}

static void answer(struct proposed *proposed, enum err status)
{
    struct proposal *proposal = proposed->proposal;
    blob_unref(proposed->entry);
    free(proposed);
    proposal->cb(proposal, status);
}

void node_fake_apply(struct node *node, struct bytes entry)
{
    node->index++;
    if (node->callbacks != NULL) {
        node->callbacks->apply(node->ctx, node->index, node->term, entry);
    }
}

void node_fake_commit(struct node *node)
{
    struct proposed *proposed = take_oldest(node);
    node_fake_apply(node, blob_bytes(proposed->entry));
    answer(proposed, OK);
}

void node_fake_refuse(struct node *node, enum err status)
{
    answer(take_oldest(node), status);
}

/* ---- reads ---- */

void node_read_index(struct node *node, struct read_index *request,
                     void (*cb)(struct read_index *request, enum err status, uint64_t index))
{
    ASSERT(!node->closing);
    request->cb = cb;
    queue_push_back(&node->reads, &request->link);
}

void node_read_index_cancel(struct node *node, struct read_index *request)
{
    (void)node;
    ASSERT(!queue_empty(&request->link)); /* it waits */
    queue_remove(&request->link);
}

size_t node_fake_read_count(const struct node *node)
{
    return queue_count(&node->reads);
}

void node_fake_answer_reads(struct node *node, enum err status)
{
    struct queue now;
    struct queue *link;
    queue_init(&now);
    queue_splice(&now, &node->reads);
    while ((link = queue_pop_front(&now)) != NULL) {
        struct read_index *request = QUEUE_ELEM(link, struct read_index, link);
        request->cb(request, status, node->index);
    }
}

/* ---- frames ---- */

bool node_send(struct node *node, uint64_t peer_id, enum transport_lane lane, enum frame_kind kind,
               struct blob *payload)
{
    ASSERT(peer_id != node->id);
    if (node->disconnected) {
        return false;
    }
    struct sent *sent = must_calloc(sizeof *sent);
    sent->frame = (struct node_frame){
        .peer_id = peer_id, .lane = lane, .kind = kind, .payload = blob_ref(payload)};
    queue_push_back(&node->frames, &sent->link);
    return true;
}

void node_fake_set_connected(struct node *node, bool connected)
{
    node->disconnected = !connected;
}

size_t node_fake_frame_count(const struct node *node)
{
    return queue_count(&node->frames);
}

struct node_frame node_fake_take_frame(struct node *node)
{
    struct queue *link = queue_pop_front(&node->frames);
    ASSERT(link != NULL);
    struct sent *sent = QUEUE_ELEM(link, struct sent, link);
    struct node_frame frame = sent->frame;
    free(sent);
    return frame;
}

void node_fake_deliver(struct node *node, uint64_t peer_id, enum frame_kind kind,
                       struct bytes payload)
{
    ASSERT(!node->closing);
    node->callbacks->on_frame(node->ctx, peer_id, kind, payload);
}

/* ---- states ---- */

void node_fake_need_state(struct node *node, uint64_t peer_id, bool needs)
{
    node->needs_state = needs ? peer_id : 0;
}

void node_fake_set_log_start(struct node *node, uint64_t index)
{
    node->log_start = index;
}

uint64_t node_fake_held_index(const struct node *node)
{
    return node->held_index;
}

size_t node_fake_install_count(const struct node *node)
{
    return node->installs;
}

uint64_t node_fake_installed_index(const struct node *node)
{
    return node->installed_index;
}

void node_fake_set_bare(struct node *node, uint64_t index)
{
    node->bare_index = index;
}

uint64_t node_bare_index(const struct node *node)
{
    return node->bare_index;
}

void node_filled(struct node *node)
{
    ASSERT(node->bare_index != 0);
    node->bare_index = 0;
}

bool node_hold_state(struct node *node, uint64_t peer_id, uint64_t index, uint64_t size_bytes)
{
    (void)size_bytes;
    ASSERT(!node->closing);
    bool needs = node->needs_state == peer_id && node_role(node) == NODE_LEADER;
    node->held_index = needs ? index : node->held_index;
    return needs;
}

bool node_holds(const struct node *node, uint64_t index, uint64_t term)
{
    return index != 0 && term != 0 && index >= node->log_start;
}

enum err node_install(struct node *node, uint64_t peer_id, uint64_t index, uint64_t term,
                      struct bytes manifest)
{
    ASSERT(!node->closing && manifest.len > 0);
    if (node->needs_state != peer_id || node_role(node) != NODE_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (!node_holds(node, index, term)) {
        return ERR_NOT_FOUND;
    }
    node->installs++;
    node->installed_index = index;
    return OK;
}

/* ---- transfer and changes ---- */

void node_transfer(struct node *node, uint64_t peer_id, void (*cb)(void *ctx, enum err status),
                   void *ctx)
{
    ASSERT(!node->closing && node->transfer.cb == NULL);
    node->transfer_target = peer_id;
    node->transfer = (struct outcome){.cb = cb, .ctx = ctx};
}

bool node_fake_transferring(const struct node *node)
{
    return node->transfer.cb != NULL;
}

uint64_t node_fake_transfer_target(const struct node *node)
{
    return node->transfer_target;
}

void node_fake_finish_transfer(struct node *node, enum err status)
{
    struct outcome transfer = node->transfer;
    ASSERT(transfer.cb != NULL);
    node->transfer = (struct outcome){0};
    transfer.cb(transfer.ctx, status);
}

void node_change(struct node *node, enum change_kind kind, uint64_t member_id, const char *address,
                 void (*cb)(void *ctx, enum err status), void *ctx)
{
    ASSERT(!node->closing && node->change.cb == NULL);
    node->change = (struct outcome){.cb = cb, .ctx = ctx};
    node->change_asked = (struct node_fake_change){.kind = kind, .id = member_id};
    if (kind == CHANGE_ADD_LEARNER) {
        snprintf(node->change_asked.address, sizeof node->change_asked.address, "%s", address);
    }
}

const struct node_fake_change *node_fake_change(const struct node *node)
{
    return node->change.cb == NULL ? NULL : &node->change_asked;
}

void node_fake_finish_change(struct node *node, enum err status)
{
    struct outcome change = node->change;
    ASSERT(change.cb != NULL);
    node->change = (struct outcome){0};
    change.cb(change.ctx, status);
}

void node_fake_set_members(struct node *node, const struct node_member *members, size_t count)
{
    ASSERT(count <= MEMBERS_MAX);
    memcpy(node->members, members, count * sizeof *members);
    node->member_count = count;
}

static struct fake_peer *peer_of(struct node *node, uint64_t id)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        if (node->peers[i].id == id || node->peers[i].id == 0) {
            node->peers[i].id = id;
            return &node->peers[i];
        }
    }
    fatal("fake node: too many peers");
}

void node_fake_set_peer(struct node *node, uint64_t id, uint64_t connected_ms, uint64_t match_index)
{
    struct fake_peer *peer = peer_of(node, id);
    peer->connected_ms = connected_ms;
    peer->match_index = match_index;
}

uint64_t node_connected_ms(const struct node *node, uint64_t peer_id)
{
    return peer_of((struct node *)(uintptr_t)node, peer_id)->connected_ms;
}

uint64_t node_match_index(const struct node *node, uint64_t member_id)
{
    return peer_of((struct node *)(uintptr_t)node, member_id)->match_index;
}

void node_review_peers(struct node *node)
{
    (void)node;
}

void node_set_addresses(struct node *node, const struct node_member *members, size_t count)
{
    (void)node;
    ASSERT(count <= MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        ASSERT(members[i].address != NULL);
    }
}
