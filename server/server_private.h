/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SERVER_PRIVATE_H
#define SERVER_SERVER_PRIVATE_H

#include "server/announce.h"
#include "server/batch.h"
#include "server/contest.h"
#include "server/hashcheck.h"
#include "server/leaseask.h"
#include "server/membership.h"
#include "server/pending.h"
#include "server/query.h"
#include "server/quota.h"
#include "server/statesend.h"
#include "server/statetake.h"

/* A member's inside, for the files that implement its door: server.c (start, requests, stop),
 * transfer.c (leadership handed over), members.c (who is a member), agreement.c (hashes compared),
 * states.c (whole databases), gauges.c (its metrics). */

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
    struct membership membership;
    struct statesend *statesend;
    struct statetake *statetake;
    struct store_replace_helper state_helper;
    struct hash_seed prepared_seed;
    struct leases *prepared; /* of a state that is about to come, or was; a helper thread's */
    struct compactor compactor;
    struct op compact_op; /* of the compactor */
    struct hashcheck hashcheck;
    struct op corrupt_op; /* of the hashcheck */
    struct arena arena;   /* for checking forwarded commands */
    enum server_state state;

    uint64_t leader_id;
    uint64_t leaderless_since_ms; /* valid while leader_id is 0 */
    struct counter *leader_changes;

    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct env_timer leave_limit;
};

/* In members.c: the first configuration; what the node asks and tells of members, once it is there.
 */
MUST_CHECK enum err members_of_config(const struct server_config *config, struct node_member *ret,
                                      char addresses[MEMBERS_MAX][NODE_ADDRESS_SIZE],
                                      struct why *why);
void members_open(struct server *server);
bool members_on_is_removed(void *ctx, uint64_t member_id);
void members_on_removed(void *ctx);
void members_on_changed(void *ctx);
void members_on_describe(void *ctx, struct buf *ret);
void members_on_applied(struct server *server, const struct command *command);

/* The leader promotes no learner that lacks much. Those of PEER's COMMANDS that would are sent
 * back, the others are in KEPT: true. */
bool members_refuse_behind(struct server *server, uint64_t peer_id, struct bytes commands,
                           struct buf *kept, size_t *kept_count);

/* The way of whole databases (states.c). */
void states_open(struct server *server);
void states_stop(struct server *server);
void states_free(struct server *server);
void states_on_want(void *ctx, uint64_t peer_id);
/* A frame of kind FRAME_APP; false: malformed. */
bool states_on_frame(struct server *server, uint64_t peer_id, struct bytes payload);

/* An alarm was raised or cleared, or is another since the state is. */
void server_tell_alarm(struct server *server, struct alarm alarm, bool is_active);

/* Begin to compare this member's state with the others' (agreement.c); before the node opens. */
void agreement_open(struct server *server);

/* Register what /metrics says of a member. */
void gauges_register(struct server *server);
/* An alarm was raised or cleared. */
void gauges_alarm(struct server *server, struct alarm alarm, bool is_active);

#endif
