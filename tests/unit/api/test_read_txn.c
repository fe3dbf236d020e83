/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/api/service_fixture.h"

/* Transactions that only read, cheap ones and those whose ranges take their turns. */

#define TXN "/etcdserverpb.KV/Txn"

static struct reply reply;
static struct reply logged;
static struct arena arena;

static void setup(void)
{
    served_start();
}

static void teardown(void)
{
    reply_fini(&reply);
    reply_fini(&logged);
    arena_fini(&arena);
    served_stop();
}

/* ---- requests, in the arena ---- */

#define OPS_MAX 24

static Etcdserverpb__TxnRequest *new_txn(void)
{
    Etcdserverpb__TxnRequest *txn = arena_alloc(&arena, sizeof *txn);
    etcdserverpb__txn_request__init(txn);
    txn->success = arena_calloc(&arena, OPS_MAX, sizeof txn->success[0]);
    txn->failure = arena_calloc(&arena, OPS_MAX, sizeof txn->failure[0]);
    return txn;
}

static Etcdserverpb__RequestOp *new_op(Etcdserverpb__RequestOp__RequestCase what)
{
    Etcdserverpb__RequestOp *op = arena_alloc(&arena, sizeof *op);
    etcdserverpb__request_op__init(op);
    op->request_case = what;
    return op;
}

static Etcdserverpb__RequestOp *range_op(const char *key, const char *end, int64_t revision)
{
    Etcdserverpb__RequestOp *op = new_op(ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE);
    op->request_range = arena_alloc(&arena, sizeof *op->request_range);
    etcdserverpb__range_request__init(op->request_range);
    op->request_range->key = BINARY(key);
    op->request_range->range_end = BINARY(end);
    op->request_range->revision = revision;
    return op;
}

static Etcdserverpb__RequestOp *put_op(const char *key)
{
    Etcdserverpb__RequestOp *op = new_op(ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT);
    op->request_put = arena_alloc(&arena, sizeof *op->request_put);
    etcdserverpb__put_request__init(op->request_put);
    op->request_put->key = BINARY(key);
    return op;
}

/* The branch that is taken when WANTED is. */
static void add(Etcdserverpb__TxnRequest *txn, bool wanted, Etcdserverpb__RequestOp *op)
{
    if (wanted) {
        txn->success[txn->n_success++] = op;
    } else {
        txn->failure[txn->n_failure++] = op;
    }
}

static void compare_version(Etcdserverpb__TxnRequest *txn, const char *key, int64_t version)
{
    Etcdserverpb__Compare *compare = arena_alloc(&arena, sizeof *compare);
    etcdserverpb__compare__init(compare);
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
    compare->key = BINARY(key);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    compare->version = version;
    txn->compare = arena_calloc(&arena, 1, sizeof txn->compare[0]);
    txn->compare[txn->n_compare++] = compare;
}

/* ---- byte for byte ---- */

static unsigned short dice_state[3];

static unsigned dice(unsigned sides)
{
    return (unsigned)nrand48(dice_state) % sides;
}

static Etcdserverpb__RequestOp *any_range(void)
{
    static const char *const keys[] = {"a", "k", "k00000000", "k00000007", "k00000020"};
    static const char *const ends[] = {"", "", "k00000003", "k00000030", "l"};
    bool past = dice(4) == 0;
    Etcdserverpb__RequestOp *op = range_op(keys[dice(5)], ends[dice(5)], past ? 5 + dice(45) : 0);
    Etcdserverpb__RangeRequest *range = op->request_range;
    range->limit = dice(3) == 0 ? dice(30) : 0;
    range->sort_order = (Etcdserverpb__RangeRequest__SortOrder)dice(3);
    range->sort_target = (Etcdserverpb__RangeRequest__SortTarget)dice(5);
    range->keys_only = dice(4) == 0;
    range->count_only = dice(5) == 0;
    return op;
}

static Etcdserverpb__TxnRequest *any_txn(bool *succeeds)
{
    Etcdserverpb__TxnRequest *txn = new_txn();
    *succeeds = dice(2) == 0;
    compare_version(txn, "k00000003", *succeeds ? 1 : 7);
    for (unsigned i = 0, count = dice(7); i < count; i++) {
        add(txn, dice(3) > 0 ? *succeeds : !*succeeds, any_range());
    }
    return txn;
}

static const struct {
    unsigned keys;
    size_t value_bytes;
    unsigned txns;
} sizes[] = {{40, 5, 200}, {700, 5, 40}, {40, 20000, 20}};

