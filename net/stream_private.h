/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_STREAM_PRIVATE_H
#define NET_STREAM_PRIVATE_H

#include "net/sendqueue.h"
#include "net/stream.h"

/*             stream_start             stream_close_after_flush
 *   NEW ------------------------> OPEN -----------------------> LINGERING
 *    |                             |                                |
 *    | stream_close                | stream_close, end, error       | peer's end, grace over, error
 *    +-----------------------------+--------------------------------+--------> CLOSING --> freed
 */
enum stream_state { STREAM_NEW, STREAM_OPEN, STREAM_LINGERING, STREAM_CLOSING };

#define STREAM_PEER_SIZE 64 /* "[an IPv6 address%zone]:port" */

struct stream {
    uv_tcp_t tcp;
    struct env *env;
    enum stream_state state;
    bool reading;
    bool flushing; /* on_flush runs: what it writes needs no other task */
    bool said_end; /* LINGERING: everything has left */
    const struct stream_callbacks *callbacks;
    void *ctx;
    struct sendqueue out;
    size_t write_bytes; /* given to uv_write, not yet reported; 0: none */
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct env_task flush;
    struct env_timer grace;
    uint64_t grace_ms;
    size_t grace_left_bytes;         /* when it began */
    void (*on_gone)(void *gone_ctx); /* the listener counts; NULL: nobody does */
    void *gone_ctx;
    enum err close_status;
    struct why close_why;
    char peer[STREAM_PEER_SIZE];
};

/* A stream in NEW with an unconnected socket; NULL: no memory. Ended by stream_close. */
struct stream *stream_new(struct env *env, uv_loop_t *loop);

/* The socket is connected: set its options, learn the peer's name. */
void stream_connected(struct stream *stream);

/* A socket that is to listen on ADDRESS or to connect to it: options that must be there before a
 * connection is. */
void stream_prepare(int fd, const struct sockaddr *address);

/* "10.0.0.1:4711" or "[::1]:4711". */
void stream_format_address(const struct sockaddr *address, char *text, size_t size);

#endif
