/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/identity.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "raft/peerask.h"
#include "raft/raftlog_files.h"
#include "server/joining.h"
#include "storage/dbrewrite.h"

#define JOIN_ANSWER_MS 3000
#define JOIN_ROUNDS    20 /* the member that is asked may not have heard yet that we were added */
#define JOIN_PAUSE_MS  250
#define NEW_ANSWER_MS  1000

/* ---- the others ---- */

/* All of them are asked at once; the first answer that settles it counts. */
struct asking {
    const struct settings *settings;
    struct env *env;
    uv_loop_t *loop;
    size_t waiting;
    bool (*on_members)(struct asking *asking, const struct joining_cluster *existing);
    bool is_settled;
    bool has_answer; /* there was one at least */
    struct identity found;
    struct why why; /* of the last failure */
    struct env_timer pause;
};

static void on_answer(void *ctx, enum err status, struct bytes answer, const char *why)
{
    struct asking *asking = ctx;
    asking->waiting--;
    struct joining_cluster existing;
    if (status == OK) {
        status = joining_decode(answer, &existing);
        why = err_text(status);
    }
    if (status != OK) {
        if (!asking->has_answer) {
            why_set(&asking->why, "%s", why);
        }
        return;
    }
    if (!asking->is_settled) {
        asking->has_answer = true;
        asking->is_settled = asking->on_members(asking, &existing);
    }
    joining_cluster_fini(&existing);
}

static void ask_all(struct asking *asking, uint64_t timeout_ms)
{
    const struct initial_cluster *cluster = &asking->settings->cluster;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct initial_member *member = &cluster->members[i];
        struct addr addr;
        if (member == asking->settings->self) {
            continue;
        }
        enum err err = addr_parse(bytes_of_str(member->address), &addr, &asking->why);
        if (err == OK) {
            err = peerask_start(asking->env, asking->loop, &addr, timeout_ms, on_answer, asking);
            asking->waiting += err == OK;
        }
    }
    while (asking->waiting > 0) {
        uv_run(asking->loop, UV_RUN_ONCE);
    }
}

static void on_pause(struct env_timer *timer)
{
    CONTAINER_OF(timer, struct asking, pause)->waiting = 0;
}

static void pause_between(struct asking *asking)
{
    asking->waiting = 1;
    env_timer_start(asking->env, &asking->pause, JOIN_PAUSE_MS);
    while (asking->waiting > 0) {
        uv_run(asking->loop, UV_RUN_ONCE);
    }
}

static bool find_self(struct asking *asking, const struct joining_cluster *existing)
{
    const struct settings *settings = asking->settings;
    asking->found.cluster_id = existing->cluster.cluster_id;
    return joining_find(&settings->cluster, settings->self, existing, &asking->found.member_id,
                        &asking->why) == OK;
}

static enum err join(struct asking *asking, struct identity *ret, struct why *why)
{
    asking->on_members = find_self;
    for (unsigned round = 0; round < JOIN_ROUNDS && !asking->is_settled; round++) {
        if (round > 0) {
            pause_between(asking);
        }
        why_set(&asking->why, "there is no other member in --initial-cluster");
        asking->has_answer = false;
        ask_all(asking, JOIN_ANSWER_MS);
        if (!asking->has_answer) {
            break;
        }
    }
    if (!asking->is_settled) {
        why_set(why,
                asking->has_answer ? "cannot join the cluster: %s"
                                   : "cannot fetch cluster info from peer urls: %s",
                asking->why.text);
        return ERR_INVALID;
    }
    *ret = asking->found;
    return OK;
}

static bool is_known_already(struct asking *asking, const struct joining_cluster *existing)
{
    return joining_has_started(existing, asking->settings->self->id);
}

static enum err found_cluster(struct asking *asking, struct identity *ret, struct why *why)
{
    const struct settings *settings = asking->settings;
    asking->on_members = is_known_already;
    ask_all(asking, NEW_ANSWER_MS);
    if (asking->is_settled) {
        why_set(why,
                "member %" PRIx64 " has already been bootstrapped, and its data is not in '%s': "
                "start it with its data, or remove it from the cluster and add it again",
                settings->self->id, settings->raft_dir);
        return ERR_INVALID;
    }
    *ret = (struct identity){.cluster_id = settings->cluster.cluster_id,
                             .member_id = settings->self->id,
                             .is_founder = true};
    return OK;
}

