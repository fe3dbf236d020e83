/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/hash.h"

/* Hash map with links inside the elements, from 64-bit keys or byte strings; seeded, so that
 * outside keys cannot make it slow. The order of map_foreach depends on the seed only through the
 * hash: give the simulator's env a fixed seed. */
struct map_link {
    struct map_link *next;
    uint64_t hash;
};
struct map {
    struct map_link **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t count;
    struct hash_seed seed;
};

void map_init(struct map *map, struct hash_seed seed);
void map_fini(struct map *map); /* the elements are their owner's */

uint64_t map_hash_u64(const struct map *map, uint64_t key);
uint64_t map_hash_bytes(const struct map *map, struct bytes key);

/* The first element with this hash, then the next one: the caller compares keys. */
struct map_link *map_first(const struct map *map, uint64_t hash);
struct map_link *map_next(const struct map_link *link);

/* Add an element; duplicates are the caller's business. ERR_NOMEM when the table could not be made.
 */
MUST_CHECK enum err map_insert(struct map *map, struct map_link *link, uint64_t hash);
void map_remove(struct map *map, struct map_link *link);

/* Call FN for every element; FN may remove the element that it was given. */
void map_foreach(struct map *map, void (*fn)(struct map_link *link, void *ctx), void *ctx);

#endif
