/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's health checking protocol. The service "" stands for the whole server: it serves until the
 * member is about to stop. Watchers are told then, and their streams end. */
#include "api/service_private.h"
#include "base/cleanup.h"
#include "proto/health.pb-c.h"

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

typedef Grpc__Health__V1__HealthCheckResponse health_response;

static bool is_server(const Grpc__Health__V1__HealthCheckRequest *request)
{
    return request->service[0] == '\0';
}

static health_response present(const struct service *service)
{
    health_response answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status = service->draining ? STATUS(NOT_SERVING) : STATUS(SERVING);
    return answer;
}

static void rpc_health_check(struct call *call, const void *request)
{
    if (!is_server(request)) {
        grpc_call_finish(call_grpc(call), GRPC_NOT_FOUND, "unknown service");
        return;
    }
    health_response answer = present(call->service);
    call_answer_message(call, &answer.base);
}

static void rpc_health_list(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    health_response value = present(call->service);
    Grpc__Health__V1__HealthListResponse__StatusesEntry entry =
        GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__STATUSES_ENTRY__INIT;
    Grpc__Health__V1__HealthListResponse__StatusesEntry *entries[] = {&entry};
    Grpc__Health__V1__HealthListResponse answer = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    entry.value = &value;
    answer.statuses = entries;
    answer.n_statuses = ARRAY_LEN(entries);
    call_answer_message(call, &answer.base);
}

/* ---- Watch ---- */

struct health_watch {
    struct call call;
    struct queue link; /* in service->health_watchers, while the stream is open */
    bool of_server;
};

static void end_watch(struct health_watch *watch)
{
    struct call *call = &watch->call;
    queue_remove(&watch->link);
    if (watch->of_server) {
        health_response answer = present(call->service);
        call_send_message(call, &answer.base);
    }
    grpc_call_finish(call_grpc(call), GRPC_CANCELLED, "Stream has ended.");
}

static void rpc_health_watch(struct call *call, const void *request)
{
    struct health_watch *watch = CONTAINER_OF(call, struct health_watch, call);
    health_response answer = present(call->service);
    watch->of_server = is_server(request);
    if (!watch->of_server) {
        answer.status = STATUS(SERVICE_UNKNOWN);
    }
    call_send_message(call, &answer.base);
    if (grpc_call_is_over(call_grpc(call))) {
        return; /* no memory to send it */
    }
    queue_push_back(&call->service->health_watchers, &watch->link);
    if (call->service->draining) {
        watch->of_server = false; /* it has been told already */
        end_watch(watch);
    }
}

static void on_watch_closed(struct call *call)
{
    struct health_watch *watch = CONTAINER_OF(call, struct health_watch, call);
    if (watch->link.next != NULL) { /* its request has arrived */
        queue_remove(&watch->link);
    }
}

void health_drain(struct service *service)
{
    struct queue *watchers = &service->health_watchers;
    while (!queue_empty(watchers)) {
        end_watch(QUEUE_ELEM(watchers->next, struct health_watch, link));
    }
}

static const struct method rows[] = {
    {
        .path = "/grpc.health.v1.Health/Check",
        .request = &grpc__health__v1__health_check_request__descriptor,
        .handle = rpc_health_check,
    },
    {
        .path = "/grpc.health.v1.Health/List",
        .request = &grpc__health__v1__health_list_request__descriptor,
        .handle = rpc_health_list,
    },
    {
        .path = "/grpc.health.v1.Health/Watch",
        .request = &grpc__health__v1__health_check_request__descriptor,
        .state_bytes = sizeof(struct health_watch),
        .server_stream = true,
        .handle = rpc_health_watch,
        .closed = on_watch_closed,
    },
};

const struct method_table rpc_health = {.rows = rows, .count = ARRAY_LEN(rows)};
