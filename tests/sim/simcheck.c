/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/map.h"
#include "raft/node_state.h"
#include "tests/lib/grow.h"

/* What is known of an index, from whoever was first. */
struct known {
    bool applied; /* a command, or nothing at all yet */
    uint64_t term;
    uint64_t id;
    uint64_t committed_term; /* 0: nobody has it committed on disk yet */
    struct simstate state;   /* after it */
};

enum write_state { WRITE_OPEN, WRITE_ACKED, WRITE_REFUSED };

struct write_known {
    enum write_state state;
    uint64_t acked_index;
    uint64_t applied_index;
};

/* An entry that was on some disk. */
struct stored {
    struct map_link link;
    uint64_t index;
    uint64_t term;
    uint64_t term_before;
    uint64_t content;
};

/* A configuration that is committed. */
struct configuration {
    uint64_t index;
    struct blob *encoded;
};

struct simcheck {
    struct configuration *configurations; /* by index */
    size_t configuration_count;
    struct known *known; /* by index */
    size_t known_count;
    struct write_known *writes; /* by id */
    size_t write_count;
    struct map stored;
    uint64_t *leaders; /* by term */
    size_t leader_count;
    uint64_t acked_index;    /* the highest */
    uint64_t seen_index;     /* the highest that a read saw */
    struct simstate nothing; /* the state at index 0 */
};

typedef unsigned long long ull;

#define ENTRY_HEADER_MAX 16u   /* of an entry in a message */
#define SIM_FRAME_REST   4096u /* of a message: a configuration, an address, numbers */

void simcheck_init(struct sim *sim)
{
    sim->check = calloc(1, sizeof *sim->check);
    ASSERT(sim->check != NULL);
    map_init(&sim->check->stored, (struct hash_seed){.k0 = 1, .k1 = 2});
}

static struct known *known_at(struct simcheck *check, uint64_t index)
{
    return grow_at((void **)&check->known, &check->known_count, sizeof *check->known, index);
}

static struct write_known *write_at(struct simcheck *check, uint64_t id)
{
    return grow_at((void **)&check->writes, &check->write_count, sizeof *check->writes, id);
}

/* ---- disks ---- */

static uint64_t content_of(const struct simentry *entry)
{
    uint64_t hash = mix64(entry->kind + (uint64_t)entry->data->len * 31);
    size_t n = entry->data->len < 256 ? entry->data->len : 256; /* ids come first */
    for (size_t i = 0; i < n; i++) {
        hash = mix64(hash ^ entry->data->data[i]);
    }
    return hash;
}

static struct stored *find_stored(struct simcheck *check, uint64_t index, uint64_t term,
                                  uint64_t hash)
{
    for (struct map_link *link = map_first(&check->stored, hash); link != NULL;
         link = map_next(link)) {
        struct stored *stored = CONTAINER_OF(link, struct stored, link);
        if (stored->index == index && stored->term == term) {
            return stored;
        }
    }
    return NULL;
}

static bool leads(const struct simmember *member, uint64_t term)
{
    const struct node *node = member->now->node;
    return member->alive && node != NULL && node_role(node) == NODE_LEADER &&
           node_term(node) == term;
}

static void check_change(struct sim *sim, unsigned id, uint64_t index, uint64_t term)
{
    const struct simmember *member = sim->members[id];
    if (leads(member, term) &&
        known_at(sim->check, member->now->commit_index)->committed_term != term) {
        sim_fail(sim,
                 "member %u changes the configuration at %llu, and nothing of term %llu is "
                 "committed",
                 id, (ull)index, (ull)term);
    }
}

void simcheck_stored(struct sim *sim, unsigned member, uint64_t index, const struct simentry *entry,
                     uint64_t term_before)
{
    struct simcheck *check = sim->check;
    if (entry->kind == LOG_ENTRY_CHANGE && index > 1) {
        check_change(sim, member, index, entry->term);
    }
    uint64_t hash = map_hash_u64(&check->stored, index << 20 ^ entry->term);
    struct stored *stored = find_stored(check, index, entry->term, hash);
    if (stored == NULL) {
        stored = calloc(1, sizeof *stored);
        ASSERT(stored != NULL);
        stored->index = index;
        stored->term = entry->term;
        stored->content = content_of(entry);
        enum err err = map_insert(&check->stored, &stored->link, hash);
        ASSERT(err == OK);
    }
    if (stored->content != content_of(entry)) {
        sim_fail(sim, "log matching: member %u stores another entry at index %llu of term %llu",
                 member, (ull)index, (ull)entry->term);
    }
    if (stored->term_before == 0) {
        stored->term_before = term_before;
    } else if (term_before != 0 && stored->term_before != term_before) {
        sim_fail(sim,
                 "log matching: member %u has term %llu before index %llu of term %llu, "
                 "elsewhere it is %llu",
                 member, (ull)term_before, (ull)index, (ull)entry->term, (ull)stored->term_before);
    }
}

