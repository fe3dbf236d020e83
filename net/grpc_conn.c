/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_private.h"

/* One client's connection. nghttp2 calls back while it parses the input; what the calls answer is
 * only noted there, and leaves at the end of the turn.
 *
 *   input:  headers -> opening -> grpc_call_new      data -> grpc_call_input -> method->message
 *   flush:  session -> stream, until a turn's bytes; then the calls that wait for room
 *
 * One timer watches over what the client owes us: its settings, the rest of a header block, any
 * sign of life. */

#define CLOSE_GRACE_MS  1000
#define FRAME_BYTES_MIN 16384 /* what everybody takes (RFC 9113 4.2) */

static void end_conn(struct grpc_conn *conn)
{
    conn->server->stats.refused++;
    stream_close_after_flush(conn->h2.stream, CLOSE_GRACE_MS);
}

/* What nghttp2 calls. */

static void open_call(struct grpc_conn *conn)
{
    if (!opening_check(conn)) {
        return;
    }
    struct grpc_call *call = grpc_call_new(conn, &conn->opening);
    if (call == NULL) {
        (void)nghttp2_submit_rst_stream(conn->h2.session, NGHTTP2_FLAG_NONE,
                                        conn->opening.stream_id, NGHTTP2_REFUSED_STREAM);
        return;
    }
    int status =
        nghttp2_session_set_stream_user_data(conn->h2.session, conn->opening.stream_id, call);
    ASSERT(status == 0); /* the stream whose headers nghttp2 has just handed over */
    if (call->slot->method->start != NULL) {
        call->slot->method->start(call);
    }
}

static struct grpc_conn *conn_of(void *user_data)
{
    return CONTAINER_OF((struct http2 *)user_data, struct grpc_conn, h2);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        opening_begin(&conn_of(user_data)->opening, frame->hd.stream_id);
    }
    return 0;
}

/* nghttp2 passes over what is left of the input. */
static void ban(struct grpc_conn *conn)
{
    if (!conn->banned) {
        conn->banned = true;
        (void)nghttp2_session_terminate_session(conn->h2.session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

/* A client that sends one now and then is told so, one that sends nothing else is let go. */
static void count_invalid_frame(struct grpc_conn *conn)
{
    if (++conn->invalid_frames > INVALID_FRAMES_MAX) {
        ban(conn);
    }
}

/* Frames of a few bytes for which nghttp2 goes through all streams, or through the tree of
 * priorities, a millisecond when they are many. A client sends some when it begins, and later when
 * its windows grow. */
static void count_sweep(struct grpc_conn *conn)
{
    uint64_t now_ms = env_now_ms(conn->server->config.env);
    uint64_t forgiven = (now_ms - conn->forgiven_ms) / 1000 * SWEEPS_PER_CONNECTION_PER_SEC;
    if (forgiven > 0) {
        conn->sweeps = conn->sweeps > forgiven ? conn->sweeps - (unsigned)forgiven : 0;
        conn->forgiven_ms = now_ms;
    }
    if (++conn->sweeps > SWEEPS_PER_CONNECTION_BURST) {
        ban(conn);
    }
}

/* What is left of these headers is passed over, and the stream reset: nghttp2 says INTERNAL_ERROR,
 * unless a reset was submitted. */
static int refuse_headers(struct grpc_conn *conn)
{
    opening_end(&conn->opening);
    count_invalid_frame(conn);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    (void)flags;
    struct grpc_conn *conn = conn_of(user_data);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    conn->opening.bytes += nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + 32;
    if (conn->opening.bytes > HTTP_HEADER_LIST_BYTES_MAX) {
        return refuse_headers(conn);
    }
    if (!opening_take_header(conn, name, value)) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_PROTOCOL_ERROR);
        return refuse_headers(conn);
    }
    return 0;
}

/* As grpc-go counts: a ping sooner than allowed is a strike, unless we sent something meanwhile. */
static void on_ping(struct grpc_conn *conn)
{
    const struct grpc_server_config *config = &conn->server->config;
    uint64_t now = env_now_ms(config->env);
    uint64_t min_interval =
        queue_empty(&conn->calls) ? config->ping_interval_ms : config->ping_min_interval_ms;
    if (conn->sent_since_ping) {
        conn->sent_since_ping = false;
        conn->ping_strikes = 0;
    } else if (conn->last_ping_ms != 0 && now < conn->last_ping_ms + min_interval) {
        conn->ping_strikes++;
    }
    conn->last_ping_ms = now;
    if (conn->ping_strikes > PING_STRIKES_MAX) {
        static const char text[] = "too_many_pings";
        (void)nghttp2_submit_goaway(conn->h2.session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(conn->h2.session),
                                    NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)text,
                                    sizeof text - 1);
        ban(conn); /* closed once that is on its way */
    }
}

