/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/hash.h"
#include "client/client.h"
#include "cmd/cli/options.h"
#include "proto/rpc.pb-c.h"

/* RangeStream held against Range, on members that run: random queries of keys that were put, put
 * again and deleted. Merged, a stream's messages are the answer of Range at the same revision; also
 * when others write while it is under way. */

#define TIMEOUT_MS 300000u /* for a machine that is busy with something else */
#define TXN_PUTS   100u
#define RANGE      "/etcdserverpb.KV/Range"
#define STREAM     "/etcdserverpb.KV/RangeStream"
#define PUT        "/etcdserverpb.KV/Put"
#define TXN        "/etcdserverpb.KV/Txn"
#define DELETE     "/etcdserverpb.KV/DeleteRange"

struct options {
    const char *endpoints;
    uint64_t keys;
    uint64_t queries;
    uint64_t seed;
};

static const struct option_row rows[] = {
    {"endpoints", OPTION_TEXT, offsetof(struct options, endpoints), "LIST", "of the members"},
    {"keys", OPTION_NUMBER, offsetof(struct options, keys), "N", "to put"},
    {"queries", OPTION_NUMBER, offsetof(struct options, queries), "N", "to compare"},
    {"seed", OPTION_NUMBER, offsetof(struct options, seed), "N", "of keys and queries"},
};

/* A call under way, and what came back. */
struct call {
    struct grpc_request request;
    struct buf got;
    size_t message_count;
    bool done;
    enum grpc_status status;
    char text[200];
};

static struct {
    struct options options;
    uv_loop_t loop;
    struct env_real *real;
    struct client *client;
    uint64_t random;
    int64_t revision; /* of the last write */
    uint64_t message_count;
    uint64_t writes_beside;
} t;

static uint64_t below(uint64_t n)
{
    t.random += 0x9e3779b97f4a7c15u;
    return mix64(t.random) % n;
}

/* ---- calls ---- */

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct call *call = CONTAINER_OF(request, struct call, request);
    buf_append_bytes(&call->got, message);
    call->message_count++;
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct call *call = CONTAINER_OF(request, struct call, request);
    call->done = true;
    call->status = status;
    snprintf(call->text, sizeof call->text, "%.*s", (int)text.len, (const char *)text.data);
}

static void start(struct call *call, size_t slot, const char *path, const ProtobufCMessage *message)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = buf_extend(&bytes, size);
    if (at == NULL) {
        fatal("out of memory");
    }
    (void)protobuf_c_message_pack(message, at);
    *call = (struct call){.request = {.on_message = on_message, .on_end = on_end}};
    struct grpc_request_options options = {.path = path, .timeout_ms = TIMEOUT_MS};
    client_call(t.client, slot, &call->request, &options, buf_bytes(&bytes));
}

static void finish(struct call *call)
{
    while (!call->done) {
        uv_run(&t.loop, UV_RUN_ONCE);
    }
    if (call->status != GRPC_OK || !buf_ok(&call->got)) {
        printf("Bail out! %s: %s\n", grpc_status_name(call->status), call->text);
        exit(1);
    }
}

static void *answer_of(struct call *call, const ProtobufCMessageDescriptor *type)
{
    finish(call);
    void *answer = protobuf_c_message_unpack(type, NULL, call->got.len, call->got.data);
    buf_fini(&call->got);
    if (answer == NULL) {
        fatal("an answer that does not decode");
    }
    return answer;
}

/* ---- what is read ---- */

static ProtobufCBinaryData key_of(uint64_t number, char text[24])
{
    int len = snprintf(text, 24, "s/%08" PRIu64, number);
    return (ProtobufCBinaryData){.data = (uint8_t *)text, .len = (size_t)len};
}

/* COUNT puts to random keys in one transaction. */
static void put_some(size_t count)
{
    static uint8_t value[20000];
    struct {
        char text[24];
        Etcdserverpb__PutRequest put;
        Etcdserverpb__RequestOp op;
    } puts[TXN_PUTS];
    Etcdserverpb__RequestOp *ops[TXN_PUTS];
    uint64_t first = below(t.options.keys);
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__put_request__init(&puts[i].put);
        puts[i].put.key = key_of((first + i) % t.options.keys, puts[i].text);
        puts[i].put.value.data = value;
        puts[i].put.value.len = below(50) == 0 ? below(sizeof value) : below(100);
        etcdserverpb__request_op__init(&puts[i].op);
        puts[i].op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        puts[i].op.request_put = &puts[i].put;
        ops[i] = &puts[i].op;
    }
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.success = ops;
    txn.n_success = count;
    struct call call;
    start(&call, CLIENT_ANY, TXN, &txn.base);
    Etcdserverpb__TxnResponse *answer = answer_of(&call, &etcdserverpb__txn_response__descriptor);
    t.revision = answer->header->revision;
    etcdserverpb__txn_response__free_unpacked(answer, NULL);
}

static void delete_some(void)
{
    char texts[2][24];
    uint64_t first = below(t.options.keys);
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = key_of(first, texts[0]);
    request.range_end = key_of(first + below(50), texts[1]);
    struct call call;
    start(&call, CLIENT_ANY, DELETE, &request.base);
    Etcdserverpb__DeleteRangeResponse *answer =
        answer_of(&call, &etcdserverpb__delete_range_response__descriptor);
    t.revision = answer->header->revision;
    etcdserverpb__delete_range_response__free_unpacked(answer, NULL);
}

