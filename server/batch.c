/* SPDX-License-Identifier: Apache-2.0 */
#include "server/batch.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/plant.h"
#include "base/trace.h"
#include "server/forward.h"

#define RETRY_MS       10
#define KEEP_BYTES     (2 * BATCH_BYTES_MAX) /* memory that an empty batch keeps */
#define ENTRY_HEAD_MAX 16                    /* version and wall clock */

/* One entry on its way. */
struct batch_proposal {
    struct proposal proposal;
    struct batch *batch;
    struct blob *entry;
    size_t commands_offset; /* of the first command in the entry */
};

static void seal(struct batch *batch);

static void on_seal(struct env_task *task)
{
    seal(CONTAINER_OF(task, struct batch, seal));
}

static void on_retry(struct env_timer *timer)
{
    batch_kick(CONTAINER_OF(timer, struct batch, retry));
}

void batch_init(struct batch *batch, struct env *env, struct logger *log, struct node *node,
                bool (*wanted)(void *ctx, uint64_t number), void *ctx)
{
    *batch = (struct batch){.env = env, .log = log, .node = node, .wanted = wanted, .ctx = ctx};
    env_task_init(&batch->seal, PHASE_BATCH, on_seal);
    env_timer_init(&batch->retry, on_retry);
}

void batch_fini(struct batch *batch)
{
    for (size_t i = 0; i < BATCHES_IN_FLIGHT_MAX; i++) {
        ASSERT(batch->in_flight[i] == NULL);
    }
    env_task_cancel(&batch->seal);
    env_timer_stop(batch->env, &batch->retry);
    buf_fini(&batch->open);
}

/* The commands that wait. */
static struct bytes open_commands(const struct batch *batch)
{
    return bytes_of(batch->open.data + batch->open_done, batch->open.len - batch->open_done);
}

bool batch_has_room(const struct batch *batch, size_t size)
{
    return batch->open_count < PENDING_COMMANDS_MAX && size <= PENDING_BYTES_MAX &&
           open_commands(batch).len <= PENDING_BYTES_MAX - size;
}

/* After an append of COUNT commands: all of it or nothing. */
static bool added(struct batch *batch, size_t len_before, size_t count)
{
    if (!buf_ok(&batch->open)) {
        batch->open.failed = false;
        batch->open.len = len_before;
        return false;
    }
    batch->open_count += count;
    if (!env_timer_active(&batch->retry)) {
        env_defer(batch->env, &batch->seal);
    }
    return true;
}

/* A request within its limit may be larger as a command: a transaction of hundreds of thousands of
 * small operations. */
enum err batch_add(struct batch *batch, struct command_origin origin, const struct command *command)
{
    size_t before = batch->open.len;
    command_encode(&batch->open, origin, command);
    if (buf_ok(&batch->open) && batch->open.len - before > ENTRY_BYTES_MAX - ENTRY_HEAD_MAX) {
        batch->open.len = before;
        return ERR_TOO_LARGE;
    }
    return added(batch, before, 1) ? OK : ERR_NOMEM;
}

bool batch_add_encoded(struct batch *batch, struct bytes commands, size_t count)
{
    size_t before = batch->open.len;
    buf_append_bytes(&batch->open, commands);
    return added(batch, before, count);
}

void batch_kick(struct batch *batch)
{
    if (batch->open_count > 0 && !batch->closed) {
        env_timer_stop(batch->env, &batch->retry);
        env_defer(batch->env, &batch->seal);
    }
}

static void retry_later(struct batch *batch)
{
    if (!env_timer_active(&batch->retry)) {
        env_timer_start(batch->env, &batch->retry, RETRY_MS);
    }
}

/* Not at once: a transfer of leadership also ends so, and two members that each take the other for
 * the leader would play ball. */
void batch_put_back(struct batch *batch, struct bytes commands)
{
    retry_later(batch);
    struct reader r = reader_of(commands);
    while (reader_left(&r) > 0) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        enum err err = command_skip(&r, &kind, &origin, &whole);
        ASSERT(err == OK); /* checked when they came in */
        if (origin.member_id != node_id(batch->node)) {
            (void)forward_send(batch->node, origin.member_id, FORWARD_NOT_LEADER, whole);
        } else if (batch->wanted(batch->ctx, origin.op) && batch_has_room(batch, whole.len)) {
            (void)batch_add_encoded(batch, whole, 1);
        }
    }
}

