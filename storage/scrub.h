/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SCRUB_H
#define STORAGE_SCRUB_H

#include "base/metrics.h"
#include "storage/backend.h"

/* Damage that nobody reads is found by nobody, until the day on which the other copies are gone. So
 * the store reads all of itself now and then:
 *
 *   slice ─▶ pause ─▶ slice ─▶ ... ─▶ the last row ─▶ small tables ─▶ until the interval is over
 *     │
 *     └ some hundred KiB of rows, header and value against their checksums, on a reader thread
 *
 * from the file: what the connection has in its memory is forgotten before each slice. The pause is
 * as long as the slice was large, so that no more than SCRUB_RATE_BYTES a millisecond are read: a
 * reader thread is busy for about a hundredth of the time, and the loop has two callbacks a slice.
 * Pages of SQLite that do not fit together are found on the way. What was written since a pass
 * began is read by the next one. The first pass begins at some moment of the first interval, so
 * that members do not all read at once.
 *
 * The first damage ends a pass; it is what store_damage says. On the loop; embedded in the store.
 */
#define SCRUB_SLICE_BYTES (256u * 1024)
#define SCRUB_RATE_BYTES  4096u

struct store;

struct scrub {
    struct store *store;
    uint64_t interval_ms;
    struct env_timer timer;
    uint64_t began_ms; /* of the pass */
    int64_t last;      /* main revision of the pass */
    struct backend_scan scan;
    struct backend_check check;
    bool at_tables;

    /* A reader's while it scans. */
    revision_t next;
    uint64_t slice_bytes;
    uint64_t slice_rows;

    struct counter *passes;
    struct counter *rows;
    struct counter *bytes;
};

/* INTERVAL_MS between the beginnings of two passes; 0: never. METRICS may be NULL. */
void scrub_start(struct scrub *scrub, struct store *store, uint64_t interval_ms,
                 struct metrics *metrics);
/* The store closes: what is being read comes back before the backend has closed. */
void scrub_stop(struct scrub *scrub);

#endif
