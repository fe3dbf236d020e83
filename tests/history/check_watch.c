/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/history/names.h"

/* etcd's promises to watchers, against the log of all that happened: ordered, unique, atomic,
 * reliable, bookmarkable, and resumable, which is reliable from the revision where it began.
 *
 *   log      5: a   6: b   7: a,c   8: d        a watch of [a,c) from 5 on
 *   told     5: a   6: b                        all to 6 is compared
 *   bookmark 8                                  7: a is missing
 *
 * What was told is in the log, too, so that a watcher is compared with every other one. */
struct watch {
    const struct history_event *start; /* the question */
    uint32_t started_at;               /* the answer's position */
    struct bytes key;
    struct bytes end; /* data NULL: one key */
    bool to_the_end;
    int64_t from;     /* the first revision that it is promised */
    int64_t last;     /* the last revision of an event */
    uint32_t last_at; /* told in this response: the position of its end */
    int64_t bookmark;
    int64_t compared; /* what is at or below has been told, or reported as missing */
    uint32_t cursor;  /* the first change that has not been compared; of one key: the last one
                         that has */
    uint32_t next;    /* of the same stream */
    bool closed;
    bool broken;          /* reported: the rest of it would be, too */
    struct buf fragments; /* uint32_t each: positions of a response that is not whole yet */
};
/* The end of a stream's list; not NUMTABLE_NONE, which cannot be kept. */
#define STREAM_END (UINT32_MAX - 1)

struct watching {
    const struct revlog *log;
    struct buf watches;     /* struct watch each */
    struct numtable ids;    /* for pairs: process and id as small numbers */
    struct numtable open;   /* process, id -> its watch */
    struct numtable stream; /* process -> the first of its watches */
    uint32_t *stamps;       /* for each change: the watch that was told it last, + 1 */
    uint64_t events;
    uint64_t bookmarks;
    bool no_memory;
};

static struct watch *watch_at(struct watching *w, uint32_t i)
{
    return (struct watch *)(void *)w->watches.data + i;
}

static void finding(struct watching *w, struct watch *watch, const char *rule, int64_t revision,
                    uint32_t key, uint64_t at, uint64_t other, const char *text)
{
    char name[SYMBOL_TEXT_BYTES];
    uint64_t where[4] = {watch->started_at, at, other, NO_POSITION};
    watch->broken = true;
    report_add(w->log->report, HISTORY_CHECK_WATCH, rule, where,
               "watch %" PRId64 " of process %" PRId64 ", revision %" PRId64 ", key %s: %s",
               watch->start->id, watch->start->process, revision,
               symbol_print(w->log->h, key, name), text);
}

/* ---- What a watch shall be told ---- */

static bool in_range(const struct watch *watch, struct bytes key)
{
    if (watch->end.data == NULL && !watch->to_the_end) {
        return bytes_equal(key, watch->key);
    }
    return bytes_compare(key, watch->key) >= 0 &&
           (watch->to_the_end || bytes_compare(key, watch->end) < 0);
}

/* An element of a set that nobody has seen has no symbol. */
static bool unseen_in_range(const struct watching *w, const struct watch *watch,
                            const struct change *c)
{
    const struct history_item *item = &w->log->ops->ops[c->op].asked->items[0];
    struct buf name = {0};
    buf_append_bytes(&name, history_symbol_text(w->log->h, item->key));
    buf_append_str(&name, "/");
    buf_append_bytes(&name, history_symbol_text(w->log->h, item->value));
    bool is = buf_ok(&name) && in_range(watch, buf_bytes(&name));
    buf_fini(&name);
    return is;
}

static bool is_promised(const struct watching *w, const struct watch *watch, uint32_t number)
{
    const struct change *c = &w->log->changes[number];
    bool deletes = c->value == HISTORY_NONE;
    if (c->revision < watch->from ||
        (watch->start->flags & (deletes ? HISTORY_NO_DELETE : HISTORY_NO_PUT)) != 0) {
        return false;
    }
    if (c->key == HISTORY_NONE) {
        return c->op != NO_OP && unseen_in_range(w, watch, c);
    }
    /* A delete of a transaction that found nothing. */
    bool was_there = c->prev != NO_CHANGE && w->log->changes[c->prev].value != HISTORY_NONE;
    return (!deletes || was_there || c->seen_at != NEVER) &&
           in_range(watch, history_symbol_text(w->log->h, c->key));
}

static bool is_single(const struct watch *watch)
{
    return watch->end.data == NULL && !watch->to_the_end;
}

/* The next change to compare, at or below REVISION; NO_CHANGE: none. A watch of one key goes from
 * one change of it to the next, others through the whole log. */
