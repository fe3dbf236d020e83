/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/turn.h"

#include "base/assert.h"
#include "storage/store_private.h"

static void on_timer(struct env_timer *timer)
{
    struct store *store = CONTAINER_OF(timer, struct store, turn.timer);
    turn_end(&store->turn, store);
}

void turn_init(struct turn *turn)
{
    *turn = (struct turn){.fn = NULL};
    env_timer_init(&turn->timer, on_timer);
    queue_init(&turn->waits);
}

void turn_stop(struct turn *turn, struct store *store)
{
    ASSERT(queue_empty(&turn->waits));
    turn->fn = NULL;
    turn_end(turn, store);
}

void turn_begin(struct turn *turn, struct store *store)
{
    unsigned before = turn->fn != NULL ? turn->fn(turn->ctx) : 0;
    if (turn->waiting || before == 0 || store->replace != NULL) {
        return;
    }
    turn->waiting = true;
    store_pin(store, &turn->pin);
    env_timer_start(store->env, &turn->timer, before * store_size_bytes(store) / TURN_RATE_BYTES);
}

void turn_wait(struct turn *turn, struct store_wait *wait, void (*cb)(struct store_wait *wait))
{
    if (!turn->waiting) {
        cb(wait);
        return;
    }
    wait->cb = cb;
    queue_push_back(&turn->waits, &wait->link);
}

void turn_end(struct turn *turn, struct store *store)
{
    if (!turn->waiting) {
        return;
    }
    turn->waiting = false;
    env_timer_stop(store->env, &turn->timer);
    struct queue waits;
    queue_init(&waits);
    queue_splice(&waits, &turn->waits);
    struct queue *link;
    while ((link = queue_pop_front(&waits)) != NULL) {
        struct store_wait *wait = QUEUE_ELEM(link, struct store_wait, link);
        wait->cb(wait);
    }
    store_unpin(store, &turn->pin);
}

void store_set_turn(struct store *store, unsigned (*fn)(void *ctx), void *ctx)
{
    store->turn.fn = fn;
    store->turn.ctx = ctx;
}
