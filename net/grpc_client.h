/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_CLIENT_H
#define NET_GRPC_CLIENT_H

#include "base/addr.h"
#include "net/grpc.h"
#include "net/stream.h"

/* gRPC as a client: one connection, many requests on it at once. Choosing an endpoint, connecting
 * again and repeating requests is the user's business (client/). Everything on the loop. */
struct grpc_client;

struct grpc_client_config {
    struct env *env;
    uv_loop_t *loop;
    struct addr addr;
    uint64_t connect_timeout_ms; /* 0: 5 s */
    size_t message_bytes_max;    /* received; 0: what 32 bits of length can say */
    uint64_t ping_interval_ms;   /* after this long without a byte from the server; 0: never */
    uint64_t ping_timeout_ms;    /* 0: 20 s */
    /* The connection stands (may be NULL). */
    void (*on_ready)(void *ctx);
    /* The connection is over, or never was; once, in a later turn than grpc_client_close. Its
     * requests have ended before, with GRPC_UNAVAILABLE; the client is gone when it returns. */
    void (*on_closed)(void *ctx, enum err status, const char *why);
    void *ctx;
};

/* Requests may be started at once; they leave when the connection stands. */
MUST_CHECK enum err grpc_client_new(const struct grpc_client_config *config,
                                    struct grpc_client **ret);
void grpc_client_close(struct grpc_client *client);

/* May a request be started, that is, has neither side begun to close? */
bool grpc_client_is_open(const struct grpc_client *client);
/* Stop or go on reading what the server sends, for who plays a slow client. */
void grpc_client_pause(struct grpc_client *client, bool paused);
size_t grpc_client_pending_bytes(const struct grpc_client *client); /* requests' bytes that wait */

/* One call. The caller owns it and sets the callbacks; it is in use from its start until on_end or
 * grpc_request_cancel. */
struct grpc_request {
    /* A whole message; memory valid during the call. The request may be cancelled there. */
    void (*on_message)(struct grpc_request *request, struct bytes message);
    /* The outcome, once, in a later turn than the start, and nothing after it; the memory is the
     * caller's again, who may start the same request anew there (on a client that is open: on
     * another it would end at once, again and again). TEXT is the server's. */
    void (*on_end)(struct grpc_request *request, enum grpc_status status, struct bytes text);
    /* Private. */
    struct client_call *call;
    struct queue unable; /* among those that could not be started */
    bool is_unable;
};

struct grpc_metadata {
    const char *key; /* in lower case */
    struct bytes value;
};

struct grpc_request_options {
    const char *path;                     /* "/etcdserverpb.KV/Put"; outlives the request */
    uint64_t timeout_ms;                  /* 0: none. Told to the server, and kept here */
    const struct grpc_metadata *metadata; /* copied */
    size_t metadata_count;
};

/* Begin a call; messages are sent with grpc_request_send and ended by grpc_request_half_close. */
void grpc_request_start(struct grpc_client *client, struct grpc_request *request,
                        const struct grpc_request_options *options);
void grpc_request_send(struct grpc_request *request, struct bytes message); /* a copy */
void grpc_request_half_close(struct grpc_request *request);

/* A unary call: start, one message, half close. */
void grpc_request_unary(struct grpc_client *client, struct grpc_request *request,
                        const struct grpc_request_options *options, struct bytes message);

/* End it: the server is told, on_end does not come. Does nothing after on_end. */
void grpc_request_cancel(struct grpc_request *request);
bool grpc_request_is_active(const struct grpc_request *request);
size_t grpc_request_pending_bytes(const struct grpc_request *request);

#endif
