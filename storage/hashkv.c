/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashkv.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/codec.h"
#include "base/crc32c.h"

#define TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))
#define WIRE_VARINT      0
#define WIRE_BYTES       2

/* Tags, lengths and integers of a KeyValue: everything but key and value. */
#define NUMBERS_MAX (6u * 11)
#define REV_BYTES   18u

void hashkv_init(struct hashkv *hash)
{
    hash->crc = crc32c(0, "key", 3);
}

static void add(struct hashkv *hash, const void *data, size_t len)
{
    hash->crc = crc32c(hash->crc, data, len);
}

static uint8_t *put_number(uint8_t *at, unsigned field, int64_t number)
{
    if (number == 0) {
        return at;
    }
    *at++ = TAG(field, WIRE_VARINT);
    return put_varint(at, (uint64_t)number);
}

static void add_revision(struct hashkv *hash, revision_t rev, bool tombstone)
{
    uint8_t bytes[REV_BYTES];
    uint64_t main = (uint64_t)revision_main(rev);
    put_u32_be(bytes, (uint32_t)(main >> 32));
    put_u32_be(bytes + 4, (uint32_t)main);
    bytes[8] = '_';
    put_u32_be(bytes + 9, 0);
    put_u32_be(bytes + 13, revision_sub(rev));
    bytes[17] = 't';
    add(hash, bytes, tombstone ? REV_BYTES : REV_BYTES - 1);
}

static void add_bytes(struct hashkv *hash, unsigned field, struct bytes bytes)
{
    if (bytes.len > 0) {
        uint8_t head[NUMBERS_MAX];
        head[0] = TAG(field, WIRE_BYTES);
        uint8_t *end = put_varint(head + 1, bytes.len);
        add(hash, head, (size_t)(end - head));
        add(hash, bytes.data, bytes.len);
    }
}

void hashkv_add(struct hashkv *hash, revision_t rev, const struct record_header *header,
                struct bytes value)
{
    add_revision(hash, rev, header->tombstone);
    add_bytes(hash, 1, header->key);
    if (header->tombstone) {
        return;
    }
    uint8_t numbers[NUMBERS_MAX];
    uint8_t *at = put_number(numbers, 2, header->create_revision);
    at = put_number(at, 3, revision_main(rev));
    at = put_number(at, 4, header->version);
    add(hash, numbers, (size_t)(at - numbers));
    add_bytes(hash, 5, value);
    at = put_number(numbers, 6, header->lease);
    add(hash, numbers, (size_t)(at - numbers));
}

/* ---- what is superseded ---- */

enum err superseded_add(struct superseded *set, revision_t prev_rev)
{
    if (!ARRAY_MAKE_ROOM(set->revs, set->count, set->cap, 1024)) {
        return ERR_NOMEM;
    }
    set->revs[set->count++] = prev_rev;
    return OK;
}

static int by_rev(const void *a, const void *b)
{
    revision_t x = *(const revision_t *)a;
    revision_t y = *(const revision_t *)b;
    return (x > y) - (x < y);
}

void superseded_seal(struct superseded *set)
{
    if (set->count > 0) {
        qsort(set->revs, set->count, sizeof set->revs[0], by_rev);
    }
    superseded_rewind(set);
}

void superseded_rewind(struct superseded *set)
{
    set->next = 0;
}

bool superseded_has(struct superseded *set, revision_t rev)
{
    while (set->next < set->count && set->revs[set->next] < rev) {
        set->next++;
    }
    return set->next < set->count && set->revs[set->next] == rev;
}

void superseded_fini(struct superseded *set)
{
    free(set->revs);
    *set = (struct superseded){0};
}
