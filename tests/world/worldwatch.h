/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDWATCH_H
#define TESTS_WORLD_WORLDWATCH_H

#include "tests/world/worldmember.h"

/* Clients that watch: a stream to one member with some watches on it, of a key or of many, from now
 * on, from the past or from where the stream before it ended. Events are read from the bytes that
 * a client would be sent. Now and then a client does not read for a while. */
struct world_stream;

void worldwatch_init(struct world *world);

/* The streams to MEMBER are over. */
void worldwatch_end_all(struct worldmember *member);

#endif
