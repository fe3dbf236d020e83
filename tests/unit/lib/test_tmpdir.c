/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tmpdir.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/runner.h"

static char seen[1024];

START_TEST(directory_is_fresh_and_goes_with_all_in_it)
{
    tmpdir_setup();
    snprintf(seen, sizeof seen, "%s", tmpdir_path(NULL));
    ck_assert_int_eq(access(seen, W_OK), 0);
    tmpdir_write("file", "text", 4);
    ck_assert_int_eq(mkdir(tmpdir_path("locked"), S_IRWXU), 0);
    tmpdir_write("locked/file", "", 0);
    ck_assert_int_eq(chmod(tmpdir_path("locked"), 0), 0);
    ck_assert_int_eq(symlink("/", tmpdir_path("link")), 0);
    tmpdir_teardown();
    ck_assert_int_ne(access(seen, F_OK), 0);
    ck_assert_int_eq(access("/", F_OK), 0);
}
END_TEST

START_TEST(two_directories_differ)
{
    tmpdir_setup();
    snprintf(seen, sizeof seen, "%s", tmpdir_path(NULL));
    tmpdir_teardown();
    tmpdir_setup();
    ck_assert_str_ne(tmpdir_path(NULL), seen);
    tmpdir_teardown();
    tmpdir_teardown();
}
END_TEST

START_TEST(write_replaces_the_file)
{
    tmpdir_setup();
    tmpdir_write("file", "long text", 9);
    tmpdir_write("file", "text", 4);
    struct stat st;
    ck_assert_int_eq(stat(tmpdir_path("file"), &st), 0);
    ck_assert_int_eq(st.st_size, 4);
    tmpdir_teardown();
}
END_TEST

static Suite *tmpdir_suite(void)
{
    Suite *suite = suite_create("tmpdir");
    TCase *tcase = tcase_create("tmpdir");
    tcase_add_test(tcase, directory_is_fresh_and_goes_with_all_in_it);
    tcase_add_test(tcase, two_directories_differ);
    tcase_add_test(tcase, write_replaces_the_file);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(tmpdir_suite);
}
