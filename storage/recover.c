/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recover.h"

#include "base/assert.h"
#include "storage/drain.h"
#include "storage/rows.h"
#include "storage/tables.h"

/* The log table is cut into ranges of revisions. Two threads read them, each range on a connection
 * of its own, into chunks; the loop takes the chunks in order and gives them to the sink, which
 * builds the index meanwhile:
 *
 *   threads     [ 5 ] [ 6 ]        reading
 *   loop   ... 3 │ 4 │             4 is ready and given to the sink; its slot then reads 7
 *
 * How many rows a range has is not known before it is read: compaction leaves gaps. A range with
 * more rows than a chunk holds is read on where it stopped before the loop goes to the next; and
 * the ranges to come are made longer or shorter. */
#define SLOTS           4u
#define THREADS         2u
#define CHUNK_ROWS      8192u
#define CHUNK_KEY_BYTES (4u * 1024 * 1024)
#define SAMPLE_ONE_IN   16u

struct slot {
    struct job job;
    struct recover *recover;
    struct conn *conn;
    revision_t from;
    revision_t to;
    bool with_values;
    bool ready; /* read, and waiting for its turn */
    bool more;  /* the chunk was full before TO; FROM is where to go on */
    enum err err;
    struct why why;
    size_t count;
    struct backend_row rows[CHUNK_ROWS];
    struct buf keys; /* of rows, one behind the other */
    struct tally tally;
};

struct recover {
    struct worker *worker;
    struct recover_sink sink;
    const struct meta *meta;
    struct env *env;
    bool check_values;
    unsigned next;         /* the slot whose turn it is */
    revision_t unassigned; /* revisions from here on are in no slot yet */
    revision_t end;        /* the newest row */
    uint64_t step;         /* length of a range */
    revision_t last;       /* the newest given to the sink */
    struct tally tally;
    enum err err;
    struct why *why;
    struct slot slots[SLOTS];
};

/* Copy what outlives the step of the statement. */
static void keep_row(struct slot *slot, const struct backend_row *row)
{
    struct backend_row *kept = &slot->rows[slot->count++];
    *kept = *row;
    kept->value = bytes_of(NULL, 0);
    buf_append_bytes(&slot->keys, row->header.key);
    tally_add(&slot->tally, drain_row_bytes(row->header_len, row->value_len),
              drain_row_element(row->rev, row->header.checksum));
}

/* The keys stand where they are now: point to them. */
static enum err settle_keys(struct slot *slot)
{
    if (!buf_ok(&slot->keys)) {
        return ERR_NOMEM;
    }
    const uint8_t *at = slot->keys.data;
    for (size_t i = 0; i < slot->count; i++) {
        slot->rows[i].header.key.data = at;
        at += slot->rows[i].header.key.len;
    }
    return OK;
}

static enum err read_chunk(struct slot *slot, struct rows *rows)
{
    while (slot->count < CHUNK_ROWS && slot->keys.len < CHUNK_KEY_BYTES) {
        bool more;
        struct backend_row row;
        TRY(rows_next(rows, &more, &row, &slot->why));
        if (!more) {
            return settle_keys(slot);
        }
        keep_row(slot, &row);
    }
    slot->from = rows->last + 1;
    slot->more = slot->from <= slot->to;
    return settle_keys(slot);
}

/* Thread: recover. */
static void chunk_work(struct job *job)
{
    struct slot *slot = CONTAINER_OF(job, struct slot, job);
    slot->count = 0;
    slot->more = false;
    slot->tally = (struct tally){0};
    buf_clear(&slot->keys);
    struct rows rows;
    slot->err = rows_begin(&rows, slot->conn, slot->from, slot->to, slot->with_values, &slot->why);
    if (slot->err == OK) {
        slot->err = read_chunk(slot, &rows);
        rows_end(&rows);
    }
}

static void submit(struct recover *recover, struct slot *slot)
{
    slot->ready = false;
    worker_submit(recover->worker, &slot->job);
}

/* Give SLOT the next range, if there is one. */
static void assign(struct recover *recover, struct slot *slot)
{
    if (recover->unassigned > recover->end) {
        return;
    }
    uint64_t left = recover->end - recover->unassigned;
    slot->from = recover->unassigned;
    slot->to = left < recover->step ? recover->end : recover->unassigned + recover->step - 1;
    slot->with_values = recover->check_values || env_random_u64(recover->env) % SAMPLE_ONE_IN == 0;
    recover->unassigned = slot->to + 1;
    submit(recover, slot);
}

static void adapt_step(struct recover *recover, const struct slot *slot)
{
    if (slot->more && recover->step > 1) {
        recover->step -= recover->step / 4;
    } else if (slot->count < CHUNK_ROWS / 2 && recover->step < recover->end) {
        recover->step += recover->step / 4 + 1;
    }
}

