/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/history.h"

#include <inttypes.h>

#include "tests/history/names.h"

/* JSON and EDN differ in how names and separators look, so that one writer serves both.
 *
 *   {"f":"txn","value":[["r","x",null]]}        {:f :txn, :value [[:r "x" nil]]}        */
struct writer {
    const struct history *h;
    FILE *out;
    bool edn;
    bool first; /* in this list or object */
};

static void put_text(struct writer *w, struct bytes text)
{
    fputc('"', w->out);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\') {
            fprintf(w->out, "\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            fprintf(w->out, "\\u%04x", c);
        } else {
            fputc(c, w->out);
        }
    }
    fputc('"', w->out);
}

/* What stands between two elements. */
static void separate(struct writer *w)
{
    if (!w->first) {
        fputs(w->edn ? " " : ",", w->out);
    }
    w->first = false;
}

static void open_bracket(struct writer *w, char bracket)
{
    fputc(bracket, w->out);
    w->first = true;
}

static void close_bracket(struct writer *w, char bracket)
{
    fputc(bracket, w->out);
    w->first = false;
}

static void put_name(struct writer *w, const char *name)
{
    separate(w);
    if (!w->edn) {
        fprintf(w->out, "\"%s\":", name);
        return;
    }
    fputc(':', w->out);
    for (const char *c = name; *c != '\0'; c++) {
        fputc(*c == '_' ? '-' : *c, w->out);
    }
    fputc(' ', w->out);
}

static void put_keyword(struct writer *w, const char *word)
{
    fprintf(w->out, w->edn ? ":%s" : "\"%s\"", word);
}

static void put_symbol(struct writer *w, uint32_t symbol)
{
    int64_t number;
    if (symbol == HISTORY_NONE) {
        fputs(w->edn ? "nil" : "null", w->out);
    } else if (history_symbol_int(w->h, symbol, &number)) {
        fprintf(w->out, "%" PRId64, number);
    } else {
        put_text(w, history_symbol_text(w->h, symbol));
    }
}

static void put_named_int(struct writer *w, const char *name, int64_t number)
{
    put_name(w, name);
    fprintf(w->out, "%" PRId64, number);
}

static void put_named_symbol(struct writer *w, const char *name, uint32_t symbol)
{
    put_name(w, name);
    put_symbol(w, symbol);
}

static void put_named_true(struct writer *w, const char *name, bool is)
{
    if (is) {
        put_name(w, name);
        fputs("true", w->out);
    }
}

static void put_list(struct writer *w, const struct history_item *item)
{
    if (item->list_count == 0) {
        fputs(w->edn ? "nil" : "null", w->out);
        return;
    }
    open_bracket(w, '[');
    for (uint32_t i = 0; i < item->list_count; i++) {
        separate(w);
        put_symbol(w, item->list[i]);
    }
    close_bracket(w, ']');
}

static void put_register(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '[');
    separate(w);
    put_symbol(w, e->items[0].key);
    separate(w);
    if (e->f == HISTORY_CAS) {
        open_bracket(w, '[');
        separate(w);
        put_symbol(w, e->items[0].value);
        separate(w);
        put_symbol(w, e->items[1].value);
        close_bracket(w, ']');
    } else {
        put_symbol(w, e->items[0].value);
    }
    close_bracket(w, ']');
}

static void put_set(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '[');
    separate(w);
    put_symbol(w, e->items[0].key);
    separate(w);
    if (e->f == HISTORY_ADD) {
        put_symbol(w, e->items[0].value);
    } else if (e->type == HISTORY_OK) {
        open_bracket(w, '[');
        for (uint32_t i = 0; i < e->items[0].list_count; i++) {
            separate(w);
            put_symbol(w, e->items[0].list[i]);
        }
        close_bracket(w, ']');
    } else {
        put_symbol(w, HISTORY_NONE);
    }
    close_bracket(w, ']');
}

/* Elle knows no comparison: one that was true is a read. */
static const char *micro_name(const struct writer *w, enum history_item_f f)
{
    switch (f) {
    case HISTORY_ITEM_WRITE:
        return "w";
    case HISTORY_ITEM_APPEND:
        return "append";
    case HISTORY_ITEM_COMPARE:
        return w->edn ? "r" : "c";
    default:
        return "r";
    }
}

static void put_txn(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '[');
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        separate(w);
        open_bracket(w, '[');
        separate(w);
        put_keyword(w, micro_name(w, item->f));
        separate(w);
        put_symbol(w, item->key);
        separate(w);
        if (e->workload == HISTORY_APPEND && item->f == HISTORY_ITEM_READ) {
            put_list(w, item);
        } else {
            put_symbol(w, item->value);
        }
        if (!w->edn && item->f == HISTORY_ITEM_READ && item->mod_revision > 0) {
            fprintf(w->out, ",%" PRId64, item->mod_revision);
        }
        close_bracket(w, ']');
    }
    close_bracket(w, ']');
}

