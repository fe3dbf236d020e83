/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/history.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* Random histories of a few operations, most of them wrong. Every order of them is tried plainly,
 * and both checkers must agree with that: the one by revisions for each order, which it is given as
 * revisions, and the search for all of them, without any. */
#define OPS_MAX   7
#define STEPS_MAX 2
#define KEYS      2
#define VALUES    4

struct step {
    enum history_item_f f; /* READ, WRITE, COMPARE */
    unsigned key;
    unsigned value; /* 0: nothing */
};

struct small_op {
    unsigned begin;
    unsigned end; /* UINT_MAX: nobody knows */
    unsigned step_count;
    struct step steps[STEPS_MAX];
};

struct small {
    struct small_op ops[OPS_MAX];
    unsigned count;
    bool transactions;
};

static uint64_t random_state;

static unsigned below(unsigned bound)
{
    random_state += 0x9e3779b97f4a7c15u;
    return (unsigned)(mix64(random_state) % bound);
}

/* A value that is written is its operation's, so that no two write the same. */
static void make_op(struct small *s, unsigned i)
{
    struct small_op *op = &s->ops[i];
    op->step_count = s->transactions ? 1 + below(STEPS_MAX) : 1;
    unsigned key = below(KEYS);
    unsigned kind = below(6);
    for (unsigned k = 0; k < op->step_count; k++) {
        struct step *step = &op->steps[k];
        step->key = (key + k) % KEYS;
        step->f = kind < 3 ? HISTORY_ITEM_READ : HISTORY_ITEM_WRITE;
        step->value = step->f == HISTORY_ITEM_READ ? below(s->count + 1) : i + 1;
        kind = below(6);
    }
    if (!s->transactions && kind == 0 && op->steps[0].f == HISTORY_ITEM_WRITE) {
        op->steps[1] = op->steps[0];
        op->steps[0] =
            (struct step){.f = HISTORY_ITEM_COMPARE, .key = key, .value = below(s->count + 1)};
        op->step_count = 2;
    }
}

static bool writes(const struct small_op *op)
{
    return op->steps[op->step_count - 1].f == HISTORY_ITEM_WRITE ||
           op->steps[0].f == HISTORY_ITEM_WRITE;
}

/* Begins and ends at random, each operation by a process of its own. */
static void make_small(struct small *s, unsigned count)
{
    *s = (struct small){.count = count, .transactions = below(2) == 0};
    unsigned at = 0;
    unsigned begun = 0;
    unsigned open[OPS_MAX];
    unsigned open_count = 0;
    while (begun < count || open_count > 0) {
        bool begins = begun < count && (open_count == 0 || below(5) < 2);
        if (begins) {
            make_op(s, begun);
            s->ops[begun].begin = at++;
            open[open_count++] = begun++;
        } else {
            unsigned k = below(open_count);
            struct small_op *op = &s->ops[open[k]];
            op->end = writes(op) && below(5) == 0 ? UINT32_MAX : at++;
            open[k] = open[--open_count];
        }
    }
}

/* ---- Plainly ---- */

struct order {
    const struct small *s;
    unsigned at[OPS_MAX]; /* operations */
    unsigned count;
};

/* Whether the order is one that a store can have gone through. */
static bool order_is_right(const struct order *o)
{
    unsigned values[KEYS] = {0};
    for (unsigned i = 0; i < o->count; i++) {
        const struct small_op *op = &o->s->ops[o->at[i]];
        unsigned before[KEYS];
        memcpy(before, values, sizeof before);
        for (unsigned k = i + 1; k < o->count; k++) {
            if (o->s->ops[o->at[k]].end < op->begin) {
                return false;
            }
        }
        for (unsigned k = 0; k < op->step_count; k++) {
            const struct step *step = &op->steps[k];
            bool unread = op->end == UINT32_MAX && step->f == HISTORY_ITEM_READ;
            if (step->f == HISTORY_ITEM_WRITE) {
                values[step->key] = step->value;
            } else if (step->f == HISTORY_ITEM_COMPARE
                           ? before[step->key] != step->value
                           : !unread && values[step->key] != step->value) {
                return false;
            }
        }
    }
    return true;
}

/* ---- As a history ---- */

