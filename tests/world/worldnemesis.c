/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldnemesis.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldadmin.h"
#include "tests/world/worldask.h"
#include "tests/world/worldmember.h"
#include "tests/world/worldoperator.h"
#include "tests/world/worldwatch.h"

#define DOWN_MS_MAX   4000  /* how long a fault that has a length takes, mostly */
#define DRIFT_PPM_MAX 50000 /* how much faster or slower a clock may go */

static struct worldmember *some_member(struct world *world)
{
    return world->members[world_between(world, 1, world->places)];
}

/* The leader half of the time, as most depends on it. */
static struct worldmember *some_target(struct world *world)
{
    struct worldmember *leader = worldmember_leader(world);
    return leader != NULL && world_chance(world, 500) ? leader : some_member(world);
}

static uint64_t some_length_us(struct world *world)
{
    static const uint64_t lengths_ms[] = {50, 300, 1500, DOWN_MS_MAX, 2 * DOWN_MS_MAX};
    uint64_t longest_ms = lengths_ms[world_between(world, 0, ARRAY_LEN(lengths_ms) - 1)];
    return world_between(world, 1, longest_ms) * WORLD_MS;
}

/* ---- members ---- */

static bool may_start(const struct worldmember *member)
{
    return !member->alive && member->id != 0 && !member->is_removed && !member->is_spoilt;
}

static void on_start_time(struct world *world, const struct world_event *event)
{
    struct worldmember *member = event->ptr;
    if (may_start(member) && !worldmember_start(member)) {
        world_at(world, some_length_us(world), event);
    }
}

static void start_later(struct worldmember *member)
{
    world_at(member->world, some_length_us(member->world),
             &(struct world_event){.run = on_start_time, .ptr = member});
}

static void crash_some(struct world *world)
{
    unsigned count =
        world_chance(world, 700) ? 1 : (unsigned)world_between(world, 1, world->places);
    for (unsigned i = 0; i < count; i++) {
        struct worldmember *member = i == 0 ? some_target(world) : some_member(world);
        if (member->alive) {
            world_note_fault(world, FAULT_CRASH, member->place, member->life);
            worldmember_crash(member);
        }
    }
}

static void crash_all(struct world *world)
{
    world_note_fault(world, FAULT_CRASH_ALL, 0, 0);
    for (unsigned place = 1; place <= world->places; place++) {
        worldmember_crash(world->members[place]);
    }
}

/* After some operations of the disk; or of each one's soon after a file has taken the place of
 * another one, whenever that is. */
static void tear(struct world *world)
{
    struct worldmember *member = some_target(world);
    uint64_t ops = world_between(world, 1, 60);
    if (world_chance(world, 500)) {
        for (unsigned place = 1; place <= world->places; place++) {
            world->members[place]->disk.dies_after_rename = ops;
        }
    } else if (member->alive) {
        member->disk.dies_at_op = member->disk.op_count + ops;
    } else {
        return;
    }
    world_note_fault(world, FAULT_TORN, member->place, member->life);
}

static void restart(struct world *world)
{
    struct worldmember *member = some_target(world);
    if (member->alive && !member->stopping) {
        world_note_fault(world, FAULT_RESTART, member->place, member->life);
        worldmember_stop(member);
    }
}

/* Half of the time for as long as another leader needs to have renewed what this one has seen
 * end. */
static void pause_one(struct world *world)
{
    struct worldmember *member = some_target(world);
    if (member->alive) {
        world_note_fault(world, FAULT_PAUSE, member->place, member->life);
        member->paused_until_us =
            world->now_us + (world_chance(world, 500)
                                 ? some_length_us(world)
                                 : world_between(world, 1000, 4000) * WORLD_MS);
    }
}

static void move_clock(struct world *world)
{
    static const int64_t jumps_ms[] = {50, 5000, 3600 * 1000, 86400ll * 1000 * 365};
    struct worldmember *member = some_member(world);
    int64_t most = jumps_ms[world_between(world, 0, ARRAY_LEN(jumps_ms) - 1)];
    int64_t jump = (int64_t)world_between(world, 0, (uint64_t)most);
    world_note_fault(world, FAULT_CLOCK, member->place, (uint64_t)jump);
    member->clock.wall_offset_ms += world_chance(world, 500) ? jump : -jump;
}

static void do_nothing(struct world *world, const struct world_event *event)
{
    (void)world;
    (void)event;
}

/* Its timers are due at another time. */
static void set_rate(struct worldmember *member, uint32_t rate_ppm)
{
    struct world *world = member->world;
    worldclock_set_rate(&member->clock, world->now_us, rate_ppm);
    if (member->alive) {
        world_at(
            world, 0,
            &(struct world_event){.run = do_nothing, .place = member->place, .life = member->life});
    }
}

