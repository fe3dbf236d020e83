/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/rescue.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/fs_real.h"
#include "fsm/command.h"
#include "raft/raftlog_files.h"
#include "snapshot/restore.h"
#include "tests/unit/snapshot/backup_fixture.h"

static struct node_member members[] = {
    {.id = 0xb1, .address = "10.0.0.1:2380", .role = MEMBER_VOTER},
    {.id = 0xb2, .address = "10.0.0.2:2380"},
    {.id = 0xb3, .address = "10.0.0.3:2380", .role = MEMBER_VOTER},
};
static char database_path[512];
static char raft_dir[512];
static struct rescue rescue;

/* A member of three, with rows for all of them, made by a restore. */
static void make_member(enum member_role role)
{
    members[1].role = role;
    stored_setup();
    static char file[256];
    static char data_dir[256];
    static uint8_t keys[3][8];
    struct dbrewrite_row rows[3];
    for (size_t i = 0; i < 3; i++) {
        put_u64(keys[i], __builtin_bswap64(members[i].id));
        rows[i] = (struct dbrewrite_row){.table = TABLE_MEMBER,
                                         .key = bytes_of(keys[i], sizeof keys[i]),
                                         .value = bytes_of_str("a member")};
    }
    (void)snprintf(file, sizeof file, "%s", stored_save("saved.db"));
    (void)snprintf(data_dir, sizeof data_dir, "%s", tmpdir_path("data"));
    struct restore_config config = {
        .env = stored.loop.env,
        .file = file,
        .data_dir = data_dir,
        .identity = {.cluster_id = 0xc2, .member_id = 0xb2},
        .members = members,
        .member_count = 3,
        .rows = rows,
        .row_count = 3,
    };
    struct restore_result result;
    enum err err = restore(&config, &result, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    (void)snprintf(database_path, sizeof database_path, "%s/member/store.db", data_dir);
    (void)snprintf(raft_dir, sizeof raft_dir, "%s/member/raft", data_dir);
    rescue = (struct rescue){
        .env = stored.loop.env, .fs = fs_real(), .raft_dir = raft_dir, .store_path = database_path};
}

static void setup(void)
{
    make_member(MEMBER_VOTER);
}

static void setup_learner(void)
{
    make_member(MEMBER_LEARNER);
}

static struct store *open_member(void)
{
    struct store_config config = {.env = stored.loop.env,
                                  .path = database_path,
                                  .identity = {.cluster_id = 0xc2, .member_id = 0xb2}};
    struct store *store = NULL;
    enum err err = store_open(&config, &store, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    return store;
}

/* The last entry of the log must promote this member, if it was a learner, remove all others, and
 * nobody else. */
static void check_last_entry(bool promotes)
{
    struct raftlog_files_config config = {.env = stored.loop.env,
                                          .fs = fs_real(),
                                          .dir = raft_dir,
                                          .cluster_id = 0xc2,
                                          .member_id = 0xb2};
    struct raftlog *log;
    struct raftlog_image image = {0};
    ck_assert_int_eq(raftlog_files_open(&config, &log, &stored.why), OK);
    ck_assert_int_eq(log->ops->load(log, &image, &stored.why), OK);
    ck_assert_uint_eq(image.entry_count, 2);
    ck_assert_int_eq(image.entries[0].kind, LOG_ENTRY_CHANGE);
    ck_assert_int_eq(image.entries[1].kind, LOG_ENTRY_COMMAND);
    struct reader r = reader_of(image.entries[1].data);
    uint64_t wall_ms;
    CLEANUP(arena_fini) struct arena arena = {0};
    ck_assert_int_eq(entry_decode_head(&r, &wall_ms), OK);
    struct command command;
    struct command_origin origin;
    if (promotes) {
        ck_assert_int_eq(command_decode(&r, &arena, &origin, &command), OK);
        ck_assert_int_eq(command.kind, COMMAND_MEMBER_PROMOTE);
        ck_assert_uint_eq(command.member.id, 0xb2);
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (members[i].id == 0xb2) {
            continue;
        }
        ck_assert_int_eq(command_decode(&r, &arena, &origin, &command), OK);
        ck_assert_int_eq(command.kind, COMMAND_MEMBER_REMOVE);
        ck_assert_uint_eq(command.member.id, members[i].id);
    }
    ck_assert_uint_eq(reader_left(&r), 0);
    raftlog_image_fini(&image);
    log->ops->close(log);
}

START_TEST(a_member_tells_where_it_stands)
{
    struct rescue_standing standing;
    enum err err = rescue_look(&rescue, &standing, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    ck_assert_uint_eq(standing.store.identity.member_id, 0xb2);
    ck_assert_uint_eq(standing.store.applied_index, INDEX);
    ck_assert_int_eq(standing.store.revision, store_revision(stored.store));
    ck_assert_uint_eq(standing.log.last_index, INDEX);
    ck_assert_uint_eq(standing.log.member_count, 3);
    rescue_standing_fini(&standing);
}
END_TEST

START_TEST(of_the_members_it_alone_stays_and_all_keys)
{
    struct rescue_standing standing;
    ck_assert_int_eq(rescue_sole(&rescue, &standing, &stored.why), OK);
    ck_assert_uint_eq(standing.log.member_count, 3);
    rescue_standing_fini(&standing);
    ck_assert_int_eq(rescue_sole(&rescue, &standing, &stored.why), OK); /* once more */
    ck_assert_uint_eq(standing.log.member_count, 1);
    rescue_standing_fini(&standing);
    struct store *store = open_member();
    ck_assert_int_eq(store_revision(store), store_revision(stored.store));
    ck_assert_uint_eq(store_key_count(store), store_key_count(stored.store));
    ck_assert(set_hash_equal(store_set_hash(store), store_set_hash(stored.store)));
    store_close(store);
    check_last_entry(false);
}
END_TEST

/* It may be all that is left. */
START_TEST(a_learner_becomes_a_voter)
{
    struct rescue_standing standing;
    ck_assert_int_eq(rescue_sole(&rescue, &standing, &stored.why), OK);
    ck_assert_int_eq(standing.log.members[1].role, MEMBER_LEARNER);
    rescue_standing_fini(&standing);
    ck_assert_int_eq(rescue_look(&rescue, &standing, &stored.why), OK);
    ck_assert_uint_eq(standing.log.member_count, 1);
    ck_assert_int_eq(standing.log.members[0].role, MEMBER_VOTER);
    rescue_standing_fini(&standing);
    check_last_entry(true);
}
END_TEST

START_TEST(a_member_that_runs_is_left_alone)
{
    struct rescue_standing standing;
    struct store *store = open_member();
    /* In this process SQLite would let it in: the log's lock does not. */
    CLEANUP(fs_closep) struct fs_file *lock = NULL;
    char path[600];
    (void)snprintf(path, sizeof path, "%s/lock", raft_dir);
    ck_assert_int_eq(fs_lock(fs_real(), path, &lock, NULL), OK);
    ck_assert_int_eq(rescue_look(&rescue, &standing, &stored.why), ERR_LOCKED);
    store_close(store);
}
END_TEST

START_TEST(a_log_and_a_store_that_do_not_join_are_refused)
{
    struct rescue_standing standing;
    struct dbrewrite change = {
        .identity = {.cluster_id = 0xc2, .member_id = 0xb2},
        .applied_index = INDEX + 5, /* of which the log knows nothing */
        .applied_term = TERM,
        .revision = store_revision(stored.store),
        .compacted_revision = COMPACTED,
    };
    ck_assert_int_eq(dbrewrite(database_path, &change, true, &stored.why), OK);
    ck_assert_int_eq(rescue_look(&rescue, &standing, &stored.why), ERR_CORRUPT);
    change.applied_index = INDEX - 5; /* what it lacks is forgotten */
    ck_assert_int_eq(dbrewrite(database_path, &change, true, &stored.why), OK);
    ck_assert_int_eq(rescue_sole(&rescue, &standing, &stored.why), ERR_CORRUPT);
}
END_TEST

START_TEST(revisions_do_not_go_back)
{
    struct dbrewrite change = {.revision = 3, .compacted_revision = COMPACTED};
    ck_assert_int_eq(dbrewrite(database_path, &change, true, &stored.why), ERR_INVALID);
    change.revision = store_revision(stored.store);
    change.compacted_revision = change.revision + 1;
    ck_assert_int_eq(dbrewrite(database_path, &change, false, &stored.why), ERR_INVALID);
    store_close(open_member());
}
END_TEST

/* Logs by their terms, the entries from `first` on. */
static const struct {
    uint64_t best_first, other_first;
    uint64_t best[6], other[6]; /* 0 ends */
    bool best_is_newer;
    uint64_t lacks;
} logs[] = {
    {1, 1, {1, 1, 2}, {1, 1, 2}, false, 0},
    {1, 1, {1, 1, 2, 2}, {1, 1, 2}, true, 0},
    {1, 1, {1, 1, 3}, {1, 1, 2, 2, 2}, true, 3}, /* a newer term beats more entries */
    {1, 1, {1, 2, 2}, {1, 1, 1, 1}, true, 3},
    {4, 1, {2, 2}, {1, 1, 1, 2}, true, 0}, /* the first three are in the state */
    {1, 4, {1, 1, 1, 2, 2}, {2}, true, 0},
};

START_TEST(the_newest_log_is_the_one_with_the_last_term_then_the_longest)
{
    struct log_standing best = {.first_index = logs[_i].best_first,
                                .terms = (uint64_t *)(uintptr_t)logs[_i].best};
    struct log_standing other = {.first_index = logs[_i].other_first,
                                 .terms = (uint64_t *)(uintptr_t)logs[_i].other};
    best.last_index = best.first_index - 1;
    other.last_index = other.first_index - 1;
    for (size_t i = 0; i < 6 && logs[_i].best[i] != 0; i++) {
        best.last_index++;
        best.last_term = logs[_i].best[i];
    }
    for (size_t i = 0; i < 6 && logs[_i].other[i] != 0; i++) {
        other.last_index++;
        other.last_term = logs[_i].other[i];
    }
    ck_assert_int_eq(rescue_is_newer(&best, &other), logs[_i].best_is_newer);
    ck_assert(!rescue_is_newer(&other, &best));
    ck_assert_uint_eq(rescue_lacks(&best, &other), logs[_i].lacks);
}
END_TEST

static Suite *rescue_suite(void)
{
    Suite *suite = suite_create("rescue");
    TCase *tc = tcase_create("rescue");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, a_member_tells_where_it_stands);
    tcase_add_test(tc, of_the_members_it_alone_stays_and_all_keys);
    tcase_add_test(tc, a_member_that_runs_is_left_alone);
    tcase_add_test(tc, a_log_and_a_store_that_do_not_join_are_refused);
    tcase_add_test(tc, revisions_do_not_go_back);
    suite_add_tcase(suite, tc);
    tc = tcase_create("learner");
    tcase_add_checked_fixture(tc, setup_learner, stored_teardown);
    tcase_add_test(tc, a_learner_becomes_a_voter);
    suite_add_tcase(suite, tc);
    tc = tcase_create("logs");
    tcase_add_loop_test(tc, the_newest_log_is_the_one_with_the_last_term_then_the_longest, 0,
                        ARRAY_LEN(logs));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rescue_suite);
}
