/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/table.h"

#include <string.h>

#include "base/assert.h"

static void print_rule(FILE *out, const int *widths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fputc('+', out);
        for (int j = 0; j < widths[i] + 2; j++) {
            fputc('-', out);
        }
    }
    fputs("+\n", out);
}

/* Text in the middle, or to the right. */
static void print_row(FILE *out, const char *const *cells, const int *widths, size_t count,
                      int centred)
{
    for (size_t i = 0; i < count; i++) {
        int gap = widths[i] - (int)strlen(cells[i]);
        int left = centred ? gap / 2 : gap;
        fprintf(out, "| %*s%s%*s ", left, "", cells[i], gap - left, "");
    }
    fputs("|\n", out);
}

void table_print(FILE *out, const char *const *heads, const char *const *cells, size_t count)
{
    ASSERT(count <= TABLE_COLUMNS_MAX);
    int widths[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < count; i++) {
        size_t head = strlen(heads[i]);
        size_t cell = strlen(cells[i]);
        widths[i] = (int)(head > cell ? head : cell);
    }
    print_rule(out, widths, count);
    print_row(out, heads, widths, count, 1);
    print_rule(out, widths, count);
    print_row(out, cells, widths, count, 0);
    print_rule(out, widths, count);
}
