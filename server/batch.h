/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_BATCH_H
#define SERVER_BATCH_H

#include "base/logger.h"
#include "fsm/command.h"
#include "raft/node.h"

/* The open batch: commands of this member's clients, and on the leader those that other members
 * forwarded, collected until the end of the turn. Then it is sealed:
 *
 *   leader         one log entry, at most BATCHES_IN_FLIGHT_MAX of them on their way: what comes
 * meanwhile makes the next entry bigger follower       one frame to the leader (forward.h) nobody
 * leads   it stays open
 *
 * Commands that certainly were not proposed come back to the open batch (their own) or go back to
 * the member they came from. */
struct batch {
    struct env *env;
    struct logger *log;
    struct node *node;
    struct buf open;  /* encoded commands, without an entry's head ... */
    size_t open_done; /* ... the first bytes of which are on their way already */
    size_t open_count;
    struct batch_proposal *in_flight[BATCHES_IN_FLIGHT_MAX];
    struct env_task seal;
    struct env_timer retry; /* the way was blocked: try again then, not every turn */
    bool closed;
    /* A command of this member that was not proposed: does anybody still wait for it? */
    bool (*wanted)(void *ctx, uint64_t number);
    void *ctx;
    uint64_t failed_total;
};

void batch_init(struct batch *batch, struct env *env, struct logger *log, struct node *node,
                bool (*wanted)(void *ctx, uint64_t number), void *ctx);
void batch_fini(struct batch *batch);

/* Room for one more command? False: too many requests. */
bool batch_has_room(const struct batch *batch, size_t size);

/* Add one command, or nothing: ERR_NOMEM; ERR_TOO_LARGE: it fits into no entry. */
MUST_CHECK enum err batch_add(struct batch *batch, struct command_origin origin,
                              const struct command *command);
/* Add commands that are encoded already; false: no memory, nothing added. */
bool batch_add_encoded(struct batch *batch, struct bytes commands, size_t count);

/* Add back those of COMMANDS that this member's clients still wait for, and return the others to
 * their members. They go out again a moment later, or when batch_kick says so. */
void batch_put_back(struct batch *batch, struct bytes commands);

/* Who leads has changed: seal at the end of this turn. */
void batch_kick(struct batch *batch);

#endif
