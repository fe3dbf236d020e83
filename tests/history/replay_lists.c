/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/replay.h"

#include <stdlib.h>

#include "base/array.h"

/* Lists that are appended to, and sets. What was acknowledged up to a revision must be in what is
 * read there; what else is in it must be an attempt without an answer, which from then on is known
 * to be there. */

bool replay_lists_init(struct replay *r)
{
    const struct operations *ops = r->log->ops;
    r->stamps = calloc(history_symbol_count(r->log->h), sizeof *r->stamps);
    r->used = calloc((size_t)ops->count + 1, 1);
    if (r->stamps == NULL || r->used == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < ops->count; i++) {
        const struct history_event *e = operation_told(&ops->ops[i]);
        for (uint32_t k = 0; k < e->item_count; k++) {
            bool writes = e->items[k].f == HISTORY_ITEM_APPEND || e->f == HISTORY_ADD;
            uint64_t pair = numtable_pair(e->items[k].key, e->items[k].value);
            if (writes && numtable_get(&r->writers, pair) == NUMTABLE_NONE &&
                !numtable_set(&r->writers, pair, i)) {
                return false;
            }
        }
        if (e->f == HISTORY_TRANSFER && ops->ops[i].outcome == HISTORY_INFO) {
            buf_append(&r->transfers, &i, sizeof i);
        }
    }
    return buf_ok(&r->transfers);
}

void replay_lists_fini(struct replay *r)
{
    for (size_t i = 0; i < r->lists.count; i++) {
        free(r->elements[i].at);
    }
    free(r->elements);
    free(r->stamps);
    free(r->used);
    numtable_fini(&r->writers);
    numtable_fini(&r->known);
    numtable_fini(&r->lists);
    buf_fini(&r->transfers);
}

/* NULL: no memory. */
static struct elements *elements_of(struct replay *r, uint32_t key)
{
    uint32_t i = numtable_number(&r->lists, key);
    if (i == NUMTABLE_NONE) {
        r->no_memory = true;
        return NULL;
    }
    size_t had = r->element_cap;
    if (!ARRAY_MAKE_ROOM(r->elements, i, r->element_cap, 16)) {
        r->lists.count = r->element_cap; /* those that have a place */
        r->no_memory = true;
        return NULL;
    }
    memset(r->elements + had, 0, (r->element_cap - had) * sizeof *r->elements);
    return &r->elements[i];
}

static void push(struct replay *r, struct elements *list, uint32_t element)
{
    if (!ARRAY_MAKE_ROOM(list->at, list->count, list->cap, 16)) {
        r->no_memory = true;
        return;
    }
    list->at[list->count++] = element;
}

void replay_lists_write(struct replay *r, uint32_t op)
{
    const struct history_event *e = operation_told(&r->log->ops->ops[op]);
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        if (item->f != HISTORY_ITEM_APPEND && e->f != HISTORY_ADD) {
            continue;
        }
        struct elements *list = elements_of(r, item->key);
        uint64_t pair = numtable_pair(item->key, item->value);
        if (list == NULL) {
            return;
        }
        /* An attempt without an answer may have been read before. */
        if (numtable_get(&r->known, pair) == NUMTABLE_NONE) {
            push(r, list, item->value);
            r->no_memory |= !numtable_set(&r->known, pair, 1);
        }
    }
}

/* An element that was read, and that nobody was acknowledged up to here; whether it may be there.
 */
static bool may_be_there(struct replay *r, const struct look *look, uint32_t key, uint32_t element)
{
    uint32_t op = numtable_get(&r->writers, numtable_pair(key, element));
    if (op == NUMTABLE_NONE) {
        if (!r->log->options->strangers) {
            replay_finding(r, look, "nobody wrote it", key, element, NO_POSITION,
                           "an element that nobody added:");
        }
        return r->log->options->strangers;
    }
    const struct operation *writer = &r->log->ops->ops[op];
    uint64_t at = writer->asked_at;
    if (writer->outcome == HISTORY_INFO) {
        if (writer->asked_at > r->log->ops->ops[look->op].answer_at) {
            replay_finding(r, look, "from the future", key, element, at,
                           "an element before it was asked to be added:");
        }
        return true;
    }
    if (writer->outcome == HISTORY_FAIL) {
        replay_finding(r, look, "failed write seen", key, element, at,
                       "an element whose writer was told that it failed:");
    } else if (look->op != op && revlog_acked_revision(writer) > look->revision) {
        replay_finding(r, look, "from the future", key, element, at,
                       "an element that was added at a larger revision:");
    } else {
        replay_finding(r, look, "another order", key, element, at,
                       "an element stands twice, or before one that was added earlier:");
    }
    return false;
}

