/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/backupwriter.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "tests/unit/snapshot/backup_fixture.h"

static struct buf source; /* a whole backup */
static struct backupwriter *writer;
static char path[256];
static char part[300];

static void setup(void)
{
    stored_setup();
    source = (struct buf){0};
    writer = NULL;
    file_read(stored_save("source.db"), &source);
    (void)snprintf(path, sizeof path, "%s", tmpdir_path("written.db"));
    (void)snprintf(part, sizeof part, "%s.part", path);
}

static void teardown(void)
{
    backupwriter_free(writer);
    buf_fini(&source);
    stored_teardown();
}

static void begin(void)
{
    enum err err = backupwriter_new(fs_real(), path, &writer, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
}

static void add(size_t from, size_t to)
{
    ck_assert_int_eq(backupwriter_add(writer, bytes_of(source.data + from, to - from), &stored.why),
                     OK);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

static void end(void)
{
    backupwriter_free(TAKE(writer));
}

/* However the bytes are cut, the digest's among them. */
START_TEST(what_comes_is_what_is_saved)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin();
        for (size_t at = 0; at < source.len;) {
            size_t len = 1 + mix64(seed * 1000 + at) % (seed < 4 ? 50 : 20000);
            size_t to = at + len < source.len ? at + len : source.len;
            add(at, to);
            add(to, to);
            ck_assert(exists(part));
            at = to;
        }
        enum err err = backupwriter_finish(writer, false, NULL, &stored.why);
        ck_assert_msg(err == OK, "%s", stored.why.text);
        end();
        CLEANUP(buf_fini) struct buf written = {0};
        file_read(path, &written);
        ck_assert(bytes_equal(buf_bytes(&written), buf_bytes(&source)));
        ck_assert(!exists(part));
    }
}
END_TEST

START_TEST(what_is_not_whole_leaves_nothing_and_replaces_nothing)
{
    tmpdir_write("written.db", "the one before", 14);
    begin();
    add(0, source.len - 1);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), ERR_CORRUPT);
    end();
    begin();
    source.data[source.len / 2] ^= 1;
    add(0, source.len);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), ERR_CORRUPT);
    end();
    begin();
    add(0, 10);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), ERR_CORRUPT);
    end();
    begin();
    end(); /* given up */
    ck_assert(!exists(part));
    CLEANUP(buf_fini) struct buf before = {0};
    file_read(path, &before);
    ck_assert(bytes_equal(buf_bytes(&before), bytes_of_str("the one before")));
}
END_TEST

/* The member's own damage is in what it sends, and in the digest of that. */
START_TEST(what_is_damaged_at_the_member_does_not_take_the_place_of_what_is_whole)
{
    char value[4000]; /* of the large one's pages, which hold nothing else */
    memset(value, 'x', sizeof value);
    tmpdir_write("written.db", "the one before", 14);
    uint8_t *at = memmem(source.data, source.len, value, sizeof value);
    ck_assert_ptr_nonnull(at);
    at[0] ^= 1;
    file_sign(&source);
    begin();
    add(0, source.len);
    ck_assert_int_eq(backupwriter_finish(writer, true, NULL, &stored.why), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "checksum"));
    end();
    ck_assert(!exists(part));
    CLEANUP(buf_fini) struct buf before = {0};
    file_read(path, &before);
    ck_assert(bytes_equal(buf_bytes(&before), bytes_of_str("the one before")));
}
END_TEST

START_TEST(what_is_whole_is_saved_when_all_of_it_was_read)
{
    begin();
    add(0, source.len);
    enum err err = backupwriter_finish(writer, true, NULL, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    end();
    ck_assert(exists(path) && !exists(part));
}
END_TEST

/* A server that is not Trivet's sends a digest, too. */
START_TEST(what_is_no_database_of_ours_is_refused)
{
    memset(source.data, 'x', source.len);
    file_sign(&source);
    begin();
    add(0, source.len);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), ERR_FOREIGN);
    end();
    ck_assert(!exists(path));
}
END_TEST

START_TEST(two_do_not_save_to_the_same_file)
{
    struct backupwriter *second = NULL;
    begin();
    add(0, 100);
    ck_assert_int_eq(backupwriter_new(fs_real(), path, &second, &stored.why), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "somebody else is saving to"));
    ck_assert_ptr_null(second);
    add(100, source.len);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), OK);
}
END_TEST

START_TEST(what_a_crash_left_is_used_again)
{
    CLEANUP(freep) char *old = malloc(source.len * 2);
    ck_assert_ptr_nonnull(old);
    memset(old, 'o', source.len * 2);
    tmpdir_write("written.db.part", old, source.len * 2);
    begin();
    add(0, source.len);
    ck_assert_int_eq(backupwriter_finish(writer, false, NULL, &stored.why), OK);
    CLEANUP(buf_fini) struct buf written = {0};
    file_read(path, &written);
    ck_assert(bytes_equal(buf_bytes(&written), buf_bytes(&source)));
}
END_TEST

static uint64_t room;

static enum err free_bytes(struct fs *fs, const char *where, uint64_t *ret, struct why *why)
{
    (void)fs;
    ck_assert(exists(where));
    if (room == UINT64_MAX) {
        why_set(why, "get the free space of '%s': not implemented", where);
        return ERR_IO;
    }
    *ret = room;
    return OK;
}

START_TEST(what_has_no_room_is_refused_before_the_disk_is_full)
{
    static const struct {
        uint64_t room;
        enum err want;
    } cases[] = {{999, ERR_NO_SPACE}, {1000, OK}, {0, ERR_NO_SPACE}, {UINT64_MAX, OK}};
    struct fs_ops ops = *fs_real()->ops;
    struct fs fs = {.ops = &ops};
    ops.free_bytes = free_bytes;
    ck_assert_int_eq(backupwriter_new(&fs, path, &writer, &stored.why), OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        room = cases[i].room;
        ck_assert_int_eq(backupwriter_expect(writer, 1000, &stored.why), cases[i].want);
    }
    end();
    ck_assert(!exists(part));
}
END_TEST

static Suite *backupwriter_suite(void)
{
    Suite *suite = suite_create("backupwriter");
    TCase *tc = tcase_create("backupwriter");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_comes_is_what_is_saved);
    tcase_add_test(tc, what_is_not_whole_leaves_nothing_and_replaces_nothing);
    tcase_add_test(tc, what_is_damaged_at_the_member_does_not_take_the_place_of_what_is_whole);
    tcase_add_test(tc, what_is_whole_is_saved_when_all_of_it_was_read);
    tcase_add_test(tc, what_is_no_database_of_ours_is_refused);
    tcase_add_test(tc, two_do_not_save_to_the_same_file);
    tcase_add_test(tc, what_has_no_room_is_refused_before_the_disk_is_full);
    tcase_add_test(tc, what_a_crash_left_is_used_again);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(backupwriter_suite);
}
