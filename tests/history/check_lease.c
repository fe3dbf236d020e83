/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"

/* A lease lives for its TTL from when it was granted or last kept alive, and no shorter. When the
 * server did that is not known, only that it was between the question and the answer, by the
 * client's clock:
 *
 *   asked   answered                 asked + TTL        answered + TTL     + late
 *     |--------|--------------------------|------------------|---------------|
 *              may not be gone before ----^      may be      must be gone ---^
 *
 * A server whose clock is fast by d counts a TTL in TTL / (1 + d).
 *
 * Its end is seen by who asks for it, and by watchers of a key that was put with it. */
#define SECOND_NS INT64_C(1000000000)
#define PPM       INT64_C(1000000)

struct lease {
    int64_t granted_s;        /* 0: nobody was told */
    int64_t promised_ns;      /* it must live until then */
    uint32_t promised_by;     /* operation */
    int64_t lapses_ns;        /* it may live until then, by the questions so far */
    uint32_t pending;         /* renewals that were asked for and not answered */
    uint32_t revoke_asked_at; /* NEVER: nobody did */
    uint32_t revoked_at;      /* NEVER: nobody was told that it was done */
    int64_t gone_ns;          /* its end was seen first, and nobody had asked for it */
    uint32_t gone_at;         /* NEVER: it was not */
};

struct leasing {
    const struct revlog *log;
    struct numtable numbers; /* lease -> its place */
    struct lease *leases;
    size_t cap;
    uint64_t ends;
    uint64_t signs;
    uint64_t promises;
    bool no_memory;
};

static const struct lease unborn = {.promised_by = NO_OP,
                                    .lapses_ns = INT64_MIN,
                                    .revoke_asked_at = NEVER,
                                    .revoked_at = NEVER,
                                    .gone_at = NEVER};

static void finding(const struct leasing *l, const char *rule, int64_t id, uint64_t at,
                    uint64_t other, int64_t by_ns, const char *text)
{
    uint64_t where[4] = {at, other, NO_POSITION, NO_POSITION};
    report_add(l->log->report, HISTORY_CHECK_LEASE, rule, where,
               "lease %" PRId64 " %s, by %" PRId64 ".%03" PRId64 " s:", id, text, by_ns / SECOND_NS,
               by_ns % SECOND_NS / 1000000);
}

static struct lease *lease_of(struct leasing *l, int64_t id)
{
    uint32_t i = numtable_number(&l->numbers, (uint64_t)id);
    if (i == NUMTABLE_NONE) {
        l->no_memory = true;
        return NULL;
    }
    size_t fresh = l->cap;
    if (!ARRAY_MAKE_ROOM(l->leases, i, l->cap, 64)) {
        l->no_memory = true;
        return NULL;
    }
    for (; fresh < l->cap; fresh++) {
        l->leases[fresh] = unborn;
    }
    return &l->leases[i];
}

/* Seen gone at AT; whatever is promised later, by an answer that comes after, counts as well. */
static void see_gone(struct leasing *l, struct lease *lease, uint32_t at)
{
    l->ends++;
    if (lease->revoke_asked_at < at || lease->gone_at != NEVER) {
        return;
    }
    lease->gone_at = at;
    lease->gone_ns = history_at(l->log->h, at)->time_ns;
}

/* All is known of a life of this lease. */
static void judge(struct leasing *l, int64_t id, const struct lease *lease)
{
    int64_t early = lease->promised_ns - l->log->options->lease_early_ns;
    if (lease->promised_by == NO_OP) {
        return;
    }
    l->promises += lease->gone_at != NEVER;
    if (lease->gone_at != NEVER && lease->gone_ns < early) {
        finding(l, "ended early", id, lease->gone_at,
                l->log->ops->ops[lease->promised_by].answer_at, early - lease->gone_ns,
                "was gone before it was promised to be");
    }
}

