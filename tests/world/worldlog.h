/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDLOG_H
#define TESTS_WORLD_WORLDLOG_H

#include "raft/raftlog.h"
#include "tests/world/world.h"

/* Stands between a member and its raft log, and tells worldcheck what goes into it: terms, votes,
 * entries. Keeps of each entry its term and a hash. */
struct worldlog_entry {
    uint64_t term;
    uint64_t hash;
};

struct worldlog {
    struct raftlog base;
    struct raftlog *inner;
    struct worldmember *member;
    uint64_t term;
    uint64_t first_index;
    struct worldlog_entry *entries;
    size_t count;
    size_t cap;
};

struct raftlog *worldlog_wrap(struct worldlog *log, struct worldmember *member,
                              struct raftlog *inner);

/* NULL: not there. */
const struct worldlog_entry *worldlog_at(const struct worldlog *log, uint64_t index);

#endif
