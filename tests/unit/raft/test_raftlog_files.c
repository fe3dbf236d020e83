/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftlog_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/fs_real.h"
#include "base/limits.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

#define SEGMENT_SIZE 16384u
#define DATA_AT      4096u
#define FIRST        "/log/segment-0000000000000001"
#define STATUS_ASKED 42

static struct {
    struct env_fake *env;
    struct fs_fault *disk;
    struct raftlog_files_config config;
    struct raftlog *log;
    struct raftlog_image image;
    struct why why;
    unsigned done;
} fixture;

static struct raftlog_files_config config_on(struct fs *fs, const char *dir)
{
    return (struct raftlog_files_config){
        .env = env_fake_env(fixture.env),
        .fs = fs,
        .dir = dir,
        .cluster_id = 0xc1,
        .member_id = 0xa1,
        .segment_bytes = SEGMENT_SIZE,
    };
}

static void setup(void)
{
    memset(&fixture, 0, sizeof fixture);
    fixture.env = env_fake_new(1);
    fixture.disk = fs_fault_new();
    fixture.config = config_on(fs_fault_fs(fixture.disk), "/log");
}

static void close_log(void)
{
    raftlog_image_fini(&fixture.image);
    if (fixture.log != NULL) {
        fixture.log->ops->close(fixture.log);
        fixture.log = NULL;
    }
}

static void teardown(void)
{
    close_log();
    fs_fault_free(fixture.disk);
    env_fake_free(fixture.env);
}

static enum err try_open(void)
{
    enum err err = raftlog_files_open(&fixture.config, &fixture.log, &fixture.why);
    if (err == OK) {
        err = fixture.log->ops->load(fixture.log, &fixture.image, &fixture.why);
    }
    return err;
}

static void open_log(void)
{
    enum err err = try_open();
    ck_assert_msg(err == OK, "%s", fixture.why.text);
}

static void reopen(void)
{
    close_log();
    open_log();
}

static void on_done(struct raftlog_request *request)
{
    fixture.done++;
    free(request);
}

/* One entry of LEN bytes, each of them INDEX; durable on return. */
static void append(uint64_t index, uint64_t term, size_t len)
{
    uint8_t *data = malloc(len + 1);
    memset(data, (int)index, len + 1);
    struct log_entry entry = {.term = term, .kind = LOG_ENTRY_COMMAND, .data = {data, len}};
    struct raftlog_request *request = malloc(sizeof *request);
    unsigned before = fixture.done;
    fixture.log->ops->append(fixture.log, request, index, &entry, 1, on_done);
    ck_assert_uint_eq(fixture.done, before);
    env_fake_run(fixture.env);
    ck_assert_uint_eq(fixture.done, before + 1);
    free(data);
}

static void snapshot(uint64_t index, uint64_t trailing)
{
    struct log_snapshot s = {.index = index, .term = 1, .data = bytes_of_str("manifest")};
    struct raftlog_request *request = malloc(sizeof *request);
    fixture.log->ops->snapshot_put(fixture.log, request, &s, trailing, on_done);
    env_fake_run(fixture.env);
}

static void check_entries(uint64_t first, size_t count)
{
    ck_assert_uint_eq(fixture.image.first_index, first);
    ck_assert_uint_eq(fixture.image.entry_count, count);
    for (size_t i = 0; i < count; i++) {
        struct bytes data = fixture.image.entries[i].data;
        for (size_t j = 0; j < data.len; j++) {
            ck_assert_uint_eq(data.data[j], (uint8_t)(first + i));
        }
    }
}

/* The disk with everything on it, as it is now; the log on the old one is closed later. */
static struct fs_fault *copy_disk(void)
{
    return fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 1);
}

/* Load what is on DISK; the result goes to fixture.image, the log is closed. */
static enum err load_from(struct fs_fault *disk)
{
    struct raftlog *log = NULL;
    struct raftlog_files_config config = config_on(fs_fault_fs(disk), "/log");
    ck_assert_int_eq(raftlog_files_open(&config, &log, &fixture.why), OK);
    raftlog_image_fini(&fixture.image);
    enum err err = log->ops->load(log, &fixture.image, &fixture.why);
    log->ops->close(log);
    return err;
}

static struct fs_file *open_file(struct fs_fault *disk, const char *path)
{
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fs_fault_fs(disk), path, FS_WRITE, &file, &fixture.why), OK);
    return file;
}

