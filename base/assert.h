/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

/* What our own code guarantees; always compiled in. Bytes from outside and from disks never trip
 * it. */
#define ASSERT(cond)                                                                       \
    do {                                                                                   \
        if (__builtin_expect(!(cond), 0)) {                                                \
            fatal("%s:%d: %s: assertion failed: %s", __FILE__, __LINE__, __func__, #cond); \
        }                                                                                  \
    } while (0)

/* End the process now with a message on stderr and exit status 70: for a disk that fails at or
 * after commit, memory that ends there, and broken assumptions. Nothing is flushed: what was
 * acknowledged is durable already. Any thread. */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* What fatal() calls first, with its message: the simulator reports the seed, the program prints
 * its trace. Set once, before threads start; the hook may longjmp or exit, and returns otherwise.
 */
void fatal_set_hook(void (*hook)(const char *message));

#endif
