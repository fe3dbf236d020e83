/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/transport_tcp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/env_real.h"
#include "base/limits.h"
#include "raft/peerframe.h"
#include "tests/lib/runner.h"

#define MEMBERS    3
#define CLUSTER    0xc1u
#define WAIT_MS    20000
#define FRAMES_MAX 64

static uv_loop_t loop;
static struct env_real *real;
static struct env *env;

struct received {
    uint64_t from;
    enum frame_kind kind;
    size_t len;
    uint32_t crc;
};

struct member {
    struct transport *transport;
    struct metrics *metrics;
    uint64_t id;
    uint16_t port;
    struct received received[FRAMES_MAX];
    size_t count;
    unsigned ups;
    unsigned downs;
};
static struct member members[MEMBERS];
static unsigned open_count;
static unsigned closed_count;

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    struct member *m = ctx;
    ck_assert_uint_lt(m->count, FRAMES_MAX);
    m->received[m->count++] = (struct received){.from = peer_id,
                                                .kind = kind,
                                                .len = payload.len,
                                                .crc = crc32c(0, payload.data, payload.len)};
}

static void on_link(void *ctx, uint64_t peer_id, bool up)
{
    (void)peer_id;
    struct member *m = ctx;
    m->ups += up;
    m->downs += !up;
}

static const struct transport_callbacks callbacks = {.on_frame = on_frame, .on_link = on_link};

/* Turns of the loop until CONDITION, or the test fails. */
static void wake_up(struct env_timer *timer)
{
    (void)timer;
}

#define WAIT_FOR(condition)                                                        \
    do {                                                                           \
        uint64_t until_ms_ = env_now_ms(env) + WAIT_MS;                            \
        struct env_timer timer_;                                                   \
        env_timer_init(&timer_, wake_up);                                          \
        while (!(condition)) {                                                     \
            env_timer_start(env, &timer_, 50);                                     \
            uv_run(&loop, UV_RUN_ONCE);                                            \
            ck_assert_msg(env_now_ms(env) < until_ms_, "in vain: %s", #condition); \
        }                                                                          \
        env_timer_stop(env, &timer_);                                              \
    } while (0)

static void member_open(struct member *m, uint64_t id, uint64_t cluster_id, const char *host,
                        uint16_t port)
{
    struct addr addr = {.port = port};
    snprintf(addr.host, sizeof addr.host, "%s", host);
    struct transport_tcp_config config = {
        .env = env,
        .loop = &loop,
        .metrics = m->metrics,
        .cluster_id = cluster_id,
        .member_id = id,
        .listen = &addr,
        .listen_count = 1,
    };
    struct why why = {0};
    m->id = id;
    ck_assert_int_eq(transport_tcp_open(&config, &m->transport, &why), OK);
    enum err err = m->transport->ops->start(m->transport, &callbacks, m, &why);
    ck_assert_msg(err == OK, "start: %s", why.text);
    m->port = transport_tcp_port(m->transport, 0);
    open_count++;
}

static void on_closed(void *ctx)
{
    (void)ctx;
    closed_count++;
}

static void member_close(struct member *m)
{
    if (m->transport != NULL) {
        m->transport->ops->close(m->transport, on_closed, NULL);
        m->transport = NULL;
    }
}

static void member_add(struct member *m, const struct member *peer, const char *host)
{
    char address[64];
    snprintf(address, sizeof address, "%s:%u", host, peer->port);
    ck_assert_int_eq(m->transport->ops->add_peer(m->transport, peer->id, address), OK);
}

static bool is_connected(const struct member *m, const struct member *peer)
{
    return m->transport->ops->connected(m->transport, peer->id);
}

static void setup(void)
{
    memset(members, 0, sizeof members);
    open_count = closed_count = 0;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(env_real_new(&loop, &real, NULL), OK);
    env = env_real_env(real);
    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i].metrics = metrics_new();
        member_open(&members[i], 0x100 + i, CLUSTER, "127.0.0.1", 0);
    }
}

static void connect_all(void)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        for (unsigned j = 0; j < MEMBERS; j++) {
            if (i != j) {
                member_add(&members[i], &members[j], "127.0.0.1");
            }
        }
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        for (unsigned j = 0; j < MEMBERS; j++) {
            if (i != j) {
                WAIT_FOR(is_connected(&members[i], &members[j]));
            }
        }
    }
}

static void teardown(void)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        member_close(&members[i]);
    }
    WAIT_FOR(closed_count == open_count);
    env_real_close(real);
    uv_run(&loop, UV_RUN_DEFAULT);
    env_real_free(real);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        metrics_free(members[i].metrics);
    }
}

static struct blob *pattern(size_t len, uint32_t *crc)
{
    struct blob *blob = blob_new(len);
    ck_assert_ptr_nonnull(blob);
    for (size_t i = 0; i < len; i++) {
        blob->data[i] = (uint8_t)(i * 31 + (i >> 8));
    }
    *crc = crc32c(0, blob->data, len);
    return blob;
}

static bool send_to(struct member *m, const struct member *peer, enum transport_lane lane,
                    enum frame_kind kind, size_t len)
{
    uint32_t crc;
    struct blob *blob = pattern(len, &crc);
    bool sent = m->transport->ops->send(m->transport, peer->id, lane, kind, blob);
    blob_unref(blob);
    return sent;
}

/* Does a frame get from A to B? */
static void check_reaches(struct member *a, struct member *b)
{
    size_t before = b->count;
    WAIT_FOR(is_connected(a, b));
    ck_assert(send_to(a, b, LANE_URGENT, FRAME_RAFT, 10));
    WAIT_FOR(b->count > before);
    ck_assert_uint_eq(b->received[before].from, a->id);
}

