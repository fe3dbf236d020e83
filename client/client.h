/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "net/grpc_client.h"

/* A small client of an etcd v3 service: connections to several endpoints, each made again when it
 * breaks. It does not try a call again: only its user knows whether a call may run twice. Memory
 * that ends here ends the process. Everything on the loop. */
struct client;

struct client_config {
    struct env *env;
    uv_loop_t *loop;
    const char *endpoints;       /* "10.0.0.1:2379,http://host:2379": at most CLIENT_SLOTS_MAX */
    size_t connections;          /* spread over the endpoints in turn; 0: one to each */
    uint64_t connect_timeout_ms; /* 0: 5 s */
};

#define CLIENT_SLOTS_MAX 4096

/* A slot is a connection; slot I leads to endpoint I modulo the number of endpoints. */
MUST_CHECK enum err client_new(const struct client_config *config, struct client **ret,
                               struct why *why);
size_t client_slot_count(const struct client *client);
const char *client_slot_name(const struct client *client, size_t slot); /* "10.0.0.1:2379" */
bool client_is_connected(const struct client *client, size_t slot);
/* Why the slot's last connection ended or was not made; "" when none did. */
const char *client_last_error(const struct client *client, size_t slot);
/* How often a connection was begun: the number of the slot's connection. */
uint64_t client_slot_attempts(const struct client *client, size_t slot);

/* Start a unary call (net/grpc_client.h) through the slot, or through the next one in turn that is
 * connected. While its connection is being made the call waits, and fails when it cannot be made;
 * who asks again waits a little before. */
#define CLIENT_ANY SIZE_MAX
void client_call(struct client *client, size_t slot, struct grpc_request *request,
                 const struct grpc_request_options *options, struct bytes message);
/* For streams: the slot's connection as it is now. */
struct grpc_client *client_connection(struct client *client, size_t slot);

/* Stop or go on reading on every connection that stands, as a client does that is too slow. */
void client_pause(struct client *client, bool paused);

/* End all calls and connections; then cb, in a later turn, and the client is gone. */
void client_close(struct client *client, void (*cb)(void *ctx), void *ctx);

/* For tests and small tools: turn the loop until every slot is connected; until a unary call is
 * over. RET is cleared first and holds the answer when the status is GRPC_OK, WHY the server's text
 * when it is not. TIMEOUT_MS is not 0. */
MUST_CHECK enum err client_connect_sync(struct client *client, uint64_t timeout_ms,
                                        struct why *why);
enum grpc_status client_call_sync(struct client *client, size_t slot, const char *path,
                                  struct bytes message, uint64_t timeout_ms, struct buf *ret,
                                  struct why *why);
void client_close_sync(struct client *client);

#endif
