/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stateframe.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/crc32c.h"

static struct store_manifest read_manifest(struct reader *r)
{
    struct store_manifest manifest = {0};
    struct bytes bytes = read_bytes(r, reader_left(r));
    if (!r->failed && store_manifest_decode(bytes, &manifest) != OK) {
        reader_fail(r);
    }
    return manifest;
}

static uint64_t read_size(struct reader *r)
{
    uint64_t size = read_u64(r);
    if (size == 0 || size > STATE_BYTES_MAX) {
        reader_fail(r);
    }
    return size;
}

static void read_chunk(struct reader *r, struct stateframe *frame)
{
    frame->offset = read_u64(r);
    frame->chunk = read_bytes(r, reader_left(r));
    if (frame->offset % STATE_CHUNK_BYTES != 0 || frame->offset >= STATE_BYTES_MAX ||
        frame->chunk.len == 0 || frame->chunk.len > STATE_CHUNK_BYTES) {
        reader_fail(r);
    }
}

static void read_again(struct reader *r, struct stateframe *frame)
{
    uint8_t again = read_u8(r);
    frame->again = again == 1;
    if (again > 1) {
        reader_fail(r);
    }
}

static void read_rest(struct reader *r, struct stateframe *frame)
{
    switch (frame->what) {
    case STATE_ASK:
        frame->size_bytes = read_size(r);
        break;
    case STATE_HAVE:
        frame->manifest = read_manifest(r);
        break;
    case STATE_OFFER:
        frame->size_bytes = read_size(r);
        frame->manifest = read_manifest(r);
        break;
    case STATE_WANT:
        frame->offset = read_u64(r);
        read_again(r, frame);
        break;
    case STATE_CHUNK:
        read_chunk(r, frame);
        break;
    case STATE_END:
        frame->size_bytes = read_size(r);
        frame->digest.lo = read_u64(r);
        frame->digest.hi = read_u64(r);
        break;
    case STATE_REFUSED:
        frame->refusal = read_u8(r);
        if (frame->refusal < STATE_BUSY || frame->refusal > STATE_WRONG) {
            reader_fail(r);
        }
        break;
    case STATE_LACK:
        frame->index = read_u64(r);
        if (frame->index == 0) {
            reader_fail(r);
        }
        break;
    default:
        reader_fail(r);
    }
}

enum err stateframe_decode(struct bytes bytes, struct stateframe *ret)
{
    struct reader r = reader_of(bytes);
    struct stateframe frame = {.what = read_u8(&r)};
    frame.number = read_u64(&r);
    read_rest(&r, &frame);
    TRY(reader_end(&r));
    *ret = frame;
    return OK;
}

struct blob *stateframe_encode(const struct stateframe *frame)
{
    CLEANUP(buf_fini) struct buf buf = {0};
    write_u8(&buf, (uint8_t)frame->what);
    write_u64(&buf, frame->number);
    switch (frame->what) {
    case STATE_ASK:
        write_u64(&buf, frame->size_bytes);
        break;
    case STATE_HAVE:
        store_manifest_encode(&frame->manifest, &buf);
        break;
    case STATE_OFFER:
        write_u64(&buf, frame->size_bytes);
        store_manifest_encode(&frame->manifest, &buf);
        break;
    case STATE_WANT:
        write_u64(&buf, frame->offset);
        write_u8(&buf, frame->again);
        break;
    case STATE_END:
        write_u64(&buf, frame->size_bytes);
        write_u64(&buf, frame->digest.lo);
        write_u64(&buf, frame->digest.hi);
        break;
    case STATE_REFUSED:
        write_u8(&buf, (uint8_t)frame->refusal);
        break;
    case STATE_LACK:
        write_u64(&buf, frame->index);
        break;
    case STATE_CHUNK:
        ASSERT(false); /* stateframe_new_chunk */
    }
    return buf_ok(&buf) ? blob_copy(buf_bytes(&buf)) : NULL;
}

struct blob *stateframe_new_chunk(uint64_t number, uint64_t offset, size_t len)
{
    ASSERT(len > 0 && len <= STATE_CHUNK_BYTES);
    struct blob *blob = blob_new(STATEFRAME_CHUNK_HEAD + len);
    if (blob != NULL) {
        blob->data[0] = STATE_CHUNK;
        put_u64(blob->data + 1, number);
        put_u64(blob->data + 9, offset);
    }
    return blob;
}

size_t stateframe_chunk_len(uint64_t offset, uint64_t size_bytes)
{
    ASSERT(offset < size_bytes);
    uint64_t left = size_bytes - offset;
    return left < STATE_CHUNK_BYTES ? (size_t)left : STATE_CHUNK_BYTES;
}

struct set_hash stateframe_element(uint64_t offset, struct bytes chunk)
{
    return set_hash_element(crc32c(0, chunk.data, chunk.len), offset);
}
