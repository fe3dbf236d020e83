/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>

/* Money is neither made nor lost: every read of all accounts has the total that they were opened
 * with, and none is below zero. */

static bool total_of(const struct history *h, const struct history_event *e, int64_t *ret,
                     bool *negative)
{
    *ret = 0;
    *negative = false;
    for (uint32_t i = 0; i < e->item_count; i++) {
        int64_t balance;
        if (e->items[i].value == HISTORY_NONE ||
            !history_symbol_int(h, e->items[i].value, &balance) ||
            __builtin_add_overflow(*ret, balance, ret)) {
            return false;
        }
        *negative |= balance < 0;
    }
    return true;
}

static void judge_read(const struct operations *ops, struct history_report *report,
                       const struct operation *op, const struct operation *open)
{
    int64_t expected;
    int64_t total;
    bool negative;
    uint64_t where[4] = {op->asked_at, op->answer_at, open->asked_at, NO_POSITION};
    if (!total_of(ops->h, open->asked, &expected, &negative)) {
        return;
    }
    if (!total_of(ops->h, op->answer, &total, &negative) ||
        op->answer->item_count != open->asked->item_count) {
        report_add(report, HISTORY_CHECK_BANK, "accounts", where,
                   "there are %" PRIu32 " accounts, and %" PRIu32 " were opened:",
                   op->answer->item_count, open->asked->item_count);
    } else if (total != expected) {
        report_add(report, HISTORY_CHECK_BANK, "total", where,
                   "the accounts have %" PRId64 " together, and were opened with %" PRId64 ":",
                   total, expected);
    } else if (negative) {
        report_add(report, HISTORY_CHECK_BANK, "negative", where, "an account is below zero:");
    }
}

enum err check_bank(const struct operations *ops, struct history_report *report)
{
    const struct operation *open = NULL;
    uint64_t reads = 0;
    uint64_t transfers = 0;
    for (uint32_t i = 0; i < ops->count; i++) {
        const struct operation *op = &ops->ops[i];
        if (op->asked->workload != HISTORY_BANK) {
            continue;
        }
        if (op->asked->f == HISTORY_OPEN && op->outcome == HISTORY_OK) {
            open = op;
        }
        /* A read of old times may be of before the accounts were opened. */
        bool counts = op->asked->f == HISTORY_READ && op->outcome == HISTORY_OK && open != NULL &&
                      op->asked_at > open->answer_at &&
                      (!operation_is_serializable(op) || op->answer->item_count > 0) &&
                      op->asked->at_revision == 0;
        if (counts) {
            reads++;
            judge_read(ops, report, op, open);
        }
        transfers += op->asked->f == HISTORY_TRANSFER && op->outcome == HISTORY_OK;
    }
    report_count(report, HISTORY_CHECK_BANK, "reads", reads);
    report_count(report, HISTORY_CHECK_BANK, "transfers", transfers);
    return OK;
}
