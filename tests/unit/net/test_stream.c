/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/runner.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "net/listener.h"
#include "net/stream_private.h"
#include "tests/lib/loop.h"

/* Two ends of a connection on one loop; each keeps what it read. */
struct end {
    struct stream *stream;
    struct buf got;
    unsigned drained;
    unsigned flushed;
    bool closed;
    enum err status;
    bool close_on_read;
    bool finish_on_read; /* what is queued leaves first */
};

static struct {
    struct loop loop;
    struct listener *listener;
    struct end client;
    struct end server;
    unsigned accepted;
    bool connect_done;
    enum err connect_status;
    struct why connect_why;
    bool listener_closed;
} t;

static void on_read(void *ctx, struct bytes bytes)
{
    struct end *end = ctx;
    buf_append_bytes(&end->got, bytes);
    if (end->close_on_read) {
        stream_close(end->stream);
    } else if (end->finish_on_read) {
        stream_close_after_flush(end->stream, 20000);
    }
}

static void on_drain(void *ctx)
{
    ((struct end *)ctx)->drained++;
}

static void on_flush(void *ctx)
{
    ((struct end *)ctx)->flushed++;
}

static void on_close(void *ctx, enum err status, const char *why)
{
    struct end *end = ctx;
    ck_assert(!end->closed);
    ck_assert_ptr_nonnull(why);
    end->closed = true;
    end->status = status;
    end->stream = NULL;
}

static const struct stream_callbacks callbacks = {
    .on_read = on_read, .on_drain = on_drain, .on_flush = on_flush, .on_close = on_close};

static void on_accept(void *ctx, struct stream *stream)
{
    (void)ctx;
    t.accepted++;
    if (t.server.stream == NULL) {
        t.server.stream = stream;
        stream_start(stream, &callbacks, &t.server);
    } else {
        stream_close(stream);
    }
}

static void on_connect(void *ctx, struct stream *stream, enum err status, const char *why)
{
    (void)ctx;
    t.connect_done = true;
    t.connect_status = status;
    why_set(&t.connect_why, "%s", why);
    ck_assert((stream != NULL) == (status == OK));
    t.client.stream = stream;
    if (stream != NULL) {
        stream_start(stream, &callbacks, &t.client);
    }
}

static void on_listener_closed(void *ctx)
{
    (void)ctx;
    t.listener_closed = true;
}

static struct addr addr_of(const char *host, uint16_t port)
{
    struct addr addr = {.port = port};
    memcpy(addr.host, host, strlen(host) + 1);
    return addr;
}

static void listen_at(const char *host, unsigned connections_max)
{
    struct listener_config config = {.env = t.loop.env,
                                     .loop = &t.loop.uv,
                                     .addr = addr_of(host, 0),
                                     .connections_max = connections_max,
                                     .on_accept = on_accept};
    struct why why;
    enum err err = listener_open(&config, &t.listener, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

static void connect_to(const char *host)
{
    struct addr addr = addr_of(host, listener_port(t.listener));
    struct stream_connect_request *request;
    t.connect_done = false;
    ck_assert_int_eq(
        stream_connect(t.loop.env, &t.loop.uv, &addr, 10000, on_connect, NULL, &request), OK);
    RUN_UNTIL(&t.loop, t.connect_done);
}

static void connect_both(void)
{
    listen_at("127.0.0.1", 10);
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, t.server.stream != NULL);
}

static void setup(void)
{
    memset(&t, 0, sizeof t);
    loop_init(&t.loop);
}

static void teardown(void)
{
    if (t.client.stream != NULL) {
        stream_close(t.client.stream);
    }
    if (t.server.stream != NULL) {
        stream_close(t.server.stream);
    }
    if (t.listener != NULL && !t.listener_closed) {
        listener_close(t.listener, on_listener_closed, NULL);
        RUN_UNTIL(&t.loop, t.listener_closed);
    }
    loop_fini(&t.loop);
    buf_fini(&t.client.got);
    buf_fini(&t.server.got);
}

START_TEST(bytes_arrive_in_order)
{
    connect_both();
    struct blob *blob = blob_new(100000);
    memset(blob->data, 'b', blob->len);
    ck_assert(stream_write(t.client.stream, bytes_of_str("first ")));
    ck_assert(stream_write_blob(t.client.stream, blob, 1, 70000));
    ck_assert(stream_write_blob(t.client.stream, blob, 0, 3));
    ck_assert(stream_write(t.client.stream, bytes_of_str(" last")));
    blob_unref(blob);
    ck_assert_uint_eq(stream_queued_bytes(t.client.stream), 6 + 70000 + 3 + 5);
    ck_assert_uint_eq(t.client.flushed, 0);
    RUN_UNTIL(&t.loop, t.server.got.len == 6 + 70003 + 5);
    ck_assert_int_eq(memcmp(t.server.got.data, "first bbbb", 10), 0);
    ck_assert_int_eq(memcmp(t.server.got.data + 6 + 70000, "bbb last", 8), 0);
    ck_assert_uint_eq(t.client.flushed, 1);
    ck_assert_uint_eq(t.client.drained, 0); /* the kernel took it at once */
}
END_TEST

static void check_options(const struct stream *stream)
{
    uv_os_fd_t fd;
    char name[16] = "";
    socklen_t len = sizeof name;
    ck_assert_int_eq(uv_fileno((const uv_handle_t *)&stream->tcp, &fd), 0);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    ck_assert_str_eq(name, "reno");
    int bytes = 0;
    len = sizeof bytes;
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len), 0);
    ck_assert_int_eq(bytes, 2 * 128 * 1024); /* Linux counts its own memory, too */
}

