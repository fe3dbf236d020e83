/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/codec.h"

/* What a fuzz target is: a function that takes any bytes and must come back, with nothing leaked
 * and nothing kept. libFuzzer calls it (./configure --enable-fuzzing), or replay.c does with the
 * inputs of the corpus. What does not hold is fatal: both take the end of the process for a
 * finding. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The claim must hold for every input; unlike ASSERT it is the target's, not the product's. */
#define CLAIM(cond)                                                      \
    do {                                                                 \
        if (!(cond)) {                                                   \
            fuzz_claim_failed(__FILE__ ":" CLAIM_LINE(__LINE__), #cond); \
        }                                                                \
    } while (0)
#define CLAIM_LINE_(x) #x
#define CLAIM_LINE(x)  CLAIM_LINE_(x)
void fuzz_claim_failed(const char *where, const char *claim) __attribute__((noreturn));

/* The next N bytes of an input, or what is left, as memory of their own of exactly that size, so
 * that a sanitizer sees who reads beyond. Freed by fuzz_free. */
struct bytes fuzz_take(struct reader *input, size_t n);
/* The same without a copy. */
struct bytes fuzz_view(struct reader *input, size_t n);
void fuzz_free(struct bytes *bytes);

/* A directory of this process, for what must be in files; in memory where the system has such a
 * place, as syncs cost nothing there. It is removed when the process ends in an orderly way. */
const char *fuzz_directory(void);
void fuzz_remove_tree(const char *path);

/* In a target that may run into fatal() where the product is meant to end: the call is made, and
 * what fatal() said comes back; NULL: nothing. What the call held is lost, so nothing in it may
 * own memory that only its stack knows. */
const char *fuzz_fatal(void (*fn)(void *ctx), void *ctx);

#endif
