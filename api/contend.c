/* SPDX-License-Identifier: Apache-2.0 */
#include "api/contend.h"

#include "api/service_private.h"

static void refuse(struct contend_call *state, enum err why)
{
    struct call *call = &state->call;
    if (grpc_call_is_over(call_grpc(call))) {
        return;
    }
    if (why == ERR_NOT_FOUND) {
        grpc_call_finish(call_grpc(call), GRPC_UNKNOWN, state->lost);
    } else {
        call_fail(call, why);
    }
}

static void on_late(struct contest *contest, enum err why)
{
    refuse(CONTAINER_OF(contest, struct contend_call, contest), why);
}

static void on_outcome(struct contest *contest, enum err status)
{
    struct contend_call *state = CONTAINER_OF(contest, struct contend_call, contest);
    if (status != OK) {
        refuse(state, status);
    }
    call_wake(&state->call, OK); /* nothing is done for who has heard it already */
}

void contend(struct call *call, const struct contest_entry *entry, const char *lost, call_cb done)
{
    struct contend_call *state = CONTAINER_OF(call, struct contend_call, call);
    struct contest_entry with_late = *entry;
    enum err err = ERR_STOPPED;
    with_late.late = on_late;
    state->lost = lost;
    if (!call->service->draining) {
        err = contest_enter(call->server, &state->contest, &with_late, on_outcome);
    }
    if (err != OK) {
        call_fail(call, err);
    } else {
        call_sleep(call, done);
    }
}

void contend_closed(struct call *call)
{
    contest_leave(&CONTAINER_OF(call, struct contend_call, call)->contest, ERR_CANCELLED);
}
