/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_QUOTA_H
#define SERVER_QUOTA_H

#include "server/op.h"

struct pending;
struct server;

/* The space quota of this member's database. It is held against a command twice:
 *
 *   proposed   over it: nothing is proposed but this member's NOSPACE alarm, and the caller hears
 *              of it when the alarm is active, so that whoever asks then finds it
 *   applied    over it, as others may not be: the command stands, its client is told that there is
 *              no space, and the alarm is raised
 *
 * While the alarm is active, fsm/alarm.h refuses on all members what adds to a database; this one
 * does not raise it again, and a person clears it. */
struct quota {
    struct server *server;
    struct pending *pending;
    uint64_t limit_bytes; /* 0: none */
    struct op raise;
    bool raising;
};

/* What etcd counts for a put, and for a command: what it may add to the database, 0 for what is
 * never refused. Of a transaction the dearer branch. */
size_t quota_put_cost(size_t key_len, size_t value_len);
size_t quota_cost(const struct command *command);

/* Does COST more reach the limit (0: there is none)? What costs nothing never does. */
bool quota_is_reached(uint64_t limit_bytes, uint64_t size_bytes, size_t cost);

void quota_init(struct quota *quota, struct server *server, struct pending *pending,
                uint64_t limit_bytes);

/* Would COST more go over it now? */
bool quota_is_over(const struct quota *quota, size_t cost);

/* End OP, which was not proposed, with ERR_QUOTA: as soon as the alarm is active, or could not be
 * raised. */
void quota_refuse(struct quota *quota, struct op *op, op_cb cb);

/* COMMAND was applied: OK, or ERR_QUOTA and the alarm is raised. */
MUST_CHECK enum err quota_applied(struct quota *quota, const struct command *command);

/* The op with this number was told ERR_QUOTA: is the alarm on its way? Then OP ends when it is
 * there. */
bool quota_defers(struct quota *quota, uint64_t number);

#endif
