/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_PENDING_H
#define SERVER_PENDING_H

#include "server/op.h"

/* The ops of this member that wait for their command to be applied, by the number that the command
 * carries, each with the same time limit. Numbers begin at a random place, so that a command of an
 * earlier life of this process, applied late, never answers an op of this one. */
struct pending {
    struct env *env;
    struct map by_number;
    struct queue waiting;  /* oldest first */
    struct queue finished; /* cb comes at the end of the turn */
    size_t count;
    uint64_t timed_out_total; /* whose outcome nobody knows */
    uint64_t timeout_ms;
    uint64_t next_number;
    struct env_timer timer;
    struct env_task finish;
};

void pending_init(struct pending *pending, struct env *env, uint64_t timeout_ms);
void pending_fini(struct pending *pending); /* none may be left */

/* Number the op and wait for it. On failure the op is not waiting. */
MUST_CHECK enum err pending_add(struct pending *pending, struct op *op, op_cb cb);

/* The op with this number, no longer waiting, or NULL. */
struct op *pending_take(struct pending *pending, uint64_t number);
bool pending_has(const struct pending *pending, uint64_t number);
/* The same, still waiting. */
struct op *pending_find(const struct pending *pending, uint64_t number);

/* End an op, waiting or not, at the end of this turn. */
void pending_finish(struct pending *pending, struct op *op, enum err status);
/* End those that are marked as refused, at the end of this turn, with ERR_QUOTA; which is also what
 * they are told when their time is over. */
void pending_finish_refused(struct pending *pending);
/* End all of them, and run every callback now. */
void pending_finish_all(struct pending *pending, enum err status);

#endif
