/* SPDX-License-Identifier: Apache-2.0 */
#include "server/query.h"

#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"

#define SELF       1u
#define OTHER      2u
#define TIMEOUT_MS 7000

static struct env_fake *fake;
static struct node *node;
static struct query query;

struct reader_of_state {
    struct read_op op;
    int calls;
    enum err status;
    uint64_t at_ms;
};

static void on_read(struct read_op *op, enum err status)
{
    struct reader_of_state *reader = CONTAINER_OF(op, struct reader_of_state, op);
    reader->calls++;
    reader->status = status;
    reader->at_ms = env_now_ms(env_fake_env(fake));
}

static void set_up(void)
{
    fake = env_fake_new(1);
    node = node_fake_new(env_fake_env(fake), SELF);
    node_fake_set_leader(node, 1, OTHER);
    query_init(&query, env_fake_env(fake), node, TIMEOUT_MS);
}

static void tear_down(void)
{
    query_finish_all(&query, ERR_STOPPED);
    query_fini(&query);
    node_fake_free(node);
    env_fake_free(fake);
}

static void expect(const struct reader_of_state *reader, int calls, enum err status)
{
    ck_assert_int_eq(reader->calls, calls);
    ck_assert_int_eq(reader->status, status);
}

START_TEST(reads_are_answered_with_their_index)
{
    struct reader_of_state a = {0};
    struct reader_of_state b = {0};
    query_start(&query, &a.op, on_read);
    query_start(&query, &b.op, on_read);
    ck_assert_uint_eq(node_fake_read_count(node), 2);
    expect(&a, 0, OK);
    node_fake_answer_reads(node, OK);
    expect(&a, 1, OK);
    expect(&b, 1, OK);
    ck_assert_uint_eq(query.failed_total, 0);
    env_fake_advance(fake, 2 * TIMEOUT_MS);
    expect(&a, 1, OK);
}
END_TEST

START_TEST(a_failed_read_is_told_and_counted)
{
    struct reader_of_state a = {0};
    query_start(&query, &a.op, on_read);
    node_fake_answer_reads(node, ERR_LEADER_CHANGED);
    expect(&a, 1, ERR_LEADER_CHANGED);
    ck_assert_uint_eq(query.failed_total, 1);
}
END_TEST

START_TEST(a_read_without_a_leader_waits_for_one)
{
    struct reader_of_state a = {0};
    node_fake_set_leader(node, 1, 0);
    query_start(&query, &a.op, on_read);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    expect(&a, 0, OK);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
    env_fake_advance(fake, TIMEOUT_MS - 1);
    expect(&a, 0, OK);
    node_fake_set_leader(node, 2, OTHER);
    query_kick(&query);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    expect(&a, 1, OK);
}
END_TEST

/* Its kick came before the answer: there will not be another. */
START_TEST(a_leader_that_came_before_the_answer_is_asked)
{
    struct reader_of_state a = {0};
    node_fake_set_leader(node, 1, 0);
    query_start(&query, &a.op, on_read);
    node_fake_set_leader(node, 2, OTHER);
    query_kick(&query);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    expect(&a, 1, OK);
}
END_TEST

START_TEST(a_read_times_out_wherever_it_waits)
{
    struct reader_of_state asked = {0};
    struct reader_of_state waiting = {0};
    node_fake_set_leader(node, 1, 0);
    query_start(&query, &waiting.op, on_read);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    env_fake_advance(fake, 10);
    query_start(&query, &asked.op, on_read);
    env_fake_advance(fake, TIMEOUT_MS - 11);
    expect(&waiting, 0, OK);
    env_fake_advance(fake, 1);
    expect(&waiting, 1, ERR_TIMEOUT);
    env_fake_advance(fake, 9);
    expect(&asked, 0, OK);
    env_fake_advance(fake, 1);
    expect(&asked, 1, ERR_TIMEOUT);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
    ck_assert_uint_eq(query.failed_total, 2);
}
END_TEST

/* Older reads come to a list after younger ones when a leader is found, or lost. */
START_TEST(each_read_times_out_at_its_own_time)
{
    enum { COUNT = 8 };
    struct reader_of_state readers[COUNT] = {0};
    uint64_t started[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        bool lost = (_i >> i % 4 & 1) != 0;
        node_fake_set_leader(node, 1, lost ? 0 : OTHER);
        started[i] = env_now_ms(env_fake_env(fake));
        query_start(&query, &readers[i].op, on_read);
        if (lost) {
            node_fake_answer_reads(node, ERR_NO_LEADER);
        } else {
            query_kick(&query);
        }
        env_fake_advance(fake, 100);
    }
    env_fake_advance(fake, 3ul * TIMEOUT_MS);
    for (size_t i = 0; i < COUNT; i++) {
        expect(&readers[i], 1, ERR_TIMEOUT);
        ck_assert_uint_eq(readers[i].at_ms - started[i], TIMEOUT_MS);
    }
}
END_TEST

START_TEST(a_cancelled_read_is_not_called_back)
{
    struct reader_of_state asked = {0};
    struct reader_of_state waiting = {0};
    struct reader_of_state finished = {0};
    node_fake_set_leader(node, 1, 0);
    query_start(&query, &waiting.op, on_read);
    query_start(&query, &finished.op, on_read);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    query_start(&query, &asked.op, on_read);
    query_cancel(&query, &asked.op);
    query_cancel(&query, &waiting.op);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
    query_cancel(&query, &finished.op);
    query_cancel(&query, &finished.op); /* twice does no harm */
    env_fake_advance(fake, 3ul * TIMEOUT_MS);
    expect(&asked, 0, OK);
    expect(&waiting, 0, OK);
    expect(&finished, 0, OK);
}
END_TEST

START_TEST(all_end_together)
{
    struct reader_of_state asked = {0};
    struct reader_of_state waiting = {0};
    node_fake_set_leader(node, 1, 0);
    query_start(&query, &waiting.op, on_read);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    query_start(&query, &asked.op, on_read);
    query_finish_all(&query, ERR_STOPPED);
    expect(&asked, 1, ERR_STOPPED);
    expect(&waiting, 1, ERR_STOPPED);
    ck_assert_uint_eq(node_fake_read_count(node), 0);
}
END_TEST

static struct reader_of_state second;

static void start_second(struct read_op *op, enum err status)
{
    on_read(op, status);
    query_start(&query, &second.op, on_read);
}

START_TEST(a_callback_may_read_again)
{
    struct reader_of_state a = {0};
    second = (struct reader_of_state){0};
    query_start(&query, &a.op, start_second);
    node_fake_answer_reads(node, OK);
    expect(&a, 1, OK);
    expect(&second, 0, OK);
    env_fake_advance(fake, TIMEOUT_MS);
    expect(&second, 1, ERR_TIMEOUT);
}
END_TEST

static Suite *query_suite(void)
{
    Suite *suite = suite_create("query");
    TCase *tc = tcase_create("query");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, reads_are_answered_with_their_index);
    tcase_add_test(tc, a_failed_read_is_told_and_counted);
    tcase_add_test(tc, a_read_without_a_leader_waits_for_one);
    tcase_add_test(tc, a_leader_that_came_before_the_answer_is_asked);
    tcase_add_test(tc, a_read_times_out_wherever_it_waits);
    tcase_add_loop_test(tc, each_read_times_out_at_its_own_time, 0, 16);
    tcase_add_test(tc, a_cancelled_read_is_not_called_back);
    tcase_add_test(tc, all_end_together);
    tcase_add_test(tc, a_callback_may_read_again);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(query_suite);
}
