/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_FLOW_H
#define RAFT_FLOW_H

#include "base/env.h"
#include "raft/abi.h"
#include "raft/guard.h"
#include "raft/transport.h"

/* What the leader sends to whom, and when: appends cut to size, at most a window of them on the way
 * to a peer, heartbeats that never wait behind entries.
 *
 *        match           received        sent            last
 *   ───────┼─────────────────┼──────────────┼───────────────┼──▶ index
 *    stored│  in its memory  │  on the way  │  not yet sent │
 *
 * The core believes that whatever it passes to send is sent. When that was not so, its record of
 * the peer is mended after the call: next_index is put back to what was sent, and it is set to
 * probe, in which the core tries once a heartbeat or when the peer answers, and not at each
 * proposal.
 *
 * Frames of the two lanes overtake each other, so an empty append that asked about the last entry
 * would be refused while entries are on their way. Heartbeats ask about match, which cannot be
 * refused; the answer carries what the peer has received, and entries that do not arrive are sent
 * again when that stands still.
 *
 * While the core still searches for the last entry that a new follower shares with us (nothing at
 * or above base_index has come back), its record is left alone: it recognises a refusal by it.
 *
 * A follower that refuses match itself has lost what it had stored: its data directory was put back
 * to an older state, or its disk lies. The core would believe for ever that it is there. One such
 * word can be late; when nothing else is heard for an election timeout, match is forgotten. */
struct flow_peer {
    uint64_t id;
    uint64_t base_index;     /* what is on the way began behind it; verified once >= it came back */
    uint64_t sent_index;     /* the highest that was sent */
    uint64_t acked_index;    /* sizes up to here are no longer counted in window_bytes */
    uint64_t window_bytes;   /* of the entries after acked_index up to sent_index */
    uint64_t received_index; /* as the peer said last */
    uint64_t moved_at_ms;    /* when received_index last moved, or there was nothing on the way */
    uint64_t heartbeat_at_ms;
    uint64_t back_index; /* a refusal sent us back to here last, after which nothing was accepted */
    uint64_t back_at_ms;
    uint64_t told_commit;    /* the highest commit index that a message to it carried */
    uint64_t lacks_since_ms; /* it refuses match, what it had stored last; 0: it does not */
    bool held;               /* the core's record is to be mended after this call */
};

struct flow {
    struct raft *core;
    struct guard *guard;
    struct env *env;
    struct transport *transport;
    const char *address; /* our own */
    uint64_t term;       /* the peers' records are of this term of ours */
    struct flow_peer peers[MEMBERS_MAX];
    size_t peer_count;
    /* The core tells a follower of a commit with the next append or heartbeat, so that its clients
     * would wait for up to a heartbeat. When the commit index has moved and no append of this turn
     * said so, an empty one does. */
    struct env_task tell;
    /* The append message encoded last: the next peer often gets the same. */
    struct blob *last_blob;
    struct raft_append_entries last;
};

void flow_init(struct flow *flow, struct guard *guard, struct transport *transport,
               const char *address);
void flow_fini(struct flow *flow);

/* An append message of the core for PEER. 0, or RAFT_NOCONNECTION: the core shall not count on it.
 */
int flow_send_append(struct flow *flow, uint64_t peer, const struct raft_append_entries *append);

/* Leader: PEER answered. Before the core sees it. */
void flow_before_answer(struct flow *flow, uint64_t peer, struct raft_append_entries_result *result,
                        const struct frame_notes *notes);

/* Before the core's tick: it need not prepare the log's tail for a peer that is not connected. */
void flow_before_tick(struct flow *flow);

/* After the core's tick: heartbeats, and what did not arrive again. */
void flow_tick(struct flow *flow);

/* Leader: up to here the log of every member of the configuration reaches, as far as we know. */
uint64_t flow_replicated_index(const struct flow *flow);

/* After each call into the core. */
void flow_after(struct flow *flow);

/* The link to PEER was lost or is UP anew: what was on the way is gone. */
void flow_on_link(struct flow *flow, uint64_t peer, bool up);

#endif
