/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SERVICE_H
#define API_SERVICE_H

#include "net/grpc.h"
#include "net/http1.h"
#include "server/server.h"

/* etcd's services in front of one member: a table of methods for gRPC, a handler for HTTP/1.1.
 * Whoever opens ports serves them with both. A method that is not in the table is answered
 * UNIMPLEMENTED. */
struct service;

struct service_config {
    struct server *server; /* outlives the service */
    struct logger *log;
    const char *version; /* the version of etcd that clients are told, "3.7.1"; kept */
    uint32_t streams_max;
    uint64_t ping_interval_ms;
    uint64_t ping_timeout_ms;
    uint64_t ping_min_interval_ms;
};

MUST_CHECK enum err service_new(const struct service_config *config, struct service **ret);
/* Its ports are closed. */
void service_free(struct service *service);

struct grpc_server *service_grpc(struct service *service);
const struct http1_server *service_http1(struct service *service);

#endif
