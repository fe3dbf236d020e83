/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_FRAME_H
#define RAFT_FRAME_H

#include <raft.h>

#include "base/bytes.h"

/* Raft's messages as bytes (FRAME_RAFT) and back. All integers little-endian, fixed size.
 *
 *   every message   u8 type, u64 term
 *   1 append        u64 prev index, u64 prev term, u64 commit, u64 replicated, address, u32 count,
 *                   count times: u64 term, u8 kind, u32 length, bytes
 *   2 answer        u64 rejected, u64 last index, u64 last term, u64 received
 *   3 vote          u64 candidate, u64 last index, u64 last term, u8 flags, address
 *   4 vote's answer u8 granted, u8 pre-vote
 *   5 snapshot      u64 index, u64 term, u64 configuration index, configuration, data, address
 *   6 timeout now   u64 last index, u64 last term
 *
 * Address, configuration and data are varint length and bytes. The address is the sender's own
 * peer listener: a member that knows nobody yet learns from it where to answer. */
struct frame_notes {
    uint64_t replicated_index; /* append: up to here the log of every member reaches (compact.h) */
    uint64_t received_index;   /* answer: up to here the entries match and are in memory */
    uint64_t last_term;        /* answer: of the entry at its last index; 0: unknown */
};

struct frame {
    struct raft_message message; /* server_id, server_address: to be set by whoever knows them */
    struct frame_notes notes;    /* what the core has no field for; zero in other messages */
    char address[256];           /* append, vote, snapshot: the sender's; else empty */
};

/* ADDRESS: our own. NULL: no memory. */
struct blob *frame_encode(const struct raft_message *message, const struct frame_notes *notes,
                          const char *address);

/* The bytes of an append message with these entries. */
size_t frame_append_size(const struct raft_append_entries *append, const char *address);

/* What the decoder refuses: unknown types, lengths that do not add up, entries whose terms go back
 * or exceed the message's, indexes no log can reach, configurations that the core could not read.
 *
 * The entries of an append message (raft_malloc'd array) point into BYTES: the core copies them
 * during recv. A snapshot's configuration and data are raft_malloc'd. Ownership is the caller's,
 * who gives it to the core or to frame_release. */
MUST_CHECK enum err frame_decode(struct bytes bytes, struct frame *ret);

/* The term that MESSAGE was sent in. */
uint64_t frame_term(const struct raft_message *message);

/* Free what the core was not given. */
void frame_release(struct raft_message *message);

#endif
