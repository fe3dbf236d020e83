/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldend.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "server/server_private.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"
#include "tests/world/worldkv.h"
#include "tests/world/worldlease.h"
#include "tests/world/worldlock.h"
#include "tests/world/worldoperator.h"
#include "tests/world/worldwatch.h"
#include "watch/hub_private.h"

#define LOOK_MS      20
#define ASK_AGAIN_MS 300

enum end_step { END_RECOVERING, END_QUIET, END_EQUAL };

/* What is asked of a member in the end. */
struct end_question {
    struct worldend *end;
    struct worldmember *member;
    uint64_t life;
    bool is_asking;
    uint64_t asked_us; /* for a put; it is asked again all the time */
    bool has_put;
    bool has_hash;
    bool has_state;
    struct history_item *items; /* the state */
    uint32_t item_count;
    struct store_hash_request hash;
    struct store_range_request range;
};

struct worldend {
    struct world *world;
    enum end_step step;
    uint64_t began_us;
    int64_t revision; /* that all must have */
    int64_t process;
    struct end_question questions[WORLD_PLACES_MAX + 1];
};

static struct worldend *end_of(struct world *world)
{
    return world->clients->end;
}

/* Who must answer: everyone who is a member, as the leader has it. */
static bool must_answer(struct world *world, const struct worldmember *member)
{
    struct worldmember *leader = worldmember_ready_leader(world);
    const struct cluster *cluster = leader == NULL ? NULL : server_cluster(leader->now->server);
    return member->id != 0 && !member->is_removed &&
           (cluster == NULL || cluster_member(cluster, member->id) != NULL);
}

static bool is_learner(const struct worldmember *member)
{
    return member->alive && !member->stopping && server_is_learner(member->now->server);
}

/* ---- recovery ---- */

static void on_put(struct ask *ask, enum history_type type)
{
    struct worldend *end = end_of(ask->world);
    for (unsigned place = 1; place <= ask->world->places; place++) {
        struct end_question *question = &end->questions[place];
        /* Whoever it was that the place belonged to then. */
        question->has_put |= type == HISTORY_OK && question->member == ask->asked;
    }
}

static void ask_for_put(struct end_question *question)
{
    struct worldmember *member = question->member;
    (void)worldkv_put_once(member, "end", on_put);
    question->asked_us = member->world->now_us;
}

static bool has_recovered(struct world *world)
{
    struct worldend *end = end_of(world);
    bool all = true;
    for (unsigned place = 1; place <= world->places; place++) {
        struct end_question *question = &end->questions[place];
        struct worldmember *member = world->members[place];
        if (!must_answer(world, member) || question->has_put) {
            continue;
        }
        all = all && is_learner(member);
        if (question->asked_us + ASK_AGAIN_MS * WORLD_MS < world->now_us &&
            worldmember_runs(member) && !member->stopping && !is_learner(member)) {
            ask_for_put(question);
        }
    }
    return all && worldmember_ready_leader(world) != NULL && worldoperator_is_idle(world);
}

/* ---- equality ---- */

static struct end_question *hash_question(struct store_hash_request *request)
{
    return CONTAINER_OF(request, struct end_question, hash);
}

static void on_hash(struct store_hash_request *request)
{
    struct end_question *question = hash_question(request);
    question->is_asking = false;
    question->has_hash = request->status == OK;
}

static void keep_state(struct end_question *question)
{
    struct world *world = question->end->world;
    const struct record_list *records = &question->range.result.records;
    question->items = calloc(records->count + 1, sizeof *question->items);
    ASSERT(question->items != NULL);
    for (size_t i = 0; i < records->count; i++) {
        const struct record *record = records->items[i];
        question->items[i] = (struct history_item){.f = HISTORY_ITEM_READ,
                                                   .key = ask_symbol(world, record_key(record)),
                                                   .value = ask_symbol(world, record_value(record)),
                                                   .mod_revision = record_mod_revision(record),
                                                   .create_revision = record->create_revision,
                                                   .version = record->version};
    }
    question->item_count = (uint32_t)records->count;
}

static void on_range(struct store_range_request *request)
{
    struct end_question *question = CONTAINER_OF(request, struct end_question, range);
    question->is_asking = false;
    question->has_state = request->status == OK;
    if (question->has_state) {
        keep_state(question);
        range_result_fini(&request->result);
    }
}

static void note_state(const struct end_question *question)
{
    const struct worldend *end = question->end;
    struct world *world = end->world;
    char name[16];
    snprintf(name, sizeof name, "m%u", question->member->place);
    struct history_item range = {.key = ask_symbol(world, bytes_of_str("a")),
                                 .value = ask_symbol(world, bytes_of_str("z"))};
    struct history_event event = {.time_ns = (int64_t)(world->now_us * 1000),
                                  .process = end->process,
                                  .type = HISTORY_INVOKE,
                                  .workload = HISTORY_FINAL,
                                  .f = HISTORY_STATE,
                                  .items = &range,
                                  .item_count = 1};
    history_add(world->clients->history, &event);
    event.type = HISTORY_OK;
    event.member = ask_symbol(world, bytes_of_str(name));
    event.revision = end->revision;
    event.number = question->hash.hash;
    event.items = question->items;
    event.item_count = question->item_count;
    history_add(world->clients->history, &event);
}