/* ---- the data ---- */

static enum err check_flags(const struct settings *settings, struct identity *ret, struct why *why)
{
    bool same_member = ret->member_id == settings->self->id;
    bool same_cluster = ret->cluster_id == settings->cluster.cluster_id;
    ret->is_founder = same_member && same_cluster && !settings->joins;
    if (same_member || settings->joins) {
        return OK;
    }
    why_set(why,
            "'%s' belongs to member %" PRIx64 " of cluster %" PRIx64 ", not to member %" PRIx64
            " of cluster %" PRIx64
            " that the flags tell of; data of a member that joined, or has moved, is used with "
            "--initial-cluster-state existing",
            settings->raft_dir, ret->member_id, ret->cluster_id, settings->self->id,
            settings->cluster.cluster_id);
    return ERR_FOREIGN;
}

/* Without its log a member must not begin anew: it would not know what it has promised. The log may
 * lie elsewhere (--wal-dir), on a disk that is not there today. A database that is not whole is
 * looked at when it is opened. */
static enum err check_database(const struct settings *settings, struct why *why)
{
    struct dbrewrite_state state;
    if (access(settings->store_path, F_OK) != 0 ||
        dbrewrite_read(settings->store_path, &state, NULL) != OK || state.applied_index == 0) {
        return OK;
    }
    why_set(why,
            "there is a database ('%s', up to index %" PRIu64 "), but no log in '%s': start the "
            "member with its log; if that is lost, with neither",
            settings->store_path, state.applied_index, settings->raft_dir);
    return ERR_CORRUPT;
}

/* Who puts this program in etcd's place, flags and all, would find an empty cluster, and take its
 * data for lost. */
static enum err check_etcd(const struct settings *settings, struct why *why)
{
    char path[PATH_MAX];
    TRY(fs_join(settings->member_dir, "snap/db", path, sizeof path, why));
    if (access(path, F_OK) != 0) {
        return OK;
    }
    why_set(why,
            "'%s' is etcd's, whose data this program does not read: give it a --data-dir of its "
            "own, and copy the keys",
            path);
    return ERR_FOREIGN;
}

/* Without a log of ours a member would begin empty: what is restored is not all there. */
static enum err check_restoring(const struct settings *settings, struct why *why)
{
    if (access(settings->restoring_path, F_OK) != 0) {
        return OK;
    }
    why_set(why,
            "a restore into this data directory is under way, or was not finished ('%s' says so): "
            "restore again, or remove that",
            settings->restoring_path);
    return ERR_EXISTS;
}

enum err identity_find(const struct settings *settings, struct env *env, uv_loop_t *loop,
                       struct identity *ret, struct why *why)
{
    if (access(settings->removed_path, F_OK) == 0) {
        why_set(why,
                "the member has been permanently removed from the cluster: its data directory "
                "must be removed before another member can use it ('%s' says so)",
                settings->removed_path);
        return ERR_REMOVED;
    }
    struct identity found = {0};
    enum err err = raftlog_files_identity(fs_real(), settings->raft_dir, &found.cluster_id,
                                          &found.member_id, why);
    if (err == OK) {
        TRY(check_flags(settings, &found, why));
        *ret = found;
        return OK;
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    TRY(check_etcd(settings, why));
    TRY(check_restoring(settings, why));
    TRY(check_database(settings, why));
    struct asking asking = {.settings = settings, .env = env, .loop = loop};
    env_timer_init(&asking.pause, on_pause);
    TRY(settings->joins ? join(&asking, ret, why) : found_cluster(&asking, ret, why));
    ret->is_new = true;
    return OK;
}

enum err identity_remember_removed(const struct settings *settings, struct why *why)
{
    static const char text[] = "This member has been permanently removed from its cluster.\n";
    return fs_replace_file(fs_real(), settings->member_dir, "removed", bytes_of_str(text), why);
}
