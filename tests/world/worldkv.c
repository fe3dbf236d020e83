/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldkv.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"

#define SET_MAX        300 /* elements: a set is read as a whole */
#define LONG_VALUE_MAX 6000
#define RECENT         30 /* revisions: most are not compacted yet */

/* Whose turn it is to call back. */
enum kv_step { KV_PROPOSED, KV_READING, KV_RANGING };

struct kv_client {
    struct ask ask;
    int64_t process;
    struct world *world;
    struct op op;
    struct read_op read;
    struct store_range_request range;
    enum kv_step step;
    uint32_t seen[8]; /* the value of each register that it saw last */
    uint64_t pause_us;
    unsigned keys;
    void (*once_ended)(struct ask *ask, enum history_type type);
    char set_begin[32];
    char set_end[32];
    uint32_t *list; /* of a set's elements, for the history */
};

static struct kv_client *client_of(struct ask *ask)
{
    return CONTAINER_OF(ask, struct kv_client, ask);
}

static void rest(struct kv_client *client);

/* ---- writes ---- */

static void on_written(struct op *op, enum err status)
{
    struct kv_client *client = CONTAINER_OF(op, struct kv_client, op);
    struct ask *ask = &client->ask;
    const struct result *result = ask_result(ask, op, status);
    if (result == NULL) {
        return;
    }
    int64_t revision = result->revision;
    bool refused = result->kind == COMMAND_TXN && !result->txn.succeeded;
    if (result->kind == COMMAND_DELETE_RANGE && result->delete_range.deleted == 0) {
        ask->event.flags |= HISTORY_UNCHANGED;
    }
    ask_end(ask, refused ? HISTORY_FAIL : HISTORY_OK, revision);
}

static struct bytes key_of(const struct ask *ask, unsigned item)
{
    return ask_bytes(ask->world, ask->items[item].key);
}

static struct bytes value_of(const struct ask *ask, unsigned item)
{
    return ask_bytes(ask->world, ask->items[item].value);
}

static void propose(struct kv_client *client, const struct command *command)
{
    client->step = KV_PROPOSED;
    server_propose(client->ask.member->now->server, &client->op, command, on_written);
}

static void begin_write(struct ask *ask)
{
    struct command command = {.kind = COMMAND_PUT, .put = {.key = key_of(ask, 0)}};
    if (ask->items[0].value == HISTORY_NONE) {
        command =
            (struct command){.kind = COMMAND_DELETE_RANGE, .delete_range = {.key = key_of(ask, 0)}};
    } else {
        command.put.value = value_of(ask, 0);
    }
    propose(client_of(ask), &command);
}

/* The key of a set's element: S/ELEMENT. */
static void begin_add(struct ask *ask)
{
    CLEANUP(buf_fini) struct buf key = {0};
    buf_append_bytes(&key, key_of(ask, 0));
    buf_append_str(&key, "/");
    buf_append_bytes(&key, value_of(ask, 0));
    ASSERT(buf_ok(&key));
    struct command command = {.kind = COMMAND_PUT,
                              .put = {.key = buf_bytes(&key), .value = value_of(ask, 0)}};
    propose(client_of(ask), &command);
}

static void begin_cas(struct ask *ask)
{
    struct compare compare = {
        .result = COMPARE_EQUAL, .target = COMPARE_VALUE, .key = key_of(ask, 0)};
    if (ask->items[0].value == HISTORY_NONE) {
        compare.target = COMPARE_CREATE; /* 0: it is not there */
    } else {
        compare.value = value_of(ask, 0);
    }
    struct txn_op op = {.kind = OP_PUT, .put = {.key = key_of(ask, 1), .value = value_of(ask, 1)}};
    struct command command = {
        .kind = COMMAND_TXN,
        .txn = {.compares = &compare, .compare_count = 1, .success = &op, .success_count = 1}};
    propose(client_of(ask), &command);
}

/* ---- reads ---- */

static void note_list(struct kv_client *client, const struct range_result *result)
{
    size_t count = result->records.count;
    client->list = realloc(client->list, (count + 1) * sizeof *client->list);
    ASSERT(client->list != NULL);
    for (size_t i = 0; i < count; i++) {
        client->list[i] = ask_symbol(client->world, record_value(result->records.items[i]));
    }
    client->ask.items[0].list = client->list;
    client->ask.items[0].list_count = (uint32_t)count;
}

static void note_found(struct kv_client *client, const struct range_result *result)
{
    struct ask *ask = &client->ask;
    struct history_item *item = &ask->items[0];
    if (ask->event.workload == HISTORY_SET) {
        note_list(client, result);
    } else if (result->records.count == 0) {
        item->value = HISTORY_NONE;
        item->mod_revision = 0;
    } else {
        const struct record *record = result->records.items[0];
        item->value = ask_symbol(ask->world, record_value(record));
        item->mod_revision = record_mod_revision(record);
    }
}

