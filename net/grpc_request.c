/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "net/grpc_client_private.h"

#define UNUSED_CALLS_MAX   1024
#define TEXT_BYTES_MAX     8192u
#define METADATA_COUNT_MAX 16
#define HEADERS_MAX        (8 + METADATA_COUNT_MAX)

/* Calls. */

static struct client_call *call_new(struct grpc_client *client, struct grpc_request *request)
{
    struct queue *link = queue_pop_front(&client->unused);
    struct client_call *call;
    if (link != NULL) {
        client->unused_count--;
        call = QUEUE_ELEM(link, struct client_call, link);
        struct buf text = call->text;
        *call = (struct client_call){.text = text};
    } else {
        call = calloc(1, sizeof *call);
        if (call == NULL) {
            return NULL;
        }
    }
    call->client = client;
    call->request = request;
    call->grpc_status = -1;
    queue_init(&call->link);
    http2_out_init(&call->out, &client->h2, NULL);
    return call;
}

static void call_free(struct client_call *call)
{
    struct grpc_client *client = call->client;
    queue_remove(&call->link);
    grpc_frame_fini(&call->inbox);
    http2_out_fini(&call->out);
    if (client->unused_count == UNUSED_CALLS_MAX) {
        buf_fini(&call->text);
        free(call);
        return;
    }
    buf_clear(&call->text);
    queue_push_front(&client->unused, &call->link);
    client->unused_count++;
}

/* From here on the request is its owner's. */
static struct grpc_request *let_go(struct client_call *call)
{
    struct grpc_request *request = TAKE(call->request);
    request->call = NULL;
    env_timer_stop(call->client->config.env, &call->deadline);
    return request;
}

static void end_request(struct client_call *call, enum grpc_status status, struct bytes text)
{
    if (call->request != NULL) {
        struct grpc_request *request = let_go(call);
        request->on_end(request, status, text);
    }
}

/* End the HTTP/2 stream; the call goes when it is closed. */
static void reset(struct client_call *call, uint32_t code)
{
    struct http2 *h2 = &call->client->h2;
    int status = nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, call->stream_id, code);
    if (status != 0) {
        grpc_client_close(call->client); /* memory has ended: all calls go with the connection */
    } else if (h2->stream != NULL) {
        stream_want_flush(h2->stream);
    }
}

static void end_early(struct client_call *call, enum grpc_status status, const char *text)
{
    reset(call, NGHTTP2_CANCEL);
    end_request(call, status, bytes_of_str(text));
}

static void on_deadline(struct env_timer *timer)
{
    end_early(CONTAINER_OF(timer, struct client_call, deadline), GRPC_DEADLINE_EXCEEDED,
              "context deadline exceeded");
}

void grpc_request_end_all(struct grpc_client *client)
{
    while (!queue_empty(&client->calls)) {
        struct client_call *call = QUEUE_ELEM(client->calls.next, struct client_call, link);
        end_request(call, GRPC_UNAVAILABLE, bytes_of_str(client->close_why.text));
        call_free(call);
    }
}

void grpc_request_end_unable(struct grpc_client *client)
{
    const char *text =
        client->closing ? client->close_why.text : "the connection takes no more calls";
    struct queue *link;
    while ((link = queue_pop_front(&client->unable)) != NULL) {
        struct grpc_request *request = QUEUE_ELEM(link, struct grpc_request, unable);
        request->is_unable = false;
        request->on_end(request, GRPC_UNAVAILABLE, bytes_of_str(text));
    }
}

void grpc_request_free_unused(struct grpc_client *client)
{
    struct queue *link;
    while ((link = queue_pop_front(&client->unused)) != NULL) {
        struct client_call *call = QUEUE_ELEM(link, struct client_call, link);
        buf_fini(&call->text);
        free(call);
    }
}

/* What nghttp2 calls. */

