/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dbrewrite.h"

#include "base/codec.h"

#include "storage/tables.h"

/* The rows of TABLE, all of them, through tables_change: so the tally follows. */
struct emptying {
    enum store_table table;
    struct buf keys; /* each behind its length */
};

static enum err collect_key(void *ctx, struct bytes key, struct bytes value)
{
    struct emptying *emptying = ctx;
    (void)value;
    write_var_bytes(&emptying->keys, key);
    return buf_ok(&emptying->keys) ? OK : ERR_NOMEM;
}

static enum err delete_keys(struct conn *conn, const struct emptying *emptying, struct meta *meta,
                            struct why *why)
{
    struct reader r = reader_of(buf_bytes(&emptying->keys));
    while (reader_left(&r) > 0) {
        struct backend_change change = {.table = emptying->table, .is_delete = true};
        change.key = read_var_bytes(&r, emptying->keys.len);
        TRY(tables_change(conn, &change, &meta->tables, why));
    }
    return OK;
}

static enum err empty_table(struct conn *conn, enum store_table table, struct meta *meta,
                            struct why *why)
{
    struct emptying emptying = {.table = table};
    enum err err = tables_foreach(conn, table, collect_key, &emptying, NULL, why);
    if (err == OK) {
        err = delete_keys(conn, &emptying, meta, why);
    }
    buf_fini(&emptying.keys);
    return err;
}

static enum err change_tables(struct conn *conn, const struct dbrewrite *change, struct meta *meta,
                              struct why *why)
{
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        if (change->empty_table[table]) {
            TRY(empty_table(conn, table, meta, why));
        }
    }
    for (size_t i = 0; i < change->row_count; i++) {
        const struct dbrewrite_row *row = &change->rows[i];
        struct backend_change put = {.table = row->table, .key = row->key, .value = row->value};
        TRY(tables_change(conn, &put, &meta->tables, why));
    }
    return OK;
}

static enum err change_all(struct conn *conn, const struct dbrewrite *change, struct meta *meta,
                           struct why *why)
{
    TRY(change_tables(conn, change, meta, why));
    meta->identity = change->identity;
    meta->state.applied_index = change->applied_index;
    meta->state.applied_term = change->applied_term;
    meta->state.revision = change->revision;
    meta->state.compacted_revision = change->compacted_revision;
    meta->clean = false; /* the next start looks at everything */
    TRY(schema_write_meta(conn, meta, why));
    return conn_run_stmt(conn, STMT_COMMIT, why);
}

static enum err open_existing(const char *path, enum conn_mode mode, struct conn **ret,
                              struct meta *meta, struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(conn_open(path, NULL, CONN_READER, &conn, why)); /* makes nothing */
    TRY(schema_verify(conn, NULL, meta, why));
    TRY(conn_set_up(conn, mode, why));
    *ret = TAKE(conn);
    return OK;
}

/* The WAL into the file, and both synced. */
static enum err make_durable(struct conn *conn, struct why *why)
{
    int rc = sqlite3_wal_checkpoint_v2(conn->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? OK : conn_error(conn, rc, "checkpoint", why);
}

enum err dbrewrite(const char *path, const struct dbrewrite *change, bool in_place, struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    struct meta meta;
    TRY(open_existing(path, in_place ? CONN_WRITER : CONN_NEW, &conn, &meta, why));
    if (change->revision < meta.state.revision ||
        change->compacted_revision < meta.state.compacted_revision ||
        change->compacted_revision > change->revision) {
        why_set(why, "'%s': revisions do not go back", path);
        return ERR_INVALID;
    }
    TRY(conn_run_stmt(conn, STMT_BEGIN_WRITE, why));
    enum err err = change_all(conn, change, &meta, why);
    if (err != OK) {
        conn_rollback(conn);
    } else if (in_place) {
        err = make_durable(conn, why);
    }
    return err;
}

enum err dbrewrite_read(const char *path, struct dbrewrite_state *ret, struct why *why)
{
    CLEANUP(conn_closep) struct conn *conn = NULL;
    struct meta meta;
    TRY(conn_open(path, NULL, CONN_READER, &conn, why));
    TRY(schema_verify(conn, NULL, &meta, why));
    *ret = (struct dbrewrite_state){
        .identity = meta.identity,
        .applied_index = meta.state.applied_index,
        .applied_term = meta.state.applied_term,
        .revision = meta.state.revision,
        .compacted_revision = meta.state.compacted_revision,
    };
    return OK;
}
