/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-backup/fetch.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "snapshot/backupwriter.h"

#define SNAPSHOT_PATH "/etcdserverpb.Maintenance/Snapshot"
#define VERSION_BYTES 32

/* Fields of SnapshotResponse. */
#define TAG_REMAINING 0x10u
#define TAG_BLOB      0x1au
#define TAG_VERSION   0x22u

struct fetch {
    struct fetch_config config;
    size_t slot;
    struct backupwriter *writer;
    struct grpc_request request;
    struct env_timer stall;
    struct env_timer later; /* what must not happen inside a callback of the request */
    uint64_t began_ms;
    uint64_t done_bytes;
    uint64_t total_bytes;
    char version[VERSION_BYTES];
    enum err status; /* of the attempt under way */
    struct why why;
    struct why whys; /* of all attempts */
};

uint64_t fetch_bytes(const struct fetch *fetch)
{
    return fetch->done_bytes;
}

uint64_t fetch_expected_bytes(const struct fetch *fetch)
{
    return fetch->total_bytes;
}

uint64_t fetch_ms(const struct fetch *fetch)
{
    return env_now_ms(fetch->config.env) - fetch->began_ms;
}

const char *fetch_endpoint(const struct fetch *fetch)
{
    return client_slot_name(fetch->config.client, fetch->slot);
}

const char *fetch_version(const struct fetch *fetch)
{
    return fetch->version;
}

static void finish(struct fetch *fetch, enum err status)
{
    env_timer_stop(fetch->config.env, &fetch->stall);
    env_timer_stop(fetch->config.env, &fetch->later);
    backupwriter_free(TAKE(fetch->writer));
    fetch->config.on_done(fetch->config.ctx, status, &fetch->whys);
    free(fetch);
}

/* The attempt is over: go on in a turn of its own. */
static void end_attempt(struct fetch *fetch, enum err status)
{
    fetch->status = status;
    env_timer_stop(fetch->config.env, &fetch->stall);
    env_timer_start(fetch->config.env, &fetch->later, 0);
}

/* ---- what comes ---- */

struct snapshot_piece {
    uint64_t remaining;
    struct bytes blob;
    struct bytes version;
};

static enum err read_piece(struct bytes message, struct snapshot_piece *ret)
{
    struct reader r = reader_of(message);
    *ret = (struct snapshot_piece){.remaining = 0};
    while (reader_left(&r) > 0) {
        uint64_t tag = read_varint(&r);
        if (tag == TAG_REMAINING) {
            ret->remaining = read_varint(&r);
        } else if (tag == TAG_BLOB) {
            ret->blob = read_var_bytes(&r, message.len);
        } else if (tag == TAG_VERSION) {
            ret->version = read_var_bytes(&r, message.len);
        } else if ((tag & 7) == 2) {
            (void)read_var_bytes(&r, message.len);
        } else if ((tag & 7) == 0) {
            (void)read_varint(&r);
        } else {
            reader_fail(&r);
        }
    }
    return reader_end(&r);
}

static enum err take_piece(struct fetch *fetch, struct bytes message)
{
    struct snapshot_piece piece;
    if (read_piece(message, &piece) != OK) {
        why_set(&fetch->why, "a malformed message");
        return ERR_MALFORMED;
    }
    if (piece.version.len < VERSION_BYTES) {
        memcpy(fetch->version, piece.version.data, piece.version.len);
        fetch->version[piece.version.len] = '\0';
    }
    if (fetch->done_bytes == 0) {
        uint64_t left_bytes = piece.blob.len + piece.remaining;
        fetch->total_bytes = left_bytes;
        TRY(backupwriter_expect(fetch->writer, left_bytes, &fetch->why));
    }
    TRY(backupwriter_add(fetch->writer, piece.blob, &fetch->why));
    fetch->done_bytes += piece.blob.len;
    if (piece.remaining > 0) {
        fetch->total_bytes = fetch->done_bytes + piece.remaining;
    }
    if (fetch->config.on_progress != NULL) {
        fetch->config.on_progress(fetch->config.ctx, fetch->done_bytes, fetch->total_bytes);
    }
    return OK;
}

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct fetch *fetch = CONTAINER_OF(request, struct fetch, request);
    enum err err = take_piece(fetch, message);
    if (err != OK) {
        grpc_request_cancel(request);
        end_attempt(fetch, err);
        return;
    }
    env_timer_start(fetch->config.env, &fetch->stall, fetch->config.stall_ms);
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct fetch *fetch = CONTAINER_OF(request, struct fetch, request);
    if (status != GRPC_OK) {
        why_set(&fetch->why, "%s: %.*s", grpc_status_name(status), (int)text.len,
                (const char *)text.data);
        end_attempt(fetch, ERR_CONNECT);
        return;
    }
    const struct fetch_config *config = &fetch->config;
    end_attempt(fetch, backupwriter_finish(fetch->writer, config->verify, config->verify_progress,
                                           &fetch->why));
}

