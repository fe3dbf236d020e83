/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/runner.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND          0
#define VALGRIND_COUNT_ERRORS        0
#define VALGRIND_DO_ADDED_LEAK_CHECK (void)0
#define VALGRIND_COUNT_LEAKS(leaked, dubious, reachable, suppressed) \
    (void)((leaked) + (dubious) + (reachable) + (suppressed))
#endif

/* Check tells how each case ended through its results, in the order in which they ran, but a case's
 * name stands only in the TAP that it writes into a file:
 *
 *     not ok 3 - tests/unit/x/test_y.c:case:test: text of the failure, perhaps
 *     over lines
 *
 * So the file is read for names alone. Printed is what Check's own TAP lacks: the line of a
 * failure, a message as comments, a number for each case of a loop, and SKIP. */

#define SKIP_MARK "SKIP: "

/* Check's own limit of 4 s is soon over on a machine that is busy with something else. */
#define CASE_TIMEOUT_S "60"
#define PATIENCE_MS    30000u
#define MARKED_PLACES  16u

struct run {
    TestResult **results;
    int count;
    int printed;
    int failed;
    char last_name[256]; /* of the case before, to number the cases of a loop */
    int repeated;
};

void runner_skip(const char *reason)
{
    ck_abort_msg(SKIP_MARK "%s", reason);
    abort();
}

void runner_mark(const char *file, int line)
{
    static struct {
        const char *file;
        int line;
    } places[MARKED_PLACES];
    static unsigned next;
    for (unsigned i = 0; i < MARKED_PLACES; i++) {
        if (places[i].line == line && places[i].file == file) {
            return;
        }
    }
    places[next].file = file;
    places[next].line = line;
    next = (next + 1) % MARKED_PLACES;
    (_mark_point)(file, line);
}

unsigned runner_patience_ms(void)
{
    const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
    double times = text == NULL ? 1 : strtod(text, NULL);
    return times >= 1 && times <= 1000 ? (unsigned)(PATIENCE_MS * times) : PATIENCE_MS;
}

/* ---- what valgrind has seen of the case that runs, when it sees all of them in one process ----
 */

static struct {
    bool counts;
    unsigned long errors; /* before the case */
    unsigned long lost_bytes;
} valgrind;

static void on_case_begins(void)
{
    valgrind.errors = VALGRIND_COUNT_ERRORS;
}

static void on_case_ends(void)
{
    if (!valgrind.counts) {
        return;
    }
    unsigned long errors = VALGRIND_COUNT_ERRORS - valgrind.errors;
    unsigned long lost_before = valgrind.lost_bytes;
    unsigned long dubious = 0;
    unsigned long reachable = 0;
    unsigned long suppressed = 0;
    VALGRIND_DO_ADDED_LEAK_CHECK;
    VALGRIND_COUNT_LEAKS(valgrind.lost_bytes, dubious, reachable, suppressed);
    (void)(dubious + reachable + suppressed);
    ck_assert_msg(errors == 0, "valgrind has found %lu errors", errors);
    ck_assert_msg(valgrind.lost_bytes <= lost_before, "valgrind has found %lu bytes that are lost",
                  valgrind.lost_bytes - lost_before);
}

/* Around all other fixtures: the teardown that was added first runs last. */
TCase *runner_tcase(const char *name)
{
    TCase *tcase = (tcase_create)(name);
    tcase_add_checked_fixture(tcase, on_case_begins, on_case_ends);
    return tcase;
}

/* ---- TAP ---- */

/* The text behind the Nth ':' of LINE, or NULL. */
static char *after_colon(char *line, int n)
{
    char *at = line;
    while (n-- > 0) {
        at = strchr(at, ':');
        if (at == NULL) {
            return NULL;
        }
        at++;
    }
    return at;
}

