/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_PEERASK_H
#define RAFT_PEERASK_H

#include "net/stream.h"

/* Ask the member that listens at an address who the members are: before this one has a transport,
 * for it does not know yet who it is itself (peerframe.h has the bytes). What comes back is what
 * the other member's node_callbacks.describe wrote; nothing in it was looked at but lengths and
 * checksums. */
/* OK with the answer, which is valid during the call; else WHY. */
typedef void (*peerask_cb)(void *ctx, enum err status, struct bytes answer, const char *why);

/* CB once, never before this returned, within TIMEOUT_MS. */
MUST_CHECK enum err peerask_start(struct env *env, uv_loop_t *loop, const struct addr *addr,
                                  uint64_t timeout_ms, peerask_cb cb, void *ctx);

#endif
