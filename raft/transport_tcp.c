/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/transport_tcp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "net/listener.h"
#include "raft/peerconn.h"
#include "raft/peerlink.h"

static_assert(PEER_BULK_BYTES_MAX < PEER_QUEUE_BYTES_MAX / 2, "bulk leaves room for urgent frames");
static_assert(PEER_BULK_BYTES_MAX > 8 * APPEND_BYTES_MAX, "several appends are on their way");

struct transport_tcp;

struct peer {
    struct queue link; /* in peers, or in leaving after remove_peer */
    struct transport_tcp *transport;
    uint64_t id;
    char address[ADDR_TEXT_SIZE];
    struct addr addr;
    struct peerlink links[LANE_COUNT];
    unsigned links_up;
    unsigned links_running;
    struct counter *received_bytes;
    struct counter *received_failures;
};

struct transport_tcp {
    struct transport transport;
    struct peer_local local;
    struct metrics *metrics;
    const struct transport_callbacks *callbacks;
    void *ctx;
    bool started;

    struct listener **listeners;
    size_t listening; /* of the listeners */
    struct addr *listen;
    size_t listen_count;

    struct queue peers;
    size_t peer_count;
    struct queue leaving;   /* their connections are being closed */
    struct queue strangers; /* accepted, the oldest first */
    size_t stranger_count;
    struct queue members; /* accepted and welcomed */
    size_t member_count;
    struct queue ending; /* accepted, being closed to make room */

    bool closing;
    struct env_task closed; /* tell it in a later turn */
    void (*close_cb)(void *ctx);
    void *close_ctx;
};

static struct transport_tcp *tcp_of(const struct transport *transport)
{
    return CONTAINER_OF((struct transport *)(uintptr_t)transport, struct transport_tcp, transport);
}

static struct peer *find_peer(const struct transport_tcp *t, uint64_t id)
{
    QUEUE_FOREACH (link, &t->peers) {
        struct peer *peer = QUEUE_ELEM(link, struct peer, link);
        if (peer->id == id) {
            return peer;
        }
    }
    return NULL;
}

/* ---- the end ---- */

static void on_closed_task(struct env_task *task)
{
    struct transport_tcp *t = CONTAINER_OF(task, struct transport_tcp, closed);
    void (*cb)(void *ctx) = t->close_cb;
    void *ctx = t->close_ctx;
    free(t->listeners);
    free(t->listen);
    free(t);
    cb(ctx);
}

static void finish_close(struct transport_tcp *t)
{
    if (t->closing && t->listening == 0 && queue_empty(&t->peers) && queue_empty(&t->leaving) &&
        queue_empty(&t->strangers) && queue_empty(&t->members) && queue_empty(&t->ending)) {
        env_defer(t->local.env, &t->closed);
    }
}

static void on_listener_closed(void *ctx)
{
    struct transport_tcp *t = ctx;
    t->listening--;
    finish_close(t);
}

static void close_listeners(struct transport_tcp *t)
{
    for (size_t i = 0; i < t->listen_count; i++) {
        if (t->listeners[i] != NULL) {
            listener_close(TAKE(t->listeners[i]), on_listener_closed, t);
        }
    }
}

/* ---- sending ---- */

static void on_link_up(void *ctx, struct peerlink *link, bool up)
{
    struct peer *peer = ctx;
    struct transport_tcp *t = peer->transport;
    bool before = peer->links_up == LANE_COUNT;
    peer->links_up += up ? 1 : -1u;
    if (!up && link->lane == LANE_URGENT) {
        peerlink_doubt(&peer->links[LANE_BULK]);
    }
    bool after = peer->links_up == LANE_COUNT;
    if (before == after) {
        return;
    }
    if (after) {
        LOG_INFO(t->local.log, "connected to peer", LOG_HEX("peer", peer->id),
                 LOG_STR("address", peer->address));
    } else if (!t->closing) {
        LOG_WARN(t->local.log, "lost the connection to peer", LOG_HEX("peer", peer->id),
                 LOG_STR("reason", link->reason.text));
    }
    if (t->callbacks->on_link != NULL && !t->closing) {
        t->callbacks->on_link(t->ctx, peer->id, after);
    }
}

