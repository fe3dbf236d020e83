/* SPDX-License-Identifier: Apache-2.0 */
#include "server/quota.h"

#define PUT_COST_BYTES 256 /* what etcd's quota counts for a put beside its key and value */

static size_t put_cost(const struct command_put *put)
{
    return PUT_COST_BYTES + put->key.len + put->value.len;
}

static size_t txn_cost(const struct command_txn *txn);

static size_t ops_cost(const struct txn_op *ops, size_t count)
{
    size_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == OP_PUT) {
            cost += put_cost(&ops[i].put);
        } else if (ops[i].kind == OP_TXN) {
            cost += txn_cost(ops[i].txn);
        }
    }
    return cost;
}

static size_t txn_cost(const struct command_txn *txn)
{
    size_t success = ops_cost(txn->success, txn->success_count);
    size_t failure = ops_cost(txn->failure, txn->failure_count);
    return success > failure ? success : failure;
}

size_t quota_cost(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_PUT:
        return put_cost(&command->put);
    case COMMAND_TXN:
        return txn_cost(&command->txn);
    default:
        return 0;
    }
}
