/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyindex_private.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"

/* The shape of the key index's tree: nodes are filled, split, merged and levelled out here, always
 * as a whole: gather what they hold, lay it out again. Happens once per dozens of keys. */

struct keyindex_entry *keyindex_entry_new(struct bytes key)
{
    ASSERT(key.len <= UINT32_MAX);
    struct keyindex_entry *entry = malloc(offsetof(struct keyindex_entry, key) + key.len);
    if (entry == NULL) {
        return NULL;
    }
    entry->generations.word = 0;
    entry->key_len = (uint32_t)key.len;
    if (key.len > 0) {
        memcpy(entry->key, key.data, key.len);
    }
    return entry;
}

void keyindex_entry_free(struct keyindex_entry *entry)
{
    if (entry != NULL) {
        generation_fini(&entry->generations);
        free(entry);
    }
}

/* ---- separators, fences, hints ---- */

static uint32_t common_prefix(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    uint32_t i = 0;
    while (i < len && a.data[i] == b.data[i]) {
        i++;
    }
    return i;
}

struct keyindex_separator *keyindex_separator_new(struct bytes left, struct bytes right)
{
    uint32_t len = common_prefix(left, right) + 1; /* one byte more than LEFT shares */
    ASSERT(len <= right.len);
    struct keyindex_separator *sep = malloc(sizeof *sep + len);
    if (sep != NULL) {
        sep->len = len;
        memcpy(sep->bytes, right.data, len);
    }
    return sep;
}

/* The fences of the node at LEVEL of the path: each the nearest separator above it. */
struct keyindex_fences keyindex_fences_at(const struct keyindex_cursor *cursor, unsigned level)
{
    struct keyindex_fences fences = {0};
    for (unsigned i = level; i > 0; i--) {
        const struct keyindex_inner *inner = cursor->path[i - 1].node;
        unsigned at = cursor->path[i - 1].at;
        if (fences.low.len == 0 && at > 0) {
            fences.low = separator_key(inner->seps[at]);
        }
        if (fences.high.len == 0 && at + 1 < inner->node.count) {
            fences.high = separator_key(inner->seps[at + 1]);
        }
    }
    return fences;
}

int keyindex_edge_order(const struct keyindex_node *node, struct bytes first, struct bytes key)
{
    if (node->skip == 0) {
        return 0;
    }
    struct bytes shared = bytes_of(first.data, node->skip);
    struct bytes own = bytes_of(key.data, key.len < node->skip ? key.len : node->skip);
    return bytes_compare(own, shared);
}

/* Keys of up to 64 MiB: skip has room for more. */
static_assert(KEY_BYTES_MAX < 1u << 31, "skip counts the bytes of any key");

/* LAST: of a node's keys in order, FIRST being the first; both empty when there is none. */
static void set_skip(struct keyindex_node *node, const struct keyindex_fences *fences,
                     struct bytes first, struct bytes last)
{
    node->is_edge = fences->low.len == 0 || fences->high.len == 0;
    uint32_t skip =
        node->is_edge ? common_prefix(first, last) : common_prefix(fences->low, fences->high);
    node->skip = skip & INT32_MAX;
}

void keyindex_widen_leaf(struct keyindex_leaf *leaf, struct bytes key)
{
    struct keyindex_node *node = &leaf->node;
    uint32_t shared = common_prefix(key, entry_key(leaf->entries[0]));
    if (!node->is_edge || shared >= node->skip) {
        return;
    }
    node->skip = shared & INT32_MAX;
    for (uint32_t i = 0; i < node->count; i++) {
        node->hints[i] = keyindex_hint(entry_key(leaf->entries[i]), node->skip);
    }
}

/* The separator SEP stands at AT of an inner node: its hint, and at an edge perhaps everybody's. */
static void note_separator(struct keyindex_inner *inner, unsigned at)
{
    struct keyindex_node *node = &inner->node;
    struct bytes other = separator_key(inner->seps[at == 1 && node->count > 2 ? 2 : 1]);
    uint32_t shared = common_prefix(separator_key(inner->seps[at]), other);
    if (node->is_edge && shared < node->skip) {
        node->skip = shared & INT32_MAX;
        for (uint32_t i = 1; i < node->count; i++) {
            node->hints[i] = keyindex_hint(separator_key(inner->seps[i]), node->skip);
        }
    }
    node->hints[at] = keyindex_hint(separator_key(inner->seps[at]), node->skip);
}

