/* SPDX-License-Identifier: Apache-2.0 */
#include "api/service.h"

#include <stdlib.h>

#include "api/decode.h"
#include "api/http.h"
#include "api/service_private.h"
#include "api/usage.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/contest.h"

#define HTTP_BODY_BYTES 65536u
#define HTTP_REQUEST_MS 10000
#define HTTP_IDLE_MS    120000

/* What a decoded request may take, for each byte that a message may have, and beside that: structs
 * of small parts are larger than their bytes. */
#define ARENA_FACTOR     8u
#define ARENA_BASE_BYTES 262144u

static const struct method_table *const tables[] = {
    &rpc_kv,      &rpc_range, &rpc_lease,    &rpc_watch,  &rpc_maintenance, &rpc_snapshot,
    &rpc_cluster, &rpc_lock,  &rpc_election, &rpc_health, &rpc_auth,        &rpc_unserved,
};

/* ---- a call comes in ---- */

/* What holds for every method alike. */
static enum err admit(struct call *call)
{
    const struct grpc_call *grpc = call_grpc(call);
    const struct method *method = grpc_call_method(grpc)->user;
    struct bytes value;
    if (!method->learner_serves && server_is_learner(call->server)) {
        return ERR_LEARNER;
    }
    if (grpc_call_metadata(grpc, "client-api-version", &value) && !text_is_utf8(value)) {
        return ERR_CLIENT_VERSION;
    }
    return call_requires_leader(call) && server_leader(call->server) == 0 ? ERR_NO_LEADER : OK;
}

static struct call *call_of(struct grpc_call *grpc)
{
    struct service *service = grpc_call_ctx(grpc);
    struct call *call = grpc_call_state(grpc);
    call->service = service;
    call->server = service->server;
    return call;
}

/* MESSAGE in ARENA, which may take no more than a message pays for; NULL: the call is ended. */
static const void *decode_request(struct call *call, struct arena *arena, struct bytes message)
{
    const struct method *method = grpc_call_method(call_grpc(call))->user;
    arena->max_bytes = ARENA_BASE_BYTES + ARENA_FACTOR * call->service->message_bytes_max;
    const void *request = decode_message(method->request, arena, message);
    if (request == NULL) {
        call_fail_malformed(call);
    }
    return request;
}

static void service_dispatch(struct grpc_call *grpc, struct bytes message)
{
    const struct method *method = grpc_call_method(grpc)->user;
    struct call *call = call_of(grpc);
    call->request_bytes = message.len;
    enum err err = admit(call);
    if (err == OK && method->check != NULL) {
        err = method->check(call, message);
    }
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    const void *request = decode_request(call, grpc_call_arena(grpc), message);
    if (request != NULL) {
        method->handle(call, request);
    }
}

/* ---- the same for a stream of requests: it is admitted once, and its messages do not stay ---- */

static void on_stream_open(struct grpc_call *grpc)
{
    const struct method *method = grpc_call_method(grpc)->user;
    struct call *call = call_of(grpc);
    enum err err = admit(call);
    if (err != OK) {
        call_fail(call, err);
    } else if (method->open != NULL) {
        method->open(call);
    }
}

static void on_stream_message(struct grpc_call *grpc, struct bytes message)
{
    const struct method *method = grpc_call_method(grpc)->user;
    struct call *call = grpc_call_state(grpc);
    struct arena *arena = &call->service->arena;
    arena_reset(arena);
    call->request_bytes = message.len;
    const void *request = decode_request(call, arena, message);
    if (request != NULL) {
        method->handle(call, request);
    } else if (method->closed != NULL) {
        method->closed(call);
    }
}

static void on_half_close(struct grpc_call *grpc)
{
    const struct method *method = grpc_call_method(grpc)->user;
    method->half_close(grpc_call_state(grpc));
}

static void on_closed(struct grpc_call *grpc, enum grpc_status status)
{
    (void)status;
    const struct method *method = grpc_call_method(grpc)->user;
    struct call *call = grpc_call_state(grpc);
    call_closed(call);
    if (method->closed != NULL) {
        method->closed(call);
    }
}

static void on_writable(struct grpc_call *grpc)
{
    const struct method *method = grpc_call_method(grpc)->user;
    struct call *call = grpc_call_state(grpc);
    if (method->writable != NULL) {
        method->writable(call);
    } else {
        call_is_writable(call);
    }
}

static void on_release(struct grpc_call *grpc)
{
    const struct method *method = grpc_call_method(grpc)->user;
    method->release(grpc_call_state(grpc));
}

/* etcd's text for a method of a service that has no such method. */
static void refuse_unserved(struct grpc_call *grpc)
{
    const struct method *method = grpc_call_method(grpc)->user;
    const char *slash = strrchr(method->path, '/');
    char text[128];
    snprintf(text, sizeof text, "unknown method %s for service %.*s", slash + 1,
             (int)(slash - method->path - 1), method->path + 1);
    grpc_call_finish(grpc, GRPC_UNIMPLEMENTED, text);
}

