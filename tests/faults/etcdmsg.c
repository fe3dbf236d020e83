/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/etcdmsg.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

#define DIGITS_MAX 18u

struct text text_of(const char *format, ...)
{
    struct text text;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text.text, sizeof text.text, format, args);
    va_end(args);
    ASSERT(len >= 0 && (size_t)len < sizeof text.text);
    return text;
}

int64_t msg_number(struct bytes value)
{
    int64_t number = 0;
    if (value.len == 0 || value.len > DIGITS_MAX) {
        return -1;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return -1;
        }
        number = number * 10 + (value.data[i] - '0');
    }
    return number;
}

void msg_txn_init(struct msg_txn *txn)
{
    etcdserverpb__txn_request__init(&txn->request);
    txn->request.compare = txn->compare_at;
    txn->request.success = txn->branches[MSG_THEN].at;
    txn->request.failure = txn->branches[MSG_ELSE].at;
    txn->branches[MSG_THEN].count = txn->branches[MSG_ELSE].count = 0;
}

static Etcdserverpb__Compare *add_compare(struct msg_txn *txn, struct bytes key,
                                          Etcdserverpb__Compare__CompareTarget target,
                                          Etcdserverpb__Compare__CompareResult result)
{
    size_t i = txn->request.n_compare++;
    ASSERT(i < MSG_TXN_MAX);
    Etcdserverpb__Compare *compare = txn->compare_at[i] = &txn->compares[i];
    etcdserverpb__compare__init(compare);
    compare->key = msg_bytes(key);
    compare->target = target;
    compare->result = result;
    return compare;
}

void msg_txn_if_value(struct msg_txn *txn, struct bytes key, struct bytes value)
{
    Etcdserverpb__Compare *compare =
        add_compare(txn, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE,
                    ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
    compare->value = msg_bytes(value);
}

void msg_txn_if_mod(struct msg_txn *txn, struct bytes key, int64_t mod_revision)
{
    Etcdserverpb__Compare *compare =
        add_compare(txn, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD,
                    ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    compare->mod_revision = mod_revision;
}

void msg_txn_if_created(struct msg_txn *txn, struct bytes key, struct bytes range_end,
                        Etcdserverpb__Compare__CompareResult result, int64_t create_revision)
{
    Etcdserverpb__Compare *compare =
        add_compare(txn, key, ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE, result);
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    compare->create_revision = create_revision;
    compare->range_end = msg_bytes(range_end);
}

static Etcdserverpb__RequestOp *add_op(struct msg_txn *txn, enum msg_branch branch,
                                       union msg_op **ret)
{
    struct msg_ops *ops = &txn->branches[branch];
    size_t i = ops->count++;
    ASSERT(i < MSG_TXN_MAX);
    txn->request.n_success = txn->branches[MSG_THEN].count;
    txn->request.n_failure = txn->branches[MSG_ELSE].count;
    Etcdserverpb__RequestOp *op = ops->at[i] = &ops->ops[i];
    etcdserverpb__request_op__init(op);
    *ret = &ops->parts[i];
    return op;
}

void msg_txn_get(struct msg_txn *txn, enum msg_branch branch, struct bytes key)
{
    union msg_op *part;
    Etcdserverpb__RequestOp *op = add_op(txn, branch, &part);
    etcdserverpb__range_request__init(&part->range);
    part->range.key = msg_bytes(key);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = &part->range;
}

void msg_txn_put(struct msg_txn *txn, enum msg_branch branch, struct bytes key, struct bytes value)
{
    union msg_op *part;
    Etcdserverpb__RequestOp *op = add_op(txn, branch, &part);
    etcdserverpb__put_request__init(&part->put);
    part->put.key = msg_bytes(key);
    part->put.value = msg_bytes(value);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = &part->put;
}

void msg_txn_delete(struct msg_txn *txn, enum msg_branch branch, struct bytes key)
{
    union msg_op *part;
    Etcdserverpb__RequestOp *op = add_op(txn, branch, &part);
    etcdserverpb__delete_range_request__init(&part->delete);
    part->delete.key = msg_bytes(key);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = &part->delete;
}

const ProtobufCMessage *msg_txn_message(struct msg_txn *txn)
{
    return &txn->request.base;
}

bool msg_txn_read(const Etcdserverpb__TxnResponse *answer, size_t i, const Mvccpb__KeyValue **ret)
{
    if (i >= answer->n_responses ||
        answer->responses[i]->response_case != ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
        return false;
    }
    const Etcdserverpb__RangeResponse *range = answer->responses[i]->response_range;
    *ret = range->n_kvs == 0 ? NULL : range->kvs[0];
    return true;
}
