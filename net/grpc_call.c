/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_private.h"

/* Unused calls that a method keeps, each with at most this much memory in its arena. */
#define FREE_CALLS_MAX       256
#define FREE_ARENA_BYTES_MAX 8192u

#define CONTENT_TYPE "application/grpc"
#define HELD_TEXT    "grpc: too many unfinished requests"

static const char *const status_digits[GRPC_STATUS_COUNT] = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
};

static const struct grpc_method *method_of(const struct grpc_call *call)
{
    return call->slot->method;
}

/* Memory. */

static struct grpc_call *take_unused(struct grpc_slot *slot)
{
    size_t size = sizeof(struct grpc_call) + slot->method->state_bytes;
    struct grpc_call *call = slot->free_calls;
    if (call == NULL) {
        return calloc(1, size);
    }
    slot->free_calls = call->next_free;
    slot->free_count--;
    struct arena arena = call->arena;
    memset(call, 0, size);
    call->arena = arena;
    call->arena.max_bytes = 0;
    return call;
}

static void put_unused(struct grpc_call *call)
{
    struct grpc_slot *slot = call->slot;
    arena_reset(&call->arena);
    if (slot->free_count == FREE_CALLS_MAX) {
        arena_fini(&call->arena);
        free(call);
        return;
    }
    if (call->arena.used_bytes > FREE_ARENA_BYTES_MAX) {
        arena_fini(&call->arena);
    }
    call->next_free = slot->free_calls;
    slot->free_calls = call;
    slot->free_count++;
}

void grpc_call_free_unused(struct grpc_slot *slot)
{
    struct grpc_call *call;
    while ((call = slot->free_calls) != NULL) {
        slot->free_calls = call->next_free;
        arena_fini(&call->arena);
        free(call);
    }
    slot->free_count = 0;
}

void grpc_call_ref(struct grpc_call *call)
{
    call->refs++;
}

void grpc_call_unref(struct grpc_call *call)
{
    ASSERT(call->refs > 0);
    if (--call->refs > 0) {
        return;
    }
    ASSERT(call->conn == NULL);
    if (method_of(call)->release != NULL) {
        method_of(call)->release(call);
    }
    for (unsigned i = 0; i < call->metadata_count; i++) {
        nghttp2_rcbuf_decref(call->metadata[i].name);
        nghttp2_rcbuf_decref(call->metadata[i].value);
    }
    put_unused(call);
}

static void set_held(struct grpc_call *call, size_t bytes)
{
    call->conn->held_bytes = call->conn->held_bytes - call->held_bytes + bytes;
    call->server->stats.held_bytes = call->server->stats.held_bytes - call->held_bytes + bytes;
    call->held_bytes = bytes;
}

/* All that is kept of the client's, for as long as the stream is there: a client that leaves its
 * window closed makes calls stay that are long over. */
static void count_held(struct grpc_call *call)
{
    set_held(call, sizeof *call + method_of(call)->state_bytes + call->metadata_bytes +
                       grpc_frame_held_bytes(&call->inbox) + call->arena.used_bytes);
}

bool grpc_conn_holds_too_much(const struct grpc_conn *conn, size_t more)
{
    const struct grpc_server_stats *stats = &conn->server->stats;
    size_t bytes = conn->held_bytes + more;
    return bytes > CONNECTION_HELD_BYTES_MAX ||
           (stats->held_bytes + more > SERVER_HELD_BYTES_MAX &&
            bytes > SERVER_HELD_BYTES_MAX / stats->connections);
}

/* The end. */

static bool is_ok(const struct grpc_call *call)
{
    return call->status == GRPC_OK && call->status_text.len == 0;
}

static void submit_trailers(nghttp2_session *session, const struct grpc_call *call, int *ret)
{
    static const nghttp2_nv ok[] = {HTTP2_NV("grpc-status", "0")};
    if (is_ok(call)) {
        *ret = nghttp2_submit_trailer(session, call->stream_id, ok, 1);
        return;
    }
    const char *digits = status_digits[call->status];
    const nghttp2_nv nv[] = {
        {(uint8_t *)"grpc-status", (uint8_t *)digits, 11, strlen(digits), HTTP2_NO_COPY},
        {(uint8_t *)"grpc-message", (uint8_t *)call->status_text.data, 12, call->status_text.len,
         NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX},
    };
    *ret = nghttp2_submit_trailer(session, call->stream_id, nv, call->status_text.len > 0 ? 2 : 1);
}

