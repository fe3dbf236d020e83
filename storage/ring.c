/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/ring.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"

/* Records stand in chunks, so that growing copies the few pointers to chunks and never the records'
 * own: a ring of a million pending records grows without holding the loop. */
#define CHUNK_RECORDS  512u
#define CHUNKS_AT_OPEN 16u

static struct record **chunk_at(const struct ring *ring, uint64_t place)
{
    return ring->chunks[place / CHUNK_RECORDS & (ring->chunk_cap - 1)];
}

struct record *ring_at(const struct ring *ring, uint64_t place)
{
    ASSERT(place >= ring->first && place < ring->end);
    return chunk_at(ring, place)[place % CHUNK_RECORDS];
}

void ring_init(struct ring *ring, size_t keep_bytes, revision_t gone)
{
    *ring = (struct ring){.keep_bytes = keep_bytes, .gone = gone};
}

static void drop_first(struct ring *ring)
{
    struct record *record = ring_at(ring, ring->first);
    ring->gone = record->rev;
    record_unref(record);
    ring->first++;
    if (ring->first % CHUNK_RECORDS == 0) {
        struct record ***chunk =
            &ring->chunks[(ring->first / CHUNK_RECORDS - 1) & (ring->chunk_cap - 1)];
        free(*chunk);
        *chunk = NULL;
    }
}

void ring_fini(struct ring *ring)
{
    while (ring->first < ring->end) {
        drop_first(ring);
    }
    for (size_t i = 0; i < ring->chunk_cap; i++) {
        free(ring->chunks[i]);
    }
    free(ring->chunks);
    *ring = (struct ring){0};
}

/* Twice as many chunks. Each keeps its place modulo the new number. */
static bool grow(struct ring *ring)
{
    size_t cap = ring->chunk_cap == 0 ? CHUNKS_AT_OPEN : ring->chunk_cap * 2;
    struct record ***chunks = calloc(cap, sizeof chunks[0]);
    if (chunks == NULL) {
        return false;
    }
    for (size_t i = 0; i < ring->chunk_cap; i++) {
        uint64_t number = ring->first / CHUNK_RECORDS + i;
        chunks[number & (cap - 1)] = ring->chunks[number & (ring->chunk_cap - 1)];
    }
    free(ring->chunks);
    ring->chunks = chunks;
    ring->chunk_cap = cap;
    return true;
}

/* A chunk for the record that comes next. */
static bool make_room(struct ring *ring)
{
    uint64_t number = ring->end / CHUNK_RECORDS;
    if (number - ring->first / CHUNK_RECORDS >= ring->chunk_cap && !grow(ring)) {
        return false;
    }
    struct record ***chunk = &ring->chunks[number & (ring->chunk_cap - 1)];
    if (*chunk == NULL) {
        *chunk = malloc(CHUNK_RECORDS * sizeof(struct record *));
    }
    return *chunk != NULL;
}

static revision_t newest(const struct ring *ring)
{
    return ring->first == ring->end ? ring->gone : ring_at(ring, ring->end - 1)->rev;
}

bool ring_push(struct ring *ring, struct record *record)
{
    revision_t last = newest(ring);
    ASSERT(record->rev > last);
    ASSERT(ring->first == ring->end || revision_main(record->rev) <= revision_main(last) + 1);
    if (!make_room(ring)) {
        return false;
    }
    chunk_at(ring, ring->end)[ring->end % CHUNK_RECORDS] = record;
    ring->end++;
    ring->pending_bytes += record_size(record);
    return true;
}

/* The first record of a main revision M stands at least as many places from the first one as M is
 * revisions away, and just there while operations change one key each: look from there on, in steps
 * that double, then between the last two. */
uint64_t ring_seek(const struct ring *ring, revision_t rev)
{
    if (ring->first == ring->end || ring_at(ring, ring->first)->rev >= rev) {
        return ring->first;
    }
    uint64_t distance =
        (uint64_t)(revision_main(rev) - revision_main(ring_at(ring, ring->first)->rev));
    if (distance >= ring->end - ring->first) {
        distance = ring->end - ring->first - 1; /* fewer records than that: the last or none */
    }
    uint64_t low = ring->first + distance; /* records before are below REV */
    uint64_t high = low;
    for (uint64_t step = 1; high < ring->end && ring_at(ring, high)->rev < rev; step *= 2) {
        low = high + 1;
        high = low + step < ring->end ? low + step : ring->end;
    }
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (ring_at(ring, mid)->rev < rev) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

struct record *ring_get(const struct ring *ring, revision_t rev)
{
    if (rev <= ring->gone) {
        return NULL;
    }
    uint64_t place = ring_seek(ring, rev);
    if (place == ring->end) {
        return NULL;
    }
    struct record *record = ring_at(ring, place);
    return record->rev == rev ? record : NULL;
}

void ring_commit(struct ring *ring, revision_t rev)
{
    while (ring->committed < ring->end &&
           (ring_at(ring, ring->committed)->rev <= rev || PLANTED(RING_FORGETS))) {
        size_t size = record_size(ring_at(ring, ring->committed));
        ring->pending_bytes -= size;
        ring->kept_bytes += size;
        ring->committed++;
    }
}

bool ring_trim(struct ring *ring, size_t count)
{
    while (ring->kept_bytes > ring->keep_bytes) {
        if (count-- == 0) {
            return true;
        }
        ASSERT(ring->first < ring->committed);
        ring->kept_bytes -= record_size(ring_at(ring, ring->first));
        drop_first(ring);
    }
    return false;
}

void ring_check(const struct ring *ring)
{
    size_t kept = 0;
    size_t pending = 0;
    ASSERT(ring->first <= ring->committed && ring->committed <= ring->end);
    revision_t last = ring->gone;
    for (uint64_t place = ring->first; place < ring->end; place++) {
        const struct record *record = ring_at(ring, place);
        ASSERT(record->refs > 0);
        ASSERT(record->rev > last);
        last = record->rev;
        *(place < ring->committed ? &kept : &pending) += record_size(record);
    }
    ASSERT(kept == ring->kept_bytes && pending == ring->pending_bytes);
}
