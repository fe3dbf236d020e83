/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/outbox.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"

/* What is collected here is committed by the cluster already: without memory for it this member
 * ends, and begins again from its log. */
static void *must(void *memory)
{
    if (memory == NULL) {
        fatal("storage: no memory for a committed entry");
    }
    return memory;
}

static struct outbox_batch *batch_new(struct outbox *outbox)
{
    struct queue *link = queue_pop_front(&outbox->spare);
    if (link != NULL) {
        outbox->spare_count--;
        return QUEUE_ELEM(link, struct outbox_batch, link);
    }
    struct outbox_batch *batch = must(calloc(1, sizeof *batch));
    queue_init(&batch->link);
    batch->outbox = outbox;
    return batch;
}

static void batch_free(struct outbox_batch *batch)
{
    arena_fini(&batch->arena);
    free(batch->records);
    free(batch->changes);
    free(batch);
}

static void batch_recycle(struct outbox_batch *batch)
{
    struct outbox *outbox = batch->outbox;
    if (outbox->spare_count == OUTBOX_SPARE_MAX) {
        batch_free(batch);
        return;
    }
    outbox->spare_count++;
    arena_reset(&batch->arena);
    batch->entry_count = 0;
    batch->write = (struct backend_batch){.status = OK};
    queue_push_back(&outbox->spare, &batch->link);
}

static void free_batches(struct queue *batches)
{
    struct queue *link;
    while ((link = queue_pop_front(batches)) != NULL) {
        batch_free(QUEUE_ELEM(link, struct outbox_batch, link));
    }
}

static void submit(struct outbox *outbox);

static void on_written(struct backend_batch *write)
{
    struct outbox_batch *batch = CONTAINER_OF(write, struct outbox_batch, write);
    struct outbox *outbox = batch->outbox;
    ASSERT(outbox->out_count > 0);
    outbox->out_count--;
    for (size_t i = 0; i < write->change_count; i++) {
        outbox->table_bytes -= write->changes[i].key.len + write->changes[i].value.len;
    }
    if (write->status == OK) {
        struct outbox_state *committed = must(malloc(sizeof *committed));
        committed->state = write->state;
        queue_push_back(&outbox->states, &committed->link);
        outbox->on_commit(outbox->ctx, &committed->state);
    } else {
        ASSERT(write->status == ERR_NO_SPACE); /* closing on a full disk: the Raft log has it */
    }
    batch_recycle(batch);
    submit(outbox);
}

static void seal(struct outbox *outbox)
{
    struct outbox_batch *batch = outbox->open;
    batch->write.records = batch->records;
    batch->write.changes = batch->changes;
    queue_push_back(&outbox->sealed, &batch->link);
    outbox->open = batch_new(outbox);
    outbox->hurry = false;
    env_timer_stop(outbox->env, &outbox->timer);
}

static void write_sealed(struct outbox *outbox)
{
    struct queue *link = queue_pop_front(&outbox->sealed);
    outbox->out_count++;
    backend_write(outbox->backend, &QUEUE_ELEM(link, struct outbox_batch, link)->write, on_written);
}

/* May what is open go out now? When it should collect, its time begins. */
static bool is_due(struct outbox *outbox)
{
    if (outbox->open->entry_count == 0) {
        outbox->hurry = false;
        return false;
    }
    if (outbox->in_entry) {
        return false;
    }
    if (outbox->hurry || outbox->open->write.size_bytes >= OUTBOX_EAGER_BYTES) {
        return true;
    }
    if (!env_timer_active(&outbox->timer)) {
        env_timer_start(outbox->env, &outbox->timer, OUTBOX_DELAY_MS);
    }
    return false;
}

/* Give the backend what it has room for: sealed batches first, then what is open. */
static void submit(struct outbox *outbox)
{
    while (outbox->out_count < OUTBOX_OUT_MAX && !outbox->held) {
        if (queue_empty(&outbox->sealed)) {
            if (!is_due(outbox)) {
                return;
            }
            seal(outbox);
        }
        write_sealed(outbox);
    }
}

void outbox_hurry(struct outbox *outbox)
{
    outbox->hurry = true;
    env_defer(outbox->env, &outbox->task);
}

static void on_timer(struct env_timer *timer)
{
    outbox_hurry(CONTAINER_OF(timer, struct outbox, timer));
}

static void on_turn_end(struct env_task *task)
{
    submit(CONTAINER_OF(task, struct outbox, task));
}

