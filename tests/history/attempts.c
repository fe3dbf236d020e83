/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/attempts.h"

/* Attempts on one key and value are a chain in the order in which they were asked. Those that have
 * their revision leave it at its head, so that values that are used again and again cost nothing.
 */
struct attempt {
    uint32_t op;
    uint32_t next;
    uint32_t last; /* of the chain; only in its first */
};
#define NO_ATTEMPT UINT32_MAX

static struct attempt *attempt_at(const struct attempts *a, uint32_t i)
{
    return (struct attempt *)(void *)a->list.data + i;
}

void attempts_add(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct attempts *a = ctx;
    if (key == HISTORY_NONE) {
        return; /* nobody has seen it */
    }
    uint32_t number = (uint32_t)(a->list.len / sizeof(struct attempt));
    struct attempt added = {.op = op, .next = NO_ATTEMPT, .last = number};
    buf_append(&a->list, &added, sizeof added);
    uint64_t pair = numtable_pair(key, value);
    uint32_t first = numtable_get(&a->first, pair);
    if (!buf_ok(&a->list)) {
        a->no_memory = true;
    } else if (first == NUMTABLE_NONE) {
        a->no_memory |= !numtable_set(&a->first, pair, number);
    } else {
        attempt_at(a, attempt_at(a, first)->last)->next = number;
        attempt_at(a, first)->last = number;
    }
}

void attempts_fini(struct attempts *a)
{
    numtable_fini(&a->first);
    buf_fini(&a->list);
}

struct wanted {
    const struct fact *fact;
    bool found;
};

static void is_wanted(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct wanted *w = ctx;
    (void)op;
    w->found |= key == w->fact->key && (value == w->fact->value ||
                                        (value == VALUE_UNKNOWN && w->fact->value != HISTORY_NONE));
}

/* Whether OP wrote all that was seen. */
static bool explains(const struct revlog *log, uint32_t op, const struct fact *facts,
                     const struct at_revision *order, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct wanted w = {.fact = &facts[order[i].what]};
        revlog_written(log->ops, op, is_wanted, &w);
        if (!w.found) {
            return false;
        }
    }
    return true;
}

/* Whether what OP compared is so after all changes up to now, as far as they are known. */
static bool compares(const struct revlog *log, uint32_t op)
{
    const struct history_event *e = operation_told(&log->ops->ops[op]);
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        if (item->f == HISTORY_ITEM_COMPARE) {
            uint32_t last = log->last_of_key[item->key];
            uint32_t value = last == NO_CHANGE ? HISTORY_NONE : log->changes[last].value;
            if (value != VALUE_UNKNOWN && value != item->value) {
                return false;
            }
        }
    }
    return true;
}

static uint32_t resolve_in(struct attempts *a, const struct revlog *log, uint64_t pair,
                           const struct fact *facts, const struct at_revision *order, size_t count)
{
    const struct fact *f = &facts[order[0].what];
    uint32_t head = numtable_get(&a->first, pair);
    if (head == NUMTABLE_NONE) {
        return NO_OP;
    }
    uint32_t last = attempt_at(a, head)->last;
    while (attempt_at(a, head)->next != NO_ATTEMPT && log->resolved[attempt_at(a, head)->op] > 0) {
        head = attempt_at(a, head)->next;
    }
    attempt_at(a, head)->last = last;
    a->no_memory |= !numtable_set(&a->first, pair, head);
    uint32_t ret = NO_OP;
    for (uint32_t i = head; i != NO_ATTEMPT; i = attempt_at(a, i)->next) {
        uint32_t op = attempt_at(a, i)->op;
        const struct operation *o = &log->ops->ops[op];
        if (o->asked_at > f->position) {
            break; /* so are those behind it */
        }
        if (o->outcome == HISTORY_INFO && log->resolved[op] == 0 &&
            log->high[op].revision < f->revision && explains(log, op, facts, order, count)) {
            if (compares(log, op)) {
                return op;
            }
            ret = ret == NO_OP ? op : ret;
        }
    }
    return ret;
}

uint32_t attempts_resolve(struct attempts *a, const struct revlog *log, const struct fact *facts,
                          const struct at_revision *order, size_t count)
{
    const struct fact *f = &facts[order[0].what];
    uint32_t op = resolve_in(a, log, numtable_pair(f->key, f->value), facts, order, count);
    /* Of a list or an account any attempt might be the one: the replay knows more. */
    bool alike = (log->kinds[f->key] & (KEY_ACCOUNT | KEY_LIST)) != 0;
    if (op == NO_OP && !alike) {
        op = resolve_in(a, log, numtable_pair(f->key, VALUE_UNKNOWN), facts, order, count);
    }
    return op;
}

uint32_t attempts_failed(const struct attempts *a, const struct revlog *log, const struct fact *f)
{
    uint32_t i = numtable_get(&a->first, numtable_pair(f->key, f->value));
    if (i == NUMTABLE_NONE) {
        i = numtable_get(&a->first, numtable_pair(f->key, VALUE_UNKNOWN));
    }
    for (; i != NUMTABLE_NONE; i = attempt_at(a, i)->next) {
        if (log->ops->ops[attempt_at(a, i)->op].outcome == HISTORY_FAIL) {
            return attempt_at(a, i)->op;
        }
    }
    return NO_OP;
}
