/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/delivery.h"

#include "base/assert.h"
#include "base/plant.h"
#include "watch/event.h"

#define TOLD_COST 2u /* of the budget: whom something is told; 1: who is looked at */

/* A slice that concerns more than this is cut: where many ranges overlap, records times groups must
 * not be held at once. */
#define MATCHES_MAX 16384u

/* What a group is told of a slice by one of its ways to ask, from an item on. In the arena of the
 * slice. */
struct batch {
    struct watch_events events; /* count 0: nothing passes the filters */
    struct touch *touch;
    uint32_t from; /* in touch->places */
    bool with_prev;
    struct slice_item **items;
    struct blob *bytes; /* counted */
    size_t *ends;
};

/* prev_kv, no_put, no_delete: each bit another way to ask. */
#define WAYS 8u

/* A group that the slice concerns. */
struct touch {
    struct queue link; /* in cursor->touches */
    struct cursor *cursor;
    struct watchgroup *group; /* counted */
    bool begun;
    struct queue todo; /* its members that have not been looked at yet */
    uint32_t *places;  /* of its records among the slice's items */
    uint32_t count;
    uint32_t cap;
    struct batch *batches[WAYS];
};

/* ---- finding the groups ---- */

struct match {
    struct cursor *cursor;
    uint32_t place;
    size_t count;
    bool no_memory;
};

static struct touch *touch_of(struct cursor *cursor, struct watchgroup *group)
{
    struct touch *touch = group->touches[cursor->number];
    if (touch == NULL) {
        touch = arena_calloc(&cursor->arena, 1, sizeof *touch);
        if (touch != NULL) {
            touch->cursor = cursor;
            touch->group = group;
            queue_init(&touch->todo);
            group->refs++;
            group->touches[cursor->number] = touch;
            queue_push_back(&cursor->touches, &touch->link);
        }
    }
    return touch;
}

static bool add_place(struct touch *touch, uint32_t place)
{
    if (touch->count == touch->cap) {
        uint32_t cap = touch->cap == 0 ? 4 : 2 * touch->cap;
        uint32_t *places = arena_alloc(&touch->cursor->arena, cap * sizeof places[0]);
        if (places == NULL) {
            return false;
        }
        if (touch->count > 0) {
            memcpy(places, touch->places, touch->count * sizeof places[0]);
        }
        touch->places = places;
        touch->cap = cap;
    }
    touch->places[touch->count++] = place;
    return true;
}

static void on_match(struct watchgroup *group, void *ctx)
{
    struct match *match = ctx;
    if (queue_empty(&group->members[match->cursor->number])) {
        return;
    }
    struct touch *touch = touch_of(match->cursor, group);
    if (touch == NULL || !add_place(touch, match->place)) {
        match->no_memory = true;
    }
    match->count++;
}

static void drop_touch(struct touch *touch)
{
    struct cursor *cursor = touch->cursor;
    queue_splice(&touch->group->members[cursor->number], &touch->todo);
    for (unsigned way = 0; way < WAYS; way++) {
        if (touch->batches[way] != NULL) {
            blob_unref(touch->batches[way]->bytes);
        }
    }
    touch->group->touches[cursor->number] = NULL;
    queue_remove(&touch->link);
    watchgroup_unref(&cursor->hub->groups, touch->group);
}

void delivery_drop(struct cursor *cursor)
{
    while (!queue_empty(&cursor->touches)) {
        drop_touch(QUEUE_ELEM(cursor->touches.next, struct touch, link));
    }
}

enum err delivery_begin(struct cursor *cursor)
{
    ASSERT(cursor->state == CURSOR_LOADED);
    struct match match = {.cursor = cursor};
    for (size_t i = 0; i < cursor->item_count; i++) {
        match.place = (uint32_t)i;
        watchgroup_find(&cursor->hub->groups, record_key(cursor->items[i].record), on_match,
                        &match);
        if (match.no_memory) {
            delivery_drop(cursor);
            return ERR_NOMEM;
        }
        if (match.count > MATCHES_MAX) {
            match.count = 0;
            cursor_cut(cursor, i + 1);
        }
    }
    cursor->state = CURSOR_TELLING;
    return OK;
}

/* ---- what is told ---- */

static bool passes(const struct watcher *watcher, const struct record *record)
{
    return record->tombstone ? !watcher->no_delete : !watcher->no_put;
}

static struct batch *make_batch(struct touch *touch, const struct watcher *watcher, uint32_t from)
{
    struct cursor *cursor = touch->cursor;
    struct batch *batch = arena_calloc(&cursor->arena, 1, sizeof *batch);
    struct slice_item **items =
        arena_alloc(&cursor->arena, (touch->count - from) * sizeof(struct slice_item *));
    if (batch == NULL || items == NULL) {
        return NULL;
    }
    batch->touch = touch;
    batch->from = from;
    batch->with_prev = watcher->prev_kv;
    batch->items = items;
    for (uint32_t i = from; i < touch->count; i++) {
        struct slice_item *item = &cursor->items[touch->places[i]];
        if (passes(watcher, item->record)) {
            items[batch->events.count++] = item;
        }
    }
    if (batch->events.count > 0) {
        const struct record *last = items[batch->events.count - 1]->record;
        batch->events.revision =
            cursor->number == LIVE ? record_mod_revision(last) : store_revision(cursor->hub->store);
    }
    return batch;
}

