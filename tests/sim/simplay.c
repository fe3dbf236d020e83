/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simplay.h"

#include "tests/sim/simclients.h"
#include "tests/sim/simmember.h"
#include "tests/sim/simnemesis.h"

#define STORM_MS     4000
#define QUIET_LOOKS  200 /* one in a millisecond */
#define ECHO_MS      8000
#define NEWCOMER_MS  1000 /* that what it is sent is sent again */
#define HAND_OVER_MS 60
#define TWICE_MS     4000 /* two elections, most of the time */

static unsigned some_other(struct sim *sim, unsigned id)
{
    unsigned other = (unsigned)sim_between(sim, 1, sim->options.members - 1);
    return other + (other >= id);
}

static void stall_disk(struct sim *sim, unsigned id, uint64_t from_ms, uint64_t to_ms)
{
    uint64_t ms = sim_between(sim, from_ms, to_ms);
    simdisk_stall(&sim->members[id]->disk, ms * SIM_MS);
}

static void later(struct sim *sim, uint64_t delay_us, unsigned id, uint64_t other,
                  void (*run)(struct sim *sim, const struct sim_event *event))
{
    sim_at(sim, delay_us,
           &(struct sim_event){
               .run = run, .member = id, .life = sim->members[id]->life, .a = id, .b = other});
}

static void on_join(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    simnet_join_all(sim);
}

static void join_later(struct sim *sim, uint64_t from_ms, uint64_t to_ms)
{
    sim_at(sim, sim_between(sim, from_ms, to_ms) * SIM_MS, &(struct sim_event){.run = on_join});
}

static void on_hand_over(struct sim *sim, const struct sim_event *event)
{
    simnemesis_transfer(sim->members[event->a], (unsigned)event->b);
}

static void on_crash(struct sim *sim, const struct sim_event *event)
{
    simnemesis_crash(sim, (unsigned)event->a);
}

/* ---- leadership ---- */

/* The first of them hears of it while the second does. */
static void on_first_is_late(void *ctx, enum err status)
{
    struct simmember *leader = ctx;
    struct sim *sim = leader->sim;
    unsigned first = leader->successor;
    if (status == ERR_TIMEOUT && !sim->calm) {
        unsigned second = some_other(sim, leader->id);
        while (second == first) {
            second = some_other(sim, leader->id);
        }
        simnemesis_transfer(leader, second);
    }
    simnet_release(sim, leader->id, first);
}

/* Who lacks something is not handed anything: a moment is waited for when nothing is on its way. */
static void on_look_for_quiet(struct sim *sim, const struct sim_event *event)
{
    struct simmember *leader = sim->members[event->a];
    struct node *node = leader->now->node;
    unsigned first = leader->successor;
    if (node_role(node) != NODE_LEADER || sim->calm) {
        return;
    }
    if (node_match_index(node, first) < node_last_index(node)) {
        if (event->b > 0) {
            later(sim, SIM_MS, leader->id, event->b - 1, on_look_for_quiet);
        }
        return;
    }
    simnet_hold(sim, leader->id, first);
    node_transfer(node, first, on_first_is_late, leader);
}

void simplay_two_successors(struct sim *sim)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->options.members < 3) {
        return;
    }
    leader->successor = some_other(sim, leader->id);
    sim_note(sim, "play: two successors", leader->id, leader->successor);
    later(sim, 0, leader->id, QUIET_LOOKS, on_look_for_quiet);
}

void simplay_hand_over_in_change(struct sim *sim)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->options.members < 3) {
        return;
    }
    unsigned successor = some_other(sim, leader->id);
    sim_note(sim, "play: hand over in a change", leader->id, successor);
    stall_disk(sim, successor, 200, 2000);
    if (sim->options.churn) {
        simnemesis_change(sim, some_other(sim, leader->id));
    }
    later(sim, sim_between(sim, 1, HAND_OVER_MS) * SIM_MS, leader->id, successor, on_hand_over);
}

/* ---- slow disks ---- */

static void on_storm_over(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    for (unsigned id = 1; id <= sim->options.members; id++) {
        sim->members[id]->disk.slow = false;
    }
}

void simplay_storm(struct sim *sim)
{
    const struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->now_us + STORM_MS * SIM_MS > sim->options.faults_ms * SIM_MS) {
        return;
    }
    sim_note(sim, "play: storm", leader->id, 0);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        sim->members[id]->disk.slow = id != leader->id;
    }
    simclients_storm(sim, STORM_MS);
    sim_at(sim, STORM_MS * SIM_MS, &(struct sim_event){.run = on_storm_over});
}

static void hear_only(struct sim *sim, unsigned id, unsigned heard_by)
{
    for (unsigned other = 1; other <= sim->options.members; other++) {
        if (other != id && other != heard_by) {
            simnet_cut(sim, id, other, false);
            simnet_cut(sim, other, id, false);
        }
    }
}

