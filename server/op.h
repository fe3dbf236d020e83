/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OP_H
#define SERVER_OP_H

#include "base/env.h"
#include "base/map.h"
#include "fsm/result.h"
#include "raft/node.h"

/* A command on its way through the log. The caller owns it, and must not touch it, until cb has
 * run. */
struct op;
typedef void (*op_cb)(struct op *op, enum err status);

struct op {
    /* Valid inside cb when its status is OK; result->status may still be a refusal of the state
     * machine (ERR_COMPACTED ...). */
    const struct result *result;
    op_cb cb; /* once, on the loop, never before server_propose returned */
    /* private to server/, from here on */
    struct queue link;
    struct map_link by_number;
    uint64_t number;
    uint64_t started_ms;
    enum err status;
    bool pending;
    bool refused; /* ends with the raising of an alarm (quota.h) */
};

/* A linearizable point in time: cb with OK when a read of this member's state is linearizable. */
struct read_op {
    void (*cb)(struct read_op *op, enum err status);
    /* private to server/, from here on */
    struct read_index request;
    struct queue age;
    struct queue link;
    uint64_t started_ms;
    struct query *query;
    enum { READ_IDLE, READ_ASKED, READ_WAITING } state;
};

#endif
