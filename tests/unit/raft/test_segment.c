/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/segment.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

#define SIZE 16384u

static struct {
    struct fs_fault *disk;
    struct logdir dir;
    struct group group;
    uint8_t *memory;
    struct why why;
} fixture;

static void setup(void)
{
    fixture.disk = fs_fault_new();
    fixture.dir = (struct logdir){.fs = fs_fault_fs(fixture.disk),
                                  .path = "/log",
                                  .cluster_id = 0xc1,
                                  .member_id = 0xa1,
                                  .salt = 0x5a17,
                                  .segment_bytes = SIZE,
                                  .next_id = 1};
    fixture.group = (struct group){0};
    fixture.memory = NULL;
    ck_assert_int_eq(fs_make_dirs(fixture.dir.fs, "/log", NULL), OK);
}

static void teardown(void)
{
    group_fini(&fixture.group);
    free(fixture.memory);
    fs_fault_free(fixture.disk);
}

static uint8_t *alloc(void *ctx, size_t size)
{
    (void)ctx;
    free(fixture.memory);
    fixture.memory = malloc(size + 1);
    return fixture.memory;
}

static struct segment *create(void)
{
    struct segment *s = NULL;
    enum err err = segment_create(&fixture.dir, SIZE, true, &s, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
    return s;
}

/* A group of one entry with this text. */
static void write_text(struct segment *s, uint64_t number, const char *text)
{
    group_clear(&fixture.group);
    group_add(&fixture.group, &(struct record){.kind = RECORD_ENTRY,
                                               .entry_kind = 1,
                                               .index = number,
                                               .term = 3,
                                               .data = bytes_of_str(text)});
    ck_assert_int_eq(segment_write(&fixture.dir, s, &fixture.group, number, &fixture.why), OK);
}

static enum err load(uint64_t id, struct bytes *content, bool *in_use)
{
    struct segment *s = NULL;
    enum err err = segment_load(&fixture.dir, id, alloc, NULL, &s, content, in_use, &fixture.why);
    segment_close(s);
    return err;
}

START_TEST(groups_are_read_back_in_order)
{
    struct segment *s = create();
    uint64_t tag = s->tag;
    static const char *const texts[] = {"one", "", "the third, somewhat longer", "4"};
    for (uint64_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_text(s, 10 + i, texts[i]);
    }
    segment_close(s);
    struct bytes content;
    bool in_use;
    ck_assert_int_eq(load(1, &content, &in_use), OK);
    ck_assert(in_use);
    ck_assert_uint_eq(content.len, SIZE);
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct group_view view;
    for (uint64_t i = 0; i < ARRAY_LEN(texts); i++) {
        ck_assert(group_read(content, at, tag, &view));
        ck_assert_uint_eq(view.number, 10 + i);
        ck_assert_uint_eq(view.count, 1);
        struct record record;
        ck_assert_int_eq(record_read(&view.records, &record), OK);
        ck_assert_uint_eq(record.index, 10 + i);
        ck_assert(bytes_equal(record.data, bytes_of_str(texts[i])));
        ck_assert_uint_eq(view.records.len, 0);
        at += view.bytes;
    }
    ck_assert(!group_read(content, at, tag, &view));
}
END_TEST

START_TEST(large_data_is_written_without_a_copy)
{
    uint8_t data[3 * 4096];
    memset(data, 'x', sizeof data);
    struct segment *s = NULL;
    ck_assert_int_eq(segment_create(&fixture.dir, 2 * SIZE, true, &s, NULL), OK);
    for (uint64_t i = 0; i < 2; i++) {
        group_add(&fixture.group, &(struct record){.kind = RECORD_ENTRY,
                                                   .index = i,
                                                   .data = bytes_of(data, sizeof data - i)});
    }
    ck_assert_uint_lt(fixture.group.own.len, 200);
    ck_assert_int_eq(segment_write(&fixture.dir, s, &fixture.group, 1, &fixture.why), OK);
    uint64_t tag = s->tag;
    segment_close(s);
    struct bytes content;
    bool in_use;
    ck_assert_int_eq(load(1, &content, &in_use), OK);
    struct group_view view;
    ck_assert(group_read(content, SEGMENT_DATA_OFFSET, tag, &view));
    for (uint64_t i = 0; i < 2; i++) {
        struct record record;
        ck_assert_int_eq(record_read(&view.records, &record), OK);
        ck_assert(bytes_equal(record.data, bytes_of(data, sizeof data - i)));
    }
}
END_TEST

START_TEST(any_flipped_bit_of_a_group_is_noticed)
{
    struct segment *s = create();
    uint64_t tag = s->tag;
    write_text(s, 1, "some text");
    uint64_t end = s->end;
    segment_close(s);
    struct bytes content;
    bool in_use;
    ck_assert_int_eq(load(1, &content, &in_use), OK);
    struct group_view view;
    for (uint64_t bit = SEGMENT_DATA_OFFSET * 8; bit < end * 8; bit++) {
        fixture.memory[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert(!group_read(content, SEGMENT_DATA_OFFSET, tag, &view));
        fixture.memory[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert(group_read(content, SEGMENT_DATA_OFFSET, tag, &view));
    /* At another place, of another segment, cut short: not a group. */
    memmove(fixture.memory + SEGMENT_DATA_OFFSET + 8, fixture.memory + SEGMENT_DATA_OFFSET, 200);
    ck_assert(!group_read(content, SEGMENT_DATA_OFFSET + 8, tag, &view));
    memmove(fixture.memory + SEGMENT_DATA_OFFSET, fixture.memory + SEGMENT_DATA_OFFSET + 8, 200);
    ck_assert(!group_read(content, SEGMENT_DATA_OFFSET, tag + 1, &view));
    for (uint64_t len = 0; len < end; len++) {
        ck_assert(!group_read(bytes_of(content.data, len), SEGMENT_DATA_OFFSET, tag, &view));
    }
}
END_TEST

START_TEST(a_recycled_segment_shows_nothing_of_its_past)
{
    struct segment *s = create();
    uint64_t old_tag = s->tag;
    for (uint64_t i = 0; i < 20; i++) {
        write_text(s, 1 + i, "of an earlier life");
    }
    ck_assert_int_eq(segment_recycle(&fixture.dir, &s, &fixture.why), OK);
    ck_assert_uint_eq(s->id, 2);
    ck_assert_uint_eq(s->end, SEGMENT_DATA_OFFSET);
    uint64_t tag = s->tag;
    ck_assert_uint_ne(tag, old_tag);
    write_text(s, 1, "of an earlier life");
    segment_close(s);
    struct bytes content;
    bool in_use;
    ck_assert_int_eq(load(1, &content, &in_use), ERR_NOT_FOUND);
    ck_assert_int_eq(load(2, &content, &in_use), OK);
    ck_assert(in_use);
    unsigned found = 0;
    struct group_view view;
    for (uint64_t at = 0; at < content.len; at += 8) {
        found += group_read_header(content, at, tag, &view);
    }
    ck_assert_uint_eq(found, 1);
}
END_TEST

/* Whatever a crash leaves of making and recycling, it is a usable segment or one being made. */
START_TEST(a_crash_while_making_or_recycling_leaves_no_damage)
{
    uint64_t from = fs_fault_op_count(fixture.disk);
    struct segment *s = create();
    uint64_t created = fs_fault_op_count(fixture.disk);
    write_text(s, 1, "text");
    ck_assert_int_eq(segment_recycle(&fixture.dir, &s, &fixture.why), OK);
    segment_close(s);
    uint64_t ops = fs_fault_op_count(fixture.disk);
    struct fs *fs = fixture.dir.fs;
    for (uint64_t at = from; at <= ops; at++) {
        for (uint64_t seed = 0; seed < 16; seed++) {
            struct fs_fault *disk = fs_fault_crash(fixture.disk, at, seed);
            fixture.dir.fs = fs_fault_fs(disk);
            unsigned there = 0;
            for (uint64_t id = 1; id <= 2; id++) {
                struct bytes content;
                bool in_use = false;
                enum err err = load(id, &content, &in_use);
                ck_assert_msg(err == OK || err == ERR_NOT_FOUND, "%s", fixture.why.text);
                ck_assert(!in_use || content.len == SIZE);
                there += err == OK;
            }
            ck_assert_uint_le(there, 1);
            ck_assert(at < created || there == 1);
            fs_fault_free(disk);
        }
    }
    fixture.dir.fs = fs;
}
END_TEST

static void patch(uint64_t offset, const void *data, size_t len)
{
    struct fs_file *file = NULL;
    ck_assert_int_eq(
        fs_open(fixture.dir.fs, "/log/segment-0000000000000001", FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_write(file, offset, data, len, NULL), OK);
    uint8_t header[56];
    size_t got;
    ck_assert_int_eq(fs_read(file, 0, header, sizeof header, &got, NULL), OK);
    put_u32(header + 52, crc32c(0, header, 52));
    ck_assert_int_eq(fs_write(file, 0, header, sizeof header, NULL), OK);
    fs_close(file);
}

static const struct {
    const char *name;
    uint64_t offset; /* of 8 bytes of the header */
    uint64_t value;
    enum err want;
    bool in_use;
} headers[] = {
    {"as it was", 48, 0, OK, true},
    {"no magic", 0, 0, OK, false},
    {"a newer version", 8, 2, ERR_VERSION, false},
    {"another cluster", 16, 0xc2, ERR_FOREIGN, false},
    {"another member", 24, 0xa2, ERR_FOREIGN, false},
    {"another id: half recycled", 32, 9, OK, false},
    {"shorter than it was made", 40, SIZE + 4096, ERR_CORRUPT, false},
};

START_TEST(a_header_decides)
{
    segment_close(create());
    uint8_t value[8];
    put_u64(value, headers[_i].value);
    patch(headers[_i].offset, value, sizeof value);
    struct bytes content;
    bool in_use = false;
    enum err got = load(1, &content, &in_use);
    ck_assert_msg(got == headers[_i].want, "%s: got %s: %s", headers[_i].name, err_text(got),
                  fixture.why.text);
    ck_assert(got != OK || in_use == headers[_i].in_use);
    ck_assert(got == OK || strstr(fixture.why.text, "segment-0000000000000001") != NULL);
}
END_TEST

START_TEST(a_damaged_header_is_no_header)
{
    segment_close(create());
    struct fs_file *file = NULL;
    ck_assert_int_eq(
        fs_open(fixture.dir.fs, "/log/segment-0000000000000001", FS_WRITE, &file, NULL), OK);
    for (uint64_t i = 0; i < 56; i++) {
        uint8_t byte;
        size_t len;
        struct bytes content;
        bool in_use = true;
        ck_assert_int_eq(fs_read(file, i, &byte, 1, &len, NULL), OK);
        byte ^= 0x10;
        ck_assert_int_eq(fs_write(file, i, &byte, 1, NULL), OK);
        ck_assert_int_eq(load(1, &content, &in_use), OK);
        ck_assert(!in_use);
        byte ^= 0x10;
        ck_assert_int_eq(fs_write(file, i, &byte, 1, NULL), OK);
    }
    fs_close(file);
}
END_TEST

START_TEST(a_full_disk_leaves_nothing_behind)
{
    fs_fault_set_capacity(fixture.disk, SIZE - 1);
    struct segment *s = NULL;
    ck_assert_int_eq(segment_create(&fixture.dir, SIZE, true, &s, &fixture.why), ERR_NO_SPACE);
    ck_assert_ptr_null(s);
    CLEANUP(fs_names_fini) struct fs_names names = {0};
    ck_assert_int_eq(fs_list(fixture.dir.fs, "/log", &names, NULL), OK);
    ck_assert_uint_eq(names.count, 0);
}
END_TEST

static const struct {
    const char *name;
    bool want;
    uint64_t id;
} file_names[] = {
    {"segment-0000000000000001", true, 1},
    {"segment-ffffffffffffffff", true, UINT64_MAX},
    {"segment-00000000000000001", false, 0},
    {"segment-000000000000001", false, 0},
    {"segment-000000000000000G", false, 0},
    {"segment-000000000000000A", false, 0},
    {"segment-", false, 0},
    {"metadata", false, 0},
    {"", false, 0},
    {"segment-0000000000000001.tmp", false, 0},
};

START_TEST(names_are_exact)
{
    uint64_t id = 0;
    ck_assert_int_eq(segment_parse_name(file_names[_i].name, &id), file_names[_i].want);
    ck_assert_uint_eq(id, file_names[_i].id);
}
END_TEST

static Suite *segment_suite(void)
{
    Suite *suite = suite_create("segment");
    TCase *tc = tcase_create("segment");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, groups_are_read_back_in_order);
    tcase_add_test(tc, large_data_is_written_without_a_copy);
    tcase_add_test(tc, any_flipped_bit_of_a_group_is_noticed);
    tcase_add_test(tc, a_recycled_segment_shows_nothing_of_its_past);
    tcase_add_test(tc, a_crash_while_making_or_recycling_leaves_no_damage);
    tcase_add_loop_test(tc, a_header_decides, 0, (int)ARRAY_LEN(headers));
    tcase_add_test(tc, a_damaged_header_is_no_header);
    tcase_add_test(tc, a_full_disk_leaves_nothing_behind);
    tcase_add_loop_test(tc, names_are_exact, 0, (int)ARRAY_LEN(file_names));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(segment_suite);
}
