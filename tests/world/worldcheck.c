/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "tests/lib/grow.h"

#define INSIDE_EVERY 400 /* turns of a member */

/* What is known of an index, from whoever was first. */
struct known {
    uint64_t committed_term; /* 0: nobody says that it is */
    uint64_t committed_hash;
    bool applied; /* some member's store has stood here */
    bool in_tables;
    int64_t revision;
    struct set_hash state;
    struct set_hash tables;
};

/* An entry that was in some log. */
struct stored {
    struct map_link link;
    uint64_t index;
    uint64_t term;
    uint64_t term_before;
    uint64_t hash;
};

/* What a member's disk has said, over all its lives. */
struct promise {
    uint64_t id;
    uint64_t term;
    uint64_t vote;
    uint64_t durable_index;
};

struct worldcheck {
    struct known *known; /* by index */
    size_t known_count;
    struct map stored;
    uint64_t *leaders; /* by term */
    size_t leader_count;
    uint64_t committed_index; /* the highest */
    int64_t revision;
    struct promise promises[WORLD_PLACES_MAX + 1]; /* by place */
    uint64_t turns;
};

typedef unsigned long long ull;

void worldcheck_init(struct world *world)
{
    world->check = calloc(1, sizeof *world->check);
    ASSERT(world->check != NULL);
    map_init(&world->check->stored, (struct hash_seed){.k0 = 1, .k1 = 2});
}

static struct known *known_at(struct worldcheck *check, uint64_t index)
{
    return grow_at((void **)&check->known, &check->known_count, sizeof *check->known, index);
}

/* ---- logs ---- */

static struct promise *promise_of(const struct worldmember *member)
{
    struct promise *promise = &member->world->check->promises[member->place];
    if (promise->id != member->id) {
        *promise = (struct promise){.id = member->id};
    }
    return promise;
}

void worldcheck_term(struct worldmember *member, uint64_t term, uint64_t vote)
{
    struct promise *promise = promise_of(member);
    if (term < promise->term) {
        world_fail(member->world, "vote", "the member at %u went back from term %llu to %llu",
                   member->place, (ull)promise->term, (ull)term);
    }
    if (term == promise->term && promise->vote != 0 && vote != promise->vote) {
        world_fail(member->world, "vote",
                   "the member at %u voted for %llx in term %llu, and has %llx now", member->place,
                   (ull)promise->vote, (ull)term, (ull)vote);
    }
    promise->term = term;
    promise->vote = vote;
}

