/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MEMPOOL_H
#define NET_MEMPOOL_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>

/* Small memory that comes and goes by the hundreds in a turn: a call's frames, headers and answer.
 * What is given back is kept by size and given out again; the C library's allocator merges and
 * splits blocks instead, once more than a handful of a size are free, at several times the cost.
 * All zero is an empty pool. One thread. */
#define MEMPOOL_STEP     16u
#define MEMPOOL_SIZE_MAX 1024u
#define MEMPOOL_CLASSES  (MEMPOOL_SIZE_MAX / MEMPOOL_STEP)
#define MEMPOOL_KEPT_MAX (4u * 1024 * 1024) /* bytes that it keeps */

struct mempool {
    struct mempool_block *unused[MEMPOOL_CLASSES];
    size_t kept_bytes;
    size_t used_count; /* blocks that are out */
};

void *mempool_alloc(struct mempool *pool, size_t size);
void mempool_free(struct mempool *pool, void *memory); /* NULL allowed */
void *mempool_realloc(struct mempool *pool, void *memory, size_t size);

/* Everything has been given back. */
void mempool_fini(struct mempool *pool);

/* For nghttp2. What it hands out counted (header fields) may outlive the session, not the pool. */
nghttp2_mem mempool_for_nghttp2(struct mempool *pool);

#endif
