/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logger.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

#define START "{\"level\":\"info\",\"ts\":\"2026-01-02T03:04:05.678Z\",\"caller\":\"x/y.c:1\","

static struct {
    struct env_fake *fake;
    struct logger *log;
    int fd;
    char text[200000];
} fixture;

static void open_log(enum log_level level, const char *name)
{
    ck_assert_int_eq(logger_new(env_fake_env(fixture.fake), fixture.fd, level, name, &fixture.log),
                     OK);
}

static void setup(void)
{
    tmpdir_setup();
    fixture.fake = env_fake_new(1);
    fixture.fd = open(tmpdir_path("log"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ck_assert_int_ge(fixture.fd, 0);
}

static void teardown(void)
{
    logger_free(fixture.log);
    close(fixture.fd);
    env_fake_free(fixture.fake);
    tmpdir_teardown();
}

/* What was written since the last time. */
static const char *written(void)
{
    ssize_t n = pread(fixture.fd, fixture.text, sizeof fixture.text - 1, 0);
    ck_assert_int_ge(n, 0);
    fixture.text[n] = '\0';
    ck_assert_int_eq(ftruncate(fixture.fd, 0), 0);
    return fixture.text;
}

static void write_line(enum log_level level, const char *msg, const struct log_field *fields,
                       size_t count)
{
    log_write(fixture.log, level, "/build/../x/y.c:1", msg, fields, count);
}

START_TEST(a_line_is_json_with_its_fields)
{
    open_log(LOG_DEBUG, NULL);
    LOG_INFO(fixture.log, "became leader", LOG_U64("term", UINT64_MAX), LOG_I64("lag", -5),
             LOG_HEX("id", 0x8e9e05c52164694d), LOG_STR("name", "m1"), LOG_STR("none", NULL),
             LOG_BOOL("yes", true), LOG_BOOL("no", false));
    const char *got = written();
    ck_assert_ptr_nonnull(strstr(got, "\"caller\":\"base/test_logger.c:"));
    const char *msg = strstr(got, ",\"msg\"");
    ck_assert_ptr_nonnull(msg);
    ck_assert_str_eq(msg, ",\"msg\":\"became leader\",\"term\":18446744073709551615,\"lag\":-5,"
                          "\"id\":\"8e9e05c52164694d\",\"name\":\"m1\",\"none\":\"\",\"yes\":true,"
                          "\"no\":false}\n");
}
END_TEST

START_TEST(time_level_caller_and_member_come_first)
{
    open_log(LOG_INFO, "m1");
    write_line(LOG_INFO, "started", NULL, 0);
    ck_assert_str_eq(written(), START "\"msg\":\"started\",\"member\":\"m1\"}\n");
    env_fake_set_wall_ms(fixture.fake, 951782400007); /* a leap day */
    write_line(LOG_ERROR, "ended", NULL, 0);
    ck_assert_str_eq(written(),
                     "{\"level\":\"error\",\"ts\":\"2000-02-29T00:00:00.007Z\",\"caller\":"
                     "\"x/y.c:1\",\"msg\":\"ended\",\"member\":\"m1\"}\n");
}
END_TEST

START_TEST(lower_levels_are_off)
{
    open_log(LOG_WARN, NULL);
    write_line(LOG_DEBUG, "no", NULL, 0);
    write_line(LOG_INFO, "no", NULL, 0);
    ck_assert_str_eq(written(), "");
    write_line(LOG_WARN, "yes", NULL, 0);
    write_line(LOG_ERROR, "yes", NULL, 0);
    ck_assert_ptr_nonnull(strstr(written(), "\"error\""));
    log_write(NULL, LOG_ERROR, "x", "no logger, no line", NULL, 0);
}
END_TEST

static const struct {
    const char *text;
    const char *want;
} escapes[] = {
    {"plain", "plain"},
    {"\"\\/", "\\\"\\\\/"},
    {"a\nb\tc\rd", "a\\nb\\tc\\u000dd"},
    {"\x01\x1f\x7f", "\\u0001\\u001f\\u007f"},
    {"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\xff\xfe", "\\ufffd\\ufffd"},
    {"\xc3", "\\ufffd"},                       /* cut */
    {"\xe2\x82", "\\ufffd\\ufffd"},            /* cut */
    {"\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd"}, /* cut */
    {"\xc0\xaf", "\\ufffd\\ufffd"},            /* longer than needed */
    {"\xe0\x80\x80", "\\ufffd\\ufffd\\ufffd"},
    {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},            /* a surrogate */
    {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond U+10FFFF */
    {"\x80x", "\\ufffdx"},
    {"\xe2\x28\xa1", "\\ufffd(\\ufffd"},
};

START_TEST(texts_are_escaped)
{
    open_log(LOG_INFO, NULL);
    write_line(LOG_INFO, "m", &LOG_STR("s", escapes[_i].text), 1);
    char want[500];
    snprintf(want, sizeof want, START "\"msg\":\"m\",\"s\":\"%s\"}\n", escapes[_i].want);
    ck_assert_str_eq(written(), want);
}
END_TEST

START_TEST(a_long_text_is_cut_and_a_field_that_does_not_fit_left_out)
{
    open_log(LOG_INFO, NULL);
    char longer[3000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    struct log_field fields[] = {
        LOG_STR("a", longer), LOG_STR("b", longer), LOG_STR("c", longer),
        LOG_STR("d", longer), LOG_U64("last", 7),
    };
    write_line(LOG_INFO, "m", fields, 5);
    const char *got = written();
    ck_assert_uint_lt(strlen(got), 4300);
    ck_assert_ptr_nonnull(strstr(got, "\"c\":\"xxx"));
    ck_assert_ptr_null(strstr(got, "\"d\""));
    const char *end = "x\",\"last\":7}\n";
    ck_assert_str_eq(got + strlen(got) - strlen(end), end);
}
END_TEST

static void repeat(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        write_line(LOG_INFO, "again", NULL, 0);
    }
}

START_TEST(a_line_within_a_second_is_counted)
{
    open_log(LOG_INFO, NULL);
    repeat(5);
    ck_assert_str_eq(written(), START "\"msg\":\"again\"}\n");
    env_fake_advance(fixture.fake, 999);
    repeat(1);
    ck_assert_str_eq(written(), "");
    env_fake_advance(fixture.fake, 1);
    repeat(1);
    ck_assert_ptr_nonnull(strstr(written(), "03:04:06.678Z"));
    env_fake_advance(fixture.fake, 5000);
    repeat(1); /* none was held back meanwhile */
    ck_assert_ptr_null(strstr(written(), "repeated"));
}
END_TEST

START_TEST(the_count_comes_with_the_next_writing)
{
    open_log(LOG_INFO, NULL);
    repeat(5);
    env_fake_advance(fixture.fake, 1000);
    (void)written();
    repeat(1);
    ck_assert_ptr_nonnull(strstr(written(), "\"msg\":\"again\",\"repeated\":5}\n"));
}
END_TEST

START_TEST(the_count_comes_before_another_line)
{
    open_log(LOG_INFO, NULL);
    repeat(4);
    write_line(LOG_INFO, "other", NULL, 0);
    ck_assert_ptr_null(strstr(written(), "repeated"));
    env_fake_advance(fixture.fake, 1500);
    write_line(LOG_INFO, "third", NULL, 0);
    const char *got = written();
    const char *count = strstr(got, "\"again\",\"repeated\":3");
    ck_assert_ptr_nonnull(count);
    ck_assert_ptr_nonnull(strstr(count, "third"));
}
END_TEST

START_TEST(the_count_comes_at_the_end)
{
    open_log(LOG_INFO, NULL);
    repeat(3);
    logger_free(fixture.log);
    fixture.log = NULL;
    ck_assert_ptr_nonnull(strstr(written(), "\"again\",\"repeated\":2}\n"));
}
END_TEST

START_TEST(lines_that_differ_in_anything_are_not_repeats)
{
    open_log(LOG_INFO, NULL);
    write_line(LOG_INFO, "m", NULL, 0);
    write_line(LOG_WARN, "m", NULL, 0);
    write_line(LOG_INFO, "m", &LOG_U64("n", 1), 1);
    write_line(LOG_INFO, "m", &LOG_U64("n", 2), 1);
    log_write(fixture.log, LOG_INFO, "x/y.c:2", "m", NULL, 0);
    unsigned lines = 0;
    for (const char *at = written(); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    ck_assert_uint_eq(lines, 5);
}
END_TEST

/* More kinds of lines at once than are remembered: each occurrence is written or counted. */
START_TEST(no_occurrence_is_lost)
{
    enum { KINDS = 40, ROUNDS = 20 };
    open_log(LOG_INFO, NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint64_t kind = 0; kind < KINDS; kind++) {
            for (uint64_t i = 0; i <= kind % 3; i++) {
                write_line(LOG_INFO, "m", &LOG_U64("kind", kind), 1);
            }
        }
        env_fake_advance(fixture.fake, 300);
    }
    logger_free(fixture.log);
    fixture.log = NULL;
    unsigned long counted = 0;
    char *rest = NULL;
    for (char *line = strtok_r((char *)written(), "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *count = strstr(line, "\"repeated\":");
        counted += count == NULL ? 1 : strtoul(count + 11, NULL, 10);
    }
    unsigned long want = 0;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        want += ROUNDS * (kind % 3 + 1);
    }
    ck_assert_uint_eq(counted, want);
}
END_TEST

START_TEST(a_clock_that_jumps_back_does_not_silence)
{
    open_log(LOG_INFO, NULL);
    repeat(1);
    env_fake_set_wall_ms(fixture.fake, 1000);
    (void)written();
    repeat(1);
    ck_assert_ptr_nonnull(strstr(written(), "1970-01-01T00:00:01.000Z"));
}
END_TEST

static void *write_lines(void *arg)
{
    uint64_t thread = (uint64_t)(uintptr_t)arg;
    for (uint64_t i = 0; i < 100; i++) {
        struct log_field fields[] = {LOG_U64("thread", thread), LOG_U64("i", i)};
        write_line(LOG_INFO, "from a thread", fields, 2);
    }
    return NULL;
}

START_TEST(lines_of_threads_are_whole)
{
    pthread_t threads[4];
    open_log(LOG_INFO, NULL);
    for (uintptr_t t = 0; t < 4; t++) {
        ck_assert_int_eq(pthread_create(&threads[t], NULL, write_lines, (void *)t), 0);
    }
    for (uintptr_t t = 0; t < 4; t++) {
        ck_assert_int_eq(pthread_join(threads[t], NULL), 0);
    }
    unsigned whole = 0;
    char *rest = NULL;
    for (char *line = strtok_r((char *)written(), "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        unsigned thread;
        unsigned i;
        whole += sscanf(line, START "\"msg\":\"from a thread\",\"thread\":%u,\"i\":%u}", &thread,
                        &i) == 2;
    }
    ck_assert_uint_eq(whole, 400);
}
END_TEST

static Suite *logger_suite(void)
{
    Suite *suite = suite_create("logger");
    TCase *tc = tcase_create("logger");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_line_is_json_with_its_fields);
    tcase_add_test(tc, time_level_caller_and_member_come_first);
    tcase_add_test(tc, lower_levels_are_off);
    tcase_add_loop_test(tc, texts_are_escaped, 0, (int)ARRAY_LEN(escapes));
    tcase_add_test(tc, a_long_text_is_cut_and_a_field_that_does_not_fit_left_out);
    tcase_add_test(tc, a_line_within_a_second_is_counted);
    tcase_add_test(tc, the_count_comes_with_the_next_writing);
    tcase_add_test(tc, the_count_comes_before_another_line);
    tcase_add_test(tc, the_count_comes_at_the_end);
    tcase_add_test(tc, lines_that_differ_in_anything_are_not_repeats);
    tcase_add_test(tc, no_occurrence_is_lost);
    tcase_add_test(tc, a_clock_that_jumps_back_does_not_silence);
    tcase_add_test(tc, lines_of_threads_are_whole);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logger_suite);
}
