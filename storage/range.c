/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/range.h"

#include <stdlib.h>

#include "base/array.h"

#define ITEMS_FIRST 16u

/* ---- the plan ---- */

static bool has_filter(const struct range_query *query)
{
    return query->min_mod_revision != 0 || query->max_mod_revision != 0 ||
           query->min_create_revision != 0 || query->max_create_revision != 0;
}

/* etcd cuts while it collects when no order is asked for, even if it then sorts by a target other
 * than the key; so do we. In ascending order of keys that is the same as cutting at the end. */
static bool cuts_early(const struct range_query *query)
{
    bool key_order =
        query->sort == SORT_NONE || (query->sort == SORT_ASCEND && query->target == TARGET_KEY);
    return query->limit > 0 && key_order && !has_filter(query);
}

static struct key_range range_of(const struct range_query *query)
{
    return (struct key_range){.key = query->key, .end = query->range_end};
}

enum err range_begin(struct range_walk *walk, struct store *store, const struct range_query *query)
{
    int64_t newest = store->state.revision;
    int64_t at = query->revision <= 0 ? newest : query->revision;
    TRY(store_check_revision(store, at));
    *walk = (struct range_walk){.store = store, .query = *query, .at = at};
    walk->result.revision = newest;
    walk->sorted = query->target != TARGET_KEY || query->sort == SORT_DESCEND;
    walk->by_value = walk->sorted && query->target == TARGET_VALUE;
    walk->collect_max = UINT64_MAX;
    if (query->count_only) {
        walk->collect_max = 0;
    } else if (cuts_early(query)) {
        walk->collect_max = (uint64_t)query->limit + 1; /* one more, to know that there is more */
    }
    if (query->uncounted) {
        walk->count_known = true;
    } else if (at == newest) {
        struct key_range range = range_of(query);
        walk->result.count = (int64_t)keyindex_count(store->index, &range);
        walk->count_known = true;
    }
    return OK;
}

/* ---- WALK ---- */

static bool passes(const struct range_query *query, const struct version *version)
{
    int64_t mod = revision_main(version->rev);
    int64_t create = version->create_revision;
    return (query->max_mod_revision == 0 || mod <= query->max_mod_revision) &&
           (query->min_mod_revision == 0 || mod >= query->min_mod_revision) &&
           (query->max_create_revision == 0 || create <= query->max_create_revision) &&
           (query->min_create_revision == 0 || create >= query->min_create_revision);
}

static struct record *record_of_version(struct bytes key, const struct version *version)
{
    struct record *record = record_new(key, bytes_of(NULL, 0));
    if (record != NULL) {
        record->rev = version->rev;
        record->create_revision = version->create_revision;
        record->version = version->version;
    }
    return record;
}

static enum err collect(struct range_walk *walk, struct bytes key, const struct version *version)
{
    if (!ARRAY_MAKE_ROOM(walk->items, walk->count, walk->cap, ITEMS_FIRST)) {
        return ERR_NOMEM;
    }
    struct record *record = NULL;
    if (walk->query.keys_only && !walk->by_value) {
        record = record_of_version(key, version);
        if (record == NULL) {
            return ERR_NOMEM;
        }
    }
    walk->items[walk->count] = (struct range_item){
        .rev = version->rev,
        .create_revision = version->create_revision,
        .version = version->version,
        .place = walk->count,
        .record = record,
    };
    walk->count++;
    return OK;
}

static enum err look_at(struct range_walk *walk, const struct keyindex_cursor *cursor)
{
    struct version version;
    if (!keyindex_find(cursor, walk->at, &version)) {
        return OK;
    }
    walk->result.count += !walk->count_known;
    if (walk->count < walk->collect_max && passes(&walk->query, &version)) {
        return collect(walk, keyindex_key(cursor), &version);
    }
    return OK;
}

/* Stand on a key of the range that may be seen, here or behind; false: there is none. Keys that are
 * dead and not compacted yet may be millions: at the newest revision they are passed at once. */
static bool to_next(const struct range_walk *walk, struct keyindex_cursor *cursor)
{
    struct key_range range = range_of(&walk->query);
    if (walk->at == walk->store->state.revision) {
        keyindex_to_living(cursor);
    }
    return keyindex_valid(cursor) && key_range_before_end(&range, keyindex_key(cursor));
}

/* Stand on the first key that was not looked at; false: there is none. */
static bool seek(const struct range_walk *walk, struct keyindex_cursor *cursor)
{
    struct key_range range = range_of(&walk->query);
    keyindex_seek(walk->store->index, walk->begun ? buf_bytes(&walk->resume) : range.key, cursor);
    if (walk->begun && keyindex_valid(cursor) &&
        bytes_equal(keyindex_key(cursor), buf_bytes(&walk->resume))) {
        keyindex_next(cursor);
    }
    return to_next(walk, cursor);
}

