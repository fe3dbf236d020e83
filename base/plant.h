/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

#include <stdbool.h>

/* Faults that are planted to see whether the tests find them. A place in the code asks
 *
 *     if (!PLANTED(LOG_NOT_SYNCED)) { sync(); }
 *
 * which is a constant false, and nothing in the program, unless configure was given
 * --enable-planted-faults; then still false, unless a test program has selected that one
 * (plant_select). One at a time in a process. scripts/plants tries them all.
 *
 * Each line: the name in the code, the name on the command line, what is wrong with it on. Those
 * that would show at once happen now and then (PLANTED_EVERY). */
#define PLANTS(X)                                                                                \
    /* raft: log, term and vote */                                                               \
    X(LOG_NOT_SYNCED, "log-not-synced", "a group of the raft log is not synced")                 \
    X(VOTE_NOT_SYNCED, "vote-not-synced", "term and vote are not synced")                        \
    X(LOG_TORN_TAIL, "log-torn-tail", "a torn group at the end of the log is taken for whole")   \
    X(LOG_TAIL_LOST, "log-tail-lost", "the last group of a log is forgotten at a start")         \
    X(LOG_TRUNCATE_LOST, "log-truncate-lost", "that entries were replaced is not in the log")    \
    X(LOG_CUT_EARLY, "log-cut-early", "the log is forgotten up to what is applied, not durable") \
    /* raft: replication and reads */                                                            \
    X(ACK_UNSTORED, "ack-unstored", "a follower confirms entries before they are on its disk")   \
    X(COMMIT_ALONE, "commit-alone", "the leader commits what is on its own disk alone")          \
    X(READ_UNCONFIRMED, "read-unconfirmed", "the leader reads without asking a majority")        \
    X(READ_JOINS_ROUND, "read-joins-round", "a read takes part in a round that began before it") \
    X(READ_UNAPPLIED, "read-unapplied", "a read does not wait until its index is applied")       \
    X(READ_OF_FOLLOWER, "read-of-follower", "a follower takes its own commit index for a read")  \
    X(CONFIRM_OLD_TERM, "confirm-old-term", "a confirmation of an earlier round counts")         \
    /* raft: the guard's rules (raft/guard.h), off */                                            \
    X(GUARD_VERIFIED_ACK, "guard-1", "an answer claims entries that were not compared")          \
    X(GUARD_OWN_TERM_COMMIT, "guard-2", "entries of older terms are committed by counting")      \
    X(GUARD_ONE_VOTE, "guard-3", "a member that hands leadership over votes twice")              \
    X(GUARD_CAMPAIGN_SETTLED, "guard-4", "who is writing its log stands for election")           \
    X(GUARD_CONFIG_ROLLBACK, "guard-6", "a configuration that was truncated stays")              \
    X(GUARD_COMMIT_AT_MAJORITY, "guard-7", "a commit waits for the leader's own disk")           \
    X(GUARD_SEND_SUCCEEDS, "guard-9", "the core hears that a message was not sent")              \
    X(GUARD_SOLE_VOTER_TERM, "guard-11", "the only voter leads on in its old term")              \
    X(GUARD_REPLACE_SETTLED, "guard-12", "entries are replaced while they are being written")    \
    X(GUARD_VOTERS_VOTE, "guard-13",                                                             \
      "a learner refuses its vote, a follower waits for its leader")                             \
    X(GUARD_CHANGE_STORED, "guard-14", "a configuration leaves before the leader has stored it") \
    X(GUARD_CHANGE_AFTER_BARRIER, "guard-15",                                                    \
      "members change before the term has a committed entry")                                    \
    X(GUARD_BELOW_LOG, "guard-16", "an append below the log's start is taken")                   \
    X(GUARD_SNAPSHOT_CONFIG, "guard-17", "a snapshot carries the newest configuration")          \
    X(GUARD_PRE_VOTE_AGAIN, "guard-18", "a candidate raises its term again and again")           \
    X(GUARD_FLOW, "guard-19", "the core sends as it likes")                                      \
    X(GUARD_PRE_VOTE_TERM, "guard-20", "a refused pre-vote does not name the later term")        \
    /* the state machine */                                                                      \
    X(APPLY_SKIPS_FIRST, "apply-skips-first", "the first entry after a start is skipped")        \
    X(APPLY_TWICE, "apply-twice", "the first entry after a start is applied twice")              \
    X(APPLY_DIFFERS, "apply-differs", "who proposed a put now and then applies it differently")  \
    X(TXN_COMPARE, "txn-compare", "a comparison with a value holds for every 8th revision")      \
    X(TXN_CREATE, "txn-create", "a comparison with create revision 0 holds for keys that exist") \
    X(PUT_VERSION, "put-version", "a key that is created again goes on with its old version")    \
    X(LEASE_KEY_STAYS, "lease-key-stays", "a lease that ends leaves the last of its keys")       \
    X(LEASE_STALE_END, "lease-stale-end", "a deposed leader's revocation is taken")              \
    /* the member */                                                                             \
    X(FORWARD_TWICE, "forward-twice", "commands are forwarded twice now and then")               \
    X(RETRY_UNKNOWN, "retry-unknown", "a proposal of unknown outcome is made again")             \
    X(UNKNOWN_AS_FAILED, "unknown-as-failed", "a request that timed out is said to have failed") \
    X(LEASE_EARLY, "lease-early", "a new leader does not extend leases")                         \
    X(LEASE_FORGOTTEN, "lease-forgotten", "a leader does not count leases that others granted")  \
    X(LEASE_UNCONFIRMED, "lease-unconfirmed", "who led once renews leases")                      \
    X(LEARNER_VOTES, "learner-votes", "who is added votes at once")                              \
    X(STATE_NOT_SYNCED, "state-not-synced", "a database that was sent is not synced")            \
    X(STATE_LOG_EARLY, "state-log-early", "the log begins anew before the database was taken")   \
    /* the store */                                                                              \
    X(DURABLE_UNSYNCED, "durable-unsynced", "SQLite's files are not synced before it is said")   \
    X(DURABLE_EARLY, "durable-early", "the durable index is that of after the sync")             \
    X(ROW_LOST, "row-lost", "a row in a hundred is not written")                                 \
    X(TABLE_ROW_LOST, "table-row-lost", "a change of a small table in ten is not written")       \
    X(COMPACT_EARLY, "compact-early", "a compaction removes the newest old revision as well")    \
    X(COMPACT_UNPINNED, "compact-unpinned", "a compaction removes what is being read")           \
    X(COMPACT_LEAVES_OLDER, "compact-leaves-older", "a row goes, and what it superseded stays")  \
    X(RING_FORGETS, "ring-forgets", "records leave memory before SQLite has them")               \
    X(DAMAGE_UNSEEN, "damage-unseen", "checksums of rows are not looked at")                     \
    X(DEFRAG_UNSYNCED, "defrag-unsynced", "a rewritten database is not synced")                  \
    X(LEASES_NOT_RELOADED, "leases-not-reloaded", "a replaced database keeps the old leases")    \
    /* watches */                                                                                \
    X(WATCH_LIVE_EARLY, "watch-live-early", "who catches up goes live past a slice")             \
    X(WATCH_PARKED_LATE, "watch-parked-late", "who waits for room goes on one revision later")   \
    X(WATCH_TWICE, "watch-twice", "who catches up is told a slice from its beginning")           \
    X(WATCH_PREV, "watch-prev", "the previous value is the new one")                             \
    X(WATCH_PROGRESS_EARLY, "watch-progress-early", "progress is told before the events")        \
    X(WATCH_COMPACTED, "watch-compacted", "a watch behind a compaction goes on without a word")

enum plant {
    PLANT_NONE,
#define PLANT_ENUM(name, text, what) PLANT_##name,
    PLANTS(PLANT_ENUM)
#undef PLANT_ENUM
        PLANT_COUNT
};

#ifdef TRIVET_PLANTED_FAULTS

/* Is it selected? Then it is counted as reached. */
bool plant_is(enum plant plant);
/* Likewise, but true each Nth time only. */
bool plant_is_every(enum plant plant, unsigned n);

#define PLANTED(name)          plant_is(PLANT_##name)
#define PLANTED_EVERY(name, n) plant_is_every(PLANT_##name, (n))

/* From now on NAME, as on the command line, is on. False: there is none of that name. */
bool plant_select(const char *name);
/* How often the code came to where it is. */
unsigned long long plant_reached(void);
/* Of 1 to PLANT_COUNT - 1. */
const char *plant_name(enum plant plant);
const char *plant_description(enum plant plant);

#else
#define PLANTED(name)          false
#define PLANTED_EVERY(name, n) false
#endif

#endif
