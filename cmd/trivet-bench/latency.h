/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_LATENCY_H
#define CMD_TRIVET_BENCH_LATENCY_H

#include <stdint.h>

/* Latencies from 1 ns to some minutes in buckets that are never wider than 1/64 of their value (the
 * layout of HdrHistogram: a power of two, then equal parts of it), so that percentiles are right
 * to 1.6 % and recording is two shifts. */
#define LATENCY_PART_BITS 6
#define LATENCY_BUCKETS   ((64 - LATENCY_PART_BITS + 1) << LATENCY_PART_BITS)

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t count;
    uint64_t max_ns;
    double sum_ns;
};

void latency_record(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *into, const struct latency *from);
void latency_reset(struct latency *latency);
/* The value that PERCENT of the recorded ones do not exceed; 0 when nothing is recorded. */
uint64_t latency_percentile_ns(const struct latency *latency, double percent);
uint64_t latency_mean_ns(const struct latency *latency);

#endif
