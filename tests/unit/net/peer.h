/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NET_PEER_H
#define TESTS_UNIT_NET_PEER_H

#include "net/stream.h"
#include "tests/lib/loop.h"

/* A connection to fixture.port that sends whatever the test wants, and keeps what comes back. */
struct peer {
    struct stream *stream;
    struct buf got;
    bool closed;
};

void peer_connect(struct peer *peer);
void peer_send(struct peer *peer, struct bytes bytes);
void peer_send_str(struct peer *peer, const char *text);
void peer_fini(struct peer *peer); /* closes it and waits for that */

/* Does TEXT occur in what came back? */
bool peer_got(const struct peer *peer, const char *text);

/* HTTP/2 by hand. */
void h2_preface(struct buf *to); /* and empty settings */
void h2_frame(struct buf *to, uint8_t type, uint8_t flags, uint32_t stream_id,
              struct bytes payload);
void h2_field(struct buf *to, const char *name, const char *value); /* literal, not indexed */
/* The headers of a call; END_STREAM by the flag. */
void h2_request(struct buf *to, uint32_t stream_id, const char *path, uint8_t flags);
/* One that depends on the stream ON alone. */
void h2_dependent_request(struct buf *to, uint32_t stream_id, const char *path, uint32_t on);
void h2_message(struct buf *to, uint32_t stream_id, uint8_t flags, uint8_t compressed,
                uint32_t length, struct bytes message);

/* The count of frames of TYPE for STREAM that came back whole; the last one's payload. */
unsigned h2_count(const struct peer *peer, uint8_t type, uint32_t stream_id,
                  struct bytes *ret_payload);

/* What the server has added to the window of STREAM (0: of the connection). */
size_t h2_window_added(const struct peer *peer, uint32_t stream_id);

/* The value of a header field that came back for STREAM, into VALUE; false when there is none. */
bool h2_find(const struct peer *peer, uint32_t stream_id, const char *name, char *value,
             size_t size);

#endif
