/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_TXN_H
#define FSM_TXN_H

#include "fsm/lease.h"
#include "fsm/result.h"

/* A transaction on the store, as etcd runs it:
 *
 *   1. every compare of the path that will be taken, nested ones included, is evaluated against the
 * state before the transaction;
 *   2. the operations on that path are checked against the same state: an error there means that
 * nothing is applied;
 *   3. the operations run in order; reads see what the transaction has written before them.
 *
 * Step 3 cannot fail: a disk that cannot read an old value then ends the process, as copies would
 * differ otherwise. */

/* Run inside store_txn_begin/end. LEASES: those that puts may name, NULL for none. WANT: build the
 * responses in RET; else only its verdict matters. */
MUST_CHECK enum err txn_apply(struct store *store, const struct leases *leases, struct arena *arena,
                              const struct command_txn *txn, bool want, struct txn_result *ret);

/* Steps 1 and 2 of a transaction without writes, outside store_txn_begin; errors of disk and memory
 * are returned. */
MUST_CHECK enum err txn_plan(struct store *store, const struct command_txn *txn,
                             struct txn_plan *ret);

/* A put on either branch, however deep? */
bool txn_has_put(const struct command_txn *txn);

#endif
