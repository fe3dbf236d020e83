/* SPDX-License-Identifier: Apache-2.0 */
#include "api/contend.h"

#include "api/service_private.h"

static void on_outcome(struct contest *contest, enum err status)
{
    struct contend_call *state = CONTAINER_OF(contest, struct contend_call, contest);
    struct call *call = &state->call;
    if (status == ERR_NOT_FOUND) {
        grpc_call_finish(call_grpc(call), GRPC_UNKNOWN, state->lost);
        status = OK;
    }
    call_wake(call, status);
}

void contend(struct call *call, const struct contest_entry *entry, const char *lost, call_cb done)
{
    struct contend_call *state = CONTAINER_OF(call, struct contend_call, call);
    enum err err = ERR_STOPPED;
    state->lost = lost;
    if (!call->service->draining) {
        err = contest_enter(call->server, &state->contest, entry, on_outcome);
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
