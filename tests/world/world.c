/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/world/worldrun.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"
#include "tests/world/worldend.h"
#include "tests/world/worldmember.h"
#include "tests/world/worldnemesis.h"
#include "tests/world/worldnet.h"
#include "tests/world/worldoperator.h"

#define TRACE_LINES      4096
#define TRACE_SHOWN      60
#define MEMORY_BYTES_MAX (1536ull * 1024 * 1024)

const char *const world_fault_names[FAULT_COUNT] = {
#define WORLD_FAULT_NAME(name, text) text,
    WORLD_FAULTS(WORLD_FAULT_NAME)
#undef WORLD_FAULT_NAME
};

/* ---- chance ---- */

uint64_t world_random(struct world *world)
{
    world->chance += 0x9e3779b97f4a7c15ull;
    return mix64(world->chance);
}

uint64_t world_between(struct world *world, uint64_t from, uint64_t to)
{
    ASSERT(from <= to);
    return from + world_random(world) % (to - from + 1);
}

bool world_chance(struct world *world, unsigned per_mille)
{
    return world_random(world) % 1000 < per_mille;
}

bool world_likes(const struct world *world, enum world_fault fault)
{
    return !world->calm && (world->faults >> fault & 1) != 0;
}

/* ---- what happened ---- */

void world_note(struct world *world, const char *text, uint64_t a, uint64_t b)
{
    trace_add(world->trace, world->now_us * 1000, text, a, b);
    if (world->options.verbose) {
        fprintf(stderr, "%10.3f %s %" PRIu64 " %" PRIu64 "\n", (double)world->now_us / 1000, text,
                a, b);
    }
}

void world_note_fault(struct world *world, enum world_fault fault, uint64_t a, uint64_t b)
{
    world->stats.faults[fault]++;
    world_note(world, world_fault_names[fault], a, b);
}

static void show_trace(const struct world *world)
{
    size_t count = trace_count(world->trace);
    for (size_t i = count > TRACE_SHOWN ? count - TRACE_SHOWN : 0; i < count; i++) {
        const struct trace_event *event = trace_at(world->trace, i);
        fprintf(stderr, "    %10.3f ms  %-32s %" PRIu64 " %" PRIu64 "\n",
                (double)event->time_ns / 1e6, event->text, event->a, event->b);
    }
}

void world_fail(struct world *world, const char *checker, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fprintf(stderr, "seed %" PRIu64 ": %s: %s (at %.3f s, %u members)\n", world->options.seed,
            checker, message, (double)world->now_us / 1e6, world->places);
    show_trace(world);
    worldclients_save_history(world);
    worldrun_end_badly(world, checker, message);
}

/* ---- events ---- */

/* Events of one instant come in the order in which they were made: a member that stood still hears
 * of a connection's end and the next one's beginning as they were. */
#define ORDER_BITS 28

static uint64_t next_key(struct world *world, uint64_t at_us)
{
    ASSERT(at_us < UINT64_C(1) << (64 - ORDER_BITS));
    return at_us << ORDER_BITS | (world->events_made++ & ((UINT64_C(1) << ORDER_BITS) - 1));
}

void world_at(struct world *world, uint64_t delay_us, const struct world_event *event)
{
    struct world_event *added = malloc(sizeof *added);
    ASSERT(added != NULL);
    *added = *event;
    added->link = (struct heap_link){0};
    enum err err =
        heap_insert(&world->events, &added->link, next_key(world, world->now_us + delay_us));
    ASSERT(err == OK);
}

static void run_event(struct world *world, const struct world_event *event)
{
    if (event->place == 0) {
        event->run(world, event);
        return;
    }
    struct worldmember *member = world->members[event->place];
    if (member->life != event->life || !member->alive) {
        return;
    }
    uint64_t free_at_us = worldmember_free_at(member);
    if (free_at_us > world->now_us) {
        world_at(world, free_at_us - world->now_us, event);
        return;
    }
    worldmember_run(member, event);
}

static bool run_first(struct world *world)
{
    struct heap_link *link = heap_min(&world->events);
    if (link == NULL) {
        return false;
    }
    heap_remove(&world->events, link);
    struct world_event *event = CONTAINER_OF(link, struct world_event, link);
    uint64_t at_us = link->key >> ORDER_BITS;
    ASSERT(at_us >= world->now_us);
    world->now_us = at_us;
    world->stats.events++;
    run_event(world, event);
    free(event);
    return true;
}

/* ---- a run ---- */

static void on_calm(struct world *world, const struct world_event *event)
{
    (void)event;
    world_note(world, "world: faults are over", 0, 0);
    world->calm = true;
    worldnemesis_end(world);
    worldend_begin(world);
}

static void on_deadline(struct world *world, const struct world_event *event)
{
    (void)event;
    if (!world->clients->are_stopped) {
        worldend_say_why_stuck(world);
    }
}

static void start(struct world *world)
{
    static const uint16_t wakes_us[] = {60, 60, 60, 600, 6000};
    static const uint32_t lazies_us[] = {20000, 100000, 300000};
    static const uint8_t usual[] = {1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7};
    world->places = usual[world_between(world, 0, ARRAY_LEN(usual) - 1)];
    if (world->options.members != 0) {
        world->places = world->options.members;
    }
    world->thread_us_max = wakes_us[world_between(world, 0, ARRAY_LEN(wakes_us) - 1)];
    world->lazy_us_max = lazies_us[world_between(world, 0, ARRAY_LEN(lazies_us) - 1)];
    world->lazy_per_mille = world_chance(world, 500) ? 400 : 0;
    world->cluster_id = world_random(world) | 1;
    uint64_t liked = world_random(world);
    bool few = __builtin_popcountll(world->options.fault_mask) <= 4;
    world->faults = world->options.fault_mask & (few ? WORLD_FAULT_ALL : liked);
    worldnet_init(world);
    worldcheck_init(world);
    worldmember_init_all(world);
    worldclients_init(world);
    worldnemesis_init(world);
    worldoperator_init(world);
    uint64_t faults_us = world->options.faults_ms * WORLD_MS;
    world_at(world, faults_us, &(struct world_event){.run = on_calm});
    world_at(world, faults_us + world->options.recovery_ms * WORLD_MS,
             &(struct world_event){.run = on_deadline});
}

/* All lives together, those included that crashed and were not freed. */
static void check_memory(struct world *world)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    world->stats.memory_max = (uint64_t)usage.ru_maxrss * 1024;
    if (world->stats.memory_max > MEMORY_BYTES_MAX) {
        world_fail(world, "memory", "the run took %llu MiB",
                   (unsigned long long)world->stats.memory_max >> 20);
    }
}

void world_run(const struct world_options *options, struct world_stats *ret)
{
    struct world *world = calloc(1, sizeof *world);
    ASSERT(world != NULL);
    world->options = *options;
    world->chance = mix64(options->seed + 1);
    heap_init(&world->events);
    enum err err = trace_new(TRACE_LINES, &world->trace);
    ASSERT(err == OK);
    trace_hash_start(world->trace);
    start(world);
    while (!world->done && run_first(world)) {
    }
    ASSERT(world->done);
    worldclients_end(world);
    check_memory(world);
    world->stats.simulated_ms = world->now_us / WORLD_MS;
    world->stats.hash = trace_hash(world->trace);
    *ret = world->stats;
}
