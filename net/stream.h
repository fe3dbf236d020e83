/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <uv.h>

#include "base/addr.h"
#include "base/bytes.h"
#include "base/env.h"

/* One TCP connection: what arrives is handed up as it comes, what is written is collected during
 * the turn and leaves in one writev at its end (PHASE_FLUSH). The queue is bounded by its user:
 * stream_queued_bytes tells. TCP_NODELAY is on. */
struct stream;

struct stream_callbacks {
    /* Bytes arrived; memory valid during the call. The callee may close the stream. */
    void (*on_read)(void *ctx, struct bytes bytes);
    /* Everything queued has been given to the kernel (may be NULL). Comes in a later turn than the
     * flush, and only after one that the kernel did not take whole at once or that held
     * STREAM_TURN_BYTES or more: who has more to send stops there, and goes on here. */
    void (*on_drain)(void *ctx);
    /* About to flush at the end of the turn: last chance to write more (may be NULL). */
    void (*on_flush)(void *ctx);
    /* The connection is over: OK after the peer's orderly end, ERR_CLOSED after stream_close, else
     * what went wrong. Once; nothing comes after it and the stream is gone when it returns. */
    void (*on_close)(void *ctx, enum err status, const char *why);
};

/* Connect to ADDR (a name is resolved off the loop). The result comes through on_connect; on
 * failure on_close is not called. TIMEOUT_MS bounds the whole attempt. The request is gone when cb
 * runs; stream_connect_cancel ends it before, without a callback. */
struct stream_connect_request;
typedef void (*stream_connect_cb)(void *ctx, struct stream *stream, enum err status,
                                  const char *why);
MUST_CHECK enum err stream_connect(struct env *env, uv_loop_t *loop, const struct addr *addr,
                                   uint64_t timeout_ms, stream_connect_cb cb, void *ctx,
                                   struct stream_connect_request **ret);
void stream_connect_cancel(struct stream_connect_request *request);

/* Take over a connection that a listener accepted or stream_connect made: callbacks come from the
 * next turn on. CALLBACKS stay the caller's and outlive the stream. */
void stream_start(struct stream *stream, const struct stream_callbacks *callbacks, void *ctx);

/* Queue a copy of the bytes, or a count of the blob. False when memory ended (the stream then
 * closes itself) or the stream is closing. */
bool stream_write(struct stream *stream, struct bytes bytes);
bool stream_write_blob(struct stream *stream, struct blob *blob, size_t offset, size_t len);
/* The first N bytes of QUEUE, which may keep some of them when that fails. */
struct sendqueue;
bool stream_write_queue(struct stream *stream, struct sendqueue *queue, size_t n);
/* What is queued from now on lies in memory of POOL, which outlives the stream. Nothing is. */
struct mempool;
void stream_use_pool(struct stream *stream, struct mempool *pool);

/* Ask for on_flush at the end of this turn, even when nothing is queued; from within on_flush, for
 * one more. */
void stream_want_flush(struct stream *stream);

size_t stream_queued_bytes(const struct stream *stream); /* not yet given to the kernel */
void stream_pause(struct stream *stream, bool paused);   /* stop or go on reading */

/* Close: at once, or after what is queued has left and the peer has closed too (what arrives
 * meanwhile is dropped). In each GRACE_MS the peer has to take 64 KiB, or what is left, or to
 * close. on_close comes in a later turn. */
void stream_close(struct stream *stream);
void stream_close_after_flush(struct stream *stream, uint64_t grace_ms);

/* "10.0.0.1:4711" of the other end; valid as long as the stream. */
const char *stream_peer(const struct stream *stream);

#endif
