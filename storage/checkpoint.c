/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/checkpoint.h"

#include "base/assert.h"
#include "base/plant.h"

/* A pass that left fewer of its frames behind is followed by the finish: one in this many. */
#define SHORT_PASS_PART 16u
/* A writer that is faster than the passes is made to wait for the finish, at the latest then. */
#define PASSES_MAX 5u

static void next_step(struct checkpoint *cp);

void checkpoint_sync_wal(struct conn *conn)
{
    sqlite3_file *wal = conn_wal(conn);
    ASSERT(wal != NULL); /* the connection has read before */
    if (PLANTED(DURABLE_UNSYNCED)) {
        return;
    }
    int rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
    if (rc != SQLITE_OK) {
        fatal("storage: sync the WAL of '%s': %s (SQLite code %d)", conn->path, sqlite3_errstr(rc),
              rc);
    }
}

static void sync_file(struct conn *conn)
{
    sqlite3_file *file = conn_file(conn);
    int rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (rc != SQLITE_OK) {
        fatal("storage: sync '%s': %s (SQLite code %d)", conn->path, sqlite3_errstr(rc), rc);
    }
}

/* A passive checkpoint. Full disks are no harm: what is not written back stays in the WAL. */
static void run_checkpoint(struct checkpoint *cp, struct conn *conn)
{
    struct why why = {.text = ""};
    int rc = sqlite3_wal_checkpoint_v2(conn->db, "main", SQLITE_CHECKPOINT_PASSIVE, &cp->job_frames,
                                       &cp->job_written);
    if (rc != SQLITE_OK) {
        cp->job_frames = -1;
        cp->job_written = -1;
        enum err err = conn_error(conn, rc, "checkpoint", &why);
        if (err != ERR_NO_SPACE && err != ERR_LOCKED) {
            fatal("storage: %s: %s", err_text(err), why.text);
        }
    }
}

/* Thread: checkpoint. */
static void pass_work(struct job *job)
{
    struct checkpoint *cp = CONTAINER_OF(job, struct checkpoint, job);
    checkpoint_sync_wal(cp->conn);
    if (cp->job_pass) {
        run_checkpoint(cp, cp->conn);
        sync_file(cp->conn);
    }
}

/* The read transaction of the pin; false when it could not begin. Thread: storage. */
static bool begin_pin(struct checkpoint *cp)
{
    enum err err = conn_run_stmt(cp->pin_conn, STMT_BEGIN, NULL);
    if (err == OK) {
        err = schema_read_meta(cp->pin_conn, cp->pin_meta, NULL);
    }
    if (err != OK) {
        conn_rollback(cp->pin_conn);
    }
    return err == OK;
}

/* Thread: storage. */
static void finish_work(struct job *job)
{
    struct checkpoint *cp = CONTAINER_OF(job, struct checkpoint, job);
    cp->job_index = cp->drain->meta.state.applied_index;
    run_checkpoint(cp, cp->drain->conn);
    cp->job_report = cp->drain->report;
    cp->job_report.write_ns = 0;
    bool complete = cp->job_frames >= 0 && cp->job_frames == cp->job_written;
    cp->job_pinned = cp->job_pin && complete && begin_pin(cp);
}

static void raise_durable(struct checkpoint *cp, uint64_t index)
{
    if (index > cp->durable_index) {
        cp->durable_index = index;
        if (cp->on_durable != NULL) {
            cp->on_durable(cp->ctx, index);
        }
    }
}

/* What is left of this WAL, as far as the loop knows. */
static uint32_t frames_left(const struct checkpoint *cp)
{
    bool same = cp->latest.wal_generation == cp->generation;
    uint32_t written = same ? cp->written : 0;
    return cp->latest.wal_frames > written ? cp->latest.wal_frames - written : 0;
}

/* Frames since a round was last tried: one that a reader has stopped is not tried at once again. */
static uint32_t frames_since_try(const struct checkpoint *cp)
{
    bool same = cp->latest.wal_generation == cp->generation;
    uint32_t tried = same ? cp->tried_frames : 0;
    return cp->latest.wal_frames > tried ? cp->latest.wal_frames - tried : 0;
}

