/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldmember.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "raft/raftlog_files.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"

#define RAFT_DIR   WORLDDISK_LOG_DIR
#define STORE_PATH "data/store.db"
#define TURN_US    2             /* what a turn takes beside the disk */
#define IO_US_MAX  (3 * WORLD_S) /* of a turn, a start included: a slow disk is slow for a while */

/* The member that runs: whose fatal() it is. One at a time in the process. */
static struct {
    struct world *world;
    struct worldmember *member;
    jmp_buf back;
    char message[512];
} running;

/* fatal() ends the process of a member; here, its life. */
static void on_fatal(const char *message)
{
    if (running.member != NULL) {
        snprintf(running.message, sizeof running.message, "%s", message);
        longjmp(running.back, 1);
    }
    world_fail(running.world, "inside", "%s", message);
}

/* Run FN in the name of MEMBER. False: it has ended, by fatal(). */
static bool in_life(struct worldmember *member, void (*fn)(struct worldmember *member, void *ctx),
                    void *ctx)
{
    ASSERT(running.member == NULL);
    running.member = member;
    bool ended = setjmp(running.back) != 0;
    if (!ended) {
        fn(member, ctx);
    }
    running.member = NULL;
    return !ended;
}

/* Its process has ended by itself: that is right when its disk has failed. */
static void check_death(struct worldmember *member)
{
    struct world *world = member->world;
    if (!worlddisk_is_sick(&member->disk)) {
        world_fail(world, "fatal", "the member at %u ended: %s", member->place, running.message);
    }
    world_note(world, "member: ends by itself", member->place, member->life);
    if (world->options.logs) {
        fprintf(stderr, "    the member at %u ended: %s\n", member->place, running.message);
    }
}

/* ---- the end of a life ---- */

static void end_life(struct worldmember *member)
{
    member->alive = false;
    member->stopping = false;
    member->is_copying = false;
    worldclients_on_death(member->world, member->place);
    member->now = NULL;
}

void worldmember_crash(struct worldmember *member)
{
    if (!member->alive) {
        return;
    }
    world_note(member->world, "member: crashes", member->place, member->life);
    worlddisk_crash(&member->disk);
    end_life(member);
}

static void on_stopped(void *ctx)
{
    struct worldmember *member = ctx;
    member->now->server = NULL;
}

static void do_stop(struct world *world, const struct world_event *event)
{
    struct worldmember *member = world->members[event->place];
    server_stop(member->now->server, on_stopped, member);
}

void worldmember_stop(struct worldmember *member)
{
    if (!member->alive || member->stopping) {
        return;
    }
    world_note(member->world, "member: stops", member->place, member->life);
    member->stopping = true;
    worldclients_on_stop(member->world, member->place);
    world_at(member->world, 0,
             &(struct world_event){.run = do_stop, .place = member->place, .life = member->life});
}

/* ---- a turn ---- */

static void do_turn(struct worldmember *member, void *ctx)
{
    const struct world_event *event = ctx;
    event->run(member->world, event);
    if (member->now->server != NULL || member->stopping) {
        worldenv_settle(&member->now->env);
    }
}

static void pay_for_io(struct worldmember *member)
{
    uint64_t io_us = member->now->env.io_us;
    member->now->env.io_us = 0;
    member->busy_until_us =
        member->world->now_us + (io_us < IO_US_MAX ? io_us : IO_US_MAX) + TURN_US;
}

void worldmember_run(struct worldmember *member, const struct world_event *event)
{
    struct world *world = member->world;
    ASSERT(member->alive);
    if (!in_life(member, do_turn, (void *)event)) {
        check_death(member);
        worldmember_crash(member);
        return;
    }
    if (member->disk.is_dead) {
        worldmember_crash(member);
        return;
    }
    pay_for_io(member);
    if (member->now->server == NULL) { /* it has stopped in order */
        world_note(world, "member: has stopped", member->place, member->life);
        worlddisk_end(&member->disk);
        end_life(member);
        return;
    }
    worldcheck_member(member);
}

/* ---- the beginning of a life ---- */

struct opening {
    enum err err;
    struct why why;
};

static void on_ready(void *ctx)
{
    struct worldmember *member = ctx;
    member->now->published = true;
    world_note(member->world, "member: is ready", member->place, member->life);
}

static void on_removed(void *ctx)
{
    struct worldmember *member = ctx;
    world_note(member->world, "member: was removed", member->place, member->id);
    member->is_removed = true;
    worldmember_stop(member);
}

static bool is_disk_full(void *ctx)
{
    struct worldmember *member = ctx;
    return raftlog_files_low_space(member->now->files);
}

static enum err open_log(struct worldmember *member, struct why *why)
{
    struct worldlife *now = member->now;
    struct raftlog_files_config config = {
        .env = &now->env.env,
        .fs = fs_fault_fs(member->disk.files),
        .log = now->logger,
        .metrics = now->metrics,
        .dir = RAFT_DIR,
        .cluster_id = member->world->cluster_id,
        .member_id = member->id,
        .segment_bytes = member->settings.segment_bytes,
        .unsafe_no_fsync = member->world->options.no_sync,
    };
    return raftlog_files_open(&config, &now->files, why);
}

