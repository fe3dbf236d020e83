/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_STATESEND_H
#define SERVER_STATESEND_H

#include "base/fs.h"
#include "base/metrics.h"
#include "raft/node.h"
#include "server/stateframe.h"

/* The leader's side of a database on its way to a member that the log cannot help, as the node
 * says, or that has lost its own and not its log, as it says itself. When it is the leader that has
 * lost its own, any other member that has enough is on this side.
 *
 *   wanted ─▶ ASKING ─▶ COPYING ─▶ OFFERED ─▶ STREAMING ─▶ INSTALLING ─▶ its log begins
 *
 *   ASKING      what does it have? what our log goes on from: INSTALLING at once; else COPYING
 *   COPYING     until there is a copy that will do
 *   OFFERED     it says from where on it wants that
 *   STREAMING   chunks; with the last one, it has what was copied
 *   INSTALLING  node_install. For a while its log does not begin: ASKING, and that once more. Our
 *               log has forgotten what follows: COPYING again
 *   WAITING     no copy can be made, or it refuses: for a while, then ASKING
 *
 * One copy serves all members that need one while it will do; its file has no name, so that it goes
 * with the last of them, or with the process. A window of chunks is on the way to each member, and
 * all together keep to STATE_RATE_BYTES; the log holds what follows the copy meanwhile
 * (node_hold_state). What was not answered for a while is offered again, and the answer says from
 * where to go on: so a lost connection costs no more than what was on it. When leadership ends, so
 * does this. Who has lost its own needs no INSTALLING: it ends with a database that is as far as
 * its log, or when it has not been heard of for a while. On the loop; files are read by a thread.
 */
struct statesend;

struct statesend_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    struct node *node;
    struct store *store;
    struct fs *fs;
};

/* Removes what an earlier life has left. */
MUST_CHECK enum err statesend_new(const struct statesend_config *config, struct statesend **ret);
/* The node is about to be closed: nothing more is sent. */
void statesend_stop(struct statesend *send);
/* After the store was closed. NULL allowed. */
void statesend_free(struct statesend *send);

/* PEER needs a state (node_callbacks.want_state). */
void statesend_want(struct statesend *send, uint64_t peer);

/* STATE_HAVE, STATE_WANT, STATE_REFUSED or STATE_LACK of PEER. */
void statesend_on_frame(struct statesend *send, uint64_t peer, const struct stateframe *frame);

/* Members that are being helped. */
size_t statesend_count(const struct statesend *send);

#endif
