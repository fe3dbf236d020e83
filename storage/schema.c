/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/schema.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/crc32c.h"

#define HASH_BYTES   16
#define META_COLUMNS 17 /* after id */

/* In the order in which sqlite_schema gives them, by name. Pages carry no checksums in SQLite; so
 * every row of ours does, and the definitions are compared letter by letter. */
struct definition {
    const char *name;
    const char *sql;
};

#define SMALL_TABLE(id, name)                                                  \
    {name, "CREATE TABLE " name "(key BLOB PRIMARY KEY, value BLOB NOT NULL, " \
           "checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID"},

static const struct definition definitions[] = {
    /* clang-format off */
    {"log", "CREATE TABLE log(rev INTEGER PRIMARY KEY, hdr BLOB NOT NULL, val BLOB) STRICT"},
    {"meta", "CREATE TABLE meta(id INTEGER PRIMARY KEY, "
        "cluster_id INTEGER NOT NULL, member_id INTEGER NOT NULL, "
        "applied_index INTEGER NOT NULL, applied_term INTEGER NOT NULL, "
        "revision INTEGER NOT NULL, compacted_revision INTEGER NOT NULL, hash BLOB NOT NULL, "
        "removed_revision INTEGER NOT NULL, walk_revision INTEGER NOT NULL, "
        "walk_at INTEGER NOT NULL, "
        "row_count INTEGER NOT NULL, row_bytes INTEGER NOT NULL, row_hash BLOB NOT NULL, "
        "table_count INTEGER NOT NULL, table_hash BLOB NOT NULL, "
        "clean INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT"},
    SCHEMA_TABLES(SMALL_TABLE)
    /* The live keys, for people: the newest row of each key, unless it is a tombstone. Byte 9 of
     * hdr has bit 0 for a tombstone, byte 10 says behind how many bytes the key begins. */
    {"kv", "CREATE VIEW kv(key, value, mod_revision) AS SELECT key, value, max(rev) >> 20 FROM ("
        "SELECT rev, CAST(substr(hdr, 1 + unicode(substr(hdr, 10, 1))) AS TEXT) AS key, "
        "CAST(val AS TEXT) AS value, substr(hdr, 9, 1) = x'01' AS tombstone FROM log) "
        "GROUP BY key HAVING NOT tombstone"},
    /* clang-format on */
};

void tally_add(struct tally *tally, uint64_t bytes, struct set_hash element)
{
    tally->count++;
    tally->bytes += bytes;
    set_hash_add(&tally->hash, element);
}

void tally_remove(struct tally *tally, uint64_t bytes, struct set_hash element)
{
    tally->count--;
    tally->bytes -= bytes;
    set_hash_remove(&tally->hash, element);
}

void tally_merge(struct tally *tally, const struct tally *other)
{
    tally->count += other->count;
    tally->bytes += other->bytes;
    set_hash_add(&tally->hash, other->hash);
}

bool tally_equal(const struct tally *a, const struct tally *b)
{
    return a->count == b->count && a->bytes == b->bytes && set_hash_equal(a->hash, b->hash);
}

/* Values of the meta row in the order of its columns, the checksum being the last. */
struct meta_values {
    int64_t numbers[META_COLUMNS];
    uint8_t hashes[META_COLUMNS][HASH_BYTES];
};

static bool is_hash_column(int i)
{
    return i == 6 || i == 12 || i == 14;
}

static uint32_t checksum_of(const struct meta_values *v)
{
    uint32_t crc = 0;
    for (int i = 0; i < META_COLUMNS - 1; i++) {
        uint8_t number[8];
        put_u64(number, (uint64_t)v->numbers[i]);
        crc = is_hash_column(i) ? crc32c(crc, v->hashes[i], HASH_BYTES)
                                : crc32c(crc, number, sizeof number);
    }
    return crc;
}

static void put_hash(uint8_t *at, struct set_hash hash)
{
    put_u64(at, hash.lo);
    put_u64(at + 8, hash.hi);
}

static struct set_hash get_hash(const uint8_t *at)
{
    return (struct set_hash){.lo = get_u64(at), .hi = get_u64(at + 8)};
}

