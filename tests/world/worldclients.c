/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldclients.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tests/world/worldask.h"
#include "tests/world/worldkv.h"
#include "tests/world/worldlease.h"
#include "tests/world/worldlock.h"
#include "tests/world/worldscan.h"
#include "tests/world/worldwatch.h"

void worldclients_init(struct world *world)
{
    struct worldclients *clients = calloc(1, sizeof *clients);
    ASSERT(clients != NULL);
    world->clients = clients;
    clients->history = history_new();
    ASSERT(clients->history != NULL);
    queue_init(&clients->open);
    queue_init(&clients->streams);
    queue_init(&clients->contenders);
    clients->next_process = 1;
    clients->next_watch = 1;
    worldkv_init(world);
    worldlease_init(world);
    worldlock_init(world);
    worldwatch_init(world);
    worldscan_init(world);
}

void worldclients_on_death(struct world *world, unsigned place)
{
    worldwatch_end_all(world->members[place]);
    ask_end_all(world->members[place]);
}

void worldclients_on_stop(struct world *world, unsigned place)
{
    (void)world;
    (void)place;
}

struct worldmember *worldclients_pick(struct world *world)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        struct worldmember *member = world->members[world_between(world, 1, world->places)];
        if (member->alive && !member->stopping) {
            return member;
        }
    }
    return NULL;
}

void worldclients_save_history(struct world *world)
{
    if (world->options.history_path == NULL || world->clients == NULL) {
        return;
    }
    FILE *out = fopen(world->options.history_path, "w");
    if (out == NULL) {
        fprintf(stderr, "trivet-world: write '%s': %s\n", world->options.history_path,
                strerror(errno));
        return;
    }
    const struct history *history = world->clients->history;
    for (size_t i = 0; i < history_count(history); i++) {
        history_write_json(history, history_at(history, i), out);
    }
    fclose(out);
    fprintf(stderr, "    what clients saw: %s\n", world->options.history_path);
}

void worldclients_end(struct world *world)
{
    const struct history *history = world->clients->history;
    ASSERT(history_ok(history));
    /* Leases count whole milliseconds. */
    struct history_options options = {.lease_early_ns = 1000000,
                                      .clock_fast_ppm = world->fastest_ppm};
    struct history_report *report;
    enum err err = history_check(history, &options, &report);
    ASSERT(err == OK);
    if (history_report_verdict(report) == HISTORY_INVALID) {
        history_report_write_text(report, stderr);
        const struct history_finding *first = history_report_finding(report, 0);
        world_fail(world, "history", "%s: %s", first->rule, first->text);
    }
    history_report_free(report);
}
