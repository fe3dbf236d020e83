/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/guard.h"

#include <limits.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/plant.h"
#include "base/trace.h"
#include "raft/frame.h"

/* Who is bare stands for election when nobody was elected for so many election timeouts: others
 * stand after one or two. */
#define BARE_ELECTIONS 2u

static uint32_t planted_rules(void)
{
    uint32_t mask = 0;
    mask |= (uint32_t)PLANTED(GUARD_VERIFIED_ACK) << GUARD_VERIFIED_ACK;
    mask |= (uint32_t)PLANTED(GUARD_OWN_TERM_COMMIT) << GUARD_OWN_TERM_COMMIT;
    mask |= (uint32_t)PLANTED(GUARD_ONE_VOTE) << GUARD_ONE_VOTE;
    mask |= (uint32_t)PLANTED(GUARD_CAMPAIGN_SETTLED) << GUARD_CAMPAIGN_SETTLED;
    mask |= (uint32_t)PLANTED(GUARD_CONFIG_ROLLBACK) << GUARD_CONFIG_ROLLBACK;
    mask |= (uint32_t)PLANTED(GUARD_COMMIT_AT_MAJORITY) << GUARD_COMMIT_AT_MAJORITY;
    mask |= (uint32_t)PLANTED(GUARD_SEND_SUCCEEDS) << GUARD_SEND_SUCCEEDS;
    mask |= (uint32_t)PLANTED(GUARD_SOLE_VOTER_TERM) << GUARD_SOLE_VOTER_TERM;
    mask |= (uint32_t)PLANTED(GUARD_REPLACE_SETTLED) << GUARD_REPLACE_SETTLED;
    mask |= (uint32_t)PLANTED(GUARD_VOTERS_VOTE) << GUARD_VOTERS_VOTE;
    mask |= (uint32_t)PLANTED(GUARD_CHANGE_STORED) << GUARD_CHANGE_STORED;
    mask |= (uint32_t)PLANTED(GUARD_CHANGE_AFTER_BARRIER) << GUARD_CHANGE_AFTER_BARRIER;
    mask |= (uint32_t)PLANTED(GUARD_BELOW_LOG) << GUARD_BELOW_LOG;
    mask |= (uint32_t)PLANTED(GUARD_SNAPSHOT_CONFIG) << GUARD_SNAPSHOT_CONFIG;
    mask |= (uint32_t)PLANTED(GUARD_PRE_VOTE_AGAIN) << GUARD_PRE_VOTE_AGAIN;
    mask |= (uint32_t)PLANTED(GUARD_FLOW) << GUARD_FLOW;
    mask |= (uint32_t)PLANTED(GUARD_PRE_VOTE_TERM) << GUARD_PRE_VOTE_TERM;
    return mask;
}

void guard_init(struct guard *guard, struct raft *core, struct env *env, struct logger *log,
                struct confhist *history, uint32_t off_mask)
{
    *guard = (struct guard){.core = core,
                            .env = env,
                            .log = log,
                            .history = history,
                            .off_mask = off_mask | planted_rules()};
}

uint64_t guard_last_stored(const struct guard *guard)
{
    return guard->true_last_stored != 0 ? guard->true_last_stored : guard->core->last_stored;
}

bool guard_leads(const struct guard *guard)
{
    const struct raft *r = guard->core;
    if (r->state != RAFT_LEADER || guard->bare) {
        return false;
    }
    if (!guard_on(guard, GUARD_OWN_TERM_COMMIT)) {
        return true;
    }
    return guard->barrier_term == r->current_term && r->last_applied >= guard->barrier_index;
}

static bool lacks_applied(const struct guard *guard)
{
    return core_last_index(guard->core) < guard->applied_index;
}

static bool disk_is_busy(const struct guard *guard)
{
    return guard->appends > 0 || core_installing(guard->core);
}

/* ---- elections ---- */

static bool is_sole_voter(const struct raft *r)
{
    unsigned voters = 0;
    bool self = false;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].role == RAFT_VOTER) {
            voters++;
            self = self || r->configuration.servers[i].id == r->id;
        }
    }
    return self && voters == 1;
}

static bool election_timer_expired(const struct raft *r, raft_time now)
{
    unsigned timeout = r->state == RAFT_FOLLOWER ? r->follower_state.randomized_election_timeout
                                                 : r->candidate_state.randomized_election_timeout;
    return now - r->election_timer_start >= timeout;
}

