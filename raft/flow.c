/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/flow.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/trace.h"
#include "raft/frame.h"

#define WINDOW_BYTES   (16u * APPEND_BYTES_MAX)
#define WINDOW_ENTRIES (16u * APPEND_ENTRIES_MAX)
/* Entries that the peer has not received after this many heartbeats are sent again. */
#define RESEND_HEARTBEATS 3

static void on_tell(struct env_task *task);

void flow_init(struct flow *flow, struct guard *guard, struct transport *transport,
               const char *address)
{
    *flow = (struct flow){.core = guard->core,
                          .guard = guard,
                          .env = guard->env,
                          .transport = transport,
                          .address = address};
    env_task_init(&flow->tell, PHASE_FLUSH, on_tell);
}

static void forget_blob(struct flow *flow)
{
    blob_unref(flow->last_blob);
    flow->last_blob = NULL;
}

void flow_fini(struct flow *flow)
{
    env_task_cancel(&flow->tell);
    forget_blob(flow);
}

/* The records are of one term: a new one starts them anew. */
static struct flow_peer *peer_of(struct flow *flow, uint64_t id)
{
    if (flow->term != flow->core->current_term) {
        flow->term = flow->core->current_term;
        flow->peer_count = 0;
    }
    for (size_t i = 0; i < flow->peer_count; i++) {
        if (flow->peers[i].id == id) {
            return &flow->peers[i];
        }
    }
    if (flow->peer_count == MEMBERS_MAX) {
        return NULL; /* members come and go: then those who are gone make room */
    }
    struct flow_peer *peer = &flow->peers[flow->peer_count++];
    *peer = (struct flow_peer){
        .id = id, .moved_at_ms = env_now_ms(flow->env), .back_index = UINT64_MAX};
    return peer;
}

static void drop_gone_peers(struct flow *flow)
{
    size_t kept = 0;
    for (size_t i = 0; i < flow->peer_count; i++) {
        if (core_server(flow->core, flow->peers[i].id) != NULL) {
            flow->peers[kept++] = flow->peers[i];
        }
    }
    flow->peer_count = kept;
}

/* Our own disk may be the last that has an entry. A member that is sent a snapshot goes on behind
 * it. */
uint64_t flow_replicated_index(const struct flow *flow)
{
    const struct raft *r = flow->core;
    uint64_t least = guard_last_stored(flow->guard);
    for (unsigned i = 0; i < r->configuration.n && r->state == RAFT_LEADER; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        const struct raft_progress *progress = &r->leader_state.progress[i];
        bool catches_up = r->leader_state.promotee_id == server->id;
        if (server->id == r->id || (server->role == RAFT_SPARE && !catches_up)) {
            continue;
        }
        uint64_t reaches = progress->match_index;
        if (progress->state == CORE_SNAPSHOT && progress->snapshot_index > reaches) {
            reaches = progress->snapshot_index;
        }
        least = reaches < least ? reaches : least;
    }
    return least;
}

static bool send_frame(struct flow *flow, uint64_t peer, enum transport_lane lane,
                       const struct raft_append_entries *append)
{
    const struct raft_append_entries *last = &flow->last;
    bool same = flow->last_blob != NULL && last->term == append->term &&
                last->prev_log_index == append->prev_log_index &&
                last->n_entries == append->n_entries &&
                last->leader_commit == append->leader_commit;
    if (!same) {
        struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .append_entries = *append};
        forget_blob(flow);
        struct frame_notes notes = {.replicated_index = flow_replicated_index(flow)};
        flow->last_blob = frame_encode(&message, &notes, flow->address);
        if (flow->last_blob == NULL) {
            return false;
        }
        flow->last = *append;
    }
    return flow->transport->ops->send(flow->transport, peer, lane, FRAME_RAFT, flow->last_blob);
}

static void note_told(struct flow_peer *peer, uint64_t commit)
{
    if (commit > peer->told_commit) {
        peer->told_commit = commit;
    }
}

