/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_NUMTABLE_H
#define TESTS_HISTORY_NUMTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From any 64-bit number to a small one, for dense arrays: processes, sessions, leases, pairs of
 * key and value. Open addressing; nothing is removed. All zero is an empty table. */
struct numtable {
    struct numslot *slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t count;
};
#define NUMTABLE_NONE UINT32_MAX

void numtable_fini(struct numtable *t);
/* What KEY was set to, or NUMTABLE_NONE. */
uint32_t numtable_get(const struct numtable *t, uint64_t key);
/* false: no memory. VALUE is not NUMTABLE_NONE. */
bool numtable_set(struct numtable *t, uint64_t key, uint32_t value);
/* What KEY was set to, after setting it to the number of keys if it was not. NONE: no memory. */
uint32_t numtable_number(struct numtable *t, uint64_t key);

/* For a walk over all: slots 0 to slot_count - 1; NONE: it is empty. */
uint32_t numtable_slot(const struct numtable *t, size_t slot, uint64_t *ret_key);

static inline uint64_t numtable_pair(uint32_t a, uint32_t b)
{
    return (uint64_t)a << 32 | b;
}

/* Something at a revision, to be put in order. */
struct at_revision {
    int64_t revision;
    uint32_t what;
};
/* In ascending order; what has one revision stays as it was. false: no memory. */
bool revisions_sort(struct at_revision *items, size_t count);

#endif