static struct configuration *configuration_at(struct simcheck *check, uint64_t index)
{
    size_t at = check->configuration_count;
    while (at > 0 && check->configurations[at - 1].index > index) {
        at--;
    }
    return at == 0 ? NULL : &check->configurations[at - 1];
}

/* Members come to it in any order. */
static void note_configuration(struct simcheck *check, uint64_t index, struct blob *encoded)
{
    const struct configuration *before = configuration_at(check, index);
    if (before != NULL && before->index == index) {
        return;
    }
    size_t at = before == NULL ? 0 : (size_t)(before - check->configurations) + 1;
    check->configurations = realloc(check->configurations, (check->configuration_count + 1) *
                                                               sizeof *check->configurations);
    ASSERT(check->configurations != NULL);
    memmove(&check->configurations[at + 1], &check->configurations[at],
            (check->configuration_count - at) * sizeof *check->configurations);
    check->configurations[at] = (struct configuration){index, blob_ref(encoded)};
    check->configuration_count++;
}

void simcheck_snapshot(struct sim *sim, unsigned member, const struct log_snapshot *snapshot)
{
    struct known *known = known_at(sim->check, snapshot->index);
    if (known->committed_term != 0 && known->committed_term != snapshot->term) {
        sim_fail(sim, "member %u takes a snapshot at index %llu of term %llu, it is of %llu",
                 member, (ull)snapshot->index, (ull)snapshot->term, (ull)known->committed_term);
    }
    const struct configuration *is = configuration_at(sim->check, snapshot->index);
    if (is != NULL && (snapshot->configuration_index != is->index ||
                       !bytes_equal(snapshot->configuration, blob_bytes(is->encoded)))) {
        sim_fail(sim,
                 "member %u takes a snapshot at index %llu with the configuration of %llu, it is "
                 "that of %llu",
                 member, (ull)snapshot->index, (ull)snapshot->configuration_index, (ull)is->index);
    }
}

/* ---- commands ---- */

/* Fill the gaps that barriers and configurations leave. */
static struct known *filled(struct simcheck *check, uint64_t index)
{
    struct known *known = known_at(check, index);
    if (known->applied || index == 0) {
        return known;
    }
    uint64_t from = index;
    while (from > 0 && !check->known[from].applied) {
        from--;
    }
    known->state = check->known[from].state;
    return known;
}

const struct simstate *simcheck_state_at(struct sim *sim, uint64_t index)
{
    return &filled(sim->check, index)->state;
}

uint64_t simcheck_term_at(struct sim *sim, uint64_t index)
{
    const struct known *known = known_at(sim->check, index);
    ASSERT(known->applied);
    return known->term;
}

static void first_applied(struct sim *sim, unsigned member, uint64_t index, uint64_t term,
                          uint64_t id, const struct simstate *state)
{
    struct known *known = known_at(sim->check, index);
    struct write_known *write = write_at(sim->check, id);
    if (write->applied_index != 0) {
        sim_fail(sim, "member %u applies write %llu at %llu, it was applied at %llu already",
                 member, (ull)id, (ull)index, (ull)write->applied_index);
    }
    if (write->state == WRITE_REFUSED) {
        sim_fail(sim, "member %u applies write %llu, which was refused", member, (ull)id);
    }
    write->applied_index = index;
    *known = (struct known){.applied = true,
                            .term = term,
                            .id = id,
                            .committed_term = known->committed_term,
                            .state = *state};
}

void simcheck_applied(struct sim *sim, unsigned member, uint64_t index, uint64_t term, uint64_t id,
                      const struct simstate *state)
{
    struct known *known = known_at(sim->check, index);
    if (!known->applied) {
        first_applied(sim, member, index, term, id, state);
        return;
    }
    if (known->id != id || known->term != term) {
        bool lost = write_at(sim->check, known->id)->state == WRITE_ACKED;
        sim_fail(sim, "member %u applies write %llu of term %llu at %llu, where %s %llu of %llu is",
                 member, (ull)id, (ull)term, (ull)index, lost ? "the ACKNOWLEDGED write" : "write",
                 (ull)known->id, (ull)known->term);
    }
    /* After a restart commands come again that the durable state has already. */
    if (state->index == index &&
        (known->state.count != state->count || known->state.hash != state->hash)) {
        sim_fail(sim, "member %u has another state at %llu: %llu commands, not %llu", member,
                 (ull)index, (ull)state->count, (ull)known->state.count);
    }
}

void simcheck_restored(struct sim *sim, unsigned member, const struct simstate *state)
{
    const struct simstate *known = simcheck_state_at(sim, state->index);
    if (known->hash != state->hash || known->count != state->count) {
        sim_fail(sim, "member %u restores a state at %llu that nobody had", member,
                 (ull)state->index);
    }
}

