/* SPDX-License-Identifier: Apache-2.0 */
#include "api/call.h"

#include "api/service_private.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/quota.h"

/* etcd holds its limit against the proposal that it would encode: the request behind this much. */
#define PROPOSAL_HEAD_BYTES 18u

/* An answer of more keys, or of more bytes, is encoded by the worker: the loop has others to serve.
 */
#define LOOP_KEYS_MAX  512u
#define LOOP_BYTES_MAX (256u * 1024)
/* From here on an answer is built in memory that the connection shares, not in the scratch. */
#define BLOB_BYTES_MIN     (16u * 1024)
#define SCRATCH_KEEP_BYTES (1024u * 1024)

/* ---- waiting ---- */

static void begin_wait(struct call *call, enum call_wait wait, call_cb done)
{
    ASSERT(call->wait == CALL_IDLE);
    call->wait = wait;
    call->done = done;
    grpc_call_ref(call_grpc(call));
}

/* The wait is over: go on, unless it failed or nobody listens any more. */
static void end_wait(struct call *call, enum err status)
{
    struct grpc_call *grpc = call_grpc(call);
    call->wait = CALL_IDLE;
    if (grpc_call_is_over(grpc)) {
        grpc_call_unref(grpc);
        return;
    }
    if (status != OK) {
        call_fail(call, status);
    } else {
        call->done(call);
    }
    grpc_call_unref(grpc);
}

static void on_applied(struct op *op, enum err status)
{
    end_wait(CONTAINER_OF(op, struct call, op), status == OK ? op->result->status : status);
}

void call_propose(struct call *call, const struct command *command, call_cb done)
{
    if (call->request_bytes + PROPOSAL_HEAD_BYTES > server_request_bytes_max(call->server)) {
        call_refuse(call, ERR_TOO_LARGE, quota_cost(command));
        return;
    }
    begin_wait(call, CALL_OP, done);
    server_propose(call->server, &call->op, command, on_applied);
}

static void on_read(struct read_op *op, enum err status)
{
    end_wait(CONTAINER_OF(op, struct call, read), status);
}

void call_read(struct call *call, call_cb done)
{
    begin_wait(call, CALL_READ, done);
    server_read(call->server, &call->read, on_read);
}

static void on_lease(struct lease_ask *ask, enum err status)
{
    end_wait(CONTAINER_OF(ask, struct call, lease), status);
}

void call_lease(struct call *call, bool renew, call_cb done)
{
    begin_wait(call, CALL_LEASE, done);
    if (renew) {
        server_lease_renew(call->server, &call->lease, on_lease);
    } else {
        server_lease_remaining(call->server, &call->lease, on_lease);
    }
}

static void cancel_ranges(struct call_range *range)
{
    for (size_t i = 0; i < range->count; i++) {
        store_range_cancel(&range->parts[i].request);
    }
}

static void give_results(struct call_range *range)
{
    for (size_t i = 0; i < range->count; i++) {
        *range->parts[i].ret = range->parts[i].request.result;
    }
}

static void drop_results(struct call_range *range)
{
    for (size_t i = 0; i < range->count; i++) {
        range_result_fini(&range->parts[i].request.result);
    }
}

/* The last one has ended. */
static void end_ranges(struct call *call)
{
    enum err status = call->range.status;
    if (status != OK || grpc_call_is_over(call_grpc(call))) {
        drop_results(&call->range);
    } else {
        give_results(&call->range);
    }
    end_wait(call, status);
}

static void on_range(struct store_range_request *request)
{
    struct call *call = CONTAINER_OF(request, struct range_part, request)->call;
    struct call_range *range = &call->range;
    range->running--;
    if (request->status != OK && range->status == OK) {
        range->status = request->status;
        cancel_ranges(range); /* for nothing now */
    }
    if (range->running == 0) {
        end_ranges(call);
    }
}

static bool are_cheap(const struct store *store, const struct call_range *range)
{
    uint64_t cost = 0;
    for (size_t i = 0; i < range->count && cost <= STORE_RANGE_CHEAP; i++) {
        cost += store_range_cost(store, &range->parts[i].request.query);
    }
    return cost <= STORE_RANGE_CHEAP;
}

static enum err read_ranges(struct store *store, struct call_range *range)
{
    for (size_t i = 0; i < range->count; i++) {
        struct store_range_request *request = &range->parts[i].request;
        TRY(store_range(store, &request->query, &request->result));
    }
    return OK;
}

/* All in one turn, so that all see one moment. */
static void start_ranges(struct call *call, struct store *store)
{
    call->range.running = call->range.count;
    for (size_t i = 0; i < call->range.count; i++) {
        struct range_part *part = &call->range.parts[i];
        part->call = call;
        store_range_start(store, &part->request, on_range);
    }
}

static void run_ranges(struct call *call, call_cb done)
{
    struct store *store = server_store(call->server);
    if (!are_cheap(store, &call->range)) {
        begin_wait(call, CALL_RANGE, done);
        start_ranges(call, store);
        return;
    }
    enum err err = read_ranges(store, &call->range);
    if (err != OK) {
        drop_results(&call->range);
        call_fail(call, err);
    } else {
        give_results(&call->range);
        done(call);
    }
}