static void add_event(struct history *h, const struct small *s, unsigned i, int64_t revision,
                      bool answer, const int64_t revisions[OPS_MAX])
{
    const struct small_op *op = &s->ops[i];
    struct history_item items[STEPS_MAX];
    bool compares = op->steps[0].f == HISTORY_ITEM_COMPARE;
    bool single = op->step_count == 1;
    struct history_event e = {.time_ns = (int64_t)(answer ? op->end : op->begin),
                              .process = i,
                              .type = answer ? HISTORY_OK : HISTORY_INVOKE,
                              .workload = s->transactions ? HISTORY_WR : HISTORY_REGISTER,
                              .f = s->transactions                                 ? HISTORY_TXN
                                   : compares                                      ? HISTORY_CAS
                                   : single && op->steps[0].f == HISTORY_ITEM_READ ? HISTORY_READ
                                                                                   : HISTORY_WRITE,
                              .revision = answer ? revision : 0,
                              .items = items,
                              .item_count = op->step_count};
    for (unsigned k = 0; k < op->step_count; k++) {
        const struct step *step = &op->steps[k];
        bool known = step->f != HISTORY_ITEM_READ || answer;
        items[k] = (struct history_item){
            .f = step->f,
            .key = history_text(h, bytes_of_str(step->key == 0 ? "a" : "b")),
            .value = known && step->value != 0 ? history_int(h, step->value) : HISTORY_NONE};
        if (answer && step->f == HISTORY_ITEM_READ && step->value != 0 && revisions != NULL) {
            items[k].mod_revision = revisions[step->value - 1];
        }
    }
    history_add(h, &e);
}

/* A watcher is told everything in the end, so that attempts without an answer have a revision. */
static void add_watch(struct history *h, const struct order *o, const int64_t revisions[OPS_MAX])
{
    struct history_item items[OPS_MAX * STEPS_MAX];
    struct history_item range = {.key = history_text(h, bytes_of_str("a")),
                                 .value = history_text(h, bytes_of("\0", 1))};
    struct history_event e = {.time_ns = 1000000,
                              .process = 100,
                              .type = HISTORY_INVOKE,
                              .workload = HISTORY_WATCH,
                              .f = HISTORY_START,
                              .id = 1,
                              .at_revision = 1,
                              .items = &range,
                              .item_count = 1};
    history_add(h, &e);
    e.type = HISTORY_OK;
    e.revision = 100;
    history_add(h, &e);
    e.type = HISTORY_INFO;
    e.f = HISTORY_EVENTS;
    e.items = items;
    e.item_count = 0;
    for (unsigned i = 0; i < o->count; i++) {
        const struct small_op *op = &o->s->ops[o->at[i]];
        for (unsigned k = 0; k < op->step_count; k++) {
            if (op->steps[k].f == HISTORY_ITEM_WRITE) {
                items[e.item_count++] = (struct history_item){
                    .f = HISTORY_ITEM_PUT,
                    .key = history_text(h, bytes_of_str(op->steps[k].key == 0 ? "a" : "b")),
                    .value = history_int(h, op->steps[k].value),
                    .mod_revision = revisions[o->at[i]]};
            }
        }
    }
    history_add(h, &e);
}

static bool accepts(const struct history *h, enum history_checker checker)
{
    struct history_options options = {.checkers = 1u << checker};
    struct history_report *report;
    ck_assert_int_eq(history_check(h, &options, &report), OK);
    ck_assert_int_eq(history_report_of(report, HISTORY_CHECK_SHAPE), HISTORY_VALID);
    bool valid = history_report_of(report, checker) == HISTORY_VALID;
    ck_assert(valid || history_report_of(report, checker) == HISTORY_INVALID);
    history_report_free(report);
    return valid;
}

/* Events in the order of their times; ORDER gives the revisions, or NULL: there are none. */
static struct history *history_of(const struct small *s, const struct order *order)
{
    int64_t revisions[OPS_MAX] = {0}; /* of writes */
    int64_t answers[OPS_MAX] = {0};
    int64_t revision = 1;
    for (unsigned i = 0; order != NULL && i < order->count; i++) {
        unsigned op = order->at[i];
        revision += writes(&s->ops[op]);
        revisions[op] = writes(&s->ops[op]) ? revision : 0;
        answers[op] = revision;
    }
    struct history *h = history_new();
    ck_assert_ptr_nonnull(h);
    for (unsigned at = 0; at < 2 * s->count; at++) {
        for (unsigned i = 0; i < s->count; i++) {
            if (s->ops[i].begin == at || s->ops[i].end == at) {
                add_event(h, s, i, answers[i], s->ops[i].end == at,
                          order != NULL ? revisions : NULL);
            }
        }
    }
    if (order != NULL) {
        add_watch(h, order, revisions);
    }
    return h;
}

