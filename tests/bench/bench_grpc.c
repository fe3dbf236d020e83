/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/env_real.h"
#include "net/grpc_client.h"
#include "net/rpc_port.h"

/* What a gRPC call costs without anything behind it: a server that answers 45 bytes to each unary
 * call on one thread, our client on another, a fixed number of calls always under way.
 *
 *     bench_grpc [connections] [calls at once per connection] [request bytes] [seconds]
 *
 * The figure is calls per second of the server's processor time: it holds when the two threads
 * share a core with each other or with somebody else. */

#define ANSWER_BYTES 45

struct side {
    uv_loop_t loop;
    struct env_real *real;
    struct env *env;
    uv_async_t stop;
};

struct server {
    struct side side;
    struct grpc_server *grpc;
    struct rpc_port *port;
    pthread_barrier_t listening;
    uint64_t cpu_ns;
};

struct connection {
    struct grpc_client *grpc;
    struct load *load;
    unsigned open_count;
};

struct slot {
    struct grpc_request request;
    struct connection *connection;
};

struct load {
    struct side side;
    struct connection *connections;
    struct slot *slots;
    uint8_t *message;
    size_t message_bytes;
    uint64_t calls;
    uint64_t failed;
    bool stopping;
    unsigned connection_count;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void side_init(struct side *side, uv_async_cb on_stop)
{
    struct why why;
    ASSERT(uv_loop_init(&side->loop) == 0);
    ASSERT(env_real_new(&side->loop, &side->real, &why) == OK);
    side->env = env_real_env(side->real);
    ASSERT(uv_async_init(&side->loop, &side->stop, on_stop) == 0);
}

static void side_fini(struct side *side)
{
    env_real_close(side->real);
    uv_run(&side->loop, UV_RUN_DEFAULT);
    env_real_free(side->real);
    ASSERT(uv_loop_close(&side->loop) == 0);
}

/* The server. */

static void on_message(struct grpc_call *call, struct bytes message)
{
    static const uint8_t answer[ANSWER_BYTES];
    (void)message;
    grpc_call_answer(call, bytes_of(answer, sizeof answer));
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Put", .message = on_message},
};

static void on_server_stop(uv_async_t *async)
{
    struct server *server = CONTAINER_OF(async, struct server, side.stop);
    uv_close((uv_handle_t *)async, NULL);
    rpc_port_close(server->port, 1000, NULL, NULL);
}

static void *run_server(void *arg)
{
    struct server *server = arg;
    struct why why;
    side_init(&server->side, on_server_stop);
    const struct grpc_server_config config = {
        .env = server->side.env, .methods = methods, .method_count = 1};
    ASSERT(grpc_server_new(&config, &server->grpc) == OK);
    const struct rpc_port_config port = {.env = server->side.env,
                                         .loop = &server->side.loop,
                                         .addr = {.host = "127.0.0.1"},
                                         .grpc = server->grpc};
    ASSERT(rpc_port_open(&port, &server->port, &why) == OK);
    pthread_barrier_wait(&server->listening);
    uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uv_run(&server->side.loop, UV_RUN_DEFAULT);
    server->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    grpc_server_free(server->grpc);
    side_fini(&server->side);
    return NULL;
}

/* The load. */

static void begin(struct slot *slot)
{
    static const struct grpc_request_options options = {.path = "/etcdserverpb.KV/Put"};
    struct load *load = slot->connection->load;
    grpc_request_unary(slot->connection->grpc, &slot->request, &options,
                       bytes_of(load->message, load->message_bytes));
}

static void on_answer(struct grpc_request *request, struct bytes message)
{
    (void)request;
    ASSERT(message.len == ANSWER_BYTES);
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    (void)text;
    struct slot *slot = CONTAINER_OF(request, struct slot, request);
    struct load *load = slot->connection->load;
    if (status == GRPC_OK) {
        load->calls++;
    } else {
        load->failed++;
    }
    if (!load->stopping && status == GRPC_OK) {
        begin(slot);
    } else if (--slot->connection->open_count == 0) {
        grpc_client_close(slot->connection->grpc);
    }
}

static void on_closed(void *ctx, enum err status, const char *why)
{
    struct connection *connection = ctx;
    if (!connection->load->stopping) {
        fatal("connection: %s: %s", err_text(status), why);
    }
}

static void on_load_stop(uv_async_t *async)
{
    CONTAINER_OF(async, struct load, side.stop)->stopping = true;
    uv_close((uv_handle_t *)async, NULL);
}

static void *run_load(void *arg)
{
    uv_run(&((struct load *)arg)->side.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void start_load(struct load *load, uint16_t port, unsigned connections, unsigned at_once)
{
    side_init(&load->side, on_load_stop);
    load->message = calloc(1, load->message_bytes + 1);
    load->connections = calloc(connections, sizeof *load->connections);
    load->slots = calloc((size_t)connections * at_once, sizeof *load->slots);
    ASSERT(load->message != NULL && load->connections != NULL && load->slots != NULL);
    for (unsigned i = 0; i < connections; i++) {
        struct connection *connection = &load->connections[i];
        connection->load = load;
        connection->open_count = at_once;
        const struct grpc_client_config config = {.env = load->side.env,
                                                  .loop = &load->side.loop,
                                                  .addr = {.host = "127.0.0.1", .port = port},
                                                  .on_closed = on_closed,
                                                  .ctx = connection};
        ASSERT(grpc_client_new(&config, &connection->grpc) == OK);
        for (unsigned j = 0; j < at_once; j++) {
            struct slot *slot = &load->slots[i * at_once + j];
            slot->connection = connection;
            slot->request = (struct grpc_request){.on_message = on_answer, .on_end = on_end};
            begin(slot);
        }
    }
}

static unsigned number(int argc, char **argv, int i, unsigned otherwise)
{
    return argc > i ? (unsigned)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    unsigned connections = number(argc, argv, 1, 8);
    unsigned at_once = number(argc, argv, 2, 32);
    unsigned seconds = number(argc, argv, 4, 3);
    static struct server server;
    static struct load load;
    load.message_bytes = number(argc, argv, 3, 300);
    pthread_t server_thread;
    pthread_t load_thread;
    pthread_barrier_init(&server.listening, NULL, 2);
    pthread_create(&server_thread, NULL, run_server, &server);
    pthread_barrier_wait(&server.listening);
    start_load(&load, rpc_port_number(server.port), connections, at_once);
    uint64_t before = clock_ns(CLOCK_MONOTONIC);
    pthread_create(&load_thread, NULL, run_load, &load);
    nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
    clockid_t load_clock;
    pthread_getcpuclockid(load_thread, &load_clock);
    uint64_t load_cpu_ns = clock_ns(load_clock);
    uint64_t wall_ns = clock_ns(CLOCK_MONOTONIC) - before;
    uv_async_send(&load.side.stop);
    pthread_join(load_thread, NULL);
    uv_async_send(&server.side.stop);
    pthread_join(server_thread, NULL);
    side_fini(&load.side);
    free(load.message);
    free(load.connections);
    free(load.slots);
    printf(
        "%u connections x %u calls, %zu bytes: %" PRIu64 " calls, %" PRIu64
        " failed, %.0f/s; server %.2f us/call (%.0f calls per cpu second), client %.2f us/call\n",
        connections, at_once, load.message_bytes, load.calls, load.failed,
        (double)load.calls * 1e9 / (double)wall_ns,
        (double)server.cpu_ns / 1e3 / (double)load.calls,
        (double)load.calls * 1e9 / (double)server.cpu_ns,
        (double)load_cpu_ns / 1e3 / (double)load.calls);
    return load.failed == 0 ? 0 : 1;
}
