/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/mutate.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/history/draft.h"

#define REVISION (1u << HISTORY_CHECK_REVISION)
#define LINEAR   (1u << HISTORY_CHECK_LINEAR)
#define WATCH    (1u << HISTORY_CHECK_WATCH)
#define LEASE    (1u << HISTORY_CHECK_LEASE)
#define LOCK     (1u << HISTORY_CHECK_LOCK)
#define SET      (1u << HISTORY_CHECK_SET)
#define CYCLE    (1u << HISTORY_CHECK_CYCLE)
#define BANK     (1u << HISTORY_CHECK_BANK)
#define FINAL    (1u << HISTORY_CHECK_FINAL)
#define SHAPE    (1u << HISTORY_CHECK_SHAPE)

static const struct {
    const char *name;
    mutate_fn mutate;
    uint32_t checkers;
} mutations[] = {
    {"stale read", mutate_stale_value, REVISION},
    {"stale revision", mutate_stale_revision, REVISION},
    {"swapped revisions", mutate_write_order, REVISION},
    {"revision twice", mutate_revision_twice, REVISION},
    {"value that nobody wrote", mutate_unwritten_value, REVISION},
    {"value of a failed write", mutate_failed_write, REVISION},
    {"comparison that was false", mutate_false_cas, REVISION},
    {"read from the future", mutate_future_read, REVISION},
    {"session goes back", mutate_session_back, REVISION},
    {"lost write", mutate_absent, REVISION},
    {"read before it was written", mutate_linear_future, LINEAR},
    {"read after it was overwritten", mutate_linear_stale, LINEAR},
    {"lost add", mutate_set_lost, SET},
    {"element that nobody added", mutate_set_phantom, SET},
    {"element twice", mutate_set_twice, REVISION},
    {"aborted append read (G1a)", mutate_append_aborted, CYCLE},
    {"appends in another order", mutate_append_order, CYCLE},
    {"append not read (G-single)", mutate_append_lost, CYCLE},
    {"wr: overwritten value read", mutate_wr_stale, CYCLE},
    {"wr: value that nobody wrote", mutate_wr_phantom, CYCLE},
    {"money made", mutate_bank_total, BANK},
    {"account lost", mutate_bank_account, BANK},
    {"member without a key", mutate_final_lost, FINAL},
    {"member with another value", mutate_final_value, FINAL},
    {"member with another hash", mutate_final_hash, FINAL},
    {"member that is behind", mutate_final_old, FINAL},
    {"answer twice", mutate_answer_twice, SHAPE},
    {"answer without a question", mutate_no_question, SHAPE},
    {"time goes back", mutate_time_back, SHAPE},
    {"another answer", mutate_other_answer, SHAPE},
    {"event twice", mutate_event_twice, WATCH},
    {"event dropped", mutate_event_dropped, WATCH},
    {"revision split", mutate_event_split, WATCH},
    {"events out of order", mutate_event_order, WATCH},
    {"response repeated", mutate_event_repeated, WATCH},
    {"bookmark too early", mutate_bookmark_early, WATCH},
    {"prev_kv wrong", mutate_prev_wrong, WATCH},
    {"prev_kv missing", mutate_prev_missing, WATCH},
    {"version wrong", mutate_version_wrong, REVISION},
    {"event with another value", mutate_event_value, REVISION},
    {"header below its events", mutate_header_low, WATCH},
    {"event outside the range", mutate_event_outside, WATCH},
    {"canceled for no compaction", mutate_cancel, WATCH},
    {"lease ended early", mutate_lease_early, LEASE},
    {"lease ended late", mutate_lease_late, LEASE},
    {"lease with another TTL", mutate_lease_ttl, LEASE},
    {"lease alive after its end", mutate_lease_risen, LEASE},
    {"two lock holders", mutate_two_holders, LOCK},
    {"fenced after the lock was lost", mutate_fenced_late, LOCK},
    {"holder refused", mutate_holder_refused, LOCK},
};

size_t mutation_count(void)
{
    return ARRAY_LEN(mutations);
}

const char *mutation_name(size_t i)
{
    return mutations[i].name;
}

