/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_WATCHGROUP_H
#define WATCH_WATCHGROUP_H

#include "base/env.h"
#include "base/map.h"
#include "watch/interval.h"

/* Watchers by what they watch. Those of the same key or range make a group, and so one look-up
 * finds all that a change concerns: single keys in a seeded hash map, ranges in an interval tree.
 *
 * A group keeps a list for each cursor: a change is told only to those who stand where it was read.
 * Moving a watcher from one cursor to another is moving it between lists, and needs no memory. */
#define CURSORS_MAX 4 /* the live one, and those that catch up */

struct touch;

struct watchgroup {
    struct map_link by_key;   /* a single key */
    struct interval interval; /* a range */
    bool is_range;
    uint32_t refs;                      /* watchers in any state, and touches */
    uint32_t prev_kv_count;             /* of them want previous values */
    struct queue members[CURSORS_MAX];  /* struct watcher.link */
    struct touch *touches[CURSORS_MAX]; /* while the cursor's records are told: delivery.c */
    struct bytes key;
    struct bytes range_end;
    uint8_t data[];
};

struct watchgroups {
    struct map by_key;
    struct interval_tree by_range;
    size_t bytes; /* of all groups */
};

void watchgroups_init(struct watchgroups *groups, struct env *env);
void watchgroups_fini(struct watchgroups *groups); /* empty */

/* The group of a key (RANGE_END empty) or range, made when it is not there; one count. NULL: no
 * memory. */
struct watchgroup *watchgroup_get(struct watchgroups *groups, struct bytes key,
                                  struct bytes range_end);
/* What watchgroup_get would add to groups->bytes. */
size_t watchgroup_cost(const struct watchgroups *groups, struct bytes key, struct bytes range_end);
void watchgroup_unref(struct watchgroups *groups, struct watchgroup *group);

/* Call FN for every group that a change of KEY concerns; it may take counts, and gives none back.
 */
void watchgroup_find(const struct watchgroups *groups, struct bytes key,
                     void (*fn)(struct watchgroup *group, void *ctx), void *ctx);

#endif