static void answer_read(struct kv_client *client, enum err err, struct range_result *result)
{
    struct ask *ask = &client->ask;
    if (err != OK) {
        ask_end(ask, HISTORY_FAIL, 0);
        return;
    }
    note_found(client, result);
    if (ask->event.workload == HISTORY_REGISTER && ask->event.at_revision == 0) {
        struct bytes key = key_of(ask, 0);
        client->seen[key.data[key.len - 1] % 8] = ask->items[0].value;
    }
    int64_t revision = result->revision;
    range_result_fini(result);
    ask_end(ask, HISTORY_OK, revision);
}

static void on_ranged(struct store_range_request *request)
{
    struct kv_client *client = CONTAINER_OF(request, struct kv_client, range);
    if (!ask_is_open(&client->ask)) {
        if (request->status == OK) {
            range_result_fini(&request->result);
        }
        return;
    }
    answer_read(client, request->status, &request->result);
}

static void find(struct kv_client *client)
{
    struct ask *ask = &client->ask;
    struct store *store = server_store(ask->member->now->server);
    struct range_query query = {.key = key_of(ask, 0), .revision = ask->event.at_revision};
    if (ask->event.workload == HISTORY_SET) {
        int len = (int)query.key.len;
        const char *set = (const char *)query.key.data;
        snprintf(client->set_begin, sizeof client->set_begin, "%.*s/", len, set);
        snprintf(client->set_end, sizeof client->set_end, "%.*s0", len, set); /* after '/' */
        query.key = bytes_of_str(client->set_begin);
        query.range_end = bytes_of_str(client->set_end);
    }
    if (store_range_is_cheap(store, &query)) {
        struct range_result result = {0};
        enum err err = store_range(store, &query, &result);
        answer_read(client, err, &result);
        return;
    }
    client->step = KV_RANGING;
    client->range = (struct store_range_request){.query = query};
    store_range_start(store, &client->range, on_ranged);
}

static void on_readable(struct read_op *read, enum err status)
{
    struct kv_client *client = CONTAINER_OF(read, struct kv_client, read);
    if (!ask_is_open(&client->ask)) {
        return;
    }
    if (status != OK) {
        ask_end(&client->ask, HISTORY_FAIL, 0);
        return;
    }
    find(client);
}

static void begin_read(struct ask *ask)
{
    struct kv_client *client = client_of(ask);
    struct server *server = ask->member->now->server;
    if ((ask->event.flags & HISTORY_SERIALIZABLE) != 0) {
        find(client);
    } else if (server_is_learner(server)) {
        ask_end(ask, HISTORY_FAIL, 0); /* the API says so */
    } else {
        client->step = KV_READING;
        server_read(server, &client->read, on_readable);
    }
}

static void cancel(struct ask *ask)
{
    struct kv_client *client = client_of(ask);
    struct server *server = ask->member->now->server;
    switch (client->step) {
    case KV_PROPOSED:
        server_cancel(server, &client->op);
        break;
    case KV_READING:
        server_read_cancel(server, &client->read);
        break;
    case KV_RANGING:
        store_range_cancel(&client->range);
        break;
    }
}

/* ---- what next ---- */

static uint32_t new_value(struct kv_client *client)
{
    struct world *world = client->world;
    char text[LONG_VALUE_MAX + 32];
    int n = snprintf(text, sizeof text, "%" PRIu64, world->clients->next_value++);
    if (world_chance(world, 60)) {
        size_t len = world_between(world, 100, LONG_VALUE_MAX);
        memset(text + n, '-', len);
        n += (int)len;
    }
    return ask_symbol(world, bytes_of(text, (size_t)n));
}

static uint32_t some_register(struct kv_client *client, unsigned *which)
{
    char key[16];
    *which = (unsigned)world_between(client->world, 0, client->keys - 1);
    int n = snprintf(key, sizeof key, "r%u", *which);
    return ask_symbol(client->world, bytes_of(key, (size_t)n));
}

static void choose_set(struct kv_client *client)
{
    struct ask *ask = &client->ask;
    char set[16];
    snprintf(set, sizeof set, "s%u",
             (unsigned)(client->world->clients->next_value / SET_MAX % 1000));
    ask->event.workload = HISTORY_SET;
    ask->items[0].key = ask_symbol(client->world, bytes_of_str(set));
    if (world_chance(client->world, 700)) {
        ask->event.f = HISTORY_ADD;
        ask->items[0].f = HISTORY_ITEM_WRITE;
        ask->items[0].value = new_value(client);
        ask->begin = begin_add;
    } else {
        ask->event.f = HISTORY_READ;
        ask->items[0].f = HISTORY_ITEM_READ;
        ask->begin = begin_read;
    }
}

static void choose_cas(struct kv_client *client)
{
    struct ask *ask = &client->ask;
    unsigned which;
    uint32_t key = some_register(client, &which);
    ask->event.f = HISTORY_CAS;
    ask->event.item_count = 2;
    ask->items[0] =
        (struct history_item){.f = HISTORY_ITEM_COMPARE, .key = key, .value = client->seen[which]};
    ask->items[1] =
        (struct history_item){.f = HISTORY_ITEM_WRITE, .key = key, .value = new_value(client)};
    ask->begin = begin_cas;
}