void grpc_answer_status(nghttp2_session *session, int32_t stream_id, const char *http_status,
                        enum grpc_status status, struct bytes text)
{
    const char *digits = status_digits[status];
    const nghttp2_nv nv[] = {
        {(uint8_t *)":status", (uint8_t *)http_status, 7, 3, HTTP2_NO_COPY},
        HTTP2_NV("content-type", CONTENT_TYPE),
        {(uint8_t *)"grpc-status", (uint8_t *)digits, 11, strlen(digits), HTTP2_NO_COPY},
        {(uint8_t *)"grpc-message", (uint8_t *)text.data, 12, text.len,
         NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX},
    };
    /* Fails when memory ends or the stream is gone: then the client's deadline is all that is left
     * in the first case, and nobody waits in the second. */
    (void)nghttp2_submit_response(session, stream_id, nv, text.len > 0 ? 4 : 3, NULL);
}

static ssize_t on_read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                              uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    (void)user_data;
    struct http2_out *out = source->ptr;
    struct grpc_call *call = CONTAINER_OF(out, struct grpc_call, out);
    bool is_usual = out->ended && out->queue.bytes > 0 && is_ok(call);
    out->trailers = is_usual ? http2_usual_trailers(out->h2, stream_id) : 0;
    ssize_t n = http2_out_read(out, buf, len, flags);
    if (n >= 0 && (*flags & NGHTTP2_DATA_FLAG_EOF) != 0 && out->trailers == 0) {
        int status;
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailers(session, call, &status);
        if (status != 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
        }
    }
    return n;
}

/* Make nghttp2 ask for what the http2_out holds, or for its end. */
static void wake(struct grpc_call *call)
{
    static const nghttp2_nv headers[] = {HTTP2_NV(":status", "200"),
                                         HTTP2_NV("content-type", CONTENT_TYPE)};
    nghttp2_session *session = call->conn->h2.session;
    int status = 0;
    if (!call->sent_headers) {
        call->sent_headers = true;
        nghttp2_data_provider provider = {.source.ptr = &call->out,
                                          .read_callback = on_read_answer};
        status = nghttp2_submit_response(session, call->stream_id, headers, ARRAY_LEN(headers),
                                         &provider);
    } else if (call->out.waiting) {
        call->out.waiting = false;
        status = nghttp2_session_resume_data(session, call->stream_id);
    }
    if (status != 0) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
                                        NGHTTP2_INTERNAL_ERROR);
    }
    stream_want_flush(call->conn->h2.stream);
}

static void become_over(struct grpc_call *call, enum grpc_status status)
{
    call->over = true;
    call->status = status;
    call->slot->stats.handled[status]++;
    if (call->deadline_ns != UINT64_MAX) {
        env_timer_stop(call->server->config.env, &call->deadline);
    }
    grpc_frame_fini(&call->inbox);
    count_held(call);
}

static void end_call(struct grpc_call *call, enum grpc_status status, const char *text)
{
    if (call->over) {
        return;
    }
    if (call->overflow) {
        status = GRPC_RESOURCE_EXHAUSTED;
        text = "grpc: too many answers wait for this client to read them";
    }
    if (text != NULL && text[0] != '\0' &&
        !grpc_message_encode(&call->arena, text, &call->status_text)) {
        call->status_text = bytes_of(NULL, 0); /* better the code alone than nothing */
    }
    become_over(call, status);
    call->out.ended = true;
    if (call->sent_headers || call->out.queue.bytes > 0) {
        wake(call);
        return;
    }
    call->sent_headers = true;
    grpc_answer_status(call->conn->h2.session, call->stream_id, "200", status, call->status_text);
    stream_want_flush(call->conn->h2.stream);
}

void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message)
{
    ASSERT((unsigned)status < GRPC_STATUS_COUNT);
    end_call(call, status, message);
}

void grpc_call_fail(struct grpc_call *call, enum grpc_status status, const char *format, ...)
{
    if (call->over) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    end_call(call, status, text);
    if (method_of(call)->closed != NULL) {
        method_of(call)->closed(call, call->status);
    }
}

