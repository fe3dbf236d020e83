/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "net/stream.h"

/* Accepts TCP connections on one address (IPv4, IPv6 or a name: every address it resolves to), up
 * to a cap; beyond it new connections are closed at once and counted. */
struct listener;

struct listener_config {
    struct env *env;
    uv_loop_t *loop;
    struct addr addr; /* port 0: the kernel picks one, listener_port tells */
    unsigned connections_max;
    /* Descriptors, or half of all, that connections leave to others; may be 0. */
    unsigned files_kept;
    /* A new connection: the callee owns it and calls stream_start or stream_close. */
    void (*on_accept)(void *ctx, struct stream *stream);
    void *ctx;
};

/* ERR_EXISTS with a clear text when the address is in use. */
MUST_CHECK enum err listener_open(const struct listener_config *config, struct listener **ret,
                                  struct why *why);
uint16_t listener_port(const struct listener *listener);
void listener_close(struct listener *listener, void (*cb)(void *ctx), void *ctx);

#endif
