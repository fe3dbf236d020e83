/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dbfile.h"

#include "base/codec.h"
#include "storage/drain.h"
#include "storage/hashrows.h"
#include "storage/keyload.h"
#include "storage/rows.h"
#include "storage/tables.h"

/* The head of an SQLite file, big-endian, from SQLite's description of its format:
 *
 *   0 "SQLite format 3\0"   16 u16 page size    24 u32 change counter   60 u32 user version
 *   28 u32 pages, valid when 92 (u32) equals 24                         68 u32 application id */
#define HEAD_BYTES 100u
#define PAGE_BYTES 4096u
/* An etcd database (bbolt): this behind the 16 bytes of its first page's header. */
#define BBOLT_MAGIC_AT 16u
#define BBOLT_MAGIC    0xed0cdaedu

#define PROGRESS_ROWS  4096u
#define DAMAGE_LINES   3u
#define DAMAGE_SQL     "PRAGMA integrity_check(3)"
#define REVISION_LIMIT ((int64_t)1 << (63 - REVISION_SUB_BITS))

struct dbfile {
    struct fs *fs;
    struct conn *conn;
    struct meta meta;
    struct dbfile_info info;
};

void dbfile_close(struct dbfile *file)
{
    if (file != NULL) {
        conn_close(file->conn);
        free(file);
    }
}

void dbfile_closep(struct dbfile **file)
{
    dbfile_close(*file);
}

const struct dbfile_info *dbfile_info(const struct dbfile *file)
{
    return &file->info;
}

/* ---- opening ---- */

static enum err check_magic(const uint8_t *head, const char *path, struct why *why)
{
    if (memcmp(head, "SQLite format 3", 16) == 0) {
        return OK;
    }
    if (get_u32(head + BBOLT_MAGIC_AT) == BBOLT_MAGIC) {
        why_set(why, "'%s' is a database of etcd itself (bbolt), which is not read here", path);
    } else {
        why_set(why, "'%s' is not a database of Trivet: at 0: no SQLite file begins so", path);
    }
    return ERR_FOREIGN;
}

/* What SQLite would find out later, or not say as well. */
static enum err check_head(const uint8_t *head, struct dbfile_info *info, const char *path,
                           struct why *why)
{
    TRY(check_magic(head, path, why));
    struct reader r = reader_of(bytes_of(head, HEAD_BYTES));
    (void)read_bytes(&r, 24);
    uint32_t changes = read_u32_be(&r);
    uint32_t pages = read_u32_be(&r);
    (void)read_bytes(&r, 60);
    uint32_t valid_for = read_u32_be(&r);
    if (head[16] != PAGE_BYTES >> 8 || head[17] != 0 || changes != valid_for || pages == 0) {
        why_set(why, "'%s': the head of the file, its first 100 bytes, is damaged", path);
        return ERR_CORRUPT;
    }
    info->size_bytes = (uint64_t)pages * PAGE_BYTES;
    if (info->file_bytes < info->size_bytes) {
        why_set(why, "'%s' is cut off: it ends after %llu of %llu bytes", path,
                (unsigned long long)info->file_bytes, (unsigned long long)info->size_bytes);
        return ERR_CORRUPT;
    }
    return OK;
}

static enum err read_head(struct dbfile *file, const char *path, struct why *why)
{
    CLEANUP(fs_closep) struct fs_file *opened = NULL;
    TRY(fs_open(file->fs, path, FS_READ, &opened, why));
    TRY(fs_size(opened, &file->info.file_bytes, why));
    uint8_t head[HEAD_BYTES];
    size_t got;
    TRY(fs_read(opened, 0, head, sizeof head, &got, why));
    if (got < sizeof head) {
        why_set(why, "'%s' is cut off: it ends after %zu bytes", path, got);
        return ERR_CORRUPT;
    }
    return check_head(head, &file->info, path, why);
}

static void fill_info(struct dbfile *file)
{
    const struct meta *meta = &file->meta;
    file->info.identity = meta->identity;
    file->info.format = SCHEMA_VERSION;
    file->info.applied_index = meta->state.applied_index;
    file->info.applied_term = meta->state.applied_term;
    file->info.revision = meta->state.revision > 0 ? meta->state.revision : 1;
    file->info.compacted_revision = meta->state.compacted_revision;
    file->info.record_count = meta->rows.count;
    file->info.record_bytes = meta->rows.bytes;
}

enum err dbfile_open(struct fs *fs, const char *path, struct dbfile **ret, struct why *why)
{
    CLEANUP(dbfile_closep) struct dbfile *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return ERR_NOMEM;
    }
    file->fs = fs;
    TRY(read_head(file, path, why));
    TRY(conn_open(path, NULL, CONN_IMMUTABLE, &file->conn, why));
    TRY(schema_verify(file->conn, NULL, &file->meta, why));
    TRY(conn_set_up(file->conn, CONN_IMMUTABLE, why));
    if (file->meta.state.revision >= REVISION_LIMIT) {
        why_set(why, "'%s': the row of table meta contradicts itself", path);
        return ERR_CORRUPT;
    }
    fill_info(file);
    *ret = TAKE(file);
    return OK;
}

