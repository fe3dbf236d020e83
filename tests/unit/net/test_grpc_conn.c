/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_private.h"
#include "net/stream_private.h"
#include "tests/lib/effort.h"
#include "tests/unit/net/grpc_fixture.h"
#include "tests/unit/net/peer.h"

/* Clients that break the rules, by accident or on purpose: what happens to them is their own
 * business, and a well-behaved connection beside them goes on. */

static struct peer peer;
static struct buf out;

static void start(const struct grpc_server_config *config)
{
    fixture_start(config);
    fixture_connect();
    peer_connect(&peer);
    out = (struct buf){0};
    h2_preface(&out);
}

static void setup(void)
{
    start(&(struct grpc_server_config){0});
}

static void send_out(void)
{
    ck_assert(buf_ok(&out));
    peer_send(&peer, buf_bytes(&out));
    buf_clear(&out);
}

/* Exchange settings, so that the server's windows and caps hold. */
static void shake_hands(void)
{
    send_out();
    RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_SETTINGS, 0, NULL) > 0);
    h2_frame(&out, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, bytes_of(NULL, 0));
}

static void others_are_served(void)
{
    struct reply reply;
    reply_unary(&reply, "/test.Echo/Unary", bytes_of_str("still there?"));
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert_int_eq(reply.status, GRPC_OK);
    reply_fini(&reply);
}

static void teardown(void)
{
    others_are_served();
    peer_fini(&peer);
    buf_fini(&out);
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->calls == 0);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->pending_bytes, 0);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->held_bytes, 0);
    fixture_stop();
}

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Wait for the status of the call on STREAM, and compare. */
static void expect_status(uint32_t stream_id, const char *http, const char *status,
                          const char *message)
{
    char got[600];
    RUN_UNTIL(&fixture.loop,
              h2_find(&peer, stream_id, "grpc-status", got, sizeof got) || peer.closed);
    ck_assert(!peer.closed);
    ck_assert_str_eq(got, status);
    ck_assert(h2_find(&peer, stream_id, ":status", got, sizeof got));
    ck_assert_str_eq(got, http);
    if (message != NULL) {
        ck_assert(h2_find(&peer, stream_id, "grpc-message", got, sizeof got));
        ck_assert_str_eq(got, message);
    }
}

/* The connection is ended, with this code in the last GOAWAY. */
static void expect_goaway(uint32_t code)
{
    RUN_UNTIL(&fixture.loop, peer.closed);
    struct bytes payload;
    ck_assert_uint_ge(h2_count(&peer, NGHTTP2_GOAWAY, 0, &payload), 1);
    ck_assert_uint_ge(payload.len, 8);
    ck_assert_uint_eq(be32(payload.data + 4), code);
}

static void expect_reset(uint32_t stream_id, uint32_t code)
{
    struct bytes payload;
    RUN_UNTIL(&fixture.loop,
              h2_count(&peer, NGHTTP2_RST_STREAM, stream_id, &payload) > 0 || peer.closed);
    ck_assert(!peer.closed);
    ck_assert_uint_eq(payload.len, 4);
    ck_assert_uint_eq(be32(payload.data), code);
}

START_TEST(a_well_formed_call_by_hand_is_answered)
{
    h2_request(&out, 1, "/test.Echo/Unary", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 2, bytes_of_str("hi"));
    send_out();
    expect_status(1, "200", "0", NULL);
    struct bytes payload;
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_DATA, 1, &payload), 1);
    ck_assert(bytes_equal(payload, bytes_of("\0\0\0\0\2hi", 7)));
    char type[64];
    ck_assert(h2_find(&peer, 1, "content-type", type, sizeof type));
    ck_assert_str_eq(type, "application/grpc");
}
END_TEST

START_TEST(a_call_that_comes_byte_by_byte_is_answered)
{
    h2_request(&out, 1, "/test.Echo/Unary", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 2, bytes_of_str("hi"));
    for (size_t i = 0; i < out.len; i++) {
        peer_send(&peer, bytes_of(out.data + i, 1));
        loop_turns(&fixture.loop, 2);
    }
    expect_status(1, "200", "0", NULL);
}
END_TEST

START_TEST(a_message_in_many_frames_is_put_together)
{
    h2_request(&out, 1, "/test.Echo/Unary", 0);
    static const char whole[] = "\0\0\0\0\x05"
                                "hello";
    for (size_t i = 0; i < 10; i++) {
        h2_frame(&out, NGHTTP2_DATA, i == 9 ? NGHTTP2_FLAG_END_STREAM : 0, 1,
                 bytes_of(whole + i, 1));
    }
    send_out();
    expect_status(1, "200", "0", NULL);
    struct bytes payload;
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_DATA, 1, &payload), 1);
    ck_assert(bytes_equal(payload, bytes_of(whole, 10)));
}
END_TEST

static const struct {
    const char *settings; /* initial window 2^31 - 1, and the largest frame */
    size_t len;
    unsigned frames; /* of 200,005 bytes */
} frame_sizes[] = {
    {"\0\4\x7f\xff\xff\xff", 6, 13},
    {"\0\4\x7f\xff\xff\xff\0\5\0\0\x4e\x20", 12, 11},
    {"\0\4\x7f\xff\xff\xff\0\5\0\1\0\0", 12, 4},
    {"\0\4\x7f\xff\xff\xff\0\5\0\xff\xff\xff", 12, 4}, /* FRAME_BYTES_MAX */
};

START_TEST(frames_are_as_large_as_the_client_takes)
{
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of(frame_sizes[_i].settings, frame_sizes[_i].len));
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 0, bytes_of("\x7f\x00\x00\x00", 4));
    h2_request(&out, 1, "/test.Echo/Big", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 6, bytes_of_str("200000"));
    send_out();
    expect_status(1, "200", "0", NULL);
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_DATA, 1, NULL), frame_sizes[_i].frames);
}
END_TEST