static void flip(struct fs_fault *disk, const char *path, uint64_t offset)
{
    struct fs_file *file = open_file(disk, path);
    uint8_t byte;
    size_t len;
    ck_assert_int_eq(fs_read(file, offset, &byte, 1, &len, NULL), OK);
    byte ^= (uint8_t)(1u << (offset % 8));
    ck_assert_int_eq(fs_write(file, offset, &byte, 1, NULL), OK);
    fs_close(file);
}

/* Where the group behind OFFSET begins: its length stands in its second word. */
static uint64_t next_group(struct fs_fault *disk, const char *path, uint64_t offset)
{
    struct fs_file *file = open_file(disk, path);
    uint8_t len[4];
    size_t n;
    ck_assert_int_eq(fs_read(file, offset + 4, len, sizeof len, &n, NULL), OK);
    fs_close(file);
    return offset + 40 + (len[0] | (uint64_t)len[1] << 8);
}

static size_t segment_count(struct fs *fs, const char *dir)
{
    CLEANUP(fs_names_fini) struct fs_names names = {0};
    ck_assert_int_eq(fs_list(fs, dir, &names, &fixture.why), OK);
    size_t count = 0;
    for (size_t i = 0; i < names.count; i++) {
        count += strncmp(names.names[i], "segment-", 8) == 0;
    }
    return count;
}

/* ---- what is written comes back ---- */

START_TEST(a_new_log_is_empty)
{
    open_log();
    check_entries(1, 0);
    ck_assert_uint_eq(fixture.image.term, 0);
    ck_assert_uint_eq(fixture.image.vote, 0);
    ck_assert_uint_eq(fixture.image.snapshot.index, 0);
    ck_assert_uint_eq(fixture.log->ops->snapshot(fixture.log)->index, 0);
    reopen();
    check_entries(1, 0);
}
END_TEST

START_TEST(everything_comes_back)
{
    open_log();
    fixture.log->ops->set_term(fixture.log, 4);
    fixture.log->ops->set_vote(fixture.log, 0xa2);
    for (uint64_t i = 1; i <= 30; i++) {
        append(i, 4, i * 37);
    }
    fixture.log->ops->truncate(fixture.log, 25);
    append(25, 5, 10);
    snapshot(20, 5);
    ck_assert_uint_eq(fixture.log->ops->snapshot(fixture.log)->index, 20);
    reopen();
    check_entries(16, 10);
    ck_assert_uint_eq(fixture.image.entries[9].term, 5);
    ck_assert_uint_eq(fixture.image.term, 4);
    ck_assert_uint_eq(fixture.image.vote, 0xa2);
    ck_assert_uint_eq(fixture.image.snapshot.index, 20);
    ck_assert(bytes_equal(fixture.image.snapshot.data, bytes_of_str("manifest")));
    fixture.log->ops->set_term(fixture.log, 6);
    append(26, 6, 3);
    snapshot(100, 0);
    append(101, 6, 3);
    reopen();
    check_entries(101, 1);
    ck_assert_uint_eq(fixture.image.term, 6);
    ck_assert_uint_eq(fixture.image.vote, 0);
}
END_TEST

START_TEST(an_entry_may_be_larger_than_a_segment)
{
    open_log();
    append(1, 1, 10);
    append(2, 1, 3 * SEGMENT_SIZE);
    append(3, 1, SEGMENT_SIZE);
    append(4, 1, 10);
    reopen();
    check_entries(1, 4);
    ck_assert_uint_eq(fixture.image.entries[1].data.len, 3 * SEGMENT_SIZE);
}
END_TEST

START_TEST(size_is_that_of_the_entries_that_are_left)
{
    open_log();
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 400; i++) {
        append(i, 1, i);
        sum += i;
    }
    ck_assert_uint_eq(fixture.log->ops->size_bytes(fixture.log), sum);
    fixture.log->ops->truncate(fixture.log, 399);
    sum -= 399 + 400;
    ck_assert_uint_eq(fixture.log->ops->size_bytes(fixture.log), sum);
    snapshot(390, 10);
    sum = 0;
    for (uint64_t i = 381; i <= 398; i++) {
        sum += i;
    }
    ck_assert_uint_eq(fixture.log->ops->size_bytes(fixture.log), sum);
    reopen();
    ck_assert_uint_eq(fixture.log->ops->size_bytes(fixture.log), sum);
    snapshot(500, 0);
    ck_assert_uint_eq(fixture.log->ops->size_bytes(fixture.log), 0);
}
END_TEST

