/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/stream_fake.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "net/sendqueue.h"

enum state { NEW, OPEN, LINGERING, CLOSING };

struct stream {
    struct env *env;
    enum state state;
    const struct stream_callbacks *callbacks;
    void *ctx;
    struct buf out;
    struct buf *keep;
    bool held;
    bool paused;
    bool flushing;
    bool drains; /* on_drain is due when all has left */
    struct env_task flush;
    struct env_timer later; /* on_drain, and on_close, come in another turn */
    struct env_timer grace;
    enum err close_status;
};

struct stream_connect_request {
    struct env *env;
    struct env_timer later;
    struct stream *stream;
    stream_connect_cb cb;
    void *ctx;
};

static size_t stream_count;
static struct stream *offered;

size_t stream_fake_count(void)
{
    return stream_count;
}

static void free_stream(struct stream *stream)
{
    env_task_cancel(&stream->flush);
    env_timer_stop(stream->env, &stream->later);
    env_timer_stop(stream->env, &stream->grace);
    buf_fini(&stream->out);
    stream_count--;
    free(stream);
}

static void on_later(struct env_timer *timer)
{
    struct stream *stream = CONTAINER_OF(timer, struct stream, later);
    if (stream->state == CLOSING) {
        if (stream->callbacks != NULL) {
            stream->callbacks->on_close(stream->ctx, stream->close_status, "over");
        }
        free_stream(stream);
    } else if (stream->state == OPEN && stream->drains && stream->out.len == 0) {
        stream->drains = false;
        if (stream->callbacks->on_drain != NULL) {
            stream->callbacks->on_drain(stream->ctx);
        }
    }
}

static void end(struct stream *stream, enum err status)
{
    if (stream->state == CLOSING) {
        return;
    }
    stream->state = CLOSING;
    stream->close_status = status;
    env_task_cancel(&stream->flush);
    env_timer_stop(stream->env, &stream->grace);
    env_timer_start(stream->env, &stream->later, 0);
}

/* The other end takes what there is. Large amounts, and what was held up, are told with on_drain as
 * stream.h says. */
static void take(struct stream *stream)
{
    if (stream->held) {
        stream->drains |= stream->out.len > 0;
        return;
    }
    stream->drains |= stream->out.len >= STREAM_TURN_BYTES;
    if (stream->keep != NULL) {
        buf_append_bytes(stream->keep, buf_bytes(&stream->out));
    }
    buf_clear(&stream->out);
    if (stream->state == LINGERING) {
        end(stream, ERR_CLOSED);
    } else if (stream->drains) {
        env_timer_start(stream->env, &stream->later, 0);
    }
}

static void on_flush(struct env_task *task)
{
    struct stream *stream = CONTAINER_OF(task, struct stream, flush);
    if (stream->state == OPEN && stream->callbacks->on_flush != NULL) {
        stream->flushing = true;
        stream->callbacks->on_flush(stream->ctx);
        stream->flushing = false;
    }
    if (stream->state != CLOSING) {
        take(stream);
    }
}

static void on_grace(struct env_timer *timer)
{
    end(CONTAINER_OF(timer, struct stream, grace), ERR_CLOSED);
}

struct stream *stream_fake_accept(struct env *env)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        fatal("no memory for a stream");
    }
    stream->env = env;
    env_task_init(&stream->flush, PHASE_FLUSH, on_flush);
    env_timer_init(&stream->later, on_later);
    env_timer_init(&stream->grace, on_grace);
    stream_count++;
    return stream;
}

bool stream_fake_send(struct stream *stream, struct bytes bytes)
{
    if (stream->state != OPEN || stream->paused) {
        return false;
    }
    if (bytes.len > 0) {
        stream->callbacks->on_read(stream->ctx, bytes);
    }
    return true;
}

void stream_fake_end(struct stream *stream, enum err status)
{
    if (stream->state == NEW) {
        return;
    }
    end(stream, stream->state == LINGERING ? ERR_CLOSED : status);
}

