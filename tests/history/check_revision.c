/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/history/replay.h"

/* Strict serializability by revisions. Real time is compared in highs.c; here the store is replayed
 * in the order of revisions, and every answer must be what it has at the answer's revision:
 *
 *   changes     5: a=1        7: a=2, b=9            8: a=3
 *   answers     6: a is 1     7: by who wrote b=9: a was 1        9: a is 3
 */

void replay_finding(struct replay *r, const struct look *look, const char *rule, uint32_t key,
                    uint32_t value, uint64_t other, const char *text)
{
    const struct operation *op = &r->log->ops->ops[look->op];
    char key_text[SYMBOL_TEXT_BYTES];
    char value_text[SYMBOL_TEXT_BYTES];
    uint64_t where[4] = {op->asked_at, op->answer_at, other, NO_POSITION};
    report_add(r->log->report,
               op->asked->f == HISTORY_STATE ? HISTORY_CHECK_FINAL : HISTORY_CHECK_REVISION, rule,
               where, "revision %" PRId64 ", key %s, %s: %s", look->revision,
               symbol_print(r->log->h, key, key_text),
               value == VALUE_UNKNOWN ? "?" : symbol_print(r->log->h, value, value_text), text);
}

/* Where the change that a cell has now was told or acknowledged. */
static uint64_t writer_of(const struct replay *r, uint32_t key, const struct cell *cell)
{
    const struct revlog *log = r->log;
    for (uint32_t i = revlog_find(log, cell->mod_revision); i < log->count; i++) {
        const struct change *c = &log->changes[i];
        if (c->revision != cell->mod_revision) {
            break;
        }
        if (c->key == key) {
            return c->op != NO_OP ? log->ops->ops[c->op].asked_at : c->seen_at;
        }
    }
    return NO_POSITION;
}

static void compare_read(struct replay *r, const struct look *look, const struct history_item *item,
                         const struct cell *cell)
{
    r->reads++;
    if (item->value != HISTORY_NONE && item->mod_revision > look->revision) {
        replay_finding(r, look, "from the future", item->key, item->value, NO_POSITION,
                       "read with a mod revision above the answer's own:");
        return;
    }
    bool same = item->value == HISTORY_NONE || item->mod_revision == 0
                    ? item->value == cell->value ||
                          (cell->value == VALUE_UNKNOWN && item->value != HISTORY_NONE)
                    : item->mod_revision == cell->mod_revision && cell->value != HISTORY_NONE;
    if (same) {
        return;
    }
    bool older = item->value != HISTORY_NONE && item->mod_revision > 0 &&
                 item->mod_revision < cell->mod_revision;
    if (!older && revlog_is_uncertain(r->log, item->key, look->revision)) {
        r->uncertain++;
        return;
    }
    replay_finding(r, look, older ? "stale read" : "wrong read", item->key, item->value,
                   writer_of(r, item->key, cell), "read, but not what the key has there:");
}

/* Whether a comparison is true; false and *UNKNOWN when nobody can say. */
static bool holds(struct replay *r, const struct look *look, const struct history_item *item,
                  bool *unknown)
{
    const struct cell *cell = &r->cells[item->key];
    r->comparisons++;
    *unknown = (cell->value == VALUE_UNKNOWN && item->value != HISTORY_NONE) ||
               revlog_is_uncertain(r->log, item->key, look->revision);
    return cell->value == item->value;
}

/* The transaction's own write of the key before item I, or NULL. */
static const struct history_item *own_write(const struct history_event *e, uint32_t i)
{
    uint32_t key = e->items[i].key;
    while (i-- > 0) {
        if (e->items[i].f == HISTORY_ITEM_WRITE && e->items[i].key == key) {
            return &e->items[i];
        }
    }
    return NULL;
}

/* Register and wr: all items of an answer, in order, against the cells. An attempt without an
 * answer that took effect has found its comparisons true, too. */
