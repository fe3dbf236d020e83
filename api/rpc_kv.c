/* SPDX-License-Identifier: Apache-2.0 */
/* Put, DeleteRange, Txn, Compact, Range. A write is decoded, checked and proposed; its answer is
 * made when it is applied. A read waits for its read index, unless it is serializable, and is
 * answered from the store.
 *
 * Whoever waits for something holds a count of the call: when the client goes away meanwhile, the
 * answer goes nowhere. */
#include "api/call.h"
#include "api/convert.h"
#include "base/assert.h"
#include "base/cleanup.h"

/* A Range answer larger than this is built in a blob that the connection sends without a copy. */
#define BLOB_BYTES_MIN (64u * 1024)

/* etcd measures the proposal, which wraps the request in a header of about this size. */
#define PROPOSAL_HEAD_BYTES 32u

struct write_state {
    struct op op;
    struct store_wait wait; /* Compact with physical */
    int64_t revision;
    bool physical;
};

struct range_state {
    struct read_op read;
    struct store_range_request request;
};

struct read_txn_state {
    struct read_op read;
    struct command_txn txn;
};

union txn_state {
    struct write_state write;
    struct read_txn_state read;
};

static struct answer_header header_of(struct grpc_call *call, int64_t revision)
{
    return answer_header_of(call_server(call), revision);
}

/* A command that etcd would refuse to propose for its size. */
static bool fits(struct grpc_call *call, struct bytes message)
{
    if (message.len + PROPOSAL_HEAD_BYTES > server_request_bytes_max(call_server(call))) {
        status_finish(call, ERR_TOO_LARGE);
        return false;
    }
    return true;
}

/* ---- writes ---- */

static void answer_write(struct grpc_call *call, const struct result *result)
{
    struct answer_header header = header_of(call, result->revision);
    struct buf *answer = call_scratch(call);
    switch (result->kind) {
    case COMMAND_PUT:
        answer_put(answer, &header, result->prev);
        break;
    case COMMAND_DELETE_RANGE:
        answer_delete_range(answer, &header, result->delete_range.deleted,
                            &result->delete_range.prevs);
        break;
    case COMMAND_TXN:
        answer_txn(answer, &header, &result->txn);
        break;
    default:
        answer_only_header(answer, &header);
    }
    call_answer_scratch(call);
}

static void on_removed(struct store_wait *wait)
{
    struct write_state *state = CONTAINER_OF(wait, struct write_state, wait);
    struct grpc_call *call = grpc_call_of_state(state);
    struct answer_header header = header_of(call, state->revision);
    answer_only_header(call_scratch(call), &header);
    call_answer_scratch(call);
    grpc_call_unref(call);
}

static void on_applied(struct op *op, enum err status)
{
    struct write_state *state = CONTAINER_OF(op, struct write_state, op);
    struct grpc_call *call = grpc_call_of_state(state);
    if (status == OK) {
        status = op->result->status;
    }
    if (status != OK) {
        status_finish(call, status);
    } else if (state->physical) {
        state->revision = op->result->revision;
        store_compact_wait(server_store(call_server(call)), &state->wait, on_removed);
        return;
    } else {
        answer_write(call, op->result);
    }
    grpc_call_unref(call);
}

static void propose(struct grpc_call *call, const struct command *command)
{
    struct write_state *state = grpc_call_state(call);
    grpc_call_ref(call);
    server_propose(call_server(call), &state->op, command, on_applied);
}

static void rpc_kv_put(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__PutRequest *request;
    if (!call_admitted(call) || !fits(call, message) ||
        (request = call_decode(call, &etcdserverpb__put_request__descriptor, message)) == NULL) {
        return;
    }
    struct command command = {.kind = COMMAND_PUT};
    enum err err = convert_put(request, &command.put);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    propose(call, &command);
}

static void rpc_kv_delete_range(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__DeleteRangeRequest *request;
    if (!call_admitted(call) || !fits(call, message) ||
        (request = call_decode(call, &etcdserverpb__delete_range_request__descriptor, message)) ==
            NULL) {
        return;
    }
    struct command command = {.kind = COMMAND_DELETE_RANGE};
    enum err err = convert_delete_range(request, &command.delete_range);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    propose(call, &command);
}

static void rpc_kv_compact(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__CompactionRequest *request;
    if (!call_admitted(call) ||
        (request = call_decode(call, &etcdserverpb__compaction_request__descriptor, message)) ==
            NULL) {
        return;
    }
    struct write_state *state = grpc_call_state(call);
    state->physical = request->physical != 0;
    struct command command = {
        .kind = COMMAND_COMPACT,
        .compact = {.revision = request->revision, .physical = state->physical},
    };
    propose(call, &command);
}

/* ---- Txn ---- */

