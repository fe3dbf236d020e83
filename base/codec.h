/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <endian.h>

#include "base/bytes.h"

/* Bounded reading and writing of integers and byte strings. Every decoder of bytes from disk or
 * network stands on it: a reader cannot run past its end, keeps its first error, and answers zeros
 * after it, so that a decoder checks once at its end (reader_end). Fixed-size integers are
 * little-endian unless the name says otherwise; varints are protobuf's base-128. */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes bytes)
{
    return (struct reader){.at = bytes.data, .end = bytes.data + bytes.len, .failed = false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* In place, for headers that are filled in after their body. */
static inline void put_u32(uint8_t *at, uint32_t v)
{
    uint32_t le = htole32(v);
    memcpy(at, &le, sizeof le);
}

static inline void put_u64(uint8_t *at, uint64_t v)
{
    uint64_t le = htole64(v);
    memcpy(at, &le, sizeof le);
}

void put_u32_be(uint8_t *at, uint32_t v);
void put_u64_be(uint8_t *at, uint64_t v);

static inline uint32_t get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

static inline uint64_t get_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

static inline void reader_fail(struct reader *r)
{
    r->failed = true;
    r->at = r->end;
}

/* The next N bytes, or NULL: there are not so many. */
static inline const uint8_t *reader_take(struct reader *r, size_t n)
{
    if (r->failed || reader_left(r) < n) {
        reader_fail(r);
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += n;
    return at;
}

static inline uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at == NULL ? 0 : *at;
}

uint16_t read_u16(struct reader *r);

static inline uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at == NULL ? 0 : get_u32(at);
}

static inline uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at == NULL ? 0 : get_u64(at);
}

uint32_t read_u32_be(struct reader *r);
uint64_t read_u64_be(struct reader *r);
uint64_t read_long_varint(struct reader *r);

/* At most 10 bytes. Most are one. */
static inline uint64_t read_varint(struct reader *r)
{
    return r->at < r->end && *r->at < 0x80 ? *r->at++ : read_long_varint(r);
}

/* A view; empty after an error. */
static inline struct bytes read_bytes(struct reader *r, size_t n)
{
    const uint8_t *at = reader_take(r, n);
    return at == NULL ? bytes_of(NULL, 0) : bytes_of(at, n);
}

/* Varint length, then bytes; longer than MAX is an error. */
static inline struct bytes read_var_bytes(struct reader *r, size_t max)
{
    uint64_t n = read_varint(r);
    if (n > max) {
        reader_fail(r);
        return bytes_of(NULL, 0);
    }
    return read_bytes(r, (size_t)n);
}

/* OK when nothing failed and every byte was read, else ERR_MALFORMED. */
MUST_CHECK enum err reader_end(const struct reader *r);

/* Writing into a buf; a failed buf swallows the rest (buf_ok at the end). */
static inline void write_u8(struct buf *buf, uint8_t v)
{
    buf_append(buf, &v, 1);
}

void write_u16(struct buf *buf, uint16_t v);

static inline void write_u32(struct buf *buf, uint32_t v)
{
    uint32_t le = htole32(v);
    buf_append(buf, &le, sizeof le);
}

static inline void write_u64(struct buf *buf, uint64_t v)
{
    uint64_t le = htole64(v);
    buf_append(buf, &le, sizeof le);
}

void write_u32_be(struct buf *buf, uint32_t v);
void write_u64_be(struct buf *buf, uint64_t v);

static inline size_t varint_size(uint64_t v)
{
    return v == 0 ? 1 : (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

/* Into memory known to have room; returns the end. */
static inline uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

static inline void write_varint(struct buf *buf, uint64_t v)
{
    uint8_t *at = buf_extend(buf, varint_size(v));
    if (at != NULL) {
        (void)put_varint(at, v);
    }
}

static inline void write_var_bytes(struct buf *buf, struct bytes bytes)
{
    write_varint(buf, bytes.len);
    buf_append_bytes(buf, bytes);
}

#endif
