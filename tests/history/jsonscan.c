/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/jsonscan.h"

#define DEPTH_MAX 64

void jsonscan_init(struct jsonscan *s)
{
    *s = (struct jsonscan){0};
}

void jsonscan_fini(struct jsonscan *s)
{
    buf_fini(&s->text);
}

void jsonscan_line(struct jsonscan *s, struct bytes line)
{
    s->start = line.data;
    s->at = line.data;
    s->end = line.data + line.len;
    s->problem = NULL;
    s->fresh = false;
}

bool jsonscan_fail(struct jsonscan *s, const char *problem)
{
    if (s->problem == NULL) {
        s->problem = problem;
    }
    return false;
}

uint8_t jsonscan_peek(struct jsonscan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r')) {
        s->at++;
    }
    return s->at < s->end && s->problem == NULL ? *s->at : 0;
}

bool jsonscan_open(struct jsonscan *s, char bracket)
{
    if (jsonscan_peek(s) != (uint8_t)bracket) {
        return jsonscan_fail(s, bracket == '[' ? "a list is expected" : "an object is expected");
    }
    s->at++;
    s->fresh = true;
    return true;
}

bool jsonscan_next(struct jsonscan *s, char closing)
{
    bool first = s->fresh;
    s->fresh = false;
    uint8_t c = jsonscan_peek(s);
    if (s->problem != NULL) {
        return false;
    }
    if (c == (uint8_t)closing) {
        s->at++;
        return false;
    }
    if (first) {
        return true;
    }
    if (c != ',') {
        return jsonscan_fail(s, "a comma or the closing bracket is expected");
    }
    s->at++;
    return true;
}

bool jsonscan_name(struct jsonscan *s, struct bytes *ret)
{
    if (!jsonscan_string(s, ret)) {
        return false;
    }
    if (jsonscan_peek(s) != ':') {
        return jsonscan_fail(s, "a colon is expected");
    }
    s->at++;
    return true;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash. */
static bool take_escape(struct jsonscan *s)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) {
        return jsonscan_fail(s, "the string does not end");
    }
    uint8_t c = *s->at++;
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found != NULL) {
        buf_append(&s->text, &to[found - from], 1);
        return true;
    }
    if (c != 'u' || s->end - s->at < 4) {
        return jsonscan_fail(s, "an unknown escape in a string");
    }
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*s->at++);
        if (digit < 0) {
            return jsonscan_fail(s, "an unknown escape in a string");
        }
        code = code * 16 + digit;
    }
    if (code > 0xff) {
        return jsonscan_fail(s, "\\u beyond 00ff in a string: strings are bytes");
    }
    uint8_t byte = (uint8_t)code;
    buf_append(&s->text, &byte, 1);
    return true;
}

bool jsonscan_string(struct jsonscan *s, struct bytes *ret)
{
    if (jsonscan_peek(s) != '"') {
        return jsonscan_fail(s, "a string is expected");
    }
    s->at++;
    buf_clear(&s->text);
    for (;;) {
        const uint8_t *from = s->at;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\' && *s->at >= 0x20) {
            s->at++;
        }
        buf_append(&s->text, from, (size_t)(s->at - from));
        if (s->at == s->end || *s->at < 0x20) {
            return jsonscan_fail(s, "the string does not end");
        }
        if (*s->at++ == '"') {
            break;
        }
        if (!take_escape(s)) {
            return false;
        }
    }
    if (!buf_ok(&s->text)) {
        return jsonscan_fail(s, "out of memory");
    }
    *ret = buf_bytes(&s->text);
    return true;
}

bool jsonscan_int(struct jsonscan *s, int64_t *ret)
{
    uint8_t c = jsonscan_peek(s);
    const uint8_t *at = s->at;
    bool negative = c == '-';
    at += negative;
    if (at >= s->end || *at < '0' || *at > '9') {
        return jsonscan_fail(s, "an integer is expected");
    }
    /* Counted down, because the smallest has no positive. */
    int64_t value = 0;
    for (; at < s->end && *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *at - '0', &value)) {
            return jsonscan_fail(s, "the integer does not fit in 64 bits");
        }
    }
    if (at < s->end && (*at == '.' || *at == 'e' || *at == 'E')) {
        return jsonscan_fail(s, "an integer is expected, not a fraction");
    }
    if (!negative && __builtin_sub_overflow(0, value, &value)) {
        return jsonscan_fail(s, "the integer does not fit in 64 bits");
    }
    s->at = at;
    *ret = value;
    return true;
}

static bool take_word(struct jsonscan *s, const char *word)
{
    size_t len = strlen(word);
    jsonscan_peek(s);
    if (s->problem != NULL || (size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0) {
        return false;
    }
    s->at += len;
    return true;
}

bool jsonscan_bool(struct jsonscan *s, bool *ret)
{
    if (take_word(s, "true")) {
        *ret = true;
        return true;
    }
    if (take_word(s, "false")) {
        *ret = false;
        return true;
    }
    return jsonscan_fail(s, "true or false is expected");
}

bool jsonscan_null(struct jsonscan *s)
{
    return take_word(s, "null");
}

/* A number that nobody wants to know: fractions and exponents, too. */
static bool skip_number(struct jsonscan *s)
{
    const uint8_t *from = s->at;
    while (s->at < s->end && strchr("+-.0123456789eE", *s->at) != NULL && *s->at != '\0') {
        s->at++;
    }
    return s->at > from || jsonscan_fail(s, "a value is expected");
}

bool jsonscan_skip(struct jsonscan *s, struct bytes *ret)
{
    char closing[DEPTH_MAX];
    int depth = 0;
    struct bytes text;
    jsonscan_peek(s);
    const uint8_t *from = s->at;
    bool more = true;
    while (more) {
        uint8_t c = jsonscan_peek(s);
        if (c == '[' || c == '{') {
            if (depth == DEPTH_MAX) {
                return jsonscan_fail(s, "lists and objects are nested too deeply");
            }
            closing[depth++] = c == '[' ? ']' : '}';
            jsonscan_open(s, (char)c);
        } else if (c == '"') {
            jsonscan_string(s, &text);
        } else if (!take_word(s, "null") && !take_word(s, "true") && !take_word(s, "false")) {
            skip_number(s);
        }
        /* To the next value, out of all that end here. */
        while (depth > 0 && !jsonscan_next(s, closing[depth - 1]) && s->problem == NULL) {
            depth--;
        }
        more = depth > 0 && s->problem == NULL;
        if (more && closing[depth - 1] == '}' && !jsonscan_name(s, &text)) {
            return false;
        }
    }
    *ret = bytes_of(from, (size_t)(s->at - from));
    return s->problem == NULL;
}

bool jsonscan_end(struct jsonscan *s)
{
    if (s->problem == NULL && jsonscan_peek(s) != 0) {
        jsonscan_fail(s, "something stands behind the end");
    }
    return s->problem == NULL;
}
