/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/replace.h"

#include <stdlib.h>

#include "storage/store_private.h"
#include "storage/tables.h"

struct replace {
    struct store *store;
    const struct store_replace_helper *helper; /* or NULL */
    struct store_replace_request *request;     /* NULL: it was called back */
    struct backend_takeover takeover;
    struct queue held; /* struct store_wait.link */
    bool holding;      /* reads that take several turns wait */
    bool going;        /* the backend is at it */
    struct env_timer timer;
};

bool replace_holds(struct store *store, struct store_wait *wait,
                   void (*cb)(struct store_wait *wait))
{
    if (store->replace == NULL || !store->replace->holding) {
        return false;
    }
    wait->store = store;
    wait->cb = cb;
    queue_push_back(&store->replace->held, &wait->link);
    return true;
}

/* Reads that waited begin. */
static void release(struct replace *replace)
{
    replace->holding = false;
    struct queue held;
    queue_init(&held);
    queue_splice(&held, &replace->held);
    struct queue *link;
    while ((link = queue_pop_front(&held)) != NULL) {
        struct store_wait *wait = QUEUE_ELEM(link, struct store_wait, link);
        wait->cb(wait);
    }
}

static void call_back(struct replace *replace, enum err status)
{
    struct store_replace_request *request = TAKE(replace->request);
    request->status = status;
    request->why = replace->takeover.copy.why;
    request->private_state = NULL;
    request->cb(request);
}

/* ---- what the backend tells ---- */

/* The last of those that began before has ended? */
static void go_when_quiet(struct replace *replace)
{
    struct store *store = replace->store;
    if (replace->going || !queue_empty(&store->pins)) {
        return;
    }
    if (store->outbox.out_count > 0 && !backend_is_full(store->backend)) {
        outbox_hold(&store->outbox);
        env_timer_start(store->env, &replace->timer, 1);
        return;
    }
    replace->going = true;
    outbox_hold(&store->outbox);
    backend_takeover_go(store->backend);
}

static void on_timer(struct env_timer *timer)
{
    go_when_quiet(CONTAINER_OF(timer, struct replace, timer));
}

void replace_on_unpin(struct store *store)
{
    struct replace *replace = store->replace;
    if (replace != NULL && replace->holding && !replace->going && !store->closing &&
        !env_timer_active(&replace->timer)) {
        env_timer_start(store->env, &replace->timer, 0);
    }
}

/* ---- reading it before ---- */

struct store_reading {
    struct conn *conn;
    struct backend_takeover *takeover;
};

enum err store_reading_table(struct store_reading *reading, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    return tables_foreach(reading->conn, table, fn, ctx, NULL, why);
}

enum err store_reading_leases(struct store_reading *reading,
                              enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    const struct backend_takeover *takeover = reading->takeover;
    enum err err = OK;
    for (size_t i = 0; i < takeover->lease_count && err == OK; i++) {
        err = fn(ctx, keyload_lease_key(&takeover->leases[i]), takeover->leases[i].lease);
    }
    return err;
}

/* Thread: copy. */
static enum err on_prepare(struct backend_takeover *takeover, struct conn *conn, struct why *why)
{
    const struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    struct store_reading reading = {.conn = conn, .takeover = takeover};
    if (replace->helper == NULL) {
        return OK;
    }
    TRY(replace->helper->prepare(replace->helper->ctx, &reading, why));
    free(TAKE(takeover->leases)); /* nobody asks for them any more */
    takeover->lease_count = 0;
    return OK;
}

/* Thread: copy. */
static void on_dispose(struct backend_takeover *takeover)
{
    const struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    if (replace->helper != NULL) {
        replace->helper->dispose(replace->helper->ctx);
    }
}

/* ---- the switch ---- */

static void on_checked(struct backend_takeover *takeover)
{
    struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    replace->holding = true;
    turn_end(&replace->store->turn, replace->store);
    go_when_quiet(replace);
}