static void values_of(const struct meta *m, struct meta_values *v)
{
    *v = (struct meta_values){.numbers = {
                                  (int64_t)m->identity.cluster_id,
                                  (int64_t)m->identity.member_id,
                                  (int64_t)m->state.applied_index,
                                  (int64_t)m->state.applied_term,
                                  m->state.revision,
                                  m->state.compacted_revision,
                                  0,
                                  m->removed_revision,
                                  m->walk_revision,
                                  0, /* walk_at: for what it was is not kept any more */
                                  (int64_t)m->rows.count,
                                  (int64_t)m->rows.bytes,
                                  0,
                                  (int64_t)m->tables.count,
                                  0,
                                  m->clean,
                              }};
    put_hash(v->hashes[6], m->state.hash);
    put_hash(v->hashes[12], m->rows.hash);
    put_hash(v->hashes[14], m->tables.hash);
    v->numbers[META_COLUMNS - 1] = checksum_of(v);
}

static void meta_of(const struct meta_values *v, struct meta *m)
{
    const int64_t *n = v->numbers;
    *m = (struct meta){
        .identity = {.cluster_id = (uint64_t)n[0], .member_id = (uint64_t)n[1]},
        .state = {.applied_index = (uint64_t)n[2],
                  .applied_term = (uint64_t)n[3],
                  .revision = n[4],
                  .compacted_revision = n[5],
                  .hash = get_hash(v->hashes[6])},
        .removed_revision = n[7],
        .walk_revision = n[8],
        .rows = {.count = (uint64_t)n[10],
                 .bytes = (uint64_t)n[11],
                 .hash = get_hash(v->hashes[12])},
        .tables = {.count = (uint64_t)n[13], .hash = get_hash(v->hashes[14])},
        .clean = n[15] != 0,
    };
}

enum err schema_write_meta(struct conn *conn, const struct meta *meta, struct why *why)
{
    struct meta_values v;
    values_of(meta, &v);
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, STMT_META_WRITE, &s, why));
    for (int i = 0; i < META_COLUMNS; i++) {
        if (is_hash_column(i)) {
            conn_bind_bytes(s, i + 1, bytes_of(v.hashes[i], HASH_BYTES));
        } else {
            int rc = sqlite3_bind_int64(s, i + 1, v.numbers[i]);
            ASSERT(rc == SQLITE_OK);
        }
    }
    return conn_run(conn, s, "write the state into", why);
}

/* The values of the row that S stands on; false when a column is not of its type. */
static bool read_values(sqlite3_stmt *s, struct meta_values *v)
{
    *v = (struct meta_values){0};
    if (sqlite3_column_count(s) != META_COLUMNS + 1) {
        return false;
    }
    for (int i = 0; i < META_COLUMNS; i++) {
        struct bytes hash;
        if (!is_hash_column(i)) {
            v->numbers[i] = sqlite3_column_int64(s, i + 1);
        } else if (conn_column_bytes(s, i + 1, &hash) && hash.len == HASH_BYTES) {
            memcpy(v->hashes[i], hash.data, HASH_BYTES);
        } else {
            return false;
        }
    }
    return true;
}

enum err schema_read_meta(struct conn *conn, struct meta *ret, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_stmt(conn, STMT_META_READ, &s, why));
    bool row;
    TRY(conn_step(conn, s, &row, why));
    struct meta_values v;
    bool readable = row && read_values(s, &v);
    (void)sqlite3_reset(s);
    if (!readable || v.numbers[META_COLUMNS - 1] != checksum_of(&v)) {
        why_set(why, "'%s': the row of table meta is missing or its checksum is wrong", conn->path);
        return ERR_CORRUPT;
    }
    meta_of(&v, ret);
    return OK;
}

/* One number of a pragma. */
static enum err read_pragma(struct conn *conn, const char *sql, int64_t *ret, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_prepare(conn, sql, &s, why));
    bool row;
    enum err err = conn_step(conn, s, &row, why);
    if (err == OK) {
        *ret = row ? sqlite3_column_int64(s, 0) : 0;
    }
    sqlite3_finalize(s);
    return err;
}

enum err schema_is_new(struct conn *conn, bool *is_new, struct why *why)
{
    int64_t objects;
    int64_t application_id;
    int64_t version;
    TRY(read_pragma(conn, "SELECT count(*) FROM sqlite_schema", &objects, why));
    TRY(read_pragma(conn, "PRAGMA application_id", &application_id, why));
    TRY(read_pragma(conn, "PRAGMA user_version", &version, why));
    *is_new = objects == 0 && application_id == 0 && version == 0;
    return OK;
}

static enum err create_all(struct conn *conn, struct why *why)
{
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        TRY(conn_exec(conn, definitions[i].sql, why));
    }
    char pragmas[128];
    (void)snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
                   SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
    return conn_exec(conn, pragmas, why);
}

