/* SPDX-License-Identifier: Apache-2.0 */
#include "client/endpoint.h"

#include <stdlib.h>

#include "base/assert.h"

#define BACKOFF_FIRST_MS 20u
#define BACKOFF_MAX_MS   1000u

/* One that takes no more calls lives on until the last of them is over. */
struct connection {
    struct queue link;
    struct endpoint *endpoint;
    struct grpc_client *grpc;
};

static void on_ready(void *ctx)
{
    struct connection *connection = ctx;
    if (connection == connection->endpoint->current) {
        connection->endpoint->connected = true;
        connection->endpoint->backoff_ms = 0;
    }
}

/* The wait before the next attempt: doubled, and up to a half shorter by chance, so that many
 * clients of a member that comes back do not come at once. */
static uint64_t next_delay(struct endpoint *endpoint)
{
    uint64_t backoff = endpoint->backoff_ms * 2;
    backoff = backoff < BACKOFF_FIRST_MS ? BACKOFF_FIRST_MS : backoff;
    backoff = backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff;
    endpoint->backoff_ms = backoff;
    return backoff - env_random_u64(endpoint->env) % (backoff / 2 + 1);
}

static void end_if_closed(struct endpoint *endpoint)
{
    if (endpoint->closing && queue_empty(&endpoint->connections)) {
        endpoint->on_closed(endpoint);
    }
}

static void on_closed(void *ctx, enum err status, const char *why)
{
    (void)status;
    struct connection *connection = ctx;
    struct endpoint *endpoint = connection->endpoint;
    bool is_current = connection == endpoint->current;
    queue_remove(&connection->link);
    free(connection);
    if (is_current) {
        endpoint->current = NULL;
        endpoint->connected = false;
        why_set(&endpoint->last_error, "%s", why);
        if (!endpoint->closing) {
            env_timer_start(endpoint->env, &endpoint->timer, next_delay(endpoint));
        }
    }
    end_if_closed(endpoint);
}

static void connect_now(struct endpoint *endpoint)
{
    env_timer_stop(endpoint->env, &endpoint->timer);
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        fatal("connect to %s: out of memory", endpoint->name);
    }
    connection->endpoint = endpoint;
    struct grpc_client_config config = {
        .env = endpoint->env,
        .loop = endpoint->loop,
        .addr = endpoint->addr,
        .connect_timeout_ms = endpoint->connect_timeout_ms,
        .on_ready = on_ready,
        .on_closed = on_closed,
        .ctx = connection,
    };
    enum err err = grpc_client_new(&config, &connection->grpc);
    if (err != OK) {
        fatal("connect to %s: %s", endpoint->name, err_text(err));
    }
    endpoint->current = connection;
    endpoint->connected = false;
    endpoint->attempts++;
    queue_push_back(&endpoint->connections, &connection->link);
}

static void on_timer(struct env_timer *timer)
{
    connect_now(CONTAINER_OF(timer, struct endpoint, timer));
}

void endpoint_open(struct endpoint *endpoint)
{
    addr_format(&endpoint->addr, endpoint->name, sizeof endpoint->name);
    env_timer_init(&endpoint->timer, on_timer);
    queue_init(&endpoint->connections);
    connect_now(endpoint);
}

struct grpc_client *endpoint_connection(struct endpoint *endpoint)
{
    ASSERT(!endpoint->closing);
    if (endpoint->current == NULL || !grpc_client_is_open(endpoint->current->grpc)) {
        connect_now(endpoint);
    }
    return endpoint->current->grpc;
}

void endpoint_close(struct endpoint *endpoint,
                    void (*on_endpoint_closed)(struct endpoint *endpoint))
{
    endpoint->on_closed = on_endpoint_closed;
    endpoint->connected = false;
    if (endpoint->current == NULL) {
        connect_now(endpoint); /* so that its end comes in a later turn */
    }
    endpoint->closing = true;
    QUEUE_FOREACH (link, &endpoint->connections) {
        grpc_client_close(QUEUE_ELEM(link, struct connection, link)->grpc);
    }
}
