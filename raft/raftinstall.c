/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "base/plant.h"
#include "raft/raftheap.h"
#include "raft/raftio_state.h"

/* A member that needs entries which the log has no more. The state itself goes another way, and
 * may take long; only then does the log of that member begin anew:
 *
 *   core: send a snapshot ─▶ want_state(peer)          the layers above make a copy and stream it
 *                            hold_state(peer, I) ...   meanwhile the log keeps what follows I
 *                            install(peer, I)          a few hundred bytes: its log begins at I
 *
 * The core's message is taken for sent at once and goes nowhere: it names the newest snapshot, and
 * while a state was on its way under load, the log would have forgotten that one's successors.
 *
 * The core waits in its state "snapshot" of that member, until it hears that the log begins there,
 * or nothing of a state for two election timeouts; then it asks again. */

/* ---- the leader ---- */

static void warn_fallen_behind(struct raftio *io, const struct raft_message *message)
{
    LOG_WARN(io->log, "a follower needs entries that the log does not hold any more",
             LOG_HEX("member", message->server_id),
             LOG_U64("snapshot-index", message->install_snapshot.last_index),
             LOG_U64("first-index", io->core.log.offset + 1));
}

bool raftinstall_takes(struct raftio *io, const struct raft_message *message)
{
    struct raft_progress *progress = core_progress(&io->core, message->server_id);
    if (progress != NULL) {
        progress->snapshot_index = message->install_snapshot.last_index;
    }
    if (!io->sends_state || PLANTED(STATE_LOG_EARLY)) {
        warn_fallen_behind(io, message);
        return false;
    }
    for (size_t i = 0; i < io->wants_count; i++) {
        if (io->wants[i] == message->server_id) {
            return true;
        }
    }
    ASSERT(io->wants_count < MEMBERS_MAX); /* the configuration has no more */
    io->wants[io->wants_count++] = message->server_id;
    return true;
}

void raftinstall_tell(struct raftio *io)
{
    while (io->wants_count > 0 && !io->closing) {
        io->callbacks->want_state(io->ctx, io->wants[--io->wants_count]);
    }
}

/* PEER, when the core waits for it to install a state; NULL: not, or not any more. The core looks
 * only when the peer has got further: if it said that its log begins there before the core was told
 * where that is, it would wait for ever. */
static struct raft_progress *installing(const struct raftio *io, uint64_t peer)
{
    struct raft_progress *progress = core_progress(&io->core, peer);
    if (progress == NULL || progress->state != CORE_SNAPSHOT) {
        return NULL;
    }
    if (progress->match_index >= progress->snapshot_index) {
        progress->state = CORE_PROBE;
        progress->next_index = progress->match_index + 1;
        progress->snapshot_index = 0;
        return NULL;
    }
    return progress;
}

bool raftio_hold_state(struct raftio *io, uint64_t peer, uint64_t index, uint64_t size_bytes)
{
    struct raft_progress *progress = installing(io, peer);
    if (progress == NULL) {
        return false;
    }
    if (index != 0) {
        progress->snapshot_index = index; /* what follows is held: flow_replicated_index */
    }
    if (size_bytes > io->state_bytes) {
        io->state_bytes = size_bytes;
    }
    progress->snapshot_last_send = io->io.time(&io->io);
    return true;
}

struct compact_limits raftinstall_limits(struct raftio *io)
{
    const struct raft *r = &io->core;
    for (unsigned i = 0; i < r->configuration.n && r->state == RAFT_LEADER; i++) {
        if (installing(io, r->configuration.servers[i].id) != NULL) {
            return compact_while_installing(&io->limits, io->state_bytes);
        }
    }
    io->state_bytes = 0;
    return io->limits;
}

/* That a state of it exists says that it is committed, though a leader that has just begun may not
 * know it; and it may need the very member that lacks the state to learn it. */
bool raftio_holds(const struct raftio *io, uint64_t index, uint64_t term)
{
    return index != 0 && term != 0 && core_term_of(&io->core, index) == term &&
           confhist_at(&io->history, index) != NULL;
}

static enum err fill_message(const struct raftio *io, uint64_t index, uint64_t term,
                             struct bytes manifest, struct raft_install_snapshot *ret)
{
    const struct raft *r = &io->core;
    if (!raftio_holds(io, index, term)) {
        return ERR_NOT_FOUND;
    }
    const struct confhist_item *item = confhist_at(&io->history, index);
    *ret = (struct raft_install_snapshot){
        .term = r->current_term, .last_index = index, .last_term = term, .conf_index = item->index};
    enum err err = configuration_decode(blob_bytes(item->encoded), &ret->conf);
    ASSERT(err == OK); /* checked when it came in */
    ret->data = (struct raft_buffer){.base = (void *)(uintptr_t)manifest.data, .len = manifest.len};
    return OK;
}

enum err raftio_install(struct raftio *io, uint64_t peer, uint64_t index, uint64_t term,
                        struct bytes manifest)
{
    struct raft_progress *progress = installing(io, peer);
    if (progress == NULL) {
        return ERR_NOT_LEADER;
    }
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT, .server_id = peer};
    TRY(fill_message(io, index, term, manifest, &message.install_snapshot));
    struct frame_notes notes = {0};
    progress->snapshot_index = index;
    progress->snapshot_last_send = io->io.time(&io->io);
    bool sent = raftnet_send_frame(io, peer, LANE_BULK, &message, &notes);
    raft_configuration_close(&message.install_snapshot.conf);
    return sent ? OK : ERR_CONNECT;
}

/* ---- the follower ---- */

/* The core gives up its log before it asks whether the snapshot will do: so it is asked here. */
bool raftinstall_may(struct raftio *io, const struct raft_install_snapshot *snapshot)
{
    const struct raft *r = &io->core;
    if (snapshot->term < r->current_term ||
        core_term_of(r, snapshot->last_index) == snapshot->last_term) {
        return true; /* the core refuses the one and passes over the other */
    }
    struct why why = {0};
    enum err err = io->callbacks->may_restore(io->ctx, snapshot->last_index, &why);
    if (err != OK) {
        LOG_WARN(io->log, "a snapshot of the leader was not taken",
                 LOG_U64("index", snapshot->last_index), LOG_STR("error", err_text(err)),
                 LOG_STR("why", why.text));
    }
    return err == OK;
}
