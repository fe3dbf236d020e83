/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/transport_tcp.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "raft/peerframe.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"

#define MEMBERS    3
#define CLUSTER    0xc1u
#define WAIT_MS    20000
#define FRAMES_MAX 64

static uv_loop_t loop;
static struct env_fake *fake;
static struct env *env;
static uv_timer_t tick;

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
    bool joining;
    uint64_t removed;  /* who is gone, as it knows */
    unsigned removals; /* how often it was told that it is */
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

static bool is_joining(void *ctx, uint64_t peer_id)
{
    (void)peer_id;
    const struct member *m = ctx;
    return m->joining;
}

static bool is_removed(void *ctx, uint64_t peer_id)
{
    const struct member *m = ctx;
    return m->removed == peer_id;
}

static void on_removed(void *ctx)
{
    struct member *m = ctx;
    m->removals++;
}

static const struct transport_callbacks callbacks = {
    .on_frame = on_frame,
    .on_link = on_link,
    .is_joining = is_joining,
    .is_removed = is_removed,
    .on_removed = on_removed,
};

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* The sockets are real, the time is the test's: it goes on by a little a turn, by more where only
 * a time limit is waited for. */
static uint64_t turn_ms;

static void turn(void)
{
    env_fake_run(fake);
    uv_run(&loop, UV_RUN_ONCE);
    env_fake_advance(fake, turn_ms);
}

