/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerframe.h"

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"

#define PEER_MAGIC     0x3152454550565254u /* "TRVPEER1" */
#define KEPT_BYTES_MAX (1024u * 1024)      /* memory of a large frame is given back after it */
#define HELLO_CRC_AT   44u
#define ANSWER_CRC_AT  28u
#define HEADER_CRC_AT  12u

static_assert(PEER_FRAME_BYTES_MAX <= UINT32_MAX - PEER_FRAME_HEADER_BYTES,
              "a frame's length fits its field");

const char *peer_verdict_text(uint32_t verdict)
{
    static const char *const texts[] = {
        [PEER_WELCOME] = "welcome",
        [PEER_OTHER_VERSION] = "it speaks another protocol version",
        [PEER_OTHER_CLUSTER] = "it belongs to another cluster",
        [PEER_OTHER_MEMBER] = "another member listens at this address",
        [PEER_UNKNOWN] = "it does not know this member",
        [PEER_REMOVED] = "this member was removed from the cluster",
        [PEER_NO_ANSWER] = "it does not know the members yet",
    };
    return verdict < PEER_VERDICT_COUNT ? texts[verdict]
                                        : "for a reason this version does not know";
}

void peer_hello_write(const struct peer_hello *hello, uint8_t out[PEER_HELLO_BYTES])
{
    memset(out, 0, PEER_HELLO_BYTES);
    put_u64(out, PEER_MAGIC);
    put_u32(out + 8, hello->version);
    put_u32(out + 12, hello->is_question ? PEER_LANE_QUESTION : hello->lane);
    put_u64(out + 16, hello->cluster_id);
    put_u64(out + 24, hello->from);
    put_u64(out + 32, hello->to);
    put_u32(out + HELLO_CRC_AT, crc32c(0, out, HELLO_CRC_AT));
}

enum err peer_hello_read(const uint8_t in[PEER_HELLO_BYTES], struct peer_hello *ret)
{
    if (get_u64(in) != PEER_MAGIC || get_u32(in + HELLO_CRC_AT) != crc32c(0, in, HELLO_CRC_AT)) {
        return ERR_MALFORMED;
    }
    *ret = (struct peer_hello){.version = get_u32(in + 8)};
    if (ret->version != PEER_VERSION) {
        return OK;
    }
    uint32_t lane = get_u32(in + 12);
    if (lane == PEER_LANE_QUESTION) {
        ret->is_question = true;
        return OK;
    }
    if (lane >= LANE_COUNT) {
        return ERR_MALFORMED;
    }
    ret->lane = lane;
    ret->cluster_id = get_u64(in + 16);
    ret->from = get_u64(in + 24);
    ret->to = get_u64(in + 32);
    return OK;
}

void peer_answer_write(enum peer_verdict verdict, uint64_t id, uint8_t out[PEER_ANSWER_BYTES])
{
    memset(out, 0, PEER_ANSWER_BYTES);
    put_u64(out, PEER_MAGIC);
    put_u32(out + 8, PEER_VERSION);
    put_u32(out + 12, verdict);
    put_u64(out + 16, id);
    put_u32(out + ANSWER_CRC_AT, crc32c(0, out, ANSWER_CRC_AT));
}

enum err peer_answer_read(const uint8_t in[PEER_ANSWER_BYTES], uint32_t *verdict, uint64_t *id)
{
    if (get_u64(in) != PEER_MAGIC || get_u32(in + ANSWER_CRC_AT) != crc32c(0, in, ANSWER_CRC_AT)) {
        return ERR_MALFORMED;
    }
    *verdict = get_u32(in + 12);
    *id = get_u64(in + 16);
    return OK;
}

void peer_frame_header_write(uint8_t kind, struct bytes payload,
                             uint8_t out[PEER_FRAME_HEADER_BYTES])
{
    memset(out, 0, PEER_FRAME_HEADER_BYTES);
    put_u32(out, (uint32_t)payload.len);
    out[4] = kind;
    put_u32(out + 8, crc32c(0, payload.data, payload.len));
    put_u32(out + HEADER_CRC_AT, crc32c(0, out, HEADER_CRC_AT));
}

static bool is_kind(uint8_t kind)
{
    return (kind >= FRAME_RAFT && kind < FRAME_KIND_COUNT) || kind == PEER_KIND_PING ||
           kind == PEER_KIND_PONG || kind == PEER_KIND_MEMBERS;
}

