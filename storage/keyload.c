/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyload.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "storage/keysort.h"
#include "storage/revsearch.h"

#define LEAF_FILL  58u /* entries of a leaf, children of an inner node: some room to grow */
#define ROWS_FIRST 4096u
#define AHEAD      16u /* entries that are fetched before they are looked at */

/* A row that was read, and whose it is; in the order of revisions. */
struct row {
    revision_t rev; /* first, for revsearch */
    struct keyindex_entry *entry;
};

struct keyload {
    struct row *rows;
    size_t row_count;
    size_t row_cap;
    struct keyindex_entry **entries; /* each key once */
    size_t entry_count;
    size_t entry_cap;
    struct keyload_lease *leases; /* of rows that were the newest of their keys when they came */
    size_t lease_count;
    size_t lease_cap;
    int64_t must_be_compacted; /* else a predecessor that was not found is missing; -1: none was */
    revision_t orphan;         /* the row that says so */
    bool done;                 /* the entries belong to an index */
};

struct keyload *keyload_new(void)
{
    struct keyload *load = calloc(1, sizeof *load);
    if (load != NULL) {
        load->must_be_compacted = -1;
    }
    return load;
}

void keyload_free(struct keyload *load)
{
    if (load == NULL) {
        return;
    }
    for (size_t i = 0; i < load->entry_count && !load->done; i++) {
        keyindex_entry_free(load->entries[i]);
    }
    free(load->leases);
    free(load->entries);
    free(load->rows);
    free(load);
}

/* The owner of the row at REV, or NULL. */
static struct keyindex_entry *find_row(const struct keyload *load, revision_t rev)
{
    size_t place = revsearch(load->rows, load->row_count, sizeof load->rows[0], rev);
    return place < load->row_count ? load->rows[place].entry : NULL;
}

/* The key's next row. Its predecessor is its entry's newest revision, as the rows are in order. */
static enum err add_next(struct keyindex_entry *entry, revision_t rev,
                         const struct record_header *header, struct why *why)
{
    struct generations *g = &entry->generations;
    bool sound = generation_last(g) == header->prev_rev &&
                 bytes_equal(entry_key(entry), header->key) &&
                 (!header->tombstone || generation_alive(g));
    if (!sound) {
        why_set(why, "the row of revision %lld does not follow the one it names",
                (long long)revision_main(rev));
        return ERR_CORRUPT;
    }
    if (header->tombstone) {
        return generation_delete(g, rev) ? OK : ERR_NOMEM;
    }
    if (!generation_put(g, rev)) {
        return ERR_NOMEM;
    }
    struct version v = {0};
    bool found = generation_find(g, INT64_MAX, &v);
    ASSERT(found);
    if (v.version != header->version || v.create_revision != header->create_revision) {
        why_set(why, "the row of revision %lld has version %lld instead of %lld",
                (long long)revision_main(rev), (long long)header->version, (long long)v.version);
        return ERR_CORRUPT;
    }
    return OK;
}

/* The compaction that must have removed this row's predecessor: one that saw the row itself, or,
 * when the row began a life anew, one above the tombstone before it. */
static int64_t compaction_before(revision_t rev, const struct record_header *header)
{
    int64_t main = revision_main(rev);
    int64_t above_tombstone = revision_main(header->prev_rev) + 1;
    bool began = !header->tombstone && header->version == 1;
    return began && above_tombstone < main ? above_tombstone : main;
}

