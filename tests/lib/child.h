/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CHILD_H
#define TESTS_LIB_CHILD_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of processes that run seeds and write how each went into a pipe. */

/* In it: what it says on stderr is not wanted. */
static inline void child_silence(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDERR_FILENO);
    }
}

/* SIGPROF ends it after so many seconds of a processor from now on: of that, and not of a clock,
 * for the machine may be busy, or the process be stopped for a while. */
static inline void child_limit_processor(unsigned seconds)
{
    struct itimerval limit = {.it_value.tv_sec = seconds};
    signal(SIGPROF, SIG_DFL);
    (void)setitimer(ITIMER_PROF, &limit, NULL);
}

/* SIZE bytes of what one writes. False: it ended before it had written them. */
static inline bool child_read(int fd, void *ret, size_t size)
{
    char *at = ret;
    while (size > 0) {
        ssize_t n = read(fd, at, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* As waitpid, whatever signals come meanwhile. */
static inline pid_t child_wait(pid_t pid, int *status)
{
    pid_t ended;
    do {
        ended = waitpid(pid, status, 0);
    } while (ended < 0 && errno == EINTR);
    return ended;
}

#endif
