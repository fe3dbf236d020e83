/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/net/grpc_fixture.h"

#include <stdlib.h>

#include "base/limits.h"

struct fixture fixture;

/* The server's side. */

static void on_unary(struct grpc_call *call, struct bytes message)
{
    struct bytes status;
    if (!grpc_call_metadata(call, "status", &status)) {
        grpc_call_answer(call, message);
        return;
    }
    char *text = arena_strdup(grpc_call_arena(call), message);
    ck_assert_ptr_nonnull(text);
    grpc_call_finish(call, (enum grpc_status)atoi((const char *)status.data), text);
}

static size_t number_in(struct bytes message)
{
    char text[32] = "";
    ck_assert_uint_lt(message.len, sizeof text);
    memcpy(text, message.data, message.len);
    return strtoul(text, NULL, 10);
}

static void on_big(struct grpc_call *call, struct bytes message)
{
    struct blob *blob = blob_new(number_in(message));
    ck_assert_ptr_nonnull(blob);
    for (size_t i = 0; i < blob->len; i++) {
        blob->data[i] = (uint8_t)(i * 31 >> 8);
    }
    grpc_call_answer_blob(call, blob);
    blob_unref(blob);
}

static void on_shared(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_answer_blob(call, fixture.shared);
}

static void on_keep(struct grpc_call *call, struct bytes message)
{
    struct bytes kept;
    ck_assert(arena_copy(grpc_call_arena(call), message, &kept));
    grpc_call_answer(call, bytes_of("x", 1));
}

static void on_hold(struct grpc_call *call, struct bytes message)
{
    (void)message;
    ck_assert_ptr_null(fixture.held);
    fixture.held = call;
    grpc_call_ref(call);
}

static void on_hold_closed(struct grpc_call *call, enum grpc_status status)
{
    (void)call;
    fixture.held_closed++;
    fixture.held_status = status;
}

static void on_release(struct grpc_call *call)
{
    (void)call;
    fixture.released++;
}

static void on_bidi(struct grpc_call *call, struct bytes message)
{
    grpc_call_send(call, message);
}

static void on_bidi_half_close(struct grpc_call *call)
{
    grpc_call_finish(call, GRPC_OK, NULL);
}

struct feed {
    size_t left;
};

#define FEED_BYTES 65536u

static void feed_on(struct grpc_call *call)
{
    static uint8_t chunk[FEED_BYTES];
    struct feed *feed = grpc_call_state(call);
    while (feed->left > 0) {
        size_t pending = grpc_call_pending_bytes(call);
        fixture.feed_pending_max =
            pending > fixture.feed_pending_max ? pending : fixture.feed_pending_max;
        if (pending >= STREAM_SEND_BYTES_MAX) {
            grpc_call_want_writable(call);
            return;
        }
        grpc_call_send(call, bytes_of(chunk, sizeof chunk));
        feed->left--;
    }
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void on_feed(struct grpc_call *call, struct bytes message)
{
    struct feed *feed = grpc_call_state(call);
    ck_assert_uint_eq(feed->left, 0); /* the state is zero at first, also of memory used again */
    ck_assert_ptr_eq(grpc_call_of_state(feed), call);
    feed->left = number_in(message);
    feed_on(call);
}

static const struct grpc_method methods[] = {
    {.path = "/test.Echo/Unary", .message = on_unary},
    {.path = "/test.Echo/Big", .message = on_big},
    {.path = "/test.Echo/Hold",
     .message = on_hold,
     .closed = on_hold_closed,
     .release = on_release},
    {.path = "/test.Echo/Bidi",
     .client_stream = true,
     .server_stream = true,
     .message = on_bidi,
     .half_close = on_bidi_half_close},
    {.path = "/test.Echo/Feed",
     .server_stream = true,
     .state_bytes = sizeof(struct feed),
     .message = on_feed,
     .writable = feed_on},
    {.path = "/test.Echo/Shared", .message = on_shared},
    {.path = "/test.Echo/Keep", .message = on_keep},
};

static void on_http1(void *ctx, struct http1_request *request)
{
    (void)ctx;
    http1_respond(request, 200, "text/plain", NULL, request->path);
}

void fixture_start(const struct grpc_server_config *settings)
{
    memset(&fixture, 0, sizeof fixture);
    loop_init(&fixture.loop);
    struct grpc_server_config config = *settings;
    config.env = fixture.loop.env;
    config.methods = methods;
    config.method_count = ARRAY_LEN(methods);
    ck_assert_int_eq(grpc_server_new(&config, &fixture.server), OK);
    fixture.http1 = (struct http1_server){.env = fixture.loop.env,
                                          .body_bytes_max = 1000,
                                          .request_timeout_ms = 10000,
                                          .idle_timeout_ms = 10000,
                                          .on_request = on_http1};
    const struct rpc_port_config port = {.env = fixture.loop.env,
                                         .loop = &fixture.loop.uv,
                                         .addr = {.host = "127.0.0.1"},
                                         .grpc = fixture.server,
                                         .http1 = &fixture.http1};
    struct why why;
    enum err err = rpc_port_open(&port, &fixture.port, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

static void on_ready(void *ctx)
{
    (void)ctx;
    fixture.client_ready = true;
}

static void on_client_closed(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    ck_assert_ptr_nonnull(why);
    fixture.client_closed = true;
    fixture.client_status = status;
    fixture.client = NULL;
}

void fixture_connect(void)
{
    const struct grpc_client_config config = {
        .env = fixture.loop.env,
        .loop = &fixture.loop.uv,
        .addr = {.host = "127.0.0.1", .port = rpc_port_number(fixture.port)},
        .on_ready = on_ready,
        .on_closed = on_client_closed,
    };
    fixture.client_closed = false;
    ck_assert_int_eq(grpc_client_new(&config, &fixture.client), OK);
}

static void on_port_closed(void *ctx)
{
    (void)ctx;
    fixture.port_closed = true;
}

void fixture_stop(void)
{
    if (fixture.client != NULL) {
        grpc_client_close(fixture.client);
        RUN_UNTIL(&fixture.loop, fixture.client_closed);
    }
    if (fixture.port != NULL && !fixture.port_closed) {
        rpc_port_close(fixture.port, 5000, on_port_closed, NULL);
        RUN_UNTIL(&fixture.loop, fixture.port_closed);
    }
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->calls, 0);
    grpc_server_free(fixture.server);
    loop_fini(&fixture.loop);
}

/* The client's side. */

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct reply *reply = CONTAINER_OF(request, struct reply, request);
    reply->message_count++;
    buf_append_bytes(&reply->got, message);
    ck_assert(buf_ok(&reply->got));
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct reply *reply = CONTAINER_OF(request, struct reply, request);
    ck_assert(!reply->ended);
    ck_assert(!grpc_request_is_active(request));
    reply->ended = true;
    reply->status = status;
    buf_append_bytes(&reply->text, text);
    buf_append(&reply->text, "", 1);
}

void reply_init(struct reply *reply)
{
    *reply = (struct reply){.request = {.on_message = on_message, .on_end = on_end}};
}

void reply_fini(struct reply *reply)
{
    buf_fini(&reply->got);
    buf_fini(&reply->text);
}

void reply_unary(struct reply *reply, const char *path, struct bytes message)
{
    const struct grpc_request_options options = {.path = path};
    reply_init(reply);
    grpc_request_unary(fixture.client, &reply->request, &options, message);
}
