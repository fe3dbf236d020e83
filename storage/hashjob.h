/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_HASHJOB_H
#define STORAGE_HASHJOB_H

#include "storage/store.h"

/* What store_hash_start does when nothing is remembered: compute. The hash of a compaction is begun
 * before the compaction, and differs from HashKV in one case: when no key is alive at the revision
 * but a tombstone of it stays, etcd leaves out what is older. */
enum hash_kind { HASH_OF_REQUEST, HASH_OF_COMPACTION };

void hashjob_start(struct store *store, struct store_hash_request *request, enum hash_kind kind,
                   void (*cb)(struct store_hash_request *request));

#endif
