/* SPDX-License-Identifier: Apache-2.0 */
#include "api/convert.h"

#include "api/conflict.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "server/quota.h"

enum err convert_range(const Etcdserverpb__RangeRequest *request, struct range_query *ret)
{
    if (request->key.len == 0) {
        return ERR_KEY_EMPTY;
    }
    if ((unsigned)request->sort_order > SORT_DESCEND ||
        (unsigned)request->sort_target > TARGET_VALUE) {
        return ERR_SORT_OPTION;
    }
    *ret = (struct range_query){
        .key = message_view(request->key),
        .range_end = message_view(request->range_end),
        .revision = request->revision,
        .limit = request->limit,
        .sort = (enum range_sort)request->sort_order,
        .target = (enum range_target)request->sort_target,
        .min_mod_revision = request->min_mod_revision,
        .max_mod_revision = request->max_mod_revision,
        .min_create_revision = request->min_create_revision,
        .max_create_revision = request->max_create_revision,
        .keys_only = request->keys_only != 0,
        .count_only = request->count_only != 0,
    };
    return OK;
}

enum err convert_put(const Etcdserverpb__PutRequest *request, struct command_put *ret)
{
    if (request->key.len == 0) {
        return ERR_KEY_EMPTY;
    }
    if (request->ignore_value && request->value.len != 0) {
        return ERR_VALUE_PROVIDED;
    }
    if (request->ignore_lease && request->lease != 0) {
        return ERR_LEASE_PROVIDED;
    }
    *ret = (struct command_put){
        .key = message_view(request->key),
        .value = message_view(request->value),
        .lease = request->lease,
        .prev_kv = request->prev_kv != 0,
        .ignore_value = request->ignore_value != 0,
        .ignore_lease = request->ignore_lease != 0,
    };
    return OK;
}

enum err convert_delete_range(const Etcdserverpb__DeleteRangeRequest *request,
                              struct command_delete_range *ret)
{
    if (request->key.len == 0) {
        return ERR_KEY_EMPTY;
    }
    *ret = (struct command_delete_range){
        .key = message_view(request->key),
        .range_end = message_view(request->range_end),
        .prev_kv = request->prev_kv != 0,
    };
    return OK;
}

void convert_compact(const Etcdserverpb__CompactionRequest *request, struct command_compact *ret)
{
    *ret =
        (struct command_compact){.revision = request->revision, .physical = request->physical != 0};
}

/* ---- transactions ---- */

/* What a compare is held against: the member of target_union that fits its target, else 0 or no
 * bytes. */
static void convert_compare(const Etcdserverpb__Compare *from, struct compare *to)
{
    *to = (struct compare){
        .result = (uint32_t)from->result,
        .target = (uint32_t)from->target,
        .key = message_view(from->key),
        .range_end = message_view(from->range_end),
    };
    static const Etcdserverpb__Compare__TargetUnionCase fitting[] = {
        [COMPARE_VERSION] = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION,
        [COMPARE_CREATE] = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION,
        [COMPARE_MOD] = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION,
        [COMPARE_VALUE] = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE,
        [COMPARE_LEASE] = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE,
    };
    if (to->target >= ARRAY_LEN(fitting) || from->target_union_case != fitting[to->target]) {
        return;
    }
    switch (to->target) {
    case COMPARE_VERSION:
        to->number = from->version;
        break;
    case COMPARE_CREATE:
        to->number = from->create_revision;
        break;
    case COMPARE_MOD:
        to->number = from->mod_revision;
        break;
    case COMPARE_LEASE:
        to->number = from->lease;
        break;
    case COMPARE_VALUE:
        to->value = message_view(from->value);
        break;
    }
}

static enum err convert_txn_tree(const Etcdserverpb__TxnRequest *request, unsigned ops_max,
                                 struct arena *arena, struct command_txn *ret);

static enum err convert_op(const Etcdserverpb__RequestOp *from, unsigned ops_max,
                           struct arena *arena, struct txn_op *to)
{
    switch (from->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        to->kind = OP_RANGE;
        return convert_range(from->request_range, &to->range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        to->kind = OP_PUT;
        return convert_put(from->request_put, &to->put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        to->kind = OP_DELETE_RANGE;
        return convert_delete_range(from->request_delete_range, &to->delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        to->kind = OP_TXN;
        to->txn = arena_calloc(arena, 1, sizeof *to->txn);
        return to->txn == NULL ? ERR_NOMEM
                               : convert_txn_tree(from->request_txn, ops_max, arena, to->txn);
    default:
        return ERR_KEY_NOT_FOUND; /* etcd's answer to an operation without a member */
    }
}

static enum err convert_ops(Etcdserverpb__RequestOp **from, size_t count, unsigned ops_max,
                            struct arena *arena, struct txn_op **ret, size_t *ret_count)
{
    *ret = arena_calloc(arena, count + 1, sizeof **ret);
    if (*ret == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        TRY(convert_op(from[i], ops_max, arena, &(*ret)[i]));
    }
    *ret_count = count;
    return OK;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A nested transaction has what the levels around it leave of the budget. */
static enum err convert_txn_tree(const Etcdserverpb__TxnRequest *request, unsigned ops_max,
                                 struct arena *arena, struct command_txn *ret)
{
    size_t ops = max_size(request->n_compare, max_size(request->n_success, request->n_failure));
    if (ops > ops_max) {
        return ERR_TOO_MANY_OPS;
    }
    ret->compares = arena_calloc(arena, request->n_compare + 1, sizeof *ret->compares);
    if (ret->compares == NULL) {
        return ERR_NOMEM;
    }
    ret->compare_count = request->n_compare;
    for (size_t i = 0; i < request->n_compare; i++) {
        if (request->compare[i]->key.len == 0) {
            return ERR_KEY_EMPTY;
        }
        convert_compare(request->compare[i], &ret->compares[i]);
    }
    unsigned left = ops_max - (unsigned)ops;
    TRY(convert_ops(request->success, request->n_success, left, arena, &ret->success,
                    &ret->success_count));
    return convert_ops(request->failure, request->n_failure, left, arena, &ret->failure,
                       &ret->failure_count);
}

enum err convert_txn(const Etcdserverpb__TxnRequest *request, unsigned ops_max, struct arena *arena,
                     struct command_txn *ret)
{
    *ret = (struct command_txn){0};
    TRY(convert_txn_tree(request, ops_max, arena, ret));
    TRY(conflict_check(ret->success, ret->success_count));
    return conflict_check(ret->failure, ret->failure_count);
}

static bool all_serializable(Etcdserverpb__RequestOp **ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE ||
            !ops[i]->request_range->serializable) {
            return false;
        }
    }
    return true;
}

bool txn_is_serializable(const Etcdserverpb__TxnRequest *request)
{
    return all_serializable(request->success, request->n_success) &&
           all_serializable(request->failure, request->n_failure);
}

/* ---- costs ---- */

size_t convert_put_cost(const Etcdserverpb__PutRequest *request)
{
    return quota_put_cost(request->key.len, request->value.len);
}

static size_t ops_cost(Etcdserverpb__RequestOp **ops, size_t count)
{
    size_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
            cost += convert_put_cost(ops[i]->request_put);
        } else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            cost += convert_txn_cost(ops[i]->request_txn);
        }
    }
    return cost;
}

size_t convert_txn_cost(const Etcdserverpb__TxnRequest *request)
{
    return max_size(ops_cost(request->success, request->n_success),
                    ops_cost(request->failure, request->n_failure));
}
