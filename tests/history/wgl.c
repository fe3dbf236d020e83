/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/wgl.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "tests/history/numtable.h"

/* Calls and returns stand in one list in the order of time. An operation may be next if its call
 * stands before the first return; then both leave the list, and the search goes on at its head. If
 * the first return is reached, the last choice was wrong and is undone.
 *
 *   call A   call B   return A   call C   return B   return C       next: A or B, not C
 *
 * Two orders of the same operations which leave the same values have the same future: the second is
 * not tried. A set of operations is known by the sum of a random number for each, and so are the
 * cells; 128 bits, so that two sets are taken for one with odds that no run will meet.
 *
 * An operation without a return may also never take effect: all are done when no return is left.
 * Those stand in a list of their own (`late`) and are tried last. Of one cell, whichever order
 * there is can be changed so that each of them either does nothing that anybody sees, and is left
 * out, or stands just before somebody who sees it: so nothing else is tried behind one, and those
 * that write what nobody has read are not looked at. Without this, ten of them are a thousand
 * states. */
struct op {
    uint32_t number;
    uint32_t first_step;
    uint32_t step_count;
    uint32_t begin; /* times */
    uint32_t end;
    uint32_t call; /* list entries */
    uint32_t ret;  /* WGL_NONE: there is none */
};

struct entry {
    uint32_t op;
    bool is_return;
    uint32_t prev;
    uint32_t next;
};

struct undo {
    uint32_t cell;
    uint64_t value;
};

struct choice {
    uint32_t op;
    uint32_t undo_count; /* before it */
};

struct wgl {
    uint64_t states_max;
    struct op *ops;
    uint32_t op_count;
    struct buf steps;   /* struct wgl_step each */
    struct entry *list; /* [0] is the head */
    uint32_t late;      /* head of the list of those without a return, in the same array */
    bool one_cell;
    uint64_t *cells;
    struct set_hash state; /* of done operations and cells */
    struct buf undos;      /* struct undo each */
    struct choice *chosen;
    uint32_t chosen_count;
    uint32_t returns_left;
    struct set_hash *seen; /* open addressing; all zero: empty */
    size_t seen_slots;
    size_t seen_count;
    uint32_t longest;
    uint32_t stuck;  /* operation that had to be next there */
    uint32_t before; /* and the last before it */
};

struct wgl *wgl_new(uint32_t cells, size_t ops_max, uint64_t states_max)
{
    struct wgl *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return NULL;
    }
    w->states_max = states_max;
    w->one_cell = cells == 1;
    w->ops = reallocarray(NULL, ops_max + 1, sizeof *w->ops);
    w->list = reallocarray(NULL, 2 * ops_max + 2, sizeof *w->list);
    w->chosen = reallocarray(NULL, ops_max + 1, sizeof *w->chosen);
    w->cells = calloc((size_t)cells + 1, sizeof *w->cells);
    w->seen_slots = 1024;
    w->seen = calloc(w->seen_slots, sizeof *w->seen);
    w->stuck = w->before = WGL_NONE;
    if (w->ops == NULL || w->list == NULL || w->chosen == NULL || w->cells == NULL ||
        w->seen == NULL) {
        wgl_free(w);
        return NULL;
    }
    return w;
}

void wgl_free(struct wgl *w)
{
    if (w == NULL) {
        return;
    }
    free(w->ops);
    free(w->list);
    free(w->chosen);
    free(w->cells);
    free(w->seen);
    buf_fini(&w->steps);
    buf_fini(&w->undos);
    free(w);
}

bool wgl_add(struct wgl *w, uint32_t number, uint32_t begin, uint32_t end,
             const struct wgl_step *steps, uint32_t step_count)
{
    struct op *op = &w->ops[w->op_count];
    *op = (struct op){.number = number,
                      .first_step = (uint32_t)(w->steps.len / sizeof *steps),
                      .step_count = step_count,
                      .begin = begin,
                      .end = end,
                      .ret = WGL_NONE};
    w->op_count++;
    buf_append(&w->steps, steps, step_count * sizeof *steps);
    return buf_ok(&w->steps);
}

uint64_t wgl_append(uint64_t value, uint64_t element)
{
    return mix64(value + 0x9e3779b97f4a7c15u) ^ mix64(element);
}

static const struct wgl_step *steps_of(const struct wgl *w, const struct op *op)
{
    return (const struct wgl_step *)(const void *)w->steps.data + op->first_step;
}

/* ---- The list ---- */

static int by_end(const void *a, const void *b)
{
    struct op *const *x = a;
    struct op *const *y = b;
    return (*x)->end < (*y)->end ? -1 : (*x)->end > (*y)->end;
}

/* What has been read; false: no memory. A value that must not be there is as if all were read. */
static bool find_read(const struct wgl *w, struct numtable *values, bool *all)
{
    const struct wgl_step *steps = (const struct wgl_step *)(const void *)w->steps.data;
    for (size_t i = 0; i < w->steps.len / sizeof *steps; i++) {
        *all |= steps[i].differs || steps[i].kind == WGL_APPEND;
        if (steps[i].kind == WGL_READ && !numtable_set(values, steps[i].value, 1)) {
            return false;
        }
    }
    return true;
}

