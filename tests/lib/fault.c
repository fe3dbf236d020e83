/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/lib/effort.h"

#define ROUNDS_MAX 100000
/* Short sweeps are walked in full at any effort. */
#define DENSE_ROUNDS 32

static _Atomic uint64_t countdown; /* allocations until one fails; 0: none will */
static atomic_bool fired;
static _Atomic int64_t live; /* allocations that were not freed */
static atomic_bool paused;

/* What the linker makes of malloc and its kin with --wrap. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *memory);

static bool fails(void)
{
    if (atomic_load(&paused)) {
        return false;
    }
    uint64_t left = atomic_load(&countdown);
    while (left > 0 && !atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
    }
    if (left != 1) {
        return false;
    }
    atomic_store(&fired, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *memory)
{
    if (memory != NULL && !atomic_load(&paused)) {
        atomic_fetch_add(&live, 1);
    }
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (fails()) {
        return NULL;
    }
    return memory == NULL ? counted(__real_realloc(NULL, size)) : __real_realloc(memory, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return __wrap_realloc(memory, bytes);
}

char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = __wrap_malloc(size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

void __wrap_free(void *memory)
{
    if (memory != NULL && !atomic_load(&paused)) {
        atomic_fetch_sub(&live, 1);
    }
    __real_free(memory);
}

void fault_arm(uint64_t k)
{
    atomic_store(&fired, false);
    atomic_store(&countdown, k);
    atomic_store(&paused, false);
}

bool fault_fired(void)
{
    return atomic_load(&fired);
}

void fault_pause(void)
{
    atomic_store(&paused, true);
}

bool fault_sweep_next(struct fault_sweep *sweep)
{
    if (sweep->k == 0) {
        sweep->live_before = atomic_load(&live);
    } else {
        ASSERT(atomic_load(&live) == sweep->live_before);
        if (!fault_fired()) {
            fault_arm(0);
            return false;
        }
    }
    sweep->k = effort_next(sweep->k, DENSE_ROUNDS);
    ASSERT(sweep->k < ROUNDS_MAX);
    fault_arm(sweep->k);
    return true;
}
