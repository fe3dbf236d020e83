/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simrun.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/child.h"
#include "tests/lib/coverage.h"

/* Good seeds of one process: what they leave behind adds up. */
#define BATCH            8
#define SEED_SECONDS_MAX 120

static void die(const char *what)
{
    fprintf(stderr, "trivet-sim: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* In the process of the batch. */
static _Noreturn void run_batch(const struct sim_options *options, uint64_t count, int fd,
                                bool quiet)
{
    if (quiet) {
        child_silence();
    }
    struct sim_options one = *options;
    for (uint64_t i = 0; i < count; i++, one.seed++) {
        child_limit_processor(SEED_SECONDS_MAX);
        struct sim_stats stats;
        sim_run(&one, &stats);
        if (write(fd, &stats, sizeof stats) != (ssize_t)sizeof stats) {
            _exit(2);
        }
    }
    coverage_write();
    _exit(0);
}

static enum sim_outcome outcome_of(int status, uint64_t seed, bool shown)
{
    if (WIFSIGNALED(status)) {
        if (shown) {
            fprintf(stderr, "seed %llu: crashed: signal %d (%s)\n", (unsigned long long)seed,
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
        }
        return SIM_CRASHED;
    }
    switch (WEXITSTATUS(status)) {
    case 0:
        return SIM_GOOD;
    case SIM_EXIT_STUCK:
        return SIM_STUCK;
    case SIM_EXIT_FATAL:
        return SIM_FATAL;
    default:
        return SIM_WRONG;
    }
}

void sim_run_seeds(const struct sim_options *options, uint64_t count, uint64_t shown,
                   void (*done)(void *ctx, uint64_t seed, enum sim_outcome outcome,
                                const struct sim_stats *stats),
                   void *ctx)
{
    struct sim_options next = *options;
    uint64_t end = options->seed + count;
    while (next.seed < end) {
        uint64_t batch = end - next.seed < BATCH ? end - next.seed : BATCH;
        int fds[2];
        fflush(NULL);
        if (pipe(fds) != 0) {
            die("pipe");
        }
        pid_t pid = fork();
        if (pid < 0) {
            die("fork");
        }
        if (pid == 0) {
            close(fds[0]);
            run_batch(&next, batch, fds[1], shown == 0);
        }
        close(fds[1]);
        struct sim_stats stats;
        uint64_t batch_end = next.seed + batch;
        while (next.seed < batch_end && child_read(fds[0], &stats, sizeof stats)) {
            done(ctx, next.seed++, SIM_GOOD, &stats);
        }
        close(fds[0]);
        int status;
        if (child_wait(pid, &status) < 0) {
            die("waitpid");
        }
        if (next.seed < batch_end) {
            enum sim_outcome outcome = outcome_of(status, next.seed, shown > 0);
            done(ctx, next.seed++, outcome == SIM_GOOD ? SIM_WRONG : outcome, NULL);
            shown -= shown > 0;
        }
    }
}
