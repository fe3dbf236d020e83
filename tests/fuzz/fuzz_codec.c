/* SPDX-License-Identifier: Apache-2.0 */
/* The small formats that stand in files and between members, each decoded, and what was good
 * encoded and decoded again.
 *
 *   0  which (modulo); bit 7: a checksum in it is made right first
 *   1  bytes */
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "server/forward.h"
#include "server/hashframe.h"
#include "server/joining.h"
#include "server/leaseframe.h"
#include "server/stateframe.h"
#include "storage/record.h"
#include "tests/fuzz/fuzz.h"

static void check_hashframe(struct bytes bytes, bool sign)
{
    (void)sign;
    struct hashframe frame;
    if (hashframe_is(bytes) && hashframe_decode(bytes, &frame) == OK) {
        CLEANUP(blob_unrefp) struct blob *again = hashframe_encode(&frame);
        CLAIM(again != NULL);
        CLAIM(bytes_equal(blob_bytes(again), bytes));
    }
}

static void check_leaseframe(struct bytes bytes, bool sign)
{
    (void)sign;
    struct leaseframe frame;
    if (!leaseframe_is(bytes) || leaseframe_decode(bytes, &frame) != OK) {
        return;
    }
    size_t count = leaseframe_count(&frame);
    CLEANUP(blob_unrefp) struct blob *again = leaseframe_new(frame.what, frame.number, count);
    CLAIM(again != NULL);
    for (size_t i = 0; i < count; i++) {
        leaseframe_set(again, i, leaseframe_word(&frame, i));
    }
    CLAIM(bytes_equal(blob_bytes(again), bytes));
}

static void check_stateframe(struct bytes bytes, bool sign)
{
    (void)sign;
    struct stateframe frame;
    if (stateframe_decode(bytes, &frame) != OK) {
        return;
    }
    if (frame.what == STATE_CHUNK) {
        CLAIM(frame.chunk.len <= STATE_CHUNK_BYTES);
        (void)stateframe_element(frame.offset, frame.chunk);
        return;
    }
    CLEANUP(blob_unrefp) struct blob *again = stateframe_encode(&frame);
    CLAIM(again != NULL);
    CLAIM(bytes_equal(blob_bytes(again), bytes));
}

static void check_forward(struct bytes bytes, bool sign)
{
    (void)sign;
    CLEANUP(arena_fini) struct arena arena = {0};
    enum forward_what what;
    struct bytes commands;
    size_t count;
    if (forward_decode(bytes, &arena, &what, &commands, &count) != OK) {
        return;
    }
    struct reader r = reader_of(commands);
    for (size_t i = 0; i < count; i++) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        CLAIM(command_skip(&r, &kind, &origin, &whole) == OK);
    }
    CLAIM(reader_left(&r) == 0);
}

static void check_joining(struct bytes bytes, bool sign)
{
    (void)sign;
    struct joining_cluster existing;
    struct initial_cluster told;
    struct why why;
    uint64_t id;
    if (joining_decode(bytes, &existing) != OK) {
        return;
    }
    CLAIM(existing.cluster.count <= MEMBERS_MAX);
    if (initial_cluster_parse("a=http://a:1,b=http://b:1", "token", &told, &why) == OK) {
        if (joining_find(&told, &told.members[0], &existing, &id, &why) == OK) {
            CLAIM(id != 0);
        }
        (void)joining_has_started(&existing, told.members[1].id);
        initial_cluster_fini(&told);
    }
    joining_cluster_fini(&existing);
}

static void check_store_manifest(struct bytes bytes, bool sign)
{
    (void)sign;
    struct store_manifest manifest;
    if (store_manifest_decode(bytes, &manifest) == OK) {
        CLEANUP(buf_fini) struct buf again = {0};
        store_manifest_encode(&manifest, &again);
        CLAIM(bytes_equal(buf_bytes(&again), bytes));
    }
}

/* revision u64, header up to the value's length u8, value; its checksums are at 0 and 4. */
static void check_record(struct bytes bytes, bool sign)
{
    struct reader r = reader_of(bytes);
    uint64_t rev = read_u64(&r);
    uint8_t value_len = read_u8(&r);
    size_t header_len = reader_left(&r) > value_len ? reader_left(&r) - value_len : 0;
    CLEANUP(fuzz_free) struct bytes header = fuzz_take(&r, header_len);
    struct bytes value = fuzz_view(&r, SIZE_MAX);
    if (sign && header.len >= 8) {
        uint8_t *at = (uint8_t *)(uintptr_t)header.data;
        uint8_t rev_bytes[8];
        put_u64(rev_bytes, rev);
        put_u32(at + 4, crc32c(0, value.data, value.len));
        put_u32(at, crc32c(crc32c(0, rev_bytes, sizeof rev_bytes), at + 4, header.len - 4));
    }
    struct record *record;
    if (record_decode(rev, header, value, &record) != OK) {
        return;
    }
    CLEANUP(buf_fini) struct buf again = {0};
    struct record_header decoded;
    record_encode_header(record, &again);
    CLAIM(record_decode_header(rev, buf_bytes(&again), &decoded) == OK);
    CLAIM(record_value_matches(&decoded, value));
    CLAIM(bytes_equal(decoded.key, record_key(record)));
    record_unref(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct bytes bytes, bool sign) = {
        check_hashframe, check_leaseframe,     check_stateframe, check_forward,
        check_joining,   check_store_manifest, check_record,
    };
    struct reader input = reader_of(bytes_of(data, size));
    uint8_t which = read_u8(&input);
    CLEANUP(fuzz_free) struct bytes bytes = fuzz_take(&input, SIZE_MAX);
    checks[(which & 0x7f) % ARRAY_LEN(checks)](bytes, (which & 0x80) != 0);
    return 0;
}
