/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/cycles.h"

#include <stdlib.h>

/* A list that is read tells in which order it was appended to; the longest one that was read of a
 * key is the order that is known, and every other must be its beginning.
 *
 *   longest    a b c d        read: a b         a wr b?  b's writer -wr-> reader -rw-> c's writer
 *   not in it  e              read: a b c d     reader -rw-> (all that is later) -ww-> e's writer
 */
struct lists {
    struct cycles *c;
    const struct history_item **longest; /* for each symbol */
    uint32_t *longest_by;                /* the operation that read it */
    uint32_t *later;        /* for each symbol: a node before all that is not in the longest */
    struct numtable listed; /* list, element -> 1: in the longest */
};

static const struct history_item *reads_of(const struct cycles *c, uint32_t op, uint32_t i)
{
    const struct operation *o = &c->ops->ops[op];
    bool read = o->outcome == HISTORY_OK && cycles_has(c, op, HISTORY_APPEND) &&
                o->answer->items[i].f == HISTORY_ITEM_READ;
    return read ? &o->answer->items[i] : NULL;
}

static void find_longest(struct lists *l)
{
    const struct operations *ops = l->c->ops;
    for (uint32_t op = 0; op < ops->count; op++) {
        for (uint32_t i = 0; i < ops->ops[op].asked->item_count; i++) {
            const struct history_item *read = reads_of(l->c, op, i);
            if (read != NULL && (l->longest[read->key] == NULL ||
                                 read->list_count > l->longest[read->key]->list_count)) {
                l->longest[read->key] = read;
                l->longest_by[read->key] = op;
            }
        }
    }
}

/* Who wrote what in the order that is known: an edge from each to the next. */
static void add_version_order(struct lists *l, uint32_t key)
{
    const struct history_item *longest = l->longest[key];
    uint32_t before = NUMTABLE_NONE;
    for (uint32_t i = 0; i < longest->list_count; i++) {
        uint32_t element = longest->list[i];
        if (numtable_get(&l->listed, numtable_pair(key, element)) != NUMTABLE_NONE) {
            cycles_finding(l->c, "element twice", l->longest_by[key], NUMTABLE_NONE, key, element,
                           "it stands in a list twice:");
            return;
        }
        l->c->no_memory |= !numtable_set(&l->listed, numtable_pair(key, element), 1);
        uint32_t writer = cycles_writer(l->c, l->longest_by[key], key, element);
        if (writer == NUMTABLE_NONE) {
            continue;
        }
        if (before != NUMTABLE_NONE) {
            cyclegraph_add(&l->c->graph, before, writer, EDGE_WW);
        }
        before = writer;
    }
    l->later[key] = l->c->nodes++;
}

/* What was acknowledged and is in no list comes after all that was read. */
static void add_unread(struct lists *l)
{
    const struct operations *ops = l->c->ops;
    for (uint32_t op = 0; op < ops->count; op++) {
        if (ops->ops[op].outcome != HISTORY_OK || !cycles_has(l->c, op, HISTORY_APPEND)) {
            continue;
        }
        const struct history_event *e = ops->ops[op].answer;
        for (uint32_t i = 0; i < e->item_count; i++) {
            const struct history_item *item = &e->items[i];
            if (item->f == HISTORY_ITEM_APPEND && l->longest[item->key] != NULL &&
                l->later[item->key] != 0 &&
                numtable_get(&l->listed, numtable_pair(item->key, item->value)) == NUMTABLE_NONE) {
                cyclegraph_add(&l->c->graph, l->later[item->key], op, EDGE_WW);
            }
        }
    }
}

static bool is_prefix(const struct history_item *read, const struct history_item *longest)
{
    return read->list_count <= longest->list_count &&
           (read->list_count == 0 ||
            memcmp(read->list, longest->list, read->list_count * sizeof *read->list) == 0);
}

/* A read that ends between two appends of one transaction. */
static void judge_intermediate(struct lists *l, uint32_t reader, uint32_t writer, uint32_t key,
                               uint32_t element)
{
    const struct history_event *e = l->c->ops->ops[writer].asked;
    uint32_t last = element;
    for (uint32_t i = 0; i < e->item_count; i++) {
        if (e->items[i].f == HISTORY_ITEM_APPEND && e->items[i].key == key) {
            last = e->items[i].value;
        }
    }
    if (last != element) {
        cycles_finding(l->c, "G1b", reader, writer, key, element,
                       "it was read without what the same transaction appended behind it:");
    }
}

