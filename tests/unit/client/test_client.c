/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "net/rpc_port.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"

#define SERVERS    3
#define TIMEOUT_MS 20000u

/* Servers with an echo, whose call in `hold` is never answered, and one client of theirs. */
static struct {
    struct loop loop;
    struct server {
        struct grpc_server *grpc;
        struct rpc_port *port;
        uint16_t port_number;
        unsigned calls;
        bool closed;
    } servers[SERVERS];
    char endpoints[256];
    struct client *client;
    struct buf answer;
    struct why why;
} t;

static void on_echo(struct grpc_call *call, struct bytes message)
{
    struct server *server = grpc_call_ctx(call);
    server->calls++;
    grpc_call_answer(call, message);
}

static void on_refuse(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_finish(call, GRPC_OUT_OF_RANGE, "no such thing");
}

static void on_hold(struct grpc_call *call, struct bytes message)
{
    (void)message;
    ((struct server *)grpc_call_ctx(call))->calls++;
}

static const struct grpc_method methods[] = {
    {.path = "/test.Client/Echo", .message = on_echo},
    {.path = "/test.Client/Refuse", .message = on_refuse},
    {.path = "/test.Client/Hold", .message = on_hold},
};

static void open_port(struct server *server)
{
    const struct rpc_port_config config = {
        .env = t.loop.env,
        .loop = &t.loop.uv,
        .addr = {.host = "127.0.0.1", .port = server->port_number},
        .grpc = server->grpc};
    enum err err = rpc_port_open(&config, &server->port, &t.why);
    ck_assert_msg(err == OK, "%s", t.why.text);
    server->port_number = rpc_port_number(server->port);
}

static void on_port_closed(void *ctx)
{
    struct server *server = ctx;
    server->port = NULL;
    server->closed = true;
}

static void close_port(struct server *server)
{
    server->closed = false;
    rpc_port_close(server->port, 0, on_port_closed, server);
    RUN_UNTIL(&t.loop, server->closed);
}

static void setup(void)
{
    memset(&t, 0, sizeof t);
    loop_init(&t.loop);
    size_t len = 0;
    for (size_t i = 0; i < SERVERS; i++) {
        struct server *server = &t.servers[i];
        const struct grpc_server_config config = {.env = t.loop.env,
                                                  .methods = methods,
                                                  .method_count = ARRAY_LEN(methods),
                                                  .ctx = server};
        ck_assert_int_eq(grpc_server_new(&config, &server->grpc), OK);
        open_port(server);
        len += (size_t)snprintf(t.endpoints + len, sizeof t.endpoints - len, "%s%s127.0.0.1:%u",
                                i > 0 ? "," : "", i == 1 ? "http://" : "", server->port_number);
    }
}

static void teardown(void)
{
    if (t.client != NULL) {
        client_close_sync(t.client);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        if (t.servers[i].port != NULL) {
            close_port(&t.servers[i]);
        }
        grpc_server_free(t.servers[i].grpc);
    }
    loop_fini(&t.loop);
    buf_fini(&t.answer);
}

static void open_client(size_t connections)
{
    const struct client_config config = {.env = t.loop.env,
                                         .loop = &t.loop.uv,
                                         .endpoints = t.endpoints,
                                         .connections = connections};
    ck_assert_int_eq(client_new(&config, &t.client, &t.why), OK);
    enum err err = client_connect_sync(t.client, TIMEOUT_MS, &t.why);
    ck_assert_msg(err == OK, "%s", t.why.text);
}

static enum grpc_status call(size_t slot, const char *path, const char *message)
{
    return client_call_sync(t.client, slot, path, bytes_of_str(message), TIMEOUT_MS, &t.answer,
                            &t.why);
}

START_TEST(an_answer_comes_back)
{
    open_client(0);
    ck_assert_int_eq(call(0, "/test.Client/Echo", "hello"), GRPC_OK);
    ck_assert_uint_eq(t.answer.len, 5);
    ck_assert_int_eq(memcmp(t.answer.data, "hello", 5), 0);
    ck_assert_int_eq(call(0, "/test.Client/Echo", ""), GRPC_OK);
    ck_assert_uint_eq(t.answer.len, 0);
}
END_TEST

