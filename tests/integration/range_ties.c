/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/integration/range_ties.h"

#include <stdlib.h>

#include "base/bytes.h"

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static struct bytes view(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static int compare_rank(const Mvccpb__KeyValue *a, const Mvccpb__KeyValue *b,
                        Etcdserverpb__RangeRequest__SortTarget target)
{
    switch (target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        return compare_numbers(a->version, b->version);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        return compare_numbers(a->create_revision, b->create_revision);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        return compare_numbers(a->mod_revision, b->mod_revision);
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        return bytes_compare(view(a->value), view(b->value));
    default:
        return bytes_compare(view(a->key), view(b->key));
    }
}

/* Each run of equal rank by key; the ranks themselves stay in the order in which they came. */
static void order_ties(Etcdserverpb__RangeResponse *answer,
                       Etcdserverpb__RangeRequest__SortTarget target)
{
    for (size_t i = 1; i < answer->n_kvs; i++) {
        for (size_t at = i; at > 0; at--) {
            Mvccpb__KeyValue **pair = &answer->kvs[at - 1];
            if (compare_rank(pair[0], pair[1], target) != 0 ||
                bytes_compare(view(pair[0]->key), view(pair[1]->key)) <= 0) {
                break;
            }
            Mvccpb__KeyValue *first = pair[0];
            pair[0] = pair[1];
            pair[1] = first;
        }
    }
}

static void settle_range(const Etcdserverpb__RangeRequest *request,
                         Etcdserverpb__RangeResponse *answer)
{
    Etcdserverpb__RangeRequest__SortTarget target = request->sort_target;
    if (target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY || answer->n_kvs == 0) {
        return;
    }
    order_ties(answer, target);
    if (!answer->more) {
        return;
    }
    const Mvccpb__KeyValue *last = answer->kvs[answer->n_kvs - 1];
    while (answer->n_kvs > 0 && compare_rank(answer->kvs[answer->n_kvs - 1], last, target) == 0) {
        answer->n_kvs--;
        if (answer->kvs[answer->n_kvs] != last) {
            mvccpb__key_value__free_unpacked(answer->kvs[answer->n_kvs], NULL);
        }
    }
    mvccpb__key_value__free_unpacked((Mvccpb__KeyValue *)(uintptr_t)last, NULL);
}

static void settle_txn(const Etcdserverpb__TxnRequest *request, Etcdserverpb__TxnResponse *answer)
{
    size_t count = answer->succeeded ? request->n_success : request->n_failure;
    Etcdserverpb__RequestOp *const *ops = answer->succeeded ? request->success : request->failure;
    for (size_t i = 0; i < count && i < answer->n_responses; i++) {
        Etcdserverpb__ResponseOp *response = answer->responses[i];
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE &&
            response->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            settle_range(ops[i]->request_range, response->response_range);
        } else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
                   response->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN) {
            settle_txn(ops[i]->request_txn, response->response_txn);
        }
    }
}

void range_ties_settle(const ProtobufCMessage *request, ProtobufCMessage *answer)
{
    if (request->descriptor == &etcdserverpb__range_request__descriptor) {
        settle_range((const Etcdserverpb__RangeRequest *)request,
                     (Etcdserverpb__RangeResponse *)answer);
    } else if (request->descriptor == &etcdserverpb__txn_request__descriptor) {
        settle_txn((const Etcdserverpb__TxnRequest *)request, (Etcdserverpb__TxnResponse *)answer);
    }
}
