/* SPDX-License-Identifier: Apache-2.0 */
#include "server/leaseask.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"
#include "base/trace.h"
#include "server/leaseframe.h"

#define RETRY_MS  50u
#define RESEND_MS 500u /* a frame without an answer is lost */

/* A question of another member. */
struct leaseask_remote {
    struct lease_ask ask;
    uint64_t peer;
    uint64_t number;
    int64_t *answers; /* behind the ids */
    int64_t ids[];
};

static struct lease_ask *ask_of(struct queue *link)
{
    return QUEUE_ELEM(link, struct lease_ask, link);
}

static uint64_t now_ms(const struct leaseask *la)
{
    return env_now_ms(la->env);
}

static void move(struct queue *to, struct lease_ask *ask)
{
    queue_remove(&ask->link);
    queue_push_back(to, &ask->link);
}

static void start_timer(struct leaseask *la)
{
    if (!env_timer_active(&la->timer) && !la->closed) {
        env_timer_start(la->env, &la->timer, RETRY_MS);
    }
}

/* ---- the end of a question ---- */

/* Its status waits in `at`, which nobody reads any more. */
static void finish(struct leaseask *la, struct lease_ask *ask, enum err status)
{
    queue_remove(&ask->age);
    ask->at = status;
    move(&la->finished, ask);
    env_defer(la->env, &la->finish);
}

static void run_finished(struct leaseask *la)
{
    struct queue *link;
    while ((link = queue_pop_front(&la->finished)) != NULL) {
        struct lease_ask *ask = ask_of(link);
        ask->cb(ask, (enum err)ask->at);
    }
}

static void on_finish(struct env_task *task)
{
    run_finished(CONTAINER_OF(task, struct leaseask, finish));
}

static void drop_remote(struct leaseask *la, struct leaseask_remote *remote)
{
    queue_remove(&remote->ask.link);
    la->remote_count--;
    free(remote);
}

/* COUNT answers, or none: this member does not lead for certain. Then it is gone. */
static void answer_remote(struct leaseask *la, struct leaseask_remote *remote, size_t count)
{
    struct blob *frame = leaseframe_new(LEASE_ANSWER, remote->number, count);
    if (frame != NULL) { /* else it is asked again */
        for (size_t i = 0; i < count; i++) {
            leaseframe_set(frame, i, remote->answers[i]);
        }
        (void)node_send(la->node, remote->peer, LANE_URGENT, FRAME_FORWARD, frame);
        blob_unref(frame);
    }
    drop_remote(la, remote);
}

/* Not now: another member asks again itself. */
static void put_off(struct leaseask *la, struct lease_ask *ask)
{
    if (ask->remote != NULL) {
        answer_remote(la, ask->remote, 0);
        return;
    }
    move(&la->waiting, ask);
    start_timer(la);
}

static void put_off_all(struct leaseask *la, struct queue *asks)
{
    while (!queue_empty(asks)) {
        put_off(la, ask_of(asks->next));
    }
}

/* ---- leader ---- */

/* False: something of it has to wait. */
static bool evaluate(struct leaseask *la, struct lease_ask *ask)
{
    bool whole = true;
    for (size_t i = 0; i < ask->count; i++) {
        ask->answers[i] = ask->renew
                              ? lessor_renew(la->lessor, ask->ids[i], la->confirming_since_ms)
                              : lessor_remaining_ms(la->lessor, ask->ids[i]);
        whole &= ask->answers[i] != LEASE_AGAIN;
    }
    return whole;
}

static void answer(struct leaseask *la, struct lease_ask *ask)
{
    bool whole = evaluate(la, ask);
    if (ask->remote != NULL) {
        answer_remote(la, ask->remote, ask->count);
    } else if (whole) {
        finish(la, ask, OK);
    } else {
        put_off(la, ask);
    }
}