static void answer_read_txn(struct grpc_call *call)
{
    struct read_txn_state *state = grpc_call_state(call);
    struct txn_result result;
    int64_t revision;
    enum err err = fsm_read_txn(server_fsm(call_server(call)), &state->txn, &result, &revision);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    struct answer_header header = header_of(call, revision);
    answer_txn(call_scratch(call), &header, &result);
    call_answer_scratch(call);
    txn_result_fini(&result);
}

static void on_txn_readable(struct read_op *op, enum err status)
{
    struct grpc_call *call = grpc_call_of_state(CONTAINER_OF(op, struct read_txn_state, read));
    if (status != OK) {
        status_finish(call, status);
    } else {
        answer_read_txn(call);
    }
    grpc_call_unref(call);
}

static void rpc_kv_txn(struct grpc_call *call, struct bytes message)
{
    if (!call_admitted(call) || !fits(call, message)) {
        return;
    }
    if (!txn_depth_ok(message)) {
        status_finish(call, ERR_TOO_MANY_OPS);
        return;
    }
    Etcdserverpb__TxnRequest *request =
        call_decode(call, &etcdserverpb__txn_request__descriptor, message);
    if (request == NULL) {
        return;
    }
    struct command command = {.kind = COMMAND_TXN};
    enum err err = convert_txn(request, server_txn_ops_max(call_server(call)),
                               grpc_call_arena(call), &command.txn);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    if (!txn_is_read_only(&command.txn)) {
        propose(call, &command);
        return;
    }
    struct read_txn_state *state = grpc_call_state(call);
    state->txn = command.txn;
    if (txn_is_serializable(request)) {
        answer_read_txn(call);
        return;
    }
    grpc_call_ref(call);
    server_read(call_server(call), &state->read, on_txn_readable);
}

/* ---- Range ---- */

/* An answer of many keys is written once, into memory that the connection shares. */
static void answer_large_range(struct grpc_call *call, const struct answer_header *header,
                               const struct range_result *result, size_t size)
{
    struct blob *blob = blob_new(size);
    if (blob == NULL) {
        status_finish(call, ERR_NOMEM);
        return;
    }
    struct buf answer = {.data = blob->data, .cap = size};
    answer_range(&answer, header, result);
    ASSERT(answer.data == blob->data && answer.len == size);
    grpc_call_answer_blob(call, blob);
    blob_unref(blob);
}

static void answer_found(struct grpc_call *call, const struct range_result *result)
{
    struct answer_header header = header_of(call, result->revision);
    size_t size = answer_range_size(&header, result);
    if (size >= BLOB_BYTES_MIN) {
        answer_large_range(call, &header, result, size);
        return;
    }
    answer_range(call_scratch(call), &header, result);
    call_answer_scratch(call);
}

static void on_range_found(struct store_range_request *request)
{
    struct grpc_call *call = grpc_call_of_state(CONTAINER_OF(request, struct range_state, request));
    if (request->status != OK) {
        status_finish(call, request->status);
    } else {
        answer_found(call, &request->result);
        range_result_fini(&request->result);
    }
    grpc_call_unref(call);
}

static void find_range(struct grpc_call *call)
{
    struct range_state *state = grpc_call_state(call);
    struct store *store = server_store(call_server(call));
    if (!store_range_is_cheap(store, &state->request.query)) {
        grpc_call_ref(call);
        store_range_start(store, &state->request, on_range_found);
        return;
    }
    struct range_result result = {0};
    enum err err = store_range(store, &state->request.query, &result);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    answer_found(call, &result);
    range_result_fini(&result);
}

static void on_range_readable(struct read_op *op, enum err status)
{
    struct grpc_call *call = grpc_call_of_state(CONTAINER_OF(op, struct range_state, read));
    if (status != OK) {
        status_finish(call, status);
    } else if (!grpc_call_is_over(call)) {
        find_range(call);
    }
    grpc_call_unref(call);
}

static void rpc_kv_range(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__RangeRequest *request;
    if (!call_admitted(call) ||
        (request = call_decode(call, &etcdserverpb__range_request__descriptor, message)) == NULL) {
        return;
    }
    struct range_state *state = grpc_call_state(call);
    enum err err = convert_range(request, &state->request.query);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    if (request->serializable) {
        find_range(call);
        return;
    }
    grpc_call_ref(call);
    server_read(call_server(call), &state->read, on_range_readable);
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Range",
     .state_bytes = sizeof(struct range_state),
     .message = rpc_kv_range},
    {.path = "/etcdserverpb.KV/Put",
     .state_bytes = sizeof(struct write_state),
     .message = rpc_kv_put},
    {.path = "/etcdserverpb.KV/DeleteRange",
     .state_bytes = sizeof(struct write_state),
     .message = rpc_kv_delete_range},
    {.path = "/etcdserverpb.KV/Txn", .state_bytes = sizeof(union txn_state), .message = rpc_kv_txn},
    {.path = "/etcdserverpb.KV/Compact",
     .state_bytes = sizeof(struct write_state),
     .message = rpc_kv_compact},
};

const struct rpc_table rpc_kv_table = {.methods = methods, .count = ARRAY_LEN(methods)};
