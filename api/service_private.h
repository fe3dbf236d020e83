/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SERVICE_PRIVATE_H
#define API_SERVICE_PRIVATE_H

#include "api/call.h"
#include "api/service.h"
#include "base/worker.h"

struct service {
    struct server *server;
    const char *version;
    size_t message_bytes_max;
    struct grpc_server *grpc;
    struct grpc_method *methods; /* each with its row as user */
    size_t method_count;
    struct buf scratch; /* for answers that are built and sent within one callback */
    struct worker *encoder;
    struct queue health_watchers;
    struct counter *health_successes; /* of /health */
    struct counter *health_failures;
    bool draining;
    struct http1_server http1;
    struct http1_server metrics_http1;
};

/* Tell those who watch the health of the server, and end their streams. In rpc_health.c. */
void health_drain(struct service *service);

#endif
