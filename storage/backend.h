/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BACKEND_H
#define STORAGE_BACKEND_H

#include "base/fs.h"
#include "base/worker.h"
#include "storage/store.h"

/* SQLite behind the store: the rows of the log, a few small tables and one row of state, in one
 * file. The store hands over what it has applied, in batches; everything else happens here:
 *
 *   loop            backend_write ──▶ ┐                         ┌──▶ batch->cb, on_durable, ...
 *   storage thread                    └▶ one transaction of all ┘    slices of compaction, syncs,
 *                                        that waits                  the end of a checkpoint
 *   checkpoint thread                    frames of the WAL ──▶ database file
 *   readers         backend_fetch, backend_scan: snapshots of their own
 *
 * The Raft log is what makes a write safe; SQLite follows. So a commit here is not synced; the
 * *durable index* is what a successful sync has proven, and it alone lets the Raft log be
 * forgotten.
 *
 * Everything on the loop unless it says otherwise. Failures of the disk while writing or syncing
 * end the process (fatal): what SQLite holds then is unknown until it is opened again. One is
 * different: a full disk. The batches that do not fit wait, in order, on_full(true) is called, and
 * they are tried again now and then until they fit (on_full(false)); reads go on. */
struct backend;
struct conn;
struct keyindex;
struct keyload_lease;
struct readers;

/* What the store wants back after a restart. Each batch brings a new one, written in its
 * transaction. */
struct backend_state {
    uint64_t applied_index;
    uint64_t applied_term;
    int64_t revision;           /* the store's newest; 0 in a new database */
    int64_t compacted_revision; /* logical; -1: never */
    struct set_hash hash;       /* the store's, over what was ever applied; not interpreted here */
};

/* A row as it comes from disk, its checksums verified. Valid inside the callback that gets it. */
struct backend_row {
    revision_t rev;
    struct record_header header;
    struct bytes value;  /* empty where only headers are read */
    uint32_t value_len;  /* always true */
    uint32_t header_len; /* of the header column */
};

/* The next COUNT rows in revision order; not OK ends the reading with that error. */
typedef enum err (*backend_rows_cb)(void *ctx, const struct backend_row *rows, size_t count);

struct backend_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    const char *path;        /* the database file; its folder exists */
    const char *vfs;         /* SQLite's VFS; NULL: the system's, exclusive */
    struct fs *fs;           /* what VFS stands on; NULL: the system's */
    struct store_identity identity;
    unsigned reader_threads;    /* 0: 2 */
    unsigned sync_interval_ms;  /* how old an index that is not durable may grow; 0: 1000, or up
                                 * to a quarter less, as the member's id has it */
    unsigned checkpoint_frames; /* pages in the WAL that make a checkpoint worth while; 0: 1024, or
                                 * less in the same way */
    /* What compactions have superseded is removed where it is so much of some pages (garbage.h); 1:
     * always. 0: 667 */
    uint32_t remove_permille;
    /* Each may be NULL. */
    void (*on_durable)(void *ctx, uint64_t durable_index); /* it has grown */
    void (*on_full)(void *ctx, bool full);                 /* the disk is full; no longer full */
    void (*on_compacted)(void *ctx, int64_t revision);     /* removal is done with it */
    void *ctx;
};

/* Open or make the database, check it, and give every row (headers only) to ROWS, on the loop, in
 * revision order. Rows that a compaction has removed logically may still be among them: the caller
 * compacts its index at STATE's compacted_revision when it has them all. Blocks.
 *
 * ERR_FOREIGN: of another cluster or member. ERR_VERSION: written by a newer program. ERR_LOCKED:
 * another process has it. ERR_CORRUPT: damaged, WHY says where. Nothing is changed then. */
MUST_CHECK enum err backend_open(const struct backend_config *config, backend_rows_cb rows,
                                 void *rows_ctx, struct backend_state *state, struct backend **ret,
                                 struct why *why);

/* Write what waits, make it durable, close, free. Blocks. Every cb that is outstanding is called
 * first; batches that find no room get ERR_NO_SPACE (the Raft log still has them). */
void backend_close(struct backend *backend);

/* ---- Writing ---- */

/* A row of a small table that is put (replacing) or deleted (missing is fine). */
struct backend_change {
    enum store_table table;
    bool is_delete;
    struct bytes key;
    struct bytes value;
};

/* Private: what the storage thread knew when it had done a job, handed to the loop with the job. */
struct drain_report {
    struct backend_state state; /* committed */
    int64_t removed_revision;   /* as in struct meta */
    int64_t walk_revision;
    uint64_t wal_generation; /* changes whenever the WAL begins anew */
    uint32_t wal_frames;     /* in this generation */
    uint64_t page_count;
    uint64_t free_page_count;
    uint64_t row_count;
    uint64_t row_bytes;
    struct set_hash tables_hash;
    uint64_t superseded_rows; /* by compactions, and still there */
    uint64_t write_ns;        /* that the transaction took; 0: none was made for this job */
};

