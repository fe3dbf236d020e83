/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/limits.h"
#include "tests/unit/net/grpc_fixture.h"

/* Our server and our client, over a real connection. */

#define STATUS_IS(reply, status_, text_)                                                \
    do {                                                                                \
        ck_assert((reply)->ended);                                                      \
        ck_assert_str_eq((const char *)(reply)->text.data, (text_));                    \
        ck_assert_str_eq(grpc_status_name((reply)->status), grpc_status_name(status_)); \
    } while (0)

static struct reply reply;

static void setup(void)
{
    fixture_start(&(struct grpc_server_config){0});
    fixture_connect();
    reply_init(&reply);
}

static void teardown(void)
{
    reply_fini(&reply);
    fixture_stop();
}

static const struct grpc_method_stats *stats_of(size_t index)
{
    return grpc_server_method_stats(fixture.server, index);
}

START_TEST(unary_answers)
{
    reply_unary(&reply, "/test.Echo/Unary", bytes_of_str("hello"));
    ck_assert(!reply.ended);
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, 1);
    ck_assert(bytes_equal(buf_bytes(&reply.got), bytes_of_str("hello")));
    ck_assert_uint_eq(stats_of(0)->started, 1);
    ck_assert_uint_eq(stats_of(0)->received, 1);
    ck_assert_uint_eq(stats_of(0)->sent, 1);
    ck_assert_uint_eq(stats_of(0)->handled[GRPC_OK], 1);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->received_bytes, 10);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->sent_bytes, 10);
}
END_TEST

START_TEST(an_empty_message_is_a_message)
{
    reply_unary(&reply, "/test.Echo/Unary", bytes_of(NULL, 0));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, 1);
    ck_assert_uint_eq(reply.got.len, 0);
}
END_TEST

static const struct {
    const char *status;
    enum grpc_status want;
    const char *text;
} statuses[] = {
    {"3", GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
    {"14", GRPC_UNAVAILABLE, "etcdserver: no leader"},
    {"16", GRPC_UNAUTHENTICATED, ""},
    {"2", GRPC_UNKNOWN, "100% \xc3\xa4\n\"quoted\" %41"},
};

START_TEST(status_and_text_arrive_unchanged)
{
    const struct grpc_metadata metadata = {"status", bytes_of_str(statuses[_i].status)};
    const struct grpc_request_options options = {
        .path = "/test.Echo/Unary", .metadata = &metadata, .metadata_count = 1};
    grpc_request_unary(fixture.client, &reply.request, &options, bytes_of_str(statuses[_i].text));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, statuses[_i].want, statuses[_i].text);
    ck_assert_uint_eq(reply.message_count, 0);
    ck_assert_uint_eq(stats_of(0)->handled[statuses[_i].want], 1);
}
END_TEST

static const struct {
    const char *path;
    const char *text;
} unknown[] = {
    {"/test.Echo/Nothing", "unknown method Nothing for service test.Echo"},
    {"/test.Nobody/Unary", "unknown service test.Nobody"},
    {"/test.Ech/Unary", "unknown service test.Ech"},
    {"/test.Echo", "malformed method name: \"/test.Echo\""},
    {"/test.Echo/Unary/", "unknown service test.Echo/Unary"},
};

