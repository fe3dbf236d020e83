/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logbegin.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "raft/node_state.h"
#include "raft/raftheap.h"
#include "raft/raftlog_files.h"

struct putting {
    struct raftlog_request request;
    bool done;
};

static void on_put(struct raftlog_request *request)
{
    CONTAINER_OF(request, struct putting, request)->done = true;
}

static enum err load_empty(struct raftlog *log, const char *dir, struct why *why)
{
    struct raftlog_image image = {0};
    TRY(log->ops->load(log, &image, why));
    bool empty = image.snapshot.index == 0 && image.entry_count == 0 && image.term == 0;
    raftlog_image_fini(&image);
    if (!empty) {
        why_set(why, "'%s' has a log already", dir);
        return ERR_EXISTS;
    }
    return OK;
}

/* The log is closed in any case. */
static enum err fill(struct raftlog *log, const struct logbegin *begin, struct bytes configuration,
                     struct why *why)
{
    struct putting putting = {.done = false};
    enum err err = load_empty(log, begin->dir, why);
    if (err == OK) {
        struct log_snapshot snapshot = {
            .index = begin->index,
            .term = begin->term,
            .configuration_index = begin->index,
            .configuration = configuration,
            .data = begin->manifest,
        };
        log->ops->set_term(log, begin->term);
        log->ops->snapshot_put(log, &putting.request, &snapshot, 0, on_put);
    }
    log->ops->close(log);
    ASSERT(err != OK || putting.done);
    return err;
}

enum err logbegin(const struct logbegin *begin, struct why *why)
{
    ASSERT(begin->index > 0 && begin->term > 0);
    raftheap_set();
    struct node_config node = {.bootstrap = begin->members, .bootstrap_count = begin->member_count};
    struct raft_buffer configuration = {0};
    TRY(nodepeers_encode_first(&node, &configuration, why));
    struct raftlog_files_config config = {
        .env = begin->env,
        .fs = begin->fs,
        .log = begin->log,
        .dir = begin->dir,
        .cluster_id = begin->cluster_id,
        .member_id = begin->member_id,
        .segment_bytes = begin->segment_bytes,
    };
    struct raftlog *log;
    enum err err = raftlog_files_open(&config, &log, why);
    if (err == OK) {
        err = fill(log, begin, bytes_of(configuration.base, configuration.len), why);
    }
    raft_free(configuration.base);
    return err;
}
