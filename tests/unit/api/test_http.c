/* SPDX-License-Identifier: Apache-2.0 */
#include "api/http.h"

#include <stdlib.h>

#include "tests/unit/api/service_fixture.h"

/* One HTTP/1.1 request on a connection of its own. */
static struct {
    struct stream *stream;
    struct buf got;
    bool closed;
} peer;

static void on_read(void *ctx, struct bytes bytes)
{
    (void)ctx;
    buf_append_bytes(&peer.got, bytes);
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    peer.closed = true;
    peer.stream = NULL;
}

static const struct stream_callbacks callbacks = {.on_read = on_read, .on_close = on_close};

static void on_connect(void *ctx, struct stream *stream, enum err status, const char *why)
{
    (void)ctx;
    ck_assert_msg(status == OK, "%s", why);
    peer.stream = stream;
    stream_start(stream, &callbacks, NULL);
}

static void begin(const char *method, const char *path)
{
    buf_fini(&peer.got);
    peer.closed = false;
    const struct addr addr = {.host = "127.0.0.1", .port = rpc_port_number(served.port)};
    struct stream_connect_request *request;
    ck_assert_int_eq(
        stream_connect(served.loop.env, &served.loop.uv, &addr, 10000, on_connect, NULL, &request),
        OK);
    SERVE_UNTIL(peer.stream != NULL);
    CLEANUP(buf_fini) struct buf text = {0};
    buf_printf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method,
               path);
    ck_assert(stream_write(peer.stream, buf_bytes(&text)));
}

/* The whole answer, as a text. */
static const char *fetch(const char *method, const char *path)
{
    begin(method, path);
    SERVE_UNTIL(peer.closed);
    buf_append(&peer.got, "", 1);
    ck_assert(buf_ok(&peer.got));
    return (const char *)peer.got.data;
}

