/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDMEMBER_H
#define TESTS_WORLD_WORLDMEMBER_H

#include "server/server.h"
#include "tests/world/worlddisk.h"
#include "tests/world/worldlog.h"
#include "tests/world/worldnet.h"

/* One life of a member: what a crash takes away. */
struct worldlife {
    struct worldenv env;
    struct worldtransport transport;
    struct worldlog log; /* around the real one */
    struct raftlog *files;
    struct logger *logger;
    struct metrics *metrics;
    struct server *server;
    uint64_t commit_index; /* seen last */
    uint64_t applied_index;
    uint64_t committed_index; /* by SQLite */
    bool published;           /* on_ready was called */
};

/* What all members of a run are set to. */
struct worldsettings {
    uint32_t heartbeat_ms;
    uint32_t election_ms;
    uint64_t snapshot_entries;
    uint64_t catchup_entries;
    uint64_t segment_bytes;
    size_t ring_bytes;
    uint32_t remove_permille;
    size_t watch_turn_work;
    bool loose_reconfig;
};

/* A place with a disk, where members live one after the other, and each of them several lives. */
struct worldmember {
    struct world *world;
    unsigned place;
    uint64_t id; /* whose place it is; 0: nobody's */
    char url[32];
    bool is_removed; /* it knows it, and does not start again */
    bool is_spoilt;  /* it refused to start, as its files were damaged */
    bool alive;
    bool stopping;
    bool is_copying; /* a backup is being made */
    uint64_t life;   /* counts all of the place's */
    uint64_t paused_until_us;
    uint64_t busy_until_us;
    struct worldclock clock;
    struct worlddisk disk;
    struct worldsettings settings;
    struct worldlife *now;
};

void worldmember_init_all(struct world *world);

/* Begin a life. False: it did not, as the disk had failed or was damaged. */
bool worldmember_start(struct worldmember *member);
/* End it now, wherever it is. */
void worldmember_crash(struct worldmember *member);
/* End it in order, some time from now. */
void worldmember_stop(struct worldmember *member);
/* Another member than before will live here, on a new disk, when the place is given its id; not
 * while one does. */
void worldmember_replace(struct worldmember *member);
/* A peer says that it was removed. */
void worldmember_tell_removed(struct worldmember *member);

/* Let EVENT happen to a member that lives; then the end of its turn, and the checks. */
void worldmember_run(struct worldmember *member, const struct world_event *event);

/* When it is at leisure: not paused, not waiting for its disk. */
uint64_t worldmember_free_at(const struct worldmember *member);
/* Alive and not paused. */
bool worldmember_runs(const struct worldmember *member);

unsigned worldmember_place_of(const struct world *world, uint64_t id); /* 0: none */
/* The leader of the highest term among those that run; NULL: none. */
struct worldmember *worldmember_leader(struct world *world);
/* The same, if it has applied all that was committed before its term. */
struct worldmember *worldmember_ready_leader(struct world *world);

/* Is this member within an operation that its crash has cut? Then nothing that it says counts. */
static inline bool worldmember_is_dying(const struct worldmember *member)
{
    return member->disk.is_dead;
}

#endif