/* What is forgotten, one by one or several at once, is used before anything new is made. */
static const struct {
    uint64_t every; /* entries between snapshots */
    size_t most;    /* segments: those in use, a spare, and three that were forgotten */
} recycled[] = {{10, 7}, {SEGMENT_SIZE * 2 / 1000, 9}};

START_TEST(segments_are_used_again)
{
    open_log();
    size_t most = 0;
    unsigned made = 0;
    for (uint64_t i = 1; i <= 600; i++) {
        append(i, 1, 1000);
        if (i % recycled[_i].every == 0) {
            snapshot(i, 5);
        }
        size_t count = segment_count(fixture.config.fs, "/log");
        most = count > most ? count : most;
        made = i == 300 ? fs_fault_made_count(fixture.disk) : made;
    }
    ck_assert_uint_le(most, recycled[_i].most);
    ck_assert_uint_eq(fs_fault_made_count(fixture.disk), made);
    snapshot(600, 5);
    reopen();
    check_entries(596, 5);
}
END_TEST

START_TEST(real_files_do_as_well)
{
    CLEANUP(freep) char *dir = strdup(tmpdir_path("a/log"));
    fixture.config = config_on(fs_real(), dir);
    open_log();
    struct raftlog *second = NULL;
    ck_assert_int_eq(raftlog_files_open(&fixture.config, &second, &fixture.why), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "a/log/lock"));
    for (uint64_t i = 1; i <= 100; i++) {
        append(i, 1, 1000);
    }
    snapshot(90, 1);
    reopen();
    check_entries(90, 11);
    ck_assert_uint_le(segment_count(fs_real(), dir), 7);
    uint64_t free_bytes = 0;
    ck_assert_int_eq(raftlog_files_free_bytes(fixture.log, &free_bytes, &fixture.why), OK);
    ck_assert_uint_gt(free_bytes, 0);
}
END_TEST

START_TEST(a_directory_without_permission_is_named)
{
    if (geteuid() == 0) {
        runner_skip("root may write everywhere");
    }
    CLEANUP(freep) char *dir = strdup(tmpdir_path("shut"));
    ck_assert_int_eq(mkdir(dir, 0500), 0);
    fixture.config = config_on(fs_real(), dir);
    ck_assert_int_eq(try_open(), ERR_IO);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "shut/lock': Permission denied"));
}
END_TEST

/* ---- damage ---- */

#define GROUPS 4

/* A log of GROUPS groups, each one entry, in the first segment; group_at[GROUPS] is its end. */
static void make_groups(uint64_t group_at[GROUPS + 1])
{
    open_log();
    for (uint64_t i = 1; i <= GROUPS; i++) {
        append(i, 1, 20 * i);
    }
    group_at[0] = DATA_AT;
    for (unsigned i = 0; i < GROUPS; i++) {
        group_at[i + 1] = next_group(fixture.disk, FIRST, group_at[i]);
    }
}

static unsigned group_of(const uint64_t group_at[GROUPS + 1], uint64_t offset)
{
    unsigned i = 0;
    while (i < GROUPS && offset >= group_at[i + 1]) {
        i++;
    }
    return i;
}

