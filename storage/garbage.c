/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/garbage.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "storage/revsearch.h"

/* Some pages: fewer would cost more memory, more would keep more rows that could go. */
#define STRETCH_BYTES 16384u
/* A row as large as half a page is a stretch of its own. */
#define WIDE_BYTES    2048u
#define STRETCHES_MIN 64u
#define STALE_MIN     4u
#define PRESENT_MIN   4096u

void garbage_init(struct garbage *garbage, bool loading)
{
    *garbage = (struct garbage){.loading = loading};
}

void garbage_loaded(struct garbage *garbage)
{
    garbage->loading = false;
    free(TAKE(garbage->present));
    garbage->present_count = garbage->present_cap = 0;
}

void garbage_fini(struct garbage *garbage)
{
    for (size_t i = 0; i < garbage->count; i++) {
        free(garbage->stretches[i].stale);
    }
    free(garbage->stretches);
    free(garbage->present);
    *garbage = (struct garbage){0};
}

/* The stretch in which a row at REV is or was; NULL: before all of them. */
static struct stretch *stretch_of(const struct garbage *garbage, revision_t rev)
{
    size_t low = 0; /* those before begin at or before REV */
    size_t high = garbage->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (garbage->stretches[mid].first <= rev) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == 0 ? NULL : &garbage->stretches[low - 1];
}

static bool is_present(const struct garbage *garbage, revision_t rev)
{
    size_t count = garbage->present_count;
    return revsearch(garbage->present, count, sizeof garbage->present[0], rev) < count;
}

static bool remember_present(struct garbage *garbage, revision_t rev)
{
    if (!ARRAY_MAKE_ROOM(garbage->present, garbage->present_count, garbage->present_cap,
                         PRESENT_MIN)) {
        return false;
    }
    garbage->present[garbage->present_count++] = rev;
    return true;
}

static bool add_stretch(struct garbage *garbage, revision_t first)
{
    if (garbage->count == garbage->cap) {
        size_t cap = garbage->cap == 0 ? STRETCHES_MIN : garbage->cap + garbage->cap / 2;
        struct stretch *stretches = reallocarray(garbage->stretches, cap, sizeof stretches[0]);
        if (stretches == NULL) {
            return false;
        }
        garbage->stretches = stretches;
        garbage->cap = cap;
    }
    garbage->stretches[garbage->count++] = (struct stretch){.first = first};
    return true;
}

static uint32_t capped(uint64_t bytes)
{
    return bytes < STRETCH_BYTES ? (uint32_t)bytes : STRETCH_BYTES;
}

static bool fits(const struct garbage *garbage, uint64_t bytes)
{
    const struct stretch *last =
        garbage->count > 0 ? &garbage->stretches[garbage->count - 1] : NULL;
    return last != NULL && bytes < WIDE_BYTES && last->largest < WIDE_BYTES &&
           last->bytes + bytes <= STRETCH_BYTES;
}

bool garbage_see(struct garbage *garbage, revision_t rev, uint64_t bytes)
{
    if (rev <= garbage->seen) {
        return true;
    }
    if (garbage->loading && !remember_present(garbage, rev)) {
        return false;
    }
    if (!fits(garbage, bytes) && !add_stretch(garbage, rev)) {
        return false;
    }
    struct stretch *stretch = &garbage->stretches[garbage->count - 1];
    stretch->rows++;
    stretch->bytes += capped(bytes);
    if (stretch->largest < capped(bytes)) {
        stretch->largest = capped(bytes);
    }
    garbage->seen = rev;
    return true;
}

/* Where REV is among those of STRETCH (NULL allowed), or their number. */
static uint32_t place_of(const struct stretch *stretch, revision_t rev)
{
    uint32_t i = 0;
    while (i < stretch->stale_count && stretch->stale[i] != rev) {
        i++;
    }
    return i;
}

