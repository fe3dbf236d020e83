/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP1_H
#define NET_HTTP1_H

#include "net/stream.h"

/* HTTP/1.x requests on a connection whose bytes somebody else reads: one request at a time,
 * keep-alive, pipelining (the next one waits), chunked bodies, HEAD. Everything that a client sends
 * is capped; what is malformed or too large is answered once and the connection closed; a client
 * that is slow to send its request is closed. */
struct http1_request;
struct http1_server {
    struct env *env;
    size_t body_bytes_max;
    uint64_t request_timeout_ms; /* from the first byte of a request to its last */
    uint64_t idle_timeout_ms;    /* between requests */
    /* A whole request has arrived. Answer now or later, once, with http1_respond. */
    void (*on_request)(void *ctx, struct http1_request *request);
    void *ctx;
};

struct http1_header {
    struct bytes name; /* in lower case */
    struct bytes value;
};

/* Owned by the module; valid until it is answered. */
struct http1_request {
    struct bytes method; /* "GET" */
    struct bytes path;   /* before the question mark, as sent */
    struct bytes query;  /* after it */
    struct http1_header *headers;
    size_t header_count;
    struct bytes body;
    void *user;
    /* The client has gone before the answer; may be NULL. The request is gone when it returns. */
    void (*on_gone)(struct http1_request *request);
};

struct http1_conn;

/* A connection that begins with the next bytes given to http1_conn_input. The server struct
 * outlives it. NULL: no memory. */
struct http1_conn *http1_conn_new(const struct http1_server *server, struct stream *stream);
void http1_conn_input(struct http1_conn *conn, struct bytes bytes);
/* The stream has taken what was queued: go on with requests that waited for that. */
void http1_conn_drained(struct http1_conn *conn);
/* The stream is over. */
void http1_conn_free(struct http1_conn *conn);
/* Answer what is under way, then close. */
void http1_conn_drain(struct http1_conn *conn);

/* The value of a header (NAME in lower case) or of a query parameter ("a=1&b" has a and b); false
 * when there is none. INDEX picks among several of the same name. Query values are returned as
 * sent. */
bool http1_header_find(const struct http1_request *request, const char *name, struct bytes *ret);
bool http1_query_find(const struct http1_request *request, const char *name, unsigned index,
                      struct bytes *ret);

/* Answer; the request is gone afterwards. EXTRA: more header lines, each ended by CRLF, or NULL. */
void http1_respond(struct http1_request *request, unsigned status, const char *content_type,
                   const char *extra, struct bytes body);

#endif
