/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/defrag.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "storage/backend_private.h"
#include "tests/lib/database.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define BATCHES 300u

static struct {
    struct database db;
    struct batches *batches;
    struct backend_copy request;
    unsigned ended;
    bool passing; /* when it ended */
} fixture;

static void setup(void)
{
    fixture.ended = 0;
    database_init(&fixture.db, NULL);
    fixture.db.config.checkpoint_frames = 32;
    fixture.db.config.remove_permille = 0;
    fixture.batches = batches_new(&(struct batches_config){
        .seed = 6, .count = BATCHES, .compact_one_in = 30, .value_max = 900});
    ck_assert_int_eq(database_open(&fixture.db), OK);
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
}

static void on_ended(struct backend_copy *request)
{
    ck_assert_ptr_eq(request, &fixture.request);
    fixture.ended++;
    const struct checkpoint *cp = &fixture.db.backend->checkpoint;
    fixture.passing = cp->state == CHECKPOINT_PASS && cp->job_pass;
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

static void defragment(void)
{
    fixture.request = (struct backend_copy){.path = NULL};
    backend_defragment(fixture.db.backend, &fixture.request, on_ended);
}

START_TEST(the_file_shrinks_and_nothing_is_lost)
{
    write_some(0, 250);
    env_fake_run(fixture.db.fake);
    uint64_t before = backend_size_bytes(fixture.db.backend);
    defragment();
    write_some(250, 280);
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_msg(fixture.request.status == OK, "%s", fixture.request.why.text);
    ck_assert_uint_lt(backend_size_bytes(fixture.db.backend), before);
    write_some(280, BATCHES);
    env_fake_run(fixture.db.fake);
    struct record *record = NULL;
    revision_t newest = fixture.batches->records[fixture.batches->record_count - 1]->rev;
    ck_assert_int_eq(backend_get(fixture.db.backend, newest, &record, NULL), OK);
    record_unref(record);
    database_close(&fixture.db);
    ck_assert_int_eq(database_open(&fixture.db), OK);
    ck_assert_uint_eq(fixture.db.state.applied_index, BATCHES);
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}
END_TEST

/* Power fails at every operation of it. */
START_TEST(no_crash_loses_what_is_durable)
{
    write_some(0, 100);
    env_fake_run(fixture.db.fake);
    uint64_t first = fs_fault_op_count(fixture.db.disk);
    defragment();
    write_some(100, 150);
    env_fake_advance(fixture.db.fake, 2000);
    ck_assert_int_eq(fixture.request.status, OK);
    write_some(150, 160);
    env_fake_run(fixture.db.fake);
    uint64_t last = fs_fault_op_count(fixture.db.disk);
    unsigned chances = effort_count(5, 1, "outcomes of each crash");
    for (uint64_t op = first; op <= last; op = first + effort_next(op - first, 8)) {
        for (uint64_t chance = 0; chance < chances; chance++) {
            struct database after;
            database_init(&after, fs_fault_crash(fixture.db.disk, op, chance * 1000 + chance));
            after.config.remove_permille = 0;
            enum err err = database_open(&after);
            ck_assert_msg(err == OK, "operation %llu of %llu..%llu chance %llu: %s: %s",
                          (unsigned long long)op, (unsigned long long)first,
                          (unsigned long long)last, (unsigned long long)chance, err_text(err),
                          after.why.text);
            ck_assert_uint_ge(after.state.applied_index, database_claimed(&fixture.db, op));
            const char *wrong = database_compare(&after, fixture.batches);
            ck_assert_msg(wrong == NULL, "operation %llu: %s", (unsigned long long)op, wrong);
            database_fini(&after);
        }
    }
}
END_TEST

static void check_all_is_there(void)
{
    write_some(250, BATCHES);
    database_close(&fixture.db);
    ck_assert_int_eq(database_open(&fixture.db), OK);
    ck_assert_uint_eq(fixture.db.state.applied_index, BATCHES);
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

static uint64_t room_needed(void)
{
    return fs_fault_used_bytes(fixture.db.disk) + backend_size_in_use_bytes(fixture.db.backend) +
           SNAPSHOT_SPARE_BYTES;
}

/* Nobody's disk is filled by a file that does not fit. */
START_TEST(without_room_it_does_not_begin)
{
    write_some(0, 250);
    env_fake_run(fixture.db.fake);
    fs_fault_set_capacity(fixture.db.disk, room_needed() - 1);
    unsigned made = fs_fault_made_count(fixture.db.disk);
    defragment();
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_int_eq(fixture.request.status, ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(fixture.request.why.text, "/db.defrag"));
    ck_assert_uint_eq(fs_fault_made_count(fixture.db.disk), made);
    fs_fault_set_capacity(fixture.db.disk, room_needed());
    defragment();
    env_fake_run(fixture.db.fake);
    ck_assert_msg(fixture.request.status == OK, "%s", fixture.request.why.text);
    fs_fault_set_capacity(fixture.db.disk, 0);
    check_all_is_there();
}
END_TEST

static bool there_is(const char *path)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    return fs_open(fs_fault_fs(fixture.db.disk), path, FS_READ, &file, NULL) == OK;
}

/* The room that there was when it began is used up by others. */
START_TEST(when_the_disk_becomes_full_nothing_changes)
{
    write_some(0, 250);
    env_fake_run(fixture.db.fake);
    fs_fault_arm(fixture.db.disk, FS_FAULT_WRITE, 30, ERR_NO_SPACE, true);
    defragment();
    env_fake_run(fixture.db.fake);
    ck_assert(fs_fault_fired(fixture.db.disk));
    fs_fault_disarm(fixture.db.disk);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_int_eq(fixture.request.status, ERR_NO_SPACE);
    ck_assert(!there_is("/db.defrag"));
    check_all_is_there();
}
END_TEST

static struct conn *begin_reading(void)
{
    struct conn *conn = NULL;
    struct meta meta;
    ck_assert_int_eq(backend_open_reader(&fixture.db.backend->config, &conn, NULL), OK);
    ck_assert_int_eq(conn_run_stmt(conn, STMT_BEGIN, NULL), OK);
    ck_assert_int_eq(schema_read_meta(conn, &meta, NULL), OK);
    return conn;
}

static void end_reading(struct conn *conn)
{
    conn_rollback(conn);
    conn_close(conn);
}

/* All of the WAL has been written back by the attempts to end the old file, and nothing of it is
 * given up: a pass must not begin on it (checkpoint.h). */
START_TEST(who_reads_for_too_long_keeps_the_old_file)
{
    struct conn *first = begin_reading();
    write_some(0, 250);
    env_fake_run(fixture.db.fake);
    struct conn *second = begin_reading();
    end_reading(first);
    ck_assert_uint_gt(fixture.db.backend->latest.wal_frames, 32);
    defragment();
    env_fake_advance(fixture.db.fake, 12000);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_int_eq(fixture.request.status, ERR_LOCKED);
    ck_assert(!fixture.passing);
    end_reading(second);
    write_some(250, BATCHES);
    env_fake_advance(fixture.db.fake, 2000);
    ck_assert_uint_eq(backend_durable_index(fixture.db.backend), BATCHES);
    database_close(&fixture.db);
    ck_assert_int_eq(database_open(&fixture.db), OK);
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}
END_TEST

START_TEST(closing_ends_it)
{
    write_some(0, 100);
    defragment();
    for (int turns = 0; turns < _i; turns++) {
        env_fake_turn(fixture.db.fake);
    }
    database_close(&fixture.db);
    ck_assert_uint_eq(fixture.ended, 1);
    ck_assert_int_eq(database_open(&fixture.db), OK);
    ck_assert_uint_eq(fixture.db.state.applied_index, 100);
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}
END_TEST

/* What the new file was given since it was synced last, and the most; and how often a file was cut.
 */
static struct {
    uint64_t unsynced_bytes;
    uint64_t unsynced_max;
    unsigned cuts;
} seen;

static enum err watch(void *ctx, unsigned kind, const char *path, size_t len)
{
    (void)ctx;
    seen.cuts += kind == FS_FAULT_TRUNCATE;
    if (strcmp(path, "/db.defrag") == 0) {
        seen.unsynced_bytes = kind == FS_FAULT_SYNC ? 0 : seen.unsynced_bytes + len;
        if (seen.unsynced_bytes > seen.unsynced_max) {
            seen.unsynced_max = seen.unsynced_bytes;
        }
    }
    return OK;
}

/* Who syncs beside it waits for little. */
START_TEST(a_large_file_goes_to_the_disk_piece_by_piece)
{
    const struct fs_fault_judge judge = {.fn = watch};
    database_fini(&fixture.db);
    batches_free(fixture.batches);
    database_init(&fixture.db, fs_fault_new_live(&judge));
    fixture.batches = batches_new(&(struct batches_config){
        .seed = 6, .count = BATCHES, .compact_one_in = 150, .value_max = 100000});
    ck_assert_int_eq(database_open(&fixture.db), OK);
    write_some(0, BATCHES);
    env_fake_run(fixture.db.fake);
    uint64_t before = backend_size_bytes(fixture.db.backend);
    memset(&seen, 0, sizeof seen);
    defragment();
    env_fake_run(fixture.db.fake);
    ck_assert_int_eq(fixture.request.status, OK);
    ck_assert_uint_gt(backend_size_bytes(fixture.db.backend), 10000000);
    ck_assert_uint_gt(seen.unsynced_max, 0);
    ck_assert_uint_lt(seen.unsynced_max, 6000000);
    ck_assert_uint_ge(seen.cuts, before / 10000000);
}
END_TEST

static Suite *defrag_suite(void)
{
    Suite *suite = suite_create("defrag");
    TCase *tc = tcase_create("defrag");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_file_shrinks_and_nothing_is_lost);
    tcase_add_test(tc, no_crash_loses_what_is_durable);
    tcase_add_test(tc, without_room_it_does_not_begin);
    tcase_add_test(tc, when_the_disk_becomes_full_nothing_changes);
    tcase_add_test(tc, who_reads_for_too_long_keeps_the_old_file);
    tcase_add_loop_test(tc, closing_ends_it, 0, 10);
    tcase_add_test(tc, a_large_file_goes_to_the_disk_piece_by_piece);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(defrag_suite);
}
