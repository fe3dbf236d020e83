/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/bytes.h"

/* Counters, gauges and histograms, and their Prometheus text form (exposition format 0.0.4).
 * Registered at start, by name and labels ("To=\"8e9e05c52164694d\"" or NULL); their owner is the
 * registry. All on the loop; worker threads hand figures over in their jobs. A metric that was not
 * made (no memory) is a NULL whose operations do nothing. */
struct metrics;
struct counter;
struct gauge;
struct histogram;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

struct counter *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                                const char *labels);
struct gauge *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                            const char *labels);
/* A gauge or counter that is asked when somebody looks. */
void metrics_gauge_fn(struct metrics *metrics, const char *name, const char *help,
                      const char *labels, double (*fn)(void *ctx), void *ctx);
void metrics_counter_fn(struct metrics *metrics, const char *name, const char *help,
                        const char *labels, double (*fn)(void *ctx), void *ctx);
/* Buckets start * 2^i, i below COUNT, as etcd's. */
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const char *labels, double start, unsigned count);

void counter_add(struct counter *counter, double n);
void gauge_set(struct gauge *gauge, double v);
void histogram_observe(struct histogram *histogram, double v);

/* Families in order of name, HELP and TYPE once each. */
void metrics_write(const struct metrics *metrics, struct buf *buf);

#endif
