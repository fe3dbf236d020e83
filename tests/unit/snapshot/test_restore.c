/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "raft/raftlog_files.h"
#include "tests/unit/snapshot/backup_fixture.h"

#define NEW_CLUSTER 0xc2u
#define NEW_MEMBER  0xb1u

static const struct node_member members[] = {
    {.id = 0xb3, .address = "10.0.0.3:2380", .role = MEMBER_VOTER},
    {.id = NEW_MEMBER, .address = "10.0.0.1:2380", .role = MEMBER_VOTER},
};
static struct dbrewrite_row row = {.table = TABLE_MEMBER};
static struct restore_config config;
static struct restore_result result;
static char file[256];
static char data_dir[256];
static char wal_dir[256];
static int64_t revision; /* of the backup */

static void setup(void)
{
    stored_setup();
    revision = store_revision(stored.store);
    (void)snprintf(file, sizeof file, "%s", stored_save("saved.db"));
    (void)snprintf(data_dir, sizeof data_dir, "%s", tmpdir_path("parent/new.etcd"));
    (void)snprintf(wal_dir, sizeof wal_dir, "%s", tmpdir_path("wal"));
    row.key = bytes_of_str("new");
    row.value = bytes_of_str("member");
    config = (struct restore_config){
        .env = stored.loop.env,
        .file = file,
        .data_dir = data_dir,
        .identity = {.cluster_id = NEW_CLUSTER, .member_id = NEW_MEMBER},
        .members = members,
        .member_count = ARRAY_LEN(members),
        .rows = &row,
        .row_count = 1,
    };
}

static enum err run(void)
{
    stored.why = (struct why){{0}};
    return restore(&config, &result, &stored.why);
}

static void must_run(void)
{
    enum err err = run();
    ck_assert_msg(err == OK, "%s", stored.why.text);
}

