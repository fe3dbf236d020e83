/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/runner.h"

static void say(const char *message)
{
    ssize_t n = write(STDERR_FILENO, message, strlen(message));
    _exit(n < 0 ? 1 : 42);
}

static void end_plainly(void)
{
    fatal("disk '%s' failed", "d");
}

static void end_long(void)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fatal("%s", text);
}

static void end_by_assertion(void)
{
    ASSERT(1 + 1 == 3);
}

static void end_with_hook(void)
{
    fatal_set_hook(say);
    fatal("hooked");
}

static const struct {
    void (*end)(void);
    int status;
    const char *text;
} ends[] = {
    {end_plainly, 70, "fatal: disk 'd' failed\n"},
    {end_long, 70, "fatal: xxxxxxxx"},
    {end_by_assertion, 70, "assertion failed: 1 + 1 == 3"},
    {end_with_hook, 42, "hooked"},
};

START_TEST(fatal_ends_the_process_with_its_message)
{
    int pipe_fds[2];
    ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (dup2(pipe_fds[1], STDERR_FILENO) >= 0) {
            ends[_i].end();
        }
        _exit(1);
    }
    close(pipe_fds[1]);
    char text[8192];
    size_t len = 0;
    ssize_t n;
    while ((n = read(pipe_fds[0], text + len, sizeof text - 1 - len)) > 0) {
        len += (size_t)n;
    }
    text[len] = '\0';
    close(pipe_fds[0]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), ends[_i].status);
    ck_assert_msg(strstr(text, ends[_i].text) != NULL, "got '%s'", text);
}
END_TEST

static Suite *assert_suite(void)
{
    Suite *suite = suite_create("assert");
    TCase *tc = tcase_create("assert");
    tcase_add_loop_test(tc, fatal_ends_the_process_with_its_message, 0, 4);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(assert_suite);
}