/* ---- filling ---- */

void keyindex_fill_leaf(struct keyindex_leaf *leaf, struct keyindex_entry *const *entries,
                        uint32_t count, const struct keyindex_fences *fences)
{
    ASSERT(count <= KEYINDEX_FANOUT);
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(entries[i]);
    }
    struct bytes first = count == 0 ? (struct bytes){0} : entry_key(entries[0]);
    struct bytes last = count == 0 ? (struct bytes){0} : entry_key(entries[count - 1]);
    set_skip(&leaf->node, fences, first, last);
    leaf->node.count = count;
    leaf->live = 0;
    leaf->garbage_at = GENERATION_NO_GARBAGE;
    for (uint32_t i = 0; i < count; i++) {
        const struct generations *g = &entries[i]->generations;
        int64_t garbage_at = generation_garbage_at(g);
        leaf->entries[i] = entries[i];
        leaf->node.hints[i] = keyindex_hint(entry_key(entries[i]), leaf->node.skip);
        leaf->live |= (uint64_t)generation_alive(g) << i;
        leaf->garbage_at = garbage_at < leaf->garbage_at ? garbage_at : leaf->garbage_at;
    }
}

void keyindex_fill_inner(struct keyindex_inner *inner, const struct keyindex_child *children,
                         uint32_t count, const struct keyindex_fences *fences)
{
    ASSERT(count >= 1 && count <= KEYINDEX_FANOUT);
    struct bytes first = count < 2 ? (struct bytes){0} : separator_key(children[1].sep);
    struct bytes last = count < 2 ? (struct bytes){0} : separator_key(children[count - 1].sep);
    set_skip(&inner->node, fences, first, last);
    inner->node.count = count;
    for (uint32_t i = 0; i < count; i++) {
        inner->seps[i] = i == 0 ? NULL : children[i].sep;
        inner->children[i] = children[i].node;
        inner->tallies[i] = children[i].tally;
        inner->node.hints[i] = keyindex_hint(separator_key(inner->seps[i]), inner->node.skip);
    }
}

struct keyindex_tally keyindex_leaf_tally(const struct keyindex_leaf *leaf)
{
    return (struct keyindex_tally){
        .live = (uint64_t)__builtin_popcountll(leaf->live),
        .all = leaf->node.count,
        .garbage_at = leaf->garbage_at,
    };
}

struct keyindex_tally keyindex_inner_tally(const struct keyindex_inner *inner)
{
    struct keyindex_tally sum = {.garbage_at = GENERATION_NO_GARBAGE};
    for (uint32_t i = 0; i < inner->node.count; i++) {
        const struct keyindex_tally *tally = &inner->tallies[i];
        sum.live += tally->live;
        sum.all += tally->all;
        sum.garbage_at = tally->garbage_at < sum.garbage_at ? tally->garbage_at : sum.garbage_at;
    }
    return sum;
}

static struct keyindex_tally tally_of(struct keyindex_node *node, bool is_leaf)
{
    return is_leaf ? keyindex_leaf_tally(leaf_of(node)) : keyindex_inner_tally(inner_of(node));
}

void keyindex_refresh(const struct keyindex_cursor *cursor)
{
    struct keyindex_tally tally = keyindex_leaf_tally(cursor->leaf);
    for (unsigned level = cursor->depth; level > 0; level--) {
        struct keyindex_inner *inner = cursor->path[level - 1].node;
        inner->tallies[cursor->path[level - 1].at] = tally;
        tally = keyindex_inner_tally(inner);
    }
}

/* ---- children of a parent ---- */

static void insert_child(struct keyindex_inner *parent, unsigned at, struct keyindex_child child)
{
    ASSERT(at > 0 && parent->node.count < KEYINDEX_FANOUT);
    uint32_t behind = parent->node.count - at;
    memmove(&parent->seps[at + 1], &parent->seps[at], behind * sizeof parent->seps[0]);
    memmove(&parent->children[at + 1], &parent->children[at], behind * sizeof parent->children[0]);
    memmove(&parent->tallies[at + 1], &parent->tallies[at], behind * sizeof parent->tallies[0]);
    memmove(&parent->node.hints[at + 1], &parent->node.hints[at],
            behind * sizeof parent->node.hints[0]);
    parent->seps[at] = child.sep;
    parent->children[at] = child.node;
    parent->tallies[at] = child.tally;
    parent->node.count++;
    note_separator(parent, at);
}

