/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simrun.h"

#include <errno.h>
#include <fcntl.h>
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
#define JOBS_MAX         64

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

struct batch {
    pid_t pid; /* 0: none */
    int fd;
    uint64_t next; /* that has not been reported */
    uint64_t end;
};

static void begin(const struct sim_options *options, struct batch *batch, bool quiet)
{
    struct sim_options first = *options;
    first.seed = batch->next;
    int fds[2];
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) != 0) {
        die("pipe");
    }
    batch->pid = fork();
    if (batch->pid < 0) {
        die("fork");
    }
    if (batch->pid == 0) {
        close(fds[0]);
        run_batch(&first, batch->end - batch->next, fds[1], quiet);
    }
    close(fds[1]);
    batch->fd = fds[0];
}

/* What the process of a batch has written fits into its pipe, so it is read when it has ended.
 * Returns whether all of it was good; else NEXT is the seed after the one that was not. */
static bool finish(struct batch *batch, int status, const struct simrun_config *config, bool shown)
{
    struct sim_stats stats;
    while (batch->next < batch->end && child_read(batch->fd, &stats, sizeof stats)) {
        config->done(config->ctx, batch->next++, SIM_GOOD, &stats);
    }
    close(batch->fd);
    batch->pid = 0;
    if (batch->next == batch->end) {
        return true;
    }
    enum sim_outcome outcome = outcome_of(status, batch->next, shown);
    config->done(config->ctx, batch->next++, outcome == SIM_GOOD ? SIM_WRONG : outcome, NULL);
    return false;
}

void simrun_all(const struct simrun_config *config)
{
    struct batch batches[JOBS_MAX] = {0};
    unsigned jobs = config->jobs < JOBS_MAX ? config->jobs : JOBS_MAX;
    uint64_t shown = config->shown;
    uint64_t next = config->options.seed;
    uint64_t end = next + config->count;
    for (unsigned running = 0;;) {
        for (unsigned i = 0; i < jobs; i++) {
            struct batch *batch = &batches[i];
            if (batch->pid == 0 && batch->next == batch->end) {
                batch->next = next;
                batch->end = next = end - next < BATCH ? end : next + BATCH;
            }
            if (batch->pid == 0 && batch->next < batch->end) {
                begin(&config->options, batch, shown == 0);
                running++;
            }
        }
        if (running == 0) {
            return;
        }
        int status;
        pid_t pid = child_wait(-1, &status);
        if (pid < 0) {
            die("waitpid");
        }
        for (unsigned i = 0; i < jobs; i++) {
            if (batches[i].pid == pid) {
                running--;
                shown -= !finish(&batches[i], status, config, shown > 0) && shown > 0;
            }
        }
    }
}
