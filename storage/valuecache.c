/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/valuecache.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

/* A record larger than this part of the cache would push out too much for one value. */
#define LARGEST_PART 8u

struct valuecache_entry {
    struct queue link;
    struct map_link by_rev;
    struct record *record;
    bool found; /* since the hand was here */
};

void valuecache_init(struct valuecache *cache, struct hash_seed seed, size_t bytes_max)
{
    *cache = (struct valuecache){.bytes_max = bytes_max};
    map_init(&cache->by_rev, seed);
    queue_init(&cache->entries);
}

static size_t size_of(const struct valuecache_entry *entry)
{
    return sizeof *entry + record_size(entry->record);
}

static void drop(struct valuecache *cache, struct valuecache_entry *entry)
{
    cache->bytes -= size_of(entry);
    map_remove(&cache->by_rev, &entry->by_rev);
    queue_remove(&entry->link);
    record_unref(entry->record);
    free(entry);
}

void valuecache_fini(struct valuecache *cache)
{
    while (!queue_empty(&cache->entries)) {
        drop(cache, QUEUE_ELEM(cache->entries.next, struct valuecache_entry, link));
    }
    map_fini(&cache->by_rev);
    cache->hand = NULL;
}

static struct valuecache_entry *find(const struct valuecache *cache, revision_t rev)
{
    uint64_t hash = map_hash_u64(&cache->by_rev, rev);
    struct map_link *link = map_first(&cache->by_rev, hash);
    for (; link != NULL; link = map_next(link)) {
        struct valuecache_entry *entry = CONTAINER_OF(link, struct valuecache_entry, by_rev);
        if (entry->record->rev == rev) {
            return entry;
        }
    }
    return NULL;
}

struct record *valuecache_get(struct valuecache *cache, revision_t rev)
{
    struct valuecache_entry *entry = find(cache, rev);
    if (entry == NULL) {
        return NULL;
    }
    entry->found = true;
    return entry->record;
}

/* One step of the hand: towards the newest, and from there to the oldest again. */
static void step(struct valuecache *cache)
{
    struct queue *at = cache->hand != NULL ? cache->hand : cache->entries.prev;
    struct valuecache_entry *entry = QUEUE_ELEM(at, struct valuecache_entry, link);
    cache->hand = at->prev != &cache->entries ? at->prev : NULL;
    if (entry->found) {
        entry->found = false;
    } else {
        drop(cache, entry);
    }
}

void valuecache_add(struct valuecache *cache, struct record *record)
{
    size_t size = sizeof(struct valuecache_entry) + record_size(record);
    if (size > cache->bytes_max / LARGEST_PART || find(cache, record->rev) != NULL) {
        return;
    }
    struct valuecache_entry *entry = malloc(sizeof *entry);
    if (entry == NULL) {
        return;
    }
    *entry = (struct valuecache_entry){.record = record};
    uint64_t hash = map_hash_u64(&cache->by_rev, record->rev);
    if (map_insert(&cache->by_rev, &entry->by_rev, hash) != OK) {
        free(entry);
        return;
    }
    record_ref(record);
    queue_push_front(&cache->entries, &entry->link);
    cache->bytes += size;
    while (cache->bytes > cache->bytes_max) {
        step(cache);
    }
}

void valuecache_check(const struct valuecache *cache)
{
    size_t bytes = 0;
    size_t count = 0;
    bool hand_seen = cache->hand == NULL;
    QUEUE_FOREACH (link, &cache->entries) {
        const struct valuecache_entry *entry = QUEUE_ELEM(link, struct valuecache_entry, link);
        ASSERT(find(cache, entry->record->rev) == entry);
        hand_seen = hand_seen || link == cache->hand;
        bytes += size_of(entry);
        count++;
    }
    ASSERT(hand_seen);
    ASSERT(count == cache->by_rev.count);
    ASSERT(bytes == cache->bytes && bytes <= cache->bytes_max);
}
