/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_NODE_H
#define RAFT_NODE_H

#include "base/bytes.h"
#include "base/env.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "raft/nodeaddress.h"
#include "raft/raftlog.h"
#include "raft/transport.h"

/* One member's part in consensus: propose entries, learn which are committed, read linearizably,
 * know who leads. Nothing above this header knows which Raft core works below it. Everything on the
 * loop. */
struct node;

enum node_role { NODE_FOLLOWER, NODE_CANDIDATE, NODE_LEADER };
enum member_role { MEMBER_VOTER, MEMBER_LEARNER, MEMBER_SPARE };

struct node_member {
    uint64_t id;
    /* host:port of its peer listener; in a configuration, where it cannot be changed, as
     * node_address_format has it. */
    const char *address;
    enum member_role role;
};

struct node_callbacks {
    /* A committed entry, in order, each index once in the life of the process (entries since the
     * last snapshot come again after a restart: the receiver skips what it has applied durably).
     * Never fails. */
    void (*apply)(void *ctx, uint64_t index, uint64_t term, struct bytes entry);

    /* The highest index whose effect the store has proven durable: the log is never compacted
     * beyond it. */
    uint64_t (*durable_index)(void *ctx);

    /* Fill DATA with the manifest of the state that is durable at INDEX (<= durable_index). */
    void (*manifest)(void *ctx, uint64_t index, struct buf *data);

    /* A manifest to start from, at start or received from the leader: the store must be at INDEX or
     * beyond. ERR_NOT_FOUND, at start: it is not, and the member starts all the same if it can be
     * given a state (node_bare_index). Any other error ends the member with a clear message. */
    enum err (*restore)(void *ctx, uint64_t index, struct bytes manifest, struct why *why);

    /* A manifest comes from the leader: will restore do? With an error this member keeps its own
     * log, and the leader asks again. May be NULL: it will. */
    enum err (*may_restore)(void *ctx, uint64_t index, struct why *why);

    /* Leader: PEER lacks entries that the log has no more, and needs the state in their place: see
     * node_install. Said again now and then while nobody sees to it (node_hold_state). May be NULL:
     * then it is sent the manifest, as if it had the state. */
    void (*want_state)(void *ctx, uint64_t peer_id);

    /* Role, term or leader changed (leader_id 0: unknown). */
    void (*state_changed)(void *ctx, enum node_role role, uint64_t term, uint64_t leader_id);

    /* A frame of the layers above (FRAME_FORWARD, FRAME_APP). */
    void (*on_frame)(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload);

    /* Was MEMBER_ID removed from the cluster for ever? It is told so when it calls and has left
     * (node_has_left). May be NULL. */
    bool (*is_removed)(void *ctx, uint64_t member_id);
    /* A peer says that this member was (may be NULL). More than once. */
    void (*on_removed)(void *ctx);
    /* The configuration is another one, or is committed now (may be NULL). */
    void (*members_changed)(void *ctx);
    /* Somebody who wants to join asks who the members are: what is put into RET is the answer;
     * nothing: there is none (may be NULL). */
    void (*describe)(void *ctx, struct buf *ret);
};

struct node_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics;     /* may be NULL */
    struct raftlog *raftlog;     /* owned by the node from node_open on */
    struct transport *transport; /* likewise */
    uint64_t id;
    /* The first configuration, used only when the log is empty; every member of a new cluster is
     * given the same. */
    const struct node_member *bootstrap;
    size_t bootstrap_count;
    uint32_t heartbeat_ms;
    uint32_t election_ms;
    /* A manifest snapshot is taken when the log has grown by either; the log then keeps TRAILING of
     * each for slow followers, and up to HELD of what a member of the configuration lacks. */
    uint64_t snapshot_entries;
    uint64_t snapshot_bytes;
    uint64_t trailing_entries;
    uint64_t trailing_bytes;
    uint64_t held_entries;
    uint64_t held_bytes;
    bool head_start; /* the first election after a start comes early: see raft/headstart.h */
    bool unguarded;  /* the simulator's switch: rules of the guard off, see raft/guard.h for one by
                        one */
    uint32_t guard_off_mask;
};

MUST_CHECK enum err node_open(const struct node_config *config,
                              const struct node_callbacks *callbacks, void *ctx, struct node **ret,
                              struct why *why);

/* A proposal on its way. The caller owns it until cb ran, once, never before node_propose returned.
 */
struct proposal {
    void (*cb)(struct proposal *proposal, enum err status);
    struct queue link; /* private */
    uint64_t index;    /* where it was put, from node_propose on (0: refused) */
    uint64_t term;
    uint64_t reserved[24]; /* private: the core's request */
};

/* Propose an entry (leader only). status OK: committed and applied on this member, in that order;
 * ERR_NOT_LEADER: certainly not proposed, also while leadership is being handed over;
 * ERR_LEADER_CHANGED: outcome unknown. What is needed of the entry is copied. Not from within
 * apply. */
void node_propose(struct node *node, struct proposal *proposal, struct blob *entry,
                  void (*cb)(struct proposal *proposal, enum err status));

