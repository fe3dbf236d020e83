/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/conn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/plant.h"

/* Page size 4 KiB: larger pages write more for a small transaction. A small cache for the writer,
 * because SQLite 3.40 walks all of it on commits that split other trees than the log's, and for
 * readers because each foreign commit empties it. No mmap: a foreign commit unmaps it.
 * secure_delete is on in Debian's build and would overwrite what is removed. */
#define PRAGMAS_ALL                                                             \
    "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;" \
    "PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;"
#define PRAGMAS_WRITER                                                                  \
    "PRAGMA page_size=4096; PRAGMA auto_vacuum=NONE; PRAGMA journal_mode=WAL;"          \
    "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=OFF;" \
    "PRAGMA cache_size=-8192; PRAGMA journal_size_limit=134217728;"
#define PRAGMAS_READER                                                                 \
    "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-4096;" \
    "PRAGMA query_only=ON;"
#define PRAGMAS_IMMUTABLE "PRAGMA cache_size=-16384; PRAGMA query_only=ON;"
#define PRAGMAS_NEW                                                               \
    "PRAGMA page_size=4096; PRAGMA auto_vacuum=NONE; PRAGMA journal_mode=MEMORY;" \
    "PRAGMA synchronous=OFF; PRAGMA secure_delete=OFF; PRAGMA cache_size=-8192;"

static const char *const stmt_sql[STMT_COUNT] = {
#define STMT_SQL(name, sql) [STMT_##name] = sql,
    STMT_MAP(STMT_SQL)
#undef STMT_SQL
};

/* SQLite's settings are the process's: each connection stays with one thread at a time, and nobody
 * reads its memory statistics, which would cost a mutex per allocation. Too late when somebody has
 * used SQLite before; then it is only slower. */
static void configure_once(void)
{
    static bool done;
    if (!__atomic_exchange_n(&done, true, __ATOMIC_ACQ_REL)) {
        (void)sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
        (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    }
}

static bool disk_is_full(struct conn *conn)
{
    int number = sqlite3_system_errno(conn->db);
    return number == ENOSPC || number == EDQUOT;
}

static enum err code_of(struct conn *conn, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: /* a table or column that is not there */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_READONLY: /* says the header: files that may not be written are refused before */
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_LOCKED;
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) {
            return ERR_NOMEM;
        }
        if (rc == SQLITE_IOERR_CORRUPTFS || rc == SQLITE_IOERR_DATA) {
            return ERR_CORRUPT;
        }
        /* After a sync that failed nothing is known about the file, whatever the reason. */
        if (rc != SQLITE_IOERR_FSYNC && rc != SQLITE_IOERR_DIR_FSYNC && disk_is_full(conn)) {
            return ERR_NO_SPACE;
        }
        return ERR_IO;
    case SQLITE_CANTOPEN:
        return disk_is_full(conn) ? ERR_NO_SPACE : ERR_IO;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
        fatal("storage: SQLite was misused: %s", sqlite3_errmsg(conn->db));
    default:
        return ERR_IO;
    }
}

enum err conn_error(struct conn *conn, int rc, const char *what, struct why *why)
{
    ASSERT(rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE);
    enum err err = code_of(conn, rc);
    int number = sqlite3_system_errno(conn->db);
    bool system = err == ERR_IO && number != 0;
    why_set(why, "%s '%s': %s (SQLite code %d)%s%s", what, conn->path, sqlite3_errmsg(conn->db), rc,
            system ? ": " : "", system ? strerror(number) : "");
    return err;
}

/* PATH as a URI that says so much more. NULL: no memory. */
static char *immutable_uri(const char *path)
{
    CLEANUP(buf_fini) struct buf uri = {0};
    /* What follows two slashes alone is the name of a host. */
    buf_append_str(&uri, path[0] == '/' ? "file://" : "file:");
    for (const char *at = path; *at != '\0'; at++) {
        if (strchr("%?#", *at) != NULL) {
            buf_printf(&uri, "%%%02x", (unsigned char)*at);
        } else {
            buf_append(&uri, at, 1);
        }
    }
    buf_append(&uri, "?immutable=1", sizeof "?immutable=1");
    return buf_ok(&uri) ? (char *)TAKE(uri.data) : NULL;
}

static int open_db(struct conn *conn, const char *vfs, enum conn_mode mode)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    vfs = vfs != NULL ? vfs : "unix-excl";
    if (mode != CONN_IMMUTABLE) {
        flags |= SQLITE_OPEN_READWRITE | (mode == CONN_READER ? 0 : SQLITE_OPEN_CREATE);
        return sqlite3_open_v2(conn->path, &conn->db, flags, vfs);
    }
    CLEANUP(freep) char *uri = immutable_uri(conn->path);
    flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
    return uri == NULL ? SQLITE_NOMEM : sqlite3_open_v2(uri, &conn->db, flags, vfs);
}

enum err conn_open(const char *path, const char *vfs, enum conn_mode mode, struct conn **ret,
                   struct why *why)
{
    configure_once();
    CLEANUP(conn_closep) struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || (conn->path = strdup(path)) == NULL) {
        return ERR_NOMEM;
    }
    int rc = open_db(conn, vfs, mode);
    if (conn->db == NULL) {
        return ERR_NOMEM;
    }
    if (rc != SQLITE_OK) {
        return conn_error(conn, rc, "open database", why);
    }
    rc = sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    ASSERT(rc == SQLITE_OK);
    rc = sqlite3_db_config(conn->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    ASSERT(rc == SQLITE_OK);
    TRY(conn_exec(conn, PRAGMAS_ALL, why));
    *ret = TAKE(conn);
    return OK;
}

