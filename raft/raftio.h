/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_RAFTIO_H
#define RAFT_RAFTIO_H

#include "base/env.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "raft/abi.h"
#include "raft/confhist.h"
#include "raft/flow.h"
#include "raft/frame.h"
#include "raft/guard.h"
#include "raft/raftlog.h"
#include "raft/transport.h"

/* libraft's core with the world around it: struct raft_io over a raftlog and a transport, one line
 * per method as far as may be, and the FSM's calls outwards. node.c knows this header and no
 * libraft.
 *
 *            node
 *     propose │ ▲ applied, changed
 *          ┌──▼─┴───────────────────────┐
 *          │ raftio   enter ... leave   │   each way into the core is bracketed: the guard looks
 *          │   guard  flow  confhist    │   what came of it, and what the core has sent, stored and
 *          │      core (libraft)        │   completed goes out when it is out of the core again
 *          └──┬─────────┬───────────────┘
 *          raftlog   transport */
struct raftio;

struct raftio_callbacks {
    /* An entry is committed; every index once and in order, also those of the core's own entries
     * (command false). */
    void (*applied)(void *ctx, uint64_t index, uint64_t term, bool command, struct bytes entry);
    uint64_t (*durable_index)(void *ctx);
    void (*manifest)(void *ctx, uint64_t index, struct buf *data);
    enum err (*restore)(void *ctx, uint64_t index, struct bytes manifest, struct why *why);
    enum err (*may_restore)(void *ctx, uint64_t index, struct why *why);
    void (*want_state)(void *ctx, uint64_t peer); /* with sends_state; see raftinstall.c */
    /* The core was left: role, term, leader, configuration, indexes may have changed. */
    void (*left)(void *ctx);
    void (*changed)(void *ctx, enum err status); /* of raftio_change */
    void (*transferred)(void *ctx);              /* of raftio_transfer: see who leads */
    void (*ticked)(void *ctx);
};

struct raftio_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    struct raftlog *raftlog;
    struct transport *transport;
    uint64_t id;
    const char *address;
    struct bytes bootstrap; /* encoded; empty: none */
    uint32_t heartbeat_ms;
    uint32_t election_ms;
    uint64_t snapshot_entries;
    uint64_t snapshot_bytes;
    uint64_t trailing_entries;
    uint64_t trailing_bytes;
    uint64_t held_entries;
    uint64_t held_bytes;
    uint32_t guard_off_mask;
    bool sends_state; /* else who needs it is sent the manifest alone */
    bool head_start;  /* headstart.h */
};

/* Load what is on disk and start. The callbacks restore and nothing else may come before it
 * returns. Afterwards raftlog is raftio's. */
MUST_CHECK enum err raftio_open(const struct raftio_config *config,
                                const struct raftio_callbacks *callbacks, void *ctx,
                                struct raftio **ret, struct why *why);

/* Everything that is on its way to the disk is finished; then the memory is gone. Blocks. The
 * transport must have been closed. NULL allowed. */
void raftio_close(struct raftio *io);

/* A frame of PEER. ERR_MALFORMED. */
MUST_CHECK enum err raftio_on_frame(struct raftio *io, uint64_t peer, struct bytes payload,
                                    char *address, size_t address_cap);
void raftio_on_link(struct raftio *io, uint64_t peer, bool up);

/* ERR_NOT_LEADER: not proposed. The bytes are copied. */
MUST_CHECK enum err raftio_propose(struct raftio *io, struct bytes entry, uint64_t *index);

enum raftio_change { RAFTIO_ADD, RAFTIO_SET_LEARNER, RAFTIO_SET_VOTER, RAFTIO_REMOVE };
/* One at a time. OK: the callback changed comes later. */
MUST_CHECK enum err raftio_change(struct raftio *io, enum raftio_change change, uint64_t id,
                                  const char *address);
MUST_CHECK enum err raftio_transfer(struct raftio *io, uint64_t id);

/* What this member tells its peers from now on, instead of what the configuration says. */
void raftio_set_address(struct raftio *io, const char *address);

/* See node_holds, node_hold_state and node_install. */
bool raftio_holds(const struct raftio *io, uint64_t index, uint64_t term);
bool raftio_hold_state(struct raftio *io, uint64_t peer, uint64_t index, uint64_t size_bytes);
MUST_CHECK enum err raftio_install(struct raftio *io, uint64_t peer, uint64_t index, uint64_t term,
                                   struct bytes manifest);

/* See node_bare_index and node_filled. */
uint64_t raftio_bare_index(const struct raftio *io);
void raftio_filled(struct raftio *io);

/* For reading: the core's struct, and whether it leads with its barrier applied. */
const struct raft *raftio_core(const struct raftio *io);
bool raftio_leads(const struct raftio *io);
bool raftio_inside(const struct raftio *io); /* within a call of the core */

/* For how long the log has been asked to append and has finished nothing, in ms; 0: it has nothing
 * to do. */
uint64_t raftio_still_ms(const struct raftio *io);

#endif