static void do_ask(struct world *world, const struct world_event *event)
{
    struct end_question *question = event->ptr;
    struct store *store = server_store(world->members[event->place]->now->server);
    if (!question->has_hash) {
        question->hash = (struct store_hash_request){.revision = question->end->revision};
        store_hash_start(store, &question->hash, on_hash);
    } else {
        question->range =
            (struct store_range_request){.query = {.key = bytes_of_str("a"),
                                                   .range_end = bytes_of_str("z"),
                                                   .revision = question->end->revision}};
        store_range_start(store, &question->range, on_range);
    }
}

static void ask_member(struct end_question *question)
{
    struct worldmember *member = question->member;
    question->is_asking = true;
    question->life = member->life;
    world_at(member->world, 0,
             &(struct world_event){
                 .run = do_ask, .place = member->place, .life = member->life, .ptr = question});
}

static void compare_hashes(struct worldend *end)
{
    const struct end_question *first = NULL;
    for (unsigned place = 1; place <= end->world->places; place++) {
        const struct end_question *question = &end->questions[place];
        if (!question->has_hash) {
            continue;
        }
        if (first == NULL) {
            first = question;
        } else if (question->hash.hash != first->hash.hash) {
            world_fail(end->world, "hash",
                       "HashKV at revision %lld is %x at the member at %u, and %x at %u",
                       (long long)end->revision, first->hash.hash, first->member->place,
                       question->hash.hash, place);
        }
    }
}

static bool are_equal(struct world *world)
{
    struct worldend *end = end_of(world);
    bool all = true;
    for (unsigned place = 1; place <= world->places; place++) {
        struct end_question *question = &end->questions[place];
        struct worldmember *member = world->members[place];
        if (!must_answer(world, member) || question->has_state) {
            continue;
        }
        all = false;
        if (question->is_asking && question->life == member->life) {
            continue;
        }
        if (worldmember_runs(member) && !member->stopping &&
            store_revision(server_store(member->now->server)) >= end->revision) {
            ask_member(question);
        }
    }
    return all;
}

/* Who has applied most, and all that anyone has; NULL: nobody who is there. */
static struct worldmember *newest_member(struct world *world)
{
    struct worldmember *newest = NULL;
    for (unsigned place = 1; place <= world->places; place++) {
        struct worldmember *member = world->members[place];
        if (member->alive && !member->stopping &&
            (newest == NULL || member->now->applied_index > newest->now->applied_index)) {
            newest = member;
        }
    }
    bool has_all = newest != NULL &&
                   store_revision(server_store(newest->now->server)) == worldcheck_revision(world);
    return has_all ? newest : NULL;
}

/* What is left at MEMBER of clients that ask nothing any more, those included that went away; NULL:
 * nothing. Its own commands and reads come and go. */
static const char *left_over_at(const struct worldmember *member)
{
    const struct server *server = member->now->server;
    size_t streams;
    size_t watches = worldwatch_count(member, &streams);
    if (!queue_empty(&server->contests.all)) {
        return "somebody stands in a line";
    }
    if (server->pending.count > 0) {
        return "a command waits";
    }
    if (!queue_empty(&server->query.unanswered)) {
        return "a read waits";
    }
    if (server->hub->watchers != watches || server->hub->open_streams != streams) {
        return "a watch is left";
    }
    return NULL;
}

static bool is_nothing_left(struct world *world)
{
    for (unsigned place = 1; place <= world->places; place++) {
        const struct worldmember *member = world->members[place];
        if (member->alive && !member->stopping && left_over_at(member) != NULL) {
            return false;
        }
    }
    const struct worldmember *newest = newest_member(world);
    return newest != NULL && worldlease_count(newest) == 0;
}

static void forget_answers(struct worldend *end)
{
    for (unsigned place = 1; place <= end->world->places; place++) {
        struct end_question *question = &end->questions[place];
        free(question->items);
        question->items = NULL;
        question->has_hash = false;
        question->has_state = false;
    }
}

/* A lease may run out while members are asked: then what they said is not the end. */
static bool has_ended(struct worldend *end)
{
    struct world *world = end->world;
    struct worldmember *newest = newest_member(world);
    if (newest == NULL || worldcheck_revision(world) != end->revision) {
        return false;
    }
    worldlease_note_ends(newest);
    for (unsigned place = 1; place <= world->places; place++) {
        if (end->questions[place].has_state) {
            note_state(&end->questions[place]);
        }
    }
    return true;
}

/* Nobody may be called damaged but who is, nor may room be missed for good where there is enough.
 */