static struct stored *find_stored(struct worldcheck *check, uint64_t index, uint64_t term,
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

void worldcheck_stored(struct worldmember *member, uint64_t index,
                       const struct worldlog_entry *entry, uint64_t term_before)
{
    struct worldcheck *check = member->world->check;
    uint64_t hash = map_hash_u64(&check->stored, index << 20 ^ entry->term);
    struct stored *stored = find_stored(check, index, entry->term, hash);
    if (stored == NULL) {
        stored = calloc(1, sizeof *stored);
        ASSERT(stored != NULL);
        *stored = (struct stored){.index = index, .term = entry->term, .hash = entry->hash};
        enum err err = map_insert(&check->stored, &stored->link, hash);
        ASSERT(err == OK);
    }
    if (stored->hash != entry->hash) {
        world_fail(member->world, "log",
                   "the member at %u stores another entry at index %llu of term %llu",
                   member->place, (ull)index, (ull)entry->term);
    }
    if (stored->term_before == 0) {
        stored->term_before = term_before;
    } else if (term_before != 0 && stored->term_before != term_before) {
        world_fail(member->world, "log",
                   "the member at %u has term %llu before index %llu of term %llu, elsewhere it "
                   "is %llu",
                   member->place, (ull)term_before, (ull)index, (ull)entry->term,
                   (ull)stored->term_before);
    }
}

void worldcheck_truncated(struct worldmember *member, uint64_t index)
{
    if (index <= member->now->commit_index) {
        world_fail(member->world, "commit",
                   "the member at %u cuts its log at %llu, and %llu is committed there",
                   member->place, (ull)index, (ull)member->now->commit_index);
    }
}

/* ---- commits ---- */

static void check_committed(struct worldmember *member, uint64_t index)
{
    const struct worldlog_entry *entry = worldlog_at(&member->now->log, index);
    if (entry == NULL) {
        return; /* it came with a state */
    }
    struct known *known = known_at(member->world->check, index);
    if (known->committed_term == 0) {
        known->committed_term = entry->term;
        known->committed_hash = entry->hash;
    }
    if (known->committed_term != entry->term || known->committed_hash != entry->hash) {
        world_fail(member->world, "commit",
                   "the member at %u has an entry of term %llu committed at %llu, elsewhere it is "
                   "one of term %llu",
                   member->place, (ull)entry->term, (ull)index, (ull)known->committed_term);
    }
}

static void check_commits(struct worldmember *member, struct node *node)
{
    struct worldcheck *check = member->world->check;
    struct worldlife *now = member->now;
    uint64_t commit_index = node_commit_index(node);
    if (commit_index < now->commit_index) {
        world_fail(member->world, "commit", "the member at %u went back from %llu to %llu",
                   member->place, (ull)now->commit_index, (ull)commit_index);
    }
    for (uint64_t index = now->commit_index + 1; index <= commit_index; index++) {
        check_committed(member, index);
    }
    now->commit_index = commit_index;
    if (commit_index > check->committed_index) {
        check->committed_index = commit_index;
    }
    if (node_applied_index(node) > commit_index) {
        world_fail(member->world, "commit", "the member at %u has applied %llu, committed is %llu",
                   member->place, (ull)node_applied_index(node), (ull)commit_index);
    }
}

static void check_leader(struct worldmember *member, struct node *node)
{
    struct worldcheck *check = member->world->check;
    if (node_role(node) != NODE_LEADER) {
        return;
    }
    uint64_t *leader =
        grow_at((void **)&check->leaders, &check->leader_count, sizeof *leader, node_term(node));
    if (*leader == member->id) {
        return;
    }
    if (*leader != 0) {
        world_fail(member->world, "leader", "%llx and %llx both lead in term %llu", (ull)*leader,
                   (ull)member->id, (ull)node_term(node));
    }
    *leader = member->id;
    world_note(member->world, "member: leads in term", member->place, node_term(node));
    uint64_t index = check->committed_index;
    const struct worldlog_entry *entry = worldlog_at(&member->now->log, index);
    const struct known *known = known_at(check, index);
    bool has_it = index < member->now->log.first_index ||
                  (entry != NULL && entry->term == known->committed_term &&
                   entry->hash == known->committed_hash);
    if (index > 0 && known->committed_term != 0 && known->committed_term < node_term(node) &&
        !has_it) {
        world_fail(member->world, "leader",
                   "the member at %u begins to lead in term %llu without what is committed at %llu",
                   member->place, (ull)node_term(node), (ull)index);
    }
}

/* Who leads has applied that somebody is no learner any more before it makes a voter of it. */
static void check_voters(struct worldmember *member, struct node *node)
{
    if (node_role(node) != NODE_LEADER || !node_ready(node)) {
        return;
    }
    const struct cluster *cluster = server_cluster(member->now->server);
    const struct node_member *members;
    size_t count = node_members(node, &members);
    for (size_t i = 0; i < count; i++) {
        const struct cluster_member *known = cluster_member(cluster, members[i].id);
        if (known != NULL && known->learner && members[i].role == MEMBER_VOTER) {
            world_fail(member->world, "voters",
                       "the leader at %u counts the learner %llx as a voter", member->place,
                       (ull)members[i].id);
        }
    }
}

/* ---- states ---- */

static void check_state(struct worldmember *member, const struct store *store)
{
    struct worldcheck *check = member->world->check;
    uint64_t index = store_applied_index(store);
    if (index == member->now->applied_index) {
        return;
    }
    if (index < member->now->applied_index) {
        world_fail(member->world, "state", "the store at %u went back from %llu to %llu",
                   member->place, (ull)member->now->applied_index, (ull)index);
    }
    member->world->stats.entries += index - member->now->applied_index;
    member->now->applied_index = index;
    struct known *known = known_at(check, index);
    struct set_hash state = store_set_hash(store);
    if (!known->applied) {
        known->applied = true;
        known->state = state;
        known->revision = store_revision(store);
    }
    if (known->revision != store_revision(store) || !set_hash_equal(known->state, state)) {
        world_fail(member->world, "state",
                   "the store at %u is at revision %lld with hash %llx after index %llu, elsewhere "
                   "it is %lld with %llx",
                   member->place, (long long)store_revision(store), (ull)state.lo, (ull)index,
                   (long long)known->revision, (ull)known->state.lo);
    }
    if (store_revision(store) > check->revision) {
        check->revision = store_revision(store);
    }
    world_note(member->world, "member: applied", member->place, index);
}

static void check_tables(struct worldmember *member, const struct store *store)
{
    uint64_t index = store_committed_index(store);
    if (index == member->now->committed_index) {
        return;
    }
    member->now->committed_index = index;
    struct known *known = known_at(member->world->check, index);
    struct set_hash tables = store_tables_hash(store);
    /* Of a row that cannot be found any more, because its key was spoilt, the member takes nothing
     * out when it is written again: it will find that when it looks at all of them, as it starts.
     */
    if (member->disk.was_flipped) {
        return;
    }
    if (!known->in_tables) {
        known->in_tables = true;
        known->tables = tables;
    } else if (!set_hash_equal(known->tables, tables)) {
        world_fail(member->world, "state",
                   "the tables at %u have hash %llx at index %llu, "
                   "elsewhere it is %llx",
                   member->place, (ull)tables.lo, (ull)index, (ull)known->tables.lo);
    }
}

static void check_durable(struct worldmember *member, const struct store *store)
{
    uint64_t durable = store_durable_index(store);
    if (durable > store_applied_index(store)) {
        world_fail(member->world, "durable", "the store at %u: %llu is durable, %llu applied",
                   member->place, (ull)durable, (ull)store_applied_index(store));
    }
    /* A database that was spoilt can be gone as far as SQLite is concerned: then the member is
     * bare. */
    promise_of(member)->durable_index = durable;
    bool may_lack = member->disk.was_flipped && node_bare_index(server_node(member->now->server));
    if (member->now->log.first_index > durable + 1 && !may_lack) {
        world_fail(member->world, "durable",
                   "the log at %u begins at %llu, and its store has but %llu on its disk",
                   member->place, (ull)member->now->log.first_index, (ull)durable);
    }
}

/* What was durable once is there after every crash, unless the disk has been spoilt since. */
static void check_kept(struct worldmember *member, const struct store *store)
{
    const struct promise *promise = promise_of(member);
    uint64_t index = store_durable_index(store);
    if (index < promise->durable_index && !member->disk.was_flipped) {
        world_fail(member->world, "durable",
                   "the store at %u begins with %llu, and %llu was durable before", member->place,
                   (ull)index, (ull)promise->durable_index);
    }
}

/* What a read does not find, or finds changed, was spoilt by somebody: by us, unless the disk did.
 */
static void check_reads(struct worldmember *member, const struct store *store)
{
    const char *damage = store_damage(store);
    if (damage != NULL && !worlddisk_is_sick(&member->disk)) {
        world_fail(member->world, "damage", "the member at %u reads what nobody has spoilt: %s",
                   member->place, damage);
    }
}

void worldcheck_born(struct worldmember *member)
{
    check_kept(member, server_store(member->now->server));
    member->now->commit_index = node_commit_index(server_node(member->now->server));
}

void worldcheck_member(struct worldmember *member)
{
    struct server *server = member->now->server;
    struct node *node = server_node(server);
    const struct store *store = server_store(server);
    check_commits(member, node);
    check_leader(member, node);
    check_voters(member, node);
    check_state(member, store);
    check_tables(member, store);
    check_durable(member, store);
    check_reads(member, store);
    if (++member->world->check->turns % INSIDE_EVERY == 0) {
        store_check(store);
        hub_check(server_hub(server));
    }
}

void worldcheck_copy(struct worldmember *member, const struct store *store, uint64_t index)
{
    const struct known *known = known_at(member->world->check, index);
    struct set_hash state = store_set_hash(store);
    if (store_applied_index(store) != index ||
        (known->applied && !set_hash_equal(known->state, state))) {
        world_fail(member->world, "backup",
                   "a copy at %u of index %llu is at %llu with hash %llx, it should be %llx",
                   member->place, (ull)index, (ull)store_applied_index(store), (ull)state.lo,
                   (ull)known->state.lo);
    }
}

int64_t worldcheck_revision(const struct world *world)
{
    return world->check->revision;
}