/* Turns until CONDITION, or the test fails. */
#define WAIT_FOR(condition)                                                        \
    do {                                                                           \
        uint64_t until_ms_ = env_now_ms(env) + WAIT_MS;                            \
        while (!(condition)) {                                                     \
            turn();                                                                \
            ck_assert_msg(env_now_ms(env) < until_ms_, "in vain: %s", #condition); \
        }                                                                          \
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
    turn_ms = 1;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(uv_timer_init(&loop, &tick), 0);
    ck_assert_int_eq(uv_timer_start(&tick, on_tick, 2, 2), 0);
    fake = env_fake_new(1);
    env = env_fake_env(fake);
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
    env_fake_run(fake);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    env_fake_free(fake);
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
    size_t bytes = (size_t)effort_count(60, 24, "MiB") * 1024 * 1024;
    ck_assert(send_to(&members[0], &members[1], LANE_BULK, FRAME_RAFT, bytes));
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

START_TEST(who_calls_after_a_long_time_is_called_at_once)
{
    connect_all();
    struct member *back = &members[2];
    uint16_t port = back->port;
    member_close(back);
    WAIT_FOR(closed_count == 1);
    turn_ms = 50;
    uint64_t until_ms = env_now_ms(env) + 10000;
    WAIT_FOR(env_now_ms(env) >= until_ms); /* by now it waits one to two seconds between calls */
    member_open(back, back->id, CLUSTER, "127.0.0.1", port);
    member_add(back, &members[0], "127.0.0.1");
    turn_ms = 1;
    WAIT_FOR(is_connected(back, &members[0]));
    until_ms = env_now_ms(env) + 200;
    WAIT_FOR(is_connected(&members[0], back));
    ck_assert_uint_lt(env_now_ms(env), until_ms);
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

START_TEST(a_member_that_joins_may_be_called_by_all)
{
    struct member *joining = &members[2];
    member_close(joining);
    WAIT_FOR(closed_count == 1);
    joining->joining = true;
    member_open(joining, 0x105, CLUSTER, "127.0.0.1", 0);
    member_add(&members[0], joining, "127.0.0.1");
    check_reaches(&members[0], joining);
    member_add(joining, &members[0], "127.0.0.1");
    check_reaches(joining, &members[0]);
    /* Now it knows who else there is. */
    joining->joining = false;
    member_add(&members[1], joining, "127.0.0.1");
    turn_ms = 20;
    uint64_t until_ms = env_now_ms(env) + 3000;
    WAIT_FOR(env_now_ms(env) >= until_ms);
    ck_assert(!is_connected(&members[1], joining));
    check_reaches(&members[0], joining);
}
END_TEST

START_TEST(a_removed_member_is_told)
{
    connect_all();
    members[0].removed = members[1].id;
    members[0].transport->ops->remove_peer(members[0].transport, members[1].id);
    WAIT_FOR(members[1].removals > 0);
    ck_assert(!is_connected(&members[1], &members[0]));
    ck_assert_uint_eq(members[2].removals, 0);
    check_reaches(&members[2], &members[0]);
    ck_assert_uint_eq(members[0].count, 1);
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

/* ---- what is no peer, or behaves like none ---- */

static int raw_connect(const struct member *m)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(m->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
    ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Has the other end closed? What it said before goes to BUF. */
static bool raw_is_closed(int fd, struct buf *buf)
{
    uint8_t data[256];
    ssize_t n = recv(fd, data, sizeof data, MSG_DONTWAIT);
    if (n > 0) {
        buf_append(buf, data, (size_t)n);
    }
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static struct peer_hello good_hello(void)
{
    return (struct peer_hello){.version = PEER_VERSION,
                               .lane = LANE_BULK,
                               .cluster_id = CLUSTER,
                               .from = members[1].id,
                               .to = members[0].id};
}

static void add_hello(struct buf *buf, const struct peer_hello *hello)
{
    uint8_t bytes[PEER_HELLO_BYTES];
    peer_hello_write(hello, bytes);
    buf_append(buf, bytes, sizeof bytes);
}

static void add_good_hello(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    add_hello(buf, &hello);
}

static void add_frame(struct buf *buf, uint8_t kind, const char *text)
{
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    peer_frame_header_write(kind, bytes_of_str(text), header);
    buf_append(buf, header, sizeof header);
    buf_append_str(buf, text);
}

/* A header with a right checksum over a length that is not its payload's. */
static void add_length(struct buf *buf, uint32_t len)
{
    uint8_t header[PEER_FRAME_HEADER_BYTES] = {0};
    put_u32(header, len);
    header[4] = FRAME_RAFT;
    put_u32(header + 12, crc32c(0, header, 12));
    buf_append(buf, header, sizeof header);
    buf_append_str(buf, "not so much");
}

static void add_fill(struct buf *buf, int byte)
{
    uint8_t data[1000];
    memset(data, byte, sizeof data);
    buf_append(buf, data, sizeof data);
}

static void make_zeros(struct buf *buf)
{
    add_fill(buf, 0);
}
static void make_ones(struct buf *buf)
{
    add_fill(buf, 0xff);
}
static void make_random(struct buf *buf)
{
    uint8_t data[5000];
    env_random(env, data, sizeof data);
    buf_append(buf, data, sizeof data);
}
static void make_http1(struct buf *buf)
{
    buf_append_str(buf, "GET /health HTTP/1.1\r\nHost: 127.0.0.1:2380\r\nAccept: */*\r\n\r\n");
}
static void make_http2(struct buf *buf)
{
    buf_append_str(buf, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    add_fill(buf, 4);
}
static void make_tls(struct buf *buf)
{
    buf_append(buf, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    add_fill(buf, 0x5a);
}
static void make_bad_magic(struct buf *buf)
{
    add_good_hello(buf);
    buf->data[0] ^= 1;
}
static void make_bad_hello_crc(struct buf *buf)
{
    add_good_hello(buf);
    buf->data[20] ^= 1;
}
static void make_bad_lane(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.lane = 7;
    add_hello(buf, &hello);
}
static void make_version(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.version++;
    add_hello(buf, &hello);
}
static void make_other_cluster(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.cluster_id++;
    add_hello(buf, &hello);
}
static void make_other_target(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.to = members[2].id;
    add_hello(buf, &hello);
}
static void make_unknown(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.from = 0x777;
    add_hello(buf, &hello);
}
static void make_nobody(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.from = 0;
    add_hello(buf, &hello);
}
static void make_ourselves(struct buf *buf)
{
    struct peer_hello hello = good_hello();
    hello.from = members[0].id;
    add_hello(buf, &hello);
}
static void make_huge(struct buf *buf)
{
    add_good_hello(buf);
    add_length(buf, UINT32_MAX);
}
static void make_too_large(struct buf *buf)
{
    add_good_hello(buf);
    add_length(buf, PEER_FRAME_BYTES_MAX + 1);
}
static void make_bad_header_crc(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, FRAME_RAFT, "payload");
    buf->data[PEER_HELLO_BYTES + 8] ^= 1;
}
static void make_bad_payload_crc(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, FRAME_RAFT, "payload");
    buf->data[buf->len - 1] ^= 1;
}
static void make_kind_0(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, 0, "payload");
}
static void make_kind_unknown(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, FRAME_KIND_COUNT, "payload");
}
static void make_long_ping(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, PEER_KIND_PING, "nine byte");
}
static void make_pong(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, PEER_KIND_PONG, "8 bytes!");
}
static void make_members(struct buf *buf)
{
    add_good_hello(buf);
    add_frame(buf, PEER_KIND_MEMBERS, "nobody asked");
}
static void make_question(struct buf *buf)
{
    struct peer_hello hello = {.version = PEER_VERSION, .is_question = true};
    add_hello(buf, &hello);
}
static void make_two_hellos(struct buf *buf)
{
    add_good_hello(buf);
    add_good_hello(buf);
}
static void make_random_frames(struct buf *buf)
{
    add_good_hello(buf);
    make_random(buf);
}

static const struct {
    const char *name;
    void (*make)(struct buf *buf);
    enum peer_verdict verdict; /* the answer, if any comes: PEER_VERDICT_COUNT: none */
} garbage[] = {
    {"zeros", make_zeros, PEER_VERDICT_COUNT},
    {"ones", make_ones, PEER_VERDICT_COUNT},
    {"random bytes", make_random, PEER_VERDICT_COUNT},
    {"HTTP/1", make_http1, PEER_VERDICT_COUNT},
    {"HTTP/2", make_http2, PEER_VERDICT_COUNT},
    {"TLS", make_tls, PEER_VERDICT_COUNT},
    {"a hello without magic", make_bad_magic, PEER_VERDICT_COUNT},
    {"a damaged hello", make_bad_hello_crc, PEER_VERDICT_COUNT},
    {"an unknown lane", make_bad_lane, PEER_VERDICT_COUNT},
    {"another version", make_version, PEER_OTHER_VERSION},
    {"another cluster", make_other_cluster, PEER_OTHER_CLUSTER},
    {"a hello for another member", make_other_target, PEER_OTHER_MEMBER},
    {"an unknown member", make_unknown, PEER_UNKNOWN},
    {"member 0", make_nobody, PEER_UNKNOWN},
    {"a member that says it is us", make_ourselves, PEER_UNKNOWN},
    {"a frame of 4 GiB", make_huge, PEER_WELCOME},
    {"a frame above the cap", make_too_large, PEER_WELCOME},
    {"a damaged frame header", make_bad_header_crc, PEER_WELCOME},
    {"a damaged payload", make_bad_payload_crc, PEER_WELCOME},
    {"kind 0", make_kind_0, PEER_WELCOME},
    {"an unknown kind", make_kind_unknown, PEER_WELCOME},
    {"a ping that is too long", make_long_ping, PEER_WELCOME},
    {"a pong to who did not ping", make_pong, PEER_WELCOME},
    {"an answer to no question", make_members, PEER_WELCOME},
    {"a question to who knows nothing", make_question, PEER_NO_ANSWER},
    {"two hellos", make_two_hellos, PEER_WELCOME},
    {"random bytes behind a hello", make_random_frames, PEER_WELCOME},
};

START_TEST(garbage_ends_its_connection_only)
{
    connect_all();
    struct buf sent = {0};
    struct buf got = {0};
    garbage[_i].make(&sent);
    int fd = raw_connect(&members[0]);
    raw_send(fd, sent.data, sent.len);
    WAIT_FOR(raw_is_closed(fd, &got));
    close(fd);
    bool answered = garbage[_i].verdict != PEER_VERDICT_COUNT && got.len > 0;
    /* Bytes that were not read when it closed make a reset, which may overtake the answer. */
    ck_assert(answered || garbage[_i].verdict == PEER_VERDICT_COUNT || sent.len > PEER_HELLO_BYTES);
    if (answered) {
        uint32_t verdict;
        uint64_t id;
        ck_assert_uint_eq(got.len, PEER_ANSWER_BYTES);
        ck_assert_int_eq(peer_answer_read(got.data, &verdict, &id), OK);
        ck_assert_msg(verdict == garbage[_i].verdict, "%s: %s", garbage[_i].name,
                      peer_verdict_text(verdict));
    }
    buf_fini(&sent);
    buf_fini(&got);
    ck_assert_uint_eq(members[0].count, 0);
    ck_assert(is_connected(&members[0], &members[1]));
    check_reaches(&members[2], &members[0]);
    check_reaches(&members[1], &members[0]);
    check_reaches(&members[0], &members[1]);
}
END_TEST

START_TEST(who_says_nothing_is_cut_off)
{
    connect_all();
    struct buf got = {0};
    int silent = raw_connect(&members[0]);
    int slow = raw_connect(&members[0]);
    struct buf hello = {0};
    add_good_hello(&hello);
    raw_send(slow, hello.data, PEER_HELLO_BYTES - 1);
    turn_ms = 50;
    WAIT_FOR(raw_is_closed(silent, &got) && raw_is_closed(slow, &got));
    ck_assert_uint_eq(got.len, 0);
    close(silent);
    close(slow);
    buf_fini(&hello);
    check_reaches(&members[1], &members[0]);
}
END_TEST

START_TEST(many_strangers_do_not_keep_members_out)
{
    int fds[PEER_STRANGERS_MAX + 10];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = raw_connect(&members[0]);
        turn();
    }
    member_add(&members[0], &members[1], "127.0.0.1");
    member_add(&members[1], &members[0], "127.0.0.1");
    check_reaches(&members[1], &members[0]);
    struct buf got = {0};
    WAIT_FOR(raw_is_closed(fds[0], &got));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    size_t count = 0;
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Each could have a second to take its answer: that is as many descriptors as somebody can open in
 * a second. */
START_TEST(strangers_who_were_refused_and_stay_make_room)
{
    int fds[PEER_STRANGERS_MAX + 50];
    struct buf hello = {0};
    make_other_cluster(&hello);
    size_t before = open_descriptors();
    turn_ms = 0;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = raw_connect(&members[0]);
        raw_send(fds[i], hello.data, hello.len);
        turn();
        turn();
    }
    ck_assert_uint_le(open_descriptors() - before, ARRAY_LEN(fds) + PEER_STRANGERS_MAX);
    turn_ms = 1;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
    buf_fini(&hello);
}
END_TEST

START_TEST(a_member_that_goes_silent_is_cut_off)
{
    connect_all();
    int fd = raw_connect(&members[0]);
    struct buf hello = {0};
    struct buf got = {0};
    add_good_hello(&hello);
    raw_send(fd, hello.data, hello.len);
    buf_fini(&hello);
    WAIT_FOR(!raw_is_closed(fd, &got) && got.len == PEER_ANSWER_BYTES);
    turn_ms = 50;
    WAIT_FOR(raw_is_closed(fd, &got));
    close(fd);
    buf_fini(&got);
}
END_TEST

/* A peer that takes the connections and never reads or says anything more. */
struct black_hole {
    int listener;
    int conns[8];
    size_t conn_count;
    size_t hello_count;
    struct member as;
};

static void black_hole_open(struct black_hole *hole)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    *hole = (struct black_hole){.as.id = 0x888};
    hole->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(hole->listener, (struct sockaddr *)&at, len), 0);
    ck_assert_int_eq(listen(hole->listener, 8), 0);
    ck_assert_int_eq(getsockname(hole->listener, (struct sockaddr *)&at, &len), 0);
    hole->as.port = ntohs(at.sin_port);
}

