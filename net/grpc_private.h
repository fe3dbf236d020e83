/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRPC_PRIVATE_H
#define NET_GRPC_PRIVATE_H

#include <stdalign.h>

#include "base/map.h"
#include "net/grpc.h"
#include "net/grpc_frame.h"
#include "net/http2.h"

/* A method with what the server keeps about it. */
struct grpc_slot {
    const struct grpc_method *method;
    struct bytes path;
    struct map_link link; /* in server->slots_by_path */
    struct grpc_method_stats stats;
    struct grpc_call *free_calls; /* to be used again */
    unsigned free_count;
};

struct grpc_server {
    struct grpc_server_config config;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct grpc_slot *slots;
    struct map slots_by_path;
    struct grpc_server_stats stats;
    struct mempool pool; /* of sessions, their headers, and answers */
};

/* NULL: no such method. */
struct grpc_slot *grpc_server_find(struct grpc_server *server, struct bytes path);
bool grpc_server_knows_service(const struct grpc_server *server, struct bytes service);

struct metadata {
    nghttp2_rcbuf *name;
    nghttp2_rcbuf *value;
};

/* The headers of a request while they arrive: they come in one piece, so a connection needs one. */
#define METADATA_MAX 32
struct opening {
    bool active;
    int32_t stream_id;
    size_t bytes; /* of the header list so far, as RFC 9113 6.5.2 counts */
    bool is_post;
    bool regular_seen;    /* no pseudo-header may follow */
    unsigned pseudo_seen; /* those that came, as bits */
    nghttp2_rcbuf *content_type;
    bool timeout_is_bad;
    uint64_t timeout_ns; /* UINT64_MAX: none */
    struct grpc_slot *slot;
    nghttp2_rcbuf *path;     /* when the slot was not found */
    nghttp2_rcbuf *encoding; /* grpc-encoding, when it is not "identity" */
    struct metadata metadata[METADATA_MAX];
    unsigned metadata_count;
    size_t metadata_bytes;
};

/*        grpc_call_new
 *             |
 *           OPEN -- grpc_call_finish, or ended by the client, the connection, the deadline --> OVER
 *
 * An OVER call is on its connection (conn != NULL) until its last bytes have left or the stream is
 * gone. The connection holds one count meanwhile. */
struct grpc_call {
    struct grpc_server *server;
    struct grpc_slot *slot;
    struct grpc_conn *conn;
    struct queue link;    /* in conn->calls */
    struct queue waiting; /* in conn->waiting: wants_writable or overflow */
    int32_t stream_id;
    unsigned refs;
    bool over;
    bool half_closed;  /* the client sends no more */
    bool got_message;  /* at least one */
    bool sent_headers; /* the response has been submitted */
    bool wants_writable;
    size_t writable_below; /* wants_writable: when less than this waits */
    bool overflow;         /* too much waits on the connection: to be ended at the flush */
    size_t unconsumed;     /* received bytes whose window is kept back */
    size_t held_bytes;     /* of itself, inbox, metadata and arena, as counted in conn and server */
    struct grpc_frame_reader inbox;
    struct http2_out out;
    enum grpc_status status;  /* once over */
    struct bytes status_text; /* percent-encoded, in the arena */
    uint64_t deadline_ns;
    struct env_timer deadline;
    struct metadata *metadata; /* in the arena */
    unsigned metadata_count;
    size_t metadata_bytes;
    struct arena arena;
    struct grpc_call *next_free;
    alignas(max_align_t) uint8_t state[];
};

/* The call of a request whose headers have arrived, as nghttp2's stream user data; NULL: no
 * memory. */
struct grpc_call *grpc_call_new(struct grpc_conn *conn, struct opening *opening);
/* Bytes of its request. */
void grpc_call_input(struct grpc_call *call, struct bytes bytes);
void grpc_call_half_close(struct grpc_call *call);
/* The stream is gone: forget the connection. */
void grpc_call_detach(struct grpc_call *call);
/* End it from here: answer the client, tell the method. */
void grpc_call_fail(struct grpc_call *call, enum grpc_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* At the flush, for a call in conn->waiting; true when a callback of the method ran. */
bool grpc_call_tend(struct grpc_call *call);
/* Memory of unused calls. */
void grpc_call_free_unused(struct grpc_slot *slot);

/* Trailers without anything before them. */
void grpc_answer_status(nghttp2_session *session, int32_t stream_id, const char *http_status,
                        enum grpc_status status, struct bytes text);

struct grpc_conn {
    struct http2 h2;
    struct grpc_server *server;
    struct queue calls;   /* all whose streams exist */
    struct queue waiting; /* those to be looked at in the flush */
    size_t held_bytes;
    size_t large_bytes; /* of h2.pending_bytes, those of large answers */
    struct opening opening;
    struct grpc_slot *recent_slots[8]; /* by their paths */
    struct env_timer timer;
    enum grpc_conn_awaits { AWAIT_SETTINGS, AWAIT_HEADERS, AWAIT_INPUT, AWAIT_PONG } awaits;
    int32_t awaited_stream; /* AWAIT_HEADERS: of this stream */
    uint64_t last_input_ms;
    uint64_t last_ping_ms; /* of the client */
    unsigned ping_strikes;
    bool sent_since_ping; /* by us: headers or data */
    bool banned;          /* to be closed at the flush */
    bool deaf;            /* it is not read: it does not read either, or had its turn */
    size_t turn_bytes;    /* of its input in this turn */
    unsigned invalid_frames;
    unsigned sweeps; /* those of the client, less what is forgiven with time */
    uint64_t forgiven_ms;
    bool draining;
    bool said_last; /* the final GOAWAY */
};

/* The headers of a request, as they come; opening_take_header: false: malformed, the stream is to
 * be reset. opening_check answers what can be no call (false). */
void opening_begin(struct opening *opening, int32_t stream_id);
MUST_CHECK bool opening_take_header(struct grpc_conn *conn, nghttp2_rcbuf *name,
                                    nghttp2_rcbuf *value);
bool opening_check(struct grpc_conn *conn);
void opening_end(struct opening *opening);

/* The session callbacks of all connections. */
MUST_CHECK enum err grpc_conn_callbacks(nghttp2_session_callbacks **ret);

/* A connection that begins with the next bytes given to grpc_conn_input; NULL: no memory. The port
 * that owns the stream hands everything on. */
struct grpc_conn *grpc_conn_new(struct grpc_server *server, struct stream *stream);
void grpc_conn_input(struct grpc_conn *conn, struct bytes bytes);
void grpc_conn_flush(struct grpc_conn *conn);
/* The stream is over: end the calls. */
void grpc_conn_free(struct grpc_conn *conn);
/* What waits on it, of large answers or of everything else. */
size_t grpc_conn_pending(const struct grpc_conn *conn, bool large);
/* Do its calls hold so much that MORE is refused: more than a connection may, or more than its
 * equal part while all together have too much? */
bool grpc_conn_holds_too_much(const struct grpc_conn *conn, size_t more);
/* Tell the client to send no new calls; the connection closes after the last one. */
void grpc_conn_drain(struct grpc_conn *conn);

#endif
