/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster: MemberList. */
#include "api/call.h"
#include "base/cleanup.h"
#include "proto/rpc.pb-c.h"

static char **texts_of(const char *const *texts)
{
    return (char **)(uintptr_t)texts; /* protobuf-c does not write to what it packs */
}

static void fill_member(const struct cluster_member *from, Etcdserverpb__Member *to)
{
    etcdserverpb__member__init(to);
    to->id = from->id;
    to->name = (char *)(uintptr_t)from->name;
    to->peerurls = texts_of(from->peer_urls);
    to->n_peerurls = from->peer_url_count;
    to->clienturls = texts_of(from->client_urls);
    to->n_clienturls = from->client_url_count;
    to->islearner = from->learner;
}

/* The header of membership answers has no revision. */
static void answer_members(struct grpc_call *call)
{
    struct server *server = call_server(call);
    const struct cluster_member *members;
    size_t count = cluster_members(server_cluster(server), &members);
    Etcdserverpb__Member messages[MEMBERS_MAX];
    Etcdserverpb__Member *pointers[MEMBERS_MAX];
    for (size_t i = 0; i < count; i++) {
        fill_member(&members[i], &messages[i]);
        pointers[i] = &messages[i];
    }
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.cluster_id = server_cluster_id(server);
    header.member_id = server_member_id(server);
    header.raft_term = server_term(server);
    Etcdserverpb__MemberListResponse answer = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    answer.header = &header;
    answer.members = pointers;
    answer.n_members = count;
    call_answer_message(call, &answer.base);
}

static void on_readable(struct read_op *op, enum err status)
{
    struct grpc_call *call = grpc_call_of_state(op);
    if (status != OK) {
        status_finish(call, status);
    } else {
        answer_members(call);
    }
    grpc_call_unref(call);
}

static void rpc_cluster_member_list(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__MemberListRequest *request;
    if (!call_admitted(call) ||
        (request = call_decode(call, &etcdserverpb__member_list_request__descriptor, message)) ==
            NULL) {
        return;
    }
    if (!request->linearizable) {
        answer_members(call);
        return;
    }
    grpc_call_ref(call);
    server_read(call_server(call), grpc_call_state(call), on_readable);
}

static const struct grpc_method methods[] = {
    {
        .path = "/etcdserverpb.Cluster/MemberList",
        .state_bytes = sizeof(struct read_op),
        .message = rpc_cluster_member_list,
    },
};

const struct rpc_table rpc_cluster_table = {.methods = methods, .count = ARRAY_LEN(methods)};
