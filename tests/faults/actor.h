/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_ACTOR_H
#define TESTS_FAULTS_ACTOR_H

#include <protobuf-c/protobuf-c.h>

#include "client/client.h"
#include "tests/faults/recorder.h"

/* Clients that ask one thing after the other, and write down what they ask and what they are told.
 *
 *     load->step(actor)          what shall be asked
 *         actor_value(...)         its JSON
 *         actor_invoke(...)        written down
 *         actor_call(..., then)    one call
 *     then(actor, reply)         the answer, or why there is none
 *         actor_call again         an operation may take several
 *         actor_ok, actor_fail or actor_end_badly: written down; after a pause comes the next step
 *
 * An actor stays with a member as long as it is connected to it. */
struct actor;

/* What all actors share. */
struct stage {
    struct env *env;
    struct client *client;
    struct recorder *recorder;
    uint64_t random;
    uint64_t timeout_ms;
    uint64_t gap_ms;      /* between two operations of an actor, on average */
    int64_t next_process; /* after an operation without an answer an actor is another process */
    int64_t next_unique;  /* for values and names, whatever the load */
    int64_t newest;       /* the highest revision that was told */
    bool stopping;
    size_t busy;                          /* actors that have not stopped */
    void (*on_idle)(struct stage *stage); /* stopping, and none is busy any more */
    void *ctx;
};

uint64_t stage_below(struct stage *stage, uint64_t n); /* at random */
bool stage_chance(struct stage *stage, unsigned percent);

struct load {
    const char *name;
    size_t shared_bytes; /* of actor_shared */
    size_t own_bytes;    /* of actor_own */
    void (*step)(struct actor *actor);
};

extern const struct load load_append;
extern const struct load load_bank;
extern const struct load load_lease;
extern const struct load load_lock;
extern const struct load load_register;
extern const struct load load_set;
extern const struct load load_watch;
extern const struct load load_wr;

/* SHARED: zeroes at first, the same for all actors of a load. Memory that ends, ends the process.
 */
struct actor *actor_new(struct stage *stage, const struct load *load, void *shared, size_t number);
void actor_free(struct actor *actor);

struct stage *actor_stage(struct actor *actor);
void *actor_shared(struct actor *actor);
void *actor_own(struct actor *actor); /* zeroes at first */
size_t actor_number(const struct actor *actor);

/* The operation's value, empty: to be filled with JSON before actor_invoke or actor_ok. */
struct buf *actor_value(struct actor *actor);

/* What is asked only to know leaves nothing open when it is not answered. */
enum actor_kind { ACTOR_READS, ACTOR_WRITES };
void actor_invoke(struct actor *actor, enum actor_kind kind, const char *workload, const char *f,
                  const char *extra);

/* DEFINITELY_NOT: refused, and never carried out. */
enum outcome { OUTCOME_DONE, OUTCOME_DEFINITELY_NOT, OUTCOME_UNKNOWN };
struct reply {
    enum outcome outcome;
    enum grpc_status status;
    const char *text;     /* why, for people */
    struct bytes message; /* of OUTCOME_DONE; valid during the call */
};
typedef void (*actor_then)(struct actor *actor, const struct reply *reply);
void actor_call(struct actor *actor, const char *path, const ProtobufCMessage *message,
                actor_then then);

/* Ends of an operation. EXTRA as in struct record, NULL: none. */
void actor_ok(struct actor *actor, int64_t revision, const char *extra);
void actor_fail(struct actor *actor, int64_t revision, const char *extra);
/* A reply that is not OUTCOME_DONE. */
void actor_end_badly(struct actor *actor, const struct reply *reply);
/* Nothing was invoked: come again. */
void actor_skip(struct actor *actor);

/* Never again; for what would make the rest of the run worthless. */
void actor_answer_is_wrong(const struct actor *actor, const char *what) __attribute__((noreturn));

/* A copy of EXTRA that lives as long as the operation. */
const char *actor_extra(struct actor *actor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
