/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/cli/options.h"
#include "cmd/cli/progress.h"
#include "cmd/trivet-backup/schedule.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* ---- names and retention ---- */

START_TEST(names_are_moments_in_order)
{
    char a[SCHEDULE_NAME_SIZE];
    char b[SCHEDULE_NAME_SIZE];
    schedule_name(1795995604007, a);
    ck_assert_str_eq(a, "trivet-20261129T234004.007Z.db");
    schedule_name(1795995604008, b);
    ck_assert_int_lt(strcmp(a, b), 0);
    schedule_name(0, b);
    ck_assert_str_eq(b, "trivet-19700101T000000.000Z.db");
    ck_assert(schedule_is_name(a) && schedule_is_name(b));
}
END_TEST

static const char *const others[] = {
    "trivet-20261129T234004.007Z.db.part", "trivet-20261129T234004.007Z",
    "trivet-2026112xT234004.007Z.db",      "other-20261129T234004.007Z.db",
    "trivet-20261129-234004.007Z.db",      "",
};

START_TEST(files_of_others_stay)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        ck_assert_msg(!schedule_is_name(others[i]), "%s", others[i]);
    }
    for (size_t i = 0; i + 1 < ARRAY_LEN(others); i++) {
        tmpdir_write(others[i], "x", 1);
    }
    tmpdir_write("trivet-20200101T000000.000Z.db", "x", 1);
    unsigned removed;
    ck_assert_int_eq(schedule_retain(fs_real(), tmpdir_path(NULL), 1, "", &removed, NULL), OK);
    ck_assert_uint_eq(removed, 0);
    tmpdir_write("trivet-20200101T000001.000Z.db", "x", 1);
    ck_assert_int_eq(schedule_retain(fs_real(), tmpdir_path(NULL), 1, "", &removed, NULL), OK);
    ck_assert_uint_eq(removed, 1);
    struct fs_names names = {0};
    ck_assert_int_eq(fs_list(fs_real(), tmpdir_path(NULL), &names, NULL), OK);
    ck_assert_uint_eq(names.count, ARRAY_LEN(others));
    fs_names_fini(&names);
}
END_TEST

/* Of ten, an hour apart. */
static const struct {
    unsigned saved; /* the one just saved */
    const char *stay;
} retained[] = {
    {9, "789"},
    {0, "0789"},   /* the clock was set back, and is wrong or was wrong for all of the others */
    {6, "456789"}, /* as many are behind it as shall stay: none of its own time goes for them */
    {4, "234789"}, /* more are */
    {8, "6789"},   /* fewer are */
};

START_TEST(the_newest_stay_by_the_clock_of_before_and_of_now)
{
    char name[SCHEDULE_NAME_SIZE];
    char stay[11] = "";
    unsigned removed;
    for (unsigned i = 0; i < 10; i++) {
        schedule_name(1700000000000 + i * 3600000, name);
        tmpdir_write(name, "x", 1);
    }
    schedule_name(1700000000000 + retained[_i].saved * 3600000, name);
    ck_assert_int_eq(schedule_retain(fs_real(), tmpdir_path(NULL), 3, name, &removed, NULL), OK);
    ck_assert_uint_eq(removed, 10 - strlen(retained[_i].stay));
    for (unsigned i = 0; i < 10; i++) {
        schedule_name(1700000000000 + i * 3600000, name);
        if (access(tmpdir_path(name), F_OK) == 0) {
            stay[strlen(stay)] = (char)('0' + i);
        }
    }
    ck_assert_str_eq(stay, retained[_i].stay);
}
END_TEST

