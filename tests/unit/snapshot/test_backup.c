/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/backup.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "tests/lib/effort.h"
#include "tests/unit/snapshot/backup_fixture.h"

static char path[256];

static void setup(void)
{
    stored_setup();
    (void)snprintf(path, sizeof path, "%s", stored_save("saved.db"));
}

static enum err verify(bool without_digest)
{
    CLEANUP(backup_closep) struct backup *backup = NULL;
    stored.why = (struct why){{0}};
    TRY(backup_open(fs_real(), path, &backup, &stored.why));
    return backup_verify(backup, without_digest, NULL, &stored.why);
}

static struct backup *opened(void)
{
    struct backup *backup = NULL;
    enum err err = backup_open(fs_real(), path, &backup, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    return backup;
}

/* ---- what is in it ---- */

START_TEST(a_backup_is_whole_and_tells_where_it_stands)
{
    ck_assert_msg(verify(false) == OK, "%s", stored.why.text);
    CLEANUP(backup_closep) struct backup *backup = opened();
    const struct dbfile_info *info = dbfile_info(backup_database(backup));
    ck_assert(backup_has_digest(backup));
    ck_assert_uint_eq(info->identity.cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(info->identity.member_id, MEMBER_ID);
    ck_assert_uint_eq(info->applied_index, INDEX);
    ck_assert_uint_eq(info->applied_term, TERM);
    ck_assert_int_eq(info->revision, store_revision(stored.store));
    ck_assert_int_eq(info->compacted_revision, COMPACTED);
    ck_assert_uint_eq(info->size_bytes + DIGEST_BYTES, info->file_bytes);
}
END_TEST

/* To SQLite some characters, and two slashes at the beginning, mean something else. */
START_TEST(a_path_is_one_however_it_is_written)
{
    char before[sizeof path];
    memcpy(before, path, sizeof before);
    int len = snprintf(path, sizeof path, "/%.200s%%41 a?b#c", before);
    ck_assert_int_lt(len, (int)sizeof path);
    ck_assert_int_eq(rename(before, path), 0);
    ck_assert_msg(verify(false) == OK, "%s", stored.why.text);
}
END_TEST

static bool hashed;

static void on_hash(struct store_hash_request *request)
{
    (void)request;
    hashed = true;
}

/* At the newest revision, and at each that can be read. */
START_TEST(its_hash_is_that_of_the_store)
{
    CLEANUP(backup_closep) struct backup *backup = opened();
    for (int64_t revision = COMPACTED; revision <= store_revision(stored.store); revision++) {
        struct store_hash_request request = {.revision = revision};
        hashed = false;
        store_hash_start(stored.store, &request, on_hash);
        RUN_UNTIL(&stored.loop, hashed);
        ck_assert_int_eq(request.status, OK);
        struct dbfile_hash hash = {.revision = revision};
        ck_assert_int_eq(dbfile_hash(backup_database(backup), NULL, &hash, &stored.why), OK);
        ck_assert_msg(hash.hash == request.hash, "at revision %lld", (long long)revision);
        struct range_query query = {
            .key = bytes_of("", 1), .range_end = bytes_of("", 1), .revision = revision};
        query.count_only = true;
        struct range_result range;
        ck_assert_int_eq(store_range(stored.store, &query, &range), OK);
        ck_assert_int_eq(hash.key_count, range.count);
        range_result_fini(&range);
    }
}
END_TEST

struct listed {
    const struct range_result *want;
    size_t count;
};

static enum err compare_record(void *ctx, const struct record *record)
{
    struct listed *listed = ctx;
    ck_assert_uint_lt(listed->count, listed->want->records.count);
    const struct record *want = listed->want->records.items[listed->count++];
    ck_assert(bytes_equal(record_key(record), record_key(want)));
    ck_assert(bytes_equal(record_value(record), record_value(want)));
    ck_assert_uint_eq(record->rev, want->rev);
    ck_assert_int_eq(record->create_revision, want->create_revision);
    ck_assert_int_eq(record->version, want->version);
    ck_assert_int_eq(record->lease, want->lease);
    return OK;
}

static const struct {
    const char *key;
    const char *end;
    size_t end_len;
} ranges[] = {{"", "", 1}, {"k", "l", 1}, {"k04", "", 0}, {"k10", "", 1}, {"zzz", "", 0}};

START_TEST(it_lists_what_the_store_would_at_every_revision)
{
    CLEANUP(backup_closep) struct backup *backup = opened();
    struct bytes key = bytes_of_str(ranges[_i].key);
    struct bytes end = bytes_of(ranges[_i].end, ranges[_i].end_len);
    for (int64_t revision = COMPACTED; revision <= store_revision(stored.store); revision++) {
        struct range_query query = {.key = key, .range_end = end, .revision = revision};
        struct range_result want;
        ck_assert_int_eq(store_range(stored.store, &query, &want), OK);
        struct listed listed = {.want = &want};
        struct dbfile_query list = {.key = key, .range_end = end, .revision = revision};
        enum err err =
            dbfile_list(backup_database(backup), &list, compare_record, &listed, &stored.why);
        ck_assert_msg(err == OK, "%s", stored.why.text);
        ck_assert_uint_eq(listed.count, want.records.count);
        range_result_fini(&want);
    }
}
END_TEST

static enum err count_change(void *ctx, const struct record *record)
{
    int *counts = ctx;
    counts[record->tombstone]++;
    return record_mod_revision(record) > 70 ? ERR_LIMIT : OK;
}

START_TEST(it_tells_what_happened_to_a_key)
{
    CLEANUP(backup_closep) struct backup *backup = opened();
    int counts[2] = {0};
    struct dbfile_query query = {.key = bytes_of_str("k04"), .history = true};
    ck_assert_int_eq(dbfile_list(backup_database(backup), &query, count_change, counts, NULL), OK);
    ck_assert_int_ge(counts[0], 2); /* the last of three, and again after it was deleted; perhaps */
    ck_assert_int_eq(counts[1], 1); /* one that compaction has not removed yet */
}
END_TEST

START_TEST(revisions_that_it_has_not_are_refused)
{
    CLEANUP(backup_closep) struct backup *backup = opened();
    struct dbfile *database = backup_database(backup);
    struct dbfile_query query = {.key = bytes_of_str("k04"), .revision = COMPACTED - 1};
    ck_assert_int_eq(dbfile_list(database, &query, count_change, NULL, NULL), ERR_COMPACTED);
    query.revision = store_revision(stored.store) + 1;
    ck_assert_int_eq(dbfile_list(database, &query, count_change, NULL, NULL), ERR_FUTURE_REVISION);
    struct dbfile_hash hash = {.revision = COMPACTED - 1};
    ck_assert_int_eq(dbfile_hash(database, NULL, &hash, NULL), ERR_COMPACTED);
}
END_TEST

/* The sqlite3 shell opens it as it is, the digest behind it, and needs to write nothing. */
START_TEST(anybody_can_open_it_with_sqlite)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT value FROM kv WHERE key='k04'", -1, &s, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(s, 0), "again");
    sqlite3_finalize(s);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    char shm[300];
    (void)snprintf(shm, sizeof shm, "%s-shm", path);
    ck_assert_int_ne(access(shm, F_OK), 0);
    ck_assert_msg(verify(false) == OK, "%s", stored.why.text);
}
END_TEST

/* ---- damage ---- */

static void flip(struct buf *bytes, size_t at, uint8_t mask)
{
    bytes->data[at] ^= mask;
    file_write(path, buf_bytes(bytes));
    enum err err = verify(false);
    ck_assert_msg(err == ERR_CORRUPT || err == ERR_FOREIGN || err == ERR_VERSION,
                  "byte %zu, bits %x: %s", at, mask, err_text(err));
    ck_assert_msg(stored.why.text[0] != '\0', "byte %zu: no place", at);
    /* Without the digest some damage cannot be seen; nothing else comes of it. */
    err = verify(true);
    ck_assert_msg(err == OK || stored.why.text[0] != '\0', "byte %zu: no place", at);
    bytes->data[at] ^= mask;
}

/* The head, the digest and the last page byte by byte, the rest at random. */
START_TEST(a_byte_that_changed_is_refused_with_its_place)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    file_read(path, &bytes);
    size_t end = bytes.len - DIGEST_BYTES;
    for (size_t at = 0; at < 100; at++) {
        flip(&bytes, at, 1u << at % 8);
    }
    for (size_t at = end; at < bytes.len; at++) {
        flip(&bytes, at, 0x10);
    }
    unsigned count = effort_count(600, 60, "flipped bytes");
    for (unsigned i = 0; i < count; i++) {
        size_t at = (size_t)(mix64(i + 1) % end);
        flip(&bytes, at, (uint8_t)(1u << mix64(i) % 8));
    }
}
END_TEST

