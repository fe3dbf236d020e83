/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <stdlib.h>

#include "base/assert.h"
#include "client/endpoint.h"

struct client {
    struct client_config config;
    struct endpoint *slots;
    size_t slot_count;
    size_t next_slot; /* of CLIENT_ANY */
    size_t open_count;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* One endpoint as people write it: "host:port" or a URL. */
static enum err parse_endpoint(struct bytes text, struct addr *ret, struct why *why)
{
    if (memmem(text.data, text.len, "://", 3) == NULL) {
        return addr_parse(text, ret, why);
    }
    struct url url;
    TRY(url_parse(text, &url, why));
    if (url.scheme != URL_HTTP) {
        why_set(why, "endpoint '%.*s': only http:// is supported", (int)text.len, text.data);
        return ERR_UNSUPPORTED;
    }
    *ret = url.addr;
    return OK;
}

static enum err parse_endpoints(const char *list, struct addr *addrs, size_t max, size_t *ret,
                                struct why *why)
{
    size_t count = 0;
    for (const char *at = list; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t len = comma != NULL ? (size_t)(comma - at) : strlen(at);
        if (count == max) {
            why_set(why, "more than %zu endpoints", max);
            return ERR_LIMIT;
        }
        TRY(parse_endpoint(bytes_of(at, len), &addrs[count], why));
        count++;
        at = comma != NULL ? comma + 1 : NULL;
    }
    *ret = count;
    return OK;
}

static void free_client(struct client *client)
{
    free(client->slots);
    free(client);
}

enum err client_new(const struct client_config *config, struct client **ret, struct why *why)
{
    CLEANUP(freep) struct addr *addrs = calloc(CLIENT_SLOTS_MAX, sizeof *addrs);
    struct client *client = calloc(1, sizeof *client);
    if (addrs == NULL || client == NULL) {
        free(client);
        return ERR_NOMEM;
    }
    size_t count;
    enum err err = parse_endpoints(config->endpoints, addrs, CLIENT_SLOTS_MAX, &count, why);
    client->slot_count = config->connections != 0 ? config->connections : count;
    if (err == OK && client->slot_count > CLIENT_SLOTS_MAX) {
        why_set(why, "more than %u connections", CLIENT_SLOTS_MAX);
        err = ERR_LIMIT;
    }
    if (err == OK) {
        client->slots = calloc(client->slot_count, sizeof *client->slots);
        err = client->slots == NULL ? ERR_NOMEM : OK;
    }
    if (err != OK) {
        free_client(client);
        return err;
    }
    client->config = *config;
    for (size_t i = 0; i < client->slot_count; i++) {
        client->slots[i] = (struct endpoint){.owner = client,
                                             .env = config->env,
                                             .loop = config->loop,
                                             .addr = addrs[i % count],
                                             .connect_timeout_ms = config->connect_timeout_ms};
        endpoint_open(&client->slots[i]);
    }
    *ret = client;
    return OK;
}

size_t client_slot_count(const struct client *client)
{
    return client->slot_count;
}

const char *client_slot_name(const struct client *client, size_t slot)
{
    ASSERT(slot < client->slot_count);
    return client->slots[slot].name;
}

bool client_is_connected(const struct client *client, size_t slot)
{
    ASSERT(slot < client->slot_count);
    return client->slots[slot].connected;
}

const char *client_last_error(const struct client *client, size_t slot)
{
    ASSERT(slot < client->slot_count);
    return client->slots[slot].last_error.text;
}

uint64_t client_slot_attempts(const struct client *client, size_t slot)
{
    ASSERT(slot < client->slot_count);
    return client->slots[slot].attempts;
}

static size_t pick(struct client *client)
{
    size_t first = client->next_slot;
    size_t slot = first;
    for (size_t i = 0; i < client->slot_count; i++) {
        slot = (first + i) % client->slot_count;
        if (client->slots[slot].connected) {
            break;
        }
    }
    if (!client->slots[slot].connected) {
        slot = first;
    }
    client->next_slot = (slot + 1) % client->slot_count;
    return slot;
}

struct grpc_client *client_connection(struct client *client, size_t slot)
{
    slot = slot == CLIENT_ANY ? pick(client) : slot;
    ASSERT(slot < client->slot_count);
    return endpoint_connection(&client->slots[slot]);
}

void client_call(struct client *client, size_t slot, struct grpc_request *request,
                 const struct grpc_request_options *options, struct bytes message)
{
    grpc_request_unary(client_connection(client, slot), request, options, message);
}

void client_pause(struct client *client, bool paused)
{
    for (size_t i = 0; i < client->slot_count; i++) {
        if (client->slots[i].connected) {
            grpc_client_pause(endpoint_connection(&client->slots[i]), paused);
        }
    }
}

static void on_endpoint_closed(struct endpoint *endpoint)
{
    struct client *client = endpoint->owner;
    if (--client->open_count > 0) {
        return;
    }
    void (*cb)(void *ctx) = client->on_closed;
    void *ctx = client->on_closed_ctx;
    free_client(client);
    cb(ctx);
}

void client_close(struct client *client, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(client->on_closed == NULL);
    client->on_closed = cb;
    client->on_closed_ctx = ctx;
    client->open_count = client->slot_count;
    for (size_t i = 0; i < client->slot_count; i++) {
        endpoint_close(&client->slots[i], on_endpoint_closed);
    }
}

/* Turning the loop. */

enum err client_connect_sync(struct client *client, uint64_t timeout_ms, struct why *why)
{
    uint64_t end_ms = env_now_ms(client->config.env) + timeout_ms;
    for (size_t i = 0; i < client->slot_count; i++) {
        while (!client->slots[i].connected) {
            if (env_now_ms(client->config.env) >= end_ms) {
                why_set(why, "%s is not reached: %s", client->slots[i].name,
                        client->slots[i].last_error.text);
                return ERR_CONNECT;
            }
            uv_run(client->config.loop, UV_RUN_ONCE); /* attempts end in bounded time */
        }
    }
    return OK;
}

struct sync_call {
    struct grpc_request request;
    bool done;
    enum grpc_status status;
    struct buf *answer;
    struct why *why;
};

static void on_sync_message(struct grpc_request *request, struct bytes message)
{
    buf_append_bytes(CONTAINER_OF(request, struct sync_call, request)->answer, message);
}

static void on_sync_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct sync_call *sync = CONTAINER_OF(request, struct sync_call, request);
    sync->done = true;
    sync->status = status;
    if (status != GRPC_OK) {
        why_set(sync->why, "%.*s", (int)text.len, (const char *)text.data);
    }
}

enum grpc_status client_call_sync(struct client *client, size_t slot, const char *path,
                                  struct bytes message, uint64_t timeout_ms, struct buf *ret,
                                  struct why *why)
{
    ASSERT(timeout_ms != 0);
    struct grpc_request_options options = {.path = path, .timeout_ms = timeout_ms};
    struct sync_call sync = {.request = {.on_message = on_sync_message, .on_end = on_sync_end},
                             .answer = ret,
                             .why = why};
    buf_clear(ret);
    client_call(client, slot, &sync.request, &options, message);
    while (!sync.done) {
        uv_run(client->config.loop, UV_RUN_ONCE);
    }
    if (sync.status == GRPC_OK && !buf_ok(ret)) {
        why_set(why, "out of memory");
        return GRPC_RESOURCE_EXHAUSTED;
    }
    return sync.status;
}

static void on_sync_closed(void *ctx)
{
    *(bool *)ctx = true;
}

void client_close_sync(struct client *client)
{
    bool closed = false;
    uv_loop_t *loop = client->config.loop;
    client_close(client, on_sync_closed, &closed);
    while (!closed) {
        uv_run(loop, UV_RUN_ONCE);
    }
}
