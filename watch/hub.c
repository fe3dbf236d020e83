/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/hub.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "watch/delivery.h"
#include "watch/hub_private.h"

/* Who stands where. (What a turn does: hubturn.c.)
 *
 *   history ──────────────────────────────────────────────▶ now
 *        catching up ▸        catching up ▸          LIVE ▸│
 *        (cursor 1)           (cursor 2)         (cursor 0)
 *
 * LIVE is told what was applied at the end of its turn. A cursor that catches up never passes LIVE;
 * when it arrives there, its watchers become LIVE's. Watchers that fall back gather in `waiting`
 * and leave together, from the oldest revision that one of them needs, as soon as a cursor is idle:
 * ten thousand that begin at an old revision read history once.
 *
 * Invariants:
 * 1. A watcher that a cursor serves has been told everything of [its `next` at the beginning, the
 *    cursor's position) that it watches, and nothing else.
 * 2. It joins a cursor only when the cursor's reach is not beyond its `next`.
 * 3. Cursors that catch up are not beyond LIVE's reach, unless a compaction moved them, and read
 *    nothing beyond LIVE's position.
 * 4. stream->behind, hub->behind: those not served by LIVE.
 *
 * A turn does at most hub->turn_work for LIVE, in watchers and records looked at, and a quarter of
 * it for each of the others: what is left goes on in the next one. */
#define TURN_WORK 4096u
#define RETRY_MS  20

/* A watcher joins a cursor that is at most so far behind it, even if another one is idle. */
#define NEAR_REVISIONS 10000

static struct cursor *live_of(struct hub *hub)
{
    return &hub->cursors[LIVE];
}

/* ---- waking ---- */

void hub_wake(struct hub *hub)
{
    if (!hub->stopped && !hub->in_turn) {
        env_defer(hub->env, &hub->task);
    }
}

void hub_wake_later(struct hub *hub)
{
    if (!hub->stopped) {
        env_timer_start(hub->env, &hub->timer, 0);
    }
}

void hub_retry(struct hub *hub)
{
    if (!hub->stopped && !env_timer_active(&hub->timer)) {
        env_timer_start(hub->env, &hub->timer, RETRY_MS);
    }
}

static void on_timer(struct env_timer *timer)
{
    hub_wake(CONTAINER_OF(timer, struct hub, timer));
}

/* ---- a watcher's place ---- */

static bool is_live(const struct watcher *watcher)
{
    return watcher->state == WATCHER_SERVED && watcher->cursor == LIVE;
}

static void count_behind(struct watcher *watcher, int n)
{
    if (!is_live(watcher)) {
        watcher->stream->behind += (size_t)n;
        watcher->stream->hub->behind += (size_t)n;
    }
}

/* Out of where it is, into no place. */
void hub_take_out(struct watcher *watcher)
{
    struct hub *hub = watcher->stream->hub;
    count_behind(watcher, -1);
    if (watcher->state == WATCHER_SERVED) {
        hub->cursors[watcher->cursor].count--;
    }
    queue_remove(&watcher->link);
    queue_remove(&watcher->cursor_link);
}

static void put_at(struct watcher *watcher, enum watcher_state state, struct queue *where)
{
    watcher->state = (uint8_t)state;
    queue_push_back(where, &watcher->link);
    count_behind(watcher, 1);
}

void hub_serve_by(struct cursor *cursor, struct watcher *watcher)
{
    watcher->cursor = cursor->number;
    put_at(watcher, WATCHER_SERVED, &watcher->group->members[cursor->number]);
    queue_push_back(&cursor->watchers, &watcher->cursor_link);
    cursor->count++;
}

void hub_park(struct watcher *watcher, int64_t next)
{
    hub_take_out(watcher);
    watcher->next = next;
    put_at(watcher, WATCHER_PARKED, &watcher->stream->parked);
}

/* Its stream tells the client why, when it has room. */
void hub_end_watcher(struct watcher *watcher, enum err why)
{
    struct watch_stream *stream = watcher->stream;
    hub_take_out(watcher);
    watcher->why = (uint8_t)why;
    put_at(watcher, WATCHER_ENDING, &stream->parked);
    hub_stream_ready(stream);
}

/* ---- catching up ---- */

struct cursor *hub_idle_cursor(struct hub *hub)
{
    for (unsigned i = LIVE + 1; i < CURSORS_MAX; i++) {
        if (hub->cursors[i].state == CURSOR_IDLE) {
            return &hub->cursors[i];
        }
    }
    return NULL;
}

