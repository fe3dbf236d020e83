/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simstate.h"

#include "base/assert.h"
#include "base/codec.h"
#include "tests/sim/simcheck.h"
#include "tests/sim/simmember.h"

#define TICK_MS  50
#define AGAIN_MS 300
#define LACK_MS  5000 /* so long after it has asked somebody is helped */

enum { SAYS_STATE = 1, SAYS_HAVE = 2, SAYS_LACK = 3 };

static void say(struct simmember *member, unsigned peer, uint8_t what, uint64_t index,
                uint64_t term)
{
    uint8_t memory[17];
    struct buf buf = {.data = memory, .cap = sizeof memory};
    write_u8(&buf, what);
    write_u64(&buf, index);
    write_u64(&buf, term);
    struct blob *blob = blob_copy(buf_bytes(&buf));
    ASSERT(blob != NULL);
    (void)node_send(member->now->node, peer, LANE_BULK, FRAME_APP, blob);
    blob_unref(blob);
}

/* ---- the leader ---- */

static void begin(struct simmember *member, struct simsend *send)
{
    struct sim *sim = member->sim;
    *send = (struct simsend){.active = true,
                             .index = member->durable.index,
                             .lacks_index = send->lacks_index,
                             .lack_said_us = send->lack_said_us};
    send->term = send->index == 0 ? 0 : simcheck_term_at(sim, send->index);
    send->ready_us = sim->now_us + sim_between(sim, 0, 2000) * SIM_MS;
    /* While faults come the log may forget what follows it; afterwards it is as large as it takes
     * time. */
    send->size_bytes = sim->calm ? SIM_HELD_ALL * 100 : sim_between(sim, 0, 100000);
}

static void install(struct simmember *member, unsigned peer, uint64_t index, uint64_t term)
{
    struct simsend *send = &member->now->sends[peer];
    CLEANUP(buf_fini) struct buf manifest = {0};
    const struct simstate *state = simcheck_state_at(member->sim, index);
    write_u64(&manifest, state->index);
    write_u64(&manifest, state->count);
    write_u64(&manifest, state->hash);
    ASSERT(buf_ok(&manifest));
    enum err err = node_install(member->now->node, peer, index, term, buf_bytes(&manifest));
    if (err == ERR_NOT_FOUND) {
        begin(member, send);
    }
}

static bool may_help(const struct simmember *member, unsigned peer)
{
    const struct node *node = member->now->node;
    return node_role(node) == NODE_LEADER || node_leader(node) == peer;
}

static bool still_lacks(const struct simmember *member, unsigned peer)
{
    const struct simsend *send = &member->now->sends[peer];
    return send->lacks_index != 0 && may_help(member, peer) &&
           member->sim->now_us - send->lack_said_us < LACK_MS * SIM_MS;
}

static void tick_later(struct simmember *member, unsigned peer);

static void on_tick(struct sim *sim, const struct sim_event *event)
{
    struct simmember *member = event->ptr;
    unsigned peer = (unsigned)event->a;
    struct simsend *send = &member->now->sends[peer];
    bool installs = node_hold_state(member->now->node, peer, send->index, send->size_bytes);
    if (!installs && !still_lacks(member, peer)) {
        *send = (struct simsend){0};
        return;
    }
    if (send->index < send->lacks_index ||
        (installs && !node_holds(member->now->node, send->index, send->term))) {
        begin(member, send);
    }
    if (send->index >= send->lacks_index && sim->now_us >= send->ready_us &&
        sim->now_us - send->said_us >= AGAIN_MS * SIM_MS) {
        send->said_us = sim->now_us;
        say(member, peer, SAYS_STATE, send->index, send->term);
    }
    tick_later(member, peer);
}

static void tick_later(struct simmember *member, unsigned peer)
{
    sim_at(
        member->sim, TICK_MS * SIM_MS,
        &(struct sim_event){
            .member = member->id, .life = member->life, .run = on_tick, .ptr = member, .a = peer});
}

