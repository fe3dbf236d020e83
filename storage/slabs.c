/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/slabs.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/queue.h"

/* A slab begins at a multiple of its size, so that a block's address tells it:
 *
 *   | struct slab | block | block | ...   | not yet given out |
 *                                          ^ fresh
 *
 * Invariants:
 *   1. a slab is in its class's `open` while it has a block to give, or in `spare` when all are
 *      back; it is in no list when all are out
 *   2. used_count is the number of blocks that are out; free blocks are in `unused` or behind
 *      `fresh` */
#define SLAB_BYTES (32u * 1024)
#define STEP       32u
#define CLASSES    (SLABS_SIZE_MAX / STEP)
#define SPARE_MAX  8u
/* What malloc has before its memory: slabs that stand side by side must leave it room. */
#define MALLOC_HEAD 16u
#define END         (SLAB_BYTES - MALLOC_HEAD)

/* The sanitizer finds use after free only in memory that was freed. */
#ifdef __SANITIZE_ADDRESS__
#define KEEPS false
#else
#define KEEPS true
#endif

struct block {
    struct block *next;
};

struct slab {
    struct queue link;
    struct slabs *owner;
    struct block *unused;
    uint32_t fresh; /* offset of the first block that was never out */
    uint32_t block_bytes;
    uint32_t used_count;
    alignas(max_align_t) uint8_t memory[];
};

struct slabs {
    struct queue open[CLASSES]; /* the one that blocks are taken from first */
    struct queue spare;
    size_t spare_count;
    size_t count;
    bool closed;
};

static_assert((SLAB_BYTES & (SLAB_BYTES - 1)) == 0, "an address is masked");
static_assert(END >= sizeof(struct slab) + 8 * SLABS_SIZE_MAX, "little of a slab is lost");
static_assert(STEP % alignof(max_align_t) == 0, "blocks are aligned as malloc's are");

struct slabs *slabs_new(void)
{
    struct slabs *slabs = calloc(1, sizeof *slabs);
    if (slabs != NULL) {
        for (size_t i = 0; i < CLASSES; i++) {
            queue_init(&slabs->open[i]);
        }
        queue_init(&slabs->spare);
    }
    return slabs;
}

static void end_if_over(struct slabs *slabs)
{
    if (slabs->closed && slabs->count == 0) {
        free(slabs);
    }
}

void slabs_free(struct slabs *slabs)
{
    if (slabs == NULL) {
        return;
    }
    slabs->closed = true;
    struct queue *link;
    while ((link = queue_pop_front(&slabs->spare)) != NULL) {
        free(QUEUE_ELEM(link, struct slab, link));
        slabs->count--;
    }
    end_if_over(slabs);
}

size_t slabs_count(const struct slabs *slabs)
{
    return slabs->count;
}

static struct slab *slab_new(struct slabs *slabs)
{
    struct queue *link = queue_pop_front(&slabs->spare);
    if (link != NULL) {
        slabs->spare_count--;
        return QUEUE_ELEM(link, struct slab, link);
    }
    void *memory;
    if (posix_memalign(&memory, SLAB_BYTES, END) != 0) {
        return NULL;
    }
    slabs->count++;
    return memory;
}

/* A slab of which nothing is out, for blocks of a class. */
static struct slab *open_slab(struct slabs *slabs, size_t class)
{
    struct slab *slab = slab_new(slabs);
    if (slab != NULL) {
        *slab = (struct slab){.owner = slabs,
                              .fresh = offsetof(struct slab, memory),
                              .block_bytes = (uint32_t)(class + 1) * STEP};
        queue_push_front(&slabs->open[class], &slab->link);
    }
    return slab;
}

static bool is_full(const struct slab *slab)
{
    return slab->unused == NULL && slab->fresh + slab->block_bytes > END;
}

void *slabs_alloc(struct slabs *slabs, size_t size)
{
    ASSERT(!slabs->closed);
    if (!KEEPS || size - 1 >= SLABS_SIZE_MAX) {
        return NULL;
    }
    size_t class = (size - 1) / STEP;
    struct queue *open = &slabs->open[class];
    struct slab *slab =
        queue_empty(open) ? open_slab(slabs, class) : QUEUE_ELEM(open->next, struct slab, link);
    if (slab == NULL) {
        return NULL;
    }
    struct block *block = slab->unused;
    if (block != NULL) {
        slab->unused = block->next;
    } else {
        block = (struct block *)(void *)((uint8_t *)slab + slab->fresh);
        slab->fresh += slab->block_bytes;
    }
    slab->used_count++;
    if (is_full(slab)) {
        queue_remove(&slab->link);
        queue_init(&slab->link);
    }
    return block;
}

/* All blocks of SLAB are back. */
static void retire(struct slab *slab)
{
    struct slabs *slabs = slab->owner;
    queue_remove(&slab->link);
    if (!slabs->closed && slabs->spare_count < SPARE_MAX) {
        queue_push_front(&slabs->spare, &slab->link);
        slabs->spare_count++;
        return;
    }
    free(slab);
    slabs->count--;
    end_if_over(slabs);
}

void slabs_give_back(void *memory)
{
    struct slab *slab = (struct slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_BYTES - 1));
    ASSERT(slab->used_count > 0);
    if (is_full(slab)) { /* behind those that have more to give, most likely */
        queue_push_back(&slab->owner->open[slab->block_bytes / STEP - 1], &slab->link);
    }
    struct block *block = memory;
    block->next = slab->unused;
    slab->unused = block;
    if (--slab->used_count == 0) {
        retire(slab);
    }
}