START_TEST(an_answer_before_the_end_of_the_request_resets_the_rest)
{
    h2_request(&out, 1, "/test.Echo/Unary", 0);
    h2_message(&out, 1, 0, 0, 2, bytes_of_str("hi"));
    send_out();
    expect_status(1, "200", "0", NULL);
    expect_reset(1, NGHTTP2_NO_ERROR);
}
END_TEST

static struct bytes call_by_hand(uint32_t stream_id)
{
    struct bytes trailers;
    h2_request(&out, stream_id, "/test.Echo/Unary", 0);
    h2_message(&out, stream_id, NGHTTP2_FLAG_END_STREAM, 0, 2, bytes_of_str("hi"));
    send_out();
    expect_status(stream_id, "200", "0", NULL);
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_HEADERS, stream_id, &trailers), 2);
    return trailers;
}

/* They are remembered as a place in HPACK's table, which other headers move, and which a client
 * takes away with a smaller table. */
START_TEST(trailers_are_right_whatever_is_in_the_table)
{
    static const uint8_t no_table[] = {0, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0, 0, 0, 0};
    (void)call_by_hand(1);
    ck_assert_uint_eq(call_by_hand(3).len, 1);
    ck_assert_uint_eq(call_by_hand(5).len, 1);
    h2_request(&out, 7, "/test.Echo/Nothing", 0); /* its status is new to the table */
    send_out();
    expect_status(7, "200", "12", NULL);
    ck_assert_uint_eq(call_by_hand(9).len, 1);
    ck_assert_uint_eq(call_by_hand(11).len, 1);
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of(no_table, sizeof no_table));
    ck_assert_uint_gt(call_by_hand(13).len, 1);
    ck_assert_uint_gt(call_by_hand(15).len, 1);
}
END_TEST

/* One that takes another's place leaves it as full as it was. */
START_TEST(trailers_are_right_when_fields_push_each_other_out)
{
    static const uint8_t small[] = {0, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0, 0, 0, 110};
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of(small, sizeof small));
    for (uint32_t stream_id = 1; stream_id < 40; stream_id += 6) {
        (void)call_by_hand(stream_id);
        (void)call_by_hand(stream_id + 2);
        h2_request(&out, stream_id + 4, "/test.Echo/Unary", 0);
        h2_message(&out, stream_id + 4, NGHTTP2_FLAG_END_STREAM, 0, UINT32_MAX, bytes_of_str("hi"));
        send_out();
        expect_status(stream_id + 4, "200", "8", NULL);
    }
}
END_TEST

/* Calls that are wrong, on a connection that is not. */

static const struct {
    const char *name;
    uint8_t flag;
    uint32_t length;
    const char *body;
    const char *status;
    const char *message;
} messages[] = {
    {"promises more than it sends", 0, 10, "abc", "13", "grpc: the request ends within a message"},
    {"promises 4 GiB", 0, 0xffffffff, "abc", "8",
     "grpc: received message larger than max (4294967295 vs. 2097152)"},
    {"compressed", 1, 3, "abc", "13", "grpc: compressed flag set with identity or empty encoding"},
    {"unknown flag", 7, 3, "abc", "13", "grpc: received unexpected payload format 7"},
    {"second message", 0, 1, "a\0\0\0\0\1", "0", NULL},
};

START_TEST(malformed_messages_end_the_call)
{
    h2_request(&out, 1, "/test.Echo/Unary", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, messages[_i].flag, messages[_i].length,
               bytes_of_str(messages[_i].body));
    send_out();
    expect_status(1, "200", messages[_i].status, messages[_i].message);
}
END_TEST

START_TEST(a_request_without_a_message_is_refused)
{
    if (_i == 0) {
        h2_request(&out, 1, "/test.Echo/Unary", NGHTTP2_FLAG_END_STREAM);
    } else {
        h2_request(&out, 1, "/test.Echo/Unary", 0);
        h2_frame(&out, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1,
                 bytes_of("\0\0\0\0", _i == 1 ? 0 : 4));
    }
    send_out();
    expect_status(1, "200", "13",
                  _i == 2 ? "grpc: the request ends within a message"
                          : "grpc: the request has no message");
}
END_TEST

static const struct {
    const char *method;
    const char *type;
    const char *extra_name;
    const char *extra_value;
    const char *http;
    const char *status;
    const char *message;
} headers[] = {
    {"GET", "application/grpc", "te", "trailers", "405", "13",
     "the :method of a gRPC request should be POST"},
    {"POST", "application/json", "te", "trailers", "415", "3",
     "invalid gRPC request content-type \"application/json\""},
    {"POST", "application/grpcweb", "te", "trailers", "415", "3", NULL},
    {"POST", "application/grpc", "grpc-timeout", "soon", "400", "13", "malformed grpc-timeout"},
    {"POST", "application/grpc", "grpc-encoding", "gzip", "200", "12",
     "grpc: Decompressor is not installed for grpc-encoding \"gzip\""},
    {"POST", "application/grpc+proto", "grpc-encoding", "identity", "200", "0", NULL},
    {"POST", "application/grpc;x=y", "grpc-timeout", "99999999H", "200", "0", NULL},
    {"POST", "application/grpc", "grpc-timeout", "1n", "200", "0", NULL},
    {"POST", "application/grpc", "grpc-timeout", "0n", "200", "4", "context deadline exceeded"},
};

START_TEST(headers_are_checked)
{
    struct buf block = {0};
    h2_field(&block, ":method", headers[_i].method);
    h2_field(&block, ":scheme", "http");
    h2_field(&block, ":path", "/test.Echo/Unary");
    h2_field(&block, ":authority", "test");
    h2_field(&block, "content-type", headers[_i].type);
    h2_field(&block, headers[_i].extra_name, headers[_i].extra_value);
    h2_frame(&out, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, buf_bytes(&block));
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    buf_fini(&block);
    send_out();
    expect_status(1, headers[_i].http, headers[_i].status, headers[_i].message);
}
END_TEST