static void on_confirmation(struct read_index *request, enum err status, uint64_t index)
{
    (void)index;
    struct leaseask *la = CONTAINER_OF(request, struct leaseask, confirmation);
    la->confirming_now = false;
    bool leads = status == OK && node_role(la->node) == NODE_LEADER &&
                 node_term(la->node) == la->confirming_term;
    bool fresh = now_ms(la) - la->confirming_since_ms <= la->election_ms;
    struct queue asks; /* what is put off for this turn must not come back to this list */
    queue_init(&asks);
    queue_splice(&asks, &la->confirming);
    if (leads && !fresh) {
        queue_splice(&la->arrived, &asks);
    } else if (!leads) {
        put_off_all(la, &asks);
    }
    while (!queue_empty(&asks)) {
        answer(la, ask_of(asks.next));
    }
    lessor_flush(la->lessor);
    if (!queue_empty(&la->arrived)) {
        env_defer(la->env, &la->route);
    }
    run_finished(la);
}

static void confirm(struct leaseask *la)
{
    if (la->confirming_now || queue_empty(&la->arrived)) {
        return;
    }
    queue_splice(&la->confirming, &la->arrived);
    la->confirming_now = true;
    la->confirming_since_ms = now_ms(la);
    la->confirming_term = node_term(la->node);
    if (PLANTED(LEASE_UNCONFIRMED) && node_role(la->node) == NODE_LEADER) {
        on_confirmation(&la->confirmation, OK, 0);
        return;
    }
    node_read_index(la->node, &la->confirmation, on_confirmation);
}

/* ---- follower ---- */

static struct leaseask_frame *unused_frame(struct leaseask *la)
{
    for (size_t i = 0; i < LEASEASK_FRAMES_MAX; i++) {
        if (la->frames[i].number == 0) {
            return &la->frames[i];
        }
    }
    return NULL;
}

/* Those that go into one frame: of one kind, from the first on. */
static void fill(struct leaseask *la, struct leaseask_frame *frame)
{
    frame->renew = ask_of(la->arrived.next)->renew;
    frame->count = 0;
    QUEUE_FOREACH_SAFE(link, &la->arrived)
    {
        struct lease_ask *ask = ask_of(link);
        if (ask->renew == frame->renew && frame->count + ask->count <= LEASE_ASK_MAX) {
            ask->at = frame->count;
            frame->count += ask->count;
            move(&frame->asks, ask);
        }
    }
}

static bool send(struct leaseask *la, struct leaseask_frame *frame)
{
    struct blob *blob =
        leaseframe_new(frame->renew ? LEASE_RENEW : LEASE_REMAINING, frame->number, frame->count);
    if (blob == NULL) {
        return false;
    }
    QUEUE_FOREACH (link, &frame->asks) {
        const struct lease_ask *ask = ask_of(link);
        for (size_t i = 0; i < ask->count; i++) {
            leaseframe_set(blob, ask->at + i, ask->ids[i]);
        }
    }
    bool sent = node_send(la->node, frame->peer, LANE_URGENT, FRAME_FORWARD, blob);
    blob_unref(blob);
    return sent;
}

static void give_up(struct leaseask *la, struct leaseask_frame *frame)
{
    frame->number = 0;
    put_off_all(la, &frame->asks);
}

static void ask_leader(struct leaseask *la, uint64_t leader)
{
    struct leaseask_frame *frame;
    while (!queue_empty(&la->arrived) && (frame = unused_frame(la)) != NULL) {
        if (la->next_number == 0) {
            la->next_number = 1; /* 0 is no number */
        }
        frame->number = la->next_number++;
        frame->peer = leader;
        frame->sent_ms = now_ms(la);
        fill(la, frame);
        if (!send(la, frame)) {
            give_up(la, frame);
        }
    }
}

static void take_answers(struct leaseask *la, struct leaseask_frame *frame,
                         const struct leaseframe *answers)
{
    while (!queue_empty(&frame->asks)) {
        struct lease_ask *ask = ask_of(frame->asks.next);
        bool whole = true;
        for (size_t i = 0; i < ask->count; i++) {
            ask->answers[i] = leaseframe_word(answers, ask->at + i);
            whole &= ask->answers[i] != LEASE_AGAIN;
        }
        if (whole) {
            finish(la, ask, OK);
        } else {
            put_off(la, ask);
        }
    }
}

