/* SPDX-License-Identifier: Apache-2.0 */
#include "api/message.h"

#include <stdio.h>

#include "api/service_private.h"

Etcdserverpb__ResponseHeader message_header(const struct call *call, int64_t revision)
{
    struct answer_header header = call_header(call, revision);
    Etcdserverpb__ResponseHeader message = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    message.cluster_id = header.cluster_id;
    message.member_id = header.member_id;
    message.revision = header.revision;
    message.raft_term = header.raft_term;
    return message;
}

ProtobufCBinaryData message_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.len};
}

Mvccpb__KeyValue message_kv(const struct record *record)
{
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key = message_bytes(record_key(record));
    kv.value = message_bytes(record_value(record));
    kv.create_revision = record->create_revision;
    kv.mod_revision = record_mod_revision(record);
    kv.version = record->version;
    kv.lease = record->lease;
    return kv;
}

const char *call_version(const struct call *call)
{
    return call->service->version;
}

void version_of_minor(const char *version, char ret[VERSION_TEXT_SIZE])
{
    unsigned major;
    unsigned minor;
    if (sscanf(version, "%u.%u", &major, &minor) == 2) {
        snprintf(ret, VERSION_TEXT_SIZE, "%u.%u.0", major, minor);
    } else {
        snprintf(ret, VERSION_TEXT_SIZE, "%s", version);
    }
}
