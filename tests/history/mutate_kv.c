/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/draft.h"

#include "base/assert.h"

/* What clients are told of keys, made wrong. Each function says at which places it is certain that
 * no store can have said that, and leaves others alone. */

/* A linearizable answer to a register's read that found something. */
static bool is_register_read(struct draft *d, size_t at)
{
    return draft_is_ok(d, at, HISTORY_REGISTER, HISTORY_READ) &&
           draft_at(d, at)->items[0].value != HISTORY_NONE;
}

static bool is_register_write(struct draft *d, size_t at)
{
    return draft_is_ok(d, at, HISTORY_REGISTER, HISTORY_WRITE) &&
           draft_at(d, at)->items[0].value != HISTORY_NONE;
}

bool mutate_stale_value(struct draft *d, size_t at)
{
    if (!is_register_read(d, at)) {
        return false;
    }
    const struct history_item *read = &draft_at(d, at)->items[0];
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *e = draft_at(d, i);
        if (is_register_write(d, i) && e->items[0].key == read->key &&
            e->revision < read->mod_revision) {
            struct history_item *items = draft_items(d, at);
            items[0].value = e->items[0].value;
            items[0].mod_revision = e->revision;
            return true;
        }
    }
    return false;
}

bool mutate_stale_revision(struct draft *d, size_t at)
{
    if (!draft_is_ok(d, at, HISTORY_REGISTER, HISTORY_READ) &&
        !draft_is_ok(d, at, HISTORY_SET, HISTORY_READ) &&
        !draft_is_ok(d, at, HISTORY_BANK, HISTORY_READ)) {
        return false;
    }
    int64_t high = draft_high(d, draft_question(d, at));
    if (high < 2) {
        return false;
    }
    draft_at(d, at)->revision = high - 1;
    return true;
}

/* Two acknowledged writes, one after the other. */
bool mutate_write_order(struct draft *d, size_t at)
{
    if (!is_register_write(d, at)) {
        return false;
    }
    for (size_t i = draft_question(d, at); i-- > 0;) {
        if (is_register_write(d, i)) {
            int64_t revision = draft_at(d, i)->revision;
            draft_at(d, i)->revision = draft_at(d, at)->revision;
            draft_at(d, at)->revision = revision;
            return true;
        }
    }
    return false;
}

bool mutate_revision_twice(struct draft *d, size_t at)
{
    for (size_t i = 0; is_register_write(d, at) && i < d->count; i++) {
        if (i != at && is_register_write(d, i)) {
            draft_at(d, at)->revision = draft_at(d, i)->revision;
            return true;
        }
    }
    return false;
}

/* The revision of what was read is known from who wrote it. */
static bool is_read_of_acked(struct draft *d, size_t at)
{
    for (size_t i = 0; is_register_read(d, at) && i < d->count; i++) {
        if (is_register_write(d, i) &&
            draft_at(d, i)->revision == draft_at(d, at)->items[0].mod_revision) {
            return true;
        }
    }
    return false;
}

bool mutate_unwritten_value(struct draft *d, size_t at)
{
    if (!is_read_of_acked(d, at)) {
        return false;
    }
    draft_items(d, at)[0].value = draft_new_value(d);
    return true;
}

bool mutate_failed_write(struct draft *d, size_t at)
{
    if (!is_register_write(d, at)) {
        return false;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (is_register_read(d, i) &&
            draft_at(d, i)->items[0].value == draft_at(d, at)->items[0].value) {
            draft_at(d, at)->type = HISTORY_FAIL;
            draft_at(d, at)->revision = 0;
            return true;
        }
    }
    return false;
}

/* What was refused was done, at a revision that has another's write. */
bool mutate_false_cas(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    if (e->type != HISTORY_FAIL || e->f != HISTORY_CAS || e->revision == 0) {
        return false;
    }
    e->type = HISTORY_OK;
    return true;
}

