/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HASHCHECK_H
#define SERVER_HASHCHECK_H

#include "base/env.h"
#include "base/limits.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "raft/node.h"
#include "server/hashvote.h"

/* Do all members hold the same? The store keeps two hashes that every write moves on: of all
 * records that were ever applied, known after each entry, and of the small tables, known after each
 * transaction of SQLite. Each member notes both with the index they belong to, and keeps the
 * newest. The leader asks the others now and then for one of them:
 *
 *   leader   its newest note ── question: index ──▶ others
 *            judge (hashvote.h) ◀── answer ──  who has noted that index, or will when it gets there
 *
 *   all agree         nothing more, until the state has moved on
 *   somebody is odd   an error in the log, and the alarm CORRUPT for that member
 *   nobody can tell   the same for member 0, as etcd does it: every member is suspect
 *   no answer         from who is away, too far behind, or has forgotten: the next question
 *
 * Tables are compared when two members have committed the same index: transactions begin and end
 * where they want, so under load that may take until the next pause of a few milliseconds.
 *
 * A difference once made stays in the hashes, so none is missed for long: a lost frame costs an
 * interval. What a member's own reads find damaged (checksums) raises the alarm for it, too.
 *
 * Everything on the loop. */
struct hashcheck_host {
    bool (*leads)(void *ctx);
    size_t (*members)(void *ctx, const struct node_member **ret);
    /* The state now: what is applied, what is committed. */
    void (*note)(void *ctx, enum hash_topic topic, struct hash_note *ret);
    void (*send)(void *ctx, uint64_t peer_id, struct blob *frame); /* FRAME keeps its count */
    const char *(*damage)(void *ctx); /* what reads found here; NULL: nothing */
    /* Is the alarm CORRUPT active for MEMBER? Raise it; hashcheck_raised tells the outcome. */
    bool (*is_raised)(void *ctx, uint64_t member_id);
    void (*raise)(void *ctx, uint64_t member_id);
    void *ctx;
};

/* Notes that are kept: of as many entries as may be applied while a question is on its way. */
#define HASH_NOTES 256u

struct hashcheck_topic {
    enum hash_topic topic;
    struct hash_note notes[HASH_NOTES]; /* a ring; index 0: never used */
    size_t newest;

    /* The last question, while its index has not come. */
    uint64_t asker_id;
    uint64_t asked_number;
    uint64_t asked_index; /* 0: none waits */

    /* The leader's own question. */
    bool asking;
    uint64_t number;
    uint64_t index;
    struct hash_vote votes[MEMBERS_MAX];
    size_t vote_count;
    uint64_t agreed_index; /* all members hold the same there; 0: not known */
};

struct hashcheck {
    struct hashcheck_host host;
    struct env *env;
    struct logger *log;
    uint64_t member_id;
    uint64_t interval_ms;
    uint64_t next_ms; /* when the next question is due */
    uint64_t last_number;
    struct env_timer timer;
    struct hashcheck_topic topics[HASH_TOPICS];

    uint64_t odd[MEMBERS_MAX + 1]; /* members whose alarm is to be raised, one after the other */
    size_t odd_count;
    bool raising;
    bool damage_told;
    bool stopped;

    struct counter *compared;
    struct counter *differed;
    struct gauge *agreed;
};

/* METRICS may be NULL. INTERVAL_MS 0: HASHCHECK_INTERVAL_MS. HOST is copied. */
#define HASHCHECK_INTERVAL_MS 5000u
void hashcheck_init(struct hashcheck *check, struct env *env, struct logger *log,
                    struct metrics *metrics, uint64_t member_id, uint64_t interval_ms,
                    const struct hashcheck_host *host);
/* Look for what is to be done every second from now on. */
void hashcheck_start(struct hashcheck *check);
/* Nothing is asked, answered or raised any more. */
void hashcheck_stop(struct hashcheck *check);

/* The state of TOPIC has moved on. */
void hashcheck_note(struct hashcheck *check, enum hash_topic topic);

/* The state has become another: what was noted of the one before, or found damaged in it, is gone.
 */
void hashcheck_forget(struct hashcheck *check);

/* ERR_MALFORMED; frames that come late, twice, or from who is no member are none of a fault. */
MUST_CHECK enum err hashcheck_on_frame(struct hashcheck *check, uint64_t peer_id,
                                       struct bytes payload);

/* The alarm that host.raise was asked for: active, or to be tried again. */
void hashcheck_raised(struct hashcheck *check, bool raised);

#endif
