/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http1.h"

#include <ctype.h>
#include <http_parser.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"

/* The parser calls back for pieces of names and values. They are collected in one buffer; views
 * into it are made when the request is whole and the buffer moves no more. */

#define HEADERS_MAX    100
#define CLOSE_GRACE_MS 2000
#define PENDING_MAX    (64u * 1024) /* bytes of further requests that wait for an answer */

struct span {
    size_t offset;
    size_t len;
};

struct http1_conn {
    const struct http1_server *server;
    struct stream *stream;
    http_parser parser;
    struct buf text; /* URL, header names and values, body */
    struct span url;
    struct span names[HEADERS_MAX];
    struct span values[HEADERS_MAX];
    struct http1_header headers[HEADERS_MAX];
    size_t header_count;
    bool in_value;
    struct span body;
    unsigned refusal; /* the status that ended parsing, 0: none */
    bool answering;   /* a whole request waits for http1_respond */
    bool keep_alive;
    bool draining;
    struct buf pending; /* input that came while answering */
    struct http1_request request;
    struct env_timer timer;
    struct env_timer next; /* the next request may be here already: in the next turn */
};

static void parse_pending(struct http1_conn *conn);

static void grow_span(struct http1_conn *conn, struct span *span, const char *at, size_t len)
{
    if (span->len == 0) {
        span->offset = conn->text.len;
    }
    buf_append(&conn->text, at, len);
    span->len += len;
}

static struct bytes view(const struct http1_conn *conn, struct span span)
{
    return bytes_of(conn->text.data + span.offset, span.len);
}

static int refuse(struct http1_conn *conn, unsigned status)
{
    conn->refusal = status;
    return -1; /* ends http_parser_execute */
}

static int check_header_size(struct http1_conn *conn)
{
    return conn->text.len > HTTP1_HEADER_BYTES_MAX ? refuse(conn, 431) : 0;
}

static int on_message_begin(http_parser *parser)
{
    struct http1_conn *conn = parser->data;
    buf_clear(&conn->text);
    conn->url = conn->body = (struct span){0};
    conn->header_count = 0;
    conn->in_value = true; /* the next name begins a header */
    env_timer_start(conn->server->env, &conn->timer, conn->server->request_timeout_ms);
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct http1_conn *conn = parser->data;
    grow_span(conn, &conn->url, at, len);
    return check_header_size(conn);
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct http1_conn *conn = parser->data;
    if (conn->in_value) {
        if (conn->header_count == HEADERS_MAX) {
            return refuse(conn, 431);
        }
        conn->names[conn->header_count] = (struct span){0};
        conn->values[conn->header_count] = (struct span){0};
        conn->header_count++;
        conn->in_value = false;
    }
    grow_span(conn, &conn->names[conn->header_count - 1], at, len);
    return check_header_size(conn);
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct http1_conn *conn = parser->data;
    conn->in_value = true;
    grow_span(conn, &conn->values[conn->header_count - 1], at, len);
    return check_header_size(conn);
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct http1_conn *conn = parser->data;
    if (conn->body.len + len > conn->server->body_bytes_max) {
        return refuse(conn, 413);
    }
    grow_span(conn, &conn->body, at, len);
    return 0;
}

/* RFC 9110 5.6.2; the parser lets spaces pass, which others read as the end of the name. */
static bool is_token(struct bytes text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < text.len; i++) {
        if (!isalnum(text.data[i]) && memchr(marks, text.data[i], sizeof marks - 1) == NULL) {
            return false;
        }
    }
    return text.len > 0;
}

