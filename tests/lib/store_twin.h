/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_STORE_TWIN_H
#define TESTS_LIB_STORE_TWIN_H

#include "storage/store.h"

/* The model store (store_model.h) under names of its own, so that it can stand beside the real one
 * in the same program. Never give one's store to the other's functions. */
struct store *twin_new(struct env *env);
void twin_close(struct store *store);

void twin_entry_begin(struct store *store, uint64_t index, uint64_t term);
void twin_entry_end(struct store *store);
void twin_txn_begin(struct store *store);
int64_t twin_txn_end(struct store *store);
MUST_CHECK enum err twin_put(struct store *store, const struct store_put *put,
                             struct record **prev);
MUST_CHECK enum err twin_delete_range(struct store *store, struct bytes key, struct bytes range_end,
                                      int64_t *deleted, struct record_list *prevs);
MUST_CHECK enum err twin_compact(struct store *store, int64_t revision);
void twin_table_put(struct store *store, enum store_table table, struct bytes key,
                    struct bytes value);
void twin_table_delete(struct store *store, enum store_table table, struct bytes key);
MUST_CHECK enum err twin_table_foreach(struct store *store, enum store_table table,
                                       enum err (*fn)(void *ctx, struct bytes key,
                                                      struct bytes value),
                                       void *ctx, struct why *why);
void twin_observe(struct store *store, void (*fn)(void *ctx, const struct record *record),
                  void *ctx);
MUST_CHECK enum err twin_lease_foreach(struct store *store,
                                       enum err (*fn)(void *ctx, struct bytes key, int64_t lease),
                                       void *ctx);
MUST_CHECK enum err twin_range(struct store *store, const struct range_query *query,
                               struct range_result *ret);
bool twin_key_version(const struct store *store, struct bytes key, struct key_version *ret);
MUST_CHECK enum err twin_events(struct store *store, int64_t from, size_t max_bytes,
                                struct record_list *ret);
void twin_hash_start(struct store *store, struct store_hash_request *request,
                     void (*cb)(struct store_hash_request *request));
int64_t twin_revision(const struct store *store);
int64_t twin_compacted_revision(const struct store *store);
uint64_t twin_applied_index(const struct store *store);
uint64_t twin_key_count(const struct store *store);

#endif
