/* SPDX-License-Identifier: Apache-2.0 */
#include "api/convert.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static struct arena arena;

static void set_up(void)
{
    arena = (struct arena){0};
}

static void tear_down(void)
{
    arena_fini(&arena);
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = strlen(text)};
}

static bool is(struct bytes got, const char *want)
{
    return bytes_equal(got, bytes_of_str(want));
}

/* ---- Range ---- */

START_TEST(a_range_keeps_every_field)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct range_query query;
    request.key = binary("k");
    request.range_end = binary("m");
    request.limit = 1;
    request.revision = 2;
    request.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    request.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
    request.keys_only = true;
    request.count_only = true;
    request.min_mod_revision = 3;
    request.max_mod_revision = 4;
    request.min_create_revision = 5;
    request.max_create_revision = 6;
    ck_assert_int_eq(convert_range(&request, &query), OK);
    ck_assert(is(query.key, "k"));
    ck_assert(is(query.range_end, "m"));
    ck_assert_int_eq(query.limit, 1);
    ck_assert_int_eq(query.revision, 2);
    ck_assert_int_eq(query.sort, SORT_DESCEND);
    ck_assert_int_eq(query.target, TARGET_VALUE);
    ck_assert(query.keys_only && query.count_only);
    ck_assert_int_eq(query.min_mod_revision, 3);
    ck_assert_int_eq(query.max_mod_revision, 4);
    ck_assert_int_eq(query.min_create_revision, 5);
    ck_assert_int_eq(query.max_create_revision, 6);
}
END_TEST

START_TEST(an_unknown_order_is_refused)
{
    static const struct {
        int order;
        int target;
        enum err want;
    } orders[] = {
        {0, 0, OK},
        {1, 1, OK},
        {2, 4, OK},
        {0, 3, OK},
        {1, 2, OK},
        {3, 0, ERR_SORT_OPTION},
        {-1, 0, ERR_SORT_OPTION},
        {0, 5, ERR_SORT_OPTION},
        {0, -1, ERR_SORT_OPTION},
        {INT32_MIN, INT32_MAX, ERR_SORT_OPTION},
    };
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
        struct range_query query;
        request.key = binary("k");
        request.sort_order = (Etcdserverpb__RangeRequest__SortOrder)orders[i].order;
        request.sort_target = (Etcdserverpb__RangeRequest__SortTarget)orders[i].target;
        ck_assert_int_eq(convert_range(&request, &query), orders[i].want);
        request.key = binary("");
        ck_assert_int_eq(convert_range(&request, &query), ERR_KEY_EMPTY); /* looked at first */
    }
}
END_TEST

/* ---- Put, DeleteRange, Compact ---- */

/* Every combination, in etcd's order: key, value, lease. */
START_TEST(a_put_is_checked_in_etcds_order)
{
    for (unsigned bits = 0; bits < 32; bits++) {
        bool key = (bits & 1) != 0;
        bool value = (bits & 2) != 0;
        bool ignore_value = (bits & 4) != 0;
        bool lease = (bits & 8) != 0;
        bool ignore_lease = (bits & 16) != 0;
        Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
        struct command_put put;
        request.key = binary(key ? "k" : "");
        request.value = binary(value ? "v" : "");
        request.lease = lease ? -7 : 0;
        request.ignore_value = ignore_value;
        request.ignore_lease = ignore_lease;
        request.prev_kv = bits % 3 == 0;
        enum err want = !key                    ? ERR_KEY_EMPTY
                        : value && ignore_value ? ERR_VALUE_PROVIDED
                        : lease && ignore_lease ? ERR_LEASE_PROVIDED
                                                : OK;
        ck_assert_int_eq(convert_put(&request, &put), want);
        if (want == OK) {
            ck_assert(is(put.key, "k"));
            ck_assert(is(put.value, value ? "v" : ""));
            ck_assert_int_eq(put.lease, lease ? -7 : 0);
            ck_assert_int_eq(put.ignore_value, ignore_value);
            ck_assert_int_eq(put.ignore_lease, ignore_lease);
            ck_assert_int_eq(put.prev_kv, bits % 3 == 0);
        }
    }
}
END_TEST