static int on_message_complete(http_parser *parser)
{
    struct http1_conn *conn = parser->data;
    if (!buf_ok(&conn->text)) {
        return -1; /* parse ends the connection */
    }
    if (parser->http_major != 1) {
        return refuse(conn, 505);
    }
    for (size_t i = 0; i < conn->header_count; i++) {
        if (!is_token(view(conn, conn->names[i]))) {
            return refuse(conn, 400);
        }
    }
    conn->answering = true;
    conn->keep_alive = http_should_keep_alive(parser) != 0;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void on_timeout(struct env_timer *timer)
{
    struct http1_conn *conn = CONTAINER_OF(timer, struct http1_conn, timer);
    stream_close(conn->stream);
}

static void on_next(struct env_timer *timer)
{
    parse_pending(CONTAINER_OF(timer, struct http1_conn, next));
}

struct http1_conn *http1_conn_new(const struct http1_server *server, struct stream *stream)
{
    struct http1_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->server = server;
    conn->stream = stream;
    http_parser_init(&conn->parser, HTTP_REQUEST);
    conn->parser.data = conn;
    env_timer_init(&conn->timer, on_timeout);
    env_timer_init(&conn->next, on_next);
    env_timer_start(server->env, &conn->timer, server->request_timeout_ms);
    return conn;
}

void http1_conn_free(struct http1_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    if (conn->answering && conn->request.on_gone != NULL) {
        conn->request.on_gone(&conn->request);
    }
    env_timer_stop(conn->server->env, &conn->timer);
    env_timer_stop(conn->server->env, &conn->next);
    buf_fini(&conn->text);
    buf_fini(&conn->pending);
    free(conn);
}

static void make_request(struct http1_conn *conn)
{
    for (size_t i = 0; i < conn->header_count; i++) {
        uint8_t *name = conn->text.data + conn->names[i].offset;
        for (size_t j = 0; j < conn->names[i].len; j++) {
            name[j] = (uint8_t)tolower(name[j]);
        }
        conn->headers[i].name = view(conn, conn->names[i]);
        conn->headers[i].value = view(conn, conn->values[i]);
    }
    struct bytes url = view(conn, conn->url);
    const uint8_t *mark = url.len == 0 ? NULL : memchr(url.data, '?', url.len);
    size_t path_len = mark == NULL ? url.len : (size_t)(mark - url.data);
    conn->request = (struct http1_request){
        .method = bytes_of_str(http_method_str((enum http_method)conn->parser.method)),
        .path = bytes_of(url.data, path_len),
        .query = mark == NULL ? bytes_of(NULL, 0) : bytes_of(mark + 1, url.len - path_len - 1),
        .headers = conn->headers,
        .header_count = conn->header_count,
        .body = view(conn, conn->body),
    };
}

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
#define REASON(num, name, string) {num, #string},
        HTTP_STATUS_MAP(REASON)
#undef REASON
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Unknown";
}

static void write_answer(struct http1_conn *conn, unsigned status, const char *content_type,
                         const char *extra, struct bytes body, bool keep_alive)
{
    CLEANUP(buf_fini) struct buf head = {0};
    bool is_head = conn->parser.method == HTTP_HEAD;
    buf_printf(&head, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
               status, reason_of(status), content_type, body.len, extra == NULL ? "" : extra,
               keep_alive ? "" : "Connection: close\r\n");
    if (!is_head) {
        buf_append_bytes(&head, body);
    }
    if (!buf_ok(&head)) {
        stream_close(conn->stream);
        return;
    }
    stream_write(conn->stream, buf_bytes(&head));
    if (!keep_alive) {
        stream_close_after_flush(conn->stream, CLOSE_GRACE_MS);
    }
}

/* The request cannot be understood: say so and close. */
static void answer_refusal(struct http1_conn *conn)
{
    unsigned status = conn->refusal != 0 ? conn->refusal : 400;
    conn->draining = true;
    conn->answering = false;
    env_timer_stop(conn->server->env, &conn->timer);
    char text[64];
    snprintf(text, sizeof text, "%u %s\n", status, reason_of(status));
    write_answer(conn, status, "text/plain; charset=utf-8", NULL, bytes_of_str(text), false);
}