/* Accept who comes and welcome it. */
static void black_hole_turn(struct black_hole *hole)
{
    int fd = accept4(hole->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        ck_assert_uint_lt(hole->conn_count, ARRAY_LEN(hole->conns));
        uint8_t answer[PEER_ANSWER_BYTES];
        peer_answer_write(PEER_WELCOME, hole->as.id, answer);
        raw_send(fd, answer, sizeof answer);
        hole->conns[hole->conn_count++] = fd;
    }
}

static void black_hole_close(struct black_hole *hole)
{
    close(hole->listener);
    for (size_t i = 0; i < hole->conn_count; i++) {
        close(hole->conns[i]);
    }
}

static bool hole_is_connected(struct black_hole *hole)
{
    black_hole_turn(hole);
    return is_connected(&members[0], &hole->as);
}

START_TEST(a_black_hole_costs_bounded_memory_and_is_noticed)
{
    struct black_hole hole;
    black_hole_open(&hole);
    member_add(&members[0], &hole.as, "127.0.0.1");
    WAIT_FOR(hole_is_connected(&hole));
    size_t bytes = 0;
    size_t refused = 0;
    while (refused < 10) {
        if (send_to(&members[0], &hole.as, LANE_BULK, FRAME_RAFT, 1 << 20)) {
            bytes += 1 << 20;
        } else {
            refused++;
        }
        ck_assert_uint_lt(bytes, 2 * PEER_BULK_BYTES_MAX); /* the system takes some as well */
        turn();
    }
    ck_assert_uint_ge(bytes, PEER_BULK_BYTES_MAX / 2);
    /* Urgent frames still find room; and nothing comes back. */
    ck_assert(send_to(&members[0], &hole.as, LANE_URGENT, FRAME_RAFT, 1000));
    turn_ms = 50;
    WAIT_FOR(!is_connected(&members[0], &hole.as));
    ck_assert_uint_eq(members[0].downs, 1);
    /* It is called again. */
    size_t before = hole.conn_count;
    WAIT_FOR((black_hole_turn(&hole), hole.conn_count > before));
    black_hole_close(&hole);
}
END_TEST

