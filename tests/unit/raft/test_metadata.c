/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/metadata.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

#define COPY_BYTES 72u
#define SECOND_AT  4096u

static struct {
    struct env_fake *env;
    struct fs_fault *disk;
    struct metadata_config config;
    struct why why;
} fixture;

static struct metadata_config config_on(struct fs_fault *disk)
{
    return (struct metadata_config){
        .env = env_fake_env(fixture.env),
        .fs = fs_fault_fs(disk),
        .dir = "/",
        .cluster_id = 0xc1,
        .member_id = 0xa1,
        .may_create = true,
    };
}

static void setup(void)
{
    fixture.env = env_fake_new(1);
    fixture.disk = fs_fault_new();
    fixture.config = config_on(fixture.disk);
}

static void teardown(void)
{
    fs_fault_free(fixture.disk);
    env_fake_free(fixture.env);
}

static struct metadata *open_it(void)
{
    struct metadata *m = NULL;
    enum err err = metadata_open(&fixture.config, &m, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
    return m;
}

static void set(struct metadata *m, uint64_t term, uint64_t vote)
{
    ck_assert_int_eq(metadata_set(m, term, vote, &fixture.why), OK);
}

static void check_is(const struct metadata *m, uint64_t term, uint64_t vote)
{
    ck_assert_uint_eq(metadata_term(m), term);
    ck_assert_uint_eq(metadata_vote(m), vote);
}

/* A copy of the disk as it is. */
static struct fs_fault *copy_disk(void)
{
    return fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 1);
}

static void flip(struct fs_fault *disk, uint64_t offset)
{
    struct fs_file *file = NULL;
    uint8_t byte;
    size_t len;
    ck_assert_int_eq(fs_open(fs_fault_fs(disk), "/metadata", FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_read(file, offset, &byte, 1, &len, NULL), OK);
    byte ^= (uint8_t)(1u << (offset % 8));
    ck_assert_int_eq(fs_write(file, offset, &byte, 1, NULL), OK);
    fs_close(file);
}

START_TEST(term_and_vote_come_back)
{
    struct metadata *m = open_it();
    check_is(m, 0, 0);
    uint64_t salt = metadata_salt(m);
    ck_assert_uint_ne(salt, 0);
    set(m, 7, 0);
    set(m, 7, 0xa2);
    metadata_close(m);
    m = open_it();
    check_is(m, 7, 0xa2);
    ck_assert_uint_eq(metadata_salt(m), salt);
    ck_assert(!metadata_mended(m));
    metadata_close(m);
}
END_TEST

START_TEST(one_damaged_copy_is_mended_from_the_other)
{
    struct metadata *m = open_it();
    set(m, 9, 0xa3);
    metadata_close(m);
    for (uint64_t i = 0; i < COPY_BYTES; i++) {
        for (uint64_t at = i; at <= i + SECOND_AT; at += SECOND_AT) {
            struct fs_fault *disk = copy_disk();
            flip(disk, at);
            fixture.config = config_on(disk);
            m = open_it();
            check_is(m, 9, 0xa3);
            ck_assert(metadata_mended(m));
            metadata_close(m);
            /* Now the other one may go. */
            flip(disk, (at + SECOND_AT) % (2 * SECOND_AT));
            m = open_it();
            check_is(m, 9, 0xa3);
            metadata_close(m);
            fs_fault_free(disk);
        }
    }
}
END_TEST

START_TEST(two_damaged_copies_are_refused)
{
    struct metadata *m = open_it();
    set(m, 9, 0xa3);
    metadata_close(m);
    flip(fixture.disk, 50);
    flip(fixture.disk, SECOND_AT + 60);
    uint64_t ops = fs_fault_op_count(fixture.disk);
    ck_assert_int_eq(metadata_open(&fixture.config, &m, &fixture.why), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "/metadata"));
    ck_assert_uint_eq(fs_fault_op_count(fixture.disk), ops); /* nothing was written */
}
END_TEST

