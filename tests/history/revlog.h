/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_REVLOG_H
#define TESTS_HISTORY_REVLOG_H

#include "tests/history/numtable.h"
#include "tests/history/operations.h"

/* What happened at each revision, as far as anybody was told: put together from acknowledged
 * writes, from watchers, and from the mod revisions of what was read. An attempt without an answer
 * whose value turns up at a revision has its outcome from there.
 *
 *   revision   5        6             7           9
 *   change     a=1      b=2, c=2      a gone      a=3           8: a hole. Only an attempt without
 *   by         op 0     op 4          op 5        nobody        an answer can have filled it, or
 *                                                               somebody who is not recorded
 *
 * What contradicts itself while it is put together is reported as HISTORY_CHECK_REVISION. */
#define NO_OP         UINT32_MAX
#define NO_CHANGE     UINT32_MAX
#define VALUE_UNKNOWN UINT32_MAX /* it has one, and nobody told */

struct change {
    int64_t revision;
    uint32_t key;            /* HISTORY_NONE: nobody named it */
    uint32_t value;          /* HISTORY_NONE: deleted */
    uint32_t op;             /* who wrote it; NO_OP: a lease that ended, or nobody knows */
    uint32_t seen_at;        /* the event that told it first */
    uint32_t prev;           /* the change before it of this key, or NO_CHANGE */
    uint32_t next;           /* and behind it */
    int64_t create_revision; /* 0: not told */
    int64_t version;         /* 0: not told */
    int64_t last_hole;       /* the largest revision below without a change */
};

/* What had been seen of the store when something happened. */
struct high {
    int64_t revision;
    uint32_t at; /* who told it; NEVER: nobody yet */
};

struct revlog {
    const struct history *h;
    const struct operations *ops;
    const struct history_options *options;
    struct history_report *report;
    struct change *changes; /* by revision, and of one in the order of the transaction */
    uint32_t count;
    size_t cap;
    uint32_t *first_of_key; /* for each symbol: its first change, or NO_CHANGE */
    uint32_t *last_of_key;
    int64_t *resolved;       /* for each operation of unknown outcome: when it took effect, or 0 */
    struct high *high;       /* for each operation: at its question */
    int64_t *uncertain_from; /* for each symbol: an attempt on this key, begun at this revision or
                                later ones, may have filled a hole above; INT64_MAX: none */
    uint8_t *kinds;          /* for each symbol: KEY_ bits */
    int64_t compacted;       /* the largest revision anybody asked to compact to */
};
#define KEY_LEASED  1u /* may be deleted by the end of a lease */
#define KEY_ACCOUNT 2u
#define KEY_LIST    4u /* append: its value is not told */
#define KEY_OF_SET  8u
#define KEY_LOCK    16u /* a lock's name */

MUST_CHECK enum err revlog_build(const struct operations *ops,
                                 const struct history_options *options,
                                 struct history_report *report, struct revlog *ret);
void revlog_fini(struct revlog *log);

/* The first change at REVISION or above. */
uint32_t revlog_find(const struct revlog *log, int64_t revision);
/* The largest revision at or below REVISION without a change, 0: there is none. */
int64_t revlog_hole_before(const struct revlog *log, int64_t revision);
/* An attempt whose outcome nobody knows may have changed KEY at or before REVISION. */
bool revlog_is_uncertain(const struct revlog *log, uint32_t key, int64_t revision);

/* Whose ownership key it is, by its name: that of a lock, "/", anything. HISTORY_NONE: no lock's.
 */
uint32_t revlog_lock_of(const struct revlog *log, uint32_t key);

/* Fills `high`, and reports answers that are older than what was seen before. */
MUST_CHECK enum err revlog_highs(struct revlog *log);

/* For revlog.c: what somebody was told. */
struct fact {
    int64_t revision;
    uint32_t key;
    uint32_t value;
    uint32_t op; /* who wrote it, by its own answer; NO_OP: somebody saw it */
    uint32_t position;
    int64_t create_revision;
    int64_t version;
};

/* How a name of the key of an element begins: SET/ELEMENT. HISTORY_NONE: nobody mentions it. */
uint32_t revlog_element_key(const struct history *h, uint32_t set, uint32_t element);

/* What an operation writes, in order; CB for each with the key and value as above. */
typedef void (*written_cb)(void *ctx, uint32_t op, uint32_t key, uint32_t value);
void revlog_written(const struct operations *ops, uint32_t op, written_cb cb, void *ctx);
/* The revision at which an acknowledged operation changed something; 0: it did not. */
int64_t revlog_acked_revision(const struct operation *op);

#endif
