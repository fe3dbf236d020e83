/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldlease.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "tests/world/worldask.h"
#include "tests/world/worldclients.h"

struct lease_client {
    struct ask ask;
    int64_t process;
    struct world *world;
    struct op op;
    struct read_op read;
    struct lease_ask lease_ask;
    enum { LEASE_PROPOSED, LEASE_READING, LEASE_ASKING } step;
    int64_t id;
    int64_t ttl_s;
    int64_t answer;
    int64_t revision;
    bool is_granted;
    unsigned renewals_left;
    unsigned keys_left;
    bool is_to_be_revoked;
    bool is_asked_for;
    bool is_keeper; /* has short leases, and renews them often */
};

static struct lease_client *client_of(struct ask *ask)
{
    return CONTAINER_OF(ask, struct lease_client, ask);
}

/* ---- through the log ---- */

static void on_applied(struct op *op, enum err status)
{
    struct lease_client *client = CONTAINER_OF(op, struct lease_client, op);
    if (!ask_is_open(&client->ask)) {
        return;
    }
    enum history_type type = ask_outcome(status);
    enum err refusal = type == HISTORY_OK ? op->result->status : OK;
    /* An alarm refuses, too, and says nothing of a lease. */
    bool is_told = type == HISTORY_OK && (refusal == OK || refusal == ERR_LEASE_NOT_FOUND);
    ask_end(&client->ask, refusal != OK ? HISTORY_FAIL : type, is_told ? op->result->revision : 0);
}

static void propose(struct ask *ask, const struct command *command)
{
    client_of(ask)->step = LEASE_PROPOSED;
    server_propose(ask->member->now->server, &client_of(ask)->op, command, on_applied);
}

static void begin_grant(struct ask *ask)
{
    struct lease_client *client = client_of(ask);
    int64_t least_s = server_lease_ttl_min(ask->member->now->server);
    client->ttl_s = client->ttl_s > least_s ? client->ttl_s : least_s;
    ask->event.number = client->ttl_s;
    struct command command = {.kind = COMMAND_LEASE_GRANT,
                              .lease_grant = {.id = client->id, .ttl_s = client->ttl_s}};
    propose(ask, &command);
}

static void begin_revoke(struct ask *ask)
{
    int64_t id = client_of(ask)->id;
    struct command command = {.kind = COMMAND_LEASE_REVOKE,
                              .lease_revoke = {.ids = &id, .count = 1}};
    propose(ask, &command);
}

static void begin_attach(struct ask *ask)
{
    struct command command = {.kind = COMMAND_PUT,
                              .put = {.key = ask_bytes(ask->world, ask->items[0].key),
                                      .value = ask_bytes(ask->world, ask->items[0].value),
                                      .lease = client_of(ask)->id}};
    propose(ask, &command);
}

/* ---- to the leader's clock ---- */

static void on_readable(struct read_op *read, enum err status)
{
    struct lease_client *client = CONTAINER_OF(read, struct lease_client, read);
    struct ask *ask = &client->ask;
    if (!ask_is_open(ask)) {
        return;
    }
    if (status != OK) {
        ask_end(ask, HISTORY_FAIL, 0);
        return;
    }
    struct server *server = ask->member->now->server;
    bool is_gone = client->answer == LEASE_GONE ||
                   leases_find(fsm_leases(server_fsm(server)), client->id) == NULL;
    int64_t left_ms = client->answer < 0 ? 0 : client->answer; /* over, and not revoked yet */
    ask->event.number = is_gone ? -1 : left_ms / 1000;
    ask_end(ask, HISTORY_OK, store_revision(server_store(server)));
}

