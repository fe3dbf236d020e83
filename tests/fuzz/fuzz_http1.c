/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.x requests of a client, to a member that serves /health, /version and /metrics. They
 * change nothing there, so that one member does for all inputs.
 *
 *   0  what the first byte of the input says: bits 0-3 how the rest is cut (0: not at all, else
 *      pieces of that many bytes and their square), bit 4 the client takes its answers late, bit 5
 *      it closes, bit 6 only the metrics port's paths
 *   1  what it sends */
#include "net/http1.h"

#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/onemember.h"
#include "tests/fuzz/stream_fake.h"

#define TIMEOUT_MS 100
#define WAIT_MS    5000 /* longer than any timer of a connection */

static struct fuzz_member member;

struct client {
    struct http1_server server;
    struct stream *stream;
    struct http1_conn *conn;
    bool closed;
};

static void on_read(void *ctx, struct bytes bytes)
{
    http1_conn_input(((struct client *)ctx)->conn, bytes);
}

static void on_drain(void *ctx)
{
    http1_conn_drained(((struct client *)ctx)->conn);
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    (void)why;
    struct client *client = ctx;
    client->closed = true;
    http1_conn_free(client->conn);
}

static const struct stream_callbacks callbacks = {
    .on_read = on_read, .on_drain = on_drain, .on_close = on_close};

static void send_all(struct client *client, struct reader *input, uint8_t how)
{
    size_t piece = how & 0x0f;
    while (reader_left(input) > 0 && !client->closed) {
        CLEANUP(fuzz_free)
        struct bytes bytes = fuzz_take(input, piece == 0 ? SIZE_MAX : piece * piece);
        (void)stream_fake_send(client->stream, bytes);
        fuzz_member_settle(&member);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    uint8_t how = read_u8(&input);
    if (member.service == NULL) {
        fuzz_member_start(&member, 1);
        fuzz_member_serve(&member);
    }
    struct client client = {.server = *((how & 0x40) != 0 ? service_metrics_http1(member.service)
                                                          : service_http1(member.service))};
    client.server.request_timeout_ms = client.server.idle_timeout_ms = TIMEOUT_MS;
    client.stream = stream_fake_accept(env_fake_env(member.fake));
    stream_start(client.stream, &callbacks, &client);
    client.conn = http1_conn_new(&client.server, client.stream);
    CLAIM(client.conn != NULL);
    stream_fake_hold(client.stream, (how & 0x10) != 0);
    send_all(&client, &input, how);
    if (!client.closed) {
        stream_fake_hold(client.stream, false);
        fuzz_member_settle(&member);
    }
    if (!client.closed && (how & 0x20) != 0) {
        stream_fake_end(client.stream, OK);
    }
    env_fake_advance(member.fake, WAIT_MS); /* whoever says nothing is closed */
    CLAIM(client.closed);
    CLAIM(stream_fake_count() == 0);
    return 0;
}
