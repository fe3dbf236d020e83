/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_CLUSTER_H
#define FSM_CLUSTER_H

#include "fsm/command.h"

/* The members as clients see them: ids, peer URLs, names, client URLs, who is a learner, whose id
 * is gone for ever; and the cluster version. Kept in memory, written to the store's member and
 * cluster tables. Changes are judged here, one after the other, in the order of the log; the Raft
 * configuration follows (server/membership.h). */
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

/* What the first start says: members with their peer URLs, shown until cluster_init. Forgotten by
 * it: who joins later is not told the same. */
MUST_CHECK enum err cluster_bootstrap(struct cluster *cluster, const struct cluster_member *members,
                                      size_t count);

/* The row of the member table for MEMBER: its key, and its value appended to VALUE. */
#define CLUSTER_ROW_KEY_BYTES 8
void cluster_encode_row(const struct cluster_member *member, uint8_t key[CLUSTER_ROW_KEY_BYTES],
                        struct buf *value);

/* The rest inside store_entry_begin/end. The members that the cluster begins with, once: again it
 * does nothing. Before it no other change is taken (ERR_UNHEALTHY). */
MUST_CHECK enum err cluster_init(struct cluster *cluster, const struct command_member_init *init);
bool cluster_has_begun(const struct cluster *cluster);

/* etcd's rules. ERR_FEW_STARTED (cluster_check_started), ERR_MEMBER_NOT_FOUND (also for a removed
 * id, which never comes back), ERR_MEMBER_EXISTS, ERR_PEER_URL_EXISTS, ERR_MANY_LEARNERS,
 * ERR_NOT_LEARNER, ERR_LIMIT: nothing is changed. The last voter is never removed. */
MUST_CHECK enum err cluster_add(struct cluster *cluster, const struct command_member *member);
MUST_CHECK enum err cluster_remove(struct cluster *cluster, const struct command_member *member);
MUST_CHECK enum err cluster_update(struct cluster *cluster, const struct command_member *member);
MUST_CHECK enum err cluster_promote(struct cluster *cluster, const struct command_member *member);

/* Would enough voters have started (told their name) after this change? For whoever asks before it
 * is proposed; the change itself asks again. */
MUST_CHECK enum err cluster_check_started(const struct cluster *cluster, enum command_kind kind,
                                          const struct command_member *member);

/* A name and client URLs. ERR_MEMBER_NOT_FOUND. */
MUST_CHECK enum err cluster_publish(struct cluster *cluster,
                                    const struct command_member_publish *publish);
MUST_CHECK enum err cluster_set_version(struct cluster *cluster, struct bytes version);

/* In order of id; valid until the next change. */
size_t cluster_members(const struct cluster *cluster, const struct cluster_member **ret);
const struct cluster_member *cluster_member(const struct cluster *cluster, uint64_t id);
bool cluster_is_removed(const struct cluster *cluster, uint64_t id);
const char *cluster_version(const struct cluster *cluster); /* "" until decided */

#endif
