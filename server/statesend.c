/* SPDX-License-Identifier: Apache-2.0 */
#include "server/statesend.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "server/statecopy.h"

#define TICK_MS 50u
/* What was not answered is said again. */
#define AGAIN_MS 1000u
/* Who lacks its database says so twice a second. */
#define LACK_MS 5000u
/* After a refusal: the first, doubled each time up to the last. */
#define WAIT_MS_MIN 500u
#define WAIT_MS_MAX 30000u
/* The pace: so much is saved up while nothing is sent. */
#define SAVED_MS 20u
#define PACE_MS  2u

enum sender_state { ASKING, COPYING, OFFERED, STREAMING, INSTALLING, WAITING };

/* One member that is being helped. */
struct sender {
    struct queue link;
    struct statesend *send;
    uint64_t peer;
    enum sender_state state;
    bool installs;        /* the node wants it: its log is to begin anew */
    uint64_t lacks_index; /* it needs a database that is so far; 0: no, or it has one */
    uint64_t lacks_until_ms;
    struct state_copy *copy;        /* from OFFERED on */
    struct store_manifest manifest; /* INSTALLING: what the peer has */
    uint64_t spoken_ms;             /* when something that awaits an answer was said last */
    uint64_t wait_until_ms;
    uint32_t wait_ms;
    uint64_t acked;        /* the peer has written what is before it */
    uint64_t next;         /* of the next chunk */
    uint64_t digest_until; /* what is before it is in the digest */
    struct set_hash digest;
    bool end_said;
    struct blob *unsent; /* a chunk that found no room on the way; of next */
    bool reading;        /* a chunk at next is being read */
    bool gone;           /* goes when it is read */
    struct job job;
    struct blob *chunk; /* of the job */
    enum err status;
    struct why why;
    struct state_copy *job_copy;
    uint64_t job_offset;
};

struct statesend {
    struct statesend_config config;
    struct statecopies copies;
    struct queue senders;
    size_t count;
    struct env_timer tick;
    struct env_timer pace;
    int64_t budget_bytes; /* that may be sent now; below 0: wait */
    uint64_t budget_at_ms;
    bool closed;
    struct counter *sent_bytes;
};

static uint64_t now_ms(const struct statesend *send)
{
    return env_now_ms(send->config.env);
}

static void say(struct sender *sender, const struct stateframe *frame)
{
    CLEANUP(blob_unrefp) struct blob *blob = stateframe_encode(frame);
    sender->spoken_ms = now_ms(sender->send);
    if (blob != NULL) {
        /* Lost: it is said again. */
        (void)node_send(sender->send->config.node, sender->peer, LANE_BULK, FRAME_APP, blob);
    }
}

/* ---- copies ---- */

static void leave_copy(struct sender *sender)
{
    statecopy_unuse(&sender->send->copies, TAKE(sender->copy));
}

/* Has whoever has this what it needs? */
static bool is_enough(const struct sender *sender, const struct store_manifest *manifest)
{
    return manifest->applied_index >= sender->lacks_index &&
           (!sender->installs ||
            node_holds(sender->send->config.node, manifest->applied_index, manifest->applied_term));
}

static bool will_do(const struct sender *sender, const struct state_copy *copy)
{
    return copy != NULL && !copy->spoilt && is_enough(sender, &copy->manifest);
}

/* ---- states of a sender ---- */

static void ask(struct sender *sender)
{
    leave_copy(sender);
    sender->state = ASKING;
    uint64_t size_bytes = store_size_bytes(sender->send->config.store);
    say(sender, &(struct stateframe){.what = STATE_ASK,
                                     .number = sender->peer,
                                     .size_bytes = size_bytes > 0 ? size_bytes : 1});
}

static void offer(struct sender *sender)
{
    const struct state_copy *copy = sender->copy;
    say(sender, &(struct stateframe){.what = STATE_OFFER,
                                     .number = copy->number,
                                     .size_bytes = copy->size_bytes,
                                     .manifest = copy->manifest});
}

