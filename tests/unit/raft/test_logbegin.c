/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logbegin.h"

#include "raft/raftlog_files.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

#define SEGMENT_SIZE 16384u

static const struct node_member members[] = {
    {.id = 3, .address = "three:2380", .role = MEMBER_VOTER},
    {.id = 1, .address = "one:2380", .role = MEMBER_VOTER},
};

static struct {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct logbegin begin;
    struct why why;
} fixture;

static void setup(void)
{
    fixture.fake = env_fake_new(1);
    fixture.disk = fs_fault_new();
    fixture.begin = (struct logbegin){
        .env = env_fake_env(fixture.fake),
        .fs = fs_fault_fs(fixture.disk),
        .dir = "/raft",
        .segment_bytes = SEGMENT_SIZE,
        .cluster_id = 7,
        .member_id = 1,
        .index = 1000,
        .term = 12,
        .members = members,
        .member_count = 2,
        .manifest = bytes_of_str("where the store stands"),
    };
}

static void teardown(void)
{
    fs_fault_free(fixture.disk);
    env_fake_free(fixture.fake);
}

/* What is loaded from DISK: the state that was to be written (true), or an empty log. */
static bool is_there(struct fs_fault *disk)
{
    struct raftlog_files_config config = {.env = env_fake_env(fixture.fake),
                                          .fs = fs_fault_fs(disk),
                                          .dir = "/raft",
                                          .segment_bytes = SEGMENT_SIZE,
                                          .cluster_id = 7,
                                          .member_id = 1};
    struct raftlog *log;
    struct raftlog_image image = {0};
    ck_assert_int_eq(raftlog_files_open(&config, &log, &fixture.why), OK);
    enum err err = log->ops->load(log, &image, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
    bool there = image.snapshot.index != 0;
    ck_assert_uint_eq(image.entry_count, 0);
    ck_assert_uint_eq(image.vote, 0);
    if (there) {
        ck_assert_uint_eq(image.term, 12);
        ck_assert_uint_eq(image.first_index, 1001);
        ck_assert_uint_eq(image.snapshot.index, 1000);
        ck_assert_uint_eq(image.snapshot.term, 12);
        ck_assert_uint_eq(image.snapshot.configuration_index, 1000);
        ck_assert(bytes_equal(image.snapshot.data, fixture.begin.manifest));
    }
    raftlog_image_fini(&image);
    log->ops->close(log);
    return there;
}

START_TEST(a_log_begins_behind_what_is_there)
{
    enum err err = logbegin(&fixture.begin, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
    struct fs_fault *after = fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 0);
    ck_assert(is_there(after));
    fs_fault_free(after);
}
END_TEST

START_TEST(a_crash_leaves_all_of_it_or_an_empty_log)
{
    ck_assert_int_eq(logbegin(&fixture.begin, &fixture.why), OK);
    uint64_t count = fs_fault_op_count(fixture.disk);
    for (uint64_t k = 0; k <= count; k++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct fs_fault *after = fs_fault_crash(fixture.disk, k, seed);
            (void)is_there(after);
            fs_fault_free(after);
        }
    }
}
END_TEST

/* Whoever orders the members of its list otherwise makes the same. */
START_TEST(members_agree_on_the_configuration)
{
    struct node_member turned[] = {members[1], members[0]};
    struct raftlog_image images[2] = {{0}};
    struct raftlog *logs[2];
    for (int i = 0; i < 2; i++) {
        struct logbegin begin = fixture.begin;
        begin.dir = i == 0 ? "/a" : "/b";
        begin.members = i == 0 ? members : turned;
        ck_assert_int_eq(logbegin(&begin, &fixture.why), OK);
        struct raftlog_files_config config = {.env = begin.env,
                                              .fs = begin.fs,
                                              .dir = begin.dir,
                                              .segment_bytes = SEGMENT_SIZE,
                                              .cluster_id = 7,
                                              .member_id = 1};
        ck_assert_int_eq(raftlog_files_open(&config, &logs[i], &fixture.why), OK);
        ck_assert_int_eq(logs[i]->ops->load(logs[i], &images[i], &fixture.why), OK);
    }
    ck_assert(bytes_equal(images[0].snapshot.configuration, images[1].snapshot.configuration));
    for (int i = 0; i < 2; i++) {
        raftlog_image_fini(&images[i]);
        logs[i]->ops->close(logs[i]);
    }
}
END_TEST

START_TEST(a_log_that_is_there_stays)
{
    ck_assert_int_eq(logbegin(&fixture.begin, &fixture.why), OK);
    fixture.begin.index = 5;
    ck_assert_int_eq(logbegin(&fixture.begin, &fixture.why), ERR_EXISTS);
    ck_assert(is_there(fixture.disk));
}
END_TEST

static Suite *logbegin_suite(void)
{
    Suite *suite = suite_create("logbegin");
    TCase *tc = tcase_create("logbegin");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_log_begins_behind_what_is_there);
    tcase_add_test(tc, a_crash_leaves_all_of_it_or_an_empty_log);
    tcase_add_test(tc, members_agree_on_the_configuration);
    tcase_add_test(tc, a_log_that_is_there_stays);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logbegin_suite);
}
