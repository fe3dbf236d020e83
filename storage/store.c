/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "base/array.h"
#include "storage/schema.h"
#include "storage/store_private.h"

/* ---- lists of records ---- */

void record_list_fini(struct record_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        record_unref(list->items[i]);
    }
    free(list->items);
    *list = (struct record_list){0};
}

bool record_list_push(struct record_list *list, struct record *record)
{
    if (!ARRAY_MAKE_ROOM(list->items, list->count, list->cap, 8)) {
        return false;
    }
    list->items[list->count++] = record;
    return true;
}

/* ---- opening ---- */

struct opening {
    struct keyload *load;
    struct why *why;
};

static enum err take_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    struct opening *opening = ctx;
    for (size_t i = 0; i < count; i++) {
        TRY(keyload_add(opening->load, rows[i].rev, &rows[i].header, opening->why));
    }
    return OK;
}

static void on_commit(void *ctx, const struct backend_state *state)
{
    upkeep_on_commit(ctx, state);
}

static void on_durable(void *ctx, uint64_t durable_index)
{
    struct store *store = ctx;
    upkeep_on_durable(store, durable_index);
    if (store->config.on_durable != NULL && !store->closing) {
        store->config.on_durable(store->config.ctx, durable_index);
    }
}

static void on_compacted(void *ctx, int64_t revision)
{
    (void)revision;
    upkeep_on_compacted(ctx);
}

static struct backend_config backend_config_of(struct store *store)
{
    const struct store_config *config = &store->config;
    return (struct backend_config){
        .env = config->env,
        .log = config->log,
        .metrics = config->metrics,
        .path = config->path,
        .vfs = config->vfs,
        .fs = config->fs,
        .identity = config->identity,
        .reader_threads = config->reader_threads,
        .remove_permille = config->remove_permille,
        .on_durable = on_durable,
        .on_compacted = on_compacted,
        .ctx = store,
    };
}

/* Open the database and build the index from its rows. */
static enum err open_backend(struct store *store, struct opening *opening)
{
    struct backend_config config = backend_config_of(store);
    struct backend_state *state = &store->state;
    TRY(backend_open(&config, take_rows, opening, state, &store->backend, opening->why));
    TRY(keyload_finish(opening->load, state->compacted_revision, &store->index, opening->why));
    store->lease_count = keyload_take_leases(opening->load, &store->leases);
    if (state->revision == 0) {
        state->revision = 1; /* of an empty store, as etcd's */
    }
    return OK;
}

static double keys_gauge(void *ctx)
{
    return (double)store_key_count(ctx);
}

static double revision_gauge(void *ctx)
{
    return (double)store_revision(ctx);
}

static double compacted_gauge(void *ctx)
{
    return (double)store_compacted_revision(ctx);
}

static double pending_gauge(void *ctx)
{
    return (double)store_pending_bytes(ctx);
}

static double put_bytes_gauge(void *ctx)
{
    const struct store *store = ctx;
    return (double)store->metrics.put_bytes;
}

static void register_metrics(struct store *store)
{
    struct metrics *m = store->config.metrics;
    if (m == NULL) {
        return;
    }
    store->metrics = (struct store_metrics){
        .puts = metrics_counter(m, "etcd_mvcc_put_total",
                                "Total number of puts seen by this member.", NULL),
        .deletes = metrics_counter(m, "etcd_mvcc_delete_total",
                                   "Total number of deletes seen by this member.", NULL),
        .ranges = metrics_counter(m, "etcd_mvcc_range_total",
                                  "Total number of ranges seen by this member.", NULL),
        .txns = metrics_counter(m, "etcd_mvcc_txn_total",
                                "Total number of txns seen by this member.", NULL),
        .hash_seconds = metrics_histogram(m, "etcd_mvcc_hash_rev_duration_seconds",
                                          "Time that a HashKV took.", NULL, 0.01, 15),
    };
    metrics_gauge_fn(m, "etcd_debugging_mvcc_keys_total", "Total number of keys.", NULL, keys_gauge,
                     store);
    metrics_gauge_fn(m, "etcd_debugging_mvcc_total_put_size_in_bytes",
                     "Bytes of keys and values that were put.", NULL, put_bytes_gauge, store);
    metrics_gauge_fn(m, "etcd_debugging_mvcc_current_revision", "The current revision of store.",
                     NULL, revision_gauge, store);
    metrics_gauge_fn(m, "etcd_debugging_mvcc_compact_revision",
                     "The revision of the last compaction in store.", NULL, compacted_gauge, store);
    metrics_gauge_fn(m, "trivet_store_pending_bytes",
                     "Bytes of records that are applied and not yet in the database.", NULL,
                     pending_gauge, store);
}