START_TEST(a_file_that_was_cut_or_added_to_is_refused)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    file_read(path, &bytes);
    size_t end = bytes.len - DIGEST_BYTES;
    const size_t lengths[] = {0,       1,       15,      99,       100,       4096,
                              end / 2, end - 1, end + 1, end + 31, end - 4096};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        file_write(path, bytes_of(bytes.data, lengths[i]));
        enum err err = verify(true);
        ck_assert_msg(err == ERR_CORRUPT, "%zu bytes: %s", lengths[i], err_text(err));
        ck_assert_ptr_nonnull(strstr(stored.why.text, "bytes"));
    }
    buf_append(&bytes, "x", 1);
    file_write(path, buf_bytes(&bytes));
    ck_assert_int_eq(verify(true), ERR_CORRUPT);
}
END_TEST

/* Somebody who knows how to sign a file. */
static const struct {
    const char *sql;
    enum err want;
    const char *place;
} changes[] = {
    {"UPDATE log SET val = x'00' WHERE rev >> 20 = 65", ERR_CORRUPT, "revision 65.0"},
    {"UPDATE log SET hdr = x'00112233445566778899' WHERE rev >> 20 = 64", ERR_CORRUPT,
     "revision 64.0"},
    {"DELETE FROM log WHERE rev >> 20 = 62", ERR_CORRUPT, "records"},
    {"DELETE FROM log", ERR_CORRUPT, "table log has 0 records"},
    {"INSERT INTO log SELECT rev + (1 << 30), hdr, val FROM log LIMIT 1", ERR_CORRUPT, "revision"},
    {"UPDATE lease SET value = x'00'", ERR_CORRUPT, "table lease"},
    {"DELETE FROM member", ERR_CORRUPT, "small tables"},
    {"UPDATE meta SET revision = revision + 1", ERR_CORRUPT, "table meta"},
    {"DELETE FROM meta", ERR_CORRUPT, "table meta"},
    {"CREATE TABLE other(a)", ERR_CORRUPT, "'other'"},
    {"DROP VIEW kv; CREATE VIEW kv AS SELECT 1", ERR_CORRUPT, "'kv'"},
    {"DROP TABLE auth", ERR_CORRUPT, "tables"},
    {"PRAGMA user_version = 2", ERR_VERSION, "format 2"},
    {"PRAGMA application_id = 1", ERR_FOREIGN, "not a database of Trivet"},
};

