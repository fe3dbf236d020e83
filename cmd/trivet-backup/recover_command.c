/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup recover: what the members that are left of a cluster still have, and a cluster of
 * the one that has most. Without --yes it only tells. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivet-backup/backup_command.h"
#include "snapshot/rescue.h"

struct recover_options {
    struct common_options common;
    const char *wal_dirs;
    bool yes;
};

#define ROW(name, kind, field, unit, help)                              \
    {                                                                   \
        name, kind, offsetof(struct recover_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("wal-dir", OPTION_TEXT, wal_dirs, "LIST",
        "where the logs are: one for each DIR, in their order, with commas (default: in it)"),
    ROW("yes", OPTION_BOOL, yes, NULL, "make the one-member cluster (else it is only told)"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

struct survivor {
    const char *data_dir;
    char raft_dir[FS_PATH_MAX]; /* empty: in the data directory */
    char store_path[FS_PATH_MAX];
    struct rescue rescue;
    struct rescue_standing standing;
};

struct recovery {
    struct command_loop loop;
    struct survivor survivors[COMMAND_ARGS_MAX];
    size_t count;
    size_t best;
};

static void recovery_fini(struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->count; i++) {
        rescue_standing_fini(&recovery->survivors[i].standing);
    }
}

/* LIST has one for each of COUNT members, or is none: their logs are where they are by default. */
static enum err take_wal_dirs(struct recovery *recovery, const char *list, size_t count,
                              struct why *why)
{
    for (size_t i = 0; i < count && list != NULL && list[0] != '\0'; i++) {
        char *dir = recovery->survivors[i].raft_dir;
        size_t len = strcspn(list, ",");
        bool is_last = list[len] == '\0';
        if (len >= sizeof recovery->survivors[i].raft_dir || is_last != (i + 1 == count)) {
            why_set(why, "--wal-dir: one directory for each of the %zu data directories", count);
            return ERR_INVALID;
        }
        memcpy(dir, list, len);
        dir[len] = '\0';
        list += is_last ? len : len + 1;
    }
    return OK;
}

/* A member that was removed has missed what came after, does not start any more, and the
 * configuration in its log is not the cluster's. */
static enum err check_not_removed(const char *member_dir, struct why *why)
{
    char path[FS_PATH_MAX];
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_join(member_dir, "removed", path, sizeof path, why));
    enum err err = fs_open(fs_real(), path, FS_READ, &file, why);
    if (err == OK) {
        why_set(why, "this member was removed from its cluster ('%s' says so): leave it out", path);
        return ERR_REMOVED;
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

/* A member can only open files of its own user: of another, even looking could leave some. */
static enum err check_owner(const char *member_dir, struct why *why)
{
    struct stat st;
    if (stat(member_dir, &st) == 0 && st.st_uid != geteuid()) {
        why_set(why,
                "it belongs to user %u, not to %u: run this as the user that its member runs as",
                (unsigned)st.st_uid, (unsigned)geteuid());
        return ERR_FOREIGN;
    }
    return OK;
}

static enum err look_at(struct recovery *recovery, const char *data_dir, struct why *why)
{
    struct survivor *survivor = &recovery->survivors[recovery->count];
    char member_dir[FS_PATH_MAX];
    survivor->data_dir = data_dir;
    TRY(fs_join(data_dir, "member", member_dir, sizeof member_dir, why));
    if (survivor->raft_dir[0] == '\0') {
        TRY(fs_join(member_dir, "raft", survivor->raft_dir, sizeof survivor->raft_dir, why));
    }
    TRY(fs_join(member_dir, "store.db", survivor->store_path, sizeof survivor->store_path, why));
    survivor->rescue = (struct rescue){
        .env = recovery->loop.env,
        .fs = fs_real(),
        .raft_dir = survivor->raft_dir,
        .store_path = survivor->store_path,
    };
    enum err err = check_owner(member_dir, why);
    if (err == OK) {
        err = check_not_removed(member_dir, why);
    }
    if (err == OK) {
        err = rescue_look(&survivor->rescue, &survivor->standing, why);
    }
    if (err == ERR_LOCKED) {
        why_prefix(why, "a process uses it, which must be stopped first");
    }
    if (err != OK) {
        why_prefix(why, "%s", data_dir);
        return err;
    }
    recovery->count++;
    return OK;
}

static enum err check_together(const struct recovery *recovery, struct why *why)
{
    const struct store_identity *first = &recovery->survivors[0].standing.store.identity;
    for (size_t i = 1; i < recovery->count; i++) {
        const struct store_identity *other = &recovery->survivors[i].standing.store.identity;
        if (other->cluster_id != first->cluster_id) {
            why_set(why, "%s and %s are of different clusters", recovery->survivors[0].data_dir,
                    recovery->survivors[i].data_dir);
            return ERR_FOREIGN;
        }
        for (size_t j = 0; j < i; j++) {
            if (other->member_id == recovery->survivors[j].standing.store.identity.member_id) {
                why_set(why, "%s and %s are the same member", recovery->survivors[j].data_dir,
                        recovery->survivors[i].data_dir);
                return ERR_INVALID;
            }
        }
    }
    return OK;
}

static void choose(struct recovery *recovery)
{
    recovery->best = 0;
    for (size_t i = 1; i < recovery->count; i++) {
        if (rescue_is_newer(&recovery->survivors[i].standing.log,
                            &recovery->survivors[recovery->best].standing.log)) {
            recovery->best = i;
        }
    }
}

/* ---- telling ---- */

static bool votes(const struct rescue_standing *s)
{
    const struct log_member *member = log_standing_member(&s->log, s->store.identity.member_id);
    return member != NULL && member->role == MEMBER_VOTER;
}

static void tell_survivors(const struct recovery *recovery)
{
    printf("%-16s  %8s  %12s  %12s  %12s  %s\n", "member", "term", "last entry", "in the store",
           "revision", "data directory");
    for (size_t i = 0; i < recovery->count; i++) {
        const struct rescue_standing *s = &recovery->survivors[i].standing;
        printf("%-16" PRIx64 "  %8" PRIu64 "  %12" PRIu64 "  %12" PRIu64 "  %12" PRId64
               "  %s%s%s\n",
               s->store.identity.member_id, s->log.last_term, s->log.last_index,
               s->store.applied_index, s->store.revision, recovery->survivors[i].data_dir,
               votes(s) ? "" : "  (learner)", i == recovery->best ? "  (newest log)" : "");
    }
}

static bool is_here(const struct recovery *recovery, uint64_t id)
{
    for (size_t i = 0; i < recovery->count; i++) {
        if (recovery->survivors[i].standing.store.identity.member_id == id) {
            return true;
        }
    }
    return false;
}

/* What was acknowledged is with a majority of the voters: is one of them here in any case? Those
 * that are not here may have changed the members since, all but one together with a new one: with
 * half of them here (of 2, say, of which one was removed) no majority of the voters of then need be
 * here. */
static void tell_missing(const struct recovery *recovery)
{
    const struct log_standing *log = &recovery->survivors[recovery->best].standing.log;
    size_t voters = 0;
    size_t missing = 0;
    for (size_t i = 0; i < log->member_count; i++) {
        if (log->members[i].role == MEMBER_VOTER) {
            voters++;
        }
        if (log->members[i].role == MEMBER_VOTER && !is_here(recovery, log->members[i].id)) {
            missing++;
            printf("not here: member %" PRIx64 " at %s\n", log->members[i].id,
                   node_address_host(log->members[i].address));
        }
    }
    if (2 * missing < voters) {
        printf("Nothing that was acknowledged is lost: %zu of %zu voters are here.\n",
               voters - missing, voters);
    } else if (2 * missing == voters) {
        printf("Nothing that was acknowledged is lost, unless members were added or removed after "
               "term %" PRIu64 ", index %" PRIu64 ": %zu of %zu voters are here.\n",
               log->last_term, log->last_index, voters - missing, voters);
    } else {
        printf("Lost is what was acknowledged by the %zu of %zu voters that are not here, and had "
               "not reached this one: after term %" PRIu64 ", index %" PRIu64 ".\n",
               missing, voters, log->last_term, log->last_index);
    }
}

static void tell_lacks(const struct recovery *recovery)
{
    const struct survivor *best = &recovery->survivors[recovery->best];
    for (size_t i = 0; i < recovery->count; i++) {
        const struct survivor *other = &recovery->survivors[i];
        uint64_t lacks = rescue_lacks(&best->standing.log, &other->standing.log);
        if (i != recovery->best && lacks > 0) {
            printf("%" PRIu64
                   " entries that only %s has are dropped: they were never acknowledged.\n",
                   lacks, other->data_dir);
        }
    }
}

static void tell_next(const struct recovery *recovery, bool done)
{
    const struct survivor *best = &recovery->survivors[recovery->best];
    if (!done) {
        printf("\nNothing was changed. With --yes, %s becomes a cluster of one member; what the "
               "others have must never run again.\n",
               best->data_dir);
        return;
    }
    printf("\n%s is a cluster of one member now. Remove the data of all others, start it with the "
           "flags it had, and add members to it.\n",
           best->data_dir);
}

/* ---- the command ---- */

static enum err recover(struct recovery *recovery, const char *const *dirs, size_t count,
                        const char *wal_dirs, bool yes, struct why *why)
{
    TRY(command_loop_init(&recovery->loop, why));
    TRY(take_wal_dirs(recovery, wal_dirs, count, why));
    for (size_t i = 0; i < count; i++) {
        TRY(look_at(recovery, dirs[i], why));
    }
    TRY(check_together(recovery, why));
    choose(recovery);
    tell_survivors(recovery);
    tell_missing(recovery);
    tell_lacks(recovery);
    if (yes) {
        struct rescue_standing before;
        TRY(rescue_sole(&recovery->survivors[recovery->best].rescue, &before, why));
        rescue_standing_fini(&before);
    }
    tell_next(recovery, yes);
    return OK;
}

static int run(const struct backup_command *command, int argc, const char *const *argv)
{
    struct recover_options options = {.yes = false};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    if (!command_parse(command, argc, argv, &options, args, 1, COMMAND_ARGS_MAX, &count, &status)) {
        return status;
    }
    static struct recovery recovery;
    struct why why = {{0}};
    enum err err = recover(&recovery, args, count, options.wal_dirs, options.yes, &why);
    recovery_fini(&recovery);
    return err == OK ? EXIT_SUCCESS : command_fail(err, &why);
}

const struct backup_command command_recover = {
    .name = "recover",
    .args = "DIR...",
    .help = "when most members are lost: a cluster of one that is left",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run,
};
