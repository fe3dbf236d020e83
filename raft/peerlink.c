/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerlink.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"

/* The system calls again after one second, and then after two more: we are quicker. */
#define CONNECT_MS       2000
#define STALE_CALL_MS    300 /* a call this old was not heard, if the peer is there now */
#define HELLO_MS         3000
#define PING_MS          500
#define DOUBT_MS         (4 * PING_MS)
#define WAIT_MS_MIN      50
#define WAIT_MS_MAX      1000
#define LONG_QUEUE_BYTES (64u * 1024)
#define STEADY_MS        2000 /* up for so long: the failures before are forgotten */

/* Nothing came back for so long: the peer is lost. A ping of the bulk lane may stand behind
 * megabytes in the system's buffers; there a queue that gets shorter is a sign of life too, if it
 * is one that the system did not take at once. */
static const uint64_t silence_ms[LANE_COUNT] = {[LANE_URGENT] = 3000, [LANE_BULK] = 12000};
static const char *const lane_names[LANE_COUNT] = {[LANE_URGENT] = "urgent", [LANE_BULK] = "bulk"};

static const struct stream_callbacks stream_callbacks;

/* Say it once: a peer that is down for a day is one line, not a hundred thousand. */
static void log_failure(struct peerlink *link, const char *reason)
{
    if (strcmp(link->logged.text, reason) == 0) {
        return;
    }
    why_set(&link->logged, "%s", reason);
    LOG_WARN(link->local->log, "no connection to peer", LOG_HEX("peer", link->peer_id),
             LOG_STR("lane", lane_names[link->lane]), LOG_STR("reason", reason));
}

static void set_idle(struct peerlink *link)
{
    link->state = PEERLINK_IDLE;
    link->stopping = false;
    peer_reader_fini(&link->reader);
    link->callbacks->on_idle(link->ctx, link);
}

static void wait_and_retry(struct peerlink *link)
{
    uint64_t wait_ms = WAIT_MS_MAX;
    if (link->failures < 6 && (WAIT_MS_MIN << link->failures) < WAIT_MS_MAX) {
        wait_ms = WAIT_MS_MIN << link->failures;
    }
    link->failures++;
    wait_ms = wait_ms / 2 + env_random_u64(link->local->env) % (wait_ms / 2 + 1);
    link->state = PEERLINK_WAITING;
    env_timer_start(link->local->env, &link->timer, wait_ms);
}

static void on_connected(void *ctx, struct stream *stream, enum err status, const char *why)
{
    struct peerlink *link = ctx;
    ASSERT(link->state == PEERLINK_CONNECTING);
    link->connect = NULL;
    if (status != OK) {
        log_failure(link, why);
        wait_and_retry(link);
        return;
    }
    link->state = PEERLINK_HELLO;
    link->stream = stream;
    link->reason.text[0] = '\0';
    peer_reader_fini(&link->reader);
    link->reader.lead_bytes = PEER_ANSWER_BYTES;
    link->reader.frame_bytes_max = PEER_PING_BYTES;
    stream_start(stream, &stream_callbacks, link);
    uint8_t hello[PEER_HELLO_BYTES];
    peer_hello_write(&(struct peer_hello){.version = PEER_VERSION,
                                          .lane = link->lane,
                                          .cluster_id = link->local->cluster_id,
                                          .from = link->local->member_id,
                                          .to = link->peer_id},
                     hello);
    /* Without memory the stream closes itself. */
    (void)stream_write(stream, bytes_of(hello, sizeof hello));
    env_timer_start(link->local->env, &link->timer, HELLO_MS);
}

static void connect_now(struct peerlink *link)
{
    link->state = PEERLINK_CONNECTING;
    link->called_ms = env_now_ms(link->local->env);
    enum err err = stream_connect(link->local->env, link->local->loop, &link->addr, CONNECT_MS,
                                  on_connected, link, &link->connect);
    if (err != OK) {
        log_failure(link, err_text(err));
        wait_and_retry(link);
    }
}

static void go_down(struct peerlink *link, const char *reason)
{
    link->was_up = link->state == PEERLINK_UP;
    link->state = PEERLINK_CLOSING;
    env_timer_stop(link->local->env, &link->timer);
    why_set(&link->reason, "%s", reason);
    if (link->was_up) {
        link->callbacks->on_up(link->ctx, link, false);
    }
}

