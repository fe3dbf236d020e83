/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keysort.h"

/* Millions of keys lie anywhere in memory, and a comparison that fetches two of them costs more
 * than everything else. So keys are sorted by chunks that are fetched once and then lie side by
 * side with their entries: 7 bytes of the key and how many of them there are (8: it goes on), so
 * that chunks order as keys do. A radix sort by the chunk; runs of equal chunks are sorted by the
 * next one (a multikey radix sort with cached characters, after Ng and Kakehi 2007). */
#define CHUNK_BYTES 7u
#define FEW         24u /* runs up to here: insertion, by whole keys */
#define RADIX       256u
#define DIGITS      8u
#define AHEAD       16u /* entries that are fetched before they are needed */

struct sort {
    struct keysort_item *spare;
    size_t counts[DIGITS][RADIX];
};

static uint64_t chunk_of(struct bytes key, size_t skip)
{
    size_t left = key.len - skip;
    uint8_t bytes[8] = {0};
    memcpy(bytes, key.data + skip, left < CHUNK_BYTES ? left : CHUNK_BYTES);
    bytes[7] = left <= CHUNK_BYTES ? (uint8_t)left : 8;
    uint64_t chunk;
    memcpy(&chunk, bytes, sizeof chunk);
    return __builtin_bswap64(chunk);
}

static bool goes_on(uint64_t chunk)
{
    return (chunk & 0xff) == 8;
}

/* True: all chunks are the same. */
static bool load_chunks(struct keysort_item *items, size_t count, size_t skip)
{
    uint64_t differ = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            const char *next = (const char *)items[i + AHEAD].entry;
            __builtin_prefetch(next + offsetof(struct keyindex_entry, key_len));
            __builtin_prefetch(next + offsetof(struct keyindex_entry, key) + skip);
        }
        items[i].chunk = chunk_of(entry_key(items[i].entry), skip);
        differ |= items[i].chunk ^ items[0].chunk;
    }
    return differ == 0;
}

static void sort_few(struct keysort_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct keysort_item item = items[i];
        size_t j = i;
        while (j > 0 && bytes_compare(entry_key(items[j - 1].entry), entry_key(item.entry)) > 0) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = item;
    }
}

/* By chunk, the least digit first; digits that are the same everywhere cost nothing. */
static void sort_by_chunk(struct sort *sort, struct keysort_item *items, size_t count)
{
    memset(sort->counts, 0, sizeof sort->counts);
    for (size_t i = 0; i < count; i++) {
        for (unsigned digit = 0; digit < DIGITS; digit++) {
            sort->counts[digit][items[i].chunk >> (8 * digit) & 0xff]++;
        }
    }
    struct keysort_item *from = items;
    struct keysort_item *to = sort->spare;
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        size_t *counts = sort->counts[digit];
        if (counts[from[0].chunk >> (8 * digit) & 0xff] == count) {
            continue;
        }
        size_t place = 0;
        for (unsigned i = 0; i < RADIX; i++) {
            size_t n = counts[i];
            counts[i] = place;
            place += n;
        }
        for (size_t i = 0; i < count; i++) {
            to[counts[from[i].chunk >> (8 * digit) & 0xff]++] = from[i];
        }
        struct keysort_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, count * sizeof items[0]);
    }
}

static void sort_run(struct sort *sort, struct keysort_item *items, size_t count, size_t skip)
{
    if (count <= FEW) {
        sort_few(items, count);
        return;
    }
    while (load_chunks(items, count, skip)) {
        if (!goes_on(items[0].chunk)) {
            return; /* the same key again and again */
        }
        skip += CHUNK_BYTES;
    }
    sort_by_chunk(sort, items, count);
    size_t first = 0;
    for (size_t i = 1; i <= count; i++) {
        if (i < count && items[i].chunk == items[first].chunk) {
            continue;
        }
        if (i - first > 1 && goes_on(items[first].chunk)) {
            sort_run(sort, items + first, i - first, skip + CHUNK_BYTES);
        }
        first = i;
    }
}

void keysort(struct keysort_item *items, size_t count, struct keysort_item *spare)
{
    struct sort sort = {.spare = spare};
    sort_run(&sort, items, count, 0);
}
