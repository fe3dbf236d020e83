/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerconn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"

#define HELLO_MS   5000  /* for a stranger to say who it is */
#define SILENCE_MS 12000 /* a member pings twice a second */
#define HOST_SIZE  64
#define GOODBYE_MS 1000 /* for a refusal to arrive */

static const struct stream_callbacks stream_callbacks;

void peerconn_close(struct peerconn *conn)
{
    if (conn->state != PEERCONN_CLOSING) {
        conn->state = PEERCONN_CLOSING;
        env_timer_stop(conn->local->env, &conn->timer);
        stream_close(conn->stream);
    }
}

/* Without the port, which differs from call to call: who keeps calling is one line a second. */
static const char *host_of(const struct peerconn *conn, char *host, size_t size)
{
    const char *peer = stream_peer(conn->stream);
    const char *colon = strrchr(peer, ':');
    snprintf(host, size, "%.*s", (int)(colon == NULL ? strlen(peer) : (size_t)(colon - peer)),
             peer);
    return host;
}

static void refuse(struct peerconn *conn, const struct peer_hello *hello, enum peer_verdict verdict,
                   const char *reason)
{
    char host[HOST_SIZE];
    LOG_WARN(conn->local->log, "refused a peer's connection",
             LOG_STR("from", host_of(conn, host, sizeof host)), LOG_STR("reason", reason),
             LOG_HEX("peer", hello->from), LOG_HEX("cluster", hello->cluster_id),
             LOG_U64("version", hello->version));
    uint8_t answer[PEER_ANSWER_BYTES];
    peer_answer_write(verdict, conn->local->member_id, answer);
    (void)stream_write(conn->stream, bytes_of(answer, sizeof answer));
    conn->state = PEERCONN_CLOSING;
    env_timer_stop(conn->local->env, &conn->timer);
    stream_close_after_flush(conn->stream, GOODBYE_MS);
}

static void cut_off(struct peerconn *conn, const char *reason)
{
    counter_add(conn->received_failures, 1);
    char host[HOST_SIZE];
    LOG_WARN(conn->local->log, "closed a peer's connection",
             LOG_STR("from", host_of(conn, host, sizeof host)), LOG_STR("reason", reason),
             LOG_HEX("peer", conn->peer_id));
    peerconn_close(conn);
}

static void welcome(struct peerconn *conn, const struct peer_hello *hello)
{
    uint8_t answer[PEER_ANSWER_BYTES];
    peer_answer_write(PEER_WELCOME, conn->local->member_id, answer);
    (void)stream_write(conn->stream, bytes_of(answer, sizeof answer));
    conn->state = PEERCONN_MEMBER;
    conn->peer_id = hello->from;
    conn->lane = hello->lane;
    conn->reader.frame_bytes_max = PEER_FRAME_BYTES_MAX;
    env_timer_start(conn->local->env, &conn->timer, SILENCE_MS);
    conn->callbacks->on_member(conn->ctx, conn);
}

/* Answer and say good-bye. */
static void answer_question(struct peerconn *conn, const struct peer_hello *hello)
{
    CLEANUP(buf_fini) struct buf members = {0};
    conn->callbacks->describe(conn->ctx, &members);
    if (members.len == 0 || !buf_ok(&members) || members.len > PEER_MEMBERS_BYTES_MAX) {
        refuse(conn, hello, PEER_NO_ANSWER, "a question before the members are known");
        return;
    }
    uint8_t answer[PEER_ANSWER_BYTES];
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    peer_answer_write(PEER_WELCOME, conn->local->member_id, answer);
    peer_frame_header_write(PEER_KIND_MEMBERS, buf_bytes(&members), header);
    (void)stream_write(conn->stream, bytes_of(answer, sizeof answer));
    (void)stream_write(conn->stream, bytes_of(header, sizeof header));
    (void)stream_write(conn->stream, buf_bytes(&members));
    conn->state = PEERCONN_CLOSING;
    env_timer_stop(conn->local->env, &conn->timer);
    stream_close_after_flush(conn->stream, GOODBYE_MS);
}

