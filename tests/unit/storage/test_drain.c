/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/drain.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "tests/lib/database.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define BATCHES 60u

static struct {
    struct database db;
    struct batches *batches;
} fixture;

static void setup(void)
{
    database_init(&fixture.db, NULL);
    fixture.db.config.checkpoint_frames = 24;
    fixture.batches = batches_new(&(struct batches_config){
        .seed = 11, .count = BATCHES, .compact_one_in = 10, .value_max = 600});
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
}

static void write_some(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
        if (i % 3 != 0) {
            env_fake_turn(fixture.db.fake);
        }
    }
}

static void check_content(uint64_t applied_index)
{
    ck_assert_uint_eq(fixture.db.state.applied_index, applied_index);
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

static void reopen(void)
{
    database_close(&fixture.db);
    enum err err = database_open(&fixture.db);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), fixture.db.why.text);
}

/* ---- Transactions ---- */

/* What waits together is committed together: one frame more or less, but one write of the state. */
START_TEST(what_waits_becomes_one_transaction)
{
    ck_assert_int_eq(database_open(&fixture.db), OK);
    for (size_t i = 0; i < BATCHES; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
    }
    env_fake_turn(fixture.db.fake);
    unsigned transactions = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        const struct drain_report *report = &fixture.batches->items[i].report;
        ck_assert_int_eq(fixture.batches->items[i].status, OK);
        transactions +=
            i == 0 || report->wal_frames != fixture.batches->items[i - 1].report.wal_frames;
        ck_assert_uint_eq(report->state.applied_index, BATCHES);
    }
    ck_assert_uint_eq(transactions, 1);
}
END_TEST

/* A batch of 4 MiB ends the transaction. */
START_TEST(a_transaction_is_bounded)
{
    ck_assert_int_eq(database_open(&fixture.db), OK);
    for (size_t i = 0; i < 4; i++) {
        fixture.batches->items[i].size_bytes = i == 1 ? 4 * 1024 * 1024 : 1;
        batches_write(fixture.batches, i, fixture.db.backend);
    }
    env_fake_turn(fixture.db.fake);
    ck_assert_uint_eq(fixture.batches->items[1].report.state.applied_index, 2);
    ck_assert_uint_eq(fixture.batches->items[2].report.state.applied_index, 4);
}
END_TEST

/* ---- A full disk ---- */

START_TEST(a_full_disk_loses_nothing)
{
    ck_assert_int_eq(database_open(&fixture.db), OK);
    write_some(0, 20);
    env_fake_run(fixture.db.fake);
    fs_fault_set_capacity(fixture.db.disk, database_file_size(&fixture.db, "/db") +
                                               database_file_size(&fixture.db, "/db-wal"));
    write_some(20, 50);
    env_fake_advance(fixture.db.fake, 3000);
    ck_assert(fixture.db.full);
    ck_assert(backend_is_full(fixture.db.backend));
    size_t written = batches_written(fixture.batches);
    ck_assert_uint_lt(written, 50);
    /* Reads go on. */
    struct record *record = NULL;
    ck_assert_int_eq(
        backend_get(fixture.db.backend, fixture.batches->records[0]->rev, &record, NULL), OK);
    record_unref(record);
    write_some(50, 55);
    fs_fault_set_capacity(fixture.db.disk, 0);
    env_fake_advance(fixture.db.fake, 1000);
    ck_assert(!fixture.db.full);
    ck_assert_uint_eq(batches_written(fixture.batches), 55);
    write_some(55, BATCHES);
    reopen();
    check_content(BATCHES);
}
END_TEST

/* While it is full, it is tried now and then, not all the time. */
START_TEST(a_full_disk_is_not_hammered)
{
    ck_assert_int_eq(database_open(&fixture.db), OK);
    write_some(0, 5);
    env_fake_run(fixture.db.fake);
    fs_fault_arm(fixture.db.disk, FS_FAULT_WRITE, 1, ERR_NO_SPACE, true);
    write_some(5, 40);
    env_fake_run(fixture.db.fake);
    uint64_t before = fs_fault_op_count(fixture.db.disk);
    env_fake_advance(fixture.db.fake, 10000);
    ck_assert_uint_lt(fs_fault_op_count(fixture.db.disk) - before, 100);
    fs_fault_disarm(fixture.db.disk);
    reopen();
    check_content(40);
}
END_TEST

START_TEST(closing_on_a_full_disk_keeps_what_was_committed)
{
    ck_assert_int_eq(database_open(&fixture.db), OK);
    write_some(0, 10);
    env_fake_run(fixture.db.fake);
    fs_fault_arm(fixture.db.disk, FS_FAULT_WRITE, 1, ERR_NO_SPACE, true);
    write_some(10, 30);
    database_close(&fixture.db);
    ck_assert_int_eq(fixture.batches->items[29].status, ERR_NO_SPACE);
    fs_fault_disarm(fixture.db.disk);
    ck_assert_int_eq(database_open(&fixture.db), OK);
    check_content(10);
}
END_TEST

