/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/env_real.h"
#include "client/client.h"
#include "cmd/cli/options.h"
#include "tests/integration/message_text.h"
#include "tests/integration/random_kv.h"
#include "tests/integration/range_ties.h"

/* The same random operations to two clusters, one after the other: status, text and answer of each
 * must be alike, and so must be the whole state and HashKV at many revisions on every member.
 *
 * Endpoints rotate at random. What a member answers from its own state (serializable, HashKV) is
 * asked where the last write went, or after a linearizable read there, so that it cannot lag. */

#define TIMEOUT_MS       300000u /* a machine that stands still for minutes makes no difference */
#define HASHES_PER_ROUND 4u
#define REMOVAL_MS       60000u
#define HASH_PATH        "/etcdserverpb.Maintenance/HashKV"

struct options {
    const char *left;
    const char *right;
    uint64_t ops;
    uint64_t seed;
    uint64_t compare_every;
};

static const struct option_row rows[] = {
    {"left", OPTION_TEXT, offsetof(struct options, left), "LIST", "endpoints of etcd"},
    {"right", OPTION_TEXT, offsetof(struct options, right), "LIST", "endpoints to compare with"},
    {"ops", OPTION_NUMBER, offsetof(struct options, ops), "N", "operations"},
    {"compare-every", OPTION_NUMBER, offsetof(struct options, compare_every), "N",
     "operations between comparisons of everything; 1 finds what made a difference"},
    {"seed", OPTION_NUMBER, offsetof(struct options, seed), "N", "of the operations"},
};

/* One cluster and its last answer. */
struct side {
    const char *name;
    struct client *client;
    size_t slot; /* of the last write */
    struct grpc_request request;
    bool done;
    enum grpc_status status;
    struct buf request_bytes;
    struct buf answer; /* as it came */
    struct buf error;  /* the status' text */
    struct buf text;   /* all of it, to be compared */
};

static struct {
    struct options options;
    uv_loop_t loop;
    struct env_real *real;
    struct side sides[2];
    struct random_kv random;
    uint64_t op; /* number of the operation under way */
    uint64_t ok_counts[KV_KIND_COUNT];
    uint64_t refused_counts[KV_KIND_COUNT];
    uint64_t hash_count;
    uint64_t hash_at_tombstone_count;
    bool compacted_at_tombstones;
    int64_t compacted_before; /* by the compaction before the last */
    struct buf previous;      /* request, as text */
    bool different;
} t;

/* Asking both. */

static void on_message(struct grpc_request *request, struct bytes message)
{
    buf_append_bytes(&CONTAINER_OF(request, struct side, request)->answer, message);
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct side *side = CONTAINER_OF(request, struct side, request);
    side->done = true;
    side->status = status;
    buf_append_bytes(&side->error, text);
}

static void ask(struct side *side, size_t slot, const char *path, const ProtobufCMessage *message)
{
    buf_clear(&side->request_bytes);
    buf_clear(&side->answer);
    buf_clear(&side->error);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = buf_extend(&side->request_bytes, size);
    if (!buf_ok(&side->request_bytes)) {
        fatal("out of memory");
    }
    if (size > 0) {
        protobuf_c_message_pack(message, packed);
    }
    side->done = false;
    const struct grpc_request_options options = {.path = path, .timeout_ms = TIMEOUT_MS};
    client_call(side->client, slot, &side->request, &options, buf_bytes(&side->request_bytes));
}

static void wait_for_answers(void)
{
    while (!t.sides[0].done || !t.sides[1].done) {
        uv_run(&t.loop, UV_RUN_ONCE);
    }
}

/* Comparing. */

/* Write out what the side answered. The answer, or NULL when there is none. */
static ProtobufCMessage *read_answer(struct side *side, const ProtobufCMessage *request,
                                     const ProtobufCMessageDescriptor *descriptor)
{
    buf_clear(&side->text);
    buf_printf(&side->text, "status: %s\n", grpc_status_name(side->status));
    if (side->status != GRPC_OK) {
        buf_printf(&side->text, "message: %.*s\n", (int)side->error.len,
                   (const char *)side->error.data);
        return NULL;
    }
    ProtobufCMessage *answer =
        protobuf_c_message_unpack(descriptor, NULL, side->answer.len, side->answer.data);
    if (answer == NULL) {
        buf_append_str(&side->text, "an answer that cannot be decoded\n");
        return NULL;
    }
    range_ties_settle(request, answer);
    message_text(&side->text, answer);
    return answer;
}

static void print_comment(const char *title, struct bytes text)
{
    printf("# %s\n", title);
    for (const uint8_t *at = text.data, *end = text.data + text.len; at < end;) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        printf("#   %.*s\n", (int)(line_end - at), (const char *)at);
        at = line_end + 1;
    }
}

