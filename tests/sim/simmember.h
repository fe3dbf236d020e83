/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMMEMBER_H
#define TESTS_SIM_SIMMEMBER_H

#include "raft/node.h"
#include "tests/sim/simdisk.h"
#include "tests/sim/simenv.h"
#include "tests/sim/simnet.h"
#include "tests/sim/simstate.h"

/* The replicated state: how many commands, and a hash of all of them in order. */
struct simstate {
    uint64_t index; /* of the last command in it */
    uint64_t count;
    uint64_t hash;
};

/* One life of a member: what a crash takes away. It is not freed, as a crash frees nothing: the
 * process of the run ends soon. */
struct simlife {
    struct simenv env;
    struct simtransport transport;
    struct node *node;
    struct simstate state; /* in memory; member->durable follows */
    bool syncing;
    uint64_t commit_index; /* seen last */
    uint64_t applied_index;
    uint64_t heard; /* Raft's messages */
    bool stood;     /* for election, when so many had been heard: */
    uint64_t stood_heard;
    uint64_t
        lag_index; /* a majority has it since then, and it is not committed; 0: there is none */
    uint64_t lag_since_us;
    struct simsend sends[SIM_MEMBERS_MAX + 1]; /* by peer: simstate.c */
    unsigned asked;                            /* for a state, last, while nobody led */
};

#define SIM_HELD_ALL 1000000u /* entries: more than a run has */

/* What all members of a run are set to. */
struct simsettings {
    uint32_t heartbeat_ms;
    uint32_t election_ms;
    uint64_t snapshot_entries;
    uint64_t trailing_entries;
    uint64_t held_entries;
};

struct simmember {
    struct sim *sim;
    unsigned id;
    bool alive;
    bool bootstraps; /* is in the first configuration */
    uint64_t life;   /* counts them */
    uint64_t paused_until_us;
    unsigned successor; /* that leadership is handed to first: simplay.c */
    struct simdisk disk;
    struct simstate durable; /* what its store has on disk */
    bool lost;               /* the store was taken away, and the member needs it */
    struct simstate kept;    /* what was taken away last */
    struct simsettings settings;
    struct simlife *now;
};

void simmember_init_all(struct sim *sim);
void simmember_start(struct simmember *member);
void simmember_crash(struct simmember *member);
/* The member, which has crashed, loses its database. */
void simmember_lose(struct simmember *member);

/* After anything that a member did: the end of the turn, and the checks. */
void simmember_settle(struct simmember *member);

/* Alive and not paused. */
static inline bool simmember_runs(const struct simmember *member)
{
    return member->alive && member->paused_until_us <= member->sim->now_us;
}

/* The leader with the highest term among those that run; NULL: none. */
struct simmember *simmember_leader(struct sim *sim);

const char *simmember_address(unsigned id);

#endif
