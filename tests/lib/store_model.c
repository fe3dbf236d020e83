/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/store_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"

struct row {
    enum store_table table;
    struct blob *key;
    struct blob *value;
};

/* Answered one by one, each in a turn of its own. */
struct answer {
    struct queue link;
    struct store *store;
    struct store_range_request *range; /* one of these */
    bool late;                         /* it is still to be read */
    struct store_hash_request *hash;
    struct store_copy_request *copy;
    struct store_events_request *events;
    struct store_fetch_request *fetch;
};

struct store {
    struct env *env;
    struct record_list log; /* every record that is kept, in order of revision */
    struct record_list all; /* every record that ever was */
    int64_t gone;           /* revisions up to here are not in memory, for store_events_recent */
    enum err fail_events;
    struct row *rows;
    size_t row_count;
    int64_t revision;
    int64_t compacted;
    uint64_t index;
    uint64_t entry_count;
    bool in_entry;
    bool in_txn;
    uint32_t subs; /* changes of the open operation */
    enum err fail_range;
    size_t range_records_max;
    enum err fail_defragment;
    enum err fail_copy;
    bool dear;
    bool late;
    bool hold;
    uint64_t size;
    size_t pending;
    void (*observe)(void *ctx, const struct record *record);
    void *observe_ctx;
    void (*on_commit)(void *ctx);
    void *on_commit_ctx;
    unsigned (*turn)(void *ctx);
    void *turn_ctx;
    const char *damage;
    struct queue answers;
    struct env_timer answer_timer;
    struct queue waits;
};

static void *must(void *memory)
{
    if (memory == NULL) {
        fatal("model store: out of memory");
    }
    return memory;
}

static void push(struct record_list *list, struct record *record)
{
    bool room = ARRAY_MAKE_ROOM(list->items, list->count, list->cap, 16);
    ASSERT(room);
    list->items[list->count++] = record;
}

void record_list_fini(struct record_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        record_unref(list->items[i]);
    }
    free(list->items);
    *list = (struct record_list){0};
}

void range_result_fini(struct range_result *result)
{
    record_list_fini(&result->records);
    *result = (struct range_result){0};
}

/* ---- its life ---- */

static void on_answer(struct env_timer *timer);
static void finish(struct answer *answer);

struct store *store_model_new(struct env *env)
{
    struct store *store = must(calloc(1, sizeof *store));
    store->env = env;
    store->revision = 1;
    store->compacted = -1;
    queue_init(&store->answers);
    queue_init(&store->waits);
    env_timer_init(&store->answer_timer, on_answer);
    return store;
}

enum err store_open(const struct store_config *config, struct store **ret, struct why *why)
{
    (void)why;
    *ret = store_model_new(config->env);
    return OK;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    struct queue *link;
    while ((link = queue_pop_front(&store->answers)) != NULL) {
        finish(QUEUE_ELEM(link, struct answer, link));
    }
    ASSERT(queue_empty(&store->waits));
    if (store->env != NULL) {
        env_timer_stop(store->env, &store->answer_timer);
    }
    for (size_t i = 0; i < store->row_count; i++) {
        blob_unref(store->rows[i].key);
        blob_unref(store->rows[i].value);
    }
    free(store->rows);
    record_list_fini(&store->log);
    record_list_fini(&store->all);
    free(store);
}

/* ---- reading ---- */

static bool in_range(struct bytes key, struct bytes begin, struct bytes end)
{
    if (end.len == 0) {
        return bytes_equal(key, begin);
    }
    bool to_the_end = end.len == 1 && end.data[0] == 0;
    return bytes_compare(key, begin) >= 0 && (to_the_end || bytes_compare(key, end) < 0);
}

/* The newest record of KEY at AT, tombstones included. */
static struct record *newest(const struct store *store, struct bytes key, int64_t at)
{
    for (size_t i = store->log.count; i > 0; i--) {
        struct record *record = store->log.items[i - 1];
        if (record_mod_revision(record) <= at && bytes_equal(record_key(record), key)) {
            return record;
        }
    }
    return NULL;
}

