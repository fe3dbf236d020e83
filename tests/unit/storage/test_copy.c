/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/copy.h"

#include "tests/lib/database.h"
#include "tests/lib/runner.h"

#define BATCHES 300u

static struct {
    struct database db;
    struct batches *batches;
    struct backend_copy copy;
    unsigned ended;
} fixture;

static void setup(void)
{
    fixture.ended = 0;
    database_init(&fixture.db, NULL);
    fixture.db.config.checkpoint_frames = 32;
    fixture.batches =
        batches_new(&(struct batches_config){.seed = 5, .count = BATCHES, .compact_one_in = 10});
    ck_assert_int_eq(database_open(&fixture.db), OK);
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
}

static void on_copied(struct backend_copy *copy)
{
    ck_assert_ptr_eq(copy, &fixture.copy);
    fixture.ended++;
}

static void write_some(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
        if (i % 3 == 0) {
            env_fake_turn(fixture.db.fake);
        }
    }
}

/* What of the disk is durable, opened at PATH, must be the first N batches. */
static void check_durable(const char *path, uint64_t n)
{
    struct database after;
    database_init(&after, fs_fault_crash(fixture.db.disk, fs_fault_op_count(fixture.db.disk), 0));
    after.config.path = path;
    enum err err = database_open(&after);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), after.why.text);
    ck_assert_uint_eq(after.state.applied_index, n);
    const char *wrong = database_compare(&after, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
    database_fini(&after);
}

START_TEST(a_copy_is_the_database_of_one_moment)
{
    write_some(0, 100);
    env_fake_run(fixture.db.fake);
    fixture.copy = (struct backend_copy){.path = "/copy"};
    backend_copy(fixture.db.backend, &fixture.copy, on_copied);
    write_some(100, BATCHES);
    env_fake_advance(fixture.db.fake, 100);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_msg(fixture.copy.status == OK, "%s", fixture.copy.why.text);
    ck_assert_uint_ge(fixture.copy.state.applied_index, 100);
    ck_assert_uint_eq(fixture.copy.size_bytes, database_file_size(&fixture.db, "/copy"));
    check_durable("/copy", fixture.copy.state.applied_index);
}
END_TEST

/* The file does not change under the copy, however much is written and checkpointed meanwhile. */
START_TEST(a_copy_holds_the_file_still)
{
    write_some(0, 100);
    env_fake_run(fixture.db.fake);
    fixture.copy = (struct backend_copy){.path = "/copy"};
    backend_copy(fixture.db.backend, &fixture.copy, on_copied);
    env_fake_turn(fixture.db.fake);
    while (fixture.db.backend != NULL && env_fake_job_count(fixture.db.fake) > 0 &&
           fixture.copy.job.work == NULL) {
        env_fake_turn(fixture.db.fake); /* until it is pinned and the copy about to begin */
    }
    ck_assert_ptr_nonnull(fixture.copy.job.work);
    env_fake_hold_jobs(fixture.db.fake, true);
    write_some(100, 200);
    env_fake_hold_jobs(fixture.db.fake, false);
    env_fake_run(fixture.db.fake);
    ck_assert_int_eq(fixture.copy.status, OK);
    ck_assert_uint_eq(fixture.copy.state.applied_index, 100);
    check_durable("/copy", 100);
}
END_TEST

START_TEST(a_file_that_exists_is_not_overwritten)
{
    write_some(0, 10);
    fixture.copy = (struct backend_copy){.path = "/db-wal"};
    backend_copy(fixture.db.backend, &fixture.copy, on_copied);
    env_fake_advance(fixture.db.fake, 100);
    ck_assert_int_eq(fixture.copy.status, ERR_EXISTS);
    ck_assert_uint_eq(fixture.ended, 1);
}
END_TEST

START_TEST(a_copy_that_fails_leaves_nothing)
{
    write_some(0, 50);
    env_fake_run(fixture.db.fake);
    fs_fault_set_capacity(fixture.db.disk, database_file_size(&fixture.db, "/db") +
                                               database_file_size(&fixture.db, "/db-wal") + 8192);
    fixture.copy = (struct backend_copy){.path = "/copy"};
    backend_copy(fixture.db.backend, &fixture.copy, on_copied);
    env_fake_advance(fixture.db.fake, 100);
    ck_assert_int_eq(fixture.copy.status, ERR_NO_SPACE);
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fs_fault_fs(fixture.db.disk), "/copy", FS_READ, &file, NULL),
                     ERR_NOT_FOUND);
}
END_TEST

START_TEST(closing_ends_copies)
{
    write_some(0, 50);
    fixture.copy = (struct backend_copy){.path = "/copy"};
    backend_copy(fixture.db.backend, &fixture.copy, on_copied);
    for (int turns = 0; turns < _i; turns++) {
        env_fake_turn(fixture.db.fake);
    }
    database_close(&fixture.db);
    ck_assert_uint_eq(fixture.ended, 1);
    check_durable("/db", 50);
}
END_TEST

static Suite *copy_suite(void)
{
    Suite *suite = suite_create("copy");
    TCase *tc = tcase_create("copy");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_copy_is_the_database_of_one_moment);
    tcase_add_test(tc, a_copy_holds_the_file_still);
    tcase_add_test(tc, a_file_that_exists_is_not_overwritten);
    tcase_add_test(tc, a_copy_that_fails_leaves_nothing);
    tcase_add_loop_test(tc, closing_ends_copies, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(copy_suite);
}
