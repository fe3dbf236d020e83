/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_TURN_H
#define STORAGE_TURN_H

#include "storage/pin.h"
#include "storage/store.h"

/* Members take turns at what a compaction costs. All of them apply it at the same moment, and each
 * reads its database for the hash that is remembered, and may then rewrite much of it: at once,
 * that slows down every member of a majority, and so every write; one after the other, there is
 * always a majority that is as fast as ever.
 *
 * Nobody tells the others that he is through: who has N members before him waits for N times as
 * long as it may take one of them, which is told by the size of the database. Meanwhile a pin keeps
 * index and disk as they are, and hashes of compactions wait. Compactions that come meanwhile wait
 * for the same end, so that removal is late but never left behind; and whoever is asked for what
 * waits goes on at once.
 *
 * On the loop; embedded in the store. */
struct turn {
    unsigned (*fn)(void *ctx); /* see store_set_turn; NULL: nobody is before us */
    void *ctx;
    bool waiting;
    struct store_pin pin; /* while waiting */
    struct env_timer timer;
    struct queue waits; /* struct store_wait.link */
};

/* What it reads and writes of its database in a millisecond, it is assumed. */
#define TURN_RATE_BYTES 200000u

void turn_init(struct turn *turn);
/* The store closes. */
void turn_stop(struct turn *turn, struct store *store);
/* A compaction is about to show: wait, if others come first. */
void turn_begin(struct turn *turn, struct store *store);
/* CB, perhaps at once, when it is our turn. */
void turn_wait(struct turn *turn, struct store_wait *wait, void (*cb)(struct store_wait *wait));
/* Wait no longer. */
void turn_end(struct turn *turn, struct store *store);

#endif
