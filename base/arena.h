/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"

/* Memory that lives as long as one call: allocations are never freed one by one. All zero is a
 * valid empty arena. A cap bounds what one caller can make us hold. Not thread-safe; one owner. */
struct arena {
    struct arena_chunk *chunks;
    uint8_t *at;
    size_t left;
    size_t used_bytes; /* chunks included */
    size_t max_bytes;  /* 0: no cap */
};

void *arena_alloc(struct arena *arena,
                  size_t size); /* aligned for anything; NULL: no memory or over the cap */
void *arena_calloc(struct arena *arena, size_t count, size_t size);
bool arena_copy(struct arena *arena, struct bytes from, struct bytes *ret);
char *arena_strdup(struct arena *arena, struct bytes text); /* with a terminating NUL */
void arena_reset(struct arena *arena);                      /* empty again; keeps one chunk */
void arena_fini(struct arena *arena);

#endif