/* Every byte from the first group to behind the last, one bit of it turned. */
START_TEST(a_flipped_bit_is_damage_or_an_unfinished_write)
{
    uint64_t group_at[GROUPS + 1];
    make_groups(group_at);
    for (uint64_t at = DATA_AT; at < group_at[GROUPS] + 64; at++) {
        CLEANUP(freep) char *name = NULL;
        struct fs_fault *disk = copy_disk();
        flip(disk, FIRST, at);
        struct buf before = {0};
        struct buf after = {0};
        ck_assert_int_eq(fs_read_file(fs_fault_fs(disk), FIRST, SEGMENT_SIZE, &before, NULL), OK);
        enum err err = load_from(disk);
        ck_assert_int_eq(fs_read_file(fs_fault_fs(disk), FIRST, SEGMENT_SIZE, &after, NULL), OK);
        unsigned group = group_of(group_at, at);
        if (group < GROUPS - 1) {
            ck_assert_msg(err == ERR_CORRUPT, "offset %" PRIu64 ": %s", at, err_text(err));
            ck_assert(
                asprintf(&name, "'" FIRST "' is damaged at offset %" PRIu64, group_at[group]) > 0);
            ck_assert_msg(strstr(fixture.why.text, name) != NULL, "%s", fixture.why.text);
            ck_assert(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
        } else {
            ck_assert_int_eq(err, OK);
            check_entries(1, group == GROUPS ? GROUPS : GROUPS - 1);
        }
        buf_fini(&before);
        buf_fini(&after);
        fs_fault_free(disk);
    }
}
END_TEST

/* The same behind a witness: nothing that was acknowledged can be taken for unfinished. */
START_TEST(a_witness_guards_the_last_group)
{
    uint64_t group_at[GROUPS + 1];
    make_groups(group_at);
    if (_i == 0) {
        env_fake_advance(fixture.env, 1000);
    } else {
        close_log();
    }
    for (uint64_t at = group_at[GROUPS - 1]; at < group_at[GROUPS] + 64; at++) {
        struct fs_fault *disk = copy_disk();
        flip(disk, FIRST, at);
        enum err err = load_from(disk);
        ck_assert_int_eq(err, group_of(group_at, at) < GROUPS ? ERR_CORRUPT : OK);
        if (err == OK) {
            check_entries(1, GROUPS);
        }
        fs_fault_free(disk);
    }
}
END_TEST

/* The last group written up to every one of its bytes. */
START_TEST(an_unfinished_group_is_cut)
{
    uint64_t group_at[GROUPS + 1];
    make_groups(group_at);
    uint64_t last = group_at[GROUPS - 1];
    uint8_t zeros[256] = {0};
    for (uint64_t at = last; at < group_at[GROUPS]; at++) {
        struct fs_fault *disk = copy_disk();
        struct fs_file *file = open_file(disk, FIRST);
        ck_assert_int_eq(fs_write(file, at, zeros, (size_t)(group_at[GROUPS] - at), NULL), OK);
        fs_close(file);
        ck_assert_int_eq(load_from(disk), OK);
        /* The last bytes of the group may be zeros anyway. */
        ck_assert(fixture.image.entry_count == GROUPS - 1 || at + 8 > group_at[GROUPS]);
        /* What was cut stays away, whatever the next life writes. */
        ck_assert_int_eq(load_from(disk), OK);
        fs_fault_free(disk);
    }
}
END_TEST

/* So that no later write, torn as well, can make it whole again. */
START_TEST(what_was_cut_is_erased_before_anything_is_written)
{
    uint64_t group_at[GROUPS + 1];
    make_groups(group_at);
    flip(fixture.disk, FIRST, group_at[GROUPS] - 20);
    struct fs_fault *disk = copy_disk();
    struct raftlog *log = NULL;
    struct raftlog_files_config config = config_on(fs_fault_fs(disk), "/log");
    ck_assert_int_eq(raftlog_files_open(&config, &log, &fixture.why), OK);
    raftlog_image_fini(&fixture.image);
    ck_assert_int_eq(log->ops->load(log, &fixture.image, &fixture.why), OK);
    check_entries(1, GROUPS - 1);
    struct fs_fault *after = fs_fault_crash(disk, fs_fault_op_count(disk), 0);
    struct fs_file *file = open_file(after, FIRST);
    uint8_t header[40];
    uint8_t zeros[40] = {0};
    size_t len;
    ck_assert_int_eq(fs_read(file, group_at[GROUPS - 1], header, sizeof header, &len, NULL), OK);
    ck_assert_mem_eq(header, zeros, sizeof zeros);
    fs_close(file);
    fs_fault_free(after);
    log->ops->close(log);
    fs_fault_free(disk);
}
END_TEST

/* A process that died has left its last write with the system; what is loaded is acted upon, and
 * must not be lost with the power a moment later. */
START_TEST(what_was_loaded_is_durable)
{
    fixture.config.unsafe_no_fsync = true;
    open_log();
    append(1, 1, 100);
    fixture.log->ops->set_term(fixture.log, 3);
    close_log();
    fixture.config.unsafe_no_fsync = false;
    open_log();
    check_entries(1, 1);
    struct fs_fault *disk = fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 0);
    ck_assert_int_eq(load_from(disk), OK);
    check_entries(1, 1);
    ck_assert_uint_eq(fixture.image.term, 3);
    fs_fault_free(disk);
}
END_TEST

