/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_RESULT_H
#define FSM_RESULT_H

#include "fsm/command.h"

/* What applying a command gave: the same on every member, built only where somebody waits. Owned by
 * the fsm, valid during the callback; records may be ref'd to live longer. */
struct txn_result;

struct op_result {
    enum op_kind kind;
    int64_t revision; /* inner header: as seen at this point of the txn */
    union {
        struct range_result range;
        struct record *prev; /* OP_PUT: may be NULL */
        struct {
            int64_t deleted;
            struct record_list prevs;
        } delete_range;
        struct txn_result *txn;
    };
};

struct txn_result {
    bool succeeded;
    struct op_result *responses;
    size_t response_count;
};

struct result {
    enum err status;  /* OK, or why the command changed nothing (ERR_COMPACTED, ERR_KEY_NOT_FOUND,
                         ERR_LEASE_NOT_FOUND, ...) */
    int64_t revision; /* of the store after it: the answer's header */
    uint64_t index;   /* the entry that carried it */
    enum command_kind kind;
    union {
        struct record *prev; /* COMMAND_PUT */
        struct {
            int64_t deleted;
            struct record_list prevs;
        } delete_range;
        struct txn_result txn;
        bool alarm_found; /* COMMAND_ALARM: see alarm_change */
    };
};

/* A range of a txn that only reads: what is asked, and the place of the answer. */
struct txn_read {
    const struct range_query *query; /* the command's */
    struct range_result *ret;        /* empty; in the txn's result */
};

/* A txn that only reads, decided: what its result still lacks are the ranges. */
struct txn_plan {
    int64_t revision; /* of the store: the answer's header */
    struct txn_result result;
    struct txn_read *reads; /* of the path, in order */
    size_t read_count;
};

/* Is it this member that failed, and not the command? Others answer otherwise then, and to go on
 * applying would make its copy differ. */
bool result_is_own_failure(enum err err);

/* Drop the counts a result holds. */
void result_fini(struct result *result);
void txn_result_fini(struct txn_result *result);
void txn_plan_fini(struct txn_plan *plan);

#endif
