/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldlock.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "server/contest.h"
#include "tests/world/worldask.h"
#include "tests/world/worldclients.h"
#include "tests/world/worldlease.h"

#define NAMES      3u
#define NAME_BYTES 8

enum lock_stage { LOCK_IDLE, LOCK_LEASED, LOCK_HELD };
enum lock_step { LOCK_PROPOSED, LOCK_READING, LOCK_CONTENDING, LOCK_ASKING };

/* One time of standing in the line. It is the server's until it calls back, which may be long after
 * its client has gone away, or never, when the member ends. */
struct lock_attempt {
    struct contest contest;
    struct arena arena;
    struct lock_client *client;
    struct worldmember *member;
    char name[NAME_BYTES];
    char value[24];
};

struct lock_client {
    struct queue link; /* in world->clients->contenders */
    struct ask ask;
    int64_t process;
    struct world *world;
    struct op op;
    struct read_op read;
    struct range_query first;
    struct lease_ask lease_ask;
    struct arena arena;
    struct lock_attempt *attempt; /* NULL: none is under way */
    enum lock_stage stage;
    enum lock_step step;
    char name[NAME_BYTES];
    bool is_campaign;
    bool has_own_lease;
    int64_t lease; /* 0: the server's choice */
    int64_t ttl_s;
    int64_t answer;
    char key[40];
    int64_t create_revision;
    unsigned deeds_left;
    bool asks_again; /* for what it has */
    uint64_t rest_ms_max;
};

static struct lock_client *client_of(struct ask *ask)
{
    return CONTAINER_OF(ask, struct lock_client, ask);
}

static struct server *server_of(const struct lock_client *client)
{
    return client->ask.member->now->server;
}

/* ---- through the log ---- */

static void on_applied(struct op *op, enum err status)
{
    struct lock_client *client = CONTAINER_OF(op, struct lock_client, op);
    struct ask *ask = &client->ask;
    const struct result *result = ask_result(ask, op, status);
    if (result == NULL) {
        return;
    }
    enum history_type type = HISTORY_OK;
    bool changed = result->kind != COMMAND_TXN || result->txn.succeeded;
    if (result->kind == COMMAND_DELETE_RANGE) {
        changed = result->delete_range.deleted > 0;
    }
    if (!changed && ask->event.f == HISTORY_RELEASE) {
        ask->event.flags |= HISTORY_UNCHANGED;
    } else if (!changed) {
        type = HISTORY_FAIL;
    }
    ask_end(ask, type, result->revision);
}

static void propose(struct lock_client *client, const struct command *command)
{
    client->step = LOCK_PROPOSED;
    server_propose(server_of(client), &client->op, command, on_applied);
}

static void begin_grant(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    int64_t least_s = server_lease_ttl_min(server_of(client));
    client->ttl_s = client->ttl_s > least_s ? client->ttl_s : least_s;
    ask->event.number = client->ttl_s;
    struct command command = {.kind = COMMAND_LEASE_GRANT,
                              .lease_grant = {.id = client->lease, .ttl_s = client->ttl_s}};
    propose(client, &command);
}

static void begin_revoke(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    struct command command = {.kind = COMMAND_LEASE_REVOKE,
                              .lease_revoke = {.ids = &client->lease, .count = 1}};
    propose(client, &command);
}

/* Unlock, or Resign. */
static void begin_release(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    struct bytes key = bytes_of_str(client->key);
    if (client->is_campaign) {
        struct contest_change change;
        contest_change_delete(&change, key, client->create_revision);
        propose(client, &change.command);
    } else {
        struct command command = {.kind = COMMAND_DELETE_RANGE, .delete_range = {.key = key}};
        propose(client, &command);
    }
}

/* Proclaim; or a write of something else, by who has the lock. */
static void begin_fenced(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    struct contest_change change;
    contest_change_put(&change, bytes_of_str(client->key), client->create_revision,
                       ask_bytes(ask->world, ask->items[1].value), client->lease);
    if (!client->is_campaign) {
        change.op.put = (struct command_put){.key = ask_bytes(ask->world, ask->items[1].key),
                                             .value = change.op.put.value};
    }
    propose(client, &change.command);
}

