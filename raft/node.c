/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/trace.h"
#include "raft/raftio.h"
#include "raft/readindex.h"

#define ADDRESS_BYTES_MAX 256

/* A peer that the transport was told of. */
struct peer {
    uint64_t id;
    char address[ADDRESS_BYTES_MAX];
};

/* The configuration as the doors show it; the one before is kept for whoever still looks at it. */
struct members {
    struct node_member items[MEMBERS_MAX];
    char addresses[MEMBERS_MAX][ADDRESS_BYTES_MAX];
    size_t count;
};

/* Something asked for, one at a time, whose outcome comes at the end of a turn. */
struct pending {
    void (*cb)(void *ctx, enum err status); /* NULL: nothing is asked */
    void *ctx;
    bool done;
    enum err status;
};

struct node {
    struct env *env;
    struct logger *log;
    const struct node_callbacks *callbacks;
    void *ctx;
    struct raftio *io;
    struct transport *transport;
    struct readindex readindex;
    struct raft_buffer bootstrap;

    struct queue proposed; /* in the log, by index */
    struct queue answered; /* waiting for their callback */
    struct queue refused;
    uint64_t proposed_term;
    struct env_task notify;

    /* What state_changed said last. */
    enum node_role role;
    uint64_t term;
    uint64_t leader_id;

    /* The configuration that members and peers were made from. */
    const struct raft_server *servers;
    unsigned server_count;
    uint64_t configuration_index;
    uint64_t uncommitted_index;
    struct members members[2];
    unsigned members_now;
    struct peer peers[MEMBERS_MAX];
    size_t peer_count;

    struct pending change;
    uint64_t change_id; /* a member being added: a spare that shall be a learner */
    bool change_add;
    bool change_added;
    struct pending transfer;
    uint64_t transfer_until_ms;

    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static const struct raft *core_of(const struct node *node)
{
    return raftio_core(node->io);
}

/* ---- who leads, and what is where ---- */

enum node_role node_role(const struct node *node)
{
    switch (core_of(node)->state) {
    case RAFT_LEADER:
        return NODE_LEADER;
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
        return r->id;
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

bool node_ready(const struct node *node)
{
    return node_role(node) == NODE_LEADER ? raftio_leads(node->io) : node_leader(node) != 0;
}

size_t node_members(const struct node *node, const struct node_member **ret)
{
    const struct members *members = &node->members[node->members_now];
    *ret = members->items;
    return members->count;
}

/* ---- the configuration: members and peers ---- */

static enum member_role role_of(int role)
{
    switch (role) {
    case RAFT_VOTER:
        return MEMBER_VOTER;
    case RAFT_STANDBY:
        return MEMBER_LEARNER;
    default:
        return MEMBER_SPARE;
    }
}

static void set_members(struct node *node, const struct raft_configuration *configuration)
{
    node->members_now ^= 1;
    struct members *members = &node->members[node->members_now];
    members->count = 0;
    for (unsigned i = 0; i < configuration->n && i < MEMBERS_MAX; i++) {
        const struct raft_server *server = &configuration->servers[i];
        size_t at = members->count++;
        strncpy(members->addresses[at], server->address, ADDRESS_BYTES_MAX - 1);
        members->items[at] = (struct node_member){
            .id = server->id, .address = members->addresses[at], .role = role_of(server->role)};
    }
}

static void add_peer(struct node *node, uint64_t id, const char *address)
{
    size_t i = 0;
    while (i < node->peer_count && node->peers[i].id != id) {
        i++;
    }
    if (i == MEMBERS_MAX ||
        (i < node->peer_count && strcmp(node->peers[i].address, address) == 0)) {
        return;
    }
    if (node->transport->ops->add_peer(node->transport, id, address) != OK) {
        LOG_WARN(node->log, "cannot talk to a member", LOG_HEX("member", id),
                 LOG_STR("address", address));
        return;
    }
    struct peer *peer = &node->peers[i];
    *peer = (struct peer){.id = id};
    strncpy(peer->address, address, ADDRESS_BYTES_MAX - 1);
    node->peer_count += i == node->peer_count;
}

static void remove_gone_peers(struct node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->peer_count; i++) {
        if (core_server(core_of(node), node->peers[i].id) != NULL) {
            node->peers[kept++] = node->peers[i];
        } else {
            node->transport->ops->remove_peer(node->transport, node->peers[i].id);
        }
    }
    node->peer_count = kept;
}

static void follow_configuration(struct node *node)
{
    const struct raft *r = core_of(node);
    const struct raft_configuration *configuration = &r->configuration;
    if (configuration->servers == node->servers && configuration->n == node->server_count &&
        r->configuration_index == node->configuration_index &&
        r->configuration_uncommitted_index == node->uncommitted_index) {
        return;
    }
    node->servers = configuration->servers;
    node->server_count = configuration->n;
    node->configuration_index = r->configuration_index;
    node->uncommitted_index = r->configuration_uncommitted_index;
    set_members(node, configuration);
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id != r->id) {
            add_peer(node, configuration->servers[i].id, configuration->servers[i].address);
        }
    }
    if (configuration->n > 0 && r->configuration_uncommitted_index == 0) {
        remove_gone_peers(node);
    }
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

static void resolve(struct node *node, struct pending *pending, enum err status)
{
    if (pending->cb != NULL && !pending->done) {
        pending->done = true;
        pending->status = status;
        env_defer(node->env, &node->notify);
    }
}

static void call_back(struct pending *pending)
{
    if (pending->cb != NULL && pending->done) {
        struct pending done = *pending;
        *pending = (struct pending){0};
        done.cb(done.ctx, done.status);
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

static void run_answers(struct node *node)
{
    struct queue *link;
    while ((link = queue_pop_front(&node->answered)) != NULL) {
        struct proposal *proposal = proposal_of(link);
        proposal->cb(proposal, (enum err)proposal->reserved[0]);
    }
    run_refusals(node);
    call_back(&node->change);
    call_back(&node->transfer);
}

/* The second step of adding a member. */
static void continue_change(struct node *node)
{
    if (node->change_add && node->change_added) {
        node->change_add = false;
        enum err err = raftio_change(node->io, RAFTIO_SET_LEARNER, node->change_id, NULL);
        if (err != OK) {
            resolve(node, &node->change, err);
        }
    }
}

static void on_notify(struct env_task *task)
{
    struct node *node = CONTAINER_OF(task, struct node, notify);
    if (state_differs(node)) {
        tell_state(node);
    }
    continue_change(node);
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
            resolve(node, &node->transfer, OK);
        }
        env_defer(node->env, &node->notify);
    }
    follow_configuration(node);
    readindex_update(&node->readindex);
}

/* A member is added as a spare, which gets no entries, and then made a learner. */
static void on_changed(void *ctx, enum err status)
{
    struct node *node = ctx;
    if (status != OK || !node->change_add) {
        resolve(node, &node->change, status);
        return;
    }
    node->change_added = true;
    env_defer(node->env, &node->notify);
}

static void on_transferred(void *ctx)
{
    struct node *node = ctx;
    if (node_role(node) == NODE_LEADER) {
        resolve(node, &node->transfer, ERR_TIMEOUT);
    }
}

static void on_ticked(void *ctx)
{
    struct node *node = ctx;
    readindex_tick(&node->readindex);
    if (node->transfer.cb != NULL && env_now_ms(node->env) >= node->transfer_until_ms) {
        resolve(node, &node->transfer, ERR_TIMEOUT);
    }
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
        add_peer(node, peer_id, address);
    }
}

