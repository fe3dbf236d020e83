/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/history/cycles.h"

/* Strict serializability of transactions, as Elle has it (Kingsbury and Alvaro, 2020): who saw or
 * wrote over whom, and who had ended before whom began, must all fit into one order. A cycle says
 * that they do not, and its edges say how bad it is (Adya's G0 to G2).
 *
 * Real time needs one edge for each two operations if drawn plainly. Here each answer is a node of
 * its own, chained to the one before it:
 *
 *        op 1 ──┐         ┌──▶ op 3
 *               ▼         │
 *      ... ─▶ answer ─▶ answer ─▶ ...                                                         */
#define CYCLES_TRIED 32
#define NO_NODE      UINT32_MAX
#define SEVERAL      (UINT32_MAX - 1) /* write this value: nobody can say who was read */

static const struct {
    const char *rule;
    const char *rule_many_rw; /* with more than one edge RW */
    uint8_t mask;
} classes[] = {
    {"G0", "G0", EDGE_WW},
    {"G1c", "G1c", EDGE_WW | EDGE_WR},
    {"G-single", "G2", EDGE_WW | EDGE_WR | EDGE_RW},
    {"G0-realtime", "G0-realtime", EDGE_WW | EDGE_RT},
    {"G1c-realtime", "G1c-realtime", EDGE_WW | EDGE_WR | EDGE_RT},
    {"G-single-realtime", "G2-realtime", EDGE_WW | EDGE_WR | EDGE_RW | EDGE_RT},
};

void cycles_finding(struct cycles *c, const char *rule, uint32_t op, uint32_t other, uint32_t key,
                    uint32_t value, const char *text)
{
    char key_text[SYMBOL_TEXT_BYTES];
    char value_text[SYMBOL_TEXT_BYTES];
    const struct operation *o = &c->ops->ops[op];
    uint64_t where[4] = {o->asked_at, o->answer_at,
                         other == NUMTABLE_NONE ? NO_POSITION : c->ops->ops[other].asked_at,
                         NO_POSITION};
    report_add(c->report, HISTORY_CHECK_CYCLE, rule, where, "key %s, value %s: %s",
               symbol_print(c->ops->h, key, key_text), symbol_print(c->ops->h, value, value_text),
               text);
}

uint32_t cycles_known_writer(const struct cycles *c, uint32_t key, uint32_t value)
{
    uint32_t writer = numtable_get(&c->writers, numtable_pair(key, value));
    return writer == SEVERAL ? NUMTABLE_NONE : writer;
}

uint32_t cycles_writer(struct cycles *c, uint32_t reader, uint32_t key, uint32_t value)
{
    uint32_t writer = numtable_get(&c->writers, numtable_pair(key, value));
    if (writer == SEVERAL) {
        return NUMTABLE_NONE;
    }
    if (writer == NUMTABLE_NONE) {
        cycles_finding(c, "phantom", reader, NUMTABLE_NONE, key, value,
                       "it was read, and nobody wrote it:");
    } else if (c->ops->ops[writer].outcome == HISTORY_FAIL) {
        cycles_finding(c, "G1a", reader, writer, key, value,
                       "it was read, and who wrote it failed:");
        return NUMTABLE_NONE;
    }
    return writer;
}

static void find_writers(struct cycles *c)
{
    for (uint32_t i = 0; i < c->ops->count; i++) {
        const struct history_event *e = c->ops->ops[i].asked;
        for (uint32_t k = 0; e->f == HISTORY_TXN && k < e->item_count; k++) {
            const struct history_item *item = &e->items[k];
            uint64_t pair = numtable_pair(item->key, item->value);
            bool writes = item->f == HISTORY_ITEM_APPEND || item->f == HISTORY_ITEM_WRITE;
            if (writes) {
                bool first = numtable_get(&c->writers, pair) == NUMTABLE_NONE;
                c->no_memory |= !numtable_set(&c->writers, pair, first ? i : SEVERAL);
            }
        }
    }
}

static void add_real_time(struct cycles *c)
{
    uint32_t answer = NO_NODE;
    for (uint32_t at = 0; at < history_count(c->ops->h); at++) {
        uint32_t i = c->ops->of_event[at];
        if (i == NEVER || c->ops->ops[i].asked->f != HISTORY_TXN ||
            operation_is_serializable(&c->ops->ops[i])) {
            continue;
        }
        const struct operation *op = &c->ops->ops[i];
        if (at == op->asked_at && answer != NO_NODE) {
            cyclegraph_add(&c->graph, answer, i, EDGE_RT);
        } else if (at == op->answer_at && op->outcome == HISTORY_OK) {
            if (answer != NO_NODE) {
                cyclegraph_add(&c->graph, answer, c->nodes, EDGE_RT);
            }
            answer = c->nodes++;
            cyclegraph_add(&c->graph, i, answer, EDGE_RT);
        }
    }
}

