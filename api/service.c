/* SPDX-License-Identifier: Apache-2.0 */
#include "api/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/call.h"
#include "api/convert.h"
#include "api/http.h"
#include "base/cleanup.h"

#define SCRATCH_KEEP_BYTES (1024u * 1024) /* an answer that was larger gives its memory back */
#define HTTP_BODY_BYTES    (64u * 1024)
#define HTTP_REQUEST_MS    10000
#define HTTP_IDLE_MS       120000

/* What a metric's function needs to find its figure. */
struct metric_source {
    const struct grpc_server *grpc;
    size_t method;
    enum { METRIC_STARTED, METRIC_RECEIVED, METRIC_SENT, METRIC_HANDLED } what;
    enum grpc_status status;
};

struct service {
    struct server *server;
    const char *version;
    struct grpc_server *grpc;
    struct grpc_method *methods;
    size_t method_count;
    struct buf scratch;
    struct metric_source *sources;
    struct http_ctx http;
    struct http1_server http1;
};

static const struct rpc_table *const tables[] = {
    &rpc_kv_table,      &rpc_range_stream_table, &rpc_maintenance_table,
    &rpc_cluster_table, &rpc_health_table,
};

/* ---- for the methods ---- */

static struct service *service_of(const struct grpc_call *call)
{
    return grpc_call_ctx(call);
}

struct server *call_server(const struct grpc_call *call)
{
    return service_of(call)->server;
}

const char *call_version(const struct grpc_call *call)
{
    return service_of(call)->version;
}

bool call_admitted(struct grpc_call *call)
{
    struct bytes value;
    bool wants_leader =
        grpc_call_metadata(call, "hasleader", &value) && bytes_equal(value, bytes_of_str("true"));
    if (wants_leader && server_leader(call_server(call)) == 0) {
        status_finish(call, ERR_NO_LEADER);
        return false;
    }
    return true;
}

void *call_decode(struct grpc_call *call, const ProtobufCMessageDescriptor *type,
                  struct bytes message)
{
    ProtobufCAllocator allocator = convert_allocator(grpc_call_arena(call));
    void *decoded = protobuf_c_message_unpack(type, &allocator, message.len, message.data);
    if (decoded == NULL) {
        grpc_call_finish(call, GRPC_INTERNAL,
                         "grpc: error unmarshalling request: malformed message");
    }
    return decoded;
}

struct buf *call_scratch(struct grpc_call *call)
{
    struct buf *scratch = &service_of(call)->scratch;
    if (scratch->cap > SCRATCH_KEEP_BYTES) {
        buf_fini(scratch);
    }
    buf_clear(scratch);
    return scratch;
}

void call_answer_scratch(struct grpc_call *call)
{
    struct buf *scratch = &service_of(call)->scratch;
    if (!buf_ok(scratch)) {
        status_finish(call, ERR_NOMEM);
        return;
    }
    grpc_call_answer(call, buf_bytes(scratch));
}

static bool pack(struct grpc_call *call, const ProtobufCMessage *message, struct buf *scratch)
{
    uint8_t *at = buf_extend(scratch, protobuf_c_message_get_packed_size(message));
    if (at == NULL) {
        status_finish(call, ERR_NOMEM);
        return false;
    }
    protobuf_c_message_pack(message, at);
    return true;
}

void call_answer_message(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct buf *scratch = call_scratch(call);
    if (pack(call, message, scratch)) {
        grpc_call_answer(call, buf_bytes(scratch));
    }
}

void call_send_message(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct buf *scratch = call_scratch(call);
    if (pack(call, message, scratch)) {
        grpc_call_send(call, buf_bytes(scratch));
    }
}

/* ---- metrics ---- */

static double read_metric(void *ctx)
{
    const struct metric_source *source = ctx;
    const struct grpc_method_stats *stats = grpc_server_method_stats(source->grpc, source->method);
    switch (source->what) {
    case METRIC_STARTED:
        return (double)stats->started;
    case METRIC_RECEIVED:
        return (double)stats->received;
    case METRIC_SENT:
        return (double)stats->sent;
    case METRIC_HANDLED:
        return (double)stats->handled[source->status];
    }
    return 0;
}

static double read_received_bytes(void *ctx)
{
    return (double)grpc_server_stats(ctx)->received_bytes;
}

static double read_sent_bytes(void *ctx)
{
    return (double)grpc_server_stats(ctx)->sent_bytes;
}

static const char *type_of(const struct grpc_method *method)
{
    if (method->client_stream) {
        return method->server_stream ? "bidi_stream" : "client_stream";
    }
    return method->server_stream ? "server_stream" : "unary";
}

/* "/package.Service/Method" as two labels. */
static void write_labels(char *labels, size_t size, const struct grpc_method *method,
                         const char *code)
{
    const char *slash = strrchr(method->path, '/');
    snprintf(labels, size, "%s%s%sgrpc_method=\"%s\",grpc_service=\"%.*s\",grpc_type=\"%s\"",
             code == NULL ? "" : "grpc_code=\"", code == NULL ? "" : code,
             code == NULL ? "" : "\",", slash + 1, (int)(slash - method->path - 1),
             method->path + 1, type_of(method));
}