START_TEST(a_delete_keeps_every_field)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    struct command_delete_range range;
    ck_assert_int_eq(convert_delete_range(&request, &range), ERR_KEY_EMPTY);
    request.key = binary("k");
    request.range_end = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "", .len = 1};
    request.prev_kv = true;
    ck_assert_int_eq(convert_delete_range(&request, &range), OK);
    ck_assert(is(range.key, "k"));
    ck_assert(bytes_equal(range.range_end, bytes_of("", 1)));
    ck_assert(range.prev_kv);
}
END_TEST

START_TEST(a_compaction_keeps_every_field)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct command_compact compact;
    request.revision = -5;
    request.physical = true;
    convert_compact(&request, &compact);
    ck_assert_int_eq(compact.revision, -5);
    ck_assert(compact.physical);
}
END_TEST

/* ---- compares ---- */

enum { NO_CASE, VERSION_CASE, CREATE_CASE, MOD_CASE, VALUE_CASE, LEASE_CASE, CASE_COUNT };

static void set_union(Etcdserverpb__Compare *compare, unsigned which)
{
    switch (which) {
    case VERSION_CASE:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        compare->version = 11;
        break;
    case CREATE_CASE:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        compare->create_revision = 12;
        break;
    case MOD_CASE:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare->mod_revision = 13;
        break;
    case VALUE_CASE:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = binary("value");
        break;
    case LEASE_CASE:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        compare->lease = 15;
        break;
    }
}

/* The member that fits the target counts; of any other, as of none, 0 or no bytes. */
START_TEST(a_compare_takes_what_fits_its_target)
{
    static const int64_t numbers[] = {0, 11, 12, 13, 0, 15};
    for (int target = -1; target <= 6; target++) {
        for (unsigned which = NO_CASE; which < CASE_COUNT; which++) {
            Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
            Etcdserverpb__Compare *compares[] = {&compare};
            Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
            struct command_txn txn;
            compare.key = binary("k");
            compare.range_end = binary("m");
            compare.result = (Etcdserverpb__Compare__CompareResult)(target + 1);
            compare.target = (Etcdserverpb__Compare__CompareTarget)target;
            set_union(&compare, which);
            request.compare = compares;
            request.n_compare = 1;
            ck_assert_int_eq(convert_txn(&request, 10, &arena, &txn), OK);
            bool fits = (unsigned)target + 1 == which && which != NO_CASE;
            ck_assert_uint_eq(txn.compare_count, 1);
            ck_assert(is(txn.compares[0].key, "k"));
            ck_assert(is(txn.compares[0].range_end, "m"));
            ck_assert_uint_eq(txn.compares[0].target, (uint32_t)target);
            ck_assert_uint_eq(txn.compares[0].result, (uint32_t)target + 1);
            ck_assert_int_eq(txn.compares[0].number, fits ? numbers[which] : 0);
            ck_assert(is(txn.compares[0].value, fits && which == VALUE_CASE ? "value" : ""));
        }
    }
}
END_TEST

/* ---- transactions ---- */

static Etcdserverpb__RequestOp op_none = ETCDSERVERPB__REQUEST_OP__INIT;

static Etcdserverpb__RequestOp *new_op(void)
{
    Etcdserverpb__RequestOp *op = arena_alloc(&arena, sizeof *op);
    ck_assert_ptr_nonnull(op);
    etcdserverpb__request_op__init(op);
    return op;
}

static Etcdserverpb__RequestOp *range_op(const char *key, int order)
{
    Etcdserverpb__RequestOp *op = new_op();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = arena_alloc(&arena, sizeof *op->request_range);
    ck_assert_ptr_nonnull(op->request_range);
    etcdserverpb__range_request__init(op->request_range);
    op->request_range->key = binary(key);
    op->request_range->sort_order = (Etcdserverpb__RangeRequest__SortOrder)order;
    return op;
}

