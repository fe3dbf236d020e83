/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldwatch.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "proto/rpc.pb-c.h"
#include "tests/world/worldask.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"

#define WATCHES_MAX     8
#define WATCHES_USUALLY 3

struct world_watch {
    struct watcher watcher;
    struct world_stream *stream;
    int64_t number;
    bool is_on;
    bool is_wanted;
    struct watch_spec spec;
    uint32_t flags;
    uint32_t key; /* symbols of the range */
    uint32_t range_end;
    int64_t next; /* revision; 0: nothing was told yet */
};

/* A client; its streams come one after the other. */
struct world_stream {
    struct watch_stream stream; /* the hub's */
    struct queue link;          /* in world->clients->streams: open ones */
    struct world *world;
    struct worldmember *member; /* NULL: none is open */
    uint64_t life;
    int64_t process;
    struct world_watch watches[WATCHES_MAX];
    unsigned count;
    bool is_open; /* the hub knows it */
    bool is_full;
    unsigned full_per_mille;
    uint64_t full_us_max;
    unsigned place; /* it likes this one's member best; 0: none */
};

/* ---- what is noted ---- */

static void note(struct world_stream *s, struct history_event *event)
{
    struct world *world = s->world;
    event->workload = HISTORY_WATCH;
    event->process = s->process;
    event->time_ns = (int64_t)(world->now_us * 1000);
    history_add(world->clients->history, event);
}

static void note_watch(struct world_watch *watch, enum history_type type, enum history_f f,
                       int64_t revision, int64_t at_revision)
{
    struct history_item range = {.key = watch->key, .value = watch->range_end};
    struct history_event event = {.type = type,
                                  .f = f,
                                  .id = watch->number,
                                  .revision = revision,
                                  .at_revision = at_revision};
    if (f == HISTORY_START) {
        event.flags = watch->flags;
        event.items = &range;
        event.item_count = 1;
    }
    note(watch->stream, &event);
}

static bool is_heard(const struct world_stream *s)
{
    return !s->world->clients->is_over && s->member != NULL && s->member->alive &&
           s->member->life == s->life && !worldmember_is_dying(s->member);
}

static struct bytes bytes_of_proto(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static struct history_item item_of(struct world *world, const Mvccpb__Event *event)
{
    const Mvccpb__KeyValue *kv = event->kv;
    bool is_put = event->type == MVCCPB__EVENT__EVENT_TYPE__PUT;
    struct history_item item = {
        .f = is_put ? HISTORY_ITEM_PUT : HISTORY_ITEM_DELETE,
        .key = ask_symbol(world, bytes_of_proto(kv->key)),
        .value = is_put ? ask_symbol(world, bytes_of_proto(kv->value)) : HISTORY_NONE,
        .mod_revision = kv->mod_revision,
        .create_revision = kv->create_revision,
        .version = kv->version,
    };
    if (event->prev_kv != NULL) {
        item.prev_value = ask_symbol(world, bytes_of_proto(event->prev_kv->value));
        item.prev_mod_revision = event->prev_kv->mod_revision;
    }
    return item;
}

static void note_events(struct world_watch *watch, int64_t revision,
                        const Etcdserverpb__WatchResponse *response)
{
    struct world *world = watch->stream->world;
    struct history_item *items = calloc(response->n_events + 1, sizeof *items);
    ASSERT(items != NULL);
    for (size_t i = 0; i < response->n_events; i++) {
        items[i] = item_of(world, response->events[i]);
        watch->next = items[i].mod_revision + 1;
    }
    struct history_event event = {.type = HISTORY_INFO,
                                  .f = HISTORY_EVENTS,
                                  .id = watch->number,
                                  .revision = revision,
                                  .items = items,
                                  .item_count = (uint32_t)response->n_events};
    note(watch->stream, &event);
    free(items);
    world->stats.watched += response->n_events;
    world_note(world, "client: watched", (uint64_t)watch->number, response->n_events);
}

/* ---- what the hub tells ---- */

static struct world_stream *stream_of(struct watch_stream *stream)
{
    return CONTAINER_OF(stream, struct world_stream, stream);
}

static void on_read_again(struct world *world, const struct world_event *event)
{
    (void)world;
    struct world_stream *s = event->ptr;
    if (is_heard(s) && s->is_open && s->is_full) {
        s->is_full = false;
        hub_stream_ready(&s->stream);
    }
}

static bool on_is_ready(struct watch_stream *stream)
{
    struct world_stream *s = stream_of(stream);
    struct world *world = s->world;
    if (!s->is_full && world_chance(world, s->full_per_mille)) {
        s->is_full = true;
        world_at(world, world_between(world, 1, s->full_us_max),
                 &(struct world_event){
                     .run = on_read_again, .place = s->member->place, .life = s->life, .ptr = s});
    }
    return !s->is_full;
}

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    struct world_stream *s = stream_of(stream);
    struct world_watch *watch = CONTAINER_OF(watcher, struct world_watch, watcher);
    if (!is_heard(s)) {
        return;
    }
    const size_t *ends;
    struct blob *blob = watch_events_bytes(events, &ends);
    ASSERT(blob != NULL);
    Etcdserverpb__WatchResponse *response =
        etcdserverpb__watch_response__unpack(NULL, blob_bytes(blob).len, blob_bytes(blob).data);
    if (response == NULL || response->n_events != events->count) {
        world_fail(s->world, "watch", "events that cannot be read");
    }
    note_events(watch, events->revision, response);
    etcdserverpb__watch_response__free_unpacked(response, NULL);
}

