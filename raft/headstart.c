/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/headstart.h"

#define HEARTBEATS_MIN 2

static bool is_voter(const struct raft *core, uint64_t id)
{
    const struct raft_server *server = core_server(core, id);
    return server != NULL && server->role == RAFT_VOTER;
}

static void note(struct headstart *headstart, uint64_t peer, bool up)
{
    size_t at = 0;
    while (at < headstart->voter_count && headstart->voters[at] != peer) {
        at++;
    }
    if (up && at == headstart->voter_count && at < MEMBERS_MAX) {
        headstart->voters[headstart->voter_count++] = peer;
    } else if (!up && at < headstart->voter_count) {
        headstart->voters[at] = headstart->voters[--headstart->voter_count];
    }
}

/* The configuration may have changed since they were noted. */
static bool has_majority(const struct headstart *headstart, const struct raft *core)
{
    size_t connected = 1; /* ourselves */
    size_t all = 0;
    for (size_t i = 0; i < headstart->voter_count; i++) {
        connected += is_voter(core, headstart->voters[i]) ? 1 : 0;
    }
    for (unsigned i = 0; i < core->configuration.n; i++) {
        all += core->configuration.servers[i].role == RAFT_VOTER ? 1 : 0;
    }
    return connected > all / 2;
}

/* Its share comes from the timeout that the core has drawn, one to two election timeouts: who would
 * have stood first does. */
static void hasten(struct headstart *headstart, struct raft *core)
{
    unsigned drawn = core->follower_state.randomized_election_timeout;
    unsigned least = core->election_timeout;
    unsigned share = drawn > least ? (drawn - least) / 2 : 0;
    uint64_t gone = core->io->time(core->io) - core->election_timer_start;
    uint64_t timeout = gone + HEARTBEATS_MIN * core->heartbeat_timeout + share;
    if (timeout < drawn) {
        headstart->drawn_ms = drawn;
        core->follower_state.randomized_election_timeout = (unsigned)timeout;
    }
}

void headstart_on_link(struct headstart *headstart, struct raft *core, uint64_t peer, bool up)
{
    if (headstart->over) {
        return;
    }
    if (core->state != RAFT_FOLLOWER || core->follower_state.current_leader.id != 0) {
        headstart->over = true;
        return;
    }
    note(headstart, peer, up);
    if (is_voter(core, core->id) && has_majority(headstart, core)) {
        headstart->over = true;
        hasten(headstart, core);
    }
}

void headstart_after(struct headstart *headstart, struct raft *core)
{
    if (headstart->drawn_ms == 0) {
        return;
    }
    if (core->state != RAFT_FOLLOWER) {
        headstart->drawn_ms = 0; /* it has drawn anew */
    } else if (core->follower_state.current_leader.id != 0) {
        core->follower_state.randomized_election_timeout = headstart->drawn_ms;
        headstart->drawn_ms = 0;
    }
}
