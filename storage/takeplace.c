/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/takeplace.h"

#include "base/assert.h"
#include "storage/backend_private.h"

#define LET_GO_BYTES (8u * 1024 * 1024)

enum err takeplace_end_old(struct drain *drain, struct why *why)
{
    int rc =
        sqlite3_wal_checkpoint_v2(drain->conn->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK) {
        enum err err = conn_error(drain->conn, rc, "checkpoint", why);
        if (err != ERR_LOCKED && err != ERR_NO_SPACE) {
            fatal("storage: end the old database: %s: %s", err_text(err), why->text);
        }
        return err;
    }
    checkpoint_sync_wal(drain->conn);
    return OK;
}

static enum err rename_and_open(const struct backend_config *config, struct drain *drain,
                                const char *path, struct why *why)
{
    TRY(fs_rename(config->fs, path, config->path, why));
    TRY(fs_sync_parent(config->fs, config->path, why));
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(conn_open(config->path, config->vfs, CONN_WRITER, &conn, why));
    TRY(conn_set_up(conn, CONN_WRITER, why));
    TRY(fs_sync_parent(config->fs, config->path, why));
    return drain_reopen(drain, TAKE(conn), why);
}

void takeplace_rename(const struct backend_config *config, struct drain *drain, const char *path,
                      struct fs_file **old)
{
    struct why why = {.text = ""};
    if (fs_open(config->fs, config->path, FS_WRITE, old, NULL) != OK) {
        *old = NULL; /* then its last connection lets it go */
    }
    conn_close(TAKE(drain->conn));
    enum err err = rename_and_open(config, drain, path, &why);
    if (err != OK) {
        fatal("storage: put '%s' in the place of the database: %s: %s", path, err_text(err),
              why.text);
    }
}

void takeplace_let_go(struct fs_file *old)
{
    uint64_t size = 0;
    enum err err = old != NULL ? fs_size(old, &size, NULL) : ERR_NOT_FOUND;
    while (err == OK && size > LET_GO_BYTES) {
        size -= LET_GO_BYTES;
        err = fs_truncate(old, size, NULL); /* else the rest goes with the close */
    }
    fs_close(old);
}

static enum err open_all(struct backend *backend, struct conn **checkpoint_conn, struct why *why)
{
    const struct backend_config *config = &backend->config;
    CLEANUP(conn_closep) struct conn *conn = NULL;
    TRY(backend_open_reader(config, &conn, why));
    conn_close(backend->conn);
    backend->conn = TAKE(conn);
    TRY(backend_open_reader(config, checkpoint_conn, why));
    TRY(readers_resume(&backend->readers, config->path, config->vfs, why));
    return copier_open_source(&backend->copier, why);
}

/* They were there a moment ago, so failing is fatal. */
void takeplace_reopen(struct backend *backend, uint64_t durable_index)
{
    struct why why = {.text = ""};
    struct conn *checkpoint_conn = NULL;
    enum err err = open_all(backend, &checkpoint_conn, &why);
    if (err != OK) {
        fatal("storage: open the database again: %s: %s", err_text(err), why.text);
    }
    checkpoint_release(&backend->checkpoint, checkpoint_conn, &backend->latest, durable_index);
}
