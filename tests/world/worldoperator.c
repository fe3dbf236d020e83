/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldoperator.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldclients.h"
#include "tests/world/worldscan.h"

#define LOOK_MS        100
#define ASK_US         (7 * WORLD_S) /* then it is asked again */
#define FLIPS_FEW      6             /* bits at once */
#define FLIPS_MANY     60
#define UNAWARE_MS_MAX 3000

enum operator_step {
    OPERATOR_IDLE,
    OPERATOR_UNAWARE, /* of damage */
    OPERATOR_REMOVING,
    OPERATOR_ADDING,
    OPERATOR_JOINING
};

struct worldoperator {
    enum operator_step step;
    struct worldmember *place;
    uint64_t old_id;
    uint64_t new_id;
    bool learner;
    bool is_asking;
    uint64_t asked_us;
    uint64_t unaware_until_us;
};

/* A change that was asked of some member. Not freed: the member may have it for longer. */
struct change {
    struct op op;
    struct world *world;
    struct worldmember *asked;
    uint64_t life;
    struct command command;
    struct bytes url;
};

static struct worldoperator *operator_of(const struct world *world)
{
    return world->operators;
}

/* ---- what the cluster says, by a linearizable read ---- */

static const struct cluster_member *find_member(struct world *world, uint64_t id, bool *known)
{
    struct worldmember *leader = worldmember_ready_leader(world);
    *known = leader != NULL;
    return leader == NULL ? NULL : cluster_member(server_cluster(leader->now->server), id);
}

static void on_changed(struct op *op, enum err status)
{
    struct change *change = CONTAINER_OF(op, struct change, op);
    struct world *world = change->world;
    operator_of(world)->is_asking = false;
    enum err err = status != OK ? status : op->result->status;
    world_note(world, "operator: was told", (uint64_t)change->command.kind, err);
}

static void do_change(struct world *world, const struct world_event *event)
{
    struct change *change = event->ptr;
    struct server *server = world->members[event->place]->now->server;
    bool is_alarm = change->command.kind == COMMAND_ALARM;
    enum err err = is_alarm ? OK : server_check_change(server, &change->command);
    if (err != OK) {
        operator_of(world)->is_asking = false;
        world_note(world, "operator: is refused", (uint64_t)change->command.kind, err);
        return;
    }
    server_propose(server, &change->op, &change->command, on_changed);
}

static void ask(struct world *world, enum command_kind kind, uint64_t id)
{
    struct worldoperator *op = operator_of(world);
    struct worldmember *member = worldclients_pick(world);
    if (member == NULL || (op->is_asking && world->now_us - op->asked_us < ASK_US)) {
        return;
    }
    struct change *change = calloc(1, sizeof *change);
    ASSERT(change != NULL);
    change->world = world;
    change->url = bytes_of_str(op->place->url);
    if (kind == COMMAND_ALARM) {
        change->command = (struct command){
            .kind = kind, .alarm = {.type = ALARM_CORRUPT, .member_id = id, .is_clear = true}};
    } else {
        change->command = (struct command){.kind = kind, .member = {.id = id}};
    }
    if (kind == COMMAND_MEMBER_ADD) {
        change->command.member.learner = op->learner;
        change->command.member.peer_urls = &change->url;
        change->command.member.peer_url_count = 1;
    }
    op->is_asking = true;
    op->asked_us = world->now_us;
    world_note(world, "operator: asks", (uint64_t)kind, id);
    world_at(world, world_between(world, 20, 400),
             &(struct world_event){
                 .run = do_change, .place = member->place, .life = member->life, .ptr = change});
}

/* ---- step by step ---- */

static void go(struct world *world, enum operator_step step)
{
    struct worldoperator *op = operator_of(world);
    op->step = step;
    op->is_asking = false;
    world_note(world, "operator: step", step, op->place->place);
}

static void clear_place(struct world *world)
{
    struct worldoperator *op = operator_of(world);
    worldmember_crash(op->place);
    worldmember_replace(op->place);
    op->new_id = world_random(world) | 1;
    op->learner = world_chance(world, 400);
    go(world, OPERATOR_ADDING);
}

/* It was removed, and ends by itself, when its vote is not needed any more; of many, who would be
 * missed less, it may also be killed. */
static bool has_ended(const struct worldmember *member)
{
    struct world *world = member->world;
    bool is_known = member->is_removed && !member->alive;
    return is_known || (world->places > 2 && (member->is_spoilt || world_chance(world, 20)));
}

static void look_at_removal(struct world *world)
{
    struct worldoperator *op = operator_of(world);
    bool known;
    bool there = find_member(world, op->old_id, &known) != NULL;
    if (!known) {
        return;
    }
    if (there) {
        ask(world, COMMAND_MEMBER_REMOVE, op->old_id);
    } else if (has_ended(op->place)) {
        clear_place(world);
    }
}

static void look_at_addition(struct world *world)
{
    struct worldoperator *op = operator_of(world);
    bool known;
    bool there = find_member(world, op->new_id, &known) != NULL;
    if (there) {
        op->place->id = op->new_id;
        go(world, OPERATOR_JOINING);
    } else if (known) {
        ask(world, COMMAND_MEMBER_ADD, op->new_id);
    }
}

