/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/cycles.h"

#include <stdlib.h>

/* Plain keys do not tell in which order they were written. What does: who read a value and then
 * wrote the key, in one transaction, wrote directly over that value; and the store's revisions. */
struct versions {
    struct cycles *c;
    struct at_revision *order; /* writes of all keys by revision: what is a number of `writes` */
    struct write {
        uint32_t op;
        uint32_t key;
        uint32_t next; /* the write of the same key behind it, or NUMTABLE_NONE */
    } * writes;
    uint32_t count;
    uint32_t *first;          /* for each symbol: its first write */
    uint32_t *last;           /* while they are chained */
    uint8_t *deleted;         /* for each symbol: some transaction deletes it */
    struct numtable of_write; /* key, operation -> its write */
};

static bool reads(const struct history_item *item)
{
    return item->f == HISTORY_ITEM_READ || item->f == HISTORY_ITEM_COMPARE;
}

/* Whether the transaction wrote the key before item I. */
static bool own(const struct history_event *e, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (e->items[k].f == HISTORY_ITEM_WRITE && e->items[k].key == e->items[i].key) {
            return true;
        }
    }
    return false;
}

static void add_write(struct versions *v, uint32_t op, uint32_t key, int64_t revision)
{
    uint64_t pair = numtable_pair(key, op);
    if (revision <= 0 || numtable_get(&v->of_write, pair) != NUMTABLE_NONE) {
        return;
    }
    v->writes[v->count] = (struct write){.op = op, .key = key, .next = NUMTABLE_NONE};
    v->order[v->count] = (struct at_revision){.revision = revision, .what = v->count};
    v->c->no_memory |= !numtable_set(&v->of_write, pair, v->count);
    v->count++;
}

/* Acknowledged writes have a revision, and attempts whose value was read with one. */
static void see_writes(struct versions *v)
{
    const struct operations *ops = v->c->ops;
    for (uint32_t op = 0; op < ops->count; op++) {
        if (!cycles_has(v->c, op, HISTORY_WR)) {
            continue;
        }
        const struct history_event *e = ops->ops[op].asked;
        bool acked = ops->ops[op].outcome == HISTORY_OK;
        for (uint32_t i = 0; i < e->item_count; i++) {
            const struct history_item *item = acked ? &ops->ops[op].answer->items[i] : &e->items[i];
            v->deleted[item->key] |= item->f == HISTORY_ITEM_WRITE && item->value == HISTORY_NONE;
            if (acked && item->f == HISTORY_ITEM_WRITE) {
                add_write(v, op, item->key, ops->ops[op].answer->revision);
            } else if (acked && item->f == HISTORY_ITEM_READ && item->mod_revision > 0) {
                uint32_t writer = cycles_known_writer(v->c, item->key, item->value);
                if (writer != NUMTABLE_NONE && ops->ops[writer].outcome == HISTORY_INFO) {
                    add_write(v, writer, item->key, item->mod_revision);
                }
            }
        }
    }
}

static void chain_writes(struct versions *v)
{
    if (!revisions_sort(v->order, v->count)) {
        v->c->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < v->count; i++) {
        uint32_t number = v->order[i].what;
        uint32_t key = v->writes[number].key;
        if (v->first[key] == NUMTABLE_NONE) {
            v->first[key] = number;
        } else {
            v->writes[v->last[key]].next = number;
            cyclegraph_add(&v->c->graph, v->writes[v->last[key]].op, v->writes[number].op, EDGE_WW);
        }
        v->last[key] = number;
    }
}

/* What READER did not see: who wrote over the value, WRITER's, or over nothing. */
static void add_overwritten(struct versions *v, uint32_t reader, uint32_t key, uint32_t writer)
{
    uint32_t next = NUMTABLE_NONE;
    if (writer == NUMTABLE_NONE) {
        next = v->deleted[key] ? NUMTABLE_NONE : v->first[key];
    } else {
        uint32_t write = numtable_get(&v->of_write, numtable_pair(key, writer));
        next = write == NUMTABLE_NONE ? NUMTABLE_NONE : v->writes[write].next;
    }
    if (next != NUMTABLE_NONE) {
        cyclegraph_add(&v->c->graph, reader, v->writes[next].op, EDGE_RW);
    }
}

static void add_reads(struct versions *v, uint32_t op)
{
    struct cycles *c = v->c;
    const struct history_event *e = c->ops->ops[op].answer;
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        if (!reads(item) || own(e, i)) {
            continue;
        }
        c->reads++;
        uint32_t writer = NUMTABLE_NONE;
        if (item->value != HISTORY_NONE) {
            writer = cycles_writer(c, op, item->key, item->value);
            if (writer == NUMTABLE_NONE) {
                continue;
            }
            cyclegraph_add(&c->graph, writer, op, EDGE_WR);
        }
        add_overwritten(v, op, item->key, writer);
        for (uint32_t k = 0; writer != NUMTABLE_NONE && k < e->item_count; k++) {
            if (e->items[k].f == HISTORY_ITEM_WRITE && e->items[k].key == item->key) {
                cyclegraph_add(&c->graph, writer, op, EDGE_WW);
            }
        }
    }
}

static size_t count_items(const struct operations *ops)
{
    size_t count = 0;
    for (uint32_t i = 0; i < ops->count; i++) {
        count += ops->ops[i].asked->workload == HISTORY_WR ? ops->ops[i].asked->item_count : 0;
    }
    return count;
}

void cycles_of_wr(struct cycles *c)
{
    size_t symbols = history_symbol_count(c->ops->h);
    size_t items = count_items(c->ops) + 1;
    struct versions v = {.c = c};
    v.order = reallocarray(NULL, items, sizeof *v.order);
    v.writes = reallocarray(NULL, items, sizeof *v.writes);
    v.first = reallocarray(NULL, symbols, sizeof *v.first);
    v.last = calloc(symbols, sizeof *v.last);
    v.deleted = calloc(symbols, 1);
    if (v.order != NULL && v.writes != NULL && v.first != NULL && v.last != NULL &&
        v.deleted != NULL) {
        memset(v.first, 0xff, symbols * sizeof *v.first);
        see_writes(&v);
        chain_writes(&v);
        for (uint32_t op = 0; op < c->ops->count; op++) {
            if (c->ops->ops[op].outcome == HISTORY_OK && cycles_has(c, op, HISTORY_WR)) {
                add_reads(&v, op);
            }
        }
    } else {
        c->no_memory = true;
    }
    free(v.order);
    free(v.writes);
    free(v.first);
    free(v.last);
    free(v.deleted);
    numtable_fini(&v.of_write);
}
