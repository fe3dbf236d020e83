/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_FATAL 70 /* EX_SOFTWARE of sysexits.h */

static void (*fatal_hook)(const char *message);

void fatal_set_hook(void (*hook)(const char *message))
{
    fatal_hook = hook;
}

void fatal(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (fatal_hook != NULL) {
        fatal_hook(text);
    }
    char line[sizeof text + 16];
    int n = snprintf(line, sizeof line, "fatal: %s\n", text);
    if (n > 0 && write(STDERR_FILENO, line, strlen(line)) < 0) {
        _exit(EXIT_FATAL + 1);
    }
    _exit(EXIT_FATAL);
}
