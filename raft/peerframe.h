/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_PEERFRAME_H
#define RAFT_PEERFRAME_H

#include "base/bytes.h"
#include "raft/transport.h"

/* What goes over a connection between members. Who connects says who it is and whom it wants; the
 * other one answers; then frames go from the first to the second, and only pongs come back. All
 * integers little-endian.
 *
 *   hello  0 u64 magic           answer  0 u64 magic            frame  0 u32 length of the payload
 *          8 u32 version                 8 u32 version                 4 u8  kind
 *         12 u32 lane                   12 u32 verdict                 5 u8  0, u16 0
 *         16 u64 cluster id             16 u64 id of who answers       8 u32 CRC-32C of the payload
 *         24 u64 id of the sender       24 u32 0                      12 u32 CRC-32C of 0 to 11
 *         32 u64 id of who is meant     28 u32 CRC-32C of 0 to 27     16 payload
 *         40 u32 0
 *         44 u32 CRC-32C of 0 to 43
 *
 * Who does not know yet what to say asks first who the members are: its hello has the lane
 * PEER_LANE_QUESTION and no ids. It is welcomed, and one frame of the kind PEER_KIND_MEMBERS
 * follows the other way, of at most PEER_MEMBERS_BYTES_MAX; then the connection is over.
 *
 * The CRC of a header makes a length worth waiting for, that of the payload makes it worth reading.
 * Beside the kinds of enum frame_kind there are three of the connection's own: a ping, 8 bytes, a
 * pong that repeats them, and the answer above. */
#define PEER_VERSION            1u
#define PEER_HELLO_BYTES        48u
#define PEER_ANSWER_BYTES       32u
#define PEER_FRAME_HEADER_BYTES 16u
#define PEER_PING_BYTES         8u

#define PEER_KIND_PING    0xf1u
#define PEER_KIND_PONG    0xf2u
#define PEER_KIND_MEMBERS 0xf3u

#define PEER_LANE_QUESTION 0xffu

enum peer_verdict {
    PEER_WELCOME = 0,
    PEER_OTHER_VERSION = 1,
    PEER_OTHER_CLUSTER = 2,
    PEER_OTHER_MEMBER = 3, /* the hello is for somebody else */
    PEER_UNKNOWN = 4,      /* the sender is not of the cluster, as far as we know */
    PEER_REMOVED = 5,      /* the sender was removed from the cluster, for ever */
    PEER_NO_ANSWER = 6,    /* to a question: not known yet */
    PEER_VERDICT_COUNT
};
const char *peer_verdict_text(uint32_t verdict);

struct peer_hello {
    uint32_t version;
    bool is_question; /* the rest is 0 */
    enum transport_lane lane;
    uint64_t cluster_id;
    uint64_t from;
    uint64_t to;
};
void peer_hello_write(const struct peer_hello *hello, uint8_t out[PEER_HELLO_BYTES]);

/* ERR_MALFORMED: not a hello. Of another version only the version is read. */
MUST_CHECK enum err peer_hello_read(const uint8_t in[PEER_HELLO_BYTES], struct peer_hello *ret);

void peer_answer_write(enum peer_verdict verdict, uint64_t id, uint8_t out[PEER_ANSWER_BYTES]);
MUST_CHECK enum err peer_answer_read(const uint8_t in[PEER_ANSWER_BYTES], uint32_t *verdict,
                                     uint64_t *id);

void peer_frame_header_write(uint8_t kind, struct bytes payload,
                             uint8_t out[PEER_FRAME_HEADER_BYTES]);

/* Takes a connection's bytes apart, however they are cut, first into LEAD bytes (a hello or an
 * answer; 0: none), then into frames. */
struct peer_reader {
    struct buf part; /* of what is not complete yet */
    size_t lead_bytes;
    size_t frame_bytes_max; /* of a payload */
};

struct peer_reader_callbacks {
    bool (*on_lead)(void *ctx, struct bytes lead);                   /* false: stop, it is over */
    bool (*on_frame)(void *ctx, uint8_t kind, struct bytes payload); /* likewise */
};

/* ERR_MALFORMED with a reason; ERR_NOMEM. OK also when a callback stopped it. */
MUST_CHECK enum err peer_reader_feed(struct peer_reader *reader, struct bytes bytes,
                                     const struct peer_reader_callbacks *callbacks, void *ctx,
                                     struct why *why);
void peer_reader_fini(struct peer_reader *reader);

#endif
