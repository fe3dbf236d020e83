/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SIMOPTION_H
#define TESTS_LIB_SIMOPTION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* What the simulators' programs have in common. */

/* An option's number, at most MAX; false: it is none. */
static inline bool simoption_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text == 0 || *end != 0 || v > max) {
        return false;
    }
    *ret = v;
    return true;
}

static inline double simoption_seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

#endif