#define SOURCES_PER_METHOD (3 + GRPC_STATUS_COUNT)

static void register_method(struct service *service, struct metrics *metrics, size_t index)
{
    static const struct {
        const char *name;
        const char *help;
    } counters[] = {
        [METRIC_STARTED] = {"grpc_server_started_total", "RPCs started on the server."},
        [METRIC_RECEIVED] = {"grpc_server_msg_received_total",
                             "Stream messages received by the server."},
        [METRIC_SENT] = {"grpc_server_msg_sent_total", "Stream messages sent by the server."},
        [METRIC_HANDLED] = {"grpc_server_handled_total", "RPCs completed on the server, by code."},
    };
    const struct grpc_method *method = &service->methods[index];
    for (size_t i = 0; i < SOURCES_PER_METHOD; i++) {
        struct metric_source *source = &service->sources[index * SOURCES_PER_METHOD + i];
        bool by_code = i >= METRIC_HANDLED;
        *source = (struct metric_source){.grpc = service->grpc, .method = index};
        source->what = by_code ? METRIC_HANDLED : (unsigned)i;
        source->status = by_code ? (enum grpc_status)(i - METRIC_HANDLED) : GRPC_OK;
        char labels[256];
        write_labels(labels, sizeof labels, method,
                     by_code ? grpc_status_name(source->status) : NULL);
        metrics_counter_fn(metrics, counters[source->what].name, counters[source->what].help,
                           labels, read_metric, source);
    }
}

static void register_metrics(struct service *service)
{
    struct metrics *metrics = server_metrics(service->server);
    if (metrics == NULL || service->sources == NULL) {
        return;
    }
    for (size_t i = 0; i < service->method_count; i++) {
        register_method(service, metrics, i);
    }
    metrics_counter_fn(metrics, "etcd_network_client_grpc_received_bytes_total",
                       "Bytes received from clients.", NULL, read_received_bytes, service->grpc);
    metrics_counter_fn(metrics, "etcd_network_client_grpc_sent_bytes_total",
                       "Bytes sent to clients.", NULL, read_sent_bytes, service->grpc);
    char labels[64];
    snprintf(labels, sizeof labels, "server_version=\"%s\"", service->version);
    gauge_set(metrics_gauge(metrics, "etcd_server_version", "The version of etcd that is spoken.",
                            labels),
              1);
}

/* ---- making it ---- */

static enum err collect_methods(struct service *service)
{
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        service->method_count += tables[i]->count;
    }
    service->methods = calloc(service->method_count, sizeof *service->methods);
    service->sources = calloc(service->method_count * SOURCES_PER_METHOD, sizeof *service->sources);
    if (service->methods == NULL || service->sources == NULL) {
        return ERR_NOMEM;
    }
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        memcpy(&service->methods[at], tables[i]->methods,
               tables[i]->count * sizeof *service->methods);
        at += tables[i]->count;
    }
    return OK;
}

static enum err make_grpc(struct service *service, const struct service_config *config)
{
    struct grpc_server_config grpc_config = {
        .env = server_env(config->server),
        .methods = service->methods,
        .method_count = service->method_count,
        .ctx = service,
        .message_bytes_max = server_request_bytes_max(config->server) + GRPC_OVERHEAD_BYTES,
        .streams_max = config->streams_max < STREAMS_PER_CONNECTION_MAX
                           ? config->streams_max
                           : STREAMS_PER_CONNECTION_MAX,
        .ping_interval_ms = config->ping_interval_ms,
        .ping_timeout_ms = config->ping_timeout_ms,
        .ping_min_interval_ms = config->ping_min_interval_ms,
    };
    return grpc_server_new(&grpc_config, &service->grpc);
}

enum err service_new(const struct service_config *config, struct service **ret)
{
    struct service *service = calloc(1, sizeof *service);
    if (service == NULL) {
        return ERR_NOMEM;
    }
    service->server = config->server;
    service->version = config->version;
    enum err err = collect_methods(service);
    if (err == OK) {
        err = make_grpc(service, config);
    }
    if (err != OK) {
        service_free(service);
        return err;
    }
    service->http = (struct http_ctx){.server = config->server, .version = config->version};
    service->http1 = (struct http1_server){
        .env = server_env(config->server),
        .body_bytes_max = HTTP_BODY_BYTES,
        .request_timeout_ms = HTTP_REQUEST_MS,
        .idle_timeout_ms = HTTP_IDLE_MS,
        .on_request = http_on_request,
        .ctx = &service->http,
    };
    register_metrics(service);
    *ret = service;
    return OK;
}

void service_free(struct service *service)
{
    if (service == NULL) {
        return;
    }
    if (service->grpc != NULL) {
        grpc_server_free(service->grpc);
    }
    free(service->methods);
    free(service->sources);
    buf_fini(&service->scratch);
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
