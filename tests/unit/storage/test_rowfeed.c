/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rowfeed.h"

#include <stdio.h>

#include "storage/rows.h"
#include "storage/schema.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"

/* Rows 1 to COUNT, made as they are asked for: every third a tombstone, every fifth with an empty
 * value, each in the same bytes as the one before. */
static struct {
    struct fs_fault *disk;
    struct simvfs *sim;
    struct conn *conn;
    struct why why;
    struct buf header;
    char value[32];
    uint64_t given;
    uint64_t count;
    uint64_t fails_at;   /* 0: never */
    uint64_t repeats_at; /* gives the row before it once more */
} feed;

static void set_up(void)
{
    feed = (typeof(feed)){0};
    feed.disk = fs_fault_new();
    feed.sim = simvfs_new(fs_fault_fs(feed.disk), NULL);
    struct store_identity identity = {.cluster_id = 1, .member_id = 2};
    struct meta meta;
    ck_assert_int_eq(conn_open("/db", simvfs_name(feed.sim), CONN_WRITER, &feed.conn, &feed.why),
                     OK);
    ck_assert_int_eq(conn_set_up(feed.conn, CONN_WRITER, &feed.why), OK);
    ck_assert_int_eq(schema_create(feed.conn, &identity, &meta, &feed.why), OK);
}

static void tear_down(void)
{
    conn_close(feed.conn);
    simvfs_free(feed.sim);
    fs_fault_free(feed.disk);
    buf_fini(&feed.header);
}

static struct record *make_record(uint64_t n)
{
    struct record *record;
    char key[32];
    snprintf(key, sizeof key, "key%llu", (unsigned long long)n);
    if (n % 3 == 0) {
        record = record_new(bytes_of_str(key), bytes_of("", 0));
        record->tombstone = true;
    } else {
        snprintf(feed.value, sizeof feed.value, "value%llu", (unsigned long long)n);
        record = record_new(bytes_of_str(key), bytes_of_str(n % 5 == 0 ? "" : feed.value));
        record->create_revision = (int64_t)n;
        record->version = 1;
    }
    record->rev = revision_pack((int64_t)n, 0);
    return record;
}

static enum err next(void *ctx, struct feed_row *row, bool *more, struct why *why)
{
    ck_assert_ptr_eq(ctx, &feed);
    *more = feed.given < feed.count;
    if (!*more) {
        return OK;
    }
    uint64_t n = ++feed.given;
    if (n == feed.fails_at) {
        why_set(why, "no row %llu", (unsigned long long)n);
        return ERR_CORRUPT;
    }
    struct record *record = make_record(n == feed.repeats_at ? n - 1 : n);
    buf_clear(&feed.header);
    record_encode_header(record, &feed.header);
    *row = (struct feed_row){.rev = record->rev,
                             .tombstone = record->tombstone,
                             .header = buf_bytes(&feed.header),
                             .value = bytes_of_str(n % 5 == 0 ? "" : feed.value)};
    record_unref(record);
    return OK;
}

static enum err insert(uint64_t from, uint64_t to)
{
    feed.given = from - 1;
    feed.count = to;
    ck_assert_int_eq(conn_run_stmt(feed.conn, STMT_BEGIN_WRITE, NULL), OK);
    enum err err = rowfeed_insert(feed.conn, next, &feed, &feed.why);
    if (err != OK) {
        conn_rollback(feed.conn);
        return err;
    }
    ck_assert_int_eq(conn_run_stmt(feed.conn, STMT_COMMIT, NULL), OK);
    return OK;
}

/* Rows 1 to COUNT are there, and no other. */
static void expect_rows(uint64_t count)
{
    struct rows rows;
    ck_assert_int_eq(rows_begin(&rows, feed.conn, 0, INT64_MAX, true, &feed.why), OK);
    struct backend_row row;
    bool more;
    for (uint64_t n = 1; n <= count; n++) {
        ck_assert_int_eq(rows_next(&rows, &more, &row, &feed.why), OK);
        ck_assert(more);
        struct record *record = make_record(n);
        ck_assert_uint_eq(row.rev, record->rev);
        ck_assert(row.header.tombstone == record->tombstone);
        ck_assert(bytes_equal(row.header.key, record_key(record)));
        ck_assert(bytes_equal(row.value, record_value(record)));
        record_unref(record);
    }
    ck_assert_int_eq(rows_next(&rows, &more, &row, &feed.why), OK);
    ck_assert(!more);
    rows_end(&rows);
}

START_TEST(rows_are_written_as_they_come)
{
    ck_assert_int_eq(insert(1, 1), OK);
    ck_assert_int_eq(insert(2, 5000), OK);
    ck_assert_int_eq(insert(5001, 5003), OK);
    expect_rows(5003);
}
END_TEST

START_TEST(no_rows_are_none)
{
    ck_assert_int_eq(insert(1, 0), OK);
    expect_rows(0);
}
END_TEST

START_TEST(an_error_of_the_source_is_what_is_told)
{
    ck_assert_int_eq(insert(1, 10), OK);
    feed.fails_at = 11; /* the first of them */
    ck_assert_int_eq(insert(11, 20), ERR_CORRUPT);
    ck_assert_str_eq(feed.why.text, "no row 11");
    feed.fails_at = 15;
    ck_assert_int_eq(insert(11, 20), ERR_CORRUPT);
    ck_assert_str_eq(feed.why.text, "no row 15");
    expect_rows(10);
    feed.fails_at = 0;
    ck_assert_int_eq(insert(11, 20), OK);
    expect_rows(20);
}
END_TEST

START_TEST(a_revision_that_is_there_is_refused)
{
    feed.repeats_at = 4;
    ck_assert_int_eq(insert(1, 8), ERR_CORRUPT);
    expect_rows(0);
}
END_TEST

static Suite *rowfeed_suite(void)
{
    Suite *suite = suite_create("rowfeed");
    TCase *tc = tcase_create("rowfeed");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, rows_are_written_as_they_come);
    tcase_add_test(tc, no_rows_are_none);
    tcase_add_test(tc, an_error_of_the_source_is_what_is_told);
    tcase_add_test(tc, a_revision_that_is_there_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rowfeed_suite);
}
