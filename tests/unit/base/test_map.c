/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

struct element {
    struct map_link link;
    uint64_t key;
    bool in;
};

static struct element *find(const struct map *map, uint64_t key)
{
    struct map_link *link = map_first(map, map_hash_u64(map, key));
    while (link != NULL) {
        struct element *e = CONTAINER_OF(link, struct element, link);
        if (e->key == key) {
            return e;
        }
        link = map_next(link);
    }
    return NULL;
}

START_TEST(an_empty_map_finds_nothing)
{
    struct map map;
    map_init(&map, (struct hash_seed){1, 2});
    ck_assert_ptr_null(map_first(&map, 0));
    map_foreach(&map, NULL, NULL);
    map_fini(&map);
}
END_TEST

static void count_element(struct map_link *link, void *ctx)
{
    struct element *e = CONTAINER_OF(link, struct element, link);
    size_t *count = ctx;
    (*count) += e->in;
}

START_TEST(random_operations_agree_with_a_table)
{
    enum { N = 3000 };
    static struct element elements[N];
    memset(elements, 0, sizeof elements);
    struct map map;
    map_init(&map, (struct hash_seed){(uint64_t)_i, 7});
    uint64_t random = (uint64_t)_i + 1;
    size_t count = 0;
    int steps = (int)effort_count(20000, 6000, "steps"); /* the table grows several times */
    for (int step = 0; step < steps; step++) {
        random = mix64(random + 1);
        /* Few keys at first, so that the table grows while it is being used. */
        uint64_t key = random % (uint64_t)(10 + step / 6) % N;
        struct element *e = &elements[key];
        ck_assert_msg(find(&map, key) == (e->in ? e : NULL), "seed %d, step %d", _i, step);
        if (e->in && (random >> 32) % 4 == 0) {
            map_remove(&map, &e->link);
            e->in = false;
            count--;
        } else if (!e->in) {
            e->key = key;
            e->in = true;
            ck_assert_int_eq(map_insert(&map, &e->link, map_hash_u64(&map, key)), OK);
            count++;
        }
        if (step % 1000 == 0) {
            ck_assert_uint_eq(map.count, count);
            size_t seen = 0;
            map_foreach(&map, count_element, &seen);
            ck_assert_uint_eq(seen, count);
        }
    }
    size_t wrong = 0;
    for (uint64_t key = 0; key < N; key++) {
        wrong += find(&map, key) != (elements[key].in ? &elements[key] : NULL);
    }
    ck_assert_uint_eq(wrong, 0);
    map_fini(&map);
}
END_TEST

START_TEST(elements_of_one_hash_are_told_apart_by_the_caller)
{
    struct element same[40] = {0};
    struct map map;
    map_init(&map, (struct hash_seed){0});
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        ck_assert_int_eq(map_insert(&map, &same[i].link, 42), OK);
    }
    size_t found = 0;
    for (struct map_link *l = map_first(&map, 42); l != NULL; l = map_next(l)) {
        found++;
    }
    ck_assert_uint_eq(found, ARRAY_LEN(same));
    for (size_t i = 0; i < ARRAY_LEN(same); i += 2) {
        map_remove(&map, &same[i].link);
    }
    found = 0;
    for (struct map_link *l = map_first(&map, 42); l != NULL; l = map_next(l)) {
        found++;
    }
    ck_assert_uint_eq(found, ARRAY_LEN(same) / 2);
    map_fini(&map);
}
END_TEST

static void remove_element(struct map_link *link, void *ctx)
{
    map_remove(ctx, link);
    free(CONTAINER_OF(link, struct element, link));
}

START_TEST(foreach_may_empty_the_map)
{
    struct map map;
    map_init(&map, (struct hash_seed){3, 4});
    for (uint64_t key = 0; key < 1000 + (uint64_t)_i * 30; key++) {
        struct element *e = calloc(1, sizeof *e);
        ck_assert_ptr_nonnull(e);
        ck_assert_int_eq(map_insert(&map, &e->link, map_hash_u64(&map, key)), OK);
    }
    map_foreach(&map, remove_element, &map);
    ck_assert_uint_eq(map.count, 0);
    map_fini(&map);
}
END_TEST

/* At most two elements a bucket on the average, and the old table gone before the next doubling:
 * otherwise growing would come to a stop. */
START_TEST(a_table_in_the_middle_of_growing_finishes_in_time)
{
    enum { N = 100000 };
    struct element *elements = calloc(N, sizeof *elements);
    ck_assert_ptr_nonnull(elements);
    struct map map;
    map_init(&map, (struct hash_seed){5, 6});
    bool seen_half_way = false;
    for (uint64_t key = 0; key < N; key++) {
        enum err err = map_insert(&map, &elements[key].link, map_hash_u64(&map, key));
        ck_assert_msg(err == OK && map.count <= map.bucket_count, "at %zu", map.count);
        seen_half_way |= map.old != NULL && map.moved > 0;
    }
    ck_assert(seen_half_way);
    map_fini(&map);
    free(elements);
}
END_TEST

START_TEST(texts_are_hashed_with_the_seed)
{
    struct map a;
    struct map b;
    map_init(&a, (struct hash_seed){1, 1});
    map_init(&b, (struct hash_seed){1, 2});
    struct bytes key = bytes_of_str("key");
    ck_assert_uint_eq(map_hash_bytes(&a, key), hash_bytes(key, &a.seed));
    ck_assert_uint_ne(map_hash_bytes(&a, key), map_hash_bytes(&b, key));
    ck_assert_uint_ne(map_hash_u64(&a, 1), map_hash_u64(&b, 1));
}
END_TEST

static Suite *map_suite(void)
{
    Suite *suite = suite_create("map");
    TCase *tc = tcase_create("map");
    tcase_add_test(tc, an_empty_map_finds_nothing);
    tcase_add_loop_test(tc, random_operations_agree_with_a_table, 0, 4);
    tcase_add_test(tc, elements_of_one_hash_are_told_apart_by_the_caller);
    tcase_add_loop_test(tc, foreach_may_empty_the_map, 0, 4);
    tcase_add_test(tc, a_table_in_the_middle_of_growing_finishes_in_time);
    tcase_add_test(tc, texts_are_hashed_with_the_seed);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(map_suite);
}
