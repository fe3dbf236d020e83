/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RPC_PORT_H
#define NET_RPC_PORT_H

#include "net/grpc.h"
#include "net/http1.h"
#include "net/listener.h"

/* A port that speaks gRPC over HTTP/2 (prior knowledge) and HTTP/1.x: the first bytes of a
 * connection say which. Several ports may share one gRPC server. */
struct rpc_port;

struct rpc_port_config {
    struct env *env;
    uv_loop_t *loop;
    struct addr addr;                 /* port 0: the kernel picks one, rpc_port_number tells */
    unsigned connections_max;         /* 0: CONNECTIONS_MAX */
    struct grpc_server *grpc;         /* NULL: HTTP/1.x only */
    const struct http1_server *http1; /* NULL: gRPC only; outlives the port */
};

MUST_CHECK enum err rpc_port_open(const struct rpc_port_config *config, struct rpc_port **ret,
                                  struct why *why);
uint16_t rpc_port_number(const struct rpc_port *port);

/* Stop listening; tell every client (GOAWAY), so that it sends no new calls here; let calls under
 * way finish; after GRACE_MS close what is left. Long streams are ended by their methods. Then cb,
 * in a later turn, and the port is gone. */
void rpc_port_close(struct rpc_port *port, uint64_t grace_ms, void (*cb)(void *ctx), void *ctx);

#endif
