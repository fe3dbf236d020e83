/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/api/contend_fixture.h"

#include <stdlib.h>

static void ask_well(const char *path, const ProtobufCMessage *request)
{
    struct reply reply = {0};
    ask(&reply, path, request);
    ck_status(&reply, GRPC_OK, "");
    reply_fini(&reply);
}

void grant_lease(int64_t id)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = id;
    request.ttl = 60;
    ask_well("/etcdserverpb.Lease/LeaseGrant", &request.base);
}

void revoke_lease(int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = id;
    ask_well("/etcdserverpb.Lease/LeaseRevoke", &request.base);
}

void delete_key(const char *key)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = BINARY(key);
    ask_well("/etcdserverpb.KV/DeleteRange", &request.base);
}

bool has_key(const char *key)
{
    struct key_version version;
    return store_key_version(served.store, bytes_of_str(key), &version);
}

unsigned watcher_count(void)
{
    static const char name[] = "\netcd_debugging_mvcc_watcher_total ";
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(served.metrics, &text);
    buf_append(&text, "", 1);
    const char *line = strstr((const char *)text.data, name);
    ck_assert_ptr_nonnull(line);
    return (unsigned)strtoul(line + strlen(name), NULL, 10);
}

uint64_t call_count(void)
{
    return grpc_server_stats(service_grpc(served.service))->calls;
}
