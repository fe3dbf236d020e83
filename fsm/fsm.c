/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/fsm.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"
#include "fsm/txn.h"

struct fsm {
    struct store *store;
    struct logger *log;
    struct cluster *cluster;
    struct alarm_set *alarms;
    struct leases *leases;
    uint64_t term;      /* of the entry at hand */
    struct arena arena; /* of the command at hand */
    uint64_t member_id;
    bool (*is_wanted)(void *ctx, uint64_t op); /* NULL: all are */
    void (*on_result)(void *ctx, uint64_t op, const struct result *result);
    enum err (*on_applied)(void *ctx, const struct command *command, const struct result *result);
    void *ctx;
};

enum err fsm_new(const struct fsm_config *config, struct fsm **ret, struct why *why)
{
    struct fsm *fsm = calloc(1, sizeof *fsm);
    if (fsm == NULL) {
        return ERR_NOMEM;
    }
    fsm->store = config->store;
    fsm->log = config->log;
    fsm->member_id = config->member_id;
    fsm->is_wanted = config->is_wanted;
    fsm->on_result = config->on_result;
    fsm->on_applied = config->on_applied;
    fsm->ctx = config->ctx;
    enum err err = cluster_new(config->store, &fsm->cluster, why);
    const struct cluster_member *members;
    if (err == OK && cluster_members(fsm->cluster, &members) == 0) {
        err = cluster_bootstrap(fsm->cluster, config->bootstrap, config->bootstrap_count);
    }
    if (err == OK) {
        err = alarm_set_new(config->store, &fsm->alarms, why);
    }
    if (err == OK) {
        err = leases_new(config->store, config->hash_seed, &fsm->leases, why);
    }
    if (err != OK) {
        fsm_free(fsm);
        return err;
    }
    *ret = fsm;
    return OK;
}

void fsm_free(struct fsm *fsm)
{
    if (fsm == NULL) {
        return;
    }
    leases_free(fsm->leases);
    cluster_free(fsm->cluster);
    alarm_set_free(fsm->alarms);
    arena_fini(&fsm->arena);
    free(fsm);
}

enum err fsm_reload(struct fsm *fsm, struct leases *leases, struct why *why)
{
    struct cluster *cluster = NULL;
    struct alarm_set *alarms = NULL;
    TRY(cluster_new(fsm->store, &cluster, why));
    cluster_free(fsm->cluster);
    fsm->cluster = cluster;
    TRY(alarm_set_new(fsm->store, &alarms, why));
    alarm_set_free(fsm->alarms);
    fsm->alarms = alarms;
    return PLANTED(LEASES_NOT_RELOADED) ? OK : leases_replace(fsm->leases, leases, why);
}

/* Errors of the disk or of memory while the log is applied: going on would make this copy differ.
 */
static enum err checked(enum err err)
{
    if (result_is_own_failure(err)) {
        fatal("apply a command: %s", err_text(err));
    }
    return err;
}

static enum err apply_put(struct fsm *fsm, const struct command_put *put, bool want,
                          struct result *result)
{
    /* A put alone looks at its lease first, one in a transaction at its key. */
    if (put->lease != 0 && leases_find(fsm->leases, put->lease) == NULL) {
        return ERR_LEASE_NOT_FOUND;
    }
    struct store_put args = {
        .key = put->key,
        .value = want && PLANTED_EVERY(APPLY_DIFFERS, 64) ? bytes_of(NULL, 0) : put->value,
        .lease = put->lease,
        .ignore_value = put->ignore_value,
        .ignore_lease = put->ignore_lease,
        .want_prev = put->prev_kv && want,
    };
    result->prev = NULL;
    return checked(store_put(fsm->store, &args, &result->prev));
}

static enum err apply_delete_range(struct fsm *fsm, const struct command_delete_range *range,
                                   bool want, struct result *result)
{
    result->delete_range.prevs = (struct record_list){0};
    struct record_list *prevs = range->prev_kv && want ? &result->delete_range.prevs : NULL;
    return checked(store_delete_range(fsm->store, range->key, range->range_end,
                                      &result->delete_range.deleted, prevs));
}

/* Of a clock that counted in another term. */
static bool is_stale(const struct fsm *fsm, uint64_t term)
{
    return term != 0 && term != fsm->term && !PLANTED(LEASE_STALE_END);
}

static enum err apply_lease_revoke(struct fsm *fsm, const struct command_lease_revoke *revoke)
{
    if (is_stale(fsm, revoke->term)) {
        return ERR_LEADER_CHANGED;
    }
    enum err status = ERR_LEASE_NOT_FOUND; /* unless one is found */
    for (size_t i = 0; i < revoke->count; i++) {
        if (i > 0) {
            (void)store_txn_end(fsm->store);
            store_txn_begin(fsm->store);
        }
        if (checked(leases_revoke(fsm->leases, revoke->ids[i])) == OK) {
            status = OK;
        }
    }
    return status;
}

static enum err apply_lease_checkpoint(struct fsm *fsm,
                                       const struct command_lease_checkpoint *checkpoint)
{
    if (is_stale(fsm, checkpoint->term)) {
        return ERR_LEADER_CHANGED;
    }
    for (size_t i = 0; i < checkpoint->count; i++) {
        leases_checkpoint(fsm->leases, checkpoint->leases[i].id, checkpoint->leases[i].remaining_s);
    }
    return OK;
}

