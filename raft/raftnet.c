/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/assert.h"
#include "raft/raftheap.h"
#include "raft/raftio_state.h"

#define NO_ADDRESS ""
/* No cluster has so many elections while a member is away: somebody lies, and would take the terms
 * that are left from all others. */
#define TERM_JUMP_MAX (1ull << 32)

/* struct raft_io towards the peers: frames in, through the guard, and out, each in its lane. */

/* ---- in ---- */

/* The part of an append that need not wait for the disk; the whole is answered, this is not. */
static void deliver_commit(struct raftio *io, const struct raft_message *message)
{
    struct raft_message commit = *message;
    if (message->type == RAFT_IO_APPEND_ENTRIES &&
        guard_commit_first(&io->guard, &message->append_entries, &commit.append_entries)) {
        io->muted = true;
        io->recv(&io->io, &commit);
        io->muted = false;
    }
}

void raftnet_deliver(struct raftio *io, struct raft_message *message)
{
    deliver_commit(io, message);
    if (guard_before_recv(&io->guard, message)) {
        io->recv(&io->io, message);
    }
    guard_after_recv(&io->guard);
}

enum err raftio_on_frame(struct raftio *io, uint64_t peer, struct bytes payload, char *address,
                         size_t address_cap)
{
    struct frame frame;
    TRY(frame_decode(payload, &frame));
    ASSERT(address_cap >= sizeof frame.address);
    if (frame_term(&frame.message) > io->core.current_term + TERM_JUMP_MAX) {
        frame_release(&frame.message);
        return ERR_MALFORMED;
    }
    memcpy(address, frame.address, strlen(frame.address) + 1);
    frame.message.server_id = peer;
    frame.message.server_address = NO_ADDRESS;
    if (frame.message.type == RAFT_IO_INSTALL_SNAPSHOT &&
        !raftinstall_may(io, &frame.message.install_snapshot)) {
        frame_release(&frame.message);
        return OK;
    }
    raftio_enter(io);
    if (frame.message.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        flow_before_answer(&io->flow, peer, &frame.message.append_entries_result, &frame.notes);
    }
    if (frame.message.type == RAFT_IO_APPEND_ENTRIES) {
        if (frame.message.append_entries.term == io->core.current_term) {
            io->replicated_index = frame.notes.replicated_index;
        }
        raftbare_before_append(io, &frame.message.append_entries);
    }
    if (frame.message.type == RAFT_IO_TIMEOUT_NOW) {
        raftbare_before_timeout_now(io, &frame.message.timeout_now);
    }
    raftnet_deliver(io, &frame.message);
    raftio_leave(io);
    return OK;
}

void raftio_on_link(struct raftio *io, uint64_t peer, bool up)
{
    raftio_enter(io);
    headstart_on_link(&io->headstart, &io->core, peer, up);
    flow_on_link(&io->flow, peer, up);
    raftio_leave(io);
}

/* ---- out ---- */

bool raftnet_send_frame(struct raftio *io, uint64_t peer, enum transport_lane lane,
                        const struct raft_message *message, const struct frame_notes *notes)
{
    struct blob *frame = raftheap_must(frame_encode(message, notes, io->address));
    bool sent = io->transport->ops->send(io->transport, peer, lane, FRAME_RAFT, frame);
    blob_unref(frame);
    return sent;
}

/* Which lane. Timeout-now goes behind the entries that it presumes. */
static int send_message(struct raftio *io, const struct raft_message *message)
{
    uint64_t peer = message->server_id;
    struct raft_message fixed;
    struct frame_notes notes = {0};
    bool sent;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return flow_send_append(&io->flow, peer, &message->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        fixed = *message;
        guard_fix_result(&io->guard, &fixed.append_entries_result, &notes);
        sent = raftnet_send_frame(io, peer, LANE_URGENT, &fixed, &notes);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        fixed = *message;
        guard_fix_vote(&io->guard, &fixed.request_vote_result);
        sent = raftnet_send_frame(io, peer, LANE_URGENT, &fixed, &notes);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        sent = raftinstall_takes(io, message) ||
               raftnet_send_frame(io, peer, LANE_BULK, message, &notes);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        sent = raftnet_send_frame(io, peer, LANE_BULK, message, &notes);
        break;
    default:
        sent = raftnet_send_frame(io, peer, LANE_URGENT, message, &notes);
        break;
    }
    return sent || guard_on(&io->guard, GUARD_SEND_SUCCEEDS) ? 0 : RAFT_NOCONNECTION;
}

static int method_send(struct raft_io *base, struct raft_io_send *req,
                       const struct raft_message *message, raft_io_send_cb cb)
{
    struct raftio *io = io_of(base);
    int rv = message->server_id == 0 || io->muted ? 0 : send_message(io, message);
    if (rv == 0 && cb != NULL) {
        req->cb = cb;
        raftio_finish_later(io, (struct finished){.send = req});
    }
    return rv;
}

void raftnet_set_methods(struct raftio *io)
{
    io->io.send = method_send;
}
