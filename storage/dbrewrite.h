/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_DBREWRITE_H
#define STORAGE_DBREWRITE_H

#include "storage/store.h"

/* A database that changes hands: the copy of one member's becomes that of a member of another
 * cluster. Keys, values, their revisions and leases stay. */
struct dbrewrite_row {
    enum store_table table;
    struct bytes key;
    struct bytes value;
};

struct dbrewrite {
    struct store_identity identity;
    uint64_t applied_index;
    uint64_t applied_term;
    int64_t revision;              /* not below the present one */
    int64_t compacted_revision;    /* likewise, and not above revision; removal goes on at the next
                                      start */
    bool empty_table[TABLE_COUNT]; /* these lose all their rows, before ... */
    const struct dbrewrite_row *rows; /* ... these are put */
    size_t row_count;
};

/* Change the database at PATH, which nobody uses, in one transaction. What is in its WAL is part of
 * it. IN_PLACE: durable when it returns, a crash leaves it as it was or as it shall be; else it is
 * a copy, which the caller syncs or throws away. Blocks. ERR_INVALID: revisions that go back. */
MUST_CHECK enum err dbrewrite(const char *path, const struct dbrewrite *change, bool in_place,
                              struct why *why);

/* Whose the database of a member that does not run is, and where it stands, its WAL included.
 * ERR_LOCKED: the member runs. Blocks. */
struct dbrewrite_state {
    struct store_identity identity;
    uint64_t applied_index;
    uint64_t applied_term;
    int64_t revision;
    int64_t compacted_revision;
};
MUST_CHECK enum err dbrewrite_read(const char *path, struct dbrewrite_state *ret, struct why *why);

#endif
