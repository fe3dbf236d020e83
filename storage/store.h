/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "base/env.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "storage/record.h"

/* The multi-version store: every key's every revision since the last compaction, in memory as an
 * index, on disk in SQLite.
 *
 *   put ──▶ key index + revision ring (at once, on the loop) ──▶ storage thread ──▶ SQLite, applied
 * index in the same transaction
 *
 * A write is visible when its call returns; it becomes durable later: the Raft log is what makes it
 * safe until then, and store_durable_index says how far the log may be forgotten. All calls on the
 * loop. Semantics of revisions, ranges and compaction are etcd's. */
struct store;
struct fs;

/* Who the data belongs to; a store of somebody else is refused (ERR_FOREIGN). */
struct store_identity {
    uint64_t cluster_id;
    uint64_t member_id;
};

struct store_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    const char *path;        /* the database file; its folder exists */
    const char *vfs; /* SQLite VFS, NULL: the system's, exclusive; tests give a simulated one */
    struct fs *fs;   /* what VFS stands on; NULL: the system's */
    struct store_identity identity;
    size_t
        ring_bytes; /* newest records kept in memory after SQLite has them; 0: RING_BYTES_DEFAULT */
    size_t full_bytes;          /* that wait for a full disk: beyond, the process ends; 0:
                                   RING_FULL_BYTES_MAX */
    unsigned reader_threads;    /* 0: 2 */
    bool remember_hashes;       /* of compactions, as etcd does: each reads everything once */
    uint32_t remove_permille;   /* as in backend_config; 0: its default */
    uint64_t scrub_interval_ms; /* all that is on disk is read and checked so often; 0: never */
    void (*on_durable)(void *ctx, uint64_t durable_index); /* durable index moved; may be NULL */
    void *ctx;
};

/* What a state is: where in the Raft log, which revisions, and a hash over all that was ever
 * written. A few bytes that go where the state itself does not (docs/formats.md). */
struct store_manifest {
    uint64_t cluster_id;
    uint64_t applied_index;
    uint64_t applied_term;
    int64_t revision;
    int64_t compacted_revision;
    struct set_hash hash;
};
void store_manifest_encode(const struct store_manifest *manifest, struct buf *buf);
/* ERR_MALFORMED, ERR_VERSION. */
MUST_CHECK enum err store_manifest_decode(struct bytes bytes, struct store_manifest *ret);
bool store_manifest_equal(const struct store_manifest *a, const struct store_manifest *b);

/* Open or make the database, check what was read, rebuild the index. Blocks. */
MUST_CHECK enum err store_open(const struct store_config *config, struct store **ret,
                               struct why *why);

/* Write everything, make it durable, close, free. Blocks. A process may also just end: nothing is
 * lost. */
void store_close(struct store *store);

/* ---- Writing: only the replicated state machine, in the order of the log ---- */

/* All writes between the two belong to the entry at INDEX and reach SQLite in one transaction with
 * it. */
void store_entry_begin(struct store *store, uint64_t index, uint64_t term);
void store_entry_end(struct store *store);

/* A hint before a run of operations, for their speed alone: they will look at these keys, of which
 * there are at most STORE_EXPECT_MAX. */
#define STORE_EXPECT_MAX 32u
void store_expect(const struct store *store, const struct bytes *keys, size_t count);

/* One operation: all changes inside share one new main revision, taken with the first change;
 * without a change the revision stays. */
void store_txn_begin(struct store *store);
int64_t store_txn_end(struct store *store); /* the store's revision after it */

struct store_put {
    struct bytes key;
    struct bytes value;
    int64_t lease;
    bool ignore_value; /* keep the value or lease that is there; ERR_KEY_NOT_FOUND without the key,
                          nothing changed */
    bool ignore_lease;
    bool want_prev;
};
/* PREV (when want_prev): the record before, or NULL; the caller unrefs. ERR_IO, ERR_CORRUPT when an
 * old value cannot be read. */
MUST_CHECK enum err store_put(struct store *store, const struct store_put *put,
                              struct record **prev);

/* Delete every live key of the range (range_end as in etcd: empty: one key, one NUL: all from key).
 * PREVS (may be NULL) gets the deleted records in key order. ERR_TOO_LARGE, nothing changed: more
 * keys than an operation can number. */
struct record_list {
    struct record **items;
    size_t count;
    size_t cap;
};
void record_list_fini(struct record_list *list); /* unrefs all */
MUST_CHECK enum err store_delete_range(struct store *store, struct bytes key,
                                       struct bytes range_end, int64_t *deleted,
                                       struct record_list *prevs);

