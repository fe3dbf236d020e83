/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simmember.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/hash.h"
#include "raft/confhist.h"
#include "tests/sim/simcheck.h"

const char *simmember_address(unsigned id)
{
    static const char *const addresses[SIM_MEMBERS_MAX + 1] = {"",   "m1", "m2", "m3", "m4",
                                                               "m5", "m6", "m7", "m8", "m9"};
    return addresses[id];
}

/* ---- the state machine ---- */

static void on_synced(struct sim *sim, const struct sim_event *event)
{
    (void)sim;
    struct simmember *member = event->ptr;
    member->now->syncing = false;
    if (event->a >= member->durable.index) {
        member->durable = *simcheck_state_at(sim, event->a);
    }
}

/* The store writes what it has a little later, and more of it at once. */
static void sync_later(struct simmember *member)
{
    if (member->now->syncing) {
        return;
    }
    member->now->syncing = true;
    sim_at(member->sim, sim_between(member->sim, 100, 150 * SIM_MS),
           &(struct sim_event){.member = member->id,
                               .life = member->life,
                               .run = on_synced,
                               .ptr = member,
                               .a = member->now->state.index});
}

static void on_apply(void *ctx, uint64_t index, uint64_t term, struct bytes entry)
{
    struct simmember *member = ctx;
    struct simstate *state = &member->now->state;
    struct sim *sim = member->sim;
    if (index <= member->now->applied_index) {
        sim_fail(sim, "member %u applies %llu after %llu", member->id, (unsigned long long)index,
                 (unsigned long long)member->now->applied_index);
    }
    if (member->now->node != NULL && node_bare_index(member->now->node) != 0) {
        sim_fail(sim, "member %u applies %llu to nothing", member->id, (unsigned long long)index);
    }
    member->now->applied_index = index;
    sim->stats.applied++;
    struct reader r = reader_of(entry);
    uint64_t id = read_u64(&r);
    ASSERT(!r.failed);
    if (index > state->index) {
        state->index = index;
        state->count++;
        state->hash = mix64(state->hash ^ id) + index;
        sync_later(member);
    }
    simcheck_applied(sim, member->id, index, term, id, state);
}

static uint64_t on_durable_index(void *ctx)
{
    struct simmember *member = ctx;
    return member->durable.index;
}

static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    struct simmember *member = ctx;
    ASSERT(index <= member->durable.index);
    const struct simstate *state = simcheck_state_at(member->sim, index);
    write_u64(data, state->index);
    write_u64(data, state->count);
    write_u64(data, state->hash);
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    struct simmember *member = ctx;
    struct simstate *state = &member->now->state;
    struct reader r = reader_of(manifest);
    struct simstate restored = {.index = read_u64(&r)};
    restored.count = read_u64(&r);
    restored.hash = read_u64(&r);
    if (reader_end(&r) != OK || restored.index > index) {
        why_set(why, "a manifest that nobody wrote");
        return ERR_MALFORMED;
    }
    simcheck_restored(member->sim, member->id, &restored);
    if (state->index < restored.index && member->sim->options.states) {
        why_set(why, "the state ends at %llu, before the log begins",
                (unsigned long long)state->index);
        return ERR_NOT_FOUND;
    }
    if (state->index < restored.index) {
        simcheck_fell_behind(member->sim, member->id, member->settings.held_entries);
        *state = restored;
        member->durable = restored;
    }
    if (member->now->applied_index < index) {
        member->now->applied_index = index;
    }
    return OK;
}

static void on_state_changed(void *ctx, enum node_role role, uint64_t term, uint64_t leader_id)
{
    struct simmember *member = ctx;
    (void)role;
    sim_note(member->sim, "member: state", member->id, term);
    sim_note(member->sim, "member: leader", member->id, leader_id);
}

static void on_app_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    struct simmember *member = ctx;
    if (kind != FRAME_APP || !member->sim->options.states) {
        sim_fail(member->sim, "member %u got a frame that nobody sent, from %llu", member->id,
                 (unsigned long long)peer_id);
    }
    simstate_on_frame(member, (unsigned)peer_id, payload);
}

/* ---- lives ---- */

static size_t first_configuration(const struct sim *sim, struct node_member *ret)
{
    size_t count = 0;
    for (unsigned id = 1; id <= sim->options.members; id++) {
        if (sim->members[id]->bootstraps) {
            ret[count++] = (struct node_member){
                .id = id, .address = simmember_address(id), .role = MEMBER_VOTER};
        }
    }
    return count;
}

static void open_node(struct simmember *member)
{
    static const struct node_callbacks without_states = {
        .apply = on_apply,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .state_changed = on_state_changed,
        .on_frame = on_app_frame,
    };
    static const struct node_callbacks with_states = {
        .apply = on_apply,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .may_restore = simstate_may_restore,
        .want_state = simstate_on_want,
        .state_changed = on_state_changed,
        .on_frame = on_app_frame,
    };
    struct sim *sim = member->sim;
    struct simlife *now = member->now;
    struct node_member first[SIM_MEMBERS_MAX];
    struct node_config config = {
        .env = &now->env.env,
        .raftlog = simdisk_open(&member->disk, member->life),
        .transport = &now->transport.base,
        .id = member->id,
        .bootstrap = first,
        .bootstrap_count = member->bootstraps ? first_configuration(sim, first) : 0,
        .heartbeat_ms = member->settings.heartbeat_ms,
        .election_ms = member->settings.election_ms,
        .snapshot_entries = member->settings.snapshot_entries,
        .snapshot_bytes = 1024 * 1024,
        .trailing_entries = member->settings.trailing_entries,
        .trailing_bytes = 1024 * 1024,
        .held_entries = member->settings.held_entries,
        .held_bytes = UINT64_MAX,
        .head_start = sim->options.head_start,
        .unguarded = sim->options.unguarded,
        .guard_off_mask = sim->options.guard_off_mask,
    };
    struct why why = {0};
    enum err err = node_open(&config, sim->options.states ? &with_states : &without_states, member,
                             &now->node, &why);
    if (err != OK) {
        sim_fail(sim, "member %u does not start: %s: %s", member->id, err_text(err), why.text);
    }
}