static bool reserve_stale(struct stretch *stretch)
{
    if (stretch->stale_count < stretch->stale_cap) {
        return true;
    }
    uint32_t cap = stretch->stale_cap == 0 ? STALE_MIN : stretch->stale_cap * 3 / 2;
    revision_t *stale = reallocarray(stretch->stale, cap, sizeof stale[0]);
    if (stale == NULL) {
        return false;
    }
    stretch->stale = stale;
    stretch->stale_cap = cap;
    return true;
}

bool garbage_add(struct garbage *garbage, revision_t rev)
{
    if (garbage->loading && !is_present(garbage, rev)) {
        return true;
    }
    struct stretch *stretch = stretch_of(garbage, rev);
    ASSERT(stretch != NULL);
    if (place_of(stretch, rev) < stretch->stale_count) {
        return true;
    }
    if (!reserve_stale(stretch)) {
        return false;
    }
    stretch->stale[stretch->stale_count++] = rev;
    garbage->rows++;
    return true;
}

bool garbage_has(const struct garbage *garbage, revision_t rev)
{
    const struct stretch *stretch = stretch_of(garbage, rev);
    return stretch != NULL && place_of(stretch, rev) < stretch->stale_count;
}

bool garbage_take(struct garbage *garbage, revision_t rev)
{
    struct stretch *stretch = stretch_of(garbage, rev);
    uint32_t place = stretch != NULL ? place_of(stretch, rev) : 0;
    if (stretch == NULL || place == stretch->stale_count) {
        return false;
    }
    stretch->stale[place] = stretch->stale[--stretch->stale_count];
    garbage->rows--;
    return true;
}

void garbage_gone(struct garbage *garbage, revision_t rev, uint64_t bytes)
{
    struct stretch *stretch = stretch_of(garbage, rev);
    ASSERT(stretch != NULL && stretch->rows > 0);
    stretch->rows--;
    stretch->bytes -= capped(bytes) < stretch->bytes ? capped(bytes) : stretch->bytes;
}

struct stretch *garbage_next(struct garbage *garbage, size_t *at, uint32_t permille)
{
    for (; *at < garbage->count; ++*at) {
        struct stretch *stretch = &garbage->stretches[*at];
        uint64_t stale_bytes = (uint64_t)stretch->stale_count * stretch->largest;
        if (stretch->stale_count > 0 && stale_bytes * 1000 >= (uint64_t)stretch->bytes * permille) {
            return stretch;
        }
    }
    return NULL;
}

/* Their bytes are not known: as many as their share of the rows. */
static void forget_stale(struct stretch *stretch)
{
    ASSERT(stretch->rows >= stretch->stale_count);
    uint32_t left = stretch->rows - stretch->stale_count;
    if (stretch->rows > 0) {
        stretch->bytes = (uint32_t)((uint64_t)stretch->bytes * left / stretch->rows);
    }
    stretch->rows = left;
    stretch->stale_count = 0;
}

void garbage_forget(struct garbage *garbage)
{
    for (size_t i = 0; i < garbage->count; i++) {
        forget_stale(&garbage->stretches[i]);
    }
    garbage->rows = 0;
    garbage_sweep(garbage);
}

void garbage_sweep(struct garbage *garbage)
{
    size_t kept = 0;
    for (size_t i = 0; i < garbage->count; i++) {
        struct stretch *stretch = &garbage->stretches[i];
        if (stretch->stale_count == 0) {
            free(TAKE(stretch->stale));
            stretch->stale_cap = 0;
        }
        /* Rows may still come to the last one. */
        if (stretch->rows > 0 || i + 1 == garbage->count) {
            garbage->stretches[kept++] = *stretch;
        }
    }
    garbage->count = kept;
}

void garbage_copy(const struct garbage *garbage, revision_t *ret)
{
    for (size_t i = 0; i < garbage->count; i++) {
        const struct stretch *stretch = &garbage->stretches[i];
        if (stretch->stale_count > 0) {
            memcpy(ret, stretch->stale, stretch->stale_count * sizeof ret[0]);
            ret += stretch->stale_count;
        }
    }
}
