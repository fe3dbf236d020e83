/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_WORKLOAD_H
#define CMD_TRIVET_BENCH_WORKLOAD_H

#include "client/client.h"
#include "cmd/trivet-bench/wire.h"

/* What the simulated clients ask, and whether what they are told can be true. */

enum workload_kind {
    WORKLOAD_PUT,
    WORKLOAD_RANGE,
    WORKLOAD_RANGE_SERIALIZABLE,
    WORKLOAD_TXN,
    WORKLOAD_MIXED,
    WORKLOAD_RANGE_MANY,
    WORKLOAD_LOAD,
    WORKLOAD_LEASE_GRANT,
    WORKLOAD_LEASE_KEEP_ALIVE,
    WORKLOAD_WATCH_FANOUT,
    WORKLOAD_WATCH_MANY,
    WORKLOAD_WATCH_SLOW,
    WORKLOAD_LEASE_MANY,
    WORKLOAD_KIND_COUNT
};

struct workload_options {
    enum workload_kind kind;
    uint64_t key_size;
    uint64_t value_size;
    uint64_t keys;
    const char *prefix;
    uint64_t limit;        /* of range-many */
    uint64_t read_percent; /* of mixed */
    uint64_t seed;
};

struct workload {
    struct workload_options options;
    uint64_t random;
    uint64_t next_key;      /* of load */
    struct buf failed_keys; /* of load: numbers to be put again */
    uint8_t *value;
    char *key;              /* scratch */
    int64_t acked_revision; /* the highest that any write or linearizable read has told */
    uint64_t missing;       /* reads of a key that was not there */
    uint64_t due_ns;        /* of the next operation: what watched values begin with */
};

/* One thing asked by one client: a call at a time. */
struct ask {
    enum wire_kind kind;
    bool linearizable; /* of a range */
    const char *path;
    bool stream; /* each client has a stream of its own, with a message and an answer at a time */
    struct buf message;
    int64_t floor; /* the answer's revision: at least this, for a write more than this */
    /* The client's own key, for txn. */
    uint64_t own_key;
    int64_t own_revision; /* its mod_revision; 0: not there; -1: not known, ask first */
    bool own_unsure;      /* an earlier txn may still be applied */
    uint64_t load_key;
    int64_t own_lease; /* for lease-keep-alive; 0: none yet */
};

MUST_CHECK enum err workload_kind_parse(const char *name, enum workload_kind *ret);
const char *workload_kind_name(enum workload_kind kind);

/* OPTIONS' strings outlive the workload. */
MUST_CHECK enum err workload_init(struct workload *workload, const struct workload_options *options,
                                  struct why *why);
void workload_fini(struct workload *workload);

/* Puts that somebody watches. */
bool workload_is_watched(const struct workload *workload);
/* The key that watcher N watches; valid until the next call. */
struct bytes workload_watched_key(struct workload *workload, uint64_t n);

/* Before its first ask: client number N of all. */
void ask_init(struct ask *ask, uint64_t n);
void ask_fini(struct ask *ask);
/* Write the next message. False: there is nothing more to ask. */
bool workload_next(struct workload *workload, struct ask *ask);
/* Judge the answer. False: it is wrong, and why says how. */
MUST_CHECK bool workload_check(struct workload *workload, struct ask *ask, struct bytes answer,
                               struct why *why);
/* The call failed: it may or may not have been carried out. What must be done will be asked again.
 */
void workload_failed(struct workload *workload, struct ask *ask);

#endif
