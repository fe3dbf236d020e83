/* SPDX-License-Identifier: Apache-2.0 */
#include "server/query.h"

#include "base/assert.h"

static struct read_op *op_of(struct queue *link)
{
    return QUEUE_ELEM(link, struct read_op, link);
}

static void run_finished(struct query *query)
{
    struct queue *link;
    while ((link = queue_pop_front(&query->finished)) != NULL) {
        struct read_op *op = op_of(link);
        enum err status = (enum err)op->request.index;
        op->cb(op, status);
    }
}

static void on_finish(struct env_task *task)
{
    run_finished(CONTAINER_OF(task, struct query, finish));
}

/* The status waits in the request's index, which nobody reads any more. */
static void finish(struct query *query, struct read_op *op, enum err status)
{
    if (op->state == READ_ASKED) {
        node_read_index_cancel(query->node, &op->request);
    }
    queue_remove(&op->link);
    op->state = READ_IDLE;
    op->request.index = status;
    if (status != OK) {
        query->failed_total++;
    }
    queue_push_back(&query->finished, &op->link);
    env_defer(query->env, &query->finish);
}

static void wait_for_leader(struct query *query, struct read_op *op)
{
    queue_remove(&op->link);
    op->state = READ_WAITING;
    queue_push_back(&query->waiting, &op->link);
}

static void on_read_index(struct read_index *request, enum err status, uint64_t index)
{
    (void)index;
    struct read_op *op = CONTAINER_OF(request, struct read_op, request);
    struct query *query = op->query;
    if (status == ERR_NO_LEADER) {
        wait_for_leader(query, op);
        return;
    }
    queue_remove(&op->link);
    op->state = READ_IDLE;
    if (status != OK) {
        query->failed_total++;
    }
    op->cb(op, status);
}

static void ask(struct query *query, struct read_op *op)
{
    op->state = READ_ASKED;
    queue_push_back(&query->asked, &op->link);
    node_read_index(query->node, &op->request, on_read_index);
}

/* End those of LIST that are too old; the time that the oldest of the rest has left, or 0. */
static uint64_t expire(struct query *query, struct queue *list, uint64_t now)
{
    while (!queue_empty(list)) {
        struct read_op *oldest = op_of(list->next);
        uint64_t limit = oldest->started_ms + query->timeout_ms;
        if (limit > now) {
            return limit - now;
        }
        finish(query, oldest, ERR_TIMEOUT);
    }
    return 0;
}

static void on_timer(struct env_timer *timer)
{
    struct query *query = CONTAINER_OF(timer, struct query, timer);
    uint64_t now = env_now_ms(query->env);
    uint64_t asked = expire(query, &query->asked, now);
    uint64_t waiting = expire(query, &query->waiting, now);
    uint64_t next = asked == 0 || (waiting != 0 && waiting < asked) ? waiting : asked;
    if (next != 0) {
        env_timer_start(query->env, &query->timer, next);
    }
}

void query_init(struct query *query, struct env *env, struct node *node, uint64_t timeout_ms)
{
    *query = (struct query){.env = env, .node = node, .timeout_ms = timeout_ms};
    queue_init(&query->asked);
    queue_init(&query->waiting);
    queue_init(&query->finished);
    env_timer_init(&query->timer, on_timer);
    env_task_init(&query->finish, PHASE_APPLY, on_finish);
}

void query_fini(struct query *query)
{
    ASSERT(queue_empty(&query->asked));
    ASSERT(queue_empty(&query->waiting));
    ASSERT(queue_empty(&query->finished));
    env_timer_stop(query->env, &query->timer);
    env_task_cancel(&query->finish);
}

void query_start(struct query *query, struct read_op *op,
                 void (*cb)(struct read_op *op, enum err status))
{
    op->cb = cb;
    op->query = query;
    op->started_ms = env_now_ms(query->env);
    queue_init(&op->link);
    if (!env_timer_active(&query->timer)) {
        env_timer_start(query->env, &query->timer, query->timeout_ms);
    }
    ask(query, op);
}

void query_cancel(struct query *query, struct read_op *op)
{
    if (op->state == READ_ASKED) {
        node_read_index_cancel(query->node, &op->request);
    }
    op->state = READ_IDLE;
    queue_remove(&op->link);
}

void query_kick(struct query *query)
{
    struct queue again;
    queue_init(&again);
    queue_splice(&again, &query->waiting);
    struct queue *link;
    while ((link = queue_pop_front(&again)) != NULL) {
        ask(query, op_of(link));
    }
}

void query_finish_all(struct query *query, enum err status)
{
    while (!queue_empty(&query->asked)) {
        finish(query, op_of(query->asked.next), status);
    }
    while (!queue_empty(&query->waiting)) {
        finish(query, op_of(query->waiting.next), status);
    }
    run_finished(query);
}
