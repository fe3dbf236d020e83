/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDASK_H
#define TESTS_WORLD_WORLDASK_H

#include "tests/history/history.h"
#include "tests/world/worldmember.h"

/* One thing that a client has asked of a member and has not been told yet: what of it is noted in
 * the history, and who goes on when it has ended. It ends once: with the member's answer, or
 * without one when the member dies or stops, or when the client goes away and has it cancelled;
 * whatever the member says after that, or after it has begun to die, counts for nothing. */
#define ASK_ITEMS_MAX 8

struct ask {
    struct queue link; /* in world->clients->open */
    struct world *world;
    struct worldmember *member; /* NULL: it is not open */
    struct worldmember *asked;  /* last */
    uint64_t life;
    uint64_t
        number; /* counts what was asked of anybody: events name it, and may come after the end */
    bool has_begun;
    bool is_cancelled;
    int64_t *process; /* the client's: another one after an outcome that nobody knows */
    struct history_event event;
    struct history_item items[ASK_ITEMS_MAX];
    const struct history_item *found; /* the answer's, when they are others */
    bool is_unnoted;                  /* it is not in the history */
    /* On the member, some time after ask_begin. */
    void (*begin)(struct ask *ask);
    /* The client goes away after that, as `closed` of api/call.c has it; what was embedded in the
     * asker and is called back later must not be used again before. NULL: it never does. */
    void (*cancel)(struct ask *ask);
    /* After the answer is noted. */
    void (*ended)(struct ask *ask, enum history_type type);
};

/* EVENT and items say what is asked. */
void ask_begin(struct ask *ask, struct worldmember *member);

/* Is it still open, and may its answer count? Else the callback of the member does nothing. */
bool ask_is_open(const struct ask *ask);

/* The answer: EVENT and items may have been completed meanwhile. */
void ask_end(struct ask *ask, enum history_type type, int64_t revision);

/* What a write's status says: done, not done for sure, or unknown. */
enum history_type ask_outcome(enum err status);
/* OP, which ASK has proposed, ended with STATUS: its result when it was applied and not refused (by
 * an alarm, say); NULL: ASK is over, and is told so here if it was open. */
const struct result *ask_result(struct ask *ask, const struct op *op, enum err status);

/* The client goes away, some time from now. */
void ask_cancel(struct ask *ask, uint64_t delay_us);
/* Each of those that MEMBER owes an answer, with such a chance. */
void ask_cancel_some(struct worldmember *member, unsigned per_mille);

/* For members: everything that is open at MEMBER ends without an answer. */
void ask_end_all(struct worldmember *member);

/* A symbol of some bytes, and its bytes. */
uint32_t ask_symbol(struct world *world, struct bytes text);
struct bytes ask_bytes(struct world *world, uint32_t symbol);

#endif
