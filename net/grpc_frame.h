/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_FRAME_H
#define NET_GRPC_FRAME_H

#include "base/bytes.h"
#include "net/grpc.h"

/* gRPC's framing of messages within a stream, as both ends use it: a byte that says whether the
 * message is compressed (never, here), four bytes of its length, and the message. */
#define GRPC_PREFIX_BYTES 5

/* What has arrived of a message that is not whole yet. All zero is empty. */
struct inbox {
    uint8_t prefix[GRPC_PREFIX_BYTES];
    uint8_t prefix_len;
    bool delivered; /* partial holds the last message, which was handed out */
    uint32_t need;  /* bytes of the message, once its prefix is whole */
    struct buf partial;
};

enum inbox_result {
    INBOX_MORE,       /* the input is used up */
    INBOX_MESSAGE,    /* ret holds a message; there may be more in the input */
    INBOX_TOO_LARGE,  /* in->need says how large the message wants to be */
    INBOX_COMPRESSED, /* flagged so */
    INBOX_BAD_FLAG,   /* in->prefix[0] is neither 0 nor 1 */
    INBOX_NOMEM
};

/* Take the next message from INPUT, which moves on. RET is a view of the input where the message
 * lies there whole, else of the inbox, until the next call. Memory grows with what has arrived, not
 * with what a prefix promises. */
enum inbox_result inbox_next(struct inbox *in, struct bytes *input, size_t message_bytes_max,
                             struct bytes *ret);
/* Is a message begun and not whole? */
bool inbox_is_partial(const struct inbox *in);
size_t inbox_held_bytes(const struct inbox *in);
void inbox_fini(struct inbox *in);

/* "grpc-message" as it stands on the wire: percent-encoded. False: no memory. */
bool grpc_message_encode(struct arena *arena, const char *text, struct bytes *ret);
/* The way back, in place: what is no valid escape stays as it is. Returns the new length. */
size_t grpc_message_decode(uint8_t *text, size_t len);

/* "100m": at most 8 digits and one of H M S m u n. */
MUST_CHECK enum err grpc_timeout_parse(struct bytes text, uint64_t *ret_ns);
/* Into 10 bytes, rounded up to what 8 digits can say. */
size_t grpc_timeout_format(uint64_t ns, char text[static 10]);

#endif