static void send_heartbeat(struct flow *flow, struct flow_peer *peer, uint64_t match)
{
    const struct raft *r = flow->core;
    struct raft_append_entries append = {.term = r->current_term};
    append.prev_log_term = core_term_of(r, match);
    if (append.prev_log_term != 0) {
        append.prev_log_index = match;
        append.leader_commit = match < r->commit_index ? match : r->commit_index;
    }
    peer->heartbeat_at_ms = env_now_ms(flow->env);
    if (send_frame(flow, peer->id, LANE_URGENT, &append)) {
        note_told(peer, append.leader_commit);
    }
}

/* What PEER may know to be committed and has not been told. */
static bool is_behind(const struct flow *flow, const struct flow_peer *peer, uint64_t *match)
{
    const struct raft *r = flow->core;
    const struct raft_progress *progress = core_progress(flow->core, peer->id);
    if (progress == NULL || progress->state != CORE_PIPELINE) {
        return false;
    }
    *match = progress->match_index;
    return (*match < r->commit_index ? *match : r->commit_index) > peer->told_commit;
}

static void on_tell(struct env_task *task)
{
    struct flow *flow = CONTAINER_OF(task, struct flow, tell);
    for (size_t i = 0; i < flow->peer_count && flow->core->state == RAFT_LEADER; i++) {
        uint64_t match;
        if (is_behind(flow, &flow->peers[i], &match)) {
            send_heartbeat(flow, &flow->peers[i], match);
        }
    }
    forget_blob(flow);
}

static void tell_later(struct flow *flow)
{
    if (flow->core->state != RAFT_LEADER || !guard_on(flow->guard, GUARD_FLOW)) {
        return;
    }
    for (size_t i = 0; i < flow->peer_count; i++) {
        uint64_t match;
        if (is_behind(flow, &flow->peers[i], &match)) {
            env_defer(flow->env, &flow->tell);
        }
    }
}

/* ---- the window ---- */

static size_t size_of(const struct raft *r, uint64_t index)
{
    const struct raft_entry *entry = core_entry(r, index);
    return entry == NULL ? 0 : entry->buf.len;
}

static void forget_sent(struct flow *flow, struct flow_peer *peer, uint64_t index)
{
    peer->base_index = index;
    peer->sent_index = index;
    peer->acked_index = index;
    peer->window_bytes = 0;
    peer->moved_at_ms = env_now_ms(flow->env);
}

static void note_acked(const struct raft *r, struct flow_peer *peer, uint64_t match)
{
    while (peer->acked_index < match && peer->acked_index < peer->sent_index) {
        size_t size = size_of(r, ++peer->acked_index);
        peer->window_bytes -= size < peer->window_bytes ? size : peer->window_bytes;
    }
    if (peer->acked_index == peer->sent_index) {
        peer->window_bytes = 0;
    }
    if (match > peer->sent_index) {
        peer->sent_index = match;
        peer->acked_index = match;
    }
}

static void note_sent(struct flow *flow, struct flow_peer *peer, uint64_t index, uint64_t bytes)
{
    if (peer->sent_index <= peer->received_index) {
        peer->moved_at_ms = env_now_ms(flow->env);
    }
    peer->sent_index = index;
    peer->window_bytes += bytes;
}

static bool window_is_full(const struct flow_peer *peer)
{
    return peer->window_bytes >= WINDOW_BYTES ||
           peer->sent_index - peer->acked_index >= WINDOW_ENTRIES;
}

