/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_SLOW_H
#define CMD_TRIVET_BENCH_SLOW_H

#include "client/client.h"
#include "cmd/trivet-bench/report.h"
#include "cmd/trivet-bench/workload.h"

/* watch-slow: what puts cost beside watchers who do not read.
 *
 *   puts, measured ─▶ watchers begin, see a put each ─▶ stop reading ─▶ puts, measured again
 *                     ─▶ go on reading: each is told of every put, in order
 *
 * The watchers have connections of their own, so that those of the puts are read. */
struct slow_config {
    struct env *env;
    struct client *client;               /* of the puts */
    struct client_config watcher_client; /* connections of the watchers */
    struct workload *workload;
    uint64_t watchers;
    uint64_t streams;
    /* Puts, for as long as was asked for, into REPORT. */
    enum err (*run_puts)(void *ctx, struct report *report, struct why *why);
    void *ctx;
};

/* RET is the second measurement, with notes on the first and on the watchers. */
MUST_CHECK enum err slow_run(const struct slow_config *config, struct report *ret, struct why *why);

#endif
