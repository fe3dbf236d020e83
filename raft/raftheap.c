/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftheap.h"

#include <raft.h>
#include <stdlib.h>

#include "base/assert.h"

void *raftheap_must(void *memory)
{
    if (memory == NULL) {
        fatal("raft: out of memory");
    }
    return memory;
}

/* Zeroed: the core does not write all that it puts into the log. A barrier is 8 bytes of whatever
 * was there, and what was there must not go to disks and other members. */
static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return raftheap_must(calloc(1, size > 0 ? size : 1));
}

void *raftheap_alloc(size_t size)
{
    return raftheap_must(malloc(size > 0 ? size : 1));
}

static void heap_free(void *data, void *ptr)
{
    (void)data;
    free(ptr);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return raftheap_must(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

static void *heap_realloc(void *data, void *ptr, size_t size)
{
    (void)data;
    return raftheap_must(realloc(ptr, size > 0 ? size : 1));
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return raftheap_must(aligned_alloc(alignment, size));
}

static void heap_aligned_free(void *data, size_t alignment, void *ptr)
{
    (void)data;
    (void)alignment;
    free(ptr);
}

static struct raft_heap heap = {
    .malloc = heap_malloc,
    .free = heap_free,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .aligned_free = heap_aligned_free,
};

void raftheap_set(void)
{
    raft_heap_set(&heap);
}