/* ---- the line ---- */

static void note_first(struct lock_client *client, const struct contest *contest)
{
    struct history_item *item = &client->ask.items[0];
    snprintf(client->key, sizeof client->key, "%.*s", (int)contest->key.len,
             (const char *)contest->key.data);
    client->create_revision = contest->create_revision;
    client->lease = contest->lease;
    client->ask.event.id = contest->lease;
    item->key = ask_symbol(client->world, contest->key);
    item->create_revision = contest->create_revision;
}

static void answer(struct lock_client *client, const struct contest *contest, enum err status)
{
    struct ask *ask = &client->ask;
    if (status == ERR_NOT_FOUND) { /* it waited for longer than its lease */
        ask_end(ask, HISTORY_FAIL, 0);
    } else if (status != OK) {
        ask_end(ask, ask_outcome(status), 0);
    } else if (ask->event.f == HISTORY_ACQUIRE) {
        note_first(client, contest);
        ask_end(ask, HISTORY_OK, contest->first_revision);
    } else if (contest->create_revision == client->create_revision) {
        ask_end(ask, HISTORY_OK, contest->first_revision);
    } else { /* it had lost it, and has it once more: another acquisition than was noted */
        ask_end(ask, HISTORY_INFO, 0);
    }
}

/* Who has left for certain keeps nobody waiting. */
static void check_left(const struct lock_attempt *attempt)
{
    const struct contest *contest = &attempt->contest;
    struct worldmember *member = attempt->member;
    struct key_version key;
    if (contest->own_key && !member->stopping &&
        store_key_version(server_store(contest->server), contest->key, &key) &&
        key.create_revision == contest->create_revision) {
        world_fail(member->world, "lock", "who left the line of %s at %u is still in it",
                   attempt->name, member->place);
    }
}

static void on_first(struct contest *contest, enum err status)
{
    struct lock_attempt *attempt = CONTAINER_OF(contest, struct lock_attempt, contest);
    struct lock_client *client = attempt->client;
    if (client->attempt == attempt && ask_is_open(&client->ask)) {
        answer(client, contest, status);
    } else if (status == ERR_CANCELLED && !worldmember_is_dying(attempt->member)) {
        check_left(attempt);
    }
    arena_fini(&attempt->arena);
    free(attempt);
}

static void begin_acquire(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    struct lock_attempt *attempt = calloc(1, sizeof *attempt);
    ASSERT(attempt != NULL);
    attempt->client = client;
    attempt->member = ask->member;
    memcpy(attempt->name, client->name, sizeof attempt->name);
    if (client->is_campaign) {
        snprintf(attempt->value, sizeof attempt->value, "%" PRIu64,
                 client->world->clients->next_value++);
    }
    struct contest_entry entry = {.name = bytes_of_str(attempt->name),
                                  .value = bytes_of_str(attempt->value),
                                  .lease = client->lease,
                                  .update = client->is_campaign,
                                  .arena = &attempt->arena};
    client->attempt = attempt;
    client->step = LOCK_CONTENDING;
    enum err err = contest_enter(server_of(client), &attempt->contest, &entry, on_first);
    ASSERT(err == OK);
}

/* ---- who leads? ---- */

static void tell_leader(struct lock_client *client)
{
    struct ask *ask = &client->ask;
    struct range_result result;
    enum err err = store_range(server_store(server_of(client)), &client->first, &result);
    if (err != OK) {
        ask_end(ask, HISTORY_FAIL, 0);
        return;
    }
    bool found = result.records.count > 0;
    if (found) {
        const struct record *record = result.records.items[0];
        ask->items[0].key = ask_symbol(ask->world, record_key(record));
        ask->items[0].create_revision = record->create_revision;
    }
    int64_t revision = result.revision;
    range_result_fini(&result);
    ask_end(ask, found ? HISTORY_OK : HISTORY_FAIL, revision);
}

