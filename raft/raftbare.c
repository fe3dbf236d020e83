/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "base/trace.h"
#include "raft/raftheap.h"
#include "raft/raftio_state.h"

/* A bare member: its store ends before its log begins, because the database was lost and the log
 * was not. What it has promised is all there: term, vote, and every entry that it has acknowledged,
 * in the log or, before the log's snapshot, in the states of a majority. So for the others it is a
 * voter like any other:
 *
 *   it votes             a vote asks for the term, the vote and the end of the log, which it has;
 *                        without it two of three could not elect anybody while the third is away
 *   its log counts       what it stores is stored, and an entry needs a majority of stores
 *
 * and for itself it is one that does not know what is committed:
 *
 *   it applies nothing   there is no state for the entries to change. It believes no commit index
 *                        beyond its snapshot (as after any start), so that the core gives it
 *                        nothing; when it has the state at I, the core begins behind the snapshot,
 *                        and what I contains already is passed over, as after any restart
 *   it forgets nothing   the log is compacted up to what the store has, which is nothing
 *   it does not stand    for election, as long as others may: a leader without a state could answer
 *                        nobody, give nobody the state, and there would be nobody to ask for its
 *                        own. Leadership that is handed to it is not taken
 *
 * With two voters, or when others are away, it may be that only its log is long enough to be
 * elected with. Then, after some election timeouts in which nobody was, it stands after all, and
 * leads to give it away: it sends the others the entries that they lack, commits nothing, adds
 * nothing of its own, and hands leadership to the first who has its whole log. When nobody can have
 * that, since its log begins behind the end of the others', there is still the state of one of
 * them, perhaps a learner's: the layers above ask all of them, and then it leads for good. Until
 * then they do not hear that it leads.
 *
 * A crash at any step leaves it as bare as before, or with a state, by what the store has then.
 *
 * The other way round, a store that goes further than the log, is what a crash leaves between the
 * two steps of an install. Without anybody who could have sent that state it is the log that was
 * lost, with its promises: such a member does not start. It would pass over what is written next,
 * as applied already, and might vote once more in a term in which it has. */

/* What may come to the log before the state has: its memory is the log's. A leader may have cut off
 * some of what there was. */
static bool has_room(const struct raftio *io)
{
    uint64_t bytes = io->raftlog->ops->size_bytes(io->raftlog);
    return bytes <= io->bare_log_bytes || bytes - io->bare_log_bytes < io->limits.held_bytes;
}

/* ---- the beginning ---- */

static struct bytes newest_configuration(const struct raftlog_image *image)
{
    for (size_t i = image->entry_count; i > 0; i--) {
        if (image->entries[i - 1].kind == LOG_ENTRY_CHANGE) {
            return image->entries[i - 1].data;
        }
    }
    return image->snapshot.configuration;
}

static bool others_vote(uint64_t own_id, struct bytes encoded)
{
    struct raft_configuration configuration;
    enum err err = configuration_decode(encoded, &configuration);
    ASSERT(err == OK); /* checked before: raftdisk_image_is_sane */
    unsigned count = 0;
    for (unsigned i = 0; i < configuration.n; i++) {
        const struct raft_server *server = &configuration.servers[i];
        count += server->role == RAFT_VOTER && server->id != own_id;
    }
    raft_configuration_close(&configuration);
    return count > 0;
}

enum err raftbare_begin(struct raftio *io, uint64_t own_id, const struct raftlog_image *image,
                        struct why *why)
{
    if (!others_vote(own_id, newest_configuration(image))) {
        why_prefix(why, "no other member votes that could be asked for the state");
        return ERR_CORRUPT;
    }
    io->bare_index = image->snapshot.index;
    io->bare_log_bytes = io->raftlog->ops->size_bytes(io->raftlog);
    io->guard.bare = true;
    return OK;
}

/* Has somebody, by the log, who could have sent a state beyond its end? Who joins has an empty log
 * at first, but it has heard of a term. */
static bool may_be_sent_a_state(const struct raftio *io, uint64_t own_id,
                                const struct raftlog_image *image)
{
    if (image->snapshot.index == 0 && image->entry_count == 0) {
        return image->term != 0 && io->bootstrap.len == 0;
    }
    return others_vote(own_id, newest_configuration(image));
}

enum err raftbare_check_end(const struct raftio *io, uint64_t own_id,
                            const struct raftlog_image *image, struct why *why)
{
    uint64_t last = image->first_index + image->entry_count - 1;
    uint64_t stored = io->callbacks->durable_index(io->ctx);
    if (stored <= last || may_be_sent_a_state(io, own_id, image)) {
        return OK;
    }
    why_set(why,
            "log: it ends at index %llu, the database at %llu, which no other member can have "
            "sent: the log or the end of it is lost",
            (unsigned long long)last, (unsigned long long)stored);
    return ERR_CORRUPT;
}

void raftio_filled(struct raftio *io)
{
    ASSERT(io->depth == 0 && io->bare_index != 0);
    ASSERT(io->callbacks->durable_index(io->ctx) >= io->bare_index);
    TRACE(io->env, "raft: filled", io->core.id, io->bare_index);
    raftio_enter(io);
    io->bare_index = 0;
    io->guard.bare = false;
    raftio_leave(io);
}

uint64_t raftio_bare_index(const struct raftio *io)
{
    return io->bare_index;
}

/* ---- following ---- */

void raftbare_before_append(struct raftio *io, struct raft_append_entries *append)
{
    if (io->bare_index == 0) {
        return;
    }
    if (append->leader_commit > io->bare_index) {
        append->leader_commit = io->bare_index;
    }
    if (append->n_entries > 0 && !has_room(io)) {
        guard_drop_entries(append);
    }
}

/* A leader that is bare adds nothing that would cut what we have beyond its log. The core wants the
 * same end; but whoever has the leader's last entry has its whole log, and may stand with more. */
void raftbare_before_timeout_now(const struct raftio *io, struct raft_timeout_now *message)
{
    const struct raft *r = &io->core;
    if (message->last_log_term != 0 &&
        core_term_of(r, message->last_log_index) == message->last_log_term) {
        message->last_log_index = core_last_index(r);
        message->last_log_term = core_term_of(r, message->last_log_index);
    }
}

/* ---- leading, to give it away ---- */

/* The voter after LAST, in a circle, whose log is as long as ours; 0: none yet. */
static uint64_t next_successor(const struct raft *r, uint64_t last)
{
    unsigned n = r->configuration.n;
    unsigned from = core_server_slot(r, last);
    for (unsigned i = 1; i <= n; i++) {
        const struct raft_server *server = &r->configuration.servers[(from + i) % n];
        const struct raft_progress *progress = core_progress(r, server->id);
        if (server->id != r->id && server->role == RAFT_VOTER &&
            progress->match_index == core_last_index(r)) {
            return server->id;
        }
    }
    return 0;
}

void raftbare_tick(struct raftio *io)
{
    const struct raft *r = &io->core;
    if (io->bare_index == 0 || r->state != RAFT_LEADER || r->transfer != NULL) {
        return;
    }
    uint64_t successor = next_successor(r, io->bare_successor);
    if (successor != 0) {
        /* One that is bare, too, does not take it: then it is the next one's turn. */
        io->bare_successor = successor;
        TRACE(io->env, "raft: bare, hands over to", io->core.id, successor);
        enum err err = raftio_transfer(io, successor);
        (void)err; /* the next tick looks again */
    }
}
