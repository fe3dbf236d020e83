/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/runner.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Check writes its own TAP into a file; what it lacks is added while that is copied to stdout:
 * cases of a loop get a number so that names are unique, further lines of a message become
 * comments, and a case that called runner_skip() is `ok N - name # SKIP reason`.
 *
 *     not ok 3 - tests/unit/x/test_y.c:case:test: tests/unit/x/test_y.c:12: text
 *     ------ -   --------------------- ---------  -----------------------------
 *     status N   file                  name       message
 */

#define SKIP_MARK "SKIP: "

struct tally {
    int run;
    int failed;
    char last_name[256]; /* of the case before, to number the cases of a loop */
    int repeated;
};

void runner_skip(const char *reason)
{
    ck_abort_msg(SKIP_MARK "%s", reason);
    abort();
}

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

/* "file:case:test: message" -> "case:test" and "message". */
static bool split_description(char *description, char **name, char **message)
{
    *name = after_colon(description, 1);
    *message = *name == NULL ? NULL : after_colon(*name, 2);
    if (*message == NULL) {
        return false;
    }
    (*message)[-1] = '\0';
    *message += **message == ' ';
    return true;
}

static int number_of_repeat(struct tally *tally, const char *name)
{
    tally->repeated = strcmp(name, tally->last_name) == 0 ? tally->repeated + 1 : 0;
    snprintf(tally->last_name, sizeof tally->last_name, "%s", name);
    return tally->repeated;
}

/* '#' would begin a directive of TAP. */
static void print_name(struct tally *tally, char *name)
{
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '#' ? '.' : *c;
    }
    int repeat = number_of_repeat(tally, name);
    if (repeat > 0) {
        printf("%d - %s[%d]", tally->run, name, repeat);
    } else {
        printf("%d - %s", tally->run, name);
    }
}

static void print_case(struct tally *tally, bool passed, char *description)
{
    char *name;
    char *message;
    tally->run++;
    if (!split_description(description, &name, &message)) {
        tally->failed++;
        printf("not ok %d - %s\n", tally->run, description);
        return;
    }
    const char *skip = passed ? NULL : strstr(message, SKIP_MARK);
    printf(passed || skip != NULL ? "ok " : "not ok ");
    print_name(tally, name);
    if (skip != NULL) {
        printf(" # SKIP %s\n", skip + strlen(SKIP_MARK));
        return;
    }
    printf("\n");
    if (!passed) {
        tally->failed++;
        printf("# %s\n", message);
    }
}

static void print_line(struct tally *tally, char *line)
{
    int number = 0; /* a message may hold a line that looks like a case's */
    int next = tally->run + 1;
    int at = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "ok %d - %n", &number, &at) == 1 && number == next && at > 0) {
        print_case(tally, true, line + at);
    } else if (sscanf(line, "not ok %d - %n", &number, &at) == 1 && number == next && at > 0) {
        print_case(tally, false, line + at);
    } else if (strncmp(line, "1..", 3) != 0) {
        printf("# %s\n", line);
    }
}

static int print_tap(FILE *tap)
{
    struct tally tally = {0};
    char *line = NULL;
    size_t size = 0;
    rewind(tap);
    while (getline(&line, &size, tap) >= 0) {
        print_line(&tally, line);
    }
    free(line);
    printf("1..%d\n", tally.run);
    return tally.failed;
}

static int bail_out(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    return EXIT_FAILURE;
}

int runner_main(Suite *(*make_suite)(void))
{
    char path[] = "/tmp/trivet-tap-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) {
        return bail_out("mkstemp");
    }
    FILE *tap = fdopen(fd, "r");
    if (tap == NULL) {
        unlink(path);
        return bail_out("fdopen");
    }
    SRunner *runner = srunner_create(make_suite());
    srunner_set_tap(runner, path);
    srunner_run_all(runner, CK_SILENT);
    int run = srunner_ntests_run(runner);
    srunner_free(runner);
    unlink(path);
    int failed = print_tap(tap);
    fclose(tap);
    if (run == 0) {
        printf("# no case was run\n");
    }
    return failed == 0 && run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
