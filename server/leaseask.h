/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEASEASK_H
#define SERVER_LEASEASK_H

#include "raft/node.h"
#include "server/lessor.h"

/* Questions to the leader's clock, wherever they are asked.
 *
 *            ┌───────────────────────── retried ◀─────────────────────────┐
 *   asked ─▶ arrived ── leader: one read index for all of the turn ─▶ lessor ─▶ cb
 *               └─────── other: one frame ─▶ the leader, the same there ─▶ frame ─▶ cb
 *
 * A leader answers only after a read index has shown that nobody else led when the question was
 * here already: one that was deposed and has not heard of it never answers. If that took longer
 * than an election timeout it begins again, as the next leader's grace covers no more; so does an
 * answer of the leader that came that late.
 *
 * What cannot be answered (no leader, no way to it, a lease that is being revoked) is asked again
 * every RETRY_MS and whenever something has changed, up to the time limit. On the loop. */
#define LEASEASK_FRAMES_MAX  4u    /* questions on their way to the leader */
#define LEASEASK_REMOTES_MAX 1024u /* other members' questions */

struct leaseask {
    struct env *env;
    struct node *node;
    struct lessor *lessor;
    uint64_t timeout_ms;
    uint32_t election_ms;
    struct queue unanswered; /* this member's, oldest first, by lease_ask.age */
    struct queue arrived;
    struct queue confirming; /* for these the read index is asked for */
    struct queue waiting;    /* for the next attempt */
    struct queue finished;
    struct read_index confirmation;
    bool confirming_now;
    uint64_t confirming_since_ms;
    uint64_t confirming_term;
    struct leaseask_frame {
        struct queue asks; /* empty, and number 0: not used */
        uint64_t number;
        uint64_t peer;
        uint64_t sent_ms;
        size_t count; /* of answers that are awaited */
        bool renew;
    } frames[LEASEASK_FRAMES_MAX];
    uint64_t next_number;
    size_t remote_count;
    struct env_task route;
    struct env_task finish;
    struct env_timer timer;
    bool closed;
};

void leaseask_init(struct leaseask *la, struct env *env, struct node *node, struct lessor *lessor,
                   uint64_t timeout_ms, uint32_t election_ms);
void leaseask_fini(struct leaseask *la); /* after leaseask_finish_all */

/* ASK's cb comes once, later, unless it is cancelled: ERR_TIMEOUT, ERR_NO_LEADER when the time
 * limit found none, ERR_STOPPED. */
void leaseask_start(struct leaseask *la, struct lease_ask *ask);
void leaseask_cancel(struct leaseask *la, struct lease_ask *ask);

/* Somebody leads, or something that was waited for has happened. */
void leaseask_kick(struct leaseask *la);

/* A frame that leaseframe_is; false: malformed. */
bool leaseask_on_frame(struct leaseask *la, uint64_t peer, struct bytes payload);

/* End all of them, and run every callback now. Before the node is closed no read index is asked for
 * any more. */
void leaseask_close(struct leaseask *la);
void leaseask_finish_all(struct leaseask *la, enum err status);

#endif