static bool is_read(const struct wgl *w, const struct op *op, const struct numtable *values)
{
    const struct wgl_step *steps = steps_of(w, op);
    for (uint32_t i = 0; i < op->step_count; i++) {
        if (steps[i].kind == WGL_WRITE && numtable_get(values, steps[i].value) != NUMTABLE_NONE) {
            return true;
        }
    }
    return false;
}

/* Behind the last entry of the list of HEAD. */
static void append_entry(struct wgl *w, uint32_t head, uint32_t at, struct op *op, bool is_return)
{
    uint32_t last = w->list[head].prev;
    w->list[at] = (struct entry){
        .op = (uint32_t)(op - w->ops), .is_return = is_return, .prev = last, .next = head};
    w->list[last].next = at;
    w->list[head].prev = at;
    *(is_return ? &op->ret : &op->call) = at;
}

/* Calls come in order; returns are put in order, and both merged. */
static void merge_lists(struct wgl *w, struct op **returns, const struct numtable *read, bool all)
{
    uint32_t at = 1;
    w->late = 2 * w->op_count + 1;
    w->list[0] = (struct entry){0};
    w->list[w->late] = (struct entry){.prev = w->late, .next = w->late};
    for (uint32_t r = 0, call = 0; call < w->op_count || r < w->returns_left;) {
        bool is_return =
            call == w->op_count || (r < w->returns_left && returns[r]->end < w->ops[call].begin);
        struct op *op = is_return ? returns[r++] : &w->ops[call++];
        bool late = op->end == WGL_NEVER;
        if (!late || all || !w->one_cell || is_read(w, op, read)) {
            append_entry(w, late ? w->late : 0, at++, op, is_return);
        }
    }
}

static bool build_lists(struct wgl *w)
{
    struct op **returns = reallocarray(NULL, (size_t)w->op_count + 1, sizeof *returns);
    struct numtable read = {0};
    bool all = false;
    bool room = returns != NULL && find_read(w, &read, &all);
    if (room) {
        for (uint32_t i = 0; i < w->op_count; i++) {
            if (w->ops[i].end != WGL_NEVER) {
                returns[w->returns_left++] = &w->ops[i];
            }
        }
        qsort(returns, w->returns_left, sizeof(struct op *), by_end);
        merge_lists(w, returns, &read, all);
    }
    numtable_fini(&read);
    free(returns);
    return room;
}

static void take_out(struct wgl *w, uint32_t at)
{
    w->list[w->list[at].prev].next = w->list[at].next;
    w->list[w->list[at].next].prev = w->list[at].prev;
}

static void put_back(struct wgl *w, uint32_t at)
{
    w->list[w->list[at].prev].next = at;
    w->list[w->list[at].next].prev = at;
}

/* ---- States ---- */

static struct set_hash hash_of(uint64_t kind, uint64_t what, uint64_t value)
{
    return set_hash_element(mix64(what ^ mix64(kind)), mix64(value + kind));
}

static void cell_set(struct wgl *w, uint32_t cell, uint64_t value)
{
    set_hash_remove(&w->state, hash_of(1, cell, w->cells[cell]));
    w->cells[cell] = value;
    set_hash_add(&w->state, hash_of(1, cell, value));
}

static void undo_to(struct wgl *w, uint32_t count)
{
    const struct undo *undos = (const struct undo *)(const void *)w->undos.data;
    for (size_t i = w->undos.len / sizeof *undos; i > count; i--) {
        cell_set(w, undos[i - 1].cell, undos[i - 1].value);
    }
    w->undos.len = count * sizeof *undos;
}

/* Do all its steps; false, and nothing is done, when it cannot have returned that here. */
static bool apply(struct wgl *w, const struct op *op)
{
    const struct wgl_step *steps = steps_of(w, op);
    uint32_t undos = (uint32_t)(w->undos.len / sizeof(struct undo));
    for (uint32_t i = 0; i < op->step_count; i++) {
        uint64_t value = w->cells[steps[i].cell];
        if (steps[i].kind == WGL_READ) {
            if ((value == steps[i].value) == steps[i].differs) {
                undo_to(w, undos);
                return false;
            }
            continue;
        }
        struct undo undo = {.cell = steps[i].cell, .value = value};
        buf_append(&w->undos, &undo, sizeof undo);
        bool appends = steps[i].kind == WGL_APPEND;
        cell_set(w, steps[i].cell, appends ? wgl_append(value, steps[i].value) : steps[i].value);
    }
    return true;
}

static bool is_zero(struct set_hash h)
{
    return h.lo == 0 && h.hi == 0;
}

static struct set_hash *seen_slot(struct set_hash *seen, size_t slots, struct set_hash state)
{
    size_t i = mix64(state.lo) & (slots - 1);
    while (!is_zero(seen[i]) && !set_hash_equal(seen[i], state)) {
        i = (i + 1) & (slots - 1);
    }
    return &seen[i];
}

