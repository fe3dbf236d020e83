/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/revlog.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "tests/history/attempts.h"

/* Facts are gathered from all that anybody was told, put in the order of their revisions, and those
 * of one revision are made one group of changes: that of the acknowledged operation, or of the
 * attempt that fits, or what was seen and nobody can be named for. */
struct building {
    struct revlog *log;
    struct buf facts; /* struct fact each */
    struct attempts attempts;
    const struct operation *op; /* whose writes are being gathered */
    int64_t revision;           /* of what is being written */
    uint64_t resolved;
    bool no_memory;
};

uint32_t revlog_element_key(const struct history *h, uint32_t set, uint32_t element)
{
    struct buf name = {0};
    buf_append_bytes(&name, history_symbol_text(h, set));
    buf_append_str(&name, "/");
    buf_append_bytes(&name, history_symbol_text(h, element));
    uint32_t found = buf_ok(&name) ? history_find_text(h, buf_bytes(&name)) : HISTORY_NONE;
    buf_fini(&name);
    return found;
}

/* A transaction that appends twice to a list changes its key once. */
static bool appended_before(const struct history_event *e, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (e->items[k].f == HISTORY_ITEM_APPEND && e->items[k].key == e->items[i].key) {
            return true;
        }
    }
    return false;
}

static void written_by_items(const struct history_event *e, uint32_t op, written_cb cb, void *ctx)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        if (item->f == HISTORY_ITEM_WRITE) {
            cb(ctx, op, item->key, item->value);
        } else if (item->f == HISTORY_ITEM_APPEND && !appended_before(e, i)) {
            cb(ctx, op, item->key, VALUE_UNKNOWN);
        }
    }
}

void revlog_written(const struct operations *ops, uint32_t op, written_cb cb, void *ctx)
{
    const struct history_event *e = operation_told(&ops->ops[op]);
    switch (e->f) {
    case HISTORY_ADD:
        cb(ctx, op, revlog_element_key(ops->h, e->items[0].key, e->items[0].value), VALUE_UNKNOWN);
        break;
    case HISTORY_TRANSFER:
        cb(ctx, op, e->items[0].key, VALUE_UNKNOWN);
        cb(ctx, op, e->items[1].key, VALUE_UNKNOWN);
        break;
    case HISTORY_ACQUIRE:
        cb(ctx, op, e->items[0].key, VALUE_UNKNOWN);
        break;
    case HISTORY_RELEASE:
        cb(ctx, op, e->items[0].key, HISTORY_NONE);
        break;
    case HISTORY_WRITE:
    case HISTORY_CAS:
    case HISTORY_TXN:
    case HISTORY_OPEN:
    case HISTORY_FENCED:
    case HISTORY_ATTACH:
        written_by_items(e, op, cb, ctx);
        break;
    default:
        break;
    }
}

static void count_write(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    (void)op, (void)key, (void)value;
    ++*(unsigned *)ctx;
}

int64_t revlog_acked_revision(const struct operation *op)
{
    const struct history_event *e = op->answer;
    if (op->outcome != HISTORY_OK || (e->flags & HISTORY_UNCHANGED) != 0) {
        return 0;
    }
    if (e->f == HISTORY_ACQUIRE) {
        return e->items[0].create_revision;
    }
    struct operations one = {.ops = (struct operation *)op, .count = 1};
    unsigned writes = e->f == HISTORY_ADD;
    if (e->f != HISTORY_ADD) {
        revlog_written(&one, 0, count_write, &writes);
    }
    return writes > 0 ? e->revision : 0;
}

/* ---- Gathering ---- */

static void add_fact(struct building *b, const struct fact *fact)
{
    buf_append(&b->facts, fact, sizeof *fact);
}

static void add_acked(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct building *b = ctx;
    add_fact(b, &(struct fact){.revision = b->revision,
                               .key = key,
                               .value = value,
                               .op = op,
                               .position = b->log->ops->ops[op].answer_at});
}

