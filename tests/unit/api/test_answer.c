/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answer.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "proto/rpc.pb-c.h"
#include "tests/lib/effort.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"

/* What is written without protobuf-c is decoded again with it, and is what was meant. */

/* As many as meet every kind of content many times. */
#define SEEDS       500
#define SEEDS_LEAST 60

static struct arena arena;
static struct random_commands random_state;
static struct buf buf;

static void set_up(void)
{
    arena = (struct arena){0};
    random_state = (struct random_commands){.arena = &arena};
    buf = (struct buf){0};
}

static void tear_down(void)
{
    arena_fini(&arena);
    buf_fini(&buf);
}

static void begin_round(uint64_t seed)
{
    arena_reset(&arena);
    buf_clear(&buf);
    random_state.state = seed;
}

static uint64_t below(uint64_t n)
{
    return random_below(&random_state, n);
}

/* Of every length that a varint can have, and negative. */
static int64_t number(void)
{
    uint64_t v = random_u64(&random_state);
    return below(4) == 0 ? 0 : (int64_t)(v >> below(64));
}

static struct record *make_record(void)
{
    static uint8_t value[70000];
    size_t value_len = below(20) == 0 ? below(sizeof value) : below(200);
    struct record *record = record_new(random_key(&random_state), bytes_of(value, value_len));
    ck_assert_ptr_nonnull(record);
    record->rev = revision_pack((int64_t)(random_u64(&random_state) >> 21), (uint32_t)below(3));
    record->create_revision = number();
    record->version = number();
    record->lease = number();
    return record;
}

static struct record_list make_list(size_t count)
{
    struct record_list list = {.count = count, .cap = count};
    list.items = calloc(count + 1, sizeof(struct record *));
    ck_assert_ptr_nonnull(list.items);
    for (size_t i = 0; i < count; i++) {
        list.items[i] = make_record();
    }
    return list;
}

static struct answer_header make_header(void)
{
    return (struct answer_header){.cluster_id = (uint64_t)number(),
                                  .member_id = (uint64_t)number(),
                                  .revision = number(),
                                  .raft_term = (uint64_t)number()};
}

static size_t some_count(void)
{
    return below(3) == 0 ? below(200) : below(3);
}

static struct range_result make_range(size_t count)
{
    return (struct range_result){
        .count = number(), .more = below(2) == 0, .records = make_list(count)};
}

/* ---- what was decoded ---- */

static void *decode(const ProtobufCMessageDescriptor *type, struct bytes bytes)
{
    void *message = protobuf_c_message_unpack(type, NULL, bytes.len, bytes.data);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(((ProtobufCMessage *)message)->n_unknown_fields, 0);
    return message;
}

