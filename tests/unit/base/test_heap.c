/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <stddef.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/runner.h"

START_TEST(an_empty_heap_has_no_least)
{
    struct heap heap;
    heap_init(&heap);
    ck_assert_ptr_null(heap_min(&heap));
    struct heap_link link = {0};
    heap_remove(&heap, &link); /* not in it: nothing happens */
    ck_assert(!heap_link_active(&link));
    heap_fini(&heap);
}
END_TEST

START_TEST(equal_keys_come_out_as_they_went_in)
{
    enum { N = 100 };
    struct heap heap;
    heap_init(&heap);
    struct heap_link links[N] = {0};
    for (size_t i = 0; i < N; i++) {
        ck_assert_int_eq(heap_insert(&heap, &links[i], i % 3), OK);
    }
    for (uint64_t key = 0; key < 3; key++) {
        for (size_t i = key; i < N; i += 3) {
            ck_assert_ptr_eq(heap_min(&heap), &links[i]);
            heap_remove(&heap, &links[i]);
        }
    }
    ck_assert_ptr_null(heap_min(&heap));
    heap_fini(&heap);
}
END_TEST

/* Every parent before its children, every link knows its place. */
static bool valid(const struct heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        const struct heap_link *link = heap->slots[i];
        const struct heap_link *parent = heap->slots[i == 0 ? 0 : (i - 1) / 2];
        bool ordered = i == 0 || parent->key < link->key ||
                       (parent->key == link->key && parent->seq < link->seq);
        if (link->slot != i + 1 || !ordered) {
            return false;
        }
    }
    return true;
}

static const struct heap_link *naive_min(const struct heap_link *links, size_t count)
{
    const struct heap_link *min = NULL;
    for (size_t i = 0; i < count; i++) {
        if (heap_link_active(&links[i]) &&
            (min == NULL || links[i].key < min->key ||
             (links[i].key == min->key && links[i].seq < min->seq))) {
            min = &links[i];
        }
    }
    return min;
}

START_TEST(random_operations_agree_with_a_search)
{
    enum { N = 60, STEPS = 5000 };
    struct heap heap;
    heap_init(&heap);
    struct heap_link links[N] = {0};
    uint64_t random = (uint64_t)_i + 1;
    uint32_t active = 0;
    for (int step = 0; step < STEPS; step++) {
        random = mix64(random + 1);
        struct heap_link *link = &links[random % N];
        if (heap_link_active(link)) {
            heap_remove(&heap, link);
            active--;
        } else {
            enum err err = heap_insert(&heap, link, (random >> 32) % 40);
            ck_assert_int_eq(err, OK);
            active++;
        }
        bool agrees =
            heap.count == active && heap_min(&heap) == naive_min(links, N) && valid(&heap);
        ck_assert_msg(agrees, "seed %d, step %d", _i, step);
    }
    heap_fini(&heap);
    ck_assert_ptr_null(naive_min(links, N)); /* fini lets go of what was left */
}
END_TEST

static Suite *heap_suite(void)
{
    Suite *suite = suite_create("heap");
    TCase *tc = tcase_create("heap");
    tcase_add_test(tc, an_empty_heap_has_no_least);
    tcase_add_test(tc, equal_keys_come_out_as_they_went_in);
    tcase_add_loop_test(tc, random_operations_agree_with_a_search, 0, 5);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(heap_suite);
}
