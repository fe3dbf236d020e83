/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/leasemsg.h"

#include <inttypes.h>

#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"

int64_t lease_new_id(struct stage *stage)
{
    return 1 + (int64_t)stage_below(stage, INT32_MAX) * 4096 + (stage->next_unique++ & 4095);
}

void lease_grant(struct actor *actor, int64_t lease, int64_t ttl_s, actor_then then)
{
    Etcdserverpb__LeaseGrantRequest grant;
    etcdserverpb__lease_grant_request__init(&grant);
    grant.id = lease;
    grant.ttl = ttl_s;
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 ",\"ttl\":%" PRId64 "}", lease, ttl_s);
    actor_invoke(actor, ACTOR_WRITES, "lease", "grant", NULL);
    actor_call(actor, "/etcdserverpb.Lease/LeaseGrant", &grant.base, then);
}

void lease_end_grant(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__LeaseGrantResponse *answer =
        answer_take(actor, reply, &etcdserverpb__lease_grant_response__descriptor, "lease");
    if (answer == NULL) {
        return;
    }
    if (answer->ttl <= 0) {
        actor_answer_is_wrong(actor, "lease");
    }
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 ",\"ttl\":%" PRId64 "}", answer->id,
               answer->ttl);
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}

void lease_revoke(struct actor *actor, int64_t lease, actor_then then)
{
    Etcdserverpb__LeaseRevokeRequest revoke;
    etcdserverpb__lease_revoke_request__init(&revoke);
    revoke.id = lease;
    buf_printf(actor_value(actor), "{\"lease\":%" PRId64 "}", lease);
    actor_invoke(actor, ACTOR_WRITES, "lease", "revoke", NULL);
    actor_call(actor, "/etcdserverpb.Lease/LeaseRevoke", &revoke.base, then);
}

void lease_end_revoke(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__LeaseRevokeResponse *answer = answer_take(
        actor, reply, &etcdserverpb__lease_revoke_response__descriptor, "answer to a revocation");
    if (answer == NULL) {
        return;
    }
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}
