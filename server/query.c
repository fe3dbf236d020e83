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

/* It waits no longer, wherever it did. */
static void forget(struct query *query, struct read_op *op)
{
    if (op->state == READ_ASKED) {
        node_read_index_cancel(query->node, &op->request);
    }
    queue_remove(&op->link);
    queue_remove(&op->age);
    op->state = READ_IDLE;
}

/* The status waits in the request's index, which nobody reads any more. */
static void finish(struct query *query, struct read_op *op, enum err status)
{
    forget(query, op);
    op->request.index = status;
    if (status != OK) {
        query->failed_total++;
    }
    queue_push_back(&query->finished, &op->link);
    env_defer(query->env, &query->finish);
}

static void on_read_index(struct read_index *request, enum err status, uint64_t index);

static void ask(struct query *query, struct read_op *op)
{
    op->state = READ_ASKED;
    node_read_index(query->node, &op->request, on_read_index);
}

static void wait_for_leader(struct query *query, struct read_op *op)
{
    op->state = READ_WAITING;
    queue_push_back(&query->waiting, &op->link);
}

static void on_read_index(struct read_index *request, enum err status, uint64_t index)
{
    (void)index;
    struct read_op *op = CONTAINER_OF(request, struct read_op, request);
    struct query *query = op->query;
    if (status == ERR_NO_LEADER && node_leader(query->node) != 0) {
        ask(query, op); /* one was found meanwhile: query_kick has been */
        return;
    }
    if (status == ERR_NO_LEADER) {
        wait_for_leader(query, op);
        return;
    }
    op->state = READ_IDLE;
    forget(query, op);
    if (status != OK) {
        query->failed_total++;
    }
    op->cb(op, status);
}

static void on_timer(struct env_timer *timer)
{
    struct query *query = CONTAINER_OF(timer, struct query, timer);
    uint64_t now = env_now_ms(query->env);
    while (!queue_empty(&query->unanswered)) {
        struct read_op *oldest = QUEUE_ELEM(query->unanswered.next, struct read_op, age);
        uint64_t limit = oldest->started_ms + query->timeout_ms;
        if (limit > now) {
            env_timer_start(query->env, &query->timer, limit - now);
            return;
        }
        finish(query, oldest, ERR_TIMEOUT);
    }
}

void query_init(struct query *query, struct env *env, struct node *node, uint64_t timeout_ms)
{
    *query = (struct query){.env = env, .node = node, .timeout_ms = timeout_ms};
    queue_init(&query->unanswered);
    queue_init(&query->waiting);
    queue_init(&query->finished);
    env_timer_init(&query->timer, on_timer);
    env_task_init(&query->finish, PHASE_APPLY, on_finish);
}

void query_fini(struct query *query)
{
    ASSERT(queue_empty(&query->unanswered));
    ASSERT(queue_empty(&query->waiting));
    ASSERT(queue_empty(&query->finished));
    env_timer_stop(query->env, &query->timer);
    env_task_cancel(&query->finish);
}

static void init_op(struct query *query, struct read_op *op,
                    void (*cb)(struct read_op *op, enum err status))
{
    op->cb = cb;
    op->query = query;
    op->started_ms = env_now_ms(query->env);
    op->state = READ_IDLE;
    queue_init(&op->link);
    queue_init(&op->age);
}

void query_start(struct query *query, struct read_op *op,
                 void (*cb)(struct read_op *op, enum err status))
{
    init_op(query, op, cb);
    queue_push_back(&query->unanswered, &op->age);
    if (!env_timer_active(&query->timer)) {
        env_timer_start(query->env, &query->timer, query->timeout_ms);
    }
    ask(query, op);
}

void query_refuse(struct query *query, struct read_op *op,
                  void (*cb)(struct read_op *op, enum err status), enum err status)
{
    init_op(query, op, cb);
    finish(query, op, status);
}

void query_cancel(struct query *query, struct read_op *op)
{
    forget(query, op);
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
    while (!queue_empty(&query->unanswered)) {
        finish(query, QUEUE_ELEM(query->unanswered.next, struct read_op, age), status);
    }
    run_finished(query);
}