static void on_link_idle(void *ctx, struct peerlink *link)
{
    (void)link;
    struct peer *peer = ctx;
    struct transport_tcp *t = peer->transport;
    if (--peer->links_running == 0) {
        queue_remove(&peer->link);
        free(peer);
        finish_close(t);
    }
}

static void on_link_removed(void *ctx)
{
    struct peer *peer = ctx;
    struct transport_tcp *t = peer->transport;
    if (!t->closing && t->callbacks->on_removed != NULL) {
        t->callbacks->on_removed(t->ctx);
    }
}

static const struct peerlink_callbacks link_callbacks = {
    .on_up = on_link_up, .on_idle = on_link_idle, .on_removed = on_link_removed};

static void add_metrics(struct peer *peer)
{
    struct metrics *metrics = peer->transport->metrics;
    char to[32];
    char from[32];
    snprintf(to, sizeof to, "To=\"%" PRIx64 "\"", peer->id);
    snprintf(from, sizeof from, "From=\"%" PRIx64 "\"", peer->id);
    struct counter *sent = metrics_counter(metrics, "etcd_network_peer_sent_bytes_total",
                                           "The total number of bytes sent to peers.", to);
    struct counter *failures = metrics_counter(metrics, "etcd_network_peer_sent_failures_total",
                                               "The total number of send failures from peers.", to);
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        peer->links[lane].sent_bytes = sent;
        peer->links[lane].sent_failures = failures;
    }
    peer->links[LANE_URGENT].round_trip =
        metrics_histogram(metrics, "etcd_network_peer_round_trip_time_seconds",
                          "Round-Trip-Time histogram between peers", to, 0.0001, 16);
    peer->received_bytes = metrics_counter(metrics, "etcd_network_peer_received_bytes_total",
                                           "The total number of bytes received from peers.", from);
    peer->received_failures =
        metrics_counter(metrics, "etcd_network_peer_received_failures_total",
                        "The total number of receive failures from peers.", from);
}

static struct peer *peer_new(struct transport_tcp *t, uint64_t id)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        return NULL;
    }
    peer->transport = t;
    peer->id = id;
    peer->links_running = LANE_COUNT;
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        struct peerlink *link = &peer->links[lane];
        link->local = &t->local;
        link->callbacks = &link_callbacks;
        link->ctx = peer;
        link->peer_id = id;
        link->lane = lane;
        peerlink_init(link);
    }
    add_metrics(peer);
    queue_push_back(&t->peers, &peer->link);
    t->peer_count++;
    return peer;
}

static void connect_peer(struct peer *peer)
{
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        peerlink_start(&peer->links[lane], &peer->addr);
    }
}

static enum err tcp_add_peer(struct transport *transport, uint64_t peer_id, const char *address)
{
    struct transport_tcp *t = tcp_of(transport);
    ASSERT(peer_id != t->local.member_id);
    struct addr addr;
    TRY(addr_parse(bytes_of_str(address), &addr, NULL));
    struct peer *peer = find_peer(t, peer_id);
    if (peer == NULL) {
        if (t->peer_count == MEMBERS_MAX) {
            return ERR_LIMIT;
        }
        peer = peer_new(t, peer_id);
        if (peer == NULL) {
            return ERR_NOMEM;
        }
    } else if (addr.port == peer->addr.port && strcmp(addr.host, peer->addr.host) == 0) {
        return OK;
    }
    peer->addr = addr;
    addr_format(&addr, peer->address, sizeof peer->address);
    if (t->started) {
        connect_peer(peer);
    }
    return OK;
}

static void close_conns_of(struct transport_tcp *t, uint64_t peer_id)
{
    QUEUE_FOREACH (link, &t->members) {
        struct peerconn *conn = QUEUE_ELEM(link, struct peerconn, link);
        if (conn->peer_id == peer_id) {
            peerconn_close(conn);
        }
    }
}

static bool is_removed(void *ctx, uint64_t peer_id)
{
    const struct transport_tcp *t = ctx;
    return !t->closing && t->callbacks->is_removed != NULL &&
           t->callbacks->is_removed(t->ctx, peer_id);
}

static void tcp_review(struct transport *transport)
{
    struct transport_tcp *t = tcp_of(transport);
    QUEUE_FOREACH (link, &t->members) {
        struct peerconn *conn = QUEUE_ELEM(link, struct peerconn, link);
        if (is_removed(t, conn->peer_id)) {
            peerconn_close(conn);
        }
    }
}