/* True: nothing is left that the answer needs. */
static bool has_enough(const struct range_walk *walk)
{
    return walk->count_known && walk->count >= walk->collect_max;
}

static enum err walk_some(struct range_walk *walk, size_t *budget, bool *ended)
{
    struct keyindex_cursor cursor;
    bool more = !has_enough(walk) && seek(walk, &cursor);
    while (more) {
        TRY(look_at(walk, &cursor));
        *budget -= 1;
        if (*budget == 0) {
            buf_clear(&walk->resume);
            buf_append_bytes(&walk->resume, keyindex_key(&cursor));
            walk->begun = true;
            *ended = false;
            return buf_ok(&walk->resume) ? OK : ERR_NOMEM;
        }
        keyindex_next(&cursor);
        more = !has_enough(walk) && to_next(walk, &cursor);
    }
    *ended = true;
    return OK;
}

/* ---- SORT and cut ---- */

static enum err begin_sort(struct range_walk *walk)
{
    walk->spare = calloc(walk->count, sizeof walk->spare[0]);
    if (walk->spare == NULL) {
        return ERR_NOMEM;
    }
    rangesort_begin(&walk->sort, walk->items, walk->spare, walk->count, walk->query.target,
                    walk->query.sort == SORT_DESCEND);
    return OK;
}

static void end_sort(struct range_walk *walk)
{
    walk->items = walk->sort.items;
    free(walk->sort.spare);
    walk->spare = NULL;
}

static enum err cut(struct range_walk *walk)
{
    walk->keep = walk->count;
    if (walk->query.limit > 0 && walk->count > (uint64_t)walk->query.limit) {
        walk->keep = (size_t)walk->query.limit;
        walk->result.more = true;
    }
    if (walk->keep == 0) {
        return OK;
    }
    struct record_list *records = &walk->result.records;
    records->items = calloc(walk->keep, sizeof records->items[0]);
    if (records->items == NULL) {
        return ERR_NOMEM;
    }
    records->cap = walk->keep;
    return OK;
}

/* ---- GIVE ---- */

/* A range by value that wants keys only had to read the values. */
static struct record *without_value(const struct record *record)
{
    struct record *copy = record_new(record_key(record), bytes_of(NULL, 0));
    if (copy != NULL) {
        copy->rev = record->rev;
        copy->prev_rev = record->prev_rev;
        copy->create_revision = record->create_revision;
        copy->version = record->version;
        copy->lease = record->lease;
    }
    return copy;
}

static enum err give_item(struct range_walk *walk, struct range_item *item)
{
    struct record_list *records = &walk->result.records;
    if (walk->done >= walk->keep) {
        record_unref(TAKE(item->record));
        return OK;
    }
    ASSERT(item->record != NULL);
    if (walk->query.keys_only && walk->by_value) {
        struct record *copy = without_value(item->record);
        if (copy == NULL) {
            return ERR_NOMEM;
        }
        record_unref(item->record);
        item->record = copy;
    }
    records->items[records->count++] = TAKE(item->record);
    return OK;
}

static enum err give_some(struct range_walk *walk, size_t *budget)
{
    while (walk->done<walk->count && * budget> 0) {
        TRY(give_item(walk, &walk->items[walk->done]));
        walk->done++;
        *budget -= 1;
    }
    return OK;
}

/* ---- the phases ---- */

static void walk_ended(struct range_walk *walk)
{
    walk->keep = walk->count;
    walk->phase = walk->by_value && walk->count > 0 ? RANGE_LOAD_ALL : RANGE_SORT;
}

static enum err sort_some(struct range_walk *walk, size_t *budget, bool *ended)
{
    *ended = true;
    if (!walk->sorted || walk->count == 0) {
        return OK;
    }
    if (walk->spare == NULL) {
        TRY(begin_sort(walk));
    }
    *ended = rangesort_some(&walk->sort, budget);
    return OK;
}

static enum err sort_ended(struct range_walk *walk)
{
    if (walk->spare != NULL) {
        end_sort(walk);
    }
    TRY(cut(walk));
    walk->done = 0;
    bool have_records = walk->by_value || walk->query.keys_only || walk->keep == 0;
    walk->phase = have_records ? RANGE_GIVE : RANGE_LOAD;
    return OK;
}

