/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdlib.h>

/* Chunks double from the smallest to the largest size. What is bigger than a quarter of a chunk
 * gets a chunk of its own, behind the current one, whose rest stays in use. */
#define CHUNK_BYTES_MIN 2048u
#define CHUNK_BYTES_MAX 65536u
#define ALIGN           _Alignof(max_align_t)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    _Alignas(max_align_t) uint8_t data[];
};

/* A chunk for at least NEED bytes of data, WANT when the cap allows; NULL: no memory, or over the
 * cap. */
static struct arena_chunk *chunk_new(struct arena *arena, size_t need, size_t want)
{
    const size_t head = sizeof(struct arena_chunk);
    if (need > SIZE_MAX / 2) {
        return NULL;
    }
    if (arena->max_bytes != 0) {
        size_t room =
            arena->max_bytes > arena->used_bytes ? arena->max_bytes - arena->used_bytes : 0;
        if (room < head || room - head < need) {
            return NULL;
        }
        want = want < room - head ? want : room - head;
    }
    size_t size = need > want ? need : want;
    struct arena_chunk *chunk = malloc(head + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->size = size;
    arena->used_bytes += head + size;
    return chunk;
}

static void *alloc_own_chunk(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = chunk_new(arena, size, size);
    if (chunk == NULL) {
        return NULL;
    }
    if (arena->chunks == NULL) {
        chunk->next = NULL;
        arena->chunks = chunk;
    } else {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    }
    return chunk->data;
}

static bool next_chunk(struct arena *arena, size_t size)
{
    size_t want = CHUNK_BYTES_MIN;
    while (want < CHUNK_BYTES_MAX && (want <= arena->used_bytes || want < 4 * size)) {
        want *= 2;
    }
    struct arena_chunk *chunk = chunk_new(arena, size, want - sizeof(struct arena_chunk));
    if (chunk == NULL) {
        return false;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->at = chunk->data;
    arena->left = chunk->size;
    return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = size == 0 ? ALIGN : (size + ALIGN - 1) & ~(ALIGN - 1);
    if (size > arena->left) {
        if (size > CHUNK_BYTES_MAX / 4) {
            return alloc_own_chunk(arena, size);
        }
        if (!next_chunk(arena, size)) {
            return NULL;
        }
    }
    void *at = arena->at;
    arena->at += size;
    arena->left -= size;
    return at;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    void *at = arena_alloc(arena, bytes);
    if (at != NULL) {
        memset(at, 0, bytes);
    }
    return at;
}

bool arena_copy(struct arena *arena, struct bytes from, struct bytes *ret)
{
    uint8_t *at = arena_alloc(arena, from.len);
    if (at == NULL) {
        return false;
    }
    if (from.len > 0) {
        memcpy(at, from.data, from.len);
    }
    *ret = bytes_of(at, from.len);
    return true;
}

char *arena_strdup(struct arena *arena, struct bytes text)
{
    if (text.len > SIZE_MAX / 2) {
        return NULL;
    }
    char *at = arena_alloc(arena, text.len + 1);
    if (at == NULL) {
        return NULL;
    }
    if (text.len > 0) {
        memcpy(at, text.data, text.len);
    }
    at[text.len] = '\0';
    return at;
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = arena->chunks;
    if (kept == NULL) {
        return;
    }
    if (kept->size > CHUNK_BYTES_MAX) {
        arena_fini(arena);
        return;
    }
    free_chunks(kept->next);
    kept->next = NULL;
    arena->at = kept->data;
    arena->left = kept->size;
    arena->used_bytes = sizeof *kept + kept->size;
}

void arena_fini(struct arena *arena)
{
    free_chunks(arena->chunks);
    *arena = (struct arena){.max_bytes = arena->max_bytes};
}
