/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/runner.h"

START_TEST(allocations_are_aligned_and_apart)
{
    enum { N = 2000 };
    static struct bytes all[N];
    struct arena arena = {0};
    uint64_t random = 1;
    for (size_t i = 0; i < N; i++) {
        random = mix64(random + 1);
        size_t size = i % 50 == 0 ? random % 200000 : random % 300;
        uint8_t *at = arena_alloc(&arena, size);
        ck_assert_ptr_nonnull(at);
        ck_assert_uint_eq((uintptr_t)at % _Alignof(max_align_t), 0);
        memset(at, (int)(i % 251), size);
        all[i] = bytes_of(at, size);
    }
    for (size_t i = 0; i < N; i++) {
        size_t intact = 0;
        while (intact < all[i].len && all[i].data[intact] == i % 251) {
            intact++;
        }
        ck_assert_uint_eq(intact, all[i].len);
    }
    arena_fini(&arena);
    ck_assert_uint_eq(arena.used_bytes, 0);
}
END_TEST

START_TEST(the_cap_holds)
{
    struct arena arena = {.max_bytes = 100000};
    size_t got = 0;
    while (arena_alloc(&arena, 1000) != NULL) {
        got += 1000;
        ck_assert_uint_le(arena.used_bytes, 100000);
    }
    ck_assert_uint_gt(got, 80000); /* and is not wasted */
    ck_assert_ptr_null(arena_alloc(&arena, 99999));
    arena_reset(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 1000));
    arena_fini(&arena);
    ck_assert_ptr_null(arena_alloc(&arena, 100000)); /* the cap stays, heads of chunks count */
    ck_assert_ptr_nonnull(arena_alloc(&arena, 90000));
    arena_fini(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused)
{
    struct arena arena = {0};
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX / 2));
    ck_assert_ptr_null(arena_calloc(&arena, SIZE_MAX / 4, 8));
    ck_assert_ptr_null(arena_strdup(&arena, bytes_of("", SIZE_MAX)));
    ck_assert_uint_eq(arena.used_bytes, 0);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 0));
    arena_fini(&arena);
}
END_TEST

START_TEST(copies_are_copies)
{
    struct arena arena = {0};
    char text[] = "abc";
    struct bytes copy;
    ck_assert(arena_copy(&arena, bytes_of_str(text), &copy));
    char *string = arena_strdup(&arena, bytes_of_str(text));
    uint64_t *zeros = arena_calloc(&arena, 100, sizeof *zeros);
    memset(text, 'x', 3);
    ck_assert(bytes_equal(copy, bytes_of_str("abc")));
    ck_assert_str_eq(string, "abc");
    for (size_t i = 0; i < 100; i++) {
        ck_assert_uint_eq(zeros[i], 0);
    }
    ck_assert(arena_copy(&arena, bytes_of(NULL, 0), &copy));
    ck_assert_uint_eq(copy.len, 0);
    ck_assert_str_eq(arena_strdup(&arena, bytes_of(NULL, 0)), "");
    arena_fini(&arena);
}
END_TEST

START_TEST(reset_keeps_one_small_chunk)
{
    struct arena arena = {0};
    arena_reset(&arena);
    ck_assert_ptr_null(arena.chunks);
    for (int i = 0; i < 100; i++) {
        ck_assert_ptr_nonnull(arena_alloc(&arena, 10000));
    }
    arena_reset(&arena);
    ck_assert_ptr_nonnull(arena.chunks);
    size_t kept = arena.used_bytes;
    ck_assert_uint_le(kept, 65536);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 10000));
    ck_assert_uint_eq(arena.used_bytes, kept); /* from the kept chunk */
    arena_reset(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 1000000));
    arena_fini(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 1000000));
    arena_reset(&arena); /* nothing that large is kept */
    ck_assert_uint_eq(arena.used_bytes, 0);
    arena_fini(&arena);
}
END_TEST

static Suite *arena_suite(void)
{
    Suite *suite = suite_create("arena");
    TCase *tc = tcase_create("arena");
    tcase_add_test(tc, allocations_are_aligned_and_apart);
    tcase_add_test(tc, the_cap_holds);
    tcase_add_test(tc, sizes_that_overflow_are_refused);
    tcase_add_test(tc, copies_are_copies);
    tcase_add_test(tc, reset_keeps_one_small_chunk);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(arena_suite);
}