/* Whether this state is new; it is not, from now on. */
static bool see_state(struct wgl *w, bool *no_memory)
{
    struct set_hash *slot = seen_slot(w->seen, w->seen_slots, w->state);
    if (!is_zero(*slot)) {
        return false;
    }
    *slot = w->state;
    w->seen_count++;
    if (w->seen_count > w->seen_slots / 2) {
        size_t slots = w->seen_slots * 2;
        struct set_hash *more = calloc(slots, sizeof *more);
        if (more == NULL) {
            *no_memory = true;
            return true;
        }
        for (size_t i = 0; i < w->seen_slots; i++) {
            if (!is_zero(w->seen[i])) {
                *seen_slot(more, slots, w->seen[i]) = w->seen[i];
            }
        }
        free(w->seen);
        w->seen = more;
        w->seen_slots = slots;
    }
    return true;
}

/* ---- The search ---- */

static void choose(struct wgl *w, uint32_t op, uint32_t undo_count)
{
    w->chosen[w->chosen_count++] = (struct choice){.op = op, .undo_count = undo_count};
    take_out(w, w->ops[op].call);
    if (w->ops[op].ret != WGL_NONE) {
        take_out(w, w->ops[op].ret);
        w->returns_left--;
    }
}

/* Undo the last choice. */
static const struct op *unchoose(struct wgl *w)
{
    const struct choice *c = &w->chosen[--w->chosen_count];
    const struct op *op = &w->ops[c->op];
    if (op->ret != WGL_NONE) {
        put_back(w, op->ret);
        w->returns_left++;
    }
    put_back(w, op->call);
    undo_to(w, c->undo_count);
    set_hash_remove(&w->state, hash_of(2, c->op, 0));
    return op;
}

static void note_stuck(struct wgl *w, uint32_t op)
{
    if (w->stuck == WGL_NONE || w->chosen_count > w->longest) {
        w->longest = w->chosen_count;
        w->stuck = op;
        w->before = w->chosen_count > 0 ? w->chosen[w->chosen_count - 1].op : WGL_NONE;
    }
}

/* The last choice has no return, and what comes next must see it. */
static bool must_be_seen(const struct wgl *w)
{
    return w->one_cell && w->chosen_count > 0 &&
           w->ops[w->chosen[w->chosen_count - 1].op].ret == WGL_NONE;
}

/* Try OP next: it was chosen, or all is as it was. */
static bool try_next(struct wgl *w, uint32_t number, bool *no_memory)
{
    const struct op *op = &w->ops[number];
    uint32_t undo_count = (uint32_t)(w->undos.len / sizeof(struct undo));
    if (must_be_seen(w) && op->step_count > 0 && steps_of(w, op)->kind == WGL_WRITE) {
        return false;
    }
    if (!apply(w, op)) {
        return false;
    }
    /* Whether what comes next is free is part of the state. */
    struct set_hash limited = hash_of(3, op->ret == WGL_NONE, 0);
    set_hash_add(&w->state, hash_of(2, number, 0));
    set_hash_add(&w->state, limited);
    bool is_new = see_state(w, no_memory);
    set_hash_remove(&w->state, limited);
    if (is_new) {
        choose(w, number, undo_count);
        return true;
    }
    set_hash_remove(&w->state, hash_of(2, number, 0));
    undo_to(w, undo_count);
    return false;
}

static uint32_t first_return(const struct wgl *w)
{
    uint32_t at = w->list[0].next;
    while (!w->list[at].is_return) {
        at = w->list[at].next;
    }
    return at;
}

/* Whether AT is one of the late ones that may be next: it was called before the first return. */
static bool may_be_late(const struct wgl *w, uint32_t at)
{
    return at != w->late && w->ops[w->list[at].op].begin < w->ops[w->list[first_return(w)].op].end;
}

enum wgl_verdict wgl_search(struct wgl *w)
{
    bool no_memory = !build_lists(w);
    bool late = false; /* those with a return have been tried here */
    uint32_t at = no_memory ? 0 : w->list[0].next;
    while (w->returns_left > 0 && !no_memory && buf_ok(&w->undos)) {
        const struct entry *e = &w->list[at];
        if (!late && e->is_return) {
            late = true;
            at = w->list[w->late].next;
        } else if (late && !may_be_late(w, at)) {
            note_stuck(w, w->list[first_return(w)].op);
            if (w->chosen_count == 0) {
                return WGL_IMPOSSIBLE;
            }
            const struct op *undone = unchoose(w);
            late = undone->ret == WGL_NONE;
            at = w->list[undone->call].next;
        } else if (try_next(w, e->op, &no_memory)) {
            late = false;
            at = w->list[0].next;
        } else {
            at = e->next;
        }
        if (w->seen_count > w->states_max) {
            return WGL_TOO_LARGE;
        }
    }
    return no_memory || !buf_ok(&w->undos) ? WGL_NO_MEMORY : WGL_POSSIBLE;
}

uint32_t wgl_longest(const struct wgl *w, uint32_t ret_stuck[2])
{
    ret_stuck[0] = w->stuck == WGL_NONE ? WGL_NONE : w->ops[w->stuck].number;
    ret_stuck[1] = w->before == WGL_NONE ? WGL_NONE : w->ops[w->before].number;
    return w->longest;
}
