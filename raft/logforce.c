/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logforce.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "raft/node_state.h"
#include "raft/raftheap.h"
#include "raft/raftlog_files.h"

void log_standing_fini(struct log_standing *standing)
{
    free(standing->terms);
    *standing = (struct log_standing){0};
}

const struct log_member *log_standing_member(const struct log_standing *standing, uint64_t id)
{
    for (size_t i = 0; i < standing->member_count; i++) {
        if (standing->members[i].id == id) {
            return &standing->members[i];
        }
    }
    return NULL;
}

/* ---- looking ---- */

static enum err read_members(struct bytes encoded, struct log_standing *ret)
{
    struct raft_configuration configuration;
    if (!configuration_check(encoded)) {
        return ERR_CORRUPT;
    }
    TRY(configuration_decode(encoded, &configuration));
    ret->member_count = 0;
    for (unsigned i = 0; i < configuration.n && i < MEMBERS_MAX; i++) {
        const struct raft_server *server = &configuration.servers[i];
        size_t at = ret->member_count++;
        ret->members[at].id = server->id;
        ret->members[at].role = nodepeers_role_of(server->role);
        (void)snprintf(ret->members[at].address, sizeof ret->members[at].address, "%s",
                       server->address);
    }
    raft_configuration_close(&configuration);
    return OK;
}

/* The newest configuration of IMAGE. */
static struct bytes newest_configuration(const struct raftlog_image *image)
{
    for (size_t i = image->entry_count; i > 0; i--) {
        if (image->entries[i - 1].kind == LOG_ENTRY_CHANGE) {
            return image->entries[i - 1].data;
        }
    }
    return image->snapshot.configuration;
}

static enum err stand(const struct raftlog_image *image, const char *dir, struct log_standing *ret,
                      struct why *why)
{
    if (image->snapshot.index == 0 && image->entry_count == 0) {
        why_set(why, "'%s' has an empty log", dir);
        return ERR_NOT_FOUND;
    }
    ret->term = image->term;
    ret->snapshot_index = image->snapshot.index;
    ret->first_index = image->first_index;
    ret->last_index = image->first_index + image->entry_count - 1;
    ret->last_term = image->entry_count == 0 ? image->snapshot.term
                                             : image->entries[image->entry_count - 1].term;
    ret->terms = calloc(image->entry_count + 1, sizeof *ret->terms);
    if (ret->terms == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < image->entry_count; i++) {
        ret->terms[i] = image->entries[i].term;
    }
    enum err err = read_members(newest_configuration(image), ret);
    if (err == ERR_CORRUPT) {
        why_set(why, "'%s': the newest configuration in the log is damaged", dir);
    }
    return err;
}

static enum err open_log(const struct logforce *force, struct raftlog **ret,
                         struct log_standing *standing, struct why *why)
{
    char metadata[FS_PATH_MAX];
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_join(force->dir, "metadata", metadata, sizeof metadata, why));
    TRY(fs_open(force->fs, metadata, FS_READ, &file, why)); /* else opening makes a log */
    raftheap_set();
    struct raftlog_files_config config = {
        .env = force->env,
        .fs = force->fs,
        .log = force->log,
        .dir = force->dir,
        .cluster_id = force->cluster_id,
        .member_id = force->member_id,
        .segment_bytes = force->segment_bytes,
    };
    struct raftlog *log;
    TRY(raftlog_files_open(&config, &log, why));
    struct raftlog_image image = {0};
    enum err err = log->ops->load(log, &image, why);
    if (err == OK) {
        err = stand(&image, force->dir, standing, why);
        raftlog_image_fini(&image);
    }
    if (err != OK) {
        log->ops->close(log);
        return err;
    }
    *ret = log;
    return OK;
}

enum err logforce_look(const struct logforce *force, struct log_standing *ret, struct why *why)
{
    struct raftlog *log;
    *ret = (struct log_standing){0};
    enum err err = open_log(force, &log, ret, why);
    if (err != OK) {
        log_standing_fini(ret);
        return err;
    }
    log->ops->close(log);
    return OK;
}

/* ---- forcing ---- */

struct appending {
    struct raftlog_request request;
    bool done;
};

static void on_appended(struct raftlog_request *request)
{
    CONTAINER_OF(request, struct appending, request)->done = true;
}

/* The configuration of this member alone; its address stays, and a learner votes from now on. */
static enum err encode_sole(const struct logforce *force, const struct log_standing *standing,
                            struct raft_buffer *ret, struct why *why)
{
    const struct log_member *found = log_standing_member(standing, force->member_id);
    if (found == NULL) {
        why_set(why, "'%s': this member is not in the configuration in its log", force->dir);
        return ERR_INVALID;
    }
    struct node_member self = {.id = found->id, .address = found->address, .role = MEMBER_VOTER};
    struct node_config node = {.bootstrap = &self, .bootstrap_count = 1};
    return nodepeers_encode_first(&node, ret, why);
}

/* A term of its own, above all that the others may have begun without it. With the configuration
 * alone the member would count as forced, and the command never come: so both or none. */
static void append_sole(struct raftlog *log, const struct log_standing *standing,
                        const struct raft_buffer *configuration, struct bytes command,
                        struct appending *appending)
{
    uint64_t term = standing->term + 1;
    ASSERT(configuration->len + command.len + 2 * 32u <= RAFTLOG_TOGETHER_BYTES);
    const struct log_entry entries[] = {
        {.term = term,
         .kind = LOG_ENTRY_CHANGE,
         .data = bytes_of(configuration->base, configuration->len)},
        {.term = term, .kind = LOG_ENTRY_COMMAND, .data = command},
    };
    log->ops->set_term(log, term);
    log->ops->append(log, &appending->request, standing->last_index + 1, entries,
                     ARRAY_LEN(entries), on_appended);
    log->ops->close(log);
}

enum err logforce_sole(const struct logforce *force, struct bytes command, struct log_standing *ret,
                       struct why *why)
{
    struct raftlog *log;
    *ret = (struct log_standing){0};
    enum err err = open_log(force, &log, ret, why);
    if (err != OK) {
        log_standing_fini(ret);
        return err;
    }
    struct raft_buffer configuration = {0};
    struct appending appending = {.done = false};
    err = encode_sole(force, ret, &configuration, why);
    if (err != OK) {
        log->ops->close(log);
        log_standing_fini(ret);
    } else if (ret->member_count == 1) {
        log->ops->close(log);
    } else {
        append_sole(log, ret, &configuration, command, &appending);
        ASSERT(appending.done);
    }
    raft_free(configuration.base);
    return err;
}
