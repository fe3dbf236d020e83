/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/stream_private.h"

#define BACKLOG  1024
#define RETRY_MS 100
/* A connection may fail before it is accepted. When so many do, one after the other, it is the
 * system that has no room for any. */
#define FAILURES_MAX 16u

struct listener_socket {
    uv_tcp_t tcp;
    struct listener *listener;
    int spare;         /* the same socket once more: to go on with after tcp was closed; -1: none */
    unsigned failures; /* since the last connection that was accepted */
    bool waiting;      /* for memory */
    bool closed;       /* until it begins again */
};

struct listener {
    struct listener_config config;
    struct listener_socket sockets[RESOLVED_ADDRESSES_MAX];
    unsigned socket_count; /* that libuv knows */
    uint16_t port;
    unsigned connection_count;
    uint64_t refused_count; /* beyond connections_max, or files_kept */
    struct env_timer retry; /* of what waits until the system has room again */
    bool closing;
    void (*close_cb)(void *ctx);
    void *close_ctx;
};

/* The memory stays until the last of its connections is gone: they count themselves down here. */
static void free_when_unused(struct listener *listener)
{
    if (listener->closing && listener->socket_count == 0 && listener->connection_count == 0) {
        free(listener);
    }
}

static void on_connection_gone(void *ctx)
{
    struct listener *listener = ctx;
    listener->connection_count--;
    free_when_unused(listener);
}

/* The lowest descriptor that is free is the next: one that high says that the others are used. */
static bool leaves_files(const struct listener *listener, const uv_tcp_t *tcp)
{
    struct rlimit limit;
    uv_os_fd_t fd;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || uv_fileno((const uv_handle_t *)tcp, &fd) != 0) {
        return true;
    }
    rlim_t kept = listener->config.files_kept;
    kept = kept < limit.rlim_cur / 2 ? kept : limit.rlim_cur / 2;
    return (rlim_t)fd < limit.rlim_cur - kept;
}

static void accept_one(struct listener_socket *socket)
{
    struct listener *listener = socket->listener;
    struct stream *stream = stream_new(listener->config.env, listener->config.loop);
    if (stream == NULL) {
        socket->waiting = true; /* libuv offers no other before this one is accepted */
        env_timer_start(listener->config.env, &listener->retry, RETRY_MS);
        return;
    }
    if (uv_accept((uv_stream_t *)&socket->tcp, (uv_stream_t *)&stream->tcp) < 0) {
        stream_close(stream);
        return;
    }
    if (listener->connection_count >= listener->config.connections_max ||
        !leaves_files(listener, &stream->tcp)) {
        listener->refused_count++;
        stream_close(stream);
        return;
    }
    listener->connection_count++;
    stream->on_gone = on_connection_gone;
    stream->gone_ctx = listener;
    stream_connected(stream);
    listener->config.on_accept(listener->config.ctx, stream);
}

static void on_socket_closed(uv_handle_t *handle);

/* libuv asks for the next connection until there is none, however often that fails, and the loop
 * would stand still: so that it stops, the handle is closed. */
static void rest(struct listener_socket *socket)
{
    struct listener *listener = socket->listener;
    uv_close((uv_handle_t *)&socket->tcp, on_socket_closed);
    env_timer_start(listener->config.env, &listener->retry, RETRY_MS);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener_socket *socket = CONTAINER_OF((uv_tcp_t *)server, struct listener_socket, tcp);
    if (status == 0) {
        socket->failures = 0;
        accept_one(socket);
    } else if (++socket->failures >= FAILURES_MAX) {
        rest(socket);
    }
}

static int begin_again(struct listener_socket *socket)
{
    int fd = fcntl(socket->spare, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return UV_EMFILE;
    }
    int status = uv_tcp_init(socket->listener->config.loop, &socket->tcp);
    ASSERT(status == 0); /* makes no socket yet */
    socket->closed = false;
    socket->failures = 0;
    status = uv_tcp_open(&socket->tcp, fd);
    if (status < 0) {
        (void)close(fd); /* nobody else has it */
        return status;
    }
    return uv_listen((uv_stream_t *)&socket->tcp, BACKLOG, on_connection);
}

static void try_again(struct listener_socket *socket)
{
    if (socket->waiting) {
        socket->waiting = false;
        accept_one(socket);
    } else if (socket->closed && begin_again(socket) != 0) {
        if (!socket->closed) {
            uv_close((uv_handle_t *)&socket->tcp, on_socket_closed);
        }
        env_timer_start(socket->listener->config.env, &socket->listener->retry, RETRY_MS);
    }
}

static void on_retry(struct env_timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, retry);
    for (unsigned i = 0; i < listener->socket_count && !listener->closing; i++) {
        try_again(&listener->sockets[i]);
    }
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct listener_socket *socket = CONTAINER_OF((uv_tcp_t *)handle, struct listener_socket, tcp);
    struct listener *listener = socket->listener;
    socket->closed = true;
    if (!listener->closing) {
        return; /* it rests */
    }
    listener->socket_count--;
    if (listener->socket_count == 0) {
        if (listener->close_cb != NULL) {
            listener->close_cb(listener->close_ctx);
        }
        free_when_unused(listener);
    }
}

