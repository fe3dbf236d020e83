/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

#define EVENTS_MAX (1u << 24)

struct trace {
    uint64_t added; /* ever; the next one's place is added & mask */
    size_t mask;
    bool hashing;
    uint64_t hash;
    struct trace_event events[];
};

enum err trace_new(size_t count, struct trace **ret)
{
    ASSERT(count >= 1);
    ASSERT(count <= EVENTS_MAX);
    size_t rounded = 1;
    while (rounded < count) {
        rounded *= 2;
    }
    struct trace *trace = calloc(1, sizeof *trace + rounded * sizeof trace->events[0]);
    if (trace == NULL) {
        return ERR_NOMEM;
    }
    trace->mask = rounded - 1;
    *ret = trace;
    return OK;
}

void trace_free(struct trace *trace)
{
    free(trace);
}

/* The text's content, not its address, which differs from run to run. */
static void hash_event(struct trace *trace, const struct trace_event *event)
{
    static const struct hash_seed seed = {0, 0};
    uint64_t hash = trace->hash;
    hash = mix64(hash ^ hash_bytes(bytes_of_str(event->text), &seed));
    hash = mix64(hash + event->time_ns);
    hash = mix64(hash ^ event->a);
    trace->hash = mix64(hash + event->b);
}

void trace_add(struct trace *trace, uint64_t time_ns, const char *text, uint64_t a, uint64_t b)
{
    struct trace_event *event = &trace->events[trace->added & trace->mask];
    *event = (struct trace_event){.time_ns = time_ns, .text = text, .a = a, .b = b};
    trace->added++;
    if (trace->hashing) {
        hash_event(trace, event);
    }
}

void trace_hash_start(struct trace *trace)
{
    trace->hashing = true;
}

uint64_t trace_hash(const struct trace *trace)
{
    return trace->hash;
}

size_t trace_count(const struct trace *trace)
{
    return trace->added <= trace->mask ? (size_t)trace->added : trace->mask + 1;
}

const struct trace_event *trace_at(const struct trace *trace, size_t i)
{
    ASSERT(i < trace_count(trace));
    uint64_t first = trace->added - trace_count(trace);
    return &trace->events[(first + i) & trace->mask];
}

void trace_dump(const struct trace *trace, int fd)
{
    size_t count = trace_count(trace);
    for (size_t i = 0; i < count; i++) {
        const struct trace_event *event = trace_at(trace, i);
        uint64_t before_ns = trace_at(trace, count - 1)->time_ns - event->time_ns;
        char line[256];
        int n =
            snprintf(line, sizeof line, "-%" PRIu64 ".%06" PRIu64 "ms %s %" PRIu64 " %" PRIu64 "\n",
                     before_ns / 1000000, before_ns % 1000000, event->text, event->a, event->b);
        if (n < 0) {
            return;
        }
        size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
        if (write(fd, line, len) < 0) {
            return;
        }
    }
}