static void on_answer(struct leaseask *la, uint64_t peer, const struct leaseframe *answers)
{
    for (size_t i = 0; i < LEASEASK_FRAMES_MAX; i++) {
        struct leaseask_frame *frame = &la->frames[i];
        if (frame->number == 0 || frame->number != answers->number || frame->peer != peer) {
            continue;
        }
        bool fresh = now_ms(la) - frame->sent_ms <= la->election_ms;
        if (fresh && leaseframe_count(answers) == frame->count) {
            take_answers(la, frame, answers);
        }
        give_up(la, frame); /* what has no answer yet */
        if (!queue_empty(&la->arrived)) {
            env_defer(la->env, &la->route);
        }
        return;
    }
}

static void on_question(struct leaseask *la, uint64_t peer, const struct leaseframe *question)
{
    size_t count = leaseframe_count(question);
    if (la->remote_count == LEASEASK_REMOTES_MAX) {
        return; /* it is asked again */
    }
    struct leaseask_remote *remote = malloc(sizeof *remote + 2 * count * sizeof(int64_t));
    if (remote == NULL) {
        return;
    }
    remote->peer = peer;
    remote->number = question->number;
    remote->answers = remote->ids + count;
    for (size_t i = 0; i < count; i++) {
        remote->ids[i] = leaseframe_word(question, i);
    }
    remote->ask = (struct lease_ask){.ids = remote->ids,
                                     .answers = remote->answers,
                                     .count = count,
                                     .renew = question->what == LEASE_RENEW,
                                     .remote = remote};
    la->remote_count++;
    queue_push_back(&la->arrived, &remote->ask.link);
    env_defer(la->env, &la->route);
}

bool leaseask_on_frame(struct leaseask *la, uint64_t peer, struct bytes payload)
{
    struct leaseframe frame;
    if (leaseframe_decode(payload, &frame) != OK) {
        return false;
    }
    if (la->closed) {
        return true;
    }
    if (frame.what == LEASE_ANSWER) {
        on_answer(la, peer, &frame);
    } else {
        on_question(la, peer, &frame);
    }
    return true;
}

/* ---- both ---- */

/* Other members' questions go no further than here. */
static void refuse_remotes(struct leaseask *la)
{
    QUEUE_FOREACH_SAFE(link, &la->arrived)
    {
        struct lease_ask *ask = ask_of(link);
        if (ask->remote != NULL) {
            answer_remote(la, ask->remote, 0);
        }
    }
}

static void route(struct leaseask *la)
{
    if (la->closed) {
        return;
    }
    if (node_role(la->node) == NODE_LEADER) {
        confirm(la);
        return;
    }
    refuse_remotes(la);
    uint64_t leader = node_leader(la->node);
    if (leader != 0 && leader != node_id(la->node)) {
        ask_leader(la, leader);
    } else {
        put_off_all(la, &la->arrived);
    }
}

static void on_route(struct env_task *task)
{
    route(CONTAINER_OF(task, struct leaseask, route));
}

static void ask_again(struct leaseask *la)
{
    queue_splice(&la->arrived, &la->waiting);
    if (!queue_empty(&la->arrived)) {
        env_defer(la->env, &la->route);
    }
}

static void give_up_lost_frames(struct leaseask *la)
{
    uint64_t leader = node_leader(la->node);
    for (size_t i = 0; i < LEASEASK_FRAMES_MAX; i++) {
        struct leaseask_frame *frame = &la->frames[i];
        bool lost = frame->peer != leader || now_ms(la) - frame->sent_ms >= RESEND_MS;
        if (frame->number != 0 && lost) {
            TRACE(la->env, "lease: no answer from, to so many", frame->peer, frame->count);
            give_up(la, frame);
        }
    }
}