static uint32_t next_change(struct watching *w, struct watch *watch, int64_t revision)
{
    const struct revlog *log = w->log;
    uint32_t i = watch->cursor;
    if (is_single(watch)) {
        uint32_t key = watch->start->items[0].key;
        i = i == NO_CHANGE ? log->first_of_key[key] : log->changes[i].next;
    }
    if (i >= log->count || log->changes[i].revision > revision) {
        return NO_CHANGE;
    }
    watch->cursor = is_single(watch) ? i : i + 1;
    return i;
}

/* All up to REVISION has been told by now, or never will be. */
static void compare_to(struct watching *w, uint32_t number, int64_t revision, uint32_t at)
{
    struct watch *watch = watch_at(w, number);
    uint32_t i;
    while ((i = next_change(w, watch, revision)) != NO_CHANGE) {
        const struct change *c = &w->log->changes[i];
        if (w->stamps[i] == number + 1 || !is_promised(w, watch, i)) {
            continue;
        }
        uint64_t other = c->seen_at;
        if (c->op != NO_OP) {
            other = w->log->ops->ops[c->op].asked_at;
        }
        if (c->revision == watch->last && watch->last_at == at) {
            finding(w, watch, "split revision", c->revision, c->key, at, other,
                    "it was not told together with the rest of its revision:");
        } else {
            finding(w, watch, "event missing", c->revision, c->key, at, other,
                    "it was not told, though a later revision was:");
        }
    }
    watch->compared = revision > watch->compared ? revision : watch->compared;
}

/* ---- What it is told ---- */

static uint32_t find_change(const struct revlog *log, const struct history_item *item)
{
    for (uint32_t i = revlog_find(log, item->mod_revision);
         i < log->count && log->changes[i].revision == item->mod_revision; i++) {
        if (log->changes[i].key == item->key) {
            return i;
        }
    }
    return NO_CHANGE;
}

static void compare_prev(struct watching *w, struct watch *watch, const struct history_item *item,
                         uint32_t number, uint32_t at)
{
    const struct revlog *log = w->log;
    const struct change *c = &log->changes[number];
    const struct change *prev = c->prev == NO_CHANGE ? NULL : &log->changes[c->prev];
    bool was_there = prev != NULL && prev->value != HISTORY_NONE;
    if ((watch->start->flags & HISTORY_PREV_KV) == 0) {
        if (item->prev_value != HISTORY_NONE) {
            finding(w, watch, "prev_kv", c->revision, c->key, at, NO_POSITION,
                    "it was not asked for:");
        }
        return;
    }
    if (item->prev_value == HISTORY_NONE) {
        if (was_there && log->compacted < c->revision &&
            !revlog_is_uncertain(log, c->key, c->revision - 1)) {
            finding(w, watch, "prev_kv", c->revision, c->key, at, NO_POSITION,
                    "it is missing, and was not compacted:");
        }
        return;
    }
    bool same = was_there && prev->revision == item->prev_mod_revision &&
                (prev->value == item->prev_value || prev->value == VALUE_UNKNOWN);
    if (!same) {
        finding(w, watch, "prev_kv", c->revision, c->key, at, NO_POSITION,
                "it is not what the key had before:");
    }
}

/* Of one transaction events come in its order, of the end of a lease in that of the keys. In which
 * order a client writes what it appends or transfers is its own business. */
static void compare_order(struct watching *w, struct watch *watch, uint32_t before, uint32_t now,
                          uint32_t at)
{
    const struct change *a = &w->log->changes[before];
    const struct change *b = &w->log->changes[now];
    if (a->revision != b->revision) {
        return;
    }
    bool wrong = false;
    if (b->op == NO_OP) {
        bool deletes = a->value == HISTORY_NONE && b->value == HISTORY_NONE;
        wrong = deletes && bytes_compare(history_symbol_text(w->log->h, a->key),
                                         history_symbol_text(w->log->h, b->key)) > 0;
    } else if (w->log->ops->ops[b->op].asked->workload == HISTORY_WR) {
        wrong = now < before;
    }
    if (wrong) {
        finding(w, watch, "order", b->revision, b->key, at, NO_POSITION,
                "events of one revision in the wrong order:");
    }
}