START_TEST(unknown_methods_are_unimplemented)
{
    reply_unary(&reply, unknown[_i].path, bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert_int_eq(reply.status, GRPC_UNIMPLEMENTED);
    ck_assert_str_eq((char *)reply.text.data, unknown[_i].text);
}
END_TEST

static const size_t sizes[] = {0,     1,      1000,    1024,    16379,   16384,
                               65530, 100000, 1048576, 2097151, 20000000};

START_TEST(answers_of_any_size_pass_the_windows)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", sizes[_i]);
    reply_unary(&reply, "/test.Echo/Big", bytes_of_str(text));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.got.len, sizes[_i]);
    size_t wrong = 0;
    for (size_t i = 0; i < reply.got.len; i++) {
        wrong += reply.got.data[i] != (uint8_t)(i * 31 >> 8);
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

static const size_t request_sizes[] = {1, 16379, 16384, 65531, 1000000, 2097152};

/* No larger than the client's window, which would make it wait in any case. */
START_TEST(a_short_answer_does_not_wait_for_a_long_one)
{
    struct reply longer;
    reply_unary(&longer, "/test.Echo/Big", bytes_of_str("4000000"));
    reply_unary(&reply, "/test.Echo/Big", bytes_of_str("100000"));
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert(!longer.ended);
    RUN_UNTIL(&fixture.loop, longer.ended);
    STATUS_IS(&longer, GRPC_OK, "");
    ck_assert_uint_eq(longer.got.len, 4000000);
    reply_fini(&longer);
}
END_TEST

START_TEST(requests_of_any_size_pass_the_windows)
{
    size_t size = request_sizes[_i];
    uint8_t *data = malloc(size);
    ck_assert_ptr_nonnull(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 7 >> 8);
    }
    reply_unary(&reply, "/test.Echo/Unary", bytes_of(data, size));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.got.len, size);
    ck_assert_int_eq(memcmp(reply.got.data, data, size), 0);
    free(data);
}
END_TEST

START_TEST(a_message_above_the_maximum_is_refused_by_its_length_alone)
{
    const size_t size = REQUEST_BYTES_DEFAULT + GRPC_OVERHEAD_BYTES + 1;
    uint8_t *data = calloc(1, size);
    ck_assert_ptr_nonnull(data);
    reply_unary(&reply, "/test.Echo/Unary", bytes_of(data, size));
    free(data);
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_RESOURCE_EXHAUSTED,
              "grpc: received message larger than max (2097153 vs. 2097152)");
    /* the connection goes on */
    struct reply next;
    reply_unary(&next, "/test.Echo/Unary", bytes_of_str("again"));
    RUN_UNTIL(&fixture.loop, next.ended);
    STATUS_IS(&next, GRPC_OK, "");
    reply_fini(&next);
}
END_TEST

START_TEST(many_calls_share_a_connection)
{
    enum { COUNT = 3000 };
    struct reply *replies = calloc(COUNT, sizeof *replies);
    ck_assert_ptr_nonnull(replies);
    for (unsigned i = 0; i < COUNT; i++) {
        char text[32];
        snprintf(text, sizeof text, "request %u", i);
        reply_unary(&replies[i], "/test.Echo/Unary", bytes_of_str(text));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        char text[32];
        snprintf(text, sizeof text, "request %u", i);
        RUN_UNTIL(&fixture.loop, replies[i].ended);
        STATUS_IS(&replies[i], GRPC_OK, "");
        ck_assert(bytes_equal(buf_bytes(&replies[i].got), bytes_of_str(text)));
        reply_fini(&replies[i]);
    }
    free(replies);
    ck_assert_uint_eq(grpc_server_stats(fixture.server)->connections, 1);
}
END_TEST

START_TEST(a_bidi_stream_echoes_until_half_close)
{
    const struct grpc_request_options options = {.path = "/test.Echo/Bidi"};
    grpc_request_start(fixture.client, &reply.request, &options);
    for (unsigned i = 1; i <= 50; i++) {
        grpc_request_send(&reply.request, bytes_of_str("ping "));
        RUN_UNTIL(&fixture.loop, reply.message_count == i);
    }
    ck_assert(!reply.ended);
    grpc_request_half_close(&reply.request);
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.got.len, 250);
    ck_assert_uint_eq(stats_of(3)->received, 50);
    ck_assert_uint_eq(stats_of(3)->sent, 50);
}
END_TEST

START_TEST(a_fast_feeder_waits_for_its_reader)
{
    reply_unary(&reply, "/test.Echo/Feed", bytes_of_str("1000"));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, 1000);
    ck_assert_uint_eq(reply.got.len, 65536000);
    ck_assert_uint_lt(fixture.feed_pending_max, STREAM_SEND_BYTES_MAX + 2 * 65536);
}
END_TEST

