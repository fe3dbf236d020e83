/* SPDX-License-Identifier: Apache-2.0 */
#include "server/leaseframe.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/limits.h"

#define HEAD_BYTES 9u
#define WORD_BYTES 8u

bool leaseframe_is(struct bytes frame)
{
    return frame.len > 0 && frame.data[0] >= LEASE_RENEW && frame.data[0] <= LEASE_ANSWER;
}

enum err leaseframe_decode(struct bytes frame, struct leaseframe *ret)
{
    struct reader r = reader_of(frame);
    uint8_t what = read_u8(&r);
    uint64_t number = read_u64(&r);
    size_t left = reader_left(&r);
    if (r.failed || what < LEASE_RENEW || what > LEASE_ANSWER || left % WORD_BYTES != 0 ||
        left / WORD_BYTES > LEASE_ASK_MAX || (left == 0 && what != LEASE_ANSWER)) {
        return ERR_MALFORMED;
    }
    *ret = (struct leaseframe){.what = what, .number = number, .words = bytes_of(r.at, left)};
    return OK;
}

size_t leaseframe_count(const struct leaseframe *frame)
{
    return frame->words.len / WORD_BYTES;
}

int64_t leaseframe_word(const struct leaseframe *frame, size_t i)
{
    ASSERT(i < leaseframe_count(frame));
    return (int64_t)get_u64(frame->words.data + i * WORD_BYTES);
}

struct blob *leaseframe_new(enum leaseframe_what what, uint64_t number, size_t count)
{
    struct blob *frame = blob_new(HEAD_BYTES + count * WORD_BYTES);
    if (frame != NULL) {
        frame->data[0] = (uint8_t)what;
        put_u64(frame->data + 1, number);
    }
    return frame;
}

void leaseframe_set(struct blob *frame, size_t i, int64_t word)
{
    ASSERT(HEAD_BYTES + (i + 1) * WORD_BYTES <= frame->len);
    put_u64(frame->data + HEAD_BYTES + i * WORD_BYTES, (uint64_t)word);
}
