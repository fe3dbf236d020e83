/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that write, and ranges, on the whole way from a client's bytes into the store: decoded,
 * checked, converted, encoded as commands, decoded again as every member does, applied; and what
 * they read encoded as an answer.
 *
 * The input is a list of requests: kind u8 (enum kind, modulo), length u16, message. All that pass
 * the checks go into one entry after the other, and are applied to a real store. */
#include "api/convert.h"

#include "api/answer.h"
#include "api/decode.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "fsm/fsm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/simvfs.h"

#define SELF         1u
#define REQUESTS_MAX 32u
#define OPS_MAX      16u /* fewer than by default: the limit is to be met */

enum kind { PUT, DELETE_RANGE, TXN, COMPACT, RANGE, KIND_COUNT };

struct run {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct store *store;
    struct fsm *fsm;
    struct arena arena;
    uint64_t index;
    unsigned results; /* that came */
    struct buf answer;
};

/* What was answered is a message of TYPE. */
static void check_answer(struct run *run, const ProtobufCMessageDescriptor *type)
{
    CLAIM(buf_ok(&run->answer));
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, NULL, run->answer.len, run->answer.data);
    CLAIM(message != NULL);
    protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- the store ---- */

static void on_result(void *ctx, uint64_t op, const struct result *result)
{
    struct run *run = ctx;
    CLAIM(op == run->index);
    CLAIM(result->revision == store_revision(run->store));
    run->results++;
    const struct answer_header header = {.revision = result->revision};
    buf_clear(&run->answer);
    if (result->status != OK) {
        return;
    }
    if (result->kind == COMMAND_TXN) {
        answer_txn(&run->answer, &header, &result->txn);
        check_answer(run, &etcdserverpb__txn_response__descriptor);
    } else if (result->kind == COMMAND_PUT) {
        answer_put(&run->answer, &header, result->prev);
        check_answer(run, &etcdserverpb__put_response__descriptor);
    } else if (result->kind == COMMAND_DELETE_RANGE) {
        answer_delete_range(&run->answer, &header, result->delete_range.deleted,
                            &result->delete_range.prevs);
        check_answer(run, &etcdserverpb__delete_range_response__descriptor);
    }
}

static void start(struct run *run)
{
    *run = (struct run){.fake = env_fake_new(1), .disk = fs_fault_new()};
    run->sim = simvfs_new(fs_fault_fs(run->disk), fs_fault_file_id);
    struct why why;
    struct store_config config = {
        .env = env_fake_env(run->fake),
        .path = "/store.db",
        .vfs = simvfs_name(run->sim),
        .fs = fs_fault_fs(run->disk),
        .identity = {.cluster_id = 7, .member_id = SELF},
        .ring_bytes = 20000,
    };
    CLAIM(store_open(&config, &run->store, &why) == OK);
    struct fsm_config fsm = {
        .store = run->store, .member_id = SELF, .on_result = on_result, .ctx = run};
    CLAIM(fsm_new(&fsm, &run->fsm, &why) == OK);
}

static void finish(struct run *run)
{
    env_fake_run(run->fake);
    store_check(run->store);
    fsm_free(run->fsm);
    store_close(run->store);
    simvfs_free(run->sim);
    fs_fault_free(run->disk);
    env_fake_free(run->fake);
    arena_fini(&run->arena);
    buf_fini(&run->answer);
}

/* ---- a request ---- */

static void *decoded(struct run *run, const ProtobufCMessageDescriptor *type, struct bytes message)
{
    return decode_message(type, &run->arena, message);
}

/* False: refused. */
static bool convert(struct run *run, enum kind kind, struct bytes message, struct command *ret)
{
    const void *request;
    switch (kind) {
    case PUT:
        ret->kind = COMMAND_PUT;
        request = decoded(run, &etcdserverpb__put_request__descriptor, message);
        return request != NULL && convert_put(request, &ret->put) == OK;
    case DELETE_RANGE:
        ret->kind = COMMAND_DELETE_RANGE;
        request = decoded(run, &etcdserverpb__delete_range_request__descriptor, message);
        return request != NULL && convert_delete_range(request, &ret->delete_range) == OK;
    case TXN:
        ret->kind = COMMAND_TXN;
        if (decode_check_txn(message, OPS_MAX) != OK) {
            return false;
        }
        request = decoded(run, &etcdserverpb__txn_request__descriptor, message);
        return request != NULL && convert_txn(request, OPS_MAX, &run->arena, &ret->txn) == OK;
    case COMPACT:
        ret->kind = COMMAND_COMPACT;
        request = decoded(run, &etcdserverpb__compaction_request__descriptor, message);
        if (request != NULL) {
            convert_compact(request, &ret->compact);
        }
        return request != NULL;
    case RANGE:
    case KIND_COUNT:
        break;
    }
    return false;
}

static void read_range(struct run *run, struct bytes message)
{
    struct range_query query;
    struct range_result result;
    const void *request = decoded(run, &etcdserverpb__range_request__descriptor, message);
    if (request != NULL && convert_range(request, &query) == OK &&
        store_range(run->store, &query, &result) == OK) {
        const struct answer_header header = {.revision = store_revision(run->store)};
        buf_clear(&run->answer);
        answer_range(&run->answer, &header, &result);
        CLAIM(run->answer.len == answer_range_size(&header, &result));
        check_answer(run, &etcdserverpb__range_response__descriptor);
        range_result_fini(&result);
    }
}

/* Encoded, decoded and encoded again it is the same; applied it moves the revision by one at most.
 */
static void apply(struct run *run, const struct command *command)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    CLEANUP(buf_fini) struct buf again = {0};
    struct command_origin origin = {.member_id = SELF, .op = ++run->index};
    entry_encode_head(&entry, 0);
    size_t head = entry.len;
    command_encode(&entry, origin, command);
    CLAIM(buf_ok(&entry));
    struct reader r = reader_of(bytes_of(entry.data + head, entry.len - head));
    struct command decoded_command;
    CLAIM(command_decode(&r, &run->arena, &origin, &decoded_command) == OK);
    CLAIM(reader_left(&r) == 0);
    command_encode(&again, origin, &decoded_command);
    CLAIM(bytes_equal(buf_bytes(&again), bytes_of(entry.data + head, entry.len - head)));
    int64_t before = store_revision(run->store);
    unsigned results = run->results;
    fsm_apply(run->fsm, run->index, 1, buf_bytes(&entry));
    CLAIM(run->results == results + 1);
    CLAIM(store_revision(run->store) == before || store_revision(run->store) == before + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run;
    start(&run);
    for (unsigned i = 0; i < REQUESTS_MAX && reader_left(&input) > 0; i++) {
        enum kind kind = read_u8(&input) % KIND_COUNT;
        uint16_t len = read_u16(&input);
        CLEANUP(fuzz_free) struct bytes message = fuzz_take(&input, len);
        struct command command = {0};
        if (kind == RANGE) {
            read_range(&run, message);
        } else if (convert(&run, kind, message, &command)) {
            apply(&run, &command);
        }
        arena_reset(&run.arena);
        env_fake_run(run.fake);
    }
    finish(&run);
    return 0;
}
