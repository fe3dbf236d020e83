/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_LIFETIMES_H
#define CMD_TRIVET_BENCH_LIFETIMES_H

#include "client/client.h"
#include "cmd/trivet-bench/report.h"
#include "cmd/trivet-bench/workload.h"

/* lease-many: leases of one TTL that nobody keeps alive, and when they end.
 *
 *   grant ─▶ answered ─ TTL ─▶ due ─ lateness ─▶ a watcher is told that its key was deleted
 *     └────── TTL ──────▶ sooner than this is wrong
 *
 * A thousand of them hold a key each, which one watcher watches; so lateness is what a client sees
 * by its own clock, and includes the way of both answers. */
struct lifetimes_config {
    struct env *env;
    uv_loop_t *loop;
    struct client *client;
    struct workload *workload; /* its keys count the leases, and name those of the sample */
    uint64_t clients;          /* each with one call under way */
    uint64_t ttl_s;
    uint64_t timeout_ms; /* of one call */
    bool progress;       /* a word on stderr when the next part begins */
};

#define LIFETIMES_SAMPLE  1000u
#define LIFETIMES_TTL_MAX (24u * 60 * 60)

/* RET's latency is the lateness of the sample. */
MUST_CHECK enum err lifetimes_run(const struct lifetimes_config *config, struct report *ret,
                                  struct why *why);

#endif
