/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_ROWS_H
#define STORAGE_ROWS_H

#include "storage/backend.h"
#include "storage/conn.h"

/* Rows of the log table as they are read: in revision order, each checked before anybody sees it.
 * Thread: whoever has the connection. */
struct rows {
    struct conn *conn;
    sqlite3_stmt *stmt;
    bool with_values;
    struct bytes header; /* the header column of the row given last */
    revision_t last;     /* the newest row given */
};

/* FROM <= rev <= TO. Until rows_end the connection has a read transaction. */
MUST_CHECK enum err rows_begin(struct rows *rows, struct conn *conn, revision_t from, revision_t to,
                               bool with_values, struct why *why);
/* The next one, valid until the next call; *more is false behind the last. ERR_CORRUPT names the
 * revision. */
MUST_CHECK enum err rows_next(struct rows *rows, bool *more, struct backend_row *ret,
                              struct why *why);
void rows_end(struct rows *rows);

/* One record. */
MUST_CHECK enum err rows_get(struct conn *conn, revision_t rev, struct record **ret,
                             struct why *why);
/* A record from a row with its value; NULL: no memory. */
struct record *rows_record(const struct backend_row *row);

#endif
