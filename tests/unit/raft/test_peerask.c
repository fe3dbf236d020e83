/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerask.h"

#include <stdlib.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "net/listener.h"
#include "raft/peerframe.h"
#include "raft/transport_tcp.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"

/* Questions over real sockets: to a member's transport, and to others that listen. */
static struct loop loop;
static const char *description; /* what the member says; NULL: nothing */

static void set_up(void)
{
    loop_init(&loop);
    description = NULL;
}

static void tear_down(void)
{
    loop_fini(&loop);
}

struct asked {
    unsigned calls;
    enum err status;
    struct buf answer;
    struct why why;
};

static void on_answer(void *ctx, enum err status, struct bytes answer, const char *why)
{
    struct asked *asked = ctx;
    asked->calls++;
    asked->status = status;
    buf_append_bytes(&asked->answer, answer);
    why_set(&asked->why, "%s", status == OK ? "" : why);
}

/* Ask whoever listens on PORT; the caller frees the answer. */
static struct asked ask(uint16_t port, uint64_t timeout_ms)
{
    struct addr addr = {.host = "127.0.0.1", .port = port};
    struct asked asked = {0};
    ck_assert_int_eq(peerask_start(loop.env, &loop.uv, &addr, timeout_ms, on_answer, &asked), OK);
    RUN_UNTIL(&loop, asked.calls > 0);
    return asked;
}

/* ---- a member ---- */

static void describe(void *ctx, struct buf *ret)
{
    (void)ctx;
    if (description != NULL) {
        buf_append_str(ret, description);
    }
}

static void note_closed(void *ctx)
{
    *(bool *)ctx = true;
}

/* Ask a member that knows no other. */
static struct asked ask_member(void)
{
    static const struct transport_callbacks callbacks = {.describe = describe};
    struct addr addr = {.host = "127.0.0.1"};
    struct transport_tcp_config config = {.env = loop.env,
                                          .loop = &loop.uv,
                                          .cluster_id = 1,
                                          .member_id = 2,
                                          .listen = &addr,
                                          .listen_count = 1};
    struct transport *transport;
    struct why why;
    ck_assert_int_eq(transport_tcp_open(&config, &transport, &why), OK);
    ck_assert_int_eq(transport->ops->start(transport, &callbacks, NULL, &why), OK);
    struct asked asked = ask(transport_tcp_port(transport, 0), 10000);
    bool closed = false;
    transport->ops->close(transport, note_closed, &closed);
    RUN_UNTIL(&loop, closed);
    return asked;
}

START_TEST(a_stranger_may_ask_who_the_members_are)
{
    static char large[300000];
    memset(large, 'm', sizeof large - 1);
    const char *const descriptions[] = {"members", large};
    for (size_t i = 0; i < 2; i++) {
        description = descriptions[i];
        struct asked asked = ask_member();
        ck_assert_msg(asked.status == OK, "%s", asked.why.text);
        ck_assert(bytes_equal(buf_bytes(&asked.answer), bytes_of_str(descriptions[i])));
        buf_fini(&asked.answer);
    }
}
END_TEST

START_TEST(who_does_not_know_says_so)
{
    struct asked asked = ask_member();
    ck_assert_int_eq(asked.status, ERR_CONNECT);
    ck_assert_ptr_nonnull(strstr(asked.why.text, "does not know the members yet"));
}
END_TEST

/* ---- others ---- */

static unsigned impostor_closes;

static void ignore_read(void *ctx, struct bytes bytes)
{
    (void)ctx;
    (void)bytes;
}

static void count_close(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    impostor_closes++;
}

static void serve_silence(void *ctx, struct stream *stream)
{
    static const struct stream_callbacks ignoring = {.on_read = ignore_read,
                                                     .on_close = count_close};
    (void)ctx;
    stream_start(stream, &ignoring, NULL);
}

/* Whoever listens there instead of a member. */
struct impostor {
    const char *name;
    void (*make)(struct buf *buf);
    enum err status;
};

static void add_answer(struct buf *buf, enum peer_verdict verdict)
{
    uint8_t answer[PEER_ANSWER_BYTES];
    peer_answer_write(verdict, 7, answer);
    buf_append(buf, answer, sizeof answer);
}