static void end_old(struct leaseask *la)
{
    while (!queue_empty(&la->unanswered)) {
        struct lease_ask *oldest = QUEUE_ELEM(la->unanswered.next, struct lease_ask, age);
        if (now_ms(la) - oldest->started_ms < la->timeout_ms) {
            return;
        }
        finish(la, oldest, node_leader(la->node) == 0 ? ERR_NO_LEADER : ERR_TIMEOUT);
    }
}

static void on_timer(struct env_timer *timer)
{
    struct leaseask *la = CONTAINER_OF(timer, struct leaseask, timer);
    end_old(la);
    give_up_lost_frames(la);
    ask_again(la);
    if (!queue_empty(&la->unanswered)) {
        start_timer(la);
    }
}

void leaseask_kick(struct leaseask *la)
{
    if (la->closed) {
        return; /* the node may be gone */
    }
    give_up_lost_frames(la);
    ask_again(la);
}

void leaseask_start(struct leaseask *la, struct lease_ask *ask)
{
    ASSERT(ask->count > 0 && ask->count <= LEASE_ASK_MAX);
    ask->remote = NULL;
    ask->started_ms = now_ms(la);
    queue_init(&ask->link);
    queue_init(&ask->age);
    if (la->closed) {
        finish(la, ask, ERR_STOPPED);
        return;
    }
    queue_push_back(&la->unanswered, &ask->age);
    queue_push_back(&la->arrived, &ask->link);
    env_defer(la->env, &la->route);
    start_timer(la);
}

void leaseask_cancel(struct leaseask *la, struct lease_ask *ask)
{
    (void)la;
    queue_remove(&ask->link);
    queue_remove(&ask->age);
}

/* ---- its life ---- */

void leaseask_init(struct leaseask *la, struct env *env, struct node *node, struct lessor *lessor,
                   uint64_t timeout_ms, uint32_t election_ms)
{
    *la = (struct leaseask){.env = env,
                            .node = node,
                            .lessor = lessor,
                            .timeout_ms = timeout_ms,
                            .election_ms = election_ms,
                            .next_number = env_random_u64(env)};
    queue_init(&la->unanswered);
    queue_init(&la->arrived);
    queue_init(&la->confirming);
    queue_init(&la->waiting);
    queue_init(&la->finished);
    for (size_t i = 0; i < LEASEASK_FRAMES_MAX; i++) {
        queue_init(&la->frames[i].asks);
    }
    env_task_init(&la->route, PHASE_BATCH, on_route);
    env_task_init(&la->finish, PHASE_APPLY, on_finish);
    env_timer_init(&la->timer, on_timer);
}

void leaseask_close(struct leaseask *la)
{
    la->closed = true;
    if (la->confirming_now) {
        node_read_index_cancel(la->node, &la->confirmation);
        la->confirming_now = false;
    }
    queue_splice(&la->arrived, &la->confirming);
    env_timer_stop(la->env, &la->timer);
}

static void drop_remotes(struct leaseask *la)
{
    QUEUE_FOREACH_SAFE(link, &la->arrived)
    {
        struct lease_ask *ask = ask_of(link);
        if (ask->remote != NULL) {
            drop_remote(la, ask->remote);
        }
    }
    ASSERT(la->remote_count == 0);
}

void leaseask_finish_all(struct leaseask *la, enum err status)
{
    ASSERT(la->closed);
    drop_remotes(la);
    while (!queue_empty(&la->unanswered)) {
        finish(la, QUEUE_ELEM(la->unanswered.next, struct lease_ask, age), status);
    }
    run_finished(la);
}

void leaseask_fini(struct leaseask *la)
{
    ASSERT(queue_empty(&la->unanswered));
    ASSERT(queue_empty(&la->arrived));
    ASSERT(queue_empty(&la->waiting));
    ASSERT(queue_empty(&la->finished));
    env_timer_stop(la->env, &la->timer);
    env_task_cancel(&la->route);
    env_task_cancel(&la->finish);
}