static void on_stall(struct env_timer *timer)
{
    struct fetch *fetch = CONTAINER_OF(timer, struct fetch, stall);
    grpc_request_cancel(&fetch->request);
    why_set(&fetch->why, "nothing came for %llu s",
            (unsigned long long)fetch->config.stall_ms / 1000);
    end_attempt(fetch, ERR_TIMEOUT);
}

/* ---- attempts ---- */

static void attempt(struct fetch *fetch)
{
    const struct fetch_config *config = &fetch->config;
    static const struct grpc_request_options options = {.path = SNAPSHOT_PATH};
    fetch->done_bytes = 0;
    fetch->total_bytes = 0;
    fetch->version[0] = '\0';
    fetch->why = (struct why){{0}};
    enum err err = backupwriter_new(config->fs, config->path, &fetch->writer, &fetch->why);
    if (err != OK) {
        end_attempt(fetch, err);
        return;
    }
    fetch->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    env_timer_start(config->env, &fetch->stall, config->stall_ms);
    grpc_request_unary(client_connection(config->client, fetch->slot), &fetch->request, &options,
                       bytes_of(NULL, 0));
}

/* Would another member do better? */
static bool is_the_members(enum err err)
{
    return err == ERR_CONNECT || err == ERR_TIMEOUT || err == ERR_MALFORMED || err == ERR_CORRUPT ||
           err == ERR_FOREIGN || err == ERR_VERSION;
}

static void add_why(struct fetch *fetch)
{
    struct why one = fetch->why;
    if (is_the_members(fetch->status)) {
        why_prefix(&one, "%s", fetch_endpoint(fetch));
    }
    size_t len = strlen(fetch->whys.text);
    (void)snprintf(fetch->whys.text + len, sizeof fetch->whys.text - len, "%s%s",
                   len == 0 ? "" : "; ", one.text[0] != '\0' ? one.text : err_text(fetch->status));
}

static void on_later(struct env_timer *timer)
{
    struct fetch *fetch = CONTAINER_OF(timer, struct fetch, later);
    if (fetch->status == OK || fetch->status == ERR_CANCELLED) {
        finish(fetch, fetch->status);
        return;
    }
    add_why(fetch);
    bool again =
        is_the_members(fetch->status) && fetch->slot + 1 < client_slot_count(fetch->config.client);
    if (!again) {
        finish(fetch, fetch->status);
        return;
    }
    backupwriter_free(TAKE(fetch->writer));
    fetch->slot++;
    attempt(fetch);
}

struct fetch *fetch_start(const struct fetch_config *config)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL) {
        fatal("save: out of memory");
    }
    fetch->config = *config;
    fetch->began_ms = env_now_ms(config->env);
    env_timer_init(&fetch->stall, on_stall);
    env_timer_init(&fetch->later, on_later);
    attempt(fetch);
    return fetch;
}

void fetch_cancel(struct fetch *fetch)
{
    if (grpc_request_is_active(&fetch->request)) {
        grpc_request_cancel(&fetch->request);
    }
    why_set(&fetch->whys, "interrupted");
    end_attempt(fetch, ERR_CANCELLED);
}
