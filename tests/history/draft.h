/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_DRAFT_H
#define TESTS_HISTORY_DRAFT_H

#include "base/arena.h"
#include "tests/history/history.h"

/* A history that is being changed: copies of its events, in an array. */
struct draft {
    struct history *made; /* with the symbols of the good one, and room for more */
    struct history_event *events;
    size_t count;
    struct arena arena;
    uint64_t random;
};

/* A change at one place; false: it cannot be made there. */
typedef bool (*mutate_fn)(struct draft *d, size_t at);

struct history_event *draft_at(struct draft *d, size_t at);
/* The items of an event, to be changed. */
struct history_item *draft_items(struct draft *d, size_t at);
/* Put a copy of E before position AT; its items stay shared. */
void draft_insert(struct draft *d, size_t at, struct history_event e);
void draft_remove(struct draft *d, size_t at);
void draft_remove_item(struct draft *d, size_t at, uint32_t item);
uint32_t draft_new_value(struct draft *d); /* that nobody has written */

/* Whether this is an answer OK of that kind, and not a serializable one. */
bool draft_is_ok(struct draft *d, size_t at, enum history_workload workload, enum history_f f);
/* The position of an answer's question. */
size_t draft_question(struct draft *d, size_t at);
/* The largest revision that was seen before a position. */
int64_t draft_high(struct draft *d, size_t at);
int64_t draft_new_process(struct draft *d);

/* mutate_kv.c and mutate_streams.c */
bool mutate_stale_value(struct draft *d, size_t at);
bool mutate_stale_revision(struct draft *d, size_t at);
bool mutate_write_order(struct draft *d, size_t at);
bool mutate_revision_twice(struct draft *d, size_t at);
bool mutate_unwritten_value(struct draft *d, size_t at);
bool mutate_failed_write(struct draft *d, size_t at);
bool mutate_false_cas(struct draft *d, size_t at);
bool mutate_future_read(struct draft *d, size_t at);
bool mutate_session_back(struct draft *d, size_t at);
bool mutate_absent(struct draft *d, size_t at);
bool mutate_linear_future(struct draft *d, size_t at);
bool mutate_linear_stale(struct draft *d, size_t at);
bool mutate_set_lost(struct draft *d, size_t at);
bool mutate_set_phantom(struct draft *d, size_t at);
bool mutate_set_twice(struct draft *d, size_t at);
bool mutate_append_aborted(struct draft *d, size_t at);
bool mutate_append_order(struct draft *d, size_t at);
bool mutate_append_lost(struct draft *d, size_t at);
bool mutate_wr_stale(struct draft *d, size_t at);
bool mutate_wr_phantom(struct draft *d, size_t at);
bool mutate_bank_total(struct draft *d, size_t at);
bool mutate_bank_account(struct draft *d, size_t at);
bool mutate_final_lost(struct draft *d, size_t at);
bool mutate_final_value(struct draft *d, size_t at);
bool mutate_final_hash(struct draft *d, size_t at);
bool mutate_final_old(struct draft *d, size_t at);
bool mutate_answer_twice(struct draft *d, size_t at);
bool mutate_no_question(struct draft *d, size_t at);
bool mutate_time_back(struct draft *d, size_t at);
bool mutate_other_answer(struct draft *d, size_t at);

bool mutate_event_twice(struct draft *d, size_t at);
bool mutate_event_dropped(struct draft *d, size_t at);
bool mutate_event_split(struct draft *d, size_t at);
bool mutate_event_order(struct draft *d, size_t at);
bool mutate_event_repeated(struct draft *d, size_t at);
bool mutate_bookmark_early(struct draft *d, size_t at);
bool mutate_prev_wrong(struct draft *d, size_t at);
bool mutate_prev_missing(struct draft *d, size_t at);
bool mutate_version_wrong(struct draft *d, size_t at);
bool mutate_event_value(struct draft *d, size_t at);
bool mutate_header_low(struct draft *d, size_t at);
bool mutate_event_outside(struct draft *d, size_t at);
bool mutate_cancel(struct draft *d, size_t at);
bool mutate_lease_early(struct draft *d, size_t at);
bool mutate_lease_late(struct draft *d, size_t at);
bool mutate_lease_ttl(struct draft *d, size_t at);
bool mutate_lease_risen(struct draft *d, size_t at);
bool mutate_two_holders(struct draft *d, size_t at);
bool mutate_fenced_late(struct draft *d, size_t at);
bool mutate_holder_refused(struct draft *d, size_t at);

#endif
