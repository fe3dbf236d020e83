/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_CROWD_H
#define CMD_TRIVET_BENCH_CROWD_H

#include "cmd/trivet-bench/audience.h"
#include "cmd/trivet-bench/report.h"
#include "cmd/trivet-bench/workload.h"

/* The simulated clients: each asks, waits for the answer, asks again (a closed loop); or all
 * together start so many operations a second, whoever is free (an open loop: latency counts from
 * the time at which an operation should have started). */
struct crowd;

struct crowd_config {
    struct env *env;
    uv_loop_t *loop;
    struct client *client;
    struct workload *workload;
    uint64_t clients;
    uint64_t rate;             /* operations a second; 0: closed loop */
    uint64_t total;            /* end after this many; 0: no end */
    uint64_t warmup_ms;        /* not reported */
    uint64_t duration_ms;      /* after the warm-up; 0: until the workload or total ends */
    uint64_t timeout_ms;       /* of one call */
    bool progress;             /* a line on stderr, once a second */
    struct audience *audience; /* whose events are measured in the place of answers; or NULL */
    struct report *report;
    /* All is done and answered; the crowd is gone. */
    void (*on_done)(void *ctx);
    void *ctx;
};

#define CLIENTS_MAX 100000

MUST_CHECK enum err crowd_start(const struct crowd_config *config, struct crowd **ret,
                                struct why *why);
/* End early: what has been measured is reported. */
void crowd_stop(struct crowd *crowd);

#endif
