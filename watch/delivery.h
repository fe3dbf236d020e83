/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_DELIVERY_H
#define WATCH_DELIVERY_H

#include "watch/hub_private.h"

/* Telling a slice: find the groups that its records concern, then go through their watchers. What
 * several are told alike is made once: an event's bytes for all who watch its key in whatever way,
 * and what a group is told at once for all its watchers that asked in the same way.
 *
 * May stop at any watcher, and go on in a later turn: those who were told are at the end of their
 * group's list, and what cancels or moves the others does not disturb. */

/* The cursor is LOADED: find the groups. ERR_NOMEM: it stays so. */
MUST_CHECK enum err delivery_begin(struct cursor *cursor);

/* The cursor is TELLING: go on until *BUDGET is used up. True: all have been told. ERR_NOMEM in
 * *err: to be tried again later. */
bool delivery_go_on(struct cursor *cursor, size_t *budget, enum err *err);

/* Forget it: the hub is freed. */
void delivery_drop(struct cursor *cursor);

#endif
