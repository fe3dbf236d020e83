/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/trace.h"

/* A cluster in one process under one seed: the members' own code (raft/), over a clock, a network
 * and disks that are made up here. Nothing happens but what an event says; events run in the order
 * of their time, and of their making when that is equal; all chance comes from one generator. So
 * the same seed makes the same run, and a hash of everything that happened says that it did.
 *
 *     nemesis   clients         simcheck: every step is watched
 *        │         │
 *        ▼         ▼
 *     simmember: node.c, guard, core     simenv: clock, timers, tasks, chance
 *        │                 │
 *     simdisk           simnet
 *
 * A run has two parts: faults for some seconds, then none, and within ten seconds everyone must
 * have caught up and a new write must be acknowledged. What breaks a rule ends the process by way
 * of sim_fail, which is why each batch of seeds runs in a process of its own (simrun.h). */
#define SIM_MEMBERS_MAX 9

#define SIM_MS 1000ull /* the clock counts microseconds */

struct sim_options {
    uint64_t seed;
    unsigned members;
    bool churn;     /* members come, go, and change their role */
    bool unguarded; /* as libraft is */
    uint32_t guard_off_mask;
    bool reads;  /* linearizable ones */
    bool states; /* members that fell behind are sent the state; else the manifest is all of it */
    bool losses; /* a crash may take a member's database, and not its log; with states */
    bool head_start; /* raft/headstart.h */
    uint64_t faults_ms;
    uint64_t recovery_ms;
    bool verbose; /* every event of the trace to stderr */
};

struct sim;

/* Something that happens later. For a member: not when it has crashed meanwhile. */
struct sim_event {
    uint64_t at_us;
    uint64_t seq;
    unsigned member; /* 0: the world's */
    uint64_t life;   /* the member's */
    void (*run)(struct sim *sim, const struct sim_event *event);
    void *ptr;
    uint64_t a;
    uint64_t b;
};

struct sim_stats {
    uint64_t events;
    uint64_t frames;
    uint64_t applied;
    uint64_t acked;
    uint64_t reads;
    uint64_t crashes;
    uint64_t faults;
    uint64_t changes;
    uint64_t snapshots;
    uint64_t installs;
    uint64_t states; /* that arrived */
    uint64_t losses; /* databases that members started without, and needed */
    uint64_t simulated_ms;
    uint64_t recovery_ms; /* how long after the last fault */
    uint64_t hash;
};

/* A play of simplay.c: what LEADER has said waits on its way to LATE, while others raise their
 * term.
 */
struct sim_split {
    bool is_on;
    unsigned leader;
    unsigned late;
    unsigned raises;
};

struct sim {
    struct sim_options options;
    struct sim_split split;
    uint64_t now_us;
    uint64_t chance; /* the generator's state */
    struct sim_event *events;
    size_t event_count;
    size_t event_cap;
    uint64_t next_seq;
    struct trace *trace;
    struct sim_stats stats;
    bool calm; /* faults are over */
    bool done;
    struct simnet *net;
    struct simcheck *check;
    struct simclients *clients;
    struct simnemesis *nemesis;
    struct simmember *members[SIM_MEMBERS_MAX + 1]; /* by id, from 1 */
};

/* Run one seed to its end; returns when nothing was wrong. */
void sim_run(const struct sim_options *options, struct sim_stats *ret);

/* What was wrong, where and with which seed; ends the process. */
void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Exit statuses of a process that ran a seed to a bad end. */
enum { SIM_EXIT_WRONG = 42, SIM_EXIT_STUCK = 43, SIM_EXIT_FATAL = 44 };
void sim_fail_stuck(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

void sim_at(struct sim *sim, uint64_t delay_us, const struct sim_event *event);

uint64_t sim_random(struct sim *sim);
uint64_t sim_between(struct sim *sim, uint64_t from, uint64_t to); /* both included */
bool sim_chance(struct sim *sim, unsigned per_mille);

/* Into the trace and its hash. */
void sim_note(struct sim *sim, const char *text, uint64_t a, uint64_t b);

#endif
