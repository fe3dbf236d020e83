/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logforce.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "raft/logbegin.h"
#include "raft/raftlog_files.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

#define SEGMENT_SIZE 16384u

static const struct node_member members[] = {
    {.id = 1, .address = "one:2380", .role = MEMBER_VOTER},
    {.id = 2, .address = "two:2380", .role = MEMBER_VOTER},
    {.id = 3, .address = "three:2380", .role = MEMBER_VOTER},
    {.id = 4, .address = "four:2380", .role = MEMBER_LEARNER},
};

static struct {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct logforce force;
    struct why why;
} fixture;

static void begin(uint64_t member_id)
{
    struct logbegin begin = {
        .env = env_fake_env(fixture.fake),
        .fs = fs_fault_fs(fixture.disk),
        .dir = "/raft",
        .segment_bytes = SEGMENT_SIZE,
        .cluster_id = 7,
        .member_id = member_id,
        .index = 100,
        .term = 4,
        .members = members,
        .member_count = ARRAY_LEN(members),
        .manifest = bytes_of_str("state"),
    };
    ck_assert_int_eq(logbegin(&begin, &fixture.why), OK);
    fixture.force.member_id = member_id;
}

static void setup(void)
{
    fixture.fake = env_fake_new(1);
    fixture.disk = fs_fault_new();
    fixture.force = (struct logforce){
        .env = env_fake_env(fixture.fake),
        .fs = fs_fault_fs(fixture.disk),
        .dir = "/raft",
        .segment_bytes = SEGMENT_SIZE,
        .cluster_id = 7,
        .member_id = 1,
    };
}

static void teardown(void)
{
    fs_fault_free(fixture.disk);
    env_fake_free(fixture.fake);
}

struct appended {
    struct raftlog_request request;
    bool done;
};

static void on_appended(struct raftlog_request *request)
{
    CONTAINER_OF(request, struct appended, request)->done = true;
}

static void append(uint64_t index, const struct log_entry *entries, size_t count)
{
    struct raftlog_files_config config = {.env = fixture.force.env,
                                          .fs = fixture.force.fs,
                                          .dir = "/raft",
                                          .segment_bytes = SEGMENT_SIZE,
                                          .cluster_id = 7,
                                          .member_id = fixture.force.member_id};
    struct raftlog *log;
    struct raftlog_image image = {0};
    struct appended appended = {.done = false};
    ck_assert_int_eq(raftlog_files_open(&config, &log, &fixture.why), OK);
    ck_assert_int_eq(log->ops->load(log, &image, &fixture.why), OK);
    raftlog_image_fini(&image);
    log->ops->set_term(log, 6);
    log->ops->append(log, &appended.request, index, entries, count, on_appended);
    log->ops->close(log);
    ck_assert(appended.done);
}

/* Five entries behind the state. */
static void append_some(void)
{
    struct log_entry entries[5];
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        entries[i] = (struct log_entry){
            .term = 4 + i / 3, .kind = LOG_ENTRY_COMMAND, .data = bytes_of_str("entry")};
    }
    append(101, entries, ARRAY_LEN(entries));
}

static struct log_standing look(struct fs_fault *disk)
{
    struct logforce force = fixture.force;
    struct log_standing standing;
    force.fs = fs_fault_fs(disk);
    enum err err = logforce_look(&force, &standing, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
    return standing;
}

START_TEST(a_log_tells_where_it_stands)
{
    begin(1);
    append_some();
    CLEANUP(log_standing_fini) struct log_standing standing = look(fixture.disk);
    ck_assert_uint_eq(standing.term, 6);
    ck_assert_uint_eq(standing.snapshot_index, 100);
    ck_assert_uint_eq(standing.first_index, 101);
    ck_assert_uint_eq(standing.last_index, 105);
    ck_assert_uint_eq(standing.last_term, 5);
    ck_assert_uint_eq(standing.terms[2], 4);
    ck_assert_uint_eq(standing.terms[3], 5);
    ck_assert_uint_eq(standing.member_count, ARRAY_LEN(members));
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        ck_assert_uint_eq(standing.members[i].id, members[i].id);
        ck_assert_str_eq(standing.members[i].address, members[i].address);
        ck_assert_int_eq(standing.members[i].role, members[i].role);
    }
}
END_TEST

START_TEST(a_log_without_entries_ends_with_its_state)
{
    begin(1);
    CLEANUP(log_standing_fini) struct log_standing standing = look(fixture.disk);
    ck_assert_uint_eq(standing.last_index, 100);
    ck_assert_uint_eq(standing.last_term, 4);
}
END_TEST

/* Everything stays, and behind it the member is alone. */
START_TEST(forced_the_member_is_alone_behind_all_entries)
{
    begin(2);
    append_some();
    CLEANUP(log_standing_fini) struct log_standing before = {0};
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     OK);
    ck_assert_uint_eq(before.member_count, ARRAY_LEN(members));
    struct fs_fault *after = fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 0);
    CLEANUP(log_standing_fini) struct log_standing standing = look(after);
    ck_assert_uint_eq(standing.first_index, 101);
    ck_assert_uint_eq(standing.last_index, 107);
    ck_assert_uint_eq(standing.last_term, 7);
    ck_assert_uint_eq(standing.term, 7);
    ck_assert_uint_eq(standing.member_count, 1);
    ck_assert_uint_eq(standing.members[0].id, 2);
    ck_assert_str_eq(standing.members[0].address, "two:2380");
    fs_fault_free(after);
}
END_TEST