/* Everything that needs the backend's state. */
static void start(struct store *store)
{
    const struct store_config *config = &store->config;
    size_t ring_bytes = config->ring_bytes == 0 ? RING_BYTES_DEFAULT : config->ring_bytes;
    ring_init(&store->ring, ring_bytes, revision_pack(store->state.revision, REVISION_SUB_MAX));
    outbox_init(&store->outbox, store->env, store->backend, &store->state, on_commit, store);
    store->committed_revision = store->state.revision;
    register_metrics(store);
    scrub_start(&store->scrub, store, config->scrub_interval_ms, config->metrics);
    upkeep_wake(store);
}

static void free_store(struct store *store)
{
    backend_close(store->backend);
    outbox_fini(&store->outbox);
    ring_fini(&store->ring);
    valuecache_fini(&store->cache);
    slabs_free(store->slabs); /* memory of records that others still have stays until they let go */
    keyindex_free(store->index);
    free(store->leases);
    buf_fini(&store->header);
    free(store);
}

static enum err check_config(const struct store_config *config, struct why *why)
{
    if (config->ring_bytes > RING_BYTES_MAX) {
        why_set(why, "ring of %zu bytes: at most %u", config->ring_bytes, RING_BYTES_MAX);
        return ERR_INVALID;
    }
    return OK;
}

enum err store_open(const struct store_config *config, struct store **ret, struct why *why)
{
    TRY(check_config(config, why));
    struct store *store = calloc(1, sizeof *store);
    struct opening opening = {.load = keyload_new(), .why = why};
    struct slabs *slabs = slabs_new();
    if (store == NULL || opening.load == NULL || slabs == NULL) {
        free(store);
        keyload_free(opening.load);
        slabs_free(slabs);
        return ERR_NOMEM;
    }
    store->config = *config;
    if (config->full_bytes == 0) {
        store->config.full_bytes = RING_FULL_BYTES_MAX;
    }
    store->env = config->env;
    store->slabs = slabs;
    queue_init(&store->readers);
    queue_init(&store->hashes);
    valuecache_init(&store->cache, env_hash_seed(store->env), VALUE_CACHE_BYTES);
    hashmemory_init(&store->hashmemory);
    turn_init(&store->turn);
    upkeep_init(store);
    rangejob_init(store);
    enum err err = open_backend(store, &opening);
    keyload_free(opening.load);
    if (err != OK) {
        free_store(store);
        return err;
    }
    start(store);
    *ret = store;
    return OK;
}

void store_reader_add(struct store *store, struct store_reader *reader,
                      void (*stop)(struct store_reader *reader))
{
    reader->stop = stop;
    queue_push_back(&store->readers, &reader->link);
}

/* Readers in slices end here; those that wait for a thread when the backend is closed. */
static void stop_readers(struct store *store)
{
    struct queue readers;
    queue_init(&readers);
    queue_splice(&readers, &store->readers);
    struct queue *link;
    while ((link = queue_pop_front(&readers)) != NULL) {
        queue_push_back(&store->readers, link);
        struct store_reader *reader = QUEUE_ELEM(link, struct store_reader, link);
        reader->stop(reader);
    }
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(!store->operation.open);
    replace_stop(store);
    scrub_stop(&store->scrub);
    store->closing = true;
    outbox_flush(&store->outbox);
    stop_readers(store);
    turn_stop(&store->turn, store);
    backend_close(store->backend); /* who is called back meanwhile needs it */
    store->backend = NULL;
    ASSERT(queue_empty(&store->readers));
    rangejob_fini(store);
    upkeep_fini(store);
    free_store(store);
}

/* ---- small reads ---- */

struct record *store_peek(struct store *store, revision_t rev)
{
    struct record *record = ring_get(&store->ring, rev);
    return record != NULL ? record : valuecache_get(&store->cache, rev);
}

