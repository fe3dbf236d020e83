/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tests/history/wgl.h"

/* Linearizability without revisions. It is local (Herlihy and Wing, 1990): a history is
 * linearizable if what happened to each object is, so that keys are searched one by one; those that
 * a transaction touches together are one object. Each part is given to wgl.c. */
#define STATES_MAX_DEFAULT 1000000u
/* Parts of many keys are small or left out: the search is exponential in the worst case. */
#define TXN_PART_MAX 400u

struct parts {
    const struct operations *ops;
    const struct history_options *options;
    struct history_report *report;
    uint32_t *parent;          /* for each symbol: union-find */
    uint32_t *cell_of;         /* for each symbol: its number within its part */
    struct at_revision *order; /* revision: the part, what: the operation */
    size_t count;
    uint64_t checked;
    uint64_t keys;
    uint64_t left_out;
};

static uint32_t root_of(struct parts *p, uint32_t symbol)
{
    while (p->parent[symbol] != symbol) {
        p->parent[symbol] = p->parent[p->parent[symbol]];
        symbol = p->parent[symbol];
    }
    return symbol;
}

/* What counts: an operation that took effect or may have, or a comparison that was false. Reads
 * whose answer nobody knows, and those that may be old, say nothing. */
static bool counts(const struct operation *op)
{
    enum history_workload w = op->asked->workload;
    if ((w != HISTORY_REGISTER && w != HISTORY_APPEND && w != HISTORY_WR) ||
        operation_is_serializable(op) || op->asked->at_revision > 0 || op->asked->item_count == 0) {
        return false;
    }
    if (op->outcome == HISTORY_FAIL) {
        return op->asked->f == HISTORY_CAS && op->answer->revision > 0;
    }
    bool writes = false;
    for (uint32_t i = 0; i < op->asked->item_count; i++) {
        writes |= op->asked->items[i].f == HISTORY_ITEM_WRITE ||
                  op->asked->items[i].f == HISTORY_ITEM_APPEND;
    }
    return op->outcome == HISTORY_OK || writes;
}

/* A list is a hash of its elements in order, so that a state is a number whatever the workload. */
static uint64_t list_value(const struct history_item *item)
{
    uint64_t value = WGL_ABSENT;
    for (uint32_t i = 0; i < item->list_count; i++) {
        value = wgl_append(value, item->list[i]);
    }
    return value;
}

static struct wgl_step step_of(const struct parts *p, const struct history_event *e, uint32_t i)
{
    const struct history_item *item = &e->items[i];
    struct wgl_step step = {.cell = p->cell_of[item->key], .value = item->value};
    switch (item->f) {
    case HISTORY_ITEM_WRITE:
        step.kind = WGL_WRITE;
        break;
    case HISTORY_ITEM_APPEND:
        step.kind = WGL_APPEND;
        break;
    default:
        step.kind = WGL_READ;
        if (e->workload == HISTORY_APPEND) {
            step.value = list_value(item);
        }
        break;
    }
    return step;
}