uint32_t mutation_checkers(size_t i)
{
    return mutations[i].checkers;
}

/* ---- Drafts ---- */

struct history_event *draft_at(struct draft *d, size_t at)
{
    return &d->events[at];
}

struct history_item *draft_items(struct draft *d, size_t at)
{
    struct history_event *e = &d->events[at];
    struct history_item *items = arena_calloc(&d->arena, e->item_count + 1, sizeof *items);
    ASSERT(items != NULL);
    for (uint32_t i = 0; i < e->item_count; i++) {
        items[i] = e->items[i];
    }
    e->items = items;
    return items;
}

/* There is room for four more than there were: a change inserts two at most. */
void draft_insert(struct draft *d, size_t at, struct history_event e)
{
    memmove(&d->events[at + 1], &d->events[at], (d->count - at) * sizeof e);
    d->events[at] = e;
    d->count++;
}

void draft_remove(struct draft *d, size_t at)
{
    d->count--;
    memmove(&d->events[at], &d->events[at + 1], (d->count - at) * sizeof *d->events);
}

void draft_remove_item(struct draft *d, size_t at, uint32_t item)
{
    struct history_item *items = draft_items(d, at);
    d->events[at].item_count--;
    memmove(&items[item], &items[item + 1], (d->events[at].item_count - item) * sizeof *items);
}

uint32_t draft_new_value(struct draft *d)
{
    return history_int(d->made, INT64_C(1000000000000) + (int64_t)history_symbol_count(d->made));
}

bool draft_is_ok(struct draft *d, size_t at, enum history_workload workload, enum history_f f)
{
    const struct history_event *e = &d->events[at];
    return e->type == HISTORY_OK && e->workload == workload && e->f == f &&
           (e->flags & HISTORY_SERIALIZABLE) == 0;
}

size_t draft_question(struct draft *d, size_t at)
{
    size_t i = at;
    while (d->events[i].process != d->events[at].process || d->events[i].type != HISTORY_INVOKE) {
        ASSERT(i > 0);
        i--;
    }
    return i;
}

int64_t draft_high(struct draft *d, size_t at)
{
    int64_t high = 0;
    for (size_t i = 0; i < at; i++) {
        const struct history_event *e = &d->events[i];
        high = e->type != HISTORY_INVOKE && e->revision > high ? e->revision : high;
    }
    return high;
}

int64_t draft_new_process(struct draft *d)
{
    int64_t largest = 0;
    for (size_t i = 0; i < d->count; i++) {
        largest = d->events[i].process > largest ? d->events[i].process : largest;
    }
    return largest + 1;
}

static void draft_init(struct draft *d, const struct history *good, uint64_t seed)
{
    *d = (struct draft){.made = history_new(), .count = history_count(good), .random = seed};
    d->events = reallocarray(NULL, d->count + 4, sizeof *d->events);
    ASSERT(d->made != NULL);
    ASSERT(d->events != NULL);
    for (uint32_t s = 1; s < history_symbol_count(good); s++) {
        int64_t number;
        uint32_t same = history_symbol_int(good, s, &number)
                            ? history_int(d->made, number)
                            : history_text(d->made, history_symbol_text(good, s));
        ASSERT(same == s);
    }
    for (size_t i = 0; i < d->count; i++) {
        d->events[i] = *history_at(good, i);
        d->events[i].index = 0; /* counted anew */
    }
}

struct history *history_mutate(const struct history *good, size_t i, uint64_t seed)
{
    struct draft d;
    draft_init(&d, good, seed);
    size_t count = d.count;
    size_t first = mix64(seed + i) % count;
    bool done = false;
    for (size_t k = 0; k < count && !done; k++) {
        done = mutations[i].mutate(&d, (first + k) % count);
    }
    for (size_t k = 0; k < d.count && done; k++) {
        history_add(d.made, &d.events[k]);
    }
    ASSERT(history_ok(d.made));
    free(d.events);
    arena_fini(&d.arena);
    if (!done) {
        history_free(d.made);
        return NULL;
    }
    return d.made;
}