static void freed(void *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

static void ck_bytes(ProtobufCBinaryData got, struct bytes want)
{
    ck_assert_uint_eq(got.len, want.len);
    ck_assert(bytes_equal(bytes_of(got.data, got.len), want));
}

static void ck_record(const Mvccpb__KeyValue *got, const struct record *want)
{
    ck_bytes(got->key, record_key(want));
    ck_bytes(got->value, record_value(want));
    ck_assert_int_eq(got->create_revision, want->create_revision);
    ck_assert_int_eq(got->mod_revision, record_mod_revision(want));
    ck_assert_int_eq(got->version, want->version);
    ck_assert_int_eq(got->lease, want->lease);
}

static void ck_records(Mvccpb__KeyValue **got, size_t count, const struct record_list *want)
{
    ck_assert_uint_eq(count, want->count);
    for (size_t i = 0; i < count; i++) {
        ck_record(got[i], want->items[i]);
    }
}

static void ck_header(const Etcdserverpb__ResponseHeader *got, const struct answer_header *want)
{
    ck_assert_ptr_nonnull(got);
    ck_assert_uint_eq(got->cluster_id, want->cluster_id);
    ck_assert_uint_eq(got->member_id, want->member_id);
    ck_assert_int_eq(got->revision, want->revision);
    ck_assert_uint_eq(got->raft_term, want->raft_term);
}

static void ck_range(const Etcdserverpb__RangeResponse *got, const struct answer_header *header,
                     const struct range_result *want)
{
    ck_header(got->header, header);
    ck_records(got->kvs, got->n_kvs, &want->records);
    ck_assert_int_eq(got->more, want->more);
    ck_assert_int_eq(got->count, want->count);
}

static void ck_put(const Etcdserverpb__PutResponse *got, const struct answer_header *header,
                   const struct record *prev)
{
    ck_header(got->header, header);
    ck_assert_int_eq(got->prev_kv != NULL, prev != NULL);
    if (prev != NULL) {
        ck_record(got->prev_kv, prev);
    }
}

static void ck_delete(const Etcdserverpb__DeleteRangeResponse *got,
                      const struct answer_header *header, int64_t deleted,
                      const struct record_list *prevs)
{
    ck_header(got->header, header);
    ck_assert_int_eq(got->deleted, deleted);
    ck_records(got->prev_kvs, got->n_prev_kvs, prevs);
}

/* ---- the answers ---- */

START_TEST(a_put_is_what_was_meant)
{
    unsigned seeds = effort_count(SEEDS, SEEDS_LEAST, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        begin_round(seed);
        struct answer_header header = make_header();
        struct record *prev = seed % 2 == 0 ? NULL : make_record();
        answer_put(&buf, &header, prev);
        Etcdserverpb__PutResponse *got =
            decode(&etcdserverpb__put_response__descriptor, buf_bytes(&buf));
        ck_put(got, &header, prev);
        freed(got);
        record_unref(prev);
    }
}
END_TEST

START_TEST(a_delete_is_what_was_meant)
{
    unsigned seeds = effort_count(SEEDS, SEEDS_LEAST, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        begin_round(seed);
        struct answer_header header = make_header();
        struct record_list prevs = make_list(some_count());
        int64_t deleted = number();
        answer_delete_range(&buf, &header, deleted, &prevs);
        Etcdserverpb__DeleteRangeResponse *got =
            decode(&etcdserverpb__delete_range_response__descriptor, buf_bytes(&buf));
        ck_delete(got, &header, deleted, &prevs);
        freed(got);
        record_list_fini(&prevs);
    }
}
END_TEST

START_TEST(a_range_is_what_was_meant_and_as_large_as_foretold)
{
    unsigned seeds = effort_count(SEEDS, SEEDS_LEAST, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        begin_round(seed);
        struct answer_header header = make_header();
        struct range_result result = make_range(some_count());
        answer_range(&buf, &header, &result);
        ck_assert_uint_eq(answer_range_size(&header, &result), buf.len);
        struct blob *blob = answer_range_blob(&header, &result);
        ck_assert_ptr_nonnull(blob);
        ck_assert(bytes_equal(blob_bytes(blob), buf_bytes(&buf)));
        blob_unref(blob);
        Etcdserverpb__RangeResponse *got =
            decode(&etcdserverpb__range_response__descriptor, buf_bytes(&buf));
        ck_range(got, &header, &result);
        freed(got);
        range_result_fini(&result);
    }
}
END_TEST

/* Of nothing, of one key with nothing in it, of many. */
START_TEST(a_range_of_any_size_is_what_was_meant)
{
    static const size_t counts[] = {0, 1, 2, 127, 128, 10000};
    struct answer_header header = {.revision = 1};
    struct range_result result = {.count = (int64_t)counts[_i]};
    begin_round(1);
    result.records = make_list(counts[_i]);
    answer_range(&buf, &header, &result);
    Etcdserverpb__RangeResponse *got =
        decode(&etcdserverpb__range_response__descriptor, buf_bytes(&buf));
    ck_range(got, &header, &result);
    freed(got);
    range_result_fini(&result);
}
END_TEST

START_TEST(an_empty_record_is_still_there)
{
    struct record_list list = {.count = 1, .items = calloc(1, sizeof(struct record *))};
    ck_assert_ptr_nonnull(list.items);
    list.items[0] = record_new(bytes_of(NULL, 0), bytes_of(NULL, 0));
    struct range_result result = {.records = list};
    struct answer_header header = {0};
    answer_range(&buf, &header, &result);
    Etcdserverpb__RangeResponse *got =
        decode(&etcdserverpb__range_response__descriptor, buf_bytes(&buf));
    ck_range(got, &header, &result);
    freed(got);
    range_result_fini(&result);
}
END_TEST

/* An answer of nothing but zeros is a header of no bytes: 0a 00, as etcd sends. */
START_TEST(a_header_is_there_even_when_it_is_empty)
{
    struct answer_header header = {0};
    answer_only_header(&buf, &header);
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of("\x0a\x00", 2)));
}
END_TEST

START_TEST(a_compaction_is_a_header)
{
    begin_round(3);
    struct answer_header header = make_header();
    answer_only_header(&buf, &header);
    Etcdserverpb__CompactionResponse *got =
        decode(&etcdserverpb__compaction_response__descriptor, buf_bytes(&buf));
    ck_header(got->header, &header);
    freed(got);
}
END_TEST