/* The first commands of the open batch that fit into one entry or frame: their size and count. */
static size_t first_part(const struct batch *batch, size_t *count)
{
    struct bytes commands = open_commands(batch);
    if (commands.len <= BATCH_BYTES_MAX && batch->open_count <= BATCH_COMMANDS_MAX) {
        *count = batch->open_count;
        return commands.len;
    }
    struct reader r = reader_of(commands);
    size_t size = 0;
    size_t taken = 0;
    while (reader_left(&r) > 0 && taken < BATCH_COMMANDS_MAX) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        enum err err = command_skip(&r, &kind, &origin, &whole);
        ASSERT(err == OK);
        if (taken > 0 && size + whole.len > BATCH_BYTES_MAX) {
            break;
        }
        size += whole.len;
        taken++;
    }
    *count = taken;
    return size;
}

/* What is left moves up only when it is the smaller half: a long queue is not moved with each entry
 * that it gives. */
static void drop_first(struct batch *batch, size_t size, size_t count)
{
    batch->open_count -= count;
    batch->open_done += size;
    if (batch->open_done == batch->open.len && batch->open.cap > KEEP_BYTES) {
        buf_fini(&batch->open);
        batch->open_done = 0;
    } else if (batch->open_done > batch->open.len / 2) {
        buf_consume(&batch->open, batch->open_done);
        batch->open_done = 0;
    }
}

static void on_proposed(struct proposal *proposal, enum err status)
{
    struct batch_proposal *sent = CONTAINER_OF(proposal, struct batch_proposal, proposal);
    struct batch *batch = sent->batch;
    for (size_t i = 0; i < BATCHES_IN_FLIGHT_MAX; i++) {
        if (batch->in_flight[i] == sent) {
            batch->in_flight[i] = NULL;
        }
    }
    if (status != OK) {
        TRACE(batch->env, "batch: proposal failed, index", status, proposal->index);
        batch->failed_total++;
    }
    bool again = status == ERR_NOT_LEADER || (status != OK && PLANTED(RETRY_UNKNOWN));
    if (again && !batch->closed) {
        batch_put_back(batch, bytes_of(sent->entry->data + sent->commands_offset,
                                       sent->entry->len - sent->commands_offset));
    } else if (batch->open_count > 0 && !batch->closed) {
        env_defer(batch->env, &batch->seal);
    }
    blob_unref(sent->entry);
    free(sent);
}

static struct batch_proposal *make_proposal(struct batch *batch, size_t size)
{
    struct batch_proposal *sent = calloc(1, sizeof *sent);
    if (sent == NULL) {
        return NULL;
    }
    uint8_t head_memory[ENTRY_HEAD_MAX];
    struct buf head = {.data = head_memory, .cap = sizeof head_memory};
    entry_encode_head(&head, env_wall_ms(batch->env));
    ASSERT(head.data == head_memory);
    sent->entry = blob_new(head.len + size);
    if (sent->entry == NULL) {
        free(sent);
        return NULL;
    }
    memcpy(sent->entry->data, head.data, head.len);
    memcpy(sent->entry->data + head.len, open_commands(batch).data, size);
    sent->commands_offset = head.len;
    sent->batch = batch;
    return sent;
}

/* Propose what fits in one entry; false: not now. */
static bool propose_first(struct batch *batch)
{
    size_t slot = 0;
    while (slot < BATCHES_IN_FLIGHT_MAX && batch->in_flight[slot] != NULL) {
        slot++;
    }
    if (slot == BATCHES_IN_FLIGHT_MAX) {
        return false; /* on_proposed seals again */
    }
    size_t count;
    size_t size = first_part(batch, &count);
    struct batch_proposal *sent = make_proposal(batch, size);
    if (sent == NULL) {
        retry_later(batch);
        return false;
    }
    TRACE(batch->env, "batch: propose commands, bytes", count, size);
    drop_first(batch, size, count);
    batch->in_flight[slot] = sent;
    node_propose(batch->node, &sent->proposal, sent->entry, on_proposed);
    return true;
}

static bool forward_first(struct batch *batch, uint64_t leader_id)
{
    size_t count;
    size_t size = first_part(batch, &count);
    struct bytes commands = bytes_of(open_commands(batch).data, size);
    if (!forward_send(batch->node, leader_id, FORWARD_COMMANDS, commands)) {
        retry_later(batch);
        return false;
    }
    if (PLANTED_EVERY(FORWARD_TWICE, 16)) {
        (void)forward_send(batch->node, leader_id, FORWARD_COMMANDS, commands);
    }
    drop_first(batch, size, count);
    return true;
}

static void seal(struct batch *batch)
{
    bool more = true;
    while (batch->open_count > 0 && more && !batch->closed) {
        uint64_t leader_id = node_leader(batch->node);
        if (node_role(batch->node) == NODE_LEADER) {
            more = propose_first(batch);
        } else if (leader_id != 0 && leader_id != node_id(batch->node)) {
            more = forward_first(batch, leader_id);
        } else {
            more = false; /* batch_kick when somebody leads */
        }
    }
}
