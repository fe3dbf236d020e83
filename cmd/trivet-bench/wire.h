/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_WIRE_H
#define CMD_TRIVET_BENCH_WIRE_H

#include "base/codec.h"

/* The few messages that the load generator sends, written and read by hand, so that it costs little
 * beside the server that it measures. Field numbers are those of etcd's rpc.proto. */

void wire_put(struct buf *buf, struct bytes key, struct bytes value);
void wire_put_leased(struct buf *buf, struct bytes key, struct bytes value, int64_t lease);
void wire_range(struct buf *buf, struct bytes key, struct bytes range_end, int64_t limit,
                bool serializable);
/* If mod_revision(key) == expected then put. */
void wire_compare_and_swap(struct buf *buf, struct bytes key, int64_t expected, struct bytes value);

void wire_lease_grant(struct buf *buf, int64_t ttl_s);
void wire_lease_keep_alive(struct buf *buf, int64_t id);

/* What every answer of these has in common. */
struct wire_answer {
    int64_t revision;     /* of the header; 0: none */
    bool succeeded;       /* of a txn */
    uint64_t kv_count;    /* of a range */
    int64_t mod_revision; /* of the last key value */
    size_t value_size;    /* of the last key value */
    int64_t lease;        /* of a lease's grant or renewal, as the next */
    int64_t ttl_s;
};
enum wire_kind { WIRE_PUT, WIRE_RANGE, WIRE_TXN, WIRE_LEASE_GRANT, WIRE_LEASE_KEEP_ALIVE };
MUST_CHECK enum err wire_read_answer(enum wire_kind kind, struct bytes message,
                                     struct wire_answer *ret);

/* How many leases an answer of LeaseLeases tells. */
MUST_CHECK enum err wire_count_leases(struct bytes message, uint64_t *ret);

/* Watch: a watcher of one key, with the next id of its stream; one of the deletions from KEY to
 * RANGE_END. */
void wire_watch_create(struct buf *buf, struct bytes key);
void wire_watch_deletions(struct buf *buf, struct bytes key, struct bytes range_end);

struct wire_watch_answer {
    uint64_t watch_id;
    bool created;
    bool canceled;
};
/* What stands before the events, which follow in R. */
MUST_CHECK enum err wire_read_watch_answer(struct reader *r, struct wire_watch_answer *ret);

/* The next event. False: there is none, or what follows is malformed; reader_end tells. */
struct wire_event {
    struct bytes key;
    int64_t mod_revision;
    int64_t version; /* of the key; 0: it was deleted */
    struct bytes value;
};
bool wire_next_event(struct reader *r, struct wire_event *ret);

#endif