START_TEST(a_refusal_comes_with_its_text)
{
    open_client(0);
    ck_assert_int_eq(call(1, "/test.Client/Refuse", "x"), GRPC_OUT_OF_RANGE);
    ck_assert_str_eq(t.why.text, "no such thing");
    ck_assert_int_eq(call(1, "/test.Client/Nothing", "x"), GRPC_UNIMPLEMENTED);
}
END_TEST

START_TEST(a_call_without_an_answer_ends_at_its_deadline)
{
    open_client(0);
    ck_assert_int_eq(client_call_sync(t.client, 0, "/test.Client/Hold", bytes_of_str("x"), 50,
                                      &t.answer, &t.why),
                     GRPC_DEADLINE_EXCEEDED);
    ck_assert_int_eq(call(0, "/test.Client/Echo", "x"), GRPC_OK);
}
END_TEST

START_TEST(slots_lead_to_the_endpoints_in_turn)
{
    open_client(2 * SERVERS);
    ck_assert_uint_eq(client_slot_count(t.client), 2 * SERVERS);
    for (size_t slot = 0; slot < 2 * SERVERS; slot++) {
        char want[32];
        snprintf(want, sizeof want, "127.0.0.1:%u", t.servers[slot % SERVERS].port_number);
        ck_assert_str_eq(client_slot_name(t.client, slot), want);
        ck_assert_int_eq(call(slot, "/test.Client/Echo", "x"), GRPC_OK);
        ck_assert_uint_eq(t.servers[slot % SERVERS].calls, 1 + slot / SERVERS);
    }
}
END_TEST

START_TEST(any_goes_round)
{
    open_client(0);
    for (unsigned i = 0; i < 4 * SERVERS; i++) {
        ck_assert_int_eq(call(CLIENT_ANY, "/test.Client/Echo", "x"), GRPC_OK);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        ck_assert_uint_eq(t.servers[i].calls, 4);
    }
}
END_TEST

START_TEST(any_passes_by_what_is_down)
{
    open_client(0);
    close_port(&t.servers[1]);
    RUN_UNTIL(&t.loop, !client_is_connected(t.client, 1));
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(call(CLIENT_ANY, "/test.Client/Echo", "x"), GRPC_OK);
    }
    ck_assert_uint_eq(t.servers[1].calls, 0);
    ck_assert_uint_eq(t.servers[0].calls + t.servers[2].calls, 10);
}
END_TEST

START_TEST(a_call_to_what_is_down_fails_with_the_reason)
{
    open_client(0);
    close_port(&t.servers[2]);
    RUN_UNTIL(&t.loop, !client_is_connected(t.client, 2));
    ck_assert_int_eq(call(2, "/test.Client/Echo", "x"), GRPC_UNAVAILABLE);
    ck_assert_msg(strstr(t.why.text, "connection refused") != NULL, "%s", t.why.text);
    ck_assert_msg(client_last_error(t.client, 2)[0] != '\0', "no reason is kept");
}
END_TEST

START_TEST(a_server_that_comes_back_is_connected_again)
{
    open_client(0);
    close_port(&t.servers[0]);
    RUN_UNTIL(&t.loop, !client_is_connected(t.client, 0));
    open_port(&t.servers[0]);
    RUN_UNTIL(&t.loop, client_is_connected(t.client, 0));
    ck_assert_int_eq(call(0, "/test.Client/Echo", "x"), GRPC_OK);
}
END_TEST

struct pending {
    struct grpc_request request;
    unsigned ended;
    enum grpc_status status;
};

static void on_pending_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    (void)text;
    struct pending *pending = CONTAINER_OF(request, struct pending, request);
    pending->ended++;
    pending->status = status;
}

static void on_client_closed(void *ctx)
{
    *(bool *)ctx = true;
}