START_TEST(the_server_keeps_the_deadline)
{
    const struct grpc_request_options options = {.path = "/test.Echo/Hold", .timeout_ms = 50};
    grpc_request_unary(fixture.client, &reply.request, &options, bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
    RUN_UNTIL(&fixture.loop, fixture.held_closed > 0);
    ck_assert(grpc_call_is_over(fixture.held));
    ck_assert_uint_eq(fixture.held_closed, 1);
    /* either side may have been first */
    ck_assert(fixture.held_status == GRPC_DEADLINE_EXCEEDED ||
              fixture.held_status == GRPC_CANCELLED);
    grpc_call_finish(fixture.held, GRPC_OK, NULL); /* too late: nothing happens */
    ck_assert_uint_eq(stats_of(2)->handled[GRPC_OK], 0);
    grpc_call_unref(fixture.held);
}
END_TEST

START_TEST(a_deadline_that_is_kept_does_not_fire)
{
    const struct grpc_request_options options = {.path = "/test.Echo/Hold", .timeout_ms = 20000};
    uint64_t now = env_now_ns(fixture.loop.env);
    grpc_request_unary(fixture.client, &reply.request, &options, bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.held != NULL);
    uint64_t deadline = grpc_call_deadline_ns(fixture.held);
    ck_assert_uint_ge(deadline, now + 20000000000);
    ck_assert_uint_le(deadline, env_now_ns(fixture.loop.env) + 20000000000);
    grpc_call_answer(fixture.held, bytes_of_str("late"));
    grpc_call_unref(fixture.held);
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_OK, "");
    ck_assert_uint_eq(fixture.held_closed, 0);
    RUN_UNTIL(&fixture.loop, fixture.released == 1);
}
END_TEST

START_TEST(a_cancelled_request_closes_the_call)
{
    reply_unary(&reply, "/test.Echo/Hold", bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.held != NULL);
    grpc_request_cancel(&reply.request);
    RUN_UNTIL(&fixture.loop, fixture.held_closed == 1);
    ck_assert_int_eq(fixture.held_status, GRPC_CANCELLED);
    ck_assert(!reply.ended);
    ck_assert_str_eq(grpc_call_peer(fixture.held), "");
    grpc_call_send(fixture.held, bytes_of_str("nobody hears this"));
    ck_assert_uint_eq(fixture.released, 0);
    grpc_call_unref(fixture.held);
    ck_assert_uint_eq(fixture.released, 1);
}
END_TEST

START_TEST(a_request_cancelled_before_it_left_ends_quietly)
{
    reply_unary(&reply, "/test.Echo/Unary", bytes_of_str("x"));
    grpc_request_cancel(&reply.request);
    struct reply next;
    reply_unary(&next, "/test.Echo/Unary", bytes_of_str("y"));
    RUN_UNTIL(&fixture.loop, next.ended);
    STATUS_IS(&next, GRPC_OK, "");
    ck_assert(!reply.ended);
    reply_fini(&next);
}
END_TEST

START_TEST(a_lost_connection_closes_the_calls)
{
    reply_unary(&reply, "/test.Echo/Hold", bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.held != NULL);
    grpc_client_close(fixture.client);
    RUN_UNTIL(&fixture.loop, fixture.held_closed == 1);
    ck_assert_int_eq(fixture.held_status, GRPC_CANCELLED);
    grpc_call_answer(fixture.held, bytes_of_str("too late"));
    grpc_call_unref(fixture.held);
    RUN_UNTIL(&fixture.loop, reply.ended);
    STATUS_IS(&reply, GRPC_UNAVAILABLE, "the client connection is closing");
}
END_TEST

START_TEST(requests_on_a_closed_client_end_as_unavailable)
{
    RUN_UNTIL(&fixture.loop, fixture.client_ready);
    grpc_client_close(fixture.client);
    ck_assert(!grpc_client_is_open(fixture.client));
    reply_unary(&reply, "/test.Echo/Unary", bytes_of_str("x"));
    ck_assert(!reply.ended);
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert_int_eq(reply.status, GRPC_UNAVAILABLE);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_unavailable)
{
    rpc_port_close(fixture.port, 0, NULL, NULL);
    fixture.port = NULL;
    reply_unary(&reply, "/test.Echo/Unary", bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.client_closed);
    ck_assert_int_eq(reply.status, GRPC_UNAVAILABLE);
}
END_TEST

