/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/operations.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/history/names.h"
#include "tests/history/numtable.h"

struct pairing {
    struct operations *ops;
    struct history_report *report;
    struct numtable open; /* process -> its operation */
};

static void wrong(struct pairing *p, const char *rule, uint64_t at, uint64_t other,
                  const char *text)
{
    uint64_t where[4] = {at, other, NO_POSITION, NO_POSITION};
    report_add(p->report, HISTORY_CHECK_SHAPE, rule, where, "%s", text);
}

/* An answer repeats what was asked. */
static bool same_request(const struct history_event *asked, const struct history_event *answer)
{
    if (asked->f != answer->f || asked->workload != answer->workload) {
        return false;
    }
    if (asked->workload == HISTORY_FINAL || asked->workload == HISTORY_LOCK ||
        asked->f == HISTORY_START ||
        (asked->workload == HISTORY_BANK && asked->f == HISTORY_READ)) {
        return true;
    }
    if (asked->item_count != answer->item_count ||
        (asked->f == HISTORY_TRANSFER && asked->number != answer->number)) {
        return false;
    }
    for (uint32_t i = 0; i < asked->item_count; i++) {
        const struct history_item *a = &asked->items[i];
        const struct history_item *b = &answer->items[i];
        if (a->f != b->f || a->key != b->key ||
            (a->f != HISTORY_ITEM_READ && a->value != b->value)) {
            return false;
        }
    }
    bool same_lease = asked->id == answer->id || asked->f == HISTORY_GRANT;
    return asked->workload != HISTORY_LEASE || same_lease;
}

static enum err ask(struct pairing *p, const struct history_event *e, uint32_t at)
{
    uint32_t before = numtable_get(&p->open, (uint64_t)e->process);
    if (before != NUMTABLE_NONE) {
        const struct operation *op = &p->ops->ops[before];
        if (op->answer == NULL) {
            wrong(p, "two at once", op->asked_at, at, "a process asks while it waits");
        } else if (op->outcome == HISTORY_INFO) {
            wrong(p, "used again", op->asked_at, at,
                  "a process goes on after an operation whose outcome is unknown");
        }
    }
    struct operation *op = &p->ops->ops[p->ops->count];
    *op =
        (struct operation){.asked = e, .asked_at = at, .answer_at = NEVER, .outcome = HISTORY_INFO};
    p->ops->of_event[at] = p->ops->count;
    return numtable_set(&p->open, (uint64_t)e->process, p->ops->count++) ? OK : ERR_NOMEM;
}

static void answer(struct pairing *p, const struct history_event *e, uint32_t at)
{
    uint32_t found = numtable_get(&p->open, (uint64_t)e->process);
    struct operation *op = found == NUMTABLE_NONE ? NULL : &p->ops->ops[found];
    if (op == NULL || op->answer != NULL) {
        wrong(p, "no question", at, NO_POSITION, "an answer to a process that asked nothing");
        return;
    }
    if (!same_request(op->asked, e)) {
        wrong(p, "another answer", op->asked_at, at, "the answer is not one to what was asked");
        return;
    }
    op->answer = e;
    op->answer_at = at;
    op->outcome = e->type;
    p->ops->of_event[at] = found;
}

static enum err pair_all(struct pairing *p)
{
    const struct history *h = p->ops->h;
    int64_t time_ns = INT64_MIN;
    int64_t index = -1;
    for (uint32_t at = 0; at < history_count(h); at++) {
        const struct history_event *e = history_at(h, at);
        p->ops->of_event[at] = NEVER;
        if (e->time_ns < time_ns) {
            wrong(p, "time goes back", at - 1, at, "an event is earlier than the one before it");
        }
        if (e->index <= index) {
            wrong(p, "index", at - 1, at, "an event's index is not larger than the one before it");
        }
        time_ns = e->time_ns;
        index = e->index;
        if (history_f_is_told(e->f)) {
            continue;
        }
        if (e->type != HISTORY_INVOKE) {
            answer(p, e, at);
        } else {
            TRY(ask(p, e, at));
        }
    }
    return OK;
}

enum err operations_build(const struct history *h, struct history_report *report,
                          struct operations *ret)
{
    size_t count = history_count(h);
    *ret = (struct operations){.h = h};
    if (count >= NEVER) {
        return ERR_LIMIT;
    }
    /* At most as many operations as events; untouched memory costs nothing. */
    ret->ops = reallocarray(NULL, count + 1, sizeof *ret->ops);
    ret->of_event = reallocarray(NULL, count + 1, sizeof *ret->of_event);
    struct pairing p = {.ops = ret, .report = report};
    enum err err = ret->ops == NULL || ret->of_event == NULL ? ERR_NOMEM : pair_all(&p);
    numtable_fini(&p.open);
    if (err != OK) {
        operations_fini(ret);
        return err;
    }
    uint64_t outcomes[4] = {0};
    uint64_t faults = 0;
    for (uint32_t i = 0; i < ret->count; i++) {
        outcomes[ret->ops[i].outcome]++;
    }
    for (size_t i = 0; i < count; i++) {
        faults += history_at(h, i)->f == HISTORY_FAULT;
    }
    report_count(report, HISTORY_CHECK_SHAPE, "events", count);
    report_count(report, HISTORY_CHECK_SHAPE, "ok", outcomes[HISTORY_OK]);
    report_count(report, HISTORY_CHECK_SHAPE, "failed", outcomes[HISTORY_FAIL]);
    report_count(report, HISTORY_CHECK_SHAPE, "unknown", outcomes[HISTORY_INFO]);
    report_count(report, HISTORY_CHECK_SHAPE, "faults", faults);
    return OK;
}

void operations_fini(struct operations *ops)
{
    free(ops->ops);
    free(ops->of_event);
    *ops = (struct operations){0};
}

const struct history_event *operation_told(const struct operation *op)
{
    bool told =
        op->outcome == HISTORY_OK || (op->outcome == HISTORY_FAIL && op->answer->revision > 0);
    return told ? op->answer : op->asked;
}
