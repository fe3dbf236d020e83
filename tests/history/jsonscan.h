/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_JSONSCAN_H
#define TESTS_HISTORY_JSONSCAN_H

#include "base/bytes.h"

/* One line of JSON, read from front to back by whoever knows what should stand there. A scanner
 * that met a problem stays there: every function then returns false, so that a run of them is
 * checked once. */
struct jsonscan {
    const uint8_t *start;
    const uint8_t *at;
    const uint8_t *end;
    const char *problem; /* NULL: none yet; `at` is where */
    struct buf text;     /* of the last string */
    bool fresh;          /* just after an opening bracket */
};

void jsonscan_init(struct jsonscan *s);
void jsonscan_fini(struct jsonscan *s);
void jsonscan_line(struct jsonscan *s, struct bytes line);

/* Note what is wrong here. Always false. */
bool jsonscan_fail(struct jsonscan *s, const char *problem);

/* The first byte of the next value or bracket, 0 at the end. */
uint8_t jsonscan_peek(struct jsonscan *s);

/* "[" or "{"; then, before each element, jsonscan_next until it is false: at the closing bracket,
 * which it takes, or with a problem. */
bool jsonscan_open(struct jsonscan *s, char bracket);
bool jsonscan_next(struct jsonscan *s, char closing);
bool jsonscan_name(struct jsonscan *s, struct bytes *ret); /* of a member, and its colon */

bool jsonscan_string(struct jsonscan *s, struct bytes *ret); /* until the next string is read */
bool jsonscan_int(struct jsonscan *s, int64_t *ret);
bool jsonscan_bool(struct jsonscan *s, bool *ret);
bool jsonscan_null(struct jsonscan *s); /* false and no problem when something else stands there */
bool jsonscan_skip(struct jsonscan *s, struct bytes *ret); /* any value: its text */
bool jsonscan_end(struct jsonscan *s);                     /* nothing but spaces may follow */

#endif
