/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pending.h"

#include "base/assert.h"
#include "base/plant.h"

static struct op *op_of(struct queue *link)
{
    return QUEUE_ELEM(link, struct op, link);
}

struct op *pending_find(const struct pending *pending, uint64_t number)
{
    uint64_t hash = map_hash_u64(&pending->by_number, number);
    for (struct map_link *at = map_first(&pending->by_number, hash); at != NULL;
         at = map_next(at)) {
        struct op *op = CONTAINER_OF(at, struct op, by_number);
        if (op->number == number) {
            return op;
        }
    }
    return NULL;
}

static void forget(struct pending *pending, struct op *op)
{
    map_remove(&pending->by_number, &op->by_number);
    queue_remove(&op->link);
    op->pending = false;
    pending->count--;
}

static void run_finished(struct pending *pending)
{
    struct queue *link;
    while ((link = queue_pop_front(&pending->finished)) != NULL) {
        struct op *op = op_of(link);
        op->cb(op, op->status);
    }
}

static void on_finish(struct env_task *task)
{
    run_finished(CONTAINER_OF(task, struct pending, finish));
}

static void on_timer(struct env_timer *timer)
{
    struct pending *pending = CONTAINER_OF(timer, struct pending, timer);
    uint64_t now = env_now_ms(pending->env);
    while (!queue_empty(&pending->waiting)) {
        struct op *oldest = op_of(pending->waiting.next);
        uint64_t limit = oldest->started_ms + pending->timeout_ms;
        if (limit > now) {
            env_timer_start(pending->env, &pending->timer, limit - now);
            return;
        }
        enum err status = PLANTED(UNKNOWN_AS_FAILED) ? ERR_TOO_MANY_REQUESTS : ERR_TIMEOUT;
        pending->timed_out_total += !oldest->refused;
        pending_finish(pending, oldest, oldest->refused ? ERR_QUOTA : status);
    }
}

void pending_init(struct pending *pending, struct env *env, uint64_t timeout_ms)
{
    *pending = (struct pending){.env = env, .timeout_ms = timeout_ms};
    map_init(&pending->by_number, env_hash_seed(env));
    queue_init(&pending->waiting);
    queue_init(&pending->finished);
    pending->next_number = env_random_u64(env);
    env_timer_init(&pending->timer, on_timer);
    env_task_init(&pending->finish, PHASE_APPLY, on_finish);
}

void pending_fini(struct pending *pending)
{
    ASSERT(queue_empty(&pending->waiting));
    ASSERT(queue_empty(&pending->finished));
    env_timer_stop(pending->env, &pending->timer);
    env_task_cancel(&pending->finish);
    map_fini(&pending->by_number);
}

enum err pending_add(struct pending *pending, struct op *op, op_cb cb)
{
    op->result = NULL;
    op->cb = cb;
    op->number = pending->next_number++;
    op->started_ms = env_now_ms(pending->env);
    op->status = OK;
    op->pending = false;
    op->refused = false;
    queue_init(&op->link);
    TRY(map_insert(&pending->by_number, &op->by_number,
                   map_hash_u64(&pending->by_number, op->number)));
    op->pending = true;
    pending->count++;
    if (queue_empty(&pending->waiting) && !env_timer_active(&pending->timer)) {
        env_timer_start(pending->env, &pending->timer, pending->timeout_ms);
    }
    queue_push_back(&pending->waiting, &op->link);
    return OK;
}

bool pending_has(const struct pending *pending, uint64_t number)
{
    return pending_find(pending, number) != NULL;
}

struct op *pending_take(struct pending *pending, uint64_t number)
{
    struct op *op = pending_find(pending, number);
    if (op != NULL) {
        forget(pending, op);
    }
    return op;
}

void pending_finish(struct pending *pending, struct op *op, enum err status)
{
    if (op->pending) {
        forget(pending, op);
    }
    op->status = status;
    queue_push_back(&pending->finished, &op->link);
    env_defer(pending->env, &pending->finish);
}

void pending_finish_refused(struct pending *pending)
{
    struct queue *next;
    for (struct queue *at = pending->waiting.next; at != &pending->waiting; at = next) {
        next = at->next;
        if (op_of(at)->refused) {
            pending_finish(pending, op_of(at), ERR_QUOTA);
        }
    }
}

void pending_finish_all(struct pending *pending, enum err status)
{
    while (!queue_empty(&pending->waiting)) {
        pending_finish(pending, op_of(pending->waiting.next), status);
    }
    run_finished(pending);
}
