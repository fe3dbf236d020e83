/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/rescue.h"

#include "base/cleanup.h"
#include "fsm/command.h"

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

static void encode_change(struct buf *entry, enum command_kind kind, uint64_t id)
{
    struct command command = {.kind = kind, .member = {.id = id}};
    command_encode(entry, (struct command_origin){0}, &command);
}

/* An entry that removes all members but this one, as MemberRemove would: for good. A learner is
 * promoted before, for the last voter is not removed. */
static void encode_sole(const struct rescue *rescue, const struct rescue_standing *standing,
                        struct buf *entry)
{
    const struct log_standing *log = &standing->log;
    uint64_t self = standing->store.identity.member_id;
    const struct log_member *member = log_standing_member(log, self);
    entry_encode_head(entry, env_wall_ms(rescue->env));
    if (member != NULL && member->role != MEMBER_VOTER) {
        encode_change(entry, COMMAND_MEMBER_PROMOTE, self);
    }
    for (size_t i = 0; i < log->member_count; i++) {
        if (log->members[i].id != self) {
            encode_change(entry, COMMAND_MEMBER_REMOVE, log->members[i].id);
        }
    }
}

enum err rescue_sole(const struct rescue *rescue, struct rescue_standing *ret, struct why *why)
{
    TRY(rescue_look(rescue, ret, why));
    struct logforce force = logforce_of(rescue, &ret->store);
    struct log_standing before = {0};
    CLEANUP(buf_fini) struct buf entry = {0};
    encode_sole(rescue, ret, &entry);
    enum err err =
        buf_ok(&entry) ? logforce_sole(&force, buf_bytes(&entry), &before, why) : ERR_NOMEM;
    log_standing_fini(&before);
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
