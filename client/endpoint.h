/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_ENDPOINT_H
#define CLIENT_ENDPOINT_H

#include "base/queue.h"
#include "net/grpc_client.h"

/* One address and the connection to it, made again when it ends: at once when somebody asks for it,
 * else after a wait that doubles with each failure. */
struct endpoint {
    void *owner;
    struct env *env;
    uv_loop_t *loop;
    struct addr addr;
    uint64_t connect_timeout_ms;
    char name[ADDR_TEXT_SIZE];
    struct connection *current; /* NULL: none, while the timer runs or when closing */
    bool connected;
    bool closing;
    uint64_t backoff_ms;
    uint64_t attempts;
    struct env_timer timer;
    struct queue connections; /* that have not ended, the current one included */
    void (*on_closed)(struct endpoint *endpoint);
    struct why last_error;
};

/* The caller has set owner, env, loop, addr and connect_timeout_ms, and zero else. */
void endpoint_open(struct endpoint *endpoint);

/* One that takes calls: the current one, or one that is being made. */
struct grpc_client *endpoint_connection(struct endpoint *endpoint);

/* on_closed comes in a later turn, after every call was called back. */
void endpoint_close(struct endpoint *endpoint, void (*on_closed)(struct endpoint *endpoint));

#endif
