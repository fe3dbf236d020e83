/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftheap.h"

#include <raft.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static const size_t sizes[] = {1, 8, 24, 100, 1000, 4096, 100000};

/* What the core puts into the log goes to disks and to other members. Its barrier entry is 8 bytes
 * that it never writes: they were whatever had been in memory there, keys and secrets included. */
START_TEST(memory_of_the_core_tells_nothing_of_its_past)
{
    size_t size = sizes[_i];
    raftheap_set();
    uint8_t *before = raft_malloc(size);
    memset(before, 0xa5, size);
    raft_free(before);
    uint8_t *after = raft_malloc(size); /* most likely the same */
    for (size_t i = 0; i < size; i++) {
        ck_assert_msg(after[i] == 0, "byte %zu of %zu", i, size);
    }
    raft_free(after);
}
END_TEST

START_TEST(nothing_at_all_is_memory_too)
{
    raftheap_set();
    void *memory = raft_malloc(0);
    ck_assert_ptr_nonnull(memory);
    raft_free(memory);
    memory = raft_calloc(0, 8);
    ck_assert_ptr_nonnull(memory);
    raft_free(memory);
}
END_TEST

static Suite *raftheap_suite(void)
{
    Suite *suite = suite_create("raftheap");
    TCase *tc = tcase_create("raftheap");
    tcase_add_loop_test(tc, memory_of_the_core_tells_nothing_of_its_past, 0, ARRAY_LEN(sizes));
    tcase_add_test(tc, nothing_at_all_is_memory_too);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(raftheap_suite);
}