/* Give a chunk to the sink. */
static enum err take_chunk(struct recover *recover, struct slot *slot)
{
    if (slot->err != OK) {
        if (recover->why != NULL) {
            *recover->why = slot->why;
        }
        return slot->err;
    }
    if (slot->count == 0) {
        return OK;
    }
    if (slot->rows[0].rev <= recover->last) {
        why_set(recover->why, "'%s': revision %lld.%u is out of order", slot->conn->path,
                (long long)revision_main(slot->rows[0].rev), revision_sub(slot->rows[0].rev));
        return ERR_CORRUPT;
    }
    recover->last = slot->rows[slot->count - 1].rev;
    tally_merge(&recover->tally, &slot->tally);
    for (size_t i = 0; i < slot->count; i++) {
        if (!compaction_load(recover->sink.garbage, recover->meta, &slot->rows[i])) {
            return ERR_NOMEM;
        }
    }
    return recover->sink.rows(recover->sink.ctx, slot->rows, slot->count);
}

static void chunk_done(struct job *job)
{
    struct slot *read = CONTAINER_OF(job, struct slot, job);
    struct recover *recover = read->recover;
    read->ready = true;
    while (recover->err == OK && recover->slots[recover->next].ready) {
        struct slot *slot = &recover->slots[recover->next];
        slot->ready = false;
        recover->err = take_chunk(recover, slot);
        if (recover->err != OK) {
            return;
        }
        adapt_step(recover, slot);
        if (slot->more) {
            submit(recover, slot);
        } else {
            recover->next = (recover->next + 1) % SLOTS;
            assign(recover, slot);
        }
    }
}

static enum err set_up_slots(struct recover *recover, const struct backend_config *config)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &recover->slots[i];
        slot->recover = recover;
        slot->job = (struct job){.work = chunk_work, .done = chunk_done};
        TRY(conn_open(config->path, config->vfs, CONN_READER, &slot->conn, recover->why));
        TRY(conn_set_up(slot->conn, CONN_READER, recover->why));
    }
    struct worker_config worker = {.name = "recover", .threads = THREADS};
    return env_worker_new(config->env, &worker, &recover->worker, recover->why);
}

static enum err read_rows(struct recover *recover, const struct backend_config *config)
{
    TRY(set_up_slots(recover, config));
    for (unsigned i = 0; i < SLOTS; i++) {
        assign(recover, &recover->slots[i]);
    }
    worker_close(recover->worker); /* when all is read */
    recover->worker = NULL;
    return recover->err;
}

static void recover_freep(struct recover **recover)
{
    if (*recover != NULL) {
        worker_close((*recover)->worker);
        for (unsigned i = 0; i < SLOTS; i++) {
            conn_close((*recover)->slots[i].conn);
            buf_fini(&(*recover)->slots[i].keys);
        }
        free(*recover);
    }
}

/* The oldest and the newest row; false: there is none. */
static enum err read_bounds(struct conn *conn, bool *any, revision_t *first, revision_t *last,
                            struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, STMT_ROWS_BOUNDS, &s, why));
    bool row;
    TRY(conn_step(conn, s, &row, why));
    ASSERT(row);
    *any = sqlite3_column_type(s, 0) == SQLITE_INTEGER;
    int64_t min = sqlite3_column_int64(s, 0);
    int64_t max = sqlite3_column_int64(s, 1);
    (void)sqlite3_reset(s);
    if (*any && (min <= 0 || max < min)) {
        why_set(why, "'%s': rows from %lld to %lld", conn->path, (long long)min, (long long)max);
        return ERR_CORRUPT;
    }
    *first = (revision_t)min;
    *last = (revision_t)max;
    return OK;
}

/* Is what was read what was written? */
static enum err compare(struct conn *conn, const struct meta *meta, const struct recover *recover,
                        struct why *why)
{
    if (revision_main(recover->last) > meta->state.revision) {
        why_set(why, "'%s': row of revision %lld, but the newest is %lld", conn->path,
                (long long)revision_main(recover->last), (long long)meta->state.revision);
        return ERR_CORRUPT;
    }
    if (!tally_equal(&recover->tally, &meta->rows)) {
        why_set(why, "'%s': %llu rows that are not the %llu written", conn->path,
                (unsigned long long)recover->tally.count, (unsigned long long)meta->rows.count);
        return ERR_CORRUPT;
    }
    return OK;
}

enum err recover_rows(const struct backend_config *config, struct conn *conn,
                      const struct meta *meta, bool check_values, const struct recover_sink *sink,
                      struct why *why)
{
    TRY(tables_verify(conn, &meta->tables, why));
    CLEANUP(recover_freep) struct recover *recover = calloc(1, sizeof *recover);
    if (recover == NULL) {
        return ERR_NOMEM;
    }
    recover->sink = *sink;
    recover->meta = meta;
    recover->env = config->env;
    recover->check_values = check_values;
    recover->why = why;
    bool any;
    TRY(read_bounds(conn, &any, &recover->unassigned, &recover->end, why));
    if (any) {
        uint64_t chunks = meta->rows.count / CHUNK_ROWS + 1;
        recover->step = (recover->end - recover->unassigned) / chunks + 1;
        TRY(read_rows(recover, config));
    }
    return compare(conn, meta, recover, why);
}
