/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/tables.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/crc32c.h"

enum { TABLE_GET, TABLE_PUT, TABLE_DELETE, TABLE_STMTS };

static const struct {
    const char *name;
    const char *sql[TABLE_STMTS];
} tables[TABLE_COUNT] = {
#define TABLE_SQL(id, table)                                                    \
    [id] = {table,                                                              \
            {[TABLE_GET] = "SELECT value, checksum FROM " table " WHERE key=?", \
             [TABLE_PUT] = "REPLACE INTO " table " VALUES(?,?,?)",              \
             [TABLE_DELETE] = "DELETE FROM " table " WHERE key=?"}},
    SCHEMA_TABLES(TABLE_SQL)
#undef TABLE_SQL
};

static_assert(TABLE_COUNT * TABLE_STMTS <= ARRAY_LEN(((struct conn *)0)->table_stmts),
              "a connection has room for the statements of every table");

static bool is_table(enum store_table table)
{
    return table > 0 && table < TABLE_COUNT && tables[table].name != NULL;
}

static enum err table_stmt(struct conn *conn, enum store_table table, int which, sqlite3_stmt **ret,
                           struct why *why)
{
    ASSERT(is_table(table));
    sqlite3_stmt **s = &conn->table_stmts[(int)table * TABLE_STMTS + which];
    if (*s == NULL) {
        TRY(conn_prepare(conn, tables[table].sql[which], s, why));
    }
    *ret = *s;
    return OK;
}

/* Of table, key and value; the length keeps them apart. */
static uint32_t row_checksum(enum store_table table, struct bytes key, struct bytes value)
{
    uint8_t head[9];
    head[0] = (uint8_t)table;
    put_u64(head + 1, key.len);
    uint32_t crc = crc32c(0, head, sizeof head);
    crc = crc32c(crc, key.data, key.len);
    return crc32c(crc, value.data, value.len);
}

static struct set_hash row_element(enum store_table table, struct bytes key, uint32_t checksum)
{
    return set_hash_element(checksum, (uint64_t)crc32c(0, key.data, key.len) << 8 | table);
}

/* Is the row that S stands on, with its checksum in COLUMN, the one that was written? */
static enum err check_row(const struct conn *conn, sqlite3_stmt *s, int column,
                          enum store_table table, uint32_t checksum, struct why *why)
{
    if (sqlite3_column_int64(s, column) != checksum) {
        why_set(why, "'%s': a row of table %s has a wrong checksum", conn->path,
                tables[table].name);
        return ERR_CORRUPT;
    }
    return OK;
}

/* Take the row that is there out of the tally. What is damaged would take something else out. */
static enum err forget_row(struct conn *conn, enum store_table table, struct bytes key,
                           struct tally *tally, struct why *why)
{
    sqlite3_stmt *s;
    TRY(table_stmt(conn, table, TABLE_GET, &s, why));
    conn_bind_bytes(s, 1, key);
    bool row;
    TRY(conn_step(conn, s, &row, why));
    if (!row) {
        return OK;
    }
    struct bytes value;
    enum err err = conn_column_bytes(s, 0, &value) ? OK : ERR_NOMEM;
    if (err == OK) {
        uint32_t checksum = row_checksum(table, key, value);
        err = check_row(conn, s, 1, table, checksum, why);
        tally_remove(tally, 0, row_element(table, key, checksum));
    }
    (void)sqlite3_reset(s);
    return err;
}

enum err tables_change(struct conn *conn, const struct backend_change *change, struct tally *tally,
                       struct why *why)
{
    TRY(forget_row(conn, change->table, change->key, tally, why));
    sqlite3_stmt *s;
    if (change->is_delete) {
        TRY(table_stmt(conn, change->table, TABLE_DELETE, &s, why));
        conn_bind_bytes(s, 1, change->key);
        return conn_run(conn, s, "delete a table's row in", why);
    }
    uint32_t checksum = row_checksum(change->table, change->key, change->value);
    TRY(table_stmt(conn, change->table, TABLE_PUT, &s, why));
    conn_bind_bytes(s, 1, change->key);
    conn_bind_bytes(s, 2, change->value);
    int rc = sqlite3_bind_int64(s, 3, checksum);
    ASSERT(rc == SQLITE_OK);
    tally_add(tally, 0, row_element(change->table, change->key, checksum));
    return conn_run(conn, s, "write a table's row into", why);
}

enum err tables_clear(struct conn *conn, struct why *why)
{
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "DELETE FROM %s", tables[table].name);
        TRY(conn_exec(conn, sql, why));
    }
    return OK;
}

struct foreach {
    enum store_table table;
    enum err (*fn)(void *ctx, struct bytes key, struct bytes value);
    void *ctx;
    struct tally *tally;
};

/* The row that S stands on. */
static enum err visit_row(struct conn *conn, sqlite3_stmt *s, const struct foreach *f,
                          struct why *why)
{
    struct bytes key;
    struct bytes value;
    if (!conn_column_bytes(s, 0, &key) || !conn_column_bytes(s, 1, &value)) {
        return ERR_NOMEM;
    }
    uint32_t checksum = row_checksum(f->table, key, value);
    TRY(check_row(conn, s, 2, f->table, checksum, why));
    if (f->tally != NULL) {
        tally_add(f->tally, 0, row_element(f->table, key, checksum));
    }
    return f->fn != NULL ? f->fn(f->ctx, key, value) : OK;
}

static enum err visit_rows(struct conn *conn, sqlite3_stmt *s, const struct foreach *f,
                           struct why *why)
{
    for (;;) {
        bool row;
        TRY(conn_step(conn, s, &row, why));
        if (!row) {
            return OK;
        }
        TRY(visit_row(conn, s, f, why));
    }
}

enum err tables_foreach(struct conn *conn, enum store_table table,
                        enum err (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                        struct tally *tally, struct why *why)
{
    ASSERT(is_table(table));
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SELECT key, value, checksum FROM %s ORDER BY key",
                   tables[table].name);
    sqlite3_stmt *s;
    TRY(conn_prepare(conn, sql, &s, why));
    struct foreach f = {.table = table, .fn = fn, .ctx = ctx, .tally = tally};
    enum err err = visit_rows(conn, s, &f, why);
    sqlite3_finalize(s);
    return err;
}

enum err tables_verify(struct conn *conn, const struct tally *tally, struct why *why)
{
    struct tally found = {0};
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        TRY(tables_foreach(conn, table, NULL, NULL, &found, why));
    }
    if (!tally_equal(&found, tally)) {
        why_set(why, "'%s': the small tables have %llu rows that are not the %llu written",
                conn->path, (unsigned long long)found.count, (unsigned long long)tally->count);
        return ERR_CORRUPT;
    }
    return OK;
}