static const char *in_data_dir(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", data_dir, name);
    return path;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static struct store *open_restored(void)
{
    struct store_config store_config = {.env = stored.loop.env,
                                        .path = in_data_dir("member/store.db"),
                                        .identity = config.identity};
    struct store *store = NULL;
    enum err err = store_open(&store_config, &store, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    return store;
}

/* ---- what it makes ---- */

static void compare_all(struct store *restored, int64_t at)
{
    struct range_query query = {
        .key = bytes_of("", 1), .range_end = bytes_of("", 1), .revision = at};
    struct range_result want;
    struct range_result got;
    ck_assert_int_eq(store_range(stored.store, &query, &want), OK);
    ck_assert_int_eq(store_range(restored, &query, &got), OK);
    ck_assert_uint_eq(got.records.count, want.records.count);
    for (size_t i = 0; i < want.records.count; i++) {
        const struct record *a = want.records.items[i];
        const struct record *b = got.records.items[i];
        ck_assert(bytes_equal(record_key(a), record_key(b)));
        ck_assert(bytes_equal(record_value(a), record_value(b)));
        ck_assert_uint_eq(a->rev, b->rev);
        ck_assert_int_eq(a->create_revision, b->create_revision);
        ck_assert_int_eq(a->version, b->version);
        ck_assert_int_eq(a->lease, b->lease);
    }
    range_result_fini(&want);
    range_result_fini(&got);
}

START_TEST(every_key_is_there_at_every_revision)
{
    must_run();
    ck_assert_int_eq(result.revision, revision);
    ck_assert_uint_eq(result.index, INDEX);
    ck_assert_uint_eq(result.term, TERM);
    struct store *restored = open_restored();
    ck_assert_int_eq(store_revision(restored), revision);
    ck_assert_int_eq(store_compacted_revision(restored), COMPACTED);
    ck_assert_uint_eq(store_applied_index(restored), INDEX);
    ck_assert_uint_eq(store_key_count(restored), result.key_count);
    for (int64_t at = COMPACTED; at <= revision; at++) {
        compare_all(restored, at);
    }
    store_close(restored);
}
END_TEST

static enum err count_row(void *ctx, struct bytes key, struct bytes value)
{
    int *count = ctx;
    (void)value;
    ++*count;
    ck_assert(bytes_equal(key, bytes_of_str("row")) || bytes_equal(key, bytes_of_str("new")));
    return OK;
}

START_TEST(leases_stay_and_members_are_the_new_ones)
{
    static const int want[TABLE_COUNT] = {[TABLE_MEMBER] = 1, [TABLE_LEASE] = 1, [TABLE_AUTH] = 1};
    must_run();
    struct store *restored = open_restored();
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        int count = 0;
        ck_assert_int_eq(store_table_foreach(restored, table, count_row, &count, NULL), OK);
        ck_assert_int_eq(count, want[table]);
    }
    store_close(restored);
}
END_TEST

static void check_log(const char *dir)
{
    struct raftlog_files_config log_config = {.env = stored.loop.env,
                                              .fs = fs_real(),
                                              .dir = dir,
                                              .cluster_id = NEW_CLUSTER,
                                              .member_id = NEW_MEMBER};
    struct raftlog *log;
    struct raftlog_image image = {0};
    enum err err = raftlog_files_open(&log_config, &log, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    ck_assert_int_eq(log->ops->load(log, &image, &stored.why), OK);
    ck_assert_uint_eq(image.term, TERM);
    ck_assert_uint_eq(image.vote, 0);
    ck_assert_uint_eq(image.entry_count, 0);
    ck_assert_uint_eq(image.first_index, INDEX + 1);
    ck_assert_uint_eq(image.snapshot.index, INDEX);
    ck_assert_uint_eq(image.snapshot.term, TERM);
    ck_assert_ptr_nonnull(memmem(image.snapshot.configuration.data,
                                 image.snapshot.configuration.len, "10.0.0.3:2380", 13));
    raftlog_image_fini(&image);
    log->ops->close(log);
}

START_TEST(the_log_begins_behind_it)
{
    must_run();
    check_log(in_data_dir("member/raft"));
    ck_assert(!exists(in_data_dir("restoring")));
}
END_TEST

START_TEST(the_log_can_be_elsewhere)
{
    config.wal_dir = wal_dir;
    must_run();
    check_log(wal_dir);
    ck_assert(!exists(in_data_dir("member/raft")));
}
END_TEST

START_TEST(a_raised_revision_leaves_only_the_newest_readable)
{
    config.bump_revision = 1000000;
    config.mark_compacted = true;
    must_run();
    ck_assert_int_eq(result.revision, revision + 1000000);
    ck_assert_int_eq(result.compacted_revision, revision + 1000000);
    struct store *restored = open_restored();
    ck_assert_int_eq(store_revision(restored), revision + 1000000);
    compare_all(restored, 0);
    struct range_query query = {.key = bytes_of_str("k01"), .revision = revision};
    struct range_result range;
    ck_assert_int_eq(store_range(restored, &query, &range), ERR_COMPACTED);
    store_close(restored);
}
END_TEST

START_TEST(a_revision_is_not_raised_beyond_the_end)
{
    config.bump_revision = INT64_MAX;
    config.mark_compacted = true;
    ck_assert_int_eq(run(), ERR_INVALID);
    ck_assert(!exists(data_dir));
}
END_TEST

/* A store that no entry was applied to: the log cannot begin behind entry 0. */
START_TEST(an_empty_backup_can_be_restored)
{
    store_close(TAKE(stored.store));
    spool_free(TAKE(stored.spool));
    ck_assert_int_eq(unlink(stored.path), 0);
    struct store_config store_config = {
        .env = stored.loop.env, .path = stored.path, .identity = {.cluster_id = 1, .member_id = 1}};
    ck_assert_int_eq(store_open(&store_config, &stored.store, &stored.why), OK);
    struct spool_config spool = {.env = stored.loop.env,
                                 .fs = fs_real(),
                                 .store = stored.store,
                                 .path = stored.path,
                                 .copies_max = 1};
    ck_assert_int_eq(spool_new(&spool, &stored.spool), OK);
    (void)stored_save("saved.db");
    must_run();
    ck_assert_uint_eq(result.index, 1);
    ck_assert_uint_eq(result.term, 1);
    ck_assert_int_eq(result.revision, 1);
    struct store *restored = open_restored();
    ck_assert_uint_eq(store_applied_index(restored), 1);
    store_close(restored);
}
END_TEST

/* ---- what it refuses ---- */

START_TEST(a_directory_in_use_is_refused_and_left_alone)
{
    must_run();
    struct store *restored = open_restored();
    ck_assert_int_eq(run(), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "not empty"));
    compare_all(restored, 0);
    store_close(restored);
    (void)snprintf(data_dir, sizeof data_dir, "%s", tmpdir_path("other"));
    config.wal_dir = wal_dir;
    must_run();
    (void)snprintf(data_dir, sizeof data_dir, "%s", tmpdir_path("another"));
    ck_assert_int_eq(run(), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "wal-dir"));
    ck_assert(!exists(in_data_dir("member")));
    check_log(wal_dir);
}
END_TEST

