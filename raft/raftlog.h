/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_RAFTLOG_H
#define RAFT_RAFTLOG_H

#include "base/bytes.h"
#include "base/env.h"

/* What a member must never forget: its term and vote, its log, and the manifest snapshot that the
 * log starts after.
 *
 * An interface, because the simulator puts a disk of its own under the same node;
 * raftlog_files_open gives the real one: segments with checksums, group commit on the log thread,
 * term and vote in two checksummed copies.
 *
 * Order: append, truncate and snapshot_put form one first-in first-out queue. A call returns at
 * once, its effect is durable when its callback runs, callbacks run on the loop in the order of the
 * calls and never before the call returned. A crash keeps a prefix of the queue: every operation
 * whose callback ran, possibly more of the following ones in order, the last of them perhaps torn.
 * Any failed write or sync ends the process (fatal): there is no error to go on with. */
struct raftlog {
    const struct raftlog_ops *ops;
};

enum log_entry_kind {
    LOG_ENTRY_COMMAND = 1,
    LOG_ENTRY_BARRIER = 2,
    LOG_ENTRY_CHANGE = 3
}; /* as enum raft_entry type */

struct log_entry {
    uint64_t term;
    uint16_t kind;
    struct bytes data;
};

/* The manifest: what a Raft snapshot is here. A few hundred bytes; the data itself is in the store.
 */
struct log_snapshot {
    uint64_t index; /* 0: there is none */
    uint64_t term;
    uint64_t configuration_index;
    struct bytes configuration; /* encoded by raft/ */
    struct bytes data;          /* the manifest's bytes, encoded by whoever took it */
};

/* What was on disk. Owned by the caller, freed with raftlog_image_fini. */
struct raftlog_image {
    uint64_t term;
    uint64_t vote; /* 0: none */
    struct log_snapshot snapshot;
    uint64_t first_index; /* of entries[0]; snapshot.index + 1 at most, 1 for an empty new log */
    struct log_entry *entries;
    size_t entry_count;
    struct raftlog_memory *memory; /* what the views above point into */
};

/* A piece of the image's memory; entries and manifest lie in as many as the implementation likes.
 */
struct raftlog_memory {
    struct raftlog_memory *next;
    uint8_t data[];
};

/* Give IMAGE another SIZE bytes of memory, freed with it; NULL: no memory. */
uint8_t *raftlog_image_alloc(struct raftlog_image *image, size_t size);
void raftlog_image_fini(struct raftlog_image *image);

#define RAFTLOG_TOGETHER_BYTES 8192u

struct raftlog_request;
typedef void (*raftlog_cb)(struct raftlog_request *request);

/* An operation on its way; the caller owns it and must not touch it until cb ran. */
struct raftlog_request {
    raftlog_cb cb;
    struct job job; /* private to the implementation, from here on */
    struct raftlog *log;
    uint64_t index;
    uint64_t count;
    uint64_t kind;
    void *data;
};

struct raftlog_ops {
    /* Everything that is on disk. Blocks; once, before anything else. ERR_CORRUPT with the file and
     * offset when something durable is damaged (a torn tail is not: it was never acknowledged, and
     * is cut), ERR_FOREIGN, ERR_VERSION. */
    enum err (*load)(struct raftlog *log, struct raftlog_image *ret, struct why *why);

    /* Durable when they return (block: elections are rare). set_term also clears the vote. */
    void (*set_term)(struct raftlog *log, uint64_t term);
    void (*set_vote)(struct raftlog *log, uint64_t vote);

    /* Append entries at INDEX, which follows the last one. The array and what its entries point to
     * must stay valid until cb. A crash before cb keeps some of them; all or none when there are no
     * more than RAFTLOG_TOGETHER_BYTES, with 32 for the head of each. */
    void (*append)(struct raftlog *log, struct raftlog_request *request, uint64_t index,
                   const struct log_entry *entries, size_t count, raftlog_cb cb);

    /* Remove INDEX and everything after it. No callback: ordered before every later append. */
    void (*truncate)(struct raftlog *log, uint64_t index);

    /* Store a snapshot and forget entries up to snapshot->index - trailing; trailing 0 empties the
     * log, which then starts at snapshot->index + 1. The snapshot is copied. */
    void (*snapshot_put)(struct raftlog *log, struct raftlog_request *request,
                         const struct log_snapshot *snapshot, uint64_t trailing, raftlog_cb cb);

    /* The newest stored snapshot, valid until the next snapshot_put. */
    const struct log_snapshot *(*snapshot)(struct raftlog *log);

    /* Bytes of entries on disk since the snapshot's trailing entries: what compaction is driven by.
     */
    uint64_t (*size_bytes)(struct raftlog *log);

    /* Finish what is queued, close, free. Blocks. */
    void (*close)(struct raftlog *log);
};

#endif