/* Give the connection up; on_close goes on. */
static void hang_up(struct peerlink *link, const char *reason)
{
    if (link->state != PEERLINK_CLOSING) {
        stream_close(link->stream);
        go_down(link, reason);
    }
}

static void on_close(void *ctx, enum err status, const char *why)
{
    (void)status;
    struct peerlink *link = ctx;
    link->stream = NULL;
    if (link->state != PEERLINK_CLOSING) {
        go_down(link, why);
    }
    if (link->stopping) {
        set_idle(link);
        return;
    }
    if (!link->was_up) {
        log_failure(link, link->reason.text);
    }
    link->was_up = false;
    if (link->again) {
        link->again = false;
        connect_now(link);
        return;
    }
    wait_and_retry(link);
}

static void set_up(struct peerlink *link)
{
    link->state = PEERLINK_UP;
    link->up_ms = link->alive_ms = env_now_ms(link->local->env);
    link->queued_bytes = 0;
    link->logged.text[0] = '\0';
    env_timer_start(link->local->env, &link->timer, PING_MS);
    link->callbacks->on_up(link->ctx, link, true);
}

static bool on_answer(void *ctx, struct bytes lead)
{
    struct peerlink *link = ctx;
    uint32_t verdict;
    uint64_t id;
    struct why why;
    if (peer_answer_read(lead.data, &verdict, &id) != OK) {
        hang_up(link, "what listens there is no member");
    } else if (verdict != PEER_WELCOME) {
        why_set(&why, "refused: %s", peer_verdict_text(verdict));
        hang_up(link, why.text);
        if (verdict == PEER_REMOVED) {
            link->callbacks->on_removed(link->ctx);
        }
    } else if (id != link->peer_id) {
        why_set(&why, "member %" PRIx64 " listens there", id);
        hang_up(link, why.text);
    } else {
        set_up(link);
    }
    return link->state == PEERLINK_UP;
}

static bool on_back(void *ctx, uint8_t kind, struct bytes payload)
{
    struct peerlink *link = ctx;
    if (kind != PEER_KIND_PONG) {
        hang_up(link, "the peer sent what only goes the other way");
        return false;
    }
    uint64_t sent_ns = get_u64(payload.data);
    uint64_t now_ns = env_now_ns(link->local->env);
    if (sent_ns <= now_ns) {
        histogram_observe(link->round_trip, (double)(now_ns - sent_ns) / 1e9);
    }
    return true;
}

static void on_read(void *ctx, struct bytes bytes)
{
    static const struct peer_reader_callbacks callbacks = {.on_lead = on_answer,
                                                           .on_frame = on_back};
    struct peerlink *link = ctx;
    if (link->state == PEERLINK_CLOSING) {
        return;
    }
    link->alive_ms = env_now_ms(link->local->env);
    struct why why = {0};
    enum err err = peer_reader_feed(&link->reader, bytes, &callbacks, link, &why);
    if (err != OK) {
        hang_up(link, err == ERR_MALFORMED ? why.text : err_text(err));
    }
}

static const struct stream_callbacks stream_callbacks = {.on_read = on_read, .on_close = on_close};

static void send_ping(struct peerlink *link)
{
    uint8_t frame[PEER_FRAME_HEADER_BYTES + PEER_PING_BYTES];
    put_u64(frame + PEER_FRAME_HEADER_BYTES, env_now_ns(link->local->env));
    peer_frame_header_write(PEER_KIND_PING,
                            bytes_of(frame + PEER_FRAME_HEADER_BYTES, PEER_PING_BYTES), frame);
    (void)stream_write(link->stream, bytes_of(frame, sizeof frame));
}

/* Twice a second while it is up. */
static void check_up(struct peerlink *link)
{
    uint64_t now_ms = env_now_ms(link->local->env);
    size_t queued = stream_queued_bytes(link->stream);
    if (link->lane == LANE_BULK && link->queued_bytes > LONG_QUEUE_BYTES &&
        queued < link->queued_bytes) {
        link->alive_ms = now_ms;
    }
    link->queued_bytes = queued;
    if (now_ms - link->alive_ms >= silence_ms[link->lane]) {
        hang_up(link, "the peer is silent");
        return;
    }
    if (now_ms - link->up_ms >= STEADY_MS) {
        link->failures = 0;
    }
    send_ping(link);
    env_timer_start(link->local->env, &link->timer, PING_MS);
}