static int by_key(const void *a, const void *b)
{
    return bytes_compare(record_key(*(struct record *const *)a),
                         record_key(*(struct record *const *)b));
}

/* The live records of a range at AT, in order of keys, borrowed. */
static struct record_list live(const struct store *store, struct bytes begin, struct bytes end,
                               int64_t at)
{
    struct record_list list = {0};
    for (size_t i = 0; i < store->log.count; i++) {
        struct record *record = store->log.items[i];
        if (record_mod_revision(record) <= at && !record->tombstone &&
            in_range(record_key(record), begin, end) &&
            newest(store, record_key(record), at) == record) {
            push(&list, record);
        }
    }
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof list.items[0], by_key);
    }
    return list;
}

static bool within(int64_t value, int64_t min, int64_t max)
{
    return (min == 0 || value >= min) && (max == 0 || value <= max);
}

static bool passes(const struct range_query *query, const struct record *record)
{
    return within(record_mod_revision(record), query->min_mod_revision, query->max_mod_revision) &&
           within(record->create_revision, query->min_create_revision, query->max_create_revision);
}

static bool has_filter(const struct range_query *query)
{
    return query->min_mod_revision != 0 || query->max_mod_revision != 0 ||
           query->min_create_revision != 0 || query->max_create_revision != 0;
}

static int64_t number_of(const struct record *record, enum range_target target)
{
    switch (target) {
    case TARGET_VERSION:
        return record->version;
    case TARGET_CREATE:
        return record->create_revision;
    default:
        return record_mod_revision(record);
    }
}

static int compare_by(const struct record *a, const struct record *b, enum range_target target)
{
    if (target == TARGET_KEY) {
        return bytes_compare(record_key(a), record_key(b));
    }
    if (target == TARGET_VALUE) {
        return bytes_compare(record_value(a), record_value(b));
    }
    int64_t x = number_of(a, target);
    int64_t y = number_of(b, target);
    return (x > y) - (x < y);
}

/* By insertion, so that what is equal keeps its order. */
static void sort(struct record_list *list, const struct range_query *query)
{
    int sign = query->sort == SORT_DESCEND ? -1 : 1;
    for (size_t i = 1; i < list->count; i++) {
        struct record *record = list->items[i];
        size_t j = i;
        while (j > 0 && sign * compare_by(list->items[j - 1], record, query->target) > 0) {
            list->items[j] = list->items[j - 1];
            j--;
        }
        list->items[j] = record;
    }
}

/* What the index knows; the record had to be read anyway when it was sorted by value. */
static struct record *without_value(const struct record *record, enum range_target target)
{
    struct record *bare = must(record_new(record_key(record), bytes_of(NULL, 0)));
    bare->lease = target == TARGET_VALUE ? record->lease : 0;
    bare->rev = record->rev;
    bare->create_revision = record->create_revision;
    bare->version = record->version;
    return bare;
}

/* etcd's steps: collect, filter, sort, cut, strip. FOUND is borrowed, and freed. */
static void build(struct record_list *found, const struct range_query *query,
                  struct range_result *ret)
{
    bool early =
        !has_filter(query) &&
        (query->sort == SORT_NONE || (query->target == TARGET_KEY && query->sort == SORT_ASCEND));
    size_t limit = query->limit > 0 ? (size_t)query->limit : SIZE_MAX;
    struct record_list kept = {0};
    for (size_t i = 0; i < found->count; i++) {
        if (early && limit != SIZE_MAX && kept.count == limit + 1) {
            break;
        }
        if (passes(query, found->items[i])) {
            push(&kept, found->items[i]);
        }
    }
    free(found->items);
    sort(&kept, query);
    ret->more = kept.count > limit;
    for (size_t i = 0; i < kept.count && i < limit; i++) {
        push(&ret->records, query->keys_only ? without_value(kept.items[i], query->target)
                                             : record_ref(kept.items[i]));
    }
    free(kept.items);
}

