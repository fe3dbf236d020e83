/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SERVICE_PRIVATE_H
#define API_SERVICE_PRIVATE_H

#include "api/endless.h"
#include "api/service.h"
#include "base/worker.h"
#include "snapshot/spool.h"

/* What watch streams have in common: rpc_watch.c. */
struct watching {
    struct env *env;      /* outlives the server */
    struct queue closing; /* struct watch_call.link: over, with watchers left */
    struct env_timer closing_timer;
    size_t closing_left; /* watchers that may still be cancelled in this turn */
    uint64_t progress_ms;
};

struct service {
    struct server *server;
    const char *version;
    size_t message_bytes_max;
    struct grpc_server *grpc;
    struct grpc_method *methods; /* each with its row as user */
    size_t method_count;
    struct buf scratch; /* for answers that are built and sent within one callback */
    struct arena arena; /* for the messages of client streams, one at a time */
    struct worker *encoder;
    struct spool *spool; /* of Snapshot; NULL: not served */
    uint64_t snapshot_stall_ms;
    struct counter *stalled_snapshots;
    struct endless_set endless;
    struct watching watching;
    struct queue health_watchers;
    struct counter *health_successes; /* of /health */
    struct counter *health_failures;
    bool draining;
    struct http1_server http1;
    struct http1_server metrics_http1;
};

void watching_init(struct service *service, uint64_t progress_ms);
void watching_fini(struct service *service);

/* Tell those who watch the health of the server, and end their streams. In rpc_health.c. */
void health_drain(struct service *service);

#endif
