/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "net/stream_private.h"

/* Connecting: resolve the name, then try its addresses in turn, each with its share of the time.
 *
 *   RESOLVING --> ATTEMPT --> ATTEMPT ... --> REPORT (next turn): on_connect with the last failure
 *                    \____ connected: on_connect
 *
 * Whatever ends it, the memory stays until libuv has called back what is outstanding. */
struct stream_connect_request {
    struct env *env;
    uv_loop_t *loop;
    stream_connect_cb cb;
    void *ctx;
    char target[ADDR_TEXT_SIZE];
    uint64_t deadline_ms;
    bool over;        /* reported or cancelled: no callback any more */
    bool outstanding; /* libuv will call on_resolved or on_connected */
    bool timed_out;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct env_timer timer; /* of the step that runs */
    struct stream *stream;  /* of the attempt that runs */
    struct sockaddr_storage addresses[RESOLVED_ADDRESSES_MAX];
    unsigned address_count;
    unsigned next_address;
    enum err status;
    struct why why;
};

static void free_unless_outstanding(struct stream_connect_request *request)
{
    if (!request->outstanding) {
        free(request);
    }
}

static void report(struct stream_connect_request *request, struct stream *stream)
{
    request->over = true;
    env_timer_stop(request->env, &request->timer);
    request->cb(request->ctx, stream, request->status, request->why.text);
    free_unless_outstanding(request);
}

static void report_next_turn(struct stream_connect_request *request)
{
    env_timer_start(request->env, &request->timer, 0);
}

static void fail(struct stream_connect_request *request, const char *what, int uv_status)
{
    request->status = uv_status == UV_ENOMEM ? ERR_NOMEM : ERR_CONNECT;
    why_set(&request->why, "connect to %s: %s%s", request->target, what, uv_strerror(uv_status));
}

static void fail_timeout(struct stream_connect_request *request)
{
    request->status = ERR_TIMEOUT;
    why_set(&request->why, "connect to %s: timed out", request->target);
}

static void on_connected(uv_connect_t *connect, int status);

static int open_socket(uv_tcp_t *tcp, const struct sockaddr *address)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return uv_translate_sys_error(errno);
    }
    stream_prepare(fd, address);
    int status = uv_tcp_open(tcp, fd);
    if (status < 0) {
        close(fd);
    }
    return status;
}

static bool attempt(struct stream_connect_request *request)
{
    const struct sockaddr *address =
        (const struct sockaddr *)&request->addresses[request->next_address++];
    request->stream = stream_new(request->env, request->loop);
    if (request->stream == NULL) {
        fail(request, "", UV_ENOMEM);
        return false;
    }
    int status = open_socket(&request->stream->tcp, address);
    if (status == 0) {
        status = uv_tcp_connect(&request->connect, &request->stream->tcp, address, on_connected);
    }
    if (status < 0) {
        fail(request, "", status);
        stream_close(TAKE(request->stream));
        return false;
    }
    request->outstanding = true;
    uint64_t now = env_now_ms(request->env);
    uint64_t left_ms = request->deadline_ms > now ? request->deadline_ms - now : 0;
    env_timer_start(request->env, &request->timer,
                    left_ms / (request->address_count - request->next_address + 1));
    return true;
}

static void try_addresses(struct stream_connect_request *request)
{
    while (request->next_address < request->address_count) {
        if (attempt(request)) {
            return;
        }
    }
    report_next_turn(request);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct stream_connect_request *request =
        CONTAINER_OF(connect, struct stream_connect_request, connect);
    request->outstanding = false;
    struct stream *stream = TAKE(request->stream);
    if (request->over) {
        free(request); /* its stream is being closed */
        return;
    }
    env_timer_stop(request->env, &request->timer);
    if (status == 0) {
        stream_connected(stream);
        request->status = OK;
        request->why.text[0] = '\0';
        report(request, stream);
        return;
    }
    if (request->timed_out) {
        request->timed_out = false;
        fail_timeout(request); /* on_step_timeout closed the stream */
    } else {
        fail(request, "", status);
        stream_close(stream);
    }
    try_addresses(request);
}

static void add_address(struct stream_connect_request *request, const struct sockaddr *address)
{
    size_t size = 0;
    if (address->sa_family == AF_INET) {
        size = sizeof(struct sockaddr_in);
    } else if (address->sa_family == AF_INET6) {
        size = sizeof(struct sockaddr_in6);
    }
    if (size > 0 && request->address_count < RESOLVED_ADDRESSES_MAX) {
        memcpy(&request->addresses[request->address_count++], address, size);
    }
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct stream_connect_request *request =
        CONTAINER_OF(resolve, struct stream_connect_request, resolve);
    request->outstanding = false;
    if (request->over) {
        uv_freeaddrinfo(found);
        free(request);
        return;
    }
    if (status < 0) {
        fail(request, "resolve the name: ", status);
        report(request, NULL);
        return;
    }
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        add_address(request, at->ai_addr);
    }
    uv_freeaddrinfo(found);
    if (request->address_count == 0) {
        fail(request, "resolve the name: ", UV_EAI_NONAME);
        report(request, NULL);
        return;
    }
    try_addresses(request);
}

static void on_step_timeout(struct env_timer *timer)
{
    struct stream_connect_request *request =
        CONTAINER_OF(timer, struct stream_connect_request, timer);
    if (!request->outstanding) {
        report(request, NULL); /* report_next_turn */
    } else if (request->stream != NULL) {
        request->timed_out = true;
        stream_close(request->stream); /* on_connected goes on */
    } else {
        fail_timeout(request);
        (void)uv_cancel((uv_req_t *)&request->resolve); /* a running look-up ends by itself */
        report(request, NULL);
    }
}

static bool parse_ip(struct stream_connect_request *request, const struct addr *addr)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (uv_ip4_addr(addr->host, addr->port, &in) == 0) {
        add_address(request, (const struct sockaddr *)&in);
        return true;
    }
    if (uv_ip6_addr(addr->host, addr->port, &in6) == 0) {
        add_address(request, (const struct sockaddr *)&in6);
        return true;
    }
    return false;
}

static int resolve(struct stream_connect_request *request, const struct addr *addr)
{
    char port[8];
    snprintf(port, sizeof port, "%u", addr->port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    return uv_getaddrinfo(request->loop, &request->resolve, on_resolved, addr->host, port, &hints);
}

enum err stream_connect(struct env *env, uv_loop_t *loop, const struct addr *addr,
                        uint64_t timeout_ms, stream_connect_cb cb, void *ctx,
                        struct stream_connect_request **ret)
{
    struct stream_connect_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return ERR_NOMEM;
    }
    request->env = env;
    request->loop = loop;
    request->cb = cb;
    request->ctx = ctx;
    request->deadline_ms = env_now_ms(env) + timeout_ms;
    addr_format(addr, request->target, sizeof request->target);
    env_timer_init(&request->timer, on_step_timeout);
    if (parse_ip(request, addr)) {
        try_addresses(request);
    } else {
        int status = resolve(request, addr);
        if (status < 0) {
            fail(request, "resolve the name: ", status);
            report_next_turn(request);
        } else {
            request->outstanding = true;
            env_timer_start(env, &request->timer, timeout_ms);
        }
    }
    *ret = request;
    return OK;
}

void stream_connect_cancel(struct stream_connect_request *request)
{
    ASSERT(!request->over);
    request->over = true;
    env_timer_stop(request->env, &request->timer);
    if (request->stream != NULL) {
        stream_close(request->stream);
    } else if (request->outstanding) {
        (void)uv_cancel((uv_req_t *)&request->resolve);
    }
    free_unless_outstanding(request);
}
