/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_KEYSORT_H
#define STORAGE_KEYSORT_H

#include "storage/keyindex_private.h"

/* An entry and what it is being sorted by (keysort.c). */
struct keysort_item {
    uint64_t chunk;
    struct keyindex_entry *entry;
};

/* Sort by key; equal keys end up side by side. SPARE has room for COUNT items too. */
void keysort(struct keysort_item *items, size_t count, struct keysort_item *spare);

#endif
