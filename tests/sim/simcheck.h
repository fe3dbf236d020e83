/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMCHECK_H
#define TESTS_SIM_SIMCHECK_H

#include "tests/sim/simmember.h"

/* What must hold at every step; whoever sees it broken calls sim_fail.
 *
 *   1. at most one leader in a term
 *   2. log matching: an index and a term name one entry, and one entry before it, on all disks
 *   3. a commit index never goes back, and what is committed at an index stays that
 *   4. all members apply the same commands, each at the same index, none twice
 *   5. what was acknowledged is applied, by everyone, where it was acknowledged;
 *      what was refused is not
 *   6. a read sees what was acknowledged before it began, and what an earlier read saw
 *   7. nobody votes twice in a term, and no term goes back (simdisk)
 *   8. a log that holds what members lack never forces one of them to a snapshot
 *   9. after the last fault all catch up in time (simclients)
 *  10. who begins to lead counts those whom the newest configuration in its log names
 *  11. a leader changes no configuration before an entry of its term is committed (Ongaro's
 *      correction to the thesis, 4.1)
 *  12. a snapshot has the configuration that was committed last, up to its index
 *  13. what a member takes for stored is on its disk
 *  14. what a majority has is committed when, three election timeouts later, it has more
 *  15. who has heard of nobody since it stood for election does not stand again
 *  16. no message is larger than what may be sent at once */
struct simcheck;

void simcheck_init(struct sim *sim);
void simcheck_end(struct sim *sim);

/* An entry has reached a disk; TERM_BEFORE is that of the entry before it, 0: unknown. */
void simcheck_stored(struct sim *sim, unsigned member, uint64_t index, const struct simentry *entry,
                     uint64_t term_before);
void simcheck_snapshot(struct sim *sim, unsigned member, const struct log_snapshot *snapshot);

/* STATE: the member's, with the command in it. */
void simcheck_applied(struct sim *sim, unsigned member, uint64_t index, uint64_t term, uint64_t id,
                      const struct simstate *state);
void simcheck_restored(struct sim *sim, unsigned member, const struct simstate *state);
/* It was sent a state because the log had no more what it lacked: not where members hold it all,
 * and nobody comes new. */
void simcheck_fell_behind(struct sim *sim, unsigned member, uint64_t held_entries);

/* The state after all commands up to INDEX, as whoever applied them first had it. */
const struct simstate *simcheck_state_at(struct sim *sim, uint64_t index);

/* The term of the command at INDEX. */
uint64_t simcheck_term_at(struct sim *sim, uint64_t index);

/* A member votes for itself; a message of Raft is on its way. */
void simcheck_stands(struct sim *sim, unsigned member);
void simcheck_sent(struct sim *sim, unsigned member, size_t bytes);

/* After a member did something. */
void simcheck_member(struct simmember *member);

void simcheck_acked(struct sim *sim, uint64_t id, uint64_t index);
void simcheck_refused(struct sim *sim, uint64_t id);

/* The least index that a read which begins now may answer with; and a read that answered, at a
 * member that has applied SEEN. */
uint64_t simcheck_read_begins(struct sim *sim);
void simcheck_read_ends(struct sim *sim, unsigned member, uint64_t least, uint64_t index,
                        uint64_t seen);

#endif
