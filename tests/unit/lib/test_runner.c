/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The suites that the runner is tried on; they run in a child whose stdout is caught. */

START_TEST(holds)
{
    ck_assert_int_lt(_i, 2);
}
END_TEST

START_TEST(breaks)
{
    ck_abort_msg("first line\nok 2 - looks like a case");
}
END_TEST

START_TEST(lacks)
{
    runner_skip("no huge pages");
}
END_TEST

START_TEST(dies)
{
    abort();
}
END_TEST

START_TEST(loses)
{
    void *volatile lost = malloc(24);
    lost = NULL;
    ck_assert_ptr_null(lost);
}
END_TEST

START_TEST(guesses)
{
    int *volatile guess = malloc(sizeof(int));
    ck_assert_ptr_nonnull(guess);
    ck_assert_msg(*guess != 4711, "a guess that hits");
    free(guess);
}
END_TEST

static Suite *good_suite(void)
{
    Suite *suite = suite_create("good");
    TCase *tcase = tcase_create("case");
    tcase_add_loop_test(tcase, holds, 0, 2);
    tcase_add_test(tcase, lacks);
    suite_add_tcase(suite, tcase);
    return suite;
}

static Suite *bad_suite(void)
{
    Suite *suite = suite_create("bad");
    TCase *tcase = tcase_create("case");
    tcase_add_test(tcase, breaks);
    tcase_add_test(tcase, dies);
    tcase_add_test(tcase, holds);
    suite_add_tcase(suite, tcase);
    return suite;
}

static Suite *wrong_suite(void)
{
    Suite *suite = suite_create("wrong");
    TCase *tcase = tcase_create("case");
    tcase_add_test(tcase, loses);
    tcase_add_test(tcase, holds);
    tcase_add_test(tcase, guesses);
    tcase_add_test(tcase, holds);
    suite_add_tcase(suite, tcase);
    return suite;
}

static Suite *empty_suite(void)
{
    return suite_create("empty");
}

static const struct {
    const char *name;
    Suite *(*make)(void);
    int want_status;
    const char *want;
} suites[] = {
    {"all hold", good_suite, EXIT_SUCCESS,
     "ok 1 - case:holds\n"
     "ok 2 - case:holds[1]\n"
     "ok 3 - case:lacks # SKIP no huge pages\n"
     "1..3\n"},
    {"two fail", bad_suite, EXIT_FAILURE,
     "not ok 1 - case:breaks\n"
     "# test_runner.c:LINE: first line\n"
     "# ok 2 - looks like a case\n"
     "not ok 2 - case:dies\n"
     "# test_runner.c:LINE: Received signal 6 (Aborted)\n"
     "ok 3 - case:holds\n"
     "1..3\n"},
    {"nothing to run", empty_suite, EXIT_FAILURE, "1..0\n# no case was run\n"},
};

/* What the runner is told from outside must not change how it runs these suites. */
static void begin_child(int out)
{
    unsetenv("CK_FORK");
    unsetenv("CK_RUN_CASE");
    unsetenv("CK_RUN_SUITE");
    if (dup2(out, STDOUT_FILENO) < 0) {
        _exit(3);
    }
}

/* What a process prints that does RUN; its status. */
static int print_in_child(void (*run)(int number), int number, char *got, size_t size)
{
    FILE *out = tmpfile();
    ck_assert_ptr_nonnull(out);
    fflush(stdout);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        begin_child(fileno(out));
        run(number);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    rewind(out);
    got[fread(got, 1, size - 1, out)] = '\0';
    fclose(out);
    return status;
}

static void run_suite(int number)
{
    int status = runner_main(suites[number].make);
    fflush(stdout);
    _exit(status);
}

/* "# ../tests/unit/lib/test_runner.c:12: text" -> "# test_runner.c:LINE: text", in place. */
static void mask_places(char *text)
{
    static const char file[] = "test_runner.c:";
    char *to = text;
    for (char *from = text; *from != '\0';) {
        char *colon = strncmp(from, "# ", 2) == 0 ? strstr(from, file) : NULL;
        char *end = strchr(from, '\n');
        if (colon != NULL && colon < end) {
            from = colon + sizeof file - 1;
            from += strspn(from, "123456789");
            from += strspn(from, "0123456789");
            to += sprintf(to, "# %sLINE", file);
        }
        memmove(to, from, (size_t)(end + 1 - from));
        to += end + 1 - from;
        from = end + 1;
    }
    *to = '\0';
}

START_TEST(prints_each_case_as_tap)
{
    char got[4096];
    int status = print_in_child(run_suite, _i, got, sizeof got);
    mask_places(got);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == suites[_i].want_status,
                  "%s: status %d", suites[_i].name, status);
    ck_assert_str_eq(got, suites[_i].want);
}
END_TEST

/* Of argv: this program runs wrong_suite when it has an argument. */
static char *program;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VALGRIND "" /* which is no program: it cannot run this one */
#else
#define VALGRIND "valgrind"
#endif
#define CANNOT_RUN 77

static void run_under_valgrind(int number)
{
    (void)number;
    setenv("CK_FORK", "no", 1);
    execlp(VALGRIND, VALGRIND, "-q", "--leak-check=full", "--log-file=/dev/null", program, "wrong",
           NULL);
    _exit(CANNOT_RUN);
}

START_TEST(valgrind_tells_whose_fault_it_is)
{
    char got[4096];
    int status = print_in_child(run_under_valgrind, 0, got, sizeof got);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_RUN) {
        runner_skip("no valgrind that runs this program");
    }
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE, "status %d", status);
    static const char *const wants[] = {
        "not ok 1 - case:loses\n",         ": valgrind has found 24 bytes that are lost\n",
        "\nok 2 - case:holds\n",           "\nnot ok 3 - case:guesses\n",
        ": valgrind has found 1 errors\n", "\nok 4 - case:holds\n",
    };
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
        ck_assert_msg(strstr(got, wants[i]) != NULL, "no '%s' in: %s", wants[i], got);
    }
}
END_TEST

static Suite *runner_suite(void)
{
    Suite *suite = suite_create("runner");
    TCase *tcase = tcase_create("runner");
    tcase_add_loop_test(tcase, prints_each_case_as_tap, 0, (int)(sizeof suites / sizeof suites[0]));
    tcase_add_test(tcase, valgrind_tells_whose_fault_it_is);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(int argc, char **argv)
{
    program = argv[0];
    return runner_main(argc > 1 ? wrong_suite : runner_suite);
}
