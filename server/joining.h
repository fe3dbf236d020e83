/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_JOINING_H
#define SERVER_JOINING_H

#include "fsm/cluster.h"
#include "raft/node.h"
#include "server/bootstrap.h"

/* Who joins a cluster that runs was told the members by --initial-cluster, but neither their ids
 * nor its own: those were made when they were added. It asks the others (raft/peerask.h), finds
 * each of the members that it was told among theirs by the peer URLs, and so itself.
 *
 *   answer = format u8, cluster id u64, count u8, count times: member
 *   member = id u64, flags u8 (1 learner, 2 started, 4 votes), name, count u8, peer URLs
 *
 * Texts are varint length and bytes. PRESENT is Raft's configuration: a member votes there before
 * it has told its name. */
void joining_describe(struct buf *buf, uint64_t cluster_id, const struct cluster *cluster,
                      const struct node_member *present, size_t present_count);

struct joining_cluster {
    struct initial_cluster cluster; /* in order of id; addresses are not set */
    bool has_started[MEMBERS_MAX];  /* has told its name: it had data once */
    bool votes[MEMBERS_MAX];        /* for Raft: what it has confirmed counts */
};

/* ERR_MALFORMED, ERR_NOMEM; then nothing is to be freed. */
MUST_CHECK enum err joining_decode(struct bytes answer, struct joining_cluster *ret);
void joining_cluster_fini(struct joining_cluster *cluster);

/* The member that SELF of TOLD is in EXISTING: ids are found, not computed. ERR_INVALID when the
 * members differ, or when that member has started before or votes already: it had data, and must
 * not vote without it. */
MUST_CHECK enum err joining_find(const struct initial_cluster *told,
                                 const struct initial_member *self,
                                 const struct joining_cluster *existing, uint64_t *ret,
                                 struct why *why);

/* A member of a new cluster has no data: has a member with its id started before? */
bool joining_has_started(const struct joining_cluster *existing, uint64_t id);

#endif
