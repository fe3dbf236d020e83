/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_ABI_H
#define RAFT_ABI_H

#include <assert.h>
#include <raft.h>
#include <stddef.h>
#include <stdint.h>

/* What raft/ knows of libraft's insides. struct raft is public in 0.15 and in no other version: the
 * guard reads it and mends it, so it must be the struct that the library was built with. configure
 * checks more of it (m4/trivet_libraft.m4) with a message for people. */
static_assert(sizeof(struct raft) == 656, "struct raft of libraft 0.15");
static_assert(sizeof(struct raft_log) == 72, "struct raft_log of libraft 0.15");
static_assert(sizeof(struct raft_progress) == 56, "struct raft_progress of libraft 0.15");
static_assert(sizeof(struct raft_entry) == 40, "struct raft_entry of libraft 0.15");
static_assert(sizeof(struct raft_message) == 88, "struct raft_message of libraft 0.15");
static_assert(sizeof(struct raft_io) == 408, "struct raft_io of libraft 0.15");
static_assert(offsetof(struct raft, last_stored) == 200, "struct raft of libraft 0.15");
static_assert(offsetof(struct raft, snapshot.put) == 360, "struct raft of libraft 0.15");

/* The states of raft_progress; private to the library, the same numbers. */
enum core_progress_state { CORE_PROBE = 0, CORE_PIPELINE = 1, CORE_SNAPSHOT = 2 };

/* The log that the core keeps in memory: entries offset + 1 ... last in a ring, and the index and
 * term of the last snapshot.
 *
 *       1 .. offset | offset + 1 ....... snapshot.last_index ......... last
 *       forgotten   | kept for slow followers                               */
static inline uint64_t core_last_index(const struct raft *r)
{
    const struct raft_log *l = &r->log;
    size_t count = l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
    return l->offset + count;
}

/* NULL: it is not in memory. */
static inline const struct raft_entry *core_entry(const struct raft *r, uint64_t index)
{
    const struct raft_log *l = &r->log;
    if (index <= l->offset || index > core_last_index(r)) {
        return NULL;
    }
    return &l->entries[(l->front + (size_t)(index - 1 - l->offset)) % l->size];
}

/* 0: unknown. */
static inline uint64_t core_term_of(const struct raft *r, uint64_t index)
{
    if (index == 0) {
        return 0;
    }
    if (index == r->log.snapshot.last_index) {
        return r->log.snapshot.last_term;
    }
    const struct raft_entry *entry = core_entry(r, index);
    return entry == NULL ? 0 : entry->term;
}

/* The place of ID in the configuration, or n. */
static inline unsigned core_server_slot(const struct raft *r, uint64_t id)
{
    unsigned i = 0;
    while (i < r->configuration.n && r->configuration.servers[i].id != id) {
        i++;
    }
    return i;
}

static inline struct raft_server *core_server(const struct raft *r, uint64_t id)
{
    unsigned i = core_server_slot(r, id);
    return i < r->configuration.n ? &r->configuration.servers[i] : NULL;
}

/* How far a follower is; NULL when we do not lead or it is not in the configuration. */
static inline struct raft_progress *core_progress(const struct raft *r, uint64_t id)
{
    unsigned i = core_server_slot(r, id);
    return r->state == RAFT_LEADER && i < r->configuration.n ? &r->leader_state.progress[i] : NULL;
}

/* A received snapshot is on its way to the disk: the log in memory is gone already. */
static inline bool core_installing(const struct raft *r)
{
    return r->last_stored == 0 && r->snapshot.put.data != NULL;
}

#endif
