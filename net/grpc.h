/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_H
#define NET_GRPC_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/env.h"

/* gRPC as a server: calls, messages, deadlines, status. It knows methods by their table and bytes
 * by their length; connections reach it through a port (net/rpc_port.h). Everything on the loop. */
struct grpc_server;
struct grpc_call;

enum grpc_status {
    GRPC_OK,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
    GRPC_STATUS_COUNT
};

/* "OK", "DeadlineExceeded": as grpc-go's metrics name them. */
const char *grpc_status_name(enum grpc_status status);

/* One RPC. A unary call is `message` once, then grpc_call_finish at any later time.
 *
 *   start? --> message* --> half_close? ...... grpc_call_finish     by the method: nothing follows
 *        \________\______________\____________ closed               by the client, the connection
 *                                                                   or the deadline: nothing
 * follows
 *
 * Every callback may send, finish, or start something asynchronous; who does the latter takes a
 * count of the call (grpc_call_ref), finishes when the outcome is there, and gives the count back.
 * On a call that is over already, sending and finishing do nothing. */
struct grpc_method {
    const char *path;   /* "/etcdserverpb.KV/Put" */
    bool client_stream; /* more than one message may come */
    bool server_stream; /* more than one may be sent */
    size_t state_bytes; /* of grpc_call_state */
    const void *user;   /* for the method's owner */

    /* The headers have arrived (may be NULL). */
    void (*start)(struct grpc_call *call);
    /* A whole message; memory valid during the call. */
    void (*message)(struct grpc_call *call, struct bytes message);
    /* The client sends no more (may be NULL). Not for a unary call. */
    void (*half_close)(struct grpc_call *call);
    /* Asked for by grpc_call_want_writable (may be NULL). */
    void (*writable)(struct grpc_call *call);
    /* The call is over without grpc_call_finish: GRPC_CANCELLED (reset, connection lost) or
     * GRPC_DEADLINE_EXCEEDED, or what the client did wrong (may be NULL). */
    void (*closed)(struct grpc_call *call, enum grpc_status status);
    /* The call's memory is about to be used again: for what state owns (may be NULL). */
    void (*release)(struct grpc_call *call);
};

struct grpc_server_config {
    struct env *env;
    const struct grpc_method *methods; /* they and their names outlive the server */
    size_t method_count;
    void *ctx;                     /* grpc_call_ctx */
    size_t message_bytes_max;      /* received; 0: REQUEST_BYTES_DEFAULT + GRPC_OVERHEAD_BYTES */
    uint32_t streams_max;          /* per connection; 0: STREAMS_PER_CONNECTION_MAX */
    uint64_t ping_interval_ms;     /* of the server, on a silent connection; 0: 2 h */
    uint64_t ping_timeout_ms;      /* 0: 20 s */
    uint64_t ping_min_interval_ms; /* of clients with calls under way; 0: 5 s */
    uint64_t handshake_timeout_ms; /* preface and settings, and each header block; 0: 10 s */
};

MUST_CHECK enum err grpc_server_new(const struct grpc_server_config *config,
                                    struct grpc_server **ret);
/* After its ports are closed and every count of its calls is given back. */
void grpc_server_free(struct grpc_server *server);

/* Figures, counted from the start. Of the method at INDEX of the table: */
struct grpc_method_stats {
    uint64_t started;
    uint64_t received; /* messages */
    uint64_t sent;     /* messages */
    uint64_t handled[GRPC_STATUS_COUNT];
};
const struct grpc_method_stats *grpc_server_method_stats(const struct grpc_server *server,
                                                         size_t index);
struct grpc_server_stats {
    uint64_t received_bytes; /* messages with their prefixes */
    uint64_t sent_bytes;
    uint64_t connections; /* now */
    uint64_t calls;       /* now */
    uint64_t refused;     /* connections ended for a flood, a bad preface, a missed time */
    size_t pending_bytes; /* now: answers that wait for their clients */
    size_t large_bytes;   /* now: those of LARGE_ANSWER_BYTES_MIN and more among them */
    size_t held_bytes;    /* now: of calls and their requests, whole or not, until they have left */
};
const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server);

/* The call. */
const struct grpc_method *grpc_call_method(const struct grpc_call *call);
void *grpc_call_ctx(const struct grpc_call *call);        /* config.ctx */
void *grpc_call_state(struct grpc_call *call);            /* state_bytes, zero at first */
struct grpc_call *grpc_call_of_state(void *state);        /* the way back */
struct arena *grpc_call_arena(struct grpc_call *call);    /* lives as long as the call's memory */
const char *grpc_call_peer(const struct grpc_call *call); /* "10.0.0.1:4711" */
bool grpc_call_is_over(const struct grpc_call *call);

/* The value of a metadata key (in lower case); false when it was not sent. As sent: the value of a
 * key that ends in -bin is still base64. */
bool grpc_call_metadata(const struct grpc_call *call, const char *key, struct bytes *ret);

/* When the client gives up: monotonic nanoseconds of env; UINT64_MAX when it set no deadline. */
uint64_t grpc_call_deadline_ns(const struct grpc_call *call);

void grpc_call_ref(struct grpc_call *call);
void grpc_call_unref(struct grpc_call *call);

/* Send a message: a copy of the bytes, or the blob's bytes without a copy (a count is taken). */
void grpc_call_send(struct grpc_call *call, struct bytes message);
void grpc_call_send_blob(struct grpc_call *call, struct blob *blob);

/* Send one message made of parts: copied, or shared where BLOB says whose bytes they are. */
struct grpc_part {
    struct bytes bytes;
    struct blob *blob; /* NULL: copied */
};
void grpc_call_send_parts(struct grpc_call *call, const struct grpc_part *parts, size_t count);

/* End the call. MESSAGE is the client's text, NULL for none; not kept. */
void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message);
/* A unary call's whole answer at once. */
void grpc_call_answer(struct grpc_call *call, struct bytes message);
void grpc_call_answer_blob(struct grpc_call *call, struct blob *blob);

/* Bytes sent but not yet on their way. A stream waits at STREAM_SEND_BYTES_MAX: it calls
 * grpc_call_want_writable and goes on in `writable`, which comes once, in a later turn, when less
 * than half of that is left. While more waits, nothing more is read from the call's client. */
size_t grpc_call_pending_bytes(const struct grpc_call *call);
void grpc_call_want_writable(struct grpc_call *call);

/* The same for a stream without end, one of many, that is content with less: may it send, with less
 * than MAX bytes waiting, and not too much on its connection or in all? When not, it is asked again
 * in `writable`. */
bool grpc_call_has_room(struct grpc_call *call, size_t max);

#endif