static void peer_leave(struct peer *peer)
{
    struct transport_tcp *t = peer->transport;
    queue_remove(&peer->link);
    queue_push_back(&t->leaving, &peer->link);
    t->peer_count--;
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        bool last = lane == LANE_COUNT - 1;
        peerlink_stop(&peer->links[lane]);
        if (last) {
            return; /* the peer may be gone */
        }
    }
}

static void tcp_remove_peer(struct transport *transport, uint64_t peer_id)
{
    struct transport_tcp *t = tcp_of(transport);
    struct peer *peer = find_peer(t, peer_id);
    if (peer != NULL) {
        close_conns_of(t, peer_id);
        peer_leave(peer);
    }
}

static bool tcp_send(struct transport *transport, uint64_t peer_id, enum transport_lane lane,
                     enum frame_kind kind, struct blob *payload)
{
    struct peer *peer = find_peer(tcp_of(transport), peer_id);
    if (peer == NULL) {
        return false;
    }
    size_t bytes_max =
        lane == LANE_BULK ? PEER_BULK_BYTES_MAX : PEER_QUEUE_BYTES_MAX - PEER_BULK_BYTES_MAX;
    return peerlink_send(&peer->links[lane], kind, payload, bytes_max);
}

static bool tcp_connected(struct transport *transport, uint64_t peer_id)
{
    const struct peer *peer = find_peer(tcp_of(transport), peer_id);
    return peer != NULL && peer->links_up == LANE_COUNT;
}

/* ---- receiving ---- */

static bool is_member(void *ctx, uint64_t peer_id)
{
    const struct transport_tcp *t = ctx;
    if (t->closing) {
        return false;
    }
    if (find_peer(t, peer_id) != NULL) {
        return true;
    }
    return t->callbacks->is_joining != NULL && t->member_count < LANE_COUNT * MEMBERS_MAX &&
           t->callbacks->is_joining(t->ctx, peer_id);
}

static void describe(void *ctx, struct buf *ret)
{
    const struct transport_tcp *t = ctx;
    if (!t->closing && t->callbacks->describe != NULL) {
        t->callbacks->describe(t->ctx, ret);
    }
}

/* The newer connection counts: the older one's other end may have gone without a word. */
static void replace_older(struct transport_tcp *t, const struct peerconn *newer)
{
    QUEUE_FOREACH (link, &t->members) {
        struct peerconn *conn = QUEUE_ELEM(link, struct peerconn, link);
        if (conn != newer && conn->peer_id == newer->peer_id && conn->lane == newer->lane) {
            peerconn_close(conn);
        }
    }
}

static void on_member(void *ctx, struct peerconn *conn)
{
    struct transport_tcp *t = ctx;
    struct peer *peer = find_peer(t, conn->peer_id);
    if (peer != NULL) {
        conn->received_bytes = peer->received_bytes;
        conn->received_failures = peer->received_failures;
        peerlink_hurry(&peer->links[LANE_URGENT]);
        peerlink_hurry(&peer->links[LANE_BULK]);
    }
    replace_older(t, conn);
    queue_remove(&conn->link);
    queue_push_back(&t->members, &conn->link);
    t->stranger_count--;
    t->member_count++;
}

static void on_conn_frame(void *ctx, struct peerconn *conn, enum frame_kind kind,
                          struct bytes payload)
{
    struct transport_tcp *t = ctx;
    if (!t->closing) {
        t->callbacks->on_frame(t->ctx, conn->peer_id, kind, payload);
    }
}

static void on_conn_gone(void *ctx, struct peerconn *conn)
{
    struct transport_tcp *t = ctx;
    if (conn->peer_id != 0) {
        t->member_count--;
    } else if (!conn->evicted) {
        t->stranger_count--;
    }
    queue_remove(&conn->link);
    finish_close(t);
}

static const struct peerconn_callbacks conn_callbacks = {
    .is_member = is_member,
    .is_removed = is_removed,
    .describe = describe,
    .on_member = on_member,
    .on_frame = on_conn_frame,
    .on_gone = on_conn_gone,
};

/* Too many that do not say who they are: the oldest makes room. */
static void evict_stranger(struct transport_tcp *t)
{
    struct peerconn *conn = QUEUE_ELEM(t->strangers.next, struct peerconn, link);
    queue_remove(&conn->link);
    queue_push_back(&t->ending, &conn->link);
    t->stranger_count--;
    conn->evicted = true;
    peerconn_close(conn);
    stream_close(conn->stream); /* also who was refused, and does not hang up */
}

