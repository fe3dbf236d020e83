/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP2_H
#define NET_HTTP2_H

#include <nghttp2/nghttp2.h>

#include "net/sendqueue.h"
#include "net/stream.h"

/* What the server's and the client's connections have in common: an nghttp2 session whose bytes
 * come from and go to a stream, and the messages that wait to leave one of its HTTP/2 streams.
 * Bytes in, bytes out: nothing else here knows of TCP. nghttp2's user data is the struct http2. */
struct http2 {
    nghttp2_session *session;
    struct stream *stream;
    struct mempool *pool; /* of the session and its send queues */
    size_t pending_bytes; /* in all its send queues */
    struct http2_trailers {
        int32_t stream_id;  /* theirs are about to be sent, to be learned; 0: none */
        uint8_t field;      /* what they were the last time, one field of the table; 0: not known */
        size_t table_bytes; /* of the table then: it has changed when this has */
    } trailers;
};

/* False: the session cannot go on, and why says why. */
MUST_CHECK bool http2_input(struct http2 *h2, struct bytes bytes, struct why *why);

/* Hand what the session wants to send to the stream: all, or STREAM_TURN_BYTES of it (then on_drain
 * goes on). */
MUST_CHECK bool http2_output(struct http2 *h2, struct why *why);
bool http2_output_is_full(const struct http2 *h2);
/* Does more wait in the session than the peer, which does not take it, should be able to add to?
 * Answers to calls that were reset stay there, too. */
bool http2_is_stuck(const struct http2 *h2);
/* Has the session nothing more to say or to hear? */
bool http2_is_over(const struct http2 *h2);

/* The usual trailers are one field that is in HPACK's table, a byte. Once nghttp2 has encoded them
 * they can follow the last DATA frame within it, so to speak: nghttp2 is told that DATA ends the
 * stream, and http2_send_data moves that end to a HEADERS frame behind. That is a third of what
 * nghttp2 does for a short answer.
 *
 * Ask for the field before trailers are submitted: 0 means that they must be, on STREAM_ID, for it
 * to be known the next time. */
uint8_t http2_usual_trailers(struct http2 *h2, int32_t stream_id);
/* The client has changed the size of its table, and wants to be told so in the next headers. */
void http2_forget_trailers(struct http2 *h2);

/* Framed messages on their way out of one stream; nghttp2's data source is the http2_out. */
struct http2_out {
    struct sendqueue queue;
    struct http2 *h2;
    size_t *total;    /* one more count of pending bytes: the server's, or NULL */
    size_t *large[2]; /* of a large answer: its connection's count of such, and the server's */
    bool waiting;     /* nghttp2 was told that there is nothing: resume it */
    bool ended;       /* nothing will be added */
    uint8_t trailers; /* to be sent behind the last of it (http2_usual_trailers); 0: none */
};

void http2_out_init(struct http2_out *out, struct http2 *h2, size_t *total);
void http2_out_fini(struct http2_out *out);

/* Before anything is added: it is counted here, too. */
void http2_out_be_large(struct http2_out *out, size_t *of_connection, size_t *of_server);

/* Add one message of LEN bytes made of parts. False: no memory. */
struct grpc_part;
bool http2_out_add(struct http2_out *out, const struct grpc_part *parts, size_t count);

/* For a data source's read callback: nghttp2's flags and count. EOF when all has left and the
 * http2_out was ended. */
ssize_t http2_out_read(struct http2_out *out, uint8_t *buf, size_t len, uint32_t *flags);

/* The session callback that goes with it. */
int http2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                    nghttp2_data_source *source, void *user_data);

#define HTTP2_NO_COPY (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)
/* Of two string literals. */
#define HTTP2_NV(name_, value_)                                                                 \
    {                                                                                           \
        .name = (uint8_t *)(name_), .value = (uint8_t *)(value_), .namelen = sizeof(name_) - 1, \
        .valuelen = sizeof(value_) - 1, .flags = HTTP2_NO_COPY                                  \
    }

#endif
