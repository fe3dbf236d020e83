/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simclients.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/codec.h"
#include "tests/sim/simcheck.h"
#include "tests/sim/simmember.h"

#define READ_TIMEOUT_MS 3000
#define STORM_PAUSE_US  3000
#define STORM_BYTES_MAX 4096

struct simclients {
    uint64_t next_id;
    uint64_t pause_us; /* between writes, at most */
    uint64_t write_bytes;
    unsigned burst; /* writes of one turn, at most */
    uint64_t storm_until_us;
    uint64_t first_calm_id;
    uint64_t calm_since_us;
    uint64_t recovered_index; /* a write that was proposed when all was calm; 0: none yet */
};

/* ---- writes ---- */

struct sim_write {
    struct proposal proposal;
    struct sim *sim;
    uint64_t id;
};

static void on_proposed(struct proposal *proposal, enum err status)
{
    struct sim_write *write = CONTAINER_OF(proposal, struct sim_write, proposal);
    struct sim *sim = write->sim;
    struct simclients *clients = sim->clients;
    if (status == OK) {
        sim->stats.acked++;
        simcheck_acked(sim, write->id, proposal->index);
        if (sim->calm && write->id >= clients->first_calm_id && clients->recovered_index == 0) {
            clients->recovered_index = proposal->index;
        }
    } else if (status == ERR_NOT_LEADER) {
        simcheck_refused(sim, write->id);
    } else if (status != ERR_LEADER_CHANGED) {
        sim_fail(sim, "write %llu: %s", (unsigned long long)write->id, err_text(status));
    }
    free(write);
}

static bool is_storm(const struct sim *sim)
{
    return sim->clients->storm_until_us > sim->now_us;
}

static void propose(struct simmember *member)
{
    struct sim *sim = member->sim;
    struct sim_write *write = calloc(1, sizeof *write);
    uint64_t most = sim->clients->write_bytes;
    if (is_storm(sim) && most > STORM_BYTES_MAX) {
        most = STORM_BYTES_MAX;
    }
    uint64_t size = sim_between(sim, 8, most);
    struct blob *entry = blob_new(size);
    ASSERT(write != NULL && entry != NULL);
    write->sim = sim;
    write->id = sim->clients->next_id++;
    memset(entry->data, 0, size);
    put_u64(entry->data, write->id);
    node_propose(member->now->node, &write->proposal, entry, on_proposed);
    blob_unref(entry);
}

static void on_write_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    struct simmember *member = sim->members[sim_between(sim, 1, sim->options.members)];
    if (simmember_runs(member) && node_role(member->now->node) != NODE_LEADER) {
        struct simmember *leader = simmember_leader(sim);
        member = leader != NULL && sim_chance(sim, 500) ? leader : member;
    }
    if (simmember_runs(member) && node_role(member->now->node) == NODE_LEADER) {
        uint64_t count = sim_between(sim, 1, sim->clients->burst);
        for (uint64_t i = 0; i < count; i++) {
            propose(member);
        }
        simmember_settle(member);
    }
    sim_at(sim, sim_between(sim, 0, is_storm(sim) ? STORM_PAUSE_US : sim->clients->pause_us),
           &(struct sim_event){.run = on_write_time});
}

void simclients_storm(struct sim *sim, uint64_t ms)
{
    sim->clients->storm_until_us = sim->now_us + ms * SIM_MS;
}

/* ---- reads ---- */

struct sim_read {
    struct read_index request;
    struct simmember *member;
    uint64_t least;
    bool over;
};

/* Not freed: the event of its time limit may come later, and the process ends soon. */
static void on_read(struct read_index *request, enum err status, uint64_t index)
{
    struct sim_read *read = CONTAINER_OF(request, struct sim_read, request);
    struct simmember *member = read->member;
    read->over = true;
    if (status == OK) {
        member->sim->stats.reads++;
        simcheck_read_ends(member->sim, member->id, read->least, index,
                           node_applied_index(member->now->node));
    } else if (status != ERR_NO_LEADER && status != ERR_LEADER_CHANGED) {
        sim_fail(member->sim, "a read: %s", err_text(status));
    }
}

static void on_read_timeout(struct sim *sim, const struct sim_event *event)
{
    (void)sim;
    struct sim_read *read = event->ptr;
    if (!read->over) {
        node_read_index_cancel(read->member->now->node, &read->request);
    }
}

