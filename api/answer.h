/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "fsm/result.h"

/* Answers of the KV service, written straight from records into protobuf bytes: an answer of ten
 * thousand keys is built without ten thousand structs in between. Field numbers are those of
 * proto/rpc.proto. */

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
/* An answer that is only a header: Compact. */
void answer_only_header(struct buf *buf, const struct answer_header *header);

/* A RangeStreamResponse with what PIECE says; HEADER NULL for all but the last. NULL: no memory. */
struct blob *answer_range_chunk(const struct answer_header *header,
                                const struct range_result *piece);

#endif
