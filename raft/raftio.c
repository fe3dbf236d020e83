/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftio.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/trace.h"
#include "raft/compact.h"

#define CATCH_UP_ROUNDS    100
#define CATCH_UP_ELECTIONS 10 /* how long a promotion may take, in election timeouts */
#define INSTALL_ELECTIONS  2  /* how long a snapshot may take before it is sent again */
#define SNAPSHOT_NOT_DUE   UINT_MAX
#define NO_ADDRESS         ""

/* A request of the core that is done, and is told so at the end of the turn: never inside the call
 * that made it. */
struct finished {
    struct raft_io_send *send;
    struct raft_io_snapshot_get *get;
};

struct raftio {
    struct raft_io io; /* first: the core's methods find us by it */
    struct raft core;
    struct raft_fsm fsm;
    struct guard guard;
    struct flow flow;
    struct confhist history;
    struct compact_limits limits;

    struct env *env;
    struct logger *log;
    struct raftlog *raftlog;
    struct transport *transport;
    const struct raftio_callbacks *callbacks;
    void *ctx;
    struct bytes bootstrap;
    struct raftlog_image *image; /* while opening */
    struct why *why;             /* while opening */

    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    struct env_timer ticker;
    uint32_t tick_ms;

    int depth; /* 1: inside the core */
    bool closing;
    struct finished *finished;
    size_t finished_count;
    size_t finished_cap;
    struct env_task finish;

    bool snapshot_due;
    uint64_t installing_index;
    char address[256]; /* our own, as the configuration says */
    struct raft_change change;
    struct raft_transfer transfer;
    const struct raft_server *seen_servers; /* the address was taken from these */
};

static struct raftio *io_of(struct raft_io *io)
{
    return CONTAINER_OF(io, struct raftio, io);
}

/* ---- memory: the core cannot go on without, so it does not have to try ---- */

static void *must(void *memory)
{
    if (memory == NULL) {
        fatal("raft: out of memory");
    }
    return memory;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return must(malloc(size > 0 ? size : 1));
}

