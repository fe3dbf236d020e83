/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/compaction.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"
#include "storage/rows.h"

/* A slice ends after so many rows: some milliseconds of the storage thread, for which a batch may
 * have to wait, but nobody who put it. */
#define SLICE_REMOVED_MAX 1024u
#define SLICE_VISITED_MAX 8192u
/* Then they are removed before the walk goes on: 4 MB. */
#define DOOMED_MAX   (512u * 1024)
#define DOOMED_FIRST 1024u

/* Take the row out of the table and of the tally; one that is not there was removed before: by the
 * walk of an earlier compaction. */
static enum err remove_row(struct drain *drain, struct meta *meta, revision_t rev, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(drain->conn, STMT_ROW_GET_HEADER, &s, why));
    int rc = sqlite3_bind_int64(s, 1, (int64_t)rev);
    ASSERT(rc == SQLITE_OK);
    bool found;
    TRY(conn_step(drain->conn, s, &found, why));
    if (!found) {
        return OK;
    }
    struct bytes header;
    if (!conn_column_bytes(s, 0, &header)) {
        return ERR_NOMEM;
    }
    struct record_header decoded;
    enum err err = record_decode_header(rev, header, &decoded);
    uint64_t bytes = drain_row_bytes(header.len, (size_t)sqlite3_column_int64(s, 1));
    (void)sqlite3_reset(s);
    if (err != OK) {
        why_set(why, "revision %lld.%u: the header is damaged", (long long)revision_main(rev),
                revision_sub(rev));
        return err;
    }
    tally_remove(&meta->rows, bytes, drain_row_element(rev, decoded.checksum));
    TRY(conn_stmt(drain->conn, STMT_ROW_DELETE, &s, why));
    rc = sqlite3_bind_int64(s, 1, (int64_t)rev);
    ASSERT(rc == SQLITE_OK);
    return conn_run(drain->conn, s, "remove a row from", why);
}

/* Begin the next walk; the rows of the last compacted revision are looked at again. */
static void begin_walk(struct meta *meta, int64_t target)
{
    meta->walk_revision = target;
    meta->walk_at = meta->removed_revision > 0 ? revision_pack(meta->removed_revision, 0) - 1 : 0;
}

static void end_walk(struct meta *meta)
{
    meta->removed_revision = meta->walk_revision;
    meta->walk_revision = -1;
    meta->walk_at = 0;
}

static enum err start_walk(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    (void)drain;
    (void)why;
    const struct compaction *c = ctx;
    begin_walk(meta, c->job_target);
    return OK;
}

/* ---- what goes ---- */

static bool doom(struct doomed *d, revision_t rev)
{
    if (d->count == d->cap) {
        size_t cap = d->cap == 0 ? DOOMED_FIRST : d->cap * 2;
        revision_t *revs = reallocarray(d->revs, cap, sizeof revs[0]);
        if (revs == NULL) {
            return false;
        }
        d->revs = revs;
        d->cap = cap;
    }
    d->revs[d->count++] = rev;
    return true;
}

static void forget_doomed(struct doomed *d)
{
    free(d->revs);
    *d = (struct doomed){0};
}

static int compare_revisions(const void *a, const void *b)
{
    revision_t left = *(const revision_t *)a;
    revision_t right = *(const revision_t *)b;
    return (left > right) - (left < right);
}

/* Look at some more rows, until there are enough or the walk ends: which of them go? */
static enum err look(struct doomed *d, struct rows *rows, int64_t walk_revision, struct why *why)
{
    for (unsigned visited = 0; visited < SLICE_VISITED_MAX && d->count < DOOMED_MAX; visited++) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, why));
        if (!more) {
            d->ends = true;
            break;
        }
        if (row.header.prev_rev != 0 && !doom(d, row.header.prev_rev)) {
            return ERR_NOMEM;
        }
        if (row.header.tombstone && revision_main(row.rev) < walk_revision && !doom(d, row.rev)) {
            return ERR_NOMEM;
        }
        d->looked_at = row.rev;
    }
    d->sorted = d->ends || d->count >= DOOMED_MAX;
    if (d->sorted && d->count > 0) {
        qsort(d->revs, d->count, sizeof d->revs[0], compare_revisions);
    }
    return OK;
}

/* Changes nothing, so that it is no transaction. */
static void find_doomed(struct compaction *c)
{
    struct drain *drain = c->drain;
    const struct meta *meta = &drain->meta;
    struct why why = {.text = ""};
    struct rows rows;
    revision_t from = c->doomed.looked_at > meta->walk_at ? c->doomed.looked_at : meta->walk_at;
    int64_t last = meta->walk_revision + (PLANTED(COMPACT_EARLY) ? 1 : 0);
    enum err err = rows_begin(&rows, drain->conn, from + 1, revision_pack(last, REVISION_SUB_MAX),
                              false, &why);
    if (err == OK) {
        err = look(&c->doomed, &rows, meta->walk_revision, &why);
        rows_end(&rows);
    }
    if (err != OK) {
        fatal("storage: look for what was compacted: %s: %s", err_text(err), why.text);
    }
}

static size_t slice_end(const struct doomed *d)
{
    return d->count - d->removed > SLICE_REMOVED_MAX ? d->removed + SLICE_REMOVED_MAX : d->count;
}

/* With the last of them the walk has come as far as was looked. */
static enum err remove_some(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    const struct doomed *d = ctx;
    size_t end = slice_end(d);
    for (size_t i = d->removed; i < end; i++) {
        TRY(remove_row(drain, meta, d->revs[i], why));
    }
    if (end == d->count) {
        meta->walk_at = d->looked_at > meta->walk_at ? d->looked_at : meta->walk_at;
        if (d->ends) {
            end_walk(meta);
        }
    }
    return OK;
}

