/* SPDX-License-Identifier: Apache-2.0 */
#include "api/http.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/http_private.h"
#include "api/message.h"
#include "api/probe.h"
#include "api/usage.h"
#include "base/cleanup.h"
#include "base/metrics.h"

#define TEXT_PLAIN   "text/plain; charset=utf-8"
#define TEXT_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define REASON_SIZE  32
#define ALLOW_GET    "Allow: GET\r\n"
#define ANY_ORIGIN                                                      \
    "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n" \
    "Access-Control-Allow-Origin: *\r\n"                                \
    "Access-Control-Allow-Headers: accept, content-type, authorization\r\n"

static void respond(const struct exchange *exchange, unsigned status, const char *type,
                    bool allow_get, struct bytes body)
{
    char extra[sizeof ANY_ORIGIN + sizeof ALLOW_GET];
    snprintf(extra, sizeof extra, "%s%s", exchange->any_origin ? ANY_ORIGIN : "",
             allow_get ? ALLOW_GET : "");
    http1_respond(exchange->request, status, type, extra, body);
}

void http_respond_text(const struct exchange *exchange, unsigned status, const char *text)
{
    respond(exchange, status, TEXT_PLAIN, status == 405, bytes_of_str(text));
}

/* ---- /health ---- */

/* While it waits for a linearizable read, which stands for the Range that etcd makes. */
struct health_check {
    struct read_op read;
    struct exchange exchange;
};

/* REASON "" is good health. What is bad is an error, and ends with a newline as Go's do. */
static void respond_health(const struct exchange *exchange, const char *reason)
{
    char text[256];
    bool healthy = reason[0] == '\0';
    struct service *service = exchange->service;
    counter_add(healthy ? service->health_successes : service->health_failures, 1);
    snprintf(text, sizeof text, "{\"health\":\"%s\",\"reason\":\"%s\"}%s",
             healthy ? "true" : "false", reason, healthy ? "" : "\n");
    http_respond_text(exchange, healthy ? 200 : 503, text);
}

static void respond_range_error(const struct exchange *exchange, enum err err)
{
    char reason[160];
    snprintf(reason, sizeof reason, "RANGE ERROR:%s", status_of(err).text);
    respond_health(exchange, reason);
}

static void on_health_read(struct read_op *op, enum err status)
{
    struct health_check *check = CONTAINER_OF(op, struct health_check, read);
    if (status == OK) {
        respond_health(&check->exchange, "");
    } else {
        respond_range_error(&check->exchange, status);
    }
    free(check);
}

static void on_health_gone(struct http1_request *request)
{
    struct health_check *check = request->user;
    server_read_cancel(check->exchange.service->server, &check->read);
    free(check);
}

/* "exclude=NOSPACE", any number of them. */
static bool is_excluded(struct http1_request *request, struct alarm alarm)
{
    const char *name = alarm_type_name(alarm.type);
    struct bytes value;
    for (unsigned i = 0; name != NULL && http1_query_find(request, "exclude", i, &value); i++) {
        if (bytes_equal(value, bytes_of_str(name))) {
            return true;
        }
    }
    return false;
}

/* The first alarm that counts, as a reason; "": there is none. */
static void find_alarm(const struct exchange *exchange, char reason[REASON_SIZE])
{
    const struct alarm *alarms;
    size_t count = alarm_list(fsm_alarms(server_fsm(exchange->service->server)), &alarms);
    reason[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (!is_excluded(exchange->request, alarms[i])) {
            const char *name = alarm_type_name(alarms[i].type);
            snprintf(reason, REASON_SIZE, "ALARM %s", name == NULL ? "UNKNOWN" : name);
            return;
        }
    }
}

static void get_health(const struct exchange *exchange)
{
    struct http1_request *request = exchange->request;
    struct server *server = exchange->service->server;
    char reason[REASON_SIZE];
    if (server_is_bare(server)) {
        respond_health(exchange, "NO DATABASE YET");
        return;
    }
    find_alarm(exchange, reason);
    if (reason[0] != '\0') {
        respond_health(exchange, reason);
        return;
    }
    struct bytes value;
    bool serializable = http1_query_find(request, "serializable", 0, &value) &&
                        bytes_equal(value, bytes_of_str("true"));
    if (serializable) {
        respond_health(exchange, ""); /* the store is in memory: there is nothing to fail */
        return;
    }
    if (server_leader(server) == 0) {
        respond_health(exchange, "RAFT NO LEADER");
        return;
    }
    struct health_check *check = calloc(1, sizeof *check);
    if (check == NULL) {
        respond_range_error(exchange, ERR_NOMEM);
        return;
    }
    check->exchange = *exchange;
    request->user = check;
    request->on_gone = on_health_gone;
    server_read(server, &check->read, on_health_read);
}

/* ---- /version, /metrics ---- */

static void get_version(const struct exchange *exchange)
{
    const char *decided = cluster_version(server_cluster(exchange->service->server));
    bool known = decided[0] != '\0';
    char cluster[VERSION_TEXT_SIZE];
    version_of_minor(decided, cluster);
    char text[256];
    snprintf(text, sizeof text, "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\",\"storage\":\"%s\"}",
             exchange->service->version, known ? cluster : "not_decided",
             known ? cluster : "unknown");
    respond(exchange, 200, "application/json", false, bytes_of_str(text));
}

static void get_metrics(const struct exchange *exchange)
{
    CLEANUP(buf_fini) struct buf text = {0};
    struct metrics *metrics = server_metrics(exchange->service->server);
    if (metrics != NULL) {
        metrics_write(metrics, &text);
    }
    usage_write(exchange->service, &text);
    if (buf_ok(&text)) {
        respond(exchange, 200, TEXT_METRICS, false, buf_bytes(&text));
    } else {
        http_respond_text(exchange, 500, "out of memory\n");
    }
}

/* ---- routes ---- */

struct route {
    const char *path;
    void (*get)(const struct exchange *exchange);
    bool for_clients_only;
    bool head_too; /* what promises not to change anything answers HEAD as well */
};

static const struct route routes[] = {
    {"/health", get_health, false, false},
    {"/version", get_version, true, false},
    {"/metrics", get_metrics, false, true},
};

static bool method_is(const struct exchange *exchange, const char *method)
{
    return bytes_equal(exchange->request->method, bytes_of_str(method));
}

static void not_allowed(const struct exchange *exchange)
{
    http_respond_text(exchange, 405, "Method Not Allowed\n");
}

static void dispatch(const struct exchange *exchange, bool for_client)
{
    struct probe probe;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *route = &routes[i];
        if ((route->for_clients_only && !for_client) ||
            !bytes_equal(exchange->request->path, bytes_of_str(route->path))) {
            continue;
        }
        if (method_is(exchange, "GET") || (route->head_too && method_is(exchange, "HEAD"))) {
            route->get(exchange);
        } else {
            not_allowed(exchange);
        }
        return;
    }
    if (!probe_find(exchange->request->path, &probe)) {
        http_respond_text(exchange, 404, "404 page not found\n");
    } else if (method_is(exchange, "GET")) {
        probe_start(&probe, exchange);
    } else {
        not_allowed(exchange);
    }
}

void http_on_client_request(void *ctx, struct http1_request *request)
{
    struct exchange exchange = {.service = ctx, .request = request, .any_origin = true};
    if (method_is(&exchange, "OPTIONS")) {
        http_respond_text(&exchange, 200, "");
        return;
    }
    dispatch(&exchange, true);
}

void http_on_metrics_request(void *ctx, struct http1_request *request)
{
    struct exchange exchange = {.service = ctx, .request = request};
    dispatch(&exchange, false);
}
