/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/slabs.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "tests/lib/runner.h"

enum { BLOCKS = 3000 };

static struct slabs *slabs;
static struct {
    uint8_t *at;
    size_t size;
    uint8_t mark;
} blocks[BLOCKS];

static void setup(void)
{
#ifdef __SANITIZE_ADDRESS__
    runner_skip("the sanitizer's own allocator is used instead");
#endif
    slabs = slabs_new();
    ck_assert_ptr_nonnull(slabs);
}

static void take(size_t i, size_t size)
{
    blocks[i].at = slabs_alloc(slabs, size);
    ck_assert_ptr_nonnull(blocks[i].at);
    ck_assert_uint_eq((uintptr_t)blocks[i].at % alignof(max_align_t), 0);
    blocks[i].size = size;
    blocks[i].mark = (uint8_t)(i * 7 + size);
    memset(blocks[i].at, blocks[i].mark, size);
}

static void give_back(size_t i)
{
    for (size_t at = 0; at < blocks[i].size; at++) {
        ck_assert_uint_eq(blocks[i].at[at], blocks[i].mark);
    }
    slabs_give_back(blocks[i].at);
    blocks[i].at = NULL;
}

START_TEST(blocks_do_not_overlap)
{
    uint64_t random = 1;
    for (int round = 0; round < 30 * BLOCKS; round++) {
        random = mix64(random + 1);
        size_t i = random % BLOCKS;
        if (blocks[i].at != NULL) {
            give_back(i);
        } else {
            take(i, 1 + (random >> 32) % SLABS_SIZE_MAX);
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i].at != NULL) {
            give_back(i);
        }
    }
    slabs_free(slabs);
}
END_TEST

START_TEST(what_is_too_large_is_not_given)
{
    ck_assert_ptr_null(slabs_alloc(slabs, SLABS_SIZE_MAX + 1));
    ck_assert_ptr_null(slabs_alloc(slabs, SIZE_MAX));
    ck_assert_ptr_null(slabs_alloc(slabs, 0));
    void *largest = slabs_alloc(slabs, SLABS_SIZE_MAX);
    ck_assert_ptr_nonnull(largest);
    slabs_give_back(largest);
    slabs_free(slabs);
}
END_TEST

/* As records do: the oldest goes when one comes. */
START_TEST(a_queue_needs_no_more_slabs_than_it_fills)
{
    enum { SIZE = 352, LONG = 50 * BLOCKS };
    for (size_t i = 0; i < BLOCKS; i++) {
        take(i, SIZE);
    }
    size_t full = slabs_count(slabs);
    ck_assert_uint_le(full, BLOCKS * (SIZE + 32) / (30 * 1024) + 1);
    for (size_t i = 0; i < LONG; i++) {
        give_back(i % BLOCKS);
        take(i % BLOCKS, SIZE);
    }
    ck_assert_uint_le(slabs_count(slabs), full + 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        give_back(i);
    }
    ck_assert_uint_le(slabs_count(slabs), 8);
    slabs_free(slabs);
}
END_TEST

/* A slab that had one size has another next. */
START_TEST(memory_of_one_size_serves_others)
{
    for (size_t size = 32; size <= SLABS_SIZE_MAX; size += 32) {
        for (size_t i = 0; i < 100; i++) {
            take(i, size);
        }
        for (size_t i = 0; i < 100; i++) {
            give_back(i);
        }
        ck_assert_uint_le(slabs_count(slabs), 8);
    }
    slabs_free(slabs);
}
END_TEST

START_TEST(blocks_outlive_their_slabs_object)
{
    for (size_t i = 0; i < 500; i++) {
        take(i, 100 + i);
    }
    slabs_free(slabs);
    for (size_t i = 0; i < 500; i++) {
        give_back(i); /* the last one frees all: valgrind tells */
    }
    slabs_free(NULL);
}
END_TEST

static Suite *slabs_suite(void)
{
    Suite *suite = suite_create("slabs");
    TCase *tcase = tcase_create("slabs");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, blocks_do_not_overlap);
    tcase_add_test(tcase, what_is_too_large_is_not_given);
    tcase_add_test(tcase, a_queue_needs_no_more_slabs_than_it_fills);
    tcase_add_test(tcase, memory_of_one_size_serves_others);
    tcase_add_test(tcase, blocks_outlive_their_slabs_object);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(slabs_suite);
}