/* 0: it is none. */
static unsigned status_number(const uint8_t *text, size_t len)
{
    unsigned number = 0;
    for (size_t i = 0; i < len; i++) {
        if (len != 3 || text[i] < '0' || text[i] > '9') {
            return 0;
        }
        number = number * 10 + (unsigned)(text[i] - '0');
    }
    return number;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)flags;
    (void)user_data;
    if (name_len != 7 && name_len != 11 && name_len != 12) {
        return 0;
    }
    struct client_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call == NULL) {
        return 0;
    }
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        call->http_status = status_number(value, value_len);
    } else if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0) {
        call->grpc_status = GRPC_UNKNOWN;
        if (value_len == 1 && value[0] >= '0' && value[0] <= '9') {
            call->grpc_status = value[0] - '0';
        } else if (value_len == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '6') {
            call->grpc_status = 10 + value[1] - '0';
        }
    } else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0) {
        buf_clear(&call->text);
        buf_append(&call->text, value, value_len < TEXT_BYTES_MAX ? value_len : TEXT_BYTES_MAX);
    }
    return 0;
}

static void take_messages(struct client_call *call, struct bytes input)
{
    while (call->request != NULL) {
        struct bytes message;
        char text[96];
        size_t max = call->client->config.message_bytes_max;
        switch (grpc_frame_next(&call->inbox, &input, max, &message)) {
        case GRPC_FRAME_MORE:
            return;
        case GRPC_FRAME_MESSAGE:
            call->request->on_message(call->request, message);
            break;
        case GRPC_FRAME_TOO_LARGE:
            snprintf(text, sizeof text, "grpc: received message larger than max (%u vs. %zu)",
                     call->inbox.need, max);
            end_early(call, GRPC_RESOURCE_EXHAUSTED, text);
            return;
        case GRPC_FRAME_COMPRESSED:
        case GRPC_FRAME_BAD_FLAG:
            end_early(call, GRPC_INTERNAL, "grpc: the answer is compressed or malformed");
            return;
        case GRPC_FRAME_NOMEM:
            end_early(call, GRPC_RESOURCE_EXHAUSTED, "grpc: no memory for the answer");
            return;
        }
    }
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *user_data)
{
    (void)flags;
    (void)user_data;
    struct client_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        take_messages(call, bytes_of(data, len));
    }
    return 0;
}

/* For a server that ended the stream without a status (gRPC's PROTOCOL-HTTP2.md and
 * http-grpc-status-mapping.md). */
static enum grpc_status status_of_reset(const struct client_call *call, uint32_t code)
{
    switch (code) {
    case NGHTTP2_NO_ERROR:
        break;
    case NGHTTP2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return GRPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_INTERNAL;
    }
    switch (call->http_status) {
    case 200:
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    (void)user_data;
    struct client_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL) {
        return 0;
    }
    if (call->request != NULL && call->grpc_status >= 0) {
        call->text.len = grpc_message_decode(call->text.data, call->text.len);
        end_request(call, (enum grpc_status)call->grpc_status, buf_bytes(&call->text));
    } else if (call->request != NULL) {
        char text[128];
        snprintf(text, sizeof text, "the server ended the call without a status (HTTP %u, %s)",
                 call->http_status, nghttp2_http2_strerror(error_code));
        end_request(call, status_of_reset(call, error_code), bytes_of_str(text));
    }
    call_free(call);
    return 0;
}

static ssize_t on_read_request(nghttp2_session *session, int32_t stream_id, uint8_t *buf,
                               size_t len, uint32_t *flags, nghttp2_data_source *source,
                               void *user_data)
{
    (void)session;
    (void)stream_id;
    (void)user_data;
    return http2_out_read(source->ptr, buf, len, flags);
}

void grpc_request_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, http2_send_data);
}

/* Requests. */

static nghttp2_nv nv_of(const char *name, size_t name_len, const void *value, size_t value_len,
                        uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, name_len, value_len, flags};
}

