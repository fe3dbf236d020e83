/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A binary min-heap of links inside the elements, ordered by (key, sequence of insertion): for
 * timers and deadlines. */
struct heap_link {
    uint64_t key;
    uint64_t seq;
    uint32_t slot; /* place in the array + 1; 0: not in a heap */
};
struct heap {
    struct heap_link **slots;
    uint32_t count;
    uint32_t cap;
    uint64_t next_seq;
};

void heap_init(struct heap *heap);
void heap_fini(struct heap *heap);
MUST_CHECK enum err heap_insert(struct heap *heap, struct heap_link *link, uint64_t key);
void heap_remove(struct heap *heap,
                 struct heap_link *link);            /* nothing when it is not in the heap */
struct heap_link *heap_min(const struct heap *heap); /* NULL when empty */

static inline bool heap_link_active(const struct heap_link *link)
{
    return link->slot != 0;
}

#endif