bool mutate_future_read(struct draft *d, size_t at)
{
    if (!is_register_read(d, at) || draft_at(d, at)->items[0].mod_revision < 2) {
        return false;
    }
    draft_at(d, at)->revision = draft_at(d, at)->items[0].mod_revision - 1;
    return true;
}

bool mutate_session_back(struct draft *d, size_t at)
{
    if (!draft_is_ok(d, at, HISTORY_REGISTER, HISTORY_READ)) {
        return false;
    }
    size_t question = draft_question(d, at);
    struct history_event *e = draft_at(d, at);
    for (size_t i = 0; i < question; i++) {
        const struct history_event *before = draft_at(d, i);
        if (before->type == HISTORY_OK && before->session == e->session && before->revision > 1) {
            e->revision = before->revision - 1;
            e->flags |= HISTORY_SERIALIZABLE;
            draft_at(d, question)->flags |= HISTORY_SERIALIZABLE;
            return true;
        }
    }
    return false;
}

bool mutate_absent(struct draft *d, size_t at)
{
    if (!is_register_read(d, at)) {
        return false;
    }
    struct history_item *items = draft_items(d, at);
    items[0].value = HISTORY_NONE;
    items[0].mod_revision = 0;
    return true;
}

/* Values are written once, so that a read of one is of one write. */
bool mutate_linear_future(struct draft *d, size_t at)
{
    for (size_t i = at + 1; is_register_read(d, at) && i < d->count; i++) {
        if (is_register_write(d, i) && draft_question(d, i) > at &&
            draft_at(d, i)->items[0].key == draft_at(d, at)->items[0].key) {
            draft_items(d, at)[0].value = draft_at(d, i)->items[0].value;
            return true;
        }
    }
    return false;
}

/* Written, then overwritten by another, and then read. */
bool mutate_linear_stale(struct draft *d, size_t at)
{
    if (!is_register_read(d, at)) {
        return false;
    }
    uint32_t key = draft_at(d, at)->items[0].key;
    for (size_t i = draft_question(d, at); i-- > 0;) {
        if (!is_register_write(d, i) || draft_at(d, i)->items[0].key != key) {
            continue;
        }
        for (size_t k = draft_question(d, i); k-- > 0;) {
            if (is_register_write(d, k) && draft_at(d, k)->items[0].key == key) {
                draft_items(d, at)[0].value = draft_at(d, k)->items[0].value;
                return true;
            }
        }
    }
    return false;
}

/* ---- Sets and lists ---- */

/* Where an acknowledged answer to who wrote this element stands; SIZE_MAX: there is none. */
static size_t writer_of(struct draft *d, uint32_t key, uint32_t element)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *e = draft_at(d, i);
        for (uint32_t k = 0; e->type == HISTORY_OK && k < e->item_count; k++) {
            bool writes = e->items[k].f == HISTORY_ITEM_APPEND || e->f == HISTORY_ADD;
            if (writes && e->items[k].key == key && e->items[k].value == element) {
                return i;
            }
        }
    }
    return SIZE_MAX;
}

static uint32_t *own_list(struct draft *d, struct history_item *item)
{
    uint32_t *list = arena_calloc(&d->arena, item->list_count + 1, sizeof *list);
    ASSERT(list != NULL);
    for (uint32_t i = 0; i < item->list_count; i++) {
        list[i] = item->list[i];
    }
    item->list = list;
    return list;
}

static void remove_element(struct draft *d, struct history_item *item, uint32_t i)
{
    uint32_t *list = own_list(d, item);
    item->list_count--;
    memmove(&list[i], &list[i + 1], (item->list_count - i) * sizeof *list);
}

