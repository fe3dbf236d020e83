/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldnet.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldmember.h"

#define SILENT_US_MAX (4 * WORLD_S) /* then a connection is given up */
#define QUEUE_US_MAX  (3 * WORLD_S) /* what would arrive later is not taken */
#define LOOK_US_MAX   (120 * WORLD_MS)

static struct worldtransport *transport_of(struct transport *transport)
{
    return CONTAINER_OF(transport, struct worldtransport, base);
}

static struct worldconnection *connection_of(struct world *world, unsigned a, unsigned b)
{
    return a < b ? &world->net->connections[a][b] : &world->net->connections[b][a];
}

/* The transport of who lives at PLACE and takes part; NULL: nobody. */
static struct worldtransport *living(struct world *world, unsigned place)
{
    struct worldmember *member = world->members[place];
    if (!member->alive || member->now->transport.callbacks == NULL) {
        return NULL;
    }
    return &member->now->transport;
}

static bool knows(const struct worldtransport *transport, uint64_t id)
{
    for (size_t i = 0; i < transport->known_count; i++) {
        if (transport->known[i] == id) {
            return true;
        }
    }
    return false;
}

static uint64_t id_at(const struct world *world, unsigned place)
{
    return world->members[place]->id;
}

/* ---- frames ---- */

static bool world_connected(struct transport *base, uint64_t peer_id);

struct world_frame {
    unsigned from;
    unsigned to;
    uint64_t from_id;
    uint64_t to_id;
    uint64_t connection;
    enum frame_kind kind;
    struct blob *payload;
};

static void on_frame_in(struct world *world, const struct world_event *event)
{
    const struct world_frame *frame = event->ptr;
    struct worldtransport *transport = living(world, frame->to);
    if (transport != NULL) {
        world->stats.frames++;
        transport->callbacks->on_frame(transport->ctx, frame->from_id, frame->kind,
                                       blob_bytes(frame->payload));
    }
}

static void on_arrival(struct world *world, const struct world_event *event)
{
    struct world_frame *frame = event->ptr;
    struct worldmember *member = world->members[frame->to];
    const struct worldconnection *connection = connection_of(world, frame->from, frame->to);
    bool gets_through = member->alive && member->id == frame->to_id && connection->up &&
                        connection->number == frame->connection &&
                        !world->net->links[frame->from][frame->to].cut;
    uint64_t free_at_us = worldmember_free_at(member);
    if (gets_through && free_at_us > world->now_us) {
        world_at(world, free_at_us - world->now_us, event);
        return;
    }
    if (gets_through) {
        world_note(world, "net: frame", (uint64_t)frame->from << 8 | frame->to,
                   (uint64_t)frame->kind << 32 | blob_bytes(frame->payload).len);
        worldmember_run(member, &(struct world_event){.run = on_frame_in, .ptr = frame});
    }
    blob_unref(frame->payload);
    free(frame);
}

static void send_one(struct world *world, const struct world_frame *frame, enum transport_lane lane)
{
    struct worldnet *net = world->net;
    struct worldlink *link = &net->links[frame->from][frame->to];
    uint64_t delay_us = world_between(world, 40, net->delay_us);
    uint64_t kib = blob_bytes(frame->payload).len / 1024 + 1;
    if (world_likes(world, FAULT_DELAY) && world_chance(world, net->late_per_mille)) {
        delay_us += world_between(world, 0, net->late_us);
        world->stats.faults[FAULT_DELAY]++;
    }
    delay_us += kib * (link->slow_until_us > world->now_us ? net->slow_us_per_kib : 1);
    uint64_t at_us = world->now_us + delay_us;
    uint64_t *last_at_us = &link->last_at_us[lane];
    bool overtakes = at_us < *last_at_us && world_likes(world, FAULT_REORDER) &&
                     world_chance(world, net->reorder_per_mille);
    if (overtakes) {
        world->stats.faults[FAULT_REORDER]++;
    } else if (at_us < *last_at_us) {
        at_us = *last_at_us;
    }
    *last_at_us = at_us > *last_at_us ? at_us : *last_at_us;
    struct world_frame *sent = malloc(sizeof *sent);
    ASSERT(sent != NULL);
    *sent = *frame;
    sent->payload = blob_ref(frame->payload);
    world_at(world, at_us - world->now_us, &(struct world_event){.run = on_arrival, .ptr = sent});
}

static bool world_send(struct transport *base, uint64_t peer_id, enum transport_lane lane,
                       enum frame_kind kind, struct blob *payload)
{
    struct worldtransport *transport = transport_of(base);
    struct world *world = transport->world;
    unsigned to = worldmember_place_of(world, peer_id);
    if (to == 0 || !knows(transport, peer_id)) {
        return false;
    }
    unsigned from = transport->place;
    const struct worldconnection *connection = connection_of(world, from, to);
    const struct worldlink *link = &world->net->links[from][to];
    if (!connection->up || link->last_at_us[lane] > world->now_us + QUEUE_US_MAX) {
        return false;
    }
    if (world->members[from]->disk.is_dead || link->cut) {
        return true;
    }
    if (world_likes(world, FAULT_LOSS) && world_chance(world, world->net->loss_per_mille)) {
        world->stats.faults[FAULT_LOSS]++;
        return true;
    }
    struct world_frame frame = {.from = from,
                                .to = to,
                                .from_id = id_at(world, from),
                                .to_id = peer_id,
                                .connection = connection->number,
                                .kind = kind,
                                .payload = payload};
    send_one(world, &frame, lane);
    if (kind != FRAME_FORWARD && world_likes(world, FAULT_TWICE) &&
        world_chance(world, world->net->twice_per_mille)) {
        world->stats.faults[FAULT_TWICE]++;
        send_one(world, &frame, lane);
    }
    return true;
}

