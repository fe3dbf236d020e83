/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_PEERCONN_H
#define RAFT_PEERCONN_H

#include "raft/peerlink.h"

/* A connection that was accepted: a stranger, until its hello says which member it is; then its
 * frames are handed up and its pings answered.
 *
 *   STRANGER ──▶ MEMBER ──▶ CLOSING ──▶ freed
 *       └───────────────────────^
 *
 * A stranger may also ask who the members are, and is told. */
struct peerconn;

struct peerconn_callbacks {
    /* Is it one of ours? Was it? */
    bool (*is_member)(void *ctx, uint64_t peer_id);
    bool (*is_removed)(void *ctx, uint64_t peer_id);
    /* Who the members are, for one who asks; nothing: not known. */
    void (*describe)(void *ctx, struct buf *ret);
    /* It is, and has been welcomed. */
    void (*on_member)(void *ctx, struct peerconn *conn);
    void (*on_frame)(void *ctx, struct peerconn *conn, enum frame_kind kind, struct bytes payload);
    /* It is over, and gone when this returns. */
    void (*on_gone)(void *ctx, struct peerconn *conn);
};

struct peerconn {
    const struct peer_local *local;
    const struct peerconn_callbacks *callbacks;
    void *ctx;
    struct queue link; /* the owner's, who puts it where it likes */
    struct stream *stream;
    enum { PEERCONN_STRANGER, PEERCONN_MEMBER, PEERCONN_CLOSING } state;
    bool evicted;     /* the owner's: does not count as a stranger any more */
    uint64_t peer_id; /* of a member; else 0 */
    enum transport_lane lane;
    struct peer_reader reader;
    struct env_timer timer;
    uint64_t read_ms;               /* when something last came */
    struct counter *received_bytes; /* set by on_member */
    struct counter *received_failures;
};

/* Take over a stream; ERR_NOMEM closes it. */
MUST_CHECK enum err peerconn_new(const struct peer_local *local,
                                 const struct peerconn_callbacks *callbacks, void *ctx,
                                 struct stream *stream, struct peerconn **ret);

/* Cut it off; on_gone comes in a later turn, and nothing else. */
void peerconn_close(struct peerconn *conn);

#endif
