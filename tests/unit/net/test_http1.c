/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/unit/net/grpc_fixture.h"
#include "tests/unit/net/peer.h"

/* The fixture's handler answers a request with its path; here it answers with all of it, or later.
 */
static struct peer peer;
static struct http1_request *late; /* a request to /late waits here */
static unsigned gone;
static unsigned answered;
static struct buf seen;

static void on_gone(struct http1_request *request)
{
    ck_assert_ptr_eq(request, late);
    late = NULL;
    gone++;
}

static void on_request(void *ctx, struct http1_request *request)
{
    (void)ctx;
    struct bytes value;
    answered++;
    buf_clear(&seen);
    buf_printf(&seen, "%.*s|%.*s|%.*s|%.*s", (int)request->method.len,
               (const char *)request->method.data, (int)request->path.len,
               (const char *)request->path.data, (int)request->query.len,
               (const char *)request->query.data, (int)request->body.len,
               (const char *)request->body.data);
    if (http1_header_find(request, "x-test", &value)) {
        buf_printf(&seen, "|%.*s", (int)value.len, (const char *)value.data);
    }
    if (bytes_equal(request->path, bytes_of_str("/late"))) {
        ck_assert_ptr_null(late);
        late = request;
        request->on_gone = on_gone;
    } else if (bytes_equal(request->path, bytes_of_str("/big"))) {
        static uint8_t big[100000];
        memset(big, 'b', sizeof big);
        http1_respond(request, 200, "text/plain", NULL, bytes_of(big, sizeof big));
    } else {
        http1_respond(request, 200, "text/plain", "X-Extra: yes\r\n", buf_bytes(&seen));
    }
}

static void setup(void)
{
    fixture_start(&(struct grpc_server_config){0});
    fixture.http1.on_request = on_request;
    late = NULL;
    gone = 0;
    seen = (struct buf){0};
    peer_connect(&peer);
}

static void teardown(void)
{
    peer_fini(&peer);
    fixture_stop();
    buf_fini(&seen);
}