static void add_headers(const char *name, const char *value, unsigned count)
{
    struct buf block = {0};
    h2_field(&block, ":method", "POST");
    h2_field(&block, ":scheme", "http");
    h2_field(&block, ":path", "/test.Echo/Unary");
    h2_field(&block, ":authority", "test");
    h2_field(&block, "content-type", "application/grpc");
    for (unsigned i = 0; i < count; i++) {
        h2_field(&block, name, value);
    }
    for (size_t at = 0; at < block.len; at += 16384) {
        size_t n = block.len - at < 16384 ? block.len - at : 16384;
        h2_frame(&out, at == 0 ? NGHTTP2_HEADERS : NGHTTP2_CONTINUATION,
                 at + n == block.len ? NGHTTP2_FLAG_END_HEADERS : 0, 1,
                 bytes_of(block.data + at, n));
    }
    buf_fini(&block);
}

START_TEST(too_many_headers_reset_the_call)
{
    add_headers("x-many", "0123456789", 2000); /* 100 kB as RFC 9113 counts, in 3 frames */
    send_out();
    expect_reset(1, NGHTTP2_INTERNAL_ERROR);
}
END_TEST

START_TEST(headers_beyond_what_a_call_keeps_are_passed_over)
{
    add_headers("x-many", "0123456789", 500);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    send_out();
    expect_status(1, "200", "0", NULL);
}
END_TEST

static const struct {
    const char *name;
    const char *value;
} malformed[] = {
    {"Upper", "x"},
    {"connection", "x"},
    {":unknown", "x"},
    {"bad name", "x"},
    {":path", "/late"},
    {"te", "gzip"},
    {"transfer-encoding", "chunked"},
    {"value", "a\x01b"},
    {"", "x"},
    {":method", "POST"},
};

START_TEST(malformed_headers_reset_the_call)
{
    add_headers(malformed[_i].name, malformed[_i].value, 1);
    send_out();
    expect_reset(1, NGHTTP2_PROTOCOL_ERROR);
}
END_TEST

/* Each of these twice, or one that nobody knows. */
START_TEST(malformed_pseudo_headers_reset_the_call)
{
    static const char *const names[] = {":method", ":scheme", ":path", ":authority", ":status"};
    struct buf block = {0};
    h2_field(&block, names[_i], "x");
    h2_field(&block, ":method", "POST");
    h2_field(&block, ":scheme", "http");
    h2_field(&block, ":path", "/test.Echo/Unary");
    h2_field(&block, ":authority", "test");
    h2_field(&block, "content-type", "application/grpc");
    h2_frame(&out, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, buf_bytes(&block));
    buf_fini(&block);
    send_out();
    expect_reset(1, NGHTTP2_PROTOCOL_ERROR);
}
END_TEST

/* etcdctl --endpoints=http://127.0.0.1:2379 endpoint hashkv. */
START_TEST(an_authority_may_be_a_url)
{
    struct buf block = {0};
    h2_field(&block, ":method", "POST");
    h2_field(&block, ":scheme", "http");
    h2_field(&block, ":path", "/test.Echo/Unary");
    h2_field(&block, ":authority", "http://127.0.0.1:2379");
    h2_field(&block, "content-type", "application/grpc");
    h2_field(&block, "te", "trailers");
    h2_frame(&out, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, buf_bytes(&block));
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    buf_fini(&block);
    send_out();
    expect_status(1, "200", "0", NULL);
}
END_TEST

/* Connections that are wrong. */

