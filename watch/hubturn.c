/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"
#include "base/plant.h"
#include "watch/delivery.h"
#include "watch/hub_private.h"

/* What the hub does in a turn: LIVE first, then those whose streams have room again, then the
 * cursors that catch up, each a bounded piece; progress last, behind the events.
 *
 * A cursor at rest goes through these in order: watchers that wait for it join; it reads what comes
 * next; behind the last, its watchers become LIVE's, or it is idle. */

/* ---- a cursor's turn ---- */

static void spend(size_t *budget, size_t work)
{
    *budget -= *budget < work ? *budget : work;
}

static void let_join(struct cursor *cursor, size_t *budget)
{
    while (*budget > 0 && !queue_empty(&cursor->joining)) {
        struct watcher *watcher = QUEUE_ELEM(cursor->joining.next, struct watcher, link);
        hub_take_out(watcher);
        hub_serve_by(cursor, watcher);
        spend(budget, 1);
    }
}

/* The cursor has arrived where LIVE is, which is between two slices. */
static void let_go_live(struct cursor *cursor, size_t *budget)
{
    while (*budget > 0 && !queue_empty(&cursor->watchers)) {
        struct watcher *watcher = QUEUE_ELEM(cursor->watchers.next, struct watcher, cursor_link);
        hub_take_out(watcher);
        hub_serve_by(&cursor->hub->cursors[LIVE], watcher);
        spend(budget, 1);
    }
}

/* Those whose next events cannot be had end; after a compaction the others go on behind it. */
static void let_end(struct cursor *cursor, size_t *budget)
{
    bool compacted = cursor->why == ERR_COMPACTED;
    while (*budget > 0 && cursor->ending_left > 0 && !queue_empty(&cursor->watchers)) {
        struct queue *link = queue_pop_front(&cursor->watchers);
        struct watcher *watcher = QUEUE_ELEM(link, struct watcher, cursor_link);
        queue_push_back(&cursor->watchers, link);
        if ((!compacted || watcher->next < cursor->position) && !PLANTED(WATCH_COMPACTED)) {
            hub_end_watcher(watcher, cursor->why);
        }
        cursor->ending_left--;
        spend(budget, 1);
    }
    if (cursor->ending_left > 0 && !queue_empty(&cursor->watchers)) {
        return;
    }
    cursor->state = CURSOR_AT_REST;
    if (!compacted && cursor->number == LIVE) {
        cursor->position = store_revision(cursor->hub->store) + 1;
    }
}

/* What the cursor may read up to; less than its position: nothing. */
static int64_t end_of(const struct cursor *cursor)
{
    return cursor->number == LIVE ? store_revision(cursor->hub->store)
                                  : cursor->hub->cursors[LIVE].position - 1;
}

/* At rest. False: there is nothing to do now. */
static bool rest(struct cursor *cursor, size_t *budget)
{
    struct hub *hub = cursor->hub;
    if (!queue_empty(&cursor->joining)) {
        let_join(cursor, budget);
        return true;
    }
    int64_t to = end_of(cursor);
    if (cursor->position <= to && cursor->count > 0) {
        cursor_read(cursor, to);
        spend(budget, cursor->item_count);
        return cursor->state != CURSOR_AT_REST || cursor->position > to;
    }
    if (cursor->number == LIVE) {
        cursor->position = to + 1 > cursor->position ? to + 1 : cursor->position;
        return false;
    }
    if (cursor->count == 0) {
        cursor->state = CURSOR_IDLE;
        return false;
    }
    if (cursor_reach(&hub->cursors[LIVE]) != cursor->position && !PLANTED(WATCH_LIVE_EARLY)) {
        return false; /* LIVE has a slice that would pass these by */
    }
    let_go_live(cursor, budget);
    return true;
}

/* False: it waits for something, or has nothing to do. */
static bool step(struct cursor *cursor, size_t *budget)
{
    enum err err = OK;
    switch (cursor->state) {
    case CURSOR_AT_REST:
        return rest(cursor, budget);
    case CURSOR_LOADED:
        err = delivery_begin(cursor);
        break;
    case CURSOR_TELLING:
        if (delivery_go_on(cursor, budget, &err)) {
            cursor_move_on(cursor);
        }
        break;
    case CURSOR_ENDING:
        let_end(cursor, budget);
        break;
    default:
        return false;
    }
    if (err != OK) {
        hub_retry(cursor->hub); /* no memory */
    }
    return err == OK;
}