static enum err add_first(struct keyload *load, revision_t rev, const struct record_header *header,
                          struct keyindex_entry **ret, struct why *why)
{
    if (header->prev_rev != 0) {
        int64_t needed = compaction_before(rev, header);
        if (needed > load->must_be_compacted) {
            load->must_be_compacted = needed;
            load->orphan = rev;
        }
    }
    bool sound = header->tombstone ? header->prev_rev != 0 : header->version > 0;
    if (!sound || header->key.len == 0) {
        why_set(why, "the row of revision %lld begins a key and cannot",
                (long long)revision_main(rev));
        return ERR_CORRUPT;
    }
    if (!ARRAY_MAKE_ROOM(load->entries, load->entry_count, load->entry_cap, ROWS_FIRST)) {
        return ERR_NOMEM;
    }
    struct keyindex_entry *entry = keyindex_entry_new(header->key);
    if (entry == NULL) {
        return ERR_NOMEM;
    }
    const struct version first = {
        .rev = rev, .create_revision = header->create_revision, .version = header->version};
    if (!generation_resume(&entry->generations, &first)) {
        keyindex_entry_free(entry);
        return ERR_NOMEM;
    }
    load->entries[load->entry_count++] = entry;
    *ret = entry;
    return OK;
}

/* ---- leases ----
 *
 * Most rows have none, and cost nothing here. What was collected is looked through whenever there
 * is no room left, so that it holds about as many as there are keys with leases, however often they
 * were put. */

static bool is_newest(const struct keyload_lease *lease)
{
    const struct generations *g = &lease->entry->generations;
    return generation_alive(g) && generation_last(g) == lease->rev;
}

static void drop_superseded_leases(struct keyload *load)
{
    size_t kept = 0;
    for (size_t i = 0; i < load->lease_count; i++) {
        if (is_newest(&load->leases[i])) {
            load->leases[kept++] = load->leases[i];
        }
    }
    load->lease_count = kept;
}

static bool add_lease(struct keyload *load, struct keyindex_entry *entry, revision_t rev,
                      int64_t lease)
{
    if (load->lease_count == load->lease_cap) {
        drop_superseded_leases(load);
        /* Half empty is room enough: else every row would look through all of them. */
        bool roomy = load->lease_count < load->lease_cap / 2;
        if (!roomy &&
            !ARRAY_MAKE_ROOM(load->leases, load->lease_cap, load->lease_cap, ROWS_FIRST)) {
            return false;
        }
    }
    load->leases[load->lease_count++] =
        (struct keyload_lease){.entry = entry, .rev = rev, .lease = lease};
    return true;
}

size_t keyload_take_leases(struct keyload *load, struct keyload_lease **ret)
{
    ASSERT(load->done);
    *ret = TAKE(load->leases);
    size_t count = load->lease_count;
    load->lease_count = 0;
    return count;
}

struct bytes keyload_lease_key(const struct keyload_lease *lease)
{
    return entry_key(lease->entry);
}

/* ---- rows ---- */

enum err keyload_add(struct keyload *load, revision_t rev, const struct record_header *header,
                     struct why *why)
{
    if (load->row_count > 0 && load->rows[load->row_count - 1].rev >= rev) {
        why_set(why, "revision %lld comes twice", (long long)revision_main(rev));
        return ERR_CORRUPT;
    }
    if (!ARRAY_MAKE_ROOM(load->rows, load->row_count, load->row_cap, ROWS_FIRST)) {
        return ERR_NOMEM;
    }
    struct keyindex_entry *entry = header->prev_rev == 0 ? NULL : find_row(load, header->prev_rev);
    if (entry != NULL) {
        TRY(add_next(entry, rev, header, why));
    } else {
        TRY(add_first(load, rev, header, &entry, why));
    }
    load->rows[load->row_count++] = (struct row){.rev = rev, .entry = entry};
    if (header->lease != 0 && !add_lease(load, entry, rev, header->lease)) {
        return ERR_NOMEM;
    }
    return OK;
}

/* ---- from sorted entries to a tree ---- */

/* COUNT things in nodes of about LEAF_FILL, as even as can be. */
static size_t node_count(size_t count)
{
    return (count + LEAF_FILL - 1) / LEAF_FILL;
}

static size_t node_begin(size_t node, size_t nodes, size_t count)
{
    size_t each = count / nodes;
    size_t larger = count % nodes; /* the first ones have one more */
    return node * each + (node < larger ? node : larger);
}

