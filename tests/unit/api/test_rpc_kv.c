/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "tests/unit/api/service_fixture.h"

#define PUT     "/etcdserverpb.KV/Put"
#define RANGE   "/etcdserverpb.KV/Range"
#define DELETE  "/etcdserverpb.KV/DeleteRange"
#define TXN     "/etcdserverpb.KV/Txn"
#define COMPACT "/etcdserverpb.KV/Compact"

static struct reply reply;

static void setup(void)
{
    served_start();
}

static void setup_learner(void)
{
    served.learner = true;
    served_start();
}

static void teardown(void)
{
    reply_fini(&reply);
    served_stop();
}

static void ck_header(const Etcdserverpb__ResponseHeader *header, int64_t revision)
{
    ck_assert_ptr_nonnull(header);
    ck_assert_uint_eq(header->cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(header->member_id, MEMBER_ID);
    ck_assert_uint_eq(header->raft_term, TERM);
    ck_assert_int_eq(header->revision, revision);
}

static void ck_bytes(ProtobufCBinaryData got, const char *want)
{
    ck_assert(bytes_equal(bytes_of(got.data, got.len), bytes_of_str(want)));
}

/* ---- Put ---- */

START_TEST(put_answers_with_its_revision)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = BINARY("k");
    request.value = BINARY("1");
    request.prev_kv = true;
    ask(&reply, PUT, &request.base);
    Etcdserverpb__PutResponse *answer = answer_of(&reply, &etcdserverpb__put_response__descriptor);
    ck_header(answer->header, 2);
    ck_assert_ptr_null(answer->prev_kv);
    etcdserverpb__put_response__free_unpacked(answer, NULL);
    request.value = BINARY("2");
    ask(&reply, PUT, &request.base);
    answer = answer_of(&reply, &etcdserverpb__put_response__descriptor);
    ck_header(answer->header, 3);
    ck_assert_ptr_nonnull(answer->prev_kv);
    ck_bytes(answer->prev_kv->key, "k");
    ck_bytes(answer->prev_kv->value, "1");
    ck_assert_int_eq(answer->prev_kv->version, 1);
    ck_assert_int_eq(answer->prev_kv->create_revision, 2);
    ck_assert_int_eq(answer->prev_kv->mod_revision, 2);
    etcdserverpb__put_response__free_unpacked(answer, NULL);
}
END_TEST

static const struct {
    const char *name;
    Etcdserverpb__PutRequest request;
    enum grpc_status status;
    const char *text;
} bad_puts[] =
    {
#define PUT_REQUEST .request = {PROTOBUF_C_MESSAGE_INIT(&etcdserverpb__put_request__descriptor)
#define A_KEY                            \
    {                                    \
        .len = 1, .data = (uint8_t *)"n" \
    }
        {"no key", PUT_REQUEST}, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
  {"a value to be ignored", PUT_REQUEST, .key = A_KEY, .value = A_KEY, .ignore_value = true},
  GRPC_INVALID_ARGUMENT, "etcdserver: value is provided"
}
, {"a lease to be ignored", PUT_REQUEST, .key = A_KEY, .lease = 5, .ignore_lease = true},
    GRPC_INVALID_ARGUMENT, "etcdserver: lease is provided"
}
, {"no value to keep", PUT_REQUEST, .key = A_KEY, .ignore_value = true}, GRPC_INVALID_ARGUMENT,
    "etcdserver: key not found"
}
, {"an unknown lease", PUT_REQUEST, .key = A_KEY, .lease = -5}, GRPC_NOT_FOUND,
    "etcdserver: requested lease not found"
}
, {"value before lease", PUT_REQUEST,          .key = A_KEY,        .value = A_KEY,
   .lease = 5,           .ignore_value = true, .ignore_lease = true},
    GRPC_INVALID_ARGUMENT, "etcdserver: value is provided"
}
,
#undef A_KEY
#undef PUT_REQUEST
}
;

START_TEST(a_bad_put_is_refused)
{
    ask(&reply, PUT, &bad_puts[_i].request.base);
    ck_status(&reply, bad_puts[_i].status, bad_puts[_i].text);
    ck_assert_uint_eq(reply.message_count, 0);
    ck_assert_int_eq(store_revision(served.store), 1);
}
END_TEST

