/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGWRITER_H
#define RAFT_LOGWRITER_H

#include "base/env.h"
#include "raft/raftlog.h"
#include "raft/segment.h"

/* The log thread's part: everything that waits becomes one group, one write, one sync. It alone
 * owns the segments in use; with the loop it exchanges requests, whole. Whatever fails is fatal. */
struct logwriter {
    struct env *env; /* its clock */
    struct logdir *dir;
    struct queue segments;   /* in use, the oldest first */
    struct segment *current; /* the newest of them, or NULL before the first write */
    struct segment *spare;   /* the next one, or NULL */
    uint64_t number;         /* of the last group */
    uint64_t first_index;
    uint64_t next_index;
    struct buf manifest;
    struct group group; /* the one being made */
    bool witnessed;     /* the last group is a witness */

    /* For the report of this batch. */
    struct segment *obsolete;
    uint64_t sync_ns;
    uint64_t bytes;
    bool spare_taken;
};

/* What a request asks for: raftlog_request.kind on the way there. */
enum logwriter_kind {
    LOGWRITER_APPEND,   /* index, count, data: the entries */
    LOGWRITER_TRUNCATE, /* index */
    LOGWRITER_STATE, /* index, count: the first and the next index; data: struct bytes, manifest */
    LOGWRITER_SPARE, /* data: the segment */
    LOGWRITER_WITNESS, /* an empty group, if the last is not one */
};

/* What the last request of a batch brings back. */
struct logwriter_report {
    uint64_t sync_ns; /* the longest write and sync; 0: there was none */
    uint64_t bytes;
    struct segment *obsolete; /* linked by next, the oldest first: the log needs them no more */
    bool spare_taken;
};

/* The work on all requests in JOBS, in order; they are durable when it returns. */
void logwriter_run(void *writer, struct queue *jobs);

/* The report in a request that came back (zeros in all but a batch's last). */
struct logwriter_report logwriter_report_of(const struct raftlog_request *request);

/* Write a witness now; when no other thread is at work. */
void logwriter_witness(struct logwriter *writer);

void logwriter_fini(struct logwriter *writer);

#endif