static enum err open_store(struct worldmember *member, struct store **ret, struct why *why)
{
    struct worldlife *now = member->now;
    struct store_config config = {
        .env = &now->env.env,
        .log = now->logger,
        .metrics = now->metrics,
        .path = STORE_PATH,
        .vfs = simvfs_name(member->disk.vfs),
        .fs = fs_fault_fs(member->disk.files),
        .remember_hashes = true,
        .ring_bytes = member->settings.ring_bytes,
        .remove_permille = member->settings.remove_permille,
        .identity = {.cluster_id = member->world->cluster_id, .member_id = member->id},
    };
    return store_open(&config, ret, why);
}

static size_t founders(const struct world *world, struct cluster_member *members,
                       const char **addresses, const char **urls)
{
    size_t count = 0;
    for (unsigned place = 1; place <= world->places; place++) {
        urls[count] = world->members[place]->url;
        addresses[count] = urls[count] + sizeof "http://" - 1;
        members[count] = (struct cluster_member){.id = world->founders[place],
                                                 .name = "",
                                                 .peer_urls = &urls[count],
                                                 .peer_url_count = 1};
        count++;
    }
    return count;
}

static enum err open_server(struct worldmember *member, struct store *store, struct why *why)
{
    const struct world *world = member->world;
    struct worldlife *now = member->now;
    struct cluster_member members[WORLD_PLACES_MAX];
    const char *addresses[WORLD_PLACES_MAX];
    const char *urls[WORLD_PLACES_MAX];
    size_t count = founders(world, members, addresses, urls);
    char name[16];
    snprintf(name, sizeof name, "m%u", member->place);
    const char *client_url = "http://client:2379";
    struct server_config config = {
        .env = &now->env.env,
        .log = now->logger,
        .metrics = now->metrics,
        .raftlog = worldlog_wrap(&now->log, member, now->files),
        .transport = &now->transport.base,
        .store = store,
        .fs = fs_fault_fs(member->disk.files),
        .cluster_id = world->cluster_id,
        .member_id = member->id,
        .name = name,
        .members = members,
        .member_addresses = addresses,
        .member_count = member->id == world->founders[member->place] ? count : 0,
        .client_urls = &client_url,
        .client_url_count = 1,
        .heartbeat_ms = member->settings.heartbeat_ms,
        .election_ms = member->settings.election_ms,
        .snapshot_entries = member->settings.snapshot_entries,
        .catchup_entries = member->settings.catchup_entries,
        .request_bytes_max = 64 * 1024,
        .txn_ops_max = 128,
        .loose_reconfig = member->settings.loose_reconfig,
        .quota_bytes = 2ull * 1024 * 1024 * 1024,
        .watch_turn_work = member->settings.watch_turn_work,
        .hash_check_ms = 5000,
        .is_disk_full = is_disk_full,
        .on_ready = on_ready,
        .on_removed = on_removed,
        .ctx = member,
    };
    return server_start(&config, &now->server, why);
}

static enum err open_all(struct worldmember *member, struct why *why)
{
    struct worldlife *now = member->now;
    TRY(fs_make_dirs(fs_fault_fs(member->disk.files), RAFT_DIR, why));
    TRY(fs_make_dirs(fs_fault_fs(member->disk.files), "copies", why));
    now->metrics = metrics_new();
    if (member->world->options.logs) {
        char name[16];
        snprintf(name, sizeof name, "m%u", member->place);
        TRY(logger_new(&now->env.env, STDERR_FILENO, LOG_INFO, name, &now->logger));
    }
    TRY(open_log(member, why));
    struct store *store;
    TRY(open_store(member, &store, why));
    return open_server(member, store, why);
}

static void do_start(struct worldmember *member, void *ctx)
{
    struct opening *opening = ctx;
    opening->err = open_all(member, &opening->why);
    if (opening->err == OK) {
        worldenv_settle(&member->now->env);
    }
}

/* It did not start: that is right when its disk fails or was damaged. */
static void check_refusal(struct worldmember *member, const struct opening *opening)
{
    struct world *world = member->world;
    if (opening->err == OK || member->disk.is_dead) {
        return;
    }
    if (!worlddisk_is_sick(&member->disk)) {
        world_fail(world, "start", "the member at %u does not start: %s: %s", member->place,
                   err_text(opening->err), opening->why.text);
    }
    world_note(world, "member: does not start", member->place, opening->err);
    member->is_spoilt = member->disk.was_flipped;
}

