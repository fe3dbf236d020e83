/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CLI_TABLE_H
#define CMD_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

/* A table of one row as etcd's tools draw it: +---+, upper-case heads. */
#define TABLE_COLUMNS_MAX 16
void table_print(FILE *out, const char *const *heads, const char *const *cells, size_t count);

#endif
