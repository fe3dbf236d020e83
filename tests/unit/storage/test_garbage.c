/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/garbage.h"

#include "tests/lib/runner.h"

static struct garbage g;

static void setup(void)
{
    garbage_init(&g, true);
}

static void teardown(void)
{
    garbage_fini(&g);
}

static revision_t at(int64_t main)
{
    return revision_pack(main, 0);
}

static uint64_t bytes_of_row; /* seen last */

/* Rows FROM to TO, each of BYTES. */
static void see(int64_t from, int64_t to, uint64_t bytes)
{
    for (int64_t i = from; i <= to; i++) {
        ck_assert(garbage_see(&g, at(i), bytes));
        bytes_of_row = bytes;
    }
}

static void add(int64_t rev)
{
    ck_assert(garbage_add(&g, at(rev)));
}

/* How many rows of how many stretches are to go, and forget them. */
static unsigned take_all(uint32_t permille, unsigned *stretches)
{
    unsigned rows = 0;
    size_t place = 0;
    struct stretch *stretch;
    *stretches = 0;
    while ((stretch = garbage_next(&g, &place, permille)) != NULL) {
        ++*stretches;
        while (stretch->stale_count > 0) {
            revision_t rev = stretch->stale[0];
            ck_assert(garbage_take(&g, rev));
            garbage_gone(&g, rev, bytes_of_row);
            rows++;
        }
    }
    return rows;
}

START_TEST(rows_go_where_there_are_many)
{
    see(1, 400, 1000); /* 16 in a stretch */
    garbage_loaded(&g);
    for (int64_t i = 1; i <= 64; i += 4) {
        add(i); /* one in four of the first stretches */
    }
    for (int64_t i = 101; i <= 112; i++) {
        add(i);
    }
    ck_assert_uint_eq(g.rows, 28);
    unsigned stretches;
    ck_assert_uint_eq(take_all(667, &stretches), 12);
    ck_assert_uint_eq(stretches, 1);
    ck_assert_uint_eq(g.rows, 16);
    ck_assert_uint_eq(take_all(667, &stretches), 0);
    ck_assert_uint_eq(take_all(1, &stretches), 16);
    ck_assert_uint_eq(stretches, 4);
    ck_assert_uint_eq(g.rows, 0);
}
END_TEST

START_TEST(what_is_left_of_a_stretch_counts)
{
    see(1, 16, 1000);
    garbage_loaded(&g);
    for (int64_t i = 1; i <= 8; i++) {
        add(i);
    }
    unsigned stretches;
    ck_assert_uint_eq(take_all(300, &stretches), 8);
    add(9);
    add(10);
    ck_assert_uint_eq(take_all(300, &stretches), 0); /* two of eight */
    add(11);
    ck_assert_uint_eq(take_all(300, &stretches), 3);
}
END_TEST

START_TEST(a_large_row_goes_at_once)
{
    see(1, 3, 20000);
    see(4, 4, 10);
    garbage_loaded(&g);
    add(2);
    unsigned stretches;
    ck_assert_uint_eq(take_all(300, &stretches), 1);
    garbage_sweep(&g);
    ck_assert_uint_eq(g.count, 3);
    add(1);
    ck_assert(garbage_has(&g, at(1)));
}
END_TEST

START_TEST(bytes_count_and_not_rows)
{
    see(1, 20, 40);
    see(21, 21, 1900);
    see(22, 31, 40);
    garbage_loaded(&g);
    ck_assert_uint_eq(g.count, 1);
    add(21);
    unsigned stretches;
    bytes_of_row = 1900;
    ck_assert_uint_eq(take_all(500, &stretches), 1);
    ck_assert_uint_eq(g.stretches[0].bytes, 30 * 40);
}
END_TEST

START_TEST(while_it_loads_only_what_is_there_counts)
{
    see(5, 8, 100);
    add(2);
    add(7);
    see(10, 10, 100);
    add(9);
    ck_assert_uint_eq(g.rows, 1);
    ck_assert(garbage_has(&g, at(7)));
    ck_assert(!garbage_has(&g, at(9)));
    ck_assert(!garbage_has(&g, at(2)));
    garbage_loaded(&g);
}
END_TEST

START_TEST(what_is_told_twice_counts_once)
{
    see(1, 4, 100);
    see(1, 4, 100);
    garbage_loaded(&g);
    add(1);
    add(1);
    ck_assert_uint_eq(g.rows, 1);
    ck_assert_uint_eq(g.stretches[0].rows, 4);
    ck_assert(garbage_take(&g, at(1)));
    ck_assert(!garbage_take(&g, at(1)));
    ck_assert(!garbage_take(&g, at(2)));
}
END_TEST

START_TEST(it_forgets)
{
    see(1, 64, 1000);
    garbage_loaded(&g);
    for (int64_t i = 1; i <= 16; i++) {
        add(i);
    }
    add(20);
    garbage_forget(&g);
    ck_assert_uint_eq(g.rows, 0);
    ck_assert_uint_eq(g.count, 3); /* the first one had no others */
    ck_assert(!garbage_has(&g, at(20)));
    see(65, 70, 1000);
    add(21);
    ck_assert(garbage_has(&g, at(21)));
}
END_TEST

static Suite *garbage_suite(void)
{
    Suite *suite = suite_create("garbage");
    TCase *tc = tcase_create("garbage");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, rows_go_where_there_are_many);
    tcase_add_test(tc, what_is_left_of_a_stretch_counts);
    tcase_add_test(tc, a_large_row_goes_at_once);
    tcase_add_test(tc, bytes_count_and_not_rows);
    tcase_add_test(tc, while_it_loads_only_what_is_there_counts);
    tcase_add_test(tc, what_is_told_twice_counts_once);
    tcase_add_test(tc, it_forgets);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(garbage_suite);
}
