/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_METADATA_H
#define RAFT_METADATA_H

#include "base/env.h"
#include "base/fs.h"

/* Term and vote, which a member must never forget: it would vote twice. The file "metadata" has two
 * copies, each in a page of its own:
 *
 *   0 u64 magic        16 u64 cluster id    32 u64 salt of the log    48 u64 term    64 u32 0
 *   8 u32 version      24 u64 member id     40 u64 sequence number    56 u64 vote    68 u32 CRC-32C
 *  12 u32 0                                                                             of 0 to 67
 *
 * A change is written to the first copy and synced, then to the second and synced, and only then
 * does the caller go on. So at any moment at least one copy holds what the caller relies on:
 *
 *   first  second     what happened                                 what holds
 *   n      n          the usual                                     n
 *   n+1    n          stopped between the two                       n+1: never relied on, but whole
 *   bad    n          stopped in the first write, or damaged        n: what n+1 said was not relied
 * on n      bad        stopped in the second, or damaged             n bad    bad        damaged
 * ERR_CORRUPT else              a write was lost or came back                 ERR_CORRUPT
 *
 * (One alternating copy each would not do: when the newer one is damaged, nobody knows whether its
 * vote was given.) Loading writes both copies anew, the one that is proven to be on disk last. */
struct metadata;

/* Open it; make it when it is not there and MAY_CREATE. ERR_NOT_FOUND, ERR_CORRUPT, ERR_FOREIGN,
 * ERR_VERSION. NO_SYNC: for benchmarks. Blocks, as everything here. */
struct metadata_config {
    struct env *env; /* its random gives the salt */
    struct fs *fs;
    const char *dir;
    uint64_t cluster_id;
    uint64_t member_id;
    bool may_create;
    bool no_sync;
};
MUST_CHECK enum err metadata_open(const struct metadata_config *config, struct metadata **ret,
                                  struct why *why);
void metadata_close(struct metadata *metadata); /* NULL allowed */
void metadata_closep(struct metadata **metadata);

/* Whose the file in DIR is. ERR_NOT_FOUND: there is none; ERR_CORRUPT, ERR_VERSION. */
MUST_CHECK enum err metadata_identity(struct fs *fs, const char *dir, uint64_t *cluster_id,
                                      uint64_t *member_id, struct why *why);

uint64_t metadata_term(const struct metadata *metadata);
uint64_t metadata_vote(const struct metadata *metadata);
uint64_t metadata_salt(const struct metadata *metadata);

/* Was one copy found damaged or unfinished, and mended? */
bool metadata_mended(const struct metadata *metadata);

/* Durable when it returns OK; after an error nothing is known. */
MUST_CHECK enum err metadata_set(struct metadata *metadata, uint64_t term, uint64_t vote,
                                 struct why *why);

#endif