/* The nearest cursor that has not passed `next`; NULL: none, or too far behind while another is
 * idle. */
static struct cursor *cursor_for(struct hub *hub, int64_t next)
{
    struct cursor *best = NULL;
    for (unsigned i = LIVE + 1; i < CURSORS_MAX; i++) {
        struct cursor *cursor = &hub->cursors[i];
        bool moves = cursor->state != CURSOR_IDLE && cursor->state != CURSOR_ENDING;
        if (moves && cursor_reach(cursor) <= next &&
            (best == NULL || cursor->position > best->position)) {
            best = cursor;
        }
    }
    bool near = best != NULL && next - best->position <= NEAR_REVISIONS;
    return near || hub_idle_cursor(hub) == NULL ? best : NULL;
}

/* WATCHER, which is in no place, needs what LIVE has passed. */
static void catch_up(struct hub *hub, struct watcher *watcher)
{
    struct cursor *cursor = cursor_for(hub, watcher->next);
    if (cursor != NULL) {
        hub_serve_by(cursor, watcher);
        return;
    }
    if (queue_empty(&hub->waiting) || watcher->next < hub->waiting_min) {
        hub->waiting_min = watcher->next;
    }
    put_at(watcher, WATCHER_WAITING, &hub->waiting);
}

/* Into the right place, by `next`. */
void hub_place(struct hub *hub, struct watcher *watcher)
{
    if (watcher->next >= cursor_reach(live_of(hub))) {
        hub_serve_by(live_of(hub), watcher);
    } else {
        catch_up(hub, watcher);
    }
}

bool hub_is_up_to_date(const struct hub *hub)
{
    const struct cursor *live = &hub->cursors[LIVE];
    return live->state == CURSOR_AT_REST && live->position > store_revision(hub->store);
}

void hub_stream_progress(struct watch_stream *stream)
{
    if (stream->hub != NULL && !stream->closed && queue_empty(&stream->progress)) {
        queue_push_back(&stream->hub->progress, &stream->progress);
        hub_wake(stream->hub);
    }
}

bool hub_is_in_step(const struct watcher *watcher)
{
    const struct hub *hub = watcher->stream->hub;
    return hub != NULL && watcher->group != NULL && is_live(watcher) && hub_is_up_to_date(hub) &&
           watcher->start <= store_revision(hub->store);
}

static void on_task(struct env_task *task)
{
    hub_turn(CONTAINER_OF(task, struct hub, task));
}

void hub_publish(struct hub *hub)
{
    hub_wake(hub);
}

void hub_reset(struct hub *hub, struct store *store)
{
    hub->store = store;
    hub_wake(hub);
}

/* ---- streams and watchers ---- */

void hub_stream_open(struct hub *hub, struct watch_stream *stream,
                     const struct watch_stream_ops *ops)
{
    *stream = (struct watch_stream){.hub = hub, .ops = ops};
    queue_push_back(&hub->streams, &stream->link);
    queue_init(&stream->turn);
    queue_init(&stream->progress);
    queue_init(&stream->parked);
    queue_init(&stream->future);
    hub->open_streams++;
}

static void forget_stream(struct watch_stream *stream)
{
    queue_remove(&stream->link);
    stream->hub = NULL;
}

void hub_stream_close(struct watch_stream *stream)
{
    if (stream->hub == NULL || stream->closed) {
        return;
    }
    stream->closed = true;
    stream->hub->open_streams--;
    queue_remove(&stream->turn);
    queue_remove(&stream->progress);
    if (stream->watchers == 0) {
        forget_stream(stream);
    }
}

void hub_stream_ready(struct watch_stream *stream)
{
    if (stream->hub != NULL && !stream->closed && queue_empty(&stream->turn) &&
        !queue_empty(&stream->parked)) {
        queue_push_back(&stream->hub->ready, &stream->turn);
        hub_wake_later(stream->hub);
    }
}

bool watch_spec_is_empty(const struct watch_spec *spec)
{
    bool no_end = spec->range_end.len == 1 && spec->range_end.data[0] == 0;
    return spec->range_end.len > 0 && !no_end && bytes_compare(spec->key, spec->range_end) >= 0;
}