static void on_readable(struct read_op *read, enum err status)
{
    struct lock_client *client = CONTAINER_OF(read, struct lock_client, read);
    if (!ask_is_open(&client->ask)) {
        return;
    }
    if (status != OK) {
        ask_end(&client->ask, HISTORY_FAIL, 0);
    } else {
        tell_leader(client);
    }
}

static void begin_leader(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    arena_reset(&client->arena);
    enum err err = contest_first(&client->arena, bytes_of_str(client->name), &client->first);
    ASSERT(err == OK);
    client->step = LOCK_READING;
    server_read(server_of(client), &client->read, on_readable);
}

/* ---- renewals ---- */

static void on_renewed(struct lease_ask *lease_ask, enum err status)
{
    struct lock_client *client = CONTAINER_OF(lease_ask, struct lock_client, lease_ask);
    struct ask *ask = &client->ask;
    if (!ask_is_open(ask)) {
        return;
    }
    ask->event.number = client->answer;
    ask_end(ask, status == OK ? HISTORY_OK : HISTORY_INFO, 0);
}

static void begin_renewal(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    client->lease_ask =
        (struct lease_ask){.ids = &client->lease, .answers = &client->answer, .count = 1};
    client->step = LOCK_ASKING;
    server_lease_renew(server_of(client), &client->lease_ask, on_renewed);
}

/* ---- going away ---- */

static void cancel(struct ask *ask)
{
    struct lock_client *client = client_of(ask);
    switch (client->step) {
    case LOCK_PROPOSED:
        server_cancel(server_of(client), &client->op);
        break;
    case LOCK_READING:
        server_read_cancel(server_of(client), &client->read);
        break;
    case LOCK_CONTENDING:
        contest_leave(&client->attempt->contest, ERR_CANCELLED);
        break;
    case LOCK_ASKING:
        server_lease_cancel(server_of(client), &client->lease_ask);
        break;
    }
}

/* ---- what next ---- */

static void say(struct lock_client *client, enum history_workload workload, enum history_f f,
                void (*begin)(struct ask *ask))
{
    struct ask *ask = &client->ask;
    memset(ask->items, 0, sizeof ask->items);
    ask->event = (struct history_event){.workload = workload, .f = f, .id = client->lease};
    if (workload == HISTORY_LOCK) {
        ask->event.item_count = 1;
        ask->items[0].value = ask_symbol(client->world, bytes_of_str(client->name));
    }
    ask->begin = begin;
}

static void name_key(struct lock_client *client)
{
    client->ask.items[0].key = ask_symbol(client->world, bytes_of_str(client->key));
}

static void say_fenced(struct lock_client *client)
{
    struct ask *ask = &client->ask;
    char text[32];
    say(client, HISTORY_LOCK, HISTORY_FENCED, begin_fenced);
    name_key(client);
    snprintf(text, sizeof text, "p%s", client->name);
    struct bytes key = bytes_of_str(client->is_campaign ? client->key : text);
    ask->items[1] =
        (struct history_item){.f = HISTORY_ITEM_WRITE, .key = ask_symbol(client->world, key)};
    snprintf(text, sizeof text, "%" PRIu64, client->world->clients->next_value++);
    ask->items[1].value = ask_symbol(client->world, bytes_of_str(text));
    ask->event.item_count = 2;
}

static void choose_contest(struct lock_client *client)
{
    struct world *world = client->world;
    /* Who has no lease gets one that lasts for longer than most faults: not where others wait. */
    client->has_own_lease = !world_chance(world, 150);
    snprintf(client->name, sizeof client->name, "%s%u", client->has_own_lease ? "l" : "la",
             (unsigned)world_between(world, 0, NAMES - 1));
    client->is_campaign = world_chance(world, 400);
    client->deeds_left = (unsigned)world_between(world, 0, 5);
    client->asks_again = world_chance(world, 100);
    client->lease = client->has_own_lease ? worldlease_new_id(world->clients) : 0;
    client->ttl_s = (int64_t)world_between(world, 1, 5);
    client->stage = client->has_own_lease ? LOCK_IDLE : LOCK_LEASED;
}

