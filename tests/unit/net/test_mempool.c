/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mempool.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define BLOCKS 500

struct block {
    uint8_t *memory;
    size_t size;
    uint8_t fill;
};

static void check(const struct block *block)
{
    for (size_t i = 0; i < block->size; i++) {
        ck_assert_msg(block->memory[i] == block->fill, "byte %zu of %zu", i, block->size);
    }
}

/* Random blocks come, grow and go; none may touch another. The seed is the index. */
START_TEST(blocks_do_not_overlap)
{
    struct mempool pool = {0};
    static struct block blocks[BLOCKS];
    memset(blocks, 0, sizeof blocks);
    uint64_t seed = (uint64_t)_i + 1;
    unsigned steps = effort_count(5000, 2 * BLOCKS, "steps");
    for (unsigned step = 0; step < steps; step++) {
        seed = mix64(seed);
        struct block *block = &blocks[seed % BLOCKS];
        size_t size = (seed >> 16) % 1500;
        if (block->memory != NULL && size < block->size) {
            if (step % 16 == 0) {
                check(block);
            }
            mempool_free(&pool, block->memory);
            *block = (struct block){0};
            continue;
        }
        uint8_t *memory = mempool_realloc(&pool, block->memory, size);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < block->size; i++) {
            if (memory[i] != block->fill) {
                ck_abort_msg("growing lost byte %zu of %zu", i, block->size);
            }
        }
        *block = (struct block){memory, size, (uint8_t)seed};
        memset(memory, block->fill, size);
    }
    ck_assert_uint_le(pool.kept_bytes, MEMPOOL_KEPT_MAX + MEMPOOL_SIZE_MAX);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i].size < 100) {
            check(&blocks[i]);
        }
        mempool_free(&pool, blocks[i].memory);
    }
    mempool_fini(&pool);
}
END_TEST

START_TEST(what_was_given_back_is_given_out_again)
{
#ifdef __SANITIZE_ADDRESS__
    runner_skip("under the address sanitizer nothing is kept");
#else
    struct mempool pool = {0};
    void *first = mempool_alloc(&pool, 100);
    void *other = mempool_alloc(&pool, 200);
    mempool_free(&pool, first);
    ck_assert_ptr_eq(mempool_alloc(&pool, 97), first); /* the same 16 bytes' class */
    mempool_free(&pool, first);
    void *smaller = mempool_alloc(&pool, 96);
    ck_assert_ptr_ne(smaller, first);
    ck_assert_uint_eq(pool.kept_bytes, 112);
    ck_assert_uint_eq(pool.used_count, 2);
    mempool_free(&pool, smaller);
    mempool_free(&pool, other);
    mempool_fini(&pool);
#endif
}
END_TEST

START_TEST(what_it_keeps_is_bounded)
{
    struct mempool pool = {0};
    enum { COUNT = MEMPOOL_KEPT_MAX / 1024 + 100 };
    static void *blocks[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = mempool_alloc(&pool, 1024);
        ck_assert_ptr_nonnull(blocks[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        mempool_free(&pool, blocks[i]);
    }
    ck_assert_uint_le(pool.kept_bytes, MEMPOOL_KEPT_MAX);
    mempool_fini(&pool);
}
END_TEST

START_TEST(sizes_that_cannot_be_are_refused)
{
    struct mempool pool = {0};
    nghttp2_mem mem = mempool_for_nghttp2(&pool);
    ck_assert_ptr_null(mem.malloc(SIZE_MAX, mem.mem_user_data));
    ck_assert_ptr_null(mem.calloc(SIZE_MAX / 2, 3, mem.mem_user_data));
    mem.free(NULL, mem.mem_user_data);
    uint8_t *zeros = mem.calloc(3, 100, mem.mem_user_data);
    memset(zeros, 'x', 300);
    mem.free(zeros, mem.mem_user_data);
    zeros = mem.calloc(3, 100, mem.mem_user_data);
    for (unsigned i = 0; i < 300; i++) {
        ck_assert_uint_eq(zeros[i], 0);
    }
    mem.free(zeros, mem.mem_user_data);
    mempool_fini(&pool);
}
END_TEST

static Suite *mempool_suite(void)
{
    Suite *suite = suite_create("mempool");
    TCase *tcase = tcase_create("mempool");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, blocks_do_not_overlap, 0, 4);
    tcase_add_test(tcase, what_was_given_back_is_given_out_again);
    tcase_add_test(tcase, what_it_keeps_is_bounded);
    tcase_add_test(tcase, sizes_that_cannot_be_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(mempool_suite);
}