/* Whether all values that were read are some write's of this order and key: a value without a
 * revision is none that a store could tell. */
static bool values_are_written(const struct order *o)
{
    for (unsigned i = 0; i < o->count; i++) {
        const struct small_op *op = &o->s->ops[o->at[i]];
        for (unsigned k = 0; k < op->step_count; k++) {
            bool found = op->steps[k].value == 0 || op->steps[k].f != HISTORY_ITEM_READ;
            for (unsigned n = 0; n < o->count && !found; n++) {
                found = o->at[n] + 1 == op->steps[k].value && writes(&o->s->ops[o->at[n]]);
            }
            if (!found) {
                return false;
            }
        }
    }
    return true;
}

/* Reads between two writes have one revision, whatever their order: it is the one in which they
 * began, or it is left out. */
static bool reads_are_sorted(const struct order *o)
{
    for (unsigned i = 0; i + 1 < o->count; i++) {
        if (o->at[i] > o->at[i + 1] && !writes(&o->s->ops[o->at[i]]) &&
            !writes(&o->s->ops[o->at[i + 1]])) {
            return false;
        }
    }
    return true;
}

struct tally {
    uint64_t histories;
    uint64_t possible;
    uint64_t orders;
    uint64_t orders_right;
};

static bool try_order(const struct order *o, bool with_revisions, struct tally *tally)
{
    bool right = order_is_right(o);
    if (!with_revisions || !values_are_written(o) || !reads_are_sorted(o)) {
        return right;
    }
    struct history *h = history_of(o->s, o);
    bool accepted = accepts(h, HISTORY_CHECK_REVISION);
    if (accepted != right) {
        for (size_t i = 0; i < history_count(h); i++) {
            history_write_json(h, history_at(h, i), stderr);
        }
        ck_abort_msg("an order that is %s was %s", right ? "right" : "wrong",
                     accepted ? "accepted" : "refused");
    }
    tally->orders++;
    tally->orders_right += right;
    history_free(h);
    return right;
}

/* All orders that begin with what stands in O; attempts without an answer may be left out. */
static bool try_orders(struct order *o, unsigned taken, bool with_revisions, struct tally *tally)
{
    bool complete = true;
    bool possible = false;
    for (unsigned i = 0; i < o->s->count; i++) {
        if ((taken & 1u << i) != 0) {
            continue;
        }
        complete &= o->s->ops[i].end == UINT32_MAX;
        o->at[o->count++] = i;
        possible |= try_orders(o, taken | 1u << i, with_revisions, tally);
        o->count--;
    }
    return (complete && try_order(o, with_revisions, tally)) || possible;
}

static void compare(unsigned histories, unsigned ops_max, bool with_revisions)
{
    struct tally tally = {0};
    for (unsigned n = 0; n < histories; n++) {
        struct small s;
        random_state = n + 1;
        make_small(&s, 2 + below(ops_max - 1));
        struct order o = {.s = &s};
        bool possible = try_orders(&o, 0, with_revisions, &tally);
        struct history *h = history_of(&s, NULL);
        if (accepts(h, HISTORY_CHECK_LINEAR) != possible) {
            for (size_t i = 0; i < history_count(h); i++) {
                history_write_json(h, history_at(h, i), stderr);
            }
            ck_abort_msg("history %u is %s, and the search says otherwise", n,
                         possible ? "possible" : "impossible");
        }
        tally.histories++;
        tally.possible += possible;
        history_free(h);
    }
    printf("# %llu histories, %llu linearizable; %llu orders as revisions, %llu right: all agree\n",
           (unsigned long long)tally.histories, (unsigned long long)tally.possible,
           (unsigned long long)tally.orders, (unsigned long long)tally.orders_right);
    ck_assert_uint_gt(tally.possible, tally.histories / 10);
    ck_assert_uint_lt(tally.possible, tally.histories / 10 * 9 + 1);
}

START_TEST(revisions_and_search_agree_with_all_orders)
{
    compare(effort_count(6000, 200, "histories"), 5, true);
}
END_TEST

START_TEST(the_search_agrees_with_all_orders)
{
    compare(effort_count(20000, 200, "histories"), 6, false);
}
END_TEST

static Suite *agreement_suite(void)
{
    Suite *suite = suite_create("agreement");
    TCase *tcase = tcase_create("orders");
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, revisions_and_search_agree_with_all_orders);
    tcase_add_test(tcase, the_search_agrees_with_all_orders);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(agreement_suite);
}