void stream_fake_hold(struct stream *stream, bool hold)
{
    stream->held = hold;
    if (!hold && (stream->state == OPEN || stream->state == LINGERING)) {
        env_defer(stream->env, &stream->flush);
    }
}

void stream_fake_keep(struct stream *stream, struct buf *keep)
{
    stream->keep = keep;
}

/* ---- the door ---- */

void stream_start(struct stream *stream, const struct stream_callbacks *callbacks, void *ctx)
{
    ASSERT(stream->state == NEW);
    stream->state = OPEN;
    stream->callbacks = callbacks;
    stream->ctx = ctx;
}

void stream_want_flush(struct stream *stream)
{
    if (stream->state == OPEN) {
        env_defer(stream->env, &stream->flush);
    }
}

bool stream_write(struct stream *stream, struct bytes bytes)
{
    if (stream->state != OPEN) {
        return false;
    }
    buf_append_bytes(&stream->out, bytes);
    if (!buf_ok(&stream->out)) {
        fatal("no memory for what is written");
    }
    if (!stream->flushing) {
        stream_want_flush(stream);
    }
    return true;
}

bool stream_write_blob(struct stream *stream, struct blob *blob, size_t offset, size_t len)
{
    ASSERT(offset <= blob->len && len <= blob->len - offset);
    return stream_write(stream, bytes_of(blob->data + offset, len));
}

bool stream_write_queue(struct stream *stream, struct sendqueue *queue, size_t n)
{
    bool written = true;
    while (written && n > 0) {
        struct blob *blob;
        struct bytes front = sendqueue_front(queue, &blob);
        size_t some = front.len < n ? front.len : n;
        written = stream_write(stream, bytes_of(front.data, some));
        sendqueue_consume(queue, some);
        n -= some;
    }
    return written;
}

void stream_use_pool(struct stream *stream, struct mempool *pool)
{
    (void)stream;
    (void)pool;
}

size_t stream_queued_bytes(const struct stream *stream)
{
    return stream->out.len;
}

void stream_pause(struct stream *stream, bool paused)
{
    stream->paused = paused;
}

void stream_close(struct stream *stream)
{
    end(stream, ERR_CLOSED);
}

void stream_close_after_flush(struct stream *stream, uint64_t grace_ms)
{
    if (stream->state == NEW) {
        stream_close(stream);
    } else if (stream->state == OPEN) {
        stream->state = LINGERING;
        env_timer_start(stream->env, &stream->grace, grace_ms);
        env_defer(stream->env, &stream->flush);
    }
}

const char *stream_peer(const struct stream *stream)
{
    (void)stream;
    return "fuzz:1";
}

/* ---- connecting ---- */

void stream_fake_offer(struct stream *stream)
{
    offered = stream;
}

void stream_fake_offer_end(void)
{
    if (offered != NULL) {
        free_stream(TAKE(offered));
    }
}

static void on_connected(struct env_timer *timer)
{
    struct stream_connect_request *request =
        CONTAINER_OF(timer, struct stream_connect_request, later);
    stream_connect_cb cb = request->cb;
    void *ctx = request->ctx;
    struct stream *stream = request->stream;
    free(request);
    cb(ctx, stream, stream == NULL ? ERR_CONNECT : OK, stream == NULL ? "refused" : "");
}

enum err stream_connect(struct env *env, uv_loop_t *loop, const struct addr *addr,
                        uint64_t timeout_ms, stream_connect_cb cb, void *ctx,
                        struct stream_connect_request **ret)
{
    (void)loop;
    (void)addr;
    (void)timeout_ms;
    struct stream_connect_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return ERR_NOMEM;
    }
    *request =
        (struct stream_connect_request){.env = env, .stream = TAKE(offered), .cb = cb, .ctx = ctx};
    env_timer_init(&request->later, on_connected);
    env_timer_start(env, &request->later, 0);
    *ret = request;
    return OK;
}

void stream_connect_cancel(struct stream_connect_request *request)
{
    env_timer_stop(request->env, &request->later);
    if (request->stream != NULL) {
        free_stream(request->stream);
    }
    free(request);
}