static enum err check_spec(const struct hub *hub, const struct watch_spec *spec)
{
    ASSERT(spec->key.len > 0);
    if (watch_spec_is_empty(spec)) {
        return ERR_INVALID;
    }
    size_t bytes = hub->groups.bytes + hub->watchers * sizeof(struct watcher);
    size_t cost =
        watchgroup_cost(&hub->groups, spec->key, spec->range_end) + sizeof(struct watcher);
    return hub->watchers >= WATCHERS_MAX || bytes + cost > WATCH_BYTES_MAX ? ERR_LIMIT : OK;
}

static void begin(struct hub *hub, struct watcher *watcher)
{
    int64_t revision = store_revision(hub->store);
    watcher->next = watcher->start > 0 ? watcher->start : revision + 1;
    if (watcher->start > revision) {
        queue_push_back(&watcher->stream->future, &watcher->future);
    }
    if (watcher->next < store_compacted_revision(hub->store)) {
        watcher->why = ERR_COMPACTED;
        put_at(watcher, WATCHER_ENDING, &watcher->stream->parked);
        hub_stream_ready(watcher->stream);
    } else {
        hub_place(hub, watcher);
    }
    hub_wake(hub);
}

enum err hub_watch(struct watch_stream *stream, struct watcher *watcher,
                   const struct watch_spec *spec)
{
    struct hub *hub = stream->hub;
    ASSERT(hub != NULL);
    ASSERT(!stream->closed);
    TRY(check_spec(hub, spec));
    struct watchgroup *group = watchgroup_get(&hub->groups, spec->key, spec->range_end);
    if (group == NULL) {
        return ERR_NOMEM;
    }
    *watcher = (struct watcher){.stream = stream,
                                .group = group,
                                .start = spec->start_revision,
                                .prev_kv = spec->prev_kv,
                                .no_put = spec->no_put,
                                .no_delete = spec->no_delete};
    queue_init(&watcher->link);
    queue_init(&watcher->cursor_link);
    queue_init(&watcher->future);
    group->prev_kv_count += spec->prev_kv;
    stream->watchers++;
    hub->watchers++;
    begin(hub, watcher);
    return OK;
}

static void detach(struct hub *hub, struct watcher *watcher)
{
    hub_take_out(watcher);
    queue_remove(&watcher->future);
    watcher->group->prev_kv_count -= watcher->prev_kv;
    watchgroup_unref(&hub->groups, watcher->group);
    watcher->group = NULL;
    watcher->stream->watchers--;
    hub->watchers--;
}

void hub_cancel(struct watcher *watcher)
{
    if (watcher->group == NULL) {
        return;
    }
    struct watch_stream *stream = watcher->stream;
    detach(stream->hub, watcher);
    if (stream->closed && stream->watchers == 0) {
        forget_stream(stream);
    }
}

/* ---- life ---- */

static double metric_watchers(void *ctx)
{
    struct hub *hub = ctx;
    return (double)hub->watchers;
}

static double metric_streams(void *ctx)
{
    struct hub *hub = ctx;
    return (double)hub->open_streams;
}

static double metric_behind(void *ctx)
{
    struct hub *hub = ctx;
    return (double)hub->behind;
}

static double metric_pending(void *ctx)
{
    struct hub *hub = ctx;
    int64_t left = store_revision(hub->store) + 1 - live_of(hub)->position;
    return left > 0 ? (double)left : 0;
}

static double metric_bytes(void *ctx)
{
    struct hub *hub = ctx;
    return (double)(hub->groups.bytes + hub->watchers * sizeof(struct watcher));
}

static void register_metrics(struct hub *hub, struct metrics *metrics)
{
    static const struct {
        const char *name;
        const char *help;
        double (*fn)(void *ctx);
    } gauges[] = {
        {"etcd_debugging_mvcc_watcher_total", "Watchers.", metric_watchers},
        {"etcd_debugging_mvcc_watch_stream_total", "Watch streams.", metric_streams},
        {"etcd_debugging_mvcc_slow_watcher_total",
         "Watchers that are behind: they catch up, or wait for their client to read.",
         metric_behind},
        {"etcd_debugging_mvcc_pending_events_total",
         "Applied revisions that watchers in step have not been told yet.", metric_pending},
        {"trivet_watch_bytes", "Memory of watchers and of what they watch.", metric_bytes},
    };
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        metrics_gauge_fn(metrics, gauges[i].name, gauges[i].help, NULL, gauges[i].fn, hub);
    }
    hub->events_total = metrics_counter(metrics, "etcd_debugging_mvcc_events_total",
                                        "Events sent to watchers.", NULL);
}