bool mutate_set_lost(struct draft *d, size_t at)
{
    if (!draft_is_ok(d, at, HISTORY_SET, HISTORY_READ)) {
        return false;
    }
    const struct history_item *read = &draft_at(d, at)->items[0];
    for (uint32_t i = 0; i < read->list_count; i++) {
        size_t writer = writer_of(d, read->key, read->list[i]);
        if (writer < draft_question(d, at)) {
            remove_element(d, draft_items(d, at), i);
            return true;
        }
    }
    return false;
}

static bool add_element(struct draft *d, size_t at, uint32_t element)
{
    struct history_item *item = draft_items(d, at);
    own_list(d, item)[item->list_count] = element;
    item->list_count++;
    return true;
}

bool mutate_set_phantom(struct draft *d, size_t at)
{
    return draft_is_ok(d, at, HISTORY_SET, HISTORY_READ) && add_element(d, at, draft_new_value(d));
}

bool mutate_set_twice(struct draft *d, size_t at)
{
    return draft_is_ok(d, at, HISTORY_SET, HISTORY_READ) &&
           draft_at(d, at)->items[0].list_count > 0 &&
           add_element(d, at, draft_at(d, at)->items[0].list[0]);
}

/* Item I of an append transaction's answer is a read of two elements or more. */
static bool is_list_read(struct draft *d, size_t at, uint32_t i)
{
    const struct history_event *e = draft_at(d, at);
    return e->items[i].f == HISTORY_ITEM_READ && e->items[i].list_count >= 2;
}

static bool somebody_read(struct draft *d, size_t but, uint32_t key, uint32_t element)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *e = draft_at(d, i);
        for (uint32_t k = 0;
             i != but && draft_is_ok(d, i, HISTORY_APPEND, HISTORY_TXN) && k < e->item_count; k++) {
            for (uint32_t n = 0; e->items[k].key == key && n < e->items[k].list_count; n++) {
                if (e->items[k].list[n] == element) {
                    return true;
                }
            }
        }
    }
    return false;
}

bool mutate_append_aborted(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; draft_is_ok(d, at, HISTORY_APPEND, HISTORY_TXN) && i < e->item_count;
         i++) {
        if (e->items[i].f == HISTORY_ITEM_APPEND &&
            somebody_read(d, at, e->items[i].key, e->items[i].value)) {
            e->type = HISTORY_FAIL;
            e->revision = 0;
            return true;
        }
    }
    return false;
}

bool mutate_append_order(struct draft *d, size_t at)
{
    const struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; draft_is_ok(d, at, HISTORY_APPEND, HISTORY_TXN) && i < e->item_count;
         i++) {
        uint32_t count = e->items[i].list_count;
        if (is_list_read(d, at, i) &&
            somebody_read(d, at, e->items[i].key, e->items[i].list[count - 1])) {
            struct history_item *item = &draft_items(d, at)[i];
            uint32_t *list = own_list(d, item);
            uint32_t last = list[count - 1];
            list[count - 1] = list[count - 2];
            list[count - 2] = last;
            return true;
        }
    }
    return false;
}

/* The last element of a list, acknowledged before it was asked for, is not there. A transaction
 * that reads and writes nothing else, so that nothing else is wrong with it. */
bool mutate_append_lost(struct draft *d, size_t at)
{
    const struct history_event *e = draft_at(d, at);
    if (!draft_is_ok(d, at, HISTORY_APPEND, HISTORY_TXN) || e->item_count != 1 ||
        !is_list_read(d, at, 0)) {
        return false;
    }
    uint32_t last = e->items[0].list_count - 1;
    size_t writer = writer_of(d, e->items[0].key, e->items[0].list[last]);
    if (writer >= draft_question(d, at)) {
        return false;
    }
    remove_element(d, draft_items(d, at), last);
    return true;
}

/* ---- wr, accounts, final states ---- */

static bool is_wr_read(struct draft *d, size_t at)
{
    const struct history_event *e = draft_at(d, at);
    return draft_is_ok(d, at, HISTORY_WR, HISTORY_TXN) && e->item_count == 1 &&
           e->items[0].f == HISTORY_ITEM_READ && e->items[0].value != HISTORY_NONE;
}