bool worldmember_start(struct worldmember *member)
{
    struct world *world = member->world;
    ASSERT(!member->alive && member->id != 0);
    member->life++;
    member->paused_until_us = 0;
    world_note(world, "member: starts", member->place, member->life);
    world->stats.lives++;
    struct worldlife *now = calloc(1, sizeof *now);
    ASSERT(now != NULL);
    member->now = now;
    member->alive = true;
    worldenv_init(&now->env, world, member->place, member->life, &member->clock);
    worldtransport_init(&now->transport, world, member->place);
    worlddisk_begin(&member->disk, &now->env);
    struct opening opening = {.err = OK};
    if (!in_life(member, do_start, &opening)) {
        check_death(member);
        worldmember_crash(member);
        return false;
    }
    if (opening.err != OK || member->disk.is_dead) {
        check_refusal(member, &opening);
        worldmember_crash(member);
        return false;
    }
    pay_for_io(member);
    worldcheck_born(member);
    worldcheck_member(member);
    return true;
}

void worldmember_replace(struct worldmember *member)
{
    ASSERT(!member->alive);
    member->id = 0;
    member->is_removed = false;
    member->is_spoilt = false;
    worlddisk_wipe(&member->disk);
}

static void do_tell_removed(struct world *world, const struct world_event *event)
{
    struct worldmember *member = world->members[event->place];
    const struct transport_callbacks *callbacks = member->now->transport.callbacks;
    if (callbacks != NULL && callbacks->on_removed != NULL) {
        callbacks->on_removed(member->now->transport.ctx);
    }
}

void worldmember_tell_removed(struct worldmember *member)
{
    world_at(member->world, 0,
             &(struct world_event){
                 .run = do_tell_removed, .place = member->place, .life = member->life});
}

/* ---- who is there ---- */

uint64_t worldmember_free_at(const struct worldmember *member)
{
    return member->paused_until_us > member->busy_until_us ? member->paused_until_us
                                                           : member->busy_until_us;
}

bool worldmember_runs(const struct worldmember *member)
{
    return member->alive && member->paused_until_us <= member->world->now_us;
}

unsigned worldmember_place_of(const struct world *world, uint64_t id)
{
    for (unsigned place = 1; place <= world->places; place++) {
        if (world->members[place]->id == id) {
            return place;
        }
    }
    return 0;
}

struct worldmember *worldmember_leader(struct world *world)
{
    struct worldmember *leader = NULL;
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = world->members[place];
        if (worldmember_runs(member) && !member->stopping &&
            server_is_leader(member->now->server) &&
            (leader == NULL ||
             server_term(member->now->server) > server_term(leader->now->server))) {
            leader = member;
        }
    }
    return leader;
}

struct worldmember *worldmember_ready_leader(struct world *world)
{
    struct worldmember *leader = worldmember_leader(world);
    return leader != NULL && node_ready(server_node(leader->now->server)) ? leader : NULL;
}

/* Logs that are forgotten soon, so that members fall behind, and rings that hold little, so that
 * watchers and reads go to SQLite, and hubs that do little in a turn; or not. */
static struct worldsettings choose_settings(struct world *world)
{
    static const uint64_t snapshots[] = {20, 100, 100, 500, 10000};
    static const uint64_t catchups[] = {5, 50, 50, 500, 0};
    static const uint64_t segments[] = {64, 64, 256, 1024};
    static const size_t rings[] = {1, 16, 64, 16384};
    static const size_t turn_works[] = {0, 1, 1, 8, 40};
    struct worldsettings settings = {
        .election_ms = (uint32_t)world_between(world, 3, 10) * 100,
        .snapshot_entries = snapshots[world_between(world, 0, ARRAY_LEN(snapshots) - 1)],
        .catchup_entries = catchups[world_between(world, 0, ARRAY_LEN(catchups) - 1)],
        .segment_bytes = segments[world_between(world, 0, ARRAY_LEN(segments) - 1)] * 1024,
        .ring_bytes = rings[world_between(world, 0, ARRAY_LEN(rings) - 1)] * 1024,
        .watch_turn_work = turn_works[world_between(world, 0, ARRAY_LEN(turn_works) - 1)],
    };
    settings.heartbeat_ms = settings.election_ms / 10;
    settings.loose_reconfig = world_chance(world, 700);
    settings.remove_permille = world_chance(world, 400) ? 1 : 0;
    return settings;
}

void worldmember_init_all(struct world *world)
{
    running.world = world;
    fatal_set_hook(on_fatal);
    struct worldsettings settings = choose_settings(world);
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = calloc(1, sizeof *member);
        ASSERT(member != NULL);
        world->members[place] = member;
        member->world = world;
        member->place = place;
        member->id = world_random(world) | 1;
        world->founders[place] = member->id;
        member->settings = settings;
        member->clock.rate_ppm = WORLDCLOCK_TRUE_PPM;
        snprintf(member->url, sizeof member->url, "http://place%u:2380", place);
        worlddisk_init(&member->disk, world);
    }
    for (unsigned place = 1; place <= world->places; place++) {
        bool started = worldmember_start(world->members[place]);
        ASSERT(started);
    }
}
