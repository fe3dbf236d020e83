/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_CLUSTER_H
#define FSM_CLUSTER_H

#include "fsm/command.h"

/* The members as the log knows them beside the Raft configuration: names and client URLs, and the
 * cluster version. Kept in memory, written to the store's member and cluster tables. */
struct cluster;

struct cluster_member {
    uint64_t id;
    const char *name; /* empty: not started yet */
    const char *const *peer_urls;
    size_t peer_url_count;
    const char *const *client_urls;
    size_t client_url_count;
    bool learner;
};

MUST_CHECK enum err cluster_new(struct store *store, struct cluster **ret, struct why *why);
void cluster_free(struct cluster *cluster);

/* What the first start says: members with their peer URLs; written once, by the first entry that
 * applies. */
MUST_CHECK enum err cluster_bootstrap(struct cluster *cluster, const struct cluster_member *members,
                                      size_t count);
/* Write what cluster_bootstrap was told, unless it is written; inside store_entry_begin/end. */
MUST_CHECK enum err cluster_save(struct cluster *cluster);

MUST_CHECK enum err cluster_publish(struct cluster *cluster,
                                    const struct command_member_publish *publish);
MUST_CHECK enum err cluster_set_version(struct cluster *cluster, struct bytes version);

/* In order of id; valid until the next change. */
size_t cluster_members(const struct cluster *cluster, const struct cluster_member **ret);
const struct cluster_member *cluster_member(const struct cluster *cluster, uint64_t id);
const char *cluster_version(const struct cluster *cluster); /* "" until decided */

#endif
