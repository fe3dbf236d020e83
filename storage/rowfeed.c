/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rowfeed.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

/* SQLite's interface for virtual tables: sqlite.org/vtab.html. The table is there whenever its name
 * is used (no xCreate), can only be read, and only from its beginning to its end. */
enum { COLUMN_REV, COLUMN_HEADER, COLUMN_VALUE };

/* What a connection's statement reads from, while it runs. */
struct rowfeed {
    rowfeed_next_cb next;
    void *ctx;
    enum err status; /* of the last next */
    struct why *why;
};

struct feed_table {
    sqlite3_vtab base; /* first: SQLite knows this part */
    struct conn *conn;
};

struct feed_cursor {
    sqlite3_vtab_cursor base; /* first */
    struct feed_row row;
    bool more;
};

static int on_connect(sqlite3 *db, void *ctx, int argc, const char *const *argv, sqlite3_vtab **ret,
                      char **message)
{
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE feed(rev, hdr, val)");
    if (rc != SQLITE_OK) {
        return rc;
    }
    struct feed_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        return SQLITE_NOMEM;
    }
    table->conn = ctx;
    *ret = &table->base;
    return SQLITE_OK;
}

static int on_disconnect(sqlite3_vtab *base)
{
    free(CONTAINER_OF(base, struct feed_table, base));
    return SQLITE_OK;
}

static int on_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    (void)base;
    (void)info; /* there is one way only */
    return SQLITE_OK;
}

static int on_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret)
{
    (void)base;
    struct feed_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return SQLITE_NOMEM;
    }
    *ret = &cursor->base;
    return SQLITE_OK;
}

static int on_close(sqlite3_vtab_cursor *base)
{
    free(CONTAINER_OF(base, struct feed_cursor, base));
    return SQLITE_OK;
}

static int on_next(sqlite3_vtab_cursor *base)
{
    struct feed_cursor *cursor = CONTAINER_OF(base, struct feed_cursor, base);
    struct rowfeed *feed = CONTAINER_OF(base->pVtab, struct feed_table, base)->conn->feed;
    ASSERT(feed != NULL);
    feed->status = feed->next(feed->ctx, &cursor->row, &cursor->more, feed->why);
    return feed->status == OK ? SQLITE_OK : SQLITE_ABORT;
}

static int on_filter(sqlite3_vtab_cursor *base, int index, const char *name, int argc,
                     sqlite3_value **argv)
{
    (void)index;
    (void)name;
    (void)argc;
    (void)argv;
    return on_next(base);
}

static int on_eof(sqlite3_vtab_cursor *base)
{
    return !CONTAINER_OF(base, struct feed_cursor, base)->more;
}

/* An empty blob is not NULL. */
static void give_bytes(sqlite3_context *to, struct bytes bytes)
{
    sqlite3_result_blob64(to, bytes.len > 0 ? (const void *)bytes.data : "", bytes.len,
                          SQLITE_STATIC);
}

static int on_column(sqlite3_vtab_cursor *base, sqlite3_context *to, int column)
{
    const struct feed_row *row = &CONTAINER_OF(base, struct feed_cursor, base)->row;
    if (column == COLUMN_REV) {
        sqlite3_result_int64(to, (sqlite3_int64)row->rev);
    } else if (column == COLUMN_HEADER) {
        give_bytes(to, row->header);
    } else if (column == COLUMN_VALUE && !row->tombstone) {
        give_bytes(to, row->value);
    }
    return SQLITE_OK;
}

static int on_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)CONTAINER_OF(base, struct feed_cursor, base)->row.rev;
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .xConnect = on_connect,
    .xBestIndex = on_best_index,
    .xDisconnect = on_disconnect,
    .xOpen = on_open,
    .xClose = on_close,
    .xFilter = on_filter,
    .xNext = on_next,
    .xEof = on_eof,
    .xColumn = on_column,
    .xRowid = on_rowid,
};

static enum err prepare(struct conn *conn, sqlite3_stmt **ret, struct why *why)
{
    if (conn->stmts[STMT_ROWS_INSERT] == NULL) {
        int rc = sqlite3_create_module_v2(conn->db, "feed", &module, conn, NULL);
        if (rc != SQLITE_OK) {
            return conn_error(conn, rc, "prepare to write rows into", why);
        }
    }
    return conn_stmt(conn, STMT_ROWS_INSERT, ret, why);
}

enum err rowfeed_insert(struct conn *conn, rowfeed_next_cb next, void *ctx, struct why *why)
{
    sqlite3_stmt *s;
    TRY(prepare(conn, &s, why));
    struct rowfeed feed = {.next = next, .ctx = ctx, .status = OK, .why = why};
    ASSERT(conn->feed == NULL);
    conn->feed = &feed;
    struct why said = {.text = ""};
    enum err err = conn_run(conn, s, "write rows into", &said);
    conn->feed = NULL;
    if (feed.status != OK) {
        return feed.status; /* which has said why */
    }
    if (err != OK) {
        why_set(why, "%s", said.text);
    }
    return err;
}
