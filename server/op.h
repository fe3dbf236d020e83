/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OP_H
#define SERVER_OP_H

#include "base/env.h"
#include "base/map.h"
#include "fsm/result.h"
#include "raft/node.h"

/* An answer: there is no such lease (a renewal says 0). */
#define LEASE_GONE (INT64_MIN + 1)

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

/* A question to the leader's clock of leases, from whatever member: renew some, or tell how much is
 * left of them. */
struct lease_ask {
    /* The caller's until cb; the answers are there when its status is OK. */
    const int64_t *ids;
    int64_t *answers; /* to a renewal the TTL in seconds, 0: there is no such lease;
                         else milliseconds that are left, LEASE_GONE: there is none */
    size_t count;     /* at most LEASE_ASK_MAX */
    void (*cb)(struct lease_ask *ask, enum err status);
    /* private to server/, from here on */
    struct queue age;
    struct queue link;
    uint64_t started_ms;
    size_t at; /* place of its answers in those of a frame */
    bool renew;
    struct leaseask_remote *remote; /* another member's */
};

/* Somebody who waits until a member that was removed is no part of any majority. The caller's until
 * cb: OK, ERR_TIMEOUT, ERR_STOPPED. */
struct leave_wait {
    void (*cb)(struct leave_wait *wait, enum err status);
    /* private to server/, from here on */
    struct queue link;
    uint64_t member_id;
    uint64_t started_ms;
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