static void ignore_message(struct grpc_call *grpc, struct bytes message)
{
    (void)grpc;
    (void)message; /* the call is over: refused when it began */
}

/* ---- making it ---- */

static struct grpc_method grpc_method_of(const struct method *row)
{
    struct grpc_method method = {
        .path = row->path,
        .client_stream = row->client_stream,
        .server_stream = row->server_stream,
        .state_bytes = row->state_bytes == 0 ? sizeof(struct call) : row->state_bytes,
        .user = row,
        .message = service_dispatch,
        .half_close = row->half_close == NULL ? NULL : on_half_close,
        .writable = on_writable,
        .closed = on_closed,
        .release = row->release == NULL ? NULL : on_release,
    };
    if (row->client_stream) {
        method.start = on_stream_open;
        method.message = on_stream_message;
    }
    if (row->request == NULL) {
        method.start = refuse_unserved;
        method.message = ignore_message;
        method.state_bytes = 0;
        method.writable = NULL;
        method.closed = NULL;
    }
    return method;
}

static enum err collect_methods(struct service *service)
{
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        service->method_count += tables[i]->count;
    }
    service->methods = calloc(service->method_count, sizeof *service->methods);
    if (service->methods == NULL) {
        return ERR_NOMEM;
    }
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        for (size_t j = 0; j < tables[i]->count; j++) {
            service->methods[at++] = grpc_method_of(&tables[i]->rows[j]);
        }
    }
    return OK;
}

static enum err make_grpc(struct service *service, const struct service_config *config)
{
    service->message_bytes_max = server_request_bytes_max(config->server) + GRPC_OVERHEAD_BYTES;
    struct grpc_server_config grpc_config = {
        .env = server_env(config->server),
        .methods = service->methods,
        .method_count = service->method_count,
        .ctx = service,
        .message_bytes_max = service->message_bytes_max,
        .streams_max = config->streams_max < STREAMS_PER_CONNECTION_MAX
                           ? config->streams_max
                           : STREAMS_PER_CONNECTION_MAX,
        .ping_interval_ms = config->ping_interval_ms,
        .ping_timeout_ms = config->ping_timeout_ms,
        .ping_min_interval_ms = config->ping_min_interval_ms,
    };
    return grpc_server_new(&grpc_config, &service->grpc);
}

static void make_http(struct service *service)
{
    service->http1 = (struct http1_server){
        .env = server_env(service->server),
        .body_bytes_max = HTTP_BODY_BYTES,
        .request_timeout_ms = HTTP_REQUEST_MS,
        .idle_timeout_ms = HTTP_IDLE_MS,
        .on_request = http_on_client_request,
        .ctx = service,
    };
    service->metrics_http1 = service->http1;
    service->metrics_http1.on_request = http_on_metrics_request;
}

static enum err make_encoder(struct service *service)
{
    struct worker_config config = {.name = "encoder", .threads = 1};
    return env_worker_new(server_env(service->server), &config, &service->encoder, NULL);
}

static enum err make_spool(struct service *service, const struct service_config *config)
{
    struct spool_config spool = {
        .env = server_env(config->server),
        .fs = config->fs,
        .store = server_store(config->server),
        .path = config->store_path,
        .copies_max = SNAPSHOTS_MAX,
        .spare_bytes = SNAPSHOT_SPARE_BYTES,
    };
    return spool_new(&spool, &service->spool);
}

enum err service_new(const struct service_config *config, struct service **ret)
{
    struct service *service = calloc(1, sizeof *service);
    if (service == NULL) {
        return ERR_NOMEM;
    }
    service->server = config->server;
    service->version = config->version;
    service->snapshot_stall_ms =
        config->snapshot_stall_ms == 0 ? SNAPSHOT_STALL_MS : config->snapshot_stall_ms;
    queue_init(&service->health_watchers);
    endless_init(service);
    watching_init(service, config->watch_progress_ms);
    enum err err = collect_methods(service);
    if (err == OK) {
        err = make_grpc(service, config);
    }
    if (err == OK) {
        err = make_encoder(service);
    }
    if (err == OK && config->store_path != NULL) {
        err = make_spool(service, config);
    }
    if (err != OK) {
        service_free(service);
        return err;
    }
    make_http(service);
    usage_register(service);
    *ret = service;
    return OK;
}

void service_drain(struct service *service)
{
    service->draining = true;
    health_drain(service);
    endless_drain(service);
    contest_leave_all(service->server, ERR_STOPPED);
}

void service_free(struct service *service)
{
    if (service == NULL) {
        return;
    }
    endless_fini(service);
    watching_fini(service);
    worker_close(service->encoder); /* gives back the counts of calls whose answers it encodes */
    spool_free(service->spool);     /* likewise */
    grpc_server_free(service->grpc);
    free(service->methods);
    buf_fini(&service->scratch);
    arena_fini(&service->arena);
    free(service);
}

struct grpc_server *service_grpc(struct service *service)
{
    return service->grpc;
}

const struct http1_server *service_http1(struct service *service)
{
    return &service->http1;
}

const struct http1_server *service_metrics_http1(struct service *service)
{
    return &service->metrics_http1;
}
