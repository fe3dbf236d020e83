/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LESSOR_H
#define SERVER_LESSOR_H

#include "base/logger.h"
#include "base/metrics.h"
#include "fsm/lease.h"
#include "server/op.h"

/* The leader's clock of leases: the only one that says when a lease is over, and proposes its
 * revocation.
 *
 *   granted, renewed ──▶ expires ──▶ revoke proposed ──▶ applied: gone
 *                   └──▶ not renewed for a while ──▶ what is left is proposed as a checkpoint
 *
 * A member that begins to lead (its first entry is applied, so that it knows what others have
 * granted) gives each lease what is left of it by the log, all or as checkpointed, and one election
 * timeout: a promise of the leader before it was made at most that long ago. So a lease never ends
 * early, and after a change of leaders late by less than what passes without a checkpoint.
 *
 * All leases are in one heap, each with a time at or before the next thing that happens to it here:
 * a renewal only notes the new end, and the heap learns of it when the old time comes. So a renewal
 * costs no more with a million leases, and beginning or ceasing to lead costs nothing: what a lease
 * notes is of the epoch in which it was noted.
 *
 * Invariants:
 *   1. a lease's time in the heap is not after its end here, were this member to lead now
 *   2. a checkpoint of a lease that is renewed is cleared by the log before the renewal is
 * confirmed, and never overtakes its clearing
 *   3. at most LESSOR_REVOKES_MAX revocations and one checkpoint are on their way, ten checkpoints
 * of a thousand leases are made a second, and a look at the heap takes a thousand leases */
struct lessor;

#define LESSOR_REVOKES_MAX 4u

struct lessor_config {
    struct env *env;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    struct leases *leases;   /* outlives the lessor */
    struct node *node;
    uint32_t election_ms;
    /* As server_propose. */
    void (*propose)(void *ctx, struct op *op, const struct command *command, op_cb cb);
    /* A renewal that had to wait may be asked for again. */
    void (*on_settled)(void *ctx);
    void *ctx;
};

MUST_CHECK enum err lessor_new(const struct lessor_config *config, struct lessor **ret);
/* Its ops have been called back. NULL allowed. */
void lessor_free(struct lessor *lessor);
/* It proposes nothing any more. */
void lessor_stop(struct lessor *lessor);

/* Role or term of the node have changed. */
void lessor_update(struct lessor *lessor);

/* What cannot be answered yet. */
#define LEASE_AGAIN INT64_MIN
/* Both are for a leader that was one for certain at CONFIRMED_MS, not long ago. */

/* Renew a lease: its TTL in seconds; 0: there is none. LEASE_AGAIN: it is over and its revocation
 * on its way, or its checkpoint is, or is being cleared. */
int64_t lessor_renew(struct lessor *lessor, int64_t id, uint64_t confirmed_ms);
/* Propose to clear the checkpoints that renewals have met since the last time. */
void lessor_flush(struct lessor *lessor);

/* Milliseconds that are left of it, not above 0 when it is over; LEASE_GONE, LEASE_AGAIN. */
int64_t lessor_remaining_ms(struct lessor *lessor, int64_t id);

#endif
