/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recover.h"

#include <stdio.h>

#include "tests/lib/database.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define BATCHES 150u

static struct {
    struct database db;
    struct batches *batches;
} fixture;

static void setup_with(const struct batches_config *config)
{
    database_init(&fixture.db, NULL);
    fixture.batches = batches_new(config);
}

static void setup(void)
{
    setup_with(&(struct batches_config){
        .seed = 21, .count = BATCHES, .compact_one_in = 40, .value_max = 1500});
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
}

static void write_all(void)
{
    enum err err = database_open(&fixture.db);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), fixture.db.why.text);
    for (size_t i = 0; i < fixture.batches->count; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
        if (i % 5 == 0) {
            env_fake_turn(fixture.db.fake);
        }
    }
    env_fake_run(fixture.db.fake);
}

/* A database that was closed: all of it is in one file. */
static void make_database(void)
{
    write_all();
    database_close(&fixture.db);
    ck_assert_uint_eq(database_file_size(&fixture.db, "/db-wal"), 0);
}

static void check_refused(enum err want, const char *said)
{
    enum err err = database_open(&fixture.db);
    ck_assert_msg(err == want, "%s instead of %s: %s", err_text(err), err_text(want),
                  fixture.db.why.text);
    ck_assert_msg(strstr(fixture.db.why.text, said) != NULL, "'%s' does not say '%s'",
                  fixture.db.why.text, said);
    ck_assert_ptr_null(fixture.db.backend);
}

/* Change the database with SQL, as nobody should. */
static void change(const char *sql)
{
    sqlite3 *db = NULL;
    ck_assert_int_eq(
        sqlite3_open_v2("/db", &db, SQLITE_OPEN_READWRITE, simvfs_name(fixture.db.sim)), SQLITE_OK);
    char *message = NULL;
    int rc = sqlite3_exec(db, sql, NULL, NULL, &message);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, message != NULL ? message : "");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static const struct {
    const char *name;
    const char *sql;
    enum err want;
    const char *said;
} changes[] = {
    {"another program's file", "PRAGMA application_id=1", ERR_FOREIGN, "not a database of Trivet"},
    {"a newer format", "PRAGMA user_version=2", ERR_VERSION, "has format 2"},
    {"no format", "PRAGMA user_version=0", ERR_CORRUPT, "has format 0"},
    {"a table too many", "CREATE TABLE more(a)", ERR_CORRUPT, "'more' is not defined"},
    {"a table is missing", "DROP TABLE alarm", ERR_CORRUPT, "tables and views"},
    {"another view", "DROP VIEW kv; CREATE VIEW kv AS SELECT 1", ERR_CORRUPT, "'kv' is not"},
    {"no state", "DELETE FROM meta", ERR_CORRUPT, "table meta"},
    {"another applied index", "UPDATE meta SET applied_index=1000", ERR_CORRUPT, "table meta"},
    {"another hash", "UPDATE meta SET hash=zeroblob(16)", ERR_CORRUPT, "table meta"},
    {"a short hash", "UPDATE meta SET hash=x'00'", ERR_CORRUPT, "table meta"},
    {"the newest row is missing", "DELETE FROM log WHERE rev=(SELECT max(rev) FROM log)",
     ERR_CORRUPT, "rows that are not the"},
    {"a row is missing", "DELETE FROM log WHERE rev=(SELECT min(rev) FROM log)", ERR_CORRUPT,
     "rows that are not the"},
    {"a row has moved", "UPDATE log SET rev=rev+1 WHERE rev=(SELECT max(rev) FROM log)",
     ERR_CORRUPT, "damaged"},
    {"a header is another",
     "UPDATE log SET hdr=(SELECT hdr FROM log LIMIT 1) WHERE rev=(SELECT "
     "max(rev) FROM log)",
     ERR_CORRUPT, "damaged"},
    {"a header is short", "UPDATE log SET hdr=x'00' WHERE rev=(SELECT max(rev) FROM log)",
     ERR_CORRUPT, "damaged"},
    {"a small table's row is missing",
     "DELETE FROM lease WHERE key=(SELECT key FROM lease LIMIT 1)", ERR_CORRUPT, "small tables"},
    {"a small table's row has moved",
     "INSERT INTO alarm SELECT x'ff',value,checksum FROM lease LIMIT 1", ERR_CORRUPT,
     "table alarm"},
    {"a small table's value is another", "UPDATE auth SET value=x'01'", ERR_CORRUPT, "table auth"},
};

START_TEST(changed_databases_are_refused)
{
    make_database();
    change(changes[_i].sql);
    check_refused(changes[_i].want, changes[_i].said);
}
END_TEST

START_TEST(other_members_databases_are_refused)
{
    make_database();
    fixture.db.config.identity.member_id++;
    check_refused(ERR_FOREIGN, "belongs to member 9 of cluster 7");
    fixture.db.config.identity.member_id--;
    fixture.db.config.identity.cluster_id++;
    check_refused(ERR_FOREIGN, "belongs to member 9 of cluster 7");
}
END_TEST

/* A value alone has changed: a start after a clean stop reads only some of them; but whoever reads
 * it is told. */
START_TEST(a_changed_value_is_never_given)
{
    make_database();
    change("UPDATE log SET val=zeroblob(length(val)) WHERE rev=(SELECT max(rev) FROM log WHERE "
           "length(val)>0)");
    enum err err = database_open(&fixture.db);
    revision_t rev = 0;
    for (size_t i = 0; i < fixture.batches->record_count; i++) {
        if (fixture.batches->records[i]->value_len > 0) {
            rev = fixture.batches->records[i]->rev;
        }
    }
    if (err == OK) {
        struct record *record = NULL;
        err = backend_get(fixture.db.backend, rev, &record, &fixture.db.why);
        ck_assert_ptr_null(record);
    }
    ck_assert_int_eq(err, ERR_CORRUPT);
    char said[64];
    (void)snprintf(said, sizeof said, "revision %lld.", (long long)revision_main(rev));
    ck_assert_msg(strstr(fixture.db.why.text, said) != NULL, "%s", fixture.db.why.text);
}
END_TEST