/* Parse; false when the connection takes no more. May call on_request, which may answer at once. */
static bool parse(struct http1_conn *conn, struct bytes bytes)
{
    size_t used =
        http_parser_execute(&conn->parser, &settings, (const char *)bytes.data, bytes.len);
    if (!buf_ok(&conn->text)) {
        stream_close(conn->stream);
        return false;
    }
    if (conn->answering) {
        /* Paused at the end of a message: "used" stops at its last byte. */
        struct bytes rest = bytes_of(bytes.data + used, bytes.len - used);
        if (rest.len > PENDING_MAX) {
            conn->refusal = 413;
            answer_refusal(conn);
            return false;
        }
        buf_append_bytes(&conn->pending, rest);
        env_timer_stop(conn->server->env, &conn->timer);
        make_request(conn);
        return true;
    }
    if (HTTP_PARSER_ERRNO(&conn->parser) != HPE_OK || conn->parser.upgrade) {
        answer_refusal(conn);
        return false;
    }
    return true;
}

/* Does the client read its answers too slowly to ask for more? */
static bool is_full(const struct http1_conn *conn)
{
    return stream_queued_bytes(conn->stream) >= STREAM_TURN_BYTES;
}

/* The request before has no answer yet, or had it in this turn. */
static bool must_wait(const struct http1_conn *conn)
{
    return conn->answering || env_timer_active(&conn->next);
}

/* The next request, when it is here and the one before has been answered. One a turn: some cost a
 * millisecond, and the answer to HEAD is short. When answers pile up nothing more is read until
 * http1_conn_drained. */
static void parse_pending(struct http1_conn *conn)
{
    if (must_wait(conn) || conn->draining || conn->pending.len == 0) {
        return;
    }
    if (is_full(conn)) {
        stream_pause(conn->stream, true);
        return;
    }
    CLEANUP(buf_fini) struct buf input = conn->pending;
    conn->pending = (struct buf){0};
    if (parse(conn, buf_bytes(&input)) && conn->answering) {
        conn->server->on_request(conn->server->ctx, &conn->request);
    }
}

void http1_conn_input(struct http1_conn *conn, struct bytes bytes)
{
    if (conn->draining) {
        return;
    }
    if (conn->pending.len + bytes.len > PENDING_MAX && must_wait(conn)) {
        stream_close(conn->stream); /* a client that sends on without reading answers */
        return;
    }
    buf_append_bytes(&conn->pending, bytes);
    if (!buf_ok(&conn->pending)) {
        stream_close(conn->stream);
        return;
    }
    parse_pending(conn);
}

void http1_conn_drained(struct http1_conn *conn)
{
    stream_pause(conn->stream, false);
    parse_pending(conn);
}

void http1_conn_drain(struct http1_conn *conn)
{
    conn->keep_alive = false;
    if (!conn->answering && !conn->draining) {
        conn->draining = true;
        stream_close_after_flush(conn->stream, CLOSE_GRACE_MS);
    }
}

bool http1_header_find(const struct http1_request *request, const char *name, struct bytes *ret)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (bytes_equal(request->headers[i].name, bytes_of_str(name))) {
            *ret = request->headers[i].value;
            return true;
        }
    }
    return false;
}

bool http1_query_find(const struct http1_request *request, const char *name, unsigned index,
                      struct bytes *ret)
{
    size_t name_len = strlen(name);
    const uint8_t *at = request->query.data;
    const uint8_t *end = at + request->query.len;
    while (at < end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        size_t len = (size_t)(stop - at);
        bool same = len >= name_len && memcmp(at, name, name_len) == 0 &&
                    (len == name_len || at[name_len] == '=');
        if (same && index-- == 0) {
            size_t skip = len == name_len ? name_len : name_len + 1;
            *ret = bytes_of(at + skip, len - skip);
            return true;
        }
        at = stop + 1;
    }
    return false;
}

void http1_respond(struct http1_request *request, unsigned status, const char *content_type,
                   const char *extra, struct bytes body)
{
    struct http1_conn *conn = CONTAINER_OF(request, struct http1_conn, request);
    ASSERT(conn->answering);
    conn->answering = false;
    write_answer(conn, status, content_type, extra, body, conn->keep_alive);
    if (!conn->keep_alive) {
        conn->draining = true;
        return;
    }
    http_parser_pause(&conn->parser, 0);
    env_timer_start(conn->server->env, &conn->timer, conn->server->idle_timeout_ms);
    if (conn->pending.len > 0) {
        env_timer_start(conn->server->env, &conn->next, 0);
    }
}
