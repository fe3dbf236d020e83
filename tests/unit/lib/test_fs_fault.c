/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fs_fault.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

#define SEEDS 64

static struct {
    struct fs_fault *fault;
    struct fs *fs;
    struct why why;
} fixture;

static void setup(void)
{
    fixture.fault = fs_fault_new();
    fixture.fs = fs_fault_fs(fixture.fault);
}

static void teardown(void)
{
    fs_fault_free(fixture.fault);
}

static struct fs_file *open_file(const char *path)
{
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fixture.fs, path, FS_CREATE, &file, &fixture.why), OK);
    return file;
}

static void write_text(struct fs_file *file, uint64_t offset, const char *text)
{
    ck_assert_int_eq(fs_write(file, offset, text, strlen(text), &fixture.why), OK);
}

static void sync_both(struct fs_file *file)
{
    ck_assert_int_eq(fs_sync(file, &fixture.why), OK);
    ck_assert_int_eq(fs_sync_dir(fixture.fs, "/", &fixture.why), OK);
}

/* The file's bytes after a crash now; ERR_NOT_FOUND when it is gone. */
static enum err after_crash(uint64_t seed, const char *path, struct buf *buf)
{
    struct fs_fault *after = fs_fault_crash(fixture.fault, fs_fault_op_count(fixture.fault), seed);
    enum err err = fs_read_file(fs_fault_fs(after), path, 1 << 20, buf, NULL);
    fs_fault_free(after);
    return err;
}

START_TEST(what_was_synced_survives_every_crash)
{
    struct fs_file *file = open_file("f");
    write_text(file, 0, "durable");
    sync_both(file);
    write_text(file, 1000, "perhaps");
    ck_assert_int_eq(fs_truncate(file, 100, &fixture.why), OK);
    fs_close(file);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct buf buf = {0};
        ck_assert_int_eq(after_crash(seed, "f", &buf), OK);
        ck_assert(bytes_has_prefix(buf_bytes(&buf), bytes_of_str("durable")));
        buf_fini(&buf);
    }
}
END_TEST

START_TEST(what_was_not_synced_is_lost_kept_or_torn)
{
    uint8_t text[3000];
    memset(text, 'x', sizeof text);
    struct fs_file *file = open_file("f");
    sync_both(file);
    ck_assert_int_eq(fs_write(file, 0, text, sizeof text, &fixture.why), OK);
    fs_close(file);
    unsigned lost = 0;
    unsigned kept = 0;
    unsigned torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct buf buf = {0};
        ck_assert_int_eq(after_crash(seed, "f", &buf), OK);
        ck_assert_uint_le(buf.len, sizeof text);
        bool whole = bytes_equal(buf_bytes(&buf), bytes_of(text, sizeof text));
        lost += buf.len == 0;
        kept += whole;
        torn += buf.len > 0 && !whole;
        ck_assert(seed != 0 || buf.len == 0);
        ck_assert(seed != 1 || whole);
        buf_fini(&buf);
    }
    ck_assert_uint_gt(lost, 0);
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_gt(torn, SEEDS / 4);
}
END_TEST

START_TEST(a_name_needs_its_directory_synced)
{
    struct fs_file *file = open_file("f");
    write_text(file, 0, "text");
    ck_assert_int_eq(fs_sync(file, &fixture.why), OK);
    fs_close(file);
    struct buf buf = {0};
    ck_assert_int_eq(after_crash(0, "f", &buf), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_sync_dir(fixture.fs, "/", &fixture.why), OK);
    ck_assert_int_eq(after_crash(0, "f", &buf), OK);
    ck_assert_int_eq(fs_rename(fixture.fs, "f", "g", &fixture.why), OK);
    ck_assert_int_eq(after_crash(0, "f", &buf), OK);
    ck_assert_int_eq(after_crash(0, "g", &buf), ERR_NOT_FOUND);
    ck_assert_int_eq(after_crash(1, "f", &buf), ERR_NOT_FOUND);
    ck_assert_int_eq(after_crash(1, "g", &buf), OK);
    ck_assert_int_eq(fs_unlink(fixture.fs, "g", &fixture.why), OK);
    ck_assert_int_eq(fs_sync_dir(fixture.fs, "/", &fixture.why), OK);
    ck_assert_int_eq(after_crash(0, "f", &buf), ERR_NOT_FOUND);
    ck_assert_int_eq(after_crash(0, "g", &buf), ERR_NOT_FOUND);
    buf_fini(&buf);
}
END_TEST