START_TEST(closing_ends_the_calls_first)
{
    open_client(0);
    struct pending pending[10] = {0};
    const struct grpc_request_options options = {.path = "/test.Client/Hold"};
    for (size_t i = 0; i < ARRAY_LEN(pending); i++) {
        pending[i].request.on_end = on_pending_end;
        client_call(t.client, CLIENT_ANY, &pending[i].request, &options, bytes_of_str("x"));
    }
    RUN_UNTIL(&t.loop, t.servers[0].calls + t.servers[1].calls + t.servers[2].calls == 10);
    bool closed = false;
    client_close(TAKE(t.client), on_client_closed, &closed);
    ck_assert(!closed);
    RUN_UNTIL(&t.loop, closed);
    for (size_t i = 0; i < ARRAY_LEN(pending); i++) {
        ck_assert_uint_eq(pending[i].ended, 1);
        ck_assert_int_eq(pending[i].status, GRPC_UNAVAILABLE);
    }
}
END_TEST

START_TEST(closing_while_nobody_answers)
{
    for (size_t i = 0; i < SERVERS; i++) {
        close_port(&t.servers[i]);
    }
    const struct client_config config = {
        .env = t.loop.env, .loop = &t.loop.uv, .endpoints = t.endpoints};
    ck_assert_int_eq(client_new(&config, &t.client, &t.why), OK);
    RUN_UNTIL(&t.loop, client_last_error(t.client, 0)[0] != '\0'); /* waits to try again */
    ck_assert_int_eq(client_connect_sync(t.client, 1, &t.why), ERR_CONNECT);
    ck_assert_msg(strstr(t.why.text, "is not reached") != NULL, "%s", t.why.text);
}
END_TEST

static const struct {
    const char *endpoints;
    size_t connections;
    enum err want;
} refused[] = {
    {"", 0, ERR_INVALID},
    {"127.0.0.1", 0, ERR_INVALID},
    {"127.0.0.1:1,", 0, ERR_INVALID},
    {"127.0.0.1:70000", 0, ERR_INVALID},
    {"https://127.0.0.1:1", 0, ERR_UNSUPPORTED},
    {"127.0.0.1:1", CLIENT_SLOTS_MAX + 1, ERR_LIMIT},
};

START_TEST(endpoints_that_are_none_are_refused)
{
    const struct client_config config = {.env = t.loop.env,
                                         .loop = &t.loop.uv,
                                         .endpoints = refused[_i].endpoints,
                                         .connections = refused[_i].connections};
    struct client *client = NULL;
    enum err got = client_new(&config, &client, &t.why);
    ck_assert_msg(got == refused[_i].want, "'%s': %s: %s", refused[_i].endpoints, err_text(got),
                  t.why.text);
    ck_assert_ptr_null(client);
}
END_TEST

static Suite *client_suite(void)
{
    Suite *suite = suite_create("client");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, setup, teardown);
    tcase_set_timeout(calls, 60);
    tcase_add_test(calls, an_answer_comes_back);
    tcase_add_test(calls, a_refusal_comes_with_its_text);
    tcase_add_test(calls, a_call_without_an_answer_ends_at_its_deadline);
    tcase_add_test(calls, slots_lead_to_the_endpoints_in_turn);
    tcase_add_test(calls, any_goes_round);
    suite_add_tcase(suite, calls);
    TCase *failures = tcase_create("failures");
    tcase_add_checked_fixture(failures, setup, teardown);
    tcase_set_timeout(failures, 60);
    tcase_add_test(failures, any_passes_by_what_is_down);
    tcase_add_test(failures, a_call_to_what_is_down_fails_with_the_reason);
    tcase_add_test(failures, a_server_that_comes_back_is_connected_again);
    tcase_add_test(failures, closing_ends_the_calls_first);
    tcase_add_test(failures, closing_while_nobody_answers);
    tcase_add_loop_test(failures, endpoints_that_are_none_are_refused, 0, ARRAY_LEN(refused));
    suite_add_tcase(suite, failures);
    return suite;
}

int main(void)
{
    return runner_main(client_suite);
}
