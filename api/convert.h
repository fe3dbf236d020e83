/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CONVERT_H
#define API_CONVERT_H

#include "fsm/command.h"
#include "proto/rpc.pb-c.h"

/* Requests into queries and commands, with etcd's checks in etcd's order: what comes out is what
 * may go into the log. Views point into the request; arrays are in the arena. */

MUST_CHECK enum err convert_range(const Etcdserverpb__RangeRequest *request,
                                  struct range_query *ret);
MUST_CHECK enum err convert_put(const Etcdserverpb__PutRequest *request, struct command_put *ret);
MUST_CHECK enum err convert_delete_range(const Etcdserverpb__DeleteRangeRequest *request,
                                         struct command_delete_range *ret);
MUST_CHECK enum err convert_txn(const Etcdserverpb__TxnRequest *request, unsigned ops_max,
                                struct arena *arena, struct command_txn *ret);

/* What the request may add to the database (server/quota.h), however wrong it is otherwise. */
size_t convert_put_cost(const Etcdserverpb__PutRequest *request);
size_t convert_txn_cost(const Etcdserverpb__TxnRequest *request);

void convert_compact(const Etcdserverpb__CompactionRequest *request, struct command_compact *ret);

/* Is every range of it, on both branches, serializable? Then it is read without asking the leader.
 */
bool txn_is_serializable(const Etcdserverpb__TxnRequest *request);

#endif
