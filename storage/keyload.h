/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_KEYLOAD_H
#define STORAGE_KEYLOAD_H

#include "storage/keyindex.h"

/* Builds the key index at start from the headers of all rows, which come in the order of their
 * revisions: rows find their key through prev_rev, so that no key is searched; at the end the keys
 * are sorted and the tree is laid out from below. Blocks: before the loop runs.
 *
 * It is also a check of what was read: a row that names a predecessor which is neither there nor
 * compacted, a version that does not follow, a key that begins twice: ERR_CORRUPT. */
struct keyload;

struct keyload *keyload_new(void); /* NULL: no memory */
MUST_CHECK enum err keyload_add(struct keyload *load, revision_t rev,
                                const struct record_header *header, struct why *why);
/* COMPACTED: the compacted revision, -1 for never. The index is not compacted by this. */
MUST_CHECK enum err keyload_finish(struct keyload *load, int64_t compacted, struct keyindex **ret,
                                   struct why *why);

/* A key whose newest revision is alive and has a lease. */
struct keyload_lease {
    struct keyindex_entry *entry; /* the index's */
    revision_t rev;
    int64_t lease;
};
/* After keyload_finish: all of them, in order of their revisions; the caller frees the array. */
size_t keyload_take_leases(struct keyload *load, struct keyload_lease **ret);
struct bytes keyload_lease_key(const struct keyload_lease *lease);

void keyload_free(struct keyload *load); /* NULL allowed; an index that was built stays */

#endif
