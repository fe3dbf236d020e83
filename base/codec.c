/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <endian.h>

#define VARINT_BYTES_MAX 10

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

enum err reader_end(const struct reader *r)
{
    return r->failed || r->at != r->end ? ERR_MALFORMED : OK;
}

void write_u16(struct buf *buf, uint16_t v)
{
    uint16_t le = htole16(v);
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
