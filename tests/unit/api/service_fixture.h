/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_API_SERVICE_FIXTURE_H
#define TESTS_UNIT_API_SERVICE_FIXTURE_H

#include "api/service.h"
#include "base/cleanup.h"
#include "net/grpc_client.h"
#include "net/rpc_port.h"
#include "proto/health.pb-c.h"
#include "proto/rpc.pb-c.h"
#include "tests/lib/loop.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

/* etcd's services as a client meets them: a port and a gRPC client, a connection between them, and
 * behind it a real server upon a fake node and a model store. What is proposed is committed in the
 * next turn, and reads are answered, unless the test holds them. */
#define CLUSTER_ID 0xcdf818194e3a8c32u
#define MEMBER_ID  0x8e9e05c52164694du
#define TERM       7u

struct served {
    struct loop loop;
    struct metrics *metrics;
    struct store *store; /* the server's */
    struct server *server;
    struct node *node;
    struct service *service;
    struct rpc_port *port;
    bool port_closed;
    const char *store_path; /* of the next service: Snapshot copies beside it; NULL: not served */
    uint64_t snapshot_stall_ms; /* likewise */
    bool metrics_only;          /* the next port opened is one of --listen-metrics-urls */
    bool learner;               /* the member of the next server is one, beside one that votes */
    bool no_quota;              /* of the next server */
    struct grpc_client *client;
    bool client_closed;
    bool server_stopped;
    bool hold_writes;
    bool hold_reads;
};
extern struct served served;

void served_start(void);
void served_stop(void);
/* Parts of served_stop, earlier. */
void served_close_port(void);
void served_stop_server(void);

/* Commit and answer what is not held. */
void served_pump(void);
#define SERVE_UNTIL(cond) RUN_UNTIL(&served.loop, (served_pump(), (cond)))

/* What came back for one call. */
struct reply {
    struct grpc_request request;
    struct buf got;   /* all messages, one after the other: merged, for a decoder */
    size_t sizes[64]; /* of the first of them */
    size_t message_count;
    bool ended;
    enum grpc_status status;
    struct buf text;
};

void reply_fini(struct reply *reply);

/* Begin a call with one message. */
void call_bytes(struct reply *reply, const char *path, struct bytes message);
void call_message(struct reply *reply, const char *path, const ProtobufCMessage *message);
void call_with_metadata(struct reply *reply, const char *path, const ProtobufCMessage *message,
                        const char *key, struct bytes value);
/* Begin a stream without a message; grpc_request_send and grpc_request_half_close go on. */
void call_stream(struct reply *reply, const char *path);
void call_stream_with_metadata(struct reply *reply, const char *path, const char *key,
                               const char *value);
/* call_message, to its end; REPLY is emptied first. */
void ask(struct reply *reply, const char *path, const ProtobufCMessage *message);

/* What came back, decoded, OK demanded. The caller frees it with protobuf_c_message_free_unpacked.
 */
void *answer_of(const struct reply *reply, const ProtobufCMessageDescriptor *type);
void ck_status(const struct reply *reply, enum grpc_status status, const char *text);

/* Put, through the service; the revision of its answer. */
int64_t put_key(const char *key, const char *value);

/* Commands that another member proposed, applied as one entry. */
void entry_begin(struct buf *entry);
void entry_put(struct buf *entry, struct bytes key, struct bytes value);
void entry_compact(struct buf *entry, int64_t revision);
void entry_apply(struct buf *entry);

/* COUNT keys "k00000000" ..., each a revision of its own. Of the Nth value all bytes are N. */
void fill_store(unsigned count, size_t value_bytes);

/* Views for requests. */
#define BINARY(text) \
    ((ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)(text), .len = strlen(text)})
#define BINARY_OF(array) \
    ((ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)(array), .len = sizeof(array) - 1})

#endif
