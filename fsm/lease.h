/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_LEASE_H
#define FSM_LEASE_H

#include "base/heap.h"
#include "base/map.h"
#include "storage/store.h"

/* Leases and the keys they hold: replicated state, the same on every member. Time is not: a lease
 * ends when a revoke is applied, and who proposes that (server/lessor.h) counts on a clock of its
 * own.
 *
 *   grant 7, ttl 60     put a (lease 7)     put b (lease 7)     put a       revoke 7
 *   7: {}               7: {a}              7: {a b}            7: {b}      delete b, in one
 * revision
 *
 * A key belongs to the lease of its last put. Leases are rows of TABLE_LEASE, written with the
 * entry that changes them; the keys of each are found again at a start in the headers of their
 * records.
 *
 * Memory: 104 bytes for a lease and 44 and its bytes for a key that has one, each an allocation,
 * and a bucket of 8 to 16 for each. Keys without a lease cost nothing while no key has one, else a
 * look-up when they change. */
struct leases;

struct lease_key;

struct lease {
    int64_t id;
    int64_t ttl_s;       /* as granted */
    int64_t remaining_s; /* what was left when it was checkpointed; 0: renewed or granted since */
    uint32_t key_count;

    /* Of the member's clock, no part of the state; zero in a lease that is new. */
    uint32_t clock_epoch : 31;
    uint32_t clock_checkpoint : 1;
    uint64_t clock_expires_ms;
    struct heap_link clock_due;

    /* private */
    struct map_link by_id;
    struct queue link; /* all, in the order in which they were granted or read */
    struct lease_key *keys;
};

/* What happened to a lease. GRANTED: it is new. CHANGED: its remaining_s. REVOKED: it is about to
 * be freed. REPLACED: the state is another, and there is no lease: those that were are gone, those
 * that are have not been told of (lease_walk). */
enum lease_event { LEASE_GRANTED, LEASE_CHANGED, LEASE_REVOKED, LEASE_REPLACED };

/* Read the leases of STORE, and the keys they hold; from then on every change of the store is
 * followed. SEED: of the tables. */
MUST_CHECK enum err leases_new(struct store *store, struct hash_seed seed, struct leases **ret,
                               struct why *why);
void leases_free(struct leases *leases);
/* Those of a state that is not in place yet: for the next two alone. Thread: any. */
MUST_CHECK enum err leases_prepare(struct hash_seed seed, struct store_reading *reading,
                                   struct leases **ret, struct why *why);
/* The store has become another (store_replace_start), that of PREPARED, which has what was there
 * before afterwards. NULL: it is read now. A walk under way goes on at the first. After an error
 * they can only be freed. */
MUST_CHECK enum err leases_replace(struct leases *leases, struct leases *prepared, struct why *why);
/* NULL allowed. Thread: any. */
void leases_dispose(struct leases *prepared);

/* FN is told of every change from now on; it must not change them. NULL: nobody is. */
void leases_listen(struct leases *leases,
                   void (*fn)(void *ctx, enum lease_event event, struct lease *lease), void *ctx);

/* ---- what the log does, inside store_entry_begin/end ---- */

/* ERR_LEASE_TTL, ERR_LEASE_EXISTS, ERR_INVALID (not above 0), in etcd's order. */
MUST_CHECK enum err leases_grant(struct leases *leases, int64_t id, int64_t ttl_s);

/* Inside store_txn_begin/end: delete its keys in their order, then the lease. One revision, but a
 * new one for each REVISION_SUB_MAX + 1 keys. ERR_LEASE_NOT_FOUND. */
MUST_CHECK enum err leases_revoke(struct leases *leases, int64_t id);

/* REMAINING_S: what is left of it now; 0: all. A lease that is not there is passed over. */
void leases_checkpoint(struct leases *leases, int64_t id, int64_t remaining_s);

/* ---- what others ask ---- */

/* NULL: none. LEASES may be NULL: there are none. */
struct lease *leases_find(const struct leases *leases, int64_t id);
size_t leases_count(const struct leases *leases);

/* What is left of it when it begins anew somewhere: checkpointed, or all. */
static inline int64_t lease_rest_s(const struct lease *lease)
{
    return lease->remaining_s > 0 ? lease->remaining_s : lease->ttl_s;
}

/* Its keys, in no order; NULL ends them. Valid until the next change. */
const struct lease_key *lease_key_first(const struct lease *lease);
const struct lease_key *lease_key_next(const struct lease_key *key);
struct bytes lease_key_bytes(const struct lease_key *key);

/* A walk over all leases that may take several turns: each that is there all the while is met once.
 */
struct lease_walk {
    struct queue link; /* private, as the next */
    const struct queue *at;
    const struct leases *leases;
};
void lease_walk_begin(struct lease_walk *walk, struct leases *leases);
struct lease *lease_walk_next(struct lease_walk *walk); /* NULL: that was the last */
void lease_walk_end(struct lease_walk *walk);           /* also before the last */

/* Invariants: for tests and the simulator. */
void leases_check(const struct leases *leases);

#endif
