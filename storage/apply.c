/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdlib.h>

#include "base/codec.h"
#include "base/plant.h"
#include "storage/store_private.h"

/* Writing: what the replicated state machine does to the store, in the order of the log. A change
 * is in the index, in the ring and in the open batch when its call returns. It is committed by the
 * cluster already, so that there is no way back: without memory for it the process ends.
 *
 * The set-hash sums over everything that was ever applied, whatever compaction has removed since:
 * so it costs one addition and is the same on all members at the same index, however lazy their
 * disks are. (What is kept on disk has a sum of its own, which is checked at every start.) */

static void *must(void *memory)
{
    if (memory == NULL) {
        fatal("storage: no memory for a committed change");
    }
    return memory;
}

/* ---- entries and operations ---- */

void store_entry_begin(struct store *store, uint64_t index, uint64_t term)
{
    ASSERT(index > store->state.applied_index);
    ASSERT(term >= store->state.applied_term);
    free(TAKE(store->leases)); /* nobody asked, and now they change */
    store->lease_count = 0;
    outbox_entry_begin(&store->outbox);
    store->state.applied_index = index;
    store->state.applied_term = term;
}

/* Who leads takes no more writes long before; who follows is not asked. It may as well end as take
 * all memory there is: what it has applied is in its log. */
static void check_pending(const struct store *store)
{
    size_t pending_bytes = store_pending_bytes(store);
    if (pending_bytes > store->config.full_bytes && backend_is_full(store->backend)) {
        fatal("storage: the disk of '%s' is full, and %zu bytes wait for room: make some, and "
              "start the member again",
              backend_path(store->backend), pending_bytes);
    }
}

void store_entry_end(struct store *store)
{
    ASSERT(!store->operation.open);
    outbox_entry_end(&store->outbox, &store->state);
    check_pending(store);
}

static_assert(STORE_EXPECT_MAX == KEYINDEX_EXPECT_MAX, "handed on as it comes");

void store_expect(const struct store *store, const struct bytes *keys, size_t count)
{
    keyindex_expect(store->index, keys, count);
}

void store_txn_begin(struct store *store)
{
    ASSERT(!store->operation.open);
    store->operation = (struct store_operation){.open = true};
}

int64_t store_txn_end(struct store *store)
{
    struct store_operation *op = &store->operation;
    ASSERT(op->open);
    op->open = false;
    if (op->puts + op->deletes + op->ranges > 1) {
        counter_add(store->metrics.txns, 1);
    }
    return store->state.revision;
}

/* A change outside of store_txn_begin and store_txn_end is an operation of its own. */
static bool begin_single(struct store *store)
{
    if (store->operation.open) {
        return false;
    }
    store_txn_begin(store);
    return true;
}

static void end_single(struct store *store, bool single)
{
    if (single) {
        store_txn_end(store);
    }
}

/* The revision of the operation's next change. */
static revision_t next_revision(struct store *store)
{
    struct store_operation *op = &store->operation;
    if (!op->changed) {
        op->changed = true;
        store->state.revision++;
    }
    ASSERT(op->sub <= REVISION_SUB_MAX);
    return revision_pack(store->state.revision, op->sub++);
}

static uint64_t revisions_left(const struct store *store)
{
    return REVISION_SUB_MAX + 1 - store->operation.sub;
}

/* RECORD is complete: hash it, keep it, send it on its way. */
static void publish(struct store *store, struct record *record)
{
    record_seal(record, &store->header);
    if (!buf_ok(&store->header)) {
        must(NULL);
    }
    set_hash_add(&store->state.hash, set_hash_element(record->checksum, record->rev));
    outbox_add_record(&store->outbox, record);
    if (!ring_push(&store->ring, record)) {
        must(NULL);
    }
    if (ring_trim(&store->ring, 2)) {
        upkeep_wake(store);
    }
    if (store->observe != NULL) {
        store->observe(store->observe_ctx, record);
    }
}

/* ---- put ---- */

/* The living record of the put's key, when the put asks for something of it; else NULL. */
static enum err load_previous(struct store *store, const struct store_put *put, struct record **ret)
{
    struct version version;
    *ret = NULL;
    if (!put->want_prev && !put->ignore_value && !put->ignore_lease) {
        return OK;
    }
    if (!keyindex_get(store->index, put->key, INT64_MAX, &version)) {
        return put->ignore_value || put->ignore_lease ? ERR_KEY_NOT_FOUND : OK;
    }
    return store_load(store, version.rev, ret);
}

/* What the put supersedes. A tombstone below the compacted revision is no more, whether the index
 * still has it or not: what is written must not depend on how lazy this member is. */
static revision_t superseded_by(const struct store *store, const struct keyindex_change *change)
{
    bool prev_is_tombstone = change->made.version == 1;
    bool gone = revision_main(change->prev_rev) < store->state.compacted_revision;
    return prev_is_tombstone && gone ? 0 : change->prev_rev;
}