/* What one or several entries of the Raft log changed. The caller owns it with everything it points
 * to, and must not touch it, until cb has run. */
struct backend_batch {
    struct backend_state state;    /* after the batch */
    struct record *const *records; /* in revision order, above all that were written before */
    size_t record_count;
    const struct backend_change *changes; /* in the order of their doing */
    size_t change_count;
    size_t size_bytes; /* about what it takes: transactions are cut by it */
    /* OK: committed, so that every read here finds it. ERR_NO_SPACE only from backend_close. */
    enum err status;
    void (*cb)(struct backend_batch *batch);
    struct queue link; /* private */
    struct job job;
    struct backend *backend;
    struct drain_report report;
};

void backend_write(struct backend *backend, struct backend_batch *batch,
                   void (*cb)(struct backend_batch *batch));

/* Make durable soon what is committed now; on_durable tells. Happens by itself every
 * sync_interval_ms. */
void backend_sync(struct backend *backend);
uint64_t backend_durable_index(const struct backend *backend);
bool backend_is_full(const struct backend *backend);

/* ---- Reading what is committed ---- */

/* The record at REV, with one count. Blocks for a read from disk. A revision that is not there:
 * ERR_NOT_FOUND; a row whose checksum is wrong: ERR_CORRUPT, never its content. */
MUST_CHECK enum err backend_get(struct backend *backend, revision_t rev, struct record **ret,
                                struct why *why);

/* The records with FROM <= rev <= TO appended to RET, ending behind the main revision that passes
 * MAX_BYTES. Blocks for reads from disk. */
MUST_CHECK enum err backend_read(struct backend *backend, revision_t from, revision_t to,
                                 size_t max_bytes, struct record_list *ret, struct why *why);

/* Private: what a request of the readers is to them. */
struct reader_job {
    struct job job;
    struct readers *readers;
    struct conn *conn;                            /* while it runs */
    enum err *status;                             /* the request's */
    enum err (*work)(struct reader_job *reading); /* Thread: a reader */
    void (*end)(struct reader_job *reading);      /* calls the request back */
    bool more;                                    /* the work's: that was not all of it */
    bool cancelled;
};

/* Long requests go to the reader threads in slices, so that others come between them, and each
 * slice sees a snapshot of its own: whoever needs old rows holds a pin. */

/* Read the records of many revisions on a reader thread, from snapshots that are at least as new as
 * the call. Owned by the caller until cb. */
struct backend_fetch {
    const revision_t *revs; /* any order */
    size_t count;
    struct record **records; /* count places; filled when status is OK, one count each */
    enum err status;         /* ERR_NOT_FOUND when one is missing; then no record is given */
    struct why why;
    void (*cb)(struct backend_fetch *fetch);
    struct reader_job reading; /* private, as the next */
    size_t done;
};
void backend_fetch(struct backend *backend, struct backend_fetch *fetch,
                   void (*cb)(struct backend_fetch *fetch));
/* Nobody wants it any more: cb comes with ERR_CANCELLED behind the slice that runs, or with what
 * was faster. */
void backend_fetch_cancel(struct backend_fetch *fetch);

/* Give the rows FROM <= rev <= TO to ROWS on a reader thread, now this, now that one. Owned by the
 * caller until cb. */
struct backend_scan {
    revision_t from;
    revision_t to;
    bool with_values;
    bool from_file;       /* and not from what the connection has in memory */
    backend_rows_cb rows; /* Thread: a reader */
    void *rows_ctx;
    enum err status; /* what ROWS said, or ERR_CORRUPT, ERR_IO, ERR_NOMEM */
    struct why why;
    void (*cb)(struct backend_scan *scan);
    struct reader_job reading; /* private, as the next */
    revision_t next;
};
void backend_scan(struct backend *backend, struct backend_scan *scan,
                  void (*cb)(struct backend_scan *scan));
void backend_scan_cancel(struct backend_scan *scan); /* as of a fetch */

/* Are the rows of the small tables those that were written? Read from the file on a reader thread.
 * Owned by the caller until cb. */
struct backend_check {
    enum err status; /* ERR_CORRUPT: no */
    struct why why;
    void (*cb)(struct backend_check *check);
    struct reader_job reading; /* private */
};
void backend_check(struct backend *backend, struct backend_check *check,
                   void (*cb)(struct backend_check *check));

/* Every row of TABLE in key order. Blocks: for start-up. */
MUST_CHECK enum err backend_table_foreach(struct backend *backend, enum store_table table,
                                          enum err (*fn)(void *ctx, struct bytes key,
                                                         struct bytes value),
                                          void *ctx, struct why *why);

