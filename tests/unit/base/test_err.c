/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <string.h>

#include "tests/lib/runner.h"

START_TEST(every_code_has_a_text_of_its_own)
{
    for (int a = 0; a < ERR_COUNT; a++) {
        ck_assert_ptr_nonnull(err_text((enum err)a));
        ck_assert_uint_gt(strlen(err_text((enum err)a)), 0);
        for (int b = 0; b < a; b++) {
            ck_assert_str_ne(err_text((enum err)a), err_text((enum err)b));
        }
    }
    ck_assert_str_eq(err_text((enum err) - 1), "unknown error");
    ck_assert_str_eq(err_text(ERR_COUNT), "unknown error");
}
END_TEST

START_TEST(a_why_grows_as_an_error_climbs)
{
    struct why why = {0};
    why_set(&why, "open '%s'", "f");
    ck_assert_str_eq(why.text, "open 'f'");
    why_prefix(&why, "segment %d", 7);
    ck_assert_str_eq(why.text, "segment 7: open 'f'");
    why_set(NULL, "nobody asks");
    why_prefix(NULL, "nobody asks");
}
END_TEST

START_TEST(a_why_that_is_too_long_is_cut)
{
    struct why why = {0};
    char text[2 * sizeof why.text];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    why_set(&why, "%s", text);
    ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
    why_prefix(&why, "start");
    ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
    ck_assert_int_eq(strncmp(why.text, "start: xxx", 10), 0);
    why_prefix(&why, "%s", text);
    ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
}
END_TEST

static enum err fails_at(int step)
{
    TRY(step == 1 ? ERR_IO : OK);
    TRY(step == 2 ? ERR_NOMEM : OK);
    return OK;
}

START_TEST(try_returns_the_first_error)
{
    ck_assert_int_eq(fails_at(1), ERR_IO);
    ck_assert_int_eq(fails_at(2), ERR_NOMEM);
    ck_assert_int_eq(fails_at(3), OK);
}
END_TEST

static Suite *err_suite(void)
{
    Suite *suite = suite_create("err");
    TCase *tc = tcase_create("err");
    tcase_add_test(tc, every_code_has_a_text_of_its_own);
    tcase_add_test(tc, a_why_grows_as_an_error_climbs);
    tcase_add_test(tc, a_why_that_is_too_long_is_cut);
    tcase_add_test(tc, try_returns_the_first_error);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(err_suite);
}
