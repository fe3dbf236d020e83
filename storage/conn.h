/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CONN_H
#define STORAGE_CONN_H

#include <sqlite3.h>

#include "base/fs.h"

/* One connection to the database: how it is opened, its statements, and what SQLite's codes mean to
 * us. A connection is used by one thread at a time, whichever that is. */

enum conn_mode {
    CONN_WRITER, /* makes the file when it is not there */
    CONN_READER,
    CONN_NEW, /* a second file that is written once and then renamed: no WAL, no syncs by itself */
    CONN_IMMUTABLE, /* a copy that nobody writes: only read, without locks, nothing made beside it
                     */
};

/* Statements are prepared when first used and kept: X(name, sql). */
#define STMT_MAP(X)                                                                              \
    X(BEGIN, "BEGIN")                                                                            \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                            \
    X(COMMIT, "COMMIT")                                                                          \
    X(ROLLBACK, "ROLLBACK")                                                                      \
    X(PAGE_COUNT, "PRAGMA page_count")                                                           \
    X(FREELIST_COUNT, "PRAGMA freelist_count")                                                   \
    X(META_READ, "SELECT * FROM meta")                                                           \
    X(META_WRITE, "REPLACE INTO meta VALUES(1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")               \
    X(ROWS_INSERT, "INSERT OR FAIL INTO log SELECT rev, hdr, val FROM feed")                     \
    X(ROW_DELETE, "DELETE FROM log WHERE rev=?")                                                 \
    X(ROW_GET, "SELECT hdr, val FROM log WHERE rev=?")                                           \
    X(ROW_GET_HEADER, "SELECT hdr, length(val) FROM log WHERE rev=?")                            \
    X(ROWS, "SELECT rev, hdr, length(val), val FROM log WHERE rev BETWEEN ? AND ? ORDER BY rev") \
    X(ROWS_HEADERS,                                                                              \
      "SELECT rev, hdr, length(val) FROM log WHERE rev BETWEEN ? AND ? ORDER BY rev")            \
    X(ROWS_BOUNDS, "SELECT (SELECT min(rev) FROM log), (SELECT max(rev) FROM log)")

enum stmt {
#define STMT_ENUM(name, sql) STMT_##name,
    STMT_MAP(STMT_ENUM)
#undef STMT_ENUM
        STMT_COUNT
};

struct rowfeed;

struct conn {
    sqlite3 *db;
    char *path;
    sqlite3_stmt *stmts[STMT_COUNT];
    sqlite3_stmt *table_stmts[3 * 8]; /* of tables.c */
    struct rowfeed *feed;             /* of rowfeed.c, while it runs */
};

/* VFS as in backend_config. Blocks. */
MUST_CHECK enum err conn_open(const char *path, const char *vfs, enum conn_mode mode,
                              struct conn **ret, struct why *why);
void conn_close(struct conn *conn); /* NULL allowed */
void conn_closep(struct conn **conn);

/* The pragmas that may only be set once it is known that the file is ours. To sync the directory
 * afterwards is the caller's (fs_sync_parent): SQLite changes to WAL mode under a rollback journal
 * and removes that without syncing it. Were it to come back after a loss of power, it would undo
 * the change over a database that has gone on. */
MUST_CHECK enum err conn_set_up(struct conn *conn, enum conn_mode mode, struct why *why);

/* What the last call's result RC says, with WHAT and SQLite's text in why. RC is no success. */
MUST_CHECK enum err conn_error(struct conn *conn, int rc, const char *what, struct why *why);

/* Run statements that give no rows. */
MUST_CHECK enum err conn_exec(struct conn *conn, const char *sql, struct why *why);

MUST_CHECK enum err conn_prepare(struct conn *conn, const char *sql, sqlite3_stmt **ret,
                                 struct why *why);
MUST_CHECK enum err conn_stmt(struct conn *conn, enum stmt stmt, sqlite3_stmt **ret,
                              struct why *why);

/* Step a statement that gives no row, and reset it. */
MUST_CHECK enum err conn_run(struct conn *conn, sqlite3_stmt *stmt, const char *what,
                             struct why *why);
/* The same for one of the list that takes no parameters. */
MUST_CHECK enum err conn_run_stmt(struct conn *conn, enum stmt stmt, struct why *why);
/* Step: *ROW tells whether there is one; without a row the statement is reset. */
MUST_CHECK enum err conn_step(struct conn *conn, sqlite3_stmt *stmt, bool *row, struct why *why);
/* One number from a statement without parameters. */
MUST_CHECK enum err conn_number(struct conn *conn, enum stmt stmt, int64_t *ret, struct why *why);

/* End whatever transaction is open without keeping its changes. */
void conn_rollback(struct conn *conn);

/* Bind bytes that stay where they are until the statement is reset; empty ones as an empty blob. */
void conn_bind_bytes(sqlite3_stmt *stmt, int column, struct bytes bytes);
/* A view, valid until the next step or reset. False: no memory for it. */
bool conn_column_bytes(sqlite3_stmt *stmt, int column, struct bytes *ret);

/* The open file of the database, or of its WAL; NULL while there is none. */
sqlite3_file *conn_file(struct conn *conn);
sqlite3_file *conn_wal(struct conn *conn);
/* Sync the database file. ERR_IO. */
MUST_CHECK enum err conn_sync(struct conn *conn, struct why *why);

#endif
