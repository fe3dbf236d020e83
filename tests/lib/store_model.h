/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_STORE_MODEL_H
#define TESTS_LIB_STORE_MODEL_H

#include "storage/store.h"

/* A store as simple as can be, behind the same door as the real one (storage/store.h): all records
 * in one array, every question answered by walking over it. For tests of what stands upon a store
 * (link it before storage/libstorage.a), and to hold the real one against. Nothing is written to a
 * disk. What cannot be allocated ends the process (fatal). */

/* A model of its own; ENV is needed only for what answers later. */
struct store *store_model_new(struct env *env);

/* The next store_range, or answer of store_range_start, is ERR. */
void store_model_fail_range(struct store *store, enum err err);

/* As many records as a store_range has answered with at most. */
size_t store_model_range_records_max(const struct store *store);

/* Defragmentations end with ERR, or (OK, as at first) with half of the size. */
void store_model_fail_defragment(struct store *store, enum err err);
void store_model_fail_copy(struct store *store, enum err err);
/* The byte at AT of what store_copy_start writes; as many of them as the store's size says. */
uint8_t store_model_copied(uint64_t at);

/* Only ranges of one key are cheap from now on, or (false, as at first) all of them. */
void store_model_set_dear(struct store *store, bool dear);

/* From now on what store_range_start answers is read when it answers, as while a store is replaced;
 * or (false, as at first) when it starts. */
void store_model_set_late(struct store *store, bool late);

/* While held, nothing that answers later does. */
void store_model_hold(struct store *store, bool hold);
/* The oldest of what is held, alone. */
void store_model_answer(struct store *store);

/* Revisions up to REVISION are not in memory any more, and must be asked for with
 * store_events_start. */
void store_model_forget(struct store *store, int64_t revision);

/* What store_events_start and store_fetch_start answer from now on. */
void store_model_fail_events(struct store *store, enum err err);

/* What store_compact_wait waits for has come. */
void store_model_compacted(struct store *store);
/* Requests and waits that have not been called back. */
size_t store_model_waiting(const struct store *store);
/* Ranges that were cancelled and have not been called back. */
size_t store_model_cancelled(const struct store *store);

/* What it was told to ask of a compaction (store_set_turn). */
unsigned store_model_turn(const struct store *store);

/* A read has found damage there (a text that stays), or (NULL) none has. */
void store_model_set_damage(struct store *store, const char *place);

void store_model_set_size(struct store *store, uint64_t bytes);
void store_model_set_pending(struct store *store, size_t bytes);

/* How often an entry was begun and ended; what was written outside of one, or of an operation, is
 * fatal. */
uint64_t store_model_entry_count(const struct store *store);

/* Rows of TABLE. */
size_t store_model_row_count(const struct store *store, enum store_table table);

/* STORE's state as it would be read before it takes another's place; one at a time. */
struct store_reading *store_model_reading(struct store *store);

#endif
