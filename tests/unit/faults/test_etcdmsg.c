/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/etcdmsg.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static const struct {
    const char *text;
    int64_t number;
} numbers[] = {
    {"0", 0},
    {"7", 7},
    {"999999999999999999", 999999999999999999},
    {"", -1},
    {"-1", -1},
    {"1,2", -1},
    {"1000000000000000000", -1},
};

START_TEST(numbers_are_digits)
{
    ck_assert_int_eq(msg_number(bytes_of_str(numbers[_i].text)), numbers[_i].number);
}
END_TEST

/* What the server would see. */
static Etcdserverpb__TxnRequest *sent(struct msg_txn *txn)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    const ProtobufCMessage *message = msg_txn_message(txn);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = buf_extend(&bytes, size);
    ck_assert_ptr_nonnull(packed);
    protobuf_c_message_pack(message, packed);
    Etcdserverpb__TxnRequest *request =
        etcdserverpb__txn_request__unpack(NULL, bytes.len, bytes.data);
    ck_assert_ptr_nonnull(request);
    return request;
}

static bool is(ProtobufCBinaryData data, const char *text)
{
    return bytes_equal(msg_view(data), bytes_of_str(text));
}

START_TEST(a_transaction_arrives_as_it_was_built)
{
    struct msg_txn txn;
    msg_txn_init(&txn);
    msg_txn_if_value(&txn, bytes_of_str("a"), bytes_of_str("1"));
    msg_txn_if_mod(&txn, bytes_of_str("b"), 9);
    msg_txn_if_created(&txn, bytes_of_str("c"), bytes_of_str("d"),
                       ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER, 4);
    msg_txn_put(&txn, MSG_THEN, bytes_of_str("e"), bytes_of_str("2"));
    msg_txn_delete(&txn, MSG_THEN, bytes_of_str("f"));
    msg_txn_get(&txn, MSG_ELSE, bytes_of_str("g"));
    Etcdserverpb__TxnRequest *got = sent(&txn);
    ck_assert_uint_eq(got->n_compare, 3);
    ck_assert(is(got->compare[0]->value, "1"));
    ck_assert_int_eq(got->compare[0]->target, ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE);
    ck_assert_int_eq(got->compare[1]->mod_revision, 9);
    ck_assert_int_eq(got->compare[2]->create_revision, 4);
    ck_assert_int_eq(got->compare[2]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER);
    ck_assert(is(got->compare[2]->range_end, "d"));
    ck_assert_uint_eq(got->n_success, 2);
    ck_assert(is(got->success[0]->request_put->value, "2"));
    ck_assert(is(got->success[1]->request_delete_range->key, "f"));
    ck_assert_uint_eq(got->n_failure, 1);
    ck_assert(is(got->failure[0]->request_range->key, "g"));
    etcdserverpb__txn_request__free_unpacked(got, NULL);
}
END_TEST

START_TEST(an_answer_says_what_was_read)
{
    Mvccpb__KeyValue kv;
    mvccpb__key_value__init(&kv);
    Mvccpb__KeyValue *kvs[] = {&kv};
    Etcdserverpb__RangeResponse full;
    Etcdserverpb__RangeResponse none;
    etcdserverpb__range_response__init(&full);
    etcdserverpb__range_response__init(&none);
    full.kvs = kvs;
    full.n_kvs = 1;
    Etcdserverpb__ResponseOp ops[3];
    Etcdserverpb__ResponseOp *responses[3];
    for (size_t i = 0; i < 3; i++) {
        etcdserverpb__response_op__init(&ops[i]);
        responses[i] = &ops[i];
    }
    ops[0].response_case = ops[1].response_case =
        ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
    ops[0].response_range = &full;
    ops[1].response_range = &none;
    ops[2].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
    Etcdserverpb__TxnResponse answer;
    etcdserverpb__txn_response__init(&answer);
    answer.responses = responses;
    answer.n_responses = 3;
    const Mvccpb__KeyValue *found = NULL;
    ck_assert(msg_txn_read(&answer, 0, &found));
    ck_assert_ptr_eq(found, &kv);
    ck_assert(msg_txn_read(&answer, 1, &found));
    ck_assert_ptr_null(found);
    ck_assert(!msg_txn_read(&answer, 2, &found)); /* a put */
    ck_assert(!msg_txn_read(&answer, 3, &found)); /* none */
}
END_TEST

static Suite *etcdmsg_suite(void)
{
    Suite *suite = suite_create("etcdmsg");
    TCase *tc = tcase_create("messages");
    tcase_add_loop_test(tc, numbers_are_digits, 0, ARRAY_LEN(numbers));
    tcase_add_test(tc, a_transaction_arrives_as_it_was_built);
    tcase_add_test(tc, an_answer_says_what_was_read);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(etcdmsg_suite);
}
