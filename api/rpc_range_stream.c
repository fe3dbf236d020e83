/* SPDX-License-Identifier: Apache-2.0 */
/* RangeStream: a range in pieces that all come from one revision. The number of keys of a piece
 * follows the size of the ones before: it doubles while a piece is under half of the largest
 * request, and halves when it is over twice that. The last message carries header, more and count.
 *
 *   read index ─▶ count ─▶ piece ─▶ send ─▶ enough room? ─▶ piece ... ─▶ last message
 *                                            └─ no: wait for the client */
#include "api/call.h"
#include "api/convert.h"
#include "base/cleanup.h"

#define FIRST_PIECE_KEYS 10

struct stream_state {
    struct read_op read;
    struct store_range_request
        request; /* of the piece under way; its query begins where the next one begins */
    struct buf next_key;
    int64_t store_revision; /* when it began: the header's */
    int64_t limit;          /* keys still wanted; 0 or less: all */
    bool limited;
    int64_t count; /* keys of the whole range */
    int64_t sent;
    int64_t piece_keys;
    bool waiting; /* for the client to read: the held count is given back by on_writable's end or by
                     on_closed */
};

static void find_piece(struct grpc_call *call);

static void end(struct grpc_call *call, enum err err)
{
    if (err != OK) {
        status_finish(call, err);
    }
    grpc_call_unref(call);
}

/* Send the piece; true when it was the last. */
static bool send_piece(struct grpc_call *call, const struct range_result *piece)
{
    struct stream_state *state = grpc_call_state(call);
    size_t count = piece->records.count;
    state->sent += (int64_t)count;
    state->limit -= (int64_t)count;
    bool last = !piece->more || (state->limited && state->limit <= 0);
    struct answer_header header = answer_header_of(call_server(call), state->store_revision);
    struct buf *message = call_scratch(call);
    answer_range_chunk(message, last ? &header : NULL, piece->records.items, count,
                       last && piece->more, last ? state->count : 0);
    if (!buf_ok(message)) {
        status_finish(call, ERR_NOMEM);
        return true;
    }
    size_t half = server_request_bytes_max(call_server(call)) / 2;
    if (message->len < half) {
        state->piece_keys *= 2;
    } else if (message->len > 4 * half && state->piece_keys > 1) {
        state->piece_keys /= 2;
    }
    grpc_call_send(call, buf_bytes(message));
    return last;
}

/* The next piece begins behind the last key that was sent. */
static bool move_on(struct stream_state *state, const struct range_result *piece)
{
    struct bytes last = record_key(piece->records.items[piece->records.count - 1]);
    buf_clear(&state->next_key);
    buf_append_bytes(&state->next_key, last);
    buf_append(&state->next_key, "", 1);
    state->request.query.key = buf_bytes(&state->next_key);
    return buf_ok(&state->next_key);
}

static void on_piece(struct store_range_request *request)
{
    struct stream_state *state = CONTAINER_OF(request, struct stream_state, request);
    struct grpc_call *call = grpc_call_of_state(state);
    if (request->status != OK) {
        end(call, request->status);
        return;
    }
    CLEANUP(range_result_fini) struct range_result piece = request->result;
    if (grpc_call_is_over(call)) {
        end(call, OK);
        return;
    }
    if (send_piece(call, &piece)) {
        grpc_call_finish(call, GRPC_OK, NULL);
        end(call, OK);
        return;
    }
    if (!move_on(state, &piece)) {
        end(call, ERR_NOMEM);
        return;
    }
    if (grpc_call_pending_bytes(call) >= STREAM_SEND_BYTES_MAX) {
        state->waiting = true;
        grpc_call_want_writable(call);
        return;
    }
    find_piece(call);
}

static void find_piece(struct grpc_call *call)
{
    struct stream_state *state = grpc_call_state(call);
    struct range_query *query = &state->request.query;
    query->limit =
        state->limited && state->limit < state->piece_keys ? state->limit : state->piece_keys;
    store_range_start(server_store(call_server(call)), &state->request, on_piece);
}

