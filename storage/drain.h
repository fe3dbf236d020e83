/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_DRAIN_H
#define STORAGE_DRAIN_H

#include "storage/schema.h"

/* What the storage thread owns: the only connection that writes, and what the last commit left. All
 * that waits for it is done in the order of submission; batches that stand together become one
 * transaction, the applied index in it:
 *
 *   batch batch batch | slice | batch | end of a checkpoint | batch batch
 *   └─ transaction ─┘           └─ t ─┘                       └ transaction
 *
 * Invariants:
 *   1. A transaction holds whole batches, in order, and the meta row after the last of them.
 *   2. When a batch found no room, every later one is refused as well, until one that says it is
 *      the retry of the first (struct drain.full): order is kept without a queue here.
 *   3. Any other failure ends the process.
 *
 * Thread: storage, but for drain_init and drain_fini. */
struct drain {
    struct env *env;
    struct conn *conn;
    struct meta meta; /* as committed */
    struct buf header;
    bool full;
    struct drain_report report; /* kept up to date */
};

/* CONN is the drain's from now on, and closed by whoever ends it, even when this fails. */
MUST_CHECK enum err drain_init(struct drain *drain, struct env *env, struct conn *conn,
                               const struct meta *meta, struct why *why);
void drain_fini(struct drain *drain);

/* Go on with CONN, to another file with the same content. It is the drain's, as in drain_init.
 * Thread: storage. */
MUST_CHECK enum err drain_reopen(struct drain *drain, struct conn *conn, struct why *why);

/* As worker_config.run_batch; CTX is the drain. A job whose work is drain_batch_work is a
 * backend_batch, any other is done by its own work. */
void drain_run(void *ctx, struct queue *jobs);
void drain_batch_work(struct job *job);

/* Let the next batch be tried although the disk was full; a job of its own, before that batch. */
void drain_retry(struct drain *drain);

/* Change the database in one transaction: CHANGE works on META, which is then written and becomes
 * the drain's. ERR_NO_SPACE: nothing has changed. Every other failure is fatal, WHAT its text. */
typedef enum err (*drain_change_cb)(struct drain *drain, struct meta *meta, void *ctx,
                                    struct why *why);
MUST_CHECK enum err drain_transact(struct drain *drain, const char *what, drain_change_cb change,
                                   void *ctx);

/* What a row counts for in the tally of rows. */
uint64_t drain_row_bytes(size_t header_len, size_t value_len);
struct set_hash drain_row_element(revision_t rev, uint32_t checksum);

#endif
