/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_LEASEMSG_H
#define TESTS_FAULTS_LEASEMSG_H

#include "tests/faults/actor.h"

/* The operations on leases that two loads have in common. */

int64_t lease_new_id(struct stage *stage);

void lease_grant(struct actor *actor, int64_t lease, int64_t ttl_s, actor_then then);
void lease_end_grant(struct actor *actor, const struct reply *reply); /* writes it down */

void lease_revoke(struct actor *actor, int64_t lease, actor_then then);
void lease_end_revoke(struct actor *actor, const struct reply *reply);

#endif