void outbox_init(struct outbox *outbox, struct env *env, struct backend *backend,
                 const struct backend_state *state,
                 void (*on_commit)(void *ctx, const struct backend_state *state), void *ctx)
{
    *outbox = (struct outbox){
        .env = env, .backend = backend, .durable = *state, .on_commit = on_commit, .ctx = ctx};
    env_task_init(&outbox->task, PHASE_PUBLISH, on_turn_end);
    env_timer_init(&outbox->timer, on_timer);
    queue_init(&outbox->sealed);
    queue_init(&outbox->spare);
    queue_init(&outbox->states);
    outbox->open = batch_new(outbox);
}

void outbox_flush(struct outbox *outbox)
{
    ASSERT(!outbox->in_entry);
    env_task_cancel(&outbox->task);
    env_timer_stop(outbox->env, &outbox->timer);
    if (outbox->open->entry_count > 0) {
        seal(outbox);
    }
    while (!queue_empty(&outbox->sealed)) {
        write_sealed(outbox);
    }
}

void outbox_hold(struct outbox *outbox)
{
    outbox->held = true;
}

void outbox_release(struct outbox *outbox)
{
    outbox->held = false;
    env_defer(outbox->env, &outbox->task);
}

static void forget_states(struct outbox *outbox)
{
    struct queue *link;
    while ((link = queue_pop_front(&outbox->states)) != NULL) {
        free(QUEUE_ELEM(link, struct outbox_state, link));
    }
}

void outbox_reset(struct outbox *outbox, const struct backend_state *state)
{
    ASSERT(!outbox->in_entry && outbox->out_count == 0);
    free_batches(&outbox->sealed);
    batch_free(outbox->open);
    outbox->open = batch_new(outbox);
    outbox->hurry = false;
    outbox->table_bytes = 0;
    forget_states(outbox);
    outbox->durable = *state;
}

void outbox_fini(struct outbox *outbox)
{
    if (outbox->open == NULL) {
        return; /* never opened */
    }
    ASSERT(outbox->out_count == 0 && queue_empty(&outbox->sealed));
    env_task_cancel(&outbox->task);
    env_timer_stop(outbox->env, &outbox->timer);
    batch_free(outbox->open);
    free_batches(&outbox->spare);
    forget_states(outbox);
}

void outbox_entry_begin(struct outbox *outbox)
{
    ASSERT(!outbox->in_entry);
    outbox->in_entry = true;
}

void outbox_add_record(struct outbox *outbox, struct record *record)
{
    struct outbox_batch *batch = outbox->open;
    ASSERT(outbox->in_entry);
    if (!ARRAY_MAKE_ROOM(batch->records, batch->write.record_count, batch->record_cap, 64)) {
        must(NULL);
    }
    batch->records[batch->write.record_count++] = record;
    batch->write.size_bytes += record_size(record);
}

void outbox_add_change(struct outbox *outbox, const struct backend_change *change)
{
    struct outbox_batch *batch = outbox->open;
    ASSERT(outbox->in_entry);
    struct backend_change copy = *change;
    if (!arena_copy(&batch->arena, change->key, &copy.key) ||
        !arena_copy(&batch->arena, change->value, &copy.value) ||
        !ARRAY_MAKE_ROOM(batch->changes, batch->write.change_count, batch->change_cap, 64)) {
        must(NULL);
    }
    batch->changes[batch->write.change_count++] = copy;
    batch->write.size_bytes += copy.key.len + copy.value.len;
    outbox->table_bytes += copy.key.len + copy.value.len;
}

void outbox_entry_end(struct outbox *outbox, const struct backend_state *state)
{
    ASSERT(outbox->in_entry);
    outbox->in_entry = false;
    outbox->open->write.state = *state;
    outbox->open->entry_count++;
    if (outbox->open->write.size_bytes >= OUTBOX_BATCH_BYTES) {
        seal(outbox);
    }
    env_defer(outbox->env, &outbox->task);
}

void outbox_durable(struct outbox *outbox, uint64_t durable_index)
{
    while (!queue_empty(&outbox->states)) {
        struct outbox_state *oldest = QUEUE_ELEM(outbox->states.next, struct outbox_state, link);
        if (oldest->state.applied_index > durable_index) {
            return;
        }
        outbox->durable = oldest->state;
        queue_remove(&oldest->link);
        free(oldest);
    }
}