static void report_difference(const size_t slots[2], const char *path,
                              const ProtobufCMessage *message)
{
    struct buf text = {0};
    message_text(&text, message);
    printf("# operation %" PRIu64 " of seed %" PRIu64 ", store revision %" PRId64
           ", compacted %" PRId64 ": %s\n",
           t.op, t.options.seed, t.random.revision, t.random.compacted, path);
    print_comment("operation before:", buf_bytes(&t.previous));
    print_comment("request:", buf_bytes(&text));
    for (size_t i = 0; i < 2; i++) {
        printf("# %s, endpoint %s:\n", t.sides[i].name,
               client_slot_name(t.sides[i].client, slots[i]));
        print_comment("answer:", buf_bytes(&t.sides[i].text));
    }
    buf_fini(&text);
    t.different = true;
}

static bool is_alike(void)
{
    return bytes_equal(buf_bytes(&t.sides[0].text), buf_bytes(&t.sides[1].text));
}

static void report_unless_alike(const size_t slots[2], const char *path,
                                const ProtobufCMessage *message)
{
    if (!is_alike()) {
        report_difference(slots, path, message);
    }
}

/* The answer of the left side, to be freed, NULL for an error. */
static ProtobufCMessage *ask_both(const size_t slots[2], const char *path,
                                  const ProtobufCMessage *message,
                                  const ProtobufCMessageDescriptor *descriptor)
{
    ask(&t.sides[0], slots[0], path, message);
    ask(&t.sides[1], slots[1], path, message);
    wait_for_answers();
    protobuf_c_message_free_unpacked(read_answer(&t.sides[1], message, descriptor), NULL);
    return read_answer(&t.sides[0], message, descriptor);
}

static ProtobufCMessage *compare(const size_t slots[2], const struct kv_request *request)
{
    ProtobufCMessage *left =
        ask_both(slots, request->path, request->message, request->answer_descriptor);
    report_unless_alike(slots, request->path, request->message);
    return left;
}

/* Every answer of the KV service begins with its header. */
static int64_t revision_of(const ProtobufCMessage *answer)
{
    const Etcdserverpb__RangeResponse *range = (const Etcdserverpb__RangeResponse *)answer;
    return range->header != NULL ? range->header->revision : 0;
}

static void choose_slots(size_t slots[2], bool where_last_written)
{
    for (size_t i = 0; i < 2; i++) {
        slots[i] = where_last_written
                       ? t.sides[i].slot
                       : random_kv_below(&t.random, client_slot_count(t.sides[i].client));
    }
}

static void compare_operation(void)
{
    struct kv_request request = random_kv_next(&t.random);
    size_t slots[2];
    choose_slots(slots, request.serializable);
    ProtobufCMessage *answer = compare(slots, &request);
    buf_clear(&t.previous);
    buf_printf(&t.previous, "%s\n", request.path);
    message_text(&t.previous, request.message);
    if (answer == NULL) {
        t.refused_counts[request.kind]++; /* maybe before it came to the store */
        return;
    }
    t.sides[0].slot = slots[0];
    t.sides[1].slot = slots[1];
    t.ok_counts[request.kind]++;
    t.random.revision = revision_of(answer);
    if (request.kind == KV_COMPACT) {
        t.compacted_before = t.random.compacted;
        t.random.compacted = ((const Etcdserverpb__CompactionRequest *)request.message)->revision;
        t.compacted_at_tombstones =
            t.random.compacted > 0 && t.random.compacted == t.random.deleted;
    } else if (request.kind == KV_DELETE &&
               ((const Etcdserverpb__DeleteRangeResponse *)answer)->deleted > 0) {
        t.random.deleted = t.random.revision;
    }
    protobuf_c_message_free_unpacked(answer, NULL);
}

/* What etcd answers while it still removes what a compaction superseded is not what it answers
 * after that: so the left side, and only it, is asked until it agrees, for a while. */
static void wait_for_left(const size_t slots[2], const ProtobufCMessage *request)
{
    struct env *env = env_real_env(t.real);
    uint64_t end_ms = env_now_ms(env) + REMOVAL_MS;
    struct side *left = &t.sides[0];
    do {
        ask(left, slots[0], HASH_PATH, request);
        wait_for_answers();
        protobuf_c_message_free_unpacked(
            read_answer(left, request, &etcdserverpb__hash_kvresponse__descriptor), NULL);
    } while (!is_alike() && env_now_ms(env) < end_ms);
}

static void compare_hash(const size_t slots[2], int64_t revision)
{
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    request.revision = revision;
    protobuf_c_message_free_unpacked(
        ask_both(slots, HASH_PATH, &request.base, &etcdserverpb__hash_kvresponse__descriptor),
        NULL);
    if (!is_alike()) {
        wait_for_left(slots, &request.base);
    }
    report_unless_alike(slots, HASH_PATH, &request.base);
    if (t.sides[0].status == GRPC_OK) {
        t.hash_count++;
        t.hash_at_tombstone_count += t.compacted_at_tombstones;
    }
}