/* etcd's bound is on the proposal: the request and 18 bytes around it. */
START_TEST(a_put_has_the_size_that_etcd_lets_pass)
{
    static const struct {
        int excess;
        bool fits;
    } cases[] = {{0, true}, {1, false}, {100000, false}};
    size_t message = REQUEST_BYTES_DEFAULT - 18 + (size_t)cases[_i].excess;
    size_t len = message - 3 - 4; /* key: tag, length, byte; value: tag, three bytes of length */
    CLEANUP(freep) uint8_t *value = calloc(1, len);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = BINARY("k");
    request.value = (ProtobufCBinaryData){.data = value, .len = len};
    ck_assert_uint_eq(etcdserverpb__put_request__get_packed_size(&request), message);
    ask(&reply, PUT, &request.base);
    if (cases[_i].fits) {
        ck_status(&reply, GRPC_OK, "");
    } else {
        ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: request is too large");
    }
}
END_TEST

START_TEST(a_full_database_takes_no_put)
{
    ck_assert_int_eq(put_key("k", "1"), 2);
    store_model_set_size(served.store, 2147483648);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = BINARY("k");
    ask(&reply, PUT, &request.base);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    Etcdserverpb__DeleteRangeRequest remove = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    remove.key = BINARY("k");
    ask(&reply, DELETE, &remove.base);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

/* ---- DeleteRange ---- */

START_TEST(delete_tells_what_is_gone)
{
    put_key("a", "1");
    put_key("b", "2");
    put_key("c", "3");
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = BINARY("a");
    request.range_end = BINARY("c");
    request.prev_kv = true;
    ask(&reply, DELETE, &request.base);
    Etcdserverpb__DeleteRangeResponse *answer =
        answer_of(&reply, &etcdserverpb__delete_range_response__descriptor);
    ck_header(answer->header, 5);
    ck_assert_int_eq(answer->deleted, 2);
    ck_assert_uint_eq(answer->n_prev_kvs, 2);
    ck_bytes(answer->prev_kvs[0]->key, "a");
    ck_bytes(answer->prev_kvs[1]->value, "2");
    etcdserverpb__delete_range_response__free_unpacked(answer, NULL);
    ask(&reply, DELETE, &request.base);
    answer = answer_of(&reply, &etcdserverpb__delete_range_response__descriptor);
    ck_header(answer->header, 5);
    ck_assert_int_eq(answer->deleted, 0);
    etcdserverpb__delete_range_response__free_unpacked(answer, NULL);
    request.key = BINARY("");
    ask(&reply, DELETE, &request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided");
}
END_TEST

/* ---- Range ---- */

static Etcdserverpb__RangeResponse *range(const char *key, const char *end, int64_t revision)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY(key);
    request.range_end = BINARY(end);
    request.revision = revision;
    ask(&reply, RANGE, &request.base);
    return answer_of(&reply, &etcdserverpb__range_response__descriptor);
}

START_TEST(range_reads_the_present_and_the_past)
{
    put_key("a", "1");
    put_key("b", "2");
    put_key("a", "3");
    Etcdserverpb__RangeResponse *answer = range("a", "z", 0);
    ck_header(answer->header, 4);
    ck_assert_uint_eq(answer->n_kvs, 2);
    ck_assert_int_eq(answer->count, 2);
    ck_assert(!answer->more);
    ck_bytes(answer->kvs[0]->value, "3");
    ck_assert_int_eq(answer->kvs[0]->version, 2);
    etcdserverpb__range_response__free_unpacked(answer, NULL);
    answer = range("a", "", 2);
    ck_header(answer->header, 4); /* the store's, not the one asked for */
    ck_bytes(answer->kvs[0]->value, "1");
    etcdserverpb__range_response__free_unpacked(answer, NULL);
    answer = range("nothing", "", 0);
    ck_assert_uint_eq(answer->n_kvs, 0);
    ck_assert_int_eq(answer->count, 0);
    etcdserverpb__range_response__free_unpacked(answer, NULL);
}
END_TEST

static const struct {
    const char *name;
    const char *key;
    int64_t revision;
    int order;
    int target;
    enum grpc_status status;
    const char *text;
} bad_ranges[] = {
    {"no key", "", 0, 0, 0, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
    {"order", "k", 0, 3, 0, GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
    {"order below", "k", 0, -1, 0, GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
    {"target", "k", 0, 0, 5, GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
    {"future", "k", 3, 0, 0, GRPC_OUT_OF_RANGE,
     "etcdserver: mvcc: required revision is a future revision"},
};

START_TEST(a_bad_range_is_refused)
{
    put_key("k", "1");
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY(bad_ranges[_i].key);
    request.revision = bad_ranges[_i].revision;
    request.sort_order = (Etcdserverpb__RangeRequest__SortOrder)bad_ranges[_i].order;
    request.sort_target = (Etcdserverpb__RangeRequest__SortTarget)bad_ranges[_i].target;
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, bad_ranges[_i].status, bad_ranges[_i].text);
    request.serializable = true;
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, bad_ranges[_i].status, bad_ranges[_i].text);
}
END_TEST

START_TEST(a_linearizable_read_waits_and_a_serializable_one_does_not)
{
    put_key("k", "1");
    served.hold_reads = true;
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY("k");
    struct reply waits = {0};
    call_message(&waits, RANGE, &request.base);
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    request.serializable = true;
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, GRPC_OK, "");
    ck_assert(!waits.ended);
    put_key("k", "2"); /* what is written before the read index is confirmed is read */
    ck_assert(!waits.ended);
    served.hold_reads = false;
    SERVE_UNTIL(waits.ended);
    Etcdserverpb__RangeResponse *answer =
        answer_of(&waits, &etcdserverpb__range_response__descriptor);
    ck_bytes(answer->kvs[0]->value, "2");
    etcdserverpb__range_response__free_unpacked(answer, NULL);
    reply_fini(&waits);
}
END_TEST

#define NOT_FOR_LEARNERS "etcdserver: rpc not supported for learner"

/* What it may not be asked at all is not looked at. */
START_TEST(a_learner_reads_what_it_has_and_nothing_else)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    ask(&reply, RANGE, &request.base); /* without a key */
    ck_status(&reply, GRPC_FAILED_PRECONDITION, NOT_FOR_LEARNERS);
    ask(&reply, PUT, &put.base);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, NOT_FOR_LEARNERS);
    ask(&reply, TXN, &txn.base);
    ck_status(&reply, GRPC_FAILED_PRECONDITION, NOT_FOR_LEARNERS);
    request.serializable = true;
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided");
    request.key = BINARY("k");
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(a_read_that_fails_says_so)
{
    served.hold_reads = true;
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY("k");
    call_message(&reply, RANGE, &request.base);
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    node_fake_answer_reads(served.node, ERR_LEADER_CHANGED);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNAVAILABLE, "etcdserver: leader changed");
    store_model_fail_range(served.store, ERR_IO);
    request.serializable = true;
    ask(&reply, RANGE, &request.base);
    ck_status(&reply, GRPC_UNKNOWN, "input/output error");
}
END_TEST

