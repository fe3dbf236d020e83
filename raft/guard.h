/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_GUARD_H
#define RAFT_GUARD_H

#include <stdbool.h>

#include "base/env.h"
#include "base/logger.h"
#include "raft/abi.h"
#include "raft/confhist.h"
#include "raft/frame.h"

/* The faults of libraft 0.15, and what mends each from outside.
 *
 * Every message, tick and completion passes the guard on its way into the core and out of it:
 *
 *     frame ─▶ guard_before_recv ─▶ core ─▶ guard_fix_result, guard_fix_vote ─▶ frame
 *                                    │
 *                              guard_after: what changed?
 *
 * Each rule can be switched off by its bit in node_config.guard_off_mask, and a test shows what
 * happens then (tests/unit/raft/test_guard.c). G5, G8 and G10 are no hooks but the way raftio is
 * made: a snapshot is a manifest, so that storing one takes one write; whatever fails on the disk
 * ends the process, and no memory does too; what is sent is a copy, so that no request of the core
 * is referred to after its callback. */
enum guard_rule {
    /* The core answers an append with whatever it has stored, though only what the message reached
     * is known to match the leader's log: the leader counts entries that are not there. Answers are
     * cut to what was verified in this term; a commit index is believed as far as its message
     * reaches. */
    GUARD_VERIFIED_ACK = 1,

    /* The core commits entries of older terms by counting replicas (Raft thesis 3.6.2) and has no
     * entry of its own term to commit instead. A barrier is put first in each term; before it only
     * entries of the own term count. */
    GUARD_OWN_TERM_COMMIT = 2,

    /* While a transfer of leadership is under way the core votes twice in a term. */
    GUARD_ONE_VOTE = 3,

    /* A member whose own entries are on their way to the disk must not stand for election: it would
     * not have adopted a configuration among them, and while a snapshot is being installed its
     * state is half there. */
    GUARD_CAMPAIGN_SETTLED = 4,

    /* A truncated configuration is rolled back to what the log says, also after a restart and when
     * that entry is compacted; the core forgets, or reads a NULL. */
    GUARD_CONFIG_ROLLBACK = 6,

    /* The core commits only at the last entry that the leader itself has stored: when its disk is
     * faster than the followers, late; and when its disk is the last, or a change of the
     * configuration makes the majority smaller, not before the next write. Not safety. */
    GUARD_COMMIT_AT_MAJORITY = 7,

    /* An answer that could not be sent makes the core free the entries twice. */
    GUARD_SEND_SUCCEEDS = 9,

    /* The only voter elects itself without a new term: after a restart that lost its tail, or when
     * the leader of this term made it the only voter, one (index, term) names two entries. */
    GUARD_SOLE_VOTER_TERM = 11,

    /* Entries are replaced, or a snapshot is installed, while older ones are on their way to the
     * disk: the core then counts the old ones as the new ones. Such a message waits for the next
     * attempt. */
    GUARD_REPLACE_SETTLED = 12,

    /* A learner refuses its vote, though the candidate's log may have made it a voter; and a
     * follower refuses its vote for as long as it has not missed its leader itself, a learner
     * therefore for ever. Not safety: without a majority of votes there is no leader again. */
    GUARD_VOTERS_VOTE = 13,

    /* A configuration that only a follower has stored can be one that nobody can be elected with.
     * It leaves the leader when the leader has stored it. Not safety. */
    GUARD_CHANGE_STORED = 14,

    /* A change of the configuration before an entry of the own term is committed can make two
     * disjoint majorities (Ongaro's correction of 2015 to the thesis, 4.1). */
    GUARD_CHANGE_AFTER_BARRIER = 15,

    /* A late message about entries below the start of the log makes the core append them at its
     * end, and give up. */
    GUARD_BELOW_LOG = 16,

    /* A snapshot carries the newest configuration, which may be uncommitted, in place of the one of
     * its index. */
    GUARD_SNAPSHOT_CONFIG = 17,

    /* A candidate that once won a pre-vote goes on raising its term for ever. Not safety. */
    GUARD_PRE_VOTE_AGAIN = 18,