START_TEST(a_piece_of_a_stream_is_what_was_meant)
{
    unsigned seeds = effort_count(SEEDS, SEEDS_LEAST, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        begin_round(seed);
        struct answer_header header = make_header();
        bool last = below(2) == 0;
        struct range_result piece = make_range(some_count());
        struct blob *blob = answer_range_chunk(last ? &header : NULL, &piece);
        ck_assert_ptr_nonnull(blob);
        Etcdserverpb__RangeStreamResponse *got =
            decode(&etcdserverpb__range_stream_response__descriptor, blob_bytes(blob));
        ck_assert_ptr_nonnull(got->range_response);
        if (last) {
            ck_range(got->range_response, &header, &piece);
        } else {
            ck_assert_ptr_null(got->range_response->header);
            ck_records(got->range_response->kvs, got->range_response->n_kvs, &piece.records);
        }
        freed(got);
        blob_unref(blob);
        range_result_fini(&piece);
    }
}
END_TEST

/* ---- transactions ---- */

static void fill_txn(struct txn_result *txn, unsigned depth);

static void fill_op(struct op_result *op, unsigned depth)
{
    op->kind = (enum op_kind)(1 + below(depth < 4 ? 4 : 3));
    op->revision = number();
    switch (op->kind) {
    case OP_RANGE:
        op->range = make_range(below(3));
        break;
    case OP_PUT:
        op->prev = below(2) == 0 ? NULL : make_record();
        break;
    case OP_DELETE_RANGE:
        op->delete_range.deleted = number();
        op->delete_range.prevs = make_list(below(3));
        break;
    case OP_TXN:
        op->txn = calloc(1, sizeof *op->txn);
        ck_assert_ptr_nonnull(op->txn);
        fill_txn(op->txn, depth + 1);
        break;
    }
}

static void fill_txn(struct txn_result *txn, unsigned depth)
{
    txn->succeeded = below(2) == 0;
    txn->response_count = below(5);
    txn->responses = calloc(txn->response_count + 1, sizeof *txn->responses);
    ck_assert_ptr_nonnull(txn->responses);
    for (size_t i = 0; i < txn->response_count; i++) {
        fill_op(&txn->responses[i], depth);
    }
}

static void ck_txn(const Etcdserverpb__TxnResponse *got, const struct answer_header *header,
                   const struct txn_result *want);

/* Inner headers have nothing but the revision, a nested transaction's not even that. */
static void ck_op(const Etcdserverpb__ResponseOp *got, const struct op_result *want)
{
    static const struct answer_header nothing;
    struct answer_header inner = {.revision = want->revision};
    switch (want->kind) {
    case OP_RANGE:
        ck_assert_int_eq(got->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE);
        ck_range(got->response_range, &inner, &want->range);
        break;
    case OP_PUT:
        ck_assert_int_eq(got->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT);
        ck_put(got->response_put, &inner, want->prev);
        break;
    case OP_DELETE_RANGE:
        ck_assert_int_eq(got->response_case,
                         ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE);
        ck_delete(got->response_delete_range, &inner, want->delete_range.deleted,
                  &want->delete_range.prevs);
        break;
    case OP_TXN:
        ck_assert_int_eq(got->response_case, ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN);
        ck_txn(got->response_txn, &nothing, want->txn);
        break;
    }
}

static void ck_txn(const Etcdserverpb__TxnResponse *got, const struct answer_header *header,
                   const struct txn_result *want)
{
    ck_header(got->header, header);
    ck_assert_int_eq(got->succeeded, want->succeeded);
    ck_assert_uint_eq(got->n_responses, want->response_count);
    for (size_t i = 0; i < want->response_count; i++) {
        ck_op(got->responses[i], &want->responses[i]);
    }
}

START_TEST(a_txn_is_what_was_meant)
{
    unsigned seeds = effort_count(SEEDS, SEEDS_LEAST, "seeds");
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        begin_round(seed);
        struct answer_header header = make_header();
        struct txn_result result = {0};
        fill_txn(&result, 0);
        answer_txn(&buf, &header, &result);
        Etcdserverpb__TxnResponse *got =
            decode(&etcdserverpb__txn_response__descriptor, buf_bytes(&buf));
        ck_txn(got, &header, &result);
        freed(got);
        txn_result_fini(&result);
    }
}
END_TEST

static Suite *answer_suite(void)
{
    Suite *suite = suite_create("answer");
    TCase *tc = tcase_create("answer");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_put_is_what_was_meant);
    tcase_add_test(tc, a_delete_is_what_was_meant);
    tcase_add_test(tc, a_range_is_what_was_meant_and_as_large_as_foretold);
    tcase_add_loop_test(tc, a_range_of_any_size_is_what_was_meant, 0, 6);
    tcase_add_test(tc, an_empty_record_is_still_there);
    tcase_add_test(tc, a_header_is_there_even_when_it_is_empty);
    tcase_add_test(tc, a_compaction_is_a_header);
    tcase_add_test(tc, a_piece_of_a_stream_is_what_was_meant);
    tcase_add_test(tc, a_txn_is_what_was_meant);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(answer_suite);
}