static bool on_still(struct backend_takeover *takeover)
{
    struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    return replace->store->state.applied_index < takeover->want.applied_index;
}

/* The insides of the new state. */
static void on_switched(struct backend_takeover *takeover)
{
    struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    struct store *store = replace->store;
    ASSERT(!store->operation.open && queue_empty(&store->pins));
    takeover->old_index = store->index;
    store->index = TAKE(takeover->index);
    free(store->leases);
    store->leases = TAKE(takeover->leases);
    store->lease_count = takeover->lease_count;
    store->state = takeover->state;
    store->damage.text[0] = '\0'; /* it was in what is gone */
    if (store->state.revision == 0) {
        store->state.revision = 1; /* of an empty store */
    }
    size_t keep_bytes = store->ring.keep_bytes;
    ring_fini(&store->ring);
    ring_init(&store->ring, keep_bytes, revision_pack(store->state.revision, REVISION_SUB_MAX));
    valuecache_fini(&store->cache);
    valuecache_init(&store->cache, env_hash_seed(store->env), VALUE_CACHE_BYTES);
    ASSERT(queue_empty(&store->hashmemory.pending));
    store->hashmemory.count = 0;
    outbox_reset(&store->outbox, &store->state);
    upkeep_replaced(store);
}

static void on_settled(struct backend_takeover *takeover)
{
    struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    outbox_release(&replace->store->outbox);
    call_back(replace, OK);
    release(replace);
}

/* The request ends; when it has succeeded, only the old things have been freed. */
static void on_ended(struct backend_copy *copy)
{
    struct backend_takeover *takeover = CONTAINER_OF(copy, struct backend_takeover, copy);
    struct replace *replace = CONTAINER_OF(takeover, struct replace, takeover);
    struct store *store = replace->store;
    env_timer_stop(store->env, &replace->timer);
    store->replace = NULL;
    if (replace->request != NULL) {
        outbox_release(&store->outbox);
        struct replace ended = *replace; /* reads that begin see that nothing holds them */
        queue_init(&ended.held);
        queue_splice(&ended.held, &replace->held);
        release(&ended);
        call_back(replace, copy->status);
    }
    free(replace);
}

/* ---- the door ---- */

/* There was no memory to begin with, or one is under way. */
static void on_refused(struct store_wait *wait)
{
    struct store_replace_request *request =
        CONTAINER_OF(wait, struct store_replace_request, refused);
    request->cb(request);
}

void store_replace_start(struct store *store, struct store_replace_request *request,
                         void (*cb)(struct store_replace_request *request))
{
    struct replace *replace = store->replace == NULL ? calloc(1, sizeof *replace) : NULL;
    request->cb = cb;
    request->private_state = replace;
    if (replace == NULL) {
        request->status = store->replace == NULL ? ERR_NOMEM : ERR_TOO_MANY_REQUESTS;
        upkeep_commit_wait(store, &request->refused, 0, on_refused);
        return;
    }
    replace->store = store;
    replace->request = request;
    replace->helper = request->helper;
    queue_init(&replace->held);
    env_timer_init(&replace->timer, on_timer);
    replace->takeover = (struct backend_takeover){
        .copy = {.path = request->path},
        .want = request->manifest,
        .prepare = on_prepare,
        .dispose = on_dispose,
        .checked = on_checked,
        .still = on_still,
        .switched = on_switched,
        .settled = on_settled,
    };
    store->replace = replace;
    backend_take_over(store->backend, &replace->takeover, on_ended);
}

void replace_stop(struct store *store)
{
    struct replace *replace = store->replace;
    if (replace == NULL) {
        return;
    }
    env_timer_stop(store->env, &replace->timer);
    outbox_release(&store->outbox);
    release(replace);
    if (replace->request != NULL && !replace->going) {
        replace->going = true;
        backend_takeover_abandon(store->backend);
    }
}
