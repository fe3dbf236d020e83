/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/cyclegraph.h"

#include <stdlib.h>

#define UNVISITED UINT32_MAX

struct edge {
    uint32_t from;
    uint32_t to;
    uint8_t kind;
};

void cyclegraph_add(struct cyclegraph *g, uint32_t from, uint32_t to, uint8_t kind)
{
    if (from != to) {
        buf_append(&g->edges, &(struct edge){.from = from, .to = to, .kind = kind},
                   sizeof(struct edge));
    }
}

uint64_t cyclegraph_edges(const struct cyclegraph *g)
{
    return g->edges.len / sizeof(struct edge);
}

bool cyclegraph_build(struct cyclegraph *g, uint32_t nodes)
{
    const struct edge *edges = (const struct edge *)(const void *)g->edges.data;
    size_t count = g->edges.len / sizeof *edges;
    g->nodes = nodes;
    g->starts = calloc((size_t)nodes + 2, sizeof *g->starts);
    g->targets = reallocarray(NULL, count + 1, sizeof *g->targets);
    g->kinds = malloc(count + 1);
    g->component = reallocarray(NULL, (size_t)nodes + 1, sizeof *g->component);
    if (!buf_ok(&g->edges) || count >= UINT32_MAX || g->starts == NULL || g->targets == NULL ||
        g->kinds == NULL || g->component == NULL) {
        return false;
    }
    /* Counted into the place behind, so that filling moves each to where its own begin. */
    for (size_t i = 0; i < count; i++) {
        g->starts[edges[i].from + 2]++;
    }
    for (uint32_t n = 0; n < nodes; n++) {
        g->starts[n + 2] += g->starts[n + 1];
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t at = g->starts[edges[i].from + 1]++;
        g->targets[at] = edges[i].to;
        g->kinds[at] = edges[i].kind;
    }
    return true;
}

void cyclegraph_fini(struct cyclegraph *g)
{
    buf_fini(&g->edges);
    free(g->starts);
    free(g->targets);
    free(g->kinds);
    free(g->component);
    *g = (struct cyclegraph){0};
}

/* Tarjan's strongly connected components (1972), with stacks of its own: a chain of a million nodes
 * must not be a million calls. */
struct tarjan {
    struct cyclegraph *g;
    uint8_t mask;
    uint32_t *order; /* when a node was visited first */
    uint32_t *low;   /* the earliest that is known to be reached from it */
    uint32_t *next;  /* the edge to look at next */
    uint32_t *path;  /* nodes that are being visited */
    uint32_t *open;  /* nodes without a component yet */
    uint32_t path_count;
    uint32_t open_count;
    uint32_t visited;
    uint32_t components;
    uint32_t cyclic;
};

static void enter(struct tarjan *t, uint32_t node)
{
    t->order[node] = t->low[node] = t->visited++;
    t->next[node] = t->g->starts[node];
    t->path[t->path_count++] = node;
    t->open[t->open_count++] = node;
}

static void leave(struct tarjan *t, uint32_t node)
{
    t->path_count--;
    if (t->path_count > 0) {
        uint32_t parent = t->path[t->path_count - 1];
        t->low[parent] = t->low[node] < t->low[parent] ? t->low[node] : t->low[parent];
    }
    if (t->low[node] != t->order[node]) {
        return;
    }
    uint32_t member;
    uint32_t size = 0;
    do {
        member = t->open[--t->open_count];
        t->g->component[member] = t->components;
        size++;
    } while (member != node);
    t->components++;
    t->cyclic += size > 1;
}

static void visit_all(struct tarjan *t)
{
    const struct cyclegraph *g = t->g;
    for (uint32_t root = 0; root < g->nodes; root++) {
        if (t->order[root] != UNVISITED) {
            continue;
        }
        enter(t, root);
        while (t->path_count > 0) {
            uint32_t node = t->path[t->path_count - 1];
            if (t->next[node] == g->starts[node + 1]) {
                leave(t, node);
                continue;
            }
            uint32_t edge = t->next[node]++;
            uint32_t to = g->targets[edge];
            if ((g->kinds[edge] & t->mask) == 0) {
                continue;
            }
            if (t->order[to] == UNVISITED) {
                enter(t, to);
            } else if (g->component[to] == UNVISITED && t->order[to] < t->low[node]) {
                t->low[node] = t->order[to];
            }
        }
    }
}