static void use_copy(struct sender *sender, struct state_copy *copy)
{
    leave_copy(sender);
    statecopy_use(copy);
    sender->copy = copy;
    sender->state = OFFERED;
    sender->acked = 0;
    sender->next = 0;
    sender->digest_until = 0;
    sender->digest = (struct set_hash){0};
    sender->end_said = false;
    blob_unref(TAKE(sender->unsent));
    offer(sender);
}

static void wait(struct sender *sender)
{
    leave_copy(sender);
    sender->state = WAITING;
    sender->wait_until_ms = now_ms(sender->send) + sender->wait_ms;
    sender->wait_ms = sender->wait_ms * 2 < WAIT_MS_MAX ? sender->wait_ms * 2 : WAIT_MS_MAX;
}

static void get_copy(struct sender *sender)
{
    struct statesend *send = sender->send;
    leave_copy(sender);
    if (will_do(sender, send->copies.newest)) {
        use_copy(sender, send->copies.newest);
        return;
    }
    sender->state = COPYING;
    statecopies_make(&send->copies);
}

/* Its log may begin there? Said again until it does. */
static void install(struct sender *sender)
{
    const struct store_manifest *manifest = &sender->manifest;
    CLEANUP(buf_fini) struct buf buf = {0};
    sender->spoken_ms = now_ms(sender->send);
    store_manifest_encode(manifest, &buf);
    if (!buf_ok(&buf)) {
        return;
    }
    enum err err = node_install(sender->send->config.node, sender->peer, manifest->applied_index,
                                manifest->applied_term, buf_bytes(&buf));
    if (err == ERR_NOT_FOUND) {
        LOG_WARN(sender->send->config.log,
                 "the log has forgotten what follows the state that was sent",
                 LOG_HEX("peer-id", sender->peer), LOG_U64("index", manifest->applied_index));
        get_copy(sender);
    }
}

static void forget(struct sender *sender)
{
    struct statesend *send = sender->send;
    leave_copy(sender);
    blob_unref(TAKE(sender->unsent));
    if (sender->reading) {
        sender->gone = true;
        queue_remove(&sender->link);
        queue_init(&sender->link);
        send->count--;
        return;
    }
    if (!sender->gone) {
        queue_remove(&sender->link);
        send->count--;
    }
    free(sender);
}

/* ---- chunks ---- */

static bool may_send(struct statesend *send)
{
    uint64_t now = now_ms(send);
    uint64_t passed = now - send->budget_at_ms < SAVED_MS ? now - send->budget_at_ms : SAVED_MS;
    send->budget_at_ms = now;
    send->budget_bytes += (int64_t)(passed * STATE_RATE_BYTES);
    if (send->budget_bytes > (int64_t)(SAVED_MS * STATE_RATE_BYTES)) {
        send->budget_bytes = (int64_t)(SAVED_MS * STATE_RATE_BYTES);
    }
    if (send->budget_bytes > 0) {
        return true;
    }
    if (!env_timer_active(&send->pace)) {
        env_timer_start(send->config.env, &send->pace, PACE_MS);
    }
    return false;
}

static void pump(struct sender *sender);

/* The chunk at next goes out; false: no room on the way. */
static bool send_chunk(struct sender *sender, struct blob *chunk)
{
    struct statesend *send = sender->send;
    if (!node_send(send->config.node, sender->peer, LANE_BULK, FRAME_APP, chunk)) {
        sender->unsent = chunk;
        return false;
    }
    size_t len = chunk->len - STATEFRAME_CHUNK_HEAD;
    if (sender->next == sender->digest_until) {
        set_hash_add(
            &sender->digest,
            stateframe_element(sender->next, bytes_of(chunk->data + STATEFRAME_CHUNK_HEAD, len)));
        sender->digest_until += len;
    }
    sender->next += len;
    send->budget_bytes -= (int64_t)len;
    counter_add(send->sent_bytes, (double)len);
    blob_unref(chunk);
    return true;
}

/* Thread: state-out. */
static void read_work(struct job *job)
{
    struct sender *sender = CONTAINER_OF(job, struct sender, job);
    size_t len = sender->chunk->len - STATEFRAME_CHUNK_HEAD;
    size_t got = 0;
    sender->status = fs_read(sender->job_copy->file, sender->job_offset,
                             sender->chunk->data + STATEFRAME_CHUNK_HEAD, len, &got, &sender->why);
    if (sender->status == OK && got < len) {
        why_set(&sender->why, "the copy of the database ends at %llu",
                (unsigned long long)(sender->job_offset + got));
        sender->status = ERR_IO;
    }
}

