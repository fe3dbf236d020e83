/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_BOOTSTRAP_H
#define SERVER_BOOTSTRAP_H

#include "base/addr.h"
#include "base/limits.h"

/* The members that a new cluster begins with, from the text of --initial-cluster:
 * "name=url,name=url,...", a name once per URL. Ids are computed as etcd does, so that they are the
 * same for the same URLs and token. */
struct initial_member {
    uint64_t id;
    char *name;
    char **peer_urls; /* sorted */
    size_t peer_url_count;
    char address[ADDR_HOST_MAX + 16]; /* host:port of the first URL: where peers connect */
};

struct initial_cluster {
    uint64_t cluster_id;
    struct initial_member members[MEMBERS_MAX]; /* in order of id */
    size_t count;
};

/* Parse, check (URLs well formed, none twice, at least one member) and compute the ids. */
MUST_CHECK enum err initial_cluster_parse(const char *text, const char *token,
                                          struct initial_cluster *ret, struct why *why);
void initial_cluster_fini(struct initial_cluster *cluster);

/* The member called NAME, or NULL. */
const struct initial_member *initial_cluster_find(const struct initial_cluster *cluster,
                                                  const char *name);

/* In the order that an id is computed in. */
void bootstrap_sort_urls(char **urls, size_t count);

/* First eight bytes, big-endian, of SHA-1 over the sorted URLs and the token. */
uint64_t bootstrap_member_id(char *const *sorted_urls, size_t count, const char *token);
/* The same over the member ids in ascending order, eight bytes big-endian each. */
uint64_t bootstrap_cluster_id(const uint64_t *sorted_ids, size_t count);

#endif
