/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/stream_private.h"

#define READ_BYTES        (128u * 1024)
#define WRITE_PARTS_MAX   64
#define PIECE_BYTES       4096u
#define TCP_KEEPALIVE_SEC 30
#define LOCAL_SEND_BYTES  (128 * 1024)
#define LINGER_BYTES_MIN  (64u * 1024) /* so much a grace at least, of who is closed */

/* One for all connections of a loop: what was read is used up before the next read. */
static _Thread_local uint8_t read_buffer[READ_BYTES];

static uv_stream_t *handle_of(struct stream *stream)
{
    return (uv_stream_t *)&stream->tcp;
}

static bool is_live(const struct stream *stream)
{
    return stream->state == STREAM_OPEN || stream->state == STREAM_LINGERING;
}

/* Closing. */

static void on_closed(uv_handle_t *handle)
{
    struct stream *stream = CONTAINER_OF((uv_tcp_t *)handle, struct stream, tcp);
    sendqueue_fini(&stream->out);
    if (stream->on_gone != NULL) {
        stream->on_gone(stream->gone_ctx);
    }
    if (stream->callbacks != NULL) {
        stream->callbacks->on_close(stream->ctx, stream->close_status, stream->close_why.text);
    }
    free(stream);
}

static void end(struct stream *stream, enum err status, const char *what, int uv_status)
{
    if (stream->state == STREAM_CLOSING) {
        return;
    }
    stream->state = STREAM_CLOSING;
    stream->close_status = status;
    if (uv_status != 0) {
        why_set(&stream->close_why, "%s: %s", what, uv_strerror(uv_status));
    } else {
        why_set(&stream->close_why, "%s", what);
    }
    env_task_cancel(&stream->flush);
    env_timer_stop(stream->env, &stream->grace);
    uv_close((uv_handle_t *)&stream->tcp, on_closed);
}

void stream_close(struct stream *stream)
{
    end(stream, ERR_CLOSED, "closed by us", 0);
}

/* libuv may have written a part of what it was given, and not say so before the rest has left. */
static size_t left_bytes(const struct stream *stream)
{
    return stream->out.bytes - stream->write_bytes +
           uv_stream_get_write_queue_size((const uv_stream_t *)&stream->tcp);
}

static void start_grace(struct stream *stream)
{
    stream->grace_left_bytes = left_bytes(stream);
    env_timer_start(stream->env, &stream->grace, stream->grace_ms);
}

/* A peer that reads slowly gets all, if it takes a piece of some size each time. */
static void on_grace_over(struct env_timer *timer)
{
    struct stream *stream = CONTAINER_OF(timer, struct stream, grace);
    size_t left = left_bytes(stream);
    if (left + LINGER_BYTES_MIN <= stream->grace_left_bytes ||
        (left == 0 && stream->grace_left_bytes > 0)) {
        start_grace(stream);
    } else {
        end(stream, ERR_CLOSED, "closed by us", 0);
    }
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct stream *stream = CONTAINER_OF(request, struct stream, shutdown);
    if (status < 0 && status != UV_ECANCELED) {
        end(stream, ERR_IO, "shut down", status);
    }
}

/* Everything has left: tell the peer, and wait for its end, so that no reset overtakes our last
 * bytes. A write that ends and the flush of the same turn may both find it so. */
static void say_end(struct stream *stream)
{
    if (stream->said_end) {
        return;
    }
    stream->said_end = true;
    int status = uv_shutdown(&stream->shutdown, handle_of(stream), on_shutdown);
    if (status < 0) {
        end(stream, ERR_IO, "shut down", status);
    }
}

void stream_close_after_flush(struct stream *stream, uint64_t grace_ms)
{
    if (stream->state != STREAM_OPEN) {
        if (stream->state == STREAM_NEW) {
            stream_close(stream);
        }
        return;
    }
    stream_pause(stream, false);
    if (stream->state != STREAM_OPEN) {
        return;
    }
    stream->state = STREAM_LINGERING;
    stream->grace_ms = grace_ms;
    start_grace(stream);
    if (!stream->flushing) {
        env_defer(stream->env, &stream->flush);
    }
}

