/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

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

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint32_t read_u32_be(struct reader *r);
uint64_t read_u64_be(struct reader *r);
uint64_t read_long_varint(struct reader *r);
struct bytes read_bytes(struct reader *r, size_t n); /* a view; empty after an error */
struct bytes read_var_bytes(
    struct reader *r, size_t max); /* varint length, then bytes; longer than MAX is an error */
void reader_fail(struct reader *r);

/* At most 10 bytes. Most are one. */
static inline uint64_t read_varint(struct reader *r)
{
    return r->at < r->end && *r->at < 0x80 ? *r->at++ : read_long_varint(r);
}

/* OK when nothing failed and every byte was read, else ERR_MALFORMED. */
MUST_CHECK enum err reader_end(const struct reader *r);

/* Writing into a buf; a failed buf swallows the rest (buf_ok at the end). */
void write_u8(struct buf *buf, uint8_t v);
void write_u16(struct buf *buf, uint16_t v);
void write_u32(struct buf *buf, uint32_t v);
void write_u64(struct buf *buf, uint64_t v);
void write_u32_be(struct buf *buf, uint32_t v);
void write_u64_be(struct buf *buf, uint64_t v);
void write_varint(struct buf *buf, uint64_t v);
void write_var_bytes(struct buf *buf, struct bytes bytes);

size_t varint_size(uint64_t v);
uint8_t *put_varint(uint8_t *at, uint64_t v); /* into memory known to have room; returns the end */

/* In place, for headers that are filled in after their body. */
void put_u32(uint8_t *at, uint32_t v);
void put_u64(uint8_t *at, uint64_t v);
void put_u32_be(uint8_t *at, uint32_t v);
void put_u64_be(uint8_t *at, uint64_t v);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

#endif