static void compare_items(struct replay *r, const struct look *look)
{
    const struct operation *op = &r->log->ops->ops[look->op];
    const struct history_event *e = operation_told(op);
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        bool unknown;
        if (item->f == HISTORY_ITEM_COMPARE) {
            if (!holds(r, look, item, &unknown) && !unknown) {
                replay_finding(r, look, "comparison", item->key, item->value,
                               writer_of(r, item->key, &r->cells[item->key]),
                               "it was said to be equal, and is not:");
            }
        } else if (item->f == HISTORY_ITEM_READ && op->outcome == HISTORY_OK) {
            const struct history_item *own = own_write(e, i);
            struct cell mine = {0};
            if (own != NULL && own->value != HISTORY_NONE) {
                mine = (struct cell){.value = own->value, .mod_revision = e->revision};
            }
            compare_read(r, look, item, own != NULL ? &mine : &r->cells[item->key]);
        }
    }
}

/* One that failed at a revision: some comparison is false there. */
static void compare_refused(struct replay *r, const struct look *look)
{
    const struct history_event *e = r->log->ops->ops[look->op].answer;
    uint32_t comparisons = 0;
    for (uint32_t i = 0; i < e->item_count; i++) {
        const struct history_item *item = &e->items[i];
        bool unknown;
        if (item->f == HISTORY_ITEM_COMPARE) {
            comparisons++;
            if (!holds(r, look, item, &unknown) || unknown) {
                return;
            }
        }
    }
    if (comparisons > 0) {
        replay_finding(r, look, "refused", e->items[0].key, e->items[0].value, NO_POSITION,
                       "it was said to differ, and all that was compared is equal:");
    }
}

/* An answer of somebody who changed nothing at this revision. */
static void compare_answer(struct replay *r, const struct look *look)
{
    const struct operation *op = &r->log->ops->ops[look->op];
    const struct history_event *e = op->answer;
    if (e->f == HISTORY_STATE) {
        replay_state(r, look);
    } else if (e->workload == HISTORY_BANK) {
        replay_bank_read(r, look);
    } else if (e->workload == HISTORY_SET) {
        replay_set_read(r, look, &e->items[0]);
    } else if (e->workload == HISTORY_APPEND) {
        replay_append_txn(r, look);
    } else if (op->outcome == HISTORY_FAIL) {
        compare_refused(r, look);
        for (uint32_t i = 0; e->f == HISTORY_TXN && i < e->item_count; i++) {
            bool was_read = e->items[i].value != HISTORY_NONE || e->items[i].mod_revision > 0;
            if (e->items[i].f == HISTORY_ITEM_READ && was_read) {
                compare_read(r, look, &e->items[i], &r->cells[e->items[i].key]);
            }
        }
    } else {
        compare_items(r, look);
    }
}

static bool answers_a_read(const struct operation *op)
{
    if (op->answer == NULL || op->answer->revision == 0 || op->outcome == HISTORY_INFO ||
        revlog_acked_revision(op) > 0) {
        return false;
    }
    enum history_f f = op->asked->f;
    if (op->outcome == HISTORY_FAIL) {
        return f == HISTORY_CAS || (f == HISTORY_TXN && op->asked->workload == HISTORY_WR);
    }
    return f == HISTORY_READ || f == HISTORY_TXN || f == HISTORY_STATE;
}

/* ---- Changes ---- */

static void judge_version(struct replay *r, const struct change *c, const struct cell *cell)
{
    bool wrong = (c->create_revision != 0 && c->create_revision != cell->create_revision) ||
                 (c->version != 0 && c->version != cell->version);
    if (!wrong || revlog_is_uncertain(r->log, c->key, c->revision)) {
        return;
    }
    char key[SYMBOL_TEXT_BYTES];
    uint64_t where[4] = {c->seen_at, NO_POSITION, NO_POSITION, NO_POSITION};
    report_add(r->log->report, HISTORY_CHECK_REVISION, "version", where,
               "revision %" PRId64 ", key %s: told with create revision %" PRId64
               " and version %" PRId64 ", but it has %" PRId64 " and %" PRId64 ":",
               c->revision, symbol_print(r->log->h, c->key, key), c->create_revision, c->version,
               cell->create_revision, cell->version);
}