enum err store_range(struct store *store, const struct range_query *query, struct range_result *ret)
{
    if (store->fail_range != OK) {
        enum err err = store->fail_range;
        store->fail_range = OK;
        return err;
    }
    int64_t at = query->revision > 0 ? query->revision : store->revision;
    if (at > store->revision) {
        return ERR_FUTURE_REVISION;
    }
    if (at < store->compacted) {
        return ERR_COMPACTED;
    }
    struct record_list found = live(store, query->key, query->range_end, at);
    *ret = (struct range_result){.revision = store->revision,
                                 .count = query->uncounted ? 0 : (int64_t)found.count};
    if (query->count_only) {
        free(found.items);
        return OK;
    }
    build(&found, query, ret);
    if (ret->records.count > store->range_records_max) {
        store->range_records_max = ret->records.count;
    }
    return OK;
}

bool store_key_version(const struct store *store, struct bytes key, struct key_version *ret)
{
    const struct record *record = newest(store, key, INT64_MAX);
    if (record == NULL || record->tombstone) {
        return false;
    }
    *ret = (struct key_version){.create_revision = record->create_revision,
                                .mod_revision = record_mod_revision(record),
                                .version = record->version};
    return true;
}

enum err store_events(struct store *store, int64_t from, size_t max_bytes, struct record_list *ret)
{
    if (from < store->compacted) {
        return ERR_COMPACTED;
    }
    size_t size = 0;
    int64_t last = 0;
    for (size_t i = 0; i < store->log.count; i++) {
        struct record *record = store->log.items[i];
        int64_t revision = record_mod_revision(record);
        if (revision < from) {
            continue;
        }
        if (size > max_bytes && revision != last) {
            break;
        }
        push(ret, record_ref(record));
        size += record_size(record);
        last = revision;
    }
    return OK;
}

