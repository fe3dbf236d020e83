/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/draft.h"

#include "base/assert.h"

/* What watchers are told, and what is told of leases and locks, made wrong. */

static bool is_response(struct draft *d, size_t at)
{
    return draft_at(d, at)->f == HISTORY_EVENTS && draft_at(d, at)->item_count > 0;
}

bool mutate_event_twice(struct draft *d, size_t at)
{
    if (!is_response(d, at)) {
        return false;
    }
    struct history_item *items = draft_items(d, at); /* with room for one more */
    items[draft_at(d, at)->item_count] = items[draft_at(d, at)->item_count - 1];
    draft_at(d, at)->item_count++;
    return true;
}

/* Another watch was told of it, too. */
static bool is_known(struct draft *d, size_t but, const struct history_item *item)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *e = draft_at(d, i);
        for (uint32_t k = 0; i != but && e->f == HISTORY_EVENTS && k < e->item_count; k++) {
            if (e->items[k].mod_revision == item->mod_revision && e->items[k].key == item->key) {
                return true;
            }
        }
    }
    return false;
}

/* With one behind it, which says that all before was told. */
bool mutate_event_dropped(struct draft *d, size_t at)
{
    const struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; is_response(d, at) && i + 1 < e->item_count; i++) {
        if (is_known(d, at, &e->items[i])) {
            draft_remove_item(d, at, i);
            return true;
        }
    }
    return false;
}

bool mutate_event_split(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; is_response(d, at) && i + 1 < e->item_count; i++) {
        if (e->items[i].mod_revision == e->items[i + 1].mod_revision) {
            struct history_event first = *e;
            first.item_count = i + 1;
            first.flags &= ~HISTORY_MORE;
            e->items += i + 1;
            e->item_count -= i + 1;
            draft_insert(d, at, first);
            return true;
        }
    }
    return false;
}

bool mutate_event_order(struct draft *d, size_t at)
{
    const struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; is_response(d, at) && i + 1 < e->item_count; i++) {
        if (e->items[i].mod_revision != e->items[i + 1].mod_revision) {
            struct history_item *items = draft_items(d, at);
            struct history_item swap = items[i];
            items[i] = items[i + 1];
            items[i + 1] = swap;
            return true;
        }
    }
    return false;
}

bool mutate_event_repeated(struct draft *d, size_t at)
{
    if (!is_response(d, at) || (draft_at(d, at)->flags & HISTORY_MORE) != 0) {
        return false;
    }
    draft_insert(d, at, *draft_at(d, at));
    return true;
}

/* Whether a response of this watch has begun before AT and is not whole. */
static bool in_fragments(struct draft *d, size_t at)
{
    for (size_t i = at; i-- > 0;) {
        const struct history_event *e = draft_at(d, i);
        if (e->f == HISTORY_EVENTS && e->process == draft_at(d, at)->process &&
            e->id == draft_at(d, at)->id) {
            return (e->flags & HISTORY_MORE) != 0;
        }
    }
    return false;
}

bool mutate_bookmark_early(struct draft *d, size_t at)
{
    if (!is_response(d, at) || in_fragments(d, at)) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.f = HISTORY_PROGRESS;
    e.flags = 0;
    e.revision = e.items[0].mod_revision;
    e.item_count = 0;
    draft_insert(d, at, e);
    return true;
}

static bool change_prev(struct draft *d, size_t at, bool remove)
{
    const struct history_event *e = draft_at(d, at);
    for (uint32_t i = 0; is_response(d, at) && i < e->item_count; i++) {
        if (e->items[i].prev_value == HISTORY_NONE || e->items[i].prev_mod_revision < 2) {
            continue;
        }
        struct history_item *item = &draft_items(d, at)[i];
        if (remove) {
            item->prev_value = HISTORY_NONE;
            item->prev_mod_revision = 0;
        } else {
            item->prev_value = draft_new_value(d);
        }
        return true;
    }
    return false;
}

bool mutate_prev_wrong(struct draft *d, size_t at)
{
    return change_prev(d, at, false);
}

bool mutate_prev_missing(struct draft *d, size_t at)
{
    return change_prev(d, at, true);
}

bool mutate_version_wrong(struct draft *d, size_t at)
{
    if (!is_response(d, at) || draft_at(d, at)->items[0].f != HISTORY_ITEM_PUT) {
        return false;
    }
    draft_items(d, at)[0].version++;
    return true;
}

bool mutate_event_value(struct draft *d, size_t at)
{
    if (!is_response(d, at) || draft_at(d, at)->items[0].f != HISTORY_ITEM_PUT ||
        !is_known(d, at, &draft_at(d, at)->items[0])) {
        return false;
    }
    draft_items(d, at)[0].value = draft_new_value(d);
    return true;
}

bool mutate_header_low(struct draft *d, size_t at)
{
    if (!is_response(d, at) || draft_at(d, at)->items[0].mod_revision < 2) {
        return false;
    }
    draft_at(d, at)->revision = draft_at(d, at)->items[0].mod_revision - 1;
    return true;
}

/* An event of the stream's watch of everything comes to the other one, which has not that range. */
bool mutate_event_outside(struct draft *d, size_t at)
{
    if (!is_response(d, at) || in_fragments(d, at) || draft_at(d, at)->id != 1) {
        return false;
    }
    struct bytes key = history_symbol_text(d->made, draft_at(d, at)->items[0].key);
    if (key.data[0] != 'w' || (draft_at(d, at)->flags & HISTORY_MORE) != 0) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.id = 2;
    e.item_count = 1;
    draft_insert(d, at, e);
    return true;
}

