/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RECOVER_H
#define STORAGE_RECOVER_H

#include "storage/compaction.h"

/* Where the rows go, in revision order, on the loop. */
struct recover_sink {
    backend_rows_cb rows;
    void *ctx;
    struct garbage *garbage; /* as of compaction_load */
};

/* What a start reads and trusts nothing of: every row's header is checked, and that together they
 * are the rows that were written (META's tally); with CHECK_VALUES every value as well, else a
 * sample. The small tables too. Blocks. */
MUST_CHECK enum err recover_rows(const struct backend_config *config, struct conn *conn,
                                 const struct meta *meta, bool check_values,
                                 const struct recover_sink *sink, struct why *why);

#endif
