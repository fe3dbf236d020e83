/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STORE_PRIVATE_H
#define STORAGE_STORE_PRIVATE_H

#include "base/assert.h"
#include "storage/hashmemory.h"
#include "storage/keyload.h"
#include "storage/outbox.h"
#include "storage/replace.h"
#include "storage/ring.h"
#include "storage/scrub.h"
#include "storage/slabs.h"
#include "storage/turn.h"
#include "storage/valuecache.h"

/* The store's inside, for the files that implement its door: store.c (open, close, small reads),
 * apply.c (writing), range.c, events.c, hashkv.c, upkeep.c. */

struct store_metrics {
    struct counter *puts;
    struct counter *deletes;
    struct counter *ranges;
    struct counter *txns;
    struct histogram *hash_seconds;
    uint64_t put_bytes; /* of keys and values */
};

/* What the open operation did so far. */
struct store_operation {
    bool open;    /* between store_txn_begin and store_txn_end */
    bool changed; /* it has taken a revision */
    uint32_t sub; /* of its next change */
    uint32_t puts;
    uint32_t deletes;
    uint32_t ranges;
};

struct store {
    struct store_config config;
    struct env *env;
    struct backend *backend;
    struct keyindex *index;
    struct ring ring;
    struct slabs *slabs;     /* memory of the records that were applied */
    struct valuecache cache; /* of what was read from SQLite */
    struct outbox outbox;
    struct store_metrics metrics;

    struct backend_state state; /* as applied; revision is what readers see */
    struct store_operation operation;
    void (*observe)(void *ctx, const struct record *record); /* NULL: nobody */
    void *observe_ctx;
    void (*on_commit)(void *ctx); /* NULL: nobody */
    void *on_commit_ctx;
    struct why damage;            /* the first that a read found; empty: none */
    struct keyload_lease *leases; /* as of the opening, until they were asked for or changed */
    size_t lease_count;
    struct buf header; /* scratch: of the record that is being made */

    /* Upkeep (upkeep.c). */
    struct env_timer upkeep_timer;
    int64_t committed_revision; /* by SQLite: every read there finds it */
    bool waits_came;
    int64_t index_compacted; /* the index is clean up to here; -1: never compacted */
    struct queue pins;       /* struct store_pin.link; the oldest first */
    struct queue compact_waits;
    struct queue durable_waits;
    struct queue commit_waits;

    struct env_timer range_timer;
    struct queue ranges; /* struct range_job.link: those that can go on, in turns (rangejob.c) */

    struct queue hashes; /* struct hash_job.computing: the first does, others wait */
    struct hashmemory hashmemory;
    struct turn turn;
    struct scrub scrub;

    struct replace *replace;     /* another database is about to take the place of ours; or NULL */
    unsigned files_on_their_way; /* as large as the database: copies, and a new one of it */
    struct queue readers; /* struct store_reader.link: what is being read in slices or by threads */
    bool closing;
};

/* ---- reading records ---- */

/* The record at REV when it is in memory, borrowed, or NULL. */
struct record *store_peek(struct store *store, revision_t rev);
/* The record at REV, from memory or from SQLite, with a count of its own. */
MUST_CHECK enum err store_load(struct store *store, revision_t rev, struct record **ret);

/* A read ended with STATUS (ERR_NOT_FOUND: of a row that must be there), which is what its reader
 * is told: say so in the log, unless it was told to end, and remember the place if it is damage. */
enum err store_read_failed(struct store *store, const char *what, enum err status,
                           const struct why *why);

/* May be read at REVISION? */
MUST_CHECK enum err store_check_revision(const struct store *store, int64_t revision);

MUST_CHECK bool record_list_push(struct record_list *list, struct record *record);

/* ---- what takes several turns ---- */

/* Something that ends later; known to the store so that it can end it when it closes. */
struct store_reader {
    struct queue link;
    void (*stop)(struct store_reader *reader); /* end it with ERR_STOPPED as soon as possible */
};
void store_reader_add(struct store *store, struct store_reader *reader,
                      void (*stop)(struct store_reader *reader));

/* ---- upkeep ---- */

void upkeep_init(struct store *store);
void upkeep_fini(struct store *store);
/* There may be something to trim or to compact. */
void upkeep_wake(struct store *store);
/* cb, in a later turn, when SQLite has committed everything up to REVISION. */
void upkeep_commit_wait(struct store *store, struct store_wait *wait, int64_t revision,
                        void (*cb)(struct store_wait *wait));
void upkeep_on_commit(struct store *store, const struct backend_state *state);
void upkeep_on_durable(struct store *store, uint64_t durable_index);
void upkeep_on_compacted(struct store *store);
/* Another database is in place. */
void upkeep_replaced(struct store *store);

void rangejob_init(struct store *store);
void rangejob_fini(struct store *store);

#endif