/* Within a transaction, a list is what was read before with its own appends behind. */
static void judge_internal(struct lists *l, uint32_t op, uint32_t i)
{
    const struct history_event *e = l->c->ops->ops[op].answer;
    const struct history_item *read = &e->items[i];
    uint32_t from_end = 0;
    for (uint32_t k = i; k-- > 0;) {
        const struct history_item *item = &e->items[k];
        if (item->key != read->key) {
            continue;
        }
        if (item->f == HISTORY_ITEM_READ) {
            bool same = item->list_count + from_end == read->list_count && is_prefix(item, read);
            if (!same) {
                cycles_finding(l->c, "internal", op, NUMTABLE_NONE, read->key, HISTORY_NONE,
                               "two reads of one transaction do not fit:");
            }
            return;
        }
        from_end++;
        if (from_end > read->list_count || read->list[read->list_count - from_end] != item->value) {
            cycles_finding(l->c, "internal", op, NUMTABLE_NONE, read->key, item->value,
                           "a transaction does not read what it appended:");
            return;
        }
    }
}

/* Whose own append may be among what is later: he must not be before himself. */
static bool appends_to(const struct cycles *c, uint32_t op, uint32_t key)
{
    const struct history_event *e = c->ops->ops[op].asked;
    for (uint32_t i = 0; i < e->item_count; i++) {
        if (e->items[i].f == HISTORY_ITEM_APPEND && e->items[i].key == key) {
            return true;
        }
    }
    return false;
}

static void add_read(struct lists *l, uint32_t op, uint32_t i)
{
    struct cycles *c = l->c;
    const struct history_item *read = &c->ops->ops[op].answer->items[i];
    const struct history_item *longest = l->longest[read->key];
    c->reads++;
    judge_internal(l, op, i);
    if (!is_prefix(read, longest)) {
        cycles_finding(c, "incompatible order", op, l->longest_by[read->key], read->key,
                       HISTORY_NONE,
                       "two reads of a list, and neither is the beginning of the other:");
        return;
    }
    for (uint32_t k = read->list_count; k-- > 0;) {
        uint32_t writer = cycles_known_writer(c, read->key, read->list[k]);
        if (writer != NUMTABLE_NONE && writer != op) {
            judge_intermediate(l, op, writer, read->key, read->list[k]);
            cyclegraph_add(&c->graph, writer, op, EDGE_WR);
        }
        if (writer != op) {
            break;
        }
    }
    if (read->list_count == longest->list_count) {
        if (l->later[read->key] != 0 && !appends_to(c, op, read->key)) {
            cyclegraph_add(&c->graph, op, l->later[read->key], EDGE_RW);
        }
        return;
    }
    uint32_t next = cycles_known_writer(c, read->key, longest->list[read->list_count]);
    if (next != NUMTABLE_NONE) {
        cyclegraph_add(&c->graph, op, next, EDGE_RW);
    }
}

void cycles_of_append(struct cycles *c)
{
    size_t symbols = history_symbol_count(c->ops->h);
    struct lists l = {.c = c};
    l.longest = calloc(symbols, sizeof *l.longest);
    l.longest_by = calloc(symbols, sizeof *l.longest_by);
    l.later = calloc(symbols, sizeof *l.later);
    if (l.longest != NULL && l.longest_by != NULL && l.later != NULL) {
        find_longest(&l);
        for (uint32_t key = 1; key < symbols; key++) {
            if (l.longest[key] != NULL) {
                add_version_order(&l, key);
            }
        }
        add_unread(&l);
        for (uint32_t op = 0; op < c->ops->count; op++) {
            for (uint32_t i = 0; i < c->ops->ops[op].asked->item_count; i++) {
                if (reads_of(c, op, i) != NULL) {
                    add_read(&l, op, i);
                }
            }
        }
    } else {
        c->no_memory = true;
    }
    free(l.longest);
    free(l.longest_by);
    free(l.later);
    numtable_fini(&l.listed);
}