enum err schema_create(struct conn *conn, const struct store_identity *identity, struct meta *ret,
                       struct why *why)
{
    struct meta meta = {
        .identity = *identity,
        .state = {.compacted_revision = -1},
        .removed_revision = -1,
        .walk_revision = -1,
    };
    enum err err = conn_run_stmt(conn, STMT_BEGIN_WRITE, why);
    if (err == OK) {
        err = create_all(conn, why);
    }
    if (err == OK) {
        err = schema_write_meta(conn, &meta, why);
    }
    if (err == OK) {
        err = conn_run_stmt(conn, STMT_COMMIT, why);
    }
    if (err != OK) {
        conn_rollback(conn);
        return err;
    }
    *ret = meta;
    return OK;
}

struct store_manifest schema_manifest(const struct store_identity *identity,
                                      const struct backend_state *state)
{
    return (struct store_manifest){.cluster_id = identity->cluster_id,
                                   .applied_index = state->applied_index,
                                   .applied_term = state->applied_term,
                                   .revision = state->revision,
                                   .compacted_revision = state->compacted_revision,
                                   .hash = state->hash};
}

static const struct definition *definition_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        if (name != NULL && strcmp(name, definitions[i].name) == 0) {
            return &definitions[i];
        }
    }
    return NULL;
}

/* Compare what S lists with the definitions. */
static enum err compare_definitions(struct conn *conn, sqlite3_stmt *s, struct why *why)
{
    size_t found = 0;
    for (;;) {
        bool row;
        TRY(conn_step(conn, s, &row, why));
        if (!row) {
            break;
        }
        const char *name = (const char *)sqlite3_column_text(s, 0);
        const char *sql = (const char *)sqlite3_column_text(s, 1);
        const struct definition *definition = definition_of(name);
        if (definition == NULL || sql == NULL || strcmp(sql, definition->sql) != 0) {
            why_set(why, "'%s': '%s' is not defined as it was made", conn->path,
                    name != NULL ? name : "");
            return ERR_CORRUPT;
        }
        found++;
    }
    if (found != ARRAY_LEN(definitions)) {
        why_set(why, "'%s': %zu tables and views instead of %zu", conn->path, found,
                ARRAY_LEN(definitions));
        return ERR_CORRUPT;
    }
    return OK;
}

static enum err verify_definitions(struct conn *conn, struct why *why)
{
    sqlite3_stmt *s;
    TRY(conn_prepare(conn, "SELECT name, sql FROM sqlite_schema", &s, why));
    enum err err = compare_definitions(conn, s, why);
    sqlite3_finalize(s);
    return err;
}

static enum err verify_format(struct conn *conn, struct why *why)
{
    int64_t application_id;
    int64_t version;
    TRY(read_pragma(conn, "PRAGMA application_id", &application_id, why));
    TRY(read_pragma(conn, "PRAGMA user_version", &version, why));
    if (application_id != SCHEMA_APPLICATION_ID) {
        why_set(why, "'%s' is not a database of Trivet (application id %#llx)", conn->path,
                (unsigned long long)application_id);
        return ERR_FOREIGN;
    }
    if (version > SCHEMA_VERSION) {
        why_set(why, "'%s' has format %lld, this program knows formats up to %d", conn->path,
                (long long)version, SCHEMA_VERSION);
        return ERR_VERSION;
    }
    if (version < 1) {
        why_set(why, "'%s' has format %lld", conn->path, (long long)version);
        return ERR_CORRUPT;
    }
    return OK;
}

/* Values that no program of ours writes together. */
static bool is_plausible(const struct meta *m)
{
    return m->state.revision >= 0 && m->state.compacted_revision >= -1 &&
           m->state.compacted_revision <= m->state.revision &&
           m->removed_revision <= m->state.compacted_revision &&
           m->walk_revision <= m->state.compacted_revision;
}

enum err schema_verify(struct conn *conn, const struct store_identity *identity, struct meta *ret,
                       struct why *why)
{
    TRY(verify_format(conn, why));
    TRY(verify_definitions(conn, why));
    struct meta meta;
    TRY(schema_read_meta(conn, &meta, why));
    if (identity != NULL && (meta.identity.cluster_id != identity->cluster_id ||
                             meta.identity.member_id != identity->member_id)) {
        why_set(why, "'%s' belongs to member %llx of cluster %llx, not to member %llx of %llx",
                conn->path, (unsigned long long)meta.identity.member_id,
                (unsigned long long)meta.identity.cluster_id,
                (unsigned long long)identity->member_id, (unsigned long long)identity->cluster_id);
        return ERR_FOREIGN;
    }
    if (!is_plausible(&meta)) {
        why_set(why, "'%s': the row of table meta contradicts itself", conn->path);
        return ERR_CORRUPT;
    }
    *ret = meta;
    return OK;
}
