/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rpc_port.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_private.h"

/* How long a connection may take to say what it speaks. */
#define FIRST_BYTES_TIMEOUT_MS 10000

static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; /* RFC 9113 3.4 */
#define PREFACE_BYTES (sizeof preface - 1)

struct rpc_port {
    struct rpc_port_config config;
    struct listener *listener;
    struct queue conns;
    struct env_timer grace;
    bool closing;
    bool listener_closed;
    void (*close_cb)(void *ctx);
    void *close_ctx;
};

/* A connection: DETECTING until its first bytes say GRPC or HTTP1. */
struct port_conn {
    struct rpc_port *port;
    struct queue link;
    struct stream *stream;
    enum { DETECTING, GRPC, HTTP1 } mode;
    uint8_t first[PREFACE_BYTES];
    size_t first_len;
    struct env_timer timer; /* of the first bytes */
    struct grpc_conn *grpc;
    struct http1_conn *http1;
};

static void free_when_closed(struct rpc_port *port)
{
    if (!port->closing || !port->listener_closed || !queue_empty(&port->conns)) {
        return;
    }
    env_timer_stop(port->config.env, &port->grace);
    void (*cb)(void *ctx) = port->close_cb;
    void *ctx = port->close_ctx;
    free(port);
    if (cb != NULL) {
        cb(ctx);
    }
}

/* Which protocol? */

static void become_grpc(struct port_conn *conn)
{
    env_timer_stop(conn->port->config.env, &conn->timer);
    conn->mode = GRPC;
    conn->grpc = grpc_conn_new(conn->port->config.grpc, conn->stream);
    if (conn->grpc == NULL) {
        stream_close(conn->stream);
    }
}

static void become_http1(struct port_conn *conn)
{
    env_timer_stop(conn->port->config.env, &conn->timer);
    conn->mode = HTTP1;
    conn->http1 = http1_conn_new(conn->port->config.http1, conn->stream);
    if (conn->http1 == NULL) {
        stream_close(conn->stream);
    }
}

static void hand_on(struct port_conn *conn, struct bytes bytes)
{
    if (conn->grpc != NULL) {
        grpc_conn_input(conn->grpc, bytes);
    } else if (conn->http1 != NULL) {
        http1_conn_input(conn->http1, bytes);
    }
}

/* Collect bytes as long as they are HTTP/2's preface; the rest of the input is handed on. */
static void detect(struct port_conn *conn, struct bytes bytes)
{
    size_t missing = PREFACE_BYTES - conn->first_len;
    size_t n = bytes.len < missing ? bytes.len : missing;
    bool same = memcmp(bytes.data, preface + conn->first_len, n) == 0;
    memcpy(conn->first + conn->first_len, bytes.data, n);
    conn->first_len += n;
    if (!same) {
        become_http1(conn);
    } else if (conn->first_len == PREFACE_BYTES) {
        become_grpc(conn);
    } else {
        return;
    }
    hand_on(conn, bytes_of(conn->first, conn->first_len));
    if (n < bytes.len) {
        hand_on(conn, bytes_of(bytes.data + n, bytes.len - n));
    }
}

static void on_first_bytes_timeout(struct env_timer *timer)
{
    stream_close(CONTAINER_OF(timer, struct port_conn, timer)->stream);
}

/* What the stream calls. */

static void on_read(void *ctx, struct bytes bytes)
{
    struct port_conn *conn = ctx;
    if (conn->mode == DETECTING) {
        detect(conn, bytes);
    } else {
        hand_on(conn, bytes);
    }
}

static void on_flush(void *ctx)
{
    struct port_conn *conn = ctx;
    if (conn->grpc != NULL) {
        grpc_conn_flush(conn->grpc);
    }
}

static void on_drain(void *ctx)
{
    struct port_conn *conn = ctx;
    if (conn->grpc != NULL) {
        stream_want_flush(conn->stream);
    } else if (conn->http1 != NULL) {
        http1_conn_drained(conn->http1);
    }
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    (void)why;
    struct port_conn *conn = ctx;
    struct rpc_port *port = conn->port;
    env_timer_stop(port->config.env, &conn->timer);
    if (conn->grpc != NULL) {
        grpc_conn_free(conn->grpc);
    }
    if (conn->http1 != NULL) {
        http1_conn_free(conn->http1);
    }
    queue_remove(&conn->link);
    free(conn);
    free_when_closed(port);
}

static const struct stream_callbacks callbacks = {
    .on_read = on_read, .on_flush = on_flush, .on_drain = on_drain, .on_close = on_close};

static void on_accept(void *ctx, struct stream *stream)
{
    struct rpc_port *port = ctx;
    struct port_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || port->closing) {
        free(conn);
        stream_close(stream);
        return;
    }
    conn->port = port;
    conn->stream = stream;
    env_timer_init(&conn->timer, on_first_bytes_timeout);
    queue_push_back(&port->conns, &conn->link);
    stream_start(stream, &callbacks, conn);
    if (port->config.grpc == NULL) {
        become_http1(conn);
    } else if (port->config.http1 == NULL) {
        become_grpc(conn); /* which refuses a connection that begins otherwise */
    } else {
        env_timer_start(port->config.env, &conn->timer, FIRST_BYTES_TIMEOUT_MS);
    }
}

/* Opening and closing. */

static void on_grace_over(struct env_timer *timer)
{
    struct rpc_port *port = CONTAINER_OF(timer, struct rpc_port, grace);
    QUEUE_FOREACH (link, &port->conns) {
        stream_close(QUEUE_ELEM(link, struct port_conn, link)->stream);
    }
}

static void on_listener_closed(void *ctx)
{
    struct rpc_port *port = ctx;
    port->listener_closed = true;
    free_when_closed(port);
}

enum err rpc_port_open(const struct rpc_port_config *config, struct rpc_port **ret, struct why *why)
{
    ASSERT(config->grpc != NULL || config->http1 != NULL);
    struct rpc_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        return ERR_NOMEM;
    }
    port->config = *config;
    queue_init(&port->conns);
    env_timer_init(&port->grace, on_grace_over);
    const struct listener_config listen = {
        .env = config->env,
        .loop = config->loop,
        .addr = config->addr,
        .connections_max = config->connections_max > 0 ? config->connections_max : CONNECTIONS_MAX,
        .files_kept = 2 * FILES_KEPT,
        .on_accept = on_accept,
        .ctx = port,
    };
    enum err err = listener_open(&listen, &port->listener, why);
    if (err != OK) {
        free(port);
        return err;
    }
    *ret = port;
    return OK;
}

uint16_t rpc_port_number(const struct rpc_port *port)
{
    return listener_port(port->listener);
}

static void drain(struct port_conn *conn)
{
    if (conn->grpc != NULL) {
        grpc_conn_drain(conn->grpc);
    } else if (conn->http1 != NULL) {
        http1_conn_drain(conn->http1);
    } else {
        stream_close(conn->stream);
    }
}

void rpc_port_close(struct rpc_port *port, uint64_t grace_ms, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(!port->closing);
    port->closing = true;
    port->close_cb = cb;
    port->close_ctx = ctx;
    env_timer_start(port->config.env, &port->grace, grace_ms);
    QUEUE_FOREACH (link, &port->conns) {
        drain(QUEUE_ELEM(link, struct port_conn, link));
    }
    listener_close(port->listener, on_listener_closed, port);
}
