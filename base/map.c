/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdlib.h>

#include "base/assert.h"

#define MAP_BUCKETS_MIN 16
#define MOVE_PER_INSERT 2

void map_init(struct map *map, struct hash_seed seed)
{
    *map = (struct map){.seed = seed};
}

void map_fini(struct map *map)
{
    free(map->buckets);
    free(map->old);
    *map = (struct map){.seed = map->seed};
}

uint64_t map_hash_u64(const struct map *map, uint64_t key)
{
    return mix64(mix64(key + map->seed.k0) ^ map->seed.k1);
}

uint64_t map_hash_bytes(const struct map *map, struct bytes key)
{
    return hash_bytes(key, &map->seed);
}

/* The one bucket that holds the elements of this hash. The table exists. */
static struct map_link **bucket_of(const struct map *map, uint64_t hash)
{
    if (map->old != NULL) {
        size_t i = hash & (map->old_count - 1);
        if (i >= map->moved) {
            return &map->old[i];
        }
    }
    return &map->buckets[hash & (map->bucket_count - 1)];
}

static struct map_link *same_hash(struct map_link *link, uint64_t hash)
{
    while (link != NULL && link->hash != hash) {
        link = link->next;
    }
    return link;
}

struct map_link *map_first(const struct map *map, uint64_t hash)
{
    return map->count == 0 ? NULL : same_hash(*bucket_of(map, hash), hash);
}

struct map_link *map_next(const struct map_link *link)
{
    return same_hash(link->next, link->hash);
}

static void move_one_bucket(struct map *map)
{
    struct map_link *link = map->old[map->moved];
    while (link != NULL) {
        struct map_link *next = link->next;
        struct map_link **bucket = &map->buckets[link->hash & (map->bucket_count - 1)];
        link->next = *bucket;
        *bucket = link;
        link = next;
    }
    map->moved++;
    if (map->moved == map->old_count) {
        free(map->old);
        map->old = NULL;
        map->old_count = 0;
        map->moved = 0;
    }
}

/* Begin to double the table. False: no memory. */
static bool grow(struct map *map)
{
    size_t count = map->bucket_count == 0 ? MAP_BUCKETS_MIN : map->bucket_count * 2;
    struct map_link **buckets = calloc(count, sizeof(struct map_link *));
    if (buckets == NULL) {
        return false;
    }
    map->old = map->buckets;
    map->old_count = map->bucket_count;
    map->moved = 0;
    map->buckets = buckets;
    map->bucket_count = count;
    return true;
}

enum err map_insert(struct map *map, struct map_link *link, uint64_t hash)
{
    for (int i = 0; i < MOVE_PER_INSERT && map->old != NULL; i++) {
        move_one_bucket(map);
    }
    if (map->count >= map->bucket_count && map->old == NULL && !grow(map) &&
        map->bucket_count == 0) {
        return ERR_NOMEM;
    }
    struct map_link **bucket = bucket_of(map, hash);
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    map->count++;
    return OK;
}

void map_remove(struct map *map, struct map_link *link)
{
    ASSERT(map->count > 0);
    struct map_link **at = bucket_of(map, link->hash);
    while (*at != link) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    link->next = NULL;
    map->count--;
}

static void foreach_bucket(struct map_link *link, void (*fn)(struct map_link *link, void *ctx),
                           void *ctx)
{
    while (link != NULL) {
        struct map_link *next = link->next;
        fn(link, ctx);
        link = next;
    }
}

void map_foreach(struct map *map, void (*fn)(struct map_link *link, void *ctx), void *ctx)
{
    for (size_t i = map->moved; i < map->old_count; i++) {
        foreach_bucket(map->old[i], fn, ctx);
    }
    for (size_t i = 0; i < map->bucket_count; i++) {
        foreach_bucket(map->buckets[i], fn, ctx);
    }
}
