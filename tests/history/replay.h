/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_REPLAY_H
#define TESTS_HISTORY_REPLAY_H

#include "tests/history/revlog.h"

/* The store again, change by change, and what was read compared with it where it was read. For
 * check_revision.c and its parts. */
struct cell {
    uint32_t value; /* HISTORY_NONE: there is no such key; or VALUE_UNKNOWN */
    bool has_balance;
    int64_t mod_revision;
    int64_t create_revision;
    int64_t version;
    int64_t balance; /* of an account */
};

/* A list that is appended to, or the elements of a set. */
struct elements {
    uint32_t *at;
    uint32_t count;
    uint32_t cap;
};

struct replay {
    const struct revlog *log;
    struct cell *cells;      /* for each symbol */
    struct numtable writers; /* list or set, element -> the operation that wrote it */
    struct numtable known;   /* set, element -> 1: in `elements` */
    struct numtable lists;   /* list or set -> its place in `elements` */
    struct elements *elements;
    size_t element_cap;
    uint32_t *stamps; /* for each symbol: the last read of a set that it was in */
    uint32_t stamp;
    uint8_t *used;        /* for each operation: a transfer that is resolved here */
    struct buf transfers; /* uint32_t each: those of unknown outcome */
    uint64_t reads;       /* items compared */
    uint64_t comparisons;
    uint64_t uncertain; /* not compared: an attempt without an answer may have come between */
    bool no_memory;
};

/* What a finding is about: an item of OP, compared at REVISION. */
struct look {
    uint32_t op;
    int64_t revision;
};

void replay_finding(struct replay *r, const struct look *look, const char *rule, uint32_t key,
                    uint32_t value, uint64_t other, const char *text);

/* Lists and sets: replay_lists.c. */
bool replay_lists_init(struct replay *r);
void replay_lists_fini(struct replay *r);
void replay_set_read(struct replay *r, const struct look *look, const struct history_item *item);
/* What OP appends or adds, when its revision has come. */
void replay_lists_write(struct replay *r, uint32_t op);
/* An append's reads see its own earlier ones. */
void replay_append_txn(struct replay *r, const struct look *look);

/* Accounts: replay_bank.c. */
void replay_bank_read(struct replay *r, const struct look *look);
/* The changes from FIRST on, which are of one revision, done by OP or, NO_OP, by whoever fits. */
void replay_bank_write(struct replay *r, uint32_t op, uint32_t first, uint32_t count);

/* Final states: check_final.c. */
void replay_state(struct replay *r, const struct look *look);

#endif
