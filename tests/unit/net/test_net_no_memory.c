/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of net fails once, in calls of each kind between our client and our server:
 * every request has one outcome, everything can be closed, and nothing is lost. */
#include "tests/lib/fault.h"

#include "net/grpc_client.h"
#include "net/rpc_port.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"

#define TURNS_MAX 20000

static struct {
    struct loop loop;
    struct grpc_server *server;
    struct rpc_port *port;
    struct grpc_client *client;
    struct stream *peer;
    struct stream_connect_request *connecting;
    struct http1_server http1;
    unsigned begun;
    unsigned ended;
    unsigned ok;
    unsigned echoes;
    bool pages;
} t;

/* The server: all it makes for an answer may fail. */

static void on_echo(struct grpc_call *call, struct bytes message)
{
    struct bytes value;
    char *copy = arena_strdup(grpc_call_arena(call), message);
    if (copy == NULL || !grpc_call_metadata(call, "x-key", &value)) {
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "no memory for a copy");
        return;
    }
    grpc_call_answer(call, message);
}

static void on_share(struct grpc_call *call, struct bytes message)
{
    struct blob *blob = blob_copy(message);
    if (blob == NULL) {
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "no memory for a blob");
        return;
    }
    const struct grpc_part parts[] = {{.bytes = bytes_of_str("head")},
                                      {.bytes = blob_bytes(blob), .blob = blob}};
    grpc_call_send_parts(call, parts, ARRAY_LEN(parts));
    blob_unref(blob);
}

static void on_share_end(struct grpc_call *call)
{
    grpc_call_finish(call, GRPC_UNAVAILABLE, "a text that needs an escape: %");
}

static const struct grpc_method methods[] = {
    {.path = "/test.Memory/Echo", .message = on_echo},
    {.path = "/test.Memory/Share",
     .client_stream = true,
     .server_stream = true,
     .message = on_share,
     .half_close = on_share_end},
};

static void on_page(void *ctx, struct http1_request *request)
{
    (void)ctx;
    http1_respond(request, 200, "text/plain", NULL, request->path);
}

/* The clients. */

static void on_message(struct grpc_request *request, struct bytes message)
{
    (void)request;
    (void)message;
    t.echoes++;
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    (void)request;
    (void)text;
    t.ended++;
    t.ok += status == GRPC_OK || status == GRPC_UNAVAILABLE;
}

static void on_client_closed(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    t.client = NULL;
}

static void on_peer_read(void *ctx, struct bytes bytes)
{
    (void)ctx;
    t.pages |= bytes.len > 12 && memcmp(bytes.data, "HTTP/1.1 200", 12) == 0;
}

static void on_peer_close(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    t.peer = NULL;
}

static const struct stream_callbacks peer_callbacks = {.on_read = on_peer_read,
                                                       .on_close = on_peer_close};