/* Copies that no crash leaves behind: a write was lost after it was synced. */
START_TEST(copies_that_contradict_are_refused)
{
    struct metadata *m = open_it();
    set(m, 5, 0);
    struct fs_file *file = NULL;
    uint8_t old[COPY_BYTES];
    size_t len;
    ck_assert_int_eq(fs_open(fixture.config.fs, "/metadata", FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_read(file, 0, old, sizeof old, &len, NULL), OK);
    set(m, 6, 0);
    set(m, 6, 0xa1);
    metadata_close(m);
    ck_assert_int_eq(fs_write(file, _i == 0 ? 0 : SECOND_AT, old, sizeof old, NULL), OK);
    fs_close(file);
    ck_assert_int_eq(metadata_open(&fixture.config, &m, &fixture.why), ERR_CORRUPT);
}
END_TEST

START_TEST(a_crash_leaves_the_old_or_the_new)
{
    struct metadata *m = open_it();
    uint64_t done[12] = {fs_fault_op_count(fixture.disk)};
    for (uint64_t i = 1; i < ARRAY_LEN(done); i++) {
        set(m, i, 100 + i);
        done[i] = fs_fault_op_count(fixture.disk);
    }
    metadata_close(m);
    for (uint64_t at = done[0]; at <= done[ARRAY_LEN(done) - 1]; at++) {
        for (uint64_t seed = 0; seed < 32; seed++) {
            struct fs_fault *disk = fs_fault_crash(fixture.disk, at, seed);
            fixture.config = config_on(disk);
            m = open_it();
            uint64_t term = metadata_term(m);
            ck_assert_uint_eq(metadata_vote(m), term == 0 ? 0 : 100 + term);
            ck_assert_uint_lt(term, ARRAY_LEN(done));
            ck_assert_uint_ge(at, term == 0 ? 0 : done[term - 1]); /* not before it was asked for */
            ck_assert(term + 1 == ARRAY_LEN(done) || at < done[term + 1]);
            metadata_close(m);
            fs_fault_free(disk);
        }
    }
}
END_TEST

/* A sync fails, the process ends and starts again: what it reads may be nowhere but in the memory
 * of the system. Then the power fails, while it writes that anew. */
START_TEST(a_crash_after_a_failed_sync_leaves_the_old_or_the_new)
{
    struct metadata *m = open_it();
    set(m, 5, 101);
    fs_fault_arm(fixture.disk, FS_FAULT_SYNC, (uint64_t)_i, ERR_IO, false);
    ck_assert_int_eq(metadata_set(m, 6, 102, &fixture.why), ERR_IO);
    metadata_close(m);
    uint64_t from = fs_fault_op_count(fixture.disk);
    m = open_it();
    check_is(m, 6, 102);
    metadata_close(m);
    for (uint64_t at = from; at <= fs_fault_op_count(fixture.disk); at++) {
        for (uint64_t seed = 0; seed < 64; seed++) {
            struct fs_fault *disk = fs_fault_crash(fixture.disk, at, seed);
            fixture.config = config_on(disk);
            m = open_it();
            uint64_t term = metadata_term(m);
            ck_assert(term == 6 || (term == 5 && at < fs_fault_op_count(fixture.disk)));
            ck_assert_uint_eq(metadata_vote(m), term + 96);
            metadata_close(m);
            fs_fault_free(disk);
        }
    }
}
END_TEST

static const struct {
    const char *name;
    uint64_t cluster_id;
    uint64_t member_id;
    enum err want;
} others[] = {
    {"another cluster", 0xc2, 0xa1, ERR_FOREIGN},
    {"another member", 0xc1, 0xa2, ERR_FOREIGN},
    {"our own", 0xc1, 0xa1, OK},
};

START_TEST(data_of_others_is_refused)
{
    metadata_close(open_it());
    fixture.config.cluster_id = others[_i].cluster_id;
    fixture.config.member_id = others[_i].member_id;
    struct metadata *m = NULL;
    enum err got = metadata_open(&fixture.config, &m, &fixture.why);
    ck_assert_msg(got == others[_i].want, "%s: got %s", others[_i].name, err_text(got));
    metadata_close(m);
}
END_TEST

static enum err identity(uint64_t *cluster_id, uint64_t *member_id)
{
    return metadata_identity(fixture.config.fs, "/", cluster_id, member_id, &fixture.why);
}

/* Before it is opened, for whoever does not know yet who it is. */
START_TEST(whose_it_is_can_be_asked)
{
    uint64_t cluster_id = 0;
    uint64_t member_id = 0;
    ck_assert_int_eq(identity(&cluster_id, &member_id), ERR_NOT_FOUND);
    metadata_close(open_it());
    for (unsigned damaged = 0; damaged < 2; damaged++) {
        ck_assert_int_eq(identity(&cluster_id, &member_id), OK);
        ck_assert_uint_eq(cluster_id, 0xc1);
        ck_assert_uint_eq(member_id, 0xa1);
        cluster_id = member_id = 0;
        flip(fixture.disk, 24); /* then the second copy must do */
    }
    flip(fixture.disk, 24);
    flip(fixture.disk, 24);
    flip(fixture.disk, SECOND_AT + 24);
    ck_assert_int_eq(identity(&cluster_id, &member_id), OK);
    flip(fixture.disk, 24);
    cluster_id = 7;
    ck_assert_int_eq(identity(&cluster_id, &member_id), ERR_CORRUPT);
    ck_assert_uint_eq(cluster_id, 7);
    flip(fixture.disk, 24);
    flip(fixture.disk, 8); /* a version; then its checksum is wrong, too */
    ck_assert_int_eq(identity(&cluster_id, &member_id), ERR_CORRUPT);
}
END_TEST

START_TEST(missing_metadata_is_made_only_when_asked)
{
    struct metadata *m = NULL;
    fixture.config.may_create = false;
    ck_assert_int_eq(metadata_open(&fixture.config, &m, &fixture.why), ERR_NOT_FOUND);
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(a_failed_write_or_sync_is_reported)
{
    struct metadata *m = open_it();
    fs_fault_arm(fixture.disk, FS_FAULT_WRITE | FS_FAULT_SYNC, (uint64_t)_i, ERR_IO, false);
    ck_assert_int_eq(metadata_set(m, 5, 6, &fixture.why), ERR_IO);
    ck_assert(fs_fault_fired(fixture.disk));
    metadata_close(m);
}
END_TEST

static Suite *metadata_suite(void)
{
    Suite *suite = suite_create("metadata");
    TCase *tc = tcase_create("metadata");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, term_and_vote_come_back);
    tcase_add_test(tc, one_damaged_copy_is_mended_from_the_other);
    tcase_add_test(tc, two_damaged_copies_are_refused);
    tcase_add_loop_test(tc, copies_that_contradict_are_refused, 0, 2);
    tcase_add_test(tc, a_crash_leaves_the_old_or_the_new);
    tcase_add_loop_test(tc, a_crash_after_a_failed_sync_leaves_the_old_or_the_new, 1, 3);
    tcase_add_loop_test(tc, data_of_others_is_refused, 0, (int)ARRAY_LEN(others));
    tcase_add_test(tc, whose_it_is_can_be_asked);
    tcase_add_test(tc, missing_metadata_is_made_only_when_asked);
    tcase_add_loop_test(tc, a_failed_write_or_sync_is_reported, 1, 5);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(metadata_suite);
}