void simcheck_fell_behind(struct sim *sim, unsigned member, uint64_t held_entries)
{
    bool guarded = !sim->options.unguarded && sim->options.guard_off_mask == 0;
    if (held_entries == SIM_HELD_ALL && !sim->options.churn && guarded) {
        sim_fail(sim, "member %u is sent a snapshot: the log has forgotten what it lacks", member);
    }
}

void simcheck_acked(struct sim *sim, uint64_t id, uint64_t index)
{
    struct write_known *write = write_at(sim->check, id);
    const struct known *known = known_at(sim->check, index);
    ASSERT(write->state == WRITE_OPEN);
    write->state = WRITE_ACKED;
    write->acked_index = index;
    if (!known->applied || known->id != id) {
        sim_fail(sim, "write %llu is acknowledged at %llu, where it is not", (ull)id, (ull)index);
    }
    if (index > sim->check->acked_index) {
        sim->check->acked_index = index;
    }
}

void simcheck_refused(struct sim *sim, uint64_t id)
{
    struct write_known *write = write_at(sim->check, id);
    write->state = WRITE_REFUSED;
    if (write->applied_index != 0) {
        sim_fail(sim, "write %llu is refused, but applied at %llu", (ull)id,
                 (ull)write->applied_index);
    }
}

/* ---- reads ---- */

uint64_t simcheck_read_begins(struct sim *sim)
{
    const struct simcheck *check = sim->check;
    return check->acked_index > check->seen_index ? check->acked_index : check->seen_index;
}

void simcheck_read_ends(struct sim *sim, unsigned member, uint64_t least, uint64_t index,
                        uint64_t seen)
{
    if (index > seen) {
        sim_fail(sim, "a read at member %u is answered with index %llu, it has applied %llu",
                 member, (ull)index, (ull)seen);
    }
    if (seen < least) {
        sim_fail(sim, "a read at member %u sees index %llu, %llu was seen before it began", member,
                 (ull)seen, (ull)least);
    }
    if (index < least) {
        sim_fail(sim, "a read at member %u is answered with index %llu, %llu was there before",
                 member, (ull)index, (ull)least);
    }
    if (seen > sim->check->seen_index) {
        sim->check->seen_index = seen;
    }
}

/* ---- members ---- */

static bool has_role(const struct node *node, uint64_t id, int role)
{
    const struct node_member *members;
    size_t count = node_members(node, &members);
    for (size_t i = 0; i < count; i++) {
        if (members[i].id == id) {
            return members[i].role == nodepeers_role_of(role);
        }
    }
    return false;
}

static void check_counted(const struct simmember *member)
{
    const struct node *node = member->now->node;
    const struct node_member *members;
    struct raft_configuration newest;
    enum err err = configuration_decode(simdisk_configuration(&member->disk), &newest);
    ASSERT(err == OK);
    bool same = newest.n == node_members(node, &members);
    for (unsigned i = 0; i < newest.n; i++) {
        same = same && has_role(node, newest.servers[i].id, newest.servers[i].role);
    }
    raft_configuration_close(&newest);
    if (!same) {
        sim_fail(member->sim,
                 "member %u begins to lead in term %llu with another configuration than its log's",
                 member->id, (ull)node_term(node));
    }
}

/* The first configuration counts as stored before it is: who loses it is given it again. */
static void check_is_stored(const struct simmember *member)
{
    const struct raft *r = core_of(member->now->node);
    uint64_t index = r->last_stored;
    const struct simentry *entry = simdisk_entry(&member->disk, index);
    uint64_t term = core_term_of(r, index);
    bool is_gone = entry == NULL && index > simdisk_last_index(&member->disk);
    bool is_other = entry != NULL && term != 0 && entry->term != term;
    if (index > 1 && (is_gone || is_other)) {
        sim_fail(member->sim, "member %u takes %llu of term %llu for stored, its disk ends at %llu",
                 member->id, (ull)index, (ull)term, (ull)simdisk_last_index(&member->disk));
    }
}

/* What more than half of the voters have of the leader's own term, as far as it knows. */
static uint64_t majority_index(const struct node *node)
{
    uint64_t descending[SIM_MEMBERS_MAX + 1];
    unsigned count = 0;
    const struct node_member *members;
    size_t member_count = node_members(node, &members);
    for (size_t i = 0; i < member_count; i++) {
        if (members[i].role != MEMBER_VOTER) {
            continue;
        }
        uint64_t index = node_match_index(node, members[i].id);
        unsigned at = count++;
        for (; at > 0 && descending[at - 1] < index; at--) {
            descending[at] = descending[at - 1];
        }
        descending[at] = index;
    }
    uint64_t index = count == 0 ? 0 : descending[count / 2];
    uint64_t stored = node_match_index(node, node_id(node));
    index = index < stored ? index : stored;
    return core_term_of(core_of(node), index) == node_term(node) ? index : 0;
}

