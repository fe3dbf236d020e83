/* SPDX-License-Identifier: Apache-2.0 */
/* KV: Range, and RangeStream, the same in pieces that all come from one revision.
 *
 *   Range        read index? ─▶ range ─▶ answer
 *   RangeStream  read index? ─▶ piece ─▶ send ─▶ wait for the client ─▶ piece ─▶ ... last message
 *
 * The number of keys of a piece follows the size of the one before: it doubles while a piece is
 * under half of the largest request, and halves when one is over twice that. The last message
 * carries header, more, and the count that the first piece came with. */
#include "api/call.h"
#include "api/convert.h"
#include "base/cleanup.h"
#include "base/limits.h"

#define FIRST_PIECE_KEYS 10

struct range_call {
    struct call call;
    struct range_query query;
};

/* ---- Range ---- */

static void on_found(struct call *call)
{
    call_answer_range(call, &call->range.result);
}

/* A long one waits until the client has taken most of those before it: answers that nobody has room
 * for would have been made for nothing. */
static void find(struct call *call)
{
    struct range_call *state = CONTAINER_OF(call, struct range_call, call);
    if (store_range_is_cheap(server_store(call->server), &state->query) ||
        grpc_call_has_room(call_grpc(call), STREAM_SEND_BYTES_MAX)) {
        call_range(call, &state->query, on_found);
    } else {
        call_writable(call, find);
    }
}

static void rpc_kv_range(struct call *call, const void *message)
{
    struct range_call *state = CONTAINER_OF(call, struct range_call, call);
    const Etcdserverpb__RangeRequest *request = message;
    bool refused = !request->serializable && server_is_learner(call->server);
    enum err err = refused ? ERR_LEARNER : convert_range(request, &state->query);
    if (err != OK) {
        call_fail(call, err);
    } else if (request->serializable) {
        find(call);
    } else {
        call_read(call, find);
    }
}

/* ---- RangeStream ---- */

struct range_stream {
    struct call call;
    struct range_query query; /* of the next piece */
    struct buf next_key;      /* where it begins, from the second one on */
    int64_t left;             /* keys that may still be sent; INT64_MAX: all */
    int64_t piece_keys;
    int64_t revision; /* of the store when the stream began */
    int64_t count;    /* keys of the whole range */
    bool begun;
};

static void find_piece(struct call *call);

static struct range_stream *stream_of(struct call *call)
{
    return CONTAINER_OF(call, struct range_stream, call);
}

/* What the first piece tells of the whole, and what binds the others to its revision. */
static void begin(struct range_stream *stream, const struct range_result *piece)
{
    stream->begun = true;
    stream->revision = piece->revision;
    stream->count = piece->count;
    stream->query.uncounted = true;
    if (stream->query.revision <= 0) {
        stream->query.revision = piece->revision;
    }
}

/* The next piece begins behind the last key of this one. */
static bool move_on(struct range_stream *stream, const struct range_result *piece)
{
    const struct record *last = piece->records.items[piece->records.count - 1];
    buf_clear(&stream->next_key);
    buf_append_bytes(&stream->next_key, record_key(last));
    buf_append(&stream->next_key, "", 1);
    stream->query.key = buf_bytes(&stream->next_key);
    return buf_ok(&stream->next_key);
}

static void adapt(struct range_stream *stream, size_t piece_bytes)
{
    size_t request_bytes = server_request_bytes_max(stream->call.server);
    if (piece_bytes < request_bytes / 2) {
        stream->piece_keys *= 2;
    } else if (piece_bytes > 2 * request_bytes && stream->piece_keys > 1) {
        stream->piece_keys /= 2;
    }
}

static enum err send_piece(struct call *call, struct range_result *piece, bool last)
{
    struct range_stream *stream = stream_of(call);
    struct answer_header header = call_header(call, stream->revision);
    piece->more = last && piece->more;
    piece->count = last ? stream->count : 0;
    struct blob *message = answer_range_chunk(last ? &header : NULL, piece);
    if (message == NULL) {
        return ERR_NOMEM;
    }
    adapt(stream, message->len);
    grpc_call_send_blob(call_grpc(call), message);
    blob_unref(message);
    return OK;
}

static void on_piece(struct call *call)
{
    struct range_stream *stream = stream_of(call);
    CLEANUP(range_result_fini) struct range_result piece = call->range.result;
    if (!stream->begun) {
        begin(stream, &piece);
    }
    stream->left -= (int64_t)piece.records.count;
    bool last = !piece.more || stream->left == 0;
    enum err err = send_piece(call, &piece, last);
    if (err == OK && last) {
        grpc_call_finish(call_grpc(call), GRPC_OK, NULL);
    } else if (err == OK && move_on(stream, &piece)) {
        call_writable(call, find_piece);
    } else {
        call_fail(call, ERR_NOMEM);
    }
}

static void find_piece(struct call *call)
{
    struct range_stream *stream = stream_of(call);
    stream->query.limit = stream->left < stream->piece_keys ? stream->left : stream->piece_keys;
    call_range(call, &stream->query, on_piece);
}

/* Why a query cannot be answered in pieces; NULL: it can. */
static const char *unsupported(const struct range_query *query)
{
    bool by_key = query->target == TARGET_KEY && query->sort == SORT_ASCEND;
    if (query->sort != SORT_NONE && !by_key) {
        return "RangeStream does not support custom sort orders";
    }
    if (query->min_mod_revision != 0 || query->max_mod_revision != 0 ||
        query->min_create_revision != 0 || query->max_create_revision != 0) {
        return "RangeStream does not support revision filters";
    }
    return NULL;
}

static void rpc_kv_range_stream(struct call *call, const void *message)
{
    struct range_stream *stream = stream_of(call);
    struct range_query *query = &stream->query;
    const Etcdserverpb__RangeRequest *request = message;
    enum err err = convert_range(request, query);
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    const char *why = unsupported(query);
    if (why != NULL) {
        grpc_call_finish(call_grpc(call), GRPC_UNIMPLEMENTED, why);
        return;
    }
    query->sort = SORT_NONE;
    query->target = TARGET_KEY;
    stream->left = query->limit > 0 ? query->limit : INT64_MAX;
    stream->piece_keys = FIRST_PIECE_KEYS;
    if (request->serializable) {
        find_piece(call);
    } else {
        call_read(call, find_piece);
    }
}

static void release(struct call *call)
{
    buf_fini(&stream_of(call)->next_key);
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.KV/Range",
        .request = &etcdserverpb__range_request__descriptor,
        .state_bytes = sizeof(struct range_call),
        .learner_serves = true, /* serializable ones */
        .handle = rpc_kv_range,
    },
    {
        .path = "/etcdserverpb.KV/RangeStream",
        .request = &etcdserverpb__range_request__descriptor,
        .state_bytes = sizeof(struct range_stream),
        .server_stream = true,
        .handle = rpc_kv_range_stream,
        .release = release,
    },
};

const struct method_table rpc_range = {.rows = rows, .count = ARRAY_LEN(rows)};
