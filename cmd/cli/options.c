/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define DURATION_MS_MAX 1e15

enum err duration_parse_ms(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    errno = 0;
    double value = isdigit((unsigned char)text[0]) ? strtod(text, &end) : -1;
    if (value < 0 || errno != 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit) == 0 && value * units[i].ms <= DURATION_MS_MAX) {
            *ret_ms = (uint64_t)(value * units[i].ms);
            return OK;
        }
    }
    return ERR_INVALID;
}

static enum err parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || !isdigit((unsigned char)text[0]) || *end != '\0') {
        return ERR_INVALID;
    }
    *ret = value;
    return OK;
}

static enum err set_option(const struct option_row *row, const char *text, void *target,
                           struct why *why)
{
    void *to = (char *)target + row->offset;
    enum err err = OK;
    switch (row->kind) {
    case OPTION_TEXT:
        *(const char **)to = text;
        break;
    case OPTION_BOOL:
        *(bool *)to = text == NULL || strcmp(text, "true") == 0;
        err = *(bool *)to || strcmp(text, "false") == 0 ? OK : ERR_INVALID;
        break;
    case OPTION_NUMBER:
        err = parse_number(text, to);
        break;
    case OPTION_DURATION_MS:
        err = duration_parse_ms(text, to);
        break;
    }
    if (err != OK) {
        why_set(why, "--%s: '%s' is not %s", row->name, text,
                row->kind == OPTION_NUMBER ? "a number"
                : row->kind == OPTION_BOOL ? "true or false"
                                           : "a duration (300ms, 10s, 5m, 1h)");
    }
    return err;
}

static const struct option_row *find_row(const struct option_row *rows, size_t row_count,
                                         const char *name, size_t len)
{
    for (size_t i = 0; i < row_count; i++) {
        if (strncmp(rows[i].name, name, len) == 0 && rows[i].name[len] == '\0') {
            return &rows[i];
        }
    }
    return NULL;
}

static enum err read_option(const struct option_row *rows, size_t row_count,
                            const char *const *argv, int *at, void *target, struct why *why)
{
    const char *name = argv[*at] + 2;
    size_t len = strcspn(name, "=");
    const struct option_row *row = find_row(rows, row_count, name, len);
    (*at)++;
    if (row == NULL) {
        why_set(why, "unknown option --%.*s", (int)len, name);
        return ERR_INVALID;
    }
    const char *text = name[len] == '=' ? name + len + 1 : NULL;
    if (row->kind != OPTION_BOOL && text == NULL) {
        text = argv[*at];
        if (text == NULL) {
            why_set(why, "--%s needs a value", row->name);
            return ERR_INVALID;
        }
        (*at)++;
    }
    return set_option(row, text, target, why);
}

enum err options_parse(const struct option_row *rows, size_t row_count, int argc,
                       const char *const *argv, void *target, const char **args, size_t args_max,
                       size_t *arg_count, struct why *why)
{
    bool options_over = false;
    *arg_count = 0;
    for (int at = 1; at < argc;) {
        const char *arg = argv[at];
        if (!options_over && strcmp(arg, "--") == 0) {
            options_over = true;
            at++;
        } else if (!options_over && strncmp(arg, "--", 2) == 0) {
            TRY(read_option(rows, row_count, argv, &at, target, why));
        } else if (*arg_count < args_max) {
            args[(*arg_count)++] = arg;
            at++;
        } else {
            why_set(why, "too many arguments: '%s'", arg);
            return ERR_INVALID;
        }
    }
    return OK;
}

void options_help(FILE *out, const struct option_row *rows, size_t row_count)
{
    for (size_t i = 0; i < row_count; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].unit == NULL ? "" : " ",
                 rows[i].unit == NULL ? "" : rows[i].unit);
        fprintf(out, "  %-26s %s\n", left, rows[i].help);
    }
}