/* The core would elect itself in the term that it has: give it a new one, with its own vote. */
static void enter_new_term(struct guard *guard)
{
    struct raft *r = guard->core;
    uint64_t term = r->current_term + 1;
    int rv = r->io->set_term(r->io, term);
    ASSERT(rv == 0);
    rv = r->io->set_vote(r->io, r->id);
    ASSERT(rv == 0);
    r->current_term = term;
    r->voted_for = r->id;
}

/* A leader that was not heard of for the shortest election timeout is no reason any more to refuse
 * a vote (Raft thesis 4.2.3). */
static void forget_silent_leader(struct guard *guard)
{
    struct raft *r = guard->core;
    if (r->state == RAFT_FOLLOWER && r->follower_state.current_leader.id != 0 &&
        r->io->time(r->io) - r->election_timer_start >= r->election_timeout) {
        r->follower_state.current_leader.id = 0;
        raft_free(r->follower_state.current_leader.address);
        r->follower_state.current_leader.address = NULL;
    }
}

/* The core draws a time of its own when it begins to follow, and here it gets longer. */
static void let_others_stand(struct raft *r)
{
    unsigned *timeout = &r->follower_state.randomized_election_timeout;
    if (*timeout < BARE_ELECTIONS * r->election_timeout) {
        *timeout += BARE_ELECTIONS * r->election_timeout;
    }
}

/* Who lacks what it has applied does not stand. That its leader is silent it notices as anybody
 * does, for it has a vote: so it is not the timer that is held. */
static void hold_back(struct guard *guard)
{
    struct raft *r = guard->core;
    unsigned *timeout = &r->follower_state.randomized_election_timeout;
    if (lacks_applied(guard)) {
        *timeout = UINT_MAX;
    } else if (*timeout == UINT_MAX) {
        *timeout =
            (unsigned)r->io->random(r->io, (int)r->election_timeout, 2 * (int)r->election_timeout);
    }
}

static void before_tick_of_follower(struct guard *guard, raft_time now)
{
    struct raft *r = guard->core;
    if (guard_on(guard, GUARD_VOTERS_VOTE)) {
        forget_silent_leader(guard);
    }
    if ((guard_on(guard, GUARD_CAMPAIGN_SETTLED) && disk_is_busy(guard)) ||
        (guard->bare && is_sole_voter(r))) {
        r->election_timer_start = now;
    }
    hold_back(guard);
    if (guard->bare) {
        let_others_stand(r);
    }
    if (guard_on(guard, GUARD_SOLE_VOTER_TERM) && is_sole_voter(r) &&
        election_timer_expired(r, now)) {
        enter_new_term(guard);
    }
}

void guard_before_tick(struct guard *guard)
{
    struct raft *r = guard->core;
    raft_time now = r->io->time(r->io);
    if (r->state == RAFT_FOLLOWER) {
        before_tick_of_follower(guard, now);
    } else if (r->state == RAFT_CANDIDATE && guard_on(guard, GUARD_PRE_VOTE_AGAIN) &&
               election_timer_expired(r, now)) {
        r->candidate_state.in_pre_vote = r->pre_vote;
        r->candidate_state.disrupt_leader = false;
    }
}

/* raft_start elects the only voter at once, inside itself and in the old term. It does not when we
 * are no voter; then our first tick does it, in a new term. */
void guard_before_self_election(struct guard *guard)
{
    struct raft *r = guard->core;
    if (guard_on(guard, GUARD_SOLE_VOTER_TERM) && is_sole_voter(r)) {
        struct raft_server *self = core_server(r, r->id);
        guard->role_lent = true;
        guard->role = self->role;
        self->role = RAFT_SPARE;
    }
}

void guard_started(struct guard *guard)
{
    struct raft *r = guard->core;
    if (guard->role_lent) {
        guard->role_lent = false;
        core_server(r, r->id)->role = guard->role;
        r->follower_state.randomized_election_timeout = 0; /* at the first tick */
    }
    /* The core takes the newest configuration for a committed one. */
    uint64_t newest = confhist_last_index(guard->history);
    if (guard_on(guard, GUARD_CONFIG_ROLLBACK) && newest > r->commit_index) {
        const struct confhist_item *before = confhist_at(guard->history, newest - 1);
        if (before != NULL) {
            r->configuration_index = before->index;
            r->configuration_uncommitted_index = newest;
        }
    }
    guard->commit_index = r->commit_index;
}

