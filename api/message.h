/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_MESSAGE_H
#define API_MESSAGE_H

#include "api/call.h"
#include "proto/rpc.pb-c.h"

/* What answers have in common that protobuf-c encodes: all but the KV service's. */

/* The header, of this member and now. */
Etcdserverpb__ResponseHeader message_header(const struct call *call, int64_t revision);

/* All borrow; the message is read only. */
ProtobufCBinaryData message_bytes(struct bytes bytes);
static inline struct bytes message_view(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}
Mvccpb__KeyValue message_kv(const struct record *record);

/* The version of etcd that this member claims: "3.7.1". */
const char *call_version(const struct call *call);

/* "3.7.1" -> "3.7.0": storage and cluster have the version of a minor release. */
#define VERSION_TEXT_SIZE 32
void version_of_minor(const char *version, char ret[VERSION_TEXT_SIZE]);

#endif
