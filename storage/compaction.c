/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/compaction.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/plant.h"
#include "storage/rows.h"

/* A slice ends after so many rows, or bytes of rows that are removed, for each of their pages is
 * visited: some milliseconds of the storage thread, for which a batch may have to wait, but nobody
 * who put it. */
#define SLICE_REMOVED_MAX   1024u
#define SLICE_REMOVED_BYTES (4u * 1024 * 1024)
#define SLICE_LOOKED_MAX    8192u
#define SLICE_CHOSEN_MAX    2048u
/* Then no more are chosen before they are removed, and what they pull along: 4 MB. */
#define DOOMED_MAX   (256u * 1024)
#define DOOMED_FIRST 1024u

/* ---- begin and end of a walk ---- */

static enum err begin_walk(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    (void)drain;
    (void)why;
    const struct compaction *c = ctx;
    meta->walk_revision = c->job_target;
    return OK;
}

static enum err end_walk(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    (void)drain;
    (void)ctx;
    (void)why;
    meta->removed_revision = meta->walk_revision;
    meta->walk_revision = -1;
    return OK;
}

static void begin(struct compaction *c)
{
    c->job_status = drain_transact(c->drain, "begin to remove what was compacted", begin_walk, c);
    if (c->job_status == OK) {
        c->phase = COMPACTION_LOOKS;
        c->looked_at = 0;
    }
}

static void end(struct compaction *c)
{
    c->job_status = drain_transact(c->drain, "end to remove what was compacted", end_walk, c);
    if (c->job_status == OK) {
        garbage_sweep(&c->garbage);
    }
}

/* ---- looking ---- */

/* Does a row say that one is superseded which no walk up to REMOVED (-1: none) has found? A
 * tombstone below the REVISION of the walk is found by itself if it is there; and it need not be,
 * for an earlier walk may have removed it, or a defragmentation in the middle of this one. */
static bool supersedes(const struct backend_row *row, int64_t removed, int64_t revision)
{
    const struct record_header *header = &row->header;
    bool after_tombstone = !header->tombstone && header->version == 1;
    return header->prev_rev != 0 && revision_main(row->rev) > removed &&
           !(after_tombstone && revision_main(header->prev_rev) < revision);
}

/* The next row in the order of the table, for a walk to REVISION. */
static bool judge(struct garbage *garbage, const struct backend_row *row, int64_t removed,
                  int64_t revision)
{
    int64_t main = revision_main(row->rev);
    return garbage_see(garbage, row->rev, drain_row_bytes(row->header_len, row->value_len)) &&
           (main > revision || !supersedes(row, removed, revision) ||
            garbage_add(garbage, row->header.prev_rev)) &&
           (main >= revision || !row->header.tombstone || garbage_add(garbage, row->rev));
}

static int64_t walked_to(const struct meta *meta)
{
    return meta->walk_revision >= 0 ? meta->walk_revision : meta->removed_revision;
}

void compaction_load_begin(struct garbage *garbage, const struct meta *meta)
{
    garbage_init(garbage, walked_to(meta) >= 0);
}

bool compaction_load(struct garbage *garbage, const struct meta *meta,
                     const struct backend_row *row)
{
    if (garbage->loading && revision_main(row->rev) > walked_to(meta)) {
        garbage_loaded(garbage); /* none of those to come names one that matters */
    }
    return judge(garbage, row, -1, walked_to(meta));
}

/* Look at some more rows, until the walk ends. */
static enum err look_at_rows(struct compaction *c, struct rows *rows, int64_t revision,
                             struct why *why)
{
    for (unsigned looked = 0; looked < SLICE_LOOKED_MAX; looked++) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, why));
        if (!more) {
            c->phase = COMPACTION_CHOOSES;
            c->choose_at = 0;
            return OK;
        }
        if (!judge(&c->garbage, &row, c->drain->meta.removed_revision, revision)) {
            return ERR_NOMEM;
        }
        c->looked_at = row.rev;
    }
    return OK;
}

/* The rows of the last compacted revision are looked at again, for its tombstones. */
static revision_t look_from(const struct compaction *c)
{
    int64_t removed = c->drain->meta.removed_revision;
    revision_t first = removed > 0 ? revision_pack(removed, 0) : 1;
    return c->looked_at >= first ? c->looked_at + 1 : first;
}

/* Changes nothing, so that it is no transaction; as choosing. */
static enum err look(struct compaction *c, struct why *why)
{
    int64_t revision = c->drain->meta.walk_revision + (PLANTED(COMPACT_EARLY) ? 1 : 0);
    struct rows rows;
    TRY(rows_begin(&rows, c->drain->conn, look_from(c), revision_pack(revision, REVISION_SUB_MAX),
                   false, why));
    enum err err = look_at_rows(c, &rows, revision, why);
    rows_end(&rows);
    return err;
}

