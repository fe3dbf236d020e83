/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyindex.h"

#include <stdlib.h>

#include "base/assert.h"
#include "storage/keyindex_private.h"

#define CACHE_LINE 64u

struct keyindex *keyindex_new(void)
{
    struct keyindex *ki = calloc(1, sizeof *ki);
    struct keyindex_leaf *root = calloc(1, sizeof *root);
    if (ki == NULL || root == NULL) {
        free(ki);
        free(root);
        return NULL;
    }
    root->node.is_edge = 1;
    root->garbage_at = GENERATION_NO_GARBAGE;
    ki->root = &root->node;
    return ki;
}

static void free_node(struct keyindex_node *node, unsigned depth)
{
    if (depth == 0) {
        struct keyindex_leaf *leaf = leaf_of(node);
        for (uint32_t i = 0; i < node->count; i++) {
            keyindex_entry_free(leaf->entries[i]);
        }
        free(leaf);
        return;
    }
    struct keyindex_inner *inner = inner_of(node);
    for (uint32_t i = 0; i < node->count; i++) {
        free(inner->seps[i]);
        free_node(inner->children[i], depth - 1);
    }
    free(inner);
}

void keyindex_free(struct keyindex *ki)
{
    if (ki != NULL) {
        free_node(ki->root, ki->depth);
        free(ki);
    }
}

/* ---- ranges ---- */

bool key_range_is_single(const struct key_range *range)
{
    return range->end.len == 0;
}

static bool to_the_last(const struct key_range *range)
{
    return range->end.len == 1 && range->end.data[0] == 0;
}

bool key_range_before_end(const struct key_range *range, struct bytes key)
{
    if (key_range_is_single(range)) {
        return bytes_equal(key, range->key);
    }
    return to_the_last(range) || bytes_compare(key, range->end) < 0;
}

/* ---- searching ---- */

/* The child of INNER that KEY belongs to. */
static uint32_t child_of(const struct keyindex_inner *inner, struct bytes key)
{
    if (inner->node.is_edge) {
        int order = keyindex_edge_order(&inner->node, separator_key(inner->seps[1]), key);
        if (order != 0) {
            return order < 0 ? 0 : inner->node.count - 1;
        }
    }
    uint64_t hint = keyindex_hint(key, inner->node.skip);
    uint32_t low = 0; /* its separator is not above KEY */
    uint32_t high = inner->node.count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        bool above = inner->node.hints[mid] > hint;
        if (inner->node.hints[mid] == hint) {
            above = bytes_compare(separator_key(inner->seps[mid]), key) > 0;
        }
        if (above) {
            high = mid;
        } else {
            low = mid;
        }
    }
    return low;
}

