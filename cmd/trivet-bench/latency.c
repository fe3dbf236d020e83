/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/latency.h"

#include <string.h>

#define PARTS (1u << LATENCY_PART_BITS)

static unsigned bucket_of(uint64_t ns)
{
    if (ns < PARTS) {
        return (unsigned)ns;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - LATENCY_PART_BITS;
    return (shift + 1) * PARTS + (unsigned)((ns >> shift) - PARTS);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < PARTS) {
        return bucket;
    }
    unsigned shift = bucket / PARTS - 1;
    return (((uint64_t)(bucket % PARTS) + PARTS + 1) << shift) - 1;
}

void latency_record(struct latency *latency, uint64_t ns)
{
    latency->counts[bucket_of(ns)]++;
    latency->count++;
    latency->sum_ns += (double)ns;
    if (ns > latency->max_ns) {
        latency->max_ns = ns;
    }
}

void latency_merge(struct latency *into, const struct latency *from)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns) {
        into->max_ns = from->max_ns;
    }
}

void latency_reset(struct latency *latency)
{
    memset(latency, 0, sizeof *latency);
}

uint64_t latency_percentile_ns(const struct latency *latency, double percent)
{
    double wanted = (double)latency->count * percent / 100;
    uint64_t seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->counts[i];
        if (latency->counts[i] > 0 && (double)seen >= wanted) {
            uint64_t top = bucket_top(i);
            return top < latency->max_ns ? top : latency->max_ns;
        }
    }
    return latency->max_ns;
}

uint64_t latency_mean_ns(const struct latency *latency)
{
    return latency->count == 0 ? 0 : (uint64_t)(latency->sum_ns / (double)latency->count);
}