void grpc_call_detach(struct grpc_call *call)
{
    bool was_open = !call->over;
    if (was_open) {
        become_over(call, GRPC_CANCELLED);
    }
    set_held(call, 0);
    http2_out_fini(&call->out);
    queue_remove(&call->link);
    queue_remove(&call->waiting);
    call->conn = NULL;
    call->server->stats.calls--;
    if (was_open && method_of(call)->closed != NULL) {
        method_of(call)->closed(call, GRPC_CANCELLED);
    }
    grpc_call_unref(call);
}

static void on_deadline(struct env_timer *timer)
{
    grpc_call_fail(CONTAINER_OF(timer, struct grpc_call, deadline), GRPC_DEADLINE_EXCEEDED,
                   "context deadline exceeded");
}

/* The beginning. */

static bool take_metadata(struct grpc_call *call, struct opening *opening)
{
    if (opening->metadata_count == 0) {
        return true;
    }
    size_t size = opening->metadata_count * sizeof call->metadata[0];
    call->metadata = arena_alloc(&call->arena, size);
    if (call->metadata == NULL) {
        return false;
    }
    memcpy(call->metadata, opening->metadata, size);
    call->metadata_count = opening->metadata_count;
    opening->metadata_count = 0; /* the counts are the call's now */
    return true;
}

static void start_deadline(struct grpc_call *call, uint64_t timeout_ns)
{
    call->deadline_ns = UINT64_MAX;
    if (timeout_ns == UINT64_MAX) {
        return;
    }
    struct env *env = call->server->config.env;
    call->deadline_ns = env_now_ns(env) + timeout_ns;
    env_timer_init(&call->deadline, on_deadline);
    env_timer_start(env, &call->deadline, (timeout_ns + 999999) / 1000000);
}

struct grpc_call *grpc_call_new(struct grpc_conn *conn, struct opening *opening)
{
    struct grpc_call *call = take_unused(opening->slot);
    if (call == NULL) {
        return NULL;
    }
    call->slot = opening->slot;
    if (!take_metadata(call, opening)) {
        put_unused(call);
        return NULL;
    }
    call->server = conn->server;
    call->conn = conn;
    call->stream_id = opening->stream_id;
    call->refs = 1;
    queue_push_back(&conn->calls, &call->link);
    queue_init(&call->waiting);
    http2_out_init(&call->out, &conn->h2, &conn->server->stats.pending_bytes);
    call->metadata_bytes = opening->metadata_bytes;
    count_held(call);
    start_deadline(call, opening->timeout_ns);
    conn->server->stats.calls++;
    call->slot->stats.started++;
    return call;
}

/* Receiving. */

static void wait_for_flush(struct grpc_call *call)
{
    queue_remove(&call->waiting);
    queue_push_back(&call->conn->waiting, &call->waiting);
    stream_want_flush(call->conn->h2.stream);
}

static void deliver(struct grpc_call *call, struct bytes message)
{
    if (call->got_message && !method_of(call)->client_stream) {
        grpc_call_fail(call, GRPC_INTERNAL, "grpc: more than one message for a unary request");
        return;
    }
    if (!method_of(call)->client_stream && grpc_conn_holds_too_much(call->conn, message.len)) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, HELD_TEXT);
        return;
    }
    call->got_message = true;
    call->slot->stats.received++;
    call->server->stats.received_bytes += GRPC_PREFIX_BYTES + message.len;
    method_of(call)->message(call, message);
}

static void take_messages(struct grpc_call *call, struct bytes input)
{
    while (!call->over) {
        struct bytes message;
        size_t max = call->server->config.message_bytes_max;
        switch (grpc_frame_next(&call->inbox, &input, max, &message)) {
        case GRPC_FRAME_MORE:
            return;
        case GRPC_FRAME_MESSAGE:
            deliver(call, message);
            break;
        case GRPC_FRAME_TOO_LARGE:
            grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED,
                           "grpc: received message larger than max (%u vs. %zu)", call->inbox.need,
                           max);
            return;
        case GRPC_FRAME_COMPRESSED:
            grpc_call_fail(call, GRPC_INTERNAL,
                           "grpc: compressed flag set with identity or empty encoding");
            return;
        case GRPC_FRAME_BAD_FLAG:
            grpc_call_fail(call, GRPC_INTERNAL, "grpc: received unexpected payload format %u",
                           call->inbox.prefix[0]);
            return;
        case GRPC_FRAME_NOMEM:
            grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "grpc: no memory for the request");
            return;
        }
    }
}