/* Speak of GENERATION from now on. */
static void turn_to(struct checkpoint *cp, uint64_t generation)
{
    if (generation != cp->generation) {
        cp->generation = generation;
        cp->written = 0;
        cp->tried_frames = 0;
    }
}

static void note_written(struct checkpoint *cp, uint64_t generation)
{
    turn_to(cp, generation);
    if (cp->job_frames < 0 || cp->job_written < 0) {
        cp->tried_frames = cp->latest.wal_frames;
        return;
    }
    cp->tried_frames = (uint32_t)cp->job_frames;
    if ((uint32_t)cp->job_written > cp->written) {
        cp->written = (uint32_t)cp->job_written;
    }
}

static void submit_finish(struct checkpoint *cp)
{
    cp->state = CHECKPOINT_FINISH;
    cp->job.work = finish_work;
    cp->job_pin = cp->pin_cb != NULL;
    worker_submit(cp->storage, &cp->job);
}

static void submit_pass(struct checkpoint *cp, bool pass)
{
    cp->state = CHECKPOINT_PASS;
    cp->sync_wanted = false;
    cp->job.work = pass_work;
    cp->job_pass = pass;
    cp->job_index = cp->latest.state.applied_index;
    if (pass) {
        cp->passes++;
        turn_to(cp, cp->latest.wal_generation);
    }
    worker_submit(cp->worker, &cp->job);
}

/* A pass got as far as the WAL went when it began. Has the same one grown much since? */
static bool worth_another_pass(const struct checkpoint *cp)
{
    return cp->job_frames >= 0 && cp->job_written == cp->job_frames && cp->passes < PASSES_MAX &&
           cp->latest.wal_generation == cp->generation &&
           frames_left(cp) > cp->frames / SHORT_PASS_PART;
}

static void pass_done(struct checkpoint *cp)
{
    cp->state = CHECKPOINT_IDLE;
    raise_durable(cp, PLANTED(DURABLE_EARLY) ? cp->latest.state.applied_index : cp->job_index);
    if (!cp->job_pass || cp->stopped) {
        next_step(cp);
        return;
    }
    note_written(cp, cp->generation);
    if (worth_another_pass(cp)) {
        submit_pass(cp, true);
    } else {
        submit_finish(cp);
    }
}

static void end_pin(struct checkpoint *cp, enum err err)
{
    void (*pin_cb)(void *ctx, enum err err) = cp->pin_cb;
    cp->pin_cb = NULL;
    pin_cb(cp->pin_ctx, err);
}

static void finish_done(struct checkpoint *cp)
{
    cp->state = CHECKPOINT_IDLE;
    cp->passes = 0;
    note_written(cp, cp->job_report.wal_generation);
    /* All of the WAL is in the database file, which was synced. */
    if (cp->job_frames > 0 && cp->job_frames == cp->job_written) {
        raise_durable(cp, cp->job_index);
    }
    if (cp->job_pin) {
        end_pin(cp, cp->job_pinned ? OK : ERR_LOCKED);
    }
    next_step(cp);
}

static void on_job_done(struct job *job)
{
    struct checkpoint *cp = CONTAINER_OF(job, struct checkpoint, job);
    if (cp->state == CHECKPOINT_FINISH) {
        finish_done(cp);
    } else {
        pass_done(cp);
    }
}

static void begin_hold(struct checkpoint *cp)
{
    void (*hold_cb)(void *ctx, enum err err) = cp->hold_cb;
    cp->hold_cb = NULL;
    if (cp->stopped) {
        hold_cb(cp->hold_ctx, ERR_STOPPED);
        return;
    }
    cp->state = CHECKPOINT_HELD;
    conn_close(TAKE(cp->conn));
    hold_cb(cp->hold_ctx, OK);
}

