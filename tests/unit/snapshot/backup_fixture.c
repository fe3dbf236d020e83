/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/snapshot/backup_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs_real.h"

struct stored stored;

static void open_store(void)
{
    struct store_config config = {
        .env = stored.loop.env,
        .path = stored.path,
        .identity = {.cluster_id = CLUSTER_ID, .member_id = MEMBER_ID},
    };
    enum err err = store_open(&config, &stored.store, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
    struct spool_config spool = {
        .env = stored.loop.env,
        .fs = fs_real(),
        .store = stored.store,
        .path = stored.path,
        .copies_max = 2,
        .spare_bytes = SPARE_BYTES,
    };
    ck_assert_int_eq(spool_new(&spool, &stored.spool), OK);
}

static void begin(void)
{
    store_entry_begin(stored.store, ++stored.index, TERM);
    store_txn_begin(stored.store);
}

static void end(void)
{
    (void)store_txn_end(stored.store);
    store_entry_end(stored.store);
}

void stored_put(const char *key, const char *value, int64_t lease)
{
    begin();
    struct store_put put = {.key = bytes_of_str(key), .value = bytes_of_str(value), .lease = lease};
    ck_assert_int_eq(store_put(stored.store, &put, NULL), OK);
    end();
}

static void delete_key(const char *key)
{
    int64_t deleted;
    begin();
    ck_assert_int_eq(
        store_delete_range(stored.store, bytes_of_str(key), bytes_of(NULL, 0), &deleted, NULL), OK);
    ck_assert_int_eq(deleted, 1);
    end();
}

static void fill(void)
{
    static char large[20000];
    memset(large, 'x', sizeof large - 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++) {
            char key[16];
            char value[40];
            (void)snprintf(key, sizeof key, "k%02d", i);
            (void)snprintf(value, sizeof value, "value %d of %d", round, i);
            stored_put(key, value, 0);
        }
    }
    delete_key("k03");
    delete_key("k04");
    stored_put("k04", "again", 0);
    stored_put("leased", "for a while", LEASE);
    stored_put("large", large, 0);
    begin();
    ck_assert_int_eq(store_compact(stored.store, COMPACTED), OK);
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        store_table_put(stored.store, table, bytes_of_str("row"), bytes_of_str("content"));
    }
    end();
    while (stored.index < INDEX) {
        stored_put("filler", "", 0);
    }
}

void stored_setup(void)
{
    stored = (struct stored){.index = 0};
    tmpdir_setup();
    (void)snprintf(stored.path, sizeof stored.path, "%s", tmpdir_path("store.db"));
    loop_init(&stored.loop);
    open_store();
    fill();
}

void stored_teardown(void)
{
    store_close(stored.store);
    spool_free(stored.spool);
    loop_fini(&stored.loop);
    tmpdir_teardown();
}

/* ---- a backup ---- */

static bool called;
static enum err call_status;

static void on_called(struct spool_copy *copy, enum err status)
{
    (void)copy;
    called = true;
    call_status = status;
}

const char *stored_save(const char *name)
{
    struct spool_copy copy;
    struct buf bytes = {0};
    called = false;
    ck_assert_int_eq(spool_start(stored.spool, &copy, on_called), OK);
    RUN_UNTIL(&stored.loop, called);
    ck_assert_int_eq(call_status, OK);
    while (!copy.is_last) {
        called = false;
        spool_read(&copy, on_called);
        RUN_UNTIL(&stored.loop, called);
        ck_assert_int_eq(call_status, OK);
        ck_assert_uint_le(copy.piece->len, SPOOL_PIECE_BYTES);
        buf_append_bytes(&bytes, blob_bytes(copy.piece));
    }
    spool_end(&copy);
    ck_assert(buf_ok(&bytes));
    tmpdir_write(name, bytes.data, bytes.len);
    buf_fini(&bytes);
    return tmpdir_path(name);
}

/* ---- files ---- */

void file_read(const char *path, struct buf *ret)
{
    enum err err = fs_read_file(fs_real(), path, 1u << 28, ret, &stored.why);
    ck_assert_msg(err == OK, "%s", stored.why.text);
}

void file_write(const char *path, struct bytes bytes)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes.data, 1, bytes.len, file), bytes.len);
    ck_assert_int_eq(fclose(file), 0);
}

void file_sign(struct buf *bytes)
{
    struct digest *digest = digest_new();
    ck_assert_ptr_nonnull(digest);
    digest_add(digest, bytes_of(bytes->data, bytes->len - DIGEST_BYTES));
    digest_end(digest, bytes->data + bytes->len - DIGEST_BYTES);
    digest_free(digest);
}

void file_change(const char *path, const char *sql)
{
    struct buf bytes = {0};
    file_read(path, &bytes);
    file_write(path, bytes_of(bytes.data, bytes.len - DIGEST_BYTES));
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    file_read(path, &bytes);
    (void)buf_extend(&bytes, DIGEST_BYTES);
    file_sign(&bytes);
    file_write(path, buf_bytes(&bytes));
    buf_fini(&bytes);
}
