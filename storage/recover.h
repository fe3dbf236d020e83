/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RECOVER_H
#define STORAGE_RECOVER_H

#include "storage/schema.h"

/* What a start reads and trusts nothing of: every row's header is checked, and that together they
 * are the rows that were written (META's tally); with CHECK_VALUES every value as well, else a
 * sample. The small tables too. Rows go to SINK in revision order, on the loop. Blocks. */
MUST_CHECK enum err recover_rows(const struct backend_config *config, struct conn *conn,
                                 const struct meta *meta, bool check_values, backend_rows_cb sink,
                                 void *sink_ctx, struct why *why);

#endif