enum err hub_new(const struct hub_config *config, struct hub **ret)
{
    struct hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL) {
        return ERR_NOMEM;
    }
    hub->env = config->env;
    hub->store = config->store;
    hub->turn_work = config->turn_work > 0 ? config->turn_work : TURN_WORK;
    watchgroups_init(&hub->groups, hub->env);
    for (unsigned i = 0; i < CURSORS_MAX; i++) {
        cursor_init(&hub->cursors[i], hub, (uint8_t)i);
    }
    live_of(hub)->state = CURSOR_AT_REST;
    live_of(hub)->position = store_revision(hub->store) + 1;
    queue_init(&hub->streams);
    queue_init(&hub->ready);
    queue_init(&hub->progress);
    queue_init(&hub->waiting);
    env_task_init(&hub->task, PHASE_PUBLISH, on_task);
    env_timer_init(&hub->timer, on_timer);
    register_metrics(hub, config->metrics);
    *ret = hub;
    return OK;
}

void hub_stop(struct hub *hub)
{
    hub->stopped = true;
    env_task_cancel(&hub->task);
    env_timer_stop(hub->env, &hub->timer);
}

static void detach_all(struct hub *hub, struct queue *links)
{
    while (!queue_empty(links)) {
        detach(hub, QUEUE_ELEM(links->next, struct watcher, link));
    }
}

void hub_free(struct hub *hub)
{
    if (hub == NULL) {
        return;
    }
    ASSERT(hub->stopped);
    for (unsigned i = 0; i < CURSORS_MAX; i++) {
        struct cursor *cursor = &hub->cursors[i];
        delivery_drop(cursor);
        detach_all(hub, &cursor->joining);
        while (!queue_empty(&cursor->watchers)) {
            detach(hub, QUEUE_ELEM(cursor->watchers.next, struct watcher, cursor_link));
        }
        cursor_fini(cursor);
    }
    detach_all(hub, &hub->waiting);
    while (!queue_empty(&hub->streams)) {
        struct watch_stream *stream = QUEUE_ELEM(hub->streams.next, struct watch_stream, link);
        detach_all(hub, &stream->parked);
        queue_remove(&stream->turn);
        queue_remove(&stream->progress);
        forget_stream(stream);
    }
    ASSERT(hub->watchers == 0);
    watchgroups_fini(&hub->groups);
    free(hub);
}

/* ---- checks ---- */

static size_t check_cursor(const struct cursor *cursor)
{
    size_t count = 0;
    QUEUE_FOREACH (link, &cursor->watchers) {
        const struct watcher *watcher = QUEUE_ELEM(link, struct watcher, cursor_link);
        ASSERT(watcher->state == WATCHER_SERVED);
        ASSERT(watcher->cursor == cursor->number);
        ASSERT(watcher->group != NULL);
        count++;
    }
    ASSERT(count == cursor->count);
    if (cursor->number != LIVE && cursor->state != CURSOR_IDLE) {
        ASSERT(cursor->position <= cursor_reach(&cursor->hub->cursors[LIVE]) ||
               cursor->position <= store_compacted_revision(cursor->hub->store));
    }
    ASSERT(cursor->state != CURSOR_IDLE || count == 0);
    QUEUE_FOREACH (link, &cursor->joining) {
        count++;
    }
    return count;
}

static size_t check_waiting(const struct hub *hub)
{
    size_t count = 0;
    QUEUE_FOREACH (link, &hub->waiting) {
        const struct watcher *watcher = QUEUE_ELEM(link, struct watcher, link);
        ASSERT(watcher->state == WATCHER_WAITING);
        ASSERT(watcher->next >= hub->waiting_min);
        count++;
    }
    return count;
}

void hub_check(const struct hub *hub)
{
    size_t count = 0;
    for (unsigned i = 0; i < CURSORS_MAX; i++) {
        count += check_cursor(&hub->cursors[i]);
    }
    count += check_waiting(hub);
    size_t behind = 0;
    size_t streams = 0;
    QUEUE_FOREACH (link, &hub->streams) {
        const struct watch_stream *stream = QUEUE_ELEM(link, struct watch_stream, link);
        QUEUE_FOREACH (parked, &stream->parked) {
            count++;
        }
        behind += stream->behind;
        streams += !stream->closed;
    }
    ASSERT(count == hub->watchers);
    ASSERT(behind == hub->behind);
    ASSERT(behind == hub->watchers - hub->cursors[LIVE].count);
    ASSERT(streams == hub->open_streams);
    interval_check(&hub->groups.by_range);
}