static enum err remove_doomed(struct compaction *c)
{
    struct doomed *d = &c->doomed;
    TRY(drain_transact(c->drain, "remove what was compacted", remove_some, d));
    d->removed = slice_end(d);
    if (d->removed == d->count) {
        forget_doomed(d);
    }
    return OK;
}

/* ---- slices ---- */

/* Is there anything to do, up to TARGET? Thread: any. */
static bool is_due(int64_t walk_revision, int64_t removed_revision, int64_t target)
{
    return walk_revision >= 0 || target > removed_revision;
}

/* Thread: storage. */
static void slice_work(struct job *job)
{
    struct compaction *c = CONTAINER_OF(job, struct compaction, job);
    struct drain *drain = c->drain;
    ASSERT(is_due(drain->meta.walk_revision, drain->meta.removed_revision, c->job_target));
    uint64_t start_ns = env_now_ns(drain->env);
    uint64_t rows = drain->meta.rows.count;
    drain->report.write_ns = 0;
    if (drain->meta.walk_revision < 0) {
        c->job_status = drain_transact(drain, "begin to remove what was compacted", start_walk, c);
    } else if (c->doomed.sorted) {
        c->job_status = remove_doomed(c);
    } else {
        find_doomed(c);
        c->job_status = OK;
    }
    c->job_report = drain->report;
    c->job_removed = rows - drain->meta.rows.count;
    c->job_ns = env_now_ns(drain->env) - start_ns;
}

/* The highest compaction that nobody's reads forbid to remove. */
static int64_t target_of(const struct compaction *c)
{
    int64_t target = c->latest.state.compacted_revision;
    if (!queue_empty(&c->pins) && !PLANTED(COMPACT_UNPINNED)) {
        const struct backend_pin *oldest = QUEUE_ELEM(c->pins.next, struct backend_pin, link);
        if (oldest->compacted_revision < target) {
            target = oldest->compacted_revision;
        }
    }
    return target;
}

static void start_slice(struct compaction *c)
{
    if (c->running || c->stopped || c->blocked) {
        return;
    }
    int64_t target = target_of(c);
    if (!is_due(c->latest.walk_revision, c->latest.removed_revision, target)) {
        return;
    }
    c->running = true;
    if (c->stale) {
        c->stale = false;
        forget_doomed(&c->doomed);
    }
    if (c->began_ns == 0) {
        c->began_ns = env_now_ns(c->drain->env);
    }
    c->job_target = target;
    worker_submit(c->storage, &c->job);
}

static void count(struct compaction *c)
{
    struct env *env = c->drain->env;
    const struct drain_report *report = &c->job_report;
    counter_add(c->removed_rows, (double)c->job_removed);
    histogram_observe(c->slice_ms, (double)c->job_ns / 1e6);
    if (report->walk_revision < 0) {
        histogram_observe(c->total_ms, (double)(env_now_ns(env) - c->began_ns) / 1e6);
        gauge_set(c->last_seconds, (double)(env_wall_ms(env) / 1000));
        c->began_ns = 0;
    }
}

void compaction_register(struct compaction *c, struct metrics *metrics)
{
    c->removed_rows = metrics_counter(metrics, "etcd_debugging_mvcc_db_compaction_keys_total",
                                      "Rows that compactions have removed.", NULL);
    c->last_seconds = metrics_gauge(metrics, "etcd_debugging_mvcc_db_compaction_last",
                                    "Unix time of the end of the last removal.", NULL);
    c->slice_ms =
        metrics_histogram(metrics, "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                          "Time of a slice of a removal.", NULL, 1, 13);
    c->total_ms =
        metrics_histogram(metrics, "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                          "Time of a removal.", NULL, 100, 14);
}

static void slice_done(struct job *job)
{
    struct compaction *c = CONTAINER_OF(job, struct compaction, job);
    c->running = false;
    count(c);
    c->blocked = c->job_status != OK;
    struct drain_report report = c->job_report; /* the next slice may begin in on_report */
    c->on_report(c->ctx, &report);
}

void compaction_init(struct compaction *c, struct worker *storage, struct drain *drain,
                     void (*on_report)(void *ctx, const struct drain_report *report), void *ctx)
{
    *c = (struct compaction){
        .storage = storage,
        .drain = drain,
        .latest = drain->report,
        .job = {.work = slice_work, .done = slice_done},
        .on_report = on_report,
        .ctx = ctx,
    };
    queue_init(&c->pins);
}

void compaction_fini(struct compaction *c)
{
    forget_doomed(&c->doomed);
}

void compaction_stop(struct compaction *c)
{
    c->stopped = true;
}

void compaction_resume(struct compaction *c)
{
    c->stopped = false;
    c->stale = true;
    start_slice(c);
}

bool compaction_is_running(const struct compaction *c)
{
    return c->running;
}

void compaction_on_report(struct compaction *c, const struct drain_report *report)
{
    c->latest = *report;
    start_slice(c);
}

void compaction_pin(struct compaction *c, struct backend_pin *pin, int64_t compacted_revision)
{
    ASSERT(queue_empty(&c->pins) ||
           QUEUE_ELEM(c->pins.prev, struct backend_pin, link)->compacted_revision <=
               compacted_revision);
    pin->compacted_revision = compacted_revision;
    queue_push_back(&c->pins, &pin->link);
}

void compaction_unpin(struct compaction *c, struct backend_pin *pin)
{
    queue_remove(&pin->link);
    start_slice(c);
}

void compaction_retry(struct compaction *c)
{
    c->blocked = false;
    start_slice(c);
}
