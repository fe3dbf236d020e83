/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store_private.h"

/* What the store does when nobody asks: it lets the ring shrink and removes from the index what
 * compactions have made invisible, a slice per turn of the loop; and it tells who waits for a
 * commit, a sync or the end of a compaction.
 *
 * A compaction is complete for every reader at once: reads below it are refused, and entries only
 * drop what nobody at or above it sees. So removal may lag behind, and does while somebody who
 * began earlier still reads (a pin). */
#define SLICE_KEYS    1024u
#define SLICE_RECORDS 1024u

/* ---- pins ---- */

void store_pin(struct store *store, struct store_pin *pin)
{
    pin->compacted_revision = store->state.compacted_revision;
    queue_push_back(&store->pins, &pin->link);
    backend_pin(store->backend, &pin->backend, pin->compacted_revision);
}

void store_unpin(struct store *store, struct store_pin *pin)
{
    backend_unpin(store->backend, &pin->backend);
    queue_remove(&pin->link);
    replace_on_unpin(store);
    upkeep_wake(store);
}

/* How far the index may be compacted: not beyond what the oldest reader began with. */
static int64_t index_target(const struct store *store)
{
    if (queue_empty(&store->pins)) {
        return store->state.compacted_revision;
    }
    return QUEUE_ELEM(store->pins.next, struct store_pin, link)->compacted_revision;
}

/* ---- waiting ---- */

/* Call back those at the front whose time has come: targets ascend. A callback may cancel others.
 */
static void call_waits(struct queue *waits, uint64_t reached)
{
    while (!queue_empty(waits)) {
        struct store_wait *wait = QUEUE_ELEM(waits->next, struct store_wait, link);
        if (wait->target > reached) {
            return;
        }
        queue_remove(&wait->link);
        wait->cb(wait);
    }
}

/* How far compactions are gone from index and disk, as a target: -1 is the least. */
static uint64_t compactions_done(const struct store *store)
{
    int64_t removed = backend_removed_revision(store->backend);
    return (uint64_t)((store->index_compacted < removed ? store->index_compacted : removed) + 1);
}

static void call_all_waits(struct store *store)
{
    call_waits(&store->compact_waits, compactions_done(store));
    call_waits(&store->durable_waits, backend_durable_index(store->backend));
    call_waits(&store->commit_waits, (uint64_t)store->committed_revision);
}

/* Behind those that wait for less, or for the same. */
static void add_wait(struct store *store, struct queue *waits, struct store_wait *wait,
                     uint64_t target, void (*cb)(struct store_wait *wait))
{
    wait->target = target;
    wait->cb = cb;
    struct queue *before = waits->prev;
    while (before != waits && QUEUE_ELEM(before, struct store_wait, link)->target > wait->target) {
        before = before->prev;
    }
    queue_push_front(before, &wait->link);
    store->waits_came = true; /* perhaps its time has come already */
    outbox_hurry(&store->outbox);
    upkeep_wake(store);
}

void store_compact_wait(struct store *store, struct store_wait *wait,
                        void (*cb)(struct store_wait *wait))
{
    uint64_t target = (uint64_t)(store->state.compacted_revision + 1);
    add_wait(store, &store->compact_waits, wait, target, cb);
    turn_end(&store->turn, store);
}

void store_durable_wait(struct store *store, struct store_wait *wait, uint64_t index,
                        void (*cb)(struct store_wait *wait))
{
    add_wait(store, &store->durable_waits, wait, index, cb);
}

void upkeep_commit_wait(struct store *store, struct store_wait *wait, int64_t revision,
                        void (*cb)(struct store_wait *wait))
{
    add_wait(store, &store->commit_waits, wait, (uint64_t)revision, cb);
}

void store_wait_cancel(struct store_wait *wait)
{
    queue_remove(&wait->link);
}

void upkeep_on_commit(struct store *store, const struct backend_state *state)
{
    ring_commit(&store->ring, revision_pack(state->revision, REVISION_SUB_MAX));
    store->committed_revision = state->revision;
    upkeep_wake(store);
    call_waits(&store->commit_waits, (uint64_t)state->revision);
    if (store->on_commit != NULL && !store->closing) {
        store->on_commit(store->on_commit_ctx);
    }
}

void upkeep_on_durable(struct store *store, uint64_t durable_index)
{
    outbox_durable(&store->outbox, durable_index);
    call_waits(&store->durable_waits, durable_index);
}

void upkeep_replaced(struct store *store)
{
    store->committed_revision = store->state.revision;
    store->index_compacted = -1;
    store->waits_came = true;
    upkeep_wake(store);
}

void upkeep_on_compacted(struct store *store)
{
    call_waits(&store->compact_waits, compactions_done(store));
}

/* ---- slices ---- */

static bool has_work(const struct store *store)
{
    return store->waits_came || store->ring.kept_bytes > store->ring.keep_bytes ||
           store->index_compacted < index_target(store);
}

static void on_timer(struct env_timer *timer)
{
    struct store *store = CONTAINER_OF(timer, struct store, upkeep_timer);
    (void)ring_trim(&store->ring, SLICE_RECORDS);
    store->waits_came = false;
    int64_t target = index_target(store);
    if (store->index_compacted < target && keyindex_compact(store->index, target, SLICE_KEYS)) {
        store->index_compacted = target;
    }
    call_all_waits(store);
    upkeep_wake(store);
}

void upkeep_wake(struct store *store)
{
    if (!store->closing && !env_timer_active(&store->upkeep_timer) && has_work(store)) {
        env_timer_start(store->env, &store->upkeep_timer, 0);
    }
}

void upkeep_init(struct store *store)
{
    env_timer_init(&store->upkeep_timer, on_timer);
    queue_init(&store->pins);
    queue_init(&store->compact_waits);
    queue_init(&store->durable_waits);
    queue_init(&store->commit_waits);
    store->index_compacted = -1;
}

static void forget_waits(struct queue *waits)
{
    while (queue_pop_front(waits) != NULL) {
    }
}

void upkeep_fini(struct store *store)
{
    ASSERT(queue_empty(&store->pins));
    env_timer_stop(store->env, &store->upkeep_timer);
    call_waits(&store->commit_waits, (uint64_t)store->committed_revision);
    forget_waits(&store->compact_waits);
    forget_waits(&store->durable_waits);
    forget_waits(&store->commit_waits);
}
