/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simnet.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/sim/simcheck.h"
#include "tests/sim/simmember.h"

static struct simtransport *transport_of(struct transport *transport)
{
    return CONTAINER_OF(transport, struct simtransport, base);
}

void simnet_init(struct sim *sim)
{
    sim->net = calloc(1, sizeof *sim->net);
    ASSERT(sim->net != NULL);
    sim->net->delay_us = sim_between(sim, 100, 5000);
    sim->net->late_us = sim_between(sim, 1, 400) * SIM_MS;
    sim->net->loss_per_mille = (unsigned)sim_between(sim, 0, 20);
    sim->net->twice_per_mille = (unsigned)sim_between(sim, 0, 20);
    sim->net->late_per_mille = (unsigned)sim_between(sim, 0, 30);
    sim->net->reorder_per_mille = (unsigned)sim_between(sim, 0, 20);
}

/* ---- frames ---- */

static void hold(struct simnet *net, const struct sim_event *event)
{
    bool room = ARRAY_MAKE_ROOM(net->waiting, net->waiting_count, net->waiting_cap, 64);
    ASSERT(room);
    net->waiting[net->waiting_count++] = *event;
}

void simnet_hold(struct sim *sim, unsigned from, unsigned to)
{
    sim_note(sim, "net: holds", from, to);
    sim->net->held[from][to] = true;
}

void simnet_release(struct sim *sim, unsigned from, unsigned to)
{
    struct simnet *net = sim->net;
    size_t kept = 0;
    net->held[from][to] = false;
    for (size_t i = 0; i < net->waiting_count; i++) {
        if (net->waiting[i].a == ((uint64_t)from << 8 | to)) {
            sim_at(sim, 0, &net->waiting[i]);
        } else {
            net->waiting[kept++] = net->waiting[i];
        }
    }
    net->waiting_count = kept;
}

void simnet_echo(struct sim *sim, unsigned from, unsigned to, uint64_t for_us, uint64_t late_us)
{
    sim->net->echo_until_us[from][to] = sim->now_us + for_us;
    sim->net->echo_late_us = late_us;
}

static void on_arrival(struct sim *sim, const struct sim_event *event)
{
    unsigned from = (unsigned)(event->a >> 8);
    unsigned to = (unsigned)(event->a & 0xff);
    struct blob *payload = event->ptr;
    struct simmember *member = sim->members[to];
    if (member->alive && member->paused_until_us > sim->now_us) {
        sim_at(sim, member->paused_until_us - sim->now_us, event);
        return;
    }
    if (sim->net->held[from][to]) {
        hold(sim->net, event);
        return;
    }
    struct simtransport *transport = &member->now->transport;
    if (member->alive && !sim->net->cut[from][to] && transport->callbacks != NULL) {
        sim->stats.frames++;
        member->now->heard += event->b == FRAME_RAFT;
        transport->callbacks->on_frame(transport->ctx, from, (enum frame_kind)event->b,
                                       blob_bytes(payload));
        simmember_settle(member);
    }
    blob_unref(payload);
}

static void send_one(struct sim *sim, unsigned from, unsigned to, enum transport_lane lane,
                     enum frame_kind kind, struct blob *payload)
{
    struct simnet *net = sim->net;
    uint64_t delay = sim_between(sim, 50, net->delay_us);
    if (!sim->calm && sim_chance(sim, net->late_per_mille)) {
        delay += sim_between(sim, 0, net->late_us);
    }
    uint64_t at = sim->now_us + delay;
    uint64_t *last_at = &net->last_at_us[from][to][lane];
    if (at < *last_at && (sim->calm || !sim_chance(sim, net->reorder_per_mille))) {
        at = *last_at;
    }
    if (at > *last_at) {
        *last_at = at;
    }
    sim_at(
        sim, at - sim->now_us,
        &(struct sim_event){
            .run = on_arrival, .ptr = blob_ref(payload), .a = (uint64_t)from << 8 | to, .b = kind});
}

/* Once more, behind all that comes meanwhile. */
static void send_echo(struct sim *sim, unsigned from, unsigned to, enum frame_kind kind,
                      struct blob *payload)
{
    sim_at(
        sim, sim_between(sim, 0, sim->net->echo_late_us),
        &(struct sim_event){
            .run = on_arrival, .ptr = blob_ref(payload), .a = (uint64_t)from << 8 | to, .b = kind});
}

static bool sim_send(struct transport *base, uint64_t peer_id, enum transport_lane lane,
                     enum frame_kind kind, struct blob *payload)
{
    struct simtransport *transport = transport_of(base);
    struct sim *sim = transport->sim;
    unsigned from = transport->member;
    if (peer_id == 0 || peer_id > sim->options.members || !transport->known[peer_id] ||
        sim->net->down[from][peer_id]) {
        return false;
    }
    unsigned to = (unsigned)peer_id;
    if (kind == FRAME_RAFT) {
        simcheck_sent(sim, from, payload->len);
    }
    if (sim->net->echo_until_us[from][to] > sim->now_us && kind == FRAME_RAFT) {
        send_echo(sim, from, to, kind, payload);
    }
    bool lost =
        sim->net->cut[from][to] || (!sim->calm && sim_chance(sim, sim->net->loss_per_mille));
    if (!lost) {
        send_one(sim, from, to, lane, kind, payload);
    }
    if (!lost && !sim->calm && sim_chance(sim, sim->net->twice_per_mille)) {
        send_one(sim, from, to, lane, kind, payload);
    }
    return true;
}