/* A question that shows that it is alive, if the answer says so. */
static void see_alive(struct leasing *l, const struct lease *lease, const struct operation *op)
{
    int64_t late = l->log->options->lease_late_ns;
    l->signs++;
    if (lease->revoked_at != NEVER && op->asked_at > lease->revoked_at) {
        finding(l, "alive after its end", op->asked->id, op->answer_at, lease->revoked_at,
                op->asked->time_ns - history_at(l->log->h, lease->revoked_at)->time_ns,
                "is alive after it was revoked");
    }
    if (late > 0 && lease->pending == 0 && lease->lapses_ns != INT64_MIN &&
        op->asked->time_ns > lease->lapses_ns && op->asked->time_ns - lease->lapses_ns > late) {
        finding(l, "ended late", op->asked->id, op->answer_at,
                lease->promised_by == NO_OP ? NO_POSITION
                                            : l->log->ops->ops[lease->promised_by].answer_at,
                op->asked->time_ns - lease->lapses_ns, "is alive after its TTL");
    }
}

/* What a TTL is by the fastest clock. */
static int64_t shortest_ns(const struct leasing *l, int64_t ttl_ns)
{
    int64_t rate_ppm = PPM + l->log->options->clock_fast_ppm;
    return ttl_ns / rate_ppm * PPM + ttl_ns % rate_ppm * PPM / rate_ppm;
}

/* Granted or kept alive: a promise from the question on. Unknown: it may have been. */
static void renew(struct leasing *l, struct lease *lease, uint32_t number, int64_t ttl_s)
{
    const struct operation *op = &l->log->ops->ops[number];
    int64_t ttl_ns;
    int64_t lapses;
    if (__builtin_mul_overflow(ttl_s, SECOND_NS, &ttl_ns) ||
        __builtin_add_overflow(op->answer->time_ns, ttl_ns, &lapses)) {
        ttl_ns = INT64_MAX / 2;
        lapses = INT64_MAX;
    }
    lease->lapses_ns = lapses > lease->lapses_ns ? lapses : lease->lapses_ns;
    int64_t promised_ns = op->asked->time_ns + shortest_ns(l, ttl_ns);
    if (op->outcome == HISTORY_OK &&
        (lease->promised_by == NO_OP || promised_ns > lease->promised_ns)) {
        lease->promised_ns = promised_ns;
        lease->promised_by = number;
    }
}

static void take_grant(struct leasing *l, uint32_t number)
{
    const struct operation *op = &l->log->ops->ops[number];
    if (op->outcome != HISTORY_OK) {
        return;
    }
    struct lease *lease = lease_of(l, op->answer->id);
    if (lease == NULL) {
        return;
    }
    if (lease->promised_by != NO_OP) {
        judge(l, op->answer->id, lease); /* an earlier life of the same number */
        *lease = unborn;
    }
    lease->granted_s = op->answer->number;
    renew(l, lease, number, op->answer->number);
}

static void take_keepalive(struct leasing *l, uint32_t number)
{
    const struct operation *op = &l->log->ops->ops[number];
    struct lease *lease = lease_of(l, op->asked->id);
    if (lease == NULL) {
        return;
    }
    lease->pending -= lease->pending > 0;
    if (op->outcome == HISTORY_INFO) {
        renew(l, lease, number, lease->granted_s);
    } else if (op->outcome == HISTORY_OK && op->answer->number <= 0) {
        see_gone(l, lease, op->answer_at);
    } else if (op->outcome == HISTORY_OK) {
        see_alive(l, lease, op);
        if (lease->granted_s != 0 && op->answer->number != lease->granted_s) {
            finding(l, "ttl", op->asked->id, op->answer_at, NO_POSITION, 0,
                    "is kept alive for another TTL than it was granted");
        }
        renew(l, lease, number, op->answer->number);
    }
}

static void take_time_to_live(struct leasing *l, uint32_t number)
{
    const struct operation *op = &l->log->ops->ops[number];
    struct lease *lease = lease_of(l, op->asked->id);
    if (lease == NULL || op->outcome != HISTORY_OK) {
        return;
    }
    if (op->answer->number > 0) {
        see_alive(l, lease, op);
    } else if (op->answer->number < 0) {
        see_gone(l, lease, op->answer_at);
    }
}

