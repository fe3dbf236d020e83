/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/checkpoint.h"

#include "storage/backend_private.h"
#include "tests/lib/database.h"
#include "tests/lib/runner.h"

#define BATCHES 400u
#define FRAMES  32u

static struct {
    struct database db;
    struct batches *batches;
} fixture;

static void setup(void)
{
    database_init(&fixture.db, NULL);
    fixture.db.config.checkpoint_frames = FRAMES;
    fixture.db.config.sync_interval_ms = 1000;
    fixture.batches =
        batches_new(&(struct batches_config){.seed = 41, .count = BATCHES, .value_max = 3000});
    ck_assert_int_eq(database_open(&fixture.db), OK);
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
}

static void write_one(size_t i)
{
    batches_write(fixture.batches, i, fixture.db.backend);
}

static const struct checkpoint *checkpoint(void)
{
    return &fixture.db.backend->checkpoint;
}

START_TEST(nothing_is_durable_before_a_sync)
{
    for (size_t i = 0; i < 3; i++) {
        write_one(i);
    }
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(batches_written(fixture.batches), 3);
    ck_assert_uint_eq(fixture.db.durable_index, 0);
    backend_sync(fixture.db.backend);
    ck_assert_uint_eq(fixture.db.durable_index, 0);
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(fixture.db.durable_index, 3);
    ck_assert_uint_eq(backend_durable_index(fixture.db.backend), 3);
}
END_TEST

START_TEST(what_is_written_becomes_durable_by_itself)
{
    write_one(0);
    env_fake_advance(fixture.db.fake, 999);
    ck_assert_uint_eq(fixture.db.durable_index, 0);
    env_fake_advance(fixture.db.fake, 1);
    ck_assert_uint_eq(fixture.db.durable_index, 1);
    uint64_t ops = fs_fault_op_count(fixture.db.disk);
    env_fake_advance(fixture.db.fake, 10000);
    ck_assert_msg(fs_fault_op_count(fixture.db.disk) == ops, "an idle database is synced again");
}
END_TEST

/* Writes that come while a sync is on its way are not in it. */
START_TEST(a_sync_proves_only_what_was_there_before)
{
    write_one(0);
    env_fake_run(fixture.db.fake);
    env_fake_hold_jobs(fixture.db.fake, true);
    backend_sync(fixture.db.backend);
    write_one(1);
    env_fake_hold_jobs(fixture.db.fake, false);
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(batches_written(fixture.batches), 2);
    ck_assert_uint_eq(fixture.db.durable_index, 1);
}
END_TEST

START_TEST(after_a_restart_all_that_is_there_is_durable)
{
    write_one(0);
    env_fake_run(fixture.db.fake);
    struct database after;
    database_init(&after, fs_fault_crash(fixture.db.disk, fs_fault_op_count(fixture.db.disk), 1));
    ck_assert_int_eq(database_open(&after), OK);
    uint64_t n = after.state.applied_index;
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(backend_durable_index(after.backend), n);
    struct fs_fault *again = fs_fault_crash(after.disk, fs_fault_op_count(after.disk), 0);
    database_fini(&after);
    database_init(&after, again);
    ck_assert_int_eq(database_open(&after), OK);
    ck_assert_uint_eq(after.state.applied_index, n);
    database_fini(&after);
}
END_TEST

START_TEST(the_wal_stays_small)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        write_one(i);
        env_fake_turn(fixture.db.fake);
        env_fake_turn(fixture.db.fake);
        uint64_t size = database_file_size(&fixture.db, "/db-wal");
        largest = size > largest ? size : largest;
    }
    ck_assert_uint_lt(largest, 4 * FRAMES * 4120);
    ck_assert_uint_gt(fixture.batches->items[BATCHES - 1].report.wal_generation, 0);
}
END_TEST

/* The rule that keeps SQLite's fault away: whenever a pass is about to begin, the WAL that is there
 * has frames that are not in the database file. */