START_TEST(a_shortened_segment_is_damage)
{
    uint64_t group_at[GROUPS + 1];
    make_groups(group_at);
    for (uint64_t size = 0; size < group_at[GROUPS] + 64; size++) {
        struct fs_fault *disk = copy_disk();
        struct fs_file *file = open_file(disk, FIRST);
        ck_assert_int_eq(fs_truncate(file, size, NULL), OK);
        fs_close(file);
        enum err err = load_from(disk);
        if (size < 56) {
            /* No header: it could be one that is being made; that nothing is left, nobody can
             * tell. */
            ck_assert(err == OK || err == ERR_CORRUPT);
        } else {
            ck_assert_msg(err == ERR_CORRUPT, "%" PRIu64 " bytes: %s", size, err_text(err));
        }
        fs_fault_free(disk);
    }
}
END_TEST

static void make_segments(void)
{
    open_log();
    for (uint64_t i = 1; i <= 40; i++) {
        append(i, 1, 1000);
    }
    ck_assert_uint_ge(segment_count(fixture.config.fs, "/log"), 4);
}

START_TEST(a_missing_segment_is_damage)
{
    make_segments();
    for (uint64_t id = 1; id <= 3; id++) {
        struct fs_fault *disk = copy_disk();
        char path[64];
        snprintf(path, sizeof path, "/log/segment-%016" PRIx64, id);
        ck_assert_int_eq(fs_unlink(fs_fault_fs(disk), path, NULL), OK);
        ck_assert_int_eq(load_from(disk), ERR_CORRUPT);
        fs_fault_free(disk);
    }
}
END_TEST

