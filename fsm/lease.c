/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/lease.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/plant.h"

/* Which key has which lease follows from the records: whatever writes one (put, delete, txn, the
 * revocation of another lease) is observed in the store, so that there is one place that binds and
 * lets go.
 *
 * Rows of the lease table: key = id (8 bytes, big-endian), value = format u8, ttl varint, remaining
 * varint.
 *
 * Invariants (leases_check):
 *   1. a key is in by_key once, and in the list of the lease that it names
 *   2. a lease's key_count is the length of its list
 *   3. a lease is in by_id once, and in the list of all */
#define ROW_FORMAT 1

struct lease_key {
    struct map_link by_key;
    struct lease *lease;
    struct lease_key *next;  /* of the same lease */
    struct lease_key **link; /* what points to this one */
    uint32_t len;
    uint8_t bytes[];
};

struct leases {
    struct store *store;
    struct map by_id;
    struct map by_key;
    struct queue all;
    struct queue walks;
    size_t count;
    void (*listen)(void *ctx, enum lease_event event, struct lease *lease);
    void *listen_ctx;
};

static_assert(sizeof(struct lease) == 104, "what lease.h says");
static_assert(offsetof(struct lease_key, bytes) == 44, "what lease.h says");

static void tell(const struct leases *leases, enum lease_event event, struct lease *lease)
{
    if (leases->listen != NULL) {
        leases->listen(leases->listen_ctx, event, lease);
    }
}

void leases_listen(struct leases *leases,
                   void (*fn)(void *ctx, enum lease_event event, struct lease *lease), void *ctx)
{
    leases->listen = fn;
    leases->listen_ctx = ctx;
}

/* ---- finding ---- */

struct lease *leases_find(const struct leases *leases, int64_t id)
{
    if (leases == NULL || leases->count == 0) {
        return NULL;
    }
    uint64_t hash = map_hash_u64(&leases->by_id, (uint64_t)id);
    for (struct map_link *at = map_first(&leases->by_id, hash); at != NULL; at = map_next(at)) {
        struct lease *lease = CONTAINER_OF(at, struct lease, by_id);
        if (lease->id == id) {
            return lease;
        }
    }
    return NULL;
}

size_t leases_count(const struct leases *leases)
{
    return leases->count;
}

struct bytes lease_key_bytes(const struct lease_key *key)
{
    return bytes_of(key->bytes, key->len);
}

const struct lease_key *lease_key_first(const struct lease *lease)
{
    return lease->keys;
}

const struct lease_key *lease_key_next(const struct lease_key *key)
{
    return key->next;
}

static struct lease_key *find_key(const struct leases *leases, struct bytes bytes)
{
    if (leases->by_key.count == 0) {
        return NULL;
    }
    uint64_t hash = map_hash_bytes(&leases->by_key, bytes);
    for (struct map_link *at = map_first(&leases->by_key, hash); at != NULL; at = map_next(at)) {
        struct lease_key *key = CONTAINER_OF(at, struct lease_key, by_key);
        if (bytes_equal(lease_key_bytes(key), bytes)) {
            return key;
        }
    }
    return NULL;
}

/* ---- walking ---- */

void lease_walk_begin(struct lease_walk *walk, struct leases *leases)
{
    walk->leases = leases;
    walk->at = leases->all.next;
    queue_push_back(&leases->walks, &walk->link);
}

struct lease *lease_walk_next(struct lease_walk *walk)
{
    if (walk->at == &walk->leases->all) {
        return NULL;
    }
    struct queue *at = (struct queue *)(uintptr_t)walk->at;
    walk->at = at->next;
    return QUEUE_ELEM(at, struct lease, link);
}

void lease_walk_end(struct lease_walk *walk)
{
    queue_remove(&walk->link);
}

/* Walks that would meet LEASE next pass it by. */
static void step_aside(struct leases *leases, const struct lease *lease)
{
    QUEUE_FOREACH (link, &leases->walks) {
        struct lease_walk *walk = QUEUE_ELEM(link, struct lease_walk, link);
        if (walk->at == &lease->link) {
            walk->at = lease->link.next;
        }
    }
}

/* ---- keys ---- */

static void push_key(struct lease *lease, struct lease_key *key)
{
    key->lease = lease;
    key->next = lease->keys;
    key->link = &lease->keys;
    if (key->next != NULL) {
        key->next->link = &key->next;
    }
    lease->keys = key;
    lease->key_count++;
}