static void drift(struct world *world)
{
    struct worldmember *member = some_target(world);
    uint32_t most_ppm = world_chance(world, 300) ? DRIFT_PPM_MAX / 10 : DRIFT_PPM_MAX;
    uint32_t off_ppm =
        world_chance(world, 500) ? most_ppm : (uint32_t)world_between(world, 0, most_ppm);
    bool is_fast = world_chance(world, 500);
    uint32_t rate_ppm = is_fast ? WORLDCLOCK_TRUE_PPM + off_ppm : WORLDCLOCK_TRUE_PPM - off_ppm;
    world_note_fault(world, FAULT_DRIFT, member->place, rate_ppm);
    set_rate(member, rate_ppm);
    if (is_fast && off_ppm > world->fastest_ppm) {
        world->fastest_ppm = off_ppm;
    }
}

/* Whoever is down, for whatever reason, comes back in the end. */
static void on_look(struct world *world, const struct world_event *event)
{
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = world->members[place];
        if (may_start(member)) {
            if (world->calm) {
                (void)worldmember_start(member); /* else at the next look */
            } else if (world_chance(world, 200)) {
                start_later(member);
            }
        }
    }
    world_at(world, 100 * WORLD_MS, event);
}

/* ---- links ---- */

static void on_mend_links(struct world *world, const struct world_event *event)
{
    (void)event;
    worldnet_join_all(world);
}

static void mend_links_later(struct world *world)
{
    world_at(world, some_length_us(world), &(struct world_event){.run = on_mend_links});
}

static void cut(struct world *world)
{
    uint64_t side = world_random(world); /* a bit for each place */
    world_note_fault(world, FAULT_CUT, side & 0xff, 0);
    for (unsigned a = 1; a <= world->places; a++) {
        for (unsigned b = 1; b <= world->places; b++) {
            if ((side >> a & 1) != (side >> b & 1)) {
                worldnet_cut(world, a, b, true);
            }
        }
    }
    mend_links_later(world);
}

static void cut_one_way(struct world *world)
{
    struct worldmember *from = some_target(world);
    struct worldmember *to = some_target(world);
    if (from == to) {
        return;
    }
    world_note_fault(world, FAULT_ONE_WAY, from->place, to->place);
    worldnet_cut(world, from->place, to->place, true);
    mend_links_later(world);
}

static void cut_to_a_ring(struct world *world)
{
    world_note_fault(world, FAULT_RING, 0, 0);
    for (unsigned a = 1; a <= world->places; a++) {
        for (unsigned b = 1; b <= world->places; b++) {
            unsigned apart = a > b ? a - b : b - a;
            if (apart > 1 && apart != world->places - 1) {
                worldnet_cut(world, a, b, true);
            }
        }
    }
    mend_links_later(world);
}

static void reset(struct world *world)
{
    struct worldmember *a = some_target(world);
    struct worldmember *b = some_member(world);
    if (a != b) {
        world_note_fault(world, FAULT_RESET, a->place, b->place);
        worldnet_reset(world, a->place, b->place);
    }
}

static void slow_link(struct world *world)
{
    struct worldmember *from = some_target(world);
    struct worldmember *to = some_member(world);
    if (from != to) {
        world_note_fault(world, FAULT_SLOW_LINK, from->place, to->place);
        worldnet_slow(world, from->place, to->place, world->now_us + some_length_us(world));
    }
}

/* ---- clients ---- */

/* Connections between clients and a member are lost. */
static void drop_clients(struct world *world)
{
    struct worldmember *member = some_target(world);
    unsigned per_mille = world_chance(world, 300) ? 1000 : (unsigned)world_between(world, 50, 500);
    if (member->alive) {
        ask_cancel_some(member, per_mille);
        worldwatch_close_some(member, per_mille);
    }
}

/* ---- disks ---- */

static void fail(struct world *world, enum world_fault fault, unsigned kinds)
{
    struct worldmember *member = some_target(world);
    if (member->alive) {
        world_note_fault(world, fault, member->place, member->life);
        member->disk.fail_kinds = kinds;
        member->disk.fail_in = world_between(world, 0, 40);
    }
}

static void fail_read(struct world *world)
{
    fail(world, FAULT_READ_FAIL, FS_FAULT_READ);
}

static void fail_write(struct world *world)
{
    fail(world, FAULT_WRITE_FAIL,
         FS_FAULT_WRITE | FS_FAULT_ALLOCATE | FS_FAULT_TRUNCATE | FS_FAULT_NAMES);
}