void call_range(struct call *call, const struct range_query *query, call_cb done)
{
    struct call_range *range = &call->range;
    *range = (struct call_range){
        .only = {.request = {.query = *query}, .ret = &range->result},
        .parts = &range->only,
        .count = 1,
    };
    run_ranges(call, done);
}

void call_ranges(struct call *call, struct range_part *parts, size_t count, call_cb done)
{
    call->range = (struct call_range){.parts = parts, .count = count};
    run_ranges(call, done);
}

static void on_compacted(struct store_wait *wait)
{
    end_wait(CONTAINER_OF(wait, struct call, compaction), OK);
}

void call_compaction(struct call *call, call_cb done)
{
    begin_wait(call, CALL_COMPACTION, done);
    store_compact_wait(server_store(call->server), &call->compaction, on_compacted);
}

static void on_left(struct leave_wait *wait, enum err status)
{
    end_wait(CONTAINER_OF(wait, struct call, leave), status);
}

void call_leave(struct call *call, uint64_t member_id, call_cb done)
{
    begin_wait(call, CALL_LEAVE, done);
    server_await_leave(call->server, &call->leave, member_id, on_left);
}

static void on_hash(struct store_hash_request *request)
{
    end_wait(CONTAINER_OF(request, struct call, hash), request->status);
}

void call_hash(struct call *call, int64_t revision, call_cb done)
{
    begin_wait(call, CALL_HASH, done);
    call->hash = (struct store_hash_request){.revision = revision};
    store_hash_start(server_store(call->server), &call->hash, on_hash);
}

void call_sleep(struct call *call, call_cb done)
{
    begin_wait(call, CALL_CALLBACK, done);
}

void call_wake(struct call *call, enum err status)
{
    ASSERT(call->wait == CALL_CALLBACK);
    end_wait(call, status);
}

void call_writable(struct call *call, call_cb done)
{
    begin_wait(call, CALL_WRITABLE, done);
    grpc_call_want_writable(call_grpc(call));
}

void call_is_writable(struct call *call)
{
    ASSERT(call->wait == CALL_WRITABLE);
    end_wait(call, OK);
}

void call_closed(struct call *call)
{
    enum call_wait wait = call->wait;
    switch (wait) {
    case CALL_OP: /* these five call back all the same */
        server_cancel(call->server, &call->op);
        return;
    case CALL_RANGE:
        cancel_ranges(&call->range);
        return;
    case CALL_HASH:
        store_hash_cancel(&call->hash);
        return;
    case CALL_ENCODE:
    case CALL_CALLBACK:
        return;
    case CALL_READ:
        server_read_cancel(call->server, &call->read);
        break;
    case CALL_LEASE:
        server_lease_cancel(call->server, &call->lease);
        break;
    case CALL_COMPACTION:
        store_wait_cancel(&call->compaction);
        break;
    case CALL_LEAVE:
        server_cancel_leave(call->server, &call->leave);
        break;
    case CALL_WRITABLE:
    case CALL_IDLE:
        break;
    }
    if (wait != CALL_IDLE) {
        call->wait = CALL_IDLE;
        grpc_call_unref(call_grpc(call));
    }
}

bool call_requires_leader(struct call *call)
{
    struct bytes value;
    return grpc_call_metadata(call_grpc(call), "hasleader", &value) &&
           bytes_equal(value, bytes_of_str("true"));
}

/* ---- answering ---- */

void call_fail(struct call *call, enum err err)
{
    const struct method *method = grpc_call_method(call_grpc(call))->user;
    struct status status = status_of(err);
    bool is_of_member = err == ERR_STOPPED || err == ERR_NO_LEADER || err == ERR_CLIENT_VERSION;
    grpc_call_finish(call_grpc(call),
                     method->loses_codes && !is_of_member ? GRPC_UNKNOWN : status.code,
                     status.text);
}

void call_refuse(struct call *call, enum err err, size_t cost)
{
    if (!server_is_over_quota(call->server, cost)) {
        call_fail(call, err);
        return;
    }
    begin_wait(call, CALL_OP, NULL); /* never done: it ends with ERR_QUOTA */
    server_refuse_quota(call->server, &call->op, on_applied);
}

void call_fail_malformed(struct call *call)
{
    grpc_call_finish(call_grpc(call), GRPC_INTERNAL,
                     "grpc: error unmarshalling request: proto: cannot parse invalid wire-format "
                     "data");
}

struct answer_header call_header(const struct call *call, int64_t revision)
{
    return (struct answer_header){.cluster_id = server_cluster_id(call->server),
                                  .member_id = server_member_id(call->server),
                                  .revision = revision,
                                  .raft_term = server_term(call->server)};
}

struct buf *call_scratch(struct call *call)
{
    struct buf *scratch = &call->service->scratch;
    if (scratch->failed || scratch->cap > SCRATCH_KEEP_BYTES) {
        buf_fini(scratch);
    }
    buf_clear(scratch);
    return scratch;
}

