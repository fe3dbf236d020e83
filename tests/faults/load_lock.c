/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "proto/lock.pb-c.h"
#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"
#include "tests/faults/leasemsg.h"

/* Actors contend for a few locks of the lock service, each time with a lease of its own, write what
 * the lock protects in transactions that compare its key (fencing), and give it back. Nobody keeps
 * the lease alive: who is too slow loses the lock, and its writes must fail then. */

#define LOCKS      3u
#define TTL_S      4
#define WRITES_MAX 4u

enum state { LOCK_IDLE, LOCK_LEASED, LOCK_HELD, LOCK_RELEASED };

struct own {
    enum state state;
    int64_t lease;
    unsigned lock;
    struct text key;
    int64_t revision;        /* at which it had the lock */
    int64_t create_revision; /* 0: not known */
    unsigned writes_left;
};

static void on_grant(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    own->state = reply->outcome == OUTCOME_DONE ? LOCK_LEASED : LOCK_IDLE;
    lease_end_grant(actor, reply);
}

/* ---- acquire ---- */

/* The fencing token, which Lock does not tell. */
static void on_token(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    if (reply->outcome == OUTCOME_DONE) {
        Etcdserverpb__RangeResponse *answer = answer_to_range(actor, reply);
        own->create_revision = answer->n_kvs == 0 ? 0 : answer->kvs[0]->create_revision;
        (void)answer_free(&answer->base);
    }
    struct buf *value = actor_value(actor);
    buf_printf(value, "{\"lock\":\"l%u\",\"key\":\"%s\"", own->lock, own->key.text);
    if (own->create_revision != 0) {
        buf_printf(value, ",\"create_revision\":%" PRId64, own->create_revision);
    }
    buf_append_str(value, "}");
    own->state = LOCK_HELD;
    actor_ok(actor, own->revision, NULL);
}

static void on_acquired(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    if (reply->outcome != OUTCOME_DONE) {
        own->state = LOCK_RELEASED;
    }
    V3lockpb__LockResponse *answer =
        answer_take(actor, reply, &v3lockpb__lock_response__descriptor, "lock");
    if (answer == NULL) {
        return;
    }
    if (answer->key.len >= sizeof own->key.text) {
        actor_answer_is_wrong(actor, "lock");
    }
    own->key = text_of("%.*s", (int)answer->key.len, (const char *)answer->key.data);
    own->revision = answer_free(&answer->base);
    Etcdserverpb__RangeRequest range;
    etcdserverpb__range_request__init(&range);
    range.key = msg_bytes(text_bytes(&own->key));
    actor_call(actor, PATH_RANGE, &range.base, on_token);
}

static void acquire(struct actor *actor)
{
    struct own *own = actor_own(actor);
    own->lock = (unsigned)stage_below(actor_stage(actor), LOCKS);
    own->create_revision = 0;
    own->writes_left = (unsigned)stage_below(actor_stage(actor), WRITES_MAX + 1);
    struct text name = text_of("l%u", own->lock);
    V3lockpb__LockRequest lock;
    v3lockpb__lock_request__init(&lock);
    lock.name = msg_bytes(text_bytes(&name));
    lock.lease = own->lease;
    buf_printf(actor_value(actor), "{\"lock\":\"%s\"}", name.text);
    actor_invoke(actor, ACTOR_WRITES, "lock", "acquire", NULL);
    actor_call(actor, "/v3lockpb.Lock/Lock", &lock.base, on_acquired);
}

/* ---- what the lock protects ---- */

static void on_fenced(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    bool succeeded = answer->succeeded;
    int64_t revision = answer_free(&answer->base);
    if (succeeded) {
        actor_ok(actor, revision, NULL);
    } else {
        own->state = LOCK_RELEASED; /* the lease has ended */
        actor_fail(actor, revision, NULL);
    }
}

/* If the key is there and none of the lock's is older. */
static void write_fenced(struct actor *actor)
{
    struct own *own = actor_own(actor);
    int64_t number = ++actor_stage(actor)->next_unique;
    struct text first = text_of("l%u/", own->lock);
    struct text end = text_of("l%u0", own->lock); /* '0' comes after '/' */
    struct text protected = text_of("protected/%u", own->lock);
    struct text value = text_of("%" PRId64, number);
    struct msg_txn txn;
    msg_txn_init(&txn);
    msg_txn_if_created(&txn, text_bytes(&own->key), bytes_of(NULL, 0),
                       ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL, own->create_revision);
    msg_txn_if_created(&txn, text_bytes(&first), text_bytes(&end),
                       ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER, own->create_revision - 1);
    msg_txn_put(&txn, MSG_THEN, text_bytes(&protected), text_bytes(&value));
    buf_printf(actor_value(actor),
               "{\"lock\":\"l%u\",\"key\":\"%s\",\"write\":[\"%s\",%" PRId64 "]}", own->lock,
               own->key.text, protected.text, number);
    actor_invoke(actor, ACTOR_WRITES, "lock", "fenced", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_fenced);
}

static void on_released(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__DeleteRangeResponse *answer = answer_to_delete(actor, reply);
    if (answer == NULL) {
        return;
    }
    const char *extra = answer->deleted == 0 ? ",\"unchanged\":true" : NULL;
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, extra);
}

/* By deleting the key, as etcd's client library does: Unlock does not tell whether it was there. */
static void release(struct actor *actor)
{
    struct own *own = actor_own(actor);
    own->state = LOCK_RELEASED;
    Etcdserverpb__DeleteRangeRequest del;
    etcdserverpb__delete_range_request__init(&del);
    del.key = msg_bytes(text_bytes(&own->key));
    buf_printf(actor_value(actor), "{\"lock\":\"l%u\",\"key\":\"%s\"}", own->lock, own->key.text);
    actor_invoke(actor, ACTOR_WRITES, "lock", "release", NULL);
    actor_call(actor, PATH_DELETE, &del.base, on_released);
}

static void step(struct actor *actor)
{
    struct own *own = actor_own(actor);
    switch (own->state) {
    case LOCK_IDLE:
        own->lease = lease_new_id(actor_stage(actor));
        lease_grant(actor, own->lease, TTL_S, on_grant);
        break;
    case LOCK_LEASED:
        acquire(actor);
        break;
    case LOCK_HELD:
        if (own->create_revision != 0 && own->writes_left > 0) {
            own->writes_left--;
            write_fenced(actor);
        } else {
            release(actor);
        }
        break;
    case LOCK_RELEASED:
        own->state = LOCK_IDLE;
        lease_revoke(actor, own->lease, lease_end_revoke);
        break;
    }
}

const struct load load_lock = {.name = "lock", .own_bytes = sizeof(struct own), .step = step};
