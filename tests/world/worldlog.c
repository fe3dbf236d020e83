/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldlog.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldcheck.h"

static struct worldlog *log_of(struct raftlog *log)
{
    return CONTAINER_OF(log, struct worldlog, base);
}

static uint64_t hash_of(const struct log_entry *entry)
{
    const struct hash_seed seed = {.k0 = 1, .k1 = 2};
    return hash_bytes(entry->data, &seed) + entry->kind;
}

const struct worldlog_entry *worldlog_at(const struct worldlog *log, uint64_t index)
{
    if (index < log->first_index || index - log->first_index >= log->count) {
        return NULL;
    }
    return &log->entries[index - log->first_index];
}

static void keep(struct worldlog *log, const struct log_entry *entry)
{
    bool room = ARRAY_MAKE_ROOM(log->entries, log->count, log->cap, 256);
    ASSERT(room);
    uint64_t index = log->first_index + log->count;
    const struct worldlog_entry *before = worldlog_at(log, index - 1);
    uint64_t term_before = before == NULL ? 0 : before->term;
    struct worldlog_entry *kept = &log->entries[log->count++];
    *kept = (struct worldlog_entry){.term = entry->term, .hash = hash_of(entry)};
    worldcheck_stored(log->member, index, kept, term_before);
}

static void forget_before(struct worldlog *log, uint64_t index)
{
    if (index <= log->first_index) {
        return;
    }
    size_t gone = (size_t)(index - log->first_index);
    gone = gone < log->count ? gone : log->count;
    memmove(log->entries, log->entries + gone, (log->count - gone) * sizeof *log->entries);
    log->count -= gone;
    log->first_index = index;
}

static enum err wrap_load(struct raftlog *base, struct raftlog_image *ret, struct why *why)
{
    struct worldlog *log = log_of(base);
    TRY(log->inner->ops->load(log->inner, ret, why));
    log->term = ret->term;
    worldcheck_term(log->member, ret->term, ret->vote);
    log->first_index = ret->first_index;
    for (size_t i = 0; i < ret->entry_count; i++) {
        keep(log, &ret->entries[i]);
    }
    return OK;
}

static void wrap_set_term(struct raftlog *base, uint64_t term)
{
    struct worldlog *log = log_of(base);
    log->inner->ops->set_term(log->inner, term);
    log->term = term;
    worldcheck_term(log->member, term, 0);
}

static void wrap_set_vote(struct raftlog *base, uint64_t vote)
{
    struct worldlog *log = log_of(base);
    log->inner->ops->set_vote(log->inner, vote);
    worldcheck_term(log->member, log->term, vote);
}

static void wrap_append(struct raftlog *base, struct raftlog_request *request, uint64_t index,
                        const struct log_entry *entries, size_t count, raftlog_cb cb)
{
    struct worldlog *log = log_of(base);
    if (index != log->first_index + log->count) {
        world_fail(log->member->world, "log", "an append at %llu, behind %llu",
                   (unsigned long long)index, (unsigned long long)(log->first_index + log->count));
    }
    for (size_t i = 0; i < count; i++) {
        keep(log, &entries[i]);
    }
    log->inner->ops->append(log->inner, request, index, entries, count, cb);
}

static void wrap_truncate(struct raftlog *base, uint64_t index)
{
    struct worldlog *log = log_of(base);
    ASSERT(index >= log->first_index);
    uint64_t keeps = index - log->first_index;
    log->count = keeps < log->count ? (size_t)keeps : log->count;
    worldcheck_truncated(log->member, index);
    log->inner->ops->truncate(log->inner, index);
}

static void wrap_snapshot_put(struct raftlog *base, struct raftlog_request *request,
                              const struct log_snapshot *snapshot, uint64_t trailing, raftlog_cb cb)
{
    struct worldlog *log = log_of(base);
    log->inner->ops->snapshot_put(log->inner, request, snapshot, trailing, cb);
    if (trailing == 0) {
        log->count = 0;
        log->first_index = snapshot->index + 1;
    } else if (snapshot->index > trailing) {
        forget_before(log, snapshot->index - trailing + 1);
    }
}

static const struct log_snapshot *wrap_snapshot(struct raftlog *base)
{
    struct worldlog *log = log_of(base);
    return log->inner->ops->snapshot(log->inner);
}

static uint64_t wrap_size_bytes(struct raftlog *base)
{
    struct worldlog *log = log_of(base);
    return log->inner->ops->size_bytes(log->inner);
}

static void wrap_close(struct raftlog *base)
{
    struct worldlog *log = log_of(base);
    log->inner->ops->close(log->inner);
    free(log->entries);
    log->entries = NULL;
    log->count = 0;
}

struct raftlog *worldlog_wrap(struct worldlog *log, struct worldmember *member,
                              struct raftlog *inner)
{
    static const struct raftlog_ops ops = {
        .load = wrap_load,
        .set_term = wrap_set_term,
        .set_vote = wrap_set_vote,
        .append = wrap_append,
        .truncate = wrap_truncate,
        .snapshot_put = wrap_snapshot_put,
        .snapshot = wrap_snapshot,
        .size_bytes = wrap_size_bytes,
        .close = wrap_close,
    };
    *log = (struct worldlog){
        .base = {.ops = &ops}, .inner = inner, .member = member, .first_index = 1};
    return &log->base;
}