START_TEST(within_the_machine_nothing_is_paced_and_little_is_buffered)
{
    connect_both();
    check_options(t.client.stream);
    check_options(t.server.stream);
}
END_TEST

START_TEST(a_reader_that_waits_holds_the_queue_and_drain_tells_its_end)
{
    connect_both();
    stream_pause(t.server.stream, true);
    const size_t size = 32u * 1024 * 1024;
    uint8_t *data = malloc(size);
    ck_assert_ptr_nonnull(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i >> 12);
    }
    ck_assert(stream_write(t.client.stream, bytes_of(data, size)));
    loop_turns(&t.loop, 100);
    ck_assert_uint_gt(stream_queued_bytes(t.client.stream), 0);
    ck_assert_uint_eq(t.client.drained, 0);
    stream_pause(t.server.stream, false);
    RUN_UNTIL(&t.loop, t.server.got.len == size);
    ck_assert_int_eq(memcmp(t.server.got.data, data, size), 0);
    ck_assert_uint_eq(t.client.drained, 1);
    ck_assert_uint_eq(stream_queued_bytes(t.client.stream), 0);
    free(data);
}
END_TEST

START_TEST(drain_follows_a_flush_of_a_turns_bytes)
{
    connect_both();
    static uint8_t data[STREAM_TURN_BYTES];
    ck_assert(stream_write(t.client.stream, bytes_of(data, sizeof data)));
    RUN_UNTIL(&t.loop, t.client.drained == 1);
    RUN_UNTIL(&t.loop, t.server.got.len == sizeof data);
}
END_TEST

START_TEST(drain_follows_many_small_parts_as_well)
{
    connect_both();
    struct blob *blob = blob_new(4096);
    memset(blob->data, 'b', blob->len);
    for (unsigned i = 0; i < 100; i++) {
        ck_assert(stream_write_blob(t.client.stream, blob, 0, blob->len)); /* a part each */
    }
    blob_unref(blob);
    RUN_UNTIL(&t.loop, t.client.drained == 1);
    RUN_UNTIL(&t.loop, t.server.got.len == 409600);
}
END_TEST

START_TEST(want_flush_calls_even_without_bytes)
{
    connect_both();
    stream_want_flush(t.client.stream);
    stream_want_flush(t.client.stream);
    RUN_UNTIL(&t.loop, t.client.flushed > 0);
    loop_turns(&t.loop, 3);
    ck_assert_uint_eq(t.client.flushed, 1);
}
END_TEST

START_TEST(the_peers_end_is_an_orderly_close)
{
    connect_both();
    stream_close(t.client.stream);
    RUN_UNTIL(&t.loop, t.server.closed && t.client.closed);
    ck_assert_int_eq(t.client.status, ERR_CLOSED);
    ck_assert_int_eq(t.server.status, OK);
}
END_TEST

START_TEST(closing_inside_a_read_is_allowed)
{
    connect_both();
    t.server.close_on_read = true;
    ck_assert(stream_write(t.client.stream, bytes_of_str("x")));
    RUN_UNTIL(&t.loop, t.server.closed && t.client.closed);
    ck_assert_int_eq(t.server.status, ERR_CLOSED);
}
END_TEST

