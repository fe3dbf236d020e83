/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldadmin.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldask.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"
#include "tests/world/worldkv.h"
#include "tests/world/worldscan.h"

/* ---- leadership ---- */

static void on_transferred(void *ctx, enum err status)
{
    struct worldmember *member = ctx;
    world_note(member->world, "admin: handed over", member->place, status);
}

static void do_transfer(struct world *world, const struct world_event *event)
{
    struct worldmember *member = world->members[event->place];
    if (server_is_leader(member->now->server)) {
        enum err err = server_transfer(member->now->server, event->a, on_transferred, member);
        world_note(world, "admin: hands over", member->place, err);
    }
}

void worldadmin_transfer(struct world *world)
{
    struct worldmember *leader = worldmember_leader(world);
    const struct worldmember *target = world->members[world_between(world, 1, world->places)];
    if (leader == NULL || target == leader) {
        return;
    }
    world_note_fault(world, FAULT_TRANSFER, leader->place, target->place);
    world_at(
        world, 0,
        &(struct world_event){
            .run = do_transfer, .place = leader->place, .life = leader->life, .a = target->id});
}

/* ---- compaction ---- */

struct compaction {
    struct ask ask;
    int64_t process;
    struct op op;
};

static void on_compacted(struct op *op, enum err status)
{
    struct compaction *compaction = CONTAINER_OF(op, struct compaction, op);
    if (!ask_is_open(&compaction->ask)) {
        return;
    }
    enum history_type type = ask_outcome(status);
    if (type == HISTORY_OK && op->result->status != OK) {
        type = HISTORY_FAIL; /* it was compacted already, or is still to come */
    }
    ask_end(&compaction->ask, type, type == HISTORY_OK ? op->result->revision : 0);
}

static void begin_compaction(struct ask *ask)
{
    struct compaction *compaction = CONTAINER_OF(ask, struct compaction, ask);
    struct command command = {.kind = COMMAND_COMPACT,
                              .compact = {.revision = ask->event.at_revision}};
    server_propose(ask->member->now->server, &compaction->op, &command, on_compacted);
}

static void compaction_ended(struct ask *ask, enum history_type type)
{
    (void)ask;
    (void)type; /* not freed: the op may be in the hands of a member that does not count */
}

/* Whoever reads what is about to be compacted must get it as a whole, however long that takes. */
static void read_before(struct world *world, int64_t target)
{
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = world->members[place];
        if (member->alive && !member->stopping && world_chance(world, 500)) {
            uint64_t back = world_between(world, 1, world_chance(world, 500) ? 10 : 100);
            worldscan_once(member, target > (int64_t)back ? target - (int64_t)back : 1);
        }
    }
}

void worldadmin_compact(struct world *world)
{
    struct worldmember *member = worldclients_pick(world);
    int64_t revision = worldcheck_revision(world);
    if (member == NULL || revision < 3) {
        return;
    }
    struct compaction *compaction = calloc(1, sizeof *compaction);
    ASSERT(compaction != NULL);
    uint64_t kept = world_chance(world, 300) ? 0 : world_between(world, 0, 200);
    int64_t target = revision - (int64_t)kept;
    compaction->process = world->clients->next_process++;
    compaction->ask = (struct ask){
        .world = world,
        .process = &compaction->process,
        .event = {.workload = HISTORY_ADMIN,
                  .f = HISTORY_COMPACT,
                  .at_revision = target > 1 ? target : 1},
        .begin = begin_compaction,
        .ended = compaction_ended,
    };
    world_note_fault(world, FAULT_COMPACT, member->place, (uint64_t)target);
    if (target > 1 && world_chance(world, 500)) {
        read_before(world, target);
    }
    ask_begin(&compaction->ask, member);
}

/* ---- defragmentation ---- */

struct rewriting {
    struct store_copy_request request;
    struct worldmember *member;
    uint64_t life;
};

static void on_defragmented(struct store_copy_request *request)
{
    struct rewriting *rewriting = CONTAINER_OF(request, struct rewriting, request);
    struct worldmember *member = rewriting->member;
    world_note(member->world, "admin: defragmented", member->place, request->status);
}