static const size_t sizes[] = {0, 1, 15, 16, 4096, 128 * 1024 - 16, 1 << 20, 5 * 1024 * 1024 + 3};

START_TEST(frames_arrive_whole_and_in_order)
{
    connect_all();
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        struct member *to = &members[1 + lane];
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            ck_assert(send_to(&members[0], to, lane, FRAME_RAFT + i % 4, sizes[i]));
        }
        WAIT_FOR(to->count == ARRAY_LEN(sizes));
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            uint32_t crc;
            blob_unref(pattern(sizes[i], &crc));
            ck_assert_uint_eq(to->received[i].from, members[0].id);
            ck_assert_uint_eq(to->received[i].kind, FRAME_RAFT + i % 4);
            ck_assert_uint_eq(to->received[i].len, sizes[i]);
            ck_assert_uint_eq(to->received[i].crc, crc);
        }
    }
}
END_TEST

START_TEST(urgent_frames_overtake_bulk)
{
    connect_all();
    ck_assert(send_to(&members[0], &members[1], LANE_BULK, FRAME_RAFT, 60 * 1024 * 1024));
    ck_assert(send_to(&members[0], &members[1], LANE_URGENT, FRAME_READ_INDEX, 20));
    WAIT_FOR(members[1].count == 2);
    ck_assert_uint_eq(members[1].received[0].kind, FRAME_READ_INDEX);
}
END_TEST

START_TEST(what_cannot_be_sent_is_refused)
{
    connect_all();
    struct member *a = &members[0];
    struct member stranger = {.id = 0x999};
    ck_assert(!send_to(a, &stranger, LANE_URGENT, FRAME_RAFT, 10));
    /* The first bulk frame may be larger than the bound, a second one may not wait behind it. */
    ck_assert(send_to(a, &members[1], LANE_BULK, FRAME_RAFT, PEER_BULK_BYTES_MAX + 1));
    ck_assert(!send_to(a, &members[1], LANE_BULK, FRAME_RAFT, 10));
    ck_assert(send_to(a, &members[1], LANE_URGENT, FRAME_RAFT, 10));
    WAIT_FOR(members[1].count == 2);
    member_close(&members[2]);
    WAIT_FOR(!is_connected(a, &members[2]));
    ck_assert(!send_to(a, &members[2], LANE_BULK, FRAME_RAFT, 10));
}
END_TEST

START_TEST(a_member_that_comes_back_is_reached_again)
{
    connect_all();
    struct member *back = &members[2];
    uint16_t port = back->port;
    member_close(back);
    WAIT_FOR(closed_count == 1);
    WAIT_FOR(!is_connected(&members[0], back));
    WAIT_FOR(members[0].downs == 1);
    member_open(back, back->id, CLUSTER, "127.0.0.1", port);
    member_add(back, &members[0], "127.0.0.1");
    check_reaches(&members[0], back);
    check_reaches(back, &members[0]);
    ck_assert_uint_eq(members[0].ups, 3);
}
END_TEST

START_TEST(another_address_moves_a_peer)
{
    connect_all();
    struct member *moved = &members[2];
    member_close(moved);
    WAIT_FOR(closed_count == 1);
    member_open(moved, moved->id, CLUSTER, "127.0.0.1", 0);
    member_add(moved, &members[0], "127.0.0.1");
    member_add(&members[0], moved, "127.0.0.1");
    check_reaches(&members[0], moved);
    check_reaches(moved, &members[0]);
}
END_TEST

START_TEST(a_removed_peer_is_neither_reached_nor_heard)
{
    connect_all();
    struct transport *t = members[0].transport;
    t->ops->remove_peer(t, members[1].id);
    ck_assert(!is_connected(&members[0], &members[1]));
    WAIT_FOR(!is_connected(&members[1], &members[0]));
    ck_assert(!send_to(&members[1], &members[0], LANE_URGENT, FRAME_RAFT, 10));
    check_reaches(&members[2], &members[0]);
    ck_assert_uint_eq(members[0].count, 1);
    member_add(&members[0], &members[1], "127.0.0.1");
    check_reaches(&members[1], &members[0]);
}
END_TEST

START_TEST(names_and_ipv6_work)
{
    member_add(&members[0], &members[1], "localhost");
    member_add(&members[1], &members[0], "localhost");
    check_reaches(&members[0], &members[1]);
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&any, sizeof any) == 0;
    close(probe);
    if (!has_ipv6) {
        return;
    }
    member_close(&members[2]);
    WAIT_FOR(closed_count == 1);
    member_open(&members[2], 0x102, CLUSTER, "::1", 0);
    member_add(&members[2], &members[0], "127.0.0.1");
    member_add(&members[0], &members[2], "[::1]");
    check_reaches(&members[0], &members[2]);
}
END_TEST

static Suite *transport_tcp_suite(void)
{
    Suite *suite = suite_create("transport_tcp");
    TCase *tc = tcase_create("transport_tcp");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, frames_arrive_whole_and_in_order);
    tcase_add_test(tc, urgent_frames_overtake_bulk);
    tcase_add_test(tc, what_cannot_be_sent_is_refused);
    tcase_add_test(tc, a_member_that_comes_back_is_reached_again);
    tcase_add_test(tc, another_address_moves_a_peer);
    tcase_add_test(tc, a_removed_peer_is_neither_reached_nor_heard);
    tcase_add_test(tc, names_and_ipv6_work);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(transport_tcp_suite);
}
