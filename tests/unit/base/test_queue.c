/* SPDX-License-Identifier: Apache-2.0 */
#include "base/queue.h"

#include "tests/lib/runner.h"

struct item {
    struct queue link;
    int value;
};

static struct item items[4];

static void setup(void)
{
    for (int i = 0; i < (int)ARRAY_LEN(items); i++) {
        items[i].value = i;
        queue_init(&items[i].link);
    }
}

/* The values from front to back, as the digits of a number. */
static int digits(struct queue *head)
{
    int number = 0;
    QUEUE_FOREACH (link, head) {
        number = number * 10 + QUEUE_ELEM(link, struct item, link)->value;
    }
    return number;
}

START_TEST(push_and_pop_keep_the_order)
{
    struct queue head;
    queue_init(&head);
    ck_assert(queue_empty(&head));
    ck_assert_ptr_null(queue_pop_front(&head));
    queue_push_back(&head, &items[1].link);
    queue_push_back(&head, &items[2].link);
    queue_push_front(&head, &items[3].link);
    ck_assert_int_eq(digits(&head), 312);
    ck_assert_ptr_eq(queue_pop_front(&head), &items[3].link);
    ck_assert_int_eq(digits(&head), 12);
}
END_TEST

START_TEST(removing_twice_does_no_harm)
{
    struct queue head;
    queue_init(&head);
    queue_push_back(&head, &items[1].link);
    queue_push_back(&head, &items[2].link);
    queue_remove(&items[1].link);
    queue_remove(&items[1].link);
    ck_assert_int_eq(digits(&head), 2);
    ck_assert(queue_empty(&items[1].link));
}
END_TEST

START_TEST(splice_moves_all_to_the_end)
{
    struct queue a;
    struct queue b;
    queue_init(&a);
    queue_init(&b);
    queue_splice(&a, &b);
    ck_assert(queue_empty(&a));
    queue_push_back(&b, &items[1].link);
    queue_push_back(&b, &items[2].link);
    queue_splice(&a, &b);
    ck_assert(queue_empty(&b));
    queue_push_back(&b, &items[3].link);
    queue_splice(&a, &b);
    ck_assert_int_eq(digits(&a), 123);
}
END_TEST

START_TEST(foreach_safe_allows_removal)
{
    struct queue head;
    queue_init(&head);
    for (size_t i = 1; i < ARRAY_LEN(items); i++) {
        queue_push_back(&head, &items[i].link);
    }
    QUEUE_FOREACH_SAFE(link, &head)
    {
        if (QUEUE_ELEM(link, struct item, link)->value != 2) {
            queue_remove(link);
        }
    }
    ck_assert_int_eq(digits(&head), 2);
}
END_TEST

static Suite *queue_suite(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, push_and_pop_keep_the_order);
    tcase_add_test(tc, removing_twice_does_no_harm);
    tcase_add_test(tc, splice_moves_all_to_the_end);
    tcase_add_test(tc, foreach_safe_allows_removal);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(queue_suite);
}
