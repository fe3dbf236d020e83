/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_OUTBOX_H
#define STORAGE_OUTBOX_H

#include "base/arena.h"
#include "storage/backend.h"

/* On the way to SQLite: what entries of the Raft log change, collected in batches of whole entries.
 *
 *   entry ▷ entry ▷ [ open ]      a batch is sealed when it is large, old, or waited for, and the
 *                       │ seal    backend has few; else it goes on collecting
 *   [ sealed ][ sealed ]│
 *        │ at most OUTBOX_OUT_MAX
 *        ▼
 *   backend_write ... on_commit: every read finds it
 *
 * The states of batches that are committed but not yet known to be durable are kept, so that the
 * durable state can be told. On the loop. */
#define OUTBOX_BATCH_BYTES (4u * 1024 * 1024)
#define OUTBOX_OUT_MAX     2u
/* Nothing waits for SQLite but reads of what the ring has dropped, so that many small entries may
 * share one transaction: its fixed cost would be most of a small write's. */
#define OUTBOX_DELAY_MS    10u
#define OUTBOX_EAGER_BYTES (1024u * 1024)
#define OUTBOX_SPARE_MAX   3u

struct outbox_batch {
    struct backend_batch write;
    struct queue link; /* sealed, out, or spare */
    struct outbox *outbox;
    struct record **records;
    size_t record_cap;
    struct backend_change *changes;
    size_t change_cap;
    size_t entry_count;
    struct arena arena; /* keys and values of the changes */
};

struct outbox_state {
    struct queue link;
    struct backend_state state;
};

struct outbox {
    struct env *env;
    struct backend *backend;
    struct env_task task;
    struct outbox_batch *open;
    struct queue sealed;
    struct queue spare; /* batches to be used again */
    unsigned spare_count;
    unsigned out_count; /* given to the backend */
    bool in_entry;
    bool held;  /* nothing goes to the backend */
    bool hurry; /* what is open goes out as soon as the backend has room */
    struct env_timer timer;
    size_t table_bytes; /* pending, of small tables */
    struct queue states;
    struct backend_state durable;
    void (*on_commit)(void *ctx, const struct backend_state *state);
    void *ctx;
};

/* STATE: what SQLite holds. */
void outbox_init(struct outbox *outbox, struct env *env, struct backend *backend,
                 const struct backend_state *state,
                 void (*on_commit)(void *ctx, const struct backend_state *state), void *ctx);
/* Somebody waits for a commit: do not collect any longer. */
void outbox_hurry(struct outbox *outbox);
/* Give everything to the backend, which is about to be closed. */
void outbox_flush(struct outbox *outbox);
void outbox_fini(struct outbox *outbox); /* after the backend was closed */

/* Give nothing more to the backend: it collects, until it is released or begins anew. */
void outbox_hold(struct outbox *outbox);
void outbox_release(struct outbox *outbox);
/* Forget all that was collected, nothing being out: SQLite holds STATE, and that in it. */
void outbox_reset(struct outbox *outbox, const struct backend_state *state);

void outbox_entry_begin(struct outbox *outbox);
/* RECORD stays the ring's until on_commit. */
void outbox_add_record(struct outbox *outbox, struct record *record);
void outbox_add_change(struct outbox *outbox, const struct backend_change *change);
/* STATE: as it is after the entry. */
void outbox_entry_end(struct outbox *outbox, const struct backend_state *state);

/* Everything up to this index is durable now: outbox->durable follows. */
void outbox_durable(struct outbox *outbox, uint64_t durable_index);

#endif
