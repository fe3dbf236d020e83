/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_RUNNER_H
#define TESTS_LIB_RUNNER_H

#include <check.h>

/* Check writes the place of every assertion that holds into a file, so that it can tell which was
 * the last before a crash. In a loop that costs many times what is tested; there a place is written
 * once, not each time: see runner_mark. */
#define _mark_point(file, line) runner_mark(file, line)

/* See CK_FORK=no below. */
#define tcase_create(name) runner_tcase(name)

/* Runs a Check suite and prints TAP for automake, so that `make check` counts every case by name.
 *
 *     static Suite *segment_suite(void) { ... }
 *
 *     int main(void)
 *     {
 *         return runner_main(segment_suite);
 *     }
 *
 * Each case runs in a process of its own; CK_FORK=no keeps them in one, for a debugger or valgrind,
 * which translates all code again in each process. There an access that is wrong, and memory that
 * is lost, make the case fail that did it. So a fixture must not build on what statics begin with.
 * CK_RUN_CASE=name runs one test case, CK_TIMEOUT_MULTIPLIER=10 gives slow machines time. A case
 * that has no time limit of its own (tcase_set_timeout) has 60 s: the limit is there to end what
 * hangs, and says nothing about how fast the code is. */

/* The exit status for main: 0 when nothing failed. */
int runner_main(Suite *(*make_suite)(void));

/* The same, for cases that end their process: each has one of its own even with CK_FORK=no. */
int runner_main_apart(Suite *(*make_suite)(void));

/* End this case as skipped: the machine lacks what it needs, and REASON says what. Does not return.
 */
void runner_skip(const char *reason) __attribute__((noreturn));

/* For Check's macros. */
TCase *runner_tcase(const char *name);

/* Likewise. The place is passed on unless it is one of the last few that were: what a
 * crash shows is then an assertion of the loop, if not the very last. */
void runner_mark(const char *file, int line);

/* How long to wait, in ms of real time, for something that must come before a case gives up and
 * says what it waited for: 30 s, times CK_TIMEOUT_MULTIPLIER. */
unsigned runner_patience_ms(void);

#endif
