/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/effort.h"

#include <stdlib.h>

#include "tests/lib/runner.h"

static const struct {
    const char *percent;
    unsigned full;
    unsigned least;
    unsigned want;
} counts[] = {
    {NULL, 300, 10, 300},
    {"", 300, 10, 300},
    {"100", 300, 10, 300},
    {"10", 300, 10, 30},
    {"1", 300, 10, 10},
    {"1", 300, 0, 3},
    {"1", 5, 10, 5}, /* never more than all */
    {"50", 4000000000u, 1, 2000000000u},
};

static void set_effort(const char *percent)
{
    if (percent == NULL) {
        unsetenv("TRIVET_TEST_EFFORT");
    } else {
        ck_assert_int_eq(setenv("TRIVET_TEST_EFFORT", percent, 1), 0);
    }
}

START_TEST(a_count_is_a_part_but_what_the_claim_needs)
{
    set_effort(counts[_i].percent);
    ck_assert_uint_eq(effort_count(counts[_i].full, counts[_i].least, "cases"), counts[_i].want);
}
END_TEST

static unsigned sweep_to(unsigned long long end)
{
    unsigned tried = 0;
    for (unsigned long long k = effort_next(0, 32); k <= end; k = effort_next(k, 32)) {
        tried++;
    }
    return tried;
}

START_TEST(a_sweep_begins_with_every_case)
{
    set_effort(NULL);
    ck_assert_uint_eq(sweep_to(1000), 1000);
    set_effort("10");
    ck_assert_uint_eq(sweep_to(30), 30);
    ck_assert_uint_eq(sweep_to(1032), 132);
}
END_TEST

static const char *const wrong[] = {"0", "101", "ten", "10x", "-1"};

START_TEST(what_is_no_percentage_ends_the_test)
{
    set_effort(wrong[_i]);
    effort_count(10, 1, "cases");
}
END_TEST

static Suite *effort_suite(void)
{
    Suite *suite = suite_create("effort");
    TCase *tc = tcase_create("effort");
    tcase_add_loop_test(tc, a_count_is_a_part_but_what_the_claim_needs, 0,
                        (int)(sizeof counts / sizeof counts[0]));
    tcase_add_test(tc, a_sweep_begins_with_every_case);
    tcase_add_loop_exit_test(tc, what_is_no_percentage_ends_the_test, EXIT_FAILURE, 0,
                             (int)(sizeof wrong / sizeof wrong[0]));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(effort_suite);
}
