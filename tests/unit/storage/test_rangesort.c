/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rangesort.h"

#include <stdlib.h>

#include "base/hash.h"
#include "tests/lib/runner.h"

enum { COUNT_MAX = 3000 };

static struct range_item items[COUNT_MAX];
static struct range_item spare[COUNT_MAX];

static const size_t counts[] = {0, 1, 2, 255, 256, 257, 511, 512, 513, 1000, COUNT_MAX};
static const enum range_target targets[] = {TARGET_KEY, TARGET_VERSION, TARGET_CREATE, TARGET_MOD,
                                            TARGET_VALUE};

static struct record *small_value(uint64_t random)
{
    uint8_t value[2] = {(uint8_t)(random % 5), (uint8_t)(random >> 8 & 3)};
    return record_new(bytes_of_str("k"), bytes_of(value, random >> 16 & 1 ? 2 : 1));
}

static void fill(size_t count, uint64_t random)
{
    for (size_t i = 0; i < count; i++) {
        random = mix64(random + 1);
        items[i] = (struct range_item){
            .rev = revision_pack(1 + (int64_t)(random % 50), (uint32_t)i),
            .create_revision = (int64_t)(random >> 8) % 20,
            .version = (int64_t)(random >> 16) % 7,
            .place = i,
            .record = small_value(random >> 24),
        };
    }
}

static int64_t number_of(const struct range_item *item, enum range_target target)
{
    switch (target) {
    case TARGET_VERSION:
        return item->version;
    case TARGET_CREATE:
        return item->create_revision;
    case TARGET_MOD:
        return revision_main(item->rev);
    default:
        return (int64_t)item->place;
    }
}

/* Is A allowed to stand right before B? */
static bool in_order(const struct range_item *a, const struct range_item *b,
                     enum range_target target, bool descend)
{
    int64_t x = number_of(a, target);
    int64_t y = number_of(b, target);
    int order = (x > y) - (x < y);
    if (target == TARGET_VALUE) {
        order = bytes_compare(record_value(a->record), record_value(b->record));
    }
    order = descend ? -order : order;
    return order < 0 || (order == 0 && a->place < b->place);
}

START_TEST(items_are_sorted_in_slices_of_any_size)
{
    size_t count = counts[(size_t)_i % ARRAY_LEN(counts)];
    for (size_t t = 0; t < 2 * ARRAY_LEN(targets); t++) {
        enum range_target target = targets[t / 2];
        bool descend = t % 2 == 1;
        fill(count, (uint64_t)_i);
        struct rangesort sort;
        rangesort_begin(&sort, items, spare, count, target, descend);
        size_t slice = 1 + (size_t)_i * 37;
        size_t slices = 0;
        for (size_t budget = slice; !rangesort_some(&sort, &budget); budget = slice) {
            ck_assert_uint_eq(budget, 0);
            slices++;
        }
        ck_assert(count < 1000 || slices > 1);
        for (size_t i = 1; i < count; i++) {
            ck_assert(in_order(&sort.items[i - 1], &sort.items[i], target, descend));
        }
        for (size_t i = 0; i < count; i++) {
            record_unref(sort.items[i].record);
        }
    }
}
END_TEST

/* What a comparison may read: all of both values, when they are the same. */
START_TEST(long_values_take_more_of_a_budget)
{
    enum { COUNT = 400, VALUE_BYTES = 100000, BUDGET = 1000 };
    struct buf value = {0};
    memset(buf_extend(&value, VALUE_BYTES), 'v', VALUE_BYTES);
    for (size_t i = 0; i < COUNT; i++) {
        items[i] = (struct range_item){
            .rev = i + 1, .place = i, .record = record_new(bytes_of_str("k"), buf_bytes(&value))};
    }
    struct rangesort sort;
    rangesort_begin(&sort, items, spare, COUNT, TARGET_VALUE, false);
    size_t slices = 1;
    for (size_t budget = BUDGET; !rangesort_some(&sort, &budget); budget = BUDGET) {
        slices++;
    }
    /* There are at least COUNT comparisons; a slice may read a few megabytes for them. */
    ck_assert_uint_gt(slices, (size_t)COUNT * VALUE_BYTES / (4u * 1024 * 1024));
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(sort.items[i].place, i);
        record_unref(sort.items[i].record);
    }
    buf_fini(&value);
}
END_TEST

static Suite *rangesort_suite(void)
{
    Suite *suite = suite_create("rangesort");
    TCase *tc = tcase_create("rangesort");
    tcase_add_loop_test(tc, items_are_sorted_in_slices_of_any_size, 0, ARRAY_LEN(counts));
    tcase_add_test(tc, long_values_take_more_of_a_budget);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rangesort_suite);
}