void simstate_on_want(void *ctx, uint64_t peer_id)
{
    struct simmember *member = ctx;
    struct simsend *send = &member->now->sends[peer_id];
    if (!send->active && node_hold_state(member->now->node, peer_id, 0, 0)) {
        sim_note(member->sim, "state: wanted", member->id, peer_id);
        begin(member, send);
        tick_later(member, (unsigned)peer_id);
    }
}

static void on_lack(struct simmember *member, unsigned peer, uint64_t index)
{
    struct simsend *send = &member->now->sends[peer];
    if (!may_help(member, peer)) {
        return;
    }
    if (!send->active) {
        sim_note(member->sim, "state: lacked", member->id, peer);
        begin(member, send);
        tick_later(member, peer);
    }
    send->lacks_index = index;
    send->lack_said_us = member->sim->now_us;
}

static void on_have(struct simmember *member, unsigned peer, uint64_t index, uint64_t term)
{
    struct simsend *send = &member->now->sends[peer];
    if (index >= send->lacks_index) {
        send->lacks_index = 0;
    }
    if (send->active && node_holds(member->now->node, index, term)) {
        install(member, peer, index, term);
    }
}

/* ---- the follower ---- */

enum err simstate_may_restore(void *ctx, uint64_t index, struct why *why)
{
    const struct simmember *member = ctx;
    if (member->durable.index >= index) {
        return OK;
    }
    why_set(why, "the state ends at %llu", (unsigned long long)member->durable.index);
    return ERR_CORRUPT;
}

static void on_state(struct simmember *member, unsigned peer, uint64_t index)
{
    struct simlife *now = member->now;
    uint64_t leader = node_leader(now->node);
    uint64_t bare_index = node_bare_index(now->node);
    if (leader != peer && (leader != 0 || bare_index == 0)) {
        return;
    }
    if (now->state.index < index) {
        if (bare_index == 0) {
            simcheck_fell_behind(member->sim, member->id, member->settings.held_entries);
        }
        member->sim->stats.states++;
        sim_note(member->sim, "state: arrived", member->id, index);
        member->durable = *simcheck_state_at(member->sim, index);
        now->state = member->durable;
    }
    if (bare_index != 0 && member->durable.index >= bare_index) {
        member->lost = false;
        node_filled(now->node);
    }
    if (member->durable.index > 0) {
        say(member, peer, SAYS_HAVE, member->durable.index,
            simcheck_term_at(member->sim, member->durable.index));
    }
}

static void on_lack_time(struct sim *sim, const struct sim_event *event)
{
    struct simmember *member = event->ptr;
    struct node *node = member->now->node;
    uint64_t bare_index = node_bare_index(node);
    if (bare_index == 0) {
        return;
    }
    uint64_t asked = node_leader(node);
    if (asked == 0) { /* the next one in a circle, ourselves perhaps: then nobody this time */
        asked = member->now->asked % sim->options.members + 1;
        member->now->asked = (unsigned)asked;
    }
    if (asked != member->id) {
        say(member, (unsigned)asked, SAYS_LACK, bare_index, 0);
    }
    sim_at(sim, AGAIN_MS * SIM_MS, event);
}

void simstate_lack(struct simmember *member)
{
    sim_at(member->sim, 0,
           &(struct sim_event){
               .member = member->id, .life = member->life, .run = on_lack_time, .ptr = member});
}

void simstate_on_frame(struct simmember *member, unsigned peer, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint8_t what = read_u8(&r);
    uint64_t index = read_u64(&r);
    uint64_t term = read_u64(&r);
    ASSERT(reader_end(&r) == OK);
    if (what == SAYS_STATE) {
        on_state(member, peer, index);
    } else if (what == SAYS_LACK) {
        on_lack(member, peer, index);
    } else {
        on_have(member, peer, index, term);
    }
}
