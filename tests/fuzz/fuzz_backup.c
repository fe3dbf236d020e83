/* SPDX-License-Identifier: Apache-2.0 */
/* A backup that is damaged: looked at, verified, listed, hashed and restored, as trivet-backup
 * does. What is verified is whole: it can be read, and restored.
 *
 *   0  u8: bit 0 no SHA-256 behind it, bit 1 a wrong one (else the right one), bit 2 it is not
 *      looked at, bit 3 restored as well, bit 4 with all revisions bumped
 *   1  damage (tests/fuzz/basedb.h) */
#include "snapshot/backup.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "snapshot/restore.h"
#include "tests/fuzz/basedb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/env_fake.h"

enum how { NO_DIGEST = 1, WRONG_DIGEST = 2, WITHOUT_DIGEST = 4, RESTORE = 8, BUMP = 16 };

static char backup_path[512];
static char data_path[512];

static void write_backup(const struct buf *content)
{
    FILE *file = fopen(backup_path, "we");
    CLAIM(file != NULL);
    CLAIM(fwrite(content->data, 1, content->len, file) == content->len);
    CLAIM(fclose(file) == 0);
}

/* SQLite reads as many pages as the first says; the digest is behind those. */
static void add_digest(struct buf *content, bool wrong)
{
    struct digest *digest = digest_new();
    CLAIM(digest != NULL);
    digest_add(digest, buf_bytes(content));
    uint8_t *at = buf_extend(content, DIGEST_BYTES);
    CLAIM(at != NULL);
    digest_end(digest, at);
    at[0] ^= wrong;
    digest_free(digest);
}

/* ---- reading ---- */

static enum err look_at_record(void *ctx, const struct record *record)
{
    CLAIM(record->key_len <= KEY_BYTES_MAX);
    return ++*(unsigned *)ctx > 1000 ? ERR_CANCELLED : OK;
}

static enum err look_at_row(void *ctx, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(unsigned *)ctx;
    return OK;
}

/* With or without having verified it: nothing in it is trusted. WHOLE: it was. */
static void read_all(struct dbfile *file, bool whole)
{
    struct why why = {{0}};
    struct dbfile_hash hash = {.revision = 0};
    unsigned count = 0;
    struct dbfile_query query = {.key = bytes_of("", 1), .range_end = bytes_of("", 1)};
    enum err err = dbfile_list(file, &query, look_at_record, &count, &why);
    CLAIM(err == OK || !whole);
    query.history = true;
    err = dbfile_list(file, &query, look_at_record, &count, &why);
    CLAIM(err == OK || !whole);
    err = dbfile_hash(file, NULL, &hash, &why);
    CLAIM(err == OK || !whole);
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        err = dbfile_table(file, table, look_at_row, &count, &why);
        CLAIM(err == OK || !whole);
    }
}

static bool verify(bool without_digest)
{
    CLEANUP(backup_closep) struct backup *backup = NULL;
    struct why why = {{0}};
    enum err err = backup_open(fs_real(), backup_path, &backup, &why);
    CLAIM(err == OK || why.text[0] != '\0' || err == ERR_NOMEM);
    if (err != OK) {
        return false;
    }
    err = backup_verify(backup, without_digest, NULL, &why);
    CLAIM(err == OK || why.text[0] != '\0' || err == ERR_NOMEM);
    read_all(backup_database(backup), err == OK);
    return err == OK;
}

/* ---- restoring ---- */

static enum err restore_it(uint8_t how)
{
    static const struct node_member member = {
        .id = 9, .address = "localhost:2380", .role = MEMBER_VOTER};
    struct env_fake *fake = env_fake_new(1);
    struct restore_config config = {
        .env = env_fake_env(fake),
        .file = backup_path,
        .data_dir = data_path,
        .identity = {.cluster_id = 8, .member_id = 9},
        .members = &member,
        .member_count = 1,
        .without_digest = (how & WITHOUT_DIGEST) != 0,
        .bump_revision = (how & BUMP) != 0 ? 1000 : 0,
        .mark_compacted = (how & BUMP) != 0,
    };
    struct restore_result result;
    struct why why = {{0}};
    enum err err = restore(&config, &result, &why);
    CLAIM(err == OK || why.text[0] != '\0' || err == ERR_NOMEM);
    env_fake_free(fake);
    fuzz_remove_tree(data_path);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    uint8_t how = read_u8(&input);
    CLEANUP(buf_fini) struct buf content = {0};
    (void)snprintf(backup_path, sizeof backup_path, "%s/backup.db", fuzz_directory());
    (void)snprintf(data_path, sizeof data_path, "%s/data", fuzz_directory());
    basedb_damage(&input, &content);
    if ((how & NO_DIGEST) == 0) {
        add_digest(&content, (how & WRONG_DIGEST) != 0);
    }
    write_backup(&content);
    bool whole = verify((how & WITHOUT_DIGEST) != 0);
    if ((how & RESTORE) != 0) {
        CLAIM((restore_it(how) == OK) == whole);
    }
    return 0;
}