static void add_seen(struct building *b, uint32_t at, const struct history_item *item)
{
    bool put = item->f != HISTORY_ITEM_DELETE;
    if (item->mod_revision > 0 && (!put || item->value != HISTORY_NONE)) {
        add_fact(b, &(struct fact){.revision = item->mod_revision,
                                   .key = item->key,
                                   .value = put ? item->value : HISTORY_NONE,
                                   .op = NO_OP,
                                   .position = at,
                                   .create_revision = item->create_revision,
                                   .version = item->version});
    }
    if (item->prev_value != HISTORY_NONE && item->prev_mod_revision > 0) {
        add_fact(b, &(struct fact){.revision = item->prev_mod_revision,
                                   .key = item->key,
                                   .value = item->prev_value,
                                   .op = NO_OP,
                                   .position = at});
    }
}

static void mark_key(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct building *b = ctx;
    const struct history_event *e = b->log->ops->ops[op].asked;
    uint8_t kind = 0;
    (void)value;
    if (e->f == HISTORY_ATTACH || e->f == HISTORY_ACQUIRE) {
        kind = KEY_LEASED;
    } else if (e->workload == HISTORY_BANK) {
        kind = KEY_ACCOUNT;
    } else if (e->workload == HISTORY_APPEND) {
        kind = KEY_LIST;
    } else if (e->f == HISTORY_ADD) {
        kind = KEY_OF_SET;
    }
    b->log->kinds[key] |= kind;
}

static void gather_operation(struct building *b, uint32_t number)
{
    const struct operation *op = &b->log->ops->ops[number];
    revlog_written(b->log->ops, number, mark_key, b);
    b->revision = revlog_acked_revision(op);
    if (b->revision > 0) {
        revlog_written(b->log->ops, number, add_acked, b);
    } else if (op->outcome != HISTORY_OK) {
        revlog_written(b->log->ops, number, attempts_add, &b->attempts);
    }
    if (op->asked->workload == HISTORY_LOCK) {
        b->log->kinds[op->asked->items[0].value] |= KEY_LOCK;
    }
    if (op->asked->f == HISTORY_COMPACT && op->asked->at_revision > b->log->compacted) {
        b->log->compacted = op->asked->at_revision;
    }
    const struct history_event *told = operation_told(op);
    bool reads = told->f == HISTORY_READ || told->f == HISTORY_TXN || told->f == HISTORY_STATE;
    for (uint32_t i = 0; told == op->answer && reads && i < told->item_count; i++) {
        if (told->items[i].f == HISTORY_ITEM_READ) {
            add_seen(b, op->answer_at, &told->items[i]);
        }
    }
}

static void gather(struct building *b)
{
    const struct history *h = b->log->h;
    for (uint32_t i = 0; i < b->log->ops->count; i++) {
        gather_operation(b, i);
    }
    for (uint32_t at = 0; at < history_count(h); at++) {
        const struct history_event *e = history_at(h, at);
        for (uint32_t i = 0; e->f == HISTORY_EVENTS && i < e->item_count; i++) {
            add_seen(b, at, &e->items[i]);
        }
    }
}

/* ---- One revision ---- */

static void push_change(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct building *b = ctx;
    struct revlog *log = b->log;
    if (!ARRAY_MAKE_ROOM(log->changes, log->count, log->cap, 1024)) {
        b->no_memory = true;
        return;
    }
    log->changes[log->count++] = (struct change){.revision = b->revision,
                                                 .key = key,
                                                 .value = value,
                                                 .op = op,
                                                 .seen_at = NEVER,
                                                 .prev = NO_CHANGE};
    log->last_of_key[key] = log->count - 1;
}

static uint64_t answer_of(const struct building *b, uint32_t op)
{
    const struct operation *o = op == NO_OP ? NULL : &b->log->ops->ops[op];
    if (o == NULL) {
        return NO_POSITION;
    }
    return o->answer_at == NEVER ? o->asked_at : o->answer_at;
}

/* "r1" for texts. */
static void finding(struct building *b, const char *rule, const struct fact *f, uint32_t op,
                    uint32_t seen_at, const char *text)
{
    char key[SYMBOL_TEXT_BYTES];
    char value[SYMBOL_TEXT_BYTES];
    uint64_t where[4] = {answer_of(b, op), f->position, seen_at, NO_POSITION};
    report_add(b->log->report, HISTORY_CHECK_REVISION, rule, where,
               "revision %" PRId64 ", key %s, value %s: %s", f->revision,
               symbol_print(b->log->h, f->key, key),
               f->value == VALUE_UNKNOWN ? "?" : symbol_print(b->log->h, f->value, value), text);
}

