/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logsizes.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"

void logsizes_fini(struct logsizes *sizes)
{
    free(sizes->sums);
    *sizes = (struct logsizes){0};
}

void logsizes_reset(struct logsizes *sizes, uint64_t first_index)
{
    sizes->head = 0;
    sizes->count = 0;
    sizes->first_index = first_index;
    sizes->before = 0;
}

static uint64_t last_sum(const struct logsizes *sizes)
{
    return sizes->count == 0 ? sizes->before : sizes->sums[sizes->head + sizes->count - 1];
}

/* Room for one more: use what was forgotten when that is at least half, else grow. */
static void make_room(struct logsizes *sizes)
{
    if (sizes->head + sizes->count < sizes->cap) {
        return;
    }
    if (sizes->head > 0 && sizes->head >= sizes->cap / 2) {
        memmove(sizes->sums, sizes->sums + sizes->head, sizes->count * sizeof *sizes->sums);
        sizes->head = 0;
        return;
    }
    if (!ARRAY_MAKE_ROOM(sizes->sums, sizes->head + sizes->count, sizes->cap, 256)) {
        fatal("raft log: out of memory");
    }
}

void logsizes_push(struct logsizes *sizes, uint64_t bytes)
{
    uint64_t sum = last_sum(sizes) + bytes;
    make_room(sizes);
    sizes->sums[sizes->head + sizes->count++] = sum;
}

void logsizes_truncate(struct logsizes *sizes, uint64_t index)
{
    ASSERT(index >= sizes->first_index);
    ASSERT(index - sizes->first_index <= sizes->count);
    sizes->count = (size_t)(index - sizes->first_index);
}

void logsizes_forget(struct logsizes *sizes, uint64_t index)
{
    ASSERT(index >= sizes->first_index);
    ASSERT(index - sizes->first_index <= sizes->count);
    size_t n = (size_t)(index - sizes->first_index);
    if (n > 0) {
        sizes->before = sizes->sums[sizes->head + n - 1];
        sizes->head += n;
        sizes->count -= n;
        sizes->first_index = index;
    }
}

uint64_t logsizes_sum(const struct logsizes *sizes)
{
    return last_sum(sizes) - sizes->before;
}