static void on_link(void *ctx, uint64_t peer_id, bool up)
{
    struct node *node = ctx;
    if (!node->closing) {
        raftio_on_link(node->io, peer_id, up);
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

/* ---- life ---- */

/* Every member must make the same bytes of it. */
static int by_id(const void *a, const void *b)
{
    uint64_t left = ((const struct node_member *)a)->id;
    uint64_t right = ((const struct node_member *)b)->id;
    return left < right ? -1 : left > right;
}

static enum err encode_bootstrap(struct node *node, const struct node_config *config,
                                 struct why *why)
{
    if (config->bootstrap_count == 0) {
        return OK;
    }
    if (config->bootstrap_count > MEMBERS_MAX) {
        why_set(why, "a cluster has at most %d members", MEMBERS_MAX);
        return ERR_LIMIT;
    }
    struct node_member sorted[MEMBERS_MAX];
    memcpy(sorted, config->bootstrap, config->bootstrap_count * sizeof sorted[0]);
    qsort(sorted, config->bootstrap_count, sizeof sorted[0], by_id);
    static const int roles[] = {
        [MEMBER_VOTER] = RAFT_VOTER, [MEMBER_LEARNER] = RAFT_STANDBY, [MEMBER_SPARE] = RAFT_SPARE};
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (size_t i = 0; i < config->bootstrap_count && rv == 0; i++) {
        rv = strlen(sorted[i].address) < ADDRESS_BYTES_MAX
                 ? raft_configuration_add(&configuration, sorted[i].id, sorted[i].address,
                                          roles[sorted[i].role])
                 : RAFT_INVALID;
    }
    if (rv == 0) {
        node->bootstrap = configuration_encode(&configuration);
    }
    raft_configuration_close(&configuration);
    if (rv != 0) {
        why_set(why, "the first configuration: %s", raft_strerror(rv));
        return ERR_INVALID;
    }
    return OK;
}

static const char *own_address(const struct node_config *config)
{
    for (size_t i = 0; i < config->bootstrap_count; i++) {
        if (config->bootstrap[i].id == config->id) {
            return config->bootstrap[i].address;
        }
    }
    return "";
}

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
        .left = on_left,
        .changed = on_changed,
        .transferred = on_transferred,
        .ticked = on_ticked,
    };
    struct raftio_config io_config = {
        .env = config->env,
        .log = config->log,
        .raftlog = config->raftlog,
        .transport = config->transport,
        .id = config->id,
        .address = own_address(config),
        .bootstrap = bytes_of(node->bootstrap.base, node->bootstrap.len),
        .heartbeat_ms = config->heartbeat_ms,
        .election_ms = config->election_ms,
        .snapshot_entries = config->snapshot_entries,
        .snapshot_bytes = config->snapshot_bytes,
        .trailing_entries = config->trailing_entries,
        .trailing_bytes = config->trailing_bytes,
        .guard_off_mask = config->unguarded ? GUARD_ALL_OFF : config->guard_off_mask,
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
    static const struct transport_callbacks transport_callbacks = {.on_frame = on_frame,
                                                                   .on_link = on_link};
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

    enum err err = encode_bootstrap(node, config, why);
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
    follow_configuration(node);
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
    resolve(node, &node->change, ERR_STOPPED);
    resolve(node, &node->transfer, ERR_STOPPED);
    run_answers(node);
    env_task_cancel(&node->notify);
    readindex_fini(&node->readindex);
    node->transport->ops->close(node->transport, on_transport_closed, node);
}
