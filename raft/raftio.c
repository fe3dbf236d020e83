/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/trace.h"
#include "raft/raftheap.h"
#include "raft/raftio_state.h"

#define CATCH_UP_ROUNDS    100
#define CATCH_UP_ELECTIONS 10 /* how long a promotion may take, in election timeouts */
#define INSTALL_ELECTIONS  2  /* how long a snapshot may take before it is sent again */
#define NO_ADDRESS         ""

/* ---- into the core and out again ---- */

void raftio_enter(struct raftio *io)
{
    ASSERT(io->depth == 0);
    io->depth++;
}

static void learn_address(struct raftio *io)
{
    if (io->address_is_set || io->core.configuration.servers == io->seen_servers) {
        return;
    }
    io->seen_servers = io->core.configuration.servers;
    const struct raft_server *self = core_server(&io->core, io->core.id);
    if (self != NULL && strlen(self->address) < sizeof io->address) {
        strcpy(io->address, self->address);
    }
}

void raftio_snapshot_work(struct raftio *io)
{
    io->works_for_snapshot = true;
    io->snapshot_work_ns = env_now_ns(io->env);
}

static void end_snapshot_work(struct raftio *io)
{
    if (io->works_for_snapshot) {
        io->works_for_snapshot = false;
        uint64_t ns = env_now_ns(io->env) - io->snapshot_work_ns;
        histogram_observe(io->snapshot_pauses, (double)ns / 1e9);
    }
}

void raftio_leave(struct raftio *io)
{
    ASSERT(io->depth == 1);
    if (!io->closing) {
        guard_after(&io->guard);
        struct raft_message held;
        while (guard_take_held(&io->guard, &held)) {
            raftnet_deliver(io, &held);
            guard_after(&io->guard);
        }
        headstart_after(&io->headstart, &io->core);
        learn_address(io);
    }
    flow_after(&io->flow);
    end_snapshot_work(io);
    io->depth--;
    if (!io->closing) {
        io->callbacks->left(io->ctx);
    }
}

void raftio_finish_later(struct raftio *io, struct finished one)
{
    if (!ARRAY_MAKE_ROOM(io->finished, io->finished_count, io->finished_cap, 64)) {
        raftheap_must(NULL);
    }
    io->finished[io->finished_count++] = one;
    if (!io->closing) {
        env_defer(io->env, &io->finish);
    }
}

static void finish_all(struct raftio *io)
{
    raftio_enter(io);
    while (io->finished_count > 0) {
        struct finished *all = TAKE(io->finished);
        size_t count = io->finished_count;
        io->finished_count = 0;
        io->finished_cap = 0;
        for (size_t i = 0; i < count; i++) {
            if (all[i].send != NULL) {
                all[i].send->cb(all[i].send, 0);
            } else {
                struct raft_snapshot *snapshot = raftdisk_newest_snapshot(io);
                int status = snapshot == NULL ? RAFT_NOTFOUND : 0;
                all[i].get->cb(all[i].get, snapshot, status);
            }
        }
        free(all);
    }
    raftio_leave(io);
    raftinstall_tell(io);
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
    io->guard.applied_index = io->callbacks->durable_index(io->ctx);
    raftio_enter(io);
    guard_before_tick(&io->guard);
    flow_before_tick(&io->flow);
    io->tick(&io->io);
    flow_tick(&io->flow);
    raftio_leave(io);
    raftbare_tick(io);
    io->callbacks->ticked(io->ctx);
}

/* ---- struct raft_io: life, time and chance ---- */

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

