/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_RAFTIO_STATE_H
#define RAFT_RAFTIO_STATE_H

#include <limits.h>

#include "base/cleanup.h"
#include "raft/compact.h"
#include "raft/headstart.h"
#include "raft/raftio.h"

/* Private to raftio.c, which brackets the core, raftdisk.c, its methods towards the log,
 * raftnet.c, those towards the peers, and raftinstall.c and raftbare.c, states that are missing. */

/* A request of the core that is done, and is told so at the end of the turn: never inside the call
 * that made it. */
struct finished {
    struct raft_io_send *send;
    struct raft_io_snapshot_get *get;
};

struct raftio {
    struct raft_io io; /* first: the core's methods find us by it */
    struct raft core;
    struct raft_fsm fsm;
    struct guard guard;
    struct flow flow;
    struct confhist history;
    struct compact_limits limits;
    struct headstart headstart;

    struct env *env;
    struct logger *log;
    struct raftlog *raftlog;
    struct transport *transport;
    const struct raftio_callbacks *callbacks;
    void *ctx;
    struct bytes bootstrap;
    struct raftlog_image *image; /* while opening */

    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    struct env_timer ticker;
    uint32_t tick_ms;

    int depth;  /* 1: inside the core */
    bool muted; /* what the core answers now is not sent */
    bool closing;
    struct finished *finished;
    size_t finished_count;
    size_t finished_cap;
    struct env_task finish;

    bool sends_state;
    bool snapshot_due;
    /* What a snapshot costs the loop: its making and, when it is stored, the log's shortening, each
     * until the core is left. */
    struct histogram *snapshot_pauses;
    bool works_for_snapshot; /* since the core was entered, from then on: */
    uint64_t snapshot_work_ns;
    uint64_t replicated_index; /* as the leader said last */
    uint64_t append_moved_ms;  /* while appends are on their way: when one was begun or done */
    uint64_t installing_index;
    uint64_t wants[MEMBERS_MAX]; /* members that need the state: to be told */
    size_t wants_count;
    uint64_t state_bytes; /* of the largest on its way: raftinstall_limits */

    /* A store that ends before the log begins: raftbare.c. */
    uint64_t bare_index;     /* where the log begins; 0: it is not so */
    uint64_t bare_log_bytes; /* of the log when that was found */
    uint64_t bare_successor; /* whom leadership was handed to last */

    char address[256];   /* our own, as the configuration or raftio_set_address says */
    bool address_is_set; /* not learnt from the configuration */
    struct raft_change change;
    struct raft_transfer transfer;
    const struct raft_server *seen_servers; /* the address was taken from these */
};

static inline struct raftio *io_of(struct raft_io *io)
{
    return CONTAINER_OF(io, struct raftio, io);
}

/* Each way into the core is between these two. Between them nothing is told to the node but what is
 * applied; leaving, the guard looks what came of it. */
void raftio_enter(struct raftio *io);
void raftio_leave(struct raftio *io);

/* What follows, until the core is left, is a snapshot's. */
void raftio_snapshot_work(struct raftio *io);

/* At the end of the turn. */
void raftio_finish_later(struct raftio *io, struct finished one);

#define SNAPSHOT_NOT_DUE UINT_MAX /* the core's threshold: never */

/* raftdisk.c */
void raftdisk_set_methods(struct raftio *io);
struct raft_snapshot *raftdisk_newest_snapshot(struct raftio *io); /* NULL: there is none */
bool raftdisk_image_is_sane(const struct raftlog_image *image, struct why *why);

/* raftinstall.c. The core sends a snapshot: true: the state goes another way, this message
 * nowhere. */
bool raftinstall_takes(struct raftio *io, const struct raft_message *message);
/* Outside the core: call want_state. */
void raftinstall_tell(struct raftio *io);
/* How far the log is compacted while states are on their way. */
struct compact_limits raftinstall_limits(struct raftio *io);
/* Follower: will this snapshot do? Else it is as if it had not come. */
bool raftinstall_may(struct raftio *io, const struct raft_install_snapshot *snapshot);

/* raftbare.c. The store ends before IMAGE begins: take part without one. ERR_CORRUPT: there is
 * nobody to have it from. */
MUST_CHECK enum err raftbare_begin(struct raftio *io, uint64_t own_id,
                                   const struct raftlog_image *image, struct why *why);
/* ERR_CORRUPT: the store goes further than the log, and nothing but a loss explains that. */
MUST_CHECK enum err raftbare_check_end(const struct raftio *io, uint64_t own_id,
                                       const struct raftlog_image *image, struct why *why);
void raftbare_before_append(struct raftio *io, struct raft_append_entries *append);
void raftbare_before_timeout_now(const struct raftio *io, struct raft_timeout_now *message);
void raftbare_tick(struct raftio *io); /* outside the core */

/* raftnet.c */
void raftnet_set_methods(struct raftio *io);
void raftnet_deliver(struct raftio *io, struct raft_message *message);
/* False: it was dropped. */
bool raftnet_send_frame(struct raftio *io, uint64_t peer, enum transport_lane lane,
                        const struct raft_message *message, const struct frame_notes *notes);

#endif
