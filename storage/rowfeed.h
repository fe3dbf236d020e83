/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_ROWFEED_H
#define STORAGE_ROWFEED_H

#include "storage/conn.h"
#include "storage/record.h"

/* Rows for the log table, many in one statement. A statement for each row would look its place up
 * from the root, and open and close its cursor: more than half of what writing a row costs SQLite.
 * In one statement the cursor stays at the table's right edge. So the rows are a table themselves,
 * a virtual one, from which that statement selects. */
struct feed_row {
    revision_t rev;
    bool tombstone; /* it has no value */
    struct bytes header;
    struct bytes value;
};

/* The next row; its bytes stay where they are until the next call. *MORE false: there is none. An
 * error ends the statement, and is what rowfeed_insert returns. */
typedef enum err (*rowfeed_next_cb)(void *ctx, struct feed_row *row, bool *more, struct why *why);

/* Insert rows until there is none, in the transaction that is open; after an error the caller rolls
 * it back. Thread: whoever uses CONN, whose NEXT runs in it. */
MUST_CHECK enum err rowfeed_insert(struct conn *conn, rowfeed_next_cb next, void *ctx,
                                   struct why *why);

#endif