/* The separator of the child that goes stays with the caller. */
static void remove_child(struct keyindex_inner *parent, unsigned at)
{
    ASSERT(at > 0 && at < parent->node.count);
    uint32_t behind = parent->node.count - at - 1;
    memmove(&parent->seps[at], &parent->seps[at + 1], behind * sizeof parent->seps[0]);
    memmove(&parent->children[at], &parent->children[at + 1], behind * sizeof parent->children[0]);
    memmove(&parent->tallies[at], &parent->tallies[at + 1], behind * sizeof parent->tallies[0]);
    memmove(&parent->node.hints[at], &parent->node.hints[at + 1],
            behind * sizeof parent->node.hints[0]);
    parent->node.count--;
}

static uint32_t gather(const struct keyindex_inner *inner, struct keyindex_separator *first_sep,
                       struct keyindex_child *children)
{
    for (uint32_t i = 0; i < inner->node.count; i++) {
        children[i] = (struct keyindex_child){
            .sep = i == 0 ? first_sep : inner->seps[i],
            .node = inner->children[i],
            .tally = inner->tallies[i],
        };
    }
    return inner->node.count;
}

/* ---- splitting ---- */

static bool split_leaf(struct keyindex_leaf *left, const struct keyindex_fences *fences,
                       bool append, struct keyindex_child *ret)
{
    struct keyindex_entry *entries[KEYINDEX_FANOUT];
    uint32_t count = left->node.count;
    uint32_t middle = append ? count - 1 : count / 2;
    memcpy(entries, left->entries, count * sizeof entries[0]);
    struct keyindex_separator *sep =
        keyindex_separator_new(entry_key(entries[middle - 1]), entry_key(entries[middle]));
    struct keyindex_leaf *right = malloc(sizeof *right);
    if (sep == NULL || right == NULL) {
        free(sep);
        free(right);
        return false;
    }
    struct keyindex_fences low = {.low = fences->low, .high = separator_key(sep)};
    struct keyindex_fences high = {.low = separator_key(sep), .high = fences->high};
    keyindex_fill_leaf(left, entries, middle, &low);
    keyindex_fill_leaf(right, entries + middle, count - middle, &high);
    *ret = (struct keyindex_child){
        .sep = sep, .node = &right->node, .tally = keyindex_leaf_tally(right)};
    return true;
}

static bool split_inner(struct keyindex_inner *left, const struct keyindex_fences *fences,
                        struct keyindex_child *ret)
{
    struct keyindex_child children[KEYINDEX_FANOUT];
    struct keyindex_inner *right = malloc(sizeof *right);
    if (right == NULL) {
        return false;
    }
    uint32_t count = gather(left, NULL, children);
    uint32_t middle = count / 2;
    struct keyindex_separator *sep = children[middle].sep;
    struct keyindex_fences low = {.low = fences->low, .high = separator_key(sep)};
    struct keyindex_fences high = {.low = separator_key(sep), .high = fences->high};
    keyindex_fill_inner(left, children, middle, &low);
    keyindex_fill_inner(right, children + middle, count - middle, &high);
    *ret = (struct keyindex_child){
        .sep = sep, .node = &right->node, .tally = keyindex_inner_tally(right)};
    return true;
}

bool keyindex_split(struct keyindex *ki, const struct keyindex_cursor *cursor, unsigned level,
                    bool append)
{
    bool is_leaf = level == cursor->depth;
    struct keyindex_node *left = is_leaf ? &cursor->leaf->node : &cursor->path[level].node->node;
    struct keyindex_fences fences = keyindex_fences_at(cursor, level);
    struct keyindex_inner *new_root = NULL;
    keyindex_forget_places(ki);
    if (level == 0) {
        ASSERT(ki->depth < KEYINDEX_DEPTH_MAX);
        new_root = malloc(sizeof *new_root);
        if (new_root == NULL) {
            return false;
        }
    }
    struct keyindex_child right;
    if (is_leaf ? !split_leaf(leaf_of(left), &fences, append, &right)
                : !split_inner(inner_of(left), &fences, &right)) {
        free(new_root);
        return false;
    }
    struct keyindex_tally left_tally = tally_of(left, is_leaf);
    if (new_root != NULL) {
        struct keyindex_child children[] = {{.node = left, .tally = left_tally}, right};
        keyindex_fill_inner(new_root, children, ARRAY_LEN(children), &fences);
        ki->root = &new_root->node;
        ki->depth++;
    } else {
        struct keyindex_inner *parent = cursor->path[level - 1].node;
        unsigned at = cursor->path[level - 1].at;
        parent->tallies[at] = left_tally;
        insert_child(parent, at + 1, right);
    }
    return true;
}

