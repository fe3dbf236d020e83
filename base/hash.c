/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include "base/codec.h"

uint64_t mix64(uint64_t v)
{
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
    v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
    return v ^ (v >> 31);
}

static inline uint64_t rotate_left(uint64_t v, unsigned n)
{
    return (v << n) | (v >> (64 - n));
}

/* The state of SipHash and its round; names and constants are the paper's, section 2. */
struct sip {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint64_t hash_bytes(struct bytes bytes, const struct hash_seed *seed)
{
    struct sip s = {
        .v0 = seed->k0 ^ 0x736f6d6570736575u,
        .v1 = seed->k1 ^ 0x646f72616e646f6du,
        .v2 = seed->k0 ^ 0x6c7967656e657261u,
        .v3 = seed->k1 ^ 0x7465646279746573u,
    };
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;
    for (; left >= 8; at += 8, left -= 8) {
        sip_word(&s, get_u64(at));
    }
    uint64_t last = (uint64_t)bytes.len << 56;
    for (size_t i = 0; i < left; i++) {
        last |= (uint64_t)at[i] << (8 * i);
    }
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void set_hash_add(struct set_hash *set, struct set_hash element)
{
    set->lo += element.lo;
    set->hi += element.hi;
}

void set_hash_remove(struct set_hash *set, struct set_hash element)
{
    set->lo -= element.lo;
    set->hi -= element.hi;
}

bool set_hash_equal(struct set_hash a, struct set_hash b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

struct set_hash set_hash_element(uint64_t content, uint64_t identity)
{
    /* Each lane depends on both inputs in another way (the constants are the fractions of the
     * golden ratio and of pi); 0, 0 must not give the neutral element. */
    return (struct set_hash){
        .lo = mix64(content ^ mix64(identity + 0x9e3779b97f4a7c15u)),
        .hi = mix64(identity ^ mix64(content + 0x243f6a8885a308d3u)),
    };
}