/* ---- reading rows ---- */

static void tell(const struct dbfile_progress *progress, uint64_t done, uint64_t total)
{
    if (progress != NULL) {
        progress->fn(progress->ctx, done, total);
    }
}

/* A page that cannot be read says nothing of the record: say behind which one it was. */
static enum err placed(enum err err, const struct rows *rows, struct why *why)
{
    if (err == ERR_CORRUPT && why != NULL && strstr(why->text, "revision") == NULL) {
        why_prefix(why, "behind revision %lld.%u", (long long)revision_main(rows->last),
                   revision_sub(rows->last));
    }
    return err;
}

static enum err visit(struct rows *rows, const struct dbfile_progress *progress, uint64_t total,
                      backend_rows_cb fn, void *ctx, struct why *why)
{
    for (uint64_t done = 0;; done++) {
        bool more;
        struct backend_row row;
        TRY(placed(rows_next(rows, &more, &row, why), rows, why));
        if (!more) {
            return OK;
        }
        TRY(fn(ctx, &row, 1));
        if (done % PROGRESS_ROWS == 0) {
            tell(progress, done, total);
        }
    }
}

/* Every row up to revision TO, to FN. */
static enum err visit_rows(struct dbfile *file, int64_t to, bool with_values,
                           const struct dbfile_progress *progress, backend_rows_cb fn, void *ctx,
                           struct why *why)
{
    struct rows rows;
    revision_t last = revision_pack(to, REVISION_SUB_MAX);
    TRY(rows_begin(&rows, file->conn, 1, last, with_values, why));
    enum err err = visit(&rows, progress, file->info.record_count, fn, ctx, why);
    rows_end(&rows);
    return err;
}

/* ---- checking ---- */

static enum err report_pages(struct dbfile *file, sqlite3_stmt *s, struct why *why)
{
    CLEANUP(buf_fini) struct buf damage = {0};
    for (unsigned lines = 0; lines < DAMAGE_LINES; lines++) {
        bool row;
        TRY(conn_step(file->conn, s, &row, why));
        if (!row) {
            break;
        }
        const char *text = (const char *)sqlite3_column_text(s, 0);
        if (text == NULL) {
            return ERR_NOMEM;
        }
        if (strcmp(text, "ok") == 0) {
            return OK;
        }
        buf_printf(&damage, "%s%s", lines == 0 ? "" : "; ", text);
    }
    if (!buf_ok(&damage)) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < damage.len; i++) {
        damage.data[i] = damage.data[i] == '\n' ? ' ' : damage.data[i];
    }
    why_set(why, "'%s': pages are damaged: %.*s", file->conn->path, (int)damage.len,
            (const char *)damage.data);
    return ERR_CORRUPT;
}

/* The trees of every table, and that each page is part of one thing. */
static enum err check_pages(struct dbfile *file, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_prepare(file->conn, DAMAGE_SQL, &s, why));
    enum err err = report_pages(file, s, why);
    sqlite3_finalize(s);
    return err;
}

struct checking {
    struct keyload *load;
    struct tally tally;
    struct why *why;
};

static enum err check_row(void *ctx, const struct backend_row *rows, size_t count)
{
    struct checking *checking = ctx;
    for (size_t i = 0; i < count; i++) {
        const struct backend_row *row = &rows[i];
        tally_add(&checking->tally, drain_row_bytes(row->header_len, row->value_len),
                  drain_row_element(row->rev, row->header.checksum));
        TRY(keyload_add(checking->load, row->rev, &row->header, checking->why));
    }
    return OK;
}

static enum err check_rows(struct dbfile *file, struct checking *checking,
                           const struct dbfile_progress *progress, struct why *why)
{
    TRY(visit_rows(file, REVISION_LIMIT - 1, true, progress, check_row, checking, why));
    if (!tally_equal(&checking->tally, &file->meta.rows)) {
        why_set(why, "'%s': table log has %llu records that are not the %llu written",
                file->conn->path, (unsigned long long)checking->tally.count,
                (unsigned long long)file->meta.rows.count);
        return ERR_CORRUPT;
    }
    struct keyindex *index;
    TRY(keyload_finish(checking->load, file->meta.state.compacted_revision, &index, why));
    keyindex_free(index);
    return OK;
}

enum err dbfile_check(struct dbfile *file, const struct dbfile_progress *progress, struct why *why)
{
    TRY(check_pages(file, why));
    TRY(tables_verify(file->conn, &file->meta.tables, why));
    struct checking checking = {.load = keyload_new(), .why = why};
    if (checking.load == NULL) {
        return ERR_NOMEM;
    }
    enum err err = check_rows(file, &checking, progress, why);
    keyload_free(checking.load);
    return err;
}

/* ---- hashing ---- */