/* Why an event may not come now; NULL: it may. */
static const char *misplaced(const struct watching *w, const struct watch *watch, uint32_t stamp,
                             const struct history_item *item, uint32_t number)
{
    bool put = item->f == HISTORY_ITEM_PUT;
    if (item->mod_revision < watch->from) {
        return "before start";
    } else if (w->stamps[number] == stamp) {
        return "told twice";
    } else if (item->mod_revision <= watch->bookmark) {
        return "behind a bookmark";
    } else if (item->mod_revision < watch->last) {
        return "out of order";
    } else if ((watch->start->flags & (put ? HISTORY_NO_PUT : HISTORY_NO_DELETE)) != 0) {
        return "filter";
    } else if (!in_range(watch, history_symbol_text(w->log->h, item->key))) {
        return "outside the range";
    }
    return NULL;
}

/* A response or a fragment of it; AT is where the response is whole. */
static void take_part(struct watching *w, uint32_t number, const struct history_event *e,
                      uint32_t at)
{
    struct watch *watch = watch_at(w, number);
    uint32_t before = NO_CHANGE;
    for (uint32_t i = 0; i < e->item_count && !watch->broken; i++) {
        const struct history_item *item = &e->items[i];
        uint32_t change = find_change(w->log, item);
        if (change == NO_CHANGE) {
            watch->broken = true; /* another's revision: reported with the log */
            return;
        }
        const char *rule = misplaced(w, watch, number + 1, item, change);
        if (rule != NULL) {
            finding(w, watch, rule, item->mod_revision, item->key, at, NO_POSITION,
                    "this event may not come now:");
            return;
        }
        if (e->revision > 0 && e->revision < item->mod_revision) {
            finding(w, watch, "header", item->mod_revision, item->key, at, NO_POSITION,
                    "the answer's revision is below that of the event:");
        }
        if (before != NO_CHANGE) {
            compare_order(w, watch, before, change, at);
        }
        compare_prev(w, watch, item, change, at);
        if (item->mod_revision > watch->last) {
            compare_to(w, number, item->mod_revision - 1, at);
        }
        w->stamps[change] = number + 1;
        watch->last = item->mod_revision;
        watch->last_at = at;
        before = change;
        w->events++;
    }
}

static void take_events(struct watching *w, uint32_t number, const struct history_event *e,
                        uint32_t at)
{
    struct watch *watch = watch_at(w, number);
    if ((e->flags & HISTORY_MORE) != 0) {
        buf_append(&watch->fragments, &at, sizeof at);
        w->no_memory |= !buf_ok(&watch->fragments);
        return;
    }
    const uint32_t *parts = (const uint32_t *)(const void *)watch->fragments.data;
    for (size_t i = 0; i < watch->fragments.len / sizeof *parts; i++) {
        take_part(w, number, history_at(w->log->h, parts[i]), at);
    }
    buf_clear(&watch->fragments);
    take_part(w, number, e, at);
    if (!watch->broken) {
        compare_to(w, number, watch->last, at);
    }
}

static void take_bookmark(struct watching *w, uint32_t number, const struct history_event *e,
                          uint32_t at)
{
    struct watch *watch = watch_at(w, number);
    if (watch->closed || watch->broken) {
        return;
    }
    w->bookmarks++;
    if (e->revision < watch->last || e->revision < watch->bookmark) {
        finding(w, watch, "bookmark goes back", e->revision, HISTORY_NONE, at, NO_POSITION,
                "it was told of a later revision before:");
    } else if (e->revision + 1 < watch->from) {
        finding(w, watch, "early bookmark", e->revision, HISTORY_NONE, at, NO_POSITION,
                "the revision where it starts does not exist yet:");
    } else {
        watch->bookmark = e->revision;
        compare_to(w, number, e->revision, at);
    }
}

static void take_cancel(struct watching *w, uint32_t number, const struct history_event *e,
                        uint32_t at)
{
    struct watch *watch = watch_at(w, number);
    int64_t needs = watch->last + 1 > watch->from ? watch->last + 1 : watch->from;
    watch->closed = true;
    if (e->at_revision == 0 || w->log->options->strangers || watch->broken) {
        return;
    }
    if (e->at_revision > w->log->compacted) {
        finding(w, watch, "canceled", e->at_revision, HISTORY_NONE, at, NO_POSITION,
                "for a compaction that nobody asked for:");
    } else if (needs >= e->at_revision) {
        finding(w, watch, "canceled", e->at_revision, HISTORY_NONE, at, NO_POSITION,
                "for a compaction, and what it needs was not compacted:");
    }
}

/* ---- Streams ---- */

static uint64_t watch_key(struct watching *w, int64_t process, int64_t id)
{
    uint32_t a = numtable_number(&w->ids, (uint64_t)process);
    uint32_t b = numtable_number(&w->ids, (uint64_t)id);
    w->no_memory |= a == NUMTABLE_NONE || b == NUMTABLE_NONE;
    return numtable_pair(a, b);
}