static void on_writable(struct grpc_call *call)
{
    struct stream_state *state = grpc_call_state(call);
    state->waiting = false;
    find_piece(call);
}

static void on_closed(struct grpc_call *call, enum grpc_status status)
{
    (void)status;
    struct stream_state *state = grpc_call_state(call);
    if (state->waiting) {
        state->waiting = false;
        grpc_call_unref(call); /* nothing else comes that could give it back */
    }
}

static void answer_count(struct grpc_call *call)
{
    struct stream_state *state = grpc_call_state(call);
    struct answer_header header = answer_header_of(call_server(call), state->store_revision);
    struct buf *message = call_scratch(call);
    answer_range_chunk(message, &header, NULL, 0, false, state->count);
    grpc_call_send(call, buf_bytes(message));
    grpc_call_finish(call, GRPC_OK, NULL);
    end(call, OK);
}

static void on_counted(struct store_range_request *request)
{
    struct stream_state *state = CONTAINER_OF(request, struct stream_state, request);
    struct grpc_call *call = grpc_call_of_state(state);
    if (request->status != OK) {
        end(call, request->status);
        return;
    }
    state->count = request->result.count;
    state->store_revision = request->result.revision;
    range_result_fini(&request->result);
    if (grpc_call_is_over(call)) {
        end(call, OK);
        return;
    }
    if (state->request.query.revision <= 0) {
        state->request.query.revision = state->store_revision; /* every piece reads this one */
    }
    if (state->piece_keys == 0) {
        answer_count(call);
        return;
    }
    state->request.query.count_only = false;
    find_piece(call);
}

static void count_range(struct grpc_call *call)
{
    struct stream_state *state = grpc_call_state(call);
    bool count_only = state->request.query.count_only;
    state->piece_keys = count_only ? 0 : FIRST_PIECE_KEYS;
    state->limit = state->request.query.limit;
    state->limited = state->limit > 0;
    state->request.query.count_only = true;
    store_range_start(server_store(call_server(call)), &state->request, on_counted);
}

static void on_readable(struct read_op *op, enum err status)
{
    struct grpc_call *call = grpc_call_of_state(CONTAINER_OF(op, struct stream_state, read));
    if (status != OK) {
        end(call, status);
        return;
    }
    count_range(call);
}

static void rpc_kv_range_stream(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__RangeRequest *request;
    if (!call_admitted(call) ||
        (request = call_decode(call, &etcdserverpb__range_request__descriptor, message)) == NULL) {
        return;
    }
    struct stream_state *state = grpc_call_state(call);
    struct range_query *query = &state->request.query;
    enum err err = convert_range(request, query);
    if (err != OK) {
        status_finish(call, err);
        return;
    }
    bool key_order = query->target == TARGET_KEY && query->sort != SORT_DESCEND;
    if (query->sort != SORT_NONE && !key_order) {
        grpc_call_finish(call, GRPC_UNIMPLEMENTED,
                         "RangeStream does not support custom sort orders");
        return;
    }
    if (query->min_mod_revision != 0 || query->max_mod_revision != 0 ||
        query->min_create_revision != 0 || query->max_create_revision != 0) {
        grpc_call_finish(call, GRPC_UNIMPLEMENTED, "RangeStream does not support revision filters");
        return;
    }
    query->sort = SORT_NONE;
    query->target = TARGET_KEY;
    grpc_call_ref(call);
    if (request->serializable) {
        count_range(call);
    } else {
        server_read(call_server(call), &state->read, on_readable);
    }
}

static void on_release(struct grpc_call *call)
{
    struct stream_state *state = grpc_call_state(call);
    buf_fini(&state->next_key);
}

static const struct grpc_method methods[] = {
    {
        .path = "/etcdserverpb.KV/RangeStream",
        .server_stream = true,
        .state_bytes = sizeof(struct stream_state),
        .message = rpc_kv_range_stream,
        .writable = on_writable,
        .closed = on_closed,
        .release = on_release,
    },
};

const struct rpc_table rpc_range_stream_table = {.methods = methods, .count = ARRAY_LEN(methods)};