/* Writing. */

static void flush(struct stream *stream);

static void on_written(uv_write_t *request, int status)
{
    struct stream *stream = CONTAINER_OF(request, struct stream, write);
    size_t n = stream->write_bytes;
    stream->write_bytes = 0;
    if (!is_live(stream)) {
        return;
    }
    if (status < 0) {
        end(stream, ERR_IO, "write", status);
        return;
    }
    sendqueue_consume(&stream->out, n);
    flush(stream);
    if (stream->state == STREAM_OPEN && stream->out.bytes == 0 &&
        stream->callbacks->on_drain != NULL) {
        stream->callbacks->on_drain(stream->ctx);
    }
}

/* Give the kernel what it takes at once, and libuv the rest. More than STREAM_TURN_BYTES goes to
 * libuv whole: it writes at once as well, but reports in a later turn, and so nobody who writes on
 * from on_drain keeps the loop. */
static void flush(struct stream *stream)
{
    while (stream->write_bytes == 0 && stream->out.bytes > 0) {
        uv_buf_t parts[WRITE_PARTS_MAX];
        size_t bytes;
        unsigned count = sendqueue_parts(&stream->out, parts, WRITE_PARTS_MAX, &bytes);
        if (stream->out.bytes < STREAM_TURN_BYTES) {
            int n = uv_try_write(handle_of(stream), parts, count);
            if (n > 0) {
                sendqueue_consume(&stream->out, (size_t)n);
                if ((size_t)n == bytes) {
                    continue;
                }
                count = sendqueue_parts(&stream->out, parts, WRITE_PARTS_MAX, &bytes);
            } else if (n != UV_EAGAIN) {
                end(stream, ERR_IO, "write", n);
                return;
            }
        }
        int status = uv_write(&stream->write, handle_of(stream), parts, count, on_written);
        if (status < 0) {
            end(stream, status == UV_ENOMEM ? ERR_NOMEM : ERR_IO, "write", status);
            return;
        }
        stream->write_bytes = bytes;
    }
    if (stream->out.bytes == 0 && stream->state == STREAM_LINGERING) {
        say_end(stream);
    }
}

static void on_flush_task(struct env_task *task)
{
    struct stream *stream = CONTAINER_OF(task, struct stream, flush);
    if (!is_live(stream)) {
        return;
    }
    if (stream->state == STREAM_OPEN && stream->callbacks->on_flush != NULL) {
        stream->flushing = true;
        stream->callbacks->on_flush(stream->ctx);
        stream->flushing = false;
        if (!is_live(stream)) {
            return;
        }
    }
    flush(stream);
}

void stream_want_flush(struct stream *stream)
{
    if (stream->state == STREAM_OPEN) {
        env_defer(stream->env, &stream->flush);
    }
}

static bool queued(struct stream *stream, bool added)
{
    if (!added) {
        end(stream, ERR_NOMEM, "no memory for what is to be sent", 0);
        return false;
    }
    if (!stream->flushing) {
        stream_want_flush(stream);
    }
    return true;
}

bool stream_write(struct stream *stream, struct bytes bytes)
{
    if (stream->state != STREAM_OPEN) {
        return false;
    }
    return queued(stream, sendqueue_copy(&stream->out, bytes));
}

bool stream_write_blob(struct stream *stream, struct blob *blob, size_t offset, size_t len)
{
    if (stream->state != STREAM_OPEN) {
        return false;
    }
    return queued(stream, sendqueue_blob(&stream->out, blob, offset, len));
}

bool stream_write_queue(struct stream *stream, struct sendqueue *queue, size_t n)
{
    if (stream->state != STREAM_OPEN) {
        return false;
    }
    return queued(stream, sendqueue_move(queue, &stream->out, n));
}

void stream_use_pool(struct stream *stream, struct mempool *pool)
{
    ASSERT(stream->out.bytes == 0);
    stream->out.pool = pool;
}

size_t stream_queued_bytes(const struct stream *stream)
{
    return stream->out.bytes;
}

