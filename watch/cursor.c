/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/cursor.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/plant.h"
#include "watch/hub_private.h"

/* So many previous values of a slice are read on the loop, a row each, when they are not in memory:
 * a few updates should not wait for a thread. */
#define LOADS_ON_LOOP_MAX 24u
/* With more, the slice ends early: values may be large. */
#define FETCH_MAX 128u

void cursor_init(struct cursor *cursor, struct hub *hub, uint8_t number)
{
    *cursor = (struct cursor){.hub = hub, .number = number};
    queue_init(&cursor->watchers);
    queue_init(&cursor->joining);
    queue_init(&cursor->touches);
}

static void drop_items(struct cursor *cursor, size_t from)
{
    for (size_t i = from; i < cursor->item_count; i++) {
        struct slice_item *item = &cursor->items[i];
        record_unref(item->record);
        record_unref(item->prev);
        blob_unref(item->plain);
        blob_unref(item->with_prev);
    }
    cursor->item_count = from;
}

static void drop_slice(struct cursor *cursor)
{
    drop_items(cursor, 0);
    cursor->items = NULL;
    arena_reset(&cursor->arena);
}

void cursor_cut(struct cursor *cursor, size_t count)
{
    ASSERT(count > 0);
    while (count < cursor->item_count && record_mod_revision(cursor->items[count].record) ==
                                             record_mod_revision(cursor->items[count - 1].record)) {
        count++;
    }
    if (count < cursor->item_count) {
        cursor->slice_end = record_mod_revision(cursor->items[count].record);
        drop_items(cursor, count);
    }
}

void cursor_fini(struct cursor *cursor)
{
    ASSERT(queue_empty(&cursor->touches));
    ASSERT(cursor->state != CURSOR_READING && cursor->state != CURSOR_FETCHING);
    drop_slice(cursor);
    arena_fini(&cursor->arena);
}

int64_t cursor_reach(const struct cursor *cursor)
{
    bool has_slice = cursor->state == CURSOR_FETCHING || cursor->state == CURSOR_LOADED ||
                     cursor->state == CURSOR_TELLING;
    return has_slice ? cursor->slice_end : cursor->position;
}

void cursor_move_on(struct cursor *cursor)
{
    ASSERT(cursor->state == CURSOR_TELLING);
    ASSERT(queue_empty(&cursor->touches));
    drop_slice(cursor);
    cursor->position = cursor->slice_end;
    cursor->state = CURSOR_AT_REST;
}

/* ---- what stands in the way ---- */

/* The slice cannot be had: for now, or for good. */
static void fail(struct cursor *cursor, enum err err)
{
    drop_slice(cursor);
    if (err == ERR_NOMEM || err == ERR_STOPPED) {
        /* No memory: perhaps a moment later. Stopped: that store was replaced, the new one has it.
         */
        cursor->state = CURSOR_AT_REST;
        hub_retry(cursor->hub);
        return;
    }
    cursor->state = CURSOR_ENDING;
    cursor->why = err;
    cursor->ending_left = cursor->count;
    if (err == ERR_COMPACTED) {
        cursor->position = store_compacted_revision(cursor->hub->store);
    }
    hub_wake(cursor->hub);
}

/* ---- previous values ---- */

static void on_wanting_group(struct watchgroup *group, void *ctx)
{
    bool *wanted = ctx;
    *wanted |= group->prev_kv_count > 0;
}

static const struct record *record_at(const struct cursor *cursor, revision_t rev)
{
    size_t low = 0;
    size_t high = cursor->item_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cursor->items[middle].record->rev < rev) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < cursor->item_count && cursor->items[low].record->rev == rev;
    return found ? cursor->items[low].record : NULL;
}

static bool is_creation(const struct record *record)
{
    return !record->tombstone && record->version == 1;
}

/* Of the value that the key had before the revision of RECORD, 0: none. etcd reads it one revision
 * back, so what a transaction puts and deletes again was never there:
 *
 *   put k@5   txn {put k@6.0, delete k@6.1}: the value before both events is that of 5 */
static revision_t rev_before(const struct cursor *cursor, const struct record *record)
{
    int64_t revision = record_mod_revision(record);
    if (is_creation(record)) {
        return 0;
    }
    while (revision_main(record->prev_rev) == revision) {
        record = record_at(cursor, record->prev_rev);
        if (record == NULL) {
            return 0; /* compacted, and the revision before with it */
        }
    }
    return is_creation(record) ? 0 : record->prev_rev;
}

/* Is the value at REV, before RECORD, something that a watcher asked for, and that can be seen? */
static bool wants_prev(const struct hub *hub, const struct record *record, revision_t rev)
{
    if (rev == 0 || record_mod_revision(record) - 1 < store_compacted_revision(hub->store)) {
        return false;
    }
    bool wanted = false;
    watchgroup_find(&hub->groups, record_key(record), on_wanting_group, &wanted);
    return wanted;
}

