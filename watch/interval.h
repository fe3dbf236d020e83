/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_INTERVAL_H
#define WATCH_INTERVAL_H

#include "base/bytes.h"

/* Ranges of keys, and which of them hold a key. The links lie inside the elements; every range is
 * there once. A treap: a binary tree by (start, end) that is a heap by random priorities, and so
 * as deep as a random tree whatever ranges clients choose. Each node knows which range below it
 * reaches furthest, so that a search leaves out what ends before the key: O(log n + found). */
struct interval {
    struct bytes start; /* included; both belong to the element's owner */
    struct bytes end;   /* excluded; one NUL: there is no end, as in etcd */
    struct interval *left;
    struct interval *right;
    struct interval *furthest; /* of this subtree */
    uint64_t priority;
};

struct interval_tree {
    struct interval *root;
    uint64_t random; /* state of the priorities */
    size_t count;
};

void interval_init(struct interval_tree *tree, uint64_t seed);

/* The element of exactly this range, or NULL. */
struct interval *interval_find(const struct interval_tree *tree, struct bytes start,
                               struct bytes end);
/* start and end are set; the range is not there yet. */
void interval_insert(struct interval_tree *tree, struct interval *interval);
void interval_remove(struct interval_tree *tree, struct interval *interval);

/* Call FN for every range that holds KEY, in order. FN changes nothing of the tree. */
void interval_stab(const struct interval_tree *tree, struct bytes key,
                   void (*fn)(struct interval *interval, void *ctx), void *ctx);

/* Assert the invariants. */
void interval_check(const struct interval_tree *tree);

#endif
