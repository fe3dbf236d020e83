/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SCHEMA_H
#define STORAGE_SCHEMA_H

#include "storage/backend.h"
#include "storage/conn.h"

/* What the database file is made of, and the one row that says where it stands. docs/formats.md
 * describes both for people. */

#define SCHEMA_APPLICATION_ID 0x54525654 /* "TRVT" */
#define SCHEMA_VERSION        1

/* The small tables: X(enum store_table, name). */
#define SCHEMA_TABLES(X)      \
    X(TABLE_MEMBER, "member") \
    X(TABLE_ALARM, "alarm")   \
    X(TABLE_LEASE, "lease")   \
    X(TABLE_AUTH, "auth")     \
    X(TABLE_CLUSTER, "cluster")

/* Rows that are there: how many, their bytes, the set-hash of their checksums. Kept with each
 * change, counted anew at each start: what is missing or was there twice shows. */
struct tally {
    uint64_t count;
    uint64_t bytes;
    struct set_hash hash;
};
void tally_add(struct tally *tally, uint64_t bytes, struct set_hash element);
void tally_remove(struct tally *tally, uint64_t bytes, struct set_hash element);
void tally_merge(struct tally *tally, const struct tally *other);
bool tally_equal(const struct tally *a, const struct tally *b);

/* The row of table meta; written in each transaction. */
struct meta {
    struct store_identity identity;
    struct backend_state state;
    int64_t removed_revision; /* compactions up to here are done with in the log table; -1: none */
    int64_t walk_revision;    /* the compaction whose removal is under way; -1: none */
    struct tally rows;
    struct tally tables; /* of the small tables together */
    bool clean;          /* backend_close wrote it, after everything else */
};

/* Is there anything in the file? Also the first look at it: ERR_LOCKED, ERR_CORRUPT, ... */
MUST_CHECK enum err schema_is_new(struct conn *conn, bool *is_new, struct why *why);

/* Make tables, view and the first meta row in the empty database, in a transaction. */
MUST_CHECK enum err schema_create(struct conn *conn, const struct store_identity *identity,
                                  struct meta *ret, struct why *why);

/* Are these our tables, in a version that we know, of IDENTITY (NULL: of anybody)? ERR_FOREIGN,
 * ERR_VERSION, ERR_CORRUPT. */
MUST_CHECK enum err schema_verify(struct conn *conn, const struct store_identity *identity,
                                  struct meta *ret, struct why *why);

MUST_CHECK enum err schema_read_meta(struct conn *conn, struct meta *ret, struct why *why);
struct store_manifest schema_manifest(const struct store_identity *identity,
                                      const struct backend_state *state);
MUST_CHECK enum err schema_write_meta(struct conn *conn, const struct meta *meta, struct why *why);

#endif