static void check_lag(struct simmember *member)
{
    struct simlife *now = member->now;
    struct sim *sim = member->sim;
    uint64_t index = node_role(now->node) == NODE_LEADER ? majority_index(now->node) : 0;
    uint64_t commit_index = node_commit_index(now->node);
    if (index <= commit_index) {
        now->lag_index = 0;
    } else if (now->lag_index <= commit_index || now->lag_since_us < member->paused_until_us) {
        now->lag_index = index;
        now->lag_since_us = sim->now_us;
    } else if (sim->now_us - now->lag_since_us > 3 * member->settings.election_ms * SIM_MS) {
        sim_fail(sim, "member %u: a majority has had %llu for %llu ms, committed is %llu",
                 member->id, (ull)now->lag_index, (ull)(sim->now_us - now->lag_since_us) / SIM_MS,
                 (ull)commit_index);
    }
}

static bool is_only_voter(const struct node *node)
{
    const struct node_member *members;
    size_t count = node_members(node, &members);
    unsigned voters = 0;
    for (size_t i = 0; i < count; i++) {
        voters += members[i].role == MEMBER_VOTER;
    }
    return voters <= 1;
}

void simcheck_stands(struct sim *sim, unsigned id)
{
    struct simmember *member = sim->members[id];
    struct simlife *now = member->now;
    if (now->node == NULL || is_only_voter(now->node)) {
        return;
    }
    if (now->stood && now->stood_heard == now->heard) {
        sim_fail(sim, "member %u stands for election again in term %llu, and has heard of nobody",
                 id, (ull)member->disk.term);
    }
    now->stood = true;
    now->stood_heard = now->heard;
}

void simcheck_sent(struct sim *sim, unsigned member, size_t bytes)
{
    size_t most = APPEND_BYTES_MAX + APPEND_ENTRIES_MAX * ENTRY_HEADER_MAX + SIM_FRAME_REST;
    if (bytes > most) {
        sim_fail(sim, "member %u sends a message of %llu bytes", member, (ull)bytes);
    }
}

static void check_leader(struct simmember *member)
{
    struct simcheck *check = member->sim->check;
    const struct node *node = member->now->node;
    if (node_role(node) != NODE_LEADER) {
        return;
    }
    uint64_t *leader = grow_at((void **)&check->leaders, &check->leader_count,
                               sizeof *check->leaders, node_term(node));
    if (*leader == 0) {
        *leader = member->id;
        sim_note(member->sim, "check: leader of term", member->id, node_term(node));
        check_counted(member);
    } else if (*leader != member->id) {
        sim_fail(member->sim, "members %llu and %u lead in term %llu", (ull)*leader, member->id,
                 (ull)node_term(node));
    }
}

static void check_committed(struct simmember *member, uint64_t index)
{
    const struct simentry *entry = simdisk_entry(&member->disk, index);
    if (entry == NULL) {
        return; /* compacted, or in a snapshot */
    }
    if (entry->kind == LOG_ENTRY_CHANGE) {
        note_configuration(member->sim->check, index, entry->data);
    }
    struct known *known = known_at(member->sim->check, index);
    if (known->committed_term == 0) {
        known->committed_term = entry->term;
    } else if (known->committed_term != entry->term) {
        sim_fail(member->sim, "member %u commits an entry of term %llu at %llu, it is of term %llu",
                 member->id, (ull)entry->term, (ull)index, (ull)known->committed_term);
    }
}

void simcheck_member(struct simmember *member)
{
    struct simlife *now = member->now;
    check_leader(member);
    check_is_stored(member);
    check_lag(member);
    uint64_t commit_index = node_commit_index(now->node);
    if (commit_index < now->commit_index) {
        sim_fail(member->sim, "member %u: the commit index goes back from %llu to %llu", member->id,
                 (ull)now->commit_index, (ull)commit_index);
    }
    for (uint64_t index = now->commit_index + 1; index <= commit_index; index++) {
        check_committed(member, index);
    }
    if (commit_index > now->commit_index) {
        sim_note(member->sim, "check: committed", member->id, commit_index);
    }
    now->commit_index = commit_index;
}

void simcheck_end(struct sim *sim)
{
    struct simcheck *check = sim->check;
    for (uint64_t id = 0; id < check->write_count; id++) {
        const struct write_known *write = &check->writes[id];
        if (write->state == WRITE_ACKED && write->applied_index != write->acked_index) {
            sim_fail(sim, "write %llu was acknowledged at %llu and applied at %llu", (ull)id,
                     (ull)write->acked_index, (ull)write->applied_index);
        }
    }
}
