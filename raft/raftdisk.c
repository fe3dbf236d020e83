/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "base/trace.h"
#include "raft/raftheap.h"
#include "raft/raftio_state.h"

/* struct raft_io towards the log: what is loaded, term and vote, entries, snapshots; and the FSM's
 * side of snapshots. */

/* ---- term and vote ---- */

static int method_set_term(struct raft_io *base, raft_term term)
{
    struct raftio *io = io_of(base);
    TRACE(io->env, "raft: term", io->core.id, term);
    io->raftlog->ops->set_term(io->raftlog, term);
    return 0;
}

static int method_set_vote(struct raft_io *base, raft_id id)
{
    struct raftio *io = io_of(base);
    TRACE(io->env, "raft: vote", io->core.id, id);
    io->raftlog->ops->set_vote(io->raftlog, id);
    return 0;
}

/* ---- the log ---- */

struct append {
    struct raftlog_request request;
    struct raftio *io;
    struct raft_io_append *core; /* NULL: the first configuration */
    uint64_t last_index;
    struct log_entry entries[];
};

static void on_appended(struct raftlog_request *request)
{
    struct append *append = CONTAINER_OF(request, struct append, request);
    struct raftio *io = append->io;
    if (append->core != NULL) {
        raftio_enter(io);
        io->guard.appends--;
        io->append_moved_ms = env_now_ms(io->env);
        guard_before_stored(&io->guard, append->last_index);
        append->core->cb(append->core, 0);
        raftio_leave(io);
    }
    free(append);
}

static void submit(struct append *append, uint64_t index, size_t count)
{
    struct raftlog *raftlog = append->io->raftlog;
    raftlog->ops->append(raftlog, &append->request, index, append->entries, count, on_appended);
}

/* The core has put the entries into its log in memory before it calls: they are its last. */
static int method_append(struct raft_io *base, struct raft_io_append *req,
                         const struct raft_entry entries[], unsigned count, raft_io_append_cb cb)
{
    struct raftio *io = io_of(base);
    uint64_t first = core_last_index(&io->core) - count + 1;
    struct append *append =
        raftheap_must(malloc(sizeof *append + count * sizeof append->entries[0]));
    append->io = io;
    append->core = req;
    append->last_index = first + count - 1;
    req->cb = cb;
    for (unsigned i = 0; i < count; i++) {
        struct bytes data = bytes_of(entries[i].buf.base, entries[i].buf.len);
        append->entries[i] =
            (struct log_entry){.term = entries[i].term, .kind = entries[i].type, .data = data};
        if (entries[i].type == RAFT_CHANGE) {
            configuration_clean(entries[i].buf.base, entries[i].buf.len);
            confhist_add(&io->history, first + i, data);
        }
    }
    if (io->guard.appends++ == 0) {
        io->append_moved_ms = env_now_ms(io->env);
    }
    TRACE(io->env, "raft: append", first, count);
    submit(append, first, count);
    return 0;
}

uint64_t raftio_still_ms(const struct raftio *io)
{
    return io->guard.appends == 0 ? 0 : env_now_ms(io->env) - io->append_moved_ms;
}

static int method_truncate(struct raft_io *base, raft_index index)
{
    struct raftio *io = io_of(base);
    TRACE(io->env, "raft: truncate", io->core.id, index);
    confhist_truncate(&io->history, index);
    io->raftlog->ops->truncate(io->raftlog, index);
    return 0;
}

/* ---- snapshots ---- */

struct put {
    struct raftlog_request request;
    struct raftio *io;
    struct raft_io_snapshot_put *core;
};

static void on_put(struct raftlog_request *request)
{
    struct put *put = CONTAINER_OF(request, struct put, request);
    struct raftio *io = put->io;
    raftio_enter(io);
    raftio_snapshot_work(io);
    put->core->cb(put->core, 0);
    raftio_leave(io);
    free(put);
}

/* Trailing 0 is a snapshot that was received and replaces the log; our own leave at least one. */
static int method_snapshot_put(struct raft_io *base, unsigned trailing,
                               struct raft_io_snapshot_put *req,
                               const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raftio *io = io_of(base);
    struct put *put = raftheap_must(calloc(1, sizeof *put));
    put->io = io;
    put->core = req;
    req->cb = cb;
    struct raft_buffer conf = configuration_encode(&snapshot->configuration);
    ASSERT(snapshot->n_bufs == 1);
    struct log_snapshot stored = {
        .index = snapshot->index,
        .term = snapshot->term,
        .configuration_index = snapshot->configuration_index,
        .configuration = bytes_of(conf.base, conf.len),
        .data = bytes_of(snapshot->bufs[0].base, snapshot->bufs[0].len),
    };
    TRACE(io->env, "raft: snapshot", stored.index, trailing);
    if (trailing == 0) {
        io->installing_index = stored.index;
        guard_before_install(&io->guard);
        confhist_reset(&io->history, stored.configuration_index, stored.configuration);
    } else {
        confhist_compact(&io->history, stored.index);
    }
    io->raftlog->ops->snapshot_put(io->raftlog, &put->request, &stored, trailing, on_put);
    raft_free(conf.base);
    return 0;
}