START_TEST(forced_again_nothing_changes)
{
    begin(1);
    struct log_standing before;
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     OK);
    log_standing_fini(&before);
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     OK);
    ck_assert_uint_eq(before.member_count, 1);
    log_standing_fini(&before);
    CLEANUP(log_standing_fini) struct log_standing standing = look(fixture.disk);
    ck_assert_uint_eq(standing.last_index, 102);
}
END_TEST

/* A crash anywhere: as it was, or alone; never less. */
START_TEST(a_crash_leaves_the_old_or_the_new)
{
    begin(1);
    append_some();
    uint64_t from = fs_fault_op_count(fixture.disk);
    struct log_standing before;
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     OK);
    log_standing_fini(&before);
    for (uint64_t k = from; k <= fs_fault_op_count(fixture.disk); k++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct fs_fault *after = fs_fault_crash(fixture.disk, k, seed);
            CLEANUP(log_standing_fini) struct log_standing standing = look(after);
            bool alone = standing.member_count == 1;
            ck_assert_uint_eq(standing.last_index, alone ? 107 : 105);
            ck_assert_uint_ge(standing.term, alone ? 7 : 6);
            fs_fault_free(after);
        }
    }
}
END_TEST

/* Nor the configuration without the command, when the segment has room for just that: the next try
 * would take the member for alone already, and the command would never come. */
START_TEST(a_crash_does_not_part_what_belongs_together)
{
    static uint8_t data[SEGMENT_SIZE];
    begin(1);
    append_some();
    struct log_entry filler = {
        .term = 5, .kind = LOG_ENTRY_COMMAND, .data = bytes_of(data, 10000 + 128 * (size_t)_i)};
    append(106, &filler, 1);
    uint64_t from = fs_fault_op_count(fixture.disk);
    struct log_standing before;
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of(data, 1000), &before, &fixture.why),
                     OK);
    log_standing_fini(&before);
    for (uint64_t k = from; k <= fs_fault_op_count(fixture.disk); k++) {
        struct fs_fault *after = fs_fault_crash(fixture.disk, k, 0);
        CLEANUP(log_standing_fini) struct log_standing standing = look(after);
        ck_assert_uint_eq(standing.last_index, standing.member_count == 1 ? 108 : 106);
        fs_fault_free(after);
    }
}
END_TEST

/* It may have what none of the voters that are left has. */
START_TEST(a_learner_that_is_alone_votes)
{
    begin(4);
    CLEANUP(log_standing_fini) struct log_standing before = {0};
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     OK);
    CLEANUP(log_standing_fini) struct log_standing standing = look(fixture.disk);
    ck_assert_uint_eq(standing.last_index, 102);
    ck_assert_uint_eq(standing.member_count, 1);
    ck_assert_uint_eq(standing.members[0].id, 4);
    ck_assert_int_eq(standing.members[0].role, MEMBER_VOTER);
}
END_TEST

START_TEST(who_is_not_in_the_configuration_cannot_be_alone)
{
    begin(5);
    struct log_standing before;
    ck_assert_int_eq(logforce_sole(&fixture.force, bytes_of_str("alone"), &before, &fixture.why),
                     ERR_INVALID);
    CLEANUP(log_standing_fini) struct log_standing standing = look(fixture.disk);
    ck_assert_uint_eq(standing.last_index, 100);
}
END_TEST

START_TEST(what_is_no_log_is_not_made_one)
{
    struct log_standing standing;
    ck_assert_int_eq(fs_make_dirs(fixture.force.fs, "/raft", NULL), OK);
    uint64_t count = fs_fault_op_count(fixture.disk);
    ck_assert_int_eq(logforce_look(&fixture.force, &standing, &fixture.why), ERR_NOT_FOUND);
    ck_assert_uint_eq(fs_fault_op_count(fixture.disk), count);
}
END_TEST

static Suite *logforce_suite(void)
{
    Suite *suite = suite_create("logforce");
    TCase *tc = tcase_create("logforce");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_log_tells_where_it_stands);
    tcase_add_test(tc, a_log_without_entries_ends_with_its_state);
    tcase_add_test(tc, forced_the_member_is_alone_behind_all_entries);
    tcase_add_test(tc, forced_again_nothing_changes);
    tcase_add_test(tc, a_crash_leaves_the_old_or_the_new);
    tcase_add_loop_test(tc, a_crash_does_not_part_what_belongs_together, 0, 20);
    tcase_add_test(tc, a_learner_that_is_alone_votes);
    tcase_add_test(tc, who_is_not_in_the_configuration_cannot_be_alone);
    tcase_add_test(tc, what_is_no_log_is_not_made_one);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logforce_suite);
}
