/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDLEASE_H
#define TESTS_WORLD_WORLDLEASE_H

#include "tests/world/worldclients.h"

/* Clients with leases: one is granted, keys are put with it, it is renewed for a while, asked for
 * what is left of it, and revoked, or left to its end. As api/rpc_lease.c asks the server. */
void worldlease_init(struct world *world);

/* For a lease that some client will ask for. */
int64_t worldlease_new_id(struct worldclients *clients);

/* Note the end of those leases that MEMBER has no more, though nobody may have seen it. */
void worldlease_note_ends(struct worldmember *member);

/* How many leases of clients MEMBER has. When nobody renews any more, all of them end. */
size_t worldlease_count(const struct worldmember *member);

#endif
