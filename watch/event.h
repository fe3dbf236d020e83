/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WATCH_EVENT_H
#define WATCH_EVENT_H

#include "base/bytes.h"
#include "storage/record.h"

/* A change as a client is told it: a field `events` of WatchResponse, its tag and length included,
 * so that events stand behind each other as they are. Made once, shared by all who watch the key.
 */

/* What RECORD changed; PREV, when not NULL, is the value before. NULL: no memory. */
struct blob *event_encode(const struct record *record, const struct record *prev);

#endif
