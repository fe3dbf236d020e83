/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_TABLES_H
#define STORAGE_TABLES_H

#include "storage/schema.h"

/* The small tables: rows of key and value, each with a checksum, all of them together in a tally.
 * Thread: whoever has the connection. */

/* Do CHANGE inside the open transaction; TALLY follows. */
MUST_CHECK enum err tables_change(struct conn *conn, const struct backend_change *change,
                                  struct tally *tally, struct why *why);

/* Empty every table. */
MUST_CHECK enum err tables_clear(struct conn *conn, struct why *why);

/* Every row of TABLE in key order, checked, to FN (NULL: only checked), and into TALLY (may be
 * NULL). ERR_CORRUPT, or what FN says. */
MUST_CHECK enum err tables_foreach(struct conn *conn, enum store_table table,
                                   enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                                   void *ctx, struct tally *tally, struct why *why);

/* Are the rows of all tables those of TALLY? */
MUST_CHECK enum err tables_verify(struct conn *conn, const struct tally *tally, struct why *why);

#endif
