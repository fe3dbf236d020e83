/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/net/peer.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "tests/unit/net/grpc_fixture.h"

#define HEAD_BYTES 9

static void on_read(void *ctx, struct bytes bytes)
{
    struct peer *peer = ctx;
    buf_append_bytes(&peer->got, bytes);
    ck_assert(buf_ok(&peer->got));
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    (void)why;
    struct peer *peer = ctx;
    peer->closed = true;
    peer->stream = NULL;
}

static const struct stream_callbacks callbacks = {.on_read = on_read, .on_close = on_close};

static void on_connect(void *ctx, struct stream *stream, enum err status, const char *why)
{
    struct peer *peer = ctx;
    ck_assert_msg(status == OK, "%s", why);
    peer->stream = stream;
    stream_start(stream, &callbacks, peer);
}

void peer_connect(struct peer *peer)
{
    *peer = (struct peer){0};
    const struct addr addr = {.host = "127.0.0.1", .port = rpc_port_number(fixture.port)};
    struct stream_connect_request *request;
    ck_assert_int_eq(stream_connect(fixture.loop.env, &fixture.loop.uv, &addr, 10000, on_connect,
                                    peer, &request),
                     OK);
    RUN_UNTIL(&fixture.loop, peer->stream != NULL);
}

void peer_send(struct peer *peer, struct bytes bytes)
{
    if (peer->stream != NULL) {
        stream_write(peer->stream, bytes); /* nobody hears it when the other end has closed */
    }
}

void peer_send_str(struct peer *peer, const char *text)
{
    peer_send(peer, bytes_of_str(text));
}

void peer_fini(struct peer *peer)
{
    if (peer->stream != NULL) {
        stream_close(peer->stream);
        RUN_UNTIL(&fixture.loop, peer->closed);
    }
    buf_fini(&peer->got);
}

bool peer_got(const struct peer *peer, const char *text)
{
    return peer->got.len > 0 && memmem(peer->got.data, peer->got.len, text, strlen(text)) != NULL;
}

/* HTTP/2. */

void h2_frame(struct buf *to, uint8_t type, uint8_t flags, uint32_t stream_id, struct bytes payload)
{
    const uint8_t head[HEAD_BYTES] = {(uint8_t)(payload.len >> 16),
                                      (uint8_t)(payload.len >> 8),
                                      (uint8_t)payload.len,
                                      type,
                                      flags,
                                      (uint8_t)(stream_id >> 24),
                                      (uint8_t)(stream_id >> 16),
                                      (uint8_t)(stream_id >> 8),
                                      (uint8_t)stream_id};
    buf_append(to, head, sizeof head);
    buf_append_bytes(to, payload);
}

void h2_preface(struct buf *to)
{
    buf_append_str(to, NGHTTP2_CLIENT_MAGIC);
    h2_frame(to, NGHTTP2_SETTINGS, 0, 0, bytes_of(NULL, 0));
}

static void h2_length(struct buf *to, size_t len)
{
    uint8_t byte = (uint8_t)(len < 127 ? len : 127); /* RFC 7541 5.1, 7 bits of prefix */
    buf_append(to, &byte, 1);
    if (len < 127) {
        return;
    }
    for (len -= 127; len >= 128; len >>= 7) {
        byte = (uint8_t)(len | 128);
        buf_append(to, &byte, 1);
    }
    byte = (uint8_t)len;
    buf_append(to, &byte, 1);
}

void h2_field(struct buf *to, const char *name, const char *value)
{
    buf_append(to, "\0", 1);
    h2_length(to, strlen(name));
    buf_append_str(to, name);
    h2_length(to, strlen(value));
    buf_append_str(to, value);
}

static void add_request(struct buf *block, const char *path)
{
    h2_field(block, ":method", "POST");
    h2_field(block, ":scheme", "http");
    h2_field(block, ":path", path);
    h2_field(block, ":authority", "test");
    h2_field(block, "content-type", "application/grpc");
    h2_field(block, "te", "trailers");
}

void h2_request(struct buf *to, uint32_t stream_id, const char *path, uint8_t flags)
{
    struct buf block = {0};
    add_request(&block, path);
    h2_frame(to, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, stream_id, buf_bytes(&block));
    buf_fini(&block);
}