START_TEST(a_pass_never_begins_on_a_wal_that_is_written_back)
{
    unsigned passes = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        write_one(i);
        for (unsigned turns = (unsigned)(mix64(i) % 3); turns > 0; turns--) {
            env_fake_turn(fixture.db.fake);
            const struct checkpoint *cp = checkpoint();
            if (cp->state != CHECKPOINT_PASS || !cp->job_pass) {
                continue;
            }
            passes++;
            /* What the storage thread knows, who runs ahead of the loop. */
            const struct drain_report *truth = &fixture.db.backend->drain.report;
            ck_assert_uint_eq(truth->wal_generation, cp->generation);
            ck_assert_uint_gt(truth->wal_frames, cp->written);
        }
    }
    ck_assert_uint_gt(passes, 5);
}
END_TEST

/* The WAL begins anew with a transaction that is longer than all of the old one. */
START_TEST(a_new_wal_is_known_by_its_header)
{
    size_t i = 0;
    while (checkpoint()->written == 0 || checkpoint()->state != CHECKPOINT_IDLE) {
        write_one(i++);
        env_fake_run(fixture.db.fake);
    }
    struct drain_report before = fixture.db.backend->latest;
    ck_assert_uint_eq(checkpoint()->written, before.wal_frames);
    env_fake_hold_jobs(fixture.db.fake, true);
    for (unsigned n = 0; n < 100; n++) {
        write_one(i++);
    }
    env_fake_hold_jobs(fixture.db.fake, false);
    env_fake_turn(fixture.db.fake);
    struct drain_report after = fixture.batches->items[i - 1].report;
    ck_assert_uint_gt(after.wal_frames, before.wal_frames);
    ck_assert_uint_ne(after.wal_generation, before.wal_generation);
}
END_TEST

/* Somebody reads for long: checkpoints get nowhere, are tried now and then, and go on after. */
START_TEST(a_reader_only_delays)
{
    write_one(0);
    env_fake_run(fixture.db.fake);
    struct conn *conn = NULL;
    ck_assert_int_eq(backend_open_reader(&fixture.db.backend->config, &conn, NULL), OK);
    ck_assert_int_eq(conn_run_stmt(conn, STMT_BEGIN, NULL), OK);
    struct meta meta;
    ck_assert_int_eq(schema_read_meta(conn, &meta, NULL), OK);
    for (size_t i = 1; i < 200; i++) {
        write_one(i);
        env_fake_run(fixture.db.fake);
    }
    uint32_t frames = fixture.db.backend->latest.wal_frames;
    ck_assert_uint_gt(frames, 3 * FRAMES);
    uint64_t ops = fs_fault_op_count(fixture.db.disk);
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(fs_fault_op_count(fixture.db.disk), ops);
    ck_assert_int_eq(schema_read_meta(conn, &meta, NULL), OK);
    ck_assert_uint_eq(meta.state.applied_index, 1);
    conn_rollback(conn);
    conn_close(conn);
    for (size_t i = 200; i < BATCHES; i++) {
        write_one(i);
        env_fake_run(fixture.db.fake);
    }
    ck_assert_uint_lt(fixture.db.backend->latest.wal_frames, frames);
}
END_TEST

static Suite *checkpoint_suite(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tc = tcase_create("durable");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_is_durable_before_a_sync);
    tcase_add_test(tc, what_is_written_becomes_durable_by_itself);
    tcase_add_test(tc, a_sync_proves_only_what_was_there_before);
    tcase_add_test(tc, after_a_restart_all_that_is_there_is_durable);
    suite_add_tcase(suite, tc);
    tc = tcase_create("handshake");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_wal_stays_small);
    tcase_add_test(tc, a_pass_never_begins_on_a_wal_that_is_written_back);
    tcase_add_test(tc, a_new_wal_is_known_by_its_header);
    tcase_add_test(tc, a_reader_only_delays);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(checkpoint_suite);
}