static void close_socket(struct listener_socket *socket)
{
    if (socket->spare >= 0) {
        (void)close(socket->spare); /* a second name of what is closed below */
    }
    if (socket->closed) { /* on_socket_closed is to come all the same */
        int status = uv_tcp_init(socket->listener->config.loop, &socket->tcp);
        ASSERT(status == 0);
    }
    if (!uv_is_closing((uv_handle_t *)&socket->tcp)) {
        uv_close((uv_handle_t *)&socket->tcp, on_socket_closed);
    }
}

void listener_close(struct listener *listener, void (*cb)(void *ctx), void *ctx)
{
    ASSERT(!listener->closing);
    listener->closing = true;
    env_timer_stop(listener->config.env, &listener->retry);
    listener->close_cb = cb;
    listener->close_ctx = ctx;
    for (unsigned i = 0; i < listener->socket_count; i++) {
        close_socket(&listener->sockets[i]);
    }
}

/* The port that the kernel chose for the first socket is the others' too. */
static void learn_port(struct listener *listener, const uv_tcp_t *tcp)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    if (listener->port == 0 && uv_tcp_getsockname(tcp, (struct sockaddr *)&address, &len) == 0) {
        listener->port = address.ss_family == AF_INET6
                             ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                             : ntohs(((struct sockaddr_in *)&address)->sin_port);
    }
}

static int listen_on(struct listener *listener, const struct addrinfo *at, bool alone,
                     struct why *why)
{
    struct listener_socket *socket = &listener->sockets[listener->socket_count];
    struct sockaddr_storage address = {0};
    memcpy(&address, at->ai_addr, at->ai_addrlen);
    if (address.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_port = htons(listener->port);
    } else {
        ((struct sockaddr_in *)&address)->sin_port = htons(listener->port);
    }
    int status = uv_tcp_init(listener->config.loop, &socket->tcp);
    ASSERT(status == 0); /* makes no socket yet */
    socket->listener = listener;
    socket->spare = -1;
    listener->socket_count++;
    unsigned flags = address.ss_family == AF_INET6 && !alone ? UV_TCP_IPV6ONLY : 0;
    status = uv_tcp_bind(&socket->tcp, (const struct sockaddr *)&address, flags);
    uv_os_fd_t fd;
    if (status == 0 && uv_fileno((const uv_handle_t *)&socket->tcp, &fd) == 0) {
        stream_prepare(fd, (const struct sockaddr *)&address); /* connections inherit it */
        socket->spare = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        status = socket->spare < 0 ? UV_EMFILE : 0;
    }
    if (status == 0) {
        status = uv_listen((uv_stream_t *)&socket->tcp, BACKLOG, on_connection);
    }
    if (status < 0) {
        char text[STREAM_PEER_SIZE];
        stream_format_address((const struct sockaddr *)&address, text, sizeof text);
        why_set(why, "listen on %s: %s", text, uv_strerror(status));
        return status;
    }
    learn_port(listener, &socket->tcp);
    return 0;
}

/* Every address of the host; those of a kind that this machine lacks may be missing when others are
 * there ("localhost" without IPv6). */
static enum err listen_on_all(struct listener *listener, const struct addrinfo *found,
                              struct why *why)
{
    bool alone = found->ai_next == NULL; /* "::" then takes IPv4 as well */
    unsigned listening = 0;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        if ((at->ai_family != AF_INET && at->ai_family != AF_INET6) ||
            listener->socket_count == RESOLVED_ADDRESSES_MAX) {
            continue;
        }
        int status = listen_on(listener, at, alone, why);
        if (status == 0) {
            listening++;
        } else if (status != UV_EADDRNOTAVAIL && status != UV_EAFNOSUPPORT) {
            return status == UV_EADDRINUSE ? ERR_EXISTS : status == UV_ENOMEM ? ERR_NOMEM : ERR_IO;
        }
    }
    return listening > 0 ? OK : ERR_IO;
}

enum err listener_open(const struct listener_config *config, struct listener **ret, struct why *why)
{
    char port[8];
    snprintf(port, sizeof port, "%u", config->addr.port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int failure = getaddrinfo(config->addr.host, port, &hints, &found);
    if (failure != 0) {
        why_set(why, "listen on %s: resolve the name: %s", config->addr.host,
                gai_strerror(failure));
        return ERR_INVALID;
    }
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        freeaddrinfo(found);
        return ERR_NOMEM;
    }
    listener->config = *config;
    listener->port = config->addr.port;
    env_timer_init(&listener->retry, on_retry);
    enum err err = listen_on_all(listener, found, why);
    freeaddrinfo(found);
    if (err != OK && listener->socket_count == 0) {
        why_set(why, "listen on %s: it has no address", config->addr.host);
        free(listener);
        return err;
    }
    if (err != OK) {
        listener_close(listener, NULL, NULL); /* freed in the loop's next turn */
        return err;
    }
    *ret = listener;
    return OK;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}
