/* SPDX-License-Identifier: Apache-2.0 */
#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>

#include "tests/lib/runner.h"

START_TEST(an_array_doubles_when_it_is_full)
{
    uint64_t *items = NULL;
    size_t count = 0;
    size_t cap = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t had = cap;
        ck_assert(ARRAY_MAKE_ROOM(items, count, cap, 3));
        ck_assert_uint_eq(cap, count < had ? had : had == 0 ? 3 : 2 * had);
        items[count++] = i * i;
    }
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(items[i], i * i);
    }
    free(items);
}
END_TEST

START_TEST(an_array_with_room_stays_where_it_is)
{
    char place[4] = "abc";
    char *items = place;
    uint32_t cap = sizeof place;
    for (uint32_t count = 0; count < cap; count++) {
        ck_assert(ARRAY_MAKE_ROOM(items, count, cap, 16));
    }
    ck_assert_ptr_eq(items, place);
    ck_assert_uint_eq(cap, sizeof place);
}
END_TEST

START_TEST(more_bytes_than_there_can_be_are_refused)
{
    uint64_t *items = NULL;
    const size_t sizes[] = {SIZE_MAX / 16 + 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t cap = sizes[i];
        ck_assert(!ARRAY_MAKE_ROOM(items, sizes[i], cap, 8));
        ck_assert_uint_eq(cap, sizes[i]);
        ck_assert_ptr_null(items);
    }
}
END_TEST

START_TEST(a_capacity_does_not_wrap)
{
    char *items = NULL;
    uint8_t count = 0;
    uint8_t cap = 0;
    while (ARRAY_MAKE_ROOM(items, count, cap, 16)) {
        items[count++] = 'x';
    }
    ck_assert_uint_eq(count, 128);
    ck_assert_uint_eq(cap, 128);
    ck_assert_ptr_nonnull(items);
    free(items);
}
END_TEST

static Suite *array_suite(void)
{
    Suite *suite = suite_create("array");
    TCase *tc = tcase_create("array");
    tcase_add_test(tc, an_array_doubles_when_it_is_full);
    tcase_add_test(tc, an_array_with_room_stays_where_it_is);
    tcase_add_test(tc, more_bytes_than_there_can_be_are_refused);
    tcase_add_test(tc, a_capacity_does_not_wrap);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(array_suite);
}