static const struct {
    const char *name;
    uint8_t type;
    uint8_t flags;
    uint32_t stream_id;
    const char *payload;
    size_t len;
    uint32_t code;
} frames[] = {
    {"data on no stream", NGHTTP2_DATA, 0, 0, "x", 1, NGHTTP2_PROTOCOL_ERROR},
    {"data on an idle stream", NGHTTP2_DATA, 0, 5, "x", 1, NGHTTP2_PROTOCOL_ERROR},
    {"headers on no stream", NGHTTP2_HEADERS, 4, 0, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
    {"headers on a server's stream", NGHTTP2_HEADERS, 4, 2, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
    {"HPACK of nothing", NGHTTP2_HEADERS, 4, 1, "\xff\xff\xff\xff\xff\xff\xff\xff", 8,
     NGHTTP2_COMPRESSION_ERROR},
    {"HPACK index beyond the table", NGHTTP2_HEADERS, 4, 1, "\xfe", 1, NGHTTP2_COMPRESSION_ERROR},
    {"continuation of nothing", NGHTTP2_CONTINUATION, 4, 1, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
    {"settings of odd length", NGHTTP2_SETTINGS, 0, 0, "xxxxx", 5, NGHTTP2_FRAME_SIZE_ERROR},
    {"settings on a stream", NGHTTP2_SETTINGS, 0, 1, "", 0, NGHTTP2_PROTOCOL_ERROR},
    {"window above 2^31", NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6,
     NGHTTP2_FLOW_CONTROL_ERROR},
    {"ping of 7 bytes", NGHTTP2_PING, 0, 0, "1234567", 7, NGHTTP2_FRAME_SIZE_ERROR},
    {"window update of 0", NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
    {"connection window beyond 2^31", NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4,
     NGHTTP2_FLOW_CONTROL_ERROR},
    {"push from a client", NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\2\x82", 5, NGHTTP2_PROTOCOL_ERROR},
    {"reset of an idle stream", NGHTTP2_RST_STREAM, 0, 7, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
    {"padding longer than the frame", NGHTTP2_HEADERS, 4 | 8, 1, "\xff\x82", 2,
     NGHTTP2_PROTOCOL_ERROR},
};

START_TEST(broken_frames_end_the_connection)
{
    h2_frame(&out, frames[_i].type, frames[_i].flags, frames[_i].stream_id,
             bytes_of(frames[_i].payload, frames[_i].len));
    send_out();
    expect_goaway(frames[_i].code);
}
END_TEST

START_TEST(a_frame_above_the_maximum_ends_the_connection)
{
    static const uint8_t head[] = {0xff, 0xff, 0xff, NGHTTP2_DATA, 0, 0, 0, 0, 1};
    buf_append(&out, head, sizeof head);
    send_out();
    expect_goaway(NGHTTP2_FRAME_SIZE_ERROR);
}
END_TEST

START_TEST(headers_must_not_be_interrupted)
{
    h2_frame(&out, NGHTTP2_HEADERS, 0, 1, bytes_of("\x82", 1));
    h2_frame(&out, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
    send_out();
    expect_goaway(NGHTTP2_PROTOCOL_ERROR);
}
END_TEST

START_TEST(a_stream_window_beyond_31_bits_resets_the_stream)
{
    h2_request(&out, 1, "/test.Echo/Hold", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 1, bytes_of("\x7f\xff\xff\xff", 4));
    send_out();
    expect_reset(1, NGHTTP2_FLOW_CONTROL_ERROR);
    ck_assert_uint_eq(fixture.held_closed, 1);
    grpc_call_unref(fixture.held);
}
END_TEST

START_TEST(data_beyond_the_window_resets_the_stream)
{
    /* the window for answers is closed; when enough echoes wait, the server gives none back */
    static uint8_t data[16000];
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    shake_hands();
    h2_request(&out, 1, "/test.Echo/Bidi", 0);
    size_t too_much = STREAM_SEND_BYTES_MAX + 2 * STREAM_WINDOW_BYTES;
    for (size_t sent = 0; sent < too_much; sent += sizeof data) {
        h2_message(&out, 1, 0, 0, sizeof data, bytes_of(data, sizeof data));
    }
    send_out();
    expect_reset(1, NGHTTP2_FLOW_CONTROL_ERROR);
}
END_TEST

/* Floods. */

START_TEST(floods_that_want_answers_end_the_connection)
{
    send_out();
    RUN_UNTIL(&fixture.loop, peer.got.len > 0);
    for (unsigned i = 0; i < 20000; i++) {
        if (_i == 0) {
            h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of(NULL, 0));
        } else {
            h2_frame(&out, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
        }
    }
    stream_pause(peer.stream, true);
    send_out();
    loop_turns(&fixture.loop, 50);
    stream_pause(peer.stream, false);
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->refused, 1);
}
END_TEST

/* For each of these nghttp2 looks at every stream, and a client may have tens of thousands. */
static const struct {
    uint8_t type;
    uint32_t stream_id;
    const char *payload;
    size_t len;
} sweeps[] = {
    {NGHTTP2_SETTINGS, 0, "\0\4\0\1\0\0", 6},
    {NGHTTP2_GOAWAY, 0, "\0\0\0\0\0\0\0\0", 8},
    {NGHTTP2_PRIORITY, 3, "\x80\0\0\1\xff", 5},
};

START_TEST(frames_that_concern_all_streams_are_few)
{
    shake_hands();
    h2_request(&out, 1, "/test.Echo/Bidi", 0);
    for (unsigned i = 0; i < SWEEPS_PER_CONNECTION_BURST - 1; i++) {
        h2_frame(&out, sweeps[_i].type, 0, sweeps[_i].stream_id,
                 bytes_of(sweeps[_i].payload, sweeps[_i].len));
    }
    h2_message(&out, 1, 0, 0, 1, bytes_of_str("x"));
    send_out();
    RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_DATA, 1, NULL) > 0 || peer.closed);
    ck_assert(!peer.closed);
    for (unsigned i = 0; i < 2 * SWEEPS_PER_CONNECTION_BURST; i++) {
        h2_frame(&out, sweeps[_i].type, 0, sweeps[_i].stream_id,
                 bytes_of(sweeps[_i].payload, sweeps[_i].len));
    }
    h2_message(&out, 1, 0, 0, 1, bytes_of_str("x"));
    send_out();
    RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_DATA, 1, NULL) > 1 || peer.closed);
    ck_assert(peer.closed);
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->refused, 1);
}
END_TEST

/* The same is a request that says which other one it depends on. */
START_TEST(requests_that_depend_on_others_are_few)
{
    shake_hands();
    for (uint32_t i = 0; i < SWEEPS_PER_CONNECTION_BURST - 2; i++) {
        h2_dependent_request(&out, 2 * i + 1, "/test.Echo/Bidi", 2 * i);
    }
    h2_message(&out, 1, 0, 0, 1, bytes_of_str("x"));
    send_out();
    RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_DATA, 1, NULL) > 0 || peer.closed);
    ck_assert(!peer.closed);
    for (uint32_t i = 0; i < 2 * SWEEPS_PER_CONNECTION_BURST; i++) {
        h2_dependent_request(&out, 2 * i + 1001, "/test.Echo/Bidi", 1);
    }
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
}
END_TEST

START_TEST(too_many_pings_are_told_so)
{
    send_out();
    for (unsigned i = 0; i < 6 && !peer.closed; i++) {
        struct bytes payload;
        h2_frame(&out, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
        send_out();
        RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_PING, 0, &payload) > i || peer.closed);
    }
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert(peer_got(&peer, "too_many_pings"));
}
END_TEST

START_TEST(what_follows_too_many_pings_is_passed_over)
{
    for (unsigned i = 0; i < 6; i++) {
        h2_frame(&out, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
    }
    h2_request(&out, 1, "/test.Echo/Bidi", 0);
    send_out();
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    ck_assert(peer_got(&peer, "too_many_pings"));
    ck_assert_uint_eq(grpc_server_method_stats(fixture.server, 3)->started, 0);
}
END_TEST

START_TEST(pings_are_allowed_while_answers_come)
{
    h2_request(&out, 1, "/test.Echo/Bidi", 0);
    send_out();
    for (unsigned i = 0; i < 20; i++) {
        h2_message(&out, 1, 0, 0, 1, bytes_of_str("x"));
        send_out();
        RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_DATA, 1, NULL) > i);
        h2_frame(&out, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
        send_out();
        RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_PING, 0, NULL) > i);
    }
    ck_assert(!peer.closed);
}
END_TEST