/* Written, overwritten, and then read, each after the one before. */
bool mutate_wr_stale(struct draft *d, size_t at)
{
    if (!is_wr_read(d, at)) {
        return false;
    }
    uint32_t key = draft_at(d, at)->items[0].key;
    size_t after = draft_question(d, at);
    size_t found = SIZE_MAX;
    for (size_t i = after; i-- > 0;) {
        const struct history_event *e = draft_at(d, i);
        bool writes = draft_is_ok(d, i, HISTORY_WR, HISTORY_TXN) && e->item_count == 1 &&
                      e->items[0].f == HISTORY_ITEM_WRITE && e->items[0].key == key;
        if (!writes || i >= after) {
            continue;
        }
        if (found != SIZE_MAX) {
            struct history_item *items = draft_items(d, at);
            items[0].value = e->items[0].value;
            items[0].mod_revision = e->revision;
            return true;
        }
        found = i;
        after = draft_question(d, i);
    }
    return false;
}

bool mutate_wr_phantom(struct draft *d, size_t at)
{
    if (!is_wr_read(d, at)) {
        return false;
    }
    draft_items(d, at)[0].value = draft_new_value(d);
    return true;
}

bool mutate_bank_total(struct draft *d, size_t at)
{
    int64_t balance;
    if (!draft_is_ok(d, at, HISTORY_BANK, HISTORY_READ)) {
        return false;
    }
    struct history_item *items = draft_items(d, at);
    ASSERT(history_symbol_int(d->made, items[0].value, &balance));
    items[0].value = history_int(d->made, balance + 1);
    return true;
}

bool mutate_bank_account(struct draft *d, size_t at)
{
    if (!draft_is_ok(d, at, HISTORY_BANK, HISTORY_READ)) {
        return false;
    }
    draft_remove_item(d, at, 0);
    return true;
}

static bool is_state(struct draft *d, size_t at)
{
    return draft_is_ok(d, at, HISTORY_FINAL, HISTORY_STATE) && draft_at(d, at)->item_count > 0;
}

bool mutate_final_lost(struct draft *d, size_t at)
{
    if (!is_state(d, at)) {
        return false;
    }
    draft_remove_item(d, at, 0);
    return true;
}

bool mutate_final_value(struct draft *d, size_t at)
{
    if (!is_state(d, at)) {
        return false;
    }
    draft_items(d, at)[0].value = draft_new_value(d);
    return true;
}

bool mutate_final_hash(struct draft *d, size_t at)
{
    if (!is_state(d, at)) {
        return false;
    }
    draft_at(d, at)->number++;
    return true;
}

bool mutate_final_old(struct draft *d, size_t at)
{
    if (!is_state(d, at) || draft_at(d, at)->revision > draft_high(d, draft_question(d, at))) {
        return false;
    }
    draft_at(d, at)->revision--;
    return true;
}

/* ---- What is not a history ---- */

bool mutate_answer_twice(struct draft *d, size_t at)
{
    if (draft_at(d, at)->type != HISTORY_OK) {
        return false;
    }
    draft_insert(d, at, *draft_at(d, at));
    return true;
}

bool mutate_no_question(struct draft *d, size_t at)
{
    if (draft_at(d, at)->type != HISTORY_INVOKE) {
        return false;
    }
    draft_remove(d, at);
    return true;
}

bool mutate_time_back(struct draft *d, size_t at)
{
    if (at == 0 || draft_at(d, at - 1)->time_ns == 0) {
        return false;
    }
    draft_at(d, at)->time_ns = draft_at(d, at - 1)->time_ns - 1;
    return true;
}

bool mutate_other_answer(struct draft *d, size_t at)
{
    if (!is_register_write(d, at)) {
        return false;
    }
    draft_items(d, at)[0].value = draft_new_value(d);
    return true;
}