static uint32_t stream_first(const struct watching *w, int64_t process)
{
    uint32_t first = numtable_get(&w->stream, (uint64_t)process);
    return first == NUMTABLE_NONE ? STREAM_END : first;
}

static void start(struct watching *w, const struct operation *op)
{
    const struct history_event *e = op->asked;
    const struct history_item *range = &e->items[0];
    struct watch watch = {.start = e,
                          .started_at = op->answer_at,
                          .key = history_symbol_text(w->log->h, range->key),
                          .last_at = NEVER};
    if (range->value != HISTORY_NONE) {
        watch.end = history_symbol_text(w->log->h, range->value);
        watch.to_the_end = watch.end.len == 1 && watch.end.data[0] == '\0';
    }
    watch.from = e->at_revision > 0 ? e->at_revision : op->answer->revision + 1;
    watch.compared = watch.from - 1;
    uint32_t number = (uint32_t)(w->watches.len / sizeof watch);
    watch.cursor = is_single(&watch) ? NO_CHANGE : revlog_find(w->log, watch.from);
    watch.next = stream_first(w, e->process);
    buf_append(&w->watches, &watch, sizeof watch);
    bool kept = numtable_set(&w->stream, (uint64_t)e->process, number) &&
                numtable_set(&w->open, watch_key(w, e->process, op->answer->id), number);
    w->no_memory |= !kept || !buf_ok(&w->watches);
}

static void close_stream(struct watching *w, int64_t process)
{
    for (uint32_t i = stream_first(w, process); i != STREAM_END; i = watch_at(w, i)->next) {
        watch_at(w, i)->closed = true;
    }
    w->no_memory |= !numtable_set(&w->stream, (uint64_t)process, STREAM_END);
}

static void take_told(struct watching *w, const struct history_event *e, uint32_t at)
{
    if (e->f == HISTORY_CLOSE) {
        close_stream(w, e->process);
        return;
    }
    if (e->f == HISTORY_PROGRESS && e->id == HISTORY_WATCH_ALL) {
        for (uint32_t i = stream_first(w, e->process); i != STREAM_END; i = watch_at(w, i)->next) {
            take_bookmark(w, i, e, at);
        }
        return;
    }
    uint32_t i = numtable_get(&w->open, watch_key(w, e->process, e->id));
    if (i == NUMTABLE_NONE || watch_at(w, i)->closed) {
        uint64_t where[4] = {at, NO_POSITION, NO_POSITION, NO_POSITION};
        report_add(w->log->report, HISTORY_CHECK_WATCH, "no such watch", where,
                   "an answer to a watch that was not started, or has ended:");
        return;
    }
    if (e->f == HISTORY_EVENTS) {
        take_events(w, i, e, at);
    } else if (e->f == HISTORY_PROGRESS) {
        take_bookmark(w, i, e, at);
    } else {
        take_cancel(w, i, e, at);
    }
}

static enum err take_all(struct watching *w)
{
    const struct operations *ops = w->log->ops;
    for (uint32_t at = 0; at < history_count(ops->h) && !w->no_memory; at++) {
        const struct history_event *e = history_at(ops->h, at);
        const struct operation *op =
            ops->of_event[at] == NEVER ? NULL : &ops->ops[ops->of_event[at]];
        if (op != NULL && e->f == HISTORY_START && at == op->answer_at &&
            op->outcome == HISTORY_OK) {
            start(w, op);
        } else if (e->workload == HISTORY_WATCH && history_f_is_told(e->f)) {
            take_told(w, e, at);
        }
    }
    return w->no_memory ? ERR_NOMEM : OK;
}

enum err check_watch(const struct revlog *log)
{
    struct watching w = {.log = log};
    w.stamps = calloc((size_t)log->count + 1, sizeof *w.stamps);
    enum err err = w.stamps == NULL ? ERR_NOMEM : take_all(&w);
    report_count(log->report, HISTORY_CHECK_WATCH, "watches", w.watches.len / sizeof(struct watch));
    report_count(log->report, HISTORY_CHECK_WATCH, "events", w.events);
    report_count(log->report, HISTORY_CHECK_WATCH, "bookmarks", w.bookmarks);
    free(w.stamps);
    for (uint32_t i = 0; i < w.watches.len / sizeof(struct watch); i++) {
        buf_fini(&watch_at(&w, i)->fragments);
    }
    buf_fini(&w.watches);
    numtable_fini(&w.ids);
    numtable_fini(&w.open);
    numtable_fini(&w.stream);
    return err;
}