START_TEST(rapid_reset_ends_the_connection)
{
    uint64_t before_ms = env_now_ms(fixture.loop.env);
    uint32_t i = 0;
    while (!peer.closed) {
        for (unsigned j = 0; j < 500; j++, i++) {
            h2_request(&out, 2 * i + 1, "/test.Echo/Bidi", 0);
            h2_frame(&out, NGHTTP2_RST_STREAM, 0, 2 * i + 1, bytes_of("\0\0\0\x08", 4));
        }
        send_out();
        loop_turns(&fixture.loop, 3);
    }
    uint64_t seconds = (env_now_ms(fixture.loop.env) - before_ms) / 1000 + 1;
    ck_assert_uint_gt(i, RESETS_PER_CONNECTION_BURST);
    ck_assert_uint_lt(i, RESETS_PER_CONNECTION_BURST + seconds * RESETS_PER_CONNECTION_PER_SEC +
                             10000);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->calls, 0);
}
END_TEST

/* libuv reads on, as long as there is something: the others would wait for 4 MiB of small calls. */
START_TEST(who_sends_without_pause_waits_for_the_others)
{
    struct grpc_conn *conn = grpc_conn_new(fixture.server, peer.stream);
    ck_assert_ptr_nonnull(conn);
    for (unsigned half = 1; half <= 2; half++) {
        while (out.len < INPUT_TURN_BYTES / 2) {
            h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 0, bytes_of("\0\0\0\1", 4));
        }
        grpc_conn_input(conn, buf_bytes(&out));
        buf_clear(&out);
        ck_assert_int_eq(peer.stream->reading, half < 2);
    }
    grpc_conn_flush(conn);
    ck_assert(peer.stream->reading);
    grpc_conn_free(conn);
}
END_TEST

/* Answers to what became no call wait in nghttp2, where nothing else counts them. */
START_TEST(who_takes_no_refusals_is_not_read)
{
    char path[201] = "/";
    const uint32_t last = 59999;
    memset(path + 1, '%', sizeof path - 2);
    shake_hands();
    for (uint32_t id = 1; id <= last; id += 2) {
        h2_request(&out, id, path, NGHTTP2_FLAG_END_STREAM);
    }
    stream_pause(peer.stream, true);
    send_out();
    loop_turns(&fixture.loop, 2000);
    ck_assert_uint_gt(stream_queued_bytes(peer.stream), 0);
    others_are_served();
    stream_pause(peer.stream, false);
    RUN_UNTIL(&fixture.loop, h2_count(&peer, NGHTTP2_HEADERS, last, NULL) > 0);
    expect_status(last, "200", "12", NULL);
}
END_TEST

START_TEST(continuations_without_end_end_the_connection)
{
    h2_frame(&out, NGHTTP2_HEADERS, 0, 1, bytes_of("\x82", 1));
    for (unsigned i = 0; i < 1000; i++) {
        h2_frame(&out, NGHTTP2_CONTINUATION, 0, 1, bytes_of(NULL, 0));
    }
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
}
END_TEST

START_TEST(malformed_headers_without_end_end_the_connection)
{
    struct buf block = {0};
    h2_field(&block, ":nothing", "x");
    for (uint32_t i = 0; i < 2 * INVALID_FRAMES_MAX; i++) {
        h2_frame(&out, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, buf_bytes(&block));
    }
    buf_fini(&block);
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
}
END_TEST

START_TEST(errors_without_end_end_the_connection)
{
    /* each of these makes the server reset a stream */
    for (uint32_t i = 0; i < 2 * INVALID_FRAMES_MAX; i++) {
        h2_request(&out, 2 * i + 1, "/test.Echo/Bidi", 0);
        h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1, bytes_of("\0\0\0\0", 4));
    }
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
}
END_TEST

START_TEST(streams_beyond_the_cap_are_refused)
{
    teardown();
    start(&(struct grpc_server_config){.streams_max = 10});
    if (_i == 1) {
        shake_hands();
    }
    for (uint32_t i = 0; i < 20; i++) {
        h2_request(&out, 2 * i + 1, "/test.Echo/Bidi", 0);
    }
    send_out();
    if (_i == 1) {
        expect_goaway(
            NGHTTP2_PROTOCOL_ERROR); /* a client that knows the cap is not so kindly told */
        return;
    }
    expect_reset(21, NGHTTP2_REFUSED_STREAM);
    expect_reset(39, NGHTTP2_REFUSED_STREAM);
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_RST_STREAM, 19, NULL), 0);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->calls, 10);
}
END_TEST

/* Slowness. */

START_TEST(a_handshake_that_stops_is_ended)
{
    teardown();
    start(&(struct grpc_server_config){.handshake_timeout_ms = 30});
    buf_clear(&out);
    buf_append_str(&out, NGHTTP2_CLIENT_MAGIC);
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
}
END_TEST

START_TEST(headers_that_stop_are_ended)
{
    teardown();
    start(&(struct grpc_server_config){.handshake_timeout_ms = 200});
    h2_frame(&out, NGHTTP2_HEADERS, 0, 1, bytes_of("\x83", 1));
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->refused, 1);
}
END_TEST

START_TEST(a_peer_that_does_not_answer_pings_is_ended)
{
    teardown();
    start(&(struct grpc_server_config){.ping_interval_ms = 30, .ping_timeout_ms = 30});
    send_out();
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert_uint_ge(h2_count(&peer, NGHTTP2_PING, 0, NULL), 1);
    ck_assert(!fixture.client_closed); /* which answered */
}
END_TEST

