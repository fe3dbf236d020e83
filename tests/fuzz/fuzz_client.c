/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a server, or what listens where one should be, says to our own client, which asks it
 * three things: a unary call, a stream, and one with a deadline.
 *
 *   0  how: bits 0-3 how the rest is cut (as in fuzz_http2), bit 4 the server has not greeted,
 *      bit 5 the client cancels its stream halfway, bit 6 time passes at the end
 *   1  what the server sends */
#include "net/grpc_client.h"

#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/stream_fake.h"
#include "tests/lib/env_fake.h"

#define REQUESTS 3
#define WAIT_MS  30000

struct asked {
    struct grpc_request request;
    bool ended;
};

static bool closed;

static void on_message(struct grpc_request *request, struct bytes message)
{
    CLAIM(!CONTAINER_OF(request, struct asked, request)->ended);
    CLAIM(message.len <= 1000);
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    (void)text;
    struct asked *asked = CONTAINER_OF(request, struct asked, request);
    CLAIM(!asked->ended);
    CLAIM(status < GRPC_STATUS_COUNT);
    asked->ended = true;
}

static void on_closed(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    CLAIM(status == OK || why != NULL);
    closed = true;
}

static struct grpc_client *connect_client(struct env_fake *fake)
{
    struct grpc_client_config config = {
        .env = env_fake_env(fake),
        .addr = {.host = "fuzz", .port = 1},
        .message_bytes_max = 1000,
        .ping_interval_ms = 5000,
        .on_closed = on_closed,
    };
    struct grpc_client *client;
    CLAIM(grpc_client_new(&config, &client) == OK);
    return client;
}

static void ask(struct grpc_client *client, struct asked asked[REQUESTS])
{
    struct grpc_request_options options = {.path = "/a/b"};
    for (int i = 0; i < REQUESTS; i++) {
        asked[i] = (struct asked){.request = {.on_message = on_message, .on_end = on_end}};
    }
    grpc_request_unary(client, &asked[0].request, &options, bytes_of_str("message"));
    grpc_request_start(client, &asked[1].request, &options);
    grpc_request_send(&asked[1].request, bytes_of_str("first"));
    options.timeout_ms = 1000;
    grpc_request_unary(client, &asked[2].request, &options, bytes_of_str(""));
}

static void answer(struct env_fake *fake, struct stream *stream, struct reader *input, uint8_t how,
                   struct asked *cancelled)
{
    size_t piece = how & 0x0f;
    size_t half = reader_left(input) / 2;
    while (reader_left(input) > 0 && !closed && stream_fake_count() > 0) {
        CLEANUP(fuzz_free)
        struct bytes bytes = fuzz_take(input, piece == 0 ? SIZE_MAX : piece * piece);
        (void)stream_fake_send(stream, bytes);
        if ((how & 0x20) != 0 && reader_left(input) <= half && !cancelled->ended) {
            grpc_request_cancel(&cancelled->request);
            cancelled->ended = true;
        }
        env_fake_run(fake);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct reader input = reader_of(bytes_of(data, size));
    uint8_t how = read_u8(&input);
    struct env_fake *fake = env_fake_new(1);
    struct stream *stream = stream_fake_accept(env_fake_env(fake));
    struct asked asked[REQUESTS];
    closed = false;
    stream_fake_offer(stream);
    struct grpc_client *client = connect_client(fake);
    ask(client, asked);
    env_fake_advance(fake, 1);
    if ((how & 0x10) == 0) {
        (void)stream_fake_send(stream, bytes_of(settings, sizeof settings));
        env_fake_run(fake);
    }
    answer(fake, stream, &input, how, &asked[1]);
    if ((how & 0x40) != 0) {
        env_fake_advance(fake, WAIT_MS);
    }
    if (!closed) {
        grpc_client_close(client);
        env_fake_advance(fake, 1);
    }
    CLAIM(closed);
    for (int i = 0; i < REQUESTS; i++) {
        CLAIM(asked[i].ended);
    }
    CLAIM(stream_fake_count() == 0);
    env_fake_free(fake);
    return 0;
}
