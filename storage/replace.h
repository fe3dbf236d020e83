/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_REPLACE_H
#define STORAGE_REPLACE_H

#include "storage/backend.h"

/* The store's side of another member's database taking the place of ours (store_replace_start):
 *
 *   the backend checks it            all goes on
 *   it is sound                      reads that take several turns wait; those that have begun end,
 *                                    on the old data
 *   the last of them has ended       what is applied is collected and not given to the backend
 *   the backend switches the files   index, ring, state are exchanged; what was collected is in the
 *                                    new state already; the reads that waited begin
 *
 * Small reads and writes go on all the while: they are one call on the loop, before the exchange or
 * after it. */
struct replace;

/* Must a read that takes several turns wait? Then CB, with wait->store set, is its time to begin.
 */
bool replace_holds(struct store *store, struct store_wait *wait,
                   void (*cb)(struct store_wait *wait));
/* One of them has ended: they all hold pins. */
void replace_on_unpin(struct store *store);
/* The store closes: it is not to happen any more; what waits begins, and ends with the store. */
void replace_stop(struct store *store);

#endif
