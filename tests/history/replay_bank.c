/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/replay.h"

/* Accounts. A transfer says what it moves, not what the accounts have then: that comes from the
 * replay, and must be what watchers were told. A revision of nobody's is the attempt without an
 * answer that explains what was told. */

/* What the change says that the account has then. */
static bool told_balance(const struct replay *r, const struct change *c, int64_t *ret)
{
    return c->value != HISTORY_NONE && c->value != VALUE_UNKNOWN &&
           history_symbol_int(r->log->h, c->value, ret);
}

static int64_t moved(const struct history_event *transfer, uint32_t account)
{
    int64_t amount = 0;
    amount -= transfer->items[0].key == account ? transfer->number : 0;
    amount += transfer->items[1].key == account ? transfer->number : 0;
    return amount;
}

/* Whether moving its money makes the accounts what was told. */
static bool transfer_explains(const struct replay *r, const struct history_event *transfer,
                              const struct change *changes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct cell *cell = &r->cells[changes[i].key];
        int64_t balance;
        bool touched =
            changes[i].key == transfer->items[0].key || changes[i].key == transfer->items[1].key;
        if (!touched || !cell->has_balance || !told_balance(r, &changes[i], &balance) ||
            balance != cell->balance + moved(transfer, changes[i].key)) {
            return false;
        }
    }
    return true;
}

static uint32_t find_transfer(struct replay *r, const struct change *changes, uint32_t count)
{
    const uint32_t *transfers = (const uint32_t *)(const void *)r->transfers.data;
    for (size_t i = 0; i < r->transfers.len / sizeof *transfers; i++) {
        uint32_t op = transfers[i];
        if (r->used[op] == 0 && r->log->high[op].revision < changes[0].revision &&
            transfer_explains(r, r->log->ops->ops[op].asked, changes, count)) {
            return op;
        }
    }
    return NO_OP;
}

static void move_money(struct replay *r, const struct history_event *transfer)
{
    for (int i = 0; i < 2; i++) {
        struct cell *cell = &r->cells[transfer->items[i].key];
        cell->balance += i == 0 ? -transfer->number : transfer->number;
    }
}

static void unowned(struct replay *r, const struct change *changes, uint32_t count)
{
    uint32_t op = find_transfer(r, changes, count);
    if (op != NO_OP) {
        r->used[op] = 1;
        move_money(r, r->log->ops->ops[op].asked);
        return;
    }
    if (!r->log->options->strangers && r->cells[changes[0].key].has_balance &&
        !revlog_is_uncertain(r->log, changes[0].key, changes[0].revision)) {
        char key[SYMBOL_TEXT_BYTES];
        uint64_t where[4] = {changes[0].seen_at, NO_POSITION, NO_POSITION, NO_POSITION};
        report_add(r->log->report, HISTORY_CHECK_REVISION, "nobody transferred", where,
                   "revision %lld, account %s: no transfer explains what it has now:",
                   (long long)changes[0].revision, symbol_print(r->log->h, changes[0].key, key));
    }
}

/* What was told holds, whatever was computed. */
static void believe(struct replay *r, const struct change *c)
{
    struct cell *cell = &r->cells[c->key];
    int64_t balance;
    if (!told_balance(r, c, &balance)) {
        return;
    }
    if (cell->has_balance && cell->balance != balance && c->op != NO_OP &&
        !revlog_is_uncertain(r->log, c->key, c->revision)) {
        replay_finding(r, &(struct look){.op = c->op, .revision = c->revision}, "balance", c->key,
                       c->value, c->seen_at, "told, but it is not what the transfers make:");
    }
    cell->balance = balance;
    cell->has_balance = true;
}

void replay_bank_write(struct replay *r, uint32_t op, uint32_t first, uint32_t count)
{
    const struct change *changes = &r->log->changes[first];
    const struct history_event *e = op == NO_OP ? NULL : r->log->ops->ops[op].asked;
    if ((r->log->kinds[changes[0].key] & KEY_ACCOUNT) == 0) {
        return;
    }
    if (e == NULL) {
        unowned(r, changes, count);
    } else if (e->f == HISTORY_TRANSFER) {
        move_money(r, e);
    }
    for (uint32_t i = 0; i < count; i++) {
        believe(r, &changes[i]);
    }
}

void replay_bank_read(struct replay *r, const struct look *look)
{
    const struct history_event *e = r->log->ops->ops[look->op].answer;
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        const struct cell *cell = &r->cells[item->key];
        int64_t balance;
        if (item->value == HISTORY_NONE || !history_symbol_int(r->log->h, item->value, &balance) ||
            !cell->has_balance) {
            continue;
        }
        r->reads++;
        if (balance == cell->balance) {
            continue;
        }
        if (revlog_is_uncertain(r->log, item->key, look->revision)) {
            r->uncertain++;
        } else {
            replay_finding(r, look, "wrong read", item->key, item->value, NO_POSITION,
                           "read, but it is not what the account has there:");
        }
    }
}
