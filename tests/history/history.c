/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/history.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/map.h"

/* Events in one growing array; what they point to, and the symbols, in an arena that only grows, so
 * that those pointers stay. Symbols are numbers: checkers index arrays with them. */
struct symbol {
    struct map_link link;
    uint32_t number;
    bool is_int;
    int64_t integer;
    struct bytes text; /* an integer's, too */
};

#define SMALL_INTS (1 << 24)

struct history {
    struct arena arena;
    struct map symbols_by_text;
    struct symbol **symbols; /* [0] is NULL */
    size_t symbol_count;
    size_t symbol_cap;
    uint32_t *small; /* of small integers: their symbols */
    size_t small_count;
    struct history_event *events;
    size_t count;
    size_t cap;
    bool failed;
};

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return NULL;
    }
    /* A file's author gains nothing from slow tables; runs shall be the same. */
    map_init(&h->symbols_by_text, (struct hash_seed){.k0 = 0x686973746f7279, .k1 = 1});
    h->symbol_count = 1;
    return h;
}

void history_free(struct history *h)
{
    if (h == NULL) {
        return;
    }
    map_fini(&h->symbols_by_text);
    arena_fini(&h->arena);
    free(h->symbols);
    free(h->small);
    free(h->events);
    free(h);
}

bool history_ok(const struct history *h)
{
    return !h->failed;
}

static bool symbol_add(struct history *h, struct symbol *symbol, uint64_t hash)
{
    if (h->symbol_count > UINT32_MAX) {
        return false;
    }
    if (!ARRAY_MAKE_ROOM(h->symbols, h->symbol_count, h->symbol_cap, 64)) {
        return false;
    }
    h->symbols[0] = NULL;
    if (map_insert(&h->symbols_by_text, &symbol->link, hash) != OK) {
        return false;
    }
    symbol->number = (uint32_t)h->symbol_count;
    h->symbols[h->symbol_count++] = symbol;
    return true;
}

static const struct symbol *symbol_find(const struct history *h, struct bytes text, uint64_t hash)
{
    for (struct map_link *l = map_first(&h->symbols_by_text, hash); l != NULL; l = map_next(l)) {
        const struct symbol *s = CONTAINER_OF(l, struct symbol, link);
        if (bytes_equal(s->text, text)) {
            return s;
        }
    }
    return NULL;
}

uint32_t history_find_text(const struct history *h, struct bytes text)
{
    const struct symbol *s = symbol_find(h, text, map_hash_bytes(&h->symbols_by_text, text));
    return s != NULL ? s->number : HISTORY_NONE;
}

static uint32_t symbol_get(struct history *h, bool is_int, int64_t integer, struct bytes text)
{
    uint64_t hash = map_hash_bytes(&h->symbols_by_text, text);
    const struct symbol *known = symbol_find(h, text, hash);
    if (known != NULL) {
        return known->number;
    }
    struct symbol *s = arena_calloc(&h->arena, 1, sizeof *s);
    if (s != NULL) {
        s->is_int = is_int;
        s->integer = integer;
        if (arena_copy(&h->arena, text, &s->text) && symbol_add(h, s, hash)) {
            return s->number;
        }
    }
    h->failed = true;
    return HISTORY_NONE;
}

/* Whether TEXT is how an integer is printed: then it is that integer. */
static bool is_integer(struct bytes text, int64_t *ret)
{
    char digits[24];
    if (text.len == 0 || text.len >= sizeof digits || text.data[0] > '9') {
        return false;
    }
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    char *end;
    errno = 0;
    long long number = strtoll(digits, &end, 10);
    char again[24];
    snprintf(again, sizeof again, "%lld", number);
    *ret = number;
    return errno == 0 && end == digits + text.len && strcmp(again, digits) == 0;
}

uint32_t history_text(struct history *h, struct bytes text)
{
    int64_t number;
    bool is_int = is_integer(text, &number);
    return symbol_get(h, is_int, is_int ? number : 0, text);
}