/* Long before the bulk lane would be given up by itself. */
START_TEST(who_is_not_reached_any_more_loses_both_lanes)
{
    struct black_hole hole;
    black_hole_open(&hole);
    member_add(&members[0], &hole.as, "127.0.0.1");
    WAIT_FOR(hole_is_connected(&hole));
    ck_assert_uint_eq(hole.conn_count, 2);
    turn_ms = 50;
    uint64_t until_ms = env_now_ms(env) + 5000;
    WAIT_FOR((black_hole_turn(&hole), hole.conn_count == 4));
    ck_assert_uint_lt(env_now_ms(env), until_ms);
    black_hole_close(&hole);
}
END_TEST

/* COUNT calls that nobody takes. */
static void call_in_vain(const struct black_hole *hole, int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(hole->as.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        (void)connect(fds[i], (struct sockaddr *)&to, sizeof to);
    }
}

/* The system repeats a call that was not heard after a second, a member as soon as it is called. */
START_TEST(who_calls_is_called_at_once_though_a_call_is_under_way)
{
    struct black_hole hole;
    int fds[3];
    black_hole_open(&hole);
    ck_assert_int_eq(listen(hole.listener, 0), 0);
    call_in_vain(&hole, fds, ARRAY_LEN(fds)); /* now nobody gets through */
    member_add(&members[0], &hole.as, "127.0.0.1");
    turn_ms = 20;
    uint64_t until_ms = env_now_ms(env) + 500;
    WAIT_FOR(env_now_ms(env) >= until_ms);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
    ck_assert_int_eq(listen(hole.listener, 8), 0);
    int fd;
    while ((fd = accept4(hole.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close(fd);
    }
    fd = raw_connect(&members[0]);
    struct peer_hello hello = good_hello();
    hello.from = hole.as.id;
    CLEANUP(buf_fini) struct buf bytes = {0};
    add_hello(&bytes, &hello);
    raw_send(fd, bytes.data, bytes.len);
    turn_ms = 1;
    until_ms = env_now_ms(env) + 200;
    WAIT_FOR(hole_is_connected(&hole));
    ck_assert_uint_lt(env_now_ms(env), until_ms);
    close(fd);
    black_hole_close(&hole);
}
END_TEST

START_TEST(a_port_in_use_is_named)
{
    struct addr addr = {.host = "127.0.0.1", .port = members[0].port};
    struct transport_tcp_config config = {.env = env,
                                          .loop = &loop,
                                          .cluster_id = CLUSTER,
                                          .member_id = 5,
                                          .listen = &addr,
                                          .listen_count = 1};
    struct transport *t = NULL;
    struct why why = {0};
    ck_assert_int_eq(transport_tcp_open(&config, &t, &why), OK);
    ck_assert_int_eq(t->ops->start(t, &callbacks, NULL, &why), ERR_EXISTS);
    char want[32];
    snprintf(want, sizeof want, "127.0.0.1:%u", members[0].port);
    ck_assert_msg(strstr(why.text, want) != NULL, "%s", why.text);
    t->ops->close(t, on_closed, NULL);
    open_count++;
}
END_TEST

START_TEST(bytes_and_round_trips_are_counted)
{
    connect_all();
    ck_assert(send_to(&members[0], &members[1], LANE_BULK, FRAME_RAFT, 1000));
    WAIT_FOR(members[1].count == 1);
    struct member stranger = {.id = 0x999};
    ck_assert(!send_to(&members[0], &stranger, LANE_BULK, FRAME_RAFT, 1000));
    turn_ms = 20;
    uint64_t until_ms = env_now_ms(env) + 1500;
    WAIT_FOR(env_now_ms(env) >= until_ms);
    struct buf text = {0};
    metrics_write(members[0].metrics, &text);
    buf_append(&text, "", 1);
    const char *at = (const char *)text.data;
    ck_assert_ptr_nonnull(strstr(at, "etcd_network_peer_sent_bytes_total{To=\"101\"} 1016\n"));
    ck_assert_ptr_nonnull(strstr(at, "etcd_network_peer_sent_bytes_total{To=\"102\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(at, "etcd_network_peer_received_bytes_total{From=\"102\"}"));
    ck_assert_ptr_nonnull(
        strstr(at, "etcd_network_peer_round_trip_time_seconds_count{To=\"102\"} "));
    ck_assert_ptr_null(
        strstr(at, "etcd_network_peer_round_trip_time_seconds_count{To=\"102\"} 0\n"));
    buf_fini(&text);
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
    tcase_add_test(tc, who_calls_after_a_long_time_is_called_at_once);
    tcase_add_test(tc, another_address_moves_a_peer);
    tcase_add_test(tc, a_removed_peer_is_neither_reached_nor_heard);
    tcase_add_test(tc, a_member_that_joins_may_be_called_by_all);
    tcase_add_test(tc, a_removed_member_is_told);
    tcase_add_test(tc, names_and_ipv6_work);
    tcase_add_loop_test(tc, garbage_ends_its_connection_only, 0, (int)ARRAY_LEN(garbage));
    tcase_add_test(tc, who_says_nothing_is_cut_off);
    tcase_add_test(tc, many_strangers_do_not_keep_members_out);
    tcase_add_test(tc, strangers_who_were_refused_and_stay_make_room);
    tcase_add_test(tc, a_member_that_goes_silent_is_cut_off);
    tcase_add_test(tc, who_is_not_reached_any_more_loses_both_lanes);
    tcase_add_test(tc, who_calls_is_called_at_once_though_a_call_is_under_way);
    tcase_add_test(tc, a_black_hole_costs_bounded_memory_and_is_noticed);
    tcase_add_test(tc, a_port_in_use_is_named);
    tcase_add_test(tc, bytes_and_round_trips_are_counted);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(transport_tcp_suite);
}