static void put_lock(struct writer *w, const struct history_event *e)
{
    const struct history_item *item = &e->items[0];
    open_bracket(w, '{');
    put_named_symbol(w, "lock", item->value);
    if (item->key != HISTORY_NONE) {
        put_named_symbol(w, "key", item->key);
    }
    if (item->create_revision > 0) {
        put_named_int(w, "create_revision", item->create_revision);
    }
    if (e->id != 0) {
        put_named_int(w, "lease", e->id);
    }
    if (e->item_count > 1) {
        put_name(w, "write");
        open_bracket(w, '[');
        separate(w);
        put_symbol(w, e->items[1].key);
        separate(w);
        put_symbol(w, e->items[1].value);
        close_bracket(w, ']');
    }
    close_bracket(w, '}');
}

static void put_watch_event(struct writer *w, const struct history_item *item)
{
    open_bracket(w, '{');
    put_name(w, "type");
    put_keyword(w, item->f == HISTORY_ITEM_PUT ? "put" : "delete");
    put_named_symbol(w, "key", item->key);
    if (item->f == HISTORY_ITEM_PUT) {
        put_named_symbol(w, "value", item->value);
    }
    put_named_int(w, "mod_revision", item->mod_revision);
    if (item->create_revision > 0) {
        put_named_int(w, "create_revision", item->create_revision);
    }
    if (item->version > 0) {
        put_named_int(w, "version", item->version);
    }
    if (item->prev_value != HISTORY_NONE) {
        put_name(w, "prev");
        open_bracket(w, '{');
        put_named_symbol(w, "value", item->prev_value);
        put_named_int(w, "mod_revision", item->prev_mod_revision);
        close_bracket(w, '}');
    }
    close_bracket(w, '}');
}

static void put_range(struct writer *w, const struct history_event *e)
{
    put_named_symbol(w, "key", e->items[0].key);
    if (e->items[0].value != HISTORY_NONE) {
        put_named_symbol(w, "range_end", e->items[0].value);
    }
}

static void put_watch(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '{');
    if (e->f != HISTORY_CLOSE) {
        put_named_int(w, "watch", e->id);
    }
    if (e->f == HISTORY_START) {
        put_range(w, e);
        put_named_int(w, "start_revision", e->at_revision);
        put_named_true(w, "prev_kv", (e->flags & HISTORY_PREV_KV) != 0);
        put_named_true(w, "no_put", (e->flags & HISTORY_NO_PUT) != 0);
        put_named_true(w, "no_delete", (e->flags & HISTORY_NO_DELETE) != 0);
    } else if (e->f == HISTORY_CANCEL && e->at_revision > 0) {
        put_named_int(w, "compact_revision", e->at_revision);
    } else if (e->f == HISTORY_EVENTS) {
        put_name(w, "events");
        open_bracket(w, '[');
        for (uint32_t i = 0; i < e->item_count; i++) {
            separate(w);
            put_watch_event(w, &e->items[i]);
        }
        close_bracket(w, ']');
        put_named_true(w, "fragment", (e->flags & HISTORY_MORE) != 0);
    }
    close_bracket(w, '}');
}

static void put_lease(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '{');
    put_named_int(w, "lease", e->id);
    if (e->f == HISTORY_GRANT ||
        (e->type == HISTORY_OK && (e->f == HISTORY_KEEPALIVE || e->f == HISTORY_TIME_TO_LIVE))) {
        put_named_int(w, "ttl", e->number);
    }
    if (e->f == HISTORY_ATTACH) {
        put_named_symbol(w, "key", e->items[0].key);
        put_named_symbol(w, "value", e->items[0].value);
    }
    close_bracket(w, '}');
}

/* An account is the name of a member, and so a text. */
static void put_account(struct writer *w, uint32_t key)
{
    int64_t number;
    separate(w);
    if (history_symbol_int(w->h, key, &number)) {
        fprintf(w->out, "\"%" PRId64 "\"", number);
    } else {
        put_symbol(w, key);
    }
    fputs(w->edn ? " " : ":", w->out);
}

static void put_bank(struct writer *w, const struct history_event *e)
{
    if (e->f == HISTORY_READ && e->item_count == 0) {
        put_symbol(w, HISTORY_NONE);
        return;
    }
    open_bracket(w, '{');
    if (e->f == HISTORY_TRANSFER) {
        put_named_symbol(w, "from", e->items[0].key);
        put_named_symbol(w, "to", e->items[1].key);
        put_named_int(w, "amount", e->number);
    }
    for (uint32_t i = 0; i < e->item_count && e->f != HISTORY_TRANSFER; i++) {
        put_account(w, e->items[i].key);
        put_symbol(w, e->items[i].value);
    }
    close_bracket(w, '}');
}