static void read_done(struct job *job)
{
    struct sender *sender = CONTAINER_OF(job, struct sender, job);
    struct statesend *send = sender->send;
    struct blob *chunk = TAKE(sender->chunk);
    struct state_copy *copy = TAKE(sender->job_copy);
    sender->reading = false;
    bool current = !sender->gone && sender->state == STREAMING && sender->copy == copy &&
                   sender->next == sender->job_offset;
    if (sender->gone) {
        free(sender);
        sender = NULL;
    }
    if (current && sender->status != OK) {
        LOG_WARN(send->config.log, "cannot read the copy of the database",
                 LOG_HEX("peer-id", sender->peer), LOG_STR("why", sender->why.text));
        copy->spoilt = true;
        wait(sender);
    }
    if (!current || sender->status != OK) {
        blob_unref(chunk);
    } else if (send_chunk(sender, chunk)) {
        pump(sender);
    }
    if (sender != NULL && !current && sender->state == STREAMING) {
        pump(sender);
    }
    statecopy_unuse(&send->copies, copy);
}

static void read_next(struct sender *sender)
{
    struct state_copy *copy = sender->copy;
    size_t len = stateframe_chunk_len(sender->next, copy->size_bytes);
    sender->chunk = stateframe_new_chunk(copy->number, sender->next, len);
    if (sender->chunk == NULL) {
        return; /* at the next tick */
    }
    statecopy_use(copy);
    sender->job_copy = copy;
    sender->job_offset = sender->next;
    sender->reading = true;
    sender->job = (struct job){.work = read_work, .done = read_done};
    worker_submit(sender->send->copies.worker, &sender->job);
}

static void say_end(struct sender *sender)
{
    sender->end_said = true;
    say(sender, &(struct stateframe){.what = STATE_END,
                                     .number = sender->copy->number,
                                     .size_bytes = sender->copy->size_bytes,
                                     .digest = sender->digest});
}

/* Send on, as far as window and pace allow. */
static void pump(struct sender *sender)
{
    if (sender->state != STREAMING || sender->reading) {
        return;
    }
    if (sender->unsent != NULL) {
        if (!may_send(sender->send) || !send_chunk(sender, TAKE(sender->unsent))) {
            return;
        }
    }
    if (sender->next == sender->copy->size_bytes) {
        if (!sender->end_said) {
            say_end(sender);
        }
    } else if (sender->next - sender->acked < STATE_WINDOW_BYTES && may_send(sender->send)) {
        read_next(sender);
    }
}

static void on_pace(struct env_timer *timer)
{
    struct statesend *send = CONTAINER_OF(timer, struct statesend, pace);
    QUEUE_FOREACH (link, &send->senders) {
        pump(QUEUE_ELEM(link, struct sender, link));
    }
}

/* The copy is there, or is not to be had now: give it to who waits for it. */
static void on_made(void *ctx, bool ok)
{
    struct statesend *send = ctx;
    QUEUE_FOREACH (link, &send->senders) {
        struct sender *sender = QUEUE_ELEM(link, struct sender, link);
        if (sender->state == COPYING && ok) {
            use_copy(sender, send->copies.newest);
        } else if (sender->state == COPYING) {
            wait(sender);
        }
    }
}

/* ---- what the peer says ---- */

static struct sender *sender_of(struct statesend *send, uint64_t peer)
{
    QUEUE_FOREACH (link, &send->senders) {
        struct sender *sender = QUEUE_ELEM(link, struct sender, link);
        if (sender->peer == peer) {
            return sender;
        }
    }
    return NULL;
}

static void on_have(struct sender *sender, const struct stateframe *frame)
{
    const struct store_manifest *manifest = &frame->manifest;
    bool enough = is_enough(sender, manifest);
    if (enough) {
        sender->lacks_index = 0;
    }
    if (enough && !sender->installs) {
        forget(sender);
    } else if (enough && sender->state != INSTALLING) {
        leave_copy(sender);
        sender->state = INSTALLING;
        sender->manifest = *manifest;
        install(sender);
    } else if (!enough && sender->state == ASKING) {
        get_copy(sender);
    }
}

