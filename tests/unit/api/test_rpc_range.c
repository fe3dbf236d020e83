/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "tests/unit/api/service_fixture.h"

#define RANGE  "/etcdserverpb.KV/Range"
#define STREAM "/etcdserverpb.KV/RangeStream"

static struct reply reply;
static struct reply unary;

static void setup(void)
{
    served_start();
}

static void teardown(void)
{
    reply_fini(&reply);
    reply_fini(&unary);
    served_stop();
}

static Etcdserverpb__RangeRequest all_keys(void)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY_OF("\0");
    request.range_end = BINARY_OF("\0");
    return request;
}

/* Merged, a stream's messages are the answer of Range: byte for byte, once both are packed again.
 */
static void ck_same_as_unary(const Etcdserverpb__RangeRequest *request)
{
    ask(&reply, STREAM, &request->base);
    ask(&unary, RANGE, &request->base);
    ck_assert_int_eq(reply.status, unary.status);
    if (unary.status != GRPC_OK) {
        ck_assert_str_eq((char *)reply.text.data, (char *)unary.text.data);
        return;
    }
    Etcdserverpb__RangeStreamResponse *merged =
        answer_of(&reply, &etcdserverpb__range_stream_response__descriptor);
    ck_assert_ptr_nonnull(merged->range_response);
    size_t size = etcdserverpb__range_response__get_packed_size(merged->range_response);
    CLEANUP(freep) uint8_t *bytes = malloc(size + 1);
    ck_assert_uint_eq(etcdserverpb__range_response__pack(merged->range_response, bytes), size);
    ck_assert(bytes_equal(bytes_of(bytes, size), buf_bytes(&unary.got)));
    etcdserverpb__range_stream_response__free_unpacked(merged, NULL);
}

static const struct {
    unsigned keys;
    size_t value_bytes;
    int64_t limit;
    bool keys_only;
    bool count_only;
    int64_t revision;
    size_t messages; /* that are expected; 0: whatever */
} streams[] = {
    {0, 0, 0, false, false, 0, 1},       {1, 5, 0, false, false, 0, 1},
    {10, 5, 0, false, false, 0, 1},      {11, 5, 0, false, false, 0, 2},
    {30, 5, 0, false, false, 0, 2},      {31, 5, 0, false, false, 0, 3},
    {1000, 5, 0, false, false, 0, 7},    {1000, 5, 10, false, false, 0, 1},
    {1000, 5, 11, false, false, 0, 2},   {1000, 5, 1000, false, false, 0, 7},
    {1000, 5, 999, false, false, 0, 7},  {1000, 5, 2000, false, false, 0, 7},
    {1000, 5, -3, false, false, 0, 7},   {1000, 5, 1, false, false, 500, 1},
    {1000, 5, 0, true, false, 0, 7},     {1000, 5, 0, false, true, 0, 1},
    {1000, 5, 7, false, true, 300, 1},   {1000, 5, 0, false, false, 1002, 0},
    {60, 100000, 0, false, false, 0, 0},
};

START_TEST(a_stream_is_a_range_in_pieces)
{
    fill_store(streams[_i].keys, streams[_i].value_bytes);
    Etcdserverpb__RangeRequest request = all_keys();
    request.limit = streams[_i].limit;
    request.keys_only = streams[_i].keys_only;
    request.count_only = streams[_i].count_only;
    request.revision = streams[_i].revision;
    for (unsigned dear = 0; dear < 2; dear++) {
        store_model_set_dear(served.store, dear != 0);
        request.serializable = dear != 0;
        ck_same_as_unary(&request);
        if (streams[_i].messages != 0) {
            ck_assert_uint_eq(reply.message_count, streams[_i].messages);
        }
    }
}
END_TEST

/* Only the last message has more than keys; and pieces grow until they are half of a request. */
START_TEST(pieces_adapt_to_the_size_of_values)
{
    fill_store(100, 100000);
    Etcdserverpb__RangeRequest request = all_keys();
    ask(&reply, STREAM, &request.base);
    ck_status(&reply, GRPC_OK, "");
    static const unsigned want[] = {10, 10, 10, 10, 10, 10, 10, 10, 10, 10};
    size_t at = 0;
    ck_assert_uint_eq(reply.message_count, ARRAY_LEN(want));
    for (size_t i = 0; i < reply.message_count; i++) {
        Etcdserverpb__RangeStreamResponse *piece =
            etcdserverpb__range_stream_response__unpack(NULL, reply.sizes[i], reply.got.data + at);
        ck_assert_ptr_nonnull(piece);
        bool last = i + 1 == reply.message_count;
        ck_assert_uint_eq(piece->range_response->n_kvs, want[i]);
        ck_assert_int_eq(piece->range_response->header != NULL, last);
        ck_assert_int_eq(piece->range_response->count, last ? 100 : 0);
        at += reply.sizes[i];
        etcdserverpb__range_stream_response__free_unpacked(piece, NULL);
    }
}
END_TEST

START_TEST(pieces_shrink_when_values_are_large)
{
    fill_store(30, 1000000);
    Etcdserverpb__RangeRequest request = all_keys();
    ask(&reply, STREAM, &request.base);
    ck_status(&reply, GRPC_OK, "");
    static const unsigned want[] = {10, 5, 2, 2, 2, 2, 2, 2, 2, 1}; /* 10, 5 > 3 MiB > 2 */
    ck_assert_uint_eq(reply.message_count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        ck_assert_uint_eq(reply.sizes[i] / 1000000, want[i]);
    }
}
END_TEST