/* ---- connections ---- */

/* News that come late, to who stood still, do not hide what is the case by then. */
static void on_link_news(struct world *world, const struct world_event *event)
{
    struct worldtransport *transport = living(world, event->place);
    if (transport == NULL || transport->callbacks->on_link == NULL) {
        return;
    }
    bool is_up = world_connected(&transport->base, event->a);
    if (event->b == 0 || !is_up) {
        transport->callbacks->on_link(transport->ctx, event->a, false);
    }
    if (is_up) {
        transport->callbacks->on_link(transport->ctx, event->a, true);
    }
}

static void tell(struct world *world, unsigned place, uint64_t peer_id, bool up)
{
    struct worldmember *member = world->members[place];
    if (member->alive) {
        world_at(
            world, 0,
            &(struct world_event){
                .run = on_link_news, .place = place, .life = member->life, .a = peer_id, .b = up});
    }
}

static void break_connection(struct world *world, unsigned a, unsigned b)
{
    struct worldconnection *connection = connection_of(world, a, b);
    connection->up = false;
    connection->silent_us = 0;
    world_note(world, "net: link down", a, b);
    tell(world, a, id_at(world, b), false);
    tell(world, b, id_at(world, a), false);
}

/* May the member at A call that at B? When A was removed it hears so. */
static bool may_call(struct world *world, unsigned a, unsigned b)
{
    struct worldtransport *caller = living(world, a);
    struct worldtransport *called = living(world, b);
    if (!knows(caller, id_at(world, b))) {
        return false;
    }
    const struct transport_callbacks *callbacks = called->callbacks;
    if (callbacks->is_removed != NULL && callbacks->is_removed(called->ctx, id_at(world, a))) {
        worldmember_tell_removed(world->members[a]);
        return false;
    }
    return knows(called, id_at(world, a)) ||
           (callbacks->is_joining != NULL && callbacks->is_joining(called->ctx, id_at(world, a)));
}

static void look_at_broken(struct world *world, unsigned a, unsigned b)
{
    struct worldnet *net = world->net;
    bool reachable = !net->links[a][b].cut && !net->links[b][a].cut;
    if (!reachable || living(world, a) == NULL || living(world, b) == NULL ||
        !worldmember_runs(world->members[a]) || !worldmember_runs(world->members[b])) {
        return;
    }
    bool called = may_call(world, a, b);
    if (!may_call(world, b, a) && !called) {
        return;
    }
    struct worldconnection *connection = connection_of(world, a, b);
    memset(net->links[a][b].last_at_us, 0, sizeof net->links[a][b].last_at_us);
    memset(net->links[b][a].last_at_us, 0, sizeof net->links[b][a].last_at_us);
    *connection = (struct worldconnection){.up = true,
                                           .number = connection->number + 1,
                                           .life_a = world->members[a]->life,
                                           .life_b = world->members[b]->life};
    world_note(world, "net: link up", a, b);
    tell(world, a, id_at(world, b), true);
    tell(world, b, id_at(world, a), true);
}

static void look_at_whole(struct world *world, unsigned a, unsigned b)
{
    struct worldconnection *connection = connection_of(world, a, b);
    const struct worldmember *member_a = world->members[a];
    const struct worldmember *member_b = world->members[b];
    bool a_lives = living(world, a) != NULL && member_a->life == connection->life_a;
    bool b_lives = living(world, b) != NULL && member_b->life == connection->life_b;
    bool cut = world->net->links[a][b].cut || world->net->links[b][a].cut;
    if (!cut && a_lives && b_lives) {
        connection->silent_us = 0;
        return;
    }
    if (connection->silent_us == 0) {
        connection->silent_us = world->now_us;
    }
    /* Who ends says so to who is reached; a cut is noticed when nothing is heard for long. */
    if (!cut || world->now_us - connection->silent_us > SILENT_US_MAX) {
        break_connection(world, a, b);
    }
}

static void on_look(struct world *world, const struct world_event *event)
{
    unsigned a = (unsigned)event->a;
    unsigned b = (unsigned)event->b;
    if (connection_of(world, a, b)->up) {
        look_at_whole(world, a, b);
    } else {
        look_at_broken(world, a, b);
    }
    world_at(world, world_between(world, LOOK_US_MAX / 4, LOOK_US_MAX), event);
}