static void ck_answer(const char *answer, unsigned status, const char *type, const char *body)
{
    char start[64];
    snprintf(start, sizeof start, "HTTP/1.1 %u ", status);
    ck_assert_msg(strncmp(answer, start, strlen(start)) == 0, "%s", answer);
    ck_assert_msg(strstr(answer, type) != NULL, "%s", answer);
    const char *end = strstr(answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    ck_assert_str_eq(end + 4, body);
}

#define TEXT "Content-Type: text/plain; charset=utf-8\r\n"
#define JSON "Content-Type: application/json\r\n"

static void setup(void)
{
    served_start();
}

static void setup_metrics_only(void)
{
    served.metrics_only = true;
    served_start();
}

static void setup_learner(void)
{
    served.learner = true;
    served_start();
}

static void teardown(void)
{
    if (peer.stream != NULL) {
        stream_close(peer.stream);
        RUN_UNTIL(&served.loop, peer.closed);
    }
    served_stop();
    buf_fini(&peer.got);
}

START_TEST(health_is_good_while_reads_are_linearizable)
{
    ck_answer(fetch("GET", "/health"), 200, TEXT, "{\"health\":\"true\",\"reason\":\"\"}");
    ck_answer(fetch("GET", "/health?exclude=NOSPACE&exclude=CORRUPT"), 200, TEXT,
              "{\"health\":\"true\",\"reason\":\"\"}");
    served.hold_reads = true;
    begin("GET", "/health");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    node_fake_answer_reads(served.node, ERR_LEADER_CHANGED);
    SERVE_UNTIL(peer.closed);
    buf_append(&peer.got, "", 1);
    ck_answer((const char *)peer.got.data, 503, TEXT,
              "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: leader changed\"}\n");
}
END_TEST

START_TEST(without_a_leader_health_is_bad_but_for_local_reads)
{
    node_fake_set_leader(served.node, TERM, 0);
    ck_answer(fetch("GET", "/health"), 503, TEXT,
              "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
    ck_answer(fetch("GET", "/health?serializable=false"), 503, TEXT,
              "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
    ck_answer(fetch("GET", "/health?serializable=true"), 200, TEXT,
              "{\"health\":\"true\",\"reason\":\"\"}");
    node_fake_set_leader(served.node, TERM + 1, MEMBER_ID);
    ck_answer(fetch("GET", "/health"), 200, TEXT, "{\"health\":\"true\",\"reason\":\"\"}");
}
END_TEST

static void raise_alarm(uint32_t type)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    struct command command = {.kind = COMMAND_ALARM, .alarm = {.type = type, .member_id = 5}};
    entry_begin(&entry);
    command_encode(&entry, (struct command_origin){.member_id = 5, .op = 1}, &command);
    entry_apply(&entry);
}

#define GOOD       "{\"health\":\"true\",\"reason\":\"\"}"
#define BAD(alarm) "{\"health\":\"false\",\"reason\":\"ALARM " alarm "\"}\n"

START_TEST(an_alarm_is_bad_health_unless_it_is_excluded)
{
    raise_alarm(ALARM_NOSPACE);
    ck_answer(fetch("GET", "/health"), 503, TEXT, BAD("NOSPACE"));
    ck_answer(fetch("GET", "/health?serializable=true"), 503, TEXT, BAD("NOSPACE"));
    ck_answer(fetch("GET", "/health?exclude=NOSPACE"), 200, TEXT, GOOD);
    ck_answer(fetch("GET", "/health?exclude=CORRUPT&exclude=&exclude=NOSPACES"), 503, TEXT,
              BAD("NOSPACE"));
    raise_alarm(ALARM_CORRUPT);
    ck_answer(fetch("GET", "/health?exclude=NOSPACE"), 503, TEXT, BAD("CORRUPT"));
    ck_answer(fetch("GET", "/health?exclude=NOSPACE&exclude=CORRUPT"), 200, TEXT, GOOD);
    raise_alarm(99);
    ck_answer(fetch("GET", "/health?exclude=NOSPACE&exclude=CORRUPT"), 503, TEXT, BAD("UNKNOWN"));
    node_fake_set_leader(served.node, TERM, 0); /* alarms come first */
    ck_answer(fetch("GET", "/health"), 503, TEXT, BAD("NOSPACE"));
    const char *metrics = fetch("GET", "/metrics");
    ck_assert_ptr_nonnull(strstr(metrics, "\netcd_server_health_success 2\n"));
    ck_assert_ptr_nonnull(strstr(metrics, "\netcd_server_health_failures 6\n"));
    ck_assert_ptr_nonnull(strstr(metrics, "\netcd_debugging_server_alarms{server_id=\"5\","
                                          "alarm_type=\"CORRUPT\"} 1\n"));
}
END_TEST

START_TEST(who_asks_for_health_and_leaves_is_forgotten)
{
    served.hold_reads = true;
    begin("GET", "/health");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    stream_close(peer.stream);
    SERVE_UNTIL(node_fake_read_count(served.node) == 0);
}
END_TEST

#define ALL_BUT_READ                                   \
    "[+]data_corruption ok\n[+]serializable_read ok\n" \
    "[-]linearizable_read failed: etcdserver: leader changed\n[+]non_learner ok\n"
#define CORRUPT "[-]data_corruption failed: alarm activated: CORRUPT\n"

static const struct {
    const char *path;
    enum err read; /* ERR_TIMEOUT: it is asked for none */
    unsigned status;
    const char *body;
    bool corrupt;
} probes[] = {
    {"/livez", ERR_TIMEOUT, 200, "ok\n", false},
    {"/livez?verbose", ERR_TIMEOUT, 200, "[+]serializable_read ok\nok\n", false},
    {"/livez/serializable_read", ERR_TIMEOUT, 200, "ok\n", true},
    {"/livez?exclude=serializable_read&verbose=1", ERR_TIMEOUT, 200, "ok\n", false},
    {"/livez/linearizable_read", ERR_TIMEOUT, 404, "404 page not found\n", false},
    {"/livezz", ERR_TIMEOUT, 404, "404 page not found\n", false},
    {"/readyz/", ERR_TIMEOUT, 404, "404 page not found\n", false},
    {"/readyz/nothing", ERR_TIMEOUT, 404, "404 page not found\n", false},
    {"/readyz", OK, 200, "ok\n", false},
    {"/readyz?verbose", OK, 200,
     "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n"
     "ok\n",
     false},
    {"/readyz", ERR_LEADER_CHANGED, 503, ALL_BUT_READ "\n", false},
    {"/readyz/linearizable_read", ERR_LEADER_CHANGED, 503,
     "[-]linearizable_read failed: etcdserver: leader changed\n\n", false},
    {"/readyz/non_learner?exclude=non_learner", ERR_TIMEOUT, 200, "ok\n", false},
    {"/readyz?exclude=linearizable_read", ERR_TIMEOUT, 200, "ok\n", false},
    {"/readyz?exclude=linearizable_read&exclude=unknown", ERR_TIMEOUT, 503,
     CORRUPT "[+]serializable_read ok\n[+]non_learner ok\n\n", true},
    {"/readyz/data_corruption", ERR_TIMEOUT, 503, CORRUPT "\n", true},
    {"/readyz?exclude=data_corruption", OK, 200, "ok\n", true},
};

START_TEST(probes_answer_as_a_kubelet_expects)
{
    served.hold_reads = true;
    raise_alarm(probes[_i].corrupt ? ALARM_CORRUPT : ALARM_NOSPACE);
    begin("GET", probes[_i].path);
    if (probes[_i].read != ERR_TIMEOUT) {
        SERVE_UNTIL(node_fake_read_count(served.node) == 1);
        node_fake_answer_reads(served.node, probes[_i].read);
    }
    SERVE_UNTIL(peer.closed);
    buf_append(&peer.got, "", 1);
    ck_answer((const char *)peer.got.data, probes[_i].status, TEXT, probes[_i].body);
}
END_TEST

START_TEST(who_probes_and_leaves_is_forgotten)
{
    served.hold_reads = true;
    begin("GET", "/readyz");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    stream_close(peer.stream);
    SERVE_UNTIL(node_fake_read_count(served.node) == 0);
}
END_TEST

START_TEST(a_learner_is_alive_and_not_ready)
{
    ck_answer(fetch("GET", "/livez"), 200, TEXT, "ok\n");
    ck_answer(fetch("GET", "/readyz/non_learner"), 503, TEXT,
              "[-]non_learner failed: not supported for learner\n\n");
}
END_TEST

START_TEST(version_tells_what_is_decided)
{
    ck_answer(fetch("GET", "/version"), 200, JSON,
              "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}");
}
END_TEST

static const struct {
    const char *method;
    const char *path;
    unsigned status;
    const char *header;
    const char *body;
} others[] = {
    {"GET", "/", 404, TEXT, "404 page not found\n"},
    {"GET", "/v2/keys", 404, TEXT, "404 page not found\n"},
    {"GET", "/health/", 404, TEXT, "404 page not found\n"},
    {"POST", "/health", 405, "Allow: GET\r\n", "Method Not Allowed\n"},
    {"POST", "/livez", 405, "Allow: GET\r\n", "Method Not Allowed\n"},
    {"HEAD", "/readyz", 405, "Allow: GET\r\n", ""},
    {"HEAD", "/health", 405, "Allow: GET\r\n", ""},
    {"DELETE", "/version", 405, "Allow: GET\r\n", "Method Not Allowed\n"},
    {"POST", "/metrics", 405, "Allow: GET\r\n", "Method Not Allowed\n"},
    {"HEAD", "/metrics", 200, "version=0.0.4", ""},
    {"OPTIONS", "/anything", 200, "Access-Control-Allow-Origin: *\r\n", ""},
    {"GET", "/version", 200,
     "Access-Control-Allow-Headers: accept, content-type, authorization\r\n",
     "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}"},
};

START_TEST(every_request_is_answered)
{
    ck_answer(fetch(others[_i].method, others[_i].path), others[_i].status, others[_i].header,
              others[_i].body);
}
END_TEST

START_TEST(metrics_have_a_line_for_every_method_and_code)
{
    put_key("k", "1");
    const char *answer = fetch("GET", "/metrics");
    static const char *const lines[] = {
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
        "\n# TYPE grpc_server_handled_total counter\n",
        "\ngrpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\","
        "grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1\n",
        "\ngrpc_server_handled_total{grpc_code=\"Unavailable\",grpc_method=\"Watch\","
        "grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0\n",
        "\ngrpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"LeaseKeepAlive\","
        "grpc_service=\"etcdserverpb.Lease\",grpc_type=\"bidi_stream\"} 0\n",
        "\ngrpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\","
        "grpc_type=\"unary\"} 1\n",
        "\ngrpc_server_msg_received_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\","
        "grpc_type=\"unary\"} 1\n",
        "\ngrpc_server_msg_sent_total{grpc_method=\"Snapshot\","
        "grpc_service=\"etcdserverpb.Maintenance\",grpc_type=\"server_stream\"} 0\n",
        "\netcd_network_client_grpc_received_bytes_total ",
        "\netcd_server_version{server_version=\"3.7.1\"} 1\n",
        "\netcd_server_has_leader 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        ck_assert_msg(strstr(answer, lines[i]) != NULL, "no %s", lines[i]);
    }
    /* 42 RPCs of etcd, 2 of Lock, 5 of Election, 3 of health; 17 codes. */
    size_t count = 0;
    for (const char *at = answer; (at = strstr(at, "\ngrpc_server_handled_total{")) != NULL; at++) {
        count++;
    }
    ck_assert_uint_eq(count, (42 + 2 + 5 + 3) * 17);
}
END_TEST

START_TEST(a_metrics_port_has_no_more_than_it_should)
{
    ck_answer(fetch("GET", "/health"), 200, TEXT, "{\"health\":\"true\",\"reason\":\"\"}");
    ck_assert_ptr_nonnull(strstr(fetch("GET", "/metrics"), "grpc_server_started_total"));
    ck_answer(fetch("GET", "/livez"), 200, TEXT, "ok\n");
    ck_answer(fetch("GET", "/readyz"), 200, TEXT, "ok\n");
    ck_answer(fetch("GET", "/version"), 404, TEXT, "404 page not found\n");
    ck_answer(fetch("OPTIONS", "/health"), 405, TEXT, "Method Not Allowed\n");
    ck_assert_ptr_null(strstr((const char *)peer.got.data, "Access-Control"));
}
END_TEST

static Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc = tcase_create("client_port");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, health_is_good_while_reads_are_linearizable);
    tcase_add_test(tc, without_a_leader_health_is_bad_but_for_local_reads);
    tcase_add_test(tc, an_alarm_is_bad_health_unless_it_is_excluded);
    tcase_add_test(tc, who_asks_for_health_and_leaves_is_forgotten);
    tcase_add_loop_test(tc, probes_answer_as_a_kubelet_expects, 0, ARRAY_LEN(probes));
    tcase_add_test(tc, who_probes_and_leaves_is_forgotten);
    tcase_add_test(tc, version_tells_what_is_decided);
    tcase_add_loop_test(tc, every_request_is_answered, 0, ARRAY_LEN(others));
    tcase_add_test(tc, metrics_have_a_line_for_every_method_and_code);
    suite_add_tcase(suite, tc);
    tc = tcase_create("learner");
    tcase_add_checked_fixture(tc, setup_learner, teardown);
    tcase_add_test(tc, a_learner_is_alive_and_not_ready);
    suite_add_tcase(suite, tc);
    tc = tcase_create("metrics_port");
    tcase_add_checked_fixture(tc, setup_metrics_only, teardown);
    tcase_add_test(tc, a_metrics_port_has_no_more_than_it_should);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(http_suite);
}