static void on_only_one_hears(struct sim *sim, const struct sim_event *event)
{
    hear_only(sim, (unsigned)event->a, (unsigned)event->b);
    join_later(sim, 1000, 5000);
}

void simplay_usurp(struct sim *sim)
{
    const struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->options.members < 4) {
        return;
    }
    unsigned heard_by = some_other(sim, leader->id);
    sim_note(sim, "play: usurp", leader->id, heard_by);
    stall_disk(sim, heard_by, 1000, 4000);
    later(sim, sim_between(sim, 0, 100) * SIM_MS, leader->id, heard_by, on_only_one_hears);
}

/* Another one leads: the first is back, and it is that one whom only the same member hears. */
static void on_look_for_usurper(struct sim *sim, const struct sim_event *event)
{
    const struct simmember *leader = simmember_leader(sim);
    unsigned first = (unsigned)event->a;
    if (leader != NULL && leader->id != first && leader->id != event->b) {
        sim_note(sim, "play: another one leads", leader->id, event->b);
        simnet_join_all(sim);
        hear_only(sim, leader->id, (unsigned)event->b);
        join_later(sim, TWICE_MS, TWICE_MS);
    } else if (!sim->calm) {
        sim_at(sim, SIM_MS / 5, event);
    }
}

void simplay_usurp_twice(struct sim *sim)
{
    const struct simmember *leader = simmember_leader(sim);
    const struct node_member *members;
    if (leader == NULL || node_members(leader->now->node, &members) < 5) {
        return;
    }
    unsigned heard_by = some_other(sim, leader->id);
    sim_note(sim, "play: usurp twice", leader->id, heard_by);
    stall_disk(sim, heard_by, 2 * TWICE_MS, 2 * TWICE_MS);
    hear_only(sim, leader->id, heard_by);
    on_look_for_usurper(
        sim, &(struct sim_event){.run = on_look_for_usurper, .a = leader->id, .b = heard_by});
}

static void set_cut(struct sim *sim, unsigned a, unsigned b, bool cut)
{
    sim->net->cut[a][b] = cut;
    sim->net->cut[b][a] = cut;
}

static void on_not_heard(struct sim *sim, const struct sim_event *event)
{
    set_cut(sim, (unsigned)event->a, (unsigned)event->b, true);
}

static void on_heard_again(struct sim *sim, const struct sim_event *event)
{
    set_cut(sim, (unsigned)event->a, (unsigned)event->b, false);
}

static void on_arrives_late(struct sim *sim, const struct sim_event *event)
{
    simnet_release(sim, (unsigned)event->a, (unsigned)event->b);
    join_later(sim, 100, 500);
}

/* It has been told that it would get votes; that it wants them the late one is not told. Two terms
 * later that one asks for a term that is over for it. */
void simplay_on_candidate(struct sim *sim, unsigned id)
{
    struct sim_split *split = &sim->split;
    if (!split->is_on || id == split->late || id == split->leader) {
        split->is_on = false;
        return;
    }
    sim_at(sim, 0, &(struct sim_event){.run = on_not_heard, .a = id, .b = split->late});
    sim_at(sim, 20 * SIM_MS, &(struct sim_event){.run = on_heard_again, .a = id, .b = split->late});
    if (++split->raises == 2) {
        split->is_on = false;
        sim_at(sim, 30 * SIM_MS,
               &(struct sim_event){.run = on_arrives_late, .a = split->leader, .b = split->late});
    }
}

void simplay_split(struct sim *sim)
{
    const struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->options.members != 4) {
        return;
    }
    unsigned late = some_other(sim, leader->id);
    sim_note(sim, "play: split", leader->id, late);
    simnet_hold(sim, leader->id, late);
    hear_only(sim, leader->id, late);
    sim->split = (struct sim_split){.is_on = true, .leader = leader->id, .late = late};
    join_later(sim, SIMPLAY_SPLIT_MS, SIMPLAY_SPLIT_MS);
}

/* ---- members ---- */

void simplay_crash_in_change(struct sim *sim)
{
    struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || sim->options.members < 2) {
        return;
    }
    sim_note(sim, "play: crash in a change", leader->id, 0);
    stall_disk(sim, leader->id, 200, 1000);
    simnemesis_fewer_voters(leader);
    later(sim, sim_between(sim, 2, 200) * SIM_MS, leader->id, 0, on_crash);
}

void simplay_newcomer(struct sim *sim)
{
    const struct simmember *leader = simmember_leader(sim);
    if (leader == NULL || leader->disk.first_index > 1 || sim->options.members < 2) {
        return;
    }
    const struct node_member *members;
    size_t count = node_members(leader->now->node, &members);
    unsigned id = some_other(sim, leader->id);
    for (size_t i = 0; i < count; i++) {
        if (members[i].id == id) {
            return;
        }
    }
    sim_note(sim, "play: newcomer", leader->id, id);
    simnet_echo(sim, leader->id, id, NEWCOMER_MS * SIM_MS, ECHO_MS * SIM_MS);
    simnemesis_change(sim, id);
}
