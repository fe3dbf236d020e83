/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SERVICE_H
#define API_SERVICE_H

#include "net/grpc.h"
#include "net/http1.h"
#include "server/server.h"

/* etcd's services in front of one member: a table of methods for gRPC, a handler for HTTP/1.1.
 * Whoever opens ports serves them with both. etcd's methods that are not served yet are answered
 * UNIMPLEMENTED. On the loop. */
struct service;

struct service_config {
    struct server *server; /* outlives the ports */
    struct logger *log;
    const char *version; /* the version of etcd that clients are told, "3.7.1"; kept */
    uint32_t streams_max;
    uint64_t ping_interval_ms;
    uint64_t ping_timeout_ms;
    uint64_t ping_min_interval_ms;
    struct fs *fs;              /* of the store's file ... */
    const char *store_path;     /* ... which Snapshot copies; NULL: it is not served */
    uint64_t snapshot_stall_ms; /* for so long a client may take nothing of Snapshot; 0: 60 s */
    uint64_t watch_progress_ms; /* between notices of progress to watchers; 0: 10 min */
};

MUST_CHECK enum err service_new(const struct service_config *config, struct service **ret);

/* Ports are given these: the whole of it for clients; for --listen-metrics-urls only /health and
 * /metrics. */
struct grpc_server *service_grpc(struct service *service);
const struct http1_server *service_http1(struct service *service);
const struct http1_server *service_metrics_http1(struct service *service);

/* The member is about to stop: health says so, and streams without an end are ended. The ports are
 * closed next, then the server is stopped, then the service is freed. */
void service_drain(struct service *service);
void service_free(struct service *service);

#endif
