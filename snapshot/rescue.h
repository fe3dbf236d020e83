/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_RESCUE_H
#define SNAPSHOT_RESCUE_H

#include "raft/logforce.h"
#include "storage/dbrewrite.h"

/* What a member that does not run still has, and a cluster of it alone, when the majority of its
 * own is lost for good: in its log (raft/logforce.h), where a command also removes the others from
 * the table of members. */
struct rescue {
    struct env *env;
    struct fs *fs;
    struct logger *log; /* may be NULL */
    const char *raft_dir;
    const char *store_path;
};

struct rescue_standing {
    struct dbrewrite_state store;
    struct log_standing log;
};
void rescue_standing_fini(struct rescue_standing *standing);

/* ERR_LOCKED: the member runs. ERR_CORRUPT also when log and store do not join. Block. */
MUST_CHECK enum err rescue_look(const struct rescue *rescue, struct rescue_standing *ret,
                                struct why *why);
/* RET is what it was before. */
MUST_CHECK enum err rescue_sole(const struct rescue *rescue, struct rescue_standing *ret,
                                struct why *why);

/* How many of OTHER's entries BEST does not have. */
uint64_t rescue_lacks(const struct log_standing *best, const struct log_standing *other);
/* Is A's log newer, as Raft has it? */
bool rescue_is_newer(const struct log_standing *a, const struct log_standing *b);

#endif
