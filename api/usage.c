/* SPDX-License-Identifier: Apache-2.0 */
#include "api/usage.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"

static double received_bytes(void *ctx)
{
    return (double)grpc_server_stats(ctx)->received_bytes;
}

static double sent_bytes(void *ctx)
{
    return (double)grpc_server_stats(ctx)->sent_bytes;
}

void usage_register(struct service *service)
{
    struct metrics *metrics = server_metrics(service->server);
    if (metrics == NULL) {
        return;
    }
    metrics_counter_fn(metrics, "etcd_network_client_grpc_received_bytes_total",
                       "Bytes received from gRPC clients.", NULL, received_bytes, service->grpc);
    metrics_counter_fn(metrics, "etcd_network_client_grpc_sent_bytes_total",
                       "Bytes sent to gRPC clients.", NULL, sent_bytes, service->grpc);
    service->stalled_snapshots =
        metrics_counter(metrics, "trivet_snapshot_stalled_total",
                        "Streams of Snapshot that were ended because nobody read them.", NULL);
    service->health_successes = metrics_counter(metrics, "etcd_server_health_success",
                                                "Answers of /health that were good.", NULL);
    service->health_failures =
        metrics_counter(metrics, "etcd_server_health_failures", "Answers that were not.", NULL);
    char labels[64];
    snprintf(labels, sizeof labels, "server_version=\"%s\"", service->version);
    gauge_set(metrics_gauge(metrics, "etcd_server_version",
                            "1 for the version of etcd that clients are told.", labels),
              1);
}

static const char *type_of(const struct grpc_method *method)
{
    if (method->client_stream) {
        return method->server_stream ? "bidi_stream" : "client_stream";
    }
    return method->server_stream ? "server_stream" : "unary";
}

/* One line; CODE may be NULL. Labels in order of name. */
static void write_line(struct buf *buf, const char *name, const struct grpc_method *method,
                       const char *code, uint64_t value)
{
    const char *slash = strrchr(method->path, '/');
    buf_printf(buf, "%s{", name);
    if (code != NULL) {
        buf_printf(buf, "grpc_code=\"%s\",", code);
    }
    buf_printf(buf, "grpc_method=\"%s\",grpc_service=\"%.*s\",grpc_type=\"%s\"} %" PRIu64 "\n",
               slash + 1, (int)(slash - method->path - 1), method->path + 1, type_of(method),
               value);
}

static uint64_t started(const struct grpc_method_stats *stats)
{
    return stats->started;
}

static uint64_t received(const struct grpc_method_stats *stats)
{
    return stats->received;
}

static uint64_t sent(const struct grpc_method_stats *stats)
{
    return stats->sent;
}

static void write_head(struct buf *buf, const char *name, const char *help)
{
    buf_printf(buf, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
}

static void write_handled(const struct service *service, struct buf *buf)
{
    static const char name[] = "grpc_server_handled_total";
    write_head(buf, name, "RPCs that have ended, by code.");
    for (size_t i = 0; i < service->method_count; i++) {
        const struct grpc_method_stats *stats = grpc_server_method_stats(service->grpc, i);
        for (unsigned code = 0; code < GRPC_STATUS_COUNT; code++) {
            write_line(buf, name, &service->methods[i], grpc_status_name(code),
                       stats->handled[code]);
        }
    }
}

void usage_write(const struct service *service, struct buf *buf)
{
    static const struct {
        const char *name;
        const char *help;
        uint64_t (*value)(const struct grpc_method_stats *stats);
    } families[] = {
        {"grpc_server_msg_received_total", "Messages received.", received},
        {"grpc_server_msg_sent_total", "Messages sent.", sent},
        {"grpc_server_started_total", "RPCs that have begun.", started},
    };
    write_handled(service, buf);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        write_head(buf, families[i].name, families[i].help);
        for (size_t j = 0; j < service->method_count; j++) {
            write_line(buf, families[i].name, &service->methods[j], NULL,
                       families[i].value(grpc_server_method_stats(service->grpc, j)));
        }
    }
}
