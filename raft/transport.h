/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_TRANSPORT_H
#define RAFT_TRANSPORT_H

#include "base/bytes.h"
#include "base/err.h"

/* How a member reaches its peers: whole frames, each of which arrives once, late, or not at all;
 * frames of one lane to one peer never overtake each other on one connection, but a new connection
 * may. An interface, because the simulator has a network of its own; transport_tcp is the real one.
 *
 * Nothing here blocks. A frame that cannot be queued is dropped and counted; raft sends again. */
struct transport {
    const struct transport_ops *ops;
};

/* URGENT (heartbeats, votes, answers, read index) never waits behind BULK (entries, forwarded
 * batches, snapshots). */
enum transport_lane { LANE_URGENT, LANE_BULK, LANE_COUNT };

/* What a frame carries: the first byte says it. Raft's own messages, and those of the layers above.
 */
enum frame_kind {
    FRAME_RAFT = 1,
    FRAME_READ_INDEX = 2,
    FRAME_FORWARD = 3,
    FRAME_APP = 4,
    FRAME_KIND_COUNT
};

struct transport_callbacks {
    /* A frame of PEER, whose identity the handshake established. Memory valid during the call. */
    void (*on_frame)(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload);
    /* The link to PEER came up or went down (both may be NULL). */
    void (*on_link)(void *ctx, uint64_t peer_id, bool up);

    /* The rest may be NULL, too. May this member know too little to tell whether PEER is of the
     * cluster? Then it may call when it says that it is. */
    bool (*is_joining)(void *ctx, uint64_t peer_id);
    /* Was PEER removed from the cluster? It is told so when it calls; and so is this member. */
    bool (*is_removed)(void *ctx, uint64_t peer_id);
    void (*on_removed)(void *ctx);
    /* The answer to one who asks who the members are; nothing in RET: none. */
    void (*describe)(void *ctx, struct buf *ret);
};

struct transport_ops {
    /* Begin to listen and connect; frames may arrive from the next turn on. */
    enum err (*start)(struct transport *transport, const struct transport_callbacks *callbacks,
                      void *ctx, struct why *why);

    /* A peer to talk to, at "host:port"; again with another address moves it. */
    enum err (*add_peer)(struct transport *transport, uint64_t peer_id, const char *address);
    void (*remove_peer)(struct transport *transport, uint64_t peer_id);

    /* is_removed may have become true of somebody: the connections of such end, and they are told
     * when they call again. */
    void (*review)(struct transport *transport);

    /* Queue PAYLOAD (shared, not copied) for PEER. False when it was dropped: unknown peer, not
     * connected, or queue over its cap. */
    bool (*send)(struct transport *transport, uint64_t peer_id, enum transport_lane lane,
                 enum frame_kind kind, struct blob *payload);

    bool (*connected)(struct transport *transport, uint64_t peer_id);

    /* Stop at once; CB when no callback can come any more and the memory is gone. */
    void (*close)(struct transport *transport, void (*cb)(void *ctx), void *ctx);
};

#endif