void h2_dependent_request(struct buf *to, uint32_t stream_id, const char *path, uint32_t on)
{
    struct buf block = {0};
    const uint8_t priority[] = {0x80, 0, (uint8_t)(on >> 8), (uint8_t)on, 15};
    buf_append(&block, priority, sizeof priority);
    add_request(&block, path);
    h2_frame(to, NGHTTP2_HEADERS, NGHTTP2_FLAG_PRIORITY | NGHTTP2_FLAG_END_HEADERS, stream_id,
             buf_bytes(&block));
    buf_fini(&block);
}

void h2_message(struct buf *to, uint32_t stream_id, uint8_t flags, uint8_t compressed,
                uint32_t length, struct bytes message)
{
    struct buf payload = {0};
    const uint8_t prefix[] = {compressed, (uint8_t)(length >> 24), (uint8_t)(length >> 16),
                              (uint8_t)(length >> 8), (uint8_t)length};
    buf_append(&payload, prefix, sizeof prefix);
    buf_append_bytes(&payload, message);
    h2_frame(to, NGHTTP2_DATA, flags, stream_id, buf_bytes(&payload));
    buf_fini(&payload);
}

/* The next whole frame at *AT; false at the end. */
static bool next_frame(const struct peer *peer, size_t *at, uint8_t *type, uint32_t *stream_id,
                       struct bytes *payload)
{
    if (peer->got.len - *at < HEAD_BYTES) {
        return false;
    }
    const uint8_t *head = peer->got.data + *at;
    size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    if (peer->got.len - *at - HEAD_BYTES < len) {
        return false;
    }
    *type = head[3];
    *stream_id =
        (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    *payload = bytes_of(head + HEAD_BYTES, len);
    *at += HEAD_BYTES + len;
    return true;
}

unsigned h2_count(const struct peer *peer, uint8_t type, uint32_t stream_id,
                  struct bytes *ret_payload)
{
    unsigned count = 0;
    size_t at = 0;
    uint8_t frame_type;
    uint32_t frame_stream;
    struct bytes payload;
    while (next_frame(peer, &at, &frame_type, &frame_stream, &payload)) {
        if (frame_type == type && frame_stream == stream_id) {
            count++;
            if (ret_payload != NULL) {
                *ret_payload = payload;
            }
        }
    }
    return count;
}

size_t h2_window_added(const struct peer *peer, uint32_t stream_id)
{
    size_t added = 0;
    size_t at = 0;
    uint8_t type;
    uint32_t frame_stream;
    struct bytes payload;
    while (next_frame(peer, &at, &type, &frame_stream, &payload)) {
        if (type == NGHTTP2_WINDOW_UPDATE && frame_stream == stream_id) {
            ck_assert_uint_eq(payload.len, 4);
            added += (size_t)payload.data[0] << 24 | (size_t)payload.data[1] << 16 |
                     (size_t)payload.data[2] << 8 | payload.data[3];
        }
    }
    return added;
}

bool h2_find(const struct peer *peer, uint32_t stream_id, const char *name, char *value,
             size_t size)
{
    nghttp2_hd_inflater *inflater;
    ck_assert_int_eq(nghttp2_hd_inflate_new(&inflater), 0);
    bool found = false;
    size_t at = 0;
    uint8_t type;
    uint32_t frame_stream;
    struct bytes payload;
    while (next_frame(peer, &at, &type, &frame_stream, &payload)) {
        while (type == NGHTTP2_HEADERS) {
            nghttp2_nv nv;
            int flags = 0;
            ssize_t n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, payload.data, payload.len, 1);
            ck_assert_int_ge(n, 0);
            payload = bytes_of(payload.data + n, payload.len - (size_t)n);
            if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && frame_stream == stream_id &&
                bytes_equal(bytes_of(nv.name, nv.namelen), bytes_of_str(name))) {
                snprintf(value, size, "%.*s", (int)nv.valuelen, (const char *)nv.value);
                found = true;
            }
            if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
                ck_assert_int_eq(nghttp2_hd_inflate_end_headers(inflater), 0);
                break;
            }
        }
    }
    nghttp2_hd_inflate_del(inflater);
    return found;
}
