/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http2.h"

#include "base/assert.h"
#include "base/limits.h"
#include "net/grpc_frame.h"

/* From this size on a DATA frame's bytes go to the stream without passing through nghttp2. */
#define NO_COPY_BYTES_MIN 1024u
#define FRAME_HEAD_BYTES  9
#define FRAME_FLAGS_AT    4

/* Trailers of one byte: a field of HPACK's table (RFC 7541 6.1). */
#define FIELD_INDEXED 0x80
#define TRAILERS_HEAD(stream_id)                                                      \
    {                                                                                 \
        0, 0, 1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, \
            (uint8_t)((stream_id) >> 24), (uint8_t)((stream_id) >> 16),               \
            (uint8_t)((stream_id) >> 8), (uint8_t)(stream_id)                         \
    }

bool http2_input(struct http2 *h2, struct bytes bytes, struct why *why)
{
    ssize_t n = nghttp2_session_mem_recv(h2->session, bytes.data, bytes.len);
    if (n < 0) {
        why_set(why, "%s", nghttp2_strerror((int)n));
        return false;
    }
    stream_want_flush(h2->stream);
    return true;
}

bool http2_output_is_full(const struct http2 *h2)
{
    return stream_queued_bytes(h2->stream) >= STREAM_TURN_BYTES;
}

bool http2_is_stuck(const struct http2 *h2)
{
    return http2_output_is_full(h2) &&
           nghttp2_session_get_outbound_queue_size(h2->session) > QUEUED_FRAMES_MAX;
}

/* Learn from nghttp2 what the trailers it was to send are, when they are one field of the table. */
static void note_trailers(struct http2 *h2, const uint8_t *frame, size_t len)
{
    const uint8_t want[] = TRAILERS_HEAD(h2->trailers.stream_id);
    if (len == sizeof want + 1 && memcmp(frame, want, sizeof want) == 0 &&
        (frame[sizeof want] & FIELD_INDEXED) != 0) {
        h2->trailers.stream_id = 0;
        h2->trailers.field = frame[sizeof want];
        h2->trailers.table_bytes = nghttp2_session_get_hd_deflate_dynamic_table_size(h2->session);
    }
}

/* While the table has room for all fields that may come into it (a status of each kind and what
 * goes with it, a kilobyte; texts do not), its size tells whether one came in and moved the others.
 * A client that has made it smaller gets its trailers from nghttp2. */
uint8_t http2_usual_trailers(struct http2 *h2, int32_t stream_id)
{
    struct http2_trailers *trailers = &h2->trailers;
    if (nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE) <
        NGHTTP2_DEFAULT_HEADER_TABLE_SIZE) {
        return 0;
    }
    size_t table_bytes = nghttp2_session_get_hd_deflate_dynamic_table_size(h2->session);
    if (trailers->field != 0 && trailers->table_bytes == table_bytes) {
        return trailers->field;
    }
    trailers->field = 0;
    trailers->stream_id = stream_id;
    return 0;
}

void http2_forget_trailers(struct http2 *h2)
{
    h2->trailers = (struct http2_trailers){0};
}

bool http2_output(struct http2 *h2, struct why *why)
{
    while (!http2_output_is_full(h2)) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h2->session, &data);
        if (n < 0) {
            why_set(why, "%s", nghttp2_strerror((int)n));
            return false;
        }
        if (n == 0) {
            return true;
        }
        if (h2->trailers.stream_id != 0) {
            note_trailers(h2, data, (size_t)n);
        }
        if (!stream_write(h2->stream, bytes_of(data, (size_t)n))) {
            why_set(why, "no memory for what is to be sent");
            return false;
        }
    }
    return true;
}

bool http2_is_over(const struct http2 *h2)
{
    return nghttp2_session_want_read(h2->session) == 0 &&
           nghttp2_session_want_write(h2->session) == 0;
}

/* Outboxes. */

void http2_out_init(struct http2_out *out, struct http2 *h2, size_t *total)
{
    *out = (struct http2_out){.h2 = h2, .total = total};
    sendqueue_init(&out->queue, h2->pool, 0);
}