static void on_want(struct sender *sender, const struct stateframe *frame)
{
    struct state_copy *copy = sender->copy;
    bool streams = sender->state == OFFERED || sender->state == STREAMING;
    bool possible = streams && frame->number == copy->number && frame->offset <= copy->size_bytes &&
                    (frame->offset % STATE_CHUNK_BYTES == 0 || frame->offset == copy->size_bytes) &&
                    frame->offset <= sender->digest_until;
    if (!possible) {
        return;
    }
    sender->spoken_ms = now_ms(sender->send);
    sender->state = STREAMING;
    sender->wait_ms = WAIT_MS_MIN;
    if (frame->again) {
        sender->acked = frame->offset;
        sender->next = frame->offset;
        sender->end_said = false;
        blob_unref(TAKE(sender->unsent));
    } else if (frame->offset > sender->acked && frame->offset <= sender->next) {
        sender->acked = frame->offset;
    }
    pump(sender);
}

static void on_refused(struct sender *sender, const struct stateframe *frame)
{
    static const char *const texts[] = {[STATE_BUSY] = "busy",
                                        [STATE_NO_SPACE] = "no space",
                                        [STATE_WRONG] = "not what was announced"};
    uint64_t number = sender->state == ASKING ? sender->peer
                      : sender->copy != NULL  ? sender->copy->number
                                              : 0;
    if (number == 0 || frame->number != number) {
        return;
    }
    if (frame->refusal != STATE_BUSY) {
        LOG_WARN(sender->send->config.log, "a member did not take the database",
                 LOG_HEX("peer-id", sender->peer), LOG_STR("why", texts[frame->refusal]));
    }
    if (frame->refusal == STATE_WRONG && sender->copy != NULL) {
        sender->copy->spoilt = true;
    }
    wait(sender);
}

static void on_answer(struct sender *sender, const struct stateframe *frame)
{
    switch (frame->what) {
    case STATE_HAVE:
        on_have(sender, frame);
        break;
    case STATE_WANT:
        on_want(sender, frame);
        break;
    case STATE_REFUSED:
        on_refused(sender, frame);
        break;
    default:
        break;
    }
}

/* ---- time ---- */

static void tick_streaming(struct sender *sender, bool silent)
{
    if (!will_do(sender, sender->copy)) {
        LOG_WARN(sender->send->config.log,
                 "the log has forgotten what follows the copy, a newer one is needed",
                 LOG_HEX("peer-id", sender->peer),
                 LOG_U64("index", sender->copy->manifest.applied_index));
        get_copy(sender);
    } else if (silent) {
        offer(sender);
    } else {
        pump(sender);
    }
}

/* Whoever leads helps; it is the others who help the leader. */
static bool may_help(const struct statesend *send, uint64_t peer)
{
    const struct node *node = send->config.node;
    return node_role(node) == NODE_LEADER || node_leader(node) == peer;
}

static bool still_lacks(const struct sender *sender, uint64_t now)
{
    return sender->lacks_index != 0 && now < sender->lacks_until_ms &&
           may_help(sender->send, sender->peer);
}

static void tick_sender(struct sender *sender)
{
    struct statesend *send = sender->send;
    uint64_t now = now_ms(send);
    bool silent = now - sender->spoken_ms >= AGAIN_MS;
    const struct state_copy *copy = sender->copy;
    uint64_t index = sender->state == INSTALLING ? sender->manifest.applied_index
                     : copy != NULL              ? copy->manifest.applied_index
                                                 : 0;
    sender->installs = node_hold_state(send->config.node, sender->peer, index,
                                       copy != NULL ? copy->size_bytes : 0);
    if (!sender->installs && !still_lacks(sender, now)) {
        forget(sender);
        return;
    }
    switch (sender->state) {
    case ASKING:
    case INSTALLING: /* it may have lost what it had */
        if (silent) {
            ask(sender);
        }
        break;
    case COPYING:
        break;
    case OFFERED:
    case STREAMING:
        tick_streaming(sender, silent);
        break;
    case WAITING:
        if (now >= sender->wait_until_ms) {
            ask(sender);
        }
        break;
    }
}

