/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_HEADSTART_H
#define RAFT_HEADSTART_H

#include "base/limits.h"
#include "raft/abi.h"

/* The first election after a start. The core waits for one to two election timeouts before it
 * stands, though a leader that is there sends something as soon as it is connected. So once a
 * majority of the voters is connected and none of them leads, two heartbeats and a share of half an
 * election timeout are enough:
 *
 *   start ────── majority is connected ─── 2 heartbeats ─┬─ its share ─▶ pre-vote
 *     └────────────── one to two election timeouts ──────┴─────────────▶
 *
 * A cluster whose members all start has a leader a second earlier. It is a matter of time, not of
 * safety: a member whose leader is there refuses the pre-vote, and without a majority of those no
 * term is raised. Once in a member's life, and never later than the core would have stood. The core
 * draws a timeout for each term, not for each word of its leader: with the first of those the one
 * that it had drawn is put back. */
struct headstart {
    uint64_t voters[MEMBERS_MAX]; /* that are connected */
    size_t voter_count;
    bool over;         /* given, or not needed */
    unsigned drawn_ms; /* to be put back; 0: nothing is */
};

/* The connection to PEER is there, or is not. */
void headstart_on_link(struct headstart *headstart, struct raft *core, uint64_t peer, bool up);

/* The core was used: does it know a leader, or has it stood? */
void headstart_after(struct headstart *headstart, struct raft *core);

#endif