static void on_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                     int64_t compact_revision)
{
    struct world_stream *s = stream_of(stream);
    struct world_watch *watch = CONTAINER_OF(watcher, struct world_watch, watcher);
    if (!is_heard(s)) {
        return;
    }
    watch->is_on = false;
    watch->is_wanted = false; /* what it lacks is gone */
    note_watch(watch, HISTORY_INFO, HISTORY_CANCEL, 0, why == ERR_COMPACTED ? compact_revision : 0);
}

static void on_progress(struct watch_stream *stream, int64_t revision)
{
    struct world_stream *s = stream_of(stream);
    if (!is_heard(s)) {
        return;
    }
    struct history_event event = {
        .type = HISTORY_INFO, .f = HISTORY_PROGRESS, .id = HISTORY_WATCH_ALL, .revision = revision};
    note(s, &event);
    for (unsigned i = 0; i < s->count; i++) {
        if (s->watches[i].is_on && s->watches[i].next <= revision) {
            s->watches[i].next = revision + 1;
        }
    }
}

static const struct watch_stream_ops stream_ops = {
    .ready = on_is_ready,
    .events = on_events,
    .ended = on_ended,
    .progress = on_progress,
};

/* ---- a stream ---- */

static void open_later(struct world_stream *s);

static void start_watch(struct world_watch *watch)
{
    struct world_stream *s = watch->stream;
    struct store *store = server_store(s->member->now->server);
    watch->spec.start_revision = watch->next;
    note_watch(watch, HISTORY_INVOKE, HISTORY_START, 0, watch->next);
    int64_t revision = store_revision(store);
    enum err err = hub_watch(&s->stream, &watch->watcher, &watch->spec);
    ASSERT(err == OK);
    watch->is_on = true;
    note_watch(watch, HISTORY_OK, HISTORY_START, revision, watch->next);
    if (watch->next == 0) {
        watch->next = revision + 1;
    }
}

static void do_open(struct world *world, const struct world_event *event)
{
    struct world_stream *s = event->ptr;
    struct worldmember *member = world->members[event->place];
    if (s->member != member || s->life != event->life) {
        return;
    }
    s->is_open = true;
    hub_stream_open(server_hub(member->now->server), &s->stream, &stream_ops);
    for (unsigned i = 0; i < s->count; i++) {
        if (s->watches[i].is_wanted) {
            start_watch(&s->watches[i]);
        }
    }
}