/* ---- choosing ---- */

static bool doom(struct doomed *d, revision_t rev)
{
    if (!ARRAY_MAKE_ROOM(d->rows, d->count, d->cap, DOOMED_FIRST)) {
        return false;
    }
    d->rows[d->count++] = (struct doomed_row){.rev = rev};
    return true;
}

static void forget_doomed(struct doomed *d)
{
    free(d->rows);
    *d = (struct doomed){0};
}

static int compare_rows(const void *a, const void *b)
{
    revision_t left = ((const struct doomed_row *)a)->rev;
    revision_t right = ((const struct doomed_row *)b)->rev;
    return (left > right) - (left < right);
}

/* The superseded rows of a stretch. */
static enum err doom_stretch(struct compaction *c, const struct stretch *stretch)
{
    while (stretch->stale_count > 0) {
        revision_t rev = stretch->stale[stretch->stale_count - 1];
        if (!doom(&c->doomed, rev)) {
            return ERR_NOMEM;
        }
        (void)garbage_take(&c->garbage, rev);
    }
    return OK;
}

/* What a row counts for, and the one that it supersedes; *found is false when it is not there. */
static enum err read_row(struct conn *conn, struct doomed_row *row, revision_t *prev_rev,
                         bool *found, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, STMT_ROW_GET_HEADER, &s, why));
    int rc = sqlite3_bind_int64(s, 1, (int64_t)row->rev);
    ASSERT(rc == SQLITE_OK);
    TRY(conn_step(conn, s, found, why));
    if (!*found) {
        return OK;
    }
    struct bytes header;
    if (!conn_column_bytes(s, 0, &header)) {
        return ERR_NOMEM;
    }
    struct record_header decoded;
    enum err err = record_decode_header(row->rev, header, &decoded);
    row->bytes = (uint32_t)drain_row_bytes(header.len, (size_t)sqlite3_column_int64(s, 1));
    (void)sqlite3_reset(s);
    if (err != OK) {
        why_set(why, "revision %lld.%u: the header is damaged", (long long)revision_main(row->rev),
                revision_sub(row->rev));
        return err;
    }
    row->checksum = decoded.checksum;
    *prev_rev = decoded.prev_rev;
    return OK;
}

/* What the next doomed row supersedes goes before it, wherever that is. */
static enum err prepare_row(struct compaction *c, struct why *why)
{
    struct doomed *d = &c->doomed;
    struct doomed_row *row = &d->rows[d->prepared];
    revision_t prev_rev = 0;
    bool found;
    TRY(read_row(c->drain->conn, row, &prev_rev, &found, why));
    if (!found) { /* removed already */
        *row = d->rows[--d->count];
        return OK;
    }
    d->prepared++;
    bool pulls =
        prev_rev != 0 && !PLANTED(COMPACT_LEAVES_OLDER) && garbage_take(&c->garbage, prev_rev);
    return !pulls || doom(d, prev_rev) ? OK : ERR_NOMEM;
}

static enum err choose(struct compaction *c, struct why *why)
{
    struct doomed *d = &c->doomed;
    unsigned prepared = 0;
    while (prepared < SLICE_CHOSEN_MAX) {
        if (d->prepared < d->count) {
            TRY(prepare_row(c, why));
            prepared++;
            continue;
        }
        const struct stretch *stretch =
            d->count < DOOMED_MAX ? garbage_next(&c->garbage, &c->choose_at, c->remove_permille)
                                  : NULL;
        if (stretch == NULL) {
            c->phase = COMPACTION_REMOVES;
            if (d->count > 0) {
                qsort(d->rows, d->count, sizeof d->rows[0], compare_rows);
            }
            return OK;
        }
        TRY(doom_stretch(c, stretch));
    }
    return OK;
}

/* ---- removing ---- */

static size_t slice_end(const struct doomed *d)
{
    size_t at = d->removed;
    size_t most = d->count - at > SLICE_REMOVED_MAX ? at + SLICE_REMOVED_MAX : d->count;
    uint64_t bytes = 0;
    while (at < most && bytes < SLICE_REMOVED_BYTES) {
        bytes += d->rows[at++].bytes;
    }
    return at;
}

static enum err remove_row(struct drain *drain, struct meta *meta, const struct doomed_row *row,
                           struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(drain->conn, STMT_ROW_DELETE, &s, why));
    int rc = sqlite3_bind_int64(s, 1, (int64_t)row->rev);
    ASSERT(rc == SQLITE_OK);
    TRY(conn_run(drain->conn, s, "remove a row from", why));
    if (sqlite3_changes(drain->conn->db) != 1) {
        why_set(why, "revision %lld.%u is missing", (long long)revision_main(row->rev),
                revision_sub(row->rev));
        return ERR_CORRUPT;
    }
    tally_remove(&meta->rows, row->bytes, drain_row_element(row->rev, row->checksum));
    return OK;
}

