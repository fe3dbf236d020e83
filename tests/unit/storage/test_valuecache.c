/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/valuecache.h"

#include "base/hash.h"
#include "tests/lib/runner.h"

enum { VALUE_BYTES = 1000, RECORDS = 16 };

static struct valuecache cache;
static uint8_t value[VALUE_BYTES];

static struct record *make(uint64_t n, size_t value_bytes)
{
    struct record *record = record_new(bytes_of_str("key"), bytes_of(value, value_bytes));
    ck_assert_ptr_nonnull(record);
    record->rev = revision_pack((int64_t)n, 0);
    return record;
}

static void add(uint64_t n)
{
    struct record *record = make(n, VALUE_BYTES);
    valuecache_add(&cache, record);
    record_unref(record);
    valuecache_check(&cache);
}

static bool has(uint64_t n)
{
    struct record *record = valuecache_get(&cache, revision_pack((int64_t)n, 0));
    ck_assert(record == NULL || revision_main(record->rev) == (int64_t)n);
    return record != NULL;
}

/* Room for about RECORDS of them. */
static void setup(void)
{
    struct hash_seed seed = {.k0 = 1, .k1 = 2};
    valuecache_init(&cache, seed, (size_t)RECORDS * (VALUE_BYTES + 200));
}

static void teardown(void)
{
    valuecache_check(&cache);
    valuecache_fini(&cache);
}

START_TEST(what_was_added_is_found)
{
    ck_assert(!has(1));
    add(1);
    add(2);
    ck_assert(has(1) && has(2) && !has(3));
}
END_TEST

START_TEST(a_record_is_kept_once)
{
    add(1);
    size_t bytes = cache.bytes;
    add(1);
    ck_assert_uint_eq(cache.bytes, bytes);
}
END_TEST

START_TEST(its_bytes_are_bounded)
{
    for (uint64_t n = 1; n <= 1000; n++) {
        add(n);
        ck_assert_uint_le(cache.bytes, cache.bytes_max);
    }
    ck_assert_uint_ge(cache.by_rev.count, RECORDS - 1);
    ck_assert(has(1000) && !has(1));
}
END_TEST

START_TEST(what_is_found_again_outlives_a_long_walk)
{
    add(1);
    add(2);
    for (uint64_t n = 100; n < 1100; n++) {
        add(n);
        ck_assert(has(1));
    }
    ck_assert(!has(2));
}
END_TEST

START_TEST(one_large_record_pushes_nothing_out)
{
    for (uint64_t n = 1; n <= RECORDS / 2; n++) {
        add(n);
    }
    static uint8_t large[RECORDS * VALUE_BYTES];
    struct record *record = record_new(bytes_of_str("key"), bytes_of(large, sizeof large / 4));
    ck_assert_ptr_nonnull(record);
    record->rev = revision_pack(99, 0);
    valuecache_add(&cache, record);
    record_unref(record);
    ck_assert(!has(99) && has(1));
}
END_TEST

/* Against a list of what may be there: nothing is found that was not added, and never another. */
START_TEST(random_use_keeps_its_invariants)
{
    uint64_t random = (uint64_t)_i + 1;
    bool added[64] = {false};
    for (int step = 0; step < 20000; step++) {
        random = mix64(random);
        uint64_t n = random % 64 + 1;
        if (random >> 32 & 1) {
            struct record *record = make(n, (random >> 40) % VALUE_BYTES);
            valuecache_add(&cache, record);
            record_unref(record);
            added[n - 1] = true;
        } else if (has(n)) {
            ck_assert(added[n - 1]);
        }
        if (step % 100 == 0) {
            valuecache_check(&cache);
        }
    }
}
END_TEST

static Suite *valuecache_suite(void)
{
    Suite *suite = suite_create("valuecache");
    TCase *tc = tcase_create("valuecache");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_was_added_is_found);
    tcase_add_test(tc, a_record_is_kept_once);
    tcase_add_test(tc, its_bytes_are_bounded);
    tcase_add_test(tc, what_is_found_again_outlives_a_long_walk);
    tcase_add_test(tc, one_large_record_pushes_nothing_out);
    tcase_add_loop_test(tc, random_use_keeps_its_invariants, 0, 3);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(valuecache_suite);
}
