/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_KEYINDEX_H
#define STORAGE_KEYINDEX_H

#include "storage/generation.h"

/* The keys that exist or existed after the compacted revision, in order, each with its generations:
 * a counted B+tree. Inner nodes count the living keys below them, so that a count at the newest
 * revision is O(log n), and a walk there passes dead ones without looking at them; and they know
 * the least revision at which a compaction finds something to remove below them, so that a
 * compaction visits only that.
 *
 * Owner and thread: the store, on the loop. */
struct keyindex;

struct keyindex *keyindex_new(void); /* NULL: no memory */
void keyindex_free(struct keyindex *ki);

/* A range as etcd gives it: END empty: KEY alone; one NUL: all from KEY. */
struct key_range {
    struct bytes key;
    struct bytes end;
};
bool key_range_is_single(const struct key_range *range);
/* Does KEY, which is not below the range, stand before its end? */
bool key_range_before_end(const struct key_range *range, struct bytes key);

/* What a write replaced and what it made. */
struct keyindex_change {
    revision_t prev_rev; /* the key's last revision before, tombstones included; 0: none */
    struct version made;
};

/* A new newest revision of KEY. False: no memory, nothing changed. */
MUST_CHECK bool keyindex_put(struct keyindex *ki, struct bytes key, revision_t rev,
                             struct keyindex_change *ret);

/* The version of KEY that is visible at main revision AT (INT64_MAX: the newest). */
bool keyindex_get(const struct keyindex *ki, struct bytes key, int64_t at, struct version *ret);

/* KEYS, at most KEYINDEX_EXPECT_MAX, are about to be looked up or written: let memory bring what is
 * known of them to the processor at the same time, not one miss after the other. Where they stand
 * is remembered: keyindex_put finds those that are there at once when they come in this order. */
#define KEYINDEX_EXPECT_MAX 32u
void keyindex_expect(struct keyindex *ki, const struct bytes *keys, size_t count);

/* Keys alive at the newest revision: all of them, and those of a range. O(log n). */
uint64_t keyindex_live_count(const struct keyindex *ki);
uint64_t keyindex_count(const struct keyindex *ki, const struct key_range *range);
/* Keys of a range, dead ones too: what a walk has to look at. O(log n). */
uint64_t keyindex_walk_count(const struct keyindex *ki, const struct key_range *range);

/* A place in the index: on a key, or behind the last one. Any change but keyindex_delete makes it
 * invalid. */
#define KEYINDEX_DEPTH_MAX 12
struct keyindex_cursor {
    struct keyindex_leaf *leaf;
    unsigned at;
    unsigned depth;
    struct {
        struct keyindex_inner *node;
        unsigned at;
    } path[KEYINDEX_DEPTH_MAX];
};
/* The first key that is not below KEY. */
void keyindex_seek(const struct keyindex *ki, struct bytes key, struct keyindex_cursor *ret);
bool keyindex_valid(const struct keyindex_cursor *cursor);
void keyindex_next(struct keyindex_cursor *cursor);
struct bytes keyindex_key(const struct keyindex_cursor *cursor); /* until the key is removed */
bool keyindex_alive(const struct keyindex_cursor *cursor);
/* From a living key nowhere, from another place to the next living key, or behind the last one when
 * there is none. O(log n), however many dead ones lie between. */
void keyindex_to_living(struct keyindex_cursor *cursor);
bool keyindex_find(const struct keyindex_cursor *cursor, int64_t at, struct version *ret);

/* A tombstone for the living key under the cursor; its last revision comes back in PREV_REV. */
MUST_CHECK bool keyindex_delete(struct keyindex *ki, struct keyindex_cursor *cursor, revision_t rev,
                                revision_t *prev_rev);

/* Remove what a compaction at AT leaves invisible, looking at about BUDGET keys. True: nothing is
 * left to do. */
bool keyindex_compact(struct keyindex *ki, int64_t at, size_t budget);

/* Kept revisions of all keys. O(n): for tests. */
uint64_t keyindex_revision_count(const struct keyindex *ki);

/* Fatal when an invariant does not hold. */
void keyindex_check(const struct keyindex *ki);

#endif
