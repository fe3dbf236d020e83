/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CALL_H
#define API_CALL_H

#include <protobuf-c/protobuf-c.h>

#include "api/answer.h"
#include "api/service.h"
#include "api/status.h"

/* What every method does: look at the metadata, decode, answer. Methods stand in rpc_*.c, each of
 * which exports one table. */

struct rpc_table {
    const struct grpc_method *methods;
    size_t count;
};
extern const struct rpc_table rpc_kv_table;
extern const struct rpc_table rpc_range_stream_table;
extern const struct rpc_table rpc_maintenance_table;
extern const struct rpc_table rpc_cluster_table;
extern const struct rpc_table rpc_health_table;

struct server *call_server(const struct grpc_call *call);
const char *call_version(const struct grpc_call *call);

/* May the call go on? False: it has been answered, because its client asked for a leader and there
 * is none. */
bool call_admitted(struct grpc_call *call);

/* Decode into the call's arena. NULL: it has been answered. */
void *call_decode(struct grpc_call *call, const ProtobufCMessageDescriptor *type,
                  struct bytes message);

/* Memory to build an answer in, empty; the service's own, until the next call of this function. */
struct buf *call_scratch(struct grpc_call *call);

/* Answer a unary call with what is in the scratch, or with a message. */
void call_answer_scratch(struct grpc_call *call);
void call_answer_message(struct grpc_call *call, const ProtobufCMessage *message);
/* Send a message on a stream. */
void call_send_message(struct grpc_call *call, const ProtobufCMessage *message);

#endif
