/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_READINDEX_H
#define RAFT_READINDEX_H

#include "base/env.h"
#include "base/limits.h"
#include "raft/node.h"
#include "raft/raftio.h"
#include "raft/transport.h"

/* Read indexes: one confirmation for all the reads of a round (Raft thesis 6.4).
 *
 *   leader     waiting ──round starts: index = commit──▶ in round ──majority──▶ confirmed
 * ──applied──▶ cb follower   waiting ──────── ask the leader ────────▶ in round ──answer────▶
 * confirmed ──applied──▶ cb
 *
 * A round takes the commit index, then asks the voters whether they are still in our term. Who
 * answers yes, to a question that was put afterwards, was in no later term when the round began; so
 * with a majority nobody else led then, and nothing was committed elsewhere. The question counts
 * only from a leader whose barrier is applied: before that its commit index may be behind. A read
 * that comes during a round takes the next one.
 *
 * Frames (FRAME_READ_INDEX): u8 kind, u64 term, u64 number, u64 index.
 *   CONFIRM    leader -> voter      term, a round that no earlier life of the leader has had: its
 *                                   question may arrive when the voter is in the term of this one
 *   CONFIRMED  voter -> leader      its term, the round
 *   ASK        follower -> leader   0, a number that no earlier life of the follower has used
 *   ANSWER     leader -> follower   term, the number, the index
 * Frames that are lost are sent again at the next tick. */
struct readindex {
    struct env *env;
    struct raftio *io;
    struct transport *transport;
    struct queue waiting;
    struct queue in_round;
    struct queue confirmed;
    struct queue done;
    struct env_task start;  /* a round or an ask, at the end of the turn */
    struct env_task finish; /* callbacks */

    bool running;
    uint64_t term;  /* of the round */
    uint64_t round; /* its number */
    uint64_t index; /* its commit index */
    uint64_t answered[MEMBERS_MAX];
    size_t answered_count;

    /* What followers ask: one at a time each; taken is the round's. */
    struct readindex_ask {
        uint64_t peer;
        uint64_t number;
        uint64_t taken; /* 0: none */
    } asks[MEMBERS_MAX];
    size_t ask_count;

    uint64_t asked_leader; /* 0: nothing is asked */
    uint64_t ask_number;
};

void readindex_init(struct readindex *ri, struct env *env, struct raftio *io,
                    struct transport *transport);

/* Every request is called back with ERR_STOPPED. */
void readindex_fini(struct readindex *ri);

void readindex_add(struct readindex *ri, struct read_index *request);
void readindex_cancel(struct readindex *ri, struct read_index *request);

/* Malformed frames are dropped. */
void readindex_on_frame(struct readindex *ri, uint64_t peer, struct bytes payload);

/* The core was left: who leads, what is applied may have changed. */
void readindex_update(struct readindex *ri);
void readindex_tick(struct readindex *ri);

#endif
