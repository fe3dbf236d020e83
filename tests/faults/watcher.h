/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_WATCHER_H
#define TESTS_FAULTS_WATCHER_H

#include "tests/faults/actor.h"

/* A watch that writes down all that it is told. When its stream breaks, and now and then without a
 * reason, it goes on behind the last revision that it was told, through another member. */
struct watcher;

struct watcher_range {
    struct bytes key;       /* literals */
    struct bytes range_end; /* empty: KEY alone */
    bool prev_kv;
    bool no_put;
    bool no_delete;
    bool fragment;
};

struct watcher *watcher_new(struct stage *stage, const struct watcher_range *range, size_t number);
void watcher_free(struct watcher *watcher);

/* Everything up to this revision was told: the stream said so. */
int64_t watcher_told(const struct watcher *watcher);
/* No more events; the stream ends. */
void watcher_stop(struct watcher *watcher);

#endif
