/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/rescue.h"

#include "base/codec.h"

void rescue_standing_fini(struct rescue_standing *standing)
{
    log_standing_fini(&standing->log);
}

static struct logforce logforce_of(const struct rescue *rescue, const struct dbrewrite_state *store)
{
    return (struct logforce){
        .env = rescue->env,
        .fs = rescue->fs,
        .log = rescue->log,
        .dir = rescue->raft_dir,
        .cluster_id = store->identity.cluster_id,
        .member_id = store->identity.member_id,
    };
}

/* The log must have what the store lacks. */
static enum err check_joins(const struct rescue *rescue, const struct rescue_standing *standing,
                            struct why *why)
{
    uint64_t applied = standing->store.applied_index;
    if (applied < standing->log.snapshot_index || applied + 1 < standing->log.first_index ||
        applied > standing->log.last_index) {
        why_set(why, "'%s' ends at index %llu, the log in '%s' has %llu to %llu",
                rescue->store_path, (unsigned long long)applied, rescue->raft_dir,
                (unsigned long long)standing->log.first_index,
                (unsigned long long)standing->log.last_index);
        return ERR_CORRUPT;
    }
    return OK;
}

enum err rescue_look(const struct rescue *rescue, struct rescue_standing *ret, struct why *why)
{
    *ret = (struct rescue_standing){.store = {.applied_index = 0}};
    TRY(dbrewrite_read(rescue->store_path, &ret->store, why));
    struct logforce force = logforce_of(rescue, &ret->store);
    TRY(logforce_look(&force, &ret->log, why));
    enum err err = check_joins(rescue, ret, why);
    if (err != OK) {
        rescue_standing_fini(ret);
    }
    return err;
}

/* Of the members the store keeps this one. */
static enum err forget_others(const struct rescue *rescue, const struct dbrewrite_state *store,
                              struct why *why)
{
    uint8_t key[8];
    put_u64(key, __builtin_bswap64(store->identity.member_id));
    struct dbrewrite change = {
        .identity = store->identity,
        .applied_index = store->applied_index,
        .applied_term = store->applied_term,
        .revision = store->revision,
        .compacted_revision = store->compacted_revision,
        .empty_table = {[TABLE_MEMBER] = true},
        .kept_key = bytes_of(key, sizeof key),
    };
    return dbrewrite(rescue->store_path, &change, true, why);
}

enum err rescue_sole(const struct rescue *rescue, struct rescue_standing *ret, struct why *why)
{
    TRY(rescue_look(rescue, ret, why));
    struct logforce force = logforce_of(rescue, &ret->store);
    struct log_standing before = {0};
    enum err err = logforce_sole(&force, &before, why);
    log_standing_fini(&before);
    if (err == OK) {
        err = forget_others(rescue, &ret->store, why);
    }
    if (err != OK) {
        rescue_standing_fini(ret);
    }
    return err;
}

/* 0: not among the entries that are there. */
static uint64_t term_at(const struct log_standing *standing, uint64_t index)
{
    bool there = index >= standing->first_index && index <= standing->last_index;
    return there ? standing->terms[index - standing->first_index] : 0;
}

uint64_t rescue_lacks(const struct log_standing *best, const struct log_standing *other)
{
    uint64_t count = 0;
    for (uint64_t index = other->first_index; index <= other->last_index; index++) {
        bool forgotten = index < best->first_index; /* both have applied it */
        count += !forgotten && term_at(best, index) != term_at(other, index);
    }
    return count;
}

bool rescue_is_newer(const struct log_standing *a, const struct log_standing *b)
{
    return a->last_term != b->last_term ? a->last_term > b->last_term
                                        : a->last_index > b->last_index;
}
