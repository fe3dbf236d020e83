/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_FSM_H
#define FSM_FSM_H

#include "fsm/alarm.h"
#include "fsm/cluster.h"
#include "fsm/lease.h"
#include "fsm/result.h"

/* The replicated state machine: committed entries in, changes of the store and results out. No
 * clock, no files, no randomness: the same entries give the same state and the same results on
 * every member. On the loop. */
struct fsm;

struct fsm_config {
    struct store *store; /* not owned */
    struct logger *log;
    uint64_t member_id; /* results are built for commands of this origin only ... */
    /* ... that somebody waits for still: not when a start applies the log again, nor when the
     * client has given up. NULL: for all of them. */
    bool (*is_wanted)(void *ctx, uint64_t op);
    /* The members that a new cluster begins with: what is shown until COMMAND_MEMBER_INIT says it
     * to all of them, also to those that join later. None: this member joins. */
    const struct cluster_member *bootstrap;
    size_t bootstrap_count;
    struct hash_seed hash_seed; /* of tables in memory; nothing that can be seen depends on it */
    /* The result of a command that came from this member and is wanted; once per command, inside
     * fsm_apply. */
    void (*on_result)(void *ctx, uint64_t op, const struct result *result);
    /* COMMAND, whosever it is, was applied: what its client is told, OK or ERR_QUOTA. The state is
     * what it is. May be NULL. */
    enum err (*on_applied)(void *ctx, const struct command *command, const struct result *result);
    void *ctx;
};

/* Reads what it keeps in memory (members, cluster version, alarms, leases) from the store. */
MUST_CHECK enum err fsm_new(const struct fsm_config *config, struct fsm **ret, struct why *why);
void fsm_free(struct fsm *fsm);

/* The store has become another (store_replace_start): read anew what is kept in memory. LEASES: as
 * leases_replace, NULL: they are read now. What fsm_cluster and fsm_alarms gave before is gone;
 * fsm_leases stays. After an error the fsm can only be freed. */
MUST_CHECK enum err fsm_reload(struct fsm *fsm, struct leases *leases, struct why *why);

/* Apply the entry at INDEX. An index that the store already holds is skipped: entries come again
 * after a restart. */
void fsm_apply(struct fsm *fsm, uint64_t index, uint64_t term, struct bytes entry);

/* A txn without writes, decided upon the present state without the log; ERR_* as apply would
 * answer. To read its ranges, in the same turn or begun in it, is the caller's: they may be long.
 * TXN lives as long as the plan. */
MUST_CHECK enum err fsm_plan_txn(struct fsm *fsm, const struct command_txn *txn,
                                 struct txn_plan *ret);

/* Only ranges on both branches, no nested txn: it need not go through the log. */
bool txn_is_read_only(const struct command_txn *txn);

const struct cluster *fsm_cluster(const struct fsm *fsm);
const struct alarm_set *fsm_alarms(const struct fsm *fsm);
struct leases *fsm_leases(struct fsm *fsm);

#endif