/* Answers that are copied, shared, and encoded by the worker, from one store, must not differ. */
static const struct {
    unsigned keys;
    unsigned value_bytes;
    bool dear;
} large[] = {{1, 0, false},     {100, 10, false},   {100, 1000, false},  {513, 10, false},
             {2000, 300, true}, {2, 700000, false}, {3000, 1000, false}, {512, 1, true}};

START_TEST(an_answer_of_any_size_is_whole)
{
    CLEANUP(freep) uint8_t *value = malloc(large[_i].value_bytes + 1u);
    fill_store(large[_i].keys, large[_i].value_bytes);
    store_model_set_dear(served.store, large[_i].dear);
    Etcdserverpb__RangeResponse *answer = range("k", "l", 0);
    ck_header(answer->header, 1 + large[_i].keys);
    ck_assert_uint_eq(answer->n_kvs, large[_i].keys);
    ck_assert_int_eq(answer->count, large[_i].keys);
    for (unsigned i = 0; i < large[_i].keys; i++) {
        const Mvccpb__KeyValue *kv = answer->kvs[i];
        ck_assert(kv->mod_revision == 2 + i && kv->create_revision == 2 + i && kv->version == 1);
        ck_assert_uint_eq(kv->value.len, large[_i].value_bytes);
        memset(value, (int)i, large[_i].value_bytes);
        ck_assert(large[_i].value_bytes == 0 || memcmp(kv->value.data, value, kv->value.len) == 0);
    }
    etcdserverpb__range_response__free_unpacked(answer, NULL);
}
END_TEST

/* ---- Txn ---- */

/* if version(k) = VERSION then put k VALUE, get k else get k */
struct small_txn {
    Etcdserverpb__Compare compare;
    Etcdserverpb__RangeRequest get;
    Etcdserverpb__PutRequest put;
    Etcdserverpb__RequestOp get_op;
    Etcdserverpb__RequestOp put_op;
    Etcdserverpb__Compare *compares[1];
    Etcdserverpb__RequestOp *then[2];
    Etcdserverpb__RequestOp *otherwise[1];
    Etcdserverpb__TxnRequest request;
};