static struct raft_snapshot *snapshot_from(const struct log_snapshot *stored)
{
    struct raft_snapshot *snapshot = raft_malloc(sizeof *snapshot);
    snapshot->index = stored->index;
    snapshot->term = stored->term;
    snapshot->configuration_index = stored->configuration_index;
    if (configuration_decode(stored->configuration, &snapshot->configuration) != OK) {
        raft_free(snapshot);
        return NULL;
    }
    snapshot->bufs = raft_malloc(sizeof *snapshot->bufs);
    snapshot->n_bufs = 1;
    snapshot->bufs[0].len = stored->data.len;
    snapshot->bufs[0].base = raft_malloc(stored->data.len);
    if (stored->data.len > 0) {
        memcpy(snapshot->bufs[0].base, stored->data.data, stored->data.len);
    }
    return snapshot;
}

struct raft_snapshot *raftdisk_newest_snapshot(struct raftio *io)
{
    const struct log_snapshot *stored = io->raftlog->ops->snapshot(io->raftlog);
    return stored == NULL || stored->index == 0 ? NULL : snapshot_from(stored);
}

static int method_snapshot_get(struct raft_io *base, struct raft_io_snapshot_get *req,
                               raft_io_snapshot_get_cb cb)
{
    req->cb = cb;
    raftio_finish_later(io_of(base), (struct finished){.get = req});
    return 0;
}

/* The configuration of the snapshot's index in place of the newest. */
static void set_snapshot_configuration(struct raftio *io, struct raft_snapshot *snapshot)
{
    const struct confhist_item *item = confhist_at(&io->history, snapshot->index);
    if (item == NULL || !guard_on(&io->guard, GUARD_SNAPSHOT_CONFIG)) {
        return;
    }
    raft_configuration_close(&snapshot->configuration);
    enum err err = configuration_decode(blob_bytes(item->encoded), &snapshot->configuration);
    ASSERT(err == OK);
    snapshot->configuration_index = item->index;
}

/* The core asks for a snapshot of what it has applied, and has filled in all but the data: we make
 * it one of what is durable. */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *count)
{
    struct raftio *io = fsm->data;
    struct raft *r = &io->core;
    uint64_t durable = PLANTED(LOG_CUT_EARLY) ? UINT64_MAX : io->callbacks->durable_index(io->ctx);
    uint64_t index = durable < r->last_applied + 1 ? durable : r->last_applied;
    if (!io->snapshot_due || index <= r->log.snapshot.last_index || core_term_of(r, index) == 0) {
        return RAFT_BUSY;
    }
    raftio_snapshot_work(io);
    struct buf manifest = {0};
    io->callbacks->manifest(io->ctx, index, &manifest);
    if (!buf_ok(&manifest)) {
        fatal("raft: out of memory");
    }
    r->snapshot.pending.index = index;
    r->snapshot.pending.term = core_term_of(r, index);
    set_snapshot_configuration(io, &r->snapshot.pending);
    *bufs = raft_malloc(sizeof **bufs);
    *count = 1;
    (*bufs)[0].len = manifest.len;
    (*bufs)[0].base = raft_malloc(manifest.len);
    if (manifest.len > 0) {
        memcpy((*bufs)[0].base, manifest.data, manifest.len);
    }
    buf_fini(&manifest);
    uint64_t replicated_index =
        r->state == RAFT_LEADER ? flow_replicated_index(&io->flow) : io->replicated_index;
    struct compact_limits limits = raftinstall_limits(io);
    raft_set_snapshot_trailing(r, compact_trailing(r, &limits, index, replicated_index,
                                                   io->raftlog->ops->size_bytes(io->raftlog)));
    raft_set_snapshot_threshold(r, SNAPSHOT_NOT_DUE);
    io->snapshot_due = false;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raftio *io = fsm->data;
    if (io->image == NULL) { /* at start it was done before (raftio.c) */
        struct why why = {0};
        enum err err = io->callbacks->restore(io->ctx, io->installing_index,
                                              bytes_of(buf->base, buf->len), &why);
        if (err != OK) {
            fatal("raft: the snapshot at index %llu, received from the leader, cannot be restored: "
                  "%s: %s",
                  (unsigned long long)io->installing_index, err_text(err), why.text);
        }
    }
    raft_free(buf->base);
    return 0;
}

/* ---- what was on disk ---- */

/* The first configuration is an entry of the log, put there by method_load. */
static int method_bootstrap(struct raft_io *base, const struct raft_configuration *conf)
{
    (void)base;
    (void)conf;
    return RAFT_CANTBOOTSTRAP;
}