static void take_revoke(struct leasing *l, uint32_t number, uint32_t at)
{
    const struct operation *op = &l->log->ops->ops[number];
    struct lease *lease = lease_of(l, op->asked->id);
    if (lease == NULL) {
        return;
    }
    bool found_none = op->outcome == HISTORY_FAIL && op->answer->revision > 0;
    if (at == op->asked_at) {
        if (op->outcome != HISTORY_FAIL && lease->revoke_asked_at == NEVER) {
            lease->revoke_asked_at = at;
        }
    } else if (found_none) {
        see_gone(l, lease, at);
    } else if (op->outcome == HISTORY_OK && lease->revoked_at == NEVER) {
        lease->revoked_at = at;
    }
}

/* The lease that a key was put with, by its own put or with a lock. 0: none, or nobody told. */
static int64_t lease_of_change(const struct revlog *log, const struct change *c)
{
    if (c->op == NO_OP) {
        return 0;
    }
    const struct history_event *told = operation_told(&log->ops->ops[c->op]);
    return told->f == HISTORY_ATTACH || told->f == HISTORY_ACQUIRE ? told->id : 0;
}

/* A key that was deleted, and nobody did it: the lease that it was put with has ended. */
static void take_event(struct leasing *l, const struct history_item *item, uint32_t at)
{
    const struct revlog *log = l->log;
    for (uint32_t i = revlog_find(log, item->mod_revision);
         i < log->count && log->changes[i].revision == item->mod_revision; i++) {
        const struct change *c = &log->changes[i];
        if (c->key != item->key || c->op != NO_OP || c->prev == NO_CHANGE) {
            continue;
        }
        int64_t id = lease_of_change(log, &log->changes[c->prev]);
        if (id == 0) {
            continue;
        }
        struct lease *lease = lease_of(l, id);
        if (lease != NULL) {
            see_gone(l, lease, at);
        }
    }
}

static void take_operation(struct leasing *l, uint32_t number, uint32_t at)
{
    const struct operation *op = &l->log->ops->ops[number];
    switch (op->asked->f) {
    case HISTORY_GRANT:
        if (at == op->answer_at) {
            take_grant(l, number);
        }
        break;
    case HISTORY_KEEPALIVE:
        if (at == op->answer_at) {
            take_keepalive(l, number);
        } else {
            struct lease *lease = lease_of(l, op->asked->id);
            if (lease != NULL) {
                lease->pending++;
            }
        }
        break;
    case HISTORY_TIME_TO_LIVE:
        if (at == op->answer_at) {
            take_time_to_live(l, number);
        }
        break;
    case HISTORY_REVOKE:
        take_revoke(l, number, at);
        break;
    default:
        break;
    }
}

static enum err take_all(struct leasing *l)
{
    const struct operations *ops = l->log->ops;
    for (uint32_t at = 0; at < history_count(ops->h) && !l->no_memory; at++) {
        const struct history_event *e = history_at(ops->h, at);
        if (ops->of_event[at] != NEVER) {
            take_operation(l, ops->of_event[at], at);
        } else if (e->f == HISTORY_GONE) {
            struct lease *lease = lease_of(l, e->id);
            if (lease != NULL) {
                see_gone(l, lease, at);
            }
        }
        for (uint32_t i = 0; e->f == HISTORY_EVENTS && i < e->item_count; i++) {
            if (e->items[i].f == HISTORY_ITEM_DELETE) {
                take_event(l, &e->items[i], at);
            }
        }
    }
    for (size_t s = 0; s < l->numbers.slot_count && !l->no_memory; s++) {
        uint64_t id;
        uint32_t i = numtable_slot(&l->numbers, s, &id);
        if (i != NUMTABLE_NONE) {
            judge(l, (int64_t)id, &l->leases[i]);
        }
    }
    return l->no_memory ? ERR_NOMEM : OK;
}

enum err check_lease(const struct revlog *log)
{
    struct leasing l = {.log = log};
    enum err err = take_all(&l);
    report_count(log->report, HISTORY_CHECK_LEASE, "leases", l.numbers.count);
    report_count(log->report, HISTORY_CHECK_LEASE, "ends seen", l.ends);
    report_count(log->report, HISTORY_CHECK_LEASE, "signs of life", l.signs);
    report_count(log->report, HISTORY_CHECK_LEASE, "promises compared", l.promises);
    numtable_fini(&l.numbers);
    free(l.leases);
    return err;
}
