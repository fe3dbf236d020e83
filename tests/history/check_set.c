/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <stdlib.h>

#include "base/array.h"
#include "tests/history/numtable.h"

/* Sets without revisions: what was acknowledged, or read, before a read was asked for is in it; and
 * nothing is in it that nobody has asked to add. One walk in the order of time. */
struct members {
    uint32_t *at; /* those that must be there, in the order in which they became so */
    uint32_t count;
    uint32_t cap;
};

struct sets {
    const struct operations *ops;
    struct history_report *report;
    struct numtable numbers; /* set -> its place in `members` */
    struct members *members;
    size_t member_cap;
    struct numtable writers; /* set, element -> the operation that adds it */
    struct numtable must;    /* set, element -> 1: in `members` */
    uint32_t *must_count;    /* for each operation: how many, when it was asked */
    uint32_t *stamps;        /* for each symbol: the read that it was in last, + 1 */
    uint64_t reads;
    uint64_t adds;
    bool no_memory;
};

static void finding(struct sets *s, const char *rule, uint32_t read, uint32_t element,
                    const char *text)
{
    const struct operation *op = &s->ops->ops[read];
    char name[SYMBOL_TEXT_BYTES];
    uint32_t writer = numtable_get(&s->writers, numtable_pair(op->asked->items[0].key, element));
    uint64_t where[4] = {op->asked_at, op->answer_at,
                         writer == NUMTABLE_NONE ? NO_POSITION : s->ops->ops[writer].asked_at,
                         NO_POSITION};
    report_add(s->report, HISTORY_CHECK_SET, rule, where,
               "element %s %s:", symbol_print(s->ops->h, element, name), text);
}

static struct members *members_of(struct sets *s, uint32_t set)
{
    uint32_t i = numtable_number(&s->numbers, set);
    size_t had = s->member_cap;
    if (i == NUMTABLE_NONE || !ARRAY_MAKE_ROOM(s->members, i, s->member_cap, 16)) {
        s->no_memory = true;
        return NULL;
    }
    memset(s->members + had, 0, (s->member_cap - had) * sizeof *s->members);
    return &s->members[i];
}

static void must_be_there(struct sets *s, uint32_t set, uint32_t element)
{
    struct members *m = members_of(s, set);
    uint64_t pair = numtable_pair(set, element);
    if (m == NULL || numtable_get(&s->must, pair) != NUMTABLE_NONE) {
        return;
    }
    if (!ARRAY_MAKE_ROOM(m->at, m->count, m->cap, 16)) {
        s->no_memory = true;
        return;
    }
    m->at[m->count++] = element;
    s->no_memory |= !numtable_set(&s->must, pair, 1);
}

static void judge_element(struct sets *s, uint32_t read, uint32_t element)
{
    const struct operation *op = &s->ops->ops[read];
    uint32_t writer = numtable_get(&s->writers, numtable_pair(op->asked->items[0].key, element));
    if (writer == NUMTABLE_NONE || s->ops->ops[writer].asked_at > op->answer_at) {
        finding(s, "never added", read, element, "was read, and nobody had asked to add it");
    } else if (s->ops->ops[writer].outcome == HISTORY_FAIL) {
        finding(s, "failed add seen", read, element, "was read, and its add had failed");
    }
}

static void take_read(struct sets *s, uint32_t read)
{
    const struct operation *op = &s->ops->ops[read];
    const struct history_item *item = &op->answer->items[0];
    const struct members *m = members_of(s, item->key);
    s->reads++;
    for (uint32_t i = 0; i < item->list_count; i++) {
        s->stamps[item->list[i]] = read + 1;
        if (numtable_get(&s->must, numtable_pair(item->key, item->list[i])) == NUMTABLE_NONE) {
            judge_element(s, read, item->list[i]);
        }
    }
    if (operation_is_serializable(op) || op->asked->at_revision > 0) {
        return;
    }
    for (uint32_t i = 0; m != NULL && i < s->must_count[read]; i++) {
        if (s->stamps[m->at[i]] != read + 1) {
            finding(s, "lost", read, m->at[i], "is missing, and was acknowledged or read before");
        }
    }
    for (uint32_t i = 0; i < item->list_count; i++) {
        must_be_there(s, item->key, item->list[i]);
    }
}

static void take_event(struct sets *s, uint32_t number, uint32_t at)
{
    const struct operation *op = &s->ops->ops[number];
    uint32_t set = op->asked->items[0].key;
    const struct members *m = members_of(s, set);
    if (m == NULL) {
        return;
    }
    if (at == op->asked_at) {
        s->must_count[number] = m->count;
        if (op->asked->f == HISTORY_ADD) {
            s->adds++;
            s->no_memory |=
                !numtable_set(&s->writers, numtable_pair(set, op->asked->items[0].value), number);
        }
    } else if (op->outcome == HISTORY_OK && op->asked->f == HISTORY_READ) {
        take_read(s, number);
    } else if (op->outcome == HISTORY_OK) {
        must_be_there(s, set, op->asked->items[0].value);
    }
}

static enum err take_all(struct sets *s)
{
    for (uint32_t at = 0; at < history_count(s->ops->h) && !s->no_memory; at++) {
        uint32_t number = s->ops->of_event[at];
        if (number != NEVER && s->ops->ops[number].asked->workload == HISTORY_SET) {
            take_event(s, number, at);
        }
    }
    return s->no_memory ? ERR_NOMEM : OK;
}

enum err check_set(const struct operations *ops, struct history_report *report)
{
    struct sets s = {.ops = ops, .report = report};
    s.must_count = calloc((size_t)ops->count + 1, sizeof *s.must_count);
    s.stamps = calloc(history_symbol_count(ops->h), sizeof *s.stamps);
    enum err err = s.must_count == NULL || s.stamps == NULL ? ERR_NOMEM : take_all(&s);
    report_count(report, HISTORY_CHECK_SET, "reads", s.reads);
    report_count(report, HISTORY_CHECK_SET, "adds", s.adds);
    for (size_t i = 0; i < s.member_cap; i++) {
        free(s.members[i].at);
    }
    free(s.members);
    free(s.must_count);
    free(s.stamps);
    numtable_fini(&s.numbers);
    numtable_fini(&s.writers);
    numtable_fini(&s.must);
    return err;
}