static bool before_vote(struct guard *guard, const struct raft_request_vote *vote)
{
    struct raft *r = guard->core;
    bool voted = r->voted_for != 0 && r->voted_for != vote->candidate_id;
    if (guard_on(guard, GUARD_ONE_VOTE) && !vote->pre_vote && vote->term == r->current_term &&
        voted) {
        return false;
    }
    if (vote->last_log_index < guard->applied_index) {
        return false;
    }
    if (guard_on(guard, GUARD_VOTERS_VOTE)) {
        forget_silent_leader(guard);
        struct raft_server *self = core_server(r, r->id);
        if (self != NULL && self->role != RAFT_VOTER && r->state == RAFT_FOLLOWER) {
            guard->role_lent = true;
            guard->role = self->role;
            self->role = RAFT_VOTER;
        }
    }
    return true;
}

static bool before_timeout_now(struct guard *guard, const struct raft_message *message)
{
    if (guard->bare || lacks_applied(guard)) {
        return false;
    }
    if (guard_on(guard, GUARD_SOLE_VOTER_TERM) && is_sole_voter(guard->core)) {
        return false;
    }
    if (guard_on(guard, GUARD_CAMPAIGN_SETTLED) && disk_is_busy(guard)) {
        guard->timeout_now_held = true;
        guard->timeout_now = *message;
        return false;
    }
    return true;
}

bool guard_take_held(struct guard *guard, struct raft_message *ret)
{
    if (!guard->timeout_now_held || disk_is_busy(guard)) {
        return false;
    }
    guard->timeout_now_held = false;
    *ret = guard->timeout_now;
    return true;
}

/* A candidate that asks beforehand takes a term above the one it asked for as ours, and adopts it.
 */
void guard_fix_vote(const struct guard *guard, struct raft_request_vote_result *result)
{
    const struct raft *r = guard->core;
    if (guard_on(guard, GUARD_PRE_VOTE_TERM) && result->pre_vote == raft_tribool_true &&
        result->term < r->current_term) {
        ASSERT(!result->vote_granted);
        result->term = r->current_term;
    }
}

/* ---- the follower's log ---- */

void guard_drop_entries(struct raft_append_entries *append)
{
    raft_free(append->entries);
    append->entries = NULL;
    append->n_entries = 0;
}

/* The first entry of the message that contradicts ours, 0: none. */
static uint64_t first_conflict(const struct raft *r, const struct raft_append_entries *append)
{
    for (unsigned i = 0; i < append->n_entries; i++) {
        uint64_t index = append->prev_log_index + 1 + i;
        uint64_t term = core_term_of(r, index);
        if (term == 0) {
            return 0;
        }
        if (term != append->entries[i].term) {
            return index;
        }
    }
    return 0;
}

/* Make what applied before INDEX the configuration, because INDEX and what follows will go. */
static void roll_back_configuration(struct guard *guard, uint64_t index)
{
    struct raft *r = guard->core;
    if (confhist_last_index(guard->history) < index) {
        return;
    }
    const struct confhist_item *item = confhist_at(guard->history, index - 1);
    if (item == NULL) {
        fatal("raft: no configuration is known before index %llu", (unsigned long long)index);
    }
    struct raft_configuration configuration;
    enum err err = configuration_decode(blob_bytes(item->encoded), &configuration);
    ASSERT(err == OK); /* checked when it came in */
    raft_configuration_close(&r->configuration);
    r->configuration = configuration;
    r->configuration_index = item->index;
    r->configuration_uncommitted_index = 0;
    TRACE(guard->env, "guard: configuration rolled back", index, item->index);
}

static void note_verified(struct guard *guard, uint64_t term, uint64_t index)
{
    if (guard->verified_term != term) {
        guard->verified_term = term;
        guard->verified_index = 0;
    }
    if (index > guard->verified_index) {
        guard->verified_index = index;
    }
}

static bool before_append(struct guard *guard, struct raft_append_entries *append)
{
    struct raft *r = guard->core;
    if (append->term < r->current_term) {
        return true;
    }
    if (append->term == r->current_term && r->state == RAFT_LEADER) {
        fatal("raft: two leaders in term %llu", (unsigned long long)append->term);
    }
    if (guard_on(guard, GUARD_BELOW_LOG) && append->n_entries > 0 && append->prev_log_index == 0 &&
        r->log.offset > 0) {
        guard_drop_entries(append);
    }
    bool matches = append->prev_log_index == 0 ||
                   core_term_of(r, append->prev_log_index) == append->prev_log_term;
    if (!matches || (core_installing(r) && append->n_entries > 0)) {
        return true; /* the core rejects the one and ignores the other */
    }
    uint64_t conflict = first_conflict(r, append);
    if (conflict != 0 && guard_on(guard, GUARD_REPLACE_SETTLED) && guard->appends > 0) {
        guard_drop_entries(append);
    } else if (conflict != 0 && guard_on(guard, GUARD_CONFIG_ROLLBACK)) {
        roll_back_configuration(guard, conflict);
    }
    uint64_t reach = append->prev_log_index + append->n_entries;
    if (guard_on(guard, GUARD_VERIFIED_ACK) && append->leader_commit > reach) {
        append->leader_commit = reach;
    }
    note_verified(guard, append->term, reach);
    return true;
}