/* What was read and what is known go side by side:
 *
 *   known   1    3 4          5 is an attempt without an answer. From now on it is known:
 *   read    1 5  3 4                                                  1 5 3 4          */
static void compare_list(struct replay *r, const struct look *look, const struct history_item *item,
                         uint32_t read_count)
{
    struct elements *known = elements_of(r, item->key);
    uint32_t at = 0;
    bool all_may = true;
    for (uint32_t i = 0; known != NULL && i < read_count; i++) {
        if (at < known->count && known->at[at] == item->list[i]) {
            at++;
        } else {
            all_may &= may_be_there(r, look, item->key, item->list[i]);
        }
    }
    if (known == NULL || !all_may) {
        return;
    }
    if (at < known->count) {
        uint32_t writer = numtable_get(&r->writers, numtable_pair(item->key, known->at[at]));
        replay_finding(r, look, "lost element", item->key, known->at[at],
                       writer == NUMTABLE_NONE ? NO_POSITION : r->log->ops->ops[writer].asked_at,
                       "not in the list, and it was added at or before this revision:");
    } else if (read_count > known->count) {
        known->count = 0;
        for (uint32_t i = 0; i < read_count; i++) {
            push(r, known, item->list[i]);
            r->no_memory |= !numtable_set(&r->known, numtable_pair(item->key, item->list[i]), 1);
        }
    }
}

/* How many elements at the end of what item I has read the transaction itself has appended. */
static uint32_t own_appends(struct replay *r, const struct look *look,
                            const struct history_event *e, uint32_t i)
{
    uint32_t own = 0;
    const struct history_item *item = &e->items[i];
    for (uint32_t k = i; k-- > 0;) {
        if (e->items[k].f != HISTORY_ITEM_APPEND || e->items[k].key != item->key) {
            continue;
        }
        own++;
        if (own > item->list_count || item->list[item->list_count - own] != e->items[k].value) {
            replay_finding(r, look, "own write lost", item->key, e->items[k].value, NO_POSITION,
                           "a transaction does not see what it has appended:");
            return 0;
        }
    }
    return own;
}

void replay_append_txn(struct replay *r, const struct look *look)
{
    const struct history_event *e = r->log->ops->ops[look->op].answer;
    for (uint32_t i = 0; i < e->item_count; i++) {
        if (e->items[i].f == HISTORY_ITEM_READ) {
            r->reads++;
            uint32_t own = own_appends(r, look, e, i);
            compare_list(r, look, &e->items[i], e->items[i].list_count - own);
        }
    }
}

void replay_set_read(struct replay *r, const struct look *look, const struct history_item *item)
{
    struct elements *known = elements_of(r, item->key);
    r->reads++;
    r->stamp++;
    for (uint32_t i = 0; i < item->list_count; i++) {
        if (r->stamps[item->list[i]] == r->stamp) {
            replay_finding(r, look, "element twice", item->key, item->list[i], NO_POSITION,
                           "a set has an element twice:");
        }
        r->stamps[item->list[i]] = r->stamp;
    }
    uint32_t found = 0;
    for (uint32_t i = 0; known != NULL && i < known->count; i++) {
        if (r->stamps[known->at[i]] == r->stamp) {
            found++;
        } else {
            uint32_t writer = numtable_get(&r->writers, numtable_pair(item->key, known->at[i]));
            replay_finding(r, look, "lost element", item->key, known->at[i],
                           writer == NUMTABLE_NONE ? NO_POSITION
                                                   : r->log->ops->ops[writer].asked_at,
                           "not in the set, and it was added at or before this revision:");
        }
    }
    for (uint32_t i = 0; known != NULL && found < item->list_count && i < item->list_count; i++) {
        uint64_t pair = numtable_pair(item->key, item->list[i]);
        if (numtable_get(&r->known, pair) == NUMTABLE_NONE &&
            may_be_there(r, look, item->key, item->list[i])) {
            push(r, known, item->list[i]);
            r->no_memory |= !numtable_set(&r->known, pair, 1);
        }
    }
}