static void merge(struct building *b, struct change *c, const struct fact *f)
{
    if (c->value == VALUE_UNKNOWN && f->value != HISTORY_NONE) {
        c->value = f->value;
    } else if (c->value != f->value) {
        finding(b, "two values", f, c->op, c->seen_at, "it is said to have another value there:");
    }
    bool other_life = c->create_revision != 0 && f->create_revision != 0 &&
                      c->create_revision != f->create_revision;
    bool other_version = c->version != 0 && f->version != 0 && c->version != f->version;
    if (other_life || other_version) {
        finding(b, "two versions", f, c->op, c->seen_at,
                "it is said to have another create revision or version there:");
    }
    c->create_revision = f->create_revision != 0 ? f->create_revision : c->create_revision;
    c->version = f->version != 0 ? f->version : c->version;
    if (c->seen_at == NEVER) {
        c->seen_at = f->position;
    }
    if (c->op != NO_OP && f->position < b->log->ops->ops[c->op].asked_at) {
        finding(b, "from the future", f, c->op, NEVER, "it was seen before it was asked for:");
    }
}

uint32_t revlog_lock_of(const struct revlog *log, uint32_t key)
{
    struct bytes name = history_symbol_text(log->h, key);
    for (size_t i = 1; i < name.len; i++) {
        uint32_t prefix =
            name.data[i] == '/' ? history_find_text(log->h, bytes_of(name.data, i)) : HISTORY_NONE;
        if ((log->kinds[prefix] & KEY_LOCK) != 0) {
            return prefix;
        }
    }
    return HISTORY_NONE;
}

/* Something was seen at a revision that nobody was acknowledged. */
static void judge_unowned(struct building *b, const struct fact *f)
{
    uint8_t kinds = b->log->kinds[f->key];
    bool expired = f->value == HISTORY_NONE && (kinds & KEY_LEASED) != 0;
    bool told_later = (kinds & (KEY_ACCOUNT | KEY_LIST)) != 0; /* by the replay */
    if (expired || told_later || b->log->options->strangers ||
        revlog_lock_of(b->log, f->key) != HISTORY_NONE) {
        return;
    }
    uint32_t failed = attempts_failed(&b->attempts, b->log, f);
    if (failed != NO_OP) {
        finding(b, "failed write seen", f, failed, NEVER, "who wrote it was told that it failed:");
    } else {
        finding(b, "nobody wrote it", f, NO_OP, NEVER, "no write that may have had this revision:");
    }
}

static void add_seen_fact(struct building *b, const struct fact *f, uint32_t first, uint32_t owner,
                          uint32_t *hint)
{
    struct revlog *log = b->log;
    uint32_t count = log->count - first;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t i = first + (*hint + k) % count;
        if (log->changes[i].key == f->key) {
            merge(b, &log->changes[i], f);
            *hint = i - first + 1; /* where the next one stands, in the same order */
            return;
        }
    }
    if (owner != NO_OP && log->ops->ops[owner].asked->f == HISTORY_ADD &&
        log->changes[first].key == HISTORY_NONE) {
        finding(b, "another's revision", f, owner, NEVER, "an element was added at this revision:");
        return;
    }
    if (owner != NO_OP) {
        finding(b, "another's revision", f, owner, NEVER,
                "who has this revision did not write that key:");
        return;
    }
    push_change(b, NO_OP, f->key, f->value);
    if (b->no_memory) {
        return;
    }
    struct change *c = &log->changes[log->count - 1];
    c->create_revision = f->create_revision;
    c->version = f->version;
    c->seen_at = f->position;
    judge_unowned(b, f);
}