static enum err apply_command(struct fsm *fsm, const struct command *command, bool want,
                              struct result *result)
{
    switch (command->kind) {
    case COMMAND_PUT:
        return apply_put(fsm, &command->put, want, result);
    case COMMAND_DELETE_RANGE:
        return apply_delete_range(fsm, &command->delete_range, want, result);
    case COMMAND_TXN:
        result->txn = (struct txn_result){0};
        return txn_apply(fsm->store, fsm->leases, &fsm->arena, &command->txn, want, &result->txn);
    case COMMAND_COMPACT:
        return checked(store_compact(fsm->store, command->compact.revision));
    case COMMAND_MEMBER_PUBLISH:
        return checked(cluster_publish(fsm->cluster, &command->member_publish));
    case COMMAND_CLUSTER_VERSION:
        return checked(cluster_set_version(fsm->cluster, command->cluster_version));
    case COMMAND_MEMBER_INIT:
        return checked(cluster_init(fsm->cluster, &command->member_init));
    case COMMAND_MEMBER_ADD:
        return checked(cluster_add(fsm->cluster, &command->member));
    case COMMAND_MEMBER_REMOVE:
        return checked(cluster_remove(fsm->cluster, &command->member));
    case COMMAND_MEMBER_UPDATE:
        return checked(cluster_update(fsm->cluster, &command->member));
    case COMMAND_MEMBER_PROMOTE:
        return checked(cluster_promote(fsm->cluster, &command->member));
    case COMMAND_ALARM:
        result->alarm_found = false;
        return alarm_change(fsm->alarms, &command->alarm, &result->alarm_found);
    case COMMAND_LEASE_GRANT:
        return checked(
            leases_grant(fsm->leases, command->lease_grant.id, command->lease_grant.ttl_s));
    case COMMAND_LEASE_REVOKE:
        return apply_lease_revoke(fsm, &command->lease_revoke);
    case COMMAND_LEASE_CHECKPOINT:
        return apply_lease_checkpoint(fsm, &command->lease_checkpoint);
    case COMMAND_KIND_COUNT:
        break;
    }
    fatal("apply a command: kind %d", (int)command->kind);
}

static bool is_wanted(const struct fsm *fsm, struct command_origin origin)
{
    return origin.member_id == fsm->member_id &&
           (fsm->is_wanted == NULL || fsm->is_wanted(fsm->ctx, origin.op));
}

static void apply_one(struct fsm *fsm, uint64_t index, struct command_origin origin,
                      const struct command *command)
{
    bool want = is_wanted(fsm, origin);
    struct result result = {.kind = command->kind, .index = index};
    store_txn_begin(fsm->store);
    result.status = alarm_admit(fsm->alarms, command);
    if (result.status == OK) {
        result.status = apply_command(fsm, command, want, &result);
    }
    result.revision = store_txn_end(fsm->store);
    struct result told = result;
    if (result.status == OK && fsm->on_applied != NULL) {
        told.status = fsm->on_applied(fsm->ctx, command, &result);
    }
    if (want) {
        fsm->on_result(fsm->ctx, origin.op, &told);
    }
    result_fini(&result);
}

static void bad_entry(uint64_t index, enum err err)
{
    fatal("apply entry %llu: %s; if another member runs a newer version, upgrade this one",
          (unsigned long long)index, err_text(err));
}

/* The store hears what the next commands will look at; returns how many these are, at least one. */
static size_t expect(struct fsm *fsm, struct reader r)
{
    struct bytes keys[STORE_EXPECT_MAX];
    size_t commands;
    size_t count = command_peek_keys(r, keys, STORE_EXPECT_MAX, &commands);
    if (count > 1) {
        store_expect(fsm->store, keys, count);
    }
    return commands > 0 ? commands : 1;
}

/* The commands of an entry. */
static void apply_all(struct fsm *fsm, uint64_t index, struct reader r)
{
    size_t expected = 0;
    while (reader_left(&r) > 0) {
        expected = (expected == 0 ? expect(fsm, r) : expected) - 1;
        struct command_origin origin;
        struct command command;
        arena_reset(&fsm->arena);
        enum err err = command_decode(&r, &fsm->arena, &origin, &command);
        if (err != OK) {
            bad_entry(index, err);
        }
        apply_one(fsm, index, origin, &command);
    }
}

void fsm_apply(struct fsm *fsm, uint64_t index, uint64_t term, struct bytes entry)
{
    if (index <= store_applied_index(fsm->store)) {
        return;
    }
    bool is_first = fsm->term == 0;
    struct reader r = reader_of(entry);
    uint64_t wall_ms;
    enum err err = entry_decode_head(&r, &wall_ms);
    if (err != OK) {
        bad_entry(index, err);
    }
    fsm->term = term;
    if (is_first && PLANTED(APPLY_SKIPS_FIRST)) {
        return;
    }
    store_entry_begin(fsm->store, index, term);
    apply_all(fsm, index, r);
    if (is_first && PLANTED(APPLY_TWICE)) {
        apply_all(fsm, index, r);
    }
    store_entry_end(fsm->store);
}

enum err fsm_plan_txn(struct fsm *fsm, const struct command_txn *txn, struct txn_plan *ret)
{
    return txn_plan(fsm->store, txn, ret);
}

const struct cluster *fsm_cluster(const struct fsm *fsm)
{
    return fsm->cluster;
}

const struct alarm_set *fsm_alarms(const struct fsm *fsm)
{
    return fsm->alarms;
}

struct leases *fsm_leases(struct fsm *fsm)
{
    return fsm->leases;
}
