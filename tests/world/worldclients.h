/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDCLIENTS_H
#define TESTS_WORLD_WORLDCLIENTS_H

#include "tests/history/history.h"
#include "tests/world/worldmember.h"

/* All who ask something of the members, what they were told, and the end of a run: worldkv,
 * worldwatch and worldlease ask; tests/history is told of everything, and judges it when the run
 * has come to its end. */
struct worldclients {
    struct history *history;
    struct queue open; /* struct ask.link */
    size_t open_count;
    int64_t next_process;
    uint64_t next_ask;
    uint64_t next_value; /* no value is written twice */
    uint64_t next_watch; /* numbers of watches */
    int64_t *leases;     /* that were asked for */
    size_t lease_count;
    size_t lease_cap;
    struct queue streams;    /* struct world_stream.link */
    struct queue contenders; /* struct lock_client.link */
    bool are_stopped;        /* nobody asks anything more */
    bool is_over;            /* nobody is told anything more */
    struct world_scanner *scanner;
    struct worldend *end;
};

void worldclients_init(struct world *world);

/* A life has ended, or is about to. */
void worldclients_on_death(struct world *world, unsigned place);
void worldclients_on_stop(struct world *world, unsigned place);

/* Some member to ask, as a client finds one; NULL: none can be reached. */
struct worldmember *worldclients_pick(struct world *world);

/* The run has ended well: what does the history say? */
void worldclients_end(struct world *world);
/* Write it where the options say, for people. */
void worldclients_save_history(struct world *world);

#endif
