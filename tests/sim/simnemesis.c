/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simnemesis.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "tests/sim/simmember.h"
#include "tests/sim/simplay.h"

#define STRIKES 19

struct simnemesis {
    uint64_t pause_ms;         /* between faults, at most */
    unsigned weights[STRIKES]; /* each seed has faults that it likes, and some that it never uses */
    unsigned weight_sum;
    uint64_t quiet_until_us;
    unsigned voters_min;           /* churn leaves so many */
    unsigned candidates_per_mille; /* that are cut off */
    unsigned loss_per_mille;       /* of crashes, when nobody else is without a database */
};

static unsigned some_member(struct sim *sim)
{
    return (unsigned)sim_between(sim, 1, sim->options.members);
}

/* ---- crashes ---- */

static void on_restart(struct sim *sim, const struct sim_event *event)
{
    struct simmember *member = sim->members[event->a];
    if (!member->alive) {
        simmember_start(member);
    }
}

/* What only one member has nobody can give to it: so one at a time. */
static void lose_perhaps(struct sim *sim, struct simmember *member)
{
    for (unsigned id = 1; id <= sim->options.members; id++) {
        if (sim->members[id]->lost) {
            return;
        }
    }
    if (sim->options.losses && !member->alive && sim_chance(sim, sim->nemesis->loss_per_mille)) {
        simmember_lose(member);
    }
}

static void crash(struct sim *sim, unsigned id, uint64_t down_ms_max)
{
    simmember_crash(sim->members[id]);
    lose_perhaps(sim, sim->members[id]);
    sim_at(sim, sim_between(sim, 50, down_ms_max) * SIM_MS,
           &(struct sim_event){.run = on_restart, .a = id});
}

void simnemesis_crash(struct sim *sim, unsigned id)
{
    crash(sim, id, 4000);
}

static void crash_one(struct sim *sim)
{
    crash(sim, some_member(sim), 4000);
}

static void crash_leader(struct sim *sim)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader != NULL) {
        crash(sim, leader->id, 4000);
    }
}

static void crash_all(struct sim *sim)
{
    if (sim_chance(sim, 400)) {
        for (unsigned id = 1; id <= sim->options.members; id++) {
            crash(sim, id, 2000);
        }
    }
}

static void stand_still(struct sim *sim)
{
    struct simmember *member = sim->members[some_member(sim)];
    uint64_t until = sim->now_us + sim_between(sim, 100, 3000) * SIM_MS;
    /* What waits for the end of a standstill has been put there, in order: the end is not moved. */
    if (member->paused_until_us > sim->now_us || until > sim->options.faults_ms * SIM_MS) {
        return;
    }
    member->paused_until_us = until;
    sim_note(sim, "nemesis: stands still", member->id, member->paused_until_us);
}

/* ---- the network ---- */

static void cut_at_random(struct sim *sim)
{
    bool noticed = sim_chance(sim, 500);
    for (unsigned a = 1; a <= sim->options.members; a++) {
        for (unsigned b = a + 1; b <= sim->options.members; b++) {
            if (sim_chance(sim, 500)) {
                simnet_cut(sim, a, b, noticed);
                simnet_cut(sim, b, a, noticed);
            }
        }
    }
    sim_note(sim, "nemesis: cut at random", noticed, 0);
}

/* OUT: what it says does not arrive; IN: what it is told. */
static void cut_leader(struct sim *sim, bool out, bool in)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader == NULL) {
        return;
    }
    bool noticed = sim_chance(sim, 300);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        if (id != leader->id && out) {
            simnet_cut(sim, leader->id, id, noticed);
        }
        if (id != leader->id && in) {
            simnet_cut(sim, id, leader->id, noticed);
        }
    }
    sim_note(sim, "nemesis: cut leader", leader->id, (uint64_t)out << 1 | in);
}

static void isolate_leader(struct sim *sim)
{
    cut_leader(sim, true, true);
}

static void mute_leader(struct sim *sim)
{
    cut_leader(sim, true, false);
}

static void deafen_leader(struct sim *sim)
{
    cut_leader(sim, false, true);
}

static void break_connections(struct sim *sim)
{
    unsigned a = some_member(sim);
    unsigned b = some_member(sim);
    if (a != b) {
        simnet_reset(sim, a, b);
    }
}

static void join_all(struct sim *sim)
{
    sim_note(sim, "nemesis: join", 0, 0);
    simnet_join_all(sim);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        sim->members[id]->disk.slow = false;
    }
}

static void slow_disk(struct sim *sim)
{
    struct simdisk *disk = &sim->members[some_member(sim)]->disk;
    disk->slow = !disk->slow;
    sim_note(sim, "nemesis: slow disk", disk->member, disk->slow);
}

