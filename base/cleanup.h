/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* Call FN with the address of the variable when it goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* The value of VAR, which keeps NULL: ownership moves to whoever takes it. */
#define TAKE(var)                            \
    __extension__({                          \
        __typeof__(var) take_value_ = (var); \
        (var) = NULL;                        \
        take_value_;                         \
    })

/* The struct of TYPE whose MEMBER is at PTR. */
#define CONTAINER_OF(ptr, type, member)                                 \
    __extension__({                                                     \
        __typeof__(((type *)0)->member) *member_ptr_ = (ptr);           \
        (type *)(void *)((char *)member_ptr_ - offsetof(type, member)); \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* For CLEANUP on malloc'd memory and on file descriptors. */
static inline void freep(void *ptr_to_ptr)
{
    free(*(void **)ptr_to_ptr);
}

static inline void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

#endif
