/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pending.h"

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"

#define TIMEOUT_MS 7000

static struct env_fake *fake;
static struct pending pending;

struct waiter {
    struct op op;
    int calls;
    enum err status;
};

static void on_op(struct op *op, enum err status)
{
    struct waiter *waiter = CONTAINER_OF(op, struct waiter, op);
    waiter->calls++;
    waiter->status = status;
}

static void set_up(void)
{
    fake = env_fake_new(1);
    pending_init(&pending, env_fake_env(fake), TIMEOUT_MS);
}

static void tear_down(void)
{
    pending_finish_all(&pending, ERR_STOPPED);
    pending_fini(&pending);
    env_fake_free(fake);
}

START_TEST(an_op_is_taken_once_by_its_number)
{
    struct waiter a = {0};
    struct waiter b = {0};
    ck_assert_int_eq(pending_add(&pending, &a.op, on_op), OK);
    ck_assert_int_eq(pending_add(&pending, &b.op, on_op), OK);
    ck_assert_uint_ne(a.op.number, b.op.number);
    ck_assert(pending_has(&pending, a.op.number));
    ck_assert_ptr_eq(pending_take(&pending, a.op.number), &a.op);
    ck_assert_ptr_null(pending_take(&pending, a.op.number));
    ck_assert_uint_eq(pending.count, 1);
    env_fake_advance(fake, 2 * TIMEOUT_MS);
    ck_assert_int_eq(a.calls, 0);
    ck_assert_int_eq(b.calls, 1);
}
END_TEST

START_TEST(those_that_are_refused_end_together)
{
    struct waiter waiters[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pending_add(&pending, &waiters[i].op, on_op), OK);
        waiters[i].op.refused = i != 2;
    }
    pending_finish(&pending, &waiters[1].op, ERR_CANCELLED);
    pending_finish_refused(&pending);
    ck_assert_int_eq(waiters[0].calls, 0);
    env_fake_run(fake);
    static const enum err want[] = {ERR_QUOTA, ERR_CANCELLED, OK, ERR_QUOTA};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(waiters[i].calls, i != 2);
        ck_assert_int_eq(waiters[i].status, want[i]);
    }
    ck_assert_ptr_eq(pending_find(&pending, waiters[2].op.number), &waiters[2].op);
    ck_assert_ptr_null(pending_find(&pending, waiters[3].op.number));
    ck_assert_uint_eq(pending.count, 1);
    ck_assert_int_eq(pending_add(&pending, &waiters[3].op, on_op), OK); /* once more, not marked */
    pending_finish_refused(&pending);
    env_fake_run(fake);
    ck_assert_int_eq(waiters[3].calls, 1);
    waiters[3].op.refused = true;
    env_fake_advance(fake, TIMEOUT_MS);
    ck_assert_int_eq(waiters[2].status, ERR_TIMEOUT);
    ck_assert_int_eq(waiters[3].status, ERR_QUOTA);
    ck_assert_uint_eq(pending.timed_out_total, 1); /* what was refused is no unknown outcome */
}
END_TEST

START_TEST(each_op_times_out_at_its_own_time)
{
    struct waiter a = {0};
    struct waiter b = {0};
    ck_assert_int_eq(pending_add(&pending, &a.op, on_op), OK);
    env_fake_advance(fake, 1000);
    ck_assert_int_eq(pending_add(&pending, &b.op, on_op), OK);
    env_fake_advance(fake, TIMEOUT_MS - 1001);
    ck_assert_int_eq(a.calls, 0);
    env_fake_advance(fake, 1);
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(a.status, ERR_TIMEOUT);
    env_fake_advance(fake, 999);
    ck_assert_int_eq(b.calls, 0);
    env_fake_advance(fake, 1);
    ck_assert_int_eq(b.calls, 1);
    ck_assert_uint_eq(pending.count, 0);
}
END_TEST

START_TEST(a_finished_op_is_called_back_later_and_once)
{
    struct waiter a = {0};
    ck_assert_int_eq(pending_add(&pending, &a.op, on_op), OK);
    pending_finish(&pending, &a.op, ERR_CANCELLED);
    ck_assert_int_eq(a.calls, 0);
    env_fake_turn(fake);
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(a.status, ERR_CANCELLED);
    env_fake_advance(fake, 2 * TIMEOUT_MS);
    ck_assert_int_eq(a.calls, 1);
}
END_TEST

START_TEST(an_op_that_never_waited_is_called_back_too)
{
    struct waiter a = {0};
    a.op.cb = on_op;
    queue_init(&a.op.link);
    pending_finish(&pending, &a.op, ERR_QUOTA);
    env_fake_turn(fake);
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(a.status, ERR_QUOTA);
}
END_TEST

START_TEST(two_lives_do_not_share_numbers)
{
    struct waiter a = {0};
    struct waiter b = {0};
    struct env_fake *other_fake = env_fake_new(2);
    struct pending other;
    pending_init(&other, env_fake_env(other_fake), TIMEOUT_MS);
    ck_assert_int_eq(pending_add(&pending, &a.op, on_op), OK);
    ck_assert_int_eq(pending_add(&other, &b.op, on_op), OK);
    ck_assert(!pending_has(&other, a.op.number));
    pending_finish_all(&pending, ERR_STOPPED);
    pending_finish_all(&other, ERR_STOPPED);
    ck_assert_int_eq(b.status, ERR_STOPPED);
    pending_fini(&other);
    env_fake_free(other_fake);
}
END_TEST

static Suite *pending_suite(void)
{
    Suite *suite = suite_create("pending");
    TCase *tcase = tcase_create("pending");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, an_op_is_taken_once_by_its_number);
    tcase_add_test(tcase, those_that_are_refused_end_together);
    tcase_add_test(tcase, each_op_times_out_at_its_own_time);
    tcase_add_test(tcase, a_finished_op_is_called_back_later_and_once);
    tcase_add_test(tcase, an_op_that_never_waited_is_called_back_too);
    tcase_add_test(tcase, two_lives_do_not_share_numbers);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(pending_suite);
}
