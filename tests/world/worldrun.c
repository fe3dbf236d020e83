/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldrun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/child.h"
#include "tests/lib/coverage.h"

#define SEED_SECONDS_MAX 180
#define JOBS_MAX         64

/* Where the process of a seed writes how it ended; -1: it is not one. */
static int result_fd = -1;

struct running_seed {
    pid_t pid; /* 0: none */
    int fd;
    uint64_t seed;
};

static void die(const char *what)
{
    fprintf(stderr, "trivet-world: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void write_outcome(const struct worldrun_outcome *outcome)
{
    if (result_fd >= 0 && write(result_fd, outcome, sizeof *outcome) != (ssize_t)sizeof *outcome) {
        _exit(2);
    }
}

void worldrun_end_badly(const struct world *world, const char *checker, const char *message)
{
    static struct worldrun_outcome outcome;
    snprintf(outcome.checker, sizeof outcome.checker, "%s", checker);
    snprintf(outcome.message, sizeof outcome.message, "%.*s", (int)sizeof outcome.message - 1,
             message);
    outcome.at_ms = world->now_us / WORLD_MS;
    outcome.faults = world->faults;
    outcome.places = world->places;
    write_outcome(&outcome);
    fflush(NULL);
    _exit(1);
}

static _Noreturn void run_seed(const struct world_options *options, int fd, bool quiet)
{
    if (quiet) {
        child_silence();
    }
    result_fd = fd;
    child_limit_processor(SEED_SECONDS_MAX);
    static struct worldrun_outcome outcome;
    outcome.is_good = true;
    world_run(options, &outcome.stats);
    write_outcome(&outcome);
    coverage_write();
    _exit(0);
}

static void begin(const struct world_options *options, bool quiet, struct running_seed *ret)
{
    int fds[2];
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) != 0) {
        die("pipe");
    }
    pid_t pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        close(fds[0]);
        run_seed(options, fds[1], quiet);
    }
    close(fds[1]);
    *ret = (struct running_seed){.pid = pid, .fd = fds[0], .seed = options->seed};
}

/* The process with STATUS has ended. */
static void finish(struct running_seed *running, int status, struct worldrun_outcome *ret)
{
    bool told = child_read(running->fd, ret, sizeof *ret);
    close(running->fd);
    if (!told) {
        *ret = (struct worldrun_outcome){0};
        int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        snprintf(ret->checker, sizeof ret->checker, "%s", sig == SIGPROF ? "time" : "crash");
        snprintf(ret->message, sizeof ret->message, "signal %d (%s), exit status %d", sig,
                 strsignal(sig), WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        ret->stats = (struct world_stats){0};
    }
    ret->seed = running->seed;
    *running = (struct running_seed){0};
}

static pid_t wait_for(pid_t pid, int *status)
{
    pid_t ended = child_wait(pid, status);
    if (ended < 0) {
        die("waitpid");
    }
    return ended;
}

void worldrun_one(const struct world_options *options, bool quiet, struct worldrun_outcome *ret)
{
    struct running_seed running;
    int status;
    begin(options, quiet, &running);
    wait_for(running.pid, &status);
    finish(&running, status, ret);
}

static uint64_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

void worldrun_all(const struct worldrun_config *config)
{
    struct running_seed running[JOBS_MAX] = {0};
    unsigned jobs = config->jobs < JOBS_MAX ? config->jobs : JOBS_MAX;
    struct world_options next = config->options;
    uint64_t end_seed = next.seed + config->count;
    uint64_t end_s = seconds_now() + config->seconds;
    uint64_t shown = config->shown;
    for (unsigned count = 0;;) {
        for (unsigned i = 0; i < jobs && next.seed < end_seed; i++) {
            bool late = config->seconds != 0 && seconds_now() >= end_s;
            if (running[i].pid == 0 && !late) {
                begin(&next, shown == 0, &running[i]);
                next.seed++;
                count++;
            }
        }
        if (count == 0) {
            return;
        }
        int status;
        pid_t pid = wait_for(-1, &status);
        for (unsigned i = 0; i < jobs; i++) {
            if (running[i].pid == pid) {
                struct worldrun_outcome outcome;
                finish(&running[i], status, &outcome);
                count--;
                shown -= !outcome.is_good && shown > 0;
                config->done(config->ctx, &outcome);
            }
        }
    }
}
