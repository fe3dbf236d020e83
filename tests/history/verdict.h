/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_VERDICT_H
#define TESTS_HISTORY_VERDICT_H

#include "tests/history/history.h"

/* What the checkers write: findings and counts. A report that had no memory remembers it. */
MUST_CHECK enum err report_new(const struct history *h, const struct history_options *options,
                               struct history_report **ret);
bool report_ok(const struct history_report *report);
void report_no_memory(struct history_report *report);

/* A position that stands for no event. */
#define NO_POSITION UINT32_MAX

/* Something that a correct store cannot have said. POSITIONS: of the events concerned, at most
 * four, NO_POSITION for none; they are written behind the text. RULE is a literal. */
void report_add(struct history_report *report, enum history_checker checker, const char *rule,
                const uint64_t positions[4], const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The bound came first. */
void report_unknown(struct history_report *report, enum history_checker checker, const char *why);

/* Add N to what was counted under NAME, a literal. */
void report_count(struct history_report *report, enum history_checker checker, const char *name,
                  uint64_t n);
uint64_t report_counted(const struct history_report *report, enum history_checker checker,
                        const char *name);
void report_void(struct history_report *report, const char *what, uint64_t got, uint64_t least);

/* "r1", 7 or nothing, for texts: RET has room for a shortened name. */
#define SYMBOL_TEXT_BYTES 48
const char *symbol_print(const struct history *h, uint32_t symbol, char ret[SYMBOL_TEXT_BYTES]);

#endif
