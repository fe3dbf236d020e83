/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldask.h"

#include "base/assert.h"
#include "tests/world/worldclients.h"

static void add(struct ask *ask)
{
    struct world *world = ask->world;
    if (!ask->is_unnoted) {
        ask->event.time_ns = (int64_t)(world->now_us * 1000);
        ask->event.items = ask->found != NULL ? ask->found : ask->items;
        history_add(world->clients->history, &ask->event);
    }
}

static bool is_the_same(const struct ask *ask, const struct world_event *event)
{
    return ask->number == event->a && ask_is_open(ask);
}

static void on_arrived(struct world *world, const struct world_event *event)
{
    (void)world;
    struct ask *ask = event->ptr;
    if (is_the_same(ask, event)) {
        ask->has_begun = true;
        ask->begin(ask);
    }
}

/* ---- clients that go away ---- */

#define CANCELLED_PER_MILLE 30 /* of all, each for itself */

static void on_cancel(struct world *world, const struct world_event *event)
{
    struct ask *ask = event->ptr;
    if (!is_the_same(ask, event)) {
        return;
    }
    if (world->calm) {
        world_note(world, "client: gives up", ask->member->place, ask->number);
    } else {
        world_note_fault(world, FAULT_CANCEL, ask->member->place, ask->number);
    }
    ask->is_cancelled = true;
    if (ask->has_begun) {
        ask->cancel(ask);
    }
    ask_end(ask, HISTORY_INFO, 0);
}

void ask_cancel(struct ask *ask, uint64_t delay_us)
{
    if (ask->member != NULL && ask->cancel != NULL) {
        world_at(ask->world, delay_us,
                 &(struct world_event){.run = on_cancel,
                                       .place = ask->member->place,
                                       .life = ask->life,
                                       .ptr = ask,
                                       .a = ask->number});
    }
}

/* Most within the time that an answer takes, some while it has to wait for a leader. */
static uint64_t some_patience_us(struct world *world)
{
    static const uint64_t longest_us[] = {500, 2000, 10000, 100000, 2000000};
    return world_between(world, 0, longest_us[world_between(world, 0, ARRAY_LEN(longest_us) - 1)]);
}

void ask_cancel_some(struct worldmember *member, unsigned per_mille)
{
    struct world *world = member->world;
    QUEUE_FOREACH (link, &world->clients->open) {
        struct ask *ask = QUEUE_ELEM(link, struct ask, link);
        if (ask->member == member && world_chance(world, per_mille)) {
            ask_cancel(ask, 0);
        }
    }
}

/* ---- begin and end ---- */

void ask_begin(struct ask *ask, struct worldmember *member)
{
    struct world *world = ask->world;
    ask->member = member;
    ask->asked = member;
    ask->life = member->life;
    ask->number = ++world->clients->next_ask;
    ask->has_begun = false;
    ask->is_cancelled = false;
    ask->event.process = *ask->process;
    ask->event.type = HISTORY_INVOKE;
    ask->event.revision = 0;
    queue_push_back(&world->clients->open, &ask->link);
    world->clients->open_count++;
    add(ask);
    world_at(world, world_between(world, 20, 400),
             &(struct world_event){.run = on_arrived,
                                   .place = member->place,
                                   .life = member->life,
                                   .ptr = ask,
                                   .a = ask->number});
    if (world_likes(world, FAULT_CANCEL) && world_chance(world, CANCELLED_PER_MILLE)) {
        ask_cancel(ask, some_patience_us(world));
    }
}

bool ask_is_open(const struct ask *ask)
{
    return ask->member != NULL && !ask->is_cancelled && ask->member->alive &&
           ask->member->life == ask->life && !worldmember_is_dying(ask->member);
}

void ask_end(struct ask *ask, enum history_type type, int64_t revision)
{
    struct world *world = ask->world;
    ASSERT(ask->member != NULL);
    queue_remove(&ask->link);
    world->clients->open_count--;
    ask->event.type = type;
    ask->event.revision = type == HISTORY_INFO ? 0 : revision;
    char name[16];
    snprintf(name, sizeof name, "m%u", ask->member->place);
    ask->event.member = type == HISTORY_INFO ? 0 : ask_symbol(world, bytes_of_str(name));
    add(ask);
    world_note(world, "client: answer", (uint64_t)ask->event.process << 8 | type,
               (uint64_t)revision);
    ask->member = NULL;
    if (type == HISTORY_OK) {
        world->stats.ops++;
    } else if (type == HISTORY_FAIL) {
        world->stats.refused++;
    } else {
        world->stats.unknown++;
        *ask->process = world->clients->next_process++;
    }
    ask->event.flags &= HISTORY_SERIALIZABLE;
    ask->event.member = 0;
    ask->ended(ask, type);
}

enum history_type ask_outcome(enum err status)
{
    switch (status) {
    case OK:
        return HISTORY_OK;
    case ERR_TOO_MANY_REQUESTS:
    case ERR_QUOTA:
    case ERR_NO_SPACE:
        return HISTORY_FAIL;
    default:
        return HISTORY_INFO;
    }
}

const struct result *ask_result(struct ask *ask, const struct op *op, enum err status)
{
    if (!ask_is_open(ask)) {
        return NULL;
    }
    enum history_type type = ask_outcome(status);
    if (type == HISTORY_OK && op->result->status == OK) {
        return op->result;
    }
    ask_end(ask, type == HISTORY_OK ? HISTORY_FAIL : type, 0);
    return NULL;
}

void ask_end_all(struct worldmember *member)
{
    struct queue *open = &member->world->clients->open;
    struct queue gone;
    queue_init(&gone);
    QUEUE_FOREACH_SAFE(link, open)
    {
        if (QUEUE_ELEM(link, struct ask, link)->member == member) {
            queue_remove(link);
            queue_push_back(&gone, link);
        }
    }
    while (!queue_empty(&gone)) {
        ask_end(QUEUE_ELEM(gone.next, struct ask, link), HISTORY_INFO, 0);
    }
}

uint32_t ask_symbol(struct world *world, struct bytes text)
{
    return history_text(world->clients->history, text);
}

struct bytes ask_bytes(struct world *world, uint32_t symbol)
{
    return history_symbol_text(world->clients->history, symbol);
}