/* A client asks for much and reads nothing: neither from the socket nor by opening its window. */
START_TEST(answers_that_nobody_reads_are_bounded)
{
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0,
             _i == 0 ? bytes_of("\0\4\x7f\xff\xff\xff", 6) : bytes_of("\0\4\0\0\0\0", 6));
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 0, bytes_of("\x7f\x00\x00\x00", 4));
    for (uint32_t i = 0; i < 100; i++) {
        h2_request(&out, 2 * i + 1, "/test.Echo/Big", 0);
        h2_message(&out, 2 * i + 1, NGHTTP2_FLAG_END_STREAM, 0, 7, bytes_of_str("4000000"));
    }
    stream_pause(peer.stream, true);
    struct mallinfo2 info = mallinfo2();
    size_t before = info.uordblks + info.hblkhd;
    send_out();
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->pending_bytes > 0);
    loop_turns(&fixture.loop, 50);
    size_t pending = grpc_server_stats(fixture.server)->pending_bytes;
    ck_assert_uint_gt(pending, CONNECTION_SEND_BYTES_MAX / 2);
    ck_assert_uint_lt(pending, CONNECTION_SEND_BYTES_MAX + 5000000);
    info = mallinfo2();
    ck_assert_uint_lt(info.uordblks + info.hblkhd, before + CONNECTION_SEND_BYTES_MAX + 10000000);
    others_are_served();
    stream_pause(peer.stream, false);
    if (_i == 0) {
        expect_status(199, "200", "8", "grpc: too many answers wait for this client to read them");
    }
}
END_TEST

/* All that is small, and more of it than a connection may have waiting: new calls are not begun. */
START_TEST(small_answers_that_nobody_reads_are_bounded)
{
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    for (uint32_t i = 0; i < 200; i++) {
        h2_request(&out, 2 * i + 1, "/test.Echo/Big", 0);
        h2_message(&out, 2 * i + 1, NGHTTP2_FLAG_END_STREAM, 0, 6, bytes_of_str("900000"));
    }
    send_out();
    expect_status(399, "200", "8", "grpc: too much waits on this connection already");
    size_t pending = grpc_server_stats(fixture.server)->pending_bytes;
    ck_assert_uint_ge(pending, CONNECTION_SEND_BYTES_MAX);
    ck_assert_uint_lt(pending, CONNECTION_SEND_BYTES_MAX + LARGE_ANSWER_BYTES_MIN);
    others_are_served();
}
END_TEST

/* One list of all there is: what the same client asks meanwhile is answered, and has its place. */
START_TEST(a_large_answer_on_its_way_costs_the_others_nothing)
{
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    h2_request(&out, 1, "/test.Echo/Big", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 9, bytes_of_str("100000000"));
    send_out();
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->pending_bytes >
                                 CONNECTION_SEND_BYTES_MAX + LARGE_ANSWER_BYTES_MIN);
    h2_request(&out, 3, "/test.Echo/Unary", 0);
    h2_message(&out, 3, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 3, bytes_of("\0\0\1\0", 4));
    h2_request(&out, 5, "/test.Echo/Big", 0);
    h2_message(&out, 5, NGHTTP2_FLAG_END_STREAM, 0, 7, bytes_of_str("2000000"));
    send_out();
    expect_status(3, "200", "0", NULL);
    expect_status(5, "200", "8", "grpc: too many answers wait for this client to read them");
    h2_frame(&out, NGHTTP2_RST_STREAM, 0, 1, bytes_of("\0\0\0\10", 4));
    h2_request(&out, 7, "/test.Echo/Big", 0);
    h2_message(&out, 7, NGHTTP2_FLAG_END_STREAM, 0, 7, bytes_of_str("2000000"));
    send_out();
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->large_bytes == 2000005);
}
END_TEST

/* Many connections whose windows stay closed have more waiting than all together may. */
START_TEST(who_reads_is_served_beside_those_who_do_not)
{
    static struct peer slow[12];
    fixture.shared = blob_new(SERVER_SEND_BYTES_MAX / ARRAY_LEN(slow));
    ck_assert_ptr_nonnull(fixture.shared);
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    h2_request(&out, 1, "/test.Echo/Shared", 0);
    h2_message(&out, 1, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        peer_connect(&slow[i]);
        peer_send(&slow[i], buf_bytes(&out));
    }
    RUN_UNTIL(&fixture.loop,
              grpc_server_stats(fixture.server)->pending_bytes >= SERVER_SEND_BYTES_MAX);
    others_are_served();
    /* but who has its part waiting gets no more */
    buf_clear(&out);
    h2_request(&out, 3, "/test.Echo/Shared", 0);
    h2_message(&out, 3, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("x"));
    peer_send(&slow[0], buf_bytes(&out));
    char status[8] = "";
    RUN_UNTIL(&fixture.loop, h2_find(&slow[0], 3, "grpc-status", status, sizeof status));
    ck_assert_str_eq(status, "8");
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        peer_fini(&slow[i]);
    }
    blob_unref(fixture.shared);
}
END_TEST

START_TEST(requests_that_never_end_are_bounded)
{
    static uint8_t data[16384];
    /* 200 requests of 2 MB, each without its last byte */
    uint32_t id = 1;
    shake_hands();
    for (unsigned i = 0; i < 200 && !peer.closed; i++, id += 2) {
        h2_request(&out, id, "/test.Echo/Unary", 0);
        h2_message(&out, id, 0, 0, 2000000, bytes_of(NULL, 0));
        for (unsigned j = 0; j < 60; j++) {
            h2_frame(&out, NGHTTP2_DATA, 0, id, bytes_of(data, sizeof data));
        }
        send_out();
        while (stream_queued_bytes(peer.stream) > 0) {
            loop_turns(&fixture.loop, 1);
        }
    }
    RUN_UNTIL(&fixture.loop,
              peer.closed ||
                  grpc_server_method_stats(fixture.server, 0)->handled[GRPC_RESOURCE_EXHAUSTED] >
                      0);
    ck_assert_uint_le(grpc_server_stats(fixture.server)->held_bytes, CONNECTION_HELD_BYTES_MAX);
}
END_TEST

/* The answers are a byte each, the window is closed, and so the calls stay with what they were
 * asked. */