/* A put on the branch that is not taken sends the same transaction through the log. */
START_TEST(an_answer_is_that_of_the_log)
{
    fill_store(sizes[_i].keys, sizes[_i].value_bytes);
    struct buf entry;
    entry_begin(&entry);
    entry_compact(&entry, 8);
    entry_apply(&entry);
    unsigned good = 0;
    for (unsigned seed = 0; seed < sizes[_i].txns; seed++) {
        dice_state[0] = (unsigned short)seed;
        bool succeeds;
        Etcdserverpb__TxnRequest *txn = any_txn(&succeeds);
        add(txn, !succeeds, put_op("z"));
        ask(&logged, TXN, &txn->base);
        *(succeeds ? &txn->n_failure : &txn->n_success) -= 1;
        served.hold_writes = true;
        for (unsigned dear = 0; dear < 2; dear++) {
            store_model_set_dear(served.store, dear != 0);
            ask(&reply, TXN, &txn->base);
            ck_assert_msg(reply.status == logged.status &&
                              bytes_equal(buf_bytes(&reply.text), buf_bytes(&logged.text)) &&
                              bytes_equal(buf_bytes(&reply.got), buf_bytes(&logged.got)),
                          "seed %u, dear %u", seed, dear);
        }
        served.hold_writes = false;
        good += reply.status == GRPC_OK;
        arena_reset(&arena);
    }
    ck_assert_uint_gt(good, sizes[_i].txns / 4);
}
END_TEST

/* ---- in turns ---- */

/* Begin a transaction of COUNT ranges over all keys, and come back when they have begun. */
static void begin_ranges(size_t count)
{
    Etcdserverpb__TxnRequest *txn = new_txn();
    for (size_t i = 0; i < count; i++) {
        add(txn, true, range_op("k", "l", 0));
    }
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    call_message(&reply, TXN, &txn->base);
    SERVE_UNTIL(store_model_waiting(served.store) == count);
    ck_assert(!reply.ended);
}

static void release_all(void)
{
    store_model_hold(served.store, false);
    SERVE_UNTIL(store_model_waiting(served.store) == 0);
}

static Etcdserverpb__TxnResponse *answered(void)
{
    SERVE_UNTIL(reply.ended);
    return answer_of(&reply, &etcdserverpb__txn_response__descriptor);
}

static size_t calls_under_way(void)
{
    return grpc_server_stats(service_grpc(served.service))->calls;
}

START_TEST(long_ranges_do_not_hold_the_loop)
{
    fill_store(20, 5);
    begin_ranges(2);
    put_key("other", "is served meanwhile");
    store_model_answer(served.store);
    put_key("other", "and between them");
    ck_assert(!reply.ended);
    release_all();
    Etcdserverpb__TxnResponse *answer = answered();
    ck_assert_int_eq(answer->header->revision, 21);
    ck_assert_uint_eq(answer->n_responses, 2);
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}
END_TEST

START_TEST(cheap_ranges_are_answered_at_once)
{
    fill_store(20, 5);
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    Etcdserverpb__TxnRequest *txn = new_txn();
    add(txn, true, range_op("k00000003", "", 0));
    add(txn, true, range_op("k00000004", "", 0));
    add(txn, false, range_op("k", "l", 0)); /* is not read */
    ask(&reply, TXN, &txn->base);
    Etcdserverpb__TxnResponse *answer = answered();
    ck_assert_uint_eq(answer->n_responses, 2);
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
    store_model_hold(served.store, false);
}
END_TEST

START_TEST(many_cheap_ranges_are_a_long_one)
{
    fill_store(STORE_RANGE_CHEAP + 1, 5);
    store_model_hold(served.store, true);
    Etcdserverpb__TxnRequest *txn = new_txn();
    for (unsigned i = 0; i <= STORE_RANGE_CHEAP; i++) {
        char *key = arena_alloc(&arena, 16);
        snprintf(key, 16, "k%08u", i);
        add(txn, true, range_op(key, "", 0));
    }
    call_message(&reply, TXN, &txn->base);
    SERVE_UNTIL(store_model_waiting(served.store) == STORE_RANGE_CHEAP + 1);
    ck_assert(!reply.ended);
    release_all();
    Etcdserverpb__TxnResponse *answer = answered();
    ck_assert_uint_eq(answer->n_responses, STORE_RANGE_CHEAP + 1);
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}
END_TEST

static void ck_range(const Etcdserverpb__ResponseOp *op, int64_t revision, size_t count,
                     const char *first)
{
    ck_assert_int_eq(op->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE);
    const Etcdserverpb__RangeResponse *range = op->response_range;
    ck_assert_int_eq(range->header->revision, revision);
    ck_assert_uint_eq(range->n_kvs, count);
    ck_assert_int_eq(range->count, (int64_t)count);
    ck_assert(bytes_equal(bytes_of(range->kvs[0]->key.data, range->kvs[0]->key.len),
                          bytes_of_str(first)));
    ck_assert_int_eq(range->kvs[0]->version, 1);
}

/* All that is put, and a compaction, come between the start and the end of the first range. */
static void change_all(void)
{
    struct buf entry;
    entry_begin(&entry);
    for (unsigned i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%08u", i);
        entry_put(&entry, bytes_of_str(key), bytes_of_str("changed"));
    }
    entry_compact(&entry, store_revision(served.store) + 20);
    entry_apply(&entry);
}