/* A read index: an index such that a read of the state at or after it is linearizable. From any
 * member: a follower asks the leader. All requests of a round share one confirmation. cb with OK
 * and the index, when this member has APPLIED it; ERR_NO_LEADER, ERR_LEADER_CHANGED, ERR_STOPPED
 * otherwise. The caller sets its own time limit and cancels. */
struct read_index {
    void (*cb)(struct read_index *request, enum err status, uint64_t index);
    struct queue link; /* private */
    uint64_t index;
    uint64_t round;
};
void node_read_index(struct node *node, struct read_index *request,
                     void (*cb)(struct read_index *request, enum err status, uint64_t index));
void node_read_index_cancel(struct node *node,
                            struct read_index *request); /* no cb comes any more */

/* Frames between the layers above on different members; false when it was dropped. */
bool node_send(struct node *node, uint64_t peer_id, enum transport_lane lane, enum frame_kind kind,
               struct blob *payload);

enum node_role node_role(const struct node *node);
uint64_t node_id(const struct node *node);
uint64_t node_term(const struct node *node);
uint64_t node_leader(const struct node *node); /* 0: unknown */
uint64_t node_commit_index(const struct node *node);
uint64_t node_applied_index(const struct node *node);
uint64_t node_last_index(const struct node *node);
bool node_ready(const struct node *node); /* leader whose first entry of its term is applied, or
                                             follower with a known leader */

/* The present configuration; memory valid until the next turn. */
size_t node_members(const struct node *node, const struct node_member **ret);

/* The one with this id, or NULL. */
static inline const struct node_member *node_member_find(const struct node_member *members,
                                                         size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (members[i].id == id) {
            return &members[i];
        }
    }
    return NULL;
}

/* Is MEMBER_ID out of the configuration, and is that committed? Then no majority needs it any more,
 * whoever leads. */
bool node_has_left(const struct node *node, uint64_t member_id);

/* Where members listen now, whatever the configuration says: it cannot be changed there. Replaces
 * what was said before; this member's own is what it tells its peers. Role is not looked at. */
void node_set_addresses(struct node *node, const struct node_member *members, size_t count);

/* is_removed, or node_has_left, may have become true of somebody. Who was let in before that was
 * known is told now. */
void node_review_peers(struct node *node);

/* For how long there has been a connection to PEER, in ms and at least 1; 0: there is none. */
uint64_t node_connected_ms(const struct node *node, uint64_t peer_id);

/* Leader: up to where this member's log is known to match. 0: nothing is known, or not leader. */
uint64_t node_match_index(const struct node *node, uint64_t member_id);

/* Hand leadership to PEER (0: the best one). cb: OK when another member leads. */
void node_transfer(struct node *node, uint64_t peer_id, void (*cb)(void *ctx, enum err status),
                   void *ctx);

/* Membership changes, one at a time (ERR_TOO_MANY_REQUESTS, also before the first entry of the term
 * is committed). A promotion waits until the learner has caught up, or fails with ERR_TIMEOUT. The
 * leader neither demotes nor removes itself (ERR_INVALID): leadership is handed over before. cb as
 * for a proposal. */
enum change_kind { CHANGE_ADD_LEARNER, CHANGE_PROMOTE, CHANGE_DEMOTE, CHANGE_REMOVE };
void node_change(struct node *node, enum change_kind kind, uint64_t member_id, const char *address,
                 void (*cb)(void *ctx, enum err status), void *ctx);

/* Leader: a state is on its way to PEER, which needs it: that at INDEX, of SIZE_BYTES (0: it is not
 * made yet). What follows INDEX stays in the log meanwhile, up to SIZE_BYTES of it or HELD_BYTES,
 * whichever is more. To be said again before an election timeout has passed; false: PEER does not
 * need it any more, or this member does not lead. */
bool node_hold_state(struct node *node, uint64_t peer_id, uint64_t index, uint64_t size_bytes);

/* Is the entry at INDEX of TERM, and all that follows it in the log? Then the log of a member that
 * has the state at INDEX, the effect of entries that were committed, may begin there. */
bool node_holds(const struct node *node, uint64_t index, uint64_t term);

/* Leader: PEER has the state at INDEX on its disk, the effect of an entry of TERM: let its log
 * begin there, with MANIFEST. To be repeated while node_hold_state says true: a message can get
 * lost. ERR_NOT_FOUND: what follows INDEX has left our log, or the entry there is of another term:
 * only a newer state will do. ERR_NOT_LEADER: as node_hold_state. ERR_CONNECT: later. */
MUST_CHECK enum err node_install(struct node *node, uint64_t peer_id, uint64_t index, uint64_t term,
                                 struct bytes manifest);

/* The store ends before the log begins, at this index: the member votes and keeps its log, but
 * applies nothing and does not lead, as far as anybody above hears, until node_filled. 0: it is not
 * so. */
uint64_t node_bare_index(const struct node *node);

/* The store has a state at node_bare_index or beyond, durably: entries after it are applied from
 * now on. Not from within a callback of the node. */
void node_filled(struct node *node);

/* Stop taking part; every pending request is called back with ERR_STOPPED first, then cb; then the
 * memory is gone. */
void node_close(struct node *node, void (*cb)(void *ctx), void *ctx);

#endif