/* ---- merging ---- */

/* Child AT and the one before it, laid out again; one node when what they hold fits well. */
static void relay_leaves(struct keyindex_inner *parent, unsigned at,
                         const struct keyindex_fences *fences)
{
    struct keyindex_leaf *left = leaf_of(parent->children[at - 1]);
    struct keyindex_leaf *right = leaf_of(parent->children[at]);
    struct keyindex_entry *entries[2 * KEYINDEX_FANOUT];
    uint32_t count = left->node.count + right->node.count;
    memcpy(entries, left->entries, left->node.count * sizeof entries[0]);
    memcpy(entries + left->node.count, right->entries, right->node.count * sizeof entries[0]);
    bool one_is_empty = left->node.count == 0 || right->node.count == 0;
    if (count <= KEYINDEX_FANOUT * 3 / 4 || one_is_empty) {
        free(parent->seps[at]);
        free(right);
        remove_child(parent, at);
        keyindex_fill_leaf(left, entries, count, fences);
        parent->tallies[at - 1] = keyindex_leaf_tally(left);
        return;
    }
    uint32_t middle = count / 2;
    struct keyindex_separator *sep =
        keyindex_separator_new(entry_key(entries[middle - 1]), entry_key(entries[middle]));
    if (sep == NULL) {
        return; /* uneven, and valid */
    }
    free(parent->seps[at]);
    parent->seps[at] = sep;
    note_separator(parent, at);
    struct keyindex_fences low = {.low = fences->low, .high = separator_key(sep)};
    struct keyindex_fences high = {.low = separator_key(sep), .high = fences->high};
    keyindex_fill_leaf(left, entries, middle, &low);
    keyindex_fill_leaf(right, entries + middle, count - middle, &high);
    parent->tallies[at - 1] = keyindex_leaf_tally(left);
    parent->tallies[at] = keyindex_leaf_tally(right);
}

static void relay_inners(struct keyindex_inner *parent, unsigned at,
                         const struct keyindex_fences *fences)
{
    struct keyindex_inner *left = inner_of(parent->children[at - 1]);
    struct keyindex_inner *right = inner_of(parent->children[at]);
    struct keyindex_child children[2 * KEYINDEX_FANOUT];
    uint32_t count = gather(left, NULL, children);
    count += gather(right, parent->seps[at], children + count);
    if (count <= KEYINDEX_FANOUT * 3 / 4) {
        free(right);
        remove_child(parent, at);
        keyindex_fill_inner(left, children, count, fences);
        parent->tallies[at - 1] = keyindex_inner_tally(left);
        return;
    }
    uint32_t middle = count / 2;
    parent->seps[at] = children[middle].sep;
    note_separator(parent, at);
    struct keyindex_fences low = {.low = fences->low, .high = separator_key(parent->seps[at])};
    struct keyindex_fences high = {.low = separator_key(parent->seps[at]), .high = fences->high};
    keyindex_fill_inner(left, children, middle, &low);
    keyindex_fill_inner(right, children + middle, count - middle, &high);
    parent->tallies[at - 1] = keyindex_inner_tally(left);
    parent->tallies[at] = keyindex_inner_tally(right);
}

/* The fences of two neighbouring children, AT - 1 and AT, together. */
static struct keyindex_fences pair_fences(const struct keyindex_cursor *cursor, unsigned level,
                                          unsigned at)
{
    const struct keyindex_inner *parent = cursor->path[level].node;
    struct keyindex_fences fences = keyindex_fences_at(cursor, level);
    if (at - 1 > 0) {
        fences.low = separator_key(parent->seps[at - 1]);
    }
    if (at + 1 < parent->node.count) {
        fences.high = separator_key(parent->seps[at + 1]);
    }
    return fences;
}

