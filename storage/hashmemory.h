/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_HASHMEMORY_H
#define STORAGE_HASHMEMORY_H

#include "storage/store.h"

/* What the newest compactions found: the HashKV of their revision, as it was before them. With it,
 * members that compact at different speeds can still be compared at a revision all of them have
 * passed. etcd remembers ten, and so do we, in memory alone.
 *
 *   compact(9) ─▶ hash at 9, computed with the compaction before ─▶ remembered as that of 9
 *                   └ HashKV(9) asked meanwhile waits for it
 *   HashKV(9) from then on: remembered, also when 9 is compacted
 *
 * One is computed at a time: a compaction that follows so fast that the hash of the one before is
 * not there yet, as while a log is applied again, is not remembered; nor is one whose hash could
 * not be computed, nor one at 0, which removes nothing. */
#define HASHES_REMEMBERED 10

struct hashmemory {
    struct {
        uint32_t hash;
        int64_t revision;
        int64_t compact_revision;
    } hashes[HASHES_REMEMBERED]; /* the oldest first: revisions ascend */
    size_t count;
    struct queue pending; /* struct pending_hash.link: the one that is being computed */
};

void hashmemory_init(struct hashmemory *memory);

/* The store is about to compact at REVISION, which it may. */
void hashmemory_compact(struct store *store, int64_t revision);

/* Is REQUEST for a revision that is remembered, or being computed? Then cb comes in a later turn.
 */
bool hashmemory_answers(struct store *store, struct store_hash_request *request);

#endif