static bool on_hello(void *ctx, struct bytes lead)
{
    struct peerconn *conn = ctx;
    struct peer_hello hello;
    if (peer_hello_read(lead.data, &hello) != OK) {
        cut_off(conn, "what connected is no member");
    } else if (hello.version != PEER_VERSION) {
        refuse(conn, &hello, PEER_OTHER_VERSION, "another protocol version");
    } else if (hello.is_question) {
        answer_question(conn, &hello);
    } else if (hello.cluster_id != conn->local->cluster_id) {
        refuse(conn, &hello, PEER_OTHER_CLUSTER, "another cluster");
    } else if (hello.from != 0 && conn->callbacks->is_removed(conn->ctx, hello.from)) {
        refuse(conn, &hello, PEER_REMOVED, "removed from this cluster");
    } else if (hello.to != conn->local->member_id) {
        refuse(conn, &hello, PEER_OTHER_MEMBER, "meant for another member");
    } else if (hello.from == 0 || hello.from == conn->local->member_id ||
               !conn->callbacks->is_member(conn->ctx, hello.from)) {
        refuse(conn, &hello, PEER_UNKNOWN, "not a member of this cluster");
    } else {
        welcome(conn, &hello);
    }
    return conn->state == PEERCONN_MEMBER;
}

/* Who pings and never reads the pongs is no peer of ours. */
static void answer_ping(struct peerconn *conn, struct bytes payload)
{
    if (stream_queued_bytes(conn->stream) > PEER_REPLY_BYTES_MAX) {
        cut_off(conn, "it does not read its answers");
        return;
    }
    uint8_t frame[PEER_FRAME_HEADER_BYTES + PEER_PING_BYTES];
    peer_frame_header_write(PEER_KIND_PONG, payload, frame);
    memcpy(frame + PEER_FRAME_HEADER_BYTES, payload.data, PEER_PING_BYTES);
    (void)stream_write(conn->stream, bytes_of(frame, sizeof frame));
}

static bool on_frame(void *ctx, uint8_t kind, struct bytes payload)
{
    struct peerconn *conn = ctx;
    if (kind == PEER_KIND_PING) {
        answer_ping(conn, payload);
    } else if (kind == PEER_KIND_PONG || kind == PEER_KIND_MEMBERS) {
        cut_off(conn, "it sent what only goes the other way");
    } else {
        conn->callbacks->on_frame(conn->ctx, conn, (enum frame_kind)kind, payload);
    }
    return conn->state == PEERCONN_MEMBER;
}

static void on_read(void *ctx, struct bytes bytes)
{
    static const struct peer_reader_callbacks callbacks = {.on_lead = on_hello,
                                                           .on_frame = on_frame};
    struct peerconn *conn = ctx;
    if (conn->state == PEERCONN_CLOSING) {
        return;
    }
    conn->read_ms = env_now_ms(conn->local->env);
    struct why why = {0};
    enum err err = peer_reader_feed(&conn->reader, bytes, &callbacks, conn, &why);
    if (conn->state == PEERCONN_MEMBER) {
        counter_add(conn->received_bytes, (double)bytes.len);
    }
    if (err != OK && conn->state != PEERCONN_CLOSING) {
        cut_off(conn, err == ERR_MALFORMED ? why.text : err_text(err));
    }
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    (void)why;
    struct peerconn *conn = ctx;
    env_timer_stop(conn->local->env, &conn->timer);
    conn->callbacks->on_gone(conn->ctx, conn);
    queue_remove(&conn->link);
    peer_reader_fini(&conn->reader);
    free(conn);
}

static const struct stream_callbacks stream_callbacks = {.on_read = on_read, .on_close = on_close};

static void on_timer(struct env_timer *timer)
{
    struct peerconn *conn = CONTAINER_OF(timer, struct peerconn, timer);
    uint64_t silent_ms = env_now_ms(conn->local->env) - conn->read_ms;
    if (conn->state == PEERCONN_STRANGER) {
        cut_off(conn, "it did not say in time who it is");
    } else if (silent_ms >= SILENCE_MS) {
        cut_off(conn, "it is silent");
    } else {
        env_timer_start(conn->local->env, &conn->timer, SILENCE_MS - silent_ms);
    }
}

enum err peerconn_new(const struct peer_local *local, const struct peerconn_callbacks *callbacks,
                      void *ctx, struct stream *stream, struct peerconn **ret)
{
    struct peerconn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        stream_close(stream);
        return ERR_NOMEM;
    }
    conn->local = local;
    conn->callbacks = callbacks;
    conn->ctx = ctx;
    queue_init(&conn->link);
    conn->stream = stream;
    conn->reader.lead_bytes = PEER_HELLO_BYTES;
    conn->read_ms = env_now_ms(local->env);
    env_timer_init(&conn->timer, on_timer);
    env_timer_start(local->env, &conn->timer, HELLO_MS);
    stream_start(stream, &stream_callbacks, conn);
    *ret = conn;
    return OK;
}
