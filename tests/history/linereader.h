/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_LINEREADER_H
#define TESTS_HISTORY_LINEREADER_H

#include "base/arena.h"
#include "tests/history/history.h"
#include "tests/history/jsonscan.h"

/* Where a file is read: what is known of one line. */
struct linereader {
    struct history *h;
    struct jsonscan scan;
    struct arena arena; /* lists of this line */
    struct buf items;   /* struct history_item each */
    struct buf list;    /* uint32_t each, of the list that is being read */
    struct buf f;       /* its name */
    struct bytes value; /* its text; data NULL: not there */
    struct history_event event;
    bool has_workload;
    bool has_type;
    bool has_process;
    int64_t mod_revision;
};

/* Note what is wrong here. Always false. */
bool linereader_fail(struct linereader *r, const char *problem);
bool linereader_symbol(struct linereader *r,
                       uint32_t *ret); /* a key, value or element; null: NONE */
bool linereader_positive(struct linereader *r, int64_t *ret); /* or 0 */
bool linereader_flag(struct linereader *r, uint32_t flag);    /* true sets it in the event */

/* The value, when workload, f and type are known: its items, and what else of the event it holds.
 */
bool linereader_value(struct linereader *r);

#endif
