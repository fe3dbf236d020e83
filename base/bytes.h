/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* Three shapes of bytes: a view borrows, a buf grows and belongs to one owner, a blob is shared and
 * never changes. */

/* A view of memory that somebody else owns. data may be NULL when len is 0. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){.data = data, .len = len};
}

static inline struct bytes bytes_of_str(const char *text)
{
    return bytes_of(text, strlen(text));
}

/* Order of unsigned bytes, the shorter first when one is a prefix of the other: <0, 0, >0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    if (common > 0) {
        int order = memcmp(a.data, b.data, common);
        if (order != 0) {
            return order;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_has_prefix(struct bytes text, struct bytes prefix);

/* Growing memory. All zero is a valid empty buf. A buf that could not grow keeps what it had and
 * stays failed: appends after that do nothing, and buf_ok() tells, so that a run of appends is
 * checked once. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf);             /* length 0, memory kept */
bool buf_grow(struct buf *buf, size_t more); /* what buf_reserve does when there is none */
void buf_append_bytes(struct buf *buf, struct bytes bytes);
void buf_append_str(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *buf, size_t n); /* drop the first n bytes */

static inline bool buf_ok(const struct buf *buf)
{
    return !buf->failed;
}

/* Room for MORE bytes after len. */
static inline bool buf_reserve(struct buf *buf, size_t more)
{
    return (!buf->failed && more <= buf->cap - buf->len) || buf_grow(buf, more);
}

/* N uninitialised bytes at the end, NULL when it failed: even for no bytes there is an address. */
static inline uint8_t *buf_extend(struct buf *buf, size_t n)
{
    if (!buf_reserve(buf, n == 0 ? 1 : n)) {
        return NULL;
    }
    uint8_t *at = buf->data + buf->len;
    buf->len += n;
    return at;
}

static inline void buf_append(struct buf *buf, const void *data, size_t n)
{
    if (n > 0) {
        uint8_t *at = buf_extend(buf, n);
        if (at != NULL) {
            memcpy(at, data, n);
        }
    }
}

static inline struct bytes buf_bytes(const struct buf *buf)
{
    return bytes_of(buf->data, buf->len);
}

/* Counted, immutable bytes. Made, counted and freed on one thread (the loop); other threads may
 * read the data while the loop holds a count for them. */
struct blob {
    uint32_t refs;
    uint32_t reserved;
    size_t len;
    uint8_t data[];
};

struct blob *blob_new(size_t len); /* one count, data uninitialised; the maker fills it before
                                      sharing. NULL: no memory */
struct blob *blob_copy(struct bytes bytes);
struct blob *blob_ref(struct blob *blob); /* returns its argument */
void blob_unref(struct blob *blob);       /* NULL allowed */
void blob_unrefp(struct blob **blob);     /* for CLEANUP */

static inline struct bytes blob_bytes(const struct blob *blob)
{
    return bytes_of(blob->data, blob->len);
}

#endif