/* ---- Compaction ----
 *
 * Removal follows the compacted_revision R of the batches by itself, in slices between
 * transactions, and goes on after a restart. Of the rows up to R it removes those that a row up to
 * R names as its prev_rev, and tombstones below R; a tombstone of R itself stays until the next
 * compaction, as etcd keeps it. */

/* While held, no compaction above COMPACTED_REVISION (the store's when it is taken) is removed from
 * disk: what can be read at or above it stays readable. */
struct backend_pin {
    struct queue link;
    int64_t compacted_revision;
};
void backend_pin(struct backend *backend, struct backend_pin *pin, int64_t compacted_revision);
void backend_unpin(struct backend *backend, struct backend_pin *pin);

/* Compactions up to here are done with on disk: what is left of them is not worth removing yet. -1:
 * none was. */
int64_t backend_removed_revision(const struct backend *backend);

/* Which rows are still there of those that are superseded up to removed_revision. Owned by the
 * caller until cb. */
struct backend_leftover {
    revision_t *revs; /* in no order; the caller frees it */
    size_t count;
    int64_t removed_revision;
    enum err status; /* ERR_NOMEM */
    void (*cb)(struct backend_leftover *leftover);
    struct job job; /* private */
    struct backend *backend;
};
void backend_leftover(struct backend *backend, struct backend_leftover *leftover,
                      void (*cb)(struct backend_leftover *leftover));

/* ---- Upkeep ---- */

const char *backend_path(const struct backend *backend);
uint64_t backend_size_bytes(const struct backend *backend);        /* of the database */
uint64_t backend_size_in_use_bytes(const struct backend *backend); /* an estimate */

/* Of what is committed: the tables' hash, and the index up to which it is. */
struct set_hash backend_tables_hash(const struct backend *backend);
uint64_t backend_committed_index(const struct backend *backend);

/* A consistent copy in a new file at PATH, made by a helper thread while writes go on: everything
 * that was committed when it began. Or the database rewritten in place without its free space (PATH
 * unused). Owned by the caller until cb; one at a time, others wait. */
struct backend_copy {
    const char *path;
    struct backend_state state; /* of the copy */
    uint64_t size_bytes;
    enum err status;
    struct why why;
    void (*cb)(struct backend_copy *copy);
    struct queue link; /* private */
    struct job job;
    struct backend *backend;
    enum backend_upkeep { UPKEEP_COPY, UPKEEP_DEFRAGMENT, UPKEEP_TAKEOVER } kind;
    bool is_temporary; /* the caller's: the copy need not outlive a crash */
};
void backend_copy(struct backend *backend, struct backend_copy *copy,
                  void (*cb)(struct backend_copy *copy));
void backend_defragment(struct backend *backend, struct backend_copy *copy,
                        void (*cb)(struct backend_copy *copy));

/* Another member's database in the place of this one, in two steps (takeover.h): it is checked, and
 * CHECKED is called; once whoever reads and writes here has ended, backend_takeover_go, at the end
 * of which SWITCHED is called, with the new database in place. Either step may fail; then all is as
 * it was, and COPY's cb says why. Owned by the caller until that has run; one at a time, as copies.
 */
struct backend_takeover {
    struct backend_copy copy;     /* path, status, why */
    struct store_manifest want;   /* what it must be */
    struct backend_state state;   /* what it is, from CHECKED on */
    struct keyindex *index;       /* likewise: of its rows; the caller's from SWITCHED on */
    struct keyload_lease *leases; /* likewise */
    size_t lease_count;
    struct keyindex *old_index; /* set by SWITCHED: freed by a thread */
    /* It was found sound; an error ends the request. Thread: copy. */
    enum err (*prepare)(struct backend_takeover *takeover, struct conn *conn, struct why *why);
    void (*checked)(struct backend_takeover *takeover);
    /* The last word, on the loop, before anything is given up: false: not any more. */
    bool (*still)(struct backend_takeover *takeover);
    void (*switched)(struct backend_takeover *takeover);
    /* In the same turn: the new database can be read. COPY's cb comes later, with OK. */
    void (*settled)(struct backend_takeover *takeover);
    /* Behind that: what is not needed any more may be freed. Thread: copy. */
    void (*dispose)(struct backend_takeover *takeover);
};
void backend_take_over(struct backend *backend, struct backend_takeover *takeover,
                       void (*cb)(struct backend_copy *copy));
/* No batch is with the backend but those that wait for room, and none comes before the end. */
void backend_takeover_go(struct backend *backend);
/* Instead. */
void backend_takeover_abandon(struct backend *backend);

#endif