static void fail_sync(struct world *world)
{
    fail(world, FAULT_SYNC_FAIL, FS_FAULT_SYNC | FS_FAULT_SYNC_DIR);
}

static void slow_disk(struct world *world)
{
    struct worldmember *member = some_target(world);
    world_note_fault(world, FAULT_SLOW_DISK, member->place, 0);
    member->disk.slow_factor = (unsigned)world_between(world, 10, 200);
    member->disk.slow_until_us = world->now_us + some_length_us(world);
}

static void on_room(struct world *world, const struct world_event *event)
{
    (void)world;
    struct worldmember *member = event->ptr;
    fs_fault_set_capacity(member->disk.files, 0);
}

static void fill(struct world *world)
{
    struct worldmember *member = some_target(world);
    world_note_fault(world, FAULT_FULL, member->place, 0);
    uint64_t room = world_between(world, 0, 256) * 1024;
    fs_fault_set_capacity(member->disk.files, fs_fault_used_bytes(member->disk.files) + room);
    member->disk.has_failed = true;
    world_at(world, some_length_us(world), &(struct world_event){.run = on_room, .ptr = member});
}

/* ---- when ---- */

/* Of each kind: what it does, and how often at most and at least. */
static const struct {
    enum world_fault fault;
    void (*strike)(struct world *world);
    uint64_t every_ms_min;
    uint64_t every_ms_max;
} strikes[] = {
    {FAULT_CRASH, crash_some, 500, 6000},
    {FAULT_CRASH_ALL, crash_all, 3000, 15000},
    {FAULT_TORN, tear, 500, 6000},
    {FAULT_RESTART, restart, 1000, 8000},
    {FAULT_PAUSE, pause_one, 500, 6000},
    {FAULT_CLOCK, move_clock, 200, 5000},
    {FAULT_DRIFT, drift, 200, 4000},
    {FAULT_CUT, cut, 1000, 8000},
    {FAULT_ONE_WAY, cut_one_way, 500, 6000},
    {FAULT_RING, cut_to_a_ring, 2000, 10000},
    {FAULT_RESET, reset, 100, 3000},
    {FAULT_SLOW_LINK, slow_link, 500, 6000},
    {FAULT_READ_FAIL, fail_read, 1000, 8000},
    {FAULT_WRITE_FAIL, fail_write, 1000, 8000},
    {FAULT_SYNC_FAIL, fail_sync, 1000, 8000},
    {FAULT_SLOW_DISK, slow_disk, 500, 6000},
    {FAULT_FULL, fill, 1000, 8000},
    {FAULT_FLIP, worldoperator_flip, 1000, 8000},
    {FAULT_WIPE, worldoperator_wipe, 1000, 8000},
    {FAULT_MEMBERS, worldoperator_replace, 500, 5000},
    {FAULT_BACKUP, worldadmin_backup, 500, 6000},
    {FAULT_CANCEL, drop_clients, 50, 2000},
    {FAULT_OVERLOAD, worldadmin_overload, 1000, 8000},
    {FAULT_TRANSFER, worldadmin_transfer, 500, 5000},
    {FAULT_COMPACT, worldadmin_compact, 100, 4000},
    {FAULT_DEFRAG, worldadmin_defragment, 500, 6000},
};

static void strike_later(struct world *world, size_t which, uint64_t every_ms);

static void on_strike(struct world *world, const struct world_event *event)
{
    if (!world->calm) {
        strikes[event->a].strike(world);
        strike_later(world, (size_t)event->a, event->b);
    }
}

static void strike_later(struct world *world, size_t which, uint64_t every_ms)
{
    world_at(world, world_between(world, 1, 2 * every_ms) * WORLD_MS,
             &(struct world_event){.run = on_strike, .a = which, .b = every_ms});
}

void worldnemesis_init(struct world *world)
{
    for (size_t i = 0; i < ARRAY_LEN(strikes); i++) {
        uint64_t every_ms = world_between(world, strikes[i].every_ms_min, strikes[i].every_ms_max);
        if (world_likes(world, strikes[i].fault)) {
            strike_later(world, i, every_ms);
        }
    }
    world_at(world, 100 * WORLD_MS, &(struct world_event){.run = on_look});
}

void worldnemesis_end(struct world *world)
{
    worldnet_join_all(world);
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = world->members[place];
        member->paused_until_us = 0;
        set_rate(member, WORLDCLOCK_TRUE_PPM);
        member->disk.slow_until_us = 0;
        member->disk.dies_at_op = 0;
        member->disk.dies_after_rename = 0;
        member->disk.fail_kinds = 0;
        fs_fault_set_capacity(member->disk.files, 0);
    }
}