static bool add_operation(const struct parts *p, struct wgl *wgl, uint32_t number)
{
    const struct operation *op = &p->ops->ops[number];
    const struct history_event *e = operation_told(op);
    struct wgl_step steps_few[8];
    struct wgl_step *steps = steps_few;
    bool refused = op->outcome == HISTORY_FAIL;
    uint32_t count = 0;
    if (e->item_count > 8) {
        steps = reallocarray(NULL, e->item_count, sizeof *steps);
        if (steps == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < e->item_count; i++) {
        bool unread = op->outcome == HISTORY_INFO && e->items[i].f == HISTORY_ITEM_READ;
        if (!unread && !(refused && e->items[i].f == HISTORY_ITEM_WRITE)) {
            steps[count] = step_of(p, e, i);
            steps[count++].differs = refused;
        }
    }
    bool added = wgl_add(wgl, number, op->asked_at, operation_end(op), steps, count);
    if (steps != steps_few) {
        free(steps);
    }
    return added;
}

static void report_part(struct parts *p, const struct wgl *wgl, uint32_t key)
{
    char name[SYMBOL_TEXT_BYTES];
    uint32_t stuck[2];
    uint32_t longest = wgl_longest(wgl, stuck);
    uint64_t where[4] = {NO_POSITION, NO_POSITION, NO_POSITION, NO_POSITION};
    for (int i = 0; i < 2; i++) {
        if (stuck[i] != WGL_NONE) {
            where[2 * i] = p->ops->ops[stuck[i]].asked_at;
            where[2 * i + 1] = p->ops->ops[stuck[i]].answer_at;
        }
    }
    report_add(p->report, HISTORY_CHECK_LINEAR, "not linearizable", where,
               "key %s: no order explains what was read; at best %" PRIu32
               " operations have one, and then this one must be next and cannot:",
               symbol_print(p->ops->h, key, name), longest);
}

static enum err check_part(struct parts *p, size_t from, size_t to)
{
    uint32_t key = (uint32_t)p->order[from].revision;
    uint64_t states_max =
        p->options->linear_states_max != 0 ? p->options->linear_states_max : STATES_MAX_DEFAULT;
    uint32_t cells = 0;
    bool registers = true;
    for (size_t i = from; i < to; i++) {
        const struct history_event *e = p->ops->ops[p->order[i].what].asked;
        registers &= e->workload == HISTORY_REGISTER;
        for (uint32_t k = 0; k < e->item_count; k++) {
            if (p->cell_of[e->items[k].key] == UINT32_MAX) {
                p->cell_of[e->items[k].key] = cells++;
            }
        }
    }
    if (!registers && to - from > TXN_PART_MAX) {
        p->left_out += to - from;
        return OK;
    }
    struct wgl *wgl = wgl_new(cells, to - from, states_max);
    bool room = wgl != NULL;
    for (size_t i = from; room && i < to; i++) {
        room = add_operation(p, wgl, p->order[i].what);
    }
    enum wgl_verdict verdict = room ? wgl_search(wgl) : WGL_NO_MEMORY;
    if (verdict == WGL_IMPOSSIBLE) {
        report_part(p, wgl, key);
    } else if (verdict == WGL_TOO_LARGE) {
        report_unknown(p->report, HISTORY_CHECK_LINEAR, "the bound of states came first");
    }
    wgl_free(wgl);
    p->checked += to - from;
    p->keys += cells;
    return verdict == WGL_NO_MEMORY ? ERR_NOMEM : OK;
}

static enum err check_parts(struct parts *p)
{
    size_t symbols = history_symbol_count(p->ops->h);
    for (size_t s = 0; s < symbols; s++) {
        p->parent[s] = (uint32_t)s;
        p->cell_of[s] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < p->ops->count; i++) {
        const struct history_event *e = p->ops->ops[i].asked;
        for (uint32_t k = 1; counts(&p->ops->ops[i]) && k < e->item_count; k++) {
            p->parent[root_of(p, e->items[k].key)] = root_of(p, e->items[0].key);
        }
    }
    for (uint32_t i = 0; i < p->ops->count; i++) {
        if (counts(&p->ops->ops[i])) {
            uint32_t root = root_of(p, p->ops->ops[i].asked->items[0].key);
            p->order[p->count++] = (struct at_revision){.revision = root, .what = i};
        }
    }
    if (!revisions_sort(p->order, p->count)) {
        return ERR_NOMEM;
    }
    for (size_t from = 0, to = 0; from < p->count; from = to) {
        while (to < p->count && p->order[to].revision == p->order[from].revision) {
            to++;
        }
        TRY(check_part(p, from, to));
    }
    return OK;
}

enum err check_linear(const struct operations *ops, const struct history_options *options,
                      struct history_report *report)
{
    size_t symbols = history_symbol_count(ops->h);
    struct parts p = {.ops = ops, .options = options, .report = report};
    p.parent = reallocarray(NULL, symbols, sizeof *p.parent);
    p.cell_of = reallocarray(NULL, symbols, sizeof *p.cell_of);
    p.order = reallocarray(NULL, (size_t)ops->count + 1, sizeof *p.order);
    bool room = p.parent != NULL && p.cell_of != NULL && p.order != NULL;
    enum err err = room ? check_parts(&p) : ERR_NOMEM;
    report_count(report, HISTORY_CHECK_LINEAR, "operations", p.checked);
    report_count(report, HISTORY_CHECK_LINEAR, "keys", p.keys);
    report_count(report, HISTORY_CHECK_LINEAR, "left out", p.left_out);
    free(p.parent);
    free(p.cell_of);
    free(p.order);
    return err;
}
