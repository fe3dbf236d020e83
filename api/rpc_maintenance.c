/* SPDX-License-Identifier: Apache-2.0 */
/* Maintenance: Status and HashKV. */
#include "api/message.h"
#include "base/cleanup.h"

static void rpc_maintenance_status(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    struct server *server = call->server;
    struct store *store = server_store(server);
    struct node *node = server_node(server);
    Etcdserverpb__ResponseHeader header = message_header(call, store_revision(store));
    Etcdserverpb__DowngradeInfo downgrade = ETCDSERVERPB__DOWNGRADE_INFO__INIT;
    Etcdserverpb__StatusResponse answer = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    char storage_version[VERSION_TEXT_SIZE];
    char *errors[] = {(char *)(uintptr_t)status_of(ERR_NO_LEADER).text};
    version_of_minor(call_version(call), storage_version);
    answer.header = &header;
    answer.version = (char *)(uintptr_t)call_version(call);
    answer.dbsize = (int64_t)store_size_bytes(store);
    answer.dbsizeinuse = (int64_t)store_size_in_use_bytes(store);
    answer.dbsizequota = (int64_t)server_quota_bytes(server);
    answer.leader = server_leader(server);
    answer.raftindex = node_commit_index(node);
    answer.raftappliedindex = node_applied_index(node);
    answer.raftterm = node_term(node);
    answer.errors = errors;
    answer.n_errors = answer.leader == 0 ? 1 : 0;
    answer.storageversion = storage_version;
    answer.downgradeinfo = &downgrade; /* always there, also when it says nothing */
    call_answer_message(call, &answer.base);
}

static void on_hashed(struct call *call)
{
    const struct store_hash_request *hash = &call->hash;
    Etcdserverpb__ResponseHeader header = message_header(call, hash->current_revision);
    Etcdserverpb__HashKVResponse answer = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    answer.header = &header;
    answer.hash = hash->hash;
    answer.compact_revision = hash->compact_revision;
    answer.hash_revision = hash->hash_revision;
    call_answer_message(call, &answer.base);
}

static void rpc_maintenance_hash_kv(struct call *call, const void *message)
{
    const Etcdserverpb__HashKVRequest *request = message;
    call_hash(call, request->revision, on_hashed);
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Maintenance/Status",
        .request = &etcdserverpb__status_request__descriptor,
        .handle = rpc_maintenance_status,
    },
    {
        .path = "/etcdserverpb.Maintenance/HashKV",
        .request = &etcdserverpb__hash_kvrequest__descriptor,
        .handle = rpc_maintenance_hash_kv,
    },
};

const struct method_table rpc_maintenance = {.rows = rows, .count = ARRAY_LEN(rows)};
