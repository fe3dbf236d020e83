/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_client.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_client_private.h"

#define CONNECT_TIMEOUT_MS 5000u
#define PING_TIMEOUT_MS    20000u
#define CLOSE_GRACE_MS     1000u

/* Closing the connection. */

static void free_client(struct grpc_client *client)
{
    ASSERT(client->h2.pending_bytes == 0);
    grpc_request_free_unused(client);
    nghttp2_session_del(client->h2.session);
    mempool_fini(&client->pool);
    env_timer_stop(client->config.env, &client->timer);
    env_task_cancel(&client->task);
    free(client);
}

static void finish_close(struct grpc_client *client)
{
    client->closing = true;
    grpc_request_end_all(client);
    grpc_request_end_unable(client); /* also what on_end has started */
    client->config.on_closed(client->config.ctx, client->close_status, client->close_why.text);
    free_client(client);
}

static void say_closing(struct grpc_client *client, enum err status, const char *text)
{
    client->closing = true;
    client->close_status = status;
    why_set(&client->close_why, "%s", text);
    env_timer_stop(client->config.env, &client->timer);
}

static void close_because(struct grpc_client *client, enum err status, const char *text)
{
    if (client->closing) {
        return;
    }
    say_closing(client, status, text);
    if (client->h2.stream != NULL) {
        stream_close_after_flush(client->h2.stream, CLOSE_GRACE_MS);
        return;
    }
    if (client->connecting != NULL) {
        stream_connect_cancel(TAKE(client->connecting));
    }
    env_timer_start(client->config.env, &client->timer, 0);
}

void grpc_client_close(struct grpc_client *client)
{
    if (client->closing) {
        return;
    }
    static const char text[] = "the client connection is closing";
    if (client->h2.stream != NULL &&
        nghttp2_session_terminate_session(client->h2.session, NGHTTP2_NO_ERROR) == 0) {
        say_closing(client, ERR_CLOSED, text);
        stream_want_flush(client->h2.stream); /* on_flush says farewell, then closes */
    } else {
        close_because(client, ERR_CLOSED, text);
    }
}

static void on_stream_over(void *ctx, enum err status, const char *why)
{
    struct grpc_client *client = ctx;
    if (!client->closing) {
        client->close_status = status == OK ? ERR_CLOSED : status;
        why_set(&client->close_why, "%s", why);
    }
    finish_close(client);
}

static int make_session(struct grpc_client *client)
{
    nghttp2_session_callbacks *callbacks;
    int status = nghttp2_session_callbacks_new(&callbacks);
    if (status != 0) {
        return status;
    }
    grpc_request_set_callbacks(callbacks);
    nghttp2_option *option = NULL;
    status = nghttp2_option_new(&option);
    if (status == 0) {
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_no_http_messaging(option, 1); /* grpc_request.c reads three headers */
        nghttp2_option_set_peer_max_concurrent_streams(option, CLIENT_STREAMS_UNTIL_TOLD);
        nghttp2_mem mem = mempool_for_nghttp2(client->h2.pool);
        status =
            nghttp2_session_client_new3(&client->h2.session, callbacks, &client->h2, option, &mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CLIENT_STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, CLIENT_FRAME_BYTES_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEADER_LIST_BYTES_MAX},
    };
    if (status == 0) {
        status = nghttp2_submit_settings(client->h2.session, NGHTTP2_FLAG_NONE, settings,
                                         ARRAY_LEN(settings));
    }
    if (status == 0) {
        status = nghttp2_session_set_local_window_size(client->h2.session, NGHTTP2_FLAG_NONE, 0,
                                                       CLIENT_CONNECTION_WINDOW_BYTES);
    }
    return status;
}

/* What the stream calls. */

static void on_read(void *ctx, struct bytes bytes)
{
    struct grpc_client *client = ctx;
    struct why why;
    if (client->closing) {
        return;
    }
    client->last_input_ms = env_now_ms(client->config.env);
    client->pinged = false;
    if (!http2_input(&client->h2, bytes, &why)) {
        close_because(client, ERR_MALFORMED, why.text);
    }
}