/* The first record of ALL that is not below REV. */
static size_t seek(const struct store *store, revision_t rev)
{
    size_t low = 0;
    size_t high = store->all.count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (store->all.items[mid]->rev < rev) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The first revision behind those that were taken. */
static int64_t take_events(const struct store *store, int64_t from, int64_t to, size_t max_bytes,
                           struct record_list *ret)
{
    size_t size = 0;
    int64_t last = 0;
    for (size_t i = seek(store, revision_pack(from, 0)); i < store->all.count; i++) {
        struct record *record = store->all.items[i];
        int64_t revision = record_mod_revision(record);
        if (revision > to) {
            break;
        }
        if (size > max_bytes && revision != last) {
            return revision;
        }
        push(ret, record_ref(record));
        size += record_size(record);
        last = revision;
    }
    return to + 1;
}

enum err store_events_recent(struct store *store, int64_t from, int64_t to, size_t max_bytes,
                             struct record_list *ret)
{
    if (from <= store->gone) {
        return ERR_NOT_FOUND;
    }
    *ret = (struct record_list){0};
    (void)take_events(store, from, to, max_bytes, ret);
    return OK;
}

struct record *store_recent_record(struct store *store, revision_t rev)
{
    size_t i = seek(store, rev);
    bool found = i < store->all.count && store->all.items[i]->rev == rev;
    return found && revision_main(rev) > store->gone ? store->all.items[i] : NULL;
}

enum err store_record(struct store *store, revision_t rev, struct record **ret)
{
    size_t i = seek(store, rev);
    ASSERT(i < store->all.count && store->all.items[i]->rev == rev);
    *ret = record_ref(store->all.items[i]);
    return OK;
}

/* ---- writing ---- */

void store_entry_begin(struct store *store, uint64_t index, uint64_t term)
{
    (void)term;
    ASSERT(!store->in_entry);
    ASSERT(index > store->index);
    store->in_entry = true;
    store->index = index;
}

void store_entry_end(struct store *store)
{
    ASSERT(store->in_entry);
    ASSERT(!store->in_txn);
    store->in_entry = false;
    store->entry_count++;
    if (store->on_commit != NULL) {
        store->on_commit(store->on_commit_ctx);
    }
}

void store_expect(const struct store *store, const struct bytes *keys, size_t count)
{
    ASSERT(store->in_entry && !store->in_txn);
    ASSERT(count <= STORE_EXPECT_MAX);
    for (size_t i = 0; i < count; i++) {
        ASSERT(keys[i].len <= KEY_BYTES_MAX);
    }
}

void store_txn_begin(struct store *store)
{
    ASSERT(store->in_entry);
    ASSERT(!store->in_txn);
    store->in_txn = true;
    store->subs = 0;
}

int64_t store_txn_end(struct store *store)
{
    ASSERT(store->in_txn);
    store->in_txn = false;
    return store->revision;
}

static void add(struct store *store, struct record *record)
{
    ASSERT(store->in_txn);
    if (store->subs == 0) {
        store->revision++;
    }
    record->rev = revision_pack(store->revision, store->subs++);
    push(&store->log, record);
    push(&store->all, record_ref(record));
}

void store_observe(struct store *store, void (*fn)(void *ctx, const struct record *record),
                   void *ctx)
{
    store->observe = fn;
    store->observe_ctx = ctx;
}

static void tell(struct store *store, const struct record *record)
{
    if (store->observe != NULL) {
        store->observe(store->observe_ctx, record);
    }
}

static struct record *living(struct store *store, struct bytes key)
{
    struct record *record = newest(store, key, INT64_MAX);
    return record == NULL || record->tombstone ? NULL : record;
}

enum err store_put(struct store *store, const struct store_put *put, struct record **prev)
{
    struct record *before = living(store, put->key);
    if ((put->ignore_value || put->ignore_lease) && before == NULL) {
        return ERR_KEY_NOT_FOUND;
    }
    struct bytes value = put->ignore_value ? record_value(before) : put->value;
    struct record *record = must(record_new(put->key, value));
    record->lease = put->ignore_lease ? before->lease : put->lease;
    record->version = before == NULL ? 1 : before->version + 1;
    add(store, record);
    record->create_revision = before == NULL ? store->revision : before->create_revision;
    record->prev_rev = before == NULL ? 0 : before->rev;
    tell(store, record);
    if (put->want_prev) {
        *prev = before == NULL ? NULL : record_ref(before);
    }
    return OK;
}

enum err store_delete_range(struct store *store, struct bytes key, struct bytes range_end,
                            int64_t *deleted, struct record_list *prevs)
{
    struct record_list found = live(store, key, range_end, INT64_MAX);
    *deleted = (int64_t)found.count;
    for (size_t i = 0; i < found.count; i++) {
        struct record *tombstone = must(record_new(record_key(found.items[i]), bytes_of(NULL, 0)));
        tombstone->tombstone = true;
        tombstone->prev_rev = found.items[i]->rev;
        add(store, tombstone);
        tell(store, tombstone);
        if (prevs != NULL) {
            push(prevs, record_ref(found.items[i]));
        }
    }
    free(found.items);
    return OK;
}

/* A record stays when it is newer than the compaction, or the newest of its key at it and alive; a
 * tombstone at the very revision stays too. */
static bool survives(const struct store *store, struct record *record, int64_t at)
{
    if (record_mod_revision(record) > at) {
        return true;
    }
    return newest(store, record_key(record), at) == record &&
           (!record->tombstone || record_mod_revision(record) == at);
}

enum err store_compact(struct store *store, int64_t revision)
{
    ASSERT(store->in_txn);
    if (revision <= store->compacted) {
        return ERR_COMPACTED;
    }
    if (revision > store->revision) {
        return ERR_FUTURE_REVISION;
    }
    struct record_list kept = {0};
    for (size_t i = 0; i < store->log.count; i++) {
        if (survives(store, store->log.items[i], revision)) {
            push(&kept, record_ref(store->log.items[i]));
        }
    }
    record_list_fini(&store->log);
    store->log = kept;
    store->compacted = revision;
    return OK;
}

/* ---- tables ---- */

static struct row *find_row(struct store *store, enum store_table table, struct bytes key)
{
    for (size_t i = 0; i < store->row_count; i++) {
        if (store->rows[i].table == table && bytes_equal(blob_bytes(store->rows[i].key), key)) {
            return &store->rows[i];
        }
    }
    return NULL;
}

void store_table_put(struct store *store, enum store_table table, struct bytes key,
                     struct bytes value)
{
    ASSERT(store->in_entry);
    struct row *row = find_row(store, table, key);
    if (row == NULL) {
        store->rows = must(reallocarray(store->rows, store->row_count + 1, sizeof *store->rows));
        row = &store->rows[store->row_count++];
        *row = (struct row){.table = table, .key = must(blob_copy(key))};
    }
    blob_unref(row->value);
    row->value = must(blob_copy(value));
}

void store_table_delete(struct store *store, enum store_table table, struct bytes key)
{
    ASSERT(store->in_entry);
    struct row *row = find_row(store, table, key);
    if (row != NULL) {
        blob_unref(row->key);
        blob_unref(row->value);
        *row = store->rows[--store->row_count];
    }
}

static int rows_by_key(const void *a, const void *b)
{
    return bytes_compare(blob_bytes(((const struct row *)a)->key),
                         blob_bytes(((const struct row *)b)->key));
}

enum err store_table_foreach(struct store *store, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    (void)why;
    if (store->row_count > 0) {
        qsort(store->rows, store->row_count, sizeof *store->rows, rows_by_key);
    }
    for (size_t i = 0; i < store->row_count; i++) {
        if (store->rows[i].table == table) {
            TRY(fn(ctx, blob_bytes(store->rows[i].key), blob_bytes(store->rows[i].value)));
        }
    }
    return OK;
}

/* As often as it is asked: the model lives on when what stands upon it starts anew. */
enum err store_lease_foreach(struct store *store,
                             enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    enum err err = OK;
    for (size_t i = 0; i < store->log.count && err == OK; i++) {
        const struct record *record = store->log.items[i];
        if (record->lease != 0 && newest(store, record_key(record), INT64_MAX) == record) {
            err = fn(ctx, record_key(record), record->lease);
        }
    }
    return err;
}

/* ---- reading another state before it is in place ---- */

struct store_reading {
    struct store *store;
};

struct store_reading *store_model_reading(struct store *store)
{
    static struct store_reading reading;
    reading.store = store;
    return &reading;
}

enum err store_reading_table(struct store_reading *reading, enum store_table table,
                             enum err (*fn)(void *ctx, struct bytes key, struct bytes value),
                             void *ctx, struct why *why)
{
    return store_table_foreach(reading->store, table, fn, ctx, why);
}

enum err store_reading_leases(struct store_reading *reading,
                              enum err (*fn)(void *ctx, struct bytes key, int64_t lease), void *ctx)
{
    return store_lease_foreach(reading->store, fn, ctx);
}

/* ---- what answers later ---- */

static void answer_soon(struct store *store)
{
    if (!store->hold && !queue_empty(&store->answers) && !env_timer_active(&store->answer_timer)) {
        env_timer_start(store->env, &store->answer_timer, 0);
    }
}

static struct answer *answer_later(struct store *store)
{
    struct answer *answer = must(calloc(1, sizeof *answer));
    answer->store = store;
    queue_push_back(&store->answers, &answer->link);
    answer_soon(store);
    return answer;
}

static void finish(struct answer *answer)
{
    if (answer->events != NULL) {
        struct store_events_request *request = answer->events;
        free(answer);
        request->cb(request);
    } else if (answer->fetch != NULL) {
        struct store_fetch_request *request = answer->fetch;
        free(answer);
        request->cb(request);
    } else if (answer->range != NULL) {
        struct store_range_request *request = answer->range;
        if (answer->late && request->status == OK) {
            request->status = store_range(answer->store, &request->query, &request->result);
        }
        request->private_state = NULL;
        free(answer);
        request->cb(request);
    } else if (answer->copy != NULL) {
        struct store_copy_request *request = answer->copy;
        free(answer);
        request->cb(request);
    } else {
        struct store_hash_request *request = answer->hash;
        free(answer);
        request->cb(request);
    }
}

static void on_answer(struct env_timer *timer)
{
    struct store *store = CONTAINER_OF(timer, struct store, answer_timer);
    struct queue *link = queue_pop_front(&store->answers);
    answer_soon(store);
    finish(QUEUE_ELEM(link, struct answer, link));
}

void store_range_start(struct store *store, struct store_range_request *request,
                       void (*cb)(struct store_range_request *request))
{
    request->cb = cb;
    request->status = store->late ? OK : store_range(store, &request->query, &request->result);
    struct answer *answer = answer_later(store);
    answer->range = request;
    answer->late = store->late;
    request->private_state = answer;
}

void store_range_cancel(struct store_range_request *request)
{
    if (request->private_state != NULL && request->status == OK) {
        range_result_fini(&request->result);
        request->status = ERR_CANCELLED;
    }
}

void store_events_start(struct store *store, struct store_events_request *request,
                        void (*cb)(struct store_events_request *request))
{
    int64_t to = request->to < store->gone ? request->to : store->gone;
    request->cb = cb;
    request->records = (struct record_list){0};
    request->next = request->from;
    request->status = store->fail_events;
    if (request->status == OK && request->from < store->compacted) {
        request->status = ERR_COMPACTED;
    }
    if (request->status == OK && request->from <= to) {
        request->next =
            take_events(store, request->from, to, request->max_bytes, &request->records);
    }
    answer_later(store)->events = request;
}

void store_fetch_start(struct store *store, struct store_fetch_request *request,
                       void (*cb)(struct store_fetch_request *request))
{
    request->cb = cb;
    request->status = store->fail_events;
    for (size_t i = 0; i < request->count && request->status == OK; i++) {
        request->status = store_record(store, request->revs[i], &request->records[i]);
    }
    answer_later(store)->fetch = request;
}

uint64_t store_range_cost(const struct store *store, const struct range_query *query)
{
    return !store->dear || query->range_end.len == 0 ? 1 : STORE_RANGE_CHEAP + 1;
}

static void write_field(struct buf *buf, unsigned field, uint64_t value)
{
    if (value != 0) {
        write_u8(buf, (uint8_t)(field << 3));
        write_varint(buf, value);
    }
}

static void write_text(struct buf *buf, unsigned field, struct bytes text)
{
    if (text.len > 0) {
        write_u8(buf, (uint8_t)(field << 3 | 2));
        write_var_bytes(buf, text);
    }
}

/* mvccpb.KeyValue; of a tombstone the key alone. */
static void write_key_value(struct buf *buf, const struct record *record)
{
    write_text(buf, 1, record_key(record));
    if (!record->tombstone) {
        write_field(buf, 2, (uint64_t)record->create_revision);
        write_field(buf, 3, (uint64_t)record_mod_revision(record));
        write_field(buf, 4, (uint64_t)record->version);
        write_text(buf, 5, record_value(record));
        write_field(buf, 6, (uint64_t)record->lease);
    }
}

/* etcd's HashKV: of the records up to the compaction, those that are superseded at AT do not count,
 * unless nothing is alive at AT; a tombstone at the compaction never does. */
static bool hashed(const struct store *store, const struct record *record, int64_t at,
                   bool any_alive)
{
    int64_t revision = record_mod_revision(record);
    if (revision > store->compacted || revision > at) {
        return revision <= at;
    }
    return !record->tombstone && (!any_alive || newest(store, record_key(record), at) == record);
}

static uint32_t hash_records(const struct store *store, int64_t at)
{
    CLEANUP(buf_fini) struct buf all = {0};
    buf_append_str(&all, "key");
    struct record_list alive = live(store, bytes_of("", 1), bytes_of("", 1), at);
    free(alive.items);
    for (size_t i = 0; i < store->log.count; i++) {
        const struct record *record = store->log.items[i];
        int64_t revision = record_mod_revision(record);
        if (hashed(store, record, at, alive.count > 0)) {
            write_u64_be(&all, (uint64_t)revision);
            buf_append_str(&all, "_");
            write_u64_be(&all, revision_sub(record->rev));
            buf_append_str(&all, record->tombstone ? "t" : "");
            write_key_value(&all, record);
        }
    }
    return crc32c(0, all.data, all.len);
}

void store_hash_start(struct store *store, struct store_hash_request *request,
                      void (*cb)(struct store_hash_request *request))
{
    int64_t at = request->revision == 0 ? store->revision : request->revision;
    request->cb = cb;
    request->status = at > store->revision              ? ERR_FUTURE_REVISION
                      : at > 0 && at < store->compacted ? ERR_COMPACTED
                                                        : OK;
    request->hash = hash_records(store, at);
    request->hash_revision = at;
    request->compact_revision = store->compacted;
    request->current_revision = store->revision;
    answer_later(store)->hash = request;
}

void store_hash_cancel(struct store_hash_request *request)
{
    (void)request; /* the outcome is faster */
}

void store_copy_start(struct store *store, struct store_copy_request *request,
                      void (*cb)(struct store_copy_request *request))
{
    request->cb = cb;
    request->status = store->fail_copy;
    if (request->status == OK) {
        FILE *file = must(fopen(request->path, "wxe"));
        for (uint64_t i = 0; i < store->size; i++) {
            (void)fputc(store_model_copied(i), file);
        }
        ASSERT(fclose(file) == 0);
    }
    answer_later(store)->copy = request;
}

uint8_t store_model_copied(uint64_t at)
{
    return (uint8_t)(at * 31 >> 3);
}

void store_model_fail_copy(struct store *store, enum err err)
{
    store->fail_copy = err;
}

void store_replace_start(struct store *store, struct store_replace_request *request,
                         void (*cb)(struct store_replace_request *request))
{
    (void)store, (void)request, (void)cb;
    fatal("store model: nothing takes its place");
}

const char *store_path(const struct store *store)
{
    (void)store;
    return "store-model.db";
}

void store_defragment_start(struct store *store, struct store_copy_request *request,
                            void (*cb)(struct store_copy_request *request))
{
    request->cb = cb;
    request->status = store->fail_defragment;
    store->size /= request->status == OK ? 2 : 1;
    answer_later(store)->copy = request;
}

void store_compact_wait(struct store *store, struct store_wait *wait,
                        void (*cb)(struct store_wait *wait))
{
    wait->cb = cb;
    queue_push_back(&store->waits, &wait->link);
}

void store_durable_wait(struct store *store, struct store_wait *wait, uint64_t index,
                        void (*cb)(struct store_wait *wait))
{
    wait->target = index;
    store_compact_wait(store, wait, cb);
}

void store_wait_cancel(struct store_wait *wait)
{
    queue_remove(&wait->link);
}

/* ---- figures ---- */

int64_t store_revision(const struct store *store)
{
    return store->revision;
}

int64_t store_compacted_revision(const struct store *store)
{
    return store->compacted;
}

uint64_t store_applied_index(const struct store *store)
{
    return store->index;
}

uint64_t store_durable_index(const struct store *store)
{
    return store->index;
}

size_t store_pending_bytes(const struct store *store)
{
    return store->pending;
}

uint64_t store_size_bytes(const struct store *store)
{
    return store->size;
}

uint64_t store_promised_bytes(const struct store *store)
{
    (void)store;
    return 0;
}

uint64_t store_size_in_use_bytes(const struct store *store)
{
    return store->size / 2;
}

uint64_t store_key_count(const struct store *store)
{
    struct record_list all =
        live(store, bytes_of("", 1), bytes_of("", 1), INT64_MAX); /* from NUL on: all of them */
    free(all.items);
    return all.count;
}

struct set_hash store_tables_hash(const struct store *store)
{
    struct set_hash hash = {0};
    for (size_t i = 0; i < store->row_count; i++) {
        const struct row *row = &store->rows[i];
        uint32_t key = crc32c((uint32_t)row->table, row->key->data, row->key->len);
        set_hash_add(&hash, set_hash_element(crc32c(key, row->value->data, row->value->len), key));
    }
    return hash;
}

struct set_hash store_set_hash(const struct store *store)
{
    struct set_hash hash = {0};
    for (size_t i = 0; i < store->all.count; i++) {
        const struct record *record = store->all.items[i];
        struct bytes value = record_value(record);
        struct bytes key = record_key(record);
        uint64_t content = crc32c(crc32c(0, key.data, key.len), value.data, value.len);
        set_hash_add(&hash, set_hash_element(content, record->rev));
    }
    return hash;
}

uint64_t store_committed_index(const struct store *store)
{
    return store->index;
}

void store_on_commit(struct store *store, void (*fn)(void *ctx), void *ctx)
{
    store->on_commit = fn;
    store->on_commit_ctx = ctx;
}

void store_set_turn(struct store *store, unsigned (*fn)(void *ctx), void *ctx)
{
    store->turn = fn;
    store->turn_ctx = ctx;
}

unsigned store_model_turn(const struct store *store)
{
    return store->turn != NULL ? store->turn(store->turn_ctx) : 0;
}

const char *store_damage(const struct store *store)
{
    return store->damage;
}

void store_model_set_damage(struct store *store, const char *place)
{
    store->damage = place;
}

void store_manifest(const struct store *store, struct buf *buf)
{
    struct store_manifest manifest = {.applied_index = store->index,
                                      .applied_term = 1,
                                      .revision = store->revision,
                                      .compacted_revision = store->compacted};
    store_manifest_encode(&manifest, buf);
}

void store_check(const struct store *store)
{
    ASSERT(!store->in_txn || store->in_entry);
    for (size_t i = 1; i < store->log.count; i++) {
        ASSERT(store->log.items[i - 1]->rev < store->log.items[i]->rev);
    }
}

/* ---- for tests ---- */

size_t store_model_range_records_max(const struct store *store)
{
    return store->range_records_max;
}

void store_model_fail_range(struct store *store, enum err err)
{
    store->fail_range = err;
}

void store_model_fail_defragment(struct store *store, enum err err)
{
    store->fail_defragment = err;
}

void store_model_forget(struct store *store, int64_t revision)
{
    store->gone = revision;
}

void store_model_fail_events(struct store *store, enum err err)
{
    store->fail_events = err;
}

void store_model_set_dear(struct store *store, bool dear)
{
    store->dear = dear;
}

void store_model_set_late(struct store *store, bool late)
{
    store->late = late;
}

void store_model_answer(struct store *store)
{
    struct queue *link = queue_pop_front(&store->answers);
    ASSERT(link != NULL);
    finish(QUEUE_ELEM(link, struct answer, link));
}

void store_model_hold(struct store *store, bool hold)
{
    store->hold = hold;
    if (hold) {
        env_timer_stop(store->env, &store->answer_timer);
    } else {
        answer_soon(store);
    }
}

void store_model_compacted(struct store *store)
{
    struct queue *link;
    while ((link = queue_pop_front(&store->waits)) != NULL) {
        struct store_wait *wait = QUEUE_ELEM(link, struct store_wait, link);
        wait->cb(wait);
    }
}

static size_t queue_count(const struct queue *queue)
{
    size_t count = 0;
    QUEUE_FOREACH (link, queue) {
        count++;
    }
    return count;
}

size_t store_model_waiting(const struct store *store)
{
    return queue_count(&store->answers) + queue_count(&store->waits);
}

size_t store_model_cancelled(const struct store *store)
{
    size_t count = 0;
    QUEUE_FOREACH (link, &store->answers) {
        const struct answer *answer = QUEUE_ELEM(link, struct answer, link);
        count += answer->range != NULL && answer->range->status == ERR_CANCELLED;
    }
    return count;
}

void store_model_set_size(struct store *store, uint64_t bytes)
{
    store->size = bytes;
}

void store_model_set_pending(struct store *store, size_t bytes)
{
    store->pending = bytes;
}

uint64_t store_model_entry_count(const struct store *store)
{
    return store->entry_count;
}

size_t store_model_row_count(const struct store *store, enum store_table table)
{
    size_t count = 0;
    for (size_t i = 0; i < store->row_count; i++) {
        count += store->rows[i].table == table;
    }
    return count;
}