/* Reading. */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    (void)suggested;
    *ret = (uv_buf_t){.base = (char *)read_buffer, .len = sizeof read_buffer};
}

/* The peer sends no more: it gets what is queued as far as the kernel takes it now. */
static void on_peer_end(struct stream *stream)
{
    if (stream->state == STREAM_LINGERING) {
        end(stream, ERR_CLOSED, "closed by us", 0);
        return;
    }
    if (stream->write_bytes == 0) {
        flush(stream);
    }
    end(stream, OK, "closed by the peer", 0);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct stream *stream = CONTAINER_OF((uv_tcp_t *)handle, struct stream, tcp);
    if (n == UV_EOF) {
        on_peer_end(stream);
    } else if (n < 0) {
        end(stream, ERR_IO, "read", (int)n);
    } else if (n > 0 && stream->state == STREAM_OPEN) {
        stream->callbacks->on_read(stream->ctx, bytes_of(buf->base, (size_t)n));
    }
}

void stream_pause(struct stream *stream, bool paused)
{
    if (!is_live(stream) || stream->reading == !paused) {
        return;
    }
    int status = paused ? uv_read_stop(handle_of(stream))
                        : uv_read_start(handle_of(stream), on_alloc, on_read);
    if (status < 0) {
        end(stream, ERR_IO, "read", status);
        return;
    }
    stream->reading = !paused;
}

/* Making. */

/* libuv writes without MSG_NOSIGNAL: a peer that is gone must be an error, not the process's end.
 */
static void ignore_broken_pipes(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
        action.sa_handler == SIG_DFL) {
        signal(SIGPIPE, SIG_IGN);
    }
}

struct stream *stream_new(struct env *env, uv_loop_t *loop)
{
    ignore_broken_pipes();
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return NULL;
    }
    int status = uv_tcp_init(loop, &stream->tcp);
    ASSERT(status == 0); /* makes no socket yet */
    stream->env = env;
    sendqueue_init(&stream->out, NULL, PIECE_BYTES);
    env_task_init(&stream->flush, PHASE_FLUSH, on_flush_task);
    env_timer_init(&stream->grace, on_grace_over);
    return stream;
}

void stream_format_address(const struct sockaddr *address, char *text, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        snprintf(text, size, "%s:%u", ip, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        snprintf(text, size, "[%s]:%u", ip, ntohs(in6->sin6_port));
    } else {
        snprintf(text, size, "?");
    }
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* Within this machine nothing is jammed or lost. Where bbr is the system's choice, its timers,
 * which pace each segment, took a sixth of a member's time when it told many watchers; reno has
 * none and is in every kernel. What the kernel would take beyond a few segments is copied there to
 * get cold: it stays in our queue, where watchers share it. Either may fail. */
void stream_prepare(int fd, const struct sockaddr *address)
{
    if (is_loopback(address)) {
        static const char reno[] = "reno";
        static const int bytes = LOCAL_SEND_BYTES;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
}

void stream_connected(struct stream *stream)
{
    struct sockaddr_storage address = {0};
    int len = sizeof address;
    /* A peer that is gone already has no name; the first read will tell. */
    if (uv_tcp_getpeername(&stream->tcp, (struct sockaddr *)&address, &len) != 0) {
        address.ss_family = AF_UNSPEC;
    }
    stream_format_address((const struct sockaddr *)&address, stream->peer, sizeof stream->peer);
    /* Without these options the connection is slower or lingers, but works. */
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    (void)uv_tcp_keepalive(&stream->tcp, 1, TCP_KEEPALIVE_SEC);
}

void stream_start(struct stream *stream, const struct stream_callbacks *callbacks, void *ctx)
{
    ASSERT(stream->state == STREAM_NEW);
    ASSERT(callbacks->on_read != NULL);
    ASSERT(callbacks->on_close != NULL);
    stream->state = STREAM_OPEN;
    stream->callbacks = callbacks;
    stream->ctx = ctx;
    stream_pause(stream, false);
}

const char *stream_peer(const struct stream *stream)
{
    return stream->peer;
}