enum err conn_set_up(struct conn *conn, enum conn_mode mode, struct why *why)
{
    static const char *const pragmas[] = {[CONN_WRITER] = PRAGMAS_WRITER,
                                          [CONN_READER] = PRAGMAS_READER,
                                          [CONN_NEW] = PRAGMAS_NEW,
                                          [CONN_IMMUTABLE] = PRAGMAS_IMMUTABLE};
    TRY(conn_exec(conn, pragmas[mode], why));
    if (mode == CONN_WRITER || mode == CONN_READER) {
        int on = 1; /* readers that end must not remove the WAL under the writer */
        int rc = sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
        ASSERT(rc == SQLITE_OK || rc == SQLITE_NOTFOUND);
    }
    return OK;
}

void conn_close(struct conn *conn)
{
    if (conn == NULL) {
        return;
    }
    for (size_t i = 0; i < STMT_COUNT; i++) {
        sqlite3_finalize(conn->stmts[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(conn->table_stmts); i++) {
        sqlite3_finalize(conn->table_stmts[i]);
    }
    int rc = sqlite3_close(conn->db);
    ASSERT(rc == SQLITE_OK);
    free(conn->path);
    free(conn);
}

void conn_closep(struct conn **conn)
{
    conn_close(*conn);
}

enum err conn_exec(struct conn *conn, const char *sql, struct why *why)
{
    int rc = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? OK : conn_error(conn, rc, "set up database", why);
}

enum err conn_prepare(struct conn *conn, const char *sql, sqlite3_stmt **ret, struct why *why)
{
    int rc = sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    return rc == SQLITE_OK ? OK : conn_error(conn, rc, "prepare a statement for", why);
}

enum err conn_stmt(struct conn *conn, enum stmt stmt, sqlite3_stmt **ret, struct why *why)
{
    if (conn->stmts[stmt] == NULL) {
        TRY(conn_prepare(conn, stmt_sql[stmt], &conn->stmts[stmt], why));
    }
    *ret = conn->stmts[stmt];
    return OK;
}

enum err conn_step(struct conn *conn, sqlite3_stmt *stmt, bool *row, struct why *why)
{
    int rc = sqlite3_step(stmt);
    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW) {
        return OK;
    }
    enum err err = rc == SQLITE_DONE ? OK : conn_error(conn, rc, "use database", why);
    (void)sqlite3_reset(stmt); /* says again what step has said */
    return err;
}

enum err conn_run(struct conn *conn, sqlite3_stmt *stmt, const char *what, struct why *why)
{
    int rc = sqlite3_step(stmt);
    enum err err = OK;
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        err = conn_error(conn, rc, what, why);
    }
    (void)sqlite3_reset(stmt);
    return err;
}

enum err conn_run_stmt(struct conn *conn, enum stmt stmt, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, stmt, &s, why));
    return conn_run(conn, s, stmt_sql[stmt], why);
}

enum err conn_number(struct conn *conn, enum stmt stmt, int64_t *ret, struct why *why)
{
    sqlite3_stmt *s;
    bool row;
    TRY(conn_stmt(conn, stmt, &s, why));
    TRY(conn_step(conn, s, &row, why));
    ASSERT(row);
    *ret = sqlite3_column_int64(s, 0);
    (void)sqlite3_reset(s);
    return OK;
}

void conn_rollback(struct conn *conn)
{
    if (!sqlite3_get_autocommit(conn->db)) {
        /* It can only fail when the failure before it has rolled back already. */
        enum err err = conn_run_stmt(conn, STMT_ROLLBACK, NULL);
        ASSERT(err == OK || sqlite3_get_autocommit(conn->db));
    }
}

enum err conn_sync(struct conn *conn, struct why *why)
{
    sqlite3_file *file = conn_file(conn);
    if (PLANTED(DEFRAG_UNSYNCED)) {
        return OK;
    }
    int rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (rc != SQLITE_OK) {
        why_set(why, "sync '%s': %s", conn->path, sqlite3_errstr(rc));
        return ERR_IO;
    }
    return OK;
}

void conn_bind_bytes(sqlite3_stmt *stmt, int column, struct bytes bytes)
{
    int rc = sqlite3_bind_blob64(stmt, column, bytes.len > 0 ? (const void *)bytes.data : "",
                                 bytes.len, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK || rc == SQLITE_TOOBIG);
}

bool conn_column_bytes(sqlite3_stmt *stmt, int column, struct bytes *ret)
{
    const void *data = sqlite3_column_blob(stmt, column);
    int len = sqlite3_column_bytes(stmt, column);
    *ret = bytes_of(data, (size_t)len);
    /* NULL is what an empty blob is, and a NULL; and what a lack of memory looks like. */
    return data != NULL || sqlite3_errcode(sqlite3_db_handle(stmt)) != SQLITE_NOMEM;
}

static sqlite3_file *file_of(struct conn *conn, int which)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(conn->db, "main", which, &file);
    ASSERT(rc == SQLITE_OK);
    return file != NULL && file->pMethods != NULL ? file : NULL;
}

sqlite3_file *conn_file(struct conn *conn)
{
    return file_of(conn, SQLITE_FCNTL_FILE_POINTER);
}

sqlite3_file *conn_wal(struct conn *conn)
{
    return file_of(conn, SQLITE_FCNTL_JOURNAL_POINTER);
}