static void make_txn(struct small_txn *txn, int64_t version, const char *value)
{
    etcdserverpb__compare__init(&txn->compare);
    txn->compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
    txn->compare.key = BINARY("k");
    txn->compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    txn->compare.version = version;
    etcdserverpb__range_request__init(&txn->get);
    txn->get.key = BINARY("k");
    etcdserverpb__put_request__init(&txn->put);
    txn->put.key = BINARY("k");
    txn->put.value = BINARY(value);
    etcdserverpb__request_op__init(&txn->get_op);
    txn->get_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    txn->get_op.request_range = &txn->get;
    etcdserverpb__request_op__init(&txn->put_op);
    txn->put_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    txn->put_op.request_put = &txn->put;
    etcdserverpb__txn_request__init(&txn->request);
    txn->compares[0] = &txn->compare;
    txn->then[0] = &txn->put_op;
    txn->then[1] = &txn->get_op;
    txn->otherwise[0] = &txn->get_op;
    txn->request.compare = txn->compares;
    txn->request.n_compare = 1;
    txn->request.success = txn->then;
    txn->request.n_success = 2;
    txn->request.failure = txn->otherwise;
    txn->request.n_failure = 1;
}

START_TEST(txn_takes_a_branch_and_tells)
{
    struct small_txn txn;
    make_txn(&txn, 0, "new");
    ask(&reply, TXN, &txn.request.base);
    Etcdserverpb__TxnResponse *answer = answer_of(&reply, &etcdserverpb__txn_response__descriptor);
    ck_header(answer->header, 2);
    ck_assert(answer->succeeded);
    ck_assert_uint_eq(answer->n_responses, 2);
    const Etcdserverpb__ResponseOp *put = answer->responses[0];
    ck_assert_int_eq(put->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT);
    ck_assert_int_eq(put->response_put->header->revision, 2);
    ck_assert_uint_eq(put->response_put->header->cluster_id, 0);
    const Etcdserverpb__ResponseOp *got = answer->responses[1];
    ck_assert_int_eq(got->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE);
    ck_bytes(got->response_range->kvs[0]->value, "new");
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
    ask(&reply, TXN, &txn.request.base);
    answer = answer_of(&reply, &etcdserverpb__txn_response__descriptor);
    ck_header(answer->header, 2);
    ck_assert(!answer->succeeded);
    ck_assert_uint_eq(answer->n_responses, 1);
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}
END_TEST

START_TEST(a_txn_that_only_reads_stays_out_of_the_log)
{
    struct small_txn txn;
    make_txn(&txn, 0, "");
    txn.request.n_success = 0;
    served.hold_writes = true;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OK, "");
    /* It waits for its read index, unless all of it is serializable. */
    served.hold_reads = true;
    txn.get.serializable = true;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OK, "");
    txn.get.serializable = false;
    call_message(&reply, TXN, &txn.request.base);
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    served.hold_reads = false;
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(node_fake_proposal_count(served.node), 0);
}
END_TEST

START_TEST(a_bad_txn_is_refused)
{
    struct small_txn txn;
    make_txn(&txn, 0, "");
    txn.then[1] = &txn.put_op;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request");
    make_txn(&txn, 0, "");
    txn.compare.key = BINARY("");
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided");
    make_txn(&txn, 0, "");
    txn.get_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: key not found");
    make_txn(&txn, 0, "");
    txn.get.revision = 5;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OUT_OF_RANGE,
              "etcdserver: mvcc: required revision is a future revision");
    txn.request.n_success = 0;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OK, "");
    txn.compare.version = 1;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OUT_OF_RANGE,
              "etcdserver: mvcc: required revision is a future revision");
}
END_TEST

START_TEST(a_txn_has_as_many_operations_as_etcd_lets_pass)
{
    struct small_txn txn;
    make_txn(&txn, 0, "");
    Etcdserverpb__RequestOp *many[TXN_OPS_DEFAULT + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = &txn.get_op;
    }
    txn.request.failure = many;
    txn.request.n_failure = TXN_OPS_DEFAULT;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_OK, "");
    txn.request.n_failure = TXN_OPS_DEFAULT + 1;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: too many operations in txn request");
}
END_TEST