static void unlink_key(struct lease_key *key)
{
    *key->link = key->next;
    if (key->next != NULL) {
        key->next->link = key->link;
    }
    key->lease->key_count--;
}

static void let_go(struct leases *leases, struct lease_key *key)
{
    map_remove(&leases->by_key, &key->by_key);
    unlink_key(key);
    free(key);
}

static enum err bind_new(struct leases *leases, struct lease *lease, struct bytes bytes)
{
    struct lease_key *key = malloc(sizeof *key + bytes.len);
    if (key == NULL) {
        return ERR_NOMEM;
    }
    key->len = (uint32_t)bytes.len;
    memcpy(key->bytes, bytes.data, bytes.len);
    uint64_t hash = map_hash_bytes(&leases->by_key, bytes);
    if (map_insert(&leases->by_key, &key->by_key, hash) != OK) {
        free(key);
        return ERR_NOMEM;
    }
    push_key(lease, key);
    return OK;
}

/* A record was written: its key belongs to its lease now, or to none. */
static void on_record(void *ctx, const struct record *record)
{
    struct leases *leases = ctx;
    struct lease_key *key = find_key(leases, record_key(record));
    int64_t id = record->lease; /* of a tombstone 0 */
    if (key != NULL && id != 0 && key->lease->id == id) {
        return;
    }
    if (id == 0) {
        if (key != NULL) {
            let_go(leases, key);
        }
        return;
    }
    struct lease *lease = leases_find(leases, id);
    ASSERT(lease != NULL); /* asked for before the put */
    if (key != NULL) {
        unlink_key(key);
        push_key(lease, key);
    } else if (bind_new(leases, lease, record_key(record)) != OK) {
        fatal("leases: no memory for a committed change");
    }
}

/* ---- rows ---- */

static void row_key(int64_t id, uint8_t ret[8])
{
    struct buf key = {.data = ret, .cap = 8};
    write_u64_be(&key, (uint64_t)id);
}

static void save(const struct leases *leases, const struct lease *lease)
{
    uint8_t key[8];
    uint8_t memory[1 + 2 * 10];
    struct buf value = {.data = memory, .cap = sizeof memory};
    row_key(lease->id, key);
    write_u8(&value, ROW_FORMAT);
    write_varint(&value, (uint64_t)lease->ttl_s);
    write_varint(&value, (uint64_t)lease->remaining_s);
    ASSERT(value.data == memory);
    store_table_put(leases->store, TABLE_LEASE, bytes_of(key, sizeof key), buf_bytes(&value));
}

/* ---- granting, revoking, checkpoints ---- */

static enum err add_lease(struct leases *leases, int64_t id, int64_t ttl_s, struct lease **ret)
{
    struct lease *lease = calloc(1, sizeof *lease);
    if (lease == NULL) {
        return ERR_NOMEM;
    }
    lease->id = id;
    lease->ttl_s = ttl_s;
    uint64_t hash = map_hash_u64(&leases->by_id, (uint64_t)id);
    if (map_insert(&leases->by_id, &lease->by_id, hash) != OK) {
        free(lease);
        return ERR_NOMEM;
    }
    queue_push_back(&leases->all, &lease->link);
    leases->count++;
    *ret = lease;
    return OK;
}

enum err leases_grant(struct leases *leases, int64_t id, int64_t ttl_s)
{
    if (ttl_s > LEASE_TTL_MAX) {
        return ERR_LEASE_TTL;
    }
    if (ttl_s <= 0 || id == 0) {
        return ERR_INVALID;
    }
    if (leases_find(leases, id) != NULL) {
        return ERR_LEASE_EXISTS;
    }
    struct lease *lease;
    TRY(add_lease(leases, id, ttl_s, &lease));
    save(leases, lease);
    tell(leases, LEASE_GRANTED, lease);
    return OK;
}

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(lease_key_bytes(*(struct lease_key *const *)a),
                         lease_key_bytes(*(struct lease_key *const *)b));
}