/* Logical compaction: at once for every reader. ERR_COMPACTED, ERR_FUTURE_REVISION as etcd. Removal
 * goes on in slices in the background. */
MUST_CHECK enum err store_compact(struct store *store, int64_t revision);

/* Small tables beside the log, written in the entry's transaction; read at start by whoever keeps
 * them in memory. */
enum store_table {
    TABLE_MEMBER = 1,
    TABLE_ALARM,
    TABLE_LEASE,
    TABLE_AUTH,
    TABLE_CLUSTER,
    TABLE_COUNT
};
void store_table_put(struct store *store, enum store_table table, struct bytes key,
                     struct bytes value);
void store_table_delete(struct store *store, enum store_table table, struct bytes key);
/* Every row of TABLE in key order, as of the last commit: for start-up only. */
MUST_CHECK enum err store_table_foreach(struct store *store, enum store_table table,
                                        enum err (*fn)(void *ctx, struct bytes key,
                                                       struct bytes value),
                                        void *ctx, struct why *why);

/* FN is told of every change as it is made, inside store_put and store_delete_range, in the order
 * of revisions; the record is borrowed, and FN must not write. NULL: nobody is told any more. */
void store_observe(struct store *store, void (*fn)(void *ctx, const struct record *record),
                   void *ctx);

/* Every living key that has a lease, in no order, as of the opening; before the first entry, once:
 * for whoever keeps them in memory from then on. Costs nothing for keys without. */
MUST_CHECK enum err store_lease_foreach(struct store *store,
                                        enum err (*fn)(void *ctx, struct bytes key, int64_t lease),
                                        void *ctx);

/* Somebody who waits for something; embedded in its owner. The store that closes forgets it. */
struct store_wait {
    struct queue link;
    struct store *store; /* private */
    void (*cb)(struct store_wait *wait);
    uint64_t target;
};

/* ---- Reading ---- */

enum range_sort { SORT_NONE, SORT_ASCEND, SORT_DESCEND };
enum range_target { TARGET_KEY, TARGET_VERSION, TARGET_CREATE, TARGET_MOD, TARGET_VALUE };

struct range_query {
    struct bytes key;
    struct bytes range_end;
    int64_t revision; /* <= 0: the newest, including what the open operation wrote */
    int64_t limit;    /* <= 0: none */
    enum range_sort sort;
    enum range_target target;
    int64_t min_mod_revision; /* 0: off, as the next three; bounds included */
    int64_t max_mod_revision;
    int64_t min_create_revision;
    int64_t max_create_revision;
    bool keys_only; /* records without value and lease, from the index alone */
    bool count_only;
    bool uncounted; /* the count is not wanted, and 0: the walk may end at the limit */
};

struct range_result {
    int64_t revision; /* of the store when it was read: never the requested one */
    int64_t count;    /* keys in the range, before limit and filters */
    bool more;
    struct record_list records;
};
void range_result_fini(struct range_result *result);

/* Answer now. ERR_COMPACTED, ERR_FUTURE_REVISION, ERR_IO, ERR_CORRUPT, ERR_NOMEM. etcd's order of
 * building a result, its quirks included (early limit with SORT_NONE and a target, and so on). */
MUST_CHECK enum err store_range(struct store *store, const struct range_query *query,
                                struct range_result *ret);

/* How many records may store_range have to read? Those of one call up to STORE_RANGE_CHEAP take
 * only microseconds; else use store_range_start. */
#define STORE_RANGE_CHEAP 16u
uint64_t store_range_cost(const struct store *store, const struct range_query *query);

static inline bool store_range_is_cheap(const struct store *store, const struct range_query *query)
{
    return store_range_cost(store, query) <= STORE_RANGE_CHEAP;
}

/* The same without holding the loop: the index is walked in slices, values are fetched by reader
 * threads. The answer is that of one moment (the call). The caller owns the request until cb, and
 * keeps query's bytes alive. */
struct store_range_request {
    struct range_query query;
    struct range_result result; /* when status is OK: the caller's from cb on, range_result_fini */
    enum err status;
    void (*cb)(struct store_range_request *request);
    void *private_state;
    struct store_wait refused; /* private: no memory to begin */
};
void store_range_start(struct store *store, struct store_range_request *request,
                       void (*cb)(struct store_range_request *request));
