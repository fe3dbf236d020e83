/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_QUERY_H
#define SERVER_QUERY_H

#include "server/op.h"

/* Linearizable reads that wait for their read index. While nobody leads they wait for a leader, up
 * to the time limit. */
struct query {
    struct env *env;
    struct node *node;
    struct queue unanswered; /* all of them, oldest first, by read_op.age */
    struct queue waiting;    /* those of them that wait for a leader */
    struct queue finished;
    struct env_timer timer;
    struct env_task finish;
    uint64_t timeout_ms;
    uint64_t failed_total;
};

void query_init(struct query *query, struct env *env, struct node *node, uint64_t timeout_ms);
void query_fini(struct query *query);

void query_start(struct query *query, struct read_op *op,
                 void (*cb)(struct read_op *op, enum err status));
/* Nothing is asked: cb comes with STATUS at the end of the turn. */
void query_refuse(struct query *query, struct read_op *op,
                  void (*cb)(struct read_op *op, enum err status), enum err status);
void query_cancel(struct query *query, struct read_op *op);
void query_kick(struct query *query); /* somebody leads: ask for those that wait */
void query_finish_all(struct query *query, enum err status);

#endif
