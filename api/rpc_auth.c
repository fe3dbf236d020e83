/* SPDX-License-Identifier: Apache-2.0 */
/* Auth, as far as there is any: it is off, and cannot be turned on. A client that has a name and a
 * password asks for a token before anything else; when it hears that there is no authentication, it
 * goes on without one, and any other answer ends it. */
#include "api/message.h"
#include "base/cleanup.h"

#define REVISION_AT_FIRST 1 /* of users, roles and permissions: there are none */

static void rpc_auth_status(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    Etcdserverpb__ResponseHeader header =
        message_header(call, store_revision(server_store(call->server)));
    Etcdserverpb__AuthStatusResponse answer = ETCDSERVERPB__AUTH_STATUS_RESPONSE__INIT;
    answer.header = &header;
    answer.authrevision = REVISION_AT_FIRST;
    call_answer_message(call, &answer.base);
}

static void rpc_auth_authenticate(struct call *call, const void *request)
{
    (void)request;
    grpc_call_finish(call_grpc(call), GRPC_FAILED_PRECONDITION,
                     "etcdserver: authentication is not enabled");
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Auth/AuthStatus",
        .request = &etcdserverpb__auth_status_request__descriptor,
        .handle = rpc_auth_status,
    },
    {
        .path = "/etcdserverpb.Auth/Authenticate",
        .request = &etcdserverpb__authenticate_request__descriptor,
        .handle = rpc_auth_authenticate,
    },
};

const struct method_table rpc_auth = {.rows = rows, .count = ARRAY_LEN(rows)};