static void fill(void)
{
    for (uint64_t i = 0; i < t.options.keys * 2 / TXN_PUTS; i++) {
        put_some(TXN_PUTS);
        if (below(5) == 0) {
            delete_some();
        }
    }
}

/* ---- queries ---- */

struct query {
    Etcdserverpb__RangeRequest request;
    char texts[2][24];
};

static void make_query(struct query *query)
{
    Etcdserverpb__RangeRequest *request = &query->request;
    etcdserverpb__range_request__init(request);
    uint64_t first = below(t.options.keys);
    request->key = key_of(first, query->texts[0]);
    request->range_end = key_of(first + below(t.options.keys), query->texts[1]);
    if (below(4) == 0) {
        request->key = request->range_end = (ProtobufCBinaryData){.data = (uint8_t *)"", .len = 1};
    }
    request->limit = below(2) == 0 ? (int64_t)below(t.options.keys) : 0;
    request->keys_only = below(4) == 0;
    request->count_only = below(8) == 0;
}

/* The answer of Range as bytes, but for its header. */
static struct buf packed(Etcdserverpb__RangeResponse *answer)
{
    struct buf bytes = {0};
    Etcdserverpb__ResponseHeader *header = TAKE(answer->header);
    size_t size = etcdserverpb__range_response__get_packed_size(answer);
    uint8_t *at = buf_extend(&bytes, size);
    if (at == NULL) {
        fatal("out of memory");
    }
    (void)etcdserverpb__range_response__pack(answer, at);
    answer->header = header;
    return bytes;
}

static bool same(Etcdserverpb__RangeResponse *a, Etcdserverpb__RangeResponse *b)
{
    CLEANUP(buf_fini) struct buf x = packed(a);
    CLEANUP(buf_fini) struct buf y = packed(b);
    return bytes_equal(buf_bytes(&x), buf_bytes(&y));
}

/* Write as fast as one can while the stream is under way. */
static void write_beside(struct call *stream)
{
    while (!stream->done) {
        put_some(1 + below(10));
        t.writes_beside++;
    }
}

/* One query as a stream, then as a range at the revision that the stream was of. */
static bool agree(bool writing)
{
    struct query query;
    make_query(&query);
    size_t slot = below(client_slot_count(t.client));
    bool at_present = writing || below(2) == 0;
    query.request.revision = at_present ? 0 : 2 + (int64_t)below((uint64_t)t.revision - 1);
    struct call call;
    start(&call, slot, STREAM, &query.request.base);
    if (writing) {
        write_beside(&call);
    }
    Etcdserverpb__RangeStreamResponse *stream =
        answer_of(&call, &etcdserverpb__range_stream_response__descriptor);
    t.message_count += call.message_count;
    if (at_present) {
        query.request.revision = stream->range_response->header->revision;
    }
    start(&call, slot, RANGE, &query.request.base);
    Etcdserverpb__RangeResponse *range =
        answer_of(&call, &etcdserverpb__range_response__descriptor);
    bool ok = same(stream->range_response, range);
    if (!ok) {
        printf("# %zu keys of %" PRId64 " as a stream, %zu of %" PRId64 " as a range\n",
               stream->range_response->n_kvs, stream->range_response->count, range->n_kvs,
               range->count);
    }
    etcdserverpb__range_stream_response__free_unpacked(stream, NULL);
    etcdserverpb__range_response__free_unpacked(range, NULL);
    return ok;
}

static uint64_t count_differences(uint64_t queries, bool writing)
{
    uint64_t different = 0;
    for (uint64_t i = 0; i < queries; i++) {
        different += !agree(writing);
    }
    return different;
}

/* ---- the program ---- */

static void connect_all(void)
{
    struct why why = {""};
    struct client_config config = {.loop = &t.loop, .endpoints = t.options.endpoints};
    if (uv_loop_init(&t.loop) != 0 || env_real_new(&t.loop, &t.real, &why) != OK) {
        fatal("make a loop: %s", why.text);
    }
    config.env = env_real_env(t.real);
    if (client_new(&config, &t.client, &why) != OK ||
        client_connect_sync(t.client, TIMEOUT_MS, &why) != OK) {
        fatal("connect: %s", why.text);
    }
}

static void disconnect(void)
{
    client_close_sync(t.client);
    env_real_close(t.real);
    while (uv_run(&t.loop, UV_RUN_ONCE) != 0) {
    }
    env_real_free(t.real);
    uv_loop_close(&t.loop);
}

int main(int argc, char **argv)
{
    t.options = (struct options){.keys = 5000, .queries = 200, .seed = 1};
    struct why why = {""};
    size_t arg_count;
    enum err err = options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, &t.options,
                                 NULL, 0, &arg_count, &why);
    if (err != OK || t.options.endpoints == NULL || t.options.keys < TXN_PUTS) {
        fprintf(stderr, "range_stream: %s\n", err != OK ? why.text : "--endpoints is needed");
        return 2;
    }
    t.random = t.options.seed;
    connect_all();
    fill();
    uint64_t at_rest = count_differences(t.options.queries, false);
    uint64_t under_writes = count_differences(t.options.queries / 4, true);
    printf("%sok 1 - streams are what ranges are (seed %" PRIu64 ")\n", at_rest ? "not " : "",
           t.options.seed);
    printf("%sok 2 - also while others write\n", under_writes ? "not " : "");
    printf("1..2\n# %" PRIu64 " messages, %" PRIu64 " writes beside\n", t.message_count,
           t.writes_beside);
    disconnect();
    return at_rest || under_writes ? 1 : 0;
}