/* Does anybody else vote, as far as the disk knows? */
static bool has_others(const struct simdisk *disk)
{
    struct bytes newest = blob_bytes(disk->snapshot.configuration);
    for (size_t i = 0; i < disk->entry_count; i++) {
        if (disk->entries[i].kind == LOG_ENTRY_CHANGE) {
            newest = blob_bytes(disk->entries[i].data);
        }
    }
    struct raft_configuration configuration;
    enum err err = configuration_decode(newest, &configuration);
    ASSERT(err == OK);
    bool found = false;
    for (unsigned i = 0; i < configuration.n; i++) {
        const struct raft_server *server = &configuration.servers[i];
        found = found || (server->role == RAFT_VOTER && server->id != disk->member);
    }
    raft_configuration_close(&configuration);
    return found;
}

/* It can do without its database when its log has everything. When there is nobody to have it from,
 * it refuses to start, and somebody finds the old file. */
static void settle_loss(struct simmember *member)
{
    member->lost = member->lost && member->durable.index < member->disk.snapshot.index;
    if (member->lost && !has_others(&member->disk)) {
        member->durable = member->kept;
        member->lost = false;
    }
    member->sim->stats.losses += member->lost;
}

void simmember_start(struct simmember *member)
{
    ASSERT(!member->alive);
    settle_loss(member);
    member->alive = true;
    member->life++;
    member->paused_until_us = 0;
    sim_note(member->sim, "member: starts", member->id, member->life);
    struct simlife *now = calloc(1, sizeof *now);
    ASSERT(now != NULL);
    member->now = now;
    simenv_init(&now->env, member->sim, member->id, member->life);
    simtransport_init(&now->transport, member->sim, member->id);
    now->state = member->durable;
    open_node(member);
    if (node_bare_index(now->node) != 0) {
        ASSERT(member->lost);
        simstate_lack(member);
    }
    now->commit_index = node_commit_index(now->node);
    simmember_settle(member);
}

void simmember_crash(struct simmember *member)
{
    if (!member->alive) {
        return;
    }
    sim_note(member->sim, "member: crashes", member->id, member->life);
    member->sim->stats.crashes++;
    member->alive = false;
    simdisk_crash(&member->disk);
}

void simmember_lose(struct simmember *member)
{
    ASSERT(!member->alive && !member->lost);
    sim_note(member->sim, "member: loses its database", member->id, member->durable.index);
    member->lost = true;
    member->kept = member->durable;
    member->durable = (struct simstate){0};
}

void simmember_settle(struct simmember *member)
{
    simenv_run_tasks(&member->now->env);
    simcheck_member(member);
}

/* Snapshots that come often and leave little, so that followers fall behind the log, or seldom, so
 * that they catch up with a long one; and logs that hold what a follower lacks. */
static struct simsettings choose_settings(struct sim *sim)
{
    static const uint64_t snapshots[] = {20, 40, 40, 150, 1000};
    static const uint64_t trailings[] = {1, 5, 15, 15, 60, 400};
    static const uint64_t held[] = {0, 0, 30, SIM_HELD_ALL};
    struct simsettings settings = {
        .election_ms = (uint32_t)sim_between(sim, 5, 10) * 100,
        .snapshot_entries = snapshots[sim_between(sim, 0, ARRAY_LEN(snapshots) - 1)],
        .trailing_entries = trailings[sim_between(sim, 0, ARRAY_LEN(trailings) - 1)],
        .held_entries = held[sim_between(sim, 0, ARRAY_LEN(held) - 1)],
    };
    settings.heartbeat_ms = settings.election_ms / 10;
    return settings;
}

void simmember_init_all(struct sim *sim)
{
    unsigned members = sim->options.members;
    struct simsettings settings = choose_settings(sim);
    ASSERT(members >= 1 && members <= SIM_MEMBERS_MAX);
    unsigned voters = members;
    if (sim->options.churn) {
        voters = (unsigned)sim_between(sim, 1, members);
    }
    for (unsigned id = 1; id <= members; id++) {
        struct simmember *member = calloc(1, sizeof *member);
        ASSERT(member != NULL);
        sim->members[id] = member;
        member->sim = sim;
        member->id = id;
        member->bootstraps = id <= voters;
        member->settings = settings;
        simdisk_init(&member->disk, sim, id);
    }
    for (unsigned id = 1; id <= members; id++) {
        simmember_start(sim->members[id]);
    }
}

struct simmember *simmember_leader(struct sim *sim)
{
    struct simmember *leader = NULL;
    for (unsigned id = 1; id <= sim->options.members; id++) {
        struct simmember *member = sim->members[id];
        if (simmember_runs(member) && node_role(member->now->node) == NODE_LEADER &&
            (leader == NULL || node_term(member->now->node) > node_term(leader->now->node))) {
            leader = member;
        }
    }
    return leader;
}
