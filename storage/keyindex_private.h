/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_KEYINDEX_PRIVATE_H
#define STORAGE_KEYINDEX_PRIVATE_H

#include <assert.h>

#include "base/cleanup.h"
#include "storage/keyindex.h"

/* The nodes of the key index, for keyindex.c (reading and writing), keytree.c (shape) and keyload.c
 * (building it at start).
 *
 *   inner   sep[1]    sep[2]            keys below sep[i] are left of child i, the others right
 *         /    |        |   \
 *   leaf [entries]   [entries] ...      an entry: generations and the key's bytes, one allocation
 *
 * Hints. hints[] holds 8 bytes of each key, big endian, zeros where the key ends: those behind the
 * first `skip` bytes, which the node's keys have in common. A search compares hints, side by side
 * in memory, and looks at a key itself only when hints are equal. How much is common:
 *
 *   inside the tree  a node's keys lie between two separators of its ancestors, its fences: what
 * the fences share, every key that comes here shares, too at its edges     a fence is missing: what
 * the node's own keys share; a key that comes here is compared with that first
 *
 * Invariants (keyindex_check):
 *   1. entries of a leaf and separators ascend; every key is within its node's fences
 *   2. every node but the root has at least one entry, two children
 *   3. all leaves are at the same depth
 *   4. a tally is the sum over the child's own; live bits say what the entries say
 *   5. hints are those of the keys behind skip; skip is what the fences share, or, at an edge, not
 * more than the node's keys do
 *   6. garbage_at is the least of the entries below */
#define KEYINDEX_FANOUT   64u
#define KEYINDEX_FILL_MIN 16u /* fewer: a compaction merges the node with its neighbour */

struct keyindex_entry {
    struct generations generations;
    uint32_t key_len;
    uint8_t key[];
};

struct keyindex_separator {
    uint32_t len;
    uint8_t bytes[];
};

/* What is below a node. */
struct keyindex_tally {
    uint64_t live;
    uint64_t all;
    int64_t garbage_at;
};

struct keyindex_node {
    uint32_t count;
    uint32_t skip : 31;
    uint32_t is_edge : 1;
    uint64_t hints[KEYINDEX_FANOUT]; /* hints[0] of an inner node is unused */
};

struct keyindex_leaf {
    struct keyindex_node node;
    uint64_t live; /* bit i: entry i is alive */
    int64_t garbage_at;
    struct keyindex_entry *entries[KEYINDEX_FANOUT];
};

struct keyindex_inner {
    struct keyindex_node node;
    struct keyindex_separator *seps[KEYINDEX_FANOUT]; /* seps[0] is NULL */
    struct keyindex_node *children[KEYINDEX_FANOUT];
    struct keyindex_tally tallies[KEYINDEX_FANOUT];
};

/* Where a key that is expected was found, most likely: to be compared with it before use. */
struct keyindex_places {
    struct keyindex_cursor cursors[KEYINDEX_EXPECT_MAX];
    size_t next; /* the place of the put that comes next */
    size_t count;
};

struct keyindex {
    struct keyindex_node *root;
    unsigned depth;                  /* inner levels above the leaves */
    struct keyindex_places expected; /* forgotten when a node is laid out anew or goes */
};

static inline void keyindex_forget_places(struct keyindex *ki)
{
    ki->expected.count = 0;
    ki->expected.next = 0;
}

/* Both empty where the tree ends. */
struct keyindex_fences {
    struct bytes low;
    struct bytes high;
};

static inline struct keyindex_leaf *leaf_of(struct keyindex_node *node)
{
    return CONTAINER_OF(node, struct keyindex_leaf, node);
}

static inline struct keyindex_inner *inner_of(struct keyindex_node *node)
{
    return CONTAINER_OF(node, struct keyindex_inner, node);
}

static inline struct bytes entry_key(const struct keyindex_entry *entry)
{
    return bytes_of(entry->key, entry->key_len);
}

static inline struct bytes separator_key(const struct keyindex_separator *sep)
{
    return sep == NULL ? (struct bytes){0} : bytes_of(sep->bytes, sep->len);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hints are swapped to big endian");

static inline uint64_t keyindex_hint(struct bytes key, uint32_t skip)
{
    uint64_t hint = 0;
    size_t left = key.len > skip ? key.len - skip : 0;
    if (left >= sizeof hint) {
        memcpy(&hint, key.data + skip, sizeof hint);
        return __builtin_bswap64(hint);
    }
    if (left == 0) {
        return 0;
    }
    if (key.len >= sizeof hint) { /* one load: what stands before SKIP is shifted out */
        memcpy(&hint, key.data + key.len - sizeof hint, sizeof hint);
        return __builtin_bswap64(hint) << 8 * (sizeof hint - left);
    }
    memcpy(&hint, key.data + skip, left);
    return __builtin_bswap64(hint);
}

/* NULL: no memory. */
struct keyindex_entry *keyindex_entry_new(struct bytes key);
void keyindex_entry_free(struct keyindex_entry *entry);

struct keyindex_fences keyindex_fences_at(const struct keyindex_cursor *cursor, unsigned level);

/* Make LEAF hold just these entries, between these fences. */
void keyindex_fill_leaf(struct keyindex_leaf *leaf, struct keyindex_entry *const *entries,
                        uint32_t count, const struct keyindex_fences *fences);
struct keyindex_tally keyindex_leaf_tally(const struct keyindex_leaf *leaf);
struct keyindex_tally keyindex_inner_tally(const struct keyindex_inner *inner);

/* Children with the separators left of them; the first has none. */
struct keyindex_child {
    struct keyindex_separator *sep;
    struct keyindex_node *node;
    struct keyindex_tally tally;
};
void keyindex_fill_inner(struct keyindex_inner *inner, const struct keyindex_child *children,
                         uint32_t count, const struct keyindex_fences *fences);

/* Where KEY stands relative to all keys of an edge: <0, >0 by what they share, 0: their hints tell.
 * FIRST: one of them. */
int keyindex_edge_order(const struct keyindex_node *node, struct bytes first, struct bytes key);
/* An entry comes into a leaf that has others: an edge may share less from now on. */
void keyindex_widen_leaf(struct keyindex_leaf *leaf, struct bytes key);

/* The shortest separator of two neighbours, LEFT < RIGHT. NULL: no memory. */
struct keyindex_separator *keyindex_separator_new(struct bytes left, struct bytes right);

/* The tallies on the cursor's path brought up to date with its leaf. */
void keyindex_refresh(const struct keyindex_cursor *cursor);

/* Split the full node at LEVEL of the cursor's path (depth: the leaf), whose parent has room.
 * APPEND: the next key goes behind all others, so that the left part stays full. False: no memory,
 * nothing changed. The cursor is invalid afterwards. */
MUST_CHECK bool keyindex_split(struct keyindex *ki, const struct keyindex_cursor *cursor,
                               unsigned level, bool append);

/* Merge or level out what has become too small on the cursor's path. The cursor is invalid
 * afterwards. No memory: the tree stays as it is, valid. */
void keyindex_rebalance(struct keyindex *ki, const struct keyindex_cursor *cursor);

#endif