/* The lease's keys, in their order; it has none afterwards. */
static struct lease_key **take_keys(struct leases *leases, struct lease *lease, size_t *count)
{
    *count = lease->key_count;
    struct lease_key **keys = calloc(*count + 1, sizeof(struct lease_key *));
    if (keys == NULL) {
        fatal("leases: no memory to revoke one");
    }
    size_t at = 0;
    while (lease->keys != NULL) {
        keys[at] = lease->keys;
        map_remove(&leases->by_key, &keys[at]->by_key);
        unlink_key(keys[at++]);
    }
    ASSERT(at == *count && lease->key_count == 0);
    qsort(keys, at, sizeof(struct lease_key *), by_bytes);
    return keys;
}

static enum err delete_keys(struct leases *leases, struct lease *lease)
{
    size_t count;
    struct lease_key **keys = take_keys(leases, lease, &count);
    enum err err = OK;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && i % (REVISION_SUB_MAX + 1) == 0) {
            (void)store_txn_end(leases->store);
            store_txn_begin(leases->store);
        }
        int64_t deleted = 0;
        bool stays = PLANTED(LEASE_KEY_STAYS) && i > 0 && i + 1 == count;
        if (err == OK && !stays) {
            err = store_delete_range(leases->store, lease_key_bytes(keys[i]), bytes_of(NULL, 0),
                                     &deleted, NULL);
            ASSERT(err != OK || deleted == 1);
        }
        free(keys[i]);
    }
    free(keys);
    return err;
}

enum err leases_revoke(struct leases *leases, int64_t id)
{
    struct lease *lease = leases_find(leases, id);
    if (lease == NULL) {
        return ERR_LEASE_NOT_FOUND;
    }
    TRY(delete_keys(leases, lease));
    uint8_t key[8];
    row_key(id, key);
    store_table_delete(leases->store, TABLE_LEASE, bytes_of(key, sizeof key));
    tell(leases, LEASE_REVOKED, lease);
    step_aside(leases, lease);
    map_remove(&leases->by_id, &lease->by_id);
    queue_remove(&lease->link);
    leases->count--;
    free(lease);
    return OK;
}

void leases_checkpoint(struct leases *leases, int64_t id, int64_t remaining_s)
{
    struct lease *lease = leases_find(leases, id);
    if (lease == NULL) {
        return;
    }
    lease->remaining_s = remaining_s < lease->ttl_s ? remaining_s : 0;
    save(leases, lease);
    tell(leases, LEASE_CHANGED, lease);
}

/* ---- reading them at a start ---- */

static enum err read_row(void *ctx, struct bytes key, struct bytes value)
{
    struct leases *leases = ctx;
    struct reader k = reader_of(key);
    int64_t id = (int64_t)read_u64_be(&k);
    struct reader v = reader_of(value);
    uint8_t format = read_u8(&v);
    if (!v.failed && format != ROW_FORMAT) {
        return ERR_VERSION;
    }
    uint64_t ttl_s = read_varint(&v);
    uint64_t remaining_s = read_varint(&v);
    if (reader_end(&k) != OK || reader_end(&v) != OK || id == 0 || ttl_s == 0 ||
        ttl_s > LEASE_TTL_MAX || remaining_s > ttl_s) {
        return ERR_CORRUPT;
    }
    struct lease *lease;
    TRY(add_lease(leases, id, (int64_t)ttl_s, &lease));
    lease->remaining_s = (int64_t)remaining_s;
    return OK;
}

static enum err read_binding(void *ctx, struct bytes key, int64_t id)
{
    struct leases *leases = ctx;
    struct lease *lease = leases_find(leases, id);
    return lease == NULL ? ERR_CORRUPT : bind_new(leases, lease, key);
}

/* What reading the bindings came to. */
static enum err check_bindings(enum err err, struct why *why)
{
    if (err == ERR_CORRUPT) {
        why_set(why, "a key has a lease that does not exist");
    }
    return err;
}

static enum err read_all(struct leases *leases, struct why *why)
{
    struct why cause = {{0}};
    enum err err = store_table_foreach(leases->store, TABLE_LEASE, read_row, leases, &cause);
    if (err != OK) {
        why_set(why, "read the leases: %s", cause.text[0] == '\0' ? err_text(err) : cause.text);
        return err;
    }
    return check_bindings(store_lease_foreach(leases->store, read_binding, leases), why);
}

/* Empty; STORE: NULL when they are of a state that is not in place yet. */
static struct leases *make_leases(struct store *store, struct hash_seed seed)
{
    struct leases *leases = calloc(1, sizeof *leases);
    if (leases != NULL) {
        leases->store = store;
        map_init(&leases->by_id, seed);
        map_init(&leases->by_key, seed);
        queue_init(&leases->all);
        queue_init(&leases->walks);
    }
    return leases;
}

