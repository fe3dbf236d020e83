/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldask.h"

#include "base/assert.h"
#include "tests/world/worldclients.h"

static void add(struct ask *ask)
{
    struct world *world = ask->world;
    if (!ask->is_unnoted) {
        ask->event.time_ns = (int64_t)(world->now_us * 1000);
        ask->event.items = ask->items;
        history_add(world->clients->history, &ask->event);
    }
}

static void on_arrived(struct world *world, const struct world_event *event)
{
    (void)world;
    struct ask *ask = event->ptr;
    if (ask_is_open(ask)) {
        ask->begin(ask);
    }
}

void ask_begin(struct ask *ask, struct worldmember *member)
{
    struct world *world = ask->world;
    ask->member = member;
    ask->asked = member;
    ask->life = member->life;
    ask->event.process = *ask->process;
    ask->event.type = HISTORY_INVOKE;
    ask->event.revision = 0;
    queue_push_back(&world->clients->open, &ask->link);
    world->clients->open_count++;
    add(ask);
    world_at(world, world_between(world, 20, 400),
             &(struct world_event){
                 .run = on_arrived, .place = member->place, .life = member->life, .ptr = ask});
}

bool ask_is_open(const struct ask *ask)
{
    return ask->member != NULL && ask->member->alive && ask->member->life == ask->life &&
           !worldmember_is_dying(ask->member);
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