static void on_flush(void *ctx)
{
    struct grpc_client *client = ctx;
    struct why why;
    bool ok = http2_output(&client->h2, &why);
    if (client->closing) {
        stream_close_after_flush(client->h2.stream, CLOSE_GRACE_MS);
    } else if (!ok) {
        close_because(client, ERR_IO, why.text);
    } else if (http2_is_over(&client->h2)) {
        close_because(client, ERR_CLOSED, "the server closes the connection");
    }
}

static void on_drain(void *ctx)
{
    stream_want_flush(((struct grpc_client *)ctx)->h2.stream);
}

static const struct stream_callbacks stream_callbacks = {
    .on_read = on_read, .on_flush = on_flush, .on_drain = on_drain, .on_close = on_stream_over};

static void on_connect(void *ctx, struct stream *stream, enum err status, const char *why)
{
    struct grpc_client *client = ctx;
    client->connecting = NULL;
    if (stream == NULL) {
        client->close_status = status;
        why_set(&client->close_why, "%s", why);
        finish_close(client);
        return;
    }
    client->h2.stream = stream;
    stream_use_pool(stream, &client->pool);
    client->last_input_ms = env_now_ms(client->config.env);
    stream_start(stream, &stream_callbacks, client);
    stream_want_flush(stream);
    if (client->config.ping_interval_ms > 0) {
        env_timer_start(client->config.env, &client->timer, client->config.ping_interval_ms);
    }
    if (client->config.on_ready != NULL) {
        client->config.on_ready(client->config.ctx);
    }
}

static void on_timer(struct env_timer *timer)
{
    struct grpc_client *client = CONTAINER_OF(timer, struct grpc_client, timer);
    if (client->closing) {
        finish_close(client); /* there was no connection whose end could tell */
        return;
    }
    const struct grpc_client_config *config = &client->config;
    uint64_t silent_ms = env_now_ms(config->env) - client->last_input_ms;
    if (silent_ms < config->ping_interval_ms) {
        env_timer_start(config->env, timer, config->ping_interval_ms - silent_ms);
    } else if (client->pinged ||
               nghttp2_submit_ping(client->h2.session, NGHTTP2_FLAG_NONE, NULL) != 0) {
        close_because(client, ERR_TIMEOUT, "the server does not answer pings");
    } else {
        client->pinged = true;
        stream_want_flush(client->h2.stream);
        env_timer_start(config->env, timer, config->ping_timeout_ms);
    }
}

static void on_task(struct env_task *task)
{
    grpc_request_end_unable(CONTAINER_OF(task, struct grpc_client, task));
}

enum err grpc_client_new(const struct grpc_client_config *config, struct grpc_client **ret)
{
    struct grpc_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return ERR_NOMEM;
    }
    client->config = *config;
    client->h2.pool = &client->pool;
    if (client->config.message_bytes_max == 0) {
        client->config.message_bytes_max = UINT32_MAX;
    }
    if (client->config.connect_timeout_ms == 0) {
        client->config.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    }
    if (client->config.ping_timeout_ms == 0) {
        client->config.ping_timeout_ms = PING_TIMEOUT_MS;
    }
    addr_format(&config->addr, client->authority, sizeof client->authority);
    queue_init(&client->calls);
    queue_init(&client->unused);
    queue_init(&client->unable);
    env_task_init(&client->task, PHASE_APPLY, on_task);
    env_timer_init(&client->timer, on_timer);
    enum err err = make_session(client) == 0 ? OK : ERR_NOMEM;
    if (err == OK) {
        err = stream_connect(config->env, config->loop, &config->addr,
                             client->config.connect_timeout_ms, on_connect, client,
                             &client->connecting);
    }
    if (err != OK) {
        free_client(client);
        return err;
    }
    *ret = client;
    return OK;
}

bool grpc_client_is_open(const struct grpc_client *client)
{
    return !client->closing && nghttp2_session_check_request_allowed(client->h2.session) != 0;
}

void grpc_client_pause(struct grpc_client *client, bool paused)
{
    if (client->h2.stream != NULL && !client->closing) {
        stream_pause(client->h2.stream, paused);
    }
}

size_t grpc_client_pending_bytes(const struct grpc_client *client)
{
    return client->h2.pending_bytes;
}
