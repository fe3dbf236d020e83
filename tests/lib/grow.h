/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_GROW_H
#define TESTS_LIB_GROW_H

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* The element at INDEX of an array that grows; zeroed at first. It moves with the next one. */
static inline void *grow_at(void **array, size_t *count, size_t size, uint64_t index)
{
    if (index >= *count) {
        size_t grown = *count == 0 ? 1024 : *count;
        while (grown <= index) {
            grown *= 2;
        }
        *array = realloc(*array, grown * size);
        ASSERT(*array != NULL);
        memset((char *)*array + *count * size, 0, (grown - *count) * size);
        *count = grown;
    }
    return (char *)*array + index * size;
}

#endif
