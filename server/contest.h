/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CONTEST_H
#define SERVER_CONTEST_H

#include "server/server.h"

/* Who is the first? Whoever contends for a name puts a key, NAME/LEASE with the lease in hex, that
 * lives as long as that lease; the oldest of the keys under NAME/ has what they contend for, the
 * others wait in the order in which their keys were made. Locks and elections are this and nothing
 * else, to the member as to the libraries of etcd's clients: they stand in the same line.
 *
 *   contest_enter ─▶ the key is put ─▶ is there an older one? ── no ──▶ cb(OK): the first
 *                                          ▲         │ yes
 *                       a linearizable read ┘        ▼
 *                                          └── the newest of the older ones is deleted, or our own
 *
 * Each waits for the one before it alone: the end of one wakes one. */

enum contest_state {
    CONTEST_OVER, /* or not begun */
    CONTEST_GRANTING,
    CONTEST_ENTERING,
    CONTEST_UPDATING,
    CONTEST_LOOKING,
    CONTEST_WAITING,
    CONTEST_CONFIRMING,
    CONTEST_LEAVING,
    CONTEST_LEAVING_LATER
};

struct contest;
typedef void (*contest_cb)(struct contest *contest, enum err status);

/* What a contender brings; bytes and arena live until its cb. */
struct contest_entry {
    /* It has failed, with WHY, and what is left of it is not taken away soon: who asked need not
     * wait for cb to hear it. Perhaps more than once; may be NULL. */
    void (*late)(struct contest *contest, enum err why);
    struct bytes name; /* may be empty */
    struct bytes value;
    int64_t lease; /* 0: one of SESSION_TTL_S is granted, and not renewed by anybody here */
    bool update;   /* a key of this lease that is there already gets the value, too */
    struct arena *arena;
};
#define SESSION_TTL_S 60

/* A contender, embedded in its owner; all zero: none. */
struct contest {
    /* When cb says OK. */
    struct bytes key; /* in the arena */
    int64_t create_revision;
    int64_t lease;
    int64_t entered_revision; /* of the store when the key was put or found */
    int64_t first_revision;   /* when it was found to be the first */
    /* private, from here on */
    struct server *server;
    struct contest_entry entry;
    contest_cb cb;
    struct queue link;  /* in contests.all */
    struct queue later; /* in contests.later */
    enum contest_state state;
    enum err why;     /* it leaves; OK: it does not */
    bool own_lease;   /* granted for it: goes with it */
    bool own_key;     /* to be deleted when it leaves */
    struct bytes end; /* of the keys under NAME/ */
    struct watch_stream stream;
    struct watcher before; /* the one that it waits for */
    struct watcher mine;
    union { /* by state */
        struct op op;
        struct read_op read;
        struct store_range_request range;
    };
};

/* ERR_TOO_LARGE, ERR_NOMEM: no cb comes. Else CB, once, later, and nothing is touched after it. OK:
 * it is the first. ERR_NOT_FOUND: its key is gone, with its lease or by somebody's hand. Else as of
 * server_propose and server_read; the key is then deleted before cb, unless it is unknown whether
 * it was put (ERR_TIMEOUT): it ends with its lease, and who enters again with that finds it. */
MUST_CHECK enum err contest_enter(struct server *server, struct contest *contest,
                                  const struct contest_entry *entry, contest_cb cb);

/* Give up: cb comes when the key is deleted, with WHY. Over already: does nothing. */
void contest_leave(struct contest *contest, enum err why);
/* All of the member's. */
void contest_leave_all(struct server *server, enum err why);

/* ---- the same key, outside of a contest ---- */

/* The first of NAME: at most one record. */
MUST_CHECK enum err contest_first(struct arena *arena, struct bytes name, struct range_query *ret);

/* A change of KEY, as long as it is the one that was made at CREATE_REVISION: else txn.succeeded of
 * the result is false, and nothing has changed. */
struct contest_change {
    struct command command;
    struct compare compare;
    struct txn_op op;
};
void contest_change_put(struct contest_change *change, struct bytes key, int64_t create_revision,
                        struct bytes value, int64_t lease);
void contest_change_delete(struct contest_change *change, struct bytes key,
                           int64_t create_revision);

/* ---- for the server ---- */

struct contests {
    struct queue all;
    struct queue later; /* those whose key could not be deleted yet */
    struct env_timer timer;
};

void contests_init(struct server *server);
/* Nothing is proposed or read any more: all end with ERR_STOPPED, some when the store closes. */
void contests_close(struct server *server);

#endif