START_TEST(replace_file_leaves_the_old_or_the_new)
{
    ck_assert_int_eq(fs_replace_file(fixture.fs, "/", "f", bytes_of_str("old text"), NULL), OK);
    uint64_t old_done = fs_fault_op_count(fixture.fault);
    ck_assert_int_eq(fs_replace_file(fixture.fs, "/", "f", bytes_of_str("new"), NULL), OK);
    uint64_t new_done = fs_fault_op_count(fixture.fault);
    for (uint64_t at = old_done; at <= new_done; at++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct fs_fault *after = fs_fault_crash(fixture.fault, at, seed);
            struct buf buf = {0};
            ck_assert_int_eq(fs_read_file(fs_fault_fs(after), "f", 100, &buf, NULL), OK);
            bool is_old = bytes_equal(buf_bytes(&buf), bytes_of_str("old text"));
            bool is_new = bytes_equal(buf_bytes(&buf), bytes_of_str("new"));
            ck_assert_msg(is_old || is_new, "crash after %u operations, seed %u: '%.*s'",
                          (unsigned)at, (unsigned)seed, (int)buf.len, (const char *)buf.data);
            ck_assert(at < new_done || is_new);
            buf_fini(&buf);
            fs_fault_free(after);
        }
    }
}
END_TEST

START_TEST(a_crashed_disk_can_crash_again)
{
    struct fs_file *file = open_file("f");
    write_text(file, 0, "one");
    sync_both(file);
    fs_close(file);
    struct fs_fault *after = fs_fault_crash(fixture.fault, fs_fault_op_count(fixture.fault), 0);
    ck_assert_int_eq(fs_open(fs_fault_fs(after), "f", FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_write(file, 0, "two", 3, NULL), OK);
    fs_close(file);
    struct fs_fault *again = fs_fault_crash(after, fs_fault_op_count(after), 0);
    struct buf buf = {0};
    ck_assert_int_eq(fs_read_file(fs_fault_fs(again), "f", 10, &buf, NULL), OK);
    ck_assert_mem_eq(buf.data, "one", 3);
    buf_fini(&buf);
    fs_fault_free(again);
    fs_fault_free(after);
}
END_TEST

START_TEST(a_failed_sync_makes_nothing_durable_ever)
{
    struct fs_file *file = open_file("f");
    sync_both(file);
    write_text(file, 0, "doubtful");
    fs_fault_arm(fixture.fault, FS_FAULT_SYNC, 1, ERR_IO, false);
    ck_assert_int_eq(fs_sync(file, &fixture.why), ERR_IO);
    ck_assert(fs_fault_fired(fixture.fault));
    ck_assert_int_eq(fs_sync(file, &fixture.why), OK);
    fs_close(file);
    struct buf buf = {0};
    ck_assert_int_eq(after_crash(0, "f", &buf), OK);
    ck_assert_uint_eq(buf.len, 0);
    buf_fini(&buf);
}
END_TEST

static const struct {
    unsigned kind;
    enum err err;
} faults[] = {
    {FS_FAULT_READ, ERR_IO},     {FS_FAULT_WRITE, ERR_NO_SPACE},
    {FS_FAULT_SYNC, ERR_IO},     {FS_FAULT_ALLOCATE, ERR_NO_SPACE},
    {FS_FAULT_TRUNCATE, ERR_IO}, {FS_FAULT_NAMES, ERR_NO_SPACE},
    {FS_FAULT_SYNC_DIR, ERR_IO},
};

/* One operation of every kind; the first error. */
static enum err do_all(struct fs_file *file)
{
    uint64_t size;
    TRY(fs_size(file, &size, &fixture.why));
    TRY(fs_write(file, 0, "0123456789", 10, &fixture.why));
    TRY(fs_allocate(file, 100, &fixture.why));
    TRY(fs_truncate(file, 50, &fixture.why));
    TRY(fs_sync(file, &fixture.why));
    TRY(fs_rename(fixture.fs, "f", "g", &fixture.why));
    TRY(fs_rename(fixture.fs, "g", "f", &fixture.why));
    return fs_sync_dir(fixture.fs, "/", &fixture.why);
}

START_TEST(a_fault_hits_the_kth_operation_of_its_kind)
{
    struct fs_file *file = open_file("f");
    fs_fault_arm(fixture.fault, faults[_i].kind, 1, faults[_i].err, false);
    ck_assert_int_eq(do_all(file), faults[_i].err);
    ck_assert_int_eq(do_all(file), OK); /* once */
    fs_fault_arm(fixture.fault, faults[_i].kind, 3, faults[_i].err, true);
    unsigned good = 0;
    while (do_all(file) == OK) {
        good++;
    }
    ck_assert_uint_ge(good, 1);
    ck_assert_int_eq(do_all(file), faults[_i].err); /* for good */
    fs_fault_disarm(fixture.fault);
    ck_assert_int_eq(fs_rename(fixture.fs, "f", "h", &fixture.why), OK);
    fs_close(file);
}
END_TEST

START_TEST(a_failed_write_leaves_a_part_at_most)
{
    struct fs_file *file = open_file("f");
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(fs_truncate(file, 0, NULL), OK);
        fs_fault_arm(fixture.fault, FS_FAULT_WRITE, 1, ERR_IO, false);
        ck_assert_int_eq(fs_write(file, 0, "0123456789", 10, NULL), ERR_IO);
        char got[16];
        size_t len = 0;
        ck_assert_int_eq(fs_read(file, 0, got, sizeof got, &len, NULL), OK);
        ck_assert_uint_le(len, 10);
        ck_assert_mem_eq(got, "0123456789", len);
    }
    fs_close(file);
}
END_TEST

