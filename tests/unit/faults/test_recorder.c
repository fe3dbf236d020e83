/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/recorder.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

static struct {
    struct env_fake *fake;
    struct buf buf;
} t;

static void setup(void)
{
    memset(&t, 0, sizeof t);
    tmpdir_setup();
    t.fake = env_fake_new(1);
}

static void teardown(void)
{
    buf_fini(&t.buf);
    env_fake_free(t.fake);
    tmpdir_teardown();
}

static const struct {
    const char *value;
    size_t len;
    const char *json;
} values[] = {
    {"7", 1, "7"},
    {"0", 1, "0"},
    {"999999999999999999", 18, "999999999999999999"},
    {"", 0, "\"\""},
    {"07", 2, "\"07\""},
    {"1000000000000000000", 19, "\"1000000000000000000\""},
    {"1,2", 3, "\"1,2\""},
    {"-1", 2, "\"-1\""},
    {"a\"\\\n\xff\0z", 7, "\"a\\u0022\\u005c\\u000a\\u00ff\\u0000z\""},
};

START_TEST(values_are_numbers_or_texts)
{
    json_value(&t.buf, bytes_of(values[_i].value, values[_i].len));
    ck_assert_msg(bytes_equal(buf_bytes(&t.buf), bytes_of_str(values[_i].json)), "got %.*s",
                  (int)t.buf.len, (const char *)t.buf.data);
}
END_TEST

START_TEST(keys_are_always_texts)
{
    json_string(&t.buf, bytes_of_str("7"));
    ck_assert(bytes_equal(buf_bytes(&t.buf), bytes_of_str("\"7\"")));
}
END_TEST

static void expect_file(const char *wanted)
{
    char got[1000];
    CLEANUP(freep) char *path = strdup(tmpdir_path("history"));
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(got, 1, sizeof got - 1, file);
    got[len] = '\0';
    fclose(file);
    ck_assert_str_eq(got, wanted);
}

START_TEST(what_is_not_there_is_left_out)
{
    struct why why;
    struct recorder *recorder;
    env_fake_advance(t.fake, 1);
    uint64_t now = env_now_ns(env_fake_env(t.fake));
    ck_assert_int_eq(recorder_open(env_fake_env(t.fake), tmpdir_path("history"), &recorder, &why),
                     OK);
    struct record record = {.process = 3,
                            .type = RECORD_INVOKE,
                            .workload = "register",
                            .f = "read",
                            .value = bytes_of_str("[\"r1\",null]")};
    recorder_write(recorder, &record);
    record.type = RECORD_OK;
    record.revision = 12;
    record.extra = ",\"mod_revision\":9";
    record.member = "10.0.0.1:2379";
    record.session = 5;
    record.error = "\"";
    recorder_write(recorder, &record);
    ck_assert_uint_eq(recorder_count(recorder, RECORD_INVOKE), 1);
    ck_assert_uint_eq(recorder_count(recorder, RECORD_OK), 1);
    ck_assert_uint_eq(recorder_count(recorder, RECORD_INFO), 0);
    ck_assert_int_eq(recorder_close(recorder, &why), OK);
    char wanted[600];
    snprintf(wanted, sizeof wanted,
             "{\"time\":%llu,\"process\":3,\"type\":\"invoke\",\"workload\":\"register\",\"f\":"
             "\"read\",\"value\":[\"r1\",null]}\n"
             "{\"time\":%llu,\"process\":3,\"type\":\"ok\",\"workload\":\"register\",\"f\":"
             "\"read\",\"value\":[\"r1\",null],\"revision\":12,\"mod_revision\":9,\"member\":"
             "\"10.0.0.1:2379\",\"session\":5,\"error\":\"\\u0022\"}\n",
             (unsigned long long)now, (unsigned long long)now);
    expect_file(wanted);
}
END_TEST

START_TEST(a_file_that_cannot_be_made_is_told)
{
    struct why why;
    struct recorder *recorder = NULL;
    ck_assert_int_eq(recorder_open(env_fake_env(t.fake), tmpdir_path("no/where"), &recorder, &why),
                     ERR_IO);
    ck_assert_ptr_nonnull(strstr(why.text, "no/where"));
    ck_assert_ptr_null(recorder);
}
END_TEST

START_TEST(a_full_disk_is_told_at_the_end)
{
    struct why why;
    struct recorder *recorder;
    ck_assert_int_eq(recorder_open(env_fake_env(t.fake), "/dev/full", &recorder, &why), OK);
    struct record record = {.workload = "w", .f = "f", .value = bytes_of_str("null")};
    recorder_write(recorder, &record);
    recorder_flush(recorder);
    ck_assert_int_eq(recorder_close(recorder, &why), ERR_IO);
}
END_TEST

static Suite *recorder_suite(void)
{
    Suite *suite = suite_create("recorder");
    TCase *tc = tcase_create("lines");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, values_are_numbers_or_texts, 0, ARRAY_LEN(values));
    tcase_add_test(tc, keys_are_always_texts);
    tcase_add_test(tc, what_is_not_there_is_left_out);
    tcase_add_test(tc, a_file_that_cannot_be_made_is_told);
    tcase_add_test(tc, a_full_disk_is_told_at_the_end);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(recorder_suite);
}