/* Values are mostly counted up from 0: those need no search. Without memory they are searched for.
 */
static void remember_small(struct history *h, size_t number, uint32_t symbol)
{
    if (number >= h->small_count) {
        size_t count = h->small_count == 0 ? 1024 : h->small_count;
        while (count <= number) {
            count *= 2;
        }
        uint32_t *more = reallocarray(h->small, count, sizeof *more);
        if (more == NULL) {
            return;
        }
        memset(more + h->small_count, 0, (count - h->small_count) * sizeof *more);
        h->small = more;
        h->small_count = count;
    }
    h->small[number] = symbol;
}

uint32_t history_int(struct history *h, int64_t number)
{
    bool small = number >= 0 && number < SMALL_INTS;
    if (small && (size_t)number < h->small_count && h->small[number] != HISTORY_NONE) {
        return h->small[number];
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)number);
    uint32_t symbol = symbol_get(h, true, number, bytes_of(text, (size_t)len));
    if (small) {
        remember_small(h, (size_t)number, symbol);
    }
    return symbol;
}

static const struct symbol *symbol_of(const struct history *h, uint32_t symbol)
{
    ASSERT(symbol != HISTORY_NONE);
    ASSERT(symbol < h->symbol_count);
    return h->symbols[symbol];
}

struct bytes history_symbol_text(const struct history *h, uint32_t symbol)
{
    return symbol_of(h, symbol)->text;
}

bool history_symbol_int(const struct history *h, uint32_t symbol, int64_t *ret)
{
    const struct symbol *s = symbol_of(h, symbol);
    if (s->is_int) {
        *ret = s->integer;
    }
    return s->is_int;
}

size_t history_symbol_count(const struct history *h)
{
    return h->symbol_count;
}

/* A copy of ITEMS and their lists in the arena. */
static bool copy_items(struct history *h, const struct history_item *items, uint32_t count,
                       const struct history_item **ret)
{
    struct history_item *copy = NULL;
    if (count > 0) {
        copy = arena_calloc(&h->arena, count, sizeof *copy);
        if (copy == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = items[i];
        struct bytes list = bytes_of(items[i].list, items[i].list_count * sizeof(uint32_t));
        struct bytes kept = bytes_of(NULL, 0);
        if (list.len > 0 && !arena_copy(&h->arena, list, &kept)) {
            return false;
        }
        copy[i].list = (const uint32_t *)(const void *)kept.data;
    }
    *ret = copy;
    return true;
}

/* So that nobody has to look before the first items. */
static uint32_t items_needed(const struct history_event *e)
{
    switch (e->f) {
    case HISTORY_CAS:
    case HISTORY_TRANSFER:
        return 2;
    case HISTORY_READ:
        return e->workload == HISTORY_BANK ? 0 : 1;
    case HISTORY_STATE:
        return e->type == HISTORY_OK ? 0 : 1;
    case HISTORY_WRITE:
    case HISTORY_ADD:
    case HISTORY_ACQUIRE:
    case HISTORY_RELEASE:
    case HISTORY_FENCED:
    case HISTORY_START:
    case HISTORY_ATTACH:
    case HISTORY_FAULT:
        return 1;
    default:
        return 0;
    }
}

void history_add(struct history *h, const struct history_event *e)
{
    ASSERT(e->item_count >= items_needed(e));
    if (!ARRAY_MAKE_ROOM(h->events, h->count, h->cap, 64)) {
        h->failed = true;
        return;
    }
    struct history_event *added = &h->events[h->count];
    *added = *e;
    if (e->index <= 0) {
        added->index = h->count == 0 ? 0 : h->events[h->count - 1].index + 1;
    }
    if (!copy_items(h, e->items, e->item_count, &added->items)) {
        h->failed = true;
        return;
    }
    h->count++;
}

size_t history_count(const struct history *h)
{
    return h->count;
}

const struct history_event *history_at(const struct history *h, size_t position)
{
    ASSERT(position < h->count);
    return &h->events[position];
}
