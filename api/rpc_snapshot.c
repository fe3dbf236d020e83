/* SPDX-License-Identifier: Apache-2.0 */
/* Maintenance.Snapshot: the store in pieces, and their SHA-256 as the last one.
 *
 *   copy ─▶ piece ─▶ send ─▶ piece ─▶ send ─▶ ... ─▶ digest ─▶ end
 *                      └─ the client is slow: wait until it has read
 *
 * Pieces are read while those before them are on their way, so that a client that does not read
 * costs three of them and the file. For so long as it takes no piece at all, that is: then the file
 * goes, and with it its place among the few that may be, and the stream ends as a request does that
 * took too long. */
#include "api/message.h"
#include "api/service_private.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"

/* Fields of SnapshotResponse; etcd's has no header. */
#define TAG_REMAINING 0x10u
#define TAG_BLOB      0x1au
#define TAG_VERSION   0x22u
#define HEAD_BYTES    24u

#define ROOM_BYTES (2u * SPOOL_PIECE_BYTES)

struct snapshot_call {
    struct call call;
    struct spool_copy copy;
    bool started;
    bool waits; /* for the client to read */
    struct env_timer stall;
};

static struct snapshot_call *snapshot_of(struct call *call)
{
    return CONTAINER_OF(call, struct snapshot_call, call);
}

/* Elsewhere a full disk is the quota's: here it is no fault of what is stored. */
static void wake(struct call *call, enum err status)
{
    if (status == ERR_NO_SPACE) {
        grpc_call_finish(call_grpc(call), GRPC_RESOURCE_EXHAUSTED,
                         "no room for a copy of the database on this member's disk");
    }
    call_wake(call, status);
}

static void on_spooled(struct spool_copy *copy, enum err status)
{
    wake(&CONTAINER_OF(copy, struct snapshot_call, copy)->call, status);
}

static void send_piece(struct call *call)
{
    struct blob *piece = snapshot_of(call)->copy.piece;
    char version[VERSION_TEXT_SIZE];
    version_of_minor(call_version(call), version);
    uint8_t head[HEAD_BYTES];
    uint8_t *at = head;
    if (snapshot_of(call)->copy.left_bytes > 0) {
        *at++ = TAG_REMAINING;
        at = put_varint(at, snapshot_of(call)->copy.left_bytes);
    }
    *at++ = TAG_BLOB;
    at = put_varint(at, piece->len);
    uint8_t tail[2 + VERSION_TEXT_SIZE] = {TAG_VERSION, (uint8_t)strlen(version)};
    memcpy(tail + 2, version, strlen(version));
    const struct grpc_part parts[] = {
        {.bytes = bytes_of(head, (size_t)(at - head))},
        {.bytes = blob_bytes(piece), .blob = piece},
        {.bytes = bytes_of(tail, 2 + strlen(version))},
    };
    grpc_call_send_parts(call_grpc(call), parts, ARRAY_LEN(parts));
}

/* Nothing is under way. */
static void let_go(struct snapshot_call *state)
{
    if (state->waits) {
        state->waits = false;
        env_timer_stop(state->call.service->endless.env, &state->stall);
    }
    if (state->started) {
        state->started = false;
        spool_end(&state->copy);
    }
}

static void on_stall(struct env_timer *timer)
{
    struct snapshot_call *state = CONTAINER_OF(timer, struct snapshot_call, stall);
    counter_add(state->call.service->stalled_snapshots, 1);
    let_go(state);
    call_fail(&state->call, ERR_TIMEOUT);
}

static void wait_for_client(struct snapshot_call *state)
{
    const struct service *service = state->call.service;
    state->waits = true;
    env_timer_start(service->endless.env, &state->stall, service->snapshot_stall_ms);
}

static void read_piece(struct call *call);

static void on_piece(struct call *call)
{
    struct snapshot_call *state = snapshot_of(call);
    send_piece(call);
    if (state->copy.is_last) {
        grpc_call_finish(call_grpc(call), GRPC_OK, NULL);
    } else if (grpc_call_has_room(call_grpc(call), ROOM_BYTES)) {
        read_piece(call);
    } else {
        wait_for_client(state);
    }
}

static void read_piece(struct call *call)
{
    call_sleep(call, on_piece);
    spool_read(&snapshot_of(call)->copy, on_spooled);
}

static void writable(struct call *call)
{
    struct snapshot_call *state = snapshot_of(call);
    if (state->waits && grpc_call_has_room(call_grpc(call), ROOM_BYTES)) {
        state->waits = false;
        env_timer_stop(call->service->endless.env, &state->stall);
        read_piece(call);
    }
}

static void rpc_maintenance_snapshot(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    struct snapshot_call *state = snapshot_of(call);
    env_timer_init(&state->stall, on_stall);
    if (call->service->spool == NULL) {
        call_fail(call, ERR_UNSUPPORTED);
        return;
    }
    call_sleep(call, read_piece);
    enum err err = spool_start(call->service->spool, &state->copy, on_spooled);
    state->started = err == OK;
    if (err != OK) {
        wake(call, err);
    }
}

static void closed(struct call *call)
{
    struct snapshot_call *state = snapshot_of(call);
    if (state->waits) {
        let_go(state);
    }
}

static void release(struct call *call)
{
    let_go(snapshot_of(call));
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Maintenance/Snapshot",
        .request = &etcdserverpb__snapshot_request__descriptor,
        .state_bytes = sizeof(struct snapshot_call),
        .server_stream = true,
        .learner_serves = true,
        .writable = writable,
        .handle = rpc_maintenance_snapshot,
        .closed = closed,
        .release = release,
    },
};

const struct method_table rpc_snapshot = {.rows = rows, .count = ARRAY_LEN(rows)};
