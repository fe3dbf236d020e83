/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDNET_H
#define TESTS_WORLD_WORLDNET_H

#include "raft/transport.h"
#include "tests/world/world.h"

/* The network between places, as raft/transport.h promises it: frames of one lane stay in order on
 * one connection; lanes overtake each other; a frame is late, or lost. Two members have one
 * connection at a time. It is made when one knows the other, who lets it call; it breaks when one
 * of them ends, when it is told to, or some seconds after nothing gets through any more. What goes
 * wrong is the seed's. Of frames that carry commands none comes twice: no connection makes that. */
struct worldlink {
    bool cut; /* nothing gets through in this direction */
    uint64_t slow_until_us;
    uint64_t last_at_us[LANE_COUNT]; /* arrival of the last frame */
};

struct worldconnection {
    bool up;
    uint64_t number; /* counts them */
    uint64_t life_a; /* whose it is */
    uint64_t life_b;
    uint64_t silent_us; /* nothing gets through since; 0: it does */
};

struct worldnet {
    struct worldlink links[WORLD_PLACES_MAX + 1][WORLD_PLACES_MAX + 1];             /* from, to */
    struct worldconnection connections[WORLD_PLACES_MAX + 1][WORLD_PLACES_MAX + 1]; /* a < b */
    unsigned loss_per_mille;
    unsigned twice_per_mille;
    unsigned late_per_mille;
    unsigned reorder_per_mille;
    uint64_t delay_us;
    uint64_t late_us;
    uint64_t slow_us_per_kib;
};

#define WORLD_KNOWN_MAX 64

/* The transport of one life. */
struct worldtransport {
    struct transport base;
    struct world *world;
    unsigned place;
    const struct transport_callbacks *callbacks; /* NULL: not started, or closed */
    void *ctx;
    uint64_t known[WORLD_KNOWN_MAX]; /* ids */
    size_t known_count;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

void worldnet_init(struct world *world);
void worldtransport_init(struct worldtransport *transport, struct world *world, unsigned place);

void worldnet_cut(struct world *world, unsigned from, unsigned to, bool cut);
void worldnet_join_all(struct world *world);
/* The connection between the two breaks, and what is on it is lost. */
void worldnet_reset(struct world *world, unsigned a, unsigned b);
void worldnet_slow(struct world *world, unsigned from, unsigned to, uint64_t until_us);

#endif