static bool before_snapshot(struct guard *guard, const struct raft_install_snapshot *snapshot)
{
    const struct raft *r = guard->core;
    if (snapshot->term < r->current_term) {
        return true;
    }
    if (guard_on(guard, GUARD_REPLACE_SETTLED) && guard->appends > 0) {
        return false;
    }
    if (r->snapshot.pending.term != 0 || r->snapshot.put.data != NULL) {
        return true; /* the core ignores it while one is on its way to the disk */
    }
    note_verified(guard, snapshot->term, snapshot->last_index);
    return true;
}

void guard_before_install(struct guard *guard)
{
    if (guard_on(guard, GUARD_CONFIG_ROLLBACK)) {
        guard->core->configuration_uncommitted_index = 0;
    }
}

bool guard_commit_first(const struct guard *guard, const struct raft_append_entries *append,
                        struct raft_append_entries *ret)
{
    const struct raft *r = guard->core;
    if (!guard_on(guard, GUARD_FLOW) || r->state != RAFT_FOLLOWER || append->n_entries == 0 ||
        append->term != r->current_term || guard->verified_term != append->term) {
        return false;
    }
    uint64_t index = append->leader_commit;
    index = index < guard->verified_index ? index : guard->verified_index;
    index = index < r->last_stored ? index : r->last_stored;
    if (index <= r->commit_index) {
        return false;
    }
    *ret = (struct raft_append_entries){.term = append->term,
                                        .prev_log_index = index,
                                        .prev_log_term = core_term_of(r, index),
                                        .leader_commit = index};
    return true;
}

/* The entry at REJECTED is known not to match. Where an entry before it may: not among those of
 * terms after that which the leader's log has at REJECTED; and at the latest at what is committed.
 * One answer passes over a whole term. */
static uint64_t may_match(const struct guard *guard, uint64_t rejected)
{
    const struct raft *r = guard->core;
    uint64_t index = rejected - 1;
    while (index > r->commit_index && core_term_of(r, index) > guard->asked_term) {
        index--;
    }
    return index > r->commit_index ? index : r->commit_index;
}

void guard_fix_result(struct guard *guard, struct raft_append_entries_result *result,
                      struct frame_notes *notes)
{
    const struct raft *r = guard->core;
    uint64_t verified = guard->verified_term == r->current_term ? guard->verified_index : 0;
    uint64_t last = core_last_index(r);
    notes->received_index = verified < last ? verified : last;
    if (!guard_on(guard, GUARD_VERIFIED_ACK)) {
        return;
    }
    if (guard->asked_in_term < r->current_term) {
        /* Refused for its term, with ours. Its sender may lead in ours by now, and would take it
         * for a word about what it has sent since. */
        result->rejected = 0;
    }
    if (result->rejected == 0) {
        uint64_t most = verified < r->last_stored ? verified : r->last_stored;
        if (PLANTED(ACK_UNSTORED)) {
            result->last_log_index = most = notes->received_index;
        }
        if (result->last_log_index > most) {
            result->last_log_index = most;
        }
    } else {
        /* Where to go on: at our end, or before what is known not to match. A log that was
         * restarted knows little of what is committed, and the leader may have forgotten what is
         * there. */
        result->last_log_index =
            last < result->rejected ? last : may_match(guard, result->rejected);
        notes->last_term = core_term_of(r, result->last_log_index);
    }
}

/* ---- what the leader commits ---- */

/* The highest index that a majority of the voters has stored, ANSWER of PEER included, and at most
 * what we have STORED ourselves. */