START_TEST(what_is_damaged_is_refused_and_makes_nothing)
{
    file_change(file, "UPDATE log SET val = x'00' WHERE rev >> 20 = 65");
    ck_assert_int_eq(run(), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "revision 65.0"));
    config.without_digest = true;
    ck_assert_int_eq(run(), ERR_CORRUPT);
    ck_assert(!exists(data_dir));
}
END_TEST

START_TEST(an_empty_directory_is_taken)
{
    ck_assert_int_eq(fs_make_dirs(fs_real(), data_dir, NULL), OK);
    must_run();
    store_close(open_restored());
}
END_TEST

START_TEST(what_a_crash_left_is_removed)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s", in_data_dir("restoring/member/raft"));
    ck_assert_int_eq(fs_make_dirs(fs_real(), path, NULL), OK);
    file_write(in_data_dir("restoring/member/store.db"), bytes_of_str("half of a database"));
    file_write(in_data_dir("restoring/member/raft/metadata"), bytes_of_str("half"));
    must_run();
    ck_assert(!exists(in_data_dir("restoring")));
    store_close(open_restored());
}
END_TEST

START_TEST(two_do_not_restore_into_the_same_directory)
{
    char path[512];
    CLEANUP(fs_closep) struct fs_file *lock = NULL;
    (void)snprintf(path, sizeof path, "%s", in_data_dir("restoring"));
    ck_assert_int_eq(fs_make_dirs(fs_real(), path, NULL), OK);
    ck_assert_int_eq(fs_lock(fs_real(), in_data_dir("restoring/lock"), &lock, NULL), OK);
    ck_assert_int_eq(run(), ERR_LOCKED);
    ck_assert(exists(in_data_dir("restoring/lock")));
    fs_close(TAKE(lock));
    must_run();
}
END_TEST

/* Another one, which begins and ends while this one reads the backup. */
static void restore_meanwhile(void *ctx, uint64_t done, uint64_t total)
{
    bool *ran = ctx;
    (void)done;
    (void)total;
    if (!*ran) {
        *ran = true;
        struct restore_config other = config;
        other.progress = NULL;
        ck_assert_int_eq(restore(&other, &result, &stored.why), OK);
    }
}

START_TEST(who_comes_second_leaves_alone_what_the_first_has_made)
{
    bool ran = false;
    const struct dbfile_progress progress = {.fn = restore_meanwhile, .ctx = &ran};
    config.progress = &progress;
    config.wal_dir = wal_dir;
    ck_assert_int_eq(run(), ERR_EXISTS);
    ck_assert(ran);
    check_log(wal_dir);
    store_close(open_restored());
    ck_assert(!exists(in_data_dir("restoring")));
}
END_TEST