static enum err remove_some(struct drain *drain, struct meta *meta, void *ctx, struct why *why)
{
    const struct doomed *d = ctx;
    size_t end_at = slice_end(d);
    for (size_t i = d->removed; i < end_at; i++) {
        TRY(remove_row(drain, meta, &d->rows[i], why));
    }
    return OK;
}

static enum err remove_doomed(struct compaction *c)
{
    struct doomed *d = &c->doomed;
    TRY(drain_transact(c->drain, "remove what was compacted", remove_some, d));
    for (size_t end_at = slice_end(d); d->removed < end_at; d->removed++) {
        garbage_gone(&c->garbage, d->rows[d->removed].rev, d->rows[d->removed].bytes);
    }
    if (d->removed == d->count) {
        forget_doomed(d);
        c->phase = COMPACTION_CHOOSES;
    }
    return OK;
}

/* ---- slices ---- */

/* Is there anything to do, up to TARGET? Thread: any. */
static bool is_due(int64_t walk_revision, int64_t removed_revision, int64_t target)
{
    return walk_revision >= 0 || target > removed_revision;
}

/* What was found and is there. */
static uint64_t left_over(const struct compaction *c)
{
    return c->garbage.rows + c->doomed.count - c->doomed.removed;
}

static void find(struct compaction *c)
{
    struct why why = {.text = ""};
    enum err err = c->phase == COMPACTION_LOOKS ? look(c, &why) : choose(c, &why);
    if (err != OK) {
        fatal("storage: look for what was compacted: %s: %s", err_text(err), why.text);
    }
    c->job_status = OK;
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
        begin(c);
    } else if (c->phase != COMPACTION_REMOVES) {
        find(c);
    } else if (c->doomed.count > 0) {
        c->job_status = remove_doomed(c);
    } else {
        end(c);
    }
    drain->report.superseded_rows = left_over(c);
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

void compaction_init(struct compaction *c, const struct compaction_config *config,
                     struct garbage *garbage)
{
    *c = (struct compaction){
        .storage = config->storage,
        .drain = config->drain,
        .remove_permille = config->remove_permille,
        .job = {.work = slice_work, .done = slice_done},
        .on_report = config->on_report,
        .ctx = config->ctx,
    };
    queue_init(&c->pins);
    compaction_replace(c, garbage);
}

void compaction_fini(struct compaction *c)
{
    forget_doomed(&c->doomed);
    garbage_fini(&c->garbage);
}

void compaction_replace(struct compaction *c, struct garbage *garbage)
{
    ASSERT(!c->running);
    forget_doomed(&c->doomed);
    struct garbage old = c->garbage;
    c->garbage = *garbage;
    *garbage = old;
    garbage_loaded(&c->garbage);
    c->phase = COMPACTION_CHOOSES; /* if a walk is under way; compaction_load has looked */
    c->choose_at = 0;
    c->drain->report.superseded_rows = left_over(c);
    c->latest = c->drain->report;
}

enum err compaction_settle(struct compaction *c)
{
    struct doomed *d = &c->doomed;
    while (d->count > d->removed) {
        if (!garbage_add(&c->garbage, d->rows[d->count - 1].rev)) {
            return ERR_NOMEM;
        }
        d->count--;
    }
    forget_doomed(d);
    if (c->phase == COMPACTION_REMOVES) {
        c->phase = COMPACTION_CHOOSES;
    }
    c->choose_at = 0;
    return OK;
}

void compaction_forget(struct compaction *c)
{
    garbage_forget(&c->garbage);
    c->drain->report.superseded_rows = left_over(c);
}

enum err compaction_leftover(const struct compaction *c, revision_t **ret, size_t *count)
{
    const struct doomed *d = &c->doomed;
    *count = left_over(c);
    *ret = NULL;
    if (*count == 0) {
        return OK;
    }
    revision_t *revs = calloc(*count, sizeof revs[0]);
    if (revs == NULL) {
        return ERR_NOMEM;
    }
    garbage_copy(&c->garbage, revs);
    for (size_t i = d->removed; i < d->count; i++) {
        revs[c->garbage.rows + i - d->removed] = d->rows[i].rev;
    }
    *ret = revs;
    return OK;
}

void compaction_stop(struct compaction *c)
{
    c->stopped = true;
}

void compaction_resume(struct compaction *c)
{
    c->stopped = false;
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