START_TEST(close_after_flush_sends_everything_first)
{
    connect_both();
    const size_t size = 16u * 1024 * 1024;
    uint8_t *data = calloc(1, size);
    ck_assert_ptr_nonnull(data);
    stream_pause(t.server.stream, true);
    ck_assert(stream_write(t.client.stream, bytes_of(data, size)));
    stream_close_after_flush(t.client.stream, 20000);
    ck_assert(!stream_write(t.client.stream, bytes_of_str("too late")));
    loop_turns(&t.loop, 20);
    stream_pause(t.server.stream, false);
    RUN_UNTIL(&t.loop, t.server.closed && t.client.closed);
    ck_assert_uint_eq(t.server.got.len, size);
    ck_assert_int_eq(t.server.status, OK);
    ck_assert_int_eq(t.client.status, ERR_CLOSED);
    free(data);
}
END_TEST

static uv_os_fd_t descriptor_of(const struct stream *stream)
{
    uv_os_fd_t fd;
    ck_assert_int_eq(uv_fileno((const uv_handle_t *)&stream->tcp, &fd), 0);
    return fd;
}

/* The peer has taken what waited, and said something: one poll tells of both, and what makes us
 * close comes first. The end was said twice, the second time to be refused: an error, and a reset
 * for the peer. */
START_TEST(closing_in_the_turn_in_which_all_has_left_waits_for_the_peer)
{
    connect_both();
    static uint8_t data[64 * 1024];
    stream_pause(t.client.stream, true);
    t.server.finish_on_read = true;
    while (stream_queued_bytes(t.server.stream) == 0) {
        ck_assert(stream_write(t.server.stream, bytes_of(data, sizeof data)));
        loop_turns(&t.loop, 2);
    }
    uv_os_fd_t fd = descriptor_of(t.client.stream);
    while (recv(fd, data, sizeof data, 0) > 0) {
    }
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    RUN_UNTIL(&t.loop, t.server.got.len > 0);
    loop_turns(&t.loop, 3);
    ck_assert(!t.server.closed);
    ck_assert_uint_eq(stream_queued_bytes(t.server.stream), 0);
    stream_pause(t.client.stream, false);
    RUN_UNTIL(&t.loop, t.server.closed && t.client.closed);
    ck_assert_int_eq(t.server.status, ERR_CLOSED);
    ck_assert_int_eq(t.client.status, OK);
}
END_TEST

START_TEST(grace_bounds_a_reader_that_never_reads)
{
    connect_both();
    const size_t size = 32u * 1024 * 1024;
    uint8_t *data = calloc(1, size);
    ck_assert_ptr_nonnull(data);
    stream_pause(t.server.stream, true);
    ck_assert(stream_write(t.client.stream, bytes_of(data, size)));
    stream_close_after_flush(t.client.stream, 20);
    RUN_UNTIL(&t.loop, t.client.closed);
    free(data);
}
END_TEST

static bool ticked;

static void on_tick(struct env_timer *timer)
{
    (void)timer;
    ticked = true;
}

static void wait_ms(uint64_t ms)
{
    struct env_timer timer;
    env_timer_init(&timer, on_tick);
    ticked = false;
    env_timer_start(t.loop.env, &timer, ms);
    RUN_UNTIL(&t.loop, ticked);
}

/* Read SIZE bytes of what the kernel holds; false: there is an end before. */
static bool take(uv_os_fd_t fd, size_t size)
{
    uint8_t data[4096];
    while (size > 0) {
        ssize_t n = recv(fd, data, size < sizeof data ? size : sizeof data, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return false;
        }
        size -= n > 0 ? (size_t)n : 0;
        loop_turns(&t.loop, 1);
    }
    return true;
}

/* All together takes longer than the grace: what the kernel had not taken by then was lost. */
START_TEST(grace_is_for_a_reader_that_stops_not_for_a_slow_one)
{
    enum { GRACE_MS = 200, SIZE = 4 * 1024 * 1024, STEPS = 10, STEP = SIZE / 20 };
    connect_both();
    uint8_t *data = calloc(1, SIZE);
    ck_assert_ptr_nonnull(data);
    stream_pause(t.client.stream, true);
    ck_assert(stream_write(t.server.stream, bytes_of(data, SIZE)));
    free(data);
    stream_close_after_flush(t.server.stream, GRACE_MS);
    for (unsigned i = 0; i < STEPS; i++) {
        wait_ms(GRACE_MS / 4);
        ck_assert(take(descriptor_of(t.client.stream), STEP));
    }
    stream_pause(t.client.stream, false);
    RUN_UNTIL(&t.loop, t.server.closed && t.client.closed);
    ck_assert_uint_eq(t.client.got.len, SIZE - STEPS * STEP);
    ck_assert_int_eq(t.client.status, OK);
}
END_TEST

