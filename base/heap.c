/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/assert.h"

#define HEAP_CAP_MIN 16

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_fini(struct heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        heap->slots[i]->slot = 0;
    }
    free(heap->slots);
    *heap = (struct heap){0};
}

static bool before(const struct heap_link *a, const struct heap_link *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void place(struct heap *heap, uint32_t i, struct heap_link *link)
{
    heap->slots[i] = link;
    link->slot = i + 1;
}

/* Put LINK at I or above: parents that come after it move down. */
static void sift_up(struct heap *heap, uint32_t i, struct heap_link *link)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;
        if (!before(link, heap->slots[parent])) {
            break;
        }
        place(heap, i, heap->slots[parent]);
        i = parent;
    }
    place(heap, i, link);
}

/* Put LINK at I or below: children that come before it move up. */
static void sift_down(struct heap *heap, uint32_t i, struct heap_link *link)
{
    for (;;) {
        uint64_t child = 2 * (uint64_t)i + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(heap->slots[child + 1], heap->slots[child])) {
            child++;
        }
        if (!before(heap->slots[child], link)) {
            break;
        }
        place(heap, i, heap->slots[child]);
        i = (uint32_t)child;
    }
    place(heap, i, link);
}

static enum err grow(struct heap *heap)
{
    if (heap->cap > UINT32_MAX / 2 - 1) {
        return ERR_LIMIT;
    }
    uint32_t cap = heap->cap == 0 ? HEAP_CAP_MIN : heap->cap * 2;
    struct heap_link **slots = reallocarray(heap->slots, cap, sizeof(struct heap_link *));
    if (slots == NULL) {
        return ERR_NOMEM;
    }
    heap->slots = slots;
    heap->cap = cap;
    return OK;
}

enum err heap_insert(struct heap *heap, struct heap_link *link, uint64_t key)
{
    ASSERT(!heap_link_active(link));
    if (heap->count == heap->cap) {
        TRY(grow(heap));
    }
    link->key = key;
    link->seq = heap->next_seq++;
    sift_up(heap, heap->count++, link);
    return OK;
}

void heap_remove(struct heap *heap, struct heap_link *link)
{
    if (!heap_link_active(link)) {
        return;
    }
    uint32_t i = link->slot - 1;
    ASSERT(i < heap->count);
    ASSERT(heap->slots[i] == link);
    link->slot = 0;
    struct heap_link *last = heap->slots[--heap->count];
    if (last == link) {
        return;
    }
    if (before(last, link)) {
        sift_up(heap, i, last);
    } else {
        sift_down(heap, i, last);
    }
}

struct heap_link *heap_min(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->slots[0];
}