static void on_accept(void *ctx, struct stream *stream)
{
    struct transport_tcp *t = ctx;
    struct peerconn *conn;
    if (t->closing) {
        stream_close(stream);
        return;
    }
    if (peerconn_new(&t->local, &conn_callbacks, t, stream, &conn) != OK) {
        return;
    }
    if (t->stranger_count == PEER_STRANGERS_MAX) {
        evict_stranger(t);
    }
    queue_push_back(&t->strangers, &conn->link);
    t->stranger_count++;
}

/* ---- the beginning ---- */

static enum err listen_all(struct transport_tcp *t, struct why *why)
{
    for (size_t i = 0; i < t->listen_count; i++) {
        struct listener_config config = {
            .env = t->local.env,
            .loop = t->local.loop,
            .addr = t->listen[i],
            .connections_max = CONNECTIONS_MAX,
            .files_kept = FILES_KEPT,
            .on_accept = on_accept,
            .ctx = t,
        };
        TRY(listener_open(&config, &t->listeners[i], why));
        t->listening++;
    }
    return OK;
}

static enum err tcp_start(struct transport *transport, const struct transport_callbacks *callbacks,
                          void *ctx, struct why *why)
{
    struct transport_tcp *t = tcp_of(transport);
    ASSERT(!t->started);
    t->callbacks = callbacks;
    t->ctx = ctx;
    enum err err = listen_all(t, why);
    if (err != OK) {
        close_listeners(t);
        return err;
    }
    t->started = true;
    QUEUE_FOREACH (link, &t->peers) {
        connect_peer(QUEUE_ELEM(link, struct peer, link));
    }
    return OK;
}

static void close_conns(struct queue *conns)
{
    QUEUE_FOREACH (link, conns) {
        peerconn_close(QUEUE_ELEM(link, struct peerconn, link));
    }
}

static void tcp_close(struct transport *transport, void (*cb)(void *ctx), void *ctx)
{
    struct transport_tcp *t = tcp_of(transport);
    ASSERT(!t->closing);
    t->closing = true;
    t->close_cb = cb;
    t->close_ctx = ctx;
    close_listeners(t);
    close_conns(&t->strangers);
    close_conns(&t->members);
    while (!queue_empty(&t->peers)) {
        peer_leave(QUEUE_ELEM(t->peers.next, struct peer, link));
    }
    finish_close(t);
}

static const struct transport_ops ops = {
    .start = tcp_start,
    .add_peer = tcp_add_peer,
    .remove_peer = tcp_remove_peer,
    .review = tcp_review,
    .send = tcp_send,
    .connected = tcp_connected,
    .close = tcp_close,
};

enum err transport_tcp_open(const struct transport_tcp_config *config, struct transport **ret,
                            struct why *why)
{
    (void)why;
    struct transport_tcp *t = calloc(1, sizeof *t);
    struct addr *listen = calloc(config->listen_count, sizeof *listen);
    struct listener **listeners = calloc(config->listen_count, sizeof *listeners);
    if (t == NULL || listen == NULL || listeners == NULL) {
        free(t);
        free(listen);
        free(listeners);
        return ERR_NOMEM;
    }
    memcpy(listen, config->listen, config->listen_count * sizeof *listen);
    t->transport.ops = &ops;
    t->local = (struct peer_local){.env = config->env,
                                   .loop = config->loop,
                                   .log = config->log,
                                   .cluster_id = config->cluster_id,
                                   .member_id = config->member_id};
    t->metrics = config->metrics;
    t->listen = listen;
    t->listeners = listeners;
    t->listen_count = config->listen_count;
    queue_init(&t->peers);
    queue_init(&t->leaving);
    queue_init(&t->strangers);
    queue_init(&t->members);
    queue_init(&t->ending);
    env_task_init(&t->closed, PHASE_APPLY, on_closed_task);
    *ret = &t->transport;
    return OK;
}

uint16_t transport_tcp_port(const struct transport *transport, size_t i)
{
    const struct transport_tcp *t = tcp_of(transport);
    ASSERT(i < t->listen_count);
    ASSERT(t->listeners[i] != NULL);
    return listener_port(t->listeners[i]);
}