static void answer_nothing(struct buf *buf)
{
    (void)buf;
}
static void answer_text(struct buf *buf)
{
    buf_append_str(buf, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}
static void answer_refusal(struct buf *buf)
{
    add_answer(buf, PEER_OTHER_VERSION);
}
static void answer_damaged(struct buf *buf)
{
    add_answer(buf, PEER_WELCOME);
    buf->data[9] ^= 1;
}
static void answer_half(struct buf *buf)
{
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    add_answer(buf, PEER_WELCOME);
    peer_frame_header_write(PEER_KIND_MEMBERS, bytes_of_str("members"), header);
    buf_append(buf, header, sizeof header);
    buf_append_str(buf, "mem");
}
static void answer_other_kind(struct buf *buf)
{
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    add_answer(buf, PEER_WELCOME);
    peer_frame_header_write(FRAME_RAFT, bytes_of_str("members"), header);
    buf_append(buf, header, sizeof header);
    buf_append_str(buf, "members");
}
static void answer_damaged_payload(struct buf *buf)
{
    answer_half(buf);
    buf_append_str(buf, "BERS");
}
static void answer_huge(struct buf *buf)
{
    uint8_t header[PEER_FRAME_HEADER_BYTES] = {0};
    add_answer(buf, PEER_WELCOME);
    put_u32(header, PEER_MEMBERS_BYTES_MAX + 1);
    header[4] = PEER_KIND_MEMBERS;
    put_u32(header + 12, crc32c(0, header, 12));
    buf_append(buf, header, sizeof header);
}

static const struct impostor impostors[] = {
    {"nothing", answer_nothing, ERR_CLOSED},
    {"a text", answer_text, ERR_MALFORMED},
    {"a refusal", answer_refusal, ERR_CONNECT},
    {"a damaged answer", answer_damaged, ERR_MALFORMED},
    {"half a frame", answer_half, ERR_CLOSED},
    {"another frame", answer_other_kind, ERR_MALFORMED},
    {"a damaged frame", answer_damaged_payload, ERR_MALFORMED},
    {"a frame above the cap", answer_huge, ERR_MALFORMED},
};

static void serve_impostor(void *ctx, struct stream *stream)
{
    static const struct stream_callbacks ignoring = {.on_read = ignore_read,
                                                     .on_close = count_close};
    const struct impostor *impostor = ctx;
    struct buf bytes = {0};
    impostor->make(&bytes);
    stream_start(stream, &ignoring, NULL);
    (void)stream_write(stream, buf_bytes(&bytes));
    stream_close_after_flush(stream, 100);
    buf_fini(&bytes);
}

START_TEST(what_an_impostor_answers_is_an_error)
{
    struct listener *listener;
    struct listener_config config = {.env = loop.env,
                                     .loop = &loop.uv,
                                     .addr = {.host = "127.0.0.1"},
                                     .connections_max = 10,
                                     .on_accept = serve_impostor,
                                     .ctx = (void *)(uintptr_t)&impostors[_i]};
    struct why why;
    ck_assert_int_eq(listener_open(&config, &listener, &why), OK);
    impostor_closes = 0;
    struct asked asked = ask(listener_port(listener), 10000);
    ck_assert_msg(asked.status == impostors[_i].status, "%s: %s", impostors[_i].name,
                  err_text(asked.status));
    ck_assert_uint_eq(asked.answer.len, 0);
    RUN_UNTIL(&loop, impostor_closes == 1);
    ck_assert_uint_eq(asked.calls, 1);
    bool closed = false;
    listener_close(listener, note_closed, &closed);
    RUN_UNTIL(&loop, closed);
}
END_TEST

START_TEST(who_does_not_listen_or_answer_is_an_error_in_time)
{
    struct listener *listener;
    struct listener_config config = {.env = loop.env,
                                     .loop = &loop.uv,
                                     .addr = {.host = "127.0.0.1"},
                                     .connections_max = 10,
                                     .on_accept = serve_silence};
    struct why why;
    ck_assert_int_eq(listener_open(&config, &listener, &why), OK);
    uint16_t port = listener_port(listener);
    impostor_closes = 0;
    struct asked asked = ask(port, 500);
    ck_assert_int_eq(asked.status, ERR_TIMEOUT);
    RUN_UNTIL(&loop, impostor_closes == 1);
    bool closed = false;
    listener_close(listener, note_closed, &closed);
    RUN_UNTIL(&loop, closed);
    asked = ask(port, 500);
    ck_assert_int_eq(asked.status, ERR_CONNECT);
}
END_TEST

static Suite *peerask_suite(void)
{
    Suite *suite = suite_create("peerask");
    TCase *tc = tcase_create("peerask");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_stranger_may_ask_who_the_members_are);
    tcase_add_test(tc, who_does_not_know_says_so);
    tcase_add_loop_test(tc, what_an_impostor_answers_is_an_error, 0, (int)ARRAY_LEN(impostors));
    tcase_add_test(tc, who_does_not_listen_or_answer_is_an_error_in_time);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(peerask_suite);
}
