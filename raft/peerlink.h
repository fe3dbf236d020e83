/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_PEERLINK_H
#define RAFT_PEERLINK_H

#include "base/logger.h"
#include "base/metrics.h"
#include "net/stream.h"
#include "raft/peerframe.h"

/* The way out to one peer in one lane: a connection that is made again whenever it is lost.
 *
 *            start                  connected          welcome
 *   IDLE ──────────▶ CONNECTING ──────────────▶ HELLO ─────────▶ UP
 *    ▲                 ▲     │ failed             │ refused, slow │ lost, silent
 *    │                 │     ▼                    ▼               ▼
 *    │      time is up └─ WAITING ◀──────────── CLOSING ◀─────────┘
 *    └─────────────────────  stop, from everywhere (from HELLO and UP through CLOSING)
 *
 * It waits from 50 ms to 1 s, doubled from failure to failure, a random part of it so that members
 * do not call in step. While it is up it sends a ping twice a second; a peer from which nothing
 * comes back, and which takes nothing off the queue, for a while, is lost: the system alone would
 * notice after a quarter of an hour. */
enum peerlink_state {
    PEERLINK_IDLE,
    PEERLINK_CONNECTING,
    PEERLINK_HELLO,
    PEERLINK_UP,
    PEERLINK_CLOSING,
    PEERLINK_WAITING,
};

/* What all links of a member have in common. */
struct peer_local {
    struct env *env;
    uv_loop_t *loop;
    struct logger *log;
    uint64_t cluster_id;
    uint64_t member_id;
};

struct peerlink;
struct peerlink_callbacks {
    void (*on_up)(void *ctx, struct peerlink *link, bool up);
    void (*on_idle)(void *ctx, struct peerlink *link); /* after peerlink_stop */
    void (*on_removed)(void *ctx); /* the peer says that this member was removed */
};

struct peerlink {
    const struct peer_local *local;
    const struct peerlink_callbacks *callbacks;
    void *ctx;
    uint64_t peer_id;
    enum transport_lane lane;
    struct addr addr;
    enum peerlink_state state;
    bool stopping; /* CLOSING leads to IDLE */
    bool again;    /* and from there on to CONNECTING */
    bool was_up;   /* before CLOSING */
    struct stream_connect_request *connect;
    struct stream *stream;
    struct peer_reader reader;
    struct env_timer timer; /* what it is for, the state says */
    unsigned failures;      /* in a row */
    uint64_t called_ms;     /* when CONNECTING began */
    uint64_t up_ms;         /* since when */
    uint64_t alive_ms;      /* when something last came back or left */
    size_t queued_bytes;    /* then */
    struct why reason;      /* why it is going down */
    struct why logged;      /* the last failure that was logged */

    struct counter *sent_bytes;
    struct counter *sent_failures;
    struct histogram *round_trip; /* NULL: another lane measures */
};

/* The caller sets the first six fields and the metrics, all else zero. */
void peerlink_init(struct peerlink *link);

/* Connect to ADDR from now on, or to this one instead. */
void peerlink_start(struct peerlink *link, const struct addr *addr);

/* The peer has just called us: do not wait any longer before calling it, nor for a call that began
 * before it could be reached. */
void peerlink_hurry(struct peerlink *link);

/* The other lane's connection is lost: so is this one, when nothing came back for two seconds. The
 * system would try the longer to get through, the longer the peer could not be reached. */
void peerlink_doubt(struct peerlink *link);

/* on_idle comes, perhaps before it returns. */
void peerlink_stop(struct peerlink *link);

/* Queue a frame; false when it was dropped: not up, or more than BYTES_MAX would wait (an empty
 * queue takes any frame). */
bool peerlink_send(struct peerlink *link, enum frame_kind kind, struct blob *payload,
                   size_t bytes_max);

/* Bytes that wait. */
size_t peerlink_queued_bytes(const struct peerlink *link);

#endif
