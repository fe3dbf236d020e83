/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's health checking protocol: the service "" stands for the whole server, which serves as long
 * as it answers. */
#include "api/call.h"
#include "base/cleanup.h"
#include "proto/health.pb-c.h"

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

static void rpc_health_check(struct grpc_call *call, struct bytes message)
{
    Grpc__Health__V1__HealthCheckRequest *request =
        call_decode(call, &grpc__health__v1__health_check_request__descriptor, message);
    if (request == NULL) {
        return;
    }
    if (request->service[0] != '\0') {
        grpc_call_finish(call, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status = STATUS(SERVING);
    call_answer_message(call, &answer.base);
}

/* The first message; the stream then stays open, for a change that comes when the server stops and
 * its connection ends. */
static void rpc_health_watch(struct grpc_call *call, struct bytes message)
{
    Grpc__Health__V1__HealthCheckRequest *request =
        call_decode(call, &grpc__health__v1__health_check_request__descriptor, message);
    if (request == NULL) {
        return;
    }
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status = request->service[0] == '\0' ? STATUS(SERVING) : STATUS(SERVICE_UNKNOWN);
    call_send_message(call, &answer.base);
}

static void rpc_health_list(struct grpc_call *call, struct bytes message)
{
    if (call_decode(call, &grpc__health__v1__health_list_request__descriptor, message) == NULL) {
        return;
    }
    Grpc__Health__V1__HealthCheckResponse value = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    Grpc__Health__V1__HealthListResponse__StatusesEntry entry =
        GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__STATUSES_ENTRY__INIT;
    Grpc__Health__V1__HealthListResponse__StatusesEntry *entries[] = {&entry};
    Grpc__Health__V1__HealthListResponse answer = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    value.status = STATUS(SERVING);
    entry.value = &value;
    answer.statuses = entries;
    answer.n_statuses = ARRAY_LEN(entries);
    call_answer_message(call, &answer.base);
}

static const struct grpc_method methods[] = {
    {.path = "/grpc.health.v1.Health/Check", .message = rpc_health_check},
    {.path = "/grpc.health.v1.Health/Watch", .server_stream = true, .message = rpc_health_watch},
    {.path = "/grpc.health.v1.Health/List", .message = rpc_health_list},
};

const struct rpc_table rpc_health_table = {.methods = methods, .count = ARRAY_LEN(methods)};