START_TEST(ranges_are_of_one_moment_and_in_order)
{
    fill_store(20, 5);
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    Etcdserverpb__TxnRequest *txn = new_txn();
    add(txn, true, range_op("k00000001", "l", 0));
    add(txn, true, range_op("k00000002", "", 0));
    add(txn, true, range_op("k00000003", "l", 15));
    call_message(&reply, TXN, &txn->base);
    SERVE_UNTIL(store_model_waiting(served.store) == 3);
    change_all();
    store_model_answer(served.store);
    put_key("k00000002", "once more");
    release_all();
    Etcdserverpb__TxnResponse *answer = answered();
    ck_assert_int_eq(answer->header->revision, 21);
    ck_assert(answer->succeeded);
    ck_assert_uint_eq(answer->n_responses, 3);
    ck_range(answer->responses[0], 21, 19, "k00000001");
    ck_range(answer->responses[1], 21, 1, "k00000002");
    ck_range(answer->responses[2], 21, 11, "k00000003");
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}
END_TEST

/* ---- what ends it ---- */

START_TEST(a_client_that_goes_away_ends_them_all)
{
    fill_store(20, 5);
    begin_ranges(3);
    for (int i = 0; i < _i; i++) {
        store_model_answer(served.store);
    }
    grpc_request_cancel(&reply.request);
    SERVE_UNTIL(store_model_cancelled(served.store) == 3u - (size_t)_i);
    release_all();
    SERVE_UNTIL(calls_under_way() == 0);
}
END_TEST

/* The others are cancelled, and waited for. */
START_TEST(an_error_of_one_is_that_of_all)
{
    fill_store(20, 5);
    store_model_fail_range(served.store, ERR_IO);
    begin_ranges(3);
    store_model_answer(served.store);
    ck_assert_uint_eq(store_model_cancelled(served.store), 2);
    ck_assert(!reply.ended);
    release_all();
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNKNOWN, "input/output error");
}
END_TEST

START_TEST(a_cheap_one_that_fails_says_so)
{
    fill_store(20, 5);
    Etcdserverpb__TxnRequest *txn = new_txn();
    add(txn, true, range_op("k00000003", "", 0));
    add(txn, true, range_op("k00000004", "", 0));
    store_model_fail_range(served.store, ERR_IO);
    ask(&reply, TXN, &txn->base);
    ck_status(&reply, GRPC_UNKNOWN, "input/output error");
    ask(&reply, TXN, &txn->base);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

/* ---- while the database is replaced ---- */

/* Ranges that had to wait find another moment than the verdict's: all is done again. */
START_TEST(a_replaced_database_is_asked_anew)
{
    fill_store(20, 5);
    store_model_set_dear(served.store, true);
    store_model_set_late(served.store, true);
    store_model_hold(served.store, true);
    Etcdserverpb__TxnRequest *txn = new_txn();
    compare_version(txn, "k00000003", 1);
    add(txn, true, range_op("k", "l", 0));
    add(txn, true, range_op("k", "l", 0));
    add(txn, false, range_op("k00000003", "k00000004", 0));
    call_message(&reply, TXN, &txn->base);
    SERVE_UNTIL(store_model_waiting(served.store) == 2);
    put_key("k00000003", "changed");
    release_all();
    Etcdserverpb__TxnResponse *answer = answered();
    ck_assert_int_eq(answer->header->revision, 22);
    ck_assert(!answer->succeeded);
    ck_assert_uint_eq(answer->n_responses, 1);
    const Etcdserverpb__RangeResponse *range = answer->responses[0]->response_range;
    ck_assert_int_eq(range->header->revision, 22);
    ck_assert_int_eq(range->kvs[0]->version, 2);
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}
END_TEST

/* What was asked of the past is gone in what the database has become. */
START_TEST(an_error_in_the_middle_is_that_of_all)
{
    fill_store(20, 5);
    store_model_set_dear(served.store, true);
    store_model_set_late(served.store, true);
    store_model_hold(served.store, true);
    Etcdserverpb__TxnRequest *txn = new_txn();
    add(txn, true, range_op("k", "l", 0));
    add(txn, true, range_op("k", "l", 15));
    add(txn, true, range_op("k", "l", 0));
    call_message(&reply, TXN, &txn->base);
    SERVE_UNTIL(store_model_waiting(served.store) == 3);
    change_all();
    release_all();
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
}
END_TEST

static Suite *read_txn_suite(void)
{
    Suite *suite = suite_create("read_txn");
    TCase *tc = tcase_create("read");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, an_answer_is_that_of_the_log, 0, ARRAY_LEN(sizes));
    tcase_add_test(tc, long_ranges_do_not_hold_the_loop);
    tcase_add_test(tc, cheap_ranges_are_answered_at_once);
    tcase_add_test(tc, many_cheap_ranges_are_a_long_one);
    tcase_add_test(tc, ranges_are_of_one_moment_and_in_order);
    tcase_add_loop_test(tc, a_client_that_goes_away_ends_them_all, 0, 3);
    tcase_add_test(tc, an_error_of_one_is_that_of_all);
    tcase_add_test(tc, a_cheap_one_that_fails_says_so);
    tcase_add_test(tc, a_replaced_database_is_asked_anew);
    tcase_add_test(tc, an_error_in_the_middle_is_that_of_all);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(read_txn_suite);
}
