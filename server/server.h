/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "fsm/fsm.h"
#include "server/compactor.h"
#include "server/op.h"
#include "watch/hub.h"

/* One member: consensus, state machine and store put together. Several fit in one process.
 * Everything on the loop.
 *
 *   server_propose ─▶ batch ─▶ node (here or, through forward, on the leader) ─▶ fsm_apply ─▶
 * op->cb server_read    ─▶ node_read_index ─▶ cb, then store_range (or store_range_start)
 */
struct server;
struct fs;

struct server_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics;
    struct raftlog *raftlog; /* opened by the caller, owned by the server from server_start on; also
                                on failure */
    struct transport *transport; /* likewise */
    struct store *store;         /* likewise */
    struct fs *fs;               /* what the store's database lies on; NULL: the system's */
    uint64_t cluster_id;
    uint64_t member_id;
    const char *name;
    /* The members of a new cluster, peer URLs as given by people. None: it joins, or has data. */
    const struct cluster_member *members;
    const char *const *member_addresses; /* host:port of each member's peer listener */
    size_t member_count;
    const char *const *client_urls; /* this member's, to publish */
    size_t client_url_count;
    uint32_t heartbeat_ms;
    uint32_t election_ms;
    uint64_t snapshot_entries;
    uint64_t catchup_entries; /* of the log, for a member that is behind; 0: a default */
    uint32_t request_bytes_max;
    unsigned txn_ops_max;
    uint64_t quota_bytes; /* 0: none */
    enum compactor_mode compactor_mode;
    uint64_t compactor_retention; /* ms or revisions, by mode */
    bool loose_reconfig;          /* etcd's --strict-reconfig-check=false */
    uint64_t learners_max;        /* 0: 1 */
    size_t watch_turn_work;       /* of the hub; 0: a default */
    uint64_t hash_check_ms; /* between comparisons of members' hashes; 0: as hashcheck.h says */
    /* Is the disk so full that the log may end? Then nothing that adds to the store is taken. May
     * be NULL. */
    bool (*is_disk_full)(void *ctx);
    /* It started without its database (server_is_bare) and has one now: once. May be NULL. */
    void (*on_filled)(void *ctx);
    /* This member has published itself and serves: once. */
    void (*on_ready)(void *ctx);
    /* This member was removed from the cluster, does not lead, and is to be stopped: once. */
    void (*on_removed)(void *ctx);
    void *ctx;
};

MUST_CHECK enum err server_start(const struct server_config *config, struct server **ret,
                                 struct why *why);

/* Hand leadership over, answer what waits with ERR_STOPPED, close node, store, log; CB last, then
 * the memory is gone. */
void server_stop(struct server *server, void (*cb)(void *ctx), void *ctx);

/* Encode COMMAND into the open batch and propose it, here or through the leader; its memory is the
 * caller's again on return. Every outcome, refusal included, comes through cb: OK once applied on
 * this member (look at op->result->status); ERR_TOO_MANY_REQUESTS, ERR_QUOTA: not applied and never
 * will be; ERR_TIMEOUT, ERR_STOPPED: unknown. */
void server_propose(struct server *server, struct op *op, const struct command *command, op_cb cb);

/* etcd holds its quota against a request before it asks whether it is a good one. Would COST more
 * (quota_put_cost) go over it? Then OP ends as if it had been proposed: with ERR_QUOTA, when the
 * alarm is active. */
bool server_is_over_quota(const struct server *server, size_t cost);
void server_refuse_quota(struct server *server, struct op *op, op_cb cb);

/* The caller has gone away: cb comes at the end of this turn with ERR_CANCELLED unless the outcome
 * was faster. The command may still apply. */
void server_cancel(struct server *server, struct op *op);

/* A read that begins now is linearizable once cb says OK. ERR_TIMEOUT after the request time limit
 * (5 s + 2 election timeouts), ERR_LEADER_CHANGED, ERR_STOPPED. */
void server_read(struct server *server, struct read_op *op,
                 void (*cb)(struct read_op *op, enum err status));
void server_read_cancel(struct server *server, struct read_op *op); /* no cb comes any more */

/* Hand leadership, which this member has, to TARGET. ERR_BAD_TRANSFEREE (no member, or a learner),
 * ERR_STOPPED, ERR_NOMEM: no cb comes. Else it does, once: OK when TARGET leads;
 * ERR_TRANSFER_TIMEOUT, ERR_NOT_LEADER, ERR_TOO_MANY_REQUESTS (another one is under way),
 * ERR_STOPPED. */
MUST_CHECK enum err server_transfer(struct server *server, uint64_t target,
                                    void (*cb)(void *ctx, enum err status), void *ctx);

/* Complete a change of a member (COMMAND_MEMBER_ADD and the like) by this member's rules, and look
 * whether it may be proposed: see membership_check. */
MUST_CHECK enum err server_check_change(struct server *server, struct command *command);

/* Wait until MEMBER_ID, which is not in the table of members any more, has left the configuration:
 * see membership_await_leave. */
void server_await_leave(struct server *server, struct leave_wait *wait, uint64_t member_id,
                        void (*cb)(struct leave_wait *wait, enum err status));
void server_cancel_leave(struct server *server, struct leave_wait *wait); /* no cb comes any more */

/* It started with a log and without the database that belongs to it, and waits for the leader's:
 * nothing that it could answer would be true, so that nobody should be let in before on_filled. */
bool server_is_bare(const struct server *server);

/* Does it replicate only? Then it serves next to nothing. */
bool server_is_learner(const struct server *server);

/* Renew leases, or ask how much is left of them, on the leader wherever this is called. cb once,
 * later: OK with the answers, ERR_TIMEOUT, ERR_NO_LEADER, ERR_STOPPED. A renewal is confirmed only
 * by a leader that is one for certain. */
void server_lease_renew(struct server *server, struct lease_ask *ask,
                        void (*cb)(struct lease_ask *ask, enum err status));
void server_lease_remaining(struct server *server, struct lease_ask *ask,
                            void (*cb)(struct lease_ask *ask, enum err status));
void server_lease_cancel(struct server *server, struct lease_ask *ask); /* no cb comes any more */
/* For a lease whose client chose none: positive, one after the other so that their rows are side by
 * side; as etcd's, two bytes of the member's id, five of the time of its start, one to count from.
 */
int64_t server_new_lease_id(struct server *server);
int64_t server_lease_ttl_min(const struct server *server); /* seconds: 1.5 election timeouts */

struct store *server_store(struct server *server);
struct fsm *server_fsm(struct server *server);
struct hub *server_hub(struct server *server); /* watches what is applied here */
struct node *server_node(struct server *server);
const struct cluster *server_cluster(const struct server *server);
struct metrics *server_metrics(struct server *server);
struct env *server_env(struct server *server);

uint64_t server_cluster_id(const struct server *server);
uint64_t server_member_id(const struct server *server);
uint64_t server_term(const struct server *server);
uint64_t server_leader(const struct server *server); /* 0: none known */
bool server_is_leader(const struct server *server);
int64_t server_quota_bytes(const struct server *server); /* as clients are told it: -1: none */
uint32_t server_request_bytes_max(const struct server *server);
unsigned server_txn_ops_max(const struct server *server);

/* No leader for three election timeouts: what "require leader" and /health look at. */
bool server_has_leader(const struct server *server);

#endif