/* What its holder does; false: it holds it no more, or has forgotten it. */
static bool choose_deed(struct lock_client *client)
{
    struct world *world = client->world;
    if (client->deeds_left > 0) {
        client->deeds_left--;
        if (client->has_own_lease && world_chance(world, 400)) {
            say(client, HISTORY_LEASE, HISTORY_KEEPALIVE, begin_renewal);
        } else {
            say_fenced(client);
        }
    } else if (client->asks_again) {
        client->asks_again = false;
        say(client, HISTORY_LOCK, HISTORY_FENCED, begin_acquire);
        name_key(client);
    } else if (world_chance(world, 700)) {
        say(client, HISTORY_LOCK, HISTORY_RELEASE, begin_release);
        name_key(client);
    } else if (client->has_own_lease && world_chance(world, 500)) {
        say(client, HISTORY_LEASE, HISTORY_REVOKE, begin_revoke);
    } else {
        return false;
    }
    return true;
}

static bool choose(struct lock_client *client)
{
    if (world_chance(client->world, 100)) {
        say(client, HISTORY_LOCK, HISTORY_FENCED, begin_leader);
    } else if (client->stage == LOCK_IDLE) {
        say(client, HISTORY_LEASE, HISTORY_GRANT, begin_grant);
        client->ask.event.number = client->ttl_s;
    } else if (client->stage == LOCK_LEASED) {
        say(client, HISTORY_LOCK, HISTORY_ACQUIRE, begin_acquire);
    } else {
        return choose_deed(client);
    }
    return true;
}

static void go_on(struct lock_client *client);

/* Where it stands now. */
static void take_outcome(struct lock_client *client, enum history_type type)
{
    switch (client->ask.event.f) {
    case HISTORY_GRANT:
        client->stage = LOCK_LEASED;
        break;
    case HISTORY_ACQUIRE:
        client->stage = LOCK_HELD;
        break;
    case HISTORY_KEEPALIVE:
        return;
    case HISTORY_FENCED:
        if (client->ask.begin != begin_leader && type == HISTORY_FAIL) {
            choose_contest(client); /* it is lost */
        }
        return;
    default:
        choose_contest(client);
        return;
    }
    if (type != HISTORY_OK) { /* whatever was put ends with its lease, if there is one */
        choose_contest(client);
    }
}

static void ended(struct ask *ask, enum history_type type)
{
    struct lock_client *client = client_of(ask);
    client->attempt = NULL;
    take_outcome(client, type);
    go_on(client);
}

static void on_time(struct world *world, const struct world_event *event)
{
    struct lock_client *client = event->ptr;
    if (world->clients->are_stopped) {
        return;
    }
    struct worldmember *member = worldclients_pick(world);
    if (member != NULL && !server_is_learner(member->now->server) && choose(client)) {
        ask_begin(&client->ask, member);
        return;
    }
    if (member != NULL && client->stage == LOCK_HELD) {
        choose_contest(client);
    }
    go_on(client);
}

static void go_on(struct lock_client *client)
{
    struct world *world = client->world;
    world_at(world, world_between(world, 1, client->rest_ms_max) * WORLD_MS,
             &(struct world_event){.run = on_time, .ptr = client});
}

void worldlock_init(struct world *world)
{
    unsigned count = (unsigned)world_between(world, 0, 4);
    for (unsigned i = 0; i < count; i++) {
        struct lock_client *client = calloc(1, sizeof *client);
        ASSERT(client != NULL);
        client->world = world;
        client->process = world->clients->next_process++;
        client->rest_ms_max = world_between(world, 50, 600);
        client->ask.world = world;
        client->ask.process = &client->process;
        client->ask.cancel = cancel;
        client->ask.ended = ended;
        queue_push_back(&world->clients->contenders, &client->link);
        choose_contest(client);
        go_on(client);
    }
}

void worldlock_give_up(struct world *world)
{
    QUEUE_FOREACH (link, &world->clients->contenders) {
        struct lock_client *client = QUEUE_ELEM(link, struct lock_client, link);
        if (client->ask.begin == begin_acquire) { /* what is on its way to the member, too */
            ask_cancel(&client->ask, 0);
        }
    }
}
