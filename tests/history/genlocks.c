/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/genworld.h"

#include <stdlib.h>

#include "base/assert.h"

/* Locks: a queue of ownership keys each. Leases: a deadline each, and the keys put with it. */
#define SECOND_NS INT64_C(1000000000)
#define LATE_NS   (SECOND_NS / 2)

static uint32_t *queue_of(struct genlock *l)
{
    return (uint32_t *)(void *)l->queue.data;
}

static size_t queue_len(const struct genlock *l)
{
    return l->queue.len / sizeof(uint32_t);
}

static struct genlock *lock_of(struct genworld *g, uint32_t name)
{
    for (int i = 0; i < GEN_LOCKS; i++) {
        if (g->locks[i].name == name) {
            return &g->locks[i];
        }
    }
    ASSERT(name == HISTORY_NONE);
    return NULL;
}

void gen_ask_lock(struct genworld *g, struct genclient *c)
{
    struct genlock *lock = &g->locks[gen_below(g, GEN_LOCKS)];
    c->e.item_count = 1;
    c->items[0] = (struct history_item){.f = HISTORY_ITEM_READ, .value = lock->name};
    c->e.f = HISTORY_ACQUIRE;
    if (c->lock == HISTORY_NONE) {
        return;
    }
    c->items[0].value = c->lock;
    c->items[0].key = c->lock_key;
    c->e.f = gen_percent(g, 50) ? HISTORY_FENCED : HISTORY_RELEASE;
    if (c->e.f == HISTORY_FENCED && gen_percent(g, 50)) {
        c->e.item_count = 2;
        c->items[1] = (struct history_item){.f = HISTORY_ITEM_WRITE,
                                            .key = gen_name(g, "fenced"),
                                            .value = history_int(g->h, g->next_value++)};
    }
}

/* Take KEY out of its queue; false: it was gone. */
static bool unqueue(struct genlock *lock, uint32_t key)
{
    for (size_t i = 0; i < queue_len(lock); i++) {
        if (queue_of(lock)[i] == key) {
            memmove(queue_of(lock) + i, queue_of(lock) + i + 1,
                    (queue_len(lock) - i - 1) * sizeof(uint32_t));
            lock->queue.len -= sizeof(uint32_t);
            return true;
        }
    }
    return false;
}

static void delete_key(struct genworld *g, uint32_t key)
{
    genstore_begin(&g->store);
    genstore_delete(&g->store, key);
    genstore_commit(&g->store);
}

static void execute_fenced(struct genworld *g, struct genclient *c, struct genlock *lock)
{
    if (queue_len(lock) == 0 || queue_of(lock)[0] != c->items[0].key) {
        c->e.type = HISTORY_FAIL;
    } else if (c->e.item_count > 1) {
        genstore_begin(&g->store);
        genstore_put(&g->store, c->items[1].key, c->items[1].value);
        genstore_commit(&g->store);
    }
    c->e.revision = g->store.revision;
}

void gen_execute_lock(struct genworld *g, struct genclient *c)
{
    struct genlock *lock = lock_of(g, c->items[0].value);
    struct bytes name = history_symbol_text(g->h, lock->name);
    if (c->e.f == HISTORY_FENCED) {
        execute_fenced(g, c, lock);
    } else if (c->e.f == HISTORY_RELEASE) {
        if (unqueue(lock, c->items[0].key)) {
            delete_key(g, c->items[0].key);
        } else {
            c->e.flags |= HISTORY_UNCHANGED;
        }
        c->e.revision = g->store.revision;
    } else {
        uint32_t key = gen_name(g, "%.*s/%llx", (int)name.len, (const char *)name.data,
                                (long long)g->next_value++);
        genstore_begin(&g->store);
        genstore_put(&g->store, key, gen_name(g, "owner"));
        genstore_commit(&g->store);
        buf_append(&lock->queue, &key, sizeof key);
        ASSERT(buf_ok(&lock->queue));
        c->items[0].key = key;
        c->items[0].create_revision = g->store.revision;
        c->phase = GEN_WAITING;
    }
}

bool gen_has_lock(struct genworld *g, struct genclient *c)
{
    struct genlock *lock = lock_of(g, c->items[0].value);
    bool queued = false;
    for (size_t i = 0; i < queue_len(lock); i++) {
        queued |= queue_of(lock)[i] == c->items[0].key;
    }
    if (!queued) { /* its lease ended while it waited */
        c->e.type = HISTORY_FAIL;
        c->e.revision = 0;
        c->phase = GEN_DONE;
        return true;
    }
    if (queue_of(lock)[0] != c->items[0].key) {
        return false;
    }
    c->lock = lock->name;
    c->lock_key = c->items[0].key;
    c->e.revision = g->store.revision;
    g->applied[c->member] = g->store.revision;
    c->phase = GEN_DONE;
    return true;
}

