/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_TMPDIR_H
#define TESTS_LIB_TMPDIR_H

/* A fresh, empty directory for a test, under TMPDIR or /tmp. Both functions fit
 * tcase_add_checked_fixture:
 *
 *     tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
 *     ...
 *     int fd = open(tmpdir_path("0001.log"), O_RDONLY);
 */
void tmpdir_setup(void);

/* Remove the directory with everything in it. */
void tmpdir_teardown(void);

/* "DIRECTORY/NAME"; with NULL the directory itself. One of a handful of static buffers that are
 * used in turn: keep a copy when it has to last longer than the statement. */
const char *tmpdir_path(const char *name);

/* Write LEN bytes as the file NAME in the directory, replacing what was there. */
void tmpdir_write(const char *name, const void *data, unsigned long len);

#endif