static Etcdserverpb__RequestOp *put_op(const char *key)
{
    Etcdserverpb__RequestOp *op = new_op();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = arena_alloc(&arena, sizeof *op->request_put);
    ck_assert_ptr_nonnull(op->request_put);
    etcdserverpb__put_request__init(op->request_put);
    op->request_put->key = binary(key);
    return op;
}

static Etcdserverpb__RequestOp *delete_op(const char *key)
{
    Etcdserverpb__RequestOp *op = new_op();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = arena_alloc(&arena, sizeof *op->request_delete_range);
    ck_assert_ptr_nonnull(op->request_delete_range);
    etcdserverpb__delete_range_request__init(op->request_delete_range);
    op->request_delete_range->key = binary(key);
    return op;
}

static Etcdserverpb__TxnRequest *new_txn(void)
{
    Etcdserverpb__TxnRequest *txn = arena_alloc(&arena, sizeof *txn);
    ck_assert_ptr_nonnull(txn);
    etcdserverpb__txn_request__init(txn);
    return txn;
}

static Etcdserverpb__RequestOp *txn_op(Etcdserverpb__TxnRequest *txn)
{
    Etcdserverpb__RequestOp *op = new_op();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    op->request_txn = txn;
    return op;
}

static void add(Etcdserverpb__RequestOp ***ops, size_t *count, Etcdserverpb__RequestOp *op)
{
    Etcdserverpb__RequestOp **more = arena_alloc(&arena, (*count + 1) * sizeof *more);
    ck_assert_ptr_nonnull(more);
    if (*count > 0) {
        memcpy(more, *ops, *count * sizeof *more);
    }
    more[(*count)++] = op;
    *ops = more;
}

static void then(Etcdserverpb__TxnRequest *txn, Etcdserverpb__RequestOp *op)
{
    add(&txn->success, &txn->n_success, op);
}

static void otherwise(Etcdserverpb__TxnRequest *txn, Etcdserverpb__RequestOp *op)
{
    add(&txn->failure, &txn->n_failure, op);
}

static void compare_with(Etcdserverpb__TxnRequest *txn, const char *key)
{
    Etcdserverpb__Compare *compare = arena_alloc(&arena, sizeof *compare);
    Etcdserverpb__Compare **more = arena_alloc(&arena, (txn->n_compare + 1) * sizeof *txn->compare);
    ck_assert_ptr_nonnull(compare);
    ck_assert_ptr_nonnull(more);
    etcdserverpb__compare__init(compare);
    compare->key = binary(key);
    if (txn->n_compare > 0) {
        memcpy(more, txn->compare, txn->n_compare * sizeof *more);
    }
    more[txn->n_compare++] = compare;
    txn->compare = more;
}

static enum err convert(Etcdserverpb__TxnRequest *request, unsigned ops_max)
{
    struct command_txn txn;
    return convert_txn(request, ops_max, &arena, &txn);
}

START_TEST(a_txn_keeps_its_operations_in_order)
{
    Etcdserverpb__TxnRequest *request = new_txn();
    Etcdserverpb__TxnRequest *nested = new_txn();
    struct command_txn txn;
    compare_with(request, "c");
    then(request, range_op("r", 1));
    then(request, put_op("p"));
    otherwise(request, delete_op("d"));
    otherwise(nested, put_op("n"));
    otherwise(request, txn_op(nested));
    ck_assert_int_eq(convert_txn(request, 10, &arena, &txn), OK);
    ck_assert_uint_eq(txn.compare_count, 1);
    ck_assert_uint_eq(txn.success_count, 2);
    ck_assert_uint_eq(txn.failure_count, 2);
    ck_assert_int_eq(txn.success[0].kind, OP_RANGE);
    ck_assert(is(txn.success[0].range.key, "r"));
    ck_assert_int_eq(txn.success[1].kind, OP_PUT);
    ck_assert(is(txn.success[1].put.key, "p"));
    ck_assert_int_eq(txn.failure[0].kind, OP_DELETE_RANGE);
    ck_assert(is(txn.failure[0].delete_range.key, "d"));
    ck_assert_int_eq(txn.failure[1].kind, OP_TXN);
    ck_assert_uint_eq(txn.failure[1].txn->success_count, 0);
    ck_assert_uint_eq(txn.failure[1].txn->failure_count, 1);
    ck_assert(is(txn.failure[1].txn->failure[0].put.key, "n"));
}
END_TEST