START_TEST(content_that_does_not_fit_is_refused_though_it_is_signed)
{
    file_change(path, changes[_i].sql);
    enum err err = verify(false);
    ck_assert_msg(err == changes[_i].want, "%s: %s", changes[_i].sql, stored.why.text);
    ck_assert_msg(strstr(stored.why.text, changes[_i].place) != NULL, "%s: %s", changes[_i].sql,
                  stored.why.text);
}
END_TEST

START_TEST(files_of_others_are_refused)
{
    static uint8_t bolt[8192];
    static const uint8_t magic[] = {0xed, 0xda, 0x0c, 0xed};
    tmpdir_write("saved.db",
                 "not a database, but more than a hundred bytes of something else: "
                 "a letter, perhaps, or a shopping list",
                 102);
    ck_assert_int_eq(verify(false), ERR_FOREIGN);
    memcpy(bolt + 16, magic, sizeof magic);
    tmpdir_write("saved.db", bolt, sizeof bolt);
    ck_assert_int_eq(verify(false), ERR_FOREIGN);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "etcd"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(verify(false), ERR_NOT_FOUND);
}
END_TEST

/* ---- without the digest ---- */

START_TEST(without_its_digest_it_is_refused_unless_that_is_wanted)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    file_read(path, &bytes);
    file_write(path, bytes_of(bytes.data, bytes.len - DIGEST_BYTES));
    ck_assert_int_eq(verify(false), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(stored.why.text, "--skip-hash-check"));
    ck_assert_msg(verify(true) == OK, "%s", stored.why.text);
}
END_TEST

START_TEST(a_database_with_a_wal_is_no_backup)
{
    char wal[300];
    (void)snprintf(wal, sizeof wal, "%s-wal", path);
    file_write(wal, bytes_of_str("frames"));
    ck_assert_int_eq(verify(true), ERR_INVALID);
    file_write(wal, bytes_of("", 0));
    ck_assert_msg(verify(true) == OK, "%s", stored.why.text);
}
END_TEST

static Suite *backup_suite(void)
{
    Suite *suite = suite_create("backup");
    TCase *tc = tcase_create("content");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, a_backup_is_whole_and_tells_where_it_stands);
    tcase_add_test(tc, a_path_is_one_however_it_is_written);
    tcase_add_test(tc, its_hash_is_that_of_the_store);
    tcase_add_loop_test(tc, it_lists_what_the_store_would_at_every_revision, 0, ARRAY_LEN(ranges));
    tcase_add_test(tc, it_tells_what_happened_to_a_key);
    tcase_add_test(tc, revisions_that_it_has_not_are_refused);
    tcase_add_test(tc, anybody_can_open_it_with_sqlite);
    suite_add_tcase(suite, tc);

    tc = tcase_create("damage");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, a_byte_that_changed_is_refused_with_its_place);
    tcase_add_test(tc, a_file_that_was_cut_or_added_to_is_refused);
    tcase_add_loop_test(tc, content_that_does_not_fit_is_refused_though_it_is_signed, 0,
                        ARRAY_LEN(changes));
    tcase_add_test(tc, files_of_others_are_refused);
    tcase_add_test(tc, without_its_digest_it_is_refused_unless_that_is_wanted);
    tcase_add_test(tc, a_database_with_a_wal_is_no_backup);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(backup_suite);
}