void keyindex_rebalance(struct keyindex *ki, const struct keyindex_cursor *cursor)
{
    for (unsigned level = cursor->depth; level > 0; level--) {
        struct keyindex_inner *parent = cursor->path[level - 1].node;
        unsigned at = cursor->path[level - 1].at;
        if (parent->children[at]->count >= KEYINDEX_FILL_MIN) {
            break;
        }
        ASSERT(parent->node.count > 1);
        unsigned right = at > 0 ? at : 1;
        struct keyindex_fences fences = pair_fences(cursor, level - 1, right);
        if (level == cursor->depth) {
            relay_leaves(parent, right, &fences);
        } else {
            relay_inners(parent, right, &fences);
        }
    }
    while (ki->depth > 0 && ki->root->count == 1) {
        struct keyindex_inner *root = inner_of(ki->root);
        ki->root = root->children[0];
        ki->depth--;
        free(root);
    }
}

/* ---- checking ---- */

static bool tally_equal(const struct keyindex_tally *a, const struct keyindex_tally *b)
{
    return a->live == b->live && a->all == b->all && a->garbage_at == b->garbage_at;
}

static bool inside(struct bytes key, const struct keyindex_fences *fences)
{
    return bytes_compare(fences->low, key) <= 0 &&
           (fences->high.len == 0 || bytes_compare(key, fences->high) < 0);
}

static struct keyindex_tally check_leaf(const struct keyindex_leaf *leaf,
                                        const struct keyindex_fences *fences)
{
    int64_t garbage_at = GENERATION_NO_GARBAGE;
    for (uint32_t i = 0; i < leaf->node.count; i++) {
        const struct keyindex_entry *entry = leaf->entries[i];
        struct bytes key = entry_key(entry);
        generation_check(&entry->generations);
        ASSERT(generation_last(&entry->generations) != 0);
        ASSERT(inside(key, fences));
        ASSERT(i == 0 || bytes_compare(entry_key(leaf->entries[i - 1]), key) < 0);
        ASSERT(common_prefix(key, entry_key(leaf->entries[0])) >= leaf->node.skip);
        ASSERT(leaf->node.hints[i] == keyindex_hint(key, leaf->node.skip));
        ASSERT((leaf->live >> i & 1) == generation_alive(&entry->generations));
        int64_t at = generation_garbage_at(&entry->generations);
        garbage_at = at < garbage_at ? at : garbage_at;
    }
    ASSERT(leaf->node.count == KEYINDEX_FANOUT || leaf->live >> leaf->node.count == 0);
    ASSERT(leaf->garbage_at == garbage_at);
    return keyindex_leaf_tally(leaf);
}

static struct keyindex_tally check_node(struct keyindex_node *node, unsigned depth,
                                        const struct keyindex_fences *fences)
{
    ASSERT(node->count <= KEYINDEX_FANOUT);
    ASSERT(node->is_edge == (fences->low.len == 0 || fences->high.len == 0));
    ASSERT(node->is_edge || node->skip == common_prefix(fences->low, fences->high));
    if (depth == 0) {
        return check_leaf(leaf_of(node), fences);
    }
    struct keyindex_inner *inner = inner_of(node);
    ASSERT(inner->seps[0] == NULL && node->count >= 2);
    for (uint32_t i = 0; i < node->count; i++) {
        struct keyindex_fences below = *fences;
        if (i > 0) {
            below.low = separator_key(inner->seps[i]);
            ASSERT(inside(below.low, fences));
            ASSERT(common_prefix(below.low, separator_key(inner->seps[1])) >= node->skip);
            ASSERT(node->hints[i] == keyindex_hint(below.low, node->skip));
        }
        if (i + 1 < node->count) {
            below.high = separator_key(inner->seps[i + 1]);
        }
        ASSERT(below.high.len == 0 || bytes_compare(below.low, below.high) < 0);
        ASSERT(inner->children[i]->count > 0);
        struct keyindex_tally tally = check_node(inner->children[i], depth - 1, &below);
        ASSERT(tally_equal(&tally, &inner->tallies[i]));
    }
    return keyindex_inner_tally(inner);
}

void keyindex_check(const struct keyindex *ki)
{
    struct keyindex_fences none = {0};
    check_node(ki->root, ki->depth, &none);
}

static uint64_t count_revisions(struct keyindex_node *node, unsigned depth)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        count += depth == 0 ? generation_count(&leaf_of(node)->entries[i]->generations)
                            : count_revisions(inner_of(node)->children[i], depth - 1);
    }
    return count;
}

uint64_t keyindex_revision_count(const struct keyindex *ki)
{
    return count_revisions(ki->root, ki->depth);
}
