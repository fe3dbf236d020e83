/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/rpc_conn.h"

#include "base/cleanup.h"
#include "net/grpc_private.h"
#include "tests/fuzz/fuzz.h"

static void on_read(void *ctx, struct bytes bytes)
{
    grpc_conn_input(((struct rpc_conn *)ctx)->conn, bytes);
}

static void on_flush(void *ctx)
{
    grpc_conn_flush(((struct rpc_conn *)ctx)->conn);
}

static void on_drain(void *ctx)
{
    stream_want_flush(((struct rpc_conn *)ctx)->stream);
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    (void)why;
    struct rpc_conn *conn = ctx;
    conn->closed = true;
    grpc_conn_free(conn->conn);
}

void rpc_conn_start(struct rpc_conn *conn)
{
    static const struct stream_callbacks callbacks = {
        .on_read = on_read, .on_flush = on_flush, .on_drain = on_drain, .on_close = on_close};
    conn->closed = false;
    fuzz_member_start(&conn->member, 1);
    fuzz_member_serve(&conn->member);
    conn->stream = stream_fake_accept(env_fake_env(conn->member.fake));
    stream_start(conn->stream, &callbacks, conn);
    conn->conn = grpc_conn_new(service_grpc(conn->member.service), conn->stream);
    CLAIM(conn->conn != NULL);
}

void rpc_conn_stop(struct rpc_conn *conn)
{
    if (!conn->closed) {
        stream_fake_end(conn->stream, OK);
    }
    fuzz_member_settle(&conn->member);
    CLAIM(conn->closed);
    CLAIM(stream_fake_count() == 0);
    const struct grpc_server_stats *stats = grpc_server_stats(service_grpc(conn->member.service));
    CLAIM(stats->connections == 0);
    CLAIM(stats->pending_bytes == 0);
    CLAIM(stats->held_bytes == 0);
    store_check(conn->member.store);
    fuzz_member_stop(&conn->member);
}

static void send_bytes(struct rpc_conn *conn, struct bytes bytes)
{
    if (!conn->closed) {
        (void)stream_fake_send(conn->stream, bytes);
    }
}

void rpc_conn_frame(struct rpc_conn *conn, uint8_t type, uint8_t flags, uint32_t stream_id,
                    struct bytes payload)
{
    CLEANUP(buf_fini) struct buf frame = {0};
    write_u8(&frame, (uint8_t)(payload.len >> 16));
    write_u8(&frame, (uint8_t)(payload.len >> 8));
    write_u8(&frame, (uint8_t)payload.len);
    write_u8(&frame, type);
    write_u8(&frame, flags);
    write_u32_be(&frame, stream_id);
    buf_append_bytes(&frame, payload);
    CLAIM(buf_ok(&frame));
    send_bytes(conn, buf_bytes(&frame));
}

void rpc_conn_greet(struct rpc_conn *conn)
{
    send_bytes(conn, bytes_of_str("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    rpc_conn_frame(conn, H2_SETTINGS, 0, 0, bytes_of(NULL, 0));
    fuzz_member_settle(&conn->member);
    rpc_conn_frame(conn, H2_SETTINGS, H2_ACK, 0, bytes_of(NULL, 0));
    fuzz_member_settle(&conn->member);
}