static enum err next_step(struct range_walk *walk, size_t *budget)
{
    bool ended = true;
    switch (walk->phase) {
    case RANGE_WALK:
        TRY(walk_some(walk, budget, &ended));
        if (ended) {
            walk_ended(walk);
        }
        return OK;
    case RANGE_SORT:
        TRY(sort_some(walk, budget, &ended));
        return ended ? sort_ended(walk) : OK;
    case RANGE_GIVE:
        TRY(give_some(walk, budget));
        walk->phase = walk->done == walk->count ? RANGE_DONE : RANGE_GIVE;
        return OK;
    case RANGE_LOAD_ALL:
    case RANGE_LOAD:
    case RANGE_DONE:
        break;
    }
    return OK;
}

bool range_wants_records(const struct range_walk *walk)
{
    return walk->phase == RANGE_LOAD_ALL || walk->phase == RANGE_LOAD;
}

enum err range_some(struct range_walk *walk, size_t *budget)
{
    while (*budget > 0 && !range_wants_records(walk) && walk->phase != RANGE_DONE) {
        TRY(next_step(walk, budget));
    }
    return OK;
}

void range_loaded(struct range_walk *walk)
{
    ASSERT(range_wants_records(walk) && walk->done == walk->keep);
    walk->done = 0;
    walk->phase = walk->phase == RANGE_LOAD_ALL ? RANGE_SORT : RANGE_GIVE;
}

void range_take_result(struct range_walk *walk, struct range_result *ret)
{
    ASSERT(walk->phase == RANGE_DONE);
    *ret = walk->result;
    walk->result = (struct range_result){0};
}

void range_fini(struct range_walk *walk)
{
    if (walk->spare != NULL) {
        end_sort(walk); /* halfway, too, one of the arrays has every item */
    }
    for (size_t i = 0; i < walk->count; i++) {
        record_unref(walk->items[i].record);
    }
    free(walk->items);
    buf_fini(&walk->resume);
    range_result_fini(&walk->result);
    *walk = (struct range_walk){0};
}

/* ---- at once ---- */

void range_result_fini(struct range_result *result)
{
    record_list_fini(&result->records);
}

/* One key, as most ranges are: no walk. */
static enum err read_one(struct store *store, const struct range_query *query,
                         struct range_result *ret)
{
    int64_t at = query->revision <= 0 ? store->state.revision : query->revision;
    TRY(store_check_revision(store, at));
    struct range_result result = {.revision = store->state.revision};
    struct version version;
    if (keyindex_get(store->index, query->key, at, &version)) {
        result.count = query->uncounted ? 0 : 1;
        struct record *record = NULL;
        if (query->keys_only && query->target != TARGET_VALUE) {
            record = record_of_version(query->key, &version);
            TRY(record == NULL ? ERR_NOMEM : OK);
        } else {
            TRY(store_load(store, version.rev, &record));
        }
        if (query->keys_only && query->target == TARGET_VALUE) {
            struct record *copy = without_value(record);
            record_unref(record);
            TRY(copy == NULL ? ERR_NOMEM : OK);
            record = copy;
        }
        if (!record_list_push(&result.records, record)) {
            record_unref(record);
            return ERR_NOMEM;
        }
    }
    *ret = result;
    return OK;
}

static enum err load_records(struct range_walk *walk)
{
    for (; walk->done < walk->keep; walk->done++) {
        struct range_item *item = &walk->items[walk->done];
        TRY(store_load(walk->store, item->rev, &item->record));
    }
    range_loaded(walk);
    return OK;
}

static enum err run(struct range_walk *walk)
{
    while (walk->phase != RANGE_DONE) {
        size_t budget = SIZE_MAX;
        TRY(range_wants_records(walk) ? load_records(walk) : range_some(walk, &budget));
    }
    return OK;
}

enum err store_range(struct store *store, const struct range_query *query, struct range_result *ret)
{
    store->operation.ranges++;
    counter_add(store->metrics.ranges, 1);
    struct key_range range = range_of(query);
    if (key_range_is_single(&range) && !query->count_only && !has_filter(query)) {
        return read_one(store, query, ret);
    }
    struct range_walk walk;
    TRY(range_begin(&walk, store, query));
    enum err err = run(&walk);
    if (err == OK) {
        range_take_result(&walk, ret);
    }
    range_fini(&walk);
    return err;
}

uint64_t store_range_cost(const struct store *store, const struct range_query *query)
{
    struct key_range range = range_of(query);
    bool at_head = query->revision <= 0 || query->revision == store->state.revision;
    if (key_range_is_single(&range) || (query->count_only && at_head)) {
        return 1;
    }
    uint64_t keys = keyindex_walk_count(store->index, &range);
    bool limited = at_head && cuts_early(query) && (uint64_t)query->limit < keys;
    return limited ? (uint64_t)query->limit : keys;
}