void gen_expire_lock(struct genworld *g)
{
    struct genlock *lock = &g->locks[gen_below(g, GEN_LOCKS)];
    if (queue_len(lock) > 0) {
        uint32_t key = queue_of(lock)[gen_below(g, queue_len(lock))];
        unqueue(lock, key);
        delete_key(g, key);
    }
}

/* ---- Leases ---- */

static struct genlease *lease_at(struct genworld *g, size_t i)
{
    return (struct genlease *)(void *)g->leases.data + i;
}

static size_t lease_count(const struct genworld *g)
{
    return g->leases.len / sizeof(struct genlease);
}

static struct genlease *lease_of(struct genworld *g, int64_t id)
{
    for (size_t i = lease_count(g); i-- > 0;) {
        if (lease_at(g, i)->id == id) {
            return lease_at(g, i);
        }
    }
    return NULL;
}

void gen_ask_lease(struct genworld *g, struct genclient *c)
{
    uint64_t recent = lease_count(g) < 6 ? lease_count(g) : 6;
    uint64_t what = recent == 0 ? 0 : gen_below(g, 12);
    if (what < 2) {
        c->e.f = HISTORY_GRANT;
        c->e.id = 7000 + g->next_value++;
        c->e.number = 1 + (int64_t)gen_below(g, 3);
        return;
    }
    c->e.id = lease_at(g, lease_count(g) - 1 - gen_below(g, recent))->id;
    if (what < 6) {
        c->e.f = HISTORY_KEEPALIVE;
    } else if (what < 9) {
        c->e.f = HISTORY_ATTACH;
        c->e.item_count = 1;
        c->items[0] = (struct history_item){.f = HISTORY_ITEM_WRITE,
                                            .key = gen_name(g, "e/%lld", (long long)g->next_value),
                                            .value = history_int(g->h, g->next_value)};
        g->next_value++;
    } else {
        c->e.f = what < 11 ? HISTORY_TIME_TO_LIVE : HISTORY_REVOKE;
    }
}

static int by_text(const void *a, const void *b, void *ctx)
{
    return bytes_compare(history_symbol_text(ctx, *(const uint32_t *)a),
                         history_symbol_text(ctx, *(const uint32_t *)b));
}

static void end_lease(struct genworld *g, struct genlease *l)
{
    uint32_t *keys = (uint32_t *)(void *)l->keys.data;
    size_t count = l->keys.len / sizeof *keys;
    if (count > 0) {
        qsort_r(keys, count, sizeof *keys, by_text, g->h);
    }
    genstore_begin(&g->store);
    for (size_t i = 0; i < count; i++) {
        genstore_delete(&g->store, keys[i]);
    }
    genstore_commit(&g->store);
    l->alive = false;
}

void gen_expire_leases(struct genworld *g)
{
    size_t from = lease_count(g) > 64 ? lease_count(g) - 64 : 0;
    for (size_t i = from; i < lease_count(g); i++) {
        struct genlease *l = lease_at(g, i);
        if (l->alive && g->now_ns > l->expires_ns + (int64_t)gen_below(g, LATE_NS)) {
            end_lease(g, l);
        }
    }
}

void gen_execute_lease(struct genworld *g, struct genclient *c)
{
    struct genlease *l = lease_of(g, c->e.id);
    bool alive = l != NULL && l->alive;
    switch (c->e.f) {
    case HISTORY_GRANT:
        buf_append(&g->leases,
                   &(struct genlease){.id = c->e.id,
                                      .ttl_s = c->e.number,
                                      .expires_ns = g->now_ns + c->e.number * SECOND_NS,
                                      .alive = true},
                   sizeof *l);
        ASSERT(buf_ok(&g->leases));
        break;
    case HISTORY_KEEPALIVE:
        c->e.number = alive ? l->ttl_s : 0;
        if (alive) {
            l->expires_ns = g->now_ns + l->ttl_s * SECOND_NS;
        }
        break;
    case HISTORY_TIME_TO_LIVE:
        c->e.number = alive ? (l->expires_ns - g->now_ns) / SECOND_NS : -1;
        c->e.number = alive && c->e.number < 0 ? 0 : c->e.number;
        break;
    case HISTORY_ATTACH:
        if (!alive) {
            c->e.type = HISTORY_FAIL;
            return;
        }
        buf_append(&l->keys, &c->items[0].key, sizeof(uint32_t));
        genstore_begin(&g->store);
        genstore_put(&g->store, c->items[0].key, c->items[0].value);
        genstore_commit(&g->store);
        break;
    default:
        if (alive) {
            end_lease(g, l);
        } else {
            c->e.type = HISTORY_FAIL;
        }
        break;
    }
    c->e.revision = g->store.revision;
}
