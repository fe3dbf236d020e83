/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CLI_OPTIONS_H
#define CMD_CLI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* The command line of our own tools: a table of options, the rest are arguments. "--name=value" and
 * "--name value"; booleans stand alone, or have =true or =false. */
enum option_kind { OPTION_TEXT, OPTION_NUMBER, OPTION_BOOL, OPTION_DURATION_MS };

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t
        offset; /* in the struct that options_parse fills: const char *, uint64_t, bool, uint64_t */
    const char *unit; /* for the help: "N", "FILE"; NULL for booleans */
    const char *help;
};

/* Fill TARGET from argv[1..]; arguments that are no options go to ARGS, at most ARGS_MAX. "--" ends
 * the options. */
MUST_CHECK enum err options_parse(const struct option_row *rows, size_t row_count, int argc,
                                  const char *const *argv, void *target, const char **args,
                                  size_t args_max, size_t *arg_count, struct why *why);

/* One line per option, aligned. */
void options_help(FILE *out, const struct option_row *rows, size_t row_count);

/* "90", "1.5s", "300ms", "2m", "1h"; a number alone is seconds. */
MUST_CHECK enum err duration_parse_ms(const char *text, uint64_t *ret_ms);

#endif