static void choose_write(struct kv_client *client, bool is_delete)
{
    struct ask *ask = &client->ask;
    unsigned which;
    ask->event.f = HISTORY_WRITE;
    ask->items[0].f = HISTORY_ITEM_WRITE;
    ask->items[0].key = some_register(client, &which);
    ask->items[0].value = is_delete ? HISTORY_NONE : new_value(client);
    ask->begin = begin_write;
}

static void choose_read(struct kv_client *client, uint64_t dice)
{
    struct ask *ask = &client->ask;
    struct world *world = client->world;
    unsigned which;
    ask->event.f = HISTORY_READ;
    ask->items[0].f = HISTORY_ITEM_READ;
    ask->items[0].key = some_register(client, &which);
    ask->begin = begin_read;
    if (dice % 4 == 0) {
        ask->event.flags |= HISTORY_SERIALIZABLE;
    } else if (dice % 4 == 1) {
        uint64_t next = (uint64_t)worldcheck_revision(world) + 1;
        uint64_t most = world_chance(world, 500) && next > RECENT ? RECENT : next;
        ask->event.at_revision = (int64_t)(next - world_between(world, 0, most - 1));
    }
}

static void choose(struct kv_client *client)
{
    struct ask *ask = &client->ask;
    uint64_t dice = world_between(client->world, 0, 99);
    memset(ask->items, 0, sizeof ask->items);
    ask->event = (struct history_event){.workload = HISTORY_REGISTER, .item_count = 1};
    if (dice < 10) {
        choose_set(client);
    } else if (dice < 25) {
        choose_cas(client);
    } else if (dice < 60) {
        choose_write(client, dice < 32);
    } else {
        choose_read(client, dice);
    }
}

static struct kv_client *new_client(struct world *world);

/* A range that was cancelled calls back when it likes: who asked for it goes on as another one. */
static struct kv_client *successor_of(const struct kv_client *client)
{
    struct kv_client *successor = new_client(client->world);
    successor->pause_us = client->pause_us;
    successor->keys = client->keys;
    memcpy(successor->seen, client->seen, sizeof client->seen);
    return successor;
}

static void ended(struct ask *ask, enum history_type type)
{
    struct kv_client *client = client_of(ask);
    if (ask->is_cancelled && ask->has_begun && client->step == KV_RANGING) {
        client = successor_of(client);
    }
    if (type == HISTORY_OK && ask->event.f == HISTORY_CAS) {
        struct bytes key = key_of(ask, 0);
        client->seen[key.data[key.len - 1] % 8] = ask->items[1].value;
    }
    rest(client);
}

static void on_time(struct world *world, const struct world_event *event)
{
    struct kv_client *client = event->ptr;
    if (world->clients->are_stopped) {
        return;
    }
    struct worldmember *member = worldclients_pick(world);
    if (member == NULL) {
        rest(client);
        return;
    }
    choose(client);
    ask_begin(&client->ask, member);
}

static void rest(struct kv_client *client)
{
    struct world *world = client->world;
    world_at(world, world_between(world, 0, client->pause_us),
             &(struct world_event){.run = on_time, .ptr = client});
}

static struct kv_client *new_client(struct world *world)
{
    struct kv_client *client = calloc(1, sizeof *client);
    ASSERT(client != NULL);
    client->world = world;
    client->process = world->clients->next_process++;
    client->ask.world = world;
    client->ask.process = &client->process;
    client->ask.cancel = cancel;
    client->ask.ended = ended;
    return client;
}

void worldkv_init(struct world *world)
{
    unsigned count = (unsigned)world_between(world, 1, 6);
    unsigned keys = (unsigned)world_between(world, 1, 8);
    uint64_t pause_us = world_between(world, 10, 100) * WORLD_MS;
    for (unsigned i = 0; i < count; i++) {
        struct kv_client *client = new_client(world);
        client->pause_us = pause_us;
        client->keys = keys;
        rest(client);
    }
}

static void ended_once(struct ask *ask, enum history_type type)
{
    client_of(ask)->once_ended(ask, type);
}

struct ask *worldkv_put_once(struct worldmember *member, const char *key,
                             void (*once_ended)(struct ask *ask, enum history_type type))
{
    struct kv_client *client = new_client(member->world);
    struct ask *ask = &client->ask;
    client->once_ended = once_ended;
    ask->ended = ended_once;
    ask->event =
        (struct history_event){.workload = HISTORY_REGISTER, .f = HISTORY_WRITE, .item_count = 1};
    ask->items[0] = (struct history_item){.f = HISTORY_ITEM_WRITE,
                                          .key = ask_symbol(member->world, bytes_of_str(key)),
                                          .value = new_value(client)};
    ask->begin = begin_write;
    ask_begin(ask, member);
    return ask;
}
