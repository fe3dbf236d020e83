/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit
 * of the result. */
uint64_t mix64(uint64_t v);

/* A keyed hash for tables over outside bytes: SipHash-1-3 (Aumasson, Bernstein 2012), so that
 * nobody can choose keys that collide. */
struct hash_seed {
    uint64_t k0;
    uint64_t k1;
};
uint64_t hash_bytes(struct bytes bytes, const struct hash_seed *seed);

/* The hash of a set, whatever the order in which its elements come: 128 bits added lane by lane, so
 * that an element can be taken out again. Not collision resistant against an adversary; it compares
 * replicas. */
struct set_hash {
    uint64_t lo;
    uint64_t hi;
};
void set_hash_add(struct set_hash *set, struct set_hash element);
void set_hash_remove(struct set_hash *set, struct set_hash element);
bool set_hash_equal(struct set_hash a, struct set_hash b);
/* An element from a checksum of its content and its identity. */
struct set_hash set_hash_element(uint64_t content, uint64_t identity);

#endif