void store_range_cancel(struct store_range_request *request); /* cb still comes, with ERR_CANCELLED
                                                                 or the outcome that was faster */

/* The live version of one key at the newest revision without its value (compares of txns): false
 * when there is none. */
struct key_version {
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
};
bool store_key_version(const struct store *store, struct bytes key, struct key_version *ret);

/* Records (tombstones included) with FROM <= main revision, whole revisions at a time, until
 * MAX_BYTES is passed: from the ring, else from SQLite, which blocks: for tests and tools.
 * ERR_COMPACTED when FROM is below the compacted revision. */
MUST_CHECK enum err store_events(struct store *store, int64_t from, size_t max_bytes,
                                 struct record_list *ret);

/* The same for FROM <= main revision <= TO, as far as it is in memory, whatever was compacted.
 * ERR_NOT_FOUND when FROM is not in memory any more. */
MUST_CHECK enum err store_events_recent(struct store *store, int64_t from, int64_t to,
                                        size_t max_bytes, struct record_list *ret);

/* The same for what is not in memory any more, read by a reader thread. The caller owns the request
 * until cb. Compactions that come meanwhile take nothing from it. */
struct store_events_request {
    int64_t from;
    int64_t to;
    size_t max_bytes;
    struct record_list records; /* when status is OK: the caller's from cb on */
    int64_t next;    /* likewise: everything of [from, next) is in records. FROM itself: it is in
                        memory, see store_events_recent */
    enum err status; /* ERR_COMPACTED when FROM is below the compacted revision */
    void (*cb)(struct store_events_request *request);
    void *private_state;
    struct store_wait refused; /* private: no memory to begin */
};
void store_events_start(struct store *store, struct store_events_request *request,
                        void (*cb)(struct store_events_request *request));

/* One record by its revision: borrowed when it is in memory, else NULL. */
struct record *store_recent_record(struct store *store, revision_t rev);
/* Wherever it is, with a count of its own. May read a row on the loop. REV must be visible at the
 * compacted revision or later. */
MUST_CHECK enum err store_record(struct store *store, revision_t rev, struct record **ret);

/* Many records that are not in memory and are visible at the compacted revision or later, read by a
 * reader thread. */
struct store_fetch_request {
    const revision_t *revs; /* the caller's, as are the places */
    size_t count;
    struct record **records; /* filled when status is OK, one count each */
    enum err status;
    void (*cb)(struct store_fetch_request *request);
    void *private_state;
    struct store_wait refused; /* private */
};
void store_fetch_start(struct store *store, struct store_fetch_request *request,
                       void (*cb)(struct store_fetch_request *request));

/* HashKV of etcd at REVISION (0: newest; below: of no row at all), bit for bit; on a reader thread.
 * That of one of the last ten compactions is what it was before them. */
struct store_hash_request {
    int64_t revision;
    uint32_t hash;
    int64_t hash_revision;
    int64_t compact_revision; /* -1: never compacted */
    int64_t current_revision;
    enum err status;
    void (*cb)(struct store_hash_request *request);
    void *private_state;
    struct store_wait refused; /* private */
};
void store_hash_start(struct store *store, struct store_hash_request *request,
                      void (*cb)(struct store_hash_request *request));
/* Nobody wants it any more: cb still comes, perhaps before this returns, with ERR_CANCELLED or what
 * was faster. */
void store_hash_cancel(struct store_hash_request *request);

/* cb when all that is compacted now is gone from disk too (Compact with physical). */
void store_compact_wait(struct store *store, struct store_wait *wait,
                        void (*cb)(struct store_wait *wait));
/* FN says how many of the cluster's members shall remove what a compaction leaves before this one
 * does, so that not all of them are busy with it at once; it is asked at each compaction. NULL:
 * none. What is waited for (store_compact_wait) is removed at once. */
void store_set_turn(struct store *store, unsigned (*fn)(void *ctx), void *ctx);
/* cb when the entry at INDEX is durable in SQLite. */
void store_durable_wait(struct store *store, struct store_wait *wait, uint64_t index,
                        void (*cb)(struct store_wait *wait));
void store_wait_cancel(struct store_wait *wait);

int64_t store_revision(const struct store *store);
int64_t store_compacted_revision(const struct store *store); /* -1: never */
uint64_t store_applied_index(
    const struct store *store); /* of the last store_entry_end; at open what SQLite held */
uint64_t store_durable_index(const struct store *store);
size_t store_pending_bytes(const struct store *store); /* applied, not yet in SQLite: over
                                                          RING_BYTES_MAX writes must be refused */