enum err store_read_failed(struct store *store, const char *what, enum err status,
                           const struct why *why)
{
    if (status == ERR_NOT_FOUND) {
        status = ERR_CORRUPT; /* the index was built from what is there */
    }
    if (status == ERR_CANCELLED || status == ERR_STOPPED) {
        return status;
    }
    LOG_ERROR(store->config.log, what, LOG_STR("error", err_text(status)),
              LOG_STR("why", why->text));
    if (status == ERR_CORRUPT && store->damage.text[0] == '\0') {
        store->damage = *why;
    }
    return status;
}

enum err store_load(struct store *store, revision_t rev, struct record **ret)
{
    struct record *record = store_peek(store, rev);
    if (record != NULL) {
        *ret = record_ref(record);
        return OK;
    }
    struct why why = {.text = ""};
    enum err err = backend_get(store->backend, rev, ret, &why);
    if (err != OK) {
        return store_read_failed(store, "cannot read a record", err, &why);
    }
    valuecache_add(&store->cache, *ret);
    return OK;
}

enum err store_check_revision(const struct store *store, int64_t revision)
{
    if (revision > store->state.revision) {
        return ERR_FUTURE_REVISION;
    }
    return revision < store->state.compacted_revision ? ERR_COMPACTED : OK;
}

bool store_key_version(const struct store *store, struct bytes key, struct key_version *ret)
{
    struct version version;
    if (!keyindex_get(store->index, key, INT64_MAX, &version)) {
        return false;
    }
    *ret = (struct key_version){.create_revision = version.create_revision,
                                .mod_revision = revision_main(version.rev),
                                .version = version.version};
    return true;
}

enum err store_table_foreach(struct store *store, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    return backend_table_foreach(store->backend, table, fn, ctx, why);
}

enum err store_lease_foreach(struct store *store,
                             enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    struct keyload_lease *leases = TAKE(store->leases);
    enum err err = OK;
    for (size_t i = 0; i < store->lease_count && err == OK; i++) {
        err = fn(ctx, keyload_lease_key(&leases[i]), leases[i].lease);
    }
    store->lease_count = 0;
    free(leases);
    return err;
}

int64_t store_revision(const struct store *store)
{
    return store->state.revision;
}

int64_t store_compacted_revision(const struct store *store)
{
    return store->state.compacted_revision;
}

uint64_t store_applied_index(const struct store *store)
{
    return store->state.applied_index;
}

uint64_t store_durable_index(const struct store *store)
{
    return backend_durable_index(store->backend);
}

size_t store_pending_bytes(const struct store *store)
{
    return store->ring.pending_bytes + store->outbox.table_bytes;
}

uint64_t store_size_bytes(const struct store *store)
{
    return backend_size_bytes(store->backend);
}

uint64_t store_promised_bytes(const struct store *store)
{
    return store->files_on_their_way * store_size_bytes(store);
}

uint64_t store_size_in_use_bytes(const struct store *store)
{
    return backend_size_in_use_bytes(store->backend);
}

uint64_t store_key_count(const struct store *store)
{
    return keyindex_live_count(store->index);
}

struct set_hash store_set_hash(const struct store *store)
{
    return store->state.hash;
}

struct set_hash store_tables_hash(const struct store *store)
{
    return backend_tables_hash(store->backend);
}

uint64_t store_committed_index(const struct store *store)
{
    return backend_committed_index(store->backend);
}

void store_on_commit(struct store *store, void (*fn)(void *ctx), void *ctx)
{
    store->on_commit = fn;
    store->on_commit_ctx = ctx;
}

const char *store_damage(const struct store *store)
{
    return store->damage.text[0] == '\0' ? NULL : store->damage.text;
}

void store_manifest(const struct store *store, struct buf *buf)
{
    struct store_manifest manifest =
        schema_manifest(&store->config.identity, &store->outbox.durable);
    store_manifest_encode(&manifest, buf);
}

const char *store_path(const struct store *store)
{
    return backend_path(store->backend);
}

void store_check(const struct store *store)
{
    keyindex_check(store->index);
    ring_check(&store->ring);
    valuecache_check(&store->cache);
    ASSERT(store->state.compacted_revision <= store->state.revision);
    ASSERT(store->index_compacted <= store->state.compacted_revision);
    ASSERT(revision_main(store->ring.gone) <= store->committed_revision);
}