START_TEST(an_empty_txn_is_one)
{
    ck_assert_int_eq(convert(new_txn(), 0), OK);
}
END_TEST

/* The longest list counts, not their sum. */
START_TEST(the_longest_list_is_held_against_the_budget)
{
    for (unsigned list = 0; list < 3; list++) {
        Etcdserverpb__TxnRequest *request = new_txn();
        static const char *const keys[] = {"a", "b", "c", "d"};
        for (unsigned i = 0; i < 4; i++) {
            if (list == 0 || i < 2) {
                compare_with(request, "c");
            }
            if (list == 1 || i < 2) {
                then(request, put_op(keys[i]));
            }
            if (list == 2 || i < 2) {
                otherwise(request, put_op(keys[i]));
            }
        }
        ck_assert_int_eq(convert(request, 4), OK);
        ck_assert_int_eq(convert(request, 3), ERR_TOO_MANY_OPS);
        ck_assert_int_eq(convert(request, 0), ERR_TOO_MANY_OPS);
    }
}
END_TEST

/* A nested transaction may have what the levels above leave; siblings have it each. */
START_TEST(a_nested_txn_has_what_is_left)
{
    Etcdserverpb__TxnRequest *outer = new_txn();
    Etcdserverpb__TxnRequest *inner = new_txn();
    Etcdserverpb__TxnRequest *innermost = new_txn();
    compare_with(outer, "a");
    compare_with(outer, "b");
    then(outer, txn_op(inner));
    otherwise(outer, txn_op(inner));
    compare_with(inner, "a");
    compare_with(inner, "b");
    compare_with(inner, "c");
    otherwise(inner, txn_op(innermost));
    otherwise(innermost, put_op("p"));
    ck_assert_int_eq(convert(outer, 2 + 3 + 1), OK);
    ck_assert_int_eq(convert(outer, 2 + 3), ERR_TOO_MANY_OPS);
    ck_assert_int_eq(convert(outer, 2 + 2), ERR_TOO_MANY_OPS);
    ck_assert_int_eq(convert(outer, 2), ERR_TOO_MANY_OPS);
}
END_TEST

START_TEST(an_operation_that_is_none_is_a_missing_key)
{
    Etcdserverpb__TxnRequest *request = new_txn();
    otherwise(request, &op_none);
    ck_assert_int_eq(convert(request, 10), ERR_KEY_NOT_FOUND);
}
END_TEST

START_TEST(operations_are_checked_as_if_alone)
{
    struct {
        Etcdserverpb__RequestOp *op;
        enum err want;
    } bad[] = {
        {range_op("", 0), ERR_KEY_EMPTY},  {range_op("k", 9), ERR_SORT_OPTION},
        {put_op(""), ERR_KEY_EMPTY},       {put_op("k"), ERR_VALUE_PROVIDED},
        {put_op("k"), ERR_LEASE_PROVIDED}, {delete_op(""), ERR_KEY_EMPTY},
    };
    bad[3].op->request_put->value = binary("v");
    bad[3].op->request_put->ignore_value = true;
    bad[4].op->request_put->lease = 1;
    bad[4].op->request_put->ignore_lease = true;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        for (unsigned branch = 0; branch < 4; branch++) {
            Etcdserverpb__TxnRequest *request = new_txn();
            Etcdserverpb__TxnRequest *nested = new_txn();
            ((branch & 1) == 0 ? then : otherwise)(nested, bad[i].op);
            ((branch & 2) == 0 ? then : otherwise)(request, txn_op(nested));
            ck_assert_int_eq(convert(nested, 10), bad[i].want);
            ck_assert_int_eq(convert(request, 10), bad[i].want);
        }
    }
}
END_TEST