/* What a key's range is; all that clients write begins with a letter before z. */
static void choose_range(struct world_watch *watch)
{
    struct world *world = watch->stream->world;
    static const char *const ranges[][2] = {
        {"a", "z"}, {"r", "s"}, {"r0", ""}, {"r1", ""}, {"e/", "e0"}, {"s", "t"}, {"l", "m"},
    };
    const char *const *range = ranges[world_between(world, 0, ARRAY_LEN(ranges) - 1)];
    watch->key = ask_symbol(world, bytes_of_str(range[0]));
    watch->range_end =
        range[1][0] == '\0' ? HISTORY_NONE : ask_symbol(world, bytes_of_str(range[1]));
    watch->spec = (struct watch_spec){
        .key = bytes_of_str(range[0]),
        .range_end = bytes_of_str(range[1]),
        .prev_kv = world_chance(world, 300),
        .no_put = world_chance(world, 50),
        .no_delete = world_chance(world, 50),
    };
    watch->flags = (watch->spec.prev_kv ? HISTORY_PREV_KV : 0) |
                   (watch->spec.no_put ? HISTORY_NO_PUT : 0) |
                   (watch->spec.no_delete ? HISTORY_NO_DELETE : 0);
}

static void choose_watch(struct world_watch *watch)
{
    struct world *world = watch->stream->world;
    int64_t revision = worldcheck_revision(world);
    choose_range(watch);
    watch->number = (int64_t)world->clients->next_watch++;
    watch->is_wanted = true;
    watch->next = 0;
    if (world_chance(world, 300)) {
        watch->next = (int64_t)world_between(world, 1, (uint64_t)revision + 20);
    } else if (revision > 3 && world_chance(world, 300)) { /* where history meets the present */
        watch->next = (int64_t)world_between(world, (uint64_t)revision - 3, (uint64_t)revision + 1);
    }
}

/* Many streams of one member are not at the same place: what it tells some it must not keep from
 * others. */
static struct worldmember *some_member(const struct world_stream *s)
{
    struct worldmember *member = worldclients_pick(s->world);
    struct worldmember *favourite = s->world->members[s->place];
    bool is_there = favourite != NULL && favourite->alive && !favourite->stopping;
    return is_there && world_chance(s->world, 800) ? favourite : member;
}

static void on_open_time(struct world *world, const struct world_event *event)
{
    struct world_stream *s = event->ptr;
    struct worldmember *member = some_member(s);
    if (member == NULL) {
        open_later(s);
        return;
    }
    for (unsigned i = 0; i < s->count; i++) {
        if (!s->watches[i].is_wanted) {
            choose_watch(&s->watches[i]);
        }
    }
    s->member = member;
    s->life = member->life;
    s->is_full = false;
    queue_push_back(&world->clients->streams, &s->link);
    world_at(world, world_between(world, 20, 400),
             &(struct world_event){
                 .run = do_open, .place = member->place, .life = member->life, .ptr = s});
}

static void open_later(struct world_stream *s)
{
    struct world *world = s->world;
    if (!world->clients->are_stopped) {
        world_at(world, world_between(world, 1, 500) * WORLD_MS,
                 &(struct world_event){.run = on_open_time, .ptr = s});
    }
}

/* The connection is lost: what the hub has of it is, too. Nobody knows what a new one is called. */
static void end(struct world_stream *s)
{
    struct history_event event = {.type = HISTORY_INFO, .f = HISTORY_CLOSE};
    note(s, &event);
    s->process = s->world->clients->next_process++;
    s->member = NULL;
    s->is_open = false;
    queue_remove(&s->link);
    for (unsigned i = 0; i < s->count; i++) {
        s->watches[i].is_on = false;
    }
    open_later(s);
}

void worldwatch_end_all(struct worldmember *member)
{
    QUEUE_FOREACH_SAFE(link, &member->world->clients->streams)
    {
        struct world_stream *s = QUEUE_ELEM(link, struct world_stream, link);
        if (s->member == member) {
            end(s);
        }
    }
}

size_t worldwatch_count(const struct worldmember *member, size_t *streams)
{
    size_t count = 0;
    *streams = 0;
    QUEUE_FOREACH (link, &member->world->clients->streams) {
        const struct world_stream *s = QUEUE_ELEM(link, struct world_stream, link);
        if (s->member == member && s->is_open) {
            *streams += 1;
            for (unsigned i = 0; i < s->count; i++) {
                count += s->watches[i].is_on;
            }
        }
    }
    return count;
}