static void apply_change(struct replay *r, const struct change *c)
{
    if (c->key == HISTORY_NONE) {
        return;
    }
    struct cell *cell = &r->cells[c->key];
    if (c->value == HISTORY_NONE) {
        *cell = (struct cell){.mod_revision = c->revision};
        return;
    }
    bool born = cell->value == HISTORY_NONE;
    cell->value = c->value;
    cell->mod_revision = c->revision;
    cell->create_revision = born ? c->revision : cell->create_revision;
    cell->version = born ? 1 : cell->version + 1;
    judge_version(r, c, cell);
    /* What was told holds from here on; it was wrong once, and reported once. */
    cell->create_revision = c->create_revision != 0 ? c->create_revision : cell->create_revision;
    cell->version = c->version != 0 ? c->version : cell->version;
}

/* All changes of one revision, and the answer of who made them. */
static void apply_group(struct replay *r, uint32_t first, uint32_t count)
{
    const struct change *changes = &r->log->changes[first];
    uint32_t op = changes[0].op;
    const struct history_event *e = op == NO_OP ? NULL : r->log->ops->ops[op].asked;
    struct look look = {.op = op, .revision = changes[0].revision};
    bool acked = op != NO_OP && r->log->ops->ops[op].outcome == HISTORY_OK;
    if (e != NULL && (e->workload == HISTORY_REGISTER || e->workload == HISTORY_WR)) {
        compare_items(r, &look);
    } else if (acked && e->workload == HISTORY_APPEND) {
        replay_append_txn(r, &look);
    }
    if (e != NULL && (e->workload == HISTORY_APPEND || e->workload == HISTORY_SET)) {
        replay_lists_write(r, op);
    }
    replay_bank_write(r, op, first, count);
    for (uint32_t i = 0; i < count; i++) {
        apply_change(r, &changes[i]);
    }
}

static void replay_all(struct replay *r, const struct at_revision *answers, size_t count)
{
    const struct revlog *log = r->log;
    size_t answered = 0;
    for (uint32_t from = 0, to = 0; from < log->count; from = to) {
        int64_t revision = log->changes[from].revision;
        for (; answered < count && answers[answered].revision < revision; answered++) {
            compare_answer(r, &(struct look){.op = answers[answered].what,
                                             .revision = answers[answered].revision});
        }
        while (to < log->count && log->changes[to].revision == revision) {
            to++;
        }
        apply_group(r, from, to - from);
    }
    for (; answered < count; answered++) {
        compare_answer(r, &(struct look){.op = answers[answered].what,
                                         .revision = answers[answered].revision});
    }
}

static enum err replay_answers(struct replay *r)
{
    const struct operations *ops = r->log->ops;
    struct at_revision *answers = reallocarray(NULL, (size_t)ops->count + 1, sizeof *answers);
    if (answers == NULL) {
        return ERR_NOMEM;
    }
    size_t count = 0;
    uint64_t linearizable = 0;
    uint64_t serializable = 0;
    for (uint32_t i = 0; i < ops->count; i++) {
        const struct operation *op = &ops->ops[i];
        if (answers_a_read(op)) {
            answers[count++] =
                (struct at_revision){.revision = operation_read_revision(op), .what = i};
            *(operation_is_serializable(op) ? &serializable : &linearizable) += 1;
        }
    }
    report_count(r->log->report, HISTORY_CHECK_REVISION, "linearizable reads", linearizable);
    report_count(r->log->report, HISTORY_CHECK_REVISION, "serializable reads", serializable);
    bool sorted = revisions_sort(answers, count);
    if (sorted) {
        replay_all(r, answers, count);
    }
    free(answers);
    return sorted && !r->no_memory ? OK : ERR_NOMEM;
}

enum err check_revision(const struct revlog *log)
{
    struct replay r = {.log = log};
    r.cells = calloc(history_symbol_count(log->h), sizeof *r.cells);
    enum err err = r.cells == NULL || !replay_lists_init(&r) ? ERR_NOMEM : replay_answers(&r);
    uint64_t writes = 0;
    for (uint32_t i = 0; i < log->ops->count; i++) {
        writes += revlog_acked_revision(&log->ops->ops[i]) > 0;
    }
    report_count(log->report, HISTORY_CHECK_REVISION, "acknowledged writes", writes);
    report_count(log->report, HISTORY_CHECK_REVISION, "values compared", r.reads);
    report_count(log->report, HISTORY_CHECK_REVISION, "comparisons", r.comparisons);
    report_count(log->report, HISTORY_CHECK_REVISION, "uncertain", r.uncertain);
    replay_lists_fini(&r);
    free(r.cells);
    return err;
}
