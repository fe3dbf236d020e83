/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const char *const texts[ERR_COUNT] = {[OK] = "ok",
#define ERR_TEXT(name, text) [ERR_##name] = text,
                                             ERR_MAP(ERR_TEXT)
#undef ERR_TEXT
};

const char *err_text(enum err err)
{
    if ((unsigned)err >= ERR_COUNT) {
        return "unknown error";
    }
    return texts[err];
}

void why_set(struct why *why, const char *format, ...)
{
    if (why == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
}

void why_prefix(struct why *why, const char *format, ...)
{
    if (why == NULL) {
        return;
    }
    char rest[sizeof why->text];
    memcpy(rest, why->text, sizeof rest);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof why->text) {
        size_t room = sizeof why->text - (size_t)n;
        snprintf(why->text + n, room, ": %.*s", (int)room, rest); /* too long a text is cut */
    }
}
