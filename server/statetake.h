/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_STATETAKE_H
#define SERVER_STATETAKE_H

#include "base/fs.h"
#include "raft/node.h"
#include "server/stateframe.h"

/* The follower's side of a database that comes from the leader (statesend.h): into a file beside
 * our own, checked, and in the place of our own.
 *
 *   offer ─▶ OPENING ─▶ RECEIVING ─── all, the digest is right ──▶ SYNCING ─▶ REPLACING ─▶ have
 *                │           │                                        │           │
 *                └── no room, a chunk, digest or database that is wrong ──▶ DISCARDING
 *
 * The database goes first, the Raft log follows: what is streamed is the effect of committed
 * entries, so that a member whose database is ahead of its log is merely one that skips entries it
 * has applied. The leader hears with `have` where the database is, durably, and only then lets the
 * log begin there. A crash before the switch leaves the old database and a file that the next start
 * removes, later the new one: neither needs the file again.
 *
 * Only the member that this one takes for the leader is listened to; when there is none, and a
 * database is lacked, every member, since what any of them has applied is committed: the first that
 * offers its own, as long as it goes on. A file that is half there is gone on with while the
 * process lives, whatever the connection does; another copy begins anew. Memory: one window of
 * chunks. Disk: one file, which is asked for only when there is room. */
struct statetake;

struct statetake_config {
    struct env *env;
    struct logger *log;
    struct node *node;
    struct store *store;
    struct fs *fs;
    const struct store_replace_helper *helper; /* as store_replace_start's */
    /* The store is another: whoever keeps something of it reads it anew, within this call. */
    void (*on_replaced)(void *ctx);
    void *ctx;
};

/* Removes what an earlier life has left. */
MUST_CHECK enum err statetake_new(const struct statetake_config *config, struct statetake **ret);
/* The node is about to be closed: nothing more is taken. */
void statetake_stop(struct statetake *take);
/* After the store was closed. NULL allowed. */
void statetake_free(struct statetake *take);

/* What is here ends before INDEX, and the log has no more what it lacks: whoever leads is asked for
 * a database until one is here that is as far; the others, one after the other, while nobody does,
 * for it may be that only this member's log is long enough to lead (raft/raftbare.c). */
void statetake_lack(struct statetake *take, uint64_t index);

/* STATE_ASK, STATE_OFFER, STATE_CHUNK or STATE_END of PEER. */
void statetake_on_frame(struct statetake *take, uint64_t peer, const struct stateframe *frame);

/* Bytes received of the database that is on its way; 0: none is. */
uint64_t statetake_received_bytes(const struct statetake *take);

#endif
