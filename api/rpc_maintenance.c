/* SPDX-License-Identifier: Apache-2.0 */
/* Maintenance: Status and HashKV. */
#include <stdio.h>

#include "api/call.h"
#include "base/cleanup.h"
#include "proto/rpc.pb-c.h"

#define ERRORS_MAX 4

static Etcdserverpb__ResponseHeader header_message(struct grpc_call *call, int64_t revision)
{
    struct answer_header header = answer_header_of(call_server(call), revision);
    Etcdserverpb__ResponseHeader message = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    message.cluster_id = header.cluster_id;
    message.member_id = header.member_id;
    message.revision = header.revision;
    message.raft_term = header.raft_term;
    return message;
}

/* "3.7.1" -> "3.7.0": the version of the storage and of the cluster is that of a minor release. */
static void minor_version(const char *version, char *ret, size_t size)
{
    unsigned major = 0;
    unsigned minor = 0;
    if (sscanf(version, "%u.%u", &major, &minor) != 2) {
        snprintf(ret, size, "%s", version);
        return;
    }
    snprintf(ret, size, "%u.%u.0", major, minor);
}

static void rpc_maintenance_status(struct grpc_call *call, struct bytes message)
{
    if (!call_admitted(call) ||
        call_decode(call, &etcdserverpb__status_request__descriptor, message) == NULL) {
        return;
    }
    struct server *server = call_server(call);
    struct store *store = server_store(server);
    struct node *node = server_node(server);
    Etcdserverpb__ResponseHeader header = header_message(call, store_revision(store));
    Etcdserverpb__DowngradeInfo downgrade = ETCDSERVERPB__DOWNGRADE_INFO__INIT;
    Etcdserverpb__StatusResponse answer = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    char *errors[ERRORS_MAX];
    char no_leader[] = "etcdserver: no leader";
    char version[64];
    char storage_version[64];
    snprintf(version, sizeof version, "%s", call_version(call));
    minor_version(version, storage_version, sizeof storage_version);
    if (server_leader(server) == 0) {
        errors[answer.n_errors++] = no_leader;
    }
    answer.header = &header;
    answer.version = version;
    answer.dbsize = (int64_t)store_size_bytes(store);
    answer.dbsizeinuse = (int64_t)store_size_in_use_bytes(store);
    answer.dbsizequota = (int64_t)server_quota_bytes(server);
    answer.leader = server_leader(server);
    answer.raftindex = node_commit_index(node);
    answer.raftappliedindex = node_applied_index(node);
    answer.raftterm = node_term(node);
    answer.errors = errors;
    answer.storageversion = storage_version;
    answer.downgradeinfo = &downgrade;
    call_answer_message(call, &answer.base);
}

static void on_hashed(struct store_hash_request *request)
{
    struct grpc_call *call = grpc_call_of_state(request);
    if (request->status != OK) {
        status_finish(call, request->status);
    } else {
        Etcdserverpb__ResponseHeader header = header_message(call, request->current_revision);
        Etcdserverpb__HashKVResponse answer = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
        answer.header = &header;
        answer.hash = request->hash;
        answer.compact_revision = request->compact_revision;
        answer.hash_revision = request->hash_revision;
        call_answer_message(call, &answer.base);
    }
    grpc_call_unref(call);
}

static void rpc_maintenance_hash_kv(struct grpc_call *call, struct bytes message)
{
    Etcdserverpb__HashKVRequest *request;
    if (!call_admitted(call) ||
        (request = call_decode(call, &etcdserverpb__hash_kvrequest__descriptor, message)) == NULL) {
        return;
    }
    struct store_hash_request *state = grpc_call_state(call);
    state->revision = request->revision;
    grpc_call_ref(call);
    store_hash_start(server_store(call_server(call)), state, on_hashed);
}

static const struct grpc_method methods[] = {
    {.path = "/etcdserverpb.Maintenance/Status", .message = rpc_maintenance_status},
    {
        .path = "/etcdserverpb.Maintenance/HashKV",
        .state_bytes = sizeof(struct store_hash_request),
        .message = rpc_maintenance_hash_kv,
    },
};

const struct rpc_table rpc_maintenance_table = {.methods = methods, .count = ARRAY_LEN(methods)};