START_TEST(what_is_half_saved_is_removed_unless_it_is_being_saved)
{
    static const char *const left[] = {"trivet-20200101T000000.000Z.db",
                                       "trivet-20200101T000002.000Z.db.part", "other.db.part"};
    struct fs_file *lock = NULL;
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        tmpdir_write(left[i], "x", 1);
    }
    tmpdir_write("trivet-20200101T000001.000Z.db.part", "x", 1);
    ck_assert_int_eq(fs_lock(fs_real(), tmpdir_path(left[1]), &lock, NULL), OK);
    ck_assert_int_eq(schedule_clean(fs_real(), tmpdir_path(NULL), NULL), OK);
    struct fs_names names = {0};
    ck_assert_int_eq(fs_list(fs_real(), tmpdir_path(NULL), &names, NULL), OK);
    ck_assert_uint_eq(names.count, ARRAY_LEN(left));
    ck_assert_str_eq(names.names[2], left[1]);
    fs_names_fini(&names);
    fs_close(lock);
    ck_assert_int_eq(schedule_clean(fs_real(), tmpdir_path("missing"), NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(the_next_one_is_due_by_the_clock_or_soon_after_a_failure)
{
    static const struct {
        uint64_t due, now, every;
        unsigned failures;
        uint64_t want;
    } cases[] = {
        {1000, 1200, 5000, 0, 6000},  /* how long it took does not add up */
        {1000, 9000, 5000, 0, 11000}, /* it took longer than the interval */
        {1000, 6000, 5000, 0, 11000}, /* as long as that */
        {1000, 900, 5000, 0, 6000},       {1000, 1200, 5000, 1, 2200}, /* failed: in a second */
        {1000, 1200, 60000, 3, 5200},                                  /* then in two, in four */
        {1000, 1200, 2000, 9, 3200}, /* but never later than the interval */
        {1000, 1200, 3600000, 99, 65200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_uint_eq(
            schedule_next_ms(cases[i].due, cases[i].now, cases[i].every, cases[i].failures),
            cases[i].want);
    }
}
END_TEST

/* ---- what is printed ---- */

START_TEST(sizes_are_as_etcd_writes_them)
{
    static const struct {
        uint64_t bytes;
        const char *want;
    } cases[] = {
        {0, "0 B"},          {999, "999 B"},        {1000, "1.0 kB"},        {24576, "25 kB"},
        {1234567, "1.2 MB"}, {341000000, "341 MB"}, {9990000000, "10.0 GB"}, {UINT64_MAX, "18 EB"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[SIZE_TEXT_SIZE];
        size_text(cases[i].bytes, text);
        ck_assert_str_eq(text, cases[i].want);
    }
}
END_TEST

START_TEST(progress_has_rate_and_time_left)
{
    struct progress progress = {.what = "saving"};
    char line[PROGRESS_LINE_SIZE];
    ck_assert(progress_line(&progress, 1000, 0, 300000000, line));
    ck_assert_str_eq(line, "saving [....................]   0 %  0 B of 300 MB  0 B/s");
    ck_assert(!progress_line(&progress, 1050, 1000, 300000000, line)); /* not so often */
    ck_assert(progress_line(&progress, 2000, 100000000, 300000000, line));
    ck_assert_str_eq(line,
                     "saving [#######.............]  33 %  100 MB of 300 MB  100 MB/s  2 s left");
    ck_assert(progress_line(&progress, 4000, 300000000, 300000000, line));
    ck_assert_str_eq(line, "saving [####################] 100 %  300 MB of 300 MB  100 MB/s");
    struct progress records = {.what = "verifying", .unit = "records"};
    ck_assert(progress_line(&records, 0, 0, 0, line));
    ck_assert_str_eq(line, "verifying [####################] 100 %  0 of 0 records  0 records/s");
}
END_TEST

/* ---- options ---- */

START_TEST(booleans_can_have_a_value)
{
    static const struct {
        const char *word;
        enum err err;
        bool want;
    } cases[] = {{"--flag", OK, true},
                 {"--flag=true", OK, true},
                 {"--flag=false", OK, false},
                 {"--flag=no", ERR_INVALID, false}};
    static const struct option_row rows[] = {{"flag", OPTION_BOOL, 0, NULL, ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const words[] = {"tool", cases[i].word, "argument", NULL};
        const char *args[2];
        size_t count;
        bool flag = cases[i].err != OK;
        struct why why;
        enum err err = options_parse(rows, 1, 3, words, &flag, args, 2, &count, &why);
        ck_assert_msg(err == cases[i].err, "%s", cases[i].word);
        ck_assert_msg(err != OK || (flag == cases[i].want && count == 1), "%s", cases[i].word);
    }
}
END_TEST

static Suite *backup_parts_suite(void)
{
    Suite *suite = suite_create("backup_parts");
    TCase *tc = tcase_create("schedule");
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_test(tc, names_are_moments_in_order);
    tcase_add_test(tc, files_of_others_stay);
    tcase_add_loop_test(tc, the_newest_stay_by_the_clock_of_before_and_of_now, 0,
                        ARRAY_LEN(retained));
    tcase_add_test(tc, what_is_half_saved_is_removed_unless_it_is_being_saved);
    tcase_add_test(tc, the_next_one_is_due_by_the_clock_or_soon_after_a_failure);
    suite_add_tcase(suite, tc);
    tc = tcase_create("output");
    tcase_add_test(tc, sizes_are_as_etcd_writes_them);
    tcase_add_test(tc, progress_has_rate_and_time_left);
    tcase_add_test(tc, booleans_can_have_a_value);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(backup_parts_suite);
}