/* One fault after the other is mended, and the next one shows. */
START_TEST(faults_show_in_etcds_order)
{
    Etcdserverpb__TxnRequest *request = new_txn();
    compare_with(request, "c");
    compare_with(request, "");
    then(request, put_op("a"));
    then(request, put_op("a"));
    then(request, range_op("k", 9));
    otherwise(request, put_op(""));
    otherwise(request, put_op("b"));
    otherwise(request, delete_op("b"));
    ck_assert_int_eq(convert(request, 2), ERR_TOO_MANY_OPS);
    ck_assert_int_eq(convert(request, 3), ERR_KEY_EMPTY); /* of the compare */
    request->compare[1]->key = binary("d");
    ck_assert_int_eq(convert(request, 3), ERR_SORT_OPTION); /* success before failure */
    request->success[2] = range_op("k", 0);
    ck_assert_int_eq(convert(request, 3), ERR_KEY_EMPTY); /* then failure, before duplicates */
    request->failure[0] = &op_none;
    ck_assert_int_eq(convert(request, 3), ERR_KEY_NOT_FOUND);
    request->failure[0] = put_op("c");
    ck_assert_int_eq(convert(request, 3), ERR_DUPLICATE_KEY); /* of success */
    request->success[1] = put_op("z");
    ck_assert_int_eq(convert(request, 3), ERR_DUPLICATE_KEY); /* of failure */
    request->failure[2] = delete_op("a");
    ck_assert_int_eq(convert(request, 3), OK);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    Etcdserverpb__TxnRequest *request = new_txn();
    Etcdserverpb__TxnRequest *nested = new_txn();
    compare_with(nested, "c");
    then(nested, put_op("p"));
    then(request, txn_op(nested));
    for (size_t bytes = 1; bytes < 3; bytes++) {
        struct arena small = {.max_bytes = bytes};
        struct command_txn txn;
        ck_assert_int_eq(convert_txn(request, 10, &small, &txn), ERR_NOMEM);
        arena_fini(&small);
    }
}
END_TEST

/* ---- which transactions need not ask the leader ---- */

START_TEST(all_ranges_must_be_serializable)
{
    for (unsigned bits = 0; bits < 4; bits++) {
        Etcdserverpb__TxnRequest *request = new_txn();
        Etcdserverpb__RequestOp *first = range_op("a", 0);
        Etcdserverpb__RequestOp *second = range_op("b", 0);
        first->request_range->serializable = (bits & 1) != 0;
        second->request_range->serializable = (bits & 2) != 0;
        then(request, first);
        otherwise(request, second);
        ck_assert_int_eq(txn_is_serializable(request), bits == 3);
    }
    ck_assert(txn_is_serializable(new_txn()));
}
END_TEST

START_TEST(what_is_no_range_is_not_serializable)
{
    Etcdserverpb__RequestOp *ops[] = {put_op("a"), delete_op("a"), txn_op(new_txn()), &op_none};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        Etcdserverpb__TxnRequest *request = new_txn();
        otherwise(request, ops[i]);
        ck_assert(!txn_is_serializable(request));
    }
}
END_TEST

static Suite *convert_suite(void)
{
    Suite *suite = suite_create("convert");
    TCase *tc = tcase_create("convert");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_range_keeps_every_field);
    tcase_add_test(tc, an_unknown_order_is_refused);
    tcase_add_test(tc, a_put_is_checked_in_etcds_order);
    tcase_add_test(tc, a_delete_keeps_every_field);
    tcase_add_test(tc, a_compaction_keeps_every_field);
    tcase_add_test(tc, a_compare_takes_what_fits_its_target);
    tcase_add_test(tc, a_txn_keeps_its_operations_in_order);
    tcase_add_test(tc, an_empty_txn_is_one);
    tcase_add_test(tc, the_longest_list_is_held_against_the_budget);
    tcase_add_test(tc, a_nested_txn_has_what_is_left);
    tcase_add_test(tc, an_operation_that_is_none_is_a_missing_key);
    tcase_add_test(tc, operations_are_checked_as_if_alone);
    tcase_add_test(tc, faults_show_in_etcds_order);
    tcase_add_test(tc, memory_that_ends_is_told);
    tcase_add_test(tc, all_ranges_must_be_serializable);
    tcase_add_test(tc, what_is_no_range_is_not_serializable);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(convert_suite);
}