static void add_group(struct building *b, const struct fact *facts, const struct at_revision *order,
                      size_t count)
{
    struct revlog *log = b->log;
    uint32_t first = log->count;
    uint32_t owner = NO_OP;
    b->revision = order[0].revision;
    for (size_t i = 0; i < count; i++) {
        const struct fact *f = &facts[order[i].what];
        if (f->op != NO_OP && owner == NO_OP) {
            owner = f->op;
        }
        if (f->op != NO_OP && f->op == owner) {
            push_change(b, f->op, f->key, f->value);
        } else if (f->op != NO_OP) {
            finding(b, "revision twice", f, owner, NEVER,
                    "another write was acknowledged at this revision:");
        }
    }
    if (owner == NO_OP) {
        owner = attempts_resolve(&b->attempts, log, facts, order, count);
        if (owner != NO_OP) {
            log->resolved[owner] = b->revision;
            b->resolved++;
            revlog_written(log->ops, owner, push_change, b);
        }
    }
    uint32_t hint = 0;
    for (size_t i = 0; i < count && !b->no_memory; i++) {
        const struct fact *f = &facts[order[i].what];
        if (f->op == NO_OP) {
            add_seen_fact(b, f, first, owner, &hint);
        }
    }
}

static enum err add_groups(struct building *b)
{
    const struct fact *facts = (const struct fact *)(const void *)b->facts.data;
    size_t count = b->facts.len / sizeof *facts;
    if (!buf_ok(&b->facts) || b->attempts.no_memory || count >= NO_CHANGE) {
        return ERR_NOMEM;
    }
    struct at_revision *order = reallocarray(NULL, count + 1, sizeof *order);
    for (size_t i = 0; order != NULL && i < count; i++) {
        order[i] = (struct at_revision){.revision = facts[i].revision, .what = (uint32_t)i};
    }
    if (order == NULL || !revisions_sort(order, count)) {
        free(order);
        return ERR_NOMEM;
    }
    for (size_t from = 0, to = 0; from < count; from = to) {
        while (to < count && order[to].revision == order[from].revision) {
            to++;
        }
        add_group(b, facts, order + from, to - from);
    }
    free(order);
    return b->no_memory ? ERR_NOMEM : OK;
}

/* ---- What is known at the end ---- */

static void link_changes(struct revlog *log)
{
    int64_t hole = 0;
    int64_t before = 1; /* an empty store is there, without a change */
    memset(log->last_of_key, 0xff, history_symbol_count(log->h) * sizeof *log->last_of_key);
    for (uint32_t i = 0; i < log->count; i++) {
        struct change *c = &log->changes[i];
        if (c->revision > before + 1) {
            hole = c->revision - 1;
        }
        before = c->revision;
        c->last_hole = hole;
        c->prev = log->last_of_key[c->key];
        c->next = NO_CHANGE;
        *(c->prev == NO_CHANGE ? &log->first_of_key[c->key] : &log->changes[c->prev].next) = i;
        log->last_of_key[c->key] = i;
    }
}

static void may_have_changed(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct revlog *log = ctx;
    (void)value;
    if (log->high[op].revision < log->uncertain_from[key]) {
        log->uncertain_from[key] = log->high[op].revision;
    }
}

/* What was put with a lease may go at any revision that nobody was told of. */
static void find_leased(struct revlog *log)
{
    for (uint32_t key = 1; key < history_symbol_count(log->h); key++) {
        uint32_t first = log->first_of_key[key];
        if (first == NO_CHANGE) {
            continue;
        }
        log->kinds[key] |= revlog_lock_of(log, key) != HISTORY_NONE ? KEY_LEASED : 0;
        if ((log->kinds[key] & KEY_LEASED) != 0 &&
            log->changes[first].revision < log->uncertain_from[key]) {
            log->uncertain_from[key] = log->changes[first].revision;
        }
    }
}

/* Attempts to delete a key are all alike: the revision of a deletion that somebody saw may be that
 * of another one than it was given to, which is then as uncertain as the other one was. */
struct deletions {
    struct revlog *log;
    int64_t *from; /* for each symbol, as uncertain_from, by deletions alone */
    bool moved;
};

static void may_have_deleted(void *ctx, uint32_t op, uint32_t key, uint32_t value)
{
    struct deletions *d = ctx;
    int64_t high = d->log->high[op].revision;
    int64_t at = d->log->resolved[op];
    bool is_uncertain = at == 0 || d->from[key] < at;
    if (value == HISTORY_NONE && is_uncertain && high < d->from[key]) {
        d->from[key] = high;
        d->moved = true;
    }
}

