/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

#define STARTED_MS 1500000000250ull
#define FILES      10

static struct metrics *metrics;

static void setup(void)
{
    metrics = metrics_new();
    process_register(metrics, STARTED_MS);
}

static void teardown(void)
{
    metrics_free(metrics);
}

/* What is told under NAME. */
static double told(const char *name)
{
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(metrics, &text);
    buf_append(&text, "", 1);
    ck_assert(buf_ok(&text));
    char line[80];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr((const char *)text.data, line);
    ck_assert_msg(at != NULL, "%s is not told", name);
    return strtod(at + strlen(line), NULL);
}

START_TEST(memory_is_told)
{
    double before = told("process_resident_memory_bytes");
    size_t size = 64 * 1024 * 1024;
    volatile char *memory = malloc(size);
    ck_assert_ptr_nonnull((void *)memory);
    for (size_t i = 0; i < size; i += 1024) {
        memory[i] = 1;
    }
    double after = told("process_resident_memory_bytes");
    free((void *)memory);
    ck_assert(before > 100 * 1024);
    ck_assert(after - before > (double)size / 2);
    ck_assert(told("process_virtual_memory_bytes") >= before);
}
END_TEST

START_TEST(descriptors_are_counted)
{
    double before = told("process_open_fds");
    int fds[FILES];
    for (int i = 0; i < FILES; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fds[i], 0);
    }
    double after = told("process_open_fds");
    for (int i = 0; i < FILES; i++) {
        close(fds[i]);
    }
    ck_assert(before >= 1);
    ck_assert(after == before + FILES);
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert(told("process_max_fds") == (double)limit.rlim_cur);
}
END_TEST

START_TEST(processor_time_goes_on)
{
    double before = told("process_cpu_seconds_total");
    double after = before;
    for (volatile uint64_t i = 0; after < before + 0.01; i++) {
        if (i % 1000000 == 0) {
            after = told("process_cpu_seconds_total");
        }
    }
    ck_assert(after >= before + 0.01);
}
END_TEST

START_TEST(the_start_is_told)
{
    ck_assert(told("process_start_time_seconds") == 1500000000.25);
}
END_TEST

static Suite *process_suite(void)
{
    Suite *suite = suite_create("process");
    TCase *tc = tcase_create("process");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, memory_is_told);
    tcase_add_test(tc, descriptors_are_counted);
    tcase_add_test(tc, processor_time_goes_on);
    tcase_add_test(tc, the_start_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(process_suite);
}
