/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rows.h"

#include "base/assert.h"

static enum err corrupt(struct conn *conn, revision_t rev, const char *what, struct why *why)
{
    why_set(why, "'%s': revision %lld.%u: %s", conn->path, (long long)revision_main(rev),
            revision_sub(rev), what);
    return ERR_CORRUPT;
}

static void bind_rev(sqlite3_stmt *stmt, int column, revision_t rev)
{
    /* Revisions end where SQLite's row numbers do. */
    int64_t row = rev > INT64_MAX ? INT64_MAX : (int64_t)rev;
    int rc = sqlite3_bind_int64(stmt, column, row);
    ASSERT(rc == SQLITE_OK);
}

enum err rows_begin(struct rows *rows, struct conn *conn, revision_t from, revision_t to,
                    bool with_values, struct why *why)
{
    sqlite3_stmt *stmt;
    TRY(conn_stmt(conn, with_values ? STMT_ROWS : STMT_ROWS_HEADERS, &stmt, why));
    bind_rev(stmt, 1, from);
    bind_rev(stmt, 2, to);
    *rows = (struct rows){.conn = conn, .stmt = stmt, .with_values = with_values};
    return OK;
}

enum err rows_next(struct rows *rows, bool *more, struct backend_row *ret, struct why *why)
{
    TRY(conn_step(rows->conn, rows->stmt, more, why));
    if (!*more) {
        return OK;
    }
    struct backend_row row = {.rev = (revision_t)sqlite3_column_int64(rows->stmt, 0)};
    if (row.rev <= rows->last) {
        return corrupt(rows->conn, row.rev, "out of order", why);
    }
    struct bytes header;
    if (!conn_column_bytes(rows->stmt, 1, &header)) {
        return ERR_NOMEM;
    }
    if (record_decode_header(row.rev, header, &row.header) != OK) {
        return corrupt(rows->conn, row.rev, "the header is damaged", why);
    }
    row.header_len = (uint32_t)header.len;
    row.value_len = (uint32_t)sqlite3_column_int64(rows->stmt, 2);
    if (rows->with_values) {
        if (!conn_column_bytes(rows->stmt, 3, &row.value)) {
            return ERR_NOMEM;
        }
        if (!record_value_matches(&row.header, row.value)) {
            return corrupt(rows->conn, row.rev, "the value's checksum is wrong", why);
        }
    }
    rows->last = row.rev;
    rows->header = header;
    *ret = row;
    return OK;
}

void rows_end(struct rows *rows)
{
    (void)sqlite3_reset(rows->stmt);
}

/* S stands on the row of REV, or nowhere. */
static enum err take_record(struct conn *conn, sqlite3_stmt *s, revision_t rev, struct record **ret,
                            struct why *why)
{
    bool found;
    TRY(conn_step(conn, s, &found, why));
    if (!found) {
        why_set(why, "'%s': revision %lld.%u is not there", conn->path,
                (long long)revision_main(rev), revision_sub(rev));
        return ERR_NOT_FOUND;
    }
    struct bytes header;
    struct bytes value;
    if (!conn_column_bytes(s, 0, &header) || !conn_column_bytes(s, 1, &value)) {
        return ERR_NOMEM;
    }
    enum err err = record_decode(rev, header, value, ret);
    return err == ERR_CORRUPT ? corrupt(conn, rev, "a checksum is wrong", why) : err;
}

enum err rows_get(struct conn *conn, revision_t rev, struct record **ret, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, STMT_ROW_GET, &s, why));
    bind_rev(s, 1, rev);
    enum err err = take_record(conn, s, rev, ret, why);
    (void)sqlite3_reset(s);
    return err;
}

struct record *rows_record(const struct backend_row *row)
{
    return record_of_row(row->rev, &row->header, row->value);
}