/* It fails when all but the last step is done: there is no way to put it in place. */
START_TEST(what_fails_late_leaves_no_member)
{
    config.wal_dir = wal_dir;
    static struct node_member wrong;
    wrong = (struct node_member){.id = NEW_MEMBER, .role = MEMBER_VOTER};
    static char address[600];
    memset(address, 'a', sizeof address - 1);
    wrong.address = address;
    config.members = &wrong;
    config.member_count = 1;
    ck_assert_int_eq(run(), ERR_INVALID);
    ck_assert(!exists(in_data_dir("member")));
    ck_assert(!exists(in_data_dir("restoring")));
    config.members = members;
    config.member_count = ARRAY_LEN(members);
    must_run();
}
END_TEST

/* Something that happens when the database is in its place, and before the log is begun: when the
 * store starts a thread to be read once. */
static const struct env_ops *real_ops;
static void (*on_staged)(void);

static enum err worker_new(struct env *env, const struct worker_config *worker, struct worker **ret,
                           struct why *why)
{
    env->ops = real_ops;
    on_staged();
    return env->ops->worker_new(env, worker, ret, why);
}

static enum err run_with(void (*fn)(void))
{
    struct env *env = stored.loop.env;
    struct env_ops ops = *env->ops;
    real_ops = env->ops;
    on_staged = fn;
    ops.worker_new = worker_new;
    env->ops = &ops;
    enum err err = run();
    ck_assert(env->ops == real_ops); /* it has happened */
    return err;
}

static void restore_beside(void)
{
    struct restore_config other = config;
    other.data_dir = tmpdir_path("beside");
    ck_assert_int_eq(restore(&other, &result, &stored.why), OK);
}

START_TEST(a_wal_directory_that_another_one_has_taken_is_left_alone)
{
    config.wal_dir = wal_dir;
    ck_assert_int_eq(run_with(restore_beside), ERR_EXISTS);
    ck_assert(!exists(in_data_dir("member")));
    check_log(wal_dir);
}
END_TEST

static void be_in_the_way(void)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s", in_data_dir("member/in the way"));
    ck_assert_int_eq(fs_make_dirs(fs_real(), path, NULL), OK);
}

START_TEST(a_wal_directory_that_was_there_is_emptied_and_stays)
{
    char link[300];
    (void)snprintf(link, sizeof link, "%s", tmpdir_path("link"));
    ck_assert_int_eq(fs_make_dirs(fs_real(), wal_dir, NULL), OK);
    ck_assert_int_eq(symlink(wal_dir, link), 0);
    config.wal_dir = link;
    ck_assert_int_ne(run_with(be_in_the_way), OK);
    struct stat st;
    ck_assert(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    ck_assert_int_eq(rmdir(wal_dir), 0); /* it is empty */
}
END_TEST

static Suite *restore_suite(void)
{
    Suite *suite = suite_create("restore");
    TCase *tc = tcase_create("made");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, every_key_is_there_at_every_revision);
    tcase_add_test(tc, leases_stay_and_members_are_the_new_ones);
    tcase_add_test(tc, the_log_begins_behind_it);
    tcase_add_test(tc, the_log_can_be_elsewhere);
    tcase_add_test(tc, a_raised_revision_leaves_only_the_newest_readable);
    tcase_add_test(tc, a_revision_is_not_raised_beyond_the_end);
    tcase_add_test(tc, an_empty_backup_can_be_restored);
    suite_add_tcase(suite, tc);

    tc = tcase_create("refused");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, a_directory_in_use_is_refused_and_left_alone);
    tcase_add_test(tc, what_is_damaged_is_refused_and_makes_nothing);
    tcase_add_test(tc, an_empty_directory_is_taken);
    tcase_add_test(tc, what_a_crash_left_is_removed);
    tcase_add_test(tc, two_do_not_restore_into_the_same_directory);
    tcase_add_test(tc, who_comes_second_leaves_alone_what_the_first_has_made);
    tcase_add_test(tc, what_fails_late_leaves_no_member);
    tcase_add_test(tc, a_wal_directory_that_another_one_has_taken_is_left_alone);
    tcase_add_test(tc, a_wal_directory_that_was_there_is_emptied_and_stays);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(restore_suite);
}