/* On every member, after it has caught up with the last write. */
static void compare_states(void)
{
    size_t count = client_slot_count(t.sides[1].client);
    for (size_t slot = 0; slot < count && !t.different; slot++) {
        size_t slots[2] = {slot % client_slot_count(t.sides[0].client), slot};
        struct kv_request everything = random_kv_everything(&t.random, 0);
        protobuf_c_message_free_unpacked(compare(slots, &everything), NULL);
        compare_hash(slots, 0);
        for (size_t i = 0; i < HASHES_PER_ROUND && !t.different; i++) {
            uint64_t span = (uint64_t)(t.random.revision - t.random.compacted + 3);
            int64_t revision = t.random.compacted - 1 + (int64_t)random_kv_below(&t.random, span);
            /* Those of compactions etcd 3.4 refuses, and later ones answer. */
            if (revision != t.random.compacted && revision != t.compacted_before) {
                compare_hash(slots, revision);
            }
        }
    }
}

/* The run. */

static void make_side(struct side *side, const char *name, const char *endpoints)
{
    *side = (struct side){.name = name, .request = {.on_message = on_message, .on_end = on_end}};
    const struct client_config config = {
        .env = env_real_env(t.real), .loop = &t.loop, .endpoints = endpoints};
    struct why why = {""};
    if (client_new(&config, &side->client, &why) != OK ||
        client_connect_sync(side->client, TIMEOUT_MS, &why) != OK) {
        fatal("%s", why.text);
    }
}

static void close_side(struct side *side)
{
    client_close_sync(side->client);
    buf_fini(&side->request_bytes);
    buf_fini(&side->answer);
    buf_fini(&side->error);
    buf_fini(&side->text);
}

static void run_operations(void)
{
    for (t.op = 1; t.op <= t.options.ops && !t.different; t.op++) {
        compare_operation();
        if (!t.different && t.op % t.options.compare_every == 0) {
            compare_states();
        }
    }
    if (!t.different) {
        compare_states();
    }
}

static void print_counts(void)
{
    static const char *const names[KV_KIND_COUNT] = {"range", "put", "delete", "txn", "compact"};
    for (size_t i = 0; i < KV_KIND_COUNT; i++) {
        printf("# %-8s %7" PRIu64 " carried out, %7" PRIu64 " refused\n", names[i], t.ok_counts[i],
               t.refused_counts[i]);
    }
}

/* A run that mostly failed has compared nothing. */
static bool is_telling(void)
{
    for (size_t i = 0; i < KV_KIND_COUNT; i++) {
        if (t.ok_counts[i] * 10 < t.refused_counts[i] || t.ok_counts[i] == 0) {
            return false;
        }
    }
    return t.hash_at_tombstone_count > 0;
}

static int print_results(void)
{
    bool telling = is_telling();
    printf("%sok 1 - %" PRIu64 " operations are answered alike (seed %" PRIu64 ")\n",
           t.different ? "not " : "", t.op - 1, t.options.seed);
    printf("%sok 2 - HashKV is the same on every member at %" PRIu64 " revisions, %" PRIu64
           " of them after a compaction at tombstones\n",
           t.different ? "not " : "", t.hash_count, t.hash_at_tombstone_count);
    printf("%sok 3 - every kind of operation was carried out often enough to tell\n",
           telling ? "" : "not ");
    printf("1..3\n");
    print_counts();
    return t.different || !telling ? 1 : 0;
}

int main(int argc, char **argv)
{
    t.options = (struct options){.ops = 5000, .seed = 1, .compare_every = 250};
    struct why why = {""};
    size_t arg_count;
    enum err err = options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, &t.options,
                                 NULL, 0, &arg_count, &why);
    if (err != OK || t.options.left == NULL || t.options.right == NULL ||
        t.options.compare_every == 0) {
        fprintf(stderr, "differential: %s\n",
                err != OK ? why.text : "--left and --right are needed");
        return 2;
    }
    if (uv_loop_init(&t.loop) != 0 || env_real_new(&t.loop, &t.real, &why) != OK) {
        fatal("make a loop: %s", why.text);
    }
    make_side(&t.sides[0], "left", t.options.left);
    make_side(&t.sides[1], "right", t.options.right);
    random_kv_init(&t.random, t.options.seed);
    run_operations();
    int status = print_results();
    random_kv_fini(&t.random);
    buf_fini(&t.previous);
    close_side(&t.sides[0]);
    close_side(&t.sides[1]);
    env_real_close(t.real);
    while (uv_run(&t.loop, UV_RUN_ONCE) != 0) {
    }
    env_real_free(t.real);
    uv_loop_close(&t.loop);
    return status;
}