/* ---- now and then ---- */

static void close_stream(struct world_stream *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->watches[i].is_on) {
            hub_cancel(&s->watches[i].watcher);
        }
        s->watches[i].is_wanted = s->watches[i].is_wanted && world_chance(s->world, 700);
    }
    hub_stream_close(&s->stream);
    end(s);
}

/* One watch is given up, and another one begins on its stream; some clients leave before it has
 * told them anything. */
static void change_watch(struct world_stream *s)
{
    struct world *world = s->world;
    struct world_watch *watch = &s->watches[world_between(world, 0, s->count - 1)];
    world_note_fault(world, FAULT_CANCEL, s->member->place, (uint64_t)watch->number);
    if (watch->is_on) {
        hub_cancel(&watch->watcher);
        note_watch(watch, HISTORY_INFO, HISTORY_CANCEL, 0, 0);
    }
    choose_watch(watch);
    start_watch(watch);
    if (world_chance(world, 200)) {
        close_stream(s);
    }
}

static void do_close(struct world *world, const struct world_event *event)
{
    struct world_stream *s = event->ptr;
    if (is_heard(s) && s->life == event->life && s->is_open) {
        world_note_fault(world, FAULT_CANCEL, s->member->place, 0);
        close_stream(s);
    }
}

void worldwatch_close_some(struct worldmember *member, unsigned per_mille)
{
    struct world *world = member->world;
    QUEUE_FOREACH (link, &world->clients->streams) {
        struct world_stream *s = QUEUE_ELEM(link, struct world_stream, link);
        if (s->member == member && world_chance(world, per_mille)) {
            world_at(world, 0,
                     &(struct world_event){
                         .run = do_close, .place = member->place, .life = s->life, .ptr = s});
        }
    }
}

static void do_something(struct world *world, const struct world_event *event)
{
    struct world_stream *s = event->ptr;
    if (!is_heard(s) || s->life != event->life || !s->is_open) {
        return;
    }
    if (world_chance(world, 200)) {
        close_stream(s);
    } else if (world_likes(world, FAULT_CANCEL) && world_chance(world, 400)) {
        change_watch(s);
    } else {
        hub_stream_progress(&s->stream);
    }
}

static void on_time(struct world *world, const struct world_event *event)
{
    struct world_stream *s = event->ptr;
    if (s->member != NULL && !world->clients->are_stopped) {
        world_at(world, 0,
                 &(struct world_event){
                     .run = do_something, .place = s->member->place, .life = s->life, .ptr = s});
    }
    world_at(world, world_between(world, 100, 4000) * WORLD_MS, event);
}

void worldwatch_init(struct world *world)
{
    static const uint64_t full_us[] = {20, 200, 5000, 500 * WORLD_MS, 3 * WORLD_S, 3 * WORLD_S};
    unsigned count = (unsigned)world_between(world, 0, 4);
    bool many = world_chance(world, 300);
    unsigned place =
        world_chance(world, 500) ? (unsigned)world_between(world, 1, world->places) : 0;
    for (unsigned i = 0; i < count; i++) {
        struct world_stream *s = calloc(1, sizeof *s);
        ASSERT(s != NULL);
        s->place = place;
        s->full_us_max = full_us[world_between(world, 0, ARRAY_LEN(full_us) - 1)];
        s->world = world;
        s->process = world->clients->next_process++;
        s->count = (unsigned)world_between(world, 1, many ? WATCHES_MAX : WATCHES_USUALLY);
        s->full_per_mille = (unsigned)world_between(world, 0, s->full_us_max > WORLD_MS ? 60 : 300);
        for (unsigned k = 0; k < s->count; k++) {
            s->watches[k].stream = s;
        }
        open_later(s);
        world_at(world, world_between(world, 100, 4000) * WORLD_MS,
                 &(struct world_event){.run = on_time, .ptr = s});
    }
}
