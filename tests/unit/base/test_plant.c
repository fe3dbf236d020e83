/* SPDX-License-Identifier: Apache-2.0 */
#include "base/plant.h"

#include <stddef.h>
#include <string.h>

#include "tests/lib/runner.h"

START_TEST(nothing_is_wrong_unless_it_is_selected)
{
    ck_assert(!PLANTED(LOG_NOT_SYNCED));
    ck_assert(!PLANTED_EVERY(ROW_LOST, 1));
}
END_TEST

#ifdef TRIVET_PLANTED_FAULTS

START_TEST(one_is_selected_by_its_name)
{
    ck_assert(!plant_select("no-such-fault"));
    ck_assert(plant_select("row-lost"));
    ck_assert(PLANTED(ROW_LOST));
    ck_assert(!PLANTED(LOG_NOT_SYNCED));
    ck_assert_uint_eq(plant_reached(), 1);
}
END_TEST

START_TEST(some_happen_now_and_then)
{
    ck_assert(plant_select("row-lost"));
    unsigned happened = 0;
    for (unsigned i = 0; i < 30; i++) {
        happened += PLANTED_EVERY(ROW_LOST, 10);
        ck_assert(!PLANTED_EVERY(TABLE_ROW_LOST, 1));
    }
    ck_assert_uint_eq(happened, 3);
}
END_TEST

#else

START_TEST(an_ordinary_build_has_none)
{
    ck_assert_int_eq(__builtin_constant_p(PLANTED(LOG_NOT_SYNCED)), 1);
    ck_assert_int_eq(__builtin_constant_p(PLANTED_EVERY(ROW_LOST, 3)), 1);
}
END_TEST

#endif

START_TEST(each_has_a_name_of_its_own)
{
    static const char *const names[] = {
#define PLANT_NAME(name, text, what) text,
        PLANTS(PLANT_NAME)
#undef PLANT_NAME
    };
    const size_t count = sizeof names / sizeof names[0];
    ck_assert_uint_eq(count, PLANT_COUNT - 1);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            ck_assert_str_ne(names[i], names[k]);
        }
        ck_assert_str_ne(names[i], "list");
    }
}
END_TEST

static Suite *plant_suite(void)
{
    Suite *suite = suite_create("plant");
    TCase *tc = tcase_create("plant");
    tcase_add_test(tc, nothing_is_wrong_unless_it_is_selected);
#ifdef TRIVET_PLANTED_FAULTS
    tcase_add_test(tc, one_is_selected_by_its_name);
    tcase_add_test(tc, some_happen_now_and_then);
#else
    tcase_add_test(tc, an_ordinary_build_has_none);
#endif
    tcase_add_test(tc, each_has_a_name_of_its_own);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(plant_suite);
}
