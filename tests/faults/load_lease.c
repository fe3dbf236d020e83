/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"
#include "tests/faults/leasemsg.h"

/* Each actor grants a lease, gives it a key, keeps it alive and asks for its time, and then revokes
 * it or leaves it alone to end. Watchers see when its key goes. */

#define TTL_MIN 2u
#define TTL_MAX 9u

struct own {
    int64_t lease; /* 0: none */
    bool has_key;
};

static void forget(struct actor *actor)
{
    ((struct own *)actor_own(actor))->lease = 0;
}

static void on_grant(struct actor *actor, const struct reply *reply)
{
    if (reply->outcome != OUTCOME_DONE) {
        forget(actor);
    }
    lease_end_grant(actor, reply);
}

static void on_attach(struct actor *actor, const struct reply *reply)
{
    if (reply->outcome == OUTCOME_DEFINITELY_NOT && reply->status == GRPC_NOT_FOUND) {
        forget(actor); /* it has ended */
    }
    Etcdserverpb__PutResponse *answer = answer_to_put(actor, reply);
    if (answer == NULL) {
        return;
    }
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}

static void attach(struct actor *actor)
{
    struct own *own = actor_own(actor);
    own->has_key = true;
    int64_t number = ++actor_stage(actor)->next_unique;
    struct text key = text_of("e/%" PRId64, own->lease);
    struct text value = text_of("%" PRId64, number);
    Etcdserverpb__PutRequest put;
    etcdserverpb__put_request__init(&put);
    put.key = msg_bytes(text_bytes(&key));
    put.value = msg_bytes(text_bytes(&value));
    put.lease = own->lease;
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 ",\"key\":\"%s\",\"value\":%" PRId64 "}",
               own->lease, key.text, number);
    actor_invoke(actor, ACTOR_WRITES, "lease", "attach", NULL);
    actor_call(actor, PATH_PUT, &put.base, on_attach);
}

static void on_keep_alive(struct actor *actor, const struct reply *reply)
{
    const struct own *own = actor_own(actor);
    Etcdserverpb__LeaseKeepAliveResponse *answer = answer_take(
        actor, reply, &etcdserverpb__lease_keep_alive_response__descriptor, "answer to a renewal");
    if (answer == NULL) {
        return;
    }
    if (answer->id != own->lease) {
        actor_answer_is_wrong(actor, "answer to a renewal");
    }
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 ",\"ttl\":%" PRId64 "}", own->lease,
               answer->ttl);
    if (answer->ttl <= 0) {
        forget(actor);
    }
    actor_ok(actor, answer_free(&answer->base), NULL);
}

static void keep_alive(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    Etcdserverpb__LeaseKeepAliveRequest renew;
    etcdserverpb__lease_keep_alive_request__init(&renew);
    renew.id = own->lease;
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 "}", own->lease);
    actor_invoke(actor, ACTOR_WRITES, "lease", "keepalive", NULL);
    actor_call(actor, "/etcdserverpb.Lease/LeaseKeepAlive", &renew.base, on_keep_alive);
}

static void on_ttl(struct actor *actor, const struct reply *reply)
{
    const struct own *own = actor_own(actor);
    Etcdserverpb__LeaseTimeToLiveResponse *answer = answer_take(
        actor, reply, &etcdserverpb__lease_time_to_live_response__descriptor, "time to live");
    if (answer == NULL) {
        return;
    }
    if (answer->id != own->lease) {
        actor_answer_is_wrong(actor, "time to live");
    }
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 ",\"ttl\":%" PRId64 "}", own->lease,
               answer->ttl);
    if (answer->ttl < 0) {
        forget(actor);
    }
    actor_ok(actor, answer_free(&answer->base), NULL);
}

static void ask_ttl(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    Etcdserverpb__LeaseTimeToLiveRequest ask;
    etcdserverpb__lease_time_to_live_request__init(&ask);
    ask.id = own->lease;
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 "}", own->lease);
    actor_invoke(actor, ACTOR_READS, "lease", "ttl", NULL);
    actor_call(actor, "/etcdserverpb.Lease/LeaseTimeToLive", &ask.base, on_ttl);
}

static void step(struct actor *actor)
{
    struct stage *stage = actor_stage(actor);
    struct own *own = actor_own(actor);
    unsigned dice = (unsigned)stage_below(stage, 100);
    if (own->lease == 0) {
        own->lease = lease_new_id(stage);
        own->has_key = false;
        lease_grant(actor, own->lease, (int64_t)(TTL_MIN + stage_below(stage, TTL_MAX - TTL_MIN)),
                    on_grant);
    } else if (!own->has_key) {
        attach(actor);
    } else if (dice < 70) {
        keep_alive(actor);
    } else if (dice < 94) {
        ask_ttl(actor);
    } else if (dice < 97) {
        lease_revoke(actor, own->lease, lease_end_revoke);
        own->lease = 0;
    } else {
        own->lease = 0; /* left alone */
        actor_skip(actor);
    }
}

const struct load load_lease = {.name = "lease", .own_bytes = sizeof(struct own), .step = step};