/* "case:test" of Check's line for case NUMBER, or NULL when LINE is part of a message. */
static char *name_in_line(char *line, int number)
{
    char start[32];
    char *at = line + (strncmp(line, "not ", 4) == 0 ? 4 : 0);
    int n = snprintf(start, sizeof start, "ok %d - ", number);
    if (strncmp(at, start, (size_t)n) != 0) {
        return NULL;
    }
    char *name = after_colon(at, 1);
    char *end = name == NULL ? NULL : after_colon(name, 2);
    if (end == NULL) {
        return NULL;
    }
    end[-1] = '\0';
    return name;
}

static int number_of_repeat(struct run *run, const char *name)
{
    run->repeated = strcmp(name, run->last_name) == 0 ? run->repeated + 1 : 0;
    snprintf(run->last_name, sizeof run->last_name, "%s", name);
    return run->repeated;
}

/* '#' would begin a directive of TAP. */
static void print_name(struct run *run, char *name)
{
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '#' ? '.' : *c;
    }
    printf("%d - %s", run->printed, name);
    int repeat = number_of_repeat(run, name);
    if (repeat > 0) {
        printf("[%d]", repeat);
    }
}

static void print_failure(TestResult *result)
{
    printf("# %s:%d: ", tr_lfile(result), tr_lno(result));
    for (const char *c = tr_msg(result); *c != '\0'; c++) {
        printf(*c == '\n' ? "\n# " : "%c", *c);
    }
    printf("\n");
}

static void print_case(struct run *run, char *name)
{
    TestResult *result = run->results[run->printed++];
    bool passed = tr_rtype(result) == CK_PASS;
    bool skipped = !passed && strncmp(tr_msg(result), SKIP_MARK, strlen(SKIP_MARK)) == 0;
    printf(passed || skipped ? "ok " : "not ok ");
    print_name(run, name);
    if (skipped) {
        printf(" # SKIP %s", tr_msg(result) + strlen(SKIP_MARK));
    }
    printf("\n");
    if (!passed && !skipped) {
        run->failed++;
        print_failure(result);
    }
}

/* Returns whether all went well. A case without a name in NAMES breaks the plan. */
static bool print_tap(struct run *run, FILE *names)
{
    char *line = NULL;
    size_t size = 0;
    while (run->printed < run->count && getline(&line, &size, names) >= 0) {
        char *name = name_in_line(line, run->printed + 1);
        if (name != NULL) {
            print_case(run, name);
        }
    }
    free(line);
    printf("1..%d\n", run->count);
    if (run->count == 0) {
        printf("# no case was run\n");
    }
    return run->failed == 0 && run->count > 0 && run->printed == run->count;
}

static int bail_out(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    return EXIT_FAILURE;
}

static int run_suite(Suite *(*make_suite)(void), bool apart)
{
    char path[] = "/tmp/trivet-tap-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) {
        return bail_out("mkstemp");
    }
    FILE *names = fdopen(fd, "r");
    if (names == NULL) {
        return bail_out("fdopen");
    }
    if (setenv("CK_DEFAULT_TIMEOUT", CASE_TIMEOUT_S, 0) != 0) {
        return bail_out("setenv");
    }
    SRunner *runner = srunner_create(make_suite());
    srunner_set_tap(runner, path);
    if (apart) {
        srunner_set_fork_status(runner, CK_FORK);
    }
    valgrind.counts = RUNNING_ON_VALGRIND && srunner_fork_status(runner) == CK_NOFORK;
    srunner_run_all(runner, CK_SILENT);
    unlink(path);
    struct run run = {
        .results = srunner_results(runner),
        .count = srunner_ntests_run(runner),
    };
    bool good = print_tap(&run, names);
    fclose(names);
    free(run.results);
    srunner_free(runner);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int runner_main(Suite *(*make_suite)(void))
{
    return run_suite(make_suite, false);
}

int runner_main_apart(Suite *(*make_suite)(void))
{
    return run_suite(make_suite, true);
}
