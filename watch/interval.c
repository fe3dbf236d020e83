/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/interval.h"

#include "base/assert.h"
#include "base/hash.h"

/* Invariants, of every node:
 * 1. (start, end) of everything on its left is less, of everything on its right greater.
 * 2. No child's priority is greater than its own.
 * 3. furthest is the element below or here whose end is not less than any other's there.
 *
 * Recursion goes as deep as the tree: about 2.5 log2 n, 50 levels for a million ranges. */

static bool has_no_end(const struct interval *interval)
{
    return interval->end.len == 1 && interval->end.data[0] == 0;
}

static bool ends_behind(const struct interval *interval, struct bytes key)
{
    return has_no_end(interval) || bytes_compare(key, interval->end) < 0;
}

static bool reaches_further(const struct interval *a, const struct interval *b)
{
    return !has_no_end(b) && (has_no_end(a) || bytes_compare(a->end, b->end) > 0);
}

static int compare(struct bytes start, struct bytes end, const struct interval *b)
{
    int order = bytes_compare(start, b->start);
    return order != 0 ? order : bytes_compare(end, b->end);
}

static void take_furthest(struct interval *node, const struct interval *child)
{
    if (child != NULL && reaches_further(child->furthest, node->furthest)) {
        node->furthest = child->furthest;
    }
}

static void update(struct interval *node)
{
    node->furthest = node;
    take_furthest(node, node->left);
    take_furthest(node, node->right);
}

void interval_init(struct interval_tree *tree, uint64_t seed)
{
    *tree = (struct interval_tree){.random = seed};
}

struct interval *interval_find(const struct interval_tree *tree, struct bytes start,
                               struct bytes end)
{
    struct interval *node = tree->root;
    while (node != NULL) {
        int order = compare(start, end, node);
        if (order == 0) {
            break;
        }
        node = order < 0 ? node->left : node->right;
    }
    return node;
}

/* What is less than INTERVAL goes to *LESS, the rest to *GREATER. */
static void split(struct interval *node, const struct interval *interval, struct interval **less,
                  struct interval **greater)
{
    if (node == NULL) {
        *less = NULL;
        *greater = NULL;
    } else if (compare(interval->start, interval->end, node) < 0) {
        split(node->left, interval, less, &node->left);
        update(node);
        *greater = node;
    } else {
        split(node->right, interval, &node->right, greater);
        update(node);
        *less = node;
    }
}

static struct interval *insert(struct interval *node, struct interval *interval)
{
    if (node == NULL || interval->priority > node->priority) {
        split(node, interval, &interval->left, &interval->right);
        update(interval);
        return interval;
    }
    int order = compare(interval->start, interval->end, node);
    ASSERT(order != 0);
    struct interval **side = order < 0 ? &node->left : &node->right;
    *side = insert(*side, interval);
    update(node);
    return node;
}

void interval_insert(struct interval_tree *tree, struct interval *interval)
{
    tree->random += 0x9e3779b97f4a7c15u;
    interval->priority = mix64(tree->random);
    interval->left = NULL;
    interval->right = NULL;
    tree->root = insert(tree->root, interval);
    tree->count++;
}

/* Everything in LESS is less than everything in GREATER. */
static struct interval *join(struct interval *less, struct interval *greater)
{
    if (less == NULL) {
        return greater;
    }
    if (greater == NULL) {
        return less;
    }
    if (less->priority > greater->priority) {
        less->right = join(less->right, greater);
        update(less);
        return less;
    }
    greater->left = join(less, greater->left);
    update(greater);
    return greater;
}

static struct interval *remove_from(struct interval *node, const struct interval *interval)
{
    ASSERT(node != NULL);
    int order = compare(interval->start, interval->end, node);
    if (order == 0) {
        ASSERT(node == interval);
        return join(node->left, node->right);
    }
    struct interval **side = order < 0 ? &node->left : &node->right;
    *side = remove_from(*side, interval);
    update(node);
    return node;
}

void interval_remove(struct interval_tree *tree, struct interval *interval)
{
    tree->root = remove_from(tree->root, interval);
    tree->count--;
}

static void stab(struct interval *node, struct bytes key,
                 void (*fn)(struct interval *interval, void *ctx), void *ctx)
{
    while (node != NULL && ends_behind(node->furthest, key)) {
        stab(node->left, key, fn, ctx);
        if (bytes_compare(key, node->start) < 0) {
            return; /* and everything on the right begins later still */
        }
        if (ends_behind(node, key)) {
            fn(node, ctx);
        }
        node = node->right;
    }
}

void interval_stab(const struct interval_tree *tree, struct bytes key,
                   void (*fn)(struct interval *interval, void *ctx), void *ctx)
{
    stab(tree->root, key, fn, ctx);
}

static size_t check(const struct interval *node, const struct interval *above,
                    const struct interval *below)
{
    if (node == NULL) {
        return 0;
    }
    ASSERT(above == NULL || compare(node->start, node->end, above) > 0);
    ASSERT(below == NULL || compare(node->start, node->end, below) < 0);
    ASSERT(!reaches_further(node, node->furthest));
    const struct interval *children[] = {node->left, node->right};
    bool is_there = node->furthest == node;
    for (unsigned i = 0; i < 2; i++) {
        const struct interval *child = children[i];
        if (child != NULL) {
            ASSERT(child->priority <= node->priority);
            ASSERT(!reaches_further(child->furthest, node->furthest));
            is_there |= child->furthest == node->furthest;
        }
    }
    ASSERT(is_there);
    return 1 + check(node->left, above, node) + check(node->right, node, below);
}

void interval_check(const struct interval_tree *tree)
{
    size_t count = check(tree->root, NULL, NULL);
    ASSERT(count == tree->count);
}
