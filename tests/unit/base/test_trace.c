/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trace.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

START_TEST(the_last_events_are_kept_in_order)
{
    struct trace *trace = NULL;
    ck_assert_int_eq(trace_new(5, &trace), OK); /* 8 */
    ck_assert_uint_eq(trace_count(trace), 0);
    for (uint64_t i = 0; i < 20; i++) {
        trace_add(trace, i * 10, "event", i, 2 * i);
        ck_assert_uint_eq(trace_count(trace), i < 8 ? i + 1 : 8);
    }
    for (size_t i = 0; i < 8; i++) {
        const struct trace_event *event = trace_at(trace, i);
        ck_assert_uint_eq(event->time_ns, (12 + i) * 10);
        ck_assert_uint_eq(event->a, 12 + i);
        ck_assert_uint_eq(event->b, 24 + 2 * i);
    }
    trace_free(trace);
    trace_free(NULL);
}
END_TEST

START_TEST(the_env_gives_the_time_and_may_have_no_trace)
{
    struct env_fake *fake = env_fake_new(1);
    struct env *env = env_fake_env(fake);
    TRACE(env, "nobody listens", 1, 2);
    struct trace *trace = NULL;
    ck_assert_int_eq(trace_new(8, &trace), OK);
    env->trace = trace;
    env_fake_advance(fake, 5);
    TRACE(env, "heard", 3, 4);
    ck_assert_uint_eq(trace_count(trace), 1);
    ck_assert_uint_eq(trace_at(trace, 0)->time_ns, env_now_ns(env));
    ck_assert_str_eq(trace_at(trace, 0)->text, "heard");
    env_fake_free(fake);
    trace_free(trace);
}
END_TEST

static uint64_t hash_of(const char *text, uint64_t time_ns, uint64_t a, uint64_t b)
{
    struct trace *trace = NULL;
    ck_assert_int_eq(trace_new(1, &trace), OK);
    trace_hash_start(trace);
    trace_add(trace, 1, "first", 2, 3);
    trace_add(trace, time_ns, text, a, b);
    uint64_t hash = trace_hash(trace);
    trace_free(trace);
    return hash;
}

START_TEST(the_hash_is_of_what_happened_and_when)
{
    char copy[] = "event"; /* another address */
    uint64_t want = hash_of("event", 5, 6, 7);
    ck_assert_uint_eq(hash_of(copy, 5, 6, 7), want);
    ck_assert_uint_ne(hash_of("other", 5, 6, 7), want);
    ck_assert_uint_ne(hash_of("event", 6, 6, 7), want);
    ck_assert_uint_ne(hash_of("event", 5, 7, 7), want);
    ck_assert_uint_ne(hash_of("event", 5, 6, 8), want);
    ck_assert_uint_ne(hash_of("event", 5, 7, 6), want);
}
END_TEST

START_TEST(a_dump_is_a_line_for_each_event)
{
    struct trace *trace = NULL;
    ck_assert_int_eq(trace_new(4, &trace), OK);
    trace_add(trace, 1000000, "raft: append", 7, 2);
    trace_add(trace, 3500001, "raft: stored", 8, 0);
    int fd = open(tmpdir_path("dump"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    trace_dump(trace, fd);
    char text[200] = {0};
    ck_assert_int_gt(pread(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, "-2.500001ms raft: append 7 2\n"
                           "-0.000000ms raft: stored 8 0\n");
    close(fd);
    trace_free(trace);
}
END_TEST

static Suite *trace_suite(void)
{
    Suite *suite = suite_create("trace");
    TCase *tc = tcase_create("trace");
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_test(tc, the_last_events_are_kept_in_order);
    tcase_add_test(tc, the_env_gives_the_time_and_may_have_no_trace);
    tcase_add_test(tc, the_hash_is_of_what_happened_and_when);
    tcase_add_test(tc, a_dump_is_a_line_for_each_event);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(trace_suite);
}
