/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/hash.h"

/* Hash map with links inside the elements, from 64-bit keys or byte strings; seeded, so that
 * outside keys cannot make it slow. The order of map_foreach depends on the seed only through the
 * hash: give the simulator's env a fixed seed.
 *
 * Growing does not stop the loop: the doubled table stands beside the old one, and every insert
 * moves two old buckets over, so that the old table is empty before the next doubling.
 *
 *   old      [ . . . | d e f g ]            buckets below `moved` are empty, theirs are in the new
 *   buckets  [ a b c . . . . . a' b' c' . . . . . ]                                     one */
struct map_link {
    struct map_link *next;
    uint64_t hash;
};
struct map {
    struct map_link **buckets;
    size_t bucket_count; /* a power of two, or 0; never shrinks */
    size_t count;
    struct map_link **old; /* NULL when nothing is being moved */
    size_t old_count;
    size_t moved; /* old buckets below are in `buckets` */
    struct hash_seed seed;
};

void map_init(struct map *map, struct hash_seed seed);
void map_fini(struct map *map); /* the elements are their owner's */

uint64_t map_hash_u64(const struct map *map, uint64_t key);
uint64_t map_hash_bytes(const struct map *map, struct bytes key);

/* The first element with this hash, then the next one: the caller compares keys. */
struct map_link *map_first(const struct map *map, uint64_t hash);
struct map_link *map_next(const struct map_link *link);

/* Add an element; duplicates are the caller's business. ERR_NOMEM when there is no table yet and
 * none could be made; a table that cannot grow goes on with longer chains. */
MUST_CHECK enum err map_insert(struct map *map, struct map_link *link, uint64_t hash);
void map_remove(struct map *map, struct map_link *link);

/* Call FN for every element; FN may remove the element that it was given, and insert nothing. */
void map_foreach(struct map *map, void (*fn)(struct map_link *link, void *ctx), void *ctx);

#endif