/* How many of the entries from AT on make the next message, and their bytes. */
static unsigned chunk_count(const struct flow *flow, const struct raft_append_entries *append,
                            unsigned at, uint64_t *bytes)
{
    uint64_t stored = guard_last_stored(flow->guard);
    bool change_stored = guard_on(flow->guard, GUARD_CHANGE_STORED);
    unsigned count = 0;
    *bytes = 0;
    while (at + count < append->n_entries && count < APPEND_ENTRIES_MAX) {
        const struct raft_entry *entry = &append->entries[at + count];
        uint64_t index = append->prev_log_index + at + count + 1;
        if (entry->type == RAFT_CHANGE && index > stored && change_stored) {
            break;
        }
        if (count > 0 && *bytes + entry->buf.len > APPEND_BYTES_MAX) {
            break;
        }
        *bytes += entry->buf.len;
        count++;
    }
    return count;
}

/* The highest index that the peer is known to have, at least in memory. */
static uint64_t arrived_index(const struct flow_peer *peer, const struct raft_progress *progress)
{
    return peer->received_index > progress->match_index ? peer->received_index
                                                        : progress->match_index;
}

/* Nothing at or above what we sent from has come back. */
static bool is_searching(const struct flow_peer *peer, const struct raft_progress *progress)
{
    return arrived_index(peer, progress) < peer->base_index;
}

/* Send as much as the window allows, or one message while it may be refused; true: all. */
static bool send_chunks(struct flow *flow, struct flow_peer *peer,
                        const struct raft_append_entries *append, bool searching)
{
    unsigned at = 0;
    while (at < append->n_entries) {
        uint64_t bytes;
        unsigned count = chunk_count(flow, append, at, &bytes);
        if (count == 0 || window_is_full(peer) || (searching && at > 0)) {
            return false;
        }
        uint64_t prev = append->prev_log_index + at;
        struct raft_append_entries chunk = *append;
        chunk.prev_log_index = prev;
        chunk.prev_log_term = at == 0 ? append->prev_log_term : append->entries[at - 1].term;
        chunk.entries = &append->entries[at];
        chunk.n_entries = count;
        if (chunk.leader_commit > prev + count) {
            chunk.leader_commit = prev + count;
        }
        if (!send_frame(flow, peer->id, LANE_BULK, &chunk)) {
            return false;
        }
        note_sent(flow, peer, prev + count, bytes);
        note_told(peer, chunk.leader_commit);
        at += count;
    }
    return true;
}

int flow_send_append(struct flow *flow, uint64_t id, const struct raft_append_entries *append)
{
    struct raft *r = flow->core;
    struct raft_progress *progress = core_progress(r, id);
    struct flow_peer *peer = peer_of(flow, id);
    if (!guard_on(flow->guard, GUARD_FLOW) || progress == NULL || peer == NULL) {
        enum transport_lane lane = append->n_entries > 0 ? LANE_BULK : LANE_URGENT;
        return send_frame(flow, id, lane, append) ? 0 : RAFT_NOCONNECTION;
    }
    uint64_t match = progress->match_index;
    if (append->n_entries == 0) {
        bool ask = match == 0 && progress->state != CORE_SNAPSHOT;
        if (ask) {
            peer->heartbeat_at_ms = env_now_ms(flow->env);
            (void)send_frame(flow, id, LANE_URGENT, append);
        } else {
            send_heartbeat(flow, peer, match);
        }
        return 0;
    }
    note_acked(r, peer, match);
    if (append->prev_log_index != peer->sent_index) {
        forget_sent(flow, peer, append->prev_log_index); /* the core goes back, or begins */
    }
    bool connected = flow->transport->ops->connected(flow->transport, id);
    bool searching = is_searching(peer, progress);
    if (!connected || !send_chunks(flow, peer, append, searching)) {
        peer->held = true;
        return RAFT_NOCONNECTION;
    }
    /* The core would send it all once more at the next heartbeat. */
    peer->held = progress->state == CORE_PROBE && !searching;
    return 0;
}

/* ---- answers and time ---- */

/* A follower's entry at INDEX is of TERM: ours, of later terms, are not in its log up to there.
 * With what the follower does (guard.c, may_match) a search takes as many answers as there are
 * terms. A late refusal may know less than what we know to match: before that the log may have
 * forgotten everything. */
