/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_OPERATIONS_H
#define TESTS_HISTORY_OPERATIONS_H

#include "tests/history/verdict.h"

/* Questions with their answers. */
#define NEVER NO_POSITION

struct operation {
    const struct history_event *asked;
    const struct history_event *answer; /* NULL: there was none */
    uint32_t asked_at;                  /* positions in the history */
    uint32_t answer_at;                 /* NEVER: there was none */
    enum history_type outcome;          /* OK, FAIL, or INFO: not known */
};

struct operations {
    const struct history *h;
    struct operation *ops; /* in the order of their questions */
    uint32_t count;
    uint32_t *of_event; /* for each position; NEVER: a thing told, or not understood */
};

/* Pairs them, and reports what is not a history: HISTORY_CHECK_SHAPE. */
MUST_CHECK enum err operations_build(const struct history *h, struct history_report *report,
                                     struct operations *ret);
void operations_fini(struct operations *ops);

/* The event whose items tell most of what was done: the answer, unless it has none to tell. */
const struct history_event *operation_told(const struct operation *op);
/* When it had ended for whoever waited for it: NEVER if its outcome is unknown. */
static inline uint32_t operation_end(const struct operation *op)
{
    return op->outcome == HISTORY_INFO ? NEVER : op->answer_at;
}
static inline bool operation_is_serializable(const struct operation *op)
{
    return (op->asked->flags & HISTORY_SERIALIZABLE) != 0;
}
/* The revision that a read looks at. */
static inline int64_t operation_read_revision(const struct operation *op)
{
    return op->asked->at_revision > 0 ? op->asked->at_revision : op->answer->revision;
}

#endif
