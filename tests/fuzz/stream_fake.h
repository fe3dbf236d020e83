/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_STREAM_FAKE_H
#define TESTS_FUZZ_STREAM_FAKE_H

#include "net/stream.h"

/* Connections behind the door of the real ones (net/stream.h), without sockets: the other end is
 * whoever holds the stream_fake functions. Link it before net/libnet.a. What cannot be allocated
 * ends the process (fatal). */

/* A connection that was accepted, from "fuzz:1". */
struct stream *stream_fake_accept(struct env *env);

/* The other end sends these bytes; false: nobody reads them (paused, closing or gone). BYTES lie in
 * memory of their own. */
bool stream_fake_send(struct stream *stream, struct bytes bytes);
/* The other end closes, or breaks off; nothing, when there is none yet. */
void stream_fake_end(struct stream *stream, enum err status);

/* While held, the other end takes nothing of what is written; at first it takes everything at the
 * end of the turn. */
void stream_fake_hold(struct stream *stream, bool hold);

/* What the other end has taken; kept when KEEP was given. */
void stream_fake_keep(struct stream *stream, struct buf *keep);

/* Connections that are there: none, when a target ends. */
size_t stream_fake_count(void);

/* The next stream_connect is answered with this one, from stream_fake_accept, in a later turn;
 * NULL: refused. */
void stream_fake_offer(struct stream *stream);
/* Nobody has connected to it: it is gone. */
void stream_fake_offer_end(void);

#endif