static uint64_t may_match(const struct flow *flow, const struct raft_progress *progress,
                          uint64_t index, uint64_t term)
{
    const struct raft *r = flow->core;
    while (term != 0 && index > progress->match_index && core_term_of(r, index) > term) {
        index--;
    }
    return index > progress->match_index ? index : progress->match_index;
}

/* Do we go back for this refusal now? What was on its way behind a message that was not taken is
 * refused message by message: if each of these sent it all again, there would be more of them each
 * time. So once for a place in a heartbeat, or further back; what was passed over for that is sent
 * when nothing arrives any more (tick_peer). */
static bool goes_back(struct flow *flow, struct flow_peer *peer,
                      const struct raft_append_entries_result *result)
{
    uint64_t now = env_now_ms(flow->env);
    uint64_t to =
        result->last_log_index < result->rejected ? result->last_log_index : result->rejected - 1;
    if (to >= peer->back_index && now - peer->back_at_ms < flow->core->heartbeat_timeout) {
        return false;
    }
    peer->back_index = to;
    peer->back_at_ms = now;
    return true;
}

/* PEER refuses what it is known to have stored. To forget that it has is safe: it counts for less.
 */
static void note_lack(struct flow *flow, struct flow_peer *peer, struct raft_progress *progress)
{
    uint64_t now = env_now_ms(flow->env);
    if (peer->lacks_since_ms == 0) {
        peer->lacks_since_ms = now;
    }
    if (now - peer->lacks_since_ms < flow->core->election_timeout) {
        return;
    }
    LOG_ERROR(flow->guard->log,
              "a member lacks what it had stored: its data directory is of an older time, or its "
              "disk has lost what was synced",
              LOG_HEX("member", peer->id), LOG_U64("stored-index", progress->match_index));
    peer->lacks_since_ms = 0;
    peer->received_index = 0;
    peer->back_index = UINT64_MAX;
    progress->match_index = 0;
    if (progress->state == CORE_PIPELINE) {
        progress->state = CORE_PROBE;
    }
}

void flow_before_answer(struct flow *flow, uint64_t id, struct raft_append_entries_result *result,
                        const struct frame_notes *notes)
{
    uint64_t received = notes->received_index;
    struct raft_progress *progress = core_progress(flow->core, id);
    if (!guard_on(flow->guard, GUARD_FLOW) || progress == NULL ||
        result->term != flow->core->current_term) {
        return;
    }
    struct flow_peer *peer = peer_of(flow, id);
    if (peer == NULL) {
        return;
    }
    if (received > peer->received_index) {
        peer->moved_at_ms = env_now_ms(flow->env);
    }
    peer->received_index = received; /* less than before: it has begun a new life */
    if (result->rejected == 0) {
        if (result->last_log_index >= progress->match_index) {
            peer->lacks_since_ms = 0;
        }
        if (result->last_log_index > progress->match_index) {
            peer->back_index = UINT64_MAX;
        }
        if (progress->state == CORE_PROBE && progress->next_index <= peer->sent_index &&
            progress->match_index < result->last_log_index) {
            progress->next_index = peer->sent_index + 1;
        }
        return;
    }
    if (result->rejected == progress->match_index) {
        note_lack(flow, peer, progress);
    }
    result->last_log_index = may_match(flow, progress, result->last_log_index, notes->last_term);
    if (!goes_back(flow, peer, result)) {
        return;
    }
    progress->last_send = 0; /* the core may answer at once, not at the next heartbeat */
    if (progress->state == CORE_PROBE && result->rejected > progress->match_index &&
        result->rejected <= peer->sent_index) {
        progress->next_index = result->rejected + 1; /* what the core takes it for */
    }
}

/* Go back to what is known to have arrived, which may be less than we sent from: what a peer had
 * only in its memory is gone with a life of it. When nothing is known, the core is still searching,
 * and tries again by itself. */