/* Take from memory what is there; the number of those that are not, noted in cursor->missing. */
static enum err look_for_prevs(struct cursor *cursor, size_t *ret)
{
    size_t missing = 0;
    for (size_t i = 0; i < cursor->item_count; i++) {
        struct slice_item *item = &cursor->items[i];
        revision_t rev = rev_before(cursor, item->record);
        if (item->prev != NULL || !wants_prev(cursor->hub, item->record, rev)) {
            continue;
        }
        struct record *prev = store_recent_record(cursor->hub->store, rev);
        if (PLANTED_EVERY(WATCH_PREV, 16) && !item->record->tombstone) {
            prev = item->record;
        }
        if (prev != NULL) {
            item->prev = record_ref(prev);
            continue;
        }
        if (cursor->missing == NULL) {
            cursor->missing =
                arena_calloc(&cursor->arena, cursor->item_count, sizeof cursor->missing[0]);
            if (cursor->missing == NULL) {
                return ERR_NOMEM;
            }
        }
        cursor->missing[missing++] = (uint32_t)i;
        if (missing == FETCH_MAX) {
            cursor_cut(cursor, i + 1);
        }
    }
    *ret = missing;
    return OK;
}

static enum err load_prevs(struct cursor *cursor, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slice_item *item = &cursor->items[cursor->missing[i]];
        TRY(store_record(cursor->hub->store, rev_before(cursor, item->record), &item->prev));
    }
    return OK;
}

static void on_fetched(struct store_fetch_request *request)
{
    struct cursor *cursor = CONTAINER_OF(request, struct cursor, fetch);
    if (request->status != OK) {
        fail(cursor, request->status);
        return;
    }
    for (size_t i = 0; i < request->count; i++) {
        cursor->items[cursor->missing[i]].prev = request->records[i];
    }
    cursor->state = CURSOR_LOADED;
    hub_wake(cursor->hub);
}

static enum err fetch_prevs(struct cursor *cursor, size_t count)
{
    revision_t *revs = arena_calloc(&cursor->arena, count, sizeof revs[0]);
    struct record **records = arena_calloc(&cursor->arena, count, sizeof(struct record *));
    if (revs == NULL || records == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        revs[i] = rev_before(cursor, cursor->items[cursor->missing[i]].record);
    }
    cursor->fetch = (struct store_fetch_request){.revs = revs, .count = count, .records = records};
    cursor->state = CURSOR_FETCHING;
    store_fetch_start(cursor->hub->store, &cursor->fetch, on_fetched);
    return OK;
}

static enum err get_prevs(struct cursor *cursor)
{
    size_t missing;
    cursor->missing = NULL;
    TRY(look_for_prevs(cursor, &missing));
    if (missing > LOADS_ON_LOOP_MAX) {
        return fetch_prevs(cursor, missing);
    }
    TRY(load_prevs(cursor, missing));
    cursor->state = CURSOR_LOADED;
    return OK;
}

/* ---- records ---- */

/* LIST, which is taken over, is everything of [position, END). */
static void take_records(struct cursor *cursor, struct record_list *list, int64_t end)
{
    cursor->items = arena_calloc(&cursor->arena, list->count + 1, sizeof cursor->items[0]);
    if (cursor->items == NULL) {
        record_list_fini(list);
        fail(cursor, ERR_NOMEM);
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        cursor->items[i].record = list->items[i];
    }
    cursor->item_count = list->count;
    list->count = 0; /* the counts are the items' now */
    record_list_fini(list);
    cursor->slice_end = end;
    enum err err = get_prevs(cursor);
    if (err != OK) {
        fail(cursor, err);
    }
}

static void on_read(struct store_events_request *request)
{
    struct cursor *cursor = CONTAINER_OF(request, struct cursor, read);
    ASSERT(cursor->state == CURSOR_READING);
    cursor->state = CURSOR_AT_REST;
    if (request->status != OK) {
        fail(cursor, request->status);
        return;
    }
    if (request->next > request->from && !cursor->hub->stopped) {
        take_records(cursor, &request->records, request->next);
    } else {
        record_list_fini(&request->records);
    }
    if (cursor->state != CURSOR_AT_REST || request->next == request->from) {
        hub_wake(cursor->hub); /* else there was no memory, and it is tried again in a while */
    }
}

void cursor_read(struct cursor *cursor, int64_t to)
{
    ASSERT(cursor->state == CURSOR_AT_REST);
    ASSERT(cursor->position <= to);
    struct store *store = cursor->hub->store;
    if (to - cursor->position >= WATCH_SLICE_REVISIONS) {
        to = cursor->position + WATCH_SLICE_REVISIONS - 1;
    }
    struct record_list list = {0};
    enum err err = store_events_recent(store, cursor->position, to, WATCH_SLICE_BYTES, &list);
    if (err == OK && list.count > 0) {
        take_records(cursor, &list, record_mod_revision(list.items[list.count - 1]) + 1);
    } else if (err == OK) {
        record_list_fini(&list);
        cursor->position = to + 1; /* nothing was changed by these */
    } else if (err == ERR_NOT_FOUND) {
        cursor->read = (struct store_events_request){
            .from = cursor->position, .to = to, .max_bytes = WATCH_SLICE_BYTES};
        cursor->state = CURSOR_READING;
        store_events_start(store, &cursor->read, on_read);
    } else {
        fail(cursor, err);
    }
}
