/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static struct metrics *metrics;

static void setup(void)
{
    metrics = metrics_new();
    ck_assert_ptr_nonnull(metrics);
}

static void teardown(void)
{
    metrics_free(metrics);
}

static void check_text(const char *want)
{
    struct buf buf = {0};
    metrics_write(metrics, &buf);
    buf_append(&buf, "", 1);
    ck_assert(buf_ok(&buf));
    ck_assert_str_eq((const char *)buf.data, want);
    buf_fini(&buf);
}

START_TEST(families_stand_in_order_of_name)
{
    gauge_set(metrics_gauge(metrics, "b_gauge", "Second.", NULL), -2.5);
    counter_add(metrics_counter(metrics, "c_total", "Third.", "To=\"1\""), 1);
    counter_add(metrics_counter(metrics, "a_total", "First.", NULL), 41);
    counter_add(metrics_counter(metrics, "c_total", "Third.", "To=\"2\""), 2);
    check_text("# HELP a_total First.\n"
               "# TYPE a_total counter\n"
               "a_total 41\n"
               "# HELP b_gauge Second.\n"
               "# TYPE b_gauge gauge\n"
               "b_gauge -2.5\n"
               "# HELP c_total Third.\n"
               "# TYPE c_total counter\n"
               "c_total{To=\"1\"} 1\n"
               "c_total{To=\"2\"} 2\n");
}
END_TEST

START_TEST(the_same_name_and_labels_are_the_same_metric)
{
    struct counter *first = metrics_counter(metrics, "n", "N.", "a=\"1\"");
    ck_assert_ptr_eq(metrics_counter(metrics, "n", "N.", "a=\"1\""), first);
    ck_assert_ptr_ne(metrics_counter(metrics, "n", "N.", "a=\"2\""), first);
    ck_assert_ptr_ne(metrics_counter(metrics, "n", "N.", NULL), first);
}
END_TEST

START_TEST(histogram_buckets_add_up)
{
    struct histogram *h = metrics_histogram(metrics, "h", "H.", "x=\"y\"", 0.001, 3);
    histogram_observe(h, 0.0005);
    histogram_observe(h, 0.001); /* a bound belongs to its bucket */
    histogram_observe(h, 0.0011);
    histogram_observe(h, 0.004);
    histogram_observe(h, 100);
    check_text("# HELP h H.\n"
               "# TYPE h histogram\n"
               "h_bucket{x=\"y\",le=\"0.001\"} 2\n"
               "h_bucket{x=\"y\",le=\"0.002\"} 3\n"
               "h_bucket{x=\"y\",le=\"0.004\"} 4\n"
               "h_bucket{x=\"y\",le=\"+Inf\"} 5\n"
               "h_sum{x=\"y\"} 100.0066\n"
               "h_count{x=\"y\"} 5\n");
}
END_TEST

START_TEST(a_histogram_without_labels_has_only_le)
{
    metrics_histogram(metrics, "h", "H.", NULL, 1, 1);
    check_text("# HELP h H.\n"
               "# TYPE h histogram\n"
               "h_bucket{le=\"1\"} 0\n"
               "h_bucket{le=\"+Inf\"} 0\n"
               "h_sum 0\n"
               "h_count 0\n");
}
END_TEST

static double twice(void *ctx)
{
    return 2 * *(double *)ctx;
}

START_TEST(functions_are_asked_when_somebody_looks)
{
    double value = 1;
    metrics_gauge_fn(metrics, "g", "G.", NULL, twice, &value);
    metrics_counter_fn(metrics, "n", "N.", NULL, twice, &value);
    value = 21;
    check_text("# HELP g G.\n# TYPE g gauge\ng 42\n# HELP n N.\n# TYPE n counter\nn 42\n");
}
END_TEST

static const struct {
    double value;
    const char *want;
} numbers[] = {
    {0, "0"},
    {-0.0, "0"},
    {1e6, "1000000"},
    {9007199254740991.0, "9007199254740991"},
    {1e300, "1e+300"},
    {0.1, "0.1"},
    {1.0 / 3, "0.3333333333333333"},
    {8.192, "8.192"},
    {-1.5e-7, "-1.5e-07"},
    {__builtin_inf(), "+Inf"},
    {-__builtin_inf(), "-Inf"},
    {__builtin_nan(""), "NaN"},
};

START_TEST(numbers_are_short_and_exact)
{
    gauge_set(metrics_gauge(metrics, "g", "G.", NULL), numbers[_i].value);
    char want[100];
    snprintf(want, sizeof want, "# HELP g G.\n# TYPE g gauge\ng %s\n", numbers[_i].want);
    check_text(want);
}
END_TEST

START_TEST(what_was_not_made_does_nothing)
{
    counter_add(NULL, 1);
    gauge_set(NULL, 1);
    histogram_observe(NULL, 1);
    metrics_gauge_fn(NULL, "g", "G.", NULL, twice, NULL);
    ck_assert_ptr_null(metrics_counter(NULL, "n", "N.", NULL));
    ck_assert_ptr_null(metrics_gauge(NULL, "n", "N.", NULL));
    ck_assert_ptr_null(metrics_histogram(NULL, "n", "N.", NULL, 1, 1));
    metrics_free(NULL);
    check_text("");
}
END_TEST

static Suite *metrics_suite(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tc = tcase_create("metrics");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, families_stand_in_order_of_name);
    tcase_add_test(tc, the_same_name_and_labels_are_the_same_metric);
    tcase_add_test(tc, histogram_buckets_add_up);
    tcase_add_test(tc, a_histogram_without_labels_has_only_le);
    tcase_add_test(tc, functions_are_asked_when_somebody_looks);
    tcase_add_loop_test(tc, numbers_are_short_and_exact, 0, (int)ARRAY_LEN(numbers));
    tcase_add_test(tc, what_was_not_made_does_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(metrics_suite);
}