static void send_again(struct flow *flow, struct flow_peer *peer, struct raft_progress *progress)
{
    progress->last_send = 0;
    uint64_t from = arrived_index(peer, progress);
    if (core_term_of(flow->core, from) == 0) {
        return;
    }
    TRACE(flow->env, "flow: sent again", peer->id, from);
    forget_sent(flow, peer, from);
    peer->received_index = from;
    progress->next_index = from + 1;
    progress->state = CORE_PROBE;
}

static void tick_peer(struct flow *flow, const struct raft_server *server)
{
    struct raft *r = flow->core;
    struct raft_progress *progress = core_progress(r, server->id);
    struct flow_peer *peer = peer_of(flow, server->id);
    bool promoted = r->leader_state.promotee_id == server->id;
    if (peer == NULL || (server->role == RAFT_SPARE && !promoted)) {
        return;
    }
    uint64_t now = env_now_ms(flow->env);
    if (now - peer->heartbeat_at_ms >= r->heartbeat_timeout) {
        send_heartbeat(flow, peer, progress->match_index);
    }
    if (progress->state != CORE_SNAPSHOT && peer->sent_index > peer->received_index &&
        peer->sent_index > progress->match_index &&
        now - peer->moved_at_ms >= (uint64_t)RESEND_HEARTBEATS * r->heartbeat_timeout) {
        send_again(flow, peer, progress);
    }
}

void flow_before_tick(struct flow *flow)
{
    const struct raft *r = flow->core;
    if (r->state != RAFT_LEADER || !guard_on(flow->guard, GUARD_FLOW)) {
        return;
    }
    for (unsigned i = 0; i < r->configuration.n; i++) {
        uint64_t id = r->configuration.servers[i].id;
        if (id != r->id && !flow->transport->ops->connected(flow->transport, id)) {
            r->leader_state.progress[i].last_send = r->io->time(r->io);
        }
    }
}

void flow_tick(struct flow *flow)
{
    const struct raft *r = flow->core;
    if (r->state != RAFT_LEADER || !guard_on(flow->guard, GUARD_FLOW)) {
        return;
    }
    drop_gone_peers(flow);
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id != r->id) {
            tick_peer(flow, &r->configuration.servers[i]);
        }
    }
}

void flow_after(struct flow *flow)
{
    struct raft *r = flow->core;
    for (size_t i = 0; i < flow->peer_count; i++) {
        struct flow_peer *peer = &flow->peers[i];
        if (!peer->held) {
            continue;
        }
        peer->held = false;
        struct raft_progress *progress = core_progress(r, peer->id);
        if (progress != NULL && progress->state != CORE_SNAPSHOT) {
            progress->state = CORE_PROBE;
            progress->next_index =
                (is_searching(peer, progress) ? peer->base_index : peer->sent_index) + 1;
            progress->last_send = r->io->time(r->io);
        }
    }
    tell_later(flow);
    forget_blob(flow);
}

/* Whoever joins, and is started anew with nothing before it votes, keeps its id: what its log had
 * says nothing of what it has. That it was right is known with the first answer. */
static void forget_log(struct flow *flow, struct flow_peer *peer, struct raft_progress *progress)
{
    const struct raft_server *server = core_server(flow->core, peer->id);
    if (server->role != RAFT_VOTER) {
        progress->match_index = 0;
        peer->received_index = 0;
    }
}

void flow_on_link(struct flow *flow, uint64_t id, bool up)
{
    struct raft_progress *progress = core_progress(flow->core, id);
    struct flow_peer *peer = progress == NULL ? NULL : peer_of(flow, id);
    if (peer == NULL || !guard_on(flow->guard, GUARD_FLOW)) {
        return;
    }
    peer->lacks_since_ms = 0;
    if (progress->state != CORE_SNAPSHOT) {
        peer->received_index = progress->match_index; /* it may have begun a new life */
        send_again(flow, peer, progress);
    }
    if (up) {
        forget_log(flow, peer, progress);
    }
}
