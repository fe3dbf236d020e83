/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "fsm/lease.h"
#include "fsm/result.h"

/* Answers of the KV and Lease services, written straight from records into protobuf bytes: an
 * answer of ten thousand keys is built without ten thousand structs in between. Field numbers are
 * those of proto/rpc.proto. */

struct answer_header {
    uint64_t cluster_id; /* zeros are not sent: inside a transaction there is only the revision */
    uint64_t member_id;
    int64_t revision;
    uint64_t raft_term;
};

void answer_put(struct buf *buf, const struct answer_header *header, const struct record *prev);
void answer_delete_range(struct buf *buf, const struct answer_header *header, int64_t deleted,
                         const struct record_list *prevs);
void answer_range(struct buf *buf, const struct answer_header *header,
                  const struct range_result *result);
/* How many bytes answer_range writes. */
size_t answer_range_size(const struct answer_header *header, const struct range_result *result);
/* The same in memory of its own, NULL when there is none. Thread: any, while the loop holds the
 * counts of the records. */
struct blob *answer_range_blob(const struct answer_header *header,
                               const struct range_result *result);
void answer_txn(struct buf *buf, const struct answer_header *header,
                const struct txn_result *result);
/* How many records and bytes answer_txn writes; and the same in memory of its own, as
 * answer_range_blob. */
size_t answer_txn_records(const struct txn_result *result);
size_t answer_txn_size(const struct answer_header *header, const struct txn_result *result);
struct blob *answer_txn_blob(const struct answer_header *header, const struct txn_result *result);
/* An answer that is only a header: Compact. */
void answer_only_header(struct buf *buf, const struct answer_header *header);

/* Leases. */
void answer_lease_keep_alive(struct buf *buf, const struct answer_header *header, int64_t id,
                             int64_t ttl_s);
/* LEASE: its keys are told as well; NULL: they are not wanted. */
void answer_lease_time_to_live(struct buf *buf, const struct answer_header *header, int64_t id,
                               int64_t ttl_s, int64_t granted_ttl_s, const struct lease *lease);
/* One more of LeaseLeases, behind answer_only_header. */
void answer_lease_status(struct buf *buf, int64_t id);

/* A RangeStreamResponse with what PIECE says; HEADER NULL for all but the last. NULL: no memory. */
struct blob *answer_range_chunk(const struct answer_header *header,
                                const struct range_result *piece);

#endif