static void do_defragment(struct world *world, const struct world_event *event)
{
    struct rewriting *rewriting = calloc(1, sizeof *rewriting);
    ASSERT(rewriting != NULL);
    rewriting->member = world->members[event->place];
    rewriting->life = event->life;
    store_defragment_start(server_store(rewriting->member->now->server), &rewriting->request,
                           on_defragmented);
}

void worldadmin_defragment(struct world *world)
{
    struct worldmember *member = worldclients_pick(world);
    if (member != NULL) {
        world_note_fault(world, FAULT_DEFRAG, member->place, 0);
        world_at(world, 0,
                 &(struct world_event){
                     .run = do_defragment, .place = member->place, .life = member->life});
    }
}

/* ---- copies ---- */

/* Not beside the database: what fails when the copy is opened would leave the syncs of its
 * directory in doubt, and nobody would end of it. */
#define COPY_PATH "copies/copy.db"

struct copying {
    struct store_copy_request request;
    struct worldmember *member;
};

/* Open the copy as a member would, and hold it against what the members had at its index. */
static enum err check_copy(struct copying *copying, struct why *why)
{
    struct worldmember *member = copying->member;
    struct store_config config = {
        .env = &member->now->env.env,
        .path = COPY_PATH,
        .vfs = simvfs_name(member->disk.vfs),
        .fs = fs_fault_fs(member->disk.files),
        .identity = {.cluster_id = member->world->cluster_id, .member_id = member->id},
    };
    struct store *store;
    TRY(store_open(&config, &store, why));
    worldcheck_copy(member, store, copying->request.applied_index);
    store_close(store);
    return OK;
}

static void remove_copy(struct worldmember *member)
{
    static const char *const names[] = {COPY_PATH, COPY_PATH "-wal"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum err err = fs_unlink(fs_fault_fs(member->disk.files), names[i], NULL);
        (void)err; /* not there */
    }
}

static void on_copied(struct store_copy_request *request)
{
    struct copying *copying = CONTAINER_OF(request, struct copying, request);
    struct worldmember *member = copying->member;
    struct why why = {.text = ""};
    enum err err = request->status;
    if (worldmember_is_dying(member) || err == ERR_STOPPED) {
        return;
    }
    if (err == OK) {
        err = check_copy(copying, &why);
    } else {
        why = request->why;
    }
    world_note(member->world, "admin: copied", member->place, err);
    if (err != OK && !worlddisk_is_sick(&member->disk)) {
        world_fail(member->world, "backup", "a copy at %u: %s: %s", member->place, err_text(err),
                   why.text);
    }
    remove_copy(member);
    member->is_copying = false;
    free(copying);
}

static void do_copy(struct world *world, const struct world_event *event)
{
    struct worldmember *member = world->members[event->place];
    if (member->is_copying) {
        return;
    }
    struct copying *copying = calloc(1, sizeof *copying);
    ASSERT(copying != NULL);
    remove_copy(member);
    member->is_copying = true;
    copying->member = member;
    copying->request = (struct store_copy_request){.path = COPY_PATH, .is_temporary = true};
    store_copy_start(server_store(member->now->server), &copying->request, on_copied);
}

void worldadmin_backup(struct world *world)
{
    struct worldmember *member = worldclients_pick(world);
    if (member != NULL) {
        world_note_fault(world, FAULT_BACKUP, member->place, 0);
        world_at(
            world, 0,
            &(struct world_event){.run = do_copy, .place = member->place, .life = member->life});
    }
}

/* ---- too much at once ---- */

static void overload_ended(struct ask *ask, enum history_type type)
{
    (void)ask;
    (void)type;
}

void worldadmin_overload(struct world *world)
{
    struct worldmember *member = worldclients_pick(world);
    if (member == NULL) {
        return;
    }
    uint64_t count = world_between(world, 10, 300);
    world_note_fault(world, FAULT_OVERLOAD, member->place, count);
    for (uint64_t i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "o%u", (unsigned)(i % 50));
        (void)worldkv_put_once(member, key, overload_ended);
    }
}