/* True: there is more to do. */
static bool give_turn(struct cursor *cursor, size_t *budget)
{
    while (step(cursor, budget)) {
        if (*budget == 0) {
            return true;
        }
    }
    return false;
}

/* ---- streams' turns ---- */

static void end_now(struct watcher *watcher)
{
    struct watch_stream *stream = watcher->stream;
    enum err why = watcher->why;
    hub_cancel(watcher);
    stream->ops->ended(stream, watcher, why, store_compacted_revision(stream->hub->store));
}

/* Those that wait for room leave, as long as there is some. True: there is more to do. */
static bool unpark(struct hub *hub, struct watch_stream *stream, size_t *budget)
{
    while (!stream->closed && !queue_empty(&stream->parked)) {
        if (*budget == 0) {
            return true;
        }
        if (stream->ops->ready != NULL && !stream->ops->ready(stream)) {
            return false;
        }
        spend(budget, 1);
        struct watcher *watcher = QUEUE_ELEM(stream->parked.next, struct watcher, link);
        if (watcher->state == WATCHER_ENDING) {
            end_now(watcher);
        } else {
            hub_take_out(watcher);
            hub_place(hub, watcher);
        }
    }
    return false;
}

static bool unpark_ready(struct hub *hub, size_t *budget)
{
    struct queue *link;
    while ((link = queue_pop_front(&hub->ready)) != NULL) {
        if (unpark(hub, QUEUE_ELEM(link, struct watch_stream, turn), budget)) {
            queue_push_front(&hub->ready, link);
            return true;
        }
    }
    return false;
}

/* ---- progress ---- */

/* Does a watcher of the stream wait for its first revision? Those whose time has come leave the
 * list, so that asking often costs nothing. */
static bool has_future(struct watch_stream *stream, int64_t revision)
{
    while (!queue_empty(&stream->future)) {
        struct watcher *watcher = QUEUE_ELEM(stream->future.next, struct watcher, future);
        if (watcher->start > revision) {
            return true;
        }
        queue_remove(&watcher->future);
    }
    return false;
}

static void tell_progress(struct hub *hub)
{
    struct queue *link;
    while ((link = queue_pop_front(&hub->progress)) != NULL) {
        struct watch_stream *stream = QUEUE_ELEM(link, struct watch_stream, progress);
        int64_t revision = store_revision(hub->store);
        bool is_behind = !hub_is_up_to_date(hub) || stream->behind > 0;
        if ((!is_behind || PLANTED(WATCH_PROGRESS_EARLY)) && stream->watchers > 0 &&
            !has_future(stream, revision)) {
            stream->ops->progress(stream, revision);
        }
    }
}

/* ---- the turn ---- */

/* True: those who wait can go on with their cursor, in a turn of its own. */
static bool start_waiting(struct hub *hub)
{
    struct cursor *cursor = hub_idle_cursor(hub);
    if (queue_empty(&hub->waiting) || cursor == NULL) {
        return false;
    }
    cursor->state = CURSOR_AT_REST;
    cursor->position = hub->waiting_min;
    queue_splice(&cursor->joining, &hub->waiting);
    return true;
}

void hub_turn(struct hub *hub)
{
    size_t budget = hub->turn_work;
    size_t quarter = (hub->turn_work + 3) / 4;
    hub->in_turn = true;
    bool more = give_turn(&hub->cursors[LIVE], &budget);
    size_t unpark_budget = quarter;
    more |= unpark_ready(hub, &unpark_budget);
    (void)start_waiting(hub);
    for (unsigned i = LIVE + 1; i < CURSORS_MAX; i++) {
        size_t share = quarter;
        more |= give_turn(&hub->cursors[i], &share);
    }
    more |= start_waiting(hub);        /* a cursor may have become idle */
    more |= !queue_empty(&hub->ready); /* or watchers have ended */
    tell_progress(hub);
    hub->in_turn = false;
    if (more) {
        hub_wake_later(hub);
    }
}