/* Begin a stream of 2000 keys, and come back between two of its pieces. */
static void begin_long_stream(void)
{
    fill_store(2000, 5);
    store_model_set_dear(served.store, true); /* each piece takes a turn */
    Etcdserverpb__RangeRequest request = all_keys();
    call_message(&reply, STREAM, &request.base);
    SERVE_UNTIL(reply.message_count > 0);
    ck_assert(!reply.ended);
}

/* What is written while a stream is under way is not seen by it. */
START_TEST(all_pieces_are_of_one_revision)
{
    begin_long_stream();
    put_key("k00001999", "changed");
    put_key("z", "new");
    SERVE_UNTIL(reply.ended);
    Etcdserverpb__RangeStreamResponse *merged =
        answer_of(&reply, &etcdserverpb__range_stream_response__descriptor);
    const Etcdserverpb__RangeResponse *range = merged->range_response;
    ck_assert_uint_eq(range->n_kvs, 2000);
    ck_assert_int_eq(range->count, 2000);
    ck_assert_int_eq(range->header->revision, 2001);
    ck_assert_uint_eq(range->kvs[1999]->value.len, 5);
    ck_assert_int_eq(range->kvs[1999]->mod_revision, 2001);
    etcdserverpb__range_stream_response__free_unpacked(merged, NULL);
}
END_TEST

START_TEST(a_compaction_under_way_ends_the_stream)
{
    begin_long_stream();
    struct buf entry;
    entry_begin(&entry);
    entry_put(&entry, bytes_of_str("z"), bytes_of(NULL, 0));
    entry_compact(&entry, store_revision(served.store) + 1);
    entry_apply(&entry);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
}
END_TEST

static const struct {
    const char *key;
    int order;
    int target;
    int filter; /* 1 to 4: which of them is set */
    enum grpc_status status;
    const char *text;
} refused[] = {
    {"k", 1, 0, 0, GRPC_OK, ""}, /* the order of keys, said aloud */
    {"k", 2, 0, 0, GRPC_UNIMPLEMENTED, "RangeStream does not support custom sort orders"},
    {"k", 1, 1, 0, GRPC_UNIMPLEMENTED, "RangeStream does not support custom sort orders"},
    {"k", 2, 4, 0, GRPC_UNIMPLEMENTED, "RangeStream does not support custom sort orders"},
    {"k", 0, 0, 1, GRPC_UNIMPLEMENTED, "RangeStream does not support revision filters"},
    {"k", 0, 0, 2, GRPC_UNIMPLEMENTED, "RangeStream does not support revision filters"},
    {"k", 0, 0, 3, GRPC_UNIMPLEMENTED, "RangeStream does not support revision filters"},
    {"k", 0, 0, 4, GRPC_UNIMPLEMENTED, "RangeStream does not support revision filters"},
    {"", 2, 0, 0, GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
    {"k", 7, 0, 1, GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
};

START_TEST(a_stream_refuses_what_etcd_refuses)
{
    fill_store(3, 5);
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = BINARY(refused[_i].key);
    request.sort_order = (Etcdserverpb__RangeRequest__SortOrder)refused[_i].order;
    request.sort_target = (Etcdserverpb__RangeRequest__SortTarget)refused[_i].target;
    int64_t *const filters[] = {&(int64_t){0}, &request.min_mod_revision, &request.max_mod_revision,
                                &request.min_create_revision, &request.max_create_revision};
    *filters[refused[_i].filter] = 1;
    ask(&reply, STREAM, &request.base);
    ck_status(&reply, refused[_i].status, refused[_i].text);
}
END_TEST

/* A client that does not read does not make us hold its answer: pieces wait for it. */
START_TEST(a_stream_waits_for_its_client)
{
    fill_store(200, 500000); /* 100 MB */
    Etcdserverpb__RangeRequest request = all_keys();
    call_message(&reply, STREAM, &request.base);
    size_t most = 0;
    while (!reply.ended) {
        size_t pending = grpc_server_stats(service_grpc(served.service))->pending_bytes;
        most = pending > most ? pending : most;
        loop_turns(&served.loop, 1);
        served_pump();
    }
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_gt(reply.got.len, 100000000);
    ck_assert_uint_lt(most, 12000000);
}
END_TEST

static Suite *rpc_range_suite(void)
{
    Suite *suite = suite_create("rpc_range");
    TCase *tc = tcase_create("stream");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_stream_is_a_range_in_pieces, 0, ARRAY_LEN(streams));
    tcase_add_test(tc, pieces_adapt_to_the_size_of_values);
    tcase_add_test(tc, pieces_shrink_when_values_are_large);
    tcase_add_test(tc, all_pieces_are_of_one_revision);
    tcase_add_test(tc, a_compaction_under_way_ends_the_stream);
    tcase_add_loop_test(tc, a_stream_refuses_what_etcd_refuses, 0, ARRAY_LEN(refused));
    tcase_add_test(tc, a_stream_waits_for_its_client);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_range_suite);
}
