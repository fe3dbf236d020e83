/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/interval.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/runner.h"

/* Random ranges over few letters, so that they overlap, nest and begin or end alike; a plain array
 * beside the tree answers the same questions. */
enum { RANGES = 300, KEY_MAX = 3 };

struct range {
    struct interval interval;
    char start[KEY_MAX + 1];
    char end[KEY_MAX + 1];
    bool in_tree;
    bool found;
};

static struct fixture {
    uint64_t random;
    struct interval_tree tree;
    struct range ranges[RANGES];
} f;

static unsigned below(unsigned n)
{
    f.random = mix64(f.random + 0x9e3779b97f4a7c15u);
    return (unsigned)(f.random % n);
}

static struct bytes random_key(char *text)
{
    unsigned len = 1 + below(KEY_MAX);
    for (unsigned i = 0; i < len; i++) {
        text[i] = (char)('a' + (char)below(4));
    }
    return bytes_of(text, len);
}

static bool has_no_end(const struct range *range)
{
    return bytes_equal(range->interval.end, bytes_of("", 1));
}

static bool holds(const struct range *range, struct bytes key)
{
    return bytes_compare(range->interval.start, key) <= 0 &&
           (has_no_end(range) || bytes_compare(key, range->interval.end) < 0);
}

static void add_range(struct range *range)
{
    range->interval.start = random_key(range->start);
    range->interval.end = below(6) == 0 ? bytes_of("", 1) : random_key(range->end);
    if (!has_no_end(range) && bytes_compare(range->interval.start, range->interval.end) >= 0) {
        return;
    }
    if (interval_find(&f.tree, range->interval.start, range->interval.end) == NULL) {
        interval_insert(&f.tree, &range->interval);
        range->in_tree = true;
    }
}

static void on_found(struct interval *interval, void *ctx)
{
    struct range *range = CONTAINER_OF(interval, struct range, interval);
    struct range **last = ctx;
    ck_assert(range->in_tree);
    ck_assert(!range->found);
    ck_assert(*last == NULL || bytes_compare((*last)->interval.start, range->interval.start) <= 0);
    *last = range;
    range->found = true;
}

static void ck_stab(void)
{
    char text[KEY_MAX + 1];
    struct bytes key = random_key(text);
    struct range *last = NULL;
    interval_stab(&f.tree, key, on_found, &last);
    for (unsigned i = 0; i < RANGES; i++) {
        struct range *range = &f.ranges[i];
        ck_assert_int_eq(range->found, range->in_tree && holds(range, key));
        range->found = false;
    }
}

START_TEST(it_finds_what_an_array_finds)
{
    f = (struct fixture){.random = (uint64_t)_i};
    interval_init(&f.tree, (uint64_t)_i);
    size_t most = 0;
    for (unsigned step = 0; step < 4000; step++) {
        struct range *range = &f.ranges[below(RANGES)];
        if (!range->in_tree) {
            add_range(range);
        } else if (below(3) == 0) {
            interval_remove(&f.tree, &range->interval);
            range->in_tree = false;
        }
        most = f.tree.count > most ? f.tree.count : most;
        if (step % 16 == 0) {
            interval_check(&f.tree);
            ck_stab();
        }
    }
    ck_assert_uint_gt(most, 100);
}
END_TEST

START_TEST(an_empty_tree_finds_nothing)
{
    struct range *last = NULL;
    interval_init(&f.tree, 1);
    interval_stab(&f.tree, bytes_of_str("a"), on_found, &last);
    ck_assert_ptr_null(last);
    ck_assert_ptr_null(interval_find(&f.tree, bytes_of_str("a"), bytes_of_str("b")));
    interval_check(&f.tree);
}
END_TEST

static unsigned depth_of(const struct interval *node)
{
    if (node == NULL) {
        return 0;
    }
    unsigned left = depth_of(node->left);
    unsigned right = depth_of(node->right);
    return 1 + (left > right ? left : right);
}

/* In order, and then each within the one before: what makes a plain tree a list. */
START_TEST(ranges_in_any_order_make_a_shallow_tree)
{
    enum { COUNT = 20000 };
    struct interval *intervals = calloc(COUNT, sizeof *intervals);
    char(*texts)[2][16] = calloc(COUNT, sizeof *texts);
    ck_assert(intervals != NULL && texts != NULL);
    interval_init(&f.tree, 7);
    for (int i = 0; i < COUNT; i++) {
        int start = i;
        int end = _i == 0 ? i + 1 : 2 * COUNT - i;
        (void)snprintf(texts[i][0], sizeof texts[i][0], "%06d", start);
        (void)snprintf(texts[i][1], sizeof texts[i][1], "%06d", end);
        intervals[i].start = bytes_of_str(texts[i][0]);
        intervals[i].end = bytes_of_str(texts[i][1]);
        interval_insert(&f.tree, &intervals[i]);
    }
    interval_check(&f.tree);
    ck_assert_uint_lt(depth_of(f.tree.root), 60);
    for (int i = 0; i < COUNT; i++) {
        interval_remove(&f.tree, &intervals[i]);
    }
    ck_assert_uint_eq(f.tree.count, 0);
    ck_assert_ptr_null(f.tree.root);
    free(texts);
    free(intervals);
}
END_TEST

static Suite *interval_suite(void)
{
    Suite *suite = suite_create("interval");
    TCase *tc = tcase_create("tree");
    tcase_add_test(tc, an_empty_tree_finds_nothing);
    tcase_add_loop_test(tc, it_finds_what_an_array_finds, 0, 20);
    tcase_add_loop_test(tc, ranges_in_any_order_make_a_shallow_tree, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(interval_suite);
}