static void look_at_newcomer(struct world *world)
{
    struct worldoperator *op = operator_of(world);
    bool known;
    const struct cluster_member *member = find_member(world, op->new_id, &known);
    if (member == NULL) {
        return;
    }
    if (member->learner) {
        ask(world, COMMAND_MEMBER_PROMOTE, op->new_id);
        return;
    }
    const struct node *node = server_node(worldmember_ready_leader(world)->now->server);
    if (!node_has_left(node, op->old_id)) {
        return; /* what the leader has is not committed: it may be gone with it */
    }
    const struct node_member *members;
    size_t count = node_members(node, &members);
    for (size_t i = 0; i < count; i++) {
        if (members[i].id == op->new_id && members[i].role == MEMBER_VOTER) {
            op->step = OPERATOR_IDLE;
            world_note(world, "operator: is done", op->place->place, op->new_id);
        }
    }
}

/* Whoever was called damaged, and is gone, is a reason to refuse writes no more. */
static void look_at_alarms(struct world *world)
{
    struct worldmember *leader = worldmember_ready_leader(world);
    if (leader == NULL || operator_of(world)->place == NULL) {
        return;
    }
    const struct alarm *alarms;
    size_t count = alarm_list(fsm_alarms(server_fsm(leader->now->server)), &alarms);
    for (size_t i = 0; i < count; i++) {
        bool known;
        if (alarms[i].type == ALARM_CORRUPT &&
            find_member(world, alarms[i].member_id, &known) == NULL && known) {
            ask(world, COMMAND_ALARM, alarms[i].member_id);
            return;
        }
    }
}

static void on_look(struct world *world, const struct world_event *event)
{
    switch (operator_of(world)->step) {
    case OPERATOR_IDLE:
        look_at_alarms(world);
        break;
    case OPERATOR_UNAWARE:
        if (operator_of(world)->unaware_until_us <= world->now_us || world->calm) {
            go(world, OPERATOR_REMOVING);
        }
        break;
    case OPERATOR_REMOVING:
        look_at_removal(world);
        break;
    case OPERATOR_ADDING:
        look_at_addition(world);
        break;
    case OPERATOR_JOINING:
        look_at_newcomer(world);
        break;
    }
    world_at(world, LOOK_MS * WORLD_MS, event);
}

/* ---- what there is to do ---- */

static bool begin(struct world *world, unsigned least_places)
{
    struct worldoperator *op = operator_of(world);
    if (op->step != OPERATOR_IDLE || world->places < least_places) {
        return false;
    }
    op->place = world->members[world_between(world, 1, world->places)];
    op->old_id = op->place->id;
    go(world, OPERATOR_REMOVING);
    return true;
}

void worldoperator_replace(struct world *world)
{
    if (begin(world, 2)) {
        world_note_fault(world, FAULT_MEMBERS, operator_of(world)->place->place, 0);
    }
}

void worldoperator_wipe(struct world *world)
{
    if (begin(world, 3)) {
        struct worldmember *member = operator_of(world)->place;
        world_note_fault(world, FAULT_WIPE, member->place, 0);
        worldmember_crash(member);
        member->is_spoilt = true;
    }
}

/* Some bits of one file, of whichever; the place is not trusted any more, and replaced, at once or
 * when it has been read for a while. */
static void flip_bits(struct worldmember *member, const char *dir, uint64_t bits)
{
    struct world *world = member->world;
    struct fs *fs = fs_fault_fs(member->disk.files);
    struct worldenv *env = member->disk.env;
    bool was_dead = member->disk.is_dead;
    member->disk.env = NULL; /* nobody pays for this */
    member->disk.is_dead = false;
    struct fs_names names = {0};
    if (fs_list(fs, dir, &names, NULL) == OK && names.count > 0) {
        char path[128];
        const char *name = names.names[world_between(world, 0, names.count - 1)];
        snprintf(path, sizeof path, "%s/%s", dir, name);
        CLEANUP(fs_closep) struct fs_file *file = NULL;
        uint64_t size = 0;
        if (fs_open(fs, path, FS_READ, &file, NULL) == OK && fs_size(file, &size, NULL) == OK &&
            size > 0) {
            for (uint64_t i = 0; i < bits; i++) {
                (void)fs_fault_flip(member->disk.files, path, world_between(world, 0, size - 1),
                                    (uint8_t)(1u << world_between(world, 0, 7)));
            }
            member->disk.was_flipped = true;
        }
    }
    fs_names_fini(&names);
    member->disk.env = env;
    member->disk.is_dead = was_dead;
}

void worldoperator_flip(struct world *world)
{
    if (!begin(world, 3)) {
        return;
    }
    struct worldmember *member = operator_of(world)->place;
    world_note_fault(world, FAULT_FLIP, member->place, 0);
    bool is_unnoticed = world_chance(world, 500);
    bool is_store = is_unnoticed || world_chance(world, 500);
    flip_bits(member, is_store ? "data" : "data/raft",
              world_between(world, 1, is_unnoticed ? FLIPS_MANY : FLIPS_FEW));
    if (member->alive && world_chance(world, is_unnoticed ? 200 : 700)) {
        worldmember_crash(member);
    }
    if (is_unnoticed) {
        go(world, OPERATOR_UNAWARE);
        operator_of(world)->unaware_until_us =
            world->now_us + world_between(world, 100, UNAWARE_MS_MAX) * WORLD_MS;
        worldscan_suspect(member);
    }
}

bool worldoperator_is_idle(const struct world *world)
{
    return operator_of(world)->step == OPERATOR_IDLE;
}

void worldoperator_init(struct world *world)
{
    world->operators = calloc(1, sizeof *world->operators);
    ASSERT(world->operators != NULL);
    world_at(world, LOOK_MS * WORLD_MS, &(struct world_event){.run = on_look});
}
