/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_NODE_STATE_H
#define RAFT_NODE_STATE_H

#include "raft/node.h"
#include "raft/raftio.h"
#include "raft/readindex.h"

/* Private to node.c, nodepeers.c (who is in the configuration, and how to reach them) and
 * nodechange.c (changes of the configuration, leadership handed over). */

#define ADDRESS_BYTES_MAX NODE_ADDRESS_SIZE

/* A peer that the transport was told of. */
struct peer {
    uint64_t id;
    char address[ADDRESS_BYTES_MAX];
    uint64_t connected_since_ms; /* 0: not connected */
};

/* What node_set_addresses said. */
struct known_address {
    uint64_t id;
    char address[ADDRESS_BYTES_MAX];
};

/* The configuration as the doors show it; the one before is kept for whoever still looks at it. */
struct members {
    struct node_member items[MEMBERS_MAX];
    char addresses[MEMBERS_MAX][ADDRESS_BYTES_MAX];
    size_t count;
};

/* Something asked for, one at a time, whose outcome comes at the end of a turn. */
struct pending {
    void (*cb)(void *ctx, enum err status); /* NULL: nothing is asked */
    void *ctx;
    bool done;
    enum err status;
};

struct node {
    struct env *env;
    struct logger *log;
    const struct node_callbacks *callbacks;
    void *ctx;
    struct raftio *io;
    struct transport *transport;
    struct readindex readindex;
    struct raft_buffer bootstrap;

    struct queue proposed; /* in the log, by index */
    struct queue answered; /* waiting for their callback */
    struct queue refused;
    uint64_t proposed_term;
    struct env_task notify;

    /* What state_changed said last. */
    enum node_role role;
    uint64_t term;
    uint64_t leader_id;

    /* The configuration that members and peers were made from. */
    const struct raft_server *servers;
    unsigned server_count;
    uint64_t configuration_index;
    uint64_t uncommitted_index;
    struct members members[2];
    unsigned members_now;
    struct peer peers[MEMBERS_MAX];
    size_t peer_count;
    struct known_address known[MEMBERS_MAX];
    size_t known_count;

    struct pending change;
    uint64_t change_id; /* a member being added: a spare that shall be a learner */
    bool change_add;
    bool change_added;
    struct pending transfer;
    uint64_t transfer_until_ms;
    uint64_t leave_again_ms; /* not handed over before for a disk that stands still */

    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static inline const struct raft *core_of(const struct node *node)
{
    return raftio_core(node->io);
}

/* nodepeers.c: after the core was left. */
void nodepeers_follow(struct node *node);
void nodepeers_add(struct node *node, uint64_t id, const char *address);
enum member_role nodepeers_role_of(int role); /* of the core's */
void nodepeers_on_link(struct node *node, uint64_t id, bool up);
MUST_CHECK enum err nodepeers_encode_first(const struct node_config *config,
                                           struct raft_buffer *ret, struct why *why);
const char *nodepeers_own_address(const struct node_config *config);

/* nodechange.c. */
void nodechange_on_changed(void *ctx, enum err status);
void nodechange_on_transferred(void *ctx);
void nodechange_tick(struct node *node);
void nodechange_continue(struct node *node); /* the second step of adding a member */
void nodechange_resolve(struct node *node, struct pending *pending, enum err status);
void nodechange_call_back(struct node *node);

#endif