/* After anything but a clean stop, every value is read. */
START_TEST(after_a_crash_every_value_is_checked)
{
    write_all();
    struct database after;
    database_init(&after, fs_fault_crash(fixture.db.disk, fs_fault_op_count(fixture.db.disk), 1));
    struct database whole = fixture.db;
    fixture.db = after;
    change("UPDATE log SET val=zeroblob(length(val)) WHERE rev=(SELECT min(rev) FROM log WHERE "
           "length(val)>0)");
    check_refused(ERR_CORRUPT, "the value's checksum is wrong");
    database_fini(&fixture.db);
    fixture.db = whole;
}
END_TEST

/* A bit has turned somewhere. Either it is noticed, or what is read is what was written. */
START_TEST(a_turned_bit_never_shows)
{
    make_database();
    uint64_t size = database_file_size(&fixture.db, "/db");
    unsigned noticed = 0;
    unsigned trials = effort_count(400, 16, "bits");
    for (uint64_t trial = 0; trial < trials; trial++) {
        uint64_t chance = mix64((uint64_t)_i << 32 | trial);
        uint64_t offset = trial < trials / 4 ? trial : chance % size;
        uint8_t mask = (uint8_t)(1u << (chance >> 60) % 8);
        struct database after;
        uint64_t op_count = fs_fault_op_count(fixture.db.disk);
        database_init(&after, fs_fault_crash(fixture.db.disk, op_count, 1));
        database_flip(&after, "/db", offset, mask);
        enum err err = database_open(&after);
        if (err == OK) {
            const char *wrong = database_compare(&after, fixture.batches);
            ck_assert_msg(wrong == NULL, "byte %llu: %s", (unsigned long long)offset, wrong);
            for (size_t i = 0; i < after.rows.count; i++) {
                struct record *record = NULL;
                enum err got = backend_get(after.backend, after.rows.rows[i].rev, &record, NULL);
                noticed += got != OK;
                record_unref(record);
            }
        } else {
            ck_assert_msg(err == ERR_CORRUPT || err == ERR_FOREIGN || err == ERR_VERSION,
                          "byte %llu: %s: %s", (unsigned long long)offset, err_text(err),
                          after.why.text);
            ck_assert_str_ne(after.why.text, "");
            noticed++;
        }
        database_fini(&after);
    }
    ck_assert_uint_gt(noticed, trials / 4);
}
END_TEST

START_TEST(a_truncated_file_is_refused)
{
    make_database();
    uint64_t size = database_file_size(&fixture.db, "/db");
    uint64_t step = 700 / effort_count(700, 14, "lengths below 700 bytes");
    for (uint64_t keep = size - 1; keep >= step; keep = keep > 700 ? keep - 700 : keep - step) {
        struct database after;
        uint64_t op_count = fs_fault_op_count(fixture.db.disk);
        database_init(&after, fs_fault_crash(fixture.db.disk, op_count, 1));
        database_truncate(&after, "/db", keep);
        enum err err = database_open(&after);
        /* The last bytes of the last page may mean nothing. */
        bool unharmed =
            err == OK && size - keep < 4096 && database_compare(&after, fixture.batches) == NULL;
        ck_assert_msg(err == ERR_CORRUPT || unharmed, "%llu bytes: %s", (unsigned long long)keep,
                      err_text(err));
        database_fini(&after);
        keep = keep > 100000 ? keep - 20000 : keep;
    }
}
END_TEST

static enum err refuse_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    (void)ctx;
    (void)rows;
    return count > 0 ? ERR_NOMEM : OK;
}

START_TEST(a_sink_can_end_it)
{
    make_database();
    struct backend_state state;
    struct backend *backend = NULL;
    enum err err = backend_open(&fixture.db.config, refuse_rows, NULL, &state, &backend, NULL);
    ck_assert_int_eq(err, ERR_NOMEM);
    ck_assert_ptr_null(backend);
}
END_TEST

/* More rows than the chunks that are read at a time, with gaps of very different width. */
START_TEST(many_rows_come_in_order)
{
    unsigned count = effort_count(3000, 400, "batches");
    teardown();
    setup_with(&(struct batches_config){.seed = 22,
                                        .count = count,
                                        .records_max = 60,
                                        .keys = 60,
                                        .value_max = 4,
                                        .compact_one_in = _i == 0 ? 0 : count / 3});
    make_database();
    ck_assert_int_eq(database_open(&fixture.db), OK);
    ck_assert_uint_gt(fixture.db.rows.count, count * (_i == 0 ? 26 : 3));
    const char *wrong = database_compare(&fixture.db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}
END_TEST

static Suite *recover_suite(void)
{
    Suite *suite = suite_create("recover");
    TCase *tc = tcase_create("recover");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, changed_databases_are_refused, 0, (int)ARRAY_LEN(changes));
    tcase_add_test(tc, other_members_databases_are_refused);
    tcase_add_test(tc, a_changed_value_is_never_given);
    tcase_add_test(tc, after_a_crash_every_value_is_checked);
    tcase_add_loop_test(tc, a_turned_bit_never_shows, 0, 3);
    tcase_add_test(tc, a_truncated_file_is_refused);
    tcase_add_test(tc, a_sink_can_end_it);
    tcase_add_loop_test(tc, many_rows_come_in_order, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(recover_suite);
}