/* Begin what is due, if nothing runs. */
static void next_step(struct checkpoint *cp)
{
    if (cp->state != CHECKPOINT_IDLE) {
        return;
    }
    if (cp->stopped && cp->pin_cb != NULL) {
        end_pin(cp, ERR_STOPPED);
    }
    if (cp->hold_cb != NULL) {
        begin_hold(cp);
    } else if (cp->stopped) {
        return;
    } else if (cp->pin_cb != NULL) {
        submit_finish(cp);
    } else if (frames_left(cp) > 0 && frames_since_try(cp) >= cp->frames) {
        submit_pass(cp, true);
    } else if (cp->sync_wanted && cp->latest.state.applied_index > cp->durable_index) {
        submit_pass(cp, false);
    }
}

static void on_sync_timer(struct env_timer *timer)
{
    checkpoint_sync(CONTAINER_OF(timer, struct checkpoint, sync_timer));
}

void checkpoint_sync(struct checkpoint *cp)
{
    cp->sync_wanted = true;
    next_step(cp);
}

void checkpoint_on_report(struct checkpoint *cp, const struct drain_report *report)
{
    cp->latest = *report;
    bool dirty = report->state.applied_index > cp->durable_index;
    if (dirty && !env_timer_active(&cp->sync_timer) && !cp->stopped) {
        env_timer_start(cp->env, &cp->sync_timer, cp->sync_interval_ms);
    }
    next_step(cp);
}

void checkpoint_pin(struct checkpoint *cp, struct conn *conn, struct meta *meta,
                    void (*cb)(void *ctx, enum err err), void *ctx)
{
    ASSERT(cp->pin_cb == NULL);
    cp->pin_conn = conn;
    cp->pin_meta = meta;
    cp->pin_cb = cb;
    cp->pin_ctx = ctx;
    next_step(cp);
}

void checkpoint_hold(struct checkpoint *cp, void (*cb)(void *ctx, enum err err), void *ctx)
{
    ASSERT(cp->hold_cb == NULL && cp->state != CHECKPOINT_HELD);
    cp->hold_cb = cb;
    cp->hold_ctx = ctx;
    next_step(cp);
}

void checkpoint_release(struct checkpoint *cp, struct conn *conn, const struct drain_report *report,
                        uint64_t durable_index)
{
    ASSERT(cp->state == CHECKPOINT_HELD && cp->conn == NULL);
    cp->conn = conn;
    cp->state = CHECKPOINT_IDLE;
    cp->latest = *report;
    cp->generation = report->wal_generation;
    /* Who held may have written all of it back, and not got it to begin anew: a pass waits for a
     * frame that is new for certain. */
    cp->written = report->wal_frames;
    cp->tried_frames = report->wal_frames;
    raise_durable(cp, durable_index);
    next_step(cp);
}

enum err checkpoint_init(struct checkpoint *cp, const struct checkpoint_config *config,
                         struct why *why)
{
    *cp = (struct checkpoint){
        .env = config->env,
        .storage = config->storage,
        .drain = config->drain,
        .latest = config->drain->report,
        .generation = config->drain->report.wal_generation,
        .durable_index = config->durable_index,
        .sync_interval_ms = config->sync_interval_ms,
        .frames = config->frames,
        .on_durable = config->on_durable,
        .ctx = config->ctx,
        .job = {.done = on_job_done},
    };
    env_timer_init(&cp->sync_timer, on_sync_timer);
    struct worker_config worker = {.name = "checkpoint", .threads = 1};
    TRY(env_worker_new(config->env, &worker, &cp->worker, why));
    cp->conn = config->conn;
    return OK;
}

void checkpoint_stop(struct checkpoint *cp)
{
    cp->stopped = true;
    env_timer_stop(cp->env, &cp->sync_timer);
    worker_close(cp->worker);
    cp->worker = NULL;
    next_step(cp);
}

void checkpoint_fini(struct checkpoint *cp)
{
    ASSERT(cp->state == CHECKPOINT_IDLE);
    conn_close(cp->conn);
    cp->conn = NULL;
}