/* The first entry of LEAF whose hint is not below HINT. */
static uint32_t hint_at(const struct keyindex_leaf *leaf, uint64_t hint)
{
    uint32_t low = 0; /* entries before are below */
    uint32_t high = leaf->node.count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (leaf->node.hints[mid] < hint) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The first entry of LEAF that is not below KEY: by hints, and among equal ones by keys. */
static uint32_t entry_at(const struct keyindex_leaf *leaf, struct bytes key)
{
    if (leaf->node.is_edge && leaf->node.count > 0) {
        int order = keyindex_edge_order(&leaf->node, entry_key(leaf->entries[0]), key);
        if (order != 0) {
            return order < 0 ? 0 : leaf->node.count;
        }
    }
    uint64_t hint = keyindex_hint(key, leaf->node.skip);
    uint32_t low = hint_at(leaf, hint);
    uint32_t high = low;
    while (high < leaf->node.count && leaf->node.hints[high] == hint) {
        high++;
    }
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (bytes_compare(entry_key(leaf->entries[mid]), key) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* A node's head and hints come from memory together, not one line after the other. */
static void fetch(const struct keyindex_node *node)
{
    for (size_t at = 0; at < sizeof *node; at += CACHE_LINE) {
        __builtin_prefetch((const char *)node + at);
    }
}

/* Stand where KEY is or would be: possibly behind the last entry of a leaf. */
static void descend(const struct keyindex *ki, struct bytes key, struct keyindex_cursor *cursor)
{
    struct keyindex_node *node = ki->root;
    cursor->depth = ki->depth;
    for (unsigned level = 0; level < ki->depth; level++) {
        struct keyindex_inner *inner = inner_of(node);
        uint32_t at = child_of(inner, key);
        cursor->path[level].node = inner;
        cursor->path[level].at = at;
        node = inner->children[at];
        fetch(node);
    }
    cursor->leaf = leaf_of(node);
    cursor->at = entry_at(cursor->leaf, key);
}

static bool stands_on(const struct keyindex_cursor *cursor, struct bytes key)
{
    return cursor->at < cursor->leaf->node.count &&
           bytes_equal(entry_key(cursor->leaf->entries[cursor->at]), key);
}

/* From behind a leaf's last entry to the next leaf's first, if there is one. */
static void skip_to_entry(struct keyindex_cursor *cursor)
{
    if (cursor->at < cursor->leaf->node.count) {
        return;
    }
    unsigned level = cursor->depth;
    while (level > 0 &&
           cursor->path[level - 1].at + 1 == cursor->path[level - 1].node->node.count) {
        level--;
    }
    if (level == 0) {
        return;
    }
    struct keyindex_node *node =
        cursor->path[level - 1].node->children[++cursor->path[level - 1].at];
    for (; level < cursor->depth; level++) {
        cursor->path[level].node = inner_of(node);
        cursor->path[level].at = 0;
        node = cursor->path[level].node->children[0];
    }
    cursor->leaf = leaf_of(node);
    cursor->at = 0;
}

void keyindex_seek(const struct keyindex *ki, struct bytes key, struct keyindex_cursor *ret)
{
    descend(ki, key, ret);
    skip_to_entry(ret);
}

bool keyindex_valid(const struct keyindex_cursor *cursor)
{
    return cursor->at < cursor->leaf->node.count;
}

void keyindex_next(struct keyindex_cursor *cursor)
{
    ASSERT(keyindex_valid(cursor));
    cursor->at++;
    skip_to_entry(cursor);
}

struct bytes keyindex_key(const struct keyindex_cursor *cursor)
{
    return entry_key(cursor->leaf->entries[cursor->at]);
}

bool keyindex_alive(const struct keyindex_cursor *cursor)
{
    return (cursor->leaf->live >> cursor->at & 1) != 0;
}

/* Stand on the first child of LEVEL's node, from AT on, that has a living key; false, and nothing
 * has changed: there is none. */
static bool stand_on_living(struct keyindex_cursor *cursor, unsigned level, unsigned at)
{
    const struct keyindex_inner *inner = cursor->path[level].node;
    while (at < inner->node.count && inner->tallies[at].live == 0) {
        at++;
    }
    if (at == inner->node.count) {
        return false;
    }
    cursor->path[level].at = at;
    return true;
}

/* Down from LEVEL's child to the first living key below it. */
static void descend_to_living(struct keyindex_cursor *cursor, unsigned level)
{
    for (;; level++) {
        struct keyindex_node *child = cursor->path[level].node->children[cursor->path[level].at];
        if (level + 1 == cursor->depth) {
            cursor->leaf = leaf_of(child);
            cursor->at = (unsigned)__builtin_ctzll(cursor->leaf->live);
            return;
        }
        cursor->path[level + 1].node = inner_of(child);
        bool found = stand_on_living(cursor, level + 1, 0);
        ASSERT(found);
    }
}

void keyindex_to_living(struct keyindex_cursor *cursor)
{
    uint64_t living = keyindex_valid(cursor) ? cursor->leaf->live >> cursor->at : 0;
    if (living != 0) {
        cursor->at += (unsigned)__builtin_ctzll(living);
        return;
    }
    for (unsigned level = cursor->depth; level-- > 0;) {
        if (stand_on_living(cursor, level, cursor->path[level].at + 1)) {
            descend_to_living(cursor, level);
            return;
        }
    }
    cursor->at = cursor->leaf->node.count;
}

bool keyindex_find(const struct keyindex_cursor *cursor, int64_t at, struct version *ret)
{
    return generation_find(&cursor->leaf->entries[cursor->at]->generations, at, ret);
}

bool keyindex_get(const struct keyindex *ki, struct bytes key, int64_t at, struct version *ret)
{
    struct keyindex_cursor cursor;
    descend(ki, key, &cursor);
    return stands_on(&cursor, key) && keyindex_find(&cursor, at, ret);
}

/* ---- expecting ---- */

/* All keys go down level by level, side by side: what the next step of one needs comes from memory
 * while the others take theirs. */
void keyindex_expect(struct keyindex *ki, const struct bytes *keys, size_t count)
{
    struct keyindex_node *nodes[KEYINDEX_EXPECT_MAX];
    struct keyindex_entry *entries[KEYINDEX_EXPECT_MAX];
    struct keyindex_cursor *places = ki->expected.cursors;
    ASSERT(count <= KEYINDEX_EXPECT_MAX);
    for (size_t i = 0; i < count; i++) {
        nodes[i] = ki->root;
        places[i].depth = ki->depth;
    }
    for (unsigned level = 0; level < ki->depth; level++) {
        for (size_t i = 0; i < count; i++) {
            struct keyindex_inner *inner = inner_of(nodes[i]);
            uint32_t at = child_of(inner, keys[i]);
            places[i].path[level].node = inner;
            places[i].path[level].at = at;
            nodes[i] = inner->children[at];
            fetch(nodes[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct keyindex_leaf *leaf = leaf_of(nodes[i]);
        /* By its hint alone, as the entries are still on their way: most likely there. */
        places[i].leaf = leaf;
        places[i].at = hint_at(leaf, keyindex_hint(keys[i], leaf->node.skip));
        __builtin_prefetch(&leaf->entries[places[i].at]);
    }
    for (size_t i = 0; i < count; i++) {
        entries[i] = keyindex_valid(&places[i]) ? places[i].leaf->entries[places[i].at] : NULL;
        __builtin_prefetch(entries[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (entries[i] != NULL) {
            generation_expect(&entries[i]->generations);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (entries[i] != NULL) {
            generation_expect_end(&entries[i]->generations);
        }
    }
    ki->expected.count = count;
    ki->expected.next = 0;
}

/* The place of KEY if it was expected to come now and is there, or NULL. That the entry is KEY's
 * own proves the place: had a node changed, none would be remembered. */
static const struct keyindex_cursor *take_expected(struct keyindex *ki, struct bytes key)
{
    struct keyindex_places *expected = &ki->expected;
    if (expected->next == expected->count) {
        return NULL;
    }
    const struct keyindex_cursor *place = &expected->cursors[expected->next++];
    return stands_on(place, key) ? place : NULL;
}

/* ---- counting ---- */

/* What stands before the cursor: living keys, and all. */
static struct keyindex_tally before(const struct keyindex_cursor *cursor)
{
    uint64_t below = cursor->at == 64 ? ~0ull : (1ull << cursor->at) - 1;
    struct keyindex_tally sum = {
        .live = (uint64_t)__builtin_popcountll(cursor->leaf->live & below),
        .all = cursor->at,
    };
    for (unsigned level = 0; level < cursor->depth; level++) {
        const struct keyindex_tally *tallies = cursor->path[level].node->tallies;
        for (unsigned i = 0; i < cursor->path[level].at; i++) {
            sum.live += tallies[i].live;
            sum.all += tallies[i].all;
        }
    }
    return sum;
}

static struct keyindex_tally whole(const struct keyindex *ki)
{
    return ki->depth == 0 ? keyindex_leaf_tally(leaf_of(ki->root))
                          : keyindex_inner_tally(inner_of(ki->root));
}

static struct keyindex_tally within(const struct keyindex *ki, const struct key_range *range)
{
    struct keyindex_cursor cursor;
    descend(ki, range->key, &cursor);
    if (key_range_is_single(range)) {
        bool there = stands_on(&cursor, range->key);
        return (struct keyindex_tally){.live = there && keyindex_alive(&cursor), .all = there};
    }
    if (!to_the_last(range) && bytes_compare(range->end, range->key) <= 0) {
        return (struct keyindex_tally){0};
    }
    struct keyindex_tally first = before(&cursor);
    struct keyindex_tally end = whole(ki);
    if (!to_the_last(range)) {
        descend(ki, range->end, &cursor);
        end = before(&cursor);
    }
    return (struct keyindex_tally){.live = end.live - first.live, .all = end.all - first.all};
}

uint64_t keyindex_live_count(const struct keyindex *ki)
{
    return whole(ki).live;
}

uint64_t keyindex_count(const struct keyindex *ki, const struct key_range *range)
{
    return within(ki, range).live;
}

uint64_t keyindex_walk_count(const struct keyindex *ki, const struct key_range *range)
{
    return within(ki, range).all;
}

/* ---- writing ---- */

/* The leaf's bookkeeping and the tallies above it, after the entry under the cursor got a new
 * revision; ADDED: the entry itself is new. */
static void note_change(const struct keyindex_cursor *cursor, bool added)
{
    struct keyindex_leaf *leaf = cursor->leaf;
    const struct generations *g = &leaf->entries[cursor->at]->generations;
    uint64_t bit = 1ull << cursor->at;
    bool was_alive = (leaf->live & bit) != 0;
    bool alive = generation_alive(g);
    leaf->live = alive ? leaf->live | bit : leaf->live & ~bit;
    /* Of more than two the first ones are known: nothing to look at, which may be far away. */
    int64_t garbage_at = generation_count(g) > 2 ? GENERATION_NO_GARBAGE : generation_garbage_at(g);
    if (garbage_at < leaf->garbage_at) {
        leaf->garbage_at = garbage_at;
    } else if (alive == was_alive && !added) {
        return; /* nothing that the nodes above know has changed */
    }
    for (unsigned level = 0; level < cursor->depth; level++) {
        struct keyindex_tally *tally = &cursor->path[level].node->tallies[cursor->path[level].at];
        tally->live += (uint64_t)alive - (uint64_t)was_alive;
        tally->all += added;
        tally->garbage_at = garbage_at < tally->garbage_at ? garbage_at : tally->garbage_at;
    }
}

static void insert_bit(uint64_t *bits, unsigned at)
{
    uint64_t below = (1ull << at) - 1;
    *bits = (*bits & below) | (*bits & ~below) << 1;
}

static void insert_entry(const struct keyindex_cursor *cursor, struct keyindex_entry *entry)
{
    struct keyindex_leaf *leaf = cursor->leaf;
    unsigned at = cursor->at;
    if (leaf->node.count > 0) {
        keyindex_widen_leaf(leaf, entry_key(entry));
    }
    uint32_t behind = leaf->node.count - at;
    memmove(&leaf->entries[at + 1], &leaf->entries[at], behind * sizeof leaf->entries[0]);
    memmove(&leaf->node.hints[at + 1], &leaf->node.hints[at], behind * sizeof leaf->node.hints[0]);
    leaf->entries[at] = entry;
    leaf->node.hints[at] = keyindex_hint(entry_key(entry), leaf->node.skip);
    leaf->node.count++;
    insert_bit(&leaf->live, at);
    note_change(cursor, true);
}

/* Is the cursor behind every key of the index? */
static bool at_the_end(const struct keyindex_cursor *cursor)
{
    for (unsigned level = 0; level < cursor->depth; level++) {
        if (cursor->path[level].at + 1 != cursor->path[level].node->node.count) {
            return false;
        }
    }
    return cursor->at == cursor->leaf->node.count;
}

/* Have room in the leaf where KEY goes: split the lowest full node whose parent has room, until
 * that is the leaf. */
static bool make_room(struct keyindex *ki, struct bytes key, struct keyindex_cursor *cursor)
{
    while (cursor->leaf->node.count == KEYINDEX_FANOUT) {
        unsigned level = cursor->depth;
        while (level > 0 && cursor->path[level - 1].node->node.count == KEYINDEX_FANOUT) {
            level--;
        }
        bool append = level == cursor->depth && at_the_end(cursor);
        if (!keyindex_split(ki, cursor, level, append)) {
            return false;
        }
        descend(ki, key, cursor);
    }
    return true;
}

static bool put_new_key(struct keyindex *ki, struct bytes key, revision_t rev,
                        struct keyindex_cursor *cursor)
{
    if (!make_room(ki, key, cursor)) {
        return false;
    }
    struct keyindex_entry *entry = keyindex_entry_new(key);
    if (entry == NULL) {
        return false;
    }
    if (!generation_put(&entry->generations, rev)) {
        keyindex_entry_free(entry);
        return false;
    }
    insert_entry(cursor, entry);
    return true;
}

bool keyindex_put(struct keyindex *ki, struct bytes key, revision_t rev,
                  struct keyindex_change *ret)
{
    struct keyindex_cursor found;
    struct keyindex_change change = {0};
    const struct keyindex_cursor *cursor = take_expected(ki, key);
    if (cursor == NULL) {
        descend(ki, key, &found);
        cursor = &found;
    }
    if (cursor == &found && !stands_on(cursor, key)) {
        if (!put_new_key(ki, key, rev, &found)) {
            return false;
        }
    } else {
        struct generations *g = &cursor->leaf->entries[cursor->at]->generations;
        change.prev_rev = generation_last(g);
        if (!generation_put(g, rev)) {
            return false;
        }
        note_change(cursor, false);
    }
    bool made = keyindex_find(cursor, INT64_MAX, &change.made);
    ASSERT(made);
    *ret = change;
    return true;
}

bool keyindex_delete(struct keyindex *ki, struct keyindex_cursor *cursor, revision_t rev,
                     revision_t *prev_rev)
{
    (void)ki;
    ASSERT(keyindex_alive(cursor));
    struct generations *g = &cursor->leaf->entries[cursor->at]->generations;
    revision_t last = generation_last(g);
    if (!generation_delete(g, rev)) {
        return false;
    }
    note_change(cursor, false);
    *prev_rev = last;
    return true;
}

/* ---- compaction ---- */

/* Stand on a leaf with something that a compaction at AT removes; false: there is none. */
static bool seek_garbage(const struct keyindex *ki, int64_t at, struct keyindex_cursor *cursor)
{
    struct keyindex_node *node = ki->root;
    cursor->depth = ki->depth;
    cursor->at = 0;
    for (unsigned level = 0; level < ki->depth; level++) {
        struct keyindex_inner *inner = inner_of(node);
        uint32_t i = 0;
        while (i < inner->node.count && inner->tallies[i].garbage_at > at) {
            i++;
        }
        if (i == inner->node.count) {
            ASSERT(level == 0);
            return false;
        }
        cursor->path[level].node = inner;
        cursor->path[level].at = i;
        node = inner->children[i];
    }
    cursor->leaf = leaf_of(node);
    return cursor->leaf->garbage_at <= at;
}

static void compact_leaf(struct keyindex_leaf *leaf, int64_t at)
{
    uint32_t kept = 0;
    uint64_t live = 0;
    leaf->garbage_at = GENERATION_NO_GARBAGE;
    for (uint32_t i = 0; i < leaf->node.count; i++) {
        struct keyindex_entry *entry = leaf->entries[i];
        generation_compact(&entry->generations, at);
        if (generation_last(&entry->generations) == 0) {
            keyindex_entry_free(entry);
            continue;
        }
        int64_t garbage_at = generation_garbage_at(&entry->generations);
        leaf->garbage_at = garbage_at < leaf->garbage_at ? garbage_at : leaf->garbage_at;
        live |= (leaf->live >> i & 1) << kept;
        leaf->entries[kept] = entry;
        leaf->node.hints[kept] = leaf->node.hints[i];
        kept++;
    }
    leaf->live = live;
    leaf->node.count = kept;
}

bool keyindex_compact(struct keyindex *ki, int64_t at, size_t budget)
{
    struct keyindex_cursor cursor;
    size_t looked_at = 0;
    keyindex_forget_places(ki);
    while (seek_garbage(ki, at, &cursor)) {
        if (looked_at >= budget) {
            return false;
        }
        looked_at += cursor.leaf->node.count;
        compact_leaf(cursor.leaf, at);
        ASSERT(cursor.leaf->garbage_at > at);
        keyindex_refresh(&cursor);
        if (cursor.leaf->node.count < KEYINDEX_FILL_MIN) {
            keyindex_rebalance(ki, &cursor);
        }
    }
    return true;
}
