/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_ETCDMSG_H
#define TESTS_FAULTS_ETCDMSG_H

#include "base/bytes.h"
#include "proto/rpc.pb-c.h"

/* Messages of etcd's API, as the loads need them: on the caller's stack, with bytes of the caller.
 */

#define PATH_RANGE  "/etcdserverpb.KV/Range"
#define PATH_PUT    "/etcdserverpb.KV/Put"
#define PATH_DELETE "/etcdserverpb.KV/DeleteRange"
#define PATH_TXN    "/etcdserverpb.KV/Txn"

static inline ProtobufCBinaryData msg_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

static inline struct bytes msg_view(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

/* Short texts: keys and values that are made on the fly. */
struct text {
    char text[64];
};
struct text text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline struct bytes text_bytes(const struct text *text)
{
    return bytes_of_str(text->text);
}

/* The integer whose decimal digits VALUE is; -1: it is none. */
int64_t msg_number(struct bytes value);

/* A transaction, built step by step. It holds pointers into itself: neither copied nor moved. */
#define MSG_TXN_MAX 8u
enum msg_branch { MSG_THEN, MSG_ELSE };
struct msg_txn {
    Etcdserverpb__TxnRequest request;
    Etcdserverpb__Compare compares[MSG_TXN_MAX];
    Etcdserverpb__Compare *compare_at[MSG_TXN_MAX];
    struct msg_ops {
        Etcdserverpb__RequestOp ops[MSG_TXN_MAX];
        Etcdserverpb__RequestOp *at[MSG_TXN_MAX];
        union msg_op {
            Etcdserverpb__RangeRequest range;
            Etcdserverpb__PutRequest put;
            Etcdserverpb__DeleteRangeRequest delete;
        } parts[MSG_TXN_MAX];
        size_t count;
    } branches[2];
};
void msg_txn_init(struct msg_txn *txn);
void msg_txn_if_value(struct msg_txn *txn, struct bytes key, struct bytes value);
void msg_txn_if_mod(struct msg_txn *txn, struct bytes key, int64_t mod_revision);
/* Of all keys from KEY to RANGE_END (empty: KEY alone). */
void msg_txn_if_created(struct msg_txn *txn, struct bytes key, struct bytes range_end,
                        Etcdserverpb__Compare__CompareResult result, int64_t create_revision);
void msg_txn_get(struct msg_txn *txn, enum msg_branch branch, struct bytes key);
void msg_txn_put(struct msg_txn *txn, enum msg_branch branch, struct bytes key, struct bytes value);
void msg_txn_delete(struct msg_txn *txn, enum msg_branch branch, struct bytes key);
const ProtobufCMessage *msg_txn_message(struct msg_txn *txn);

/* The key that operation I of the answer has read; NULL: it was not there. False: that was no read.
 */
bool msg_txn_read(const Etcdserverpb__TxnResponse *answer, size_t i, const Mvccpb__KeyValue **ret);

#endif