static void on_tick(struct env_timer *timer)
{
    struct statesend *send = CONTAINER_OF(timer, struct statesend, tick);
    struct queue all;
    queue_init(&all);
    queue_splice(&all, &send->senders);
    struct queue *link;
    while ((link = queue_pop_front(&all)) != NULL) {
        queue_push_back(&send->senders, link);
        tick_sender(QUEUE_ELEM(link, struct sender, link));
    }
    if (!queue_empty(&send->senders)) {
        env_timer_start(send->config.env, &send->tick, TICK_MS);
    }
}

/* ---- who is helped ---- */

/* NULL: no memory; it is asked for again. */
static struct sender *begin(struct statesend *send, uint64_t peer, const char *why)
{
    struct sender *sender = calloc(1, sizeof *sender);
    if (sender == NULL) {
        return NULL;
    }
    sender->send = send;
    sender->peer = peer;
    sender->wait_ms = WAIT_MS_MIN;
    queue_push_back(&send->senders, &sender->link);
    send->count++;
    LOG_WARN(send->config.log, why, LOG_HEX("peer-id", peer));
    ask(sender);
    if (!env_timer_active(&send->tick)) {
        env_timer_start(send->config.env, &send->tick, TICK_MS);
    }
    return sender;
}

void statesend_want(struct statesend *send, uint64_t peer)
{
    if (send->closed || !node_hold_state(send->config.node, peer, 0, 0)) {
        return;
    }
    struct sender *sender = sender_of(send, peer);
    if (sender == NULL) {
        sender =
            begin(send, peer, "a member needs more than the log holds: it is sent the database");
    }
    if (sender != NULL) {
        sender->installs = true;
    }
}

/* Who has not applied all that was committed before has not enough itself. */
static void on_lack(struct statesend *send, uint64_t peer, uint64_t index)
{
    if (send->closed || !may_help(send, peer) || store_applied_index(send->config.store) < index) {
        return;
    }
    struct sender *sender = sender_of(send, peer);
    if (sender == NULL) {
        sender = begin(send, peer, "a member has lost its database: it is sent this one");
    }
    if (sender != NULL) {
        sender->lacks_index = index;
        sender->lacks_until_ms = now_ms(send) + LACK_MS;
    }
}

void statesend_on_frame(struct statesend *send, uint64_t peer, const struct stateframe *frame)
{
    struct sender *sender = sender_of(send, peer);
    if (frame->what == STATE_LACK) {
        on_lack(send, peer, frame->index);
    } else if (!send->closed && sender != NULL) {
        on_answer(sender, frame);
    }
}

/* ---- life ---- */

size_t statesend_count(const struct statesend *send)
{
    return send->count;
}

enum err statesend_new(const struct statesend_config *config, struct statesend **ret)
{
    struct statesend *send = calloc(1, sizeof *send);
    if (send == NULL || statecopies_init(&send->copies, config->env, config->log, config->store,
                                         config->fs, on_made, send) != OK) {
        free(send);
        return ERR_NOMEM;
    }
    send->config = *config;
    queue_init(&send->senders);
    env_timer_init(&send->tick, on_tick);
    env_timer_init(&send->pace, on_pace);
    if (config->metrics != NULL) {
        send->sent_bytes =
            metrics_counter(config->metrics, "trivet_state_sent_bytes_total",
                            "Bytes of databases that were sent to members that fell behind.", NULL);
    }
    *ret = send;
    return OK;
}

void statesend_stop(struct statesend *send)
{
    send->closed = true;
    statecopies_stop(&send->copies);
    env_timer_stop(send->config.env, &send->tick);
    env_timer_stop(send->config.env, &send->pace);
    while (!queue_empty(&send->senders)) {
        forget(QUEUE_ELEM(send->senders.next, struct sender, link));
    }
}

void statesend_free(struct statesend *send)
{
    if (send == NULL) {
        return;
    }
    statesend_stop(send);
    statecopies_fini(&send->copies);
    free(send);
}