START_TEST(peer_tells_the_other_ends_address)
{
    connect_both();
    ck_assert_int_eq(strncmp(stream_peer(t.server.stream), "127.0.0.1:", 10), 0);
    char want[32];
    snprintf(want, sizeof want, "127.0.0.1:%u", listener_port(t.listener));
    ck_assert_str_eq(stream_peer(t.client.stream), want);
}
END_TEST

START_TEST(names_are_resolved)
{
    listen_at("localhost", 10);
    connect_to("localhost");
    ck_assert_msg(t.connect_status == OK, "%s", t.connect_why.text);
}
END_TEST

static bool has_ipv6(void)
{
    struct addr addr = addr_of("::1", 0);
    struct listener_config config = {.env = t.loop.env,
                                     .loop = &t.loop.uv,
                                     .addr = addr,
                                     .connections_max = 1,
                                     .on_accept = on_accept};
    struct listener *listener;
    if (listener_open(&config, &listener, NULL) != OK) {
        return false;
    }
    listener_close(listener, NULL, NULL);
    return true;
}

static const struct {
    const char *listen;
    const char *connect;
    bool reaches;
} families[] = {
    {"::1", "::1", true},        {"::", "::1", true},
    {"::", "127.0.0.1", true}, /* both kinds on one socket */
    {"::1", "127.0.0.1", false}, {"0.0.0.0", "127.0.0.1", true},
};

START_TEST(addresses_of_both_kinds)
{
    if (!has_ipv6()) {
        loop_turns(&t.loop, 3);
        runner_skip("this machine has no IPv6");
    }
    listen_at(families[_i].listen, 10);
    connect_to(families[_i].connect);
    ck_assert_int_eq(t.connect_status == OK, families[_i].reaches);
    if (families[_i].reaches) {
        RUN_UNTIL(&t.loop, t.server.stream != NULL);
        const char *peer = stream_peer(t.client.stream);
        ck_assert_int_eq(peer[0] == '[', strchr(families[_i].connect, ':') != NULL);
    }
}
END_TEST

START_TEST(a_port_that_nobody_listens_on_refuses)
{
    listen_at("127.0.0.1", 10);
    uint16_t port = listener_port(t.listener);
    listener_close(t.listener, on_listener_closed, NULL);
    RUN_UNTIL(&t.loop, t.listener_closed);
    struct addr addr = addr_of("127.0.0.1", port);
    struct stream_connect_request *request;
    ck_assert_int_eq(
        stream_connect(t.loop.env, &t.loop.uv, &addr, 10000, on_connect, NULL, &request), OK);
    ck_assert(!t.connect_done);
    RUN_UNTIL(&t.loop, t.connect_done);
    ck_assert_int_eq(t.connect_status, ERR_CONNECT);
    ck_assert_ptr_nonnull(strstr(t.connect_why.text, "connection refused"));
}
END_TEST

START_TEST(a_connect_can_be_cancelled)
{
    listen_at("127.0.0.1", 10);
    static const char *const hosts[] = {"127.0.0.1", "localhost", "no-such-host.invalid"};
    struct addr addr = addr_of(hosts[_i], listener_port(t.listener));
    struct stream_connect_request *request;
    ck_assert_int_eq(
        stream_connect(t.loop.env, &t.loop.uv, &addr, 10000, on_connect, NULL, &request), OK);
    stream_connect_cancel(request);
    loop_turns(&t.loop, 5);
    ck_assert(!t.connect_done);
}
END_TEST

START_TEST(connections_beyond_the_cap_are_closed)
{
    listen_at("127.0.0.1", 1);
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, t.server.stream != NULL);
    struct stream *first = t.client.stream;
    struct end second = {0};
    connect_to("127.0.0.1");
    ck_assert_ptr_ne(t.client.stream, first);
    RUN_UNTIL(&t.loop, t.client.closed);
    ck_assert_uint_eq(t.accepted, 1);
    /* a place becomes free again when the first is gone */
    t.client = second;
    stream_close(first);
    RUN_UNTIL(&t.loop, t.server.closed);
    t.server.closed = false;
    t.client.closed = false;
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, t.accepted == 2);
}
END_TEST

static void set_files(rlim_t count)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Who opens a file must not find that connections have used up all descriptors. */
START_TEST(connections_leave_descriptors_to_others)
{
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct listener_config config = {.env = t.loop.env,
                                     .loop = &t.loop.uv,
                                     .addr = addr_of("127.0.0.1", 0),
                                     .connections_max = 10,
                                     .files_kept = 4,
                                     .on_accept = on_accept};
    ck_assert_int_eq(listener_open(&config, &t.listener, NULL), OK);
    int client = dup(0); /* the lowest that is free; the listener's end is the next */
    close(client);
    set_files((rlim_t)client + 1 + config.files_kept);
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, t.client.closed);
    ck_assert_uint_eq(t.accepted, 0);
    t.client = (struct end){0};
    set_files((rlim_t)client + 2 + config.files_kept);
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, t.accepted == 1);
    set_files(before.rlim_cur);
}
END_TEST

