/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_ATTEMPTS_H
#define TESTS_HISTORY_ATTEMPTS_H

#include "tests/history/revlog.h"

/* Writes that were not acknowledged, by what they write: whoever sees a value that nobody was
 * acknowledged looks here for who may have written it. */
struct attempts {
    struct numtable first; /* key and value -> the first of `list` */
    struct buf list;       /* struct attempt each */
    bool no_memory;
};

void attempts_add(void *ctx, uint32_t op, uint32_t key, uint32_t value); /* ctx: the attempts */
void attempts_fini(struct attempts *a);

/* Of the attempts that wrote all that was seen at a revision, and may have had it: the first asked
 * for which what it compared was so, else the first; NO_OP: none. */
uint32_t attempts_resolve(struct attempts *a, const struct revlog *log, const struct fact *facts,
                          const struct at_revision *order, size_t count);
/* One that failed. */
uint32_t attempts_failed(const struct attempts *a, const struct revlog *log, const struct fact *f);

#endif
