/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_VALUECACHE_H
#define STORAGE_VALUECACHE_H

#include "base/map.h"
#include "base/queue.h"
#include "storage/record.h"

/* Records that were read from SQLite, by revision: each costs a walk down a B-tree in pages that
 * the next foreign commit takes from the reader, and ranges that are asked again and again meet the
 * same. Bounded by bytes. What leaves is chosen as SIEVE does (Zhang et al., NSDI 2024):
 *
 *   newest ─▶ [ c ][ b* ][ a ][ d* ] ─▶ oldest        * was found since the hand passed it
 *                        ▲ hand, towards the newest: takes the mark of d and passes, removes a
 *
 * A walk over a million keys therefore pushes out little of what is asked for often. A record never
 * changes, so nothing here ever becomes wrong; of what a compaction has removed nobody asks. On the
 * loop. */
struct valuecache {
    struct map by_rev;
    struct queue entries; /* struct valuecache_entry.link, the newest first */
    struct queue *hand;   /* NULL: begin at the oldest */
    size_t bytes;
    size_t bytes_max;
};

void valuecache_init(struct valuecache *cache, struct hash_seed seed, size_t bytes_max);
void valuecache_fini(struct valuecache *cache); /* drops every record */

/* The record at REV, borrowed, or NULL. */
struct record *valuecache_get(struct valuecache *cache, revision_t rev);

/* Keep RECORD, with a count of its own; one that is there already, or for which there is no memory,
 * is left out. */
void valuecache_add(struct valuecache *cache, struct record *record);

void valuecache_check(const struct valuecache *cache);

#endif