static enum err check_header(const struct peer_reader *reader, const uint8_t *at, struct why *why)
{
    if (get_u32(at + HEADER_CRC_AT) != crc32c(0, at, HEADER_CRC_AT)) {
        why_set(why, "a frame's header has a wrong checksum");
        return ERR_MALFORMED;
    }
    if (!is_kind(at[4])) {
        why_set(why, "a frame of the unknown kind %u", at[4]);
        return ERR_MALFORMED;
    }
    uint32_t len = get_u32(at);
    bool own = at[4] == PEER_KIND_PING || at[4] == PEER_KIND_PONG;
    if (len > reader->frame_bytes_max || (own && len != PEER_PING_BYTES)) {
        why_set(why, "a frame of kind %u with %u bytes", at[4], len);
        return ERR_MALFORMED;
    }
    return OK;
}

/* How many bytes the piece at the front has, as far as BYTES tell. */
static enum err piece_bytes(const struct peer_reader *reader, struct bytes bytes, size_t *ret,
                            struct why *why)
{
    if (reader->lead_bytes > 0) {
        *ret = reader->lead_bytes;
    } else if (bytes.len < PEER_FRAME_HEADER_BYTES) {
        *ret = PEER_FRAME_HEADER_BYTES;
    } else {
        TRY(check_header(reader, bytes.data, why));
        *ret = PEER_FRAME_HEADER_BYTES + (size_t)get_u32(bytes.data);
    }
    return OK;
}

static enum err deliver(struct peer_reader *reader, struct bytes piece,
                        const struct peer_reader_callbacks *callbacks, void *ctx, bool *go_on,
                        struct why *why)
{
    if (reader->lead_bytes > 0) {
        reader->lead_bytes = 0;
        *go_on = callbacks->on_lead(ctx, piece);
        return OK;
    }
    struct bytes payload =
        bytes_of(piece.data + PEER_FRAME_HEADER_BYTES, piece.len - PEER_FRAME_HEADER_BYTES);
    if (crc32c(0, payload.data, payload.len) != get_u32(piece.data + 8)) {
        why_set(why, "a frame of %zu bytes has a wrong checksum", payload.len);
        return ERR_MALFORMED;
    }
    *go_on = callbacks->on_frame(ctx, piece.data[4], payload);
    return OK;
}

static void clear_part(struct peer_reader *reader)
{
    if (reader->part.cap > KEPT_BYTES_MAX) {
        buf_fini(&reader->part);
    } else {
        buf_clear(&reader->part);
    }
}

/* Move bytes from the front of BYTES to the piece that was begun, and deliver it when it is whole.
 * Memory grows with what has arrived, not with what was announced. */
static enum err feed_part(struct peer_reader *reader, struct bytes *bytes,
                          const struct peer_reader_callbacks *callbacks, void *ctx, bool *go_on,
                          struct why *why)
{
    size_t need;
    TRY(piece_bytes(reader, buf_bytes(&reader->part), &need, why));
    size_t missing = need - reader->part.len;
    size_t n = missing < bytes->len ? missing : bytes->len;
    buf_append(&reader->part, bytes->data, n);
    if (!buf_ok(&reader->part)) {
        return ERR_NOMEM;
    }
    *bytes = bytes_of(bytes->data + n, bytes->len - n);
    TRY(piece_bytes(reader, buf_bytes(&reader->part), &need, why));
    if (reader->part.len < need) {
        return OK;
    }
    enum err err = deliver(reader, buf_bytes(&reader->part), callbacks, ctx, go_on, why);
    clear_part(reader);
    return err;
}

enum err peer_reader_feed(struct peer_reader *reader, struct bytes bytes,
                          const struct peer_reader_callbacks *callbacks, void *ctx, struct why *why)
{
    bool go_on = true;
    while (go_on && bytes.len > 0) {
        if (reader->part.len > 0) {
            TRY(feed_part(reader, &bytes, callbacks, ctx, &go_on, why));
            continue;
        }
        size_t need;
        TRY(piece_bytes(reader, bytes, &need, why));
        if (bytes.len < need) {
            buf_append_bytes(&reader->part, bytes);
            return buf_ok(&reader->part) ? OK : ERR_NOMEM;
        }
        TRY(deliver(reader, bytes_of(bytes.data, need), callbacks, ctx, &go_on, why));
        bytes = bytes_of(bytes.data + need, bytes.len - need);
    }
    return OK;
}

void peer_reader_fini(struct peer_reader *reader)
{
    buf_fini(&reader->part);
}
