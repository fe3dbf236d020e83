/* SPDX-License-Identifier: Apache-2.0 */
#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/metrics.h"

#define TEXT_PLAIN "text/plain; charset=utf-8"

/* /health while it waits for a linearizable read: the check that etcd makes with a Range. */
struct health_check {
    struct read_op read;
    struct server *server;
    struct http1_request *request;
};

static void respond(struct http1_request *request, unsigned status, const char *type,
                    const char *text)
{
    http1_respond(request, status, type, NULL, bytes_of_str(text));
}

static void respond_health(struct http1_request *request, const char *reason)
{
    char text[256];
    bool healthy = reason[0] == '\0';
    snprintf(text, sizeof text, "{\"health\":\"%s\",\"reason\":\"%s\"}", healthy ? "true" : "false",
             reason);
    respond(request, healthy ? 200 : 503, TEXT_PLAIN, text);
}

static void on_health_read(struct read_op *op, enum err status)
{
    struct health_check *check = CONTAINER_OF(op, struct health_check, read);
    char reason[128] = "";
    if (status != OK) {
        snprintf(reason, sizeof reason, "RANGE ERROR:%s", err_text(status));
    }
    respond_health(check->request, reason);
    free(check);
}

static void on_health_gone(struct http1_request *request)
{
    struct health_check *check = request->user;
    server_read_cancel(check->server, &check->read);
    free(check);
}

static void get_health(const struct http_ctx *ctx, struct http1_request *request)
{
    struct bytes value;
    bool serializable = http1_query_find(request, "serializable", 0, &value) &&
                        bytes_equal(value, bytes_of_str("true"));
    if (serializable) {
        respond_health(request, "");
        return;
    }
    if (server_leader(ctx->server) == 0) {
        respond_health(request, "RAFT NO LEADER");
        return;
    }
    struct health_check *check = calloc(1, sizeof *check);
    if (check == NULL) {
        respond_health(request, "RANGE ERROR:out of memory");
        return;
    }
    check->server = ctx->server;
    check->request = request;
    request->user = check;
    request->on_gone = on_health_gone;
    server_read(ctx->server, &check->read, on_health_read);
}

static void get_version(const struct http_ctx *ctx, struct http1_request *request)
{
    const char *decided = cluster_version(server_cluster(ctx->server));
    char cluster[32];
    snprintf(cluster, sizeof cluster, decided[0] == '\0' ? "not_decided" : "%s.0", decided);
    char text[256];
    snprintf(text, sizeof text, "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\",\"storage\":\"%s\"}",
             ctx->version, cluster, decided[0] == '\0' ? "unknown" : cluster);
    respond(request, 200, "application/json", text);
}

static void get_metrics(const struct http_ctx *ctx, struct http1_request *request)
{
    struct buf text = {0};
    metrics_write(server_metrics(ctx->server), &text);
    http1_respond(request, buf_ok(&text) ? 200 : 500, "text/plain; version=0.0.4; charset=utf-8",
                  NULL, buf_bytes(&text));
    buf_fini(&text);
}

void http_on_request(void *ctx, struct http1_request *request)
{
    static const struct {
        const char *path;
        void (*get)(const struct http_ctx *ctx, struct http1_request *request);
    } routes[] = {{"/health", get_health}, {"/version", get_version}, {"/metrics", get_metrics}};
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!bytes_equal(request->path, bytes_of_str(routes[i].path))) {
            continue;
        }
        bool is_get = bytes_equal(request->method, bytes_of_str("GET")) ||
                      bytes_equal(request->method, bytes_of_str("HEAD"));
        if (!is_get) {
            http1_respond(request, 405, TEXT_PLAIN, "Allow: GET\r\n",
                          bytes_of_str("Method Not Allowed\n"));
            return;
        }
        routes[i].get(ctx, request);
        return;
    }
    respond(request, 404, TEXT_PLAIN, "404 page not found\n");
}