static uint64_t majority_index(const struct raft *r, uint64_t stored, uint64_t peer,
                               uint64_t answer)
{
    uint64_t matches[MEMBERS_MAX]; /* descending */
    unsigned count = 0;
    for (unsigned i = 0; i < r->configuration.n && count < MEMBERS_MAX; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (server->role != RAFT_VOTER) {
            continue;
        }
        uint64_t match = server->id == r->id ? stored : r->leader_state.progress[i].match_index;
        if (server->id == peer && answer > match) {
            match = answer;
        }
        unsigned at = count++;
        for (; at > 0 && matches[at - 1] < match; at--) {
            matches[at] = matches[at - 1];
        }
        matches[at] = match;
    }
    if (count == 0) {
        return 0;
    }
    uint64_t index = matches[count / 2];
    return index < stored ? index : stored;
}

/* The core asks whether last_stored is on a majority. For this message it asks for the index that
 * we give it instead; commit_index, when nothing may be committed. */
static void before_answer(struct guard *guard, uint64_t peer,
                          const struct raft_append_entries_result *result)
{
    struct raft *r = guard->core;
    if (r->state != RAFT_LEADER || result->term != r->current_term || result->rejected != 0) {
        return;
    }
    uint64_t candidate = r->last_stored;
    if (guard_on(guard, GUARD_COMMIT_AT_MAJORITY)) {
        uint64_t last = core_last_index(r);
        candidate = majority_index(r, r->last_stored, peer,
                                   result->last_log_index < last ? result->last_log_index : last);
    }
    if (guard_on(guard, GUARD_OWN_TERM_COMMIT) && core_term_of(r, candidate) != r->current_term) {
        candidate = r->commit_index;
    }
    if (guard->bare) {
        candidate = r->commit_index;
    }
    if (PLANTED(COMMIT_ALONE) && r->commit_index < r->last_stored) {
        r->commit_index = r->last_stored;
    }
    guard->true_last_stored = r->last_stored;
    r->last_stored = candidate > r->commit_index ? candidate : r->commit_index;
}

void guard_before_stored(struct guard *guard, uint64_t index)
{
    struct raft *r = guard->core;
    if (r->state != RAFT_LEADER || guard->bare || !guard_on(guard, GUARD_COMMIT_AT_MAJORITY)) {
        return;
    }
    uint64_t candidate = majority_index(r, index, 0, 0);
    if (candidate > r->commit_index && core_term_of(r, candidate) == r->current_term) {
        r->commit_index = candidate;
    }
}

static void put_barrier(struct guard *guard)
{
    struct raft *r = guard->core;
    if (r->transfer != NULL) {
        /* A transfer away from an earlier leadership of ours: it is over. */
        struct raft_transfer *transfer = r->transfer;
        r->transfer = NULL;
        transfer->cb(transfer);
    }
    int rv = raft_barrier(r, &guard->barrier, NULL);
    if (rv != 0) {
        fatal("raft: the first entry of a term: %s", raft_strerror(rv));
    }
    guard->barrier_term = r->current_term;
    guard->barrier_index = guard->barrier.index;
}

/* ---- doors ---- */

bool guard_before_recv(struct guard *guard, struct raft_message *message)
{
    bool deliver = true;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        guard->asked_in_term = message->append_entries.term;
        guard->asked_term = message->append_entries.prev_log_term;
        deliver = before_append(guard, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        before_answer(guard, message->server_id, &message->append_entries_result);
        break;
    case RAFT_IO_REQUEST_VOTE:
        deliver = before_vote(guard, &message->request_vote);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        deliver = before_snapshot(guard, &message->install_snapshot);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        deliver = before_timeout_now(guard, message);
        break;
    default:
        break;
    }
    if (!deliver) {
        frame_release(message);
    }
    return deliver;
}

void guard_after_recv(struct guard *guard)
{
    struct raft *r = guard->core;
    if (guard->true_last_stored != 0) {
        r->last_stored = guard->true_last_stored;
        guard->true_last_stored = 0;
    }
    if (guard->role_lent) {
        guard->role_lent = false;
        core_server(r, r->id)->role = guard->role;
    }
}

void guard_after(struct guard *guard)
{
    struct raft *r = guard->core;
    if (r->state == RAFT_UNAVAILABLE) {
        fatal("raft: the core gave up in term %llu at index %llu: %s",
              (unsigned long long)r->current_term, (unsigned long long)r->commit_index,
              raft_errmsg(r));
    }
    if (r->state == RAFT_LEADER && !guard->bare && guard->barrier_term != r->current_term &&
        guard_on(guard, GUARD_OWN_TERM_COMMIT)) {
        put_barrier(guard);
    }
    if (r->commit_index < guard->commit_index) {
        fatal("raft: the commit index went back from %llu to %llu",
              (unsigned long long)guard->commit_index, (unsigned long long)r->commit_index);
    }
    guard->commit_index = r->commit_index;
}
