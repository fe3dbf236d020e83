/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NET_GRPC_FIXTURE_H
#define TESTS_UNIT_NET_GRPC_FIXTURE_H

#include "net/grpc_client.h"
#include "net/rpc_port.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"

/* A gRPC server with methods for tests, and requests that keep what came back.
 *
 *   /test.Echo/Unary    the request's bytes; with metadata "status: N" that status and the bytes as
 *                       its text
 *   /test.Echo/Big      as many bytes as the request says in decimal, in a blob
 *   /test.Echo/Shared   fixture.shared, a blob
 *   /test.Echo/Keep     a byte; the call keeps the request in its arena
 *   /test.Echo/Hold     nothing, until fixture.held is finished by the test
 *   /test.Echo/Bidi     each message back; OK at the half close
 *   /test.Echo/Feed     (server stream) as many messages of 64 KiB as the request says, with
 *                       grpc_call_want_writable in between
 */
struct reply {
    struct grpc_request request;
    struct buf got; /* all messages */
    size_t message_count;
    bool ended;
    enum grpc_status status;
    struct buf text;
};

struct fixture {
    struct loop loop;
    struct grpc_server *server;
    struct rpc_port *port;
    bool port_closed;
    struct grpc_client *client;
    bool client_ready;
    bool client_closed;
    enum err client_status;
    struct http1_server http1;
    struct blob *shared;
    struct grpc_call *held; /* counted */
    unsigned held_closed;
    enum grpc_status held_status;
    size_t feed_pending_max;
    unsigned released;
};
extern struct fixture fixture;

/* With a server's settings: zero members are the defaults. */
void fixture_start(const struct grpc_server_config *config);
void fixture_connect(void);
void fixture_stop(void);

void reply_init(struct reply *reply);
void reply_fini(struct reply *reply);
void reply_unary(struct reply *reply, const char *path, struct bytes message);

#endif
