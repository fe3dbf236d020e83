/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_CHECKS_H
#define TESTS_HISTORY_CHECKS_H

#include "tests/history/revlog.h"

/* The checkers; each reports under its own name. ERR_NOMEM only. */
MUST_CHECK enum err check_revision(const struct revlog *log);
MUST_CHECK enum err check_watch(const struct revlog *log);
MUST_CHECK enum err check_final(const struct revlog *log);
MUST_CHECK enum err check_lock(const struct revlog *log);
MUST_CHECK enum err check_lease(const struct revlog *log);

/* These use no revisions. */
MUST_CHECK enum err check_linear(const struct operations *ops,
                                 const struct history_options *options,
                                 struct history_report *report);
MUST_CHECK enum err check_set(const struct operations *ops, struct history_report *report);
MUST_CHECK enum err check_bank(const struct operations *ops, struct history_report *report);

/* Dependencies by values, real time, and by revisions where values say nothing (wr). */
MUST_CHECK enum err check_cycle(const struct operations *ops, struct history_report *report);

#endif
