/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashframe.h"

#include "base/codec.h"

#define QUESTION_BYTES 18u
#define ANSWER_BYTES   42u

bool hashframe_is(struct bytes frame)
{
    return frame.len > 0 && (frame.data[0] == HASH_QUESTION || frame.data[0] == HASH_ANSWER);
}

struct blob *hashframe_encode(const struct hashframe *frame)
{
    bool answers = frame->what == HASH_ANSWER;
    struct blob *blob = blob_new(answers ? ANSWER_BYTES : QUESTION_BYTES);
    if (blob == NULL) {
        return NULL;
    }
    blob->data[0] = (uint8_t)frame->what;
    blob->data[1] = (uint8_t)frame->topic;
    put_u64(blob->data + 2, frame->number);
    put_u64(blob->data + 10, frame->note.index);
    if (answers) {
        put_u64(blob->data + 18, (uint64_t)frame->note.revision);
        put_u64(blob->data + 26, frame->note.hash.lo);
        put_u64(blob->data + 34, frame->note.hash.hi);
    }
    return blob;
}

enum err hashframe_decode(struct bytes frame, struct hashframe *ret)
{
    struct reader r = reader_of(frame);
    struct hashframe got = {.what = read_u8(&r)};
    got.topic = read_u8(&r);
    got.number = read_u64(&r);
    got.note.index = read_u64(&r);
    if (got.what == HASH_ANSWER) {
        got.note.revision = (int64_t)read_u64(&r);
        got.note.hash.lo = read_u64(&r);
        got.note.hash.hi = read_u64(&r);
    }
    if (reader_end(&r) != OK || !hashframe_is(frame) || got.note.index == 0 ||
        got.note.revision < 0 || (got.topic != HASH_RECORDS && got.topic != HASH_TABLES)) {
        return ERR_MALFORMED;
    }
    *ret = got;
    return OK;
}
