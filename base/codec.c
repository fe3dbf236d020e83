/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <endian.h>

#define VARINT_BYTES_MAX 10

void reader_fail(struct reader *r)
{
    r->failed = true;
    r->at = r->end;
}

static const uint8_t *reader_take(struct reader *r, size_t n)
{
    if (r->failed || reader_left(r) < n) {
        reader_fail(r);
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += n;
    return at;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at == NULL ? 0 : *at;
}

uint16_t read_u16(struct reader *r)
{
    const uint8_t *at = reader_take(r, 2);
    if (at == NULL) {
        return 0;
    }
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return le16toh(v);
}

uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at == NULL ? 0 : get_u32(at);
}

uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at == NULL ? 0 : get_u64(at);
}

uint32_t read_u32_be(struct reader *r)
{
    return be32toh(htole32(read_u32(r)));
}

uint64_t read_u64_be(struct reader *r)
{
    return be64toh(htole64(read_u64(r)));
}

uint64_t read_long_varint(struct reader *r)
{
    uint64_t value = 0;
    const uint8_t *at = r->at;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && at < r->end; i++, at++) {
        if (i == VARINT_BYTES_MAX - 1 && *at > 1) {
            break; /* more than 64 bits */
        }
        value |= (uint64_t)(*at & 0x7f) << (7 * i);
        if ((*at & 0x80) == 0) {
            r->at = at + 1;
            return value;
        }
    }
    reader_fail(r);
    return 0;
}

struct bytes read_bytes(struct reader *r, size_t n)
{
    const uint8_t *at = reader_take(r, n);
    return at == NULL ? bytes_of(NULL, 0) : bytes_of(at, n);
}

struct bytes read_var_bytes(struct reader *r, size_t max)
{
    uint64_t n = read_varint(r);
    if (n > max) {
        reader_fail(r);
        return bytes_of(NULL, 0);
    }
    return read_bytes(r, (size_t)n);
}

enum err reader_end(const struct reader *r)
{
    return r->failed || r->at != r->end ? ERR_MALFORMED : OK;
}

void write_u8(struct buf *buf, uint8_t v)
{
    buf_append(buf, &v, 1);
}

void write_u16(struct buf *buf, uint16_t v)
{
    uint16_t le = htole16(v);
    buf_append(buf, &le, sizeof le);
}

void write_u32(struct buf *buf, uint32_t v)
{
    uint32_t le = htole32(v);
    buf_append(buf, &le, sizeof le);
}

void write_u64(struct buf *buf, uint64_t v)
{
    uint64_t le = htole64(v);
    buf_append(buf, &le, sizeof le);
}

void write_u32_be(struct buf *buf, uint32_t v)
{
    uint32_t be = htobe32(v);
    buf_append(buf, &be, sizeof be);
}

void write_u64_be(struct buf *buf, uint64_t v)
{
    uint64_t be = htobe64(v);
    buf_append(buf, &be, sizeof be);
}

size_t varint_size(uint64_t v)
{
    return v == 0 ? 1 : (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

void write_varint(struct buf *buf, uint64_t v)
{
    uint8_t *at = buf_extend(buf, varint_size(v));
    if (at != NULL) {
        (void)put_varint(at, v);
    }
}

void write_var_bytes(struct buf *buf, struct bytes bytes)
{
    write_varint(buf, bytes.len);
    buf_append_bytes(buf, bytes);
}

void put_u32(uint8_t *at, uint32_t v)
{
    uint32_t le = htole32(v);
    memcpy(at, &le, sizeof le);
}

void put_u64(uint8_t *at, uint64_t v)
{
    uint64_t le = htole64(v);
    memcpy(at, &le, sizeof le);
}

void put_u32_be(uint8_t *at, uint32_t v)
{
    uint32_t be = htobe32(v);
    memcpy(at, &be, sizeof be);
}

void put_u64_be(uint8_t *at, uint64_t v)
{
    uint64_t be = htobe64(v);
    memcpy(at, &be, sizeof be);
}

uint32_t get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

uint64_t get_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return le64toh(v);
}
