/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mempool.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* The sanitizer finds use after free only in memory that was freed. */
#ifdef __SANITIZE_ADDRESS__
#define KEEPS false
#else
#define KEEPS true
#endif

/* Before each piece of memory: its size class, or its size beyond the classes. */
struct mempool_block {
    size_t size; /* of memory */
    struct mempool_block *next;
    alignas(max_align_t) uint8_t memory[];
};

static size_t round_up(size_t size)
{
    return size <= MEMPOOL_STEP ? MEMPOOL_STEP
                                : (size + MEMPOOL_STEP - 1) / MEMPOOL_STEP * MEMPOOL_STEP;
}

static struct mempool_block *block_of(void *memory)
{
    return (struct mempool_block *)(void *)((uint8_t *)memory -
                                            offsetof(struct mempool_block, memory));
}

void *mempool_alloc(struct mempool *pool, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = round_up(size);
    struct mempool_block **unused =
        size <= MEMPOOL_SIZE_MAX ? &pool->unused[size / MEMPOOL_STEP - 1] : NULL;
    struct mempool_block *block = unused == NULL ? NULL : *unused;
    if (block != NULL) {
        *unused = block->next;
        pool->kept_bytes -= size;
    } else {
        block = malloc(sizeof *block + size);
        if (block == NULL) {
            return NULL;
        }
        block->size = size;
    }
    pool->used_count++;
    return block->memory;
}

void mempool_free(struct mempool *pool, void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct mempool_block *block = block_of(memory);
    ASSERT(pool->used_count > 0);
    pool->used_count--;
    if (!KEEPS || block->size > MEMPOOL_SIZE_MAX || pool->kept_bytes >= MEMPOOL_KEPT_MAX) {
        free(block);
        return;
    }
    struct mempool_block **unused = &pool->unused[block->size / MEMPOOL_STEP - 1];
    block->next = *unused;
    *unused = block;
    pool->kept_bytes += block->size;
}

void *mempool_realloc(struct mempool *pool, void *memory, size_t size)
{
    if (memory == NULL) {
        return mempool_alloc(pool, size);
    }
    size_t have = block_of(memory)->size;
    if (size <= have) {
        return memory;
    }
    void *larger = mempool_alloc(pool, size);
    if (larger == NULL) {
        return NULL;
    }
    memcpy(larger, memory, have);
    mempool_free(pool, memory);
    return larger;
}

void mempool_fini(struct mempool *pool)
{
    ASSERT(pool->used_count == 0);
    for (size_t i = 0; i < MEMPOOL_CLASSES; i++) {
        struct mempool_block *block;
        while ((block = pool->unused[i]) != NULL) {
            pool->unused[i] = block->next;
            free(block);
        }
    }
    pool->kept_bytes = 0;
}

/* nghttp2's four functions. */

static void *on_malloc(size_t size, void *pool)
{
    return mempool_alloc(pool, size);
}

static void on_free(void *memory, void *pool)
{
    mempool_free(pool, memory);
}

static void *on_calloc(size_t count, size_t size, void *pool)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    void *memory = mempool_alloc(pool, bytes);
    return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static void *on_realloc(void *memory, size_t size, void *pool)
{
    return mempool_realloc(pool, memory, size);
}

nghttp2_mem mempool_for_nghttp2(struct mempool *pool)
{
    return (nghttp2_mem){.mem_user_data = pool,
                         .malloc = on_malloc,
                         .free = on_free,
                         .calloc = on_calloc,
                         .realloc = on_realloc};
}
