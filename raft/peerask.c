/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerask.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "raft/peerframe.h"

/* CONNECTING ──▶ ASKED ──▶ told: closing, and freed when the stream is gone. */
struct peerask {
    struct env *env;
    uint64_t until_ms;
    peerask_cb cb; /* NULL: told */
    void *ctx;
    struct stream *stream;
    struct peer_reader reader;
    struct env_timer timer;
};

static void peerask_free(struct peerask *ask)
{
    env_timer_stop(ask->env, &ask->timer);
    peer_reader_fini(&ask->reader);
    free(ask);
}

static void tell(struct peerask *ask, enum err status, struct bytes answer, const char *why)
{
    peerask_cb cb = ask->cb;
    if (cb != NULL) {
        ask->cb = NULL;
        cb(ask->ctx, status, answer, why);
    }
}

/* Over, but for the stream. */
static bool finish(struct peerask *ask, enum err status, struct bytes answer, const char *why)
{
    stream_close(ask->stream);
    tell(ask, status, answer, why);
    return false;
}

static bool on_verdict(void *ctx, struct bytes lead)
{
    struct peerask *ask = ctx;
    uint32_t verdict;
    uint64_t id;
    if (peer_answer_read(lead.data, &verdict, &id) != OK) {
        return finish(ask, ERR_MALFORMED, bytes_of(NULL, 0), "what listens there is no member");
    }
    if (verdict != PEER_WELCOME) {
        return finish(ask, ERR_CONNECT, bytes_of(NULL, 0), peer_verdict_text(verdict));
    }
    return true;
}

static bool on_frame(void *ctx, uint8_t kind, struct bytes payload)
{
    struct peerask *ask = ctx;
    if (kind != PEER_KIND_MEMBERS) {
        return finish(ask, ERR_MALFORMED, bytes_of(NULL, 0), "it answered something else");
    }
    return finish(ask, OK, payload, NULL);
}

static void on_read(void *ctx, struct bytes bytes)
{
    static const struct peer_reader_callbacks callbacks = {.on_lead = on_verdict,
                                                           .on_frame = on_frame};
    struct peerask *ask = ctx;
    if (ask->cb == NULL) {
        return;
    }
    struct why why = {0};
    enum err err = peer_reader_feed(&ask->reader, bytes, &callbacks, ask, &why);
    if (err != OK && ask->cb != NULL) {
        (void)finish(ask, err, bytes_of(NULL, 0), err == ERR_MALFORMED ? why.text : err_text(err));
    }
}

static void on_close(void *ctx, enum err status, const char *why)
{
    struct peerask *ask = ctx;
    tell(ask, status == OK ? ERR_CLOSED : status, bytes_of(NULL, 0),
         status == OK ? "it hung up" : why);
    peerask_free(ask);
}

static const struct stream_callbacks stream_callbacks = {.on_read = on_read, .on_close = on_close};

static void on_timer(struct env_timer *timer)
{
    struct peerask *ask = CONTAINER_OF(timer, struct peerask, timer);
    if (ask->cb != NULL) {
        (void)finish(ask, ERR_TIMEOUT, bytes_of(NULL, 0), "what listens there does not answer");
    }
}

static void on_connected(void *ctx, struct stream *stream, enum err status, const char *why)
{
    struct peerask *ask = ctx;
    if (status != OK) {
        tell(ask, status, bytes_of(NULL, 0), why);
        peerask_free(ask);
        return;
    }
    ask->stream = stream;
    stream_start(stream, &stream_callbacks, ask);
    uint8_t hello[PEER_HELLO_BYTES];
    peer_hello_write(&(struct peer_hello){.version = PEER_VERSION, .is_question = true}, hello);
    /* Without memory the stream closes itself. */
    (void)stream_write(stream, bytes_of(hello, sizeof hello));
    uint64_t now_ms = env_now_ms(ask->env);
    env_timer_start(ask->env, &ask->timer, now_ms < ask->until_ms ? ask->until_ms - now_ms : 0);
}

enum err peerask_start(struct env *env, uv_loop_t *loop, const struct addr *addr,
                       uint64_t timeout_ms, peerask_cb cb, void *ctx)
{
    struct peerask *ask = calloc(1, sizeof *ask);
    if (ask == NULL) {
        return ERR_NOMEM;
    }
    ask->env = env;
    ask->until_ms = env_now_ms(env) + timeout_ms;
    ask->cb = cb;
    ask->ctx = ctx;
    ask->reader.lead_bytes = PEER_ANSWER_BYTES;
    ask->reader.frame_bytes_max = PEER_MEMBERS_BYTES_MAX;
    env_timer_init(&ask->timer, on_timer);
    struct stream_connect_request *request;
    enum err err = stream_connect(env, loop, addr, timeout_ms, on_connected, ask, &request);
    if (err != OK) {
        free(ask);
    }
    return err;
}