static void await(struct grpc_conn *conn, enum grpc_conn_awaits what, uint64_t timeout_ms)
{
    conn->awaits = what;
    env_timer_start(conn->server->config.env, &conn->timer, timeout_ms);
}

static void say_last(struct grpc_conn *conn)
{
    if (!conn->said_last) {
        conn->said_last = true;
        (void)nghttp2_submit_goaway(conn->h2.session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(conn->h2.session),
                                    NGHTTP2_NO_ERROR, NULL, 0);
    }
}

/* On another request, as those of no client of gRPC do. */
static bool depends(const nghttp2_headers *headers)
{
    return headers->pri_spec.stream_id != 0 || headers->pri_spec.exclusive != 0;
}

static void on_end_stream(nghttp2_session *session, int32_t stream_id)
{
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        grpc_call_half_close(call);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct grpc_conn *conn = conn_of(user_data);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            open_call(conn);
            opening_end(&conn->opening);
            if (depends(&frame->headers)) {
                count_sweep(conn);
            }
        } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
            count_invalid_frame(conn); /* trailers end a request */
        }
        __attribute__((fallthrough));
    case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
            on_end_stream(session, frame->hd.stream_id);
        }
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
            on_ping(conn);
        } else if (conn->draining) {
            say_last(conn);
        }
        break;
    case NGHTTP2_GOAWAY:
    case NGHTTP2_PRIORITY:
        count_sweep(conn);
        break;
    case NGHTTP2_SETTINGS:
        http2_forget_trailers(&conn->h2);
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
            count_sweep(conn);
        }
        if (conn->awaits == AWAIT_SETTINGS) {
            await(conn, AWAIT_INPUT, conn->server->config.ping_interval_ms);
        }
        break;
    default:
        break;
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        grpc_call_input(call, bytes_of(data, len));
        return 0;
    }
    return nghttp2_session_consume(session, stream_id, len) == NGHTTP2_ERR_NOMEM ? NGHTTP2_ERR_NOMEM
                                                                                 : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    (void)error_code;
    struct grpc_conn *conn = conn_of(user_data);
    if (conn->opening.active && conn->opening.stream_id == stream_id) {
        opening_end(&conn->opening);
    }
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        grpc_call_detach(call);
    }
    return 0;
}

/* An answer that ended before its request: the client need not send the rest (RFC 9113 8.1). */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    if (frame->hd.type > NGHTTP2_HEADERS) {
        return 0;
    }
    conn_of(user_data)->sent_since_ping = true;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        int status = nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                               NGHTTP2_NO_ERROR);
        return status == NGHTTP2_ERR_NOMEM ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    return 0;
}

/* Of the next DATA frame, at most. nghttp2 makes a buffer of that size, once a connection: only for
 * who has so much to send. */
static ssize_t on_frame_length(nghttp2_session *session, uint8_t type, int32_t stream_id,
                               int32_t session_window, int32_t stream_window, uint32_t peer_max,
                               void *user_data)
{
    (void)type;
    (void)session_window;
    (void)stream_window;
    (void)user_data;
    const struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    size_t max = peer_max < FRAME_BYTES_MAX ? peer_max : FRAME_BYTES_MAX;
    size_t pending = call == NULL ? 0 : grpc_call_pending_bytes(call);
    return pending < FRAME_BYTES_MIN ? FRAME_BYTES_MIN : (ssize_t)(pending < max ? pending : max);
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    (void)session;
    (void)frame;
    (void)error;
    count_invalid_frame(conn_of(user_data));
    return 0;
}

enum err grpc_conn_callbacks(nghttp2_session_callbacks **ret)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return ERR_NOMEM;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, http2_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, on_frame_length);
    *ret = callbacks;
    return OK;
}

/* Time. */

static void on_timer(struct env_timer *timer)
{
    struct grpc_conn *conn = CONTAINER_OF(timer, struct grpc_conn, timer);
    const struct grpc_server_config *config = &conn->server->config;
    uint64_t silent_ms = env_now_ms(config->env) - conn->last_input_ms;
    switch (conn->awaits) {
    case AWAIT_HEADERS:
        if (!conn->opening.active) {
            await(conn, AWAIT_INPUT, config->ping_interval_ms);
            break;
        }
        if (conn->deaf || conn->opening.stream_id != conn->awaited_stream) {
            conn->awaited_stream = conn->opening.stream_id;
            await(conn, AWAIT_HEADERS, config->handshake_timeout_ms);
            break;
        }
        __attribute__((fallthrough));
    case AWAIT_SETTINGS:
    case AWAIT_PONG:
        end_conn(conn);
        break;
    case AWAIT_INPUT:
        if (silent_ms < config->ping_interval_ms) {
            await(conn, AWAIT_INPUT, config->ping_interval_ms - silent_ms);
        } else if (nghttp2_submit_ping(conn->h2.session, NGHTTP2_FLAG_NONE, NULL) == 0) {
            stream_want_flush(conn->h2.stream);
            await(conn, AWAIT_PONG, config->ping_timeout_ms);
        } else {
            end_conn(conn);
        }
        break;
    }
}