static void on_peer_connect(void *ctx, struct stream *stream, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    t.connecting = NULL;
    t.peer = stream;
    if (stream != NULL) {
        stream_start(stream, &peer_callbacks, NULL);
        stream_write(stream, bytes_of_str("GET /page?a=b HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
}

static void on_port_closed(void *ctx)
{
    (void)ctx;
    t.port = NULL;
}

/* The scenario; no assertion of Check inside, which allocates itself. */

static enum err start(void)
{
    struct why why;
    const struct grpc_server_config server = {
        .env = t.loop.env, .methods = methods, .method_count = ARRAY_LEN(methods)};
    TRY(grpc_server_new(&server, &t.server));
    t.http1 = (struct http1_server){.env = t.loop.env,
                                    .body_bytes_max = 1000,
                                    .request_timeout_ms = 10000,
                                    .idle_timeout_ms = 10000,
                                    .on_request = on_page};
    const struct rpc_port_config port = {.env = t.loop.env,
                                         .loop = &t.loop.uv,
                                         .addr = {.host = "127.0.0.1"},
                                         .grpc = t.server,
                                         .http1 = &t.http1};
    TRY(rpc_port_open(&port, &t.port, &why));
    const struct grpc_client_config client = {
        .env = t.loop.env,
        .loop = &t.loop.uv,
        .addr = {.host = "127.0.0.1", .port = rpc_port_number(t.port)},
        .on_closed = on_client_closed};
    TRY(grpc_client_new(&client, &t.client));
    const struct addr addr = client.addr;
    return stream_connect(t.loop.env, &t.loop.uv, &addr, 10000, on_peer_connect, NULL,
                          &t.connecting);
}

static void ask(struct grpc_request requests[static 3])
{
    static uint8_t large[100000];
    const struct grpc_metadata metadata = {"x-key", bytes_of_str("value")};
    const struct grpc_request_options echo = {.path = "/test.Memory/Echo",
                                              .timeout_ms = 10000,
                                              .metadata = &metadata,
                                              .metadata_count = 1};
    const struct grpc_request_options share = {.path = "/test.Memory/Share"};
    for (unsigned i = 0; i < 3; i++) {
        requests[i] = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    }
    t.begun = 3;
    grpc_request_unary(t.client, &requests[0], &echo, bytes_of_str("small"));
    grpc_request_unary(t.client, &requests[1], &echo, bytes_of(large, sizeof large));
    grpc_request_start(t.client, &requests[2], &share);
    grpc_request_send(&requests[2], bytes_of_str("small"));
    grpc_request_send(&requests[2], bytes_of(large, sizeof large));
    grpc_request_half_close(&requests[2]);
}

static void turn(void)
{
    uv_run(&t.loop.uv, UV_RUN_NOWAIT);
}

static enum err scenario(void)
{
    struct grpc_request requests[3];
    t.begun = t.ended = t.ok = t.echoes = 0;
    t.pages = false;
    enum err err = start();
    if (err == OK) {
        ask(requests);
    }
    for (unsigned i = 0; i < TURNS_MAX && (t.ended < t.begun || t.client == NULL || !t.pages);
         i++) {
        turn();
        if (fault_fired() && t.client == NULL) {
            break; /* the connection fell to it */
        }
    }
    if (t.connecting != NULL) {
        stream_connect_cancel(t.connecting);
        t.connecting = NULL;
    }
    if (t.peer != NULL) {
        stream_close(t.peer);
    }
    if (t.client != NULL) {
        grpc_client_close(t.client);
    }
    if (t.port != NULL) {
        rpc_port_close(t.port, 100, on_port_closed, NULL);
    }
    while (t.client != NULL || t.peer != NULL || t.port != NULL) {
        uv_run(&t.loop.uv, UV_RUN_ONCE);
    }
    for (unsigned i = 0; i < 10; i++) {
        turn(); /* what was closed gives its memory back */
    }
    grpc_server_free(t.server);
    t.server = NULL;
    return err;
}

static void on_warm(struct env_timer *timer)
{
    (void)timer;
}

/* A timer that cannot be started ends the process (base): let the heap be large enough before. */
static void warm_timers(void)
{
    struct env_timer timers[64];
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) {
        env_timer_init(&timers[i], on_warm);
        env_timer_start(t.loop.env, &timers[i], 1000);
    }
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) {
        env_timer_stop(t.loop.env, &timers[i]);
    }
}

START_TEST(every_request_has_one_outcome)
{
    loop_init(&t.loop);
    warm_timers();
    FAULT_SWEEP (sweep) {
        enum err err = scenario();
        bool fired = fault_fired();
        fault_pause();
        ck_assert_uint_eq(t.ended, t.begun);
        ck_assert(err == OK || err == ERR_NOMEM);
        if (!fired) {
            ck_assert_int_eq(err, OK);
            ck_assert_uint_eq(t.ok, 3);
            ck_assert_uint_eq(t.echoes, 4);
            ck_assert(t.pages);
        }
    }
    loop_fini(&t.loop);
}
END_TEST

static Suite *no_memory_suite(void)
{
    Suite *suite = suite_create("net_no_memory");
    TCase *sweep = tcase_create("sweep");
    tcase_set_timeout(sweep, 300);
    tcase_add_test(sweep, every_request_has_one_outcome);
    suite_add_tcase(suite, sweep);
    return suite;
}

int main(void)
{
    return runner_main(no_memory_suite);
}