static void check_alarms(struct world *world)
{
    for (unsigned place = 1; place <= world->places; place++) {
        const struct worldmember *member = world->members[place];
        if (!member->alive || member->stopping) {
            continue;
        }
        const struct alarm *alarms;
        size_t count = alarm_list(fsm_alarms(server_fsm(member->now->server)), &alarms);
        for (size_t i = 0; i < count; i++) {
            if (alarms[i].type == ALARM_CORRUPT && world->stats.faults[FAULT_FLIP] == 0 &&
                world->stats.faults[FAULT_READ_FAIL] == 0) {
                world_fail(world, "alarm", "member %llx is called damaged",
                           (unsigned long long)alarms[i].member_id);
            }
        }
    }
}

/* ---- step by step ---- */

static void on_late(struct world *world, const struct world_event *event)
{
    (void)event;
    worldend_say_why_stuck(world);
}

static void on_look(struct world *world, const struct world_event *event)
{
    struct worldend *end = end_of(world);
    if (end->step == END_RECOVERING && has_recovered(world)) {
        end->step = END_QUIET;
        world->clients->are_stopped = true;
        worldlock_give_up(world);
        world->stats.recovery_ms = (world->now_us - end->began_us) / WORLD_MS;
        world_note(world, "world: all have answered", 0, 0);
        world_at(world, 2 * world->options.recovery_ms * WORLD_MS,
                 &(struct world_event){.run = on_late});
    }
    if (end->step == END_QUIET && world->clients->open_count == 0 && is_nothing_left(world)) {
        end->step = END_EQUAL;
        world->clients->is_over = true;
        end->revision = worldcheck_revision(world);
    }
    if (end->step == END_EQUAL && are_equal(world)) {
        compare_hashes(end);
        if (has_ended(end)) {
            check_alarms(world);
            world->done = true;
            return;
        }
        forget_answers(end);
        end->step = END_QUIET;
    }
    world_at(world, LOOK_MS * WORLD_MS, event);
}

void worldend_begin(struct world *world)
{
    struct worldend *end = calloc(1, sizeof *end);
    ASSERT(end != NULL);
    world->clients->end = end;
    end->world = world;
    end->began_us = world->now_us;
    end->process = world->clients->next_process++;
    for (unsigned place = 1; place <= world->places; place++) {
        end->questions[place].end = end;
        end->questions[place].member = world->members[place];
    }
    world_at(world, 0, &(struct world_event){.run = on_look});
}

static const char *complaint_of(const struct worldmember *member)
{
    if (!member->alive) {
        return "is not alive";
    }
    if (!worldmember_runs(member)) {
        return "is paused";
    }
    return server_leader(member->now->server) == 0 ? "knows no leader" : "knows a leader";
}

/* What the leader has of the configuration. */
static void describe_configuration(struct world *world, struct buf *text)
{
    static const char *const roles[] = {"votes", "learns", "is spare"};
    struct worldmember *leader = worldmember_leader(world);
    if (leader == NULL) {
        buf_append_str(text, "; nobody leads");
        return;
    }
    const struct node *node = server_node(leader->now->server);
    const struct node_member *members;
    size_t count = node_members(node, &members);
    buf_printf(text, "; %u leads", leader->place);
    for (size_t i = 0; i < count; i++) {
        buf_printf(text, ", %u %s, has %llu of %llu, connected for %llu ms",
                   worldmember_place_of(world, members[i].id), roles[members[i].role],
                   (unsigned long long)node_match_index(node, members[i].id),
                   (unsigned long long)node_last_index(node),
                   (unsigned long long)node_connected_ms(node, members[i].id));
    }
}

void worldend_say_why_stuck(struct world *world)
{
    struct worldend *end = end_of(world);
    static const char *const steps[] = {"a put was not answered", "an answer is missing",
                                        "not all members are equal"};
    CLEANUP(buf_fini) struct buf text = {0};
    if (!worldoperator_is_idle(world)) {
        buf_append_str(&text, "; a member is being replaced");
    }
    const struct worldmember *newest = newest_member(world);
    if (end->step == END_QUIET && newest != NULL && worldlease_count(newest) > 0) {
        buf_printf(&text, "; %zu leases have not ended", worldlease_count(newest));
    }
    for (unsigned place = 1; place <= world->places; place++) {
        const struct worldmember *member = world->members[place];
        const struct end_question *question = &end->questions[place];
        const char *left_over = member->alive && !member->stopping ? left_over_at(member) : NULL;
        if (end->step == END_QUIET && left_over != NULL) {
            buf_printf(&text, "; at %u %s", place, left_over);
        }
        bool owes = end->step == END_EQUAL ? !question->has_state : !question->has_put;
        if (must_answer(world, member) && owes) {
            buf_printf(&text, "; %u %s", place, complaint_of(member));
            if (member->alive && !member->stopping) {
                struct server *server = member->now->server;
                buf_printf(&text, ", term %llu, commit %llu, applied %llu",
                           (unsigned long long)server_term(server),
                           (unsigned long long)node_commit_index(server_node(server)),
                           (unsigned long long)store_applied_index(server_store(server)));
            }
        }
    }
    describe_configuration(world, &text);
    buf_append(&text, "", 1);
    world_fail(world, "liveness", "%s%s", steps[end->step], (const char *)text.data);
}