/* ---- links ---- */

enum link_news { LINK_CUT, LINK_BROKEN, LINK_UP };

/* The news may be old: a cut that was joined meanwhile is none. */
static void on_link_event(struct sim *sim, const struct sim_event *event)
{
    struct simtransport *transport = event->ptr;
    unsigned peer = (unsigned)event->a;
    bool up = event->b == LINK_UP;
    if (event->b == LINK_CUT && !sim->net->cut[transport->member][peer]) {
        return;
    }
    sim->net->down[transport->member][peer] = !up;
    sim_note(sim, up ? "net: link up" : "net: link down", transport->member, peer);
    if (transport->callbacks != NULL && transport->callbacks->on_link != NULL) {
        transport->callbacks->on_link(transport->ctx, peer, up);
    }
}

static void tell(struct sim *sim, unsigned member, unsigned peer, enum link_news news,
                 uint64_t delay_us)
{
    struct simmember *m = sim->members[member];
    if (!m->alive) {
        return; /* a new life knows nothing of it */
    }
    sim_at(sim, delay_us,
           &(struct sim_event){.member = member,
                               .life = m->life,
                               .run = on_link_event,
                               .ptr = &m->now->transport,
                               .a = peer,
                               .b = news});
}

void simnet_cut(struct sim *sim, unsigned from, unsigned to, bool noticed)
{
    sim->net->cut[from][to] = true;
    if (noticed) {
        tell(sim, from, to, LINK_CUT, sim_between(sim, 0, 500 * SIM_MS));
    }
}

void simnet_join_all(struct sim *sim)
{
    for (unsigned from = 1; from <= sim->options.members; from++) {
        for (unsigned to = 1; to <= sim->options.members; to++) {
            simnet_release(sim, from, to);
            if (sim->net->cut[from][to]) {
                sim->net->cut[from][to] = false;
                tell(sim, from, to, LINK_UP, sim_between(sim, 0, 500 * SIM_MS));
            }
        }
    }
}

void simnet_reset(struct sim *sim, unsigned a, unsigned b)
{
    for (enum transport_lane lane = 0; lane < LANE_COUNT; lane++) {
        sim->net->last_at_us[a][b][lane] = 0;
        sim->net->last_at_us[b][a][lane] = 0;
    }
    tell(sim, a, b, LINK_BROKEN, sim_between(sim, 0, 5 * SIM_MS));
    tell(sim, b, a, LINK_BROKEN, sim_between(sim, 0, 5 * SIM_MS));
    tell(sim, a, b, LINK_UP, sim_between(sim, 5 * SIM_MS, 100 * SIM_MS));
    tell(sim, b, a, LINK_UP, sim_between(sim, 5 * SIM_MS, 100 * SIM_MS));
}

/* ---- the transport's other methods ---- */

static enum err sim_start(struct transport *base, const struct transport_callbacks *callbacks,
                          void *ctx, struct why *why)
{
    (void)why;
    struct simtransport *transport = transport_of(base);
    transport->callbacks = callbacks;
    transport->ctx = ctx;
    return OK;
}

static enum err sim_add_peer(struct transport *base, uint64_t peer_id, const char *address)
{
    (void)address;
    struct simtransport *transport = transport_of(base);
    if (peer_id == 0 || peer_id > transport->sim->options.members) {
        return ERR_INVALID;
    }
    transport->known[peer_id] = true;
    return OK;
}

/* Here nobody is let in who is not known. */
static void sim_review(struct transport *transport)
{
    (void)transport;
}

static void sim_remove_peer(struct transport *base, uint64_t peer_id)
{
    struct simtransport *transport = transport_of(base);
    if (peer_id <= transport->sim->options.members) {
        transport->known[peer_id] = false;
    }
}

static bool sim_connected(struct transport *base, uint64_t peer_id)
{
    struct simtransport *transport = transport_of(base);
    return peer_id <= transport->sim->options.members && transport->known[peer_id] &&
           !transport->sim->net->down[transport->member][peer_id];
}

static void sim_close(struct transport *base, void (*cb)(void *ctx), void *ctx)
{
    transport_of(base)->callbacks = NULL;
    cb(ctx);
}

void simtransport_init(struct simtransport *transport, struct sim *sim, unsigned member)
{
    static const struct transport_ops ops = {
        .start = sim_start,
        .add_peer = sim_add_peer,
        .remove_peer = sim_remove_peer,
        .review = sim_review,
        .send = sim_send,
        .connected = sim_connected,
        .close = sim_close,
    };
    *transport = (struct simtransport){.base = {.ops = &ops}, .sim = sim, .member = member};
    for (unsigned peer = 1; peer <= sim->options.members; peer++) {
        sim->net->down[member][peer] = false; /* a new life knows of no cut */
    }
}