static void heap_free(void *data, void *ptr)
{
    (void)data;
    free(ptr);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return must(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

static void *heap_realloc(void *data, void *ptr, size_t size)
{
    (void)data;
    return must(realloc(ptr, size > 0 ? size : 1));
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return must(aligned_alloc(alignment, size));
}

static void heap_aligned_free(void *data, size_t alignment, void *ptr)
{
    (void)data;
    (void)alignment;
    free(ptr);
}

static struct raft_heap heap = {
    .malloc = heap_malloc,
    .free = heap_free,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .aligned_free = heap_aligned_free,
};

/* ---- into the core and out again ---- */

static void enter(struct raftio *io)
{
    ASSERT(io->depth == 0);
    io->depth++;
}

static void deliver(struct raftio *io, struct raft_message *message)
{
    if (guard_before_recv(&io->guard, message)) {
        io->recv(&io->io, message);
    }
    guard_after_recv(&io->guard);
}

static void learn_address(struct raftio *io)
{
    if (io->core.configuration.servers == io->seen_servers) {
        return;
    }
    io->seen_servers = io->core.configuration.servers;
    const struct raft_server *self = core_server(&io->core, io->core.id);
    if (self != NULL && strlen(self->address) < sizeof io->address) {
        strcpy(io->address, self->address);
    }
}

static void leave(struct raftio *io)
{
    ASSERT(io->depth == 1);
    if (!io->closing) {
        guard_after(&io->guard);
        struct raft_message held;
        while (guard_take_held(&io->guard, &held)) {
            deliver(io, &held);
            guard_after(&io->guard);
        }
        learn_address(io);
    }
    flow_after(&io->flow);
    io->depth--;
    if (!io->closing) {
        io->callbacks->left(io->ctx);
    }
}

static void finish_later(struct raftio *io, struct finished one)
{
    if (io->finished_count == io->finished_cap) {
        io->finished_cap = io->finished_cap == 0 ? 64 : io->finished_cap * 2;
        io->finished = must(realloc(io->finished, io->finished_cap * sizeof *io->finished));
    }
    io->finished[io->finished_count++] = one;
    if (!io->closing) {
        env_defer(io->env, &io->finish);
    }
}

static struct raft_snapshot *newest_snapshot(struct raftio *io);

static void finish_all(struct raftio *io)
{
    enter(io);
    while (io->finished_count > 0) {
        struct finished *all = TAKE(io->finished);
        size_t count = io->finished_count;
        io->finished_count = 0;
        io->finished_cap = 0;
        for (size_t i = 0; i < count; i++) {
            if (all[i].send != NULL) {
                all[i].send->cb(all[i].send, 0);
            } else {
                struct raft_snapshot *snapshot = newest_snapshot(io);
                int status = snapshot == NULL ? RAFT_NOTFOUND : 0;
                all[i].get->cb(all[i].get, snapshot, status);
            }
        }
        free(all);
    }
    leave(io);
}

static void on_finish(struct env_task *task)
{
    finish_all(CONTAINER_OF(task, struct raftio, finish));
}

static void consider_snapshot(struct raftio *io)
{
    if (!io->snapshot_due && io->core.snapshot.pending.term == 0) {
        io->snapshot_due =
            compact_due(&io->core, &io->limits, io->callbacks->durable_index(io->ctx),
                        io->raftlog->ops->size_bytes(io->raftlog));
        raft_set_snapshot_threshold(&io->core, io->snapshot_due ? 1 : SNAPSHOT_NOT_DUE);
    }
}

static void on_tick(struct env_timer *timer)
{
    struct raftio *io = CONTAINER_OF(timer, struct raftio, ticker);
    env_timer_start(io->env, &io->ticker, io->tick_ms);
    consider_snapshot(io);
    enter(io);
    guard_before_tick(&io->guard);
    io->tick(&io->io);
    flow_tick(&io->flow);
    leave(io);
    io->callbacks->ticked(io->ctx);
}

/* ---- struct raft_io: time, term and vote ---- */

static int method_init(struct raft_io *base, raft_id id, const char *address)
{
    (void)base;
    (void)id;
    (void)address;
    return 0;
}

static int method_start(struct raft_io *base, unsigned msecs, raft_io_tick_cb tick,
                        raft_io_recv_cb recv)
{
    struct raftio *io = io_of(base);
    io->tick = tick;
    io->recv = recv;
    io->tick_ms = msecs;
    guard_before_self_election(&io->guard);
    env_timer_start(io->env, &io->ticker, io->guard.role_lent ? 0 : msecs);
    return 0;
}

static void method_close(struct raft_io *base, raft_io_close_cb cb)
{
    io_of(base)->closed = cb;
}

static raft_time method_time(struct raft_io *base)
{
    return env_now_ms(io_of(base)->env);
}

static int method_random(struct raft_io *base, int min, int max)
{
    uint64_t range = (uint64_t)(max > min ? max - min : 1);
    return min + (int)(env_random_u64(io_of(base)->env) % range);
}

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

/* ---- the log ---- */

struct append {
    struct raftlog_request request;
    struct raftio *io;
    struct raft_io_append *core; /* NULL: the first configuration */
    struct log_entry entries[];
};

static void on_appended(struct raftlog_request *request)
{
    struct append *append = CONTAINER_OF(request, struct append, request);
    struct raftio *io = append->io;
    if (append->core != NULL) {
        enter(io);
        io->guard.appends--;
        append->core->cb(append->core, 0);
        leave(io);
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
    struct append *append = must(malloc(sizeof *append + count * sizeof append->entries[0]));
    append->io = io;
    append->core = req;
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
    io->guard.appends++;
    TRACE(io->env, "raft: append", first, count);
    submit(append, first, count);
    return 0;
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
    enter(io);
    put->core->cb(put->core, 0);
    leave(io);
    free(put);
}

/* Trailing 0 is a snapshot that was received and replaces the log; our own leave at least one. */
static int method_snapshot_put(struct raft_io *base, unsigned trailing,
                               struct raft_io_snapshot_put *req,
                               const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raftio *io = io_of(base);
    struct put *put = must(calloc(1, sizeof *put));
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

static struct raft_snapshot *newest_snapshot(struct raftio *io)
{
    const struct log_snapshot *stored = io->raftlog->ops->snapshot(io->raftlog);
    return stored == NULL || stored->index == 0 ? NULL : snapshot_from(stored);
}

static int method_snapshot_get(struct raft_io *base, struct raft_io_snapshot_get *req,
                               raft_io_snapshot_get_cb cb)
{
    req->cb = cb;
    finish_later(io_of(base), (struct finished){.get = req});
    return 0;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct raftio *io = fsm->data;
    uint64_t index = io->core.last_applied + 1;
    *result = NULL;
    io->callbacks->applied(io->ctx, index, core_term_of(&io->core, index), true,
                           bytes_of(buf->base, buf->len));
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
    uint64_t durable = io->callbacks->durable_index(io->ctx);
    uint64_t index = durable < r->last_applied + 1 ? durable : r->last_applied;
    if (!io->snapshot_due || index <= r->log.snapshot.last_index || core_term_of(r, index) == 0) {
        return RAFT_BUSY;
    }
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
    raft_set_snapshot_trailing(r, compact_trailing(r, &io->limits, index));
    raft_set_snapshot_threshold(r, SNAPSHOT_NOT_DUE);
    io->snapshot_due = false;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raftio *io = fsm->data;
    uint64_t index = io->image != NULL ? io->image->snapshot.index : io->installing_index;
    struct why why = {0};
    enum err err = io->callbacks->restore(io->ctx, index, bytes_of(buf->base, buf->len), &why);
    if (err != OK && io->image == NULL) {
        fatal("raft: the snapshot at index %llu, received from the leader, cannot be restored: "
              "%s: %s",
              (unsigned long long)index, err_text(err), why.text);
    }
    if (err != OK) {
        why_set(io->why, "%s: %s", err_text(err), why.text);
        return RAFT_INVALID;
    }
    raft_free(buf->base);
    return 0;
}

/* ---- what was on disk ---- */

static bool image_is_sane(const struct raftlog_image *image, struct why *why)
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
    struct append *append = must(calloc(1, sizeof *append + sizeof append->entries[0]));
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
        if (*snapshot == NULL) {
            why_set(io->why, "log: the snapshot's configuration is damaged");
            return RAFT_CORRUPT;
        }
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

/* ---- messages ---- */

static bool send_frame(struct raftio *io, uint64_t peer, enum transport_lane lane,
                       const struct raft_message *message, uint64_t received)
{
    struct blob *frame = must(frame_encode(message, received, io->address));
    bool sent = io->transport->ops->send(io->transport, peer, lane, FRAME_RAFT, frame);
    blob_unref(frame);
    return sent;
}

static void warn_fallen_behind(struct raftio *io, const struct raft_message *message)
{
    LOG_WARN(io->log, "a follower needs entries that the log does not hold any more",
             LOG_HEX("member", message->server_id),
             LOG_U64("snapshot-index", message->install_snapshot.last_index),
             LOG_U64("first-index", io->core.log.offset + 1));
}

/* Which lane. Timeout-now goes behind the entries that it presumes. */
static int send_message(struct raftio *io, const struct raft_message *message)
{
    uint64_t peer = message->server_id;
    struct raft_progress *progress;
    struct raft_message fixed;
    uint64_t received = 0;
    bool sent;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return flow_send_append(&io->flow, peer, &message->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        fixed = *message;
        guard_fix_result(&io->guard, &fixed.append_entries_result, &received);
        sent = send_frame(io, peer, LANE_URGENT, &fixed, received);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        progress = core_progress(&io->core, peer);
        if (progress != NULL) {
            progress->snapshot_index = message->install_snapshot.last_index;
        }
        warn_fallen_behind(io, message);
        sent = send_frame(io, peer, LANE_BULK, message, 0);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        sent = send_frame(io, peer, LANE_BULK, message, 0);
        break;
    default:
        sent = send_frame(io, peer, LANE_URGENT, message, 0);
        break;
    }
    return sent || guard_on(&io->guard, GUARD_SEND_SUCCEEDS) ? 0 : RAFT_NOCONNECTION;
}

static int method_send(struct raft_io *base, struct raft_io_send *req,
                       const struct raft_message *message, raft_io_send_cb cb)
{
    struct raftio *io = io_of(base);
    int rv = message->server_id == 0 ? 0 : send_message(io, message);
    if (rv == 0 && cb != NULL) {
        req->cb = cb;
        finish_later(io, (struct finished){.send = req});
    }
    return rv;
}

enum err raftio_on_frame(struct raftio *io, uint64_t peer, struct bytes payload, char *address,
                         size_t address_cap)
{
    struct frame frame;
    TRY(frame_decode(payload, &frame));
    ASSERT(address_cap >= sizeof frame.address);
    memcpy(address, frame.address, strlen(frame.address) + 1);
    frame.message.server_id = peer;
    frame.message.server_address = NO_ADDRESS;
    enter(io);
    if (frame.message.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        flow_before_answer(&io->flow, peer, &frame.message.append_entries_result, frame.received);
    }
    deliver(io, &frame.message);
    leave(io);
    return OK;
}

void raftio_on_link(struct raftio *io, uint64_t peer, bool up)
{
    (void)up;
    enter(io);
    flow_on_link(&io->flow, peer);
    leave(io);
}

/* ---- requests ---- */

static enum err err_of(int rv)
{
    switch (rv) {
    case 0:
        return OK;
    case RAFT_NOTLEADER:
        return ERR_NOT_LEADER;
    case RAFT_LEADERSHIPLOST:
        return ERR_LEADER_CHANGED;
    case RAFT_CANTCHANGE:
        return ERR_TOO_MANY_REQUESTS;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return ERR_NOT_FOUND;
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
        return ERR_EXISTS;
    case RAFT_NOCONNECTION:
        return ERR_TIMEOUT;
    default:
        return ERR_INVALID;
    }
}

static void on_apply_done(struct raft_apply *req, int status, void *result)
{
    (void)status; /* the node sees it by what is applied, and by who leads */
    (void)result;
    free(req);
}

enum err raftio_propose(struct raftio *io, struct bytes entry, uint64_t *index)
{
    ASSERT(entry.len <= ENTRY_BYTES_MAX);
    struct raft_buffer buffer = {.base = raft_malloc(entry.len), .len = entry.len};
    if (entry.len > 0) {
        memcpy(buffer.base, entry.data, entry.len);
    }
    struct raft_apply *req = must(malloc(sizeof *req));
    enter(io);
    int rv = raft_apply(&io->core, req, &buffer, 1, on_apply_done);
    if (rv == 0) {
        *index = req->index;
    } else {
        raft_free(buffer.base);
        free(req);
    }
    leave(io);
    return err_of(rv);
}

static void on_changed(struct raft_change *req, int status)
{
    struct raftio *io = CONTAINER_OF(req, struct raftio, change);
    io->callbacks->changed(io->ctx, err_of(status));
}

enum err raftio_change(struct raftio *io, enum raftio_change change, uint64_t id,
                       const char *address)
{
    if (io->core.state != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (guard_on(&io->guard, GUARD_CHANGE_AFTER_BARRIER) && !guard_leads(&io->guard)) {
        return ERR_TOO_MANY_REQUESTS;
    }
    int rv = RAFT_INVALID;
    enter(io);
    switch (change) {
    case RAFTIO_ADD:
        rv = raft_add(&io->core, &io->change, id, address, on_changed);
        break;
    case RAFTIO_SET_LEARNER:
        rv = raft_assign(&io->core, &io->change, id, RAFT_STANDBY, on_changed);
        break;
    case RAFTIO_SET_VOTER:
        rv = raft_assign(&io->core, &io->change, id, RAFT_VOTER, on_changed);
        break;
    case RAFTIO_REMOVE:
        rv = raft_remove(&io->core, &io->change, id, on_changed);
        break;
    }
    leave(io);
    return err_of(rv);
}

static void on_transferred(struct raft_transfer *req)
{
    struct raftio *io = CONTAINER_OF(req, struct raftio, transfer);
    io->callbacks->transferred(io->ctx);
}

enum err raftio_transfer(struct raftio *io, uint64_t id)
{
    enter(io);
    int rv = raft_transfer(&io->core, &io->transfer, id, on_transferred);
    leave(io);
    return err_of(rv);
}

const struct raft *raftio_core(const struct raftio *io)
{
    return &io->core;
}

bool raftio_leads(const struct raftio *io)
{
    return guard_leads(&io->guard);
}

bool raftio_inside(const struct raftio *io)
{
    return io->depth > 0;
}

/* ---- life ---- */

static void set_methods(struct raftio *io)
{
    io->io = (struct raft_io){
        .version = 1,
        .init = method_init,
        .close = method_close,
        .load = method_load,
        .start = method_start,
        .bootstrap = method_bootstrap,
        .recover = method_recover,
        .set_term = method_set_term,
        .set_vote = method_set_vote,
        .send = method_send,
        .append = method_append,
        .truncate = method_truncate,
        .snapshot_put = method_snapshot_put,
        .snapshot_get = method_snapshot_get,
        .time = method_time,
        .random = method_random,
    };
    io->fsm = (struct raft_fsm){.version = 1,
                                .data = io,
                                .apply = fsm_apply,
                                .snapshot = fsm_snapshot,
                                .restore = fsm_restore};
}

static enum err start_core(struct raftio *io, const struct raftio_config *config)
{
    struct raft *r = &io->core;
    int rv = raft_init(r, &io->io, &io->fsm, config->id, NO_ADDRESS);
    if (rv != 0) {
        why_set(io->why, "start the Raft core: %s", raft_strerror(rv));
        return ERR_INVALID;
    }
    raft_set_election_timeout(r, config->election_ms);
    raft_set_heartbeat_timeout(r, config->heartbeat_ms);
    raft_set_install_snapshot_timeout(r, INSTALL_ELECTIONS * config->election_ms);
    raft_set_pre_vote(r, true);
    raft_set_snapshot_threshold(r, SNAPSHOT_NOT_DUE);
    raft_set_max_catch_up_rounds(r, CATCH_UP_ROUNDS);
    raft_set_max_catch_up_round_duration(r, CATCH_UP_ELECTIONS * config->election_ms);
    rv = raft_start(r);
    if (rv != 0) {
        why_prefix(io->why, "start the Raft core: ");
        return ERR_CORRUPT;
    }
    guard_started(&io->guard);
    learn_address(io);
    return OK;
}

static enum err load_and_start(struct raftio *io, const struct raftio_config *config,
                               struct why *why)
{
    struct raftlog_image image = {0};
    TRY(io->raftlog->ops->load(io->raftlog, &image, why));
    io->image = &image;
    io->why = why;
    enum err err = image_is_sane(&image, why) ? start_core(io, config) : ERR_CORRUPT;
    io->image = NULL;
    io->why = NULL;
    raftlog_image_fini(&image);
    return err;
}

enum err raftio_open(const struct raftio_config *config, const struct raftio_callbacks *callbacks,
                     void *ctx, struct raftio **ret, struct why *why)
{
    raft_heap_set(&heap);
    struct raftio *io = must(calloc(1, sizeof *io));
    io->env = config->env;
    io->log = config->log;
    io->raftlog = config->raftlog;
    io->transport = config->transport;
    io->callbacks = callbacks;
    io->ctx = ctx;
    io->bootstrap = config->bootstrap;
    io->limits = (struct compact_limits){.snapshot_entries = config->snapshot_entries,
                                         .snapshot_bytes = config->snapshot_bytes,
                                         .trailing_entries = config->trailing_entries,
                                         .trailing_bytes = config->trailing_bytes};
    strncpy(io->address, config->address, sizeof io->address - 1);
    env_timer_init(&io->ticker, on_tick);
    env_task_init(&io->finish, PHASE_RAFT, on_finish);
    set_methods(io);
    guard_init(&io->guard, &io->core, io->env, io->log, &io->history, config->guard_off_mask);
    flow_init(&io->flow, &io->guard, io->transport, io->address);
    enum err err = load_and_start(io, config, why);
    if (err != OK) {
        raftio_close(io);
        return err;
    }
    *ret = io;
    return OK;
}

/* The core is told first: it fails what waits. Then the log finishes what it has, whose completions
 * find a core that only gives up its references. */
void raftio_close(struct raftio *io)
{
    if (io == NULL) {
        return;
    }
    io->closing = true;
    env_timer_stop(io->env, &io->ticker);
    env_task_cancel(&io->finish);
    if (io->recv != NULL) {
        enter(io);
        raft_close(&io->core, NULL);
        leave(io);
    }
    io->raftlog->ops->close(io->raftlog);
    if (io->closed != NULL) {
        finish_all(io);
        io->closed(&io->io);
    }
    flow_fini(&io->flow);
    confhist_fini(&io->history);
    free(io->finished);
    free(io);
}