/* As etcd, who asks for space before it looks at the request. */
START_TEST(a_full_database_is_told_before_what_is_wrong)
{
    static uint8_t value[REQUEST_BYTES_DEFAULT];
    store_model_set_size(served.store, 2147483648);
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    ask(&reply, PUT, &put.base); /* has no key */
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    put.key = BINARY("k");
    put.value = (ProtobufCBinaryData){.data = value, .len = sizeof value};
    ask(&reply, PUT, &put.base); /* is too large */
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    struct small_txn txn;
    make_txn(&txn, 0, "");
    Etcdserverpb__RequestOp *many[TXN_OPS_DEFAULT + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = &txn.put_op;
    }
    Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT;
    inner.failure = many;
    inner.n_failure = ARRAY_LEN(many);
    Etcdserverpb__RequestOp nested = ETCDSERVERPB__REQUEST_OP__INIT;
    nested.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    nested.request_txn = &inner;
    txn.then[0] = &nested;
    txn.request.n_success = 1;
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    inner.n_failure = 0;
    txn.compare.key = BINARY("");
    ask(&reply, TXN, &txn.request.base); /* costs nothing */
    ck_status(&reply, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided");
    txn.request.failure = many;
    txn.request.n_failure = ARRAY_LEN(many);
    ask(&reply, TXN, &txn.request.base);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
}
END_TEST

/* ---- Compact ---- */

static void compact(int64_t revision, bool physical)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    request.revision = revision;
    request.physical = physical;
    call_message(&reply, COMPACT, &request.base);
}

START_TEST(compact_answers_when_it_holds)
{
    put_key("k", "1");
    put_key("k", "2");
    compact(2, false);
    SERVE_UNTIL(reply.ended);
    Etcdserverpb__CompactionResponse *answer =
        answer_of(&reply, &etcdserverpb__compaction_response__descriptor);
    ck_header(answer->header, 3);
    etcdserverpb__compaction_response__free_unpacked(answer, NULL);
    compact(2, false);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
    compact(4, true);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OUT_OF_RANGE,
              "etcdserver: mvcc: required revision is a future revision");
}
END_TEST

START_TEST(physical_compact_waits_for_the_disk)
{
    put_key("k", "1");
    compact(2, true);
    SERVE_UNTIL(store_model_waiting(served.store) == 1);
    put_key("k", "2");
    ck_assert(!reply.ended);
    store_model_compacted(served.store);
    SERVE_UNTIL(reply.ended);
    Etcdserverpb__CompactionResponse *answer =
        answer_of(&reply, &etcdserverpb__compaction_response__descriptor);
    ck_header(answer->header, 2); /* as it was when it was compacted */
    etcdserverpb__compaction_response__free_unpacked(answer, NULL);
}
END_TEST

static Suite *rpc_kv_suite(void)
{
    Suite *suite = suite_create("rpc_kv");
    TCase *tc = tcase_create("write");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, put_answers_with_its_revision);
    tcase_add_loop_test(tc, a_bad_put_is_refused, 0, ARRAY_LEN(bad_puts));
    tcase_add_loop_test(tc, a_put_has_the_size_that_etcd_lets_pass, 0, 3);
    tcase_add_test(tc, a_full_database_takes_no_put);
    tcase_add_test(tc, a_full_database_is_told_before_what_is_wrong);
    tcase_add_test(tc, delete_tells_what_is_gone);
    suite_add_tcase(suite, tc);
    tc = tcase_create("range");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, range_reads_the_present_and_the_past);
    tcase_add_loop_test(tc, a_bad_range_is_refused, 0, ARRAY_LEN(bad_ranges));
    tcase_add_test(tc, a_linearizable_read_waits_and_a_serializable_one_does_not);
    tcase_add_test(tc, a_read_that_fails_says_so);
    tcase_add_loop_test(tc, an_answer_of_any_size_is_whole, 0, ARRAY_LEN(large));
    suite_add_tcase(suite, tc);
    tc = tcase_create("learner");
    tcase_add_checked_fixture(tc, setup_learner, teardown);
    tcase_add_test(tc, a_learner_reads_what_it_has_and_nothing_else);
    suite_add_tcase(suite, tc);
    tc = tcase_create("txn");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, txn_takes_a_branch_and_tells);
    tcase_add_test(tc, a_txn_that_only_reads_stays_out_of_the_log);
    tcase_add_test(tc, a_bad_txn_is_refused);
    tcase_add_test(tc, a_txn_has_as_many_operations_as_etcd_lets_pass);
    suite_add_tcase(suite, tc);
    tc = tcase_create("compact");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, compact_answers_when_it_holds);
    tcase_add_test(tc, physical_compact_waits_for_the_disk);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_kv_suite);
}