enum err leases_new(struct store *store, struct hash_seed seed, struct leases **ret,
                    struct why *why)
{
    struct leases *leases = make_leases(store, seed);
    if (leases == NULL) {
        return ERR_NOMEM;
    }
    enum err err = read_all(leases, why);
    if (err != OK) {
        leases_free(leases);
        return err;
    }
    store_observe(store, on_record, leases);
    *ret = leases;
    return OK;
}

/* ---- another store ---- */

static enum err read_prepared(struct leases *fresh, struct store_reading *reading, struct why *why)
{
    TRY(store_reading_table(reading, TABLE_LEASE, read_row, fresh, why));
    return check_bindings(store_reading_leases(reading, read_binding, fresh), why);
}

enum err leases_prepare(struct hash_seed seed, struct store_reading *reading, struct leases **ret,
                        struct why *why)
{
    struct leases *fresh = make_leases(NULL, seed);
    enum err err = fresh == NULL ? ERR_NOMEM : read_prepared(fresh, reading, why);
    if (err != OK) {
        leases_dispose(fresh);
        return err;
    }
    *ret = fresh;
    return OK;
}

static void exchange(struct leases *a, struct leases *b)
{
    struct leases was = *a;
    queue_init(&was.all);
    queue_splice(&was.all, &a->all);
    queue_splice(&a->all, &b->all);
    queue_splice(&b->all, &was.all);
    a->by_id = b->by_id;
    a->by_key = b->by_key;
    a->count = b->count;
    b->by_id = was.by_id;
    b->by_key = was.by_key;
    b->count = was.count;
}

static void adopt(struct leases *leases, struct leases *prepared)
{
    exchange(leases, prepared);
    QUEUE_FOREACH (link, &leases->walks) {
        QUEUE_ELEM(link, struct lease_walk, link)->at = leases->all.next;
    }
    tell(leases, LEASE_REPLACED, NULL);
}

enum err leases_replace(struct leases *leases, struct leases *prepared, struct why *why)
{
    if (prepared != NULL) {
        adopt(leases, prepared);
        return OK;
    }
    struct leases *fresh = make_leases(leases->store, leases->by_id.seed);
    if (fresh == NULL) {
        return ERR_NOMEM;
    }
    enum err err = read_all(fresh, why);
    if (err == OK) {
        adopt(leases, fresh);
    }
    leases_dispose(fresh);
    return err;
}

static void free_lease(struct leases *leases, struct lease *lease)
{
    while (lease->keys != NULL) {
        let_go(leases, lease->keys);
    }
    queue_remove(&lease->link);
    free(lease);
}

void leases_dispose(struct leases *prepared)
{
    if (prepared == NULL) {
        return;
    }
    while (!queue_empty(&prepared->all)) {
        free_lease(prepared, QUEUE_ELEM(prepared->all.next, struct lease, link));
    }
    map_fini(&prepared->by_id);
    map_fini(&prepared->by_key);
    free(prepared);
}

void leases_free(struct leases *leases)
{
    if (leases == NULL) {
        return;
    }
    ASSERT(queue_empty(&leases->walks));
    store_observe(leases->store, NULL, NULL);
    leases_dispose(leases);
}

void leases_check(const struct leases *leases)
{
    size_t leases_seen = 0;
    size_t keys_seen = 0;
    QUEUE_FOREACH (link, &leases->all) {
        const struct lease *lease = QUEUE_ELEM(link, struct lease, link);
        ASSERT(leases_find(leases, lease->id) == lease);
        ASSERT(lease->ttl_s > 0 && lease->remaining_s >= 0 && lease->remaining_s < lease->ttl_s);
        uint32_t count = 0;
        for (const struct lease_key *key = lease->keys; key != NULL; key = key->next) {
            ASSERT(key->lease == lease && *key->link == key);
            ASSERT(find_key(leases, lease_key_bytes(key)) == key);
            count++;
        }
        ASSERT(count == lease->key_count);
        keys_seen += count;
        leases_seen++;
    }
    ASSERT(leases_seen == leases->count && leases_seen == leases->by_id.count);
    ASSERT(keys_seen == leases->by_key.count);
}