/* In the place of the C library's, which libuv calls. */
static struct {
    int error; /* what it fails with; 0: it does not */
    unsigned calls;
} accepting;

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    accepting.calls++;
    if (accepting.error != 0) {
        errno = accepting.error;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, len, flags);
}

/* A system without room for one more socket: the loop goes on, and the connection comes later. */
START_TEST(what_cannot_be_accepted_now_holds_nobody_up)
{
    listen_at("127.0.0.1", 10);
    accepting.calls = 0;
    accepting.error = ENFILE;
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, accepting.calls >= 40); /* it is tried again and again */
    ck_assert_uint_lt(accepting.calls, 200);
    ck_assert_uint_eq(t.accepted, 0);
    accepting.error = 0;
    RUN_UNTIL(&t.loop, t.accepted == 1);
    ck_assert_ptr_nonnull(t.server.stream);
}
END_TEST

START_TEST(a_listener_that_rests_can_be_closed)
{
    listen_at("127.0.0.1", 10);
    accepting.calls = 0;
    accepting.error = ENOMEM;
    connect_to("127.0.0.1");
    RUN_UNTIL(&t.loop, accepting.calls > 0);
    listener_close(t.listener, on_listener_closed, NULL);
    accepting.error = 0;
    RUN_UNTIL(&t.loop, t.listener_closed && t.client.closed);
    ck_assert_uint_eq(t.accepted, 0);
}
END_TEST

START_TEST(an_address_in_use_is_refused)
{
    listen_at("127.0.0.1", 1);
    struct listener_config config = {.env = t.loop.env,
                                     .loop = &t.loop.uv,
                                     .addr = addr_of("127.0.0.1", listener_port(t.listener)),
                                     .connections_max = 1,
                                     .on_accept = on_accept};
    struct listener *other = NULL;
    struct why why;
    ck_assert_int_eq(listener_open(&config, &other, &why), ERR_EXISTS);
    ck_assert_ptr_null(other);
    ck_assert_ptr_nonnull(strstr(why.text, "address already in use"));
}
END_TEST

static Suite *stream_suite(void)
{
    Suite *suite = suite_create("stream");
    TCase *io = tcase_create("io");
    tcase_add_checked_fixture(io, setup, teardown);
    tcase_set_timeout(io, 60);
    tcase_add_test(io, bytes_arrive_in_order);
    tcase_add_test(io, within_the_machine_nothing_is_paced_and_little_is_buffered);
    tcase_add_test(io, a_reader_that_waits_holds_the_queue_and_drain_tells_its_end);
    tcase_add_test(io, drain_follows_a_flush_of_a_turns_bytes);
    tcase_add_test(io, drain_follows_many_small_parts_as_well);
    tcase_add_test(io, want_flush_calls_even_without_bytes);
    tcase_add_test(io, the_peers_end_is_an_orderly_close);
    tcase_add_test(io, closing_inside_a_read_is_allowed);
    tcase_add_test(io, close_after_flush_sends_everything_first);
    tcase_add_test(io, closing_in_the_turn_in_which_all_has_left_waits_for_the_peer);
    tcase_add_test(io, grace_bounds_a_reader_that_never_reads);
    tcase_add_test(io, grace_is_for_a_reader_that_stops_not_for_a_slow_one);
    suite_add_tcase(suite, io);
    TCase *making = tcase_create("making");
    tcase_add_checked_fixture(making, setup, teardown);
    tcase_set_timeout(making, 60);
    tcase_add_test(making, peer_tells_the_other_ends_address);
    tcase_add_test(making, names_are_resolved);
    tcase_add_loop_test(making, addresses_of_both_kinds, 0, (int)ARRAY_LEN(families));
    tcase_add_test(making, a_port_that_nobody_listens_on_refuses);
    tcase_add_loop_test(making, a_connect_can_be_cancelled, 0, 3);
    tcase_add_test(making, connections_beyond_the_cap_are_closed);
    tcase_add_test(making, connections_leave_descriptors_to_others);
    tcase_add_test(making, what_cannot_be_accepted_now_holds_nobody_up);
    tcase_add_test(making, a_listener_that_rests_can_be_closed);
    tcase_add_test(making, an_address_in_use_is_refused);
    suite_add_tcase(suite, making);
    return suite;
}

int main(void)
{
    return runner_main(stream_suite);
}