/* The separators of the leaves first: they are everybody's fences. */
static bool make_separators(struct keyindex_entry *const *entries, size_t count,
                            struct keyindex_child *leaves, size_t leaf_count)
{
    for (size_t i = 1; i < leaf_count; i++) {
        size_t first = node_begin(i, leaf_count, count);
        leaves[i].sep =
            keyindex_separator_new(entry_key(entries[first - 1]), entry_key(entries[first]));
        if (leaves[i].sep == NULL) {
            return false;
        }
    }
    return true;
}

static struct keyindex_fences fences_of(const struct keyindex_child *children, size_t first,
                                        size_t end, size_t count)
{
    struct keyindex_fences fences = {.low = separator_key(children[first].sep)};
    if (end < count) {
        fences.high = separator_key(children[end].sep);
    }
    return fences;
}

static void make_leaves(struct keyindex_entry *const *entries, size_t count,
                        struct keyindex_child *leaves, size_t leaf_count, void **nodes)
{
    for (size_t i = 0; i < leaf_count; i++) {
        size_t first = node_begin(i, leaf_count, count);
        size_t end = node_begin(i + 1, leaf_count, count);
        struct keyindex_leaf *leaf = nodes[i];
        struct keyindex_fences fences = fences_of(leaves, i, i + 1, leaf_count);
        keyindex_fill_leaf(leaf, entries + first, (uint32_t)(end - first), &fences);
        leaves[i].node = &leaf->node;
        leaves[i].tally = keyindex_leaf_tally(leaf);
    }
}

/* Put CHILDREN under inner nodes, which take their place at the front of the array. */
static size_t make_inners(struct keyindex_child *children, size_t count, void **nodes)
{
    size_t made = node_count(count);
    for (size_t i = 0; i < made; i++) {
        size_t first = node_begin(i, made, count);
        size_t end = node_begin(i + 1, made, count);
        struct keyindex_inner *inner = nodes[i];
        struct keyindex_fences fences = fences_of(children, first, end, count);
        keyindex_fill_inner(inner, children + first, (uint32_t)(end - first), &fences);
        children[i] = (struct keyindex_child){
            .sep = children[first].sep, .node = &inner->node, .tally = keyindex_inner_tally(inner)};
    }
    return made;
}

static size_t inner_count(size_t leaf_count)
{
    size_t inners = 0;
    for (size_t level = leaf_count; level > 1;) {
        level = node_count(level);
        inners += level;
    }
    return inners;
}

/* What the tree is made of, allocated before anything is linked: so building cannot fail halfway.
 */
struct parts {
    struct keyindex_child *children; /* the leaves, each with its separator */
    size_t leaf_count;
    void **nodes; /* leaves, then inner nodes */
    size_t node_count;
};

static void parts_fini(struct parts *parts)
{
    for (size_t i = 0; parts->nodes != NULL && i < parts->node_count; i++) {
        free(parts->nodes[i]);
    }
    for (size_t i = 0; parts->children != NULL && i < parts->leaf_count; i++) {
        free(parts->children[i].sep);
    }
    free(parts->nodes);
    free(parts->children);
}

static bool parts_init(struct parts *parts, struct keyindex_entry *const *entries, size_t count)
{
    parts->leaf_count = node_count(count);
    parts->node_count = parts->leaf_count + inner_count(parts->leaf_count);
    parts->children = calloc(parts->leaf_count, sizeof parts->children[0]);
    parts->nodes = calloc(parts->node_count, sizeof parts->nodes[0]);
    if (parts->children == NULL || parts->nodes == NULL) {
        return false;
    }
    for (size_t i = 0; i < parts->node_count; i++) {
        parts->nodes[i] = malloc(i < parts->leaf_count ? sizeof(struct keyindex_leaf)
                                                       : sizeof(struct keyindex_inner));
        if (parts->nodes[i] == NULL) {
            return false;
        }
    }
    return make_separators(entries, count, parts->children, parts->leaf_count);
}