/* For WATCHER, who is told from place FROM on: made before, most of the time. NULL: no memory. */
static struct batch *batch_of(struct touch *touch, const struct watcher *watcher, uint32_t from)
{
    unsigned way = (unsigned)watcher->prev_kv | watcher->no_put * 2u | watcher->no_delete * 4u;
    struct batch *batch = touch->batches[way];
    if (batch != NULL && batch->from == from) {
        return batch;
    }
    struct batch *made = make_batch(touch, watcher, from);
    if (made != NULL) {
        if (batch != NULL) {
            blob_unref(batch->bytes);
        }
        touch->batches[way] = made;
    }
    return made;
}

const struct record *watch_events_record(const struct watch_events *events, size_t i)
{
    const struct batch *batch =
        CONTAINER_OF((struct watch_events *)(uintptr_t)events, struct batch, events);
    ASSERT(i < events->count);
    return batch->items[i]->record;
}

static struct blob *event_of(struct slice_item *item, bool with_prev)
{
    bool has_prev = with_prev && item->prev != NULL;
    struct blob **event = has_prev ? &item->with_prev : &item->plain;
    if (*event == NULL) {
        *event = event_encode(item->record, has_prev ? item->prev : NULL);
    }
    return *event;
}

static bool make_bytes(struct batch *batch)
{
    size_t count = batch->events.count;
    size_t *ends = arena_alloc(&batch->touch->cursor->arena, count * sizeof ends[0]);
    if (ends == NULL) {
        return false;
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        struct blob *event = event_of(batch->items[i], batch->with_prev);
        if (event == NULL) {
            return false;
        }
        size += event->len;
        ends[i] = size;
    }
    if (count == 1) {
        batch->bytes = blob_ref(event_of(batch->items[0], batch->with_prev));
    } else {
        batch->bytes = blob_new(size);
        size_t at = 0;
        for (size_t i = 0; i < count && batch->bytes != NULL; i++) {
            const struct blob *event = event_of(batch->items[i], batch->with_prev);
            memcpy(batch->bytes->data + at, event->data, event->len);
            at += event->len;
        }
    }
    batch->ends = ends;
    return batch->bytes != NULL;
}

struct blob *watch_events_bytes(const struct watch_events *events, const size_t **ends)
{
    struct batch *batch =
        CONTAINER_OF((struct watch_events *)(uintptr_t)events, struct batch, events);
    if (batch->bytes == NULL && !make_bytes(batch)) {
        return NULL;
    }
    if (ends != NULL) {
        *ends = batch->ends;
    }
    return batch->bytes;
}

/* ---- telling ---- */

static int64_t revision_at(const struct touch *touch, uint32_t i)
{
    return record_mod_revision(touch->cursor->items[touch->places[i]].record);
}

/* The first of the touch's places that is not below REVISION. */
static uint32_t first_from(const struct touch *touch, int64_t revision)
{
    uint32_t low = 0;
    uint32_t high = touch->count;
    if (revision <= touch->cursor->position || PLANTED(WATCH_TWICE)) {
        return 0;
    }
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (revision_at(touch, mid) < revision) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The callback may free WATCHER. */
static enum err tell(struct touch *touch, struct watcher *watcher, size_t *budget)
{
    struct watch_stream *stream = watcher->stream;
    uint32_t from = first_from(touch, watcher->next);
    if (from == touch->count || stream->closed) {
        return OK;
    }
    struct batch *batch = batch_of(touch, watcher, from);
    if (batch == NULL) {
        return ERR_NOMEM;
    }
    if (batch->events.count == 0) {
        return OK;
    }
    *budget -= *budget < TOLD_COST ? *budget : TOLD_COST;
    if (stream->ops->ready != NULL && !stream->ops->ready(stream)) {
        int64_t next = record_mod_revision(batch->items[0]->record);
        hub_park(watcher, next + (PLANTED(WATCH_PARKED_LATE) ? 1 : 0));
        return OK;
    }
    counter_add(touch->cursor->hub->events_total, (double)batch->events.count);
    stream->ops->events(stream, watcher, &batch->events);
    return OK;
}

static bool tell_group(struct touch *touch, size_t *budget, enum err *err)
{
    struct queue *members = &touch->group->members[touch->cursor->number];
    if (!touch->begun) {
        touch->begun = true;
        queue_splice(&touch->todo, members);
    }
    while (!queue_empty(&touch->todo)) {
        if (*budget == 0) {
            return false;
        }
        *budget -= 1;
        struct queue *link = queue_pop_front(&touch->todo);
        queue_push_back(members, link);
        *err = tell(touch, QUEUE_ELEM(link, struct watcher, link), budget);
        if (*err != OK) {
            queue_remove(link);
            queue_push_front(&touch->todo, link);
            return false;
        }
    }
    return true;
}

bool delivery_go_on(struct cursor *cursor, size_t *budget, enum err *err)
{
    ASSERT(cursor->state == CURSOR_TELLING);
    *err = OK;
    while (!queue_empty(&cursor->touches)) {
        struct touch *touch = QUEUE_ELEM(cursor->touches.next, struct touch, link);
        if (!tell_group(touch, budget, err)) {
            return false;
        }
        drop_touch(touch);
    }
    return true;
}