static void count_in(size_t *count, size_t before, size_t now)
{
    if (count != NULL) {
        *count = *count - before + now;
    }
}

static void count_pending(struct http2_out *out, size_t before)
{
    size_t now = out->queue.bytes;
    count_in(&out->h2->pending_bytes, before, now);
    count_in(out->total, before, now);
    count_in(out->large[0], before, now);
    count_in(out->large[1], before, now);
}

void http2_out_be_large(struct http2_out *out, size_t *of_connection, size_t *of_server)
{
    ASSERT(out->queue.bytes == 0);
    out->large[0] = of_connection;
    out->large[1] = of_server;
}

void http2_out_fini(struct http2_out *out)
{
    size_t before = out->queue.bytes;
    sendqueue_fini(&out->queue);
    count_pending(out, before);
}

static bool add_parts(struct sendqueue *queue, const struct grpc_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct grpc_part *part = &parts[i];
        bool added =
            part->blob == NULL
                ? sendqueue_copy(queue, part->bytes)
                : sendqueue_blob(queue, part->blob, (size_t)(part->bytes.data - part->blob->data),
                                 part->bytes.len);
        if (!added) {
            return false;
        }
    }
    return true;
}

bool http2_out_add(struct http2_out *out, const struct grpc_part *parts, size_t count)
{
    size_t before = out->queue.bytes;
    size_t len = 0;
    size_t copied = 0;
    for (size_t i = 0; i < count; i++) {
        len += parts[i].bytes.len;
        copied += parts[i].blob == NULL ? parts[i].bytes.len : 0;
    }
    ASSERT(len <= UINT32_MAX);
    const uint8_t prefix[GRPC_PREFIX_BYTES] = {0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
                                               (uint8_t)(len >> 8), (uint8_t)len};
    out->queue.piece_bytes_min = sizeof prefix + copied;
    bool added = sendqueue_copy(&out->queue, bytes_of(prefix, sizeof prefix)) &&
                 add_parts(&out->queue, parts, count);
    count_pending(out, before);
    return added;
}

ssize_t http2_out_read(struct http2_out *out, uint8_t *buf, size_t len, uint32_t *flags)
{
    size_t have = out->queue.bytes;
    if (have == 0 && !out->ended) {
        out->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = have < len ? have : len;
    if (n == have && out->ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    if (n >= NO_COPY_BYTES_MIN || out->trailers != 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY; /* http2_send_data takes it */
    } else {
        sendqueue_take(&out->queue, buf, n);
        count_pending(out, have);
    }
    return (ssize_t)n;
}

static bool write_trailers(struct stream *stream, int32_t stream_id, uint8_t field)
{
    const uint8_t head[FRAME_HEAD_BYTES] = TRAILERS_HEAD(stream_id);
    return stream_write(stream, bytes_of(head, sizeof head)) &&
           stream_write(stream, bytes_of(&field, 1));
}

int http2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                    nghttp2_data_source *source, void *user_data)
{
    (void)session;
    struct http2 *h2 = user_data;
    struct http2_out *out = source->ptr;
    ASSERT(frame->data.padlen == 0);
    if (http2_output_is_full(h2)) {
        /* nghttp2 goes from frame to frame without returning: stop it here. */
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    bool has_trailers = out->trailers != 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    uint8_t own_head[FRAME_HEAD_BYTES];
    memcpy(own_head, head, sizeof own_head);
    if (has_trailers) {
        own_head[FRAME_FLAGS_AT] &= (uint8_t)~NGHTTP2_FLAG_END_STREAM;
    }
    size_t before = out->queue.bytes;
    bool moved = stream_write(h2->stream, bytes_of(own_head, sizeof own_head)) &&
                 stream_write_queue(h2->stream, &out->queue, len) &&
                 (!has_trailers || write_trailers(h2->stream, frame->hd.stream_id, out->trailers));
    count_pending(out, before);
    return moved ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}
