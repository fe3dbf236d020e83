/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/env.h"

/* The last events of a loop, in memory: what a log line would be too much for. Writing one costs a
 * clock reading and a few stores; they are read when something has gone wrong, by fatal's hook, or
 * when a simulated run is compared with another.
 *
 *     TRACE(env, "raft: append", index, count);
 *
 * The text lives as long as the program (a literal), the two numbers mean what it says. Nothing
 * happens when the env has no trace. On the loop; trace_dump from any thread, where it may show an
 * event half written. */
struct trace;

struct trace_event {
    uint64_t time_ns;
    const char *text;
    uint64_t a;
    uint64_t b;
};

/* Keeps the last COUNT events, rounded up to a power of two. Set it as the env's `trace`. */
MUST_CHECK enum err trace_new(size_t count, struct trace **ret);
void trace_free(struct trace *trace); /* NULL allowed */

void trace_add(struct trace *trace, uint64_t time_ns, const char *text, uint64_t a, uint64_t b);

#define TRACE(env, text, a, b)                                                              \
    do {                                                                                    \
        if ((env)->trace != NULL) {                                                         \
            trace_add((env)->trace, env_now_ns(env), (text), (uint64_t)(a), (uint64_t)(b)); \
        }                                                                                   \
    } while (0)

/* From the first call on, every event goes into a hash as well: two runs with equal hashes did the
 * same. */
void trace_hash_start(struct trace *trace);
uint64_t trace_hash(const struct trace *trace);

/* The events that are kept, the oldest first. */
size_t trace_count(const struct trace *trace);
const struct trace_event *trace_at(const struct trace *trace, size_t i);

/* Write the kept events to FD, a line each, times relative to the last one. Allocates nothing. */
void trace_dump(const struct trace *trace, int fd);

#endif
