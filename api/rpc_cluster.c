/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster: MemberList. */
#include "api/message.h"
#include "base/cleanup.h"
#include "base/limits.h"

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
static void answer_members(struct call *call)
{
    const struct cluster_member *members;
    size_t count = cluster_members(server_cluster(call->server), &members);
    Etcdserverpb__Member messages[MEMBERS_MAX];
    Etcdserverpb__Member *pointers[MEMBERS_MAX];
    for (size_t i = 0; i < count; i++) {
        fill_member(&members[i], &messages[i]);
        pointers[i] = &messages[i];
    }
    Etcdserverpb__ResponseHeader header = message_header(call, 0);
    Etcdserverpb__MemberListResponse answer = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    answer.header = &header;
    answer.members = pointers;
    answer.n_members = count;
    call_answer_message(call, &answer.base);
}

static void rpc_cluster_member_list(struct call *call, const void *message)
{
    const Etcdserverpb__MemberListRequest *request = message;
    if (request->linearizable) {
        call_read(call, answer_members);
    } else {
        answer_members(call);
    }
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Cluster/MemberList",
        .request = &etcdserverpb__member_list_request__descriptor,
        .handle = rpc_cluster_member_list,
    },
};

const struct method_table rpc_cluster = {.rows = rows, .count = ARRAY_LEN(rows)};
