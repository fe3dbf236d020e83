/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/result.h"

#include <stdlib.h>

/* All that a read of the database may come to. */
bool result_is_own_failure(enum err err)
{
    switch (err) {
    case ERR_IO:
    case ERR_CORRUPT:
    case ERR_NOMEM:
    case ERR_NO_SPACE:
    case ERR_LOCKED:
        return true;
    default:
        return false;
    }
}

static void op_result_fini(struct op_result *result)
{
    switch (result->kind) {
    case OP_RANGE:
        range_result_fini(&result->range);
        break;
    case OP_PUT:
        record_unref(result->prev);
        break;
    case OP_DELETE_RANGE:
        record_list_fini(&result->delete_range.prevs);
        break;
    case OP_TXN:
        if (result->txn != NULL) {
            txn_result_fini(result->txn);
            free(result->txn);
        }
        break;
    }
}

void txn_result_fini(struct txn_result *result)
{
    for (size_t i = 0; i < result->response_count; i++) {
        op_result_fini(&result->responses[i]);
    }
    free(result->responses);
    *result = (struct txn_result){0};
}

void txn_plan_fini(struct txn_plan *plan)
{
    txn_result_fini(&plan->result);
    free(plan->reads);
    *plan = (struct txn_plan){0};
}

void result_fini(struct result *result)
{
    if (result->status != OK) {
        return;
    }
    switch (result->kind) {
    case COMMAND_PUT:
        record_unref(result->prev);
        break;
    case COMMAND_DELETE_RANGE:
        record_list_fini(&result->delete_range.prevs);
        break;
    case COMMAND_TXN:
        txn_result_fini(&result->txn);
        break;
    default:
        break;
    }
}
