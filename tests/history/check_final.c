/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/history/replay.h"

/* Durability: in the end each member has what the log of all changes makes, at a revision that is
 * not below any that was acknowledged; and members at one revision are equal. Who asks for states
 * waits until the members have caught up, and asks each for itself. */

struct range {
    struct bytes key;
    struct bytes end; /* data NULL: one key */
    bool to_the_end;
};

static struct range range_of(const struct history *h, const struct operation *op)
{
    const struct history_item *item = &op->asked->items[0];
    struct range r = {.key = history_symbol_text(h, item->key)};
    if (item->value != HISTORY_NONE) {
        r.end = history_symbol_text(h, item->value);
        r.to_the_end = r.end.len == 1 && r.end.data[0] == '\0';
    }
    return r;
}

static bool in_range(const struct range *r, struct bytes key)
{
    if (r->end.data == NULL && !r->to_the_end) {
        return bytes_equal(key, r->key);
    }
    return bytes_compare(key, r->key) >= 0 && (r->to_the_end || bytes_compare(key, r->end) < 0);
}

static void compare_kv(struct replay *r, const struct look *look, const struct history_item *item)
{
    const struct cell *cell = &r->cells[item->key];
    bool uncertain = revlog_is_uncertain(r->log, item->key, look->revision);
    r->reads++;
    if (cell->mod_revision != item->mod_revision || cell->value == HISTORY_NONE) {
        if (item->mod_revision < cell->mod_revision || !uncertain) {
            replay_finding(r, look, "wrong state", item->key, item->value, NO_POSITION,
                           "the member has it, but not as it was written last:");
        }
        return;
    }
    bool other_life = item->create_revision != 0 && item->create_revision != cell->create_revision;
    bool other_version = item->version != 0 && item->version != cell->version;
    if ((other_life || other_version) && !uncertain) {
        replay_finding(r, look, "wrong version", item->key, item->value, NO_POSITION,
                       "the member has it with another create revision or version:");
    }
}

void replay_state(struct replay *r, const struct look *look)
{
    const struct history *h = r->log->h;
    const struct operation *op = &r->log->ops->ops[look->op];
    const struct history_event *e = op->answer;
    struct range range = range_of(h, op);
    r->stamp++;
    for (uint32_t i = 0; i < e->item_count; i++) {
        r->stamps[e->items[i].key] = r->stamp;
        compare_kv(r, look, &e->items[i]);
    }
    for (uint32_t key = 1; key < history_symbol_count(h); key++) {
        if (r->cells[key].value != HISTORY_NONE && r->stamps[key] != r->stamp &&
            in_range(&range, history_symbol_text(h, key)) &&
            !revlog_is_uncertain(r->log, key, look->revision)) {
            replay_finding(r, look, "lost write", key, r->cells[key].value, NO_POSITION,
                           "it was written and not deleted, and the member does not have it:");
        }
    }
}

static bool same_range(const struct operation *a, const struct operation *b)
{
    return a->asked->items[0].key == b->asked->items[0].key &&
           a->asked->items[0].value == b->asked->items[0].value;
}

static bool same_kvs(const struct history_event *a, const struct history_event *b)
{
    if (a->item_count != b->item_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->item_count; i++) {
        const struct history_item *x = &a->items[i];
        const struct history_item *y = &b->items[i];
        if (x->key != y->key || x->value != y->value || x->mod_revision != y->mod_revision ||
            x->create_revision != y->create_revision || x->version != y->version) {
            return false;
        }
    }
    return true;
}

static void compare_members(const struct revlog *log, const struct operation *a,
                            const struct operation *b)
{
    uint64_t where[4] = {a->answer_at, b->answer_at, NO_POSITION, NO_POSITION};
    int64_t revision = operation_read_revision(a);
    if (revision != operation_read_revision(b) || !same_range(a, b)) {
        return;
    }
    if (!same_kvs(a->answer, b->answer)) {
        report_add(log->report, HISTORY_CHECK_FINAL, "members differ", where,
                   "two members at revision %" PRId64 " have other keys or values:", revision);
    }
    if (a->answer->number != 0 && b->answer->number != 0 &&
        a->answer->number != b->answer->number) {
        report_add(log->report, HISTORY_CHECK_FINAL, "hashes differ", where,
                   "two members at revision %" PRId64 " have the hashes %" PRId64 " and %" PRId64
                   ":",
                   revision, a->answer->number, b->answer->number);
    }
}

/* Each is compared with the one before it, so that a difference among many is found once. */
enum err check_final(const struct revlog *log)
{
    const struct operation *before = NULL;
    struct numtable members = {0};
    uint64_t states = 0;
    uint64_t keys = 0;
    bool room = true;
    for (uint32_t i = 0; i < log->ops->count; i++) {
        const struct operation *op = &log->ops->ops[i];
        if (op->asked->f != HISTORY_STATE || op->outcome != HISTORY_OK) {
            continue;
        }
        const struct high *high = &log->high[i];
        if (op->answer->revision < high->revision && !operation_is_serializable(op)) {
            uint64_t where[4] = {op->answer_at, high->at, NO_POSITION, NO_POSITION};
            report_add(log->report, HISTORY_CHECK_FINAL, "old state", where,
                       "a member is at revision %" PRId64 " in the end, and %" PRId64
                       " had been seen:",
                       op->answer->revision, high->revision);
        }
        if (before != NULL) {
            compare_members(log, before, op);
        }
        before = op;
        states++;
        keys += op->answer->item_count;
        room &= op->answer->member == HISTORY_NONE ||
                numtable_number(&members, op->answer->member) != NUMTABLE_NONE;
    }
    report_count(log->report, HISTORY_CHECK_FINAL, "states", states);
    report_count(log->report, HISTORY_CHECK_FINAL, "members", members.count);
    report_count(log->report, HISTORY_CHECK_FINAL, "keys", keys);
    numtable_fini(&members);
    return room ? OK : ERR_NOMEM;
}