static void begin_read(struct simmember *member)
{
    struct sim *sim = member->sim;
    struct sim_read *read = calloc(1, sizeof *read);
    ASSERT(read != NULL);
    read->member = member;
    read->least = simcheck_read_begins(sim);
    node_read_index(member->now->node, &read->request, on_read);
    sim_at(sim, READ_TIMEOUT_MS * SIM_MS,
           &(struct sim_event){
               .member = member->id, .life = member->life, .run = on_read_timeout, .ptr = read});
}

static void on_read_time(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    struct simmember *member = sim->members[sim_between(sim, 1, sim->options.members)];
    if (simmember_runs(member)) {
        begin_read(member);
        simmember_settle(member);
    }
    sim_at(sim, sim_between(sim, 0, 200 * SIM_MS), &(struct sim_event){.run = on_read_time});
}

/* ---- recovery ---- */

static bool has_caught_up(struct sim *sim, const struct node_member *member)
{
    if (member->role == MEMBER_SPARE) {
        return true;
    }
    const struct simmember *m = sim->members[member->id];
    return m->alive && node_applied_index(m->now->node) >= sim->clients->recovered_index;
}

static void on_recovery_check(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    struct simmember *leader = simmember_leader(sim);
    bool recovered = leader != NULL && sim->clients->recovered_index != 0;
    if (recovered) {
        const struct node_member *members;
        size_t count = node_members(leader->now->node, &members);
        for (size_t i = 0; i < count; i++) {
            recovered = recovered && has_caught_up(sim, &members[i]);
        }
    }
    if (recovered) {
        sim->stats.recovery_ms = (sim->now_us - sim->clients->calm_since_us) / SIM_MS;
        sim->done = true;
        return;
    }
    sim_at(sim, 50 * SIM_MS, &(struct sim_event){.run = on_recovery_check});
}

void simclients_await_recovery(struct sim *sim)
{
    sim->clients->first_calm_id = sim->clients->next_id;
    sim->clients->calm_since_us = sim->now_us;
    sim->clients->recovered_index = 0;
    on_recovery_check(sim, NULL);
}

void simclients_say_why_stuck(struct sim *sim)
{
    fprintf(stderr, "recovered index %llu\n", (unsigned long long)sim->clients->recovered_index);
    for (unsigned id = 1; id <= sim->options.members; id++) {
        const struct node *node = sim->members[id]->now->node;
        fprintf(stderr,
                "member %u: role %d term %llu leader %llu commit %llu applied %llu last %llu, "
                "disk %llu..%llu snapshot %llu, members",
                id, (int)node_role(node), (unsigned long long)node_term(node),
                (unsigned long long)node_leader(node), (unsigned long long)node_commit_index(node),
                (unsigned long long)node_applied_index(node),
                (unsigned long long)node_last_index(node),
                (unsigned long long)sim->members[id]->disk.first_index,
                (unsigned long long)simdisk_last_index(&sim->members[id]->disk),
                (unsigned long long)sim->members[id]->disk.snapshot.index);
        const struct node_member *members;
        size_t count = node_members(node, &members);
        for (size_t i = 0; i < count; i++) {
            fprintf(stderr, " %llu%c", (unsigned long long)members[i].id, "vls"[members[i].role]);
        }
        fprintf(stderr, "\n");
    }
    sim_fail_stuck(sim, "%s in %llu ms after the last fault",
                   sim->clients->recovered_index == 0 ? "no write was acknowledged"
                                                      : "not everyone has caught up",
                   (unsigned long long)sim->options.recovery_ms);
}

void simclients_init(struct sim *sim)
{
    struct simclients *clients = calloc(1, sizeof *clients);
    ASSERT(clients != NULL);
    sim->clients = clients;
    clients->next_id = 1;
    clients->pause_us = sim_between(sim, 2, 40) * SIM_MS;
    clients->burst = (unsigned)sim_between(sim, 1, 5);
    clients->write_bytes = 64;
    if (sim_chance(sim, 50)) { /* few, and so large that messages are split */
        clients->write_bytes = 400 * 1024;
        clients->pause_us = sim_between(sim, 100, 400) * SIM_MS;
    }
    sim_at(sim, 100 * SIM_MS, &(struct sim_event){.run = on_write_time});
    if (sim->options.reads) {
        sim_at(sim, 100 * SIM_MS, &(struct sim_event){.run = on_read_time});
    }
}
