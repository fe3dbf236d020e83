/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARRAY_H
#define BASE_ARRAY_H

#include <stddef.h>

/* Arrays that double when they are full: the owner has a pointer, a count and a capacity, all zero
 * at first, and frees the pointer.
 *
 *     if (!ARRAY_MAKE_ROOM(list->items, list->count, list->cap, 8)) {
 *         return ERR_NOMEM;
 *     }
 *     list->items[list->count++] = item;
 *
 * Make room for an element at index COUNT, which is at most CAP; the first room is for FIRST. When
 * COUNT is CAP the array moves, so that pointers into it are no longer good, and ITEMS and CAP
 * change; what is new is not initialized. Else nothing happens. False: no memory, or CAP's type
 * cannot count so many; nothing has changed. Arguments are evaluated several times. */
#define ARRAY_MAKE_ROOM(items, count, cap, first)                                       \
    ((count) < (cap) || __extension__({                                                 \
         void *array_grown_ =                                                           \
             array_grow((items), sizeof *(items), (cap), (__typeof__(cap))-1, (first)); \
         if (array_grown_ != NULL) {                                                    \
             (items) = array_grown_;                                                    \
             (cap) = (__typeof__(cap))array_next_cap((cap), (first));                   \
         }                                                                              \
         array_grown_ != NULL;                                                          \
     }))

/* What it does when there is none: ITEMS with the next capacity, which is at most CAP_MAX;
 * or NULL. */
void *array_grow(void *items, size_t size, size_t cap, size_t cap_max, size_t first);

static inline size_t array_next_cap(size_t cap, size_t first)
{
    return cap == 0 ? first : 2 * cap;
}

#endif