static void on_timer(struct env_timer *timer)
{
    struct peerlink *link = CONTAINER_OF(timer, struct peerlink, timer);
    switch (link->state) {
    case PEERLINK_WAITING:
        connect_now(link);
        break;
    case PEERLINK_HELLO:
        hang_up(link, "what listens there does not answer");
        break;
    case PEERLINK_UP:
        check_up(link);
        break;
    case PEERLINK_IDLE:
    case PEERLINK_CONNECTING:
    case PEERLINK_CLOSING:
        fatal("a peer's connection has no timer in state %d", (int)link->state);
    }
}

void peerlink_init(struct peerlink *link)
{
    link->state = PEERLINK_IDLE;
    env_timer_init(&link->timer, on_timer);
}

void peerlink_start(struct peerlink *link, const struct addr *addr)
{
    link->addr = *addr;
    link->failures = 0;
    link->logged.text[0] = '\0';
    switch (link->state) {
    case PEERLINK_CONNECTING:
        stream_connect_cancel(TAKE(link->connect));
        connect_now(link);
        break;
    case PEERLINK_WAITING:
        env_timer_stop(link->local->env, &link->timer);
        connect_now(link);
        break;
    case PEERLINK_IDLE:
        connect_now(link);
        break;
    case PEERLINK_HELLO:
    case PEERLINK_UP:
        link->again = true;
        hang_up(link, "the peer has another address");
        break;
    case PEERLINK_CLOSING:
        link->again = !link->stopping;
        break;
    }
}

void peerlink_hurry(struct peerlink *link)
{
    if (link->state == PEERLINK_WAITING) {
        env_timer_start(link->local->env, &link->timer, 0);
    } else if (link->state == PEERLINK_CONNECTING &&
               env_now_ms(link->local->env) - link->called_ms >= STALE_CALL_MS) {
        stream_connect_cancel(TAKE(link->connect));
        connect_now(link);
    }
}

void peerlink_doubt(struct peerlink *link)
{
    if (link->state == PEERLINK_UP && env_now_ms(link->local->env) - link->alive_ms >= DOUBT_MS) {
        hang_up(link, "the peer is silent");
    }
}

void peerlink_stop(struct peerlink *link)
{
    switch (link->state) {
    case PEERLINK_CONNECTING:
        stream_connect_cancel(TAKE(link->connect));
        set_idle(link);
        break;
    case PEERLINK_WAITING:
        env_timer_stop(link->local->env, &link->timer);
        set_idle(link);
        break;
    case PEERLINK_IDLE:
        set_idle(link);
        break;
    case PEERLINK_HELLO:
    case PEERLINK_UP:
    case PEERLINK_CLOSING:
        link->stopping = true;
        hang_up(link, "stopped");
        break;
    }
}

size_t peerlink_queued_bytes(const struct peerlink *link)
{
    return link->stream == NULL ? 0 : stream_queued_bytes(link->stream);
}

bool peerlink_send(struct peerlink *link, enum frame_kind kind, struct blob *payload,
                   size_t bytes_max)
{
    size_t bytes = PEER_FRAME_HEADER_BYTES + payload->len;
    size_t queued = peerlink_queued_bytes(link);
    if (link->state != PEERLINK_UP || payload->len > PEER_FRAME_BYTES_MAX ||
        (queued > 0 && queued + bytes > bytes_max)) {
        counter_add(link->sent_failures, 1);
        return false;
    }
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    peer_frame_header_write((uint8_t)kind, blob_bytes(payload), header);
    /* When memory ends in between, the stream closes itself: nobody sees half a frame. */
    if (!stream_write(link->stream, bytes_of(header, sizeof header)) ||
        !stream_write_blob(link->stream, payload, 0, payload->len)) {
        counter_add(link->sent_failures, 1);
        return false;
    }
    counter_add(link->sent_bytes, (double)bytes);
    return true;
}
