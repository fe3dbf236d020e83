/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/group.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/plant.h"

#define GROUP_MAGIC 0x70754f47u /* "GOup" */
#define ALIGN       8u

/* Data up to here is copied beside its header: one piece for writev, not three. */
#define COPY_BYTES 4096u

static_assert(ENTRY_BYTES_MAX < UINT32_MAX / 2, "a group's length fits its field");

static size_t padding(size_t len)
{
    return -len & (ALIGN - 1);
}

size_t record_bytes(size_t len)
{
    return RECORD_HEADER_BYTES + len + padding(len);
}

void group_fini(struct group *group)
{
    buf_fini(&group->own);
    free(group->parts);
    *group = (struct group){0};
}

void group_clear(struct group *group)
{
    buf_clear(&group->own);
    group->part_count = 0;
    group->bytes = 0;
    group->count = 0;
}

static void add_part(struct group *group, struct bytes part)
{
    if (part.data == NULL && group->part_count > 0 &&
        group->parts[group->part_count - 1].data == NULL) {
        group->parts[group->part_count - 1].len += part.len;
        return;
    }
    if (!ARRAY_MAKE_ROOM(group->parts, group->part_count, group->part_cap, 16)) {
        group->failed = true;
        return;
    }
    group->parts[group->part_count++] = part;
}

static void add_own(struct group *group, const void *data, size_t len)
{
    buf_append(&group->own, data, len);
    add_part(group, bytes_of(NULL, len));
}

static void begin(struct group *group)
{
    static const uint8_t header[GROUP_HEADER_BYTES];
    add_own(group, header, sizeof header);
}

void group_add(struct group *group, const struct record *record)
{
    static const uint8_t zeros[ALIGN];
    if (group->part_count == 0) {
        begin(group);
    }
    uint8_t header[RECORD_HEADER_BYTES] = {(uint8_t)record->kind};
    header[2] = (uint8_t)record->entry_kind;
    header[3] = (uint8_t)(record->entry_kind >> 8);
    put_u32(header + 4, (uint32_t)record->data.len);
    put_u64(header + 8, record->index);
    put_u64(header + 16, record->term);
    add_own(group, header, sizeof header);
    if (record->kind != RECORD_ENTRY || record->data.len <= COPY_BYTES) {
        add_own(group, record->data.data, record->data.len);
    } else {
        add_part(group, record->data);
    }
    add_own(group, zeros, padding(record->data.len));
    group->bytes += record_bytes(record->data.len);
    group->count++;
}

/* Now that own does not move any more: point the parts at it, and sum up what follows the header.
 */
static uint32_t settle(struct group *group)
{
    uint32_t crc = 0;
    size_t at = 0;
    size_t skip = GROUP_HEADER_BYTES;
    for (size_t i = 0; i < group->part_count; i++) {
        struct bytes *part = &group->parts[i];
        if (part->data == NULL) {
            part->data = group->own.data + at;
            at += part->len;
        }
        crc = crc32c(crc, part->data + skip, part->len - skip);
        skip = 0;
    }
    return crc;
}

enum err group_seal(struct group *group, uint64_t tag, uint64_t number, uint64_t offset,
                    const struct bytes **ret, size_t *ret_count)
{
    if (group->part_count == 0) {
        begin(group);
    }
    if (group->failed || !buf_ok(&group->own)) {
        return ERR_NOMEM;
    }
    uint32_t crc = settle(group);
    uint8_t *header = group->own.data;
    put_u32(header, GROUP_MAGIC);
    put_u32(header + 4, (uint32_t)group->bytes);
    put_u64(header + 8, tag);
    put_u64(header + 16, number);
    put_u32(header + 24, (uint32_t)(offset / ALIGN));
    put_u32(header + 28, group->count);
    put_u32(header + 32, crc);
    put_u32(header + 36, crc32c(0, header, 36));
    *ret = group->parts;
    *ret_count = group->part_count;
    return OK;
}

bool group_read_header(struct bytes file, uint64_t offset, uint64_t tag, struct group_view *ret)
{
    if (offset % ALIGN != 0 || file.len < GROUP_HEADER_BYTES ||
        offset > file.len - GROUP_HEADER_BYTES) {
        return false;
    }
    const uint8_t *at = file.data + offset;
    if (get_u32(at) != GROUP_MAGIC || get_u64(at + 8) != tag ||
        get_u32(at + 24) != (uint32_t)(offset / ALIGN) || get_u32(at + 36) != crc32c(0, at, 36)) {
        return false;
    }
    *ret = (struct group_view){
        .number = get_u64(at + 16),
        .count = get_u32(at + 28),
        .bytes = GROUP_HEADER_BYTES + (size_t)get_u32(at + 4),
    };
    return true;
}

bool group_read(struct bytes file, uint64_t offset, uint64_t tag, struct group_view *ret)
{
    struct group_view view;
    if (!group_read_header(file, offset, tag, &view) || view.bytes > file.len - offset) {
        return false;
    }
    const uint8_t *at = file.data + offset;
    view.records = bytes_of(at + GROUP_HEADER_BYTES, view.bytes - GROUP_HEADER_BYTES);
    if (crc32c(0, view.records.data, view.records.len) != get_u32(at + 32) &&
        !PLANTED(LOG_TORN_TAIL)) {
        return false;
    }
    *ret = view;
    return true;
}

enum err record_read(struct bytes *records, struct record *ret)
{
    struct reader r = reader_of(*records);
    uint8_t kind = read_u8(&r);
    uint8_t zero = read_u8(&r);
    uint16_t entry_kind = read_u16(&r);
    uint32_t len = read_u32(&r);
    uint64_t index = read_u64(&r);
    uint64_t term = read_u64(&r);
    struct bytes data = read_bytes(&r, len);
    read_bytes(&r, padding(len));
    if (r.failed || zero != 0 || kind < RECORD_ENTRY || kind > RECORD_STATE) {
        return ERR_MALFORMED;
    }
    *ret = (struct record){
        .kind = kind, .entry_kind = entry_kind, .index = index, .term = term, .data = data};
    *records = bytes_of(r.at, reader_left(&r));
    return OK;
}
