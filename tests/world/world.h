/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLD_H
#define TESTS_WORLD_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/trace.h"

/* A cluster of whole members in one process, on one thread, under one seed: everything that
 * server/server.h puts together (raft, guard, log in segments, state machine, store with SQLite,
 * watches, leases, members, states on their way), over a clock, a network and disks that are made
 * up here. Nothing happens but what an event says; events run in the order of their time, and of
 * their making when that is equal; all chance comes from the seed. So the same seed makes the same
 * run, and a hash of everything that happened says that it did.
 *
 *     worldnemesis     worldclients, worldwatch, worldlease     worldcheck: every step is watched
 *          │               │ server_propose, server_read, hub, lessor
 *          ▼               ▼
 *     worldmember: a place with a disk, where one life of a member follows the other
 *          │               │                  │
 *     worlddisk        worldnet           worldenv: clock, timers, tasks, workers, chance
 *     (fs_fault,       (transport.h)
 *      simvfs)
 *
 * A run has two parts: faults for some seconds, then none, and within ten seconds everyone must
 * answer, and all members have one HashKV. What breaks a rule ends the process by way of
 * world_fail, which says which checker refused; so each seed runs in a process of its own. */
#define WORLD_PLACES_MAX 7

#define WORLD_MS 1000ull /* the clock counts microseconds */
#define WORLD_S  1000000ull

/* What may go wrong, each with its name on the command line. A seed likes some of them. */
#define WORLD_FAULTS(X)                                                       \
    X(DELAY, "delay")           /* frames are late now and then */            \
    X(LOSS, "loss")             /* frames are lost */                         \
    X(TWICE, "twice")           /* frames come twice, but no commands */      \
    X(REORDER, "reorder")       /* frames overtake each other */              \
    X(RESET, "reset")           /* a connection breaks */                     \
    X(CUT, "cut")               /* some members cannot reach the others */    \
    X(ONE_WAY, "one-way")       /* a link works in one direction */           \
    X(RING, "ring")             /* each reaches its neighbours only */        \
    X(SLOW_LINK, "slow-link")   /* a link is slow */                          \
    X(CRASH, "crash")           /* of one or some, after a turn */            \
    X(CRASH_ALL, "crash-all")   /* of all at once */                          \
    X(TORN, "torn")             /* a crash within an operation of the disk */ \
    X(RESTART, "restart")       /* a member stops in order, and starts */     \
    X(PAUSE, "pause")           /* a member stands still */                   \
    X(CLOCK, "clock")           /* a wall clock jumps */                      \
    X(DRIFT, "drift")           /* clocks are fast or slow */                 \
    X(READ_FAIL, "read-fail")   /* a read of the disk fails */                \
    X(WRITE_FAIL, "write-fail") /* a write, or what changes names */          \
    X(SYNC_FAIL, "sync-fail")   /* a sync fails */                            \
    X(SLOW_DISK, "slow-disk")   /* a disk is slow */                          \
    X(FULL, "full")             /* a disk is full */                          \
    X(FLIP, "flip")             /* bits turn at rest */                       \
    X(WIPE, "wipe")             /* a member's data is lost */                 \
    X(TRANSFER, "transfer")     /* leadership is handed over */               \
    X(MEMBERS, "members")       /* members are replaced */                    \
    X(COMPACT, "compact")       /* old revisions are removed */               \
    X(DEFRAG, "defrag")         /* a database is rewritten */                 \
    X(BACKUP, "backup")         /* a database is copied */                    \
    X(OVERLOAD, "overload")     /* more is asked for than can be done */      \
    X(CANCEL, "cancel")         /* clients go away in the middle */

enum world_fault {
#define WORLD_FAULT_ENUM(name, text) FAULT_##name,
    WORLD_FAULTS(WORLD_FAULT_ENUM)
#undef WORLD_FAULT_ENUM
        FAULT_COUNT
};
#define WORLD_FAULT_ALL ((1ull << FAULT_COUNT) - 1)
extern const char *const world_fault_names[FAULT_COUNT];

struct world_options {
    uint64_t seed;
    unsigned members; /* 0: the seed chooses */
    uint64_t fault_mask;
    uint64_t faults_ms;
    uint64_t recovery_ms;
    bool no_sync; /* the members' logs are not synced: the checkers must see it */
    bool verbose; /* every event of the trace to stderr */
    bool logs;    /* and the members' own lines */
    /* The history of a run that went wrong goes there; NULL: nowhere. */
    const char *history_path;
};

struct world_stats {
    uint64_t events;
    uint64_t frames;
    uint64_t entries; /* applied, by all members together */
    uint64_t ops;     /* of clients, that were acknowledged */
    uint64_t unknown; /* or may have happened */
    uint64_t refused;
    uint64_t watched; /* events that watchers were told */
    uint64_t lives;
    uint64_t states; /* databases that were sent */
    uint64_t disk_ops;
    uint64_t faults[FAULT_COUNT];
    uint64_t simulated_ms;
    uint64_t recovery_ms; /* how long after the last fault */
    uint64_t memory_max;  /* bytes of the process, all lives together */
    uint64_t hash;
};

struct world;

/* Something that happens later. For a member: not when its life has ended meanwhile. */
struct world_event {
    void (*run)(struct world *world, const struct world_event *event);
    unsigned place; /* 0: the world's */
    uint64_t life;
    void *ptr;
    uint64_t a;
    uint64_t b;
    struct heap_link link; /* private */
};

struct worldmember;

struct world {
    struct world_options options;
    uint64_t now_us;
    uint64_t chance; /* the generator's state */
    struct heap events;
    uint64_t events_made;
    struct trace *trace;
    struct world_stats stats;
    uint64_t faults;         /* those that this seed likes: bits of enum world_fault */
    uint32_t fastest_ppm;    /* how much too fast any clock has been */
    uint64_t thread_us_max;  /* that a thread needs to wake up */
    uint64_t lazy_us_max;    /* the same of some workers' threads, while faults come */
    unsigned lazy_per_mille; /* of the workers */
    unsigned places;
    bool calm; /* faults are over */
    bool done;
    uint64_t cluster_id;
    uint64_t founders[WORLD_PLACES_MAX + 1]; /* ids of the first members, by place */
    struct worldnet *net;
    struct worldcheck *check;
    struct worldclients *clients;
    struct worldoperator *operators;
    struct worldmember *members[WORLD_PLACES_MAX + 1]; /* by place, from 1 */
};

/* Run one seed to its end; returns when nothing was wrong. */
void world_run(const struct world_options *options, struct world_stats *ret);

/* CHECKER (a word) refuses: what was wrong, where and with which seed; ends the process. */
void world_fail(struct world *world, const char *checker, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

void world_at(struct world *world, uint64_t delay_us, const struct world_event *event);

uint64_t world_random(struct world *world);
uint64_t world_between(struct world *world, uint64_t from, uint64_t to); /* both included */
bool world_chance(struct world *world, unsigned per_mille);
bool world_likes(const struct world *world, enum world_fault fault); /* and faults are not over */

/* Into the trace and its hash. */
void world_note(struct world *world, const char *text, uint64_t a, uint64_t b);
/* The same, and counted as a fault. */
void world_note_fault(struct world *world, enum world_fault fault, uint64_t a, uint64_t b);

#endif
