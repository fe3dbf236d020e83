/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_MEMBERSHIP_H
#define SERVER_MEMBERSHIP_H

#include "fsm/cluster.h"
#include "raft/node.h"
#include "server/op.h"

/* There are two records of who is a member. What clients see, and change, is the cluster's table
 * (fsm/cluster.h): each change is a command, judged in the order of the log. Who votes is Raft's
 * configuration. The table goes first, always; whoever leads looks at both, after each change, when
 * it begins to lead and twice a second, and takes the first step that is missing:
 *
 *   in the table         in the configuration    step
 *   voter                learner, caught up      make it a voter
 *   no                   yes, another member     remove it
 *   yes                  no, or a spare          add it as a learner
 *   no                   this member             hand leadership over (the next leader removes it)
 *
 * So a crash or another leader in between loses nothing: the step is taken again by whoever leads
 * then, and what has been done is not missing any more. A voter that was added and has not been
 * started yet counts for clients, as etcd's does, but not for Raft: it is no part of a majority
 * before it can be one.
 *
 * A voter that is there stays while a member that shall vote is there, too, and catches up: who was
 * added before another one was removed counts before that one counts no more.
 *
 * A member that is there is removed from the configuration two heartbeats after the table: it would
 * not hear any more that the command is committed, nor answer whoever asked it.
 *
 * A member that was removed votes, and answers, for as long as it is in the configuration: those
 * that are left may need it to come to a majority, without which nobody could remove it. Then its
 * peers close their connections, tell it when it calls again, and it ends. Who asked for the
 * removal is answered when the configuration has followed: from then on the loss of another member
 * is one that the members that are left can stand. On the loop. */
#define MEMBERSHIP_HEALTHY_MS 5000u /* connected for so long: healthy */

struct membership {
    struct env *env;
    struct logger *log;
    struct node *node;
    const struct cluster *(*cluster)(void *ctx); /* it may be another one after a state was taken */
    uint64_t self;
    uint32_t heartbeat_ms;
    uint64_t timeout_ms;           /* of who waits for a member to leave */
    void (*on_removed)(void *ctx); /* this member is to end: once */
    void *ctx;
    struct env_task look;
    struct env_timer timer;
    struct queue waits; /* struct leave_wait.link, the oldest first */
    bool is_changing;
    bool is_transferring;
    bool is_told; /* by a peer: removed */
    bool is_removed;
    bool is_stopped;
    uint64_t leaving_id; /* to be removed when it has heard of it */
    uint64_t leaving_since_ms;
    uint64_t change_id;
    enum change_kind change_kind;
};

/* The caller sets the first nine fields, all else zero; kicks it when the node runs. */
void membership_init(struct membership *membership);
void membership_stop(struct membership *membership); /* who waits is told: ERR_STOPPED */

/* Something may have changed: the table, who leads. Looks at the end of this turn. */
void membership_kick(struct membership *membership);

/* A peer says that this member was removed. */
void membership_told_removed(struct membership *membership);

/* Wait until MEMBER_ID, which is not in the table any more, has left the configuration, or is this
 * member, and ends. CB comes later, once. */
void membership_await_leave(struct membership *membership, struct leave_wait *wait,
                            uint64_t member_id,
                            void (*cb)(struct leave_wait *wait, enum err status));

/* May this change be proposed, as far as this member sees the others? Only of those that are
 * strict. ERR_FEW_STARTED; ERR_UNHEALTHY: a majority would not be connected afterwards. */
MUST_CHECK enum err membership_check(const struct membership *membership, enum command_kind kind,
                                     const struct command_member *member);

/* Leader: does this learner lack more than a tenth of the log? */
bool membership_is_behind(const struct membership *membership, uint64_t id);

/* What a member's address is in Raft's configuration, from its peer URLs; false: it has none that
 * could be called. */
bool membership_address(uint64_t id, const char *const *peer_urls, size_t count,
                        char ret[NODE_ADDRESS_SIZE]);

#endif
