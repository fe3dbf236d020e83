/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMNET_H
#define TESTS_SIM_SIMNET_H

#include "raft/transport.h"
#include "tests/sim/sim.h"

/* The network: frames of one lane from one member to another stay in order, unless a new connection
 * has begun; lanes overtake each other; frames are late, lost, come twice, and go one way only. A
 * cut is noticed by both ends, or by nobody. */
struct simnet {
    bool cut[SIM_MEMBERS_MAX + 1][SIM_MEMBERS_MAX + 1];  /* from, to */
    bool down[SIM_MEMBERS_MAX + 1][SIM_MEMBERS_MAX + 1]; /* noticed */
    bool held[SIM_MEMBERS_MAX + 1][SIM_MEMBERS_MAX + 1]; /* nothing arrives, for a while */
    struct sim_event *waiting;                           /* what is held, in order */
    size_t waiting_count;
    size_t waiting_cap;
    uint64_t echo_until_us[SIM_MEMBERS_MAX + 1][SIM_MEMBERS_MAX + 1];
    uint64_t echo_late_us;
    uint64_t last_at_us[SIM_MEMBERS_MAX + 1][SIM_MEMBERS_MAX + 1][LANE_COUNT];
    unsigned loss_per_mille;
    unsigned twice_per_mille;
    unsigned late_per_mille;
    unsigned reorder_per_mille;
    uint64_t delay_us;
    uint64_t late_us;
};

/* The transport of one life of a member. */
struct simtransport {
    struct transport base;
    struct sim *sim;
    unsigned member;
    const struct transport_callbacks *callbacks;
    void *ctx;
    bool known[SIM_MEMBERS_MAX + 1];
};

void simnet_init(struct sim *sim);
void simtransport_init(struct simtransport *transport, struct sim *sim, unsigned member);

/* Cut or join one direction. NOTICED: both ends are told. */
void simnet_cut(struct sim *sim, unsigned from, unsigned to, bool noticed);
void simnet_join_all(struct sim *sim);

/* What is on its way waits until it is released, and arrives then. Joining releases, too. */
void simnet_hold(struct sim *sim, unsigned from, unsigned to);
void simnet_release(struct sim *sim, unsigned from, unsigned to);

/* What is sent in the time from now on comes once more, up to LATE_US later. */
void simnet_echo(struct sim *sim, unsigned from, unsigned to, uint64_t for_us, uint64_t late_us);

/* Every connection between the two breaks and is made anew: some frames on the way are lost. */
void simnet_reset(struct sim *sim, unsigned a, unsigned b);

#endif