static bool find_uncertain_deletions(struct revlog *log)
{
    size_t symbols = history_symbol_count(log->h);
    struct deletions d = {.log = log, .moved = true};
    d.from = reallocarray(NULL, symbols, sizeof *d.from);
    if (d.from == NULL) {
        return false;
    }
    for (size_t s = 0; s < symbols; s++) {
        d.from[s] = INT64_MAX;
    }
    while (d.moved) {
        d.moved = false;
        for (uint32_t i = log->ops->count; i-- > 0;) {
            if (log->ops->ops[i].outcome == HISTORY_INFO) {
                revlog_written(log->ops, i, may_have_deleted, &d);
            }
        }
    }
    for (size_t s = 0; s < symbols; s++) {
        if (d.from[s] < log->uncertain_from[s]) {
            log->uncertain_from[s] = d.from[s];
        }
    }
    free(d.from);
    return true;
}

static bool find_uncertain(struct revlog *log)
{
    for (size_t s = 0; s < history_symbol_count(log->h); s++) {
        log->uncertain_from[s] = log->options->strangers ? 0 : INT64_MAX;
    }
    for (uint32_t i = 0; i < log->ops->count; i++) {
        const struct operation *op = &log->ops->ops[i];
        if (op->outcome == HISTORY_INFO && log->resolved[i] == 0) {
            revlog_written(log->ops, i, may_have_changed, log);
        }
    }
    find_leased(log);
    return find_uncertain_deletions(log);
}

static enum err revlog_alloc(struct revlog *log)
{
    size_t symbols = history_symbol_count(log->h);
    size_t ops = (size_t)log->ops->count + 1;
    log->last_of_key = reallocarray(NULL, symbols, sizeof *log->last_of_key);
    log->first_of_key = reallocarray(NULL, symbols, sizeof *log->first_of_key);
    log->uncertain_from = reallocarray(NULL, symbols, sizeof *log->uncertain_from);
    log->kinds = calloc(symbols, 1);
    log->resolved = calloc(ops, sizeof *log->resolved);
    log->high = calloc(ops, sizeof *log->high);
    if (log->last_of_key == NULL || log->first_of_key == NULL || log->uncertain_from == NULL ||
        log->kinds == NULL || log->resolved == NULL || log->high == NULL) {
        return ERR_NOMEM;
    }
    memset(log->last_of_key, 0xff, symbols * sizeof *log->last_of_key);
    memset(log->first_of_key, 0xff, symbols * sizeof *log->first_of_key);
    return OK;
}

enum err revlog_build(const struct operations *ops, const struct history_options *options,
                      struct history_report *report, struct revlog *ret)
{
    *ret = (struct revlog){.h = ops->h, .ops = ops, .options = options, .report = report};
    struct building b = {.log = ret};
    enum err err = revlog_alloc(ret);
    if (err == OK) {
        err = revlog_highs(ret);
    }
    if (err == OK) {
        gather(&b);
        err = add_groups(&b);
    }
    if (err == OK) {
        link_changes(ret);
        err = find_uncertain(ret) ? OK : ERR_NOMEM;
    }
    if (err == OK) {
        report_count(report, HISTORY_CHECK_REVISION, "changes", ret->count);
        report_count(report, HISTORY_CHECK_REVISION, "unknown outcomes resolved", b.resolved);
    }
    buf_fini(&b.facts);
    attempts_fini(&b.attempts);
    if (err != OK) {
        revlog_fini(ret);
    }
    return err;
}

void revlog_fini(struct revlog *log)
{
    free(log->changes);
    free(log->last_of_key);
    free(log->first_of_key);
    free(log->resolved);
    free(log->high);
    free(log->uncertain_from);
    free(log->kinds);
    *log = (struct revlog){0};
}

uint32_t revlog_find(const struct revlog *log, int64_t revision)
{
    uint32_t low = 0;
    uint32_t high = log->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (log->changes[middle].revision < revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int64_t revlog_hole_before(const struct revlog *log, int64_t revision)
{
    uint32_t next = revlog_find(log, revision + 1);
    if (next == 0) {
        return revision > 1 ? revision : 0;
    }
    const struct change *last = &log->changes[next - 1];
    return last->revision < revision ? revision : last->last_hole;
}

bool revlog_is_uncertain(const struct revlog *log, uint32_t key, int64_t revision)
{
    int64_t from = log->uncertain_from[key];
    return from != INT64_MAX && revlog_hole_before(log, revision) > from;
}