START_TEST(requests_whose_answers_are_not_taken_are_bounded)
{
    static uint8_t data[16384];
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    shake_hands();
    for (uint32_t id = 1; id < 400; id += 2) {
        h2_request(&out, id, "/test.Echo/Keep", 0);
        h2_message(&out, id, 0, 0, 60 * sizeof data, bytes_of(NULL, 0));
        for (unsigned j = 0; j < 60; j++) {
            h2_frame(&out, NGHTTP2_DATA, j == 59 ? NGHTTP2_FLAG_END_STREAM : 0, id,
                     bytes_of(data, sizeof data));
        }
        send_out();
        while (stream_queued_bytes(peer.stream) > 0) {
            loop_turns(&fixture.loop, 1);
        }
    }
    expect_status(399, "200", "8", NULL);
    size_t held = grpc_server_stats(fixture.server)->held_bytes;
    ck_assert_uint_gt(held, CONNECTION_HELD_BYTES_MAX / 2);
    ck_assert_uint_le(held, CONNECTION_HELD_BYTES_MAX + 60 * sizeof data);
}
END_TEST

/* Headers of 16 KB that stand in HPACK's table: a few bytes each. */
static void ask_with_metadata(struct peer *from, unsigned calls)
{
    enum { VALUE = 3900 };
    struct buf fields = {0};
    struct buf ask = {0};
    h2_preface(&ask);
    for (unsigned i = 0; i < calls; i++) {
        buf_clear(&fields);
        h2_field(&fields, ":method", "POST");
        h2_field(&fields, ":scheme", "http");
        h2_field(&fields, ":path", "/test.Echo/Bidi");
        h2_field(&fields, "content-type", "application/grpc");
        if (i == 0) { /* a literal that is added to the table (RFC 7541 6.2.1) */
            const uint8_t head[] = {
                0x40, 1, 'm', 127, (VALUE - 127) % 128 + 128, (VALUE - 127) / 128};
            buf_append(&fields, head, sizeof head);
            memset(buf_extend(&fields, VALUE), 'v', VALUE);
        } else {
            buf_append(&fields, "\xbe", 1);
        }
        buf_append(&fields, "\xbe\xbe\xbe", 3);
        h2_frame(&ask, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, buf_bytes(&fields));
        h2_message(&ask, 2 * i + 1, 0, 0, 1, bytes_of_str("x"));
    }
    ck_assert(buf_ok(&ask));
    peer_send(from, buf_bytes(&ask));
    buf_fini(&fields);
    buf_fini(&ask);
}

START_TEST(who_holds_little_is_served_beside_those_who_hold_much)
{
    static struct peer greedy[6];
    const unsigned calls = 7000;
    const struct grpc_server_stats *stats = grpc_server_stats(fixture.server);
    for (size_t i = 0; i < ARRAY_LEN(greedy); i++) {
        size_t before = stats->held_bytes;
        peer_connect(&greedy[i]);
        ask_with_metadata(&greedy[i], calls);
        char status[8] = "";
        RUN_UNTIL(&fixture.loop,
                  stats->held_bytes >= before + calls * 15600 ||
                      h2_find(&greedy[i], 2 * calls - 1, "grpc-status", status, sizeof status));
        ck_assert(i < 4 || strcmp(status, "8") == 0);
    }
    ck_assert_uint_gt(stats->held_bytes, SERVER_HELD_BYTES_MAX - 16384);
    ck_assert_uint_lt(stats->held_bytes, 2 * SERVER_HELD_BYTES_MAX);
    static uint8_t large[300000]; /* comes in several pieces */
    struct reply reply;
    reply_unary(&reply, "/test.Echo/Unary", bytes_of(large, sizeof large));
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert_int_eq(reply.status, GRPC_OK);
    reply_fini(&reply);
    for (size_t i = 0; i < ARRAY_LEN(greedy); i++) {
        peer_fini(&greedy[i]);
    }
}
END_TEST

/* The client's window for answers is closed, so that echoes pile up. */
START_TEST(a_stream_that_is_not_read_gets_no_window_to_ask_more)
{
    static uint8_t data[16000];
    h2_frame(&out, NGHTTP2_SETTINGS, 0, 0, bytes_of("\0\4\0\0\0\0", 6));
    shake_hands();
    h2_request(&out, 1, "/test.Echo/Bidi", 0);
    size_t sent = 0;
    for (unsigned idle = 0; idle < 100; idle++) {
        while (sent + sizeof data + 5 <= STREAM_WINDOW_BYTES + h2_window_added(&peer, 1)) {
            h2_message(&out, 1, 0, 0, sizeof data, bytes_of(data, sizeof data));
            sent += sizeof data + 5;
            idle = 0;
        }
        send_out();
        loop_turns(&fixture.loop, 2);
        ck_assert(!peer.closed);
        ck_assert_uint_lt(sent, (size_t)STREAM_SEND_BYTES_MAX + 2 * STREAM_WINDOW_BYTES);
    }
    ck_assert_uint_eq(h2_count(&peer, NGHTTP2_RST_STREAM, 1, NULL), 0);
    ck_assert_uint_ge(grpc_server_stats(fixture.server)->pending_bytes, STREAM_SEND_BYTES_MAX);
    /* once it reads, it may ask again */
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 1, bytes_of("\x7f\0\0\0", 4));
    h2_frame(&out, NGHTTP2_WINDOW_UPDATE, 0, 0, bytes_of("\x7f\0\0\0", 4));
    send_out();
    size_t added = h2_window_added(&peer, 1);
    RUN_UNTIL(&fixture.loop, h2_window_added(&peer, 1) > added);
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->pending_bytes == 0);
}
END_TEST

/* A good conversation with random bytes changed: anything may come of it but a crash, a leak, or
 * harm to others. The seed is in the failure's name: the index. */
