/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_CURSOR_H
#define WATCH_CURSOR_H

#include "base/arena.h"
#include "storage/store.h"
#include "watch/watchgroup.h"

/* A place in history, and the watchers that stand there: one read serves all of them.
 *
 *             start                      in memory, or from SQLite by a reader thread
 *   IDLE ───────────▶ AT_REST ──────────────────────▶ READING ──┐
 *    ▲                 ▲    ▲ │                                 │
 *    │ nobody is left  │    │ └─────────▶ (records) ◀───────────┘
 *    └─────────────────┘    │                 │ few previous values are missing: read at once
 *                           │                 ├───────────────────────▶ FETCHING ──┐
 *       told (delivery.c)   │                 ▼                                    │
 *      TELLING ─────────────┘ ◀────────── LOADED ◀─────────────────────────────────┘
 *
 *   ENDING: what comes next cannot be read; the watchers that needed it are told so.
 *
 * Records come in slices of at most WATCH_SLICE_REVISIONS revisions and about WATCH_SLICE_BYTES. */
struct hub;

enum cursor_state {
    CURSOR_IDLE,
    CURSOR_AT_REST,
    CURSOR_READING,
    CURSOR_FETCHING,
    CURSOR_LOADED,
    CURSOR_TELLING,
    CURSOR_ENDING,
};

/* A record of the slice with what was made of it for its watchers. */
struct slice_item {
    struct record *record;
    struct record *prev; /* the value before, when somebody may want it and it can be had */
    struct blob *plain;  /* the event's bytes, once they were asked for */
    struct blob *with_prev;
};

struct cursor {
    struct hub *hub;
    uint8_t number;
    enum cursor_state state;
    int64_t position;      /* the first revision that its watchers have not been told */
    struct queue watchers; /* struct watcher.cursor_link */
    size_t count;
    struct queue joining; /* struct watcher.link: to be added before anything is read */

    /* The slice: from LOADED on, and while FETCHING. */
    struct arena arena; /* of what follows, and of touches */
    struct slice_item *items;
    size_t item_count;
    int64_t slice_end;    /* position, once the slice was told */
    struct queue touches; /* struct touch.link */

    struct store_events_request read;
    struct store_fetch_request fetch;
    uint32_t *missing; /* items whose prev is fetched */

    enum err why;       /* ENDING */
    size_t ending_left; /* watchers that may have to end */
};

void cursor_init(struct cursor *cursor, struct hub *hub, uint8_t number);
void cursor_fini(struct cursor *cursor);

/* Whoever is to be told something below this came too late for the cursor. */
int64_t cursor_reach(const struct cursor *cursor);

/* At rest: get the slice that begins at the position and ends with revision TO at the latest. The
 * hub is woken (hub_wake) when it comes later, or could not be had for want of memory. */
void cursor_read(struct cursor *cursor, int64_t to);

/* Make do with the first COUNT items, at least one, and what else belongs to the last one's
 * revision.
 */
void cursor_cut(struct cursor *cursor, size_t count);

/* The slice was told: go behind it. */
void cursor_move_on(struct cursor *cursor);

#endif
