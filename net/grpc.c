/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_private.h"

#define PING_INTERVAL_MS     (2u * 60 * 60 * 1000)
#define PING_TIMEOUT_MS      20000u
#define PING_MIN_INTERVAL_MS 5000u
#define HANDSHAKE_TIMEOUT_MS 10000u

static const char *const status_names[GRPC_STATUS_COUNT] = {
    [GRPC_OK] = "OK",
    [GRPC_CANCELLED] = "Canceled",
    [GRPC_UNKNOWN] = "Unknown",
    [GRPC_INVALID_ARGUMENT] = "InvalidArgument",
    [GRPC_DEADLINE_EXCEEDED] = "DeadlineExceeded",
    [GRPC_NOT_FOUND] = "NotFound",
    [GRPC_ALREADY_EXISTS] = "AlreadyExists",
    [GRPC_PERMISSION_DENIED] = "PermissionDenied",
    [GRPC_RESOURCE_EXHAUSTED] = "ResourceExhausted",
    [GRPC_FAILED_PRECONDITION] = "FailedPrecondition",
    [GRPC_ABORTED] = "Aborted",
    [GRPC_OUT_OF_RANGE] = "OutOfRange",
    [GRPC_UNIMPLEMENTED] = "Unimplemented",
    [GRPC_INTERNAL] = "Internal",
    [GRPC_UNAVAILABLE] = "Unavailable",
    [GRPC_DATA_LOSS] = "DataLoss",
    [GRPC_UNAUTHENTICATED] = "Unauthenticated",
};

const char *grpc_status_name(enum grpc_status status)
{
    return (unsigned)status < GRPC_STATUS_COUNT ? status_names[status] : "Unknown";
}

struct grpc_slot *grpc_server_find(struct grpc_server *server, struct bytes path)
{
    uint64_t hash = map_hash_bytes(&server->slots_by_path, path);
    for (struct map_link *link = map_first(&server->slots_by_path, hash); link != NULL;
         link = map_next(link)) {
        struct grpc_slot *slot = CONTAINER_OF(link, struct grpc_slot, link);
        if (bytes_equal(slot->path, path)) {
            return slot;
        }
    }
    return NULL;
}

bool grpc_server_knows_service(const struct grpc_server *server, struct bytes service)
{
    for (size_t i = 0; i < server->config.method_count; i++) {
        struct bytes path = bytes_of_str(server->config.methods[i].path + 1);
        if (path.len > service.len && path.data[service.len] == '/' &&
            bytes_has_prefix(path, service)) {
            return true;
        }
    }
    return false;
}

static void set_defaults(struct grpc_server_config *config)
{
    if (config->message_bytes_max == 0) {
        config->message_bytes_max = REQUEST_BYTES_DEFAULT + GRPC_OVERHEAD_BYTES;
    }
    if (config->streams_max == 0) {
        config->streams_max = STREAMS_PER_CONNECTION_MAX;
    }
    if (config->ping_interval_ms == 0) {
        config->ping_interval_ms = PING_INTERVAL_MS;
    }
    if (config->ping_timeout_ms == 0) {
        config->ping_timeout_ms = PING_TIMEOUT_MS;
    }
    if (config->ping_min_interval_ms == 0) {
        config->ping_min_interval_ms = PING_MIN_INTERVAL_MS;
    }
    if (config->handshake_timeout_ms == 0) {
        config->handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS;
    }
}

static enum err add_slots(struct grpc_server *server)
{
    server->slots = calloc(server->config.method_count + 1, sizeof *server->slots);
    if (server->slots == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < server->config.method_count; i++) {
        struct grpc_slot *slot = &server->slots[i];
        slot->method = &server->config.methods[i];
        ASSERT(slot->method->path[0] == '/');
        ASSERT(slot->method->message != NULL);
        slot->path = bytes_of_str(slot->method->path);
        uint64_t hash = map_hash_bytes(&server->slots_by_path, slot->path);
        TRY(map_insert(&server->slots_by_path, &slot->link, hash));
    }
    return OK;
}

static enum err make_option(nghttp2_option **ret)
{
    if (nghttp2_option_new(ret) != 0) {
        return ERR_NOMEM;
    }
    nghttp2_option_set_no_auto_window_update(*ret, 1);
    nghttp2_option_set_no_closed_streams(*ret, 1);
    nghttp2_option_set_no_http_messaging(*ret, 1); /* grpc_opening.c checks, and says why */
    nghttp2_option_set_stream_reset_rate_limit(*ret, RESETS_PER_CONNECTION_BURST,
                                               RESETS_PER_CONNECTION_PER_SEC);
    nghttp2_option_set_max_outbound_ack(*ret, ACKS_PER_CONNECTION_MAX);
    nghttp2_option_set_max_continuations(*ret, CONTINUATIONS_MAX);
    return OK;
}

enum err grpc_server_new(const struct grpc_server_config *config, struct grpc_server **ret)
{
    struct grpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return ERR_NOMEM;
    }
    server->config = *config;
    set_defaults(&server->config);
    map_init(&server->slots_by_path, env_hash_seed(config->env));
    enum err err = add_slots(server);
    if (err == OK) {
        err = make_option(&server->option);
    }
    if (err == OK) {
        err = grpc_conn_callbacks(&server->callbacks);
    }
    if (err != OK) {
        grpc_server_free(server);
        return err;
    }
    *ret = server;
    return OK;
}

void grpc_server_free(struct grpc_server *server)
{
    if (server == NULL) {
        return;
    }
    ASSERT(server->stats.connections == 0);
    ASSERT(server->stats.calls == 0);
    for (size_t i = 0; server->slots != NULL && i < server->config.method_count; i++) {
        grpc_call_free_unused(&server->slots[i]);
    }
    mempool_fini(&server->pool);
    map_fini(&server->slots_by_path);
    nghttp2_option_del(server->option);
    nghttp2_session_callbacks_del(server->callbacks);
    free(server->slots);
    free(server);
}

const struct grpc_method_stats *grpc_server_method_stats(const struct grpc_server *server,
                                                         size_t index)
{
    ASSERT(index < server->config.method_count);
    return &server->slots[index].stats;
}

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server)
{
    return &server->stats;
}