/* Who waits for more is refused it; who has what it waits for may go on. */
static void check_held(struct grpc_call *call)
{
    count_held(call);
    if (grpc_frame_held_bytes(&call->inbox) > 0 && grpc_conn_holds_too_much(call->conn, 0)) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, HELD_TEXT);
    }
}

void grpc_call_input(struct grpc_call *call, struct bytes bytes)
{
    nghttp2_session *session = call->conn->h2.session;
    take_messages(call, bytes);
    if (!call->over) {
        check_held(call);
    }
    /* A client that does not read its answers is given no more window to ask. These fail only when
     * memory ends, which the next use of the session finds too. */
    (void)nghttp2_session_consume_connection(session, bytes.len);
    if (!call->over && call->out.queue.bytes > STREAM_SEND_BYTES_MAX) {
        call->unconsumed += bytes.len;
        wait_for_flush(call);
    } else {
        (void)nghttp2_session_consume_stream(session, call->stream_id, bytes.len);
    }
}

void grpc_call_half_close(struct grpc_call *call)
{
    call->half_closed = true;
    if (call->over) {
        return;
    }
    if (grpc_frame_is_partial(&call->inbox)) {
        grpc_call_fail(call, GRPC_INTERNAL, "grpc: the request ends within a message");
        return;
    }
    if (!method_of(call)->client_stream) {
        if (!call->got_message) {
            grpc_call_fail(call, GRPC_INTERNAL, "grpc: the request has no message");
        }
        return;
    }
    if (method_of(call)->half_close != NULL) {
        method_of(call)->half_close(call);
    }
}

/* Sending. */

size_t grpc_conn_pending(const struct grpc_conn *conn, bool large)
{
    return large ? conn->large_bytes : conn->h2.pending_bytes - conn->large_bytes;
}

/* Has the connection more waiting than its equal part of MAX, while all together have MAX? Only
 * those who have can be what fills it, so that who reads is served however many do not, and all
 * together never have more than twice MAX and a message each. Of large answers and of all else,
 * each for itself. */
static bool is_above_share(const struct grpc_call *call, size_t max, bool large)
{
    const struct grpc_server_stats *stats = &call->server->stats;
    size_t all = large ? stats->large_bytes : stats->pending_bytes - stats->large_bytes;
    return all >= max && grpc_conn_pending(call->conn, large) >= max / stats->connections;
}

static bool is_too_much(const struct grpc_call *call, bool large)
{
    return grpc_conn_pending(call->conn, large) >= CONNECTION_SEND_BYTES_MAX ||
           is_above_share(call, SERVER_SEND_BYTES_MAX, large);
}

static size_t parts_bytes(const struct grpc_part *parts, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += parts[i].bytes.len;
    }
    return bytes;
}

void grpc_call_send_parts(struct grpc_call *call, const struct grpc_part *parts, size_t count)
{
    if (call->over || call->overflow) {
        return;
    }
    struct grpc_server *server = call->server;
    bool large =
        !method_of(call)->server_stream && parts_bytes(parts, count) >= LARGE_ANSWER_BYTES_MIN;
    if (is_too_much(call, large)) {
        call->overflow = true;
        wait_for_flush(call);
        return;
    }
    if (large) {
        http2_out_be_large(&call->out, &call->conn->large_bytes, &server->stats.large_bytes);
    }
    size_t before = call->out.queue.bytes;
    if (!http2_out_add(&call->out, parts, count)) {
        call->overflow = true; /* half a message may be queued: the stream cannot go on */
        (void)nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE, call->stream_id,
                                        NGHTTP2_INTERNAL_ERROR);
        stream_want_flush(call->conn->h2.stream);
        return;
    }
    call->slot->stats.sent++;
    server->stats.sent_bytes += call->out.queue.bytes - before;
    wake(call);
}