static void stall_disk(struct sim *sim)
{
    static const uint64_t longest_ms[] = {100, 1000, 3000};
    uint64_t most_ms = longest_ms[sim_between(sim, 0, 2)];
    simdisk_stall(&sim->members[some_member(sim)]->disk, sim_between(sim, 10, most_ms) * SIM_MS);
}

static void on_join_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    simnet_join_all(sim);
}

/* Nobody hears of its candidacy, and it hears of nobody. */
static void on_cut_candidate(struct sim *sim, const struct sim_event *event)
{
    unsigned candidate = (unsigned)event->a;
    if (sim->calm) {
        return;
    }
    sim_note(sim, "nemesis: cut candidate", candidate, 0);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        if (id != candidate) {
            simnet_cut(sim, candidate, id, false);
            simnet_cut(sim, id, candidate, false);
        }
    }
    sim_at(sim, sim_between(sim, 500, 5000) * SIM_MS, &(struct sim_event){.run = on_join_time});
}

void simnemesis_on_candidate(struct sim *sim, unsigned id)
{
    simplay_on_candidate(sim, id);
    if (!sim->calm && sim->nemesis != NULL && sim_chance(sim, sim->nemesis->candidates_per_mille)) {
        sim_at(sim, 0, &(struct sim_event){.run = on_cut_candidate, .a = id});
    }
}

/* ---- leadership and membership ---- */

static void on_transferred(void *ctx, enum err status)
{
    struct simmember *member = ctx;
    sim_note(member->sim, "nemesis: transferred", member->id, status);
}

static void transfer_to(struct simmember *leader, unsigned id)
{
    sim_note(leader->sim, "nemesis: transfer", leader->id, id);
    node_transfer(leader->now->node, id, on_transferred, leader);
    simmember_settle(leader);
}

void simnemesis_transfer(struct simmember *leader, unsigned id)
{
    transfer_to(leader, id);
}

static void transfer(struct sim *sim)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader != NULL) {
        transfer_to(leader, sim_chance(sim, 300) ? 0 : some_member(sim));
    }
}

static void on_changed(void *ctx, enum err status)
{
    struct simmember *member = ctx;
    sim_note(member->sim, "nemesis: changed", member->id, status);
    if (status == OK) {
        member->sim->stats.changes++;
    }
}

/* What may be done to a member as it is now. */
static bool choose_change(struct sim *sim, const struct node *node, unsigned id,
                          enum change_kind *ret)
{
    const struct node_member *members;
    size_t count = node_members(node, &members);
    const struct node_member *found = NULL;
    unsigned voters = 0;
    for (size_t i = 0; i < count; i++) {
        voters += members[i].role == MEMBER_VOTER;
        if (members[i].id == id) {
            found = &members[i];
        }
    }
    if (found == NULL || found->role == MEMBER_SPARE) {
        *ret = CHANGE_ADD_LEARNER;
    } else if (found->role == MEMBER_LEARNER) {
        /* A promotion waits for the learner, and others wait for it. */
        bool promote = sim->members[id]->alive ? sim_chance(sim, 800) : sim_chance(sim, 100);
        *ret = promote ? CHANGE_PROMOTE : CHANGE_REMOVE;
    } else {
        *ret = sim_chance(sim, 500) ? CHANGE_DEMOTE : CHANGE_REMOVE;
        return voters > sim->nemesis->voters_min;
    }
    return true;
}

static void change_one(struct simmember *leader, unsigned id, enum change_kind kind)
{
    sim_note(leader->sim, "nemesis: change", id, kind);
    node_change(leader->now->node, kind, id, simmember_address(id), on_changed, leader);
    simmember_settle(leader);
}

void simnemesis_change(struct sim *sim, unsigned id)
{
    struct simmember *leader = simmember_leader(sim);
    enum change_kind kind;
    if (leader == NULL || !choose_change(sim, leader->now->node, id, &kind)) {
        return;
    }
    if (id == leader->id && (kind == CHANGE_DEMOTE || kind == CHANGE_REMOVE)) {
        transfer_to(leader, 0);
        return;
    }
    change_one(leader, id, kind);
}

static void change(struct sim *sim)
{
    simnemesis_change(sim, some_member(sim));
}

void simnemesis_fewer_voters(struct simmember *leader)
{
    const struct node_member *members;
    size_t count = node_members(leader->now->node, &members);
    for (size_t i = 0; i < count; i++) {
        if (members[i].id != leader->id && members[i].role == MEMBER_VOTER) {
            change_one(leader, (unsigned)members[i].id, CHANGE_DEMOTE);
            return;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i].role == MEMBER_LEARNER) {
            change_one(leader, (unsigned)members[i].id, CHANGE_PROMOTE);
            return;
        }
    }
}

