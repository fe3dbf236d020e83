/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/numtable.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SLOTS_MIN 64u

struct numslot {
    uint64_t key;
    uint32_t value; /* NUMTABLE_NONE: empty */
};

void numtable_fini(struct numtable *t)
{
    free(t->slots);
    *t = (struct numtable){0};
}

/* KEY's slot, or the empty one where it belongs. There are empty ones. */
static struct numslot *slot_of(const struct numtable *t, uint64_t key)
{
    size_t i = mix64(key) & (t->slot_count - 1);
    while (t->slots[i].value != NUMTABLE_NONE && t->slots[i].key != key) {
        i = (i + 1) & (t->slot_count - 1);
    }
    return &t->slots[i];
}

uint32_t numtable_get(const struct numtable *t, uint64_t key)
{
    return t->slot_count == 0 ? NUMTABLE_NONE : slot_of(t, key)->value;
}

/* Room for one more: at most two of three slots are taken. */
static bool make_room(struct numtable *t)
{
    if (t->count + 1 <= t->slot_count / 3 * 2) {
        return true;
    }
    struct numtable larger = {.slot_count = t->slot_count == 0 ? SLOTS_MIN : t->slot_count * 2,
                              .count = t->count};
    larger.slots = reallocarray(NULL, larger.slot_count, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return false;
    }
    memset(larger.slots, 0xff, larger.slot_count * sizeof *larger.slots);
    for (size_t i = 0; i < t->slot_count; i++) {
        if (t->slots[i].value != NUMTABLE_NONE) {
            *slot_of(&larger, t->slots[i].key) = t->slots[i];
        }
    }
    free(t->slots);
    *t = larger;
    return true;
}

bool numtable_set(struct numtable *t, uint64_t key, uint32_t value)
{
    if (!make_room(t)) {
        return false;
    }
    struct numslot *slot = slot_of(t, key);
    t->count += slot->value == NUMTABLE_NONE;
    *slot = (struct numslot){.key = key, .value = value};
    return true;
}

uint32_t numtable_number(struct numtable *t, uint64_t key)
{
    uint32_t known = numtable_get(t, key);
    if (known != NUMTABLE_NONE) {
        return known;
    }
    uint32_t number = (uint32_t)t->count;
    return numtable_set(t, key, number) ? number : NUMTABLE_NONE;
}

uint32_t numtable_slot(const struct numtable *t, size_t slot, uint64_t *ret_key)
{
    *ret_key = t->slots[slot].key;
    return t->slots[slot].value;
}

bool revisions_sort(struct at_revision *items, size_t count)
{
    struct at_revision *other = reallocarray(NULL, count + 1, sizeof *other);
    if (other == NULL) {
        return false;
    }
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all |= (uint64_t)items[i].revision;
    }
    /* Byte by byte from the lowest: linear, and stable. Revisions are not negative. */
    struct at_revision *from = items;
    struct at_revision *to = other;
    for (unsigned shift = 0; shift < 64 && all >> shift != 0; shift += 8) {
        size_t starts[257] = {0};
        for (size_t i = 0; i < count; i++) {
            starts[((uint64_t)from[i].revision >> shift & 0xff) + 1]++;
        }
        for (int b = 0; b < 256; b++) {
            starts[b + 1] += starts[b];
        }
        for (size_t i = 0; i < count; i++) {
            to[starts[(uint64_t)from[i].revision >> shift & 0xff]++] = from[i];
        }
        struct at_revision *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, count * sizeof *items);
    }
    free(other);
    return true;
}
