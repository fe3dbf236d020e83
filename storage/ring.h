/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RING_H
#define STORAGE_RING_H

#include "storage/record.h"

/* The newest records in memory, in the order of their revisions. What SQLite has not committed is
 * here and nowhere else; of what it has, the newest keep_bytes stay, for watchers and hot values.
 *
 *   gone │ first ........ committed ........ end
 *        │   kept to be read    │   not in SQLite: pending
 *
 * Every main revision has a record, so a record is found by its distance from the first one. On the
 * loop. */
struct ring {
    struct record ***chunks; /* a circle of pointers to chunks of records */
    size_t chunk_cap;        /* a power of two */
    uint64_t first;          /* places: counted from the first record that ever came */
    uint64_t committed;
    uint64_t end;
    size_t kept_bytes; /* [first, committed) */
    size_t pending_bytes;
    size_t keep_bytes;
    revision_t gone; /* the newest revision that is not here because it left, or never came */
};

/* Records up to GONE exist elsewhere. */
void ring_init(struct ring *ring, size_t keep_bytes, revision_t gone);
void ring_fini(struct ring *ring); /* drops every record */

/* Append the newest record; its count becomes the ring's. False: no memory, nothing changed. */
MUST_CHECK bool ring_push(struct ring *ring, struct record *record);

/* The record at REV, borrowed, or NULL. */
struct record *ring_get(const struct ring *ring, revision_t rev);

/* Everything up to REV is in SQLite. */
void ring_commit(struct ring *ring, revision_t rev);

/* Let go of at most COUNT records that are committed and over keep_bytes. True: more would go. */
bool ring_trim(struct ring *ring, size_t count);

/* Walking: the place of the first record that is not below REV (ring->end: none), and what is
 * there. */
uint64_t ring_seek(const struct ring *ring, revision_t rev);
struct record *ring_at(const struct ring *ring, uint64_t place);

void ring_check(const struct ring *ring);

#endif
