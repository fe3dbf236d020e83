/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_WORLD_WORLDCHECK_H
#define TESTS_WORLD_WORLDCHECK_H

#include "tests/world/worldmember.h"

/* What must hold inside, at every step. The word is what world_fail calls the checker; what clients
 * see is checked by tests/history.
 *
 *   leader   at most one in a term; who begins to lead has all that is committed
 *   vote     nobody votes twice in a term, and no term goes back, over all lives of a member
 *   voters   no learner of the cluster has a vote
 *   log      an index and a term name one entry, and one entry before it, in all logs
 *   commit   a commit index never goes back, and what is committed at an index stays that;
 *            nothing is applied before
 *   state    the same set-hash and revision of the store at the same applied index, and the same
 *            tables at the same index in SQLite
 *   durable  a log is not forgotten beyond what SQLite has
 *   inside   the invariants of store and hub, now and then */
struct worldcheck;

void worldcheck_init(struct world *world);

/* A life has begun. */
void worldcheck_born(struct worldmember *member);
/* After a member did something. */
void worldcheck_member(struct worldmember *member);

/* Its term and vote are on its disk. VOTE 0: none. */
void worldcheck_term(struct worldmember *member, uint64_t term, uint64_t vote);
/* An entry goes to its disk; TERM_BEFORE is that of the entry before it, 0: unknown. */
void worldcheck_stored(struct worldmember *member, uint64_t index,
                       const struct worldlog_entry *entry, uint64_t term_before);
void worldcheck_truncated(struct worldmember *member, uint64_t index);

/* STORE is a copy of MEMBER's at INDEX. */
void worldcheck_copy(struct worldmember *member, const struct store *store, uint64_t index);

/* The highest revision that any member's store has had. */
int64_t worldcheck_revision(const struct world *world);

#endif