uint64_t store_size_bytes(const struct store *store);  /* of the database file */
/* Room on its disk that copies and defragmentations on their way take, or will: the disk does not
 * say so yet. */
uint64_t store_promised_bytes(const struct store *store);
uint64_t store_size_in_use_bytes(const struct store *store);
uint64_t store_key_count(const struct store *store);
/* Over every record that was ever applied, whatever was compacted since: equal on members at the
 * same applied index. */
struct set_hash store_set_hash(const struct store *store);

/* Over the rows of the small tables, as far as they are committed: with all entries up to
 * store_committed_index and no later one. */
struct set_hash store_tables_hash(const struct store *store);
uint64_t store_committed_index(const struct store *store);

/* FN is told, on the loop, of every transaction of SQLite, when the two above have moved. NULL:
 * nobody is told any more. */
void store_on_commit(struct store *store, void (*fn)(void *ctx), void *ctx);

/* Where the first damage was found that a read came upon since the opening (revision, what is wrong
 * with it); NULL: none was. */
const char *store_damage(const struct store *store);

/* The durable state's. */
void store_manifest(const struct store *store, struct buf *buf);
const char *store_path(const struct store *store); /* of the database file */

/* ---- Upkeep ---- */

/* A consistent copy of all that is applied now, or a little later, in a new file at PATH, made by a
 * helper thread while writes go on. Beside the database only a temporary one may be put: a sync of
 * the directory that has failed, which for a copy is an error like another, leaves every later one
 * in doubt, and with it the renames of the database. */
struct store_copy_request {
    const char *path;
    bool is_temporary;      /* it need not outlive a crash, and is not synced */
    uint64_t applied_index; /* of the copy */
    int64_t revision;
    struct store_manifest manifest; /* the same and more */
    uint64_t size_bytes;
    enum err status;
    struct why why;
    void (*cb)(struct store_copy_request *request);
    void *private_state;
    struct store_wait refused; /* private */
};
void store_copy_start(struct store *store, struct store_copy_request *request,
                      void (*cb)(struct store_copy_request *request));
/* Rewrite the database file without its free space, beside the traffic. */
void store_defragment_start(struct store *store, struct store_copy_request *request,
                            void (*cb)(struct store_copy_request *request));

/* Another member's database, a copy in a file beside our own, in the place of our own: the same
 * history, further on. It is checked on a helper thread, row by row, and must be what MANIFEST
 * says; then, when every read that takes several turns has ended (new ones wait), the files are
 * switched within a turn. With cb, in the same turn, everything is that of the new state; whoever
 * keeps something of the store in memory reads it anew there. The file at PATH is gone then, else
 * it is the caller's still.
 *
 * Entries are applied meanwhile as ever. ERR_EXISTS: they have come as far as the state would.
 * ERR_FOREIGN, ERR_VERSION, ERR_CORRUPT: it is not what it should be. ERR_NO_SPACE. ERR_STOPPED:
 * the store closes. One at a time. */
struct store_reading; /* of the new state, before it is in place. Thread: a helper's */
MUST_CHECK enum err store_reading_table(struct store_reading *reading, enum store_table table,
                                        enum err (*fn)(void *ctx, struct bytes key,
                                                       struct bytes value),
                                        void *ctx, struct why *why);
MUST_CHECK enum err store_reading_leases(struct store_reading *reading,
                                         enum err (*fn)(void *ctx, struct bytes key, int64_t lease),
                                         void *ctx);

/* Whoever keeps much of the store in memory makes it of the new state beside the traffic, so that
 * in cb it has only to be exchanged. Both run on a helper thread, and may outlast cb. */
struct store_replace_helper {
    /* It was found sound. An error ends the request. */
    enum err (*prepare)(void *ctx, struct store_reading *reading, struct why *why);
    /* After a cb with OK: what is not needed any more may be freed. */
    void (*dispose)(void *ctx);
    void *ctx;
};

struct store_replace_request {
    const char *path;
    struct store_manifest manifest;
    const struct store_replace_helper *helper; /* outlives the store; NULL: nobody */
    enum err status;
    struct why why;
    void (*cb)(struct store_replace_request *request);
    void *private_state;
    struct store_wait refused; /* private */
};
void store_replace_start(struct store *store, struct store_replace_request *request,
                         void (*cb)(struct store_replace_request *request));

/* Check the index's and the ring's invariants: tests and the simulator. */
void store_check(const struct store *store);

#endif
