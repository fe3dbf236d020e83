/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_HUB_H
#define WATCH_HUB_H

#include "base/env.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "storage/store.h"

/* Who is told what: watchers of keys and ranges, and the revisions that they have still to see.
 *
 *   fsm_apply ─▶ hub_publish ─▶ end of the turn: ring ─▶ watchers of its keys ─▶
 * stream->ops->events
 *
 * A watcher belongs to a stream, which takes events or says that it is full. A watcher whose stream
 * is full costs a place in history, not a queue: it goes on from there when there is room again,
 * out of the ring or out of SQLite. Events come whole revisions at a time, in order, none twice and
 * none left out. On the loop.
 *
 * Inside the member the same without gRPC: embed a watch_stream without `ready` and a watcher, call
 * hub_stream_open and hub_watch, and look at the events' records in `events`:
 *
 *   static void on_events(struct watch_stream *stream, struct watcher *watcher,
 *                         const struct watch_events *events)
 *   {
 *       for (size_t i = 0; i < events->count; i++) {
 *           gone |= watch_events_record(events, i)->tombstone;
 *       }
 *   }
 */
struct hub;

struct hub_config {
    struct env *env;
    struct metrics *metrics; /* may be NULL */
    struct store *store;
    size_t turn_work; /* watchers and records looked at in a turn; 0: a millisecond's worth */
};

MUST_CHECK enum err hub_new(const struct hub_config *config, struct hub **ret);

/* Nothing more is told, and nothing more is read from the store, which is closed next. */
void hub_stop(struct hub *hub);
/* After the store was closed. Watchers and streams that are left know nothing of it any more:
 * cancelling and closing them does no harm. NULL allowed. */
void hub_free(struct hub *hub);

/* The store has new revisions: they are told at the end of this turn. */
void hub_publish(struct hub *hub);

/* STORE has replaced the store: the same history, further on. Everybody goes on from where they
 * were. What was being read of the old one must have been called back before it is freed. */
void hub_reset(struct hub *hub, struct store *store);

/* ---- streams ---- */

struct watcher;
struct watch_stream;
struct watch_events;

struct watch_stream_ops {
    /* Is there room? When not, whoever owns the stream calls hub_stream_ready as soon as there is,
     * and not before it has returned. NULL: always. */
    bool (*ready)(struct watch_stream *stream);
    /* What happened. This and the next may watch, cancel any watcher and close any stream; the
     * memory of a stream stays until they have returned. */
    void (*events)(struct watch_stream *stream, struct watcher *watcher,
                   const struct watch_events *events);
    /* The watcher has ended. ERR_COMPACTED: what it had still to see is gone; COMPACT_REVISION is
     * the oldest revision that can be seen. Else its history cannot be read. */
    void (*ended)(struct watch_stream *stream, struct watcher *watcher, enum err why,
                  int64_t compact_revision);
    /* What hub_stream_progress asked for (may be NULL). */
    void (*progress)(struct watch_stream *stream, int64_t revision);
};

/* Watchers that share a way to their client. Embedded in its owner; its fields are the hub's. */
struct watch_stream {
    struct hub *hub; /* NULL: closed, and no watcher is left */
    const struct watch_stream_ops *ops;
    bool closed;
    struct queue link;     /* in hub->streams */
    struct queue turn;     /* in hub->ready: its parked watchers may go on */
    struct queue progress; /* in hub->progress */
    struct queue parked;   /* struct watcher.link: they wait for room */
    struct queue future;   /* struct watcher.future: their first revision is still to come */
    size_t watchers;
    size_t behind; /* of them not in step with the store */
};

void hub_stream_open(struct hub *hub, struct watch_stream *stream,
                     const struct watch_stream_ops *ops);
/* Its watchers are told nothing more; the caller cancels them when it likes, but before the memory
 * of the stream goes. */
void hub_stream_close(struct watch_stream *stream);
/* There is room again. */
void hub_stream_ready(struct watch_stream *stream);
/* At the end of this turn, behind its events, call ops->progress if all the stream's watchers (one
 * at least) have been told all that they were to see up to the present revision. */
void hub_stream_progress(struct watch_stream *stream);

/* ---- watchers ---- */

struct watch_spec {
    struct bytes key;       /* not empty; copied */
    struct bytes range_end; /* empty: the key alone; one NUL: all from key on */
    int64_t start_revision; /* the first that is told; 0: what comes after now */
    bool prev_kv;
    bool no_put;
    bool no_delete;
};

/* Can no key ever be in its range? */
bool watch_spec_is_empty(const struct watch_spec *spec);

/* Embedded in its owner; its fields are the hub's. */
struct watcher {
    struct watch_stream *stream;
    struct watchgroup *group; /* who watches the same; NULL: cancelled */
    struct queue link;        /* in the group, or where it waits */
    struct queue cursor_link; /* among all that a cursor serves */
    struct queue future;      /* in stream->future */
    int64_t start;            /* the first revision asked for; 0: it came with the present */
    int64_t next;             /* the first revision that is still to be told, at least */
    uint8_t state;
    uint8_t cursor;
    uint8_t why; /* enum err: why it ends */
    bool prev_kv;
    bool no_put;
    bool no_delete;
};

/* ERR_INVALID: the range is empty. ERR_LIMIT: WATCHERS_MAX or WATCH_BYTES_MAX. ERR_NOMEM. A start
 * below the compacted revision ends it at the end of the turn: `ended` is called as for one that
 * fell behind. */
MUST_CHECK enum err hub_watch(struct watch_stream *stream, struct watcher *watcher,
                              const struct watch_spec *spec);
/* Nothing is called for it after this. Cancelled already, or ended: does nothing. */
void hub_cancel(struct watcher *watcher);

/* Has it been told all up to the present revision, and is that one of those it wants? */
bool hub_is_in_step(const struct watcher *watcher);

/* ---- events, within the callback ---- */

struct watch_events {
    size_t count;     /* at least one */
    int64_t revision; /* for the header: of the last one, or for a watcher that is catching up the
                         newest of the store */
};

const struct record *watch_events_record(const struct watch_events *events, size_t i);

/* All as bytes: fields `events` of a WatchResponse, shared by whoever is told the same; and where
 * each event ends in them. Borrowed. NULL: no memory. */
struct blob *watch_events_bytes(const struct watch_events *events, const size_t **ends);

/* Check the invariants: tests and the simulator. */
void hub_check(const struct hub *hub);

#endif