static void on_told(struct lease_ask *lease_ask, enum err status)
{
    struct lease_client *client = CONTAINER_OF(lease_ask, struct lease_client, lease_ask);
    struct ask *ask = &client->ask;
    if (!ask_is_open(ask)) {
        return;
    }
    if (status != OK) {
        ask_end(ask, ask->event.f == HISTORY_KEEPALIVE ? HISTORY_INFO : HISTORY_FAIL, 0);
    } else if (ask->event.f == HISTORY_KEEPALIVE) {
        ask->event.number = client->answer;
        ask_end(ask, HISTORY_OK, client->revision);
    } else {
        client->step = LEASE_READING;
        server_read(ask->member->now->server, &client->read, on_readable);
    }
}

static void begin_question(struct ask *ask)
{
    struct lease_client *client = client_of(ask);
    struct server *server = ask->member->now->server;
    if (server_is_learner(server)) {
        ask_end(ask, HISTORY_FAIL, 0);
        return;
    }
    client->lease_ask =
        (struct lease_ask){.ids = &client->id, .answers = &client->answer, .count = 1};
    client->revision = store_revision(server_store(server));
    client->step = LEASE_ASKING;
    if (ask->event.f == HISTORY_KEEPALIVE) {
        server_lease_renew(server, &client->lease_ask, on_told);
    } else {
        server_lease_remaining(server, &client->lease_ask, on_told);
    }
}

static void cancel(struct ask *ask)
{
    struct lease_client *client = client_of(ask);
    struct server *server = ask->member->now->server;
    switch (client->step) {
    case LEASE_PROPOSED: /* it is called back within this turn */
        server_cancel(server, &client->op);
        break;
    case LEASE_READING:
        server_read_cancel(server, &client->read);
        break;
    case LEASE_ASKING:
        server_lease_cancel(server, &client->lease_ask);
        break;
    }
}

/* ---- what next ---- */

static void go_on(struct lease_client *client, uint64_t delay_us);

int64_t worldlease_new_id(struct worldclients *clients)
{
    bool room = ARRAY_MAKE_ROOM(clients->leases, clients->lease_count, clients->lease_cap, 64);
    ASSERT(room);
    int64_t id = (int64_t)(1000 + clients->next_value++);
    clients->leases[clients->lease_count++] = id;
    return id;
}

void worldlease_note_ends(struct worldmember *member)
{
    struct world *world = member->world;
    const struct worldclients *clients = world->clients;
    struct leases *leases = fsm_leases(server_fsm(member->now->server));
    struct history_event event = {.process = world->clients->next_process++,
                                  .time_ns = (int64_t)(world->now_us * 1000),
                                  .type = HISTORY_INFO,
                                  .workload = HISTORY_LEASE,
                                  .f = HISTORY_GONE};
    for (size_t i = 0; i < clients->lease_count; i++) {
        event.id = clients->leases[i];
        if (leases_find(leases, event.id) == NULL) {
            history_add(clients->history, &event);
        }
    }
}

size_t worldlease_count(const struct worldmember *member)
{
    const struct worldclients *clients = member->world->clients;
    struct leases *leases = fsm_leases(server_fsm(member->now->server));
    size_t count = 0;
    for (size_t i = 0; i < clients->lease_count; i++) {
        count += leases_find(leases, clients->leases[i]) != NULL;
    }
    return count;
}

static void begin_new_life(struct lease_client *client)
{
    struct world *world = client->world;
    client->id = worldlease_new_id(world->clients);
    client->ttl_s = (int64_t)world_between(world, 1, 5);
    client->is_granted = false;
    client->keys_left = (unsigned)world_between(world, 1, 3);
    client->renewals_left = world_chance(world, 300) ? 0 : (unsigned)world_between(world, 1, 12);
    client->is_to_be_revoked = world_chance(world, 400);
    client->is_asked_for = world_chance(world, 400);
    if (client->is_keeper) {
        client->ttl_s = 1;
        client->renewals_left = (unsigned)world_between(world, 5, 30);
    }
}