static int method_recover(struct raft_io *base, const struct raft_configuration *conf)
{
    (void)base;
    (void)conf;
    return RAFT_CANTBOOTSTRAP;
}

bool raftdisk_image_is_sane(const struct raftlog_image *image, struct why *why)
{
    uint64_t snapshot = image->snapshot.index;
    uint64_t last = image->first_index + image->entry_count - 1;
    if (image->first_index == 0 || image->first_index > snapshot + 1 ||
        (image->entry_count > 0 && last < snapshot)) {
        why_set(why, "log: entries %llu to %llu do not join the snapshot at %llu",
                (unsigned long long)image->first_index, (unsigned long long)last,
                (unsigned long long)snapshot);
        return false;
    }
    /* A term is stored before anything of it is. */
    uint64_t last_term =
        image->entry_count > 0 ? image->entries[image->entry_count - 1].term : image->snapshot.term;
    if (last_term > image->term) {
        why_set(why,
                "log: it ends with term %llu, but term and vote are of term %llu: they were put "
                "back to an older state, and what was promised since is not known",
                (unsigned long long)last_term, (unsigned long long)image->term);
        return false;
    }
    if (snapshot != 0 && !configuration_check(image->snapshot.configuration)) {
        why_set(why, "log: the configuration of the snapshot at %llu is damaged",
                (unsigned long long)snapshot);
        return false;
    }
    if (snapshot == 0 && image->entry_count > 0 && image->entries[0].kind != LOG_ENTRY_CHANGE) {
        why_set(why, "log: entry 1 is not a configuration");
        return false;
    }
    for (size_t i = 0; i < image->entry_count; i++) {
        if (image->entries[i].kind == LOG_ENTRY_CHANGE &&
            !configuration_check(image->entries[i].data)) {
            why_set(why, "log: entry %llu is not a configuration",
                    (unsigned long long)(image->first_index + i));
            return false;
        }
    }
    return true;
}

static struct raft_entry *load_entries(struct raftio *io, const struct log_entry *entries,
                                       size_t count, uint64_t first_index)
{
    struct raft_entry *loaded = raft_malloc(count * sizeof *loaded);
    for (size_t i = 0; i < count; i++) {
        struct bytes data = entries[i].data;
        loaded[i] = (struct raft_entry){.term = entries[i].term, .type = entries[i].kind};
        loaded[i].buf.base = raft_malloc(data.len);
        loaded[i].buf.len = data.len;
        if (data.len > 0) {
            memcpy(loaded[i].buf.base, data.data, data.len);
        }
        if (entries[i].kind == LOG_ENTRY_CHANGE &&
            first_index + i > confhist_last_index(&io->history)) {
            confhist_add(&io->history, first_index + i, data);
        }
    }
    return loaded;
}

/* A new log begins with the first configuration. Every member of a new cluster is given the same,
 * so it may count as stored before it is: a member that loses it begins with it again. */
static const struct log_entry *put_first_configuration(struct raftio *io)
{
    struct append *append = raftheap_must(calloc(1, sizeof *append + sizeof append->entries[0]));
    append->io = io;
    append->entries[0] =
        (struct log_entry){.term = 1, .kind = LOG_ENTRY_CHANGE, .data = io->bootstrap};
    if (io->image->term == 0) {
        io->raftlog->ops->set_term(io->raftlog, 1);
        io->image->term = 1;
    }
    submit(append, 1, 1);
    return append->entries;
}

static int method_load(struct raft_io *base, raft_term *term, raft_id *vote,
                       struct raft_snapshot **snapshot, raft_index *start_index,
                       struct raft_entry *entries[], size_t *count)
{
    struct raftio *io = io_of(base);
    const struct raftlog_image *image = io->image;
    const struct log_entry *stored = image->entries;
    *count = image->entry_count;
    *snapshot = NULL;
    if (image->snapshot.index != 0) {
        *snapshot = snapshot_from(&image->snapshot);
        ASSERT(*snapshot != NULL); /* it was checked */
        confhist_reset(&io->history, image->snapshot.configuration_index,
                       image->snapshot.configuration);
    } else if (image->entry_count == 0 && io->bootstrap.len > 0) {
        stored = put_first_configuration(io);
        *count = 1;
    }
    *term = image->term;
    *vote = image->vote;
    *start_index = image->first_index;
    *entries = load_entries(io, stored, *count, image->first_index);
    return 0;
}

void raftdisk_set_methods(struct raftio *io)
{
    io->io.load = method_load;
    io->io.bootstrap = method_bootstrap;
    io->io.recover = method_recover;
    io->io.set_term = method_set_term;
    io->io.set_vote = method_set_vote;
    io->io.append = method_append;
    io->io.truncate = method_truncate;
    io->io.snapshot_put = method_snapshot_put;
    io->io.snapshot_get = method_snapshot_get;
    io->fsm.snapshot = fsm_snapshot;
    io->fsm.restore = fsm_restore;
}