static enum err readable_revision(const struct dbfile *file, int64_t revision, int64_t *ret,
                                  struct why *why)
{
    const struct dbfile_info *info = &file->info;
    *ret = revision <= 0 ? info->revision : revision;
    if (*ret > info->revision) {
        why_set(why, "'%s' ends at revision %lld", file->conn->path, (long long)info->revision);
        return ERR_FUTURE_REVISION;
    }
    if (*ret < info->compacted_revision) {
        why_set(why, "'%s' is compacted up to revision %lld", file->conn->path,
                (long long)info->compacted_revision);
        return ERR_COMPACTED;
    }
    return OK;
}

static enum err hash_rows(struct dbfile *file, struct hashrows *rows,
                          const struct dbfile_progress *progress, struct why *why)
{
    if (rows->compacted > 0) {
        TRY(visit_rows(file, rows->revision, false, NULL, hashrows_collect, rows, why));
    }
    do {
        hashrows_begin(rows);
        TRY(visit_rows(file, rows->revision, true, progress, hashrows_add, rows, why));
    } while (hashrows_again(rows));
    return OK;
}

enum err dbfile_hash(struct dbfile *file, const struct dbfile_progress *progress,
                     struct dbfile_hash *ret, struct why *why)
{
    struct hashrows rows = {.compacted = file->meta.state.compacted_revision};
    TRY(readable_revision(file, ret->revision, &rows.revision, why));
    enum err err = hash_rows(file, &rows, progress, why);
    *ret = (struct dbfile_hash){
        .revision = rows.revision, .hash = rows.hash.crc, .key_count = rows.alive};
    hashrows_fini(&rows);
    return err;
}

/* ---- listing ---- */

struct listing {
    struct key_range range;
    dbfile_record_cb fn;
    void *ctx;
};

static bool is_listed(const struct listing *listing, struct bytes key)
{
    if (key_range_is_single(&listing->range)) {
        return bytes_equal(key, listing->range.key);
    }
    return bytes_compare(key, listing->range.key) >= 0 &&
           key_range_before_end(&listing->range, key);
}

static enum err list_row(void *ctx, const struct backend_row *rows, size_t count)
{
    struct listing *listing = ctx;
    for (size_t i = 0; i < count; i++) {
        if (!is_listed(listing, rows[i].header.key)) {
            continue;
        }
        struct record *record = rows_record(&rows[i]);
        if (record == NULL) {
            return ERR_NOMEM;
        }
        enum err err = listing->fn(listing->ctx, record);
        record_unref(record);
        TRY(err);
    }
    return OK;
}

static enum err index_row(void *ctx, const struct backend_row *rows, size_t count)
{
    struct checking *checking = ctx;
    for (size_t i = 0; i < count; i++) {
        TRY(keyload_add(checking->load, rows[i].rev, &rows[i].header, checking->why));
    }
    return OK;
}

static enum err list_key(struct dbfile *file, const struct listing *listing, revision_t rev,
                         struct why *why)
{
    struct record *record;
    TRY(rows_get(file->conn, rev, &record, why));
    enum err err = listing->fn(listing->ctx, record);
    record_unref(record);
    return err;
}

static enum err list_index(struct dbfile *file, const struct listing *listing,
                           const struct keyindex *index, int64_t at, struct why *why)
{
    struct keyindex_cursor cursor;
    keyindex_seek(index, listing->range.key, &cursor);
    while (keyindex_valid(&cursor) && is_listed(listing, keyindex_key(&cursor))) {
        struct version version;
        if (keyindex_find(&cursor, at, &version)) {
            TRY(list_key(file, listing, version.rev, why));
        }
        keyindex_next(&cursor);
    }
    return OK;
}

static enum err list_keys(struct dbfile *file, const struct listing *listing, int64_t at,
                          struct why *why)
{
    struct checking checking = {.load = keyload_new(), .why = why};
    if (checking.load == NULL) {
        return ERR_NOMEM;
    }
    struct keyindex *index = NULL;
    enum err err = visit_rows(file, REVISION_LIMIT - 1, false, NULL, index_row, &checking, why);
    if (err == OK) {
        err = keyload_finish(checking.load, file->meta.state.compacted_revision, &index, why);
    }
    if (err == OK) {
        err = list_index(file, listing, index, at, why);
        keyindex_free(index);
    }
    keyload_free(checking.load);
    return err;
}

enum err dbfile_list(struct dbfile *file, const struct dbfile_query *query, dbfile_record_cb fn,
                     void *ctx, struct why *why)
{
    int64_t at;
    TRY(readable_revision(file, query->revision, &at, why));
    struct listing listing = {
        .range = {.key = query->key, .end = query->range_end}, .fn = fn, .ctx = ctx};
    if (query->history) {
        return visit_rows(file, at, true, NULL, list_row, &listing, why);
    }
    return list_keys(file, &listing, at, why);
}

enum err dbfile_table(struct dbfile *file, enum store_table table,
                      enum err (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                      struct why *why)
{
    return tables_foreach(file->conn, table, fn, ctx, NULL, why);
}