bool mutate_cancel(struct draft *d, size_t at)
{
    if (draft_at(d, at)->f != HISTORY_START || draft_at(d, at)->type != HISTORY_OK) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.type = HISTORY_INFO;
    e.f = HISTORY_CANCEL;
    e.flags = 0;
    e.at_revision = e.revision + 1;
    e.item_count = 0;
    draft_insert(d, at + 1, e);
    return true;
}

/* ---- Leases ---- */

static bool is_promise(struct draft *d, size_t at)
{
    return (draft_is_ok(d, at, HISTORY_LEASE, HISTORY_GRANT) ||
            draft_is_ok(d, at, HISTORY_LEASE, HISTORY_KEEPALIVE)) &&
           draft_at(d, at)->number > 0;
}

static bool was_revoked(struct draft *d, size_t until, int64_t id)
{
    for (size_t i = 0; i < until; i++) {
        if (draft_at(d, i)->f == HISTORY_REVOKE && draft_at(d, i)->id == id) {
            return true;
        }
    }
    return false;
}

bool mutate_lease_early(struct draft *d, size_t at)
{
    if (!is_promise(d, at) || was_revoked(d, at, draft_at(d, at)->id)) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.type = HISTORY_INFO;
    e.f = HISTORY_GONE;
    e.revision = 0;
    e.session = 0;
    draft_insert(d, at + 1, e);
    return true;
}

/* A question by somebody new, and its answer, before AT. */
static void ask_before(struct draft *d, size_t at, struct history_event e)
{
    e.process = draft_new_process(d);
    e.session = 0;
    e.revision = 0;
    e.type = HISTORY_INVOKE;
    draft_insert(d, at, e);
    e.type = HISTORY_OK;
    draft_insert(d, at + 1, e);
}

/* Long after all else it is still there. */
bool mutate_lease_late(struct draft *d, size_t at)
{
    if (!is_promise(d, at) || was_revoked(d, d->count, draft_at(d, at)->id)) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.time_ns = draft_at(d, d->count - 1)->time_ns + INT64_C(1000000000000);
    e.f = HISTORY_TIME_TO_LIVE;
    e.number = 1;
    ask_before(d, d->count, e);
    return true;
}

bool mutate_lease_ttl(struct draft *d, size_t at)
{
    if (!is_promise(d, at) || draft_at(d, at)->f != HISTORY_KEEPALIVE) {
        return false;
    }
    for (size_t i = 0; i < at; i++) {
        if (draft_is_ok(d, i, HISTORY_LEASE, HISTORY_GRANT) &&
            draft_at(d, i)->id == draft_at(d, at)->id) {
            draft_at(d, at)->number++;
            return true;
        }
    }
    return false;
}

bool mutate_lease_risen(struct draft *d, size_t at)
{
    if (!draft_is_ok(d, at, HISTORY_LEASE, HISTORY_REVOKE)) {
        return false;
    }
    struct history_event e = *draft_at(d, at);
    e.f = HISTORY_TIME_TO_LIVE;
    e.number = 1;
    ask_before(d, at + 1, e);
    return true;
}

/* ---- Locks ---- */

/* The acknowledged answer of that kind about that ownership key; SIZE_MAX: there is none. */
static size_t find_lock(struct draft *d, enum history_f f, uint32_t key)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *e = draft_at(d, i);
        if (draft_is_ok(d, i, HISTORY_LOCK, f) && e->items[0].key == key &&
            (e->flags & HISTORY_UNCHANGED) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* An acquisition whose key was put while another had the lock is answered before that one's
 * release. */
bool mutate_two_holders(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    if (!draft_is_ok(d, at, HISTORY_LOCK, HISTORY_ACQUIRE)) {
        return false;
    }
    for (size_t i = 0; i < d->count; i++) {
        const struct history_event *other = draft_at(d, i);
        if (!draft_is_ok(d, i, HISTORY_LOCK, HISTORY_ACQUIRE) ||
            other->items[0].value != e->items[0].value ||
            other->items[0].create_revision >= e->items[0].create_revision) {
            continue;
        }
        size_t release = find_lock(d, HISTORY_RELEASE, other->items[0].key);
        if (release != SIZE_MAX && draft_at(d, release)->revision > e->items[0].create_revision) {
            e->revision = draft_at(d, release)->revision - 1;
            return true;
        }
    }
    return false;
}

bool mutate_fenced_late(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    if (e->f != HISTORY_FENCED || e->type != HISTORY_FAIL || e->revision == 0 ||
        e->item_count != 1 || find_lock(d, HISTORY_ACQUIRE, e->items[0].key) == SIZE_MAX) {
        return false;
    }
    e->type = HISTORY_OK;
    return true;
}

bool mutate_holder_refused(struct draft *d, size_t at)
{
    struct history_event *e = draft_at(d, at);
    if (!draft_is_ok(d, at, HISTORY_LOCK, HISTORY_FENCED) || e->item_count != 1 ||
        find_lock(d, HISTORY_RELEASE, e->items[0].key) == SIZE_MAX ||
        find_lock(d, HISTORY_ACQUIRE, e->items[0].key) == SIZE_MAX) {
        return false;
    }
    e->type = HISTORY_FAIL;
    return true;
}