START_TEST(mutations_do_no_harm)
{
    struct buf good = {0};
    h2_preface(&good);
    h2_request(&good, 1, "/test.Echo/Unary", 0);
    h2_message(&good, 1, NGHTTP2_FLAG_END_STREAM, 0, 5, bytes_of_str("hello"));
    h2_request(&good, 3, "/test.Echo/Bidi", 0);
    h2_message(&good, 3, 0, 0, 5, bytes_of_str("hello"));
    h2_frame(&good, NGHTTP2_PING, 0, 0, bytes_of("12345678", 8));
    h2_frame(&good, NGHTTP2_WINDOW_UPDATE, 0, 3, bytes_of("\0\0\1\0", 4));
    h2_message(&good, 3, 0, 0, 5, bytes_of_str("again"));
    h2_frame(&good, NGHTTP2_RST_STREAM, 0, 3, bytes_of("\0\0\0\x08", 4));
    h2_request(&good, 5, "/test.Echo/Feed", 0);
    h2_message(&good, 5, NGHTTP2_FLAG_END_STREAM, 0, 1, bytes_of_str("3"));
    uint64_t seed = (uint64_t)_i + 1;
    for (unsigned round = 0; round < 100; round++) {
        struct peer mutant;
        peer_connect(&mutant);
        struct buf bad = {0};
        buf_append_bytes(&bad, buf_bytes(&good));
        /* most keep the preface, or they would all end there */
        seed = mix64(seed);
        size_t first = seed % 8 == 0 ? 0 : 24;
        for (unsigned i = 0; i <= seed % 5; i++) {
            uint64_t at = mix64(seed + i);
            bad.data[first + at % (bad.len - first)] = (uint8_t)(at >> 32);
        }
        if (seed % 3 == 0) {
            bad.len -= mix64(seed + 9) % (bad.len / 2);
        }
        peer_send(&mutant, buf_bytes(&bad));
        loop_turns(&fixture.loop, 6);
        buf_fini(&bad);
        peer_fini(&mutant);
        if (fixture.held != NULL) {
            grpc_call_unref(fixture.held); /* "Hold" may be what a mutation makes of a path */
            fixture.held = NULL;
        }
    }
    buf_fini(&good);
    RUN_UNTIL(&fixture.loop, grpc_server_stats(fixture.server)->calls == 0);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return tcase;
}

static Suite *grpc_conn_suite(void)
{
    Suite *suite = suite_create("grpc_conn");
    TCase *calls = add_case(suite, "calls");
    tcase_add_test(calls, a_well_formed_call_by_hand_is_answered);
    tcase_add_test(calls, a_call_that_comes_byte_by_byte_is_answered);
    tcase_add_test(calls, a_message_in_many_frames_is_put_together);
    tcase_add_loop_test(calls, frames_are_as_large_as_the_client_takes, 0, ARRAY_LEN(frame_sizes));
    tcase_add_test(calls, an_answer_before_the_end_of_the_request_resets_the_rest);
    tcase_add_test(calls, trailers_are_right_whatever_is_in_the_table);
    tcase_add_test(calls, trailers_are_right_when_fields_push_each_other_out);
    tcase_add_loop_test(calls, malformed_messages_end_the_call, 0, (int)ARRAY_LEN(messages));
    tcase_add_loop_test(calls, a_request_without_a_message_is_refused, 0, 3);
    tcase_add_loop_test(calls, headers_are_checked, 0, (int)ARRAY_LEN(headers));
    tcase_add_test(calls, too_many_headers_reset_the_call);
    tcase_add_test(calls, headers_beyond_what_a_call_keeps_are_passed_over);
    tcase_add_loop_test(calls, malformed_headers_reset_the_call, 0, (int)ARRAY_LEN(malformed));
    tcase_add_loop_test(calls, malformed_pseudo_headers_reset_the_call, 0, 5);
    tcase_add_test(calls, an_authority_may_be_a_url);
    TCase *broken = add_case(suite, "broken");
    tcase_add_loop_test(broken, broken_frames_end_the_connection, 0, (int)ARRAY_LEN(frames));
    tcase_add_test(broken, a_frame_above_the_maximum_ends_the_connection);
    tcase_add_test(broken, headers_must_not_be_interrupted);
    tcase_add_test(broken, a_stream_window_beyond_31_bits_resets_the_stream);
    tcase_add_test(broken, data_beyond_the_window_resets_the_stream);
    tcase_add_loop_test(broken, mutations_do_no_harm, 0,
                        (int)effort_count(20, 2, "hundreds of mutations"));
    TCase *floods = add_case(suite, "floods");
    tcase_add_loop_test(floods, floods_that_want_answers_end_the_connection, 0, 2);
    tcase_add_loop_test(floods, frames_that_concern_all_streams_are_few, 0, (int)ARRAY_LEN(sweeps));
    tcase_add_test(floods, requests_that_depend_on_others_are_few);
    tcase_add_test(floods, too_many_pings_are_told_so);
    tcase_add_test(floods, what_follows_too_many_pings_is_passed_over);
    tcase_add_test(floods, pings_are_allowed_while_answers_come);
    tcase_add_test(floods, rapid_reset_ends_the_connection);
    tcase_add_test(floods, who_sends_without_pause_waits_for_the_others);
    tcase_add_test(floods, who_takes_no_refusals_is_not_read);
    tcase_add_test(floods, continuations_without_end_end_the_connection);
    tcase_add_test(floods, errors_without_end_end_the_connection);
    tcase_add_test(floods, malformed_headers_without_end_end_the_connection);
    tcase_add_loop_test(floods, streams_beyond_the_cap_are_refused, 0, 2);
    TCase *slow = add_case(suite, "slow");
    tcase_add_test(slow, a_handshake_that_stops_is_ended);
    tcase_add_test(slow, headers_that_stop_are_ended);
    tcase_add_test(slow, a_peer_that_does_not_answer_pings_is_ended);
    tcase_add_loop_test(slow, answers_that_nobody_reads_are_bounded, 0, 2);
    tcase_add_test(slow, small_answers_that_nobody_reads_are_bounded);
    tcase_add_test(slow, a_large_answer_on_its_way_costs_the_others_nothing);
    tcase_add_test(slow, who_reads_is_served_beside_those_who_do_not);
    tcase_add_test(slow, requests_that_never_end_are_bounded);
    tcase_add_test(slow, requests_whose_answers_are_not_taken_are_bounded);
    tcase_add_test(slow, who_holds_little_is_served_beside_those_who_hold_much);
    tcase_add_test(slow, a_stream_that_is_not_read_gets_no_window_to_ask_more);
    return suite;
}

int main(void)
{
    return runner_main(grpc_conn_suite);
}