bool cyclegraph_components(struct cyclegraph *g, uint8_t mask, uint32_t *ret_cyclic)
{
    size_t n = (size_t)g->nodes + 1;
    uint32_t *memory = reallocarray(NULL, n, 5 * sizeof *memory);
    if (memory == NULL) {
        return false;
    }
    struct tarjan t = {.g = g,
                       .mask = mask,
                       .order = memory,
                       .low = memory + n,
                       .next = memory + 2 * n,
                       .path = memory + 3 * n,
                       .open = memory + 4 * n};
    memset(t.order, 0xff, n * sizeof *t.order);
    memset(g->component, 0xff, n * sizeof *g->component);
    visit_all(&t);
    *ret_cyclic = t.cyclic;
    free(memory);
    return true;
}

/* Where a search came from, in memory that is all unvisited at first. */
struct search {
    const struct cyclegraph *g;
    uint8_t mask;
    uint32_t *from; /* the edge's start */
    uint8_t *kind;
    uint32_t *cost;   /* RW edges on the way */
    struct buf now;   /* nodes at this cost */
    struct buf later; /* and at one more */
};

static void reach(struct search *s, uint32_t node, uint32_t from, uint8_t kind, uint32_t cost)
{
    if (cost >= s->cost[node]) {
        return;
    }
    s->cost[node] = cost;
    s->from[node] = from;
    s->kind[node] = kind;
    buf_append(kind == EDGE_RW ? &s->later : &s->now, &node, sizeof node);
}

static void spread(struct search *s, uint32_t node, uint32_t cost)
{
    const struct cyclegraph *g = s->g;
    for (uint32_t e = g->starts[node]; e < g->starts[node + 1]; e++) {
        if ((g->kinds[e] & s->mask) != 0 && g->component[g->targets[e]] == g->component[node]) {
            reach(s, g->targets[e], node, g->kinds[e], cost + (g->kinds[e] == EDGE_RW));
        }
    }
}

/* All that can be reached with no more RW edges, before what needs one more. */
static void search_from(struct search *s, uint32_t from)
{
    spread(s, from, 0);
    for (uint32_t cost = 0; s->now.len > 0 || s->later.len > 0; cost++) {
        for (size_t i = 0; i < s->now.len / sizeof(uint32_t); i++) {
            uint32_t node = ((const uint32_t *)(const void *)s->now.data)[i];
            if (s->cost[node] == cost) {
                spread(s, node, cost);
            }
        }
        struct buf swap = s->now;
        s->now = s->later;
        s->later = swap;
        buf_clear(&s->later);
    }
}

/* Backwards from TO, then turned round. */
static void collect(const struct search *s, uint32_t from, uint32_t to, struct buf *steps)
{
    buf_clear(steps);
    for (uint32_t node = to;; node = s->from[node]) {
        struct cyclestep step = {.node = node, .kind = s->kind[node]};
        buf_append(steps, &step, sizeof step);
        if (s->from[node] == from || !buf_ok(steps)) {
            break;
        }
    }
    struct cyclestep *at = (struct cyclestep *)(void *)steps->data;
    for (size_t i = 0, k = steps->len / sizeof *at; i + 1 < k; i++, k--) {
        struct cyclestep swap = at[i];
        at[i] = at[k - 1];
        at[k - 1] = swap;
    }
}

bool cyclegraph_way(const struct cyclegraph *g, uint32_t from, uint32_t to, uint8_t mask,
                    struct buf *ret_steps, bool *no_memory)
{
    struct search s = {.g = g, .mask = mask};
    s.from = reallocarray(NULL, (size_t)g->nodes + 1, sizeof *s.from);
    s.cost = reallocarray(NULL, (size_t)g->nodes + 1, sizeof *s.cost);
    s.kind = malloc((size_t)g->nodes + 1);
    bool found = false;
    if (s.from != NULL && s.cost != NULL && s.kind != NULL) {
        memset(s.cost, 0xff, ((size_t)g->nodes + 1) * sizeof *s.cost);
        search_from(&s, from);
        found = s.cost[to] != UINT32_MAX;
        if (found) {
            collect(&s, from, to, ret_steps);
        }
    } else {
        *no_memory = true;
    }
    *no_memory |= !buf_ok(&s.now) || !buf_ok(&s.later) || !buf_ok(ret_steps);
    free(s.from);
    free(s.cost);
    free(s.kind);
    buf_fini(&s.now);
    buf_fini(&s.later);
    return found;
}