void call_answer(struct call *call)
{
    const struct buf *scratch = &call->service->scratch;
    if (!buf_ok(scratch)) {
        call_fail(call, ERR_NOMEM);
        return;
    }
    grpc_call_answer(call_grpc(call), buf_bytes(scratch));
}

static bool pack(struct call *call, const ProtobufCMessage *message)
{
    uint8_t *at = buf_extend(call_scratch(call), protobuf_c_message_get_packed_size(message));
    if (at == NULL) {
        call_fail(call, ERR_NOMEM);
        return false;
    }
    (void)protobuf_c_message_pack(message, at); /* the size that was asked for */
    return true;
}

void call_answer_message(struct call *call, const ProtobufCMessage *message)
{
    if (pack(call, message)) {
        grpc_call_answer(call_grpc(call), buf_bytes(&call->service->scratch));
    }
}

void call_send_message(struct call *call, const ProtobufCMessage *message)
{
    if (pack(call, message)) {
        grpc_call_send(call_grpc(call), buf_bytes(&call->service->scratch));
    }
}

/* ---- what may be large ---- */

static size_t record_count(const struct call_encoding *encoding)
{
    return encoding->is_txn ? answer_txn_records(&encoding->txn) : encoding->range.records.count;
}

static size_t encoded_size(const struct call_encoding *encoding)
{
    return encoding->is_txn ? answer_txn_size(&encoding->header, &encoding->txn)
                            : answer_range_size(&encoding->header, &encoding->range);
}

static struct blob *encoded(const struct call_encoding *encoding)
{
    return encoding->is_txn ? answer_txn_blob(&encoding->header, &encoding->txn)
                            : answer_range_blob(&encoding->header, &encoding->range);
}

static void encode_into(const struct call_encoding *encoding, struct buf *buf)
{
    if (encoding->is_txn) {
        answer_txn(buf, &encoding->header, &encoding->txn);
    } else {
        answer_range(buf, &encoding->header, &encoding->range);
    }
}

static void encoding_fini(struct call_encoding *encoding)
{
    blob_unref(encoding->blob);
    if (encoding->is_txn) {
        txn_result_fini(&encoding->txn);
    } else {
        range_result_fini(&encoding->range);
    }
}

/* Thread: the encoder. The loop holds the counts of the records, and does not touch the job. */
static void encode(struct job *job)
{
    struct call_encoding *encoding = CONTAINER_OF(job, struct call_encoding, job);
    encoding->blob = encoded(encoding);
}

static void answer_blob(struct call *call, struct blob *blob)
{
    if (blob == NULL) {
        call_fail(call, ERR_NOMEM);
    } else if (blob->len > INT32_MAX) { /* what gRPC's clients are ready to take at most */
        grpc_call_finish(call_grpc(call), GRPC_RESOURCE_EXHAUSTED,
                         "grpc: trying to send message larger than max (2147483647)");
    } else {
        grpc_call_answer_blob(call_grpc(call), blob);
    }
}

static void answer_encoded(struct call *call)
{
    answer_blob(call, call->encoding.blob);
}

static void on_encoded(struct job *job)
{
    struct call_encoding *encoding = CONTAINER_OF(job, struct call_encoding, job);
    struct call *call = CONTAINER_OF(encoding, struct call, encoding);
    struct grpc_call *grpc = call_grpc(call);
    grpc_call_ref(grpc); /* end_wait gives the wait's count back */
    end_wait(call, OK);
    encoding_fini(encoding);
    grpc_call_unref(grpc);
}

/* On the loop: ENCODING is not large. */
static void answer_now(struct call *call, struct call_encoding *encoding, size_t size)
{
    if (size >= BLOB_BYTES_MIN) {
        encoding->blob = encoded(encoding);
        answer_blob(call, encoding->blob);
    } else {
        encode_into(encoding, call_scratch(call));
        call_answer(call);
    }
    encoding_fini(encoding);
}

static void answer(struct call *call, struct call_encoding *encoding)
{
    bool large = record_count(encoding) > LOOP_KEYS_MAX;
    size_t size = large ? 0 : encoded_size(encoding);
    if (!large && size <= LOOP_BYTES_MAX) {
        answer_now(call, encoding, size);
        return;
    }
    begin_wait(call, CALL_ENCODE, answer_encoded);
    call->encoding = *encoding;
    call->encoding.job = (struct job){.work = encode, .done = on_encoded};
    worker_submit(call->service->encoder, &call->encoding.job);
}

void call_answer_range(struct call *call, struct range_result *result)
{
    struct call_encoding encoding = {.header = call_header(call, result->revision),
                                     .range = *result};
    *result = (struct range_result){0};
    answer(call, &encoding);
}

void call_answer_txn(struct call *call, int64_t revision, struct txn_result *result)
{
    struct call_encoding encoding = {
        .header = call_header(call, revision), .is_txn = true, .txn = *result};
    *result = (struct txn_result){0};
    answer(call, &encoding);
}