void grpc_call_send(struct grpc_call *call, struct bytes message)
{
    grpc_call_send_parts(call, &(struct grpc_part){.bytes = message}, 1);
}

void grpc_call_send_blob(struct grpc_call *call, struct blob *blob)
{
    grpc_call_send_parts(call, &(struct grpc_part){.bytes = blob_bytes(blob), .blob = blob}, 1);
}

void grpc_call_answer(struct grpc_call *call, struct bytes message)
{
    grpc_call_send(call, message);
    end_call(call, GRPC_OK, NULL);
}

void grpc_call_answer_blob(struct grpc_call *call, struct blob *blob)
{
    grpc_call_send_blob(call, blob);
    end_call(call, GRPC_OK, NULL);
}

size_t grpc_call_pending_bytes(const struct grpc_call *call)
{
    return call->out.queue.bytes;
}

static void want_writable(struct grpc_call *call, size_t below)
{
    if (call->over || call->wants_writable) {
        return;
    }
    call->wants_writable = true;
    call->writable_below = below;
    wait_for_flush(call);
}

void grpc_call_want_writable(struct grpc_call *call)
{
    want_writable(call, STREAM_SEND_BYTES_MAX / 2);
}

/* Half of what may wait: the other half is for answers, which cannot be asked to wait. Who asks
 * before the answer to a unary call has a large one. */
static bool has_room(const struct grpc_call *call, size_t max)
{
    bool large = !method_of(call)->server_stream;
    return call->out.queue.bytes < max &&
           grpc_conn_pending(call->conn, large) < CONNECTION_SEND_BYTES_MAX / 2 &&
           !is_above_share(call, SERVER_SEND_BYTES_MAX / 2, large);
}

bool grpc_call_has_room(struct grpc_call *call, size_t max)
{
    if (call->over) {
        return true; /* what is sent goes nowhere */
    }
    if (has_room(call, max)) {
        return true;
    }
    want_writable(call, max / 2);
    return false;
}

bool grpc_call_tend(struct grpc_call *call)
{
    if (call->over) {
        return false;
    }
    if (call->overflow) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "overflow"); /* end_call has the text */
        return true;
    }
    if (call->out.queue.bytes >= STREAM_SEND_BYTES_MAX / 2 ||
        (call->wants_writable && !has_room(call, call->writable_below))) {
        queue_push_back(&call->conn->waiting, &call->waiting);
        return false;
    }
    if (call->unconsumed > 0) {
        (void)nghttp2_session_consume_stream(call->conn->h2.session, call->stream_id,
                                             call->unconsumed);
        call->unconsumed = 0;
    }
    if (call->wants_writable) {
        call->wants_writable = false;
        method_of(call)->writable(call);
    }
    return true;
}

/* What a method sees. */

const struct grpc_method *grpc_call_method(const struct grpc_call *call)
{
    return method_of(call);
}

void *grpc_call_ctx(const struct grpc_call *call)
{
    return call->server->config.ctx;
}

void *grpc_call_state(struct grpc_call *call)
{
    return call->state;
}

struct grpc_call *grpc_call_of_state(void *state)
{
    return (struct grpc_call *)(void *)((char *)state - offsetof(struct grpc_call, state));
}

struct arena *grpc_call_arena(struct grpc_call *call)
{
    return &call->arena;
}

const char *grpc_call_peer(const struct grpc_call *call)
{
    return call->conn == NULL ? "" : stream_peer(call->conn->h2.stream);
}

bool grpc_call_is_over(const struct grpc_call *call)
{
    return call->over;
}

bool grpc_call_metadata(const struct grpc_call *call, const char *key, struct bytes *ret)
{
    size_t len = strlen(key);
    for (unsigned i = 0; i < call->metadata_count; i++) {
        nghttp2_vec name = nghttp2_rcbuf_get_buf(call->metadata[i].name);
        if (name.len == len && memcmp(name.base, key, len) == 0) {
            nghttp2_vec value = nghttp2_rcbuf_get_buf(call->metadata[i].value);
            *ret = bytes_of(value.base, value.len);
            return true;
        }
    }
    return false;
}

uint64_t grpc_call_deadline_ns(const struct grpc_call *call)
{
    return call->deadline_ns;
}
