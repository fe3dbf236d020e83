/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDWATCH_H
#define TESTS_WORLD_WORLDWATCH_H

#include "tests/world/worldmember.h"

/* Clients that watch: a stream to one member with some watches on it, of a key or of many, from now
 * on, from the past or from where the stream before it ended. Events are read from the bytes that
 * a client would be sent. Now and then a client does not read for a while. */
struct world_stream;

void worldwatch_init(struct world *world);

/* Clients close their streams at MEMBER, each with such a chance. */
void worldwatch_close_some(struct worldmember *member, unsigned per_mille);

/* How many watches it should have, and on how many streams. */
size_t worldwatch_count(const struct worldmember *member, size_t *streams);

/* The streams to MEMBER are over. */
void worldwatch_end_all(struct worldmember *member);

#endif
