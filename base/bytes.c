/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

#define BUF_CAP_MIN 64

bool bytes_has_prefix(struct bytes text, struct bytes prefix)
{
    return text.len >= prefix.len && bytes_equal(bytes_of(text.data, prefix.len), prefix);
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool buf_grow(struct buf *buf, size_t more)
{
    if (buf->failed) {
        return false;
    }
    if (more > SIZE_MAX / 2 - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t cap = buf->cap < BUF_CAP_MIN ? BUF_CAP_MIN : buf->cap;
    while (cap < buf->len + more) {
        cap *= 2;
    }
    uint8_t *data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_append_bytes(struct buf *buf, struct bytes bytes)
{
    buf_append(buf, bytes.data, bytes.len);
}

void buf_append_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && buf_reserve(buf, (size_t)n + 1)) {
        vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    } else {
        buf->failed = true;
    }
    va_end(again);
}

void buf_consume(struct buf *buf, size_t n)
{
    ASSERT(n <= buf->len);
    buf->len -= n;
    if (buf->len > 0 && n > 0) {
        memmove(buf->data, buf->data + n, buf->len);
    }
}

struct blob *blob_new(size_t len)
{
    if (len > SIZE_MAX - sizeof(struct blob)) {
        return NULL;
    }
    struct blob *blob = malloc(sizeof *blob + len);
    if (blob == NULL) {
        return NULL;
    }
    blob->refs = 1;
    blob->reserved = 0;
    blob->len = len;
    return blob;
}

struct blob *blob_copy(struct bytes bytes)
{
    struct blob *blob = blob_new(bytes.len);
    if (blob != NULL && bytes.len > 0) {
        memcpy(blob->data, bytes.data, bytes.len);
    }
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    ASSERT(blob->refs > 0);
    blob->refs++;
    return blob;
}

void blob_unref(struct blob *blob)
{
    if (blob == NULL) {
        return;
    }
    ASSERT(blob->refs > 0);
    if (--blob->refs == 0) {
        free(blob);
    }
}

void blob_unrefp(struct blob **blob)
{
    blob_unref(*blob);
}
