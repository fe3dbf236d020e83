/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_FRAME_H
#define NET_GRPC_FRAME_H

#include "base/bytes.h"
#include "net/grpc.h"

/* gRPC's framing of messages within a stream, as both ends use it: a byte that says whether the
 * message is compressed (never, here), four bytes of its length, and the message. */
#define GRPC_PREFIX_BYTES 5

/* What has arrived of a message that is not whole yet. All zero is empty. */
struct grpc_frame_reader {
    uint8_t prefix[GRPC_PREFIX_BYTES];
    uint8_t prefix_len;
    bool delivered; /* partial holds the last message, which was handed out */
    uint32_t need;  /* bytes of the message, once its prefix is whole */
    struct buf partial;
};

enum grpc_frame_result {
    GRPC_FRAME_MORE,       /* the input is used up */
    GRPC_FRAME_MESSAGE,    /* ret holds a message; there may be more in the input */
    GRPC_FRAME_TOO_LARGE,  /* in->need says how large the message wants to be */
    GRPC_FRAME_COMPRESSED, /* flagged so */
    GRPC_FRAME_BAD_FLAG,   /* in->prefix[0] is neither 0 nor 1 */
    GRPC_FRAME_NOMEM
};

/* Take the next message from INPUT, which moves on. RET is a view of the input where the message
 * lies there whole, else of the reader, until the next call. Memory grows with what has arrived,
 * not with what a prefix promises. */
enum grpc_frame_result grpc_frame_next(struct grpc_frame_reader *in, struct bytes *input,
                                       size_t message_bytes_max, struct bytes *ret);
/* Is a message begun and not whole? */
bool grpc_frame_is_partial(const struct grpc_frame_reader *in);
size_t grpc_frame_held_bytes(const struct grpc_frame_reader *in);
void grpc_frame_fini(struct grpc_frame_reader *in);

/* "grpc-message" as it stands on the wire: percent-encoded. False: no memory. */
bool grpc_message_encode(struct arena *arena, const char *text, struct bytes *ret);
/* The way back, in place: what is no valid escape stays as it is. Returns the new length. */
size_t grpc_message_decode(uint8_t *text, size_t len);

/* "100m": at most 8 digits and one of H M S m u n. */
MUST_CHECK enum err grpc_timeout_parse(struct bytes text, uint64_t *ret_ns);
/* Into 10 bytes, rounded up to what 8 digits can say. */
size_t grpc_timeout_format(uint64_t ns, char text[static 10]);

#endif
