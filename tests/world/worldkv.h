/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDKV_H
#define TESTS_WORLD_WORLDKV_H

#include "tests/world/worldask.h"

/* Clients that put, delete, compare and swap, and read: keys of their own and all together, the
 * newest, what a member happens to have, and the past; one after the other, and now and then many
 * at once. As api/rpc_kv.c and rpc_range.c ask the server. */
void worldkv_init(struct world *world);

/* A put and no more, of a client of its own: ENDED is called once. */
struct ask *worldkv_put_once(struct worldmember *member, const char *key,
                             void (*ended)(struct ask *ask, enum history_type type));

#endif
