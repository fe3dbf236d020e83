/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_NAMES_H
#define TESTS_HISTORY_NAMES_H

#include "tests/history/history.h"

/* The words of the file format for the numbers of history.h; NULL: there is none. */
const char *history_type_name(enum history_type type);
const char *history_workload_name(enum history_workload workload);
const char *history_f_name(enum history_f f);
const char *history_checker_name(enum history_checker checker);
const char *history_verdict_name(enum history_verdict verdict);

bool history_type_of(struct bytes name, enum history_type *ret);
bool history_workload_of(struct bytes name, enum history_workload *ret);
/* Of this workload. */
bool history_f_of(enum history_workload workload, struct bytes name, enum history_f *ret);
/* An event of F tells what nobody asked for. */
bool history_f_is_told(enum history_f f);

#endif
