/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_FORWARD_H
#define SERVER_FORWARD_H

#include "fsm/command.h"
#include "raft/node.h"

/* Commands between a member and the leader, in FRAME_FORWARD frames:
 *
 *   frame = what u8, commands (as in an entry, without its head)
 *
 * what: FORWARD_COMMANDS to the leader; the others: the same commands back, certainly not proposed,
 * because it does not lead, because they are too many, because the learner that is to be promoted
 * has not caught up. There is no answer to commands that were taken: they are answered
 * by being applied. A lost frame ends in a time-out. */
enum forward_what {
    FORWARD_COMMANDS = 1,
    FORWARD_NOT_LEADER = 2,
    FORWARD_TOO_MANY = 3,
    FORWARD_LEARNER_BEHIND = 7, /* 4 to 6 are leaseframe.h's */
};

/* Send COMMANDS to PEER; false: dropped. */
bool forward_send(struct node *node, uint64_t peer_id, enum forward_what what,
                  struct bytes commands);

/* Take a frame apart and check every command of it. ARENA is reset, and what is taken of it in
 * proportion to the frame; ERR_NOMEM, ERR_MALFORMED, ERR_VERSION. */
MUST_CHECK enum err forward_decode(struct bytes frame, struct arena *arena, enum forward_what *what,
                                   struct bytes *commands, size_t *count);

#endif