static bool port_closed;

static void on_port_closed(void *ctx)
{
    (void)ctx;
    port_closed = true;
}

START_TEST(draining_lets_calls_finish_and_takes_no_new_ones)
{
    port_closed = false;
    reply_unary(&reply, "/test.Echo/Hold", bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.held != NULL);
    rpc_port_close(fixture.port, 20000, on_port_closed, NULL);
    fixture.port = NULL;
    RUN_UNTIL(&fixture.loop, !grpc_client_is_open(fixture.client));
    ck_assert(!reply.ended);
    ck_assert(!port_closed);
    grpc_call_answer(fixture.held, bytes_of_str("done"));
    grpc_call_unref(fixture.held);
    RUN_UNTIL(&fixture.loop, reply.ended && port_closed && fixture.client_closed);
    STATUS_IS(&reply, GRPC_OK, "");
}
END_TEST

START_TEST(the_end_of_grace_closes_what_is_left)
{
    port_closed = false;
    reply_unary(&reply, "/test.Echo/Hold", bytes_of_str("x"));
    RUN_UNTIL(&fixture.loop, fixture.held != NULL);
    rpc_port_close(fixture.port, 30, on_port_closed, NULL);
    fixture.port = NULL;
    RUN_UNTIL(&fixture.loop, port_closed);
    ck_assert_uint_eq(fixture.held_closed, 1);
    grpc_call_unref(fixture.held);
    RUN_UNTIL(&fixture.loop, reply.ended);
    ck_assert_int_eq(reply.status, GRPC_UNAVAILABLE);
}
END_TEST

static Suite *grpc_suite(void)
{
    Suite *suite = suite_create("grpc");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, setup, teardown);
    tcase_set_timeout(calls, 60);
    tcase_add_test(calls, unary_answers);
    tcase_add_test(calls, an_empty_message_is_a_message);
    tcase_add_loop_test(calls, status_and_text_arrive_unchanged, 0, (int)ARRAY_LEN(statuses));
    tcase_add_loop_test(calls, unknown_methods_are_unimplemented, 0, (int)ARRAY_LEN(unknown));
    tcase_add_loop_test(calls, answers_of_any_size_pass_the_windows, 0, (int)ARRAY_LEN(sizes));
    tcase_add_test(calls, a_short_answer_does_not_wait_for_a_long_one);
    tcase_add_loop_test(calls, requests_of_any_size_pass_the_windows, 0,
                        (int)ARRAY_LEN(request_sizes));
    tcase_add_test(calls, a_message_above_the_maximum_is_refused_by_its_length_alone);
    tcase_add_test(calls, many_calls_share_a_connection);
    tcase_add_test(calls, a_bidi_stream_echoes_until_half_close);
    tcase_add_test(calls, a_fast_feeder_waits_for_its_reader);
    suite_add_tcase(suite, calls);
    TCase *ends = tcase_create("ends");
    tcase_add_checked_fixture(ends, setup, teardown);
    tcase_set_timeout(ends, 60);
    tcase_add_test(ends, the_server_keeps_the_deadline);
    tcase_add_test(ends, a_deadline_that_is_kept_does_not_fire);
    tcase_add_test(ends, a_cancelled_request_closes_the_call);
    tcase_add_test(ends, a_request_cancelled_before_it_left_ends_quietly);
    tcase_add_test(ends, a_lost_connection_closes_the_calls);
    tcase_add_test(ends, requests_on_a_closed_client_end_as_unavailable);
    tcase_add_test(ends, a_server_that_is_not_there_is_unavailable);
    tcase_add_test(ends, draining_lets_calls_finish_and_takes_no_new_ones);
    tcase_add_test(ends, the_end_of_grace_closes_what_is_left);
    suite_add_tcase(suite, ends);
    return suite;
}

int main(void)
{
    return runner_main(grpc_suite);
}
