/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "raft/node_state.h"

size_t node_members(const struct node *node, const struct node_member **ret)
{
    const struct members *members = &node->members[node->members_now];
    *ret = members->items;
    return members->count;
}

enum member_role nodepeers_role_of(int role)
{
    switch (role) {
    case RAFT_VOTER:
        return MEMBER_VOTER;
    case RAFT_STANDBY:
        return MEMBER_LEARNER;
    default:
        return MEMBER_SPARE;
    }
}

static void set_members(struct node *node, const struct raft_configuration *configuration)
{
    node->members_now ^= 1;
    struct members *members = &node->members[node->members_now];
    members->count = 0;
    for (unsigned i = 0; i < configuration->n && i < MEMBERS_MAX; i++) {
        const struct raft_server *server = &configuration->servers[i];
        size_t at = members->count++;
        strncpy(members->addresses[at], server->address, ADDRESS_BYTES_MAX - 1);
        members->items[at] = (struct node_member){.id = server->id,
                                                  .address = members->addresses[at],
                                                  .role = nodepeers_role_of(server->role)};
    }
}

bool node_has_left(const struct node *node, uint64_t member_id)
{
    const struct raft *r = core_of(node);
    return r->configuration.n > 0 && r->configuration_uncommitted_index == 0 &&
           core_server(core_of(node), member_id) == NULL;
}

static struct peer *find_peer(const struct node *node, uint64_t id)
{
    for (size_t i = 0; i < node->peer_count; i++) {
        if (node->peers[i].id == id) {
            return (struct peer *)(uintptr_t)&node->peers[i];
        }
    }
    return NULL;
}

/* ADDRESS, unless it is known better. */
static const char *present_address(const struct node *node, uint64_t id, const char *address)
{
    for (size_t i = 0; i < node->known_count; i++) {
        if (node->known[i].id == id) {
            return node->known[i].address;
        }
    }
    return node_address_host(address);
}

void nodepeers_add(struct node *node, uint64_t id, const char *configured)
{
    const char *address = present_address(node, id, configured);
    struct peer *peer = find_peer(node, id);
    if (peer == NULL ? node->peer_count == MEMBERS_MAX : strcmp(peer->address, address) == 0) {
        return;
    }
    if (node->transport->ops->add_peer(node->transport, id, address) != OK) {
        LOG_WARN(node->log, "cannot talk to a member", LOG_HEX("member", id),
                 LOG_STR("address", address));
        return;
    }
    if (peer == NULL) {
        peer = &node->peers[node->peer_count++];
        *peer = (struct peer){.id = id};
    }
    memset(peer->address, 0, sizeof peer->address);
    strncpy(peer->address, address, ADDRESS_BYTES_MAX - 1);
}

void nodepeers_on_link(struct node *node, uint64_t id, bool up)
{
    struct peer *peer = find_peer(node, id);
    if (peer != NULL) {
        uint64_t now_ms = env_now_ms(node->env);
        peer->connected_since_ms = !up ? 0 : now_ms == 0 ? 1 : now_ms;
    }
}

uint64_t node_connected_ms(const struct node *node, uint64_t peer_id)
{
    const struct peer *peer = find_peer(node, peer_id);
    if (peer == NULL || peer->connected_since_ms == 0) {
        return 0;
    }
    uint64_t connected_ms = env_now_ms(node->env) - peer->connected_since_ms;
    return connected_ms == 0 ? 1 : connected_ms;
}

void node_set_addresses(struct node *node, const struct node_member *members, size_t count)
{
    ASSERT(count <= MEMBERS_MAX);
    node->known_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (strlen(members[i].address) >= ADDRESS_BYTES_MAX) {
            continue; /* the configuration's must do */
        }
        struct known_address *known = &node->known[node->known_count++];
        known->id = members[i].id;
        strcpy(known->address, members[i].address);
        if (known->id == node_id(node)) {
            raftio_set_address(node->io, known->address);
        } else if (find_peer(node, known->id) != NULL) {
            nodepeers_add(node, known->id, known->address);
        }
    }
}

void node_review_peers(struct node *node)
{
    node->transport->ops->review(node->transport);
}

static void remove_gone_peers(struct node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->peer_count; i++) {
        if (core_server(core_of(node), node->peers[i].id) != NULL) {
            node->peers[kept++] = node->peers[i];
        } else {
            node->transport->ops->remove_peer(node->transport, node->peers[i].id);
        }
    }
    node->peer_count = kept;
}

void nodepeers_follow(struct node *node)
{
    const struct raft *r = core_of(node);
    const struct raft_configuration *configuration = &r->configuration;
    if (configuration->servers == node->servers && configuration->n == node->server_count &&
        r->configuration_index == node->configuration_index &&
        r->configuration_uncommitted_index == node->uncommitted_index) {
        return;
    }
    node->servers = configuration->servers;
    node->server_count = configuration->n;
    node->configuration_index = r->configuration_index;
    node->uncommitted_index = r->configuration_uncommitted_index;
    set_members(node, configuration);
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id != r->id) {
            nodepeers_add(node, configuration->servers[i].id, configuration->servers[i].address);
        }
    }
    if (configuration->n > 0 && r->configuration_uncommitted_index == 0) {
        remove_gone_peers(node);
    }
    if (node->callbacks->members_changed != NULL) {
        node->callbacks->members_changed(node->ctx);
    }
}

/* ---- the first configuration ---- */

/* Every member must make the same bytes of it. */
static int by_id(const void *a, const void *b)
{
    uint64_t left = ((const struct node_member *)a)->id;
    uint64_t right = ((const struct node_member *)b)->id;
    return left < right ? -1 : left > right;
}

enum err nodepeers_encode_first(const struct node_config *config, struct raft_buffer *ret,
                                struct why *why)
{
    if (config->bootstrap_count == 0) {
        return OK;
    }
    if (config->bootstrap_count > MEMBERS_MAX) {
        why_set(why, "a cluster has at most %d members", MEMBERS_MAX);
        return ERR_LIMIT;
    }
    struct node_member sorted[MEMBERS_MAX];
    memcpy(sorted, config->bootstrap, config->bootstrap_count * sizeof sorted[0]);
    qsort(sorted, config->bootstrap_count, sizeof sorted[0], by_id);
    static const int roles[] = {
        [MEMBER_VOTER] = RAFT_VOTER, [MEMBER_LEARNER] = RAFT_STANDBY, [MEMBER_SPARE] = RAFT_SPARE};
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (size_t i = 0; i < config->bootstrap_count && rv == 0; i++) {
        rv = strlen(sorted[i].address) < ADDRESS_BYTES_MAX
                 ? raft_configuration_add(&configuration, sorted[i].id, sorted[i].address,
                                          roles[sorted[i].role])
                 : RAFT_INVALID;
    }
    if (rv == 0) {
        *ret = configuration_encode(&configuration);
    }
    raft_configuration_close(&configuration);
    if (rv != 0) {
        why_set(why, "the first configuration: %s", raft_strerror(rv));
        return ERR_INVALID;
    }
    return OK;
}

const char *nodepeers_own_address(const struct node_config *config)
{
    /* As the configuration has it: raftio learns it from there, too. */
    for (size_t i = 0; i < config->bootstrap_count; i++) {
        if (config->bootstrap[i].id == config->id) {
            return config->bootstrap[i].address;
        }
    }
    return "";
}
