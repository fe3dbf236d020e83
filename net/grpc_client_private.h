/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_CLIENT_PRIVATE_H
#define NET_GRPC_CLIENT_PRIVATE_H

#include "net/grpc_client.h"
#include "net/grpc_frame.h"
#include "net/http2.h"

/* What the user holds (struct grpc_request) and what nghttp2 points to (struct client_call) are two
 * things, so that a request that was cancelled or timed out is its owner's at once, while its
 * HTTP/2 stream ends in its own time.
 *
 *   grpc_request_start --> call with request --> on_end: request let go
 *                               |                  ^ stream closed, deadline, connection lost
 *                               +-- cancel ------> call without request --> stream closed: freed
 */
struct client_call {
    struct grpc_client *client;
    struct grpc_request *request; /* NULL: nobody waits any more */
    struct queue link;            /* in client->calls or ->unused */
    int32_t stream_id;
    struct grpc_frame_reader inbox;
    struct http2_out out;
    struct env_timer deadline;
    unsigned http_status;
    int grpc_status; /* < 0: not told yet */
    struct buf text; /* grpc-message */
};

struct grpc_client {
    struct grpc_client_config config;
    struct http2 h2;
    struct mempool pool;
    struct stream_connect_request *connecting;
    char authority[ADDR_TEXT_SIZE];
    struct queue calls;
    struct queue unused;
    unsigned unused_count;
    struct queue unable; /* requests started too late, or without memory: the task ends them */
    struct env_task task;
    struct env_timer timer; /* of pings; or to report a connection that could not be tried */
    uint64_t last_input_ms;
    uint64_t timeout_ms; /* of the call before, as text: most have the same */
    size_t timeout_len;
    char timeout[10];
    bool pinged;
    bool closing;
    enum err close_status;
    struct why close_why;
};

/* Of grpc_request.c: end every request with the reason why the connection closes. */
void grpc_request_end_all(struct grpc_client *client);
/* End those that could not be started. */
void grpc_request_end_unable(struct grpc_client *client);
/* Memory of unused calls. */
void grpc_request_free_unused(struct grpc_client *client);
/* The session callbacks that calls need. */
void grpc_request_set_callbacks(nghttp2_session_callbacks *callbacks);

#endif