/* ---- the FSM ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct raftio *io = fsm->data;
    uint64_t index = io->core.last_applied + 1;
    *result = NULL;
    io->callbacks->applied(io->ctx, index, core_term_of(&io->core, index), true,
                           bytes_of(buf->base, buf->len));
    return 0;
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
    struct raft_buffer buffer = {.base = raftheap_alloc(entry.len), .len = entry.len};
    if (entry.len > 0) {
        memcpy(buffer.base, entry.data, entry.len);
    }
    struct raft_apply *req = raftheap_must(malloc(sizeof *req));
    raftio_enter(io);
    int rv = raft_apply(&io->core, req, &buffer, 1, on_apply_done);
    if (rv == 0) {
        *index = req->index;
    } else {
        raft_free(buffer.base);
        free(req);
    }
    raftio_leave(io);
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
    raftio_enter(io);
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
    raftio_leave(io);
    return err_of(rv);
}

static void on_transferred(struct raft_transfer *req)
{
    struct raftio *io = CONTAINER_OF(req, struct raftio, transfer);
    io->callbacks->transferred(io->ctx);
}

enum err raftio_transfer(struct raftio *io, uint64_t id)
{
    raftio_enter(io);
    int rv = raft_transfer(&io->core, &io->transfer, id, on_transferred);
    raftio_leave(io);
    return err_of(rv);
}

void raftio_set_address(struct raftio *io, const char *address)
{
    ASSERT(strlen(address) < sizeof io->address);
    strcpy(io->address, address);
    io->address_is_set = true;
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
    io->io.version = 1;
    io->io.init = method_init;
    io->io.close = method_close;
    io->io.start = method_start;
    io->io.time = method_time;
    io->io.random = method_random;
    io->fsm.version = 1;
    io->fsm.data = io;
    io->fsm.apply = fsm_apply;
    raftdisk_set_methods(io);
    raftnet_set_methods(io);
}

static enum err start_core(struct raftio *io, const struct raftio_config *config, struct why *why)
{
    struct raft *r = &io->core;
    int rv = raft_init(r, &io->io, &io->fsm, config->id, NO_ADDRESS);
    if (rv != 0) {
        why_set(why, "start the Raft core: %s", raft_strerror(rv));
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
        why_set(why, "start the Raft core: %s", raft_strerror(rv));
        return ERR_CORRUPT;
    }
    guard_started(&io->guard);
    learn_address(io);
    return OK;
}

static enum err restore(struct raftio *io, uint64_t own_id, const struct raftlog_image *image,
                        struct why *why)
{
    const struct log_snapshot *snapshot = &image->snapshot;
    TRY(raftbare_check_end(io, own_id, image, why));
    if (snapshot->index == 0) {
        return OK;
    }
    enum err err = io->callbacks->restore(io->ctx, snapshot->index, snapshot->data, why);
    return err == ERR_NOT_FOUND ? raftbare_begin(io, own_id, image, why) : err;
}

/* Whatever may be wrong with what is on disk is found before the core looks at it: its start does
 * not clean up behind itself when it fails. */
static enum err load_and_start(struct raftio *io, const struct raftio_config *config,
                               struct why *why)
{
    struct raftlog_image image = {0};
    TRY(io->raftlog->ops->load(io->raftlog, &image, why));
    enum err err =
        raftdisk_image_is_sane(&image, why) ? restore(io, config->id, &image, why) : ERR_CORRUPT;
    if (err == OK) {
        io->guard.applied_index = io->callbacks->durable_index(io->ctx);
        io->image = &image;
        err = start_core(io, config, why);
        io->image = NULL;
    }
    raftlog_image_fini(&image);
    return err;
}

enum err raftio_open(const struct raftio_config *config, const struct raftio_callbacks *callbacks,
                     void *ctx, struct raftio **ret, struct why *why)
{
    raftheap_set();
    struct raftio *io = raftheap_must(calloc(1, sizeof *io));
    io->env = config->env;
    io->log = config->log;
    io->raftlog = config->raftlog;
    io->transport = config->transport;
    io->callbacks = callbacks;
    io->ctx = ctx;
    io->bootstrap = config->bootstrap;
    io->sends_state = config->sends_state;
    io->headstart.over = !config->head_start;
    io->limits = (struct compact_limits){.snapshot_entries = config->snapshot_entries,
                                         .snapshot_bytes = config->snapshot_bytes,
                                         .trailing_entries = config->trailing_entries,
                                         .trailing_bytes = config->trailing_bytes,
                                         .held_entries = config->held_entries,
                                         .held_bytes = config->held_bytes};
    strncpy(io->address, config->address, sizeof io->address - 1);
    io->snapshot_pauses =
        metrics_histogram(config->metrics, "trivet_raft_snapshot_pause_seconds",
                          "Time for which a Raft snapshot kept the loop.", NULL, 0.0000390625, 14);
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
        raftio_enter(io);
        raft_close(&io->core, NULL);
        raftio_leave(io);
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
