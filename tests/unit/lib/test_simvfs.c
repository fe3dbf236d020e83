/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/simvfs.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

static struct {
    struct fs_fault *disk;
    struct simvfs *sim;
} fixture;

static void setup(void)
{
    fixture.disk = fs_fault_new();
    fixture.sim = simvfs_new(fs_fault_fs(fixture.disk), fs_fault_file_id);
}

static void teardown(void)
{
    simvfs_free(fixture.sim);
    fs_fault_free(fixture.disk);
}

static sqlite3 *open_db(const struct simvfs *sim)
{
    sqlite3 *db = NULL;
    int rc =
        sqlite3_open_v2("/db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, simvfs_name(sim));
    ck_assert_int_eq(rc, SQLITE_OK);
    return db;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int take_number(void *ctx, int count, char **values, char **names)
{
    (void)count;
    (void)names;
    *(long *)ctx = values[0] != NULL ? strtol(values[0], NULL, 10) : -1;
    return 0;
}

static long number(sqlite3 *db, const char *sql)
{
    long n = -2;
    ck_assert_int_eq(sqlite3_exec(db, sql, take_number, &n, NULL), SQLITE_OK);
    return n;
}

static void close_db(sqlite3 *db)
{
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static sqlite3 *make_db(void)
{
    sqlite3 *db = open_db(fixture.sim);
    ck_assert_int_eq(run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                             "CREATE TABLE t(a); INSERT INTO t VALUES(1)"),
                     SQLITE_OK);
    return db;
}

START_TEST(connections_share_one_wal)
{
    sqlite3 *a = make_db();
    sqlite3 *b = open_db(fixture.sim);
    ck_assert_int_eq(number(b, "SELECT count(*) FROM t"), 1);
    ck_assert_int_eq(run(a, "INSERT INTO t VALUES(2)"), SQLITE_OK);
    ck_assert_int_eq(number(b, "SELECT count(*) FROM t"), 2);
    close_db(b);
    close_db(a);
}
END_TEST

START_TEST(locks_hold_between_connections)
{
    sqlite3 *a = make_db();
    sqlite3 *b = open_db(fixture.sim);
    ck_assert_int_eq(run(a, "BEGIN IMMEDIATE"), SQLITE_OK);
    ck_assert_int_eq(run(b, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    ck_assert_int_eq(run(a, "COMMIT"), SQLITE_OK);
    ck_assert_int_eq(run(b, "BEGIN IMMEDIATE"), SQLITE_OK);
    ck_assert_int_eq(run(b, "COMMIT"), SQLITE_OK);
    /* A reader keeps what it sees, and a checkpoint from overtaking it. */
    ck_assert_int_eq(run(b, "BEGIN"), SQLITE_OK);
    ck_assert_int_eq(number(b, "SELECT count(*) FROM t"), 1);
    ck_assert_int_eq(run(a, "INSERT INTO t VALUES(2)"), SQLITE_OK);
    int frames = 0;
    int written = 0;
    ck_assert_int_eq(
        sqlite3_wal_checkpoint_v2(a, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &written),
        SQLITE_OK);
    ck_assert_int_lt(written, frames);
    ck_assert_int_eq(number(b, "SELECT count(*) FROM t"), 1);
    close_db(b);
    close_db(a);
}
END_TEST

static long rows_after_crash(void)
{
    struct fs_fault *disk = fs_fault_crash(fixture.disk, fs_fault_op_count(fixture.disk), 0);
    struct simvfs *sim = simvfs_new(fs_fault_fs(disk), NULL);
    sqlite3 *db = open_db(sim);
    long rows = number(db, "SELECT count(*) FROM sqlite_schema") == 0
                    ? 0
                    : number(db, "SELECT count(*) FROM t");
    close_db(db);
    simvfs_free(sim);
    fs_fault_free(disk);
    return rows;
}

START_TEST(a_crash_keeps_what_was_synced)
{
    sqlite3 *db = make_db();
    ck_assert_int_eq(rows_after_crash(), 1);
    ck_assert_int_eq(run(db, "PRAGMA synchronous=NORMAL; INSERT INTO t VALUES(2)"), SQLITE_OK);
    ck_assert_int_eq(rows_after_crash(), 1);
    ck_assert_int_eq(run(db, "PRAGMA synchronous=FULL; INSERT INTO t VALUES(3)"), SQLITE_OK);
    ck_assert_int_eq(rows_after_crash(), 3);
    close_db(db);
}
END_TEST

START_TEST(lying_syncs_keep_nothing)
{
    simvfs_set_lying(fixture.sim, true);
    sqlite3 *db = make_db();
    ck_assert_int_eq(rows_after_crash(), 0);
    close_db(db);
}
END_TEST

START_TEST(failures_have_sqlites_codes)
{
    sqlite3 *db = make_db();
    sqlite3_extended_result_codes(db, 1);
    fs_fault_arm(fixture.disk, FS_FAULT_WRITE, 1, ERR_NO_SPACE, false);
    ck_assert_int_eq(run(db, "INSERT INTO t VALUES(2)"), SQLITE_FULL);
    fs_fault_arm(fixture.disk, FS_FAULT_WRITE, 1, ERR_IO, false);
    ck_assert_int_eq(run(db, "INSERT INTO t VALUES(2)"), SQLITE_IOERR_WRITE);
    fs_fault_arm(fixture.disk, FS_FAULT_SYNC, 1, ERR_IO, false);
    ck_assert_int_eq(run(db, "INSERT INTO t VALUES(2)"), SQLITE_IOERR_FSYNC);
    ck_assert_int_eq(run(db, "INSERT INTO t VALUES(2)"), SQLITE_OK);
    close_db(db);
}
END_TEST

/* The same calls give the same operations. */
START_TEST(runs_are_the_same)
{
    uint64_t ops[2];
    for (int i = 0; i < 2; i++) {
        teardown();
        setup();
        close_db(make_db());
        ops[i] = fs_fault_op_count(fixture.disk);
    }
    ck_assert_uint_eq(ops[0], ops[1]);
    ck_assert_uint_gt(ops[0], 10);
}
END_TEST

static Suite *simvfs_suite(void)
{
    Suite *suite = suite_create("simvfs");
    TCase *tc = tcase_create("simvfs");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, connections_share_one_wal);
    tcase_add_test(tc, locks_hold_between_connections);
    tcase_add_test(tc, a_crash_keeps_what_was_synced);
    tcase_add_test(tc, lying_syncs_keep_nothing);
    tcase_add_test(tc, failures_have_sqlites_codes);
    tcase_add_test(tc, runs_are_the_same);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(simvfs_suite);
}
