/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMSTATE_H
#define TESTS_SIM_SIMSTATE_H

#include "base/bytes.h"
#include "base/err.h"
#include "tests/sim/sim.h"

/* States on their way to members that fell behind, as server/statesend.c and statetake.c do it: a
 * copy of what the leader has on disk takes a while, is said over a network that loses things, is
 * on the follower's disk at once or not at all, and its log begins there later, or never.
 *
 *   leader                                         follower
 *   want_state ─▶ copy ─ time passes ─ state(I) ─▶ its disk has I
 *   node_install(I) ◀───────────────── have(I) ───┘
 *   ── the core's message ────────────────────────▶ its log begins at I
 *
 * Who has lost its state and not its log asks by itself, whoever leads or, if it does so itself,
 * the others, and has what it needs with state(I):
 *
 *   copy ◀──────────────────────────────── lack(from) */
struct simmember;

struct simsend {
    bool active;
    uint64_t index;
    uint64_t term;
    uint64_t ready_us;
    uint64_t said_us;
    uint64_t size_bytes;  /* as the node is told */
    uint64_t lacks_index; /* of who asked: what it needs at least; 0: it did not */
    uint64_t lack_said_us;
};

/* Of struct node_callbacks. */
void simstate_on_want(void *ctx, uint64_t peer_id);
enum err simstate_may_restore(void *ctx, uint64_t index, struct why *why);

/* The member's log begins after what it has on disk: it asks whoever leads. */
void simstate_lack(struct simmember *member);

void simstate_on_frame(struct simmember *member, unsigned peer, struct bytes payload);

#endif