/* ---- when ---- */

/* How many of a seed's faults are such at most; and of how many seeds (per mille). */
static const struct {
    void (*run)(struct sim *sim);
    unsigned most;
    unsigned seeds;
    bool is_change;
} strikes[STRIKES] = {
    {crash_one, 10, 750, false},
    {crash_leader, 10, 750, false},
    {crash_all, 10, 750, false},
    {cut_at_random, 10, 750, false},
    {isolate_leader, 10, 750, false},
    {mute_leader, 10, 750, false},
    {deafen_leader, 10, 750, false},
    {slow_disk, 10, 750, false},
    {stall_disk, 10, 500, false},
    {break_connections, 10, 750, false},
    {transfer, 10, 750, false},
    {stand_still, 10, 750, false},
    {join_all, 20, 1000, false},
    {simplay_two_successors, 10, 300, false},
    {simplay_hand_over_in_change, 20, 300, true},
    {simplay_storm, 4, 200, false},
    {simplay_usurp, 10, 300, false},
    {simplay_crash_in_change, 20, 300, true},
    {change, 90, 900, true},
};

static void choose_weights(struct sim *sim)
{
    struct simnemesis *nemesis = sim->nemesis;
    for (unsigned i = 0; i < STRIKES; i++) {
        bool used =
            sim_chance(sim, strikes[i].seeds) && (!strikes[i].is_change || sim->options.churn);
        uint64_t least = strikes[i].run == join_all ? 5 : 1;
        nemesis->weights[i] = used ? (unsigned)sim_between(sim, least, strikes[i].most) : 0;
        nemesis->weight_sum += nemesis->weights[i];
    }
}

static void strike(struct sim *sim)
{
    const struct simnemesis *nemesis = sim->nemesis;
    unsigned at = (unsigned)sim_between(sim, 1, nemesis->weight_sum);
    unsigned i = 0;
    while (at > nemesis->weights[i]) {
        at -= nemesis->weights[i++];
    }
    sim->stats.faults++;
    if (sim->now_us >= sim->nemesis->quiet_until_us) {
        strikes[i].run(sim);
    }
}

static void on_strike_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    if (sim->calm) {
        return;
    }
    strike(sim);
    sim_at(sim, sim_between(sim, 20, sim->nemesis->pause_ms) * SIM_MS,
           &(struct sim_event){.run = on_strike_time});
}

/* While the log still begins where it began. */
static void on_newcomer_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    simplay_newcomer(sim);
}

static void on_usurp_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    sim->nemesis->quiet_until_us = sim->now_us + SIMPLAY_USURP_TWICE_MS * SIM_MS;
    simplay_usurp_twice(sim);
}

static void on_split_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    sim->nemesis->quiet_until_us = sim->now_us + SIMPLAY_SPLIT_MS * SIM_MS;
    simplay_split(sim);
}

void simnemesis_init(struct sim *sim)
{
    sim->nemesis = calloc(1, sizeof *sim->nemesis);
    ASSERT(sim->nemesis != NULL);
    sim->nemesis->pause_ms = sim_between(sim, 100, 1500);
    sim->nemesis->voters_min = (unsigned)sim_between(sim, 1, 3);
    choose_weights(sim);
    sim->nemesis->candidates_per_mille =
        sim_chance(sim, 300) ? (unsigned)sim_between(sim, 50, 600) : 0;
    if (sim->options.losses) {
        sim->nemesis->loss_per_mille =
            sim_chance(sim, 300) ? 0 : (unsigned)sim_between(sim, 50, 600);
    }
    sim_at(sim, 2500 * SIM_MS, &(struct sim_event){.run = on_strike_time});
    bool is_first = mix64(sim->options.seed ^ 5) % 5 == 0; /* other seeds stay as they are */
    if (sim->options.members >= 5 && is_first) {
        sim_at(sim, 2400 * SIM_MS, &(struct sim_event){.run = on_usurp_time});
    }
    if (sim->options.members == 4 && is_first) {
        sim_at(sim, 2400 * SIM_MS, &(struct sim_event){.run = on_split_time});
    }
    if (sim->options.churn && sim_chance(sim, 500)) {
        sim_at(sim, sim_between(sim, 1000, 2500) * SIM_MS,
               &(struct sim_event){.run = on_newcomer_time});
    }
}

void simnemesis_end(struct sim *sim)
{
    join_all(sim);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        struct simmember *member = sim->members[id];
        if (!member->alive) {
            simmember_start(member);
        }
    }
}