static bool build(struct keyindex *ki, struct keyindex_entry *const *entries, size_t count)
{
    if (count == 0) {
        return true;
    }
    struct parts parts = {0};
    if (!parts_init(&parts, entries, count)) {
        parts_fini(&parts);
        return false;
    }
    make_leaves(entries, count, parts.children, parts.leaf_count, parts.nodes);
    void **nodes = parts.nodes + parts.leaf_count;
    size_t level = parts.leaf_count;
    free(ki->root);
    while (level > 1) {
        level = make_inners(parts.children, level, nodes);
        nodes += level;
        ki->depth++;
    }
    ASSERT(ki->depth <= KEYINDEX_DEPTH_MAX);
    ki->root = parts.children[0].node;
    free(parts.nodes);
    free(parts.children);
    return true;
}

/* Is the entry at I followed by another one of the same key? */
static bool comes_again(const struct keyload *load, size_t i)
{
    const struct keyindex_entry *entry = load->entries[i];
    const struct keyindex_entry *next = i + 1 < load->entry_count ? load->entries[i + 1] : NULL;
    return next != NULL && entry->key_len == next->key_len &&
           bytes_equal(entry_key(entry), entry_key(next));
}

/* Lives that a compaction has removed logically may still be among the rows, and their key may have
 * begun anew without knowing them; AGAIN tells how many. Everything else occurs once. */
static enum err check_lives(const struct keyload *load, int64_t compacted, size_t *again,
                            struct why *why)
{
    for (size_t i = 0; i < load->entry_count; i++) {
        if (i + AHEAD < load->entry_count) {
            __builtin_prefetch(load->entries[i + AHEAD]);
        }
        if (!comes_again(load, i)) {
            continue;
        }
        const struct generations *g = &load->entries[i]->generations;
        if (generation_alive(g) || revision_main(generation_last(g)) >= compacted) {
            why_set(why, "a key that is known at revision %lld begins again",
                    (long long)revision_main(generation_last(g)));
            return ERR_CORRUPT;
        }
        *again += 1;
    }
    return OK;
}

static void drop_earlier_lives(struct keyload *load)
{
    size_t kept = 0;
    for (size_t i = 0; i < load->entry_count; i++) {
        if (comes_again(load, i)) {
            keyindex_entry_free(load->entries[i]);
        } else {
            load->entries[kept++] = load->entries[i];
        }
    }
    load->entry_count = kept;
}

static bool sort_entries(struct keyload *load)
{
    size_t count = load->entry_count;
    struct keysort_item *items = calloc(2 * count + 1, sizeof items[0]);
    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].entry = load->entries[i];
    }
    keysort(items, count, items + count);
    for (size_t i = 0; i < count; i++) {
        load->entries[i] = items[i].entry;
    }
    free(items);
    return true;
}

enum err keyload_finish(struct keyload *load, int64_t compacted, struct keyindex **ret,
                        struct why *why)
{
    ASSERT(!load->done);
    if (load->must_be_compacted > compacted) {
        why_set(why,
                "the row of revision %lld names one that is missing, and nothing above %lld "
                "is compacted",
                (long long)revision_main(load->orphan), (long long)compacted);
        return ERR_CORRUPT;
    }
    free(load->rows);
    load->rows = NULL;
    drop_superseded_leases(load);
    if (!sort_entries(load)) {
        return ERR_NOMEM;
    }
    size_t again = 0;
    TRY(check_lives(load, compacted, &again, why));
    if (again > 0) {
        drop_earlier_lives(load);
    }
    struct keyindex *ki = keyindex_new();
    if (ki == NULL || !build(ki, load->entries, load->entry_count)) {
        keyindex_free(ki);
        return ERR_NOMEM;
    }
    load->done = true;
    *ret = ki;
    return OK;
}