/* What the port calls. */

static int start_session(struct grpc_conn *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->server->config.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEADER_LIST_BYTES_MAX},
    };
    nghttp2_mem mem = mempool_for_nghttp2(conn->h2.pool);
    int status = nghttp2_session_server_new3(&conn->h2.session, conn->server->callbacks, &conn->h2,
                                             conn->server->option, &mem);
    if (status == 0) {
        status = nghttp2_submit_settings(conn->h2.session, NGHTTP2_FLAG_NONE, settings,
                                         ARRAY_LEN(settings));
    }
    if (status == 0) {
        status = nghttp2_session_set_local_window_size(conn->h2.session, NGHTTP2_FLAG_NONE, 0,
                                                       CONNECTION_WINDOW_BYTES);
    }
    return status;
}

struct grpc_conn *grpc_conn_new(struct grpc_server *server, struct stream *stream)
{
    struct grpc_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->server = server;
    conn->h2.stream = stream;
    conn->h2.pool = &server->pool;
    stream_use_pool(stream, &server->pool);
    queue_init(&conn->calls);
    queue_init(&conn->waiting);
    env_timer_init(&conn->timer, on_timer);
    if (start_session(conn) != 0) {
        nghttp2_session_del(conn->h2.session);
        free(conn);
        return NULL;
    }
    conn->last_input_ms = env_now_ms(server->config.env);
    await(conn, AWAIT_SETTINGS, server->config.handshake_timeout_ms);
    server->stats.connections++;
    stream_want_flush(stream);
    return conn;
}

static void be_deaf(struct grpc_conn *conn, bool deaf)
{
    if (conn->deaf != deaf) {
        conn->deaf = deaf;
        stream_pause(conn->h2.stream, deaf);
    }
}

void grpc_conn_input(struct grpc_conn *conn, struct bytes bytes)
{
    const struct grpc_server_config *config = &conn->server->config;
    conn->last_input_ms = env_now_ms(config->env);
    if (!http2_input(&conn->h2, bytes, NULL)) {
        end_conn(conn);
        return;
    }
    if (conn->awaits == AWAIT_PONG) {
        await(conn, AWAIT_INPUT, config->ping_interval_ms);
    }
    if (conn->opening.active && conn->awaits == AWAIT_INPUT) {
        conn->awaited_stream = conn->opening.stream_id;
        await(conn, AWAIT_HEADERS, config->handshake_timeout_ms);
    }
    conn->turn_bytes += bytes.len;
    if (http2_is_stuck(&conn->h2) || conn->turn_bytes >= INPUT_TURN_BYTES) {
        be_deaf(conn, true);
    }
}

/* True when there may be more to send. */
static bool tend_waiting(struct grpc_conn *conn)
{
    struct queue now;
    queue_init(&now);
    queue_splice(&now, &conn->waiting);
    bool more = false;
    struct queue *link;
    while ((link = queue_pop_front(&now)) != NULL) {
        more |= grpc_call_tend(QUEUE_ELEM(link, struct grpc_call, waiting));
    }
    return more;
}

void grpc_conn_flush(struct grpc_conn *conn)
{
    if (!http2_output(&conn->h2, NULL)) {
        end_conn(conn);
        return;
    }
    conn->turn_bytes = 0;
    if (!http2_is_stuck(&conn->h2)) {
        be_deaf(conn, false);
    }
    if (!http2_output_is_full(&conn->h2) && tend_waiting(conn)) {
        stream_want_flush(conn->h2.stream);
    }
    if (conn->banned) {
        end_conn(conn);
    } else if (http2_is_over(&conn->h2)) {
        stream_close_after_flush(conn->h2.stream, CLOSE_GRACE_MS);
    }
}

void grpc_conn_drain(struct grpc_conn *conn)
{
    if (conn->draining) {
        return;
    }
    conn->draining = true;
    int status = nghttp2_submit_shutdown_notice(conn->h2.session);
    if (status == 0) {
        /* when its answer is here, calls that were on their way are here too */
        status = nghttp2_submit_ping(conn->h2.session, NGHTTP2_FLAG_NONE, NULL);
    }
    if (status != 0) {
        say_last(conn);
    }
    stream_want_flush(conn->h2.stream);
}

void grpc_conn_free(struct grpc_conn *conn)
{
    while (!queue_empty(&conn->calls)) {
        grpc_call_detach(QUEUE_ELEM(conn->calls.next, struct grpc_call, link));
    }
    env_timer_stop(conn->server->config.env, &conn->timer);
    opening_end(&conn->opening);
    ASSERT(conn->held_bytes == 0);
    ASSERT(conn->h2.pending_bytes == 0);
    ASSERT(conn->large_bytes == 0);
    nghttp2_session_del(conn->h2.session);
    conn->server->stats.connections--;
    free(conn);
}
