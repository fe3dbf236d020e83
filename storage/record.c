/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/record.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/plant.h"
#include "storage/slabs.h"

/* The header column:
 *
 *   0  4  CRC-32C of the revision (8 bytes) and of the header from byte 4 on
 *   4  4  CRC-32C of the value
 *   8  1  flags: bit 0 tombstone, the others zero
 *   9  1  where the key begins: the shell's view needs no varints
 *  10     varint rev - prev_rev, 0 for none; and, but for a tombstone, varints
 *         main - create_revision, version, lease
 *  ..     the key, to the end
 *
 * prev_rev and create_revision are near the row's own revision more often than not: differences
 * are short. */
#define CHECKSUM_BYTES    4u
#define FLAG_TOMBSTONE    1u
#define FIXED_BYTES       10u
#define HEADER_KEY_AT_MAX (FIXED_BYTES + 4 * 10)

/* SLABS may be NULL. */
static struct record *make_record(struct slabs *slabs, struct bytes key, struct bytes value,
                                  uint32_t value_checksum)
{
    ASSERT(key.len <= UINT32_MAX && value.len <= UINT32_MAX);
    size_t size = sizeof(struct record) + key.len + value.len;
    struct record *record = slabs == NULL ? NULL : slabs_alloc(slabs, size);
    bool in_slab = record != NULL;
    if (!in_slab) {
        record = malloc(size);
    }
    if (record == NULL) {
        return NULL;
    }
    *record = (struct record){.refs = 1,
                              .in_slab = in_slab,
                              .key_len = (uint32_t)key.len,
                              .value_len = (uint32_t)value.len,
                              .value_checksum = value_checksum};
    if (key.len > 0) {
        memcpy(record->data, key.data, key.len);
    }
    if (value.len > 0) {
        memcpy(record->data + key.len, value.data, value.len);
    }
    return record;
}

struct record *record_new(struct bytes key, struct bytes value)
{
    return record_new_in(NULL, key, value);
}

struct record *record_new_in(struct slabs *slabs, struct bytes key, struct bytes value)
{
    return make_record(slabs, key, value, crc32c(0, value.data, value.len));
}

struct record *record_ref(struct record *record)
{
    ASSERT(record->refs > 0 && record->refs < UINT32_MAX);
    record->refs++;
    return record;
}

void record_unref(struct record *record)
{
    if (record == NULL) {
        return;
    }
    ASSERT(record->refs > 0);
    if (--record->refs > 0) {
        return;
    }
    if (record->in_slab) {
        slabs_give_back(record);
    } else {
        free(record);
    }
}

size_t record_size(const struct record *record)
{
    return sizeof *record + record->key_len + record->value_len;
}

static uint32_t header_checksum(revision_t rev, struct bytes header)
{
    uint8_t number[8];
    put_u64(number, rev);
    uint32_t crc = crc32c(0, number, sizeof number);
    return crc32c(crc, header.data + CHECKSUM_BYTES, header.len - CHECKSUM_BYTES);
}

void record_encode_header(const struct record *record, struct buf *buf)
{
    uint8_t *start = buf_extend(buf, HEADER_KEY_AT_MAX + record->key_len);
    if (start == NULL) {
        return;
    }
    put_u32(start + CHECKSUM_BYTES, record->value_checksum);
    uint8_t *at = start + FIXED_BYTES;
    ASSERT(record->prev_rev < record->rev);
    at = put_varint(at, record->prev_rev == 0 ? 0 : record->rev - record->prev_rev);
    if (!record->tombstone) {
        int64_t main = revision_main(record->rev);
        ASSERT(record->create_revision > 0 && record->create_revision <= main);
        at = put_varint(at, (uint64_t)(main - record->create_revision));
        at = put_varint(at, (uint64_t)record->version);
        at = put_varint(at, (uint64_t)record->lease);
    }
    start[8] = record->tombstone ? FLAG_TOMBSTONE : 0;
    start[9] = (uint8_t)(at - start);
    memcpy(at, record->data, record->key_len);
    size_t len = (size_t)(at - start) + record->key_len;
    put_u32(start, record->checksum != 0 ? record->checksum
                                         : header_checksum(record->rev, bytes_of(start, len)));
    buf->len -= HEADER_KEY_AT_MAX + record->key_len - len;
}

void record_seal(struct record *record, struct buf *scratch)
{
    ASSERT(record->checksum == 0);
    buf_clear(scratch);
    record_encode_header(record, scratch);
    if (buf_ok(scratch)) {
        record->checksum = get_u32(scratch->data);
    }
}

/* Read the varints; false when they are not of this revision. */
static bool read_numbers(struct reader *r, revision_t rev, struct record_header *header)
{
    uint64_t prev_distance = read_varint(r);
    if (prev_distance >= rev) {
        return false;
    }
    header->prev_rev = prev_distance == 0 ? 0 : rev - prev_distance;
    if (!header->tombstone) {
        uint64_t age = read_varint(r);
        if (age >= (uint64_t)revision_main(rev)) {
            return false;
        }
        header->create_revision = revision_main(rev) - (int64_t)age;
        header->version = (int64_t)read_varint(r);
        header->lease = (int64_t)read_varint(r);
    }
    return true;
}

enum err record_decode_header(revision_t rev, struct bytes bytes, struct record_header *ret)
{
    if (bytes.len < FIXED_BYTES) {
        return ERR_CORRUPT;
    }
    struct reader r = reader_of(bytes);
    struct record_header header = {.checksum = read_u32(&r)};
    if (header.checksum != header_checksum(rev, bytes) && !PLANTED(DAMAGE_UNSEEN)) {
        return ERR_CORRUPT;
    }
    header.value_checksum = read_u32(&r);
    uint8_t flags = read_u8(&r);
    uint8_t key_at = read_u8(&r);
    header.tombstone = (flags & FLAG_TOMBSTONE) != 0;
    if ((flags & ~FLAG_TOMBSTONE) != 0 || !read_numbers(&r, rev, &header)) {
        return ERR_CORRUPT;
    }
    if ((size_t)(r.at - bytes.data) != key_at) {
        return ERR_CORRUPT;
    }
    header.key = read_bytes(&r, reader_left(&r));
    if (reader_end(&r) != OK) {
        return ERR_CORRUPT;
    }
    *ret = header;
    return OK;
}

bool record_value_matches(const struct record_header *header, struct bytes value)
{
    return crc32c(0, value.data, value.len) == header->value_checksum || PLANTED(DAMAGE_UNSEEN);
}

struct record *record_of_row(revision_t rev, const struct record_header *header, struct bytes value)
{
    struct record *record = make_record(NULL, header->key, value, header->value_checksum);
    if (record != NULL) {
        record->rev = rev;
        record->tombstone = header->tombstone;
        record->prev_rev = header->prev_rev;
        record->create_revision = header->create_revision;
        record->version = header->version;
        record->lease = header->lease;
    }
    return record;
}

enum err record_decode(revision_t rev, struct bytes bytes, struct bytes value, struct record **ret)
{
    struct record_header header;
    TRY(record_decode_header(rev, bytes, &header));
    if (value.len > UINT32_MAX || !record_value_matches(&header, value)) {
        return ERR_CORRUPT;
    }
    *ret = record_of_row(rev, &header, value);
    return *ret == NULL ? ERR_NOMEM : OK;
}