static void say(struct lease_client *client, enum history_f f, void (*begin)(struct ask *ask))
{
    struct ask *ask = &client->ask;
    ask->event =
        (struct history_event){.workload = HISTORY_LEASE, .f = f, .id = client->id, .number = 0};
    if (f == HISTORY_GRANT) {
        ask->event.number = client->ttl_s;
    }
    ask->begin = begin;
}

static void say_attach(struct lease_client *client)
{
    struct ask *ask = &client->ask;
    struct world *world = client->world;
    char text[40];
    say(client, HISTORY_ATTACH, begin_attach);
    snprintf(text, sizeof text, "e/%" PRId64 "-%u", client->id, client->keys_left);
    ask->items[0] = (struct history_item){.f = HISTORY_ITEM_WRITE,
                                          .key = ask_symbol(world, bytes_of_str(text))};
    snprintf(text, sizeof text, "%" PRIu64, world->clients->next_value++);
    ask->items[0].value = ask_symbol(world, bytes_of_str(text));
    ask->event.item_count = 1;
}

/* The next question of a lease's life; false: it is left to its end. */
static bool choose(struct lease_client *client)
{
    if (!client->is_granted) {
        say(client, HISTORY_GRANT, begin_grant);
    } else if (client->keys_left > 0) {
        say_attach(client);
        client->keys_left--;
    } else if (client->is_asked_for && world_chance(client->world, 300)) {
        say(client, HISTORY_TIME_TO_LIVE, begin_question);
    } else if (client->renewals_left > 0) {
        client->renewals_left--;
        say(client, HISTORY_KEEPALIVE, begin_question);
    } else if (client->is_to_be_revoked) {
        say(client, HISTORY_REVOKE, begin_revoke);
    } else {
        return false;
    }
    return true;
}

static void ended(struct ask *ask, enum history_type type)
{
    struct lease_client *client = client_of(ask);
    struct world *world = client->world;
    uint64_t ttl_us = (uint64_t)client->ttl_s * WORLD_S;
    uint64_t pause_us = world_between(world, 1, 50) * WORLD_MS;
    switch (ask->event.f) {
    case HISTORY_GRANT:
        client->is_granted = type == HISTORY_OK;
        if (!client->is_granted) {
            begin_new_life(client);
        }
        break;
    case HISTORY_KEEPALIVE:
        pause_us = world_between(world, ttl_us / 8, client->is_keeper ? ttl_us / 2 : ttl_us);
        break;
    case HISTORY_REVOKE:
        begin_new_life(client);
        break;
    default:
        break;
    }
    go_on(client, pause_us);
}

static void on_time(struct world *world, const struct world_event *event)
{
    struct lease_client *client = event->ptr;
    if (world->clients->are_stopped) {
        return;
    }
    struct worldmember *member = worldclients_pick(world);
    if (member == NULL) {
        go_on(client, 100 * WORLD_MS);
    } else if (choose(client)) {
        ask_begin(&client->ask, member);
    } else {
        begin_new_life(client);
        go_on(client, world_between(world, 0, 2000) * WORLD_MS);
    }
}

static void go_on(struct lease_client *client, uint64_t delay_us)
{
    world_at(client->world, delay_us, &(struct world_event){.run = on_time, .ptr = client});
}

void worldlease_init(struct world *world)
{
    unsigned count = (unsigned)world_between(world, 0, 4);
    unsigned keepers = world_chance(world, 300) ? (unsigned)world_between(world, 2, 8) : 0;
    for (unsigned i = 0; i < count + keepers; i++) {
        struct lease_client *client = calloc(1, sizeof *client);
        ASSERT(client != NULL);
        client->world = world;
        client->process = world->clients->next_process++;
        client->ask.world = world;
        client->ask.process = &client->process;
        client->ask.cancel = cancel;
        client->ask.ended = ended;
        client->is_keeper = i >= count;
        begin_new_life(client);
        go_on(client, world_between(world, 0, 2000) * WORLD_MS);
    }
}
