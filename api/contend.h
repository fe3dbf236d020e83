/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CONTEND_H
#define API_CONTEND_H

#include "api/call.h"
#include "server/contest.h"

/* A call that waits until it is the first to have a name (server/contest.h): Lock and Campaign.
 * When its client goes away meanwhile, or the member stops, its key is deleted. */
struct contend_call {
    struct call call;
    struct contest contest;
    const char *lost; /* what the client hears when its key is gone */
};

/* DONE comes when it is the first: contest's results are there. Whose LEASE is 0 gets one. */
void contend(struct call *call, const struct contest_entry *entry, const char *lost, call_cb done);

/* The rows' `closed`. */
void contend_closed(struct call *call);

#endif