void worldnet_reset(struct world *world, unsigned a, unsigned b)
{
    if (connection_of(world, a, b)->up) {
        break_connection(world, a, b);
    }
}

void worldnet_cut(struct world *world, unsigned from, unsigned to, bool cut)
{
    world->net->links[from][to].cut = cut;
    world_note(world, cut ? "net: cut" : "net: joined", from, to);
}

void worldnet_join_all(struct world *world)
{
    for (unsigned from = 1; from <= world->places; from++) {
        for (unsigned to = 1; to <= world->places; to++) {
            world->net->links[from][to].cut = false;
            world->net->links[from][to].slow_until_us = 0;
        }
    }
}

void worldnet_slow(struct world *world, unsigned from, unsigned to, uint64_t until_us)
{
    world->net->links[from][to].slow_until_us = until_us;
}

void worldnet_init(struct world *world)
{
    struct worldnet *net = calloc(1, sizeof *net);
    ASSERT(net != NULL);
    world->net = net;
    net->delay_us = world_between(world, 100, 5000);
    net->late_us = world_between(world, 1, 400) * WORLD_MS;
    net->loss_per_mille = (unsigned)world_between(world, 0, 20);
    net->twice_per_mille = (unsigned)world_between(world, 0, 20);
    net->late_per_mille = (unsigned)world_between(world, 0, 30);
    net->reorder_per_mille = (unsigned)world_between(world, 0, 100);
    net->slow_us_per_kib = world_between(world, 100, 20000);
    for (unsigned a = 1; a <= world->places; a++) {
        for (unsigned b = a + 1; b <= world->places; b++) {
            world_at(world, world_between(world, 1, LOOK_US_MAX),
                     &(struct world_event){.run = on_look, .a = a, .b = b});
        }
    }
}

/* ---- the transport's other methods ---- */

static enum err world_start(struct transport *base, const struct transport_callbacks *callbacks,
                            void *ctx, struct why *why)
{
    (void)why;
    struct worldtransport *transport = transport_of(base);
    transport->callbacks = callbacks;
    transport->ctx = ctx;
    return OK;
}

static enum err world_add_peer(struct transport *base, uint64_t peer_id, const char *address)
{
    (void)address;
    struct worldtransport *transport = transport_of(base);
    if (!knows(transport, peer_id)) {
        ASSERT(transport->known_count < WORLD_KNOWN_MAX);
        transport->known[transport->known_count++] = peer_id;
        /* It has called before it was known: nobody heard then that the link is up. */
        unsigned place = worldmember_place_of(transport->world, peer_id);
        if (place != 0 && place != transport->place &&
            connection_of(transport->world, transport->place, place)->up) {
            tell(transport->world, transport->place, peer_id, true);
        }
    }
    return OK;
}

static void world_remove_peer(struct transport *base, uint64_t peer_id)
{
    struct worldtransport *transport = transport_of(base);
    for (size_t i = 0; i < transport->known_count; i++) {
        if (transport->known[i] == peer_id) {
            transport->known[i] = transport->known[--transport->known_count];
        }
    }
    unsigned place = worldmember_place_of(transport->world, peer_id);
    if (place != 0 && place != transport->place) {
        worldnet_reset(transport->world, transport->place, place);
    }
}

static void world_review(struct transport *base)
{
    struct worldtransport *transport = transport_of(base);
    const struct transport_callbacks *callbacks = transport->callbacks;
    for (unsigned place = 1; callbacks != NULL && place <= transport->world->places; place++) {
        uint64_t id = id_at(transport->world, place);
        if (place != transport->place && id != 0 && callbacks->is_removed != NULL &&
            callbacks->is_removed(transport->ctx, id)) {
            worldnet_reset(transport->world, transport->place, place);
        }
    }
}

static bool world_connected(struct transport *base, uint64_t peer_id)
{
    struct worldtransport *transport = transport_of(base);
    unsigned place = worldmember_place_of(transport->world, peer_id);
    return place != 0 && place != transport->place && knows(transport, peer_id) &&
           connection_of(transport->world, transport->place, place)->up;
}

static void on_closed(struct world *world, const struct world_event *event)
{
    (void)world;
    const struct worldtransport *transport = event->ptr;
    transport->closed(transport->closed_ctx);
}

/* Sockets close later, too. */
static void world_close(struct transport *base, void (*cb)(void *ctx), void *ctx)
{
    struct worldtransport *transport = transport_of(base);
    transport->callbacks = NULL;
    transport->closed = cb;
    transport->closed_ctx = ctx;
    world_at(transport->world, 1,
             &(struct world_event){.run = on_closed,
                                   .place = transport->place,
                                   .life = transport->world->members[transport->place]->life,
                                   .ptr = transport});
}

void worldtransport_init(struct worldtransport *transport, struct world *world, unsigned place)
{
    static const struct transport_ops ops = {
        .start = world_start,
        .add_peer = world_add_peer,
        .remove_peer = world_remove_peer,
        .review = world_review,
        .send = world_send,
        .connected = world_connected,
        .close = world_close,
    };
    *transport = (struct worldtransport){.base = {.ops = &ops}, .world = world, .place = place};
}
