/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_HUB_PRIVATE_H
#define WATCH_HUB_PRIVATE_H

#include "watch/cursor.h"
#include "watch/hub.h"

/* The hub's inside, for the files of the folder. */

enum { LIVE }; /* the cursor that follows the store */

/*                    hub_watch
 *                  /     |     \  start below the compacted revision
 *  from now on    /      |      \_____________________________
 *                v       v in the past                        v
 *             SERVED   WAITING ──▶ SERVED                  ENDING ──▶ `ended`
 *            by LIVE    ▲   for a cursor, then by it          ▲
 *                │      │                       │             │ compacted, or cannot be read
 *    its stream  ▼      │ room                  ├─────────────┘
 *       is full  PARKED ◀───────────────────────┘
 */
enum watcher_state {
    WATCHER_SERVED,  /* in a list of its group, and in its cursor's */
    WATCHER_WAITING, /* in hub->waiting or a cursor's joining */
    WATCHER_PARKED,  /* in its stream's parked */
    WATCHER_ENDING,  /* likewise */
};

struct hub {
    struct env *env;
    struct store *store;
    struct watchgroups groups;
    struct cursor cursors[CURSORS_MAX];
    struct queue streams;  /* struct watch_stream.link: open, or with watchers left */
    struct queue ready;    /* struct watch_stream.turn */
    struct queue progress; /* struct watch_stream.progress */
    struct queue waiting;  /* struct watcher.link: for a cursor that is idle */
    int64_t waiting_min;   /* no `next` of those is less */
    size_t watchers;
    size_t behind; /* of them not in step with LIVE */
    size_t open_streams;
    size_t turn_work;
    struct counter *events_total;
    struct env_task task;
    struct env_timer timer; /* there is more to do in a later turn */
    bool in_turn;
    bool stopped;
};

/* Something can be done: at the end of this turn; in the next one; in a while. */
void hub_wake(struct hub *hub);
void hub_wake_later(struct hub *hub);
void hub_retry(struct hub *hub);

/* Told up to the store's present revision? */
bool hub_is_up_to_date(const struct hub *hub);

/* All that can be done now, as far as a turn's work goes. */
void hub_turn(struct hub *hub);

/* A watcher's place: out of it, into none; to a cursor; to where its `next` belongs; to its end,
 * which its stream tells the client when it has room. */
void hub_take_out(struct watcher *watcher);
void hub_serve_by(struct cursor *cursor, struct watcher *watcher);
void hub_place(struct hub *hub, struct watcher *watcher);
void hub_end_watcher(struct watcher *watcher, enum err why);
struct cursor *hub_idle_cursor(struct hub *hub); /* NULL: all are busy */

/* WATCHER's stream has no room for what begins with revision NEXT. */
void hub_park(struct watcher *watcher, int64_t next);

#endif
