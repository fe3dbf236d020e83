/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_TIDINGS_H
#define CMD_TRIVET_BENCH_TIDINGS_H

#include "base/bytes.h"

/* What a watcher of one key is told: the events of an answer, each of a put whose value begins with
 * the time at which it was due. Watchers of the same key are told the same, one after the other: to
 * compare all bytes with those of the answer before costs a tenth of reading them. All zero is
 * none yet. */
struct tidings {
    struct buf bytes; /* as they came */
    struct buf due;   /* uint64_t: of each event the time, as the clock of env has it */
    uint64_t count;
    int64_t first_revision;
    int64_t first_version; /* of the key: each put makes it one higher */
    int64_t last_revision;
    int64_t last_version;
};

/* EVENTS: of an answer, what follows its head. NULL: they are right by themselves; else what is
 * wrong, and TIDINGS are none. */
const char *tidings_read(struct tidings *tidings, struct bytes events);
uint64_t tidings_due(const struct tidings *tidings, uint64_t i);
void tidings_fini(struct tidings *tidings);

/* How far a watcher has been told. */
struct sight {
    int64_t revision; /* of its last event; 0: none came yet */
    int64_t version;  /* of the key then */
};

/* It is told this, too. NULL: that is what comes next; else what is wrong. */
const char *sight_take(struct sight *sight, const struct tidings *tidings);

#endif