/* ---- The k-th operation fails ---- */

struct sweep {
    const char *name;
    unsigned kinds;
    enum err err;
    bool for_good;
};

static const struct sweep sweeps[] = {
    {"read", FS_FAULT_READ, ERR_IO, false},
    {"write", FS_FAULT_WRITE, ERR_IO, false},
    {"sync", FS_FAULT_SYNC | FS_FAULT_SYNC_DIR, ERR_IO, false},
    {"truncate, names", FS_FAULT_TRUNCATE | FS_FAULT_NAMES, ERR_IO, false},
    {"any, for good", FS_FAULT_ALL, ERR_IO, true},
    {"no space once", FS_FAULT_WRITE, ERR_NO_SPACE, false},
    {"no space for good", FS_FAULT_WRITE, ERR_NO_SPACE, true},
};

static unsigned chances; /* looks at what a crash may have left */
static unsigned sweep_batches;
static const struct sweep *sweep;
static uint64_t sweep_k;

static void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "# %s, operation %llu: %s: %s\n", sweep->name, (unsigned long long)sweep_k,
            what, detail);
    _exit(1);
}

/* What the disk holds now, or after a crash now, is a prefix and holds what was claimed. */
static void check_disk(void)
{
    fatal_set_hook(NULL);
    fs_fault_disarm(fixture.db.disk);
    for (uint64_t chance = 0; chance < chances; chance++) {
        uint64_t op_count = fs_fault_op_count(fixture.db.disk);
        struct database after;
        database_init(&after, fs_fault_crash(fixture.db.disk, op_count, chance));
        if (database_open(&after) != OK) {
            give_up("it does not open again", after.why.text);
        }
        if (after.state.applied_index < fixture.db.durable_index) {
            give_up("what was durable is lost", "");
        }
        const char *wrong = database_compare(&after, fixture.batches);
        if (wrong != NULL) {
            give_up("content", wrong);
        }
        database_fini(&after);
    }
}

static void on_fatal(const char *message)
{
    if (sweep->err == ERR_NO_SPACE) {
        give_up("a full disk ended the process", message);
    }
    check_disk();
    _exit(0);
}

/* A life with the fault; exits 0 when all was well, 2 when the fault was never reached. */
static void live_with_fault(void)
{
    setup();
    fatal_set_hook(on_fatal);
    fs_fault_arm(fixture.db.disk, sweep->kinds, sweep_k, sweep->err, sweep->for_good);
    if (database_open(&fixture.db) == OK) {
        write_some(0, sweep_batches / 2);
        backend_sync(fixture.db.backend);
        env_fake_advance(fixture.db.fake, 1500);
        if (fs_fault_fired(fixture.db.disk)) {
            fs_fault_disarm(fixture.db.disk); /* room again */
        }
        write_some(sweep_batches / 2, sweep_batches);
        env_fake_advance(fixture.db.fake, 1500);
        if (sweep->err == ERR_NO_SPACE && batches_written(fixture.batches) != sweep_batches &&
            !fixture.db.full) {
            give_up("batches are stuck", "");
        }
        database_close(&fixture.db);
    } else if (!fs_fault_fired(fixture.db.disk)) {
        give_up("open", fixture.db.why.text);
    }
    bool fired = fs_fault_fired(fixture.db.disk);
    check_disk();
    _exit(fired ? 0 : 2);
}

START_TEST(every_failing_operation_is_survived)
{
    sweep = &sweeps[_i];
    int status = 0;
    for (sweep_k = 1; status == 0; sweep_k = effort_next(sweep_k, 4)) {
        ck_assert_uint_lt(sweep_k, 5000);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            live_with_fault();
        }
        int wait_status = 0;
        ck_assert_int_eq(waitpid(child, &wait_status, 0), child);
        status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
        ck_assert_msg(status == 0 || status == 2, "%s: operation %llu: status %x", sweep->name,
                      (unsigned long long)sweep_k, wait_status);
    }
    ck_assert_uint_gt(sweep_k, 5);
}
END_TEST

static Suite *drain_suite(void)
{
    Suite *suite = suite_create("drain");
    sweep_batches = effort_count(BATCHES, 20, "batches with a fault among them");
    chances = effort_count(4, 1, "outcomes of each crash");
    TCase *tc = tcase_create("drain");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_waits_becomes_one_transaction);
    tcase_add_test(tc, a_transaction_is_bounded);
    tcase_add_test(tc, a_full_disk_loses_nothing);
    tcase_add_test(tc, a_full_disk_is_not_hammered);
    tcase_add_test(tc, closing_on_a_full_disk_keeps_what_was_committed);
    suite_add_tcase(suite, tc);
    tc = tcase_create("sweep");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, every_failing_operation_is_survived, 0, (int)ARRAY_LEN(sweeps));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(drain_suite);
}