static void write_put(struct store *store, const struct store_put *put, const struct record *old)
{
    revision_t rev = next_revision(store);
    struct keyindex_change change;
    if (!keyindex_put(store->index, put->key, rev, &change)) {
        must(NULL);
    }
    struct bytes value = put->ignore_value ? record_value(old) : put->value;
    struct record *record = must(record_new_in(store->slabs, put->key, value));
    record->rev = rev;
    record->prev_rev = superseded_by(store, &change);
    record->create_revision = change.made.create_revision;
    record->version = change.made.version + (PLANTED(PUT_VERSION) && change.prev_rev != 0);
    record->lease = put->ignore_lease ? old->lease : put->lease;
    publish(store, record);
}

enum err store_put(struct store *store, const struct store_put *put, struct record **prev)
{
    ASSERT(put->key.len > 0);
    struct record *old;
    TRY(load_previous(store, put, &old));
    bool single = begin_single(store);
    enum err err = revisions_left(store) > 0 ? OK : ERR_TOO_LARGE;
    if (err == OK) {
        write_put(store, put, old);
        store->operation.puts++;
        store->metrics.put_bytes += put->key.len + put->value.len;
        counter_add(store->metrics.puts, 1);
    }
    end_single(store, single);
    if (err == OK && put->want_prev) {
        *prev = TAKE(old);
    }
    record_unref(old);
    return err;
}

/* ---- delete ---- */

/* Stand on the range's first living key from here on; false: there is none. */
static bool at_living(struct keyindex_cursor *cursor, const struct key_range *range)
{
    keyindex_to_living(cursor);
    return keyindex_valid(cursor) && key_range_before_end(range, keyindex_key(cursor));
}

static enum err load_range(struct store *store, const struct key_range *range,
                           struct record_list *list)
{
    struct keyindex_cursor cursor;
    keyindex_seek(store->index, range->key, &cursor);
    for (; at_living(&cursor, range); keyindex_next(&cursor)) {
        struct version version;
        bool found = keyindex_find(&cursor, INT64_MAX, &version);
        ASSERT(found);
        struct record *record;
        TRY(store_load(store, version.rev, &record));
        if (!record_list_push(list, record)) {
            record_unref(record);
            return ERR_NOMEM;
        }
    }
    return OK;
}

static int64_t write_deletes(struct store *store, const struct key_range *range)
{
    struct keyindex_cursor cursor;
    int64_t deleted = 0;
    keyindex_seek(store->index, range->key, &cursor);
    for (; at_living(&cursor, range); keyindex_next(&cursor)) {
        revision_t rev = next_revision(store);
        struct record *record =
            must(record_new_in(store->slabs, keyindex_key(&cursor), bytes_of(NULL, 0)));
        record->rev = rev;
        record->tombstone = true;
        if (!keyindex_delete(store->index, &cursor, rev, &record->prev_rev)) {
            must(NULL);
        }
        publish(store, record);
        deleted++;
    }
    return deleted;
}

enum err store_delete_range(struct store *store, struct bytes key, struct bytes range_end,
                            int64_t *deleted, struct record_list *prevs)
{
    const struct key_range range = {.key = key, .end = range_end};
    uint64_t count = keyindex_count(store->index, &range);
    bool single = begin_single(store);
    enum err err = count <= revisions_left(store) ? OK : ERR_TOO_LARGE;
    struct record_list found = {0};
    if (err == OK && prevs != NULL && count > 0) {
        err = load_range(store, &range, &found);
    }
    if (err == OK) {
        *deleted = write_deletes(store, &range);
        ASSERT((uint64_t)*deleted == count);
        store->operation.deletes++;
        counter_add(store->metrics.deletes, 1);
    }
    end_single(store, single);
    if (err == OK && prevs != NULL) {
        *prevs = found;
    } else {
        record_list_fini(&found);
    }
    return err;
}

void store_observe(struct store *store, void (*fn)(void *ctx, const struct record *record),
                   void *ctx)
{
    store->observe = fn;
    store->observe_ctx = ctx;
}

/* ---- compaction, small tables ---- */

enum err store_compact(struct store *store, int64_t revision)
{
    if (revision <= store->state.compacted_revision) {
        return ERR_COMPACTED;
    }
    if (revision > store->state.revision) {
        return ERR_FUTURE_REVISION;
    }
    turn_begin(&store->turn, store);
    hashmemory_compact(store, revision);
    store->state.compacted_revision = revision;
    upkeep_wake(store);
    return OK;
}

void store_table_put(struct store *store, enum store_table table, struct bytes key,
                     struct bytes value)
{
    outbox_add_change(&store->outbox,
                      &(struct backend_change){.table = table, .key = key, .value = value});
}

void store_table_delete(struct store *store, enum store_table table, struct bytes key)
{
    outbox_add_change(&store->outbox,
                      &(struct backend_change){.table = table, .is_delete = true, .key = key});
}
