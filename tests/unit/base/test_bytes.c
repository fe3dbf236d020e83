/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/runner.h"

#include "base/bytes.h"

static const struct {
    const char *a;
    const char *b;
    int want;
} orders[] = {
    {"", "", 0},   {"", "a", -1},   {"a", "", 1},      {"a", "b", -1},
    {"b", "a", 1}, {"a", "aa", -1}, {"foo", "foo", 0}, {"\x7f", "\x80", -1},
};

START_TEST(compare_orders_as_unsigned_bytes)
{
    int got = bytes_compare(bytes_of_str(orders[_i].a), bytes_of_str(orders[_i].b));
    ck_assert_int_eq((got > 0) - (got < 0), orders[_i].want);
}
END_TEST

START_TEST(a_view_of_nothing_equals_an_empty_one)
{
    ck_assert(bytes_equal(bytes_of(NULL, 0), bytes_of_str("")));
    ck_assert(bytes_has_prefix(bytes_of(NULL, 0), bytes_of(NULL, 0)));
    ck_assert(!bytes_has_prefix(bytes_of_str("a"), bytes_of_str("ab")));
}
END_TEST

START_TEST(appends_add_up)
{
    struct buf buf = {0};
    buf_append_str(&buf, "ab");
    buf_append_bytes(&buf, bytes_of(NULL, 0));
    buf_printf(&buf, "%d", 12);
    ck_assert(buf_ok(&buf));
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of_str("ab12")));
    buf_consume(&buf, 3);
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of_str("2")));
    buf_fini(&buf);
}
END_TEST

START_TEST(a_buf_that_could_not_grow_stays_failed)
{
    struct buf buf = {0};
    buf_append_str(&buf, "kept");
    ck_assert(!buf_reserve(&buf, SIZE_MAX));
    buf_append_str(&buf, "lost");
    ck_assert(!buf_ok(&buf));
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of_str("kept")));
    buf_fini(&buf);
}
END_TEST

START_TEST(a_blob_lives_until_its_last_count)
{
    struct blob *blob = blob_copy(bytes_of_str("value"));
    ck_assert_ptr_nonnull(blob);
    struct blob *second = blob_ref(blob);
    blob_unref(blob);
    ck_assert(bytes_equal(blob_bytes(second), bytes_of_str("value")));
    blob_unref(second);
    blob_unref(NULL);
}
END_TEST

static Suite *bytes_suite(void)
{
    Suite *suite = suite_create("bytes");
    TCase *view = tcase_create("view");
    tcase_add_loop_test(view, compare_orders_as_unsigned_bytes, 0,
                        (int)(sizeof orders / sizeof orders[0]));
    tcase_add_test(view, a_view_of_nothing_equals_an_empty_one);
    suite_add_tcase(suite, view);
    TCase *buf = tcase_create("buf");
    tcase_add_test(buf, appends_add_up);
    tcase_add_test(buf, a_buf_that_could_not_grow_stays_failed);
    suite_add_tcase(suite, buf);
    TCase *blob = tcase_create("blob");
    tcase_add_test(blob, a_blob_lives_until_its_last_count);
    suite_add_tcase(suite, blob);
    return suite;
}

int main(void)
{
    return runner_main(bytes_suite);
}