static nghttp2_nv timeout_header(struct grpc_client *client, uint64_t timeout_ms)
{
    if (client->timeout_ms != timeout_ms) {
        client->timeout_ms = timeout_ms;
        client->timeout_len = grpc_timeout_format(timeout_ms * 1000000, client->timeout);
    }
    return nv_of("grpc-timeout", 12, client->timeout, client->timeout_len,
                 NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

static int submit(struct client_call *call, const struct grpc_request_options *options)
{
    struct grpc_client *client = call->client;
    nghttp2_nv nv[HEADERS_MAX] = {
        HTTP2_NV(":method", "POST"),
        HTTP2_NV(":scheme", "http"),
        nv_of(":path", 5, options->path, strlen(options->path), HTTP2_NO_COPY),
        nv_of(":authority", 10, client->authority, strlen(client->authority), HTTP2_NO_COPY),
        HTTP2_NV("content-type", "application/grpc"),
        HTTP2_NV("te", "trailers"),
        HTTP2_NV("user-agent", "trivet-client"),
    };
    size_t count = 7;
    if (options->timeout_ms > 0) {
        nv[count++] = timeout_header(client, options->timeout_ms);
    }
    for (size_t i = 0; i < options->metadata_count; i++) {
        const struct grpc_metadata *metadata = &options->metadata[i];
        nv[count++] = nv_of(metadata->key, strlen(metadata->key), metadata->value.data,
                            metadata->value.len, NGHTTP2_NV_FLAG_NONE);
    }
    nghttp2_data_provider provider = {.source.ptr = &call->out, .read_callback = on_read_request};
    return nghttp2_submit_request(client->h2.session, NULL, nv, count, &provider, call);
}

static bool start(struct grpc_client *client, struct grpc_request *request,
                  const struct grpc_request_options *options)
{
    struct client_call *call = grpc_client_is_open(client) ? call_new(client, request) : NULL;
    if (call == NULL) {
        return false;
    }
    call->stream_id = submit(call, options);
    if (call->stream_id < 0) {
        call_free(call);
        return false;
    }
    request->call = call;
    queue_push_back(&client->calls, &call->link);
    env_timer_init(&call->deadline, on_deadline);
    if (options->timeout_ms > 0) {
        env_timer_start(client->config.env, &call->deadline, options->timeout_ms);
    }
    if (client->h2.stream != NULL) {
        stream_want_flush(client->h2.stream);
    }
    return true;
}

void grpc_request_start(struct grpc_client *client, struct grpc_request *request,
                        const struct grpc_request_options *options)
{
    ASSERT(request->call == NULL);
    ASSERT(!request->is_unable);
    ASSERT(options->metadata_count <= METADATA_COUNT_MAX);
    if (!start(client, request, options)) {
        request->is_unable = true;
        queue_push_back(&client->unable, &request->unable);
        env_defer(client->config.env, &client->task);
    }
}

static void wake(struct client_call *call)
{
    struct http2 *h2 = &call->client->h2;
    if (call->out.waiting) {
        call->out.waiting = false;
        if (nghttp2_session_resume_data(h2->session, call->stream_id) == NGHTTP2_ERR_NOMEM) {
            grpc_client_close(call->client);
            return;
        }
    }
    if (h2->stream != NULL) {
        stream_want_flush(h2->stream);
    }
}

void grpc_request_send(struct grpc_request *request, struct bytes message)
{
    struct client_call *call = request->call;
    if (call == NULL) {
        return; /* unable: on_end will tell */
    }
    ASSERT(!call->out.ended);
    if (!http2_out_add(&call->out, &(struct grpc_part){.bytes = message}, 1)) {
        reset(call, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    wake(call);
}

void grpc_request_half_close(struct grpc_request *request)
{
    struct client_call *call = request->call;
    if (call != NULL) {
        call->out.ended = true;
        wake(call);
    }
}

void grpc_request_unary(struct grpc_client *client, struct grpc_request *request,
                        const struct grpc_request_options *options, struct bytes message)
{
    grpc_request_start(client, request, options);
    grpc_request_send(request, message);
    grpc_request_half_close(request);
}

void grpc_request_cancel(struct grpc_request *request)
{
    if (request->is_unable) {
        request->is_unable = false;
        queue_remove(&request->unable);
    } else if (request->call != NULL) {
        struct client_call *call = request->call;
        (void)let_go(call);
        reset(call, NGHTTP2_CANCEL);
    }
}

bool grpc_request_is_active(const struct grpc_request *request)
{
    return request->call != NULL || request->is_unable;
}

size_t grpc_request_pending_bytes(const struct grpc_request *request)
{
    return request->call == NULL ? 0 : request->call->out.queue.bytes;
}