static const struct {
    const char *request;
    const char *body; /* of the answer */
} requests[] = {
    {"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nGET|/health||"},
    {"GET /health?serializable=true&exclude=NOSPACE HTTP/1.1\r\nHost: x\r\n\r\n",
     "\r\n\r\nGET|/health|serializable=true&exclude=NOSPACE|"},
    {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
     "\r\n\r\nPOST|/v3/kv/put||hello"},
    {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
     "chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n"
     "\r\n",
     "\r\n\r\nPOST|/||abcdefg"},
    {"GET / HTTP/1.1\r\nHost: x\r\nX-TEST:  some value \r\n\r\n", "\r\n\r\nGET|/|||some value"},
    {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nOPTIONS|*||"},
    {"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
     "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
     "\r\n\r\nGET|/||"},
    {"P /x HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request\n"},
    {"PR /x HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request\n"},
};

START_TEST(requests_are_understood)
{
    peer_send_str(&peer, requests[_i].request);
    RUN_UNTIL(&fixture.loop, peer_got(&peer, requests[_i].body));
}
END_TEST

START_TEST(requests_may_come_byte_by_byte)
{
    for (const char *at = requests[_i].request; *at != '\0'; at++) {
        peer_send(&peer, bytes_of(at, 1));
        loop_turns(&fixture.loop, 2);
    }
    RUN_UNTIL(&fixture.loop, peer_got(&peer, requests[_i].body));
}
END_TEST

START_TEST(an_answer_has_its_headers)
{
    peer_send_str(&peer, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, peer_got(&peer, "GET|/a||"));
    ck_assert(peer_got(&peer, "HTTP/1.1 200 OK\r\n"));
    ck_assert(peer_got(&peer, "Content-Type: text/plain\r\n"));
    ck_assert(peer_got(&peer, "Content-Length: 8\r\n"));
    ck_assert(peer_got(&peer, "X-Extra: yes\r\n"));
    ck_assert(!peer_got(&peer, "Connection: close"));
    loop_turns(&fixture.loop, 5);
    ck_assert(!peer.closed);
}
END_TEST

START_TEST(head_has_no_body)
{
    peer_send_str(&peer, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, peer_got(&peer, "\r\n\r\n"));
    ck_assert(peer_got(&peer, "Content-Length: 9\r\n"));
    loop_turns(&fixture.loop, 5);
    ck_assert(!peer_got(&peer, "HEAD|"));
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    peer_send_str(&peer, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /late HTTP/1.1\r\nHost: x\r\n\r\n"
                         "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, late != NULL && peer_got(&peer, "GET|/1||"));
    loop_turns(&fixture.loop, 5);
    ck_assert(!peer_got(&peer, "GET|/3||"));
    http1_respond(late, 503, "text/plain", NULL, bytes_of_str("second"));
    RUN_UNTIL(&fixture.loop, peer_got(&peer, "GET|/3||"));
    ck_assert(peer_got(&peer, "HTTP/1.1 503 Service Unavailable\r\n"));
    ck_assert(peer_got(&peer, "second"));
}
END_TEST

START_TEST(one_request_is_answered_in_a_turn)
{
    enum { COUNT = 50 };
    struct buf many = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        buf_append_str(&many, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    answered = 0;
    peer_send(&peer, buf_bytes(&many));
    unsigned sent_too = 5; /* behind those that wait */
    while (answered < COUNT + 5) {
        unsigned before = answered;
        RUN_UNTIL(&fixture.loop, answered != before); /* looks behind each turn */
        ck_assert_uint_le(answered, before + 3);      /* before, in and behind the look for input */
        if (sent_too > 0) {
            sent_too--;
            peer_send_str(&peer, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    }
    buf_fini(&many);
}
END_TEST

START_TEST(connection_close_is_obeyed)
{
    peer_send_str(&peer, _i == 0 ? "GET /1 HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
                                 : "GET /1 HTTP/1.0\r\n\r\n");
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert(peer_got(&peer, "GET|/1||"));
    ck_assert(peer_got(&peer, "Connection: close\r\n"));
}
END_TEST

START_TEST(a_client_that_goes_before_the_answer_is_told_of)
{
    peer_send_str(&peer, "GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, late != NULL);
    stream_close(peer.stream);
    RUN_UNTIL(&fixture.loop, gone == 1);
}
END_TEST

START_TEST(a_reader_that_waits_stops_its_own_requests)
{
    struct buf many = {0};
    for (unsigned i = 0; i < 2000; i++) {
        buf_append_str(&many, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    stream_pause(peer.stream, true);
    size_t before = mallinfo2().uordblks;
    peer_send(&peer, buf_bytes(&many));
    buf_fini(&many);
    loop_turns(&fixture.loop, 200);
    ck_assert_uint_eq(peer.got.len, 0);
    /* 200 MB of answers are asked for; the server holds a turn's bytes of them */
    ck_assert_uint_lt(mallinfo2().uordblks, before + 2 * STREAM_TURN_BYTES);
    stream_pause(peer.stream, false);
    size_t want = (size_t)2000 * 100000;
    while (peer.got.len < want && !peer.closed) {
        size_t last = peer.got.len;
        RUN_UNTIL(&fixture.loop, peer.got.len != last || peer.closed);
    }
    ck_assert(!peer.closed);
}
END_TEST

static const struct {
    const char *name;
    const char *input;
    const char *status;
} refused[] = {
    {"no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"},
    {"zeros", "nonsense\r\n\r\n", "400"},
    {"preface cut short", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "400"},
    {"a space in a name", "GET / HTTP/1.1\r\nbad name: x\r\n\r\n", "400"},
    {"two lengths", "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
     "400"},
    {"length and chunks",
     "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
    {"a length beyond 64 bits", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
     "400"},
    {"a negative length", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"},
    {"a chunk that is no number", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     "400"},
    {"a body above the cap", "POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "413"},
    {"HTTP/9", "GET / HTTP/9.9\r\n\r\n", "505"},
};

START_TEST(garbage_is_answered_once_and_closed)
{
    peer_send_str(&peer, refused[_i].input);
    struct buf body = {0};
    for (unsigned i = 0; i < 1100; i++) {
        buf_append(&body, "x", 1);
    }
    if (strcmp(refused[_i].status, "413") == 0) {
        peer_send(&peer, buf_bytes(&body));
    }
    buf_fini(&body);
    RUN_UNTIL(&fixture.loop, peer.closed);
    char want[64];
    snprintf(want, sizeof want, "HTTP/1.1 %s ", refused[_i].status);
    ck_assert_msg(peer_got(&peer, want), "%s: %.*s", refused[_i].name, (int)peer.got.len,
                  (const char *)peer.got.data);
    /* others are served all the same */
    struct peer other;
    peer_connect(&other);
    peer_send_str(&other, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, peer_got(&other, "GET|/1||"));
    peer_fini(&other);
}
END_TEST

START_TEST(headers_without_end_are_refused)
{
    peer_send_str(&peer, "GET / HTTP/1.1\r\n");
    struct buf line = {0};
    for (unsigned i = 0; i < 500; i++) {
        buf_append_str(&line, _i == 0   ? "a"
                              : _i == 1 ? "a: b\r\n"
                                        : "aaaaaaaaaa: bbbbbbbbbbbb\r\n");
    }
    while (!peer.closed) {
        peer_send(&peer, buf_bytes(&line));
        loop_turns(&fixture.loop, 4);
    }
    buf_fini(&line);
    ck_assert(peer_got(&peer, "HTTP/1.1 431 ") || peer_got(&peer, "HTTP/1.1 400 "));
}
END_TEST

START_TEST(a_slow_request_is_closed)
{
    peer_fini(&peer);
    fixture.http1.request_timeout_ms = 30;
    peer_connect(&peer);
    peer_send_str(&peer, "GET / HT");
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert_uint_eq(peer.got.len, 0);
}
END_TEST

START_TEST(an_idle_connection_is_closed)
{
    fixture.http1.idle_timeout_ms = 30;
    peer_send_str(&peer, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert(peer_got(&peer, "GET|/1||"));
}
END_TEST

START_TEST(closing_the_port_answers_what_is_under_way)
{
    peer_send_str(&peer, "GET /late HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
    RUN_UNTIL(&fixture.loop, late != NULL);
    rpc_port_close(fixture.port, 20000, NULL, NULL);
    fixture.port = NULL;
    loop_turns(&fixture.loop, 5);
    ck_assert(!peer.closed);
    http1_respond(late, 200, "text/plain", NULL, bytes_of_str("in time"));
    RUN_UNTIL(&fixture.loop, peer.closed);
    ck_assert(peer_got(&peer, "in time"));
    ck_assert(peer_got(&peer, "Connection: close\r\n"));
    ck_assert(!peer_got(&peer, "/3"));
}
END_TEST

static void *query(const char *text, const char *name, unsigned index)
{
    static char value[64];
    const struct http1_request request = {.query = bytes_of_str(text)};
    struct bytes found;
    if (!http1_query_find(&request, name, index, &found)) {
        return NULL;
    }
    snprintf(value, sizeof value, "%.*s", (int)found.len, (const char *)found.data);
    return value;
}

START_TEST(query_parameters_are_found)
{
    ck_assert_str_eq(query("a=1&b=2", "b", 0), "2");
    ck_assert_str_eq(query("a=1&a=2&ab=3", "a", 1), "2");
    ck_assert_ptr_null(query("a=1&a=2&ab=3", "a", 2));
    ck_assert_str_eq(query("verbose", "verbose", 0), "");
    ck_assert_str_eq(query("a=b=c&&", "a", 0), "b=c");
    ck_assert_ptr_null(query("", "a", 0));
}
END_TEST

static Suite *http1_suite(void)
{
    Suite *suite = suite_create("http1");
    TCase *good = tcase_create("requests");
    tcase_add_checked_fixture(good, setup, teardown);
    tcase_set_timeout(good, 60);
    tcase_add_loop_test(good, requests_are_understood, 0, (int)ARRAY_LEN(requests));
    tcase_add_loop_test(good, requests_may_come_byte_by_byte, 0, (int)ARRAY_LEN(requests));
    tcase_add_test(good, an_answer_has_its_headers);
    tcase_add_test(good, head_has_no_body);
    tcase_add_test(good, pipelined_requests_are_answered_in_order);
    tcase_add_test(good, one_request_is_answered_in_a_turn);
    tcase_add_loop_test(good, connection_close_is_obeyed, 0, 2);
    tcase_add_test(good, a_client_that_goes_before_the_answer_is_told_of);
    tcase_add_test(good, a_reader_that_waits_stops_its_own_requests);
    tcase_add_test(good, closing_the_port_answers_what_is_under_way);
    tcase_add_test(good, query_parameters_are_found);
    suite_add_tcase(suite, good);
    TCase *bad = tcase_create("hostile");
    tcase_add_checked_fixture(bad, setup, teardown);
    tcase_set_timeout(bad, 60);
    tcase_add_loop_test(bad, garbage_is_answered_once_and_closed, 0, (int)ARRAY_LEN(refused));
    tcase_add_loop_test(bad, headers_without_end_are_refused, 0, 3);
    tcase_add_test(bad, a_slow_request_is_closed);
    tcase_add_test(bad, an_idle_connection_is_closed);
    suite_add_tcase(suite, bad);
    return suite;
}

int main(void)
{
    return runner_main(http1_suite);
}