static void put_final(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '{');
    if (e->type != HISTORY_OK) {
        put_range(w, e);
        close_bracket(w, '}');
        return;
    }
    put_name(w, "kvs");
    open_bracket(w, '[');
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        separate(w);
        open_bracket(w, '[');
        separate(w);
        put_symbol(w, item->key);
        separate(w);
        put_symbol(w, item->value);
        separate(w);
        fprintf(w->out, "%" PRId64, item->mod_revision);
        if (item->create_revision > 0) {
            separate(w);
            fprintf(w->out, "%" PRId64, item->create_revision);
            separate(w);
            fprintf(w->out, "%" PRId64, item->version);
        }
        close_bracket(w, ']');
    }
    close_bracket(w, ']');
    if (e->number != 0) {
        put_named_int(w, "hash", e->number);
    }
    close_bracket(w, '}');
}

static void put_value(struct writer *w, const struct history_event *e)
{
    switch (e->workload) {
    case HISTORY_REGISTER:
        put_register(w, e);
        break;
    case HISTORY_SET:
        put_set(w, e);
        break;
    case HISTORY_APPEND:
    case HISTORY_WR:
        put_txn(w, e);
        break;
    case HISTORY_LOCK:
        put_lock(w, e);
        break;
    case HISTORY_WATCH:
        put_watch(w, e);
        break;
    case HISTORY_LEASE:
        put_lease(w, e);
        break;
    case HISTORY_BANK:
        put_bank(w, e);
        break;
    case HISTORY_FINAL:
        put_final(w, e);
        break;
    case HISTORY_ADMIN:
        open_bracket(w, '{');
        put_named_int(w, "revision", e->at_revision);
        close_bracket(w, '}');
        break;
    case HISTORY_NEMESIS:
        if (w->edn) {
            put_symbol(w, e->items[0].value);
        } else {
            struct bytes json = history_symbol_text(w->h, e->items[0].value);
            fwrite(json.data, 1, json.len, w->out);
        }
        break;
    case HISTORY_WORKLOADS:
        break;
    }
}

/* What the store told beside the value. */
static void put_facts(struct writer *w, const struct history_event *e)
{
    if (e->revision > 0) {
        put_named_int(w, "revision", e->revision);
    }
    if (e->workload == HISTORY_REGISTER && e->f == HISTORY_READ && e->items[0].mod_revision > 0) {
        put_named_int(w, "mod_revision", e->items[0].mod_revision);
    }
    bool old_read = e->workload != HISTORY_WATCH && e->workload != HISTORY_ADMIN;
    if (old_read && e->at_revision > 0) {
        put_named_int(w, "at", e->at_revision);
    }
    put_named_true(w, "serializable", (e->flags & HISTORY_SERIALIZABLE) != 0);
    put_named_true(w, "unchanged", (e->flags & HISTORY_UNCHANGED) != 0);
    if (e->member != HISTORY_NONE) {
        put_named_symbol(w, "member", e->member);
    }
    if (e->session != 0) {
        put_named_int(w, "session", e->session);
    }
}

static void put_event(struct writer *w, const struct history_event *e)
{
    open_bracket(w, '{');
    put_named_int(w, "index", e->index);
    put_named_int(w, "time", e->time_ns);
    put_name(w, "process");
    if (e->process == HISTORY_PROCESS_NEMESIS) {
        put_keyword(w, "nemesis");
    } else {
        fprintf(w->out, "%" PRId64, e->process);
    }
    put_name(w, "type");
    put_keyword(w, history_type_name(e->type));
    put_name(w, "workload");
    put_keyword(w, history_workload_name(e->workload));
    put_name(w, "f");
    if (e->workload == HISTORY_NEMESIS) {
        put_symbol(w, e->items[0].key);
    } else {
        put_keyword(w, history_f_name(e->f));
    }
    put_name(w, "value");
    put_value(w, e);
    put_facts(w, e);
    close_bracket(w, '}');
    fputc('\n', w->out);
}

void history_write_json(const struct history *h, const struct history_event *e, FILE *out)
{
    struct writer w = {.h = h, .out = out, .first = true};
    put_event(&w, e);
}

void history_write_edn(const struct history *h, const struct history_event *e, FILE *out)
{
    struct writer w = {.h = h, .out = out, .edn = true, .first = true};
    put_event(&w, e);
}
