/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SERVER_PRIVATE_H
#define SERVER_SERVER_PRIVATE_H

#include "server/announce.h"
#include "server/batch.h"
#include "server/contest.h"
#include "server/leaseask.h"
#include "server/pending.h"
#include "server/query.h"
#include "server/quota.h"

/* A member's inside, for the files that implement its door: server.c (start, requests, stop),
 * transfer.c (leadership handed over), gauges.c (its metrics). */

enum server_state { SERVER_RUNNING, SERVER_LEAVING, SERVER_CLOSING };

struct server {
    struct server_config
        config; /* pointers into the caller's memory are cleared once start returned */
    struct env *env;
    struct logger *log;
    struct store *store;
    struct fsm *fsm;
    struct hub *hub;
    struct node *node;
    struct pending pending;
    struct batch batch;
    struct query query;
    struct lessor *lessor;
    struct leaseask leaseask;
    uint64_t next_lease_id;
    struct contests contests;
    struct quota quota;
    struct announce announce;
    struct compactor compactor;
    struct op compact_op; /* of the compactor */
    struct arena arena;   /* for checking forwarded commands */
    enum server_state state;

    uint64_t leader_id;
    uint64_t leaderless_since_ms; /* valid while leader_id is 0 */
    struct counter *leader_changes;

    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct env_timer leave_limit;
};

/* Register what /metrics says of a member. */
void gauges_register(struct server *server);
/* An alarm was raised or cleared. */
void gauges_alarm(struct server *server, struct alarm alarm, bool is_active);

#endif
