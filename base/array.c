/* SPDX-License-Identifier: Apache-2.0 */
#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>

void *array_grow(void *items, size_t size, size_t cap, size_t cap_max, size_t first)
{
    if (cap > cap_max / 2 || cap > SIZE_MAX / 2 / size) {
        return NULL;
    }
    return realloc(items, array_next_cap(cap, first) * size);
}
