/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDDISK_H
#define TESTS_WORLD_WORLDDISK_H

#include "tests/lib/fs_fault.h"
#include "tests/lib/simvfs.h"
#include "tests/world/worldenv.h"

#define WORLDDISK_LOG_DIR "data/raft"

/* A place's disk, which outlives its members: the raft log's segments, term and vote, SQLite's
 * files, all on one fs_fault. Every operation takes time; it fails when it is told to; and the
 * power may go within one, so that a part of what it writes is there, and nothing after it. What a
 * crash leaves of what was not synced (lost, torn, in another order, sector by sector) is
 * tests/lib/disk.h's. */
struct worlddisk {
    struct world *world;
    struct fs_fault *files;
    struct simvfs *vfs;   /* of this life */
    struct worldenv *env; /* likewise: who pays for what is done; NULL: nobody */
    uint64_t op_count;
    /* How long things take: from, and up to so much more. */
    uint64_t write_us;
    uint64_t sync_us;
    unsigned slow_factor; /* 1: it is not slow */
    uint64_t slow_until_us;

    uint64_t dies_at_op;        /* 0: never */
    uint64_t dies_after_rename; /* operations after a file beside the log is renamed; 0: never */
    bool is_dead;
    unsigned fail_kinds; /* enum fs_fault_kind, ored */
    uint64_t fail_in;    /* operations of these kinds */
    bool has_failed;     /* in this life */
    bool was_flipped;    /* since it was new */
};

void worlddisk_init(struct worlddisk *disk, struct world *world);

/* A life begins; and ends in order, or within whatever it does. */
void worlddisk_begin(struct worlddisk *disk, struct worldenv *env);
void worlddisk_end(struct worlddisk *disk);
void worlddisk_crash(struct worlddisk *disk);

/* Did something happen to it in this life that may end the life, or that a program may say is
 * wrong? */
bool worlddisk_is_sick(const struct worlddisk *disk);

/* Everything is gone: a new disk. Between two lives. */
void worlddisk_wipe(struct worlddisk *disk);

#endif
