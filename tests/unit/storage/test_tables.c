/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/tables.h"

#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"

static struct {
    struct fs_fault *disk;
    struct simvfs *sim;
    struct conn *conn;
    struct tally tally;
    struct why why;
} fixture;

static void setup(void)
{
    fixture.disk = fs_fault_new();
    fixture.sim = simvfs_new(fs_fault_fs(fixture.disk), NULL);
    fixture.tally = (struct tally){0};
    struct store_identity identity = {.cluster_id = 1, .member_id = 2};
    struct meta meta;
    ck_assert_int_eq(
        conn_open("/db", simvfs_name(fixture.sim), CONN_WRITER, &fixture.conn, &fixture.why), OK);
    ck_assert_int_eq(conn_set_up(fixture.conn, CONN_WRITER, &fixture.why), OK);
    ck_assert_int_eq(schema_create(fixture.conn, &identity, &meta, &fixture.why), OK);
}

static void teardown(void)
{
    conn_close(fixture.conn);
    simvfs_free(fixture.sim);
    fs_fault_free(fixture.disk);
}

static void change(enum store_table table, const char *key, const char *value)
{
    struct backend_change c = {.table = table,
                               .is_delete = value == NULL,
                               .key = bytes_of_str(key),
                               .value = bytes_of_str(value != NULL ? value : "")};
    enum err err = tables_change(fixture.conn, &c, &fixture.tally, &fixture.why);
    ck_assert_msg(err == OK, "%s", fixture.why.text);
}

static enum err collect(void *ctx, struct bytes key, struct bytes value)
{
    struct buf *buf = ctx;
    buf_append_bytes(buf, key);
    buf_append_str(buf, "=");
    buf_append_bytes(buf, value);
    buf_append_str(buf, " ");
    return OK;
}

static void check_table(enum store_table table, const char *want)
{
    struct buf got = {0};
    ck_assert_int_eq(tables_foreach(fixture.conn, table, collect, &got, NULL, NULL), OK);
    buf_append(&got, "", 1);
    ck_assert_str_eq((const char *)got.data, want);
    buf_fini(&got);
}

START_TEST(rows_come_in_key_order)
{
    change(TABLE_LEASE, "b", "2");
    change(TABLE_LEASE, "a", "1");
    change(TABLE_LEASE, "c", "");
    change(TABLE_ALARM, "a", "other");
    check_table(TABLE_LEASE, "a=1 b=2 c= ");
    check_table(TABLE_ALARM, "a=other ");
    check_table(TABLE_MEMBER, "");
}
END_TEST

START_TEST(the_tally_follows_every_change)
{
    struct tally empty = fixture.tally;
    change(TABLE_AUTH, "a", "1");
    change(TABLE_AUTH, "a", "2");
    change(TABLE_MEMBER, "a", "2");
    ck_assert_uint_eq(fixture.tally.count, 2);
    ck_assert_int_eq(tables_verify(fixture.conn, &fixture.tally, &fixture.why), OK);
    change(TABLE_AUTH, "missing", NULL);
    change(TABLE_AUTH, "a", NULL);
    ck_assert_int_eq(tables_verify(fixture.conn, &fixture.tally, &fixture.why), OK);
    change(TABLE_MEMBER, "a", NULL);
    ck_assert(tally_equal(&fixture.tally, &empty));
}
END_TEST

START_TEST(what_was_changed_behind_its_back_shows)
{
    change(TABLE_AUTH, "a", "1");
    change(TABLE_AUTH, "b", "1");
    ck_assert_int_eq(conn_exec(fixture.conn, "DELETE FROM auth WHERE key=x'61'", NULL), OK);
    ck_assert_int_eq(tables_verify(fixture.conn, &fixture.tally, &fixture.why), ERR_CORRUPT);
    ck_assert_int_eq(conn_exec(fixture.conn, "UPDATE auth SET value=x'00'", NULL), OK);
    ck_assert_int_eq(tables_foreach(fixture.conn, TABLE_AUTH, NULL, NULL, NULL, &fixture.why),
                     ERR_CORRUPT);
}
END_TEST

/* The tally would lose another row than the one that it has. */
START_TEST(a_damaged_row_is_not_written_over)
{
    static const char *const damages[] = {"UPDATE auth SET value=x'00'",
                                          "UPDATE auth SET checksum=checksum+1"};
    struct backend_change next = {.table = TABLE_AUTH,
                                  .key = bytes_of_str("a"),
                                  .value = bytes_of_str("2"),
                                  .is_delete = _i >= 2};
    change(TABLE_AUTH, "a", "1");
    ck_assert_int_eq(conn_exec(fixture.conn, damages[_i % 2], NULL), OK);
    ck_assert_int_eq(tables_change(fixture.conn, &next, &fixture.tally, &fixture.why), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "a row of table auth has a wrong checksum"));
}
END_TEST

START_TEST(clearing_empties_every_table)
{
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        change(table, "a", "1");
    }
    ck_assert_int_eq(tables_clear(fixture.conn, NULL), OK);
    struct tally none = {0};
    ck_assert_int_eq(tables_verify(fixture.conn, &none, NULL), OK);
}
END_TEST

static enum err refuse(void *ctx, struct bytes key, struct bytes value)
{
    (void)ctx;
    (void)key;
    (void)value;
    return ERR_LIMIT;
}

START_TEST(a_reader_can_end_it)
{
    change(TABLE_LEASE, "a", "1");
    ck_assert_int_eq(tables_foreach(fixture.conn, TABLE_LEASE, refuse, NULL, NULL, NULL),
                     ERR_LIMIT);
}
END_TEST

static Suite *tables_suite(void)
{
    Suite *suite = suite_create("tables");
    TCase *tc = tcase_create("tables");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, rows_come_in_key_order);
    tcase_add_test(tc, the_tally_follows_every_change);
    tcase_add_test(tc, what_was_changed_behind_its_back_shows);
    tcase_add_loop_test(tc, a_damaged_row_is_not_written_over, 0, 4);
    tcase_add_test(tc, clearing_empties_every_table);
    tcase_add_test(tc, a_reader_can_end_it);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(tables_suite);
}