START_TEST(a_full_disk_refuses_and_recovers)
{
    fs_fault_set_capacity(fixture.fault, 4 * 4096);
    struct fs_file *file = open_file("f");
    struct fs_file *other = open_file("g");
    ck_assert_int_eq(fs_allocate(file, 5 * 4096, NULL), ERR_NO_SPACE);
    ck_assert_int_eq(fs_allocate(file, 3 * 4096, NULL), OK);
    write_text(file, 2 * 4096, "within what was allocated");
    write_text(other, 0, "the last page");
    ck_assert_int_eq(fs_write(other, 5000, "x", 1, &fixture.why), ERR_NO_SPACE);
    uint64_t bytes = 1;
    ck_assert_int_eq(fs_free_bytes(fixture.fs, "/", &bytes, NULL), OK);
    ck_assert_uint_eq(bytes, 0);
    fs_close(file);
    ck_assert_int_eq(fs_unlink(fixture.fs, "f", NULL), OK);
    write_text(other, 5000, "x");
    fs_close(other);
}
END_TEST

static Suite *fs_fault_suite(void)
{
    Suite *suite = suite_create("fs_fault");
    TCase *tc = tcase_create("fs_fault");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_was_synced_survives_every_crash);
    tcase_add_test(tc, what_was_not_synced_is_lost_kept_or_torn);
    tcase_add_test(tc, a_name_needs_its_directory_synced);
    tcase_add_test(tc, replace_file_leaves_the_old_or_the_new);
    tcase_add_test(tc, a_crashed_disk_can_crash_again);
    tcase_add_test(tc, a_failed_sync_makes_nothing_durable_ever);
    tcase_add_loop_test(tc, a_fault_hits_the_kth_operation_of_its_kind, 0, (int)ARRAY_LEN(faults));
    tcase_add_test(tc, a_failed_write_leaves_a_part_at_most);
    tcase_add_test(tc, a_full_disk_refuses_and_recovers);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(fs_fault_suite);
}