    /* Appends of any size, heartbeats that the follower rejects while entries are on their way, the
     * whole tail prepared for a peer that is down: see flow.h. Not safety. */
    GUARD_FLOW = 19,

    /* A pre-vote is refused in the term that it asked for, so that a candidate never hears of a
     * later one: when only members of an old term have the newest log, nobody is elected again. A
     * refusal that comes of a later term names it. Not safety. */
    GUARD_PRE_VOTE_TERM = 20,

    GUARD_RULE_COUNT
};

/* libraft as it is. Its own network layer never fails to take a message, so that rule stays. */
#define GUARD_ALL_OFF (~(1u << GUARD_SEND_SUCCEEDS))

struct guard {
    struct raft *core;
    struct env *env;
    struct logger *log;
    struct confhist *history;
    uint32_t off_mask;

    /* Follower: in verified_term, this log matches the leader's up to verified_index. */
    uint64_t verified_term;
    uint64_t verified_index;

    /* Follower: the term of the last append, and that which it gives to the entry before its own.
     */
    uint64_t asked_in_term;
    uint64_t asked_term;

    unsigned appends; /* own appends on their way to the disk; raftio counts */

    /* Leader: the first entry of its term. */
    uint64_t barrier_term;
    uint64_t barrier_index;
    struct raft_barrier barrier;

    /* While the core handles an answer, its last_stored is what may be committed; this is the true
     * one, and 0 otherwise. */
    uint64_t true_last_stored;

    /* The member has no state for what is committed: raftbare.c. */
    bool bare;

    /* The store has applied so much, durably; raftio tells. It is committed, so who lacks it must
     * not lead: neither this member, if its disk has lost the end of its log, or a state came and
     * its log does not begin there yet; nor anybody else by its vote. */
    uint64_t applied_index;

    bool role_lent; /* while the core handles a vote request: our role was not voter */
    int role;

    bool timeout_now_held; /* until the disk is done */
    struct raft_message timeout_now;

    uint64_t commit_index; /* seen last: never goes back */
};

static inline bool guard_on(const struct guard *guard, enum guard_rule rule)
{
    return (guard->off_mask >> rule & 1) == 0;
}

void guard_init(struct guard *guard, struct raft *core, struct env *env, struct logger *log,
                struct confhist *history, uint32_t off_mask);

/* Around raft_start. */
void guard_before_self_election(struct guard *guard);
void guard_started(struct guard *guard);

/* Into the core. False: the message is not for the core now, and was taken (released or kept). */
void guard_before_tick(struct guard *guard);
bool guard_before_recv(struct guard *guard, struct raft_message *message);
void guard_after_recv(struct guard *guard);

/* An append with entries also tells of a commit, which the core would note only when those entries
 * are on the disk. What can be applied at once, as a message of its own; false: nothing. */
bool guard_commit_first(const struct guard *guard, const struct raft_append_entries *append,
                        struct raft_append_entries *ret);

/* Out of it: an answer to an append on its way to the leader, and what goes with it. */
void guard_fix_result(struct guard *guard, struct raft_append_entries_result *result,
                      struct frame_notes *notes);
/* And an answer to who asks for a vote. */
void guard_fix_vote(const struct guard *guard, struct raft_request_vote_result *result);

/* Our own entries up to INDEX are on our disk, and the core is about to hear of it. */
void guard_before_stored(struct guard *guard, uint64_t index);

/* What is left of the message is a heartbeat: its entries have to come again. */
void guard_drop_entries(struct raft_append_entries *append);

/* A received snapshot is about to replace the log. */
void guard_before_install(struct guard *guard);

/* After each of these, and after every completion: put the barrier, check what must hold. True: a
 * message that was held can go to the core now (guard_take_held). */
void guard_after(struct guard *guard);
bool guard_take_held(struct guard *guard, struct raft_message *ret);

/* Leader whose barrier is applied: may change the configuration, and answer for read indexes. */
bool guard_leads(const struct guard *guard);

/* What the leader has on its own disk. */
uint64_t guard_last_stored(const struct guard *guard);

#endif