START_TEST(damage_in_what_was_forgotten_does_no_harm)
{
    make_segments();
    struct fs_fault *disk = copy_disk();
    snapshot(39, 1);
    close_log();
    /* The first segment comes back, damaged, as if its removal had been lost. */
    struct buf content = {0};
    ck_assert_int_eq(fs_read_file(fs_fault_fs(disk), FIRST, SEGMENT_SIZE, &content, NULL), OK);
    content.data[DATA_AT + 3000] ^= 1;
    ck_assert_int_eq(fs_replace_file(fixture.config.fs, "/log", "segment-0000000000000001",
                                     buf_bytes(&content), NULL),
                     OK);
    buf_fini(&content);
    fs_fault_free(disk);
    open_log();
    check_entries(39, 2);
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fixture.config.fs, FIRST, FS_READ, &file, NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(a_damaged_header_is_damage)
{
    make_segments();
    for (uint64_t id = 1; id <= 3; id++) {
        for (uint64_t at = 0; at < 56; at++) {
            struct fs_fault *disk = copy_disk();
            char path[64];
            snprintf(path, sizeof path, "/log/segment-%016" PRIx64, id);
            flip(disk, path, at);
            ck_assert_int_eq(load_from(disk), ERR_CORRUPT);
            fs_fault_free(disk);
        }
    }
}
END_TEST

START_TEST(segments_without_term_and_vote_are_damage)
{
    open_log();
    append(1, 1, 10);
    close_log();
    ck_assert_int_eq(fs_unlink(fixture.config.fs, "/log/metadata", NULL), OK);
    ck_assert_int_eq(try_open(), ERR_CORRUPT);
    ck_assert_int_eq(
        fs_open(fixture.config.fs, "/log/metadata", FS_READ, &(struct fs_file *){0}, NULL),
        ERR_NOT_FOUND);
}
END_TEST

START_TEST(the_log_of_another_member_is_refused)
{
    open_log();
    append(1, 1, 10);
    close_log();
    fixture.config.member_id++;
    ck_assert_int_eq(try_open(), ERR_FOREIGN);
}
END_TEST

/* ---- a disk that fails or is full ---- */

static void expect_path(const char *message)
{
    /* The log's files are named, and what it means is said. */
    bool good = strstr(message, "'/log/") != NULL && strstr(message, "the member stops") != NULL;
    exit(good ? STATUS_ASKED : 1);
}

/* No other word may make anybody think that something is damaged. */
static void expect_room_is_lacking(const char *message)
{
    if (strstr(message, "what it holds is whole") == NULL) {
        exit(1);
    }
    expect_path(message);
}

static void fail_and_append(unsigned kinds)
{
    open_log();
    append(1, 1, 10);
    fatal_set_hook(expect_path);
    fs_fault_arm(fixture.disk, kinds, 1, ERR_IO, true);
    append(2, 1, 10);
}

START_TEST(a_failed_write_is_the_end)
{
    fail_and_append(FS_FAULT_WRITE);
}
END_TEST

START_TEST(a_failed_sync_is_the_end)
{
    fail_and_append(FS_FAULT_SYNC);
}
END_TEST

START_TEST(a_vote_that_cannot_be_stored_is_the_end)
{
    open_log();
    fatal_set_hook(expect_path);
    fs_fault_arm(fixture.disk, FS_FAULT_SYNC, 2, ERR_IO, true);
    fixture.log->ops->set_vote(fixture.log, 7);
}
END_TEST

/* Fill a disk on which no further segment has room; returns the next index. */
static uint64_t fill_disk(void)
{
    open_log();
    append(1, 1, 1000);
    fs_fault_set_capacity(fixture.disk, 3 * SEGMENT_SIZE);
    uint64_t i = 2;
    while (!raftlog_files_low_space(fixture.log)) {
        append(i++, 1, 1000);
        ck_assert_uint_lt(i, 100);
    }
    return i;
}

START_TEST(a_full_disk_is_told_before_it_is_the_end)
{
    uint64_t i = fill_disk();
    /* There is room in the segments that are there. */
    append(i++, 1, 1000);
    append(i++, 1, 1000);
    fatal_set_hook(expect_room_is_lacking);
    for (;;) {
        append(i++, 1, 1000);
        ck_assert_uint_lt(i, 100);
    }
}
END_TEST

START_TEST(space_that_returns_is_used)
{
    uint64_t i = fill_disk();
    append(i++, 1, 1000);
    fs_fault_set_capacity(fixture.disk, 0);
    env_fake_advance(fixture.env, 1000);
    ck_assert(!raftlog_files_low_space(fixture.log));
    for (unsigned n = 0; n < 50; n++) {
        append(i++, 1, 1000);
    }
    reopen();
    check_entries(1, i - 1);
}
END_TEST

START_TEST(forgetting_entries_makes_room_on_a_full_disk)
{
    uint64_t i = fill_disk();
    for (unsigned n = 0; n < 100; n++) {
        snapshot(i - 1, 1);
        append(i++, 1, 1000);
    }
    ck_assert(!raftlog_files_low_space(fixture.log));
}
END_TEST

static Suite *raftlog_files_suite(void)
{
    Suite *suite = suite_create("raftlog_files");
    TCase *tc = tcase_create("raftlog_files");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_log_is_empty);
    tcase_add_test(tc, everything_comes_back);
    tcase_add_test(tc, an_entry_may_be_larger_than_a_segment);
    tcase_add_test(tc, size_is_that_of_the_entries_that_are_left);
    tcase_add_loop_test(tc, segments_are_used_again, 0, (int)ARRAY_LEN(recycled));
    tcase_add_test(tc, real_files_do_as_well);
    tcase_add_test(tc, a_directory_without_permission_is_named);
    tcase_add_test(tc, a_flipped_bit_is_damage_or_an_unfinished_write);
    tcase_add_loop_test(tc, a_witness_guards_the_last_group, 0, 2);
    tcase_add_test(tc, an_unfinished_group_is_cut);
    tcase_add_test(tc, what_was_cut_is_erased_before_anything_is_written);
    tcase_add_test(tc, what_was_loaded_is_durable);
    tcase_add_test(tc, a_shortened_segment_is_damage);
    tcase_add_test(tc, a_missing_segment_is_damage);
    tcase_add_test(tc, damage_in_what_was_forgotten_does_no_harm);
    tcase_add_test(tc, a_damaged_header_is_damage);
    tcase_add_test(tc, segments_without_term_and_vote_are_damage);
    tcase_add_test(tc, the_log_of_another_member_is_refused);
    tcase_add_exit_test(tc, a_failed_write_is_the_end, STATUS_ASKED);
    tcase_add_exit_test(tc, a_failed_sync_is_the_end, STATUS_ASKED);
    tcase_add_exit_test(tc, a_vote_that_cannot_be_stored_is_the_end, STATUS_ASKED);
    tcase_add_exit_test(tc, a_full_disk_is_told_before_it_is_the_end, STATUS_ASKED);
    tcase_add_test(tc, space_that_returns_is_used);
    tcase_add_test(tc, forgetting_entries_makes_room_on_a_full_disk);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(raftlog_files_suite);
}
