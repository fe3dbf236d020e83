/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_GENWORLD_H
#define TESTS_HISTORY_GENWORLD_H

#include "tests/history/generate.h"
#include "tests/history/genstore.h"

/* What the parts of the generator share. */
#define GEN_MEMBERS   3
#define GEN_ITEMS_MAX 6
#define GEN_LOCKS     2
#define GEN_ACCOUNTS  4

enum genphase {
    GEN_IDLE,
    GEN_ASKED,   /* the store has not seen it */
    GEN_WAITING, /* for a lock */
    GEN_DONE     /* the answer is on its way */
};

struct genclient {
    int64_t process;
    enum genphase phase;
    struct history_event e;
    struct history_item items[GEN_ITEMS_MAX];
    struct buf lists[GEN_ITEMS_MAX];
    uint32_t member; /* 0 to GEN_MEMBERS - 1 */
    uint32_t session;
    uint32_t lock; /* symbols of what it holds; HISTORY_NONE: nothing */
    uint32_t lock_key;
};

struct genlease {
    int64_t id;
    int64_t ttl_s;
    int64_t expires_ns;
    bool alive;
    struct buf keys; /* uint32_t each: put with it */
};

struct genlock {
    uint32_t name;
    struct buf queue; /* uint32_t each: ownership keys, the oldest first */
};

struct genwatch {
    int64_t id;
    uint32_t key;
    uint32_t end; /* HISTORY_NONE: one key */
    uint32_t flags;
    int64_t next;
};
#define GEN_WATCHES 2

struct genstream {
    int64_t process;
    uint32_t member;
    bool open;
    struct genwatch watches[GEN_WATCHES];
};

struct genworld {
    struct history *h;
    const struct generate_options *options;
    uint64_t random;
    int64_t now_ns;
    struct genstore store;
    int64_t applied[GEN_MEMBERS]; /* what each member has */
    struct genclient *clients;
    unsigned client_count;
    int64_t next_process;
    uint32_t next_session;
    int64_t next_value; /* values are used once */
    unsigned asked;
    struct genlock locks[GEN_LOCKS];
    struct buf leases; /* struct genlease each */
    struct buf later;  /* struct genclient each: attempts that take effect some other time */
    uint32_t accounts[GEN_ACCOUNTS];
    int64_t balances[GEN_ACCOUNTS];
    struct genstream *streams;
    unsigned stream_count;
};

uint64_t gen_below(struct genworld *g, uint64_t bound);
bool gen_percent(struct genworld *g, unsigned percent);
uint32_t gen_name(struct genworld *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void gen_add(struct genworld *g, struct history_event *e); /* at this time */

/* genclient.c: fill the question of WORKLOAD; do what was asked; whether it is answered at all. */
void gen_ask(struct genworld *g, struct genclient *c, enum history_workload workload);
void gen_execute(struct genworld *g, struct genclient *c);
void gen_open_bank(struct genworld *g);

/* genlocks.c: locks and leases. */
void gen_ask_lock(struct genworld *g, struct genclient *c);
void gen_execute_lock(struct genworld *g, struct genclient *c);
bool gen_has_lock(struct genworld *g, struct genclient *c); /* a waiting one: then it is done */
void gen_expire_lock(struct genworld *g);                   /* some holder's lease ends */
void gen_ask_lease(struct genworld *g, struct genclient *c);
void gen_execute_lease(struct genworld *g, struct genclient *c);
void gen_expire_leases(struct genworld *g);

/* genwatch.c */
void gen_watch_step(struct genworld *g, struct genstream *s);
void gen_watch_end(struct genworld *g, struct genstream *s);

#endif