/* "#12 -rw-> #20 -before-> #12", and the first four operations as positions. */
static void report_cycle(struct cycles *c, const char *rule, uint32_t from, const struct buf *steps)
{
    const struct cyclestep *at = (const struct cyclestep *)(const void *)steps->data;
    struct buf text = {0};
    uint64_t where[4] = {NO_POSITION, NO_POSITION, NO_POSITION, NO_POSITION};
    uint32_t shown = 0;
    buf_printf(&text, "#%" PRId64, c->ops->ops[from].asked->index);
    where[shown++] = c->ops->ops[from].asked_at;
    for (size_t i = 0; i < steps->len / sizeof *at; i++) {
        if (at[i].node >= c->ops->count) {
            continue;
        }
        const struct operation *op = &c->ops->ops[at[i].node];
        const char *kind = at[i].kind == EDGE_WW   ? "ww"
                           : at[i].kind == EDGE_WR ? "wr"
                           : at[i].kind == EDGE_RW ? "rw"
                                                   : "before";
        if (i < 16) {
            buf_printf(&text, " -%s-> #%" PRId64, kind, op->asked->index);
        }
        if (shown < 4 && at[i].node != from) {
            where[shown++] = op->asked_at;
        }
    }
    report_add(c->report, HISTORY_CHECK_CYCLE, rule, where,
               "%.*s, so that none is first:", (int)text.len, (const char *)text.data);
    buf_fini(&text);
}

static uint32_t rw_edges(const struct buf *steps)
{
    const struct cyclestep *at = (const struct cyclestep *)(const void *)steps->data;
    uint32_t count = 0;
    for (size_t i = 0; i < steps->len / sizeof *at; i++) {
        count += at[i].kind == EDGE_RW;
    }
    return count;
}

/* A cycle within the components over this class's edges, with few RW edges. */
static void find_cycle(struct cycles *c, size_t class)
{
    const struct cyclegraph *g = &c->graph;
    struct buf steps = {0};
    struct buf best = {0};
    uint32_t best_from = 0;
    uint32_t tried = 0;
    bool has_rw = (classes[class].mask & EDGE_RW) != 0;
    for (uint32_t from = 0; from < c->ops->count && tried < CYCLES_TRIED; from++) {
        for (uint32_t e = g->starts[from]; e < g->starts[from + 1]; e++) {
            uint32_t to = g->targets[e];
            bool tries = (g->kinds[e] & classes[class].mask) != 0 &&
                         g->component[to] == g->component[from] &&
                         (!has_rw || g->kinds[e] == EDGE_RW);
            if (!tries ||
                !cyclegraph_way(g, to, from, classes[class].mask, &steps, &c->no_memory)) {
                continue;
            }
            if (best.len == 0 || rw_edges(&steps) < rw_edges(&best) - has_rw) {
                buf_clear(&best);
                buf_append(&best, &(struct cyclestep){.node = to, .kind = g->kinds[e]},
                           sizeof(struct cyclestep));
                buf_append_bytes(&best, buf_bytes(&steps));
                best_from = from;
            }
            tried++;
            break;
        }
    }
    if (best.len > 0 && buf_ok(&best)) {
        bool many = rw_edges(&best) > 1;
        report_cycle(c, many ? classes[class].rule_many_rw : classes[class].rule, best_from, &best);
    }
    c->no_memory |= !buf_ok(&steps) || !buf_ok(&best);
    buf_fini(&steps);
    buf_fini(&best);
}

/* The worst class that has a cycle, and the worst that needs real time to be one. */
static enum err find_cycles(struct cycles *c)
{
    uint32_t cyclic;
    uint8_t all = EDGE_WW | EDGE_WR | EDGE_RW | EDGE_RT;
    if (c->no_memory || !cyclegraph_build(&c->graph, c->nodes) ||
        !cyclegraph_components(&c->graph, all, &cyclic)) {
        return ERR_NOMEM;
    }
    for (size_t class = 0; cyclic > 0 && class < ARRAY_LEN(classes); class ++) {
        uint32_t of_class;
        if (!cyclegraph_components(&c->graph, classes[class].mask, &of_class)) {
            return ERR_NOMEM;
        }
        if (of_class > 0) {
            find_cycle(c, class);
            break;
        }
    }
    return c->no_memory ? ERR_NOMEM : OK;
}

enum err check_cycle(const struct operations *ops, struct history_report *report)
{
    struct cycles c = {.ops = ops, .report = report, .nodes = ops->count};
    uint64_t txns = 0;
    find_writers(&c);
    cycles_of_append(&c);
    cycles_of_wr(&c);
    add_real_time(&c);
    enum err err = find_cycles(&c);
    for (uint32_t i = 0; i < ops->count; i++) {
        txns += ops->ops[i].asked->f == HISTORY_TXN && ops->ops[i].outcome == HISTORY_OK;
    }
    report_count(report, HISTORY_CHECK_CYCLE, "transactions", txns);
    report_count(report, HISTORY_CHECK_CYCLE, "reads", c.reads);
    report_count(report, HISTORY_CHECK_CYCLE, "dependencies", cyclegraph_edges(&c.graph));
    cyclegraph_fini(&c.graph);
    numtable_fini(&c.writers);
    return err;
}
