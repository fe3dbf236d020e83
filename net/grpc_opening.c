/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/limits.h"
#include "net/grpc_private.h"

/* The headers of a request, until there is a call; and the answers to those that become none.
 *
 * What makes headers malformed (RFC 9113 8.2, 8.3) is checked here and not by nghttp2, which also
 * resets a stream whose :authority is not a host and port: etcd's clients put there what their user
 * gave as the endpoint, "http://10.0.0.1:2379" included. Nobody here reads it. */

static struct bytes view(nghttp2_rcbuf *rcbuf)
{
    if (rcbuf == NULL) {
        return bytes_of(NULL, 0);
    }
    nghttp2_vec vec = nghttp2_rcbuf_get_buf(rcbuf);
    return bytes_of(vec.base, vec.len);
}

static void keep(nghttp2_rcbuf **place, nghttp2_rcbuf *rcbuf)
{
    nghttp2_rcbuf *before = *place;
    nghttp2_rcbuf_incref(rcbuf);
    *place = rcbuf;
    if (before != NULL) {
        nghttp2_rcbuf_decref(before);
    }
}

static void let_go(nghttp2_rcbuf **place)
{
    if (*place != NULL) {
        nghttp2_rcbuf_decref(*place);
        *place = NULL;
    }
}

void opening_end(struct opening *opening)
{
    for (unsigned i = 0; i < opening->metadata_count; i++) {
        let_go(&opening->metadata[i].name);
        let_go(&opening->metadata[i].value);
    }
    opening->metadata_count = 0;
    let_go(&opening->content_type);
    let_go(&opening->path);
    let_go(&opening->encoding);
    opening->active = false;
}

void opening_begin(struct opening *opening, int32_t stream_id)
{
    opening_end(opening);
    opening->active = true;
    opening->stream_id = stream_id;
    opening->bytes = 0;
    opening->is_post = false;
    opening->pseudo_seen = 0;
    opening->regular_seen = false;
    opening->timeout_is_bad = false;
    opening->timeout_ns = UINT64_MAX;
    opening->slot = NULL;
    opening->metadata_bytes = 0;
}

/* Which method's path comes most likely: a client asks for few of them, again and again. */
static struct grpc_slot **recent_slot(struct grpc_conn *conn, struct bytes path)
{
    size_t last = path.len == 0 ? 0 : path.data[path.len - 1];
    return &conn->recent_slots[(path.len + last) % ARRAY_LEN(conn->recent_slots)];
}

static void find_method(struct grpc_conn *conn, nghttp2_rcbuf *path)
{
    struct grpc_slot **recent = recent_slot(conn, view(path));
    if (*recent == NULL || !bytes_equal((*recent)->path, view(path))) {
        struct grpc_slot *slot = grpc_server_find(conn->server, view(path));
        if (slot == NULL) {
            keep(&conn->opening.path, path);
            conn->opening.slot = NULL;
            return;
        }
        *recent = slot;
    }
    conn->opening.slot = *recent;
}

static bool is(struct bytes text, const char *want, size_t want_len)
{
    return text.len == want_len && memcmp(text.data, want, want_len) == 0;
}
#define IS(text, literal) is((text), (literal), sizeof(literal) - 1)

static void add_metadata(struct opening *opening, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
    size_t bytes = view(name).len + view(value).len;
    if (opening->metadata_count == METADATA_MAX ||
        opening->metadata_bytes + bytes > METADATA_BYTES_MAX) {
        return;
    }
    struct metadata *metadata = &opening->metadata[opening->metadata_count++];
    *metadata = (struct metadata){0};
    keep(&metadata->name, name);
    keep(&metadata->value, value);
    opening->metadata_bytes += bytes;
}

/* Each at most once, and before the others. */
static bool take_pseudo_header(struct grpc_conn *conn, struct bytes name, nghttp2_rcbuf *value)
{
    enum { PATH = 1, METHOD = 2, SCHEME = 4, AUTHORITY = 8 };
    struct opening *opening = &conn->opening;
    unsigned which;
    if (IS(name, ":path")) {
        which = PATH;
        find_method(conn, value);
    } else if (IS(name, ":method")) {
        which = METHOD;
        opening->is_post = IS(view(value), "POST");
    } else if (IS(name, ":scheme")) {
        which = SCHEME;
    } else if (IS(name, ":authority")) {
        which = AUTHORITY;
    } else {
        return false;
    }
    bool well_formed = !opening->regular_seen && (opening->pseudo_seen & which) == 0;
    opening->pseudo_seen |= which;
    return well_formed;
}

/* What HTTP/2 has done away with, and what is no header at all. */
static bool is_malformed(struct bytes name, struct bytes value)
{
    return IS(name, "connection") || IS(name, "keep-alive") || IS(name, "proxy-connection") ||
           IS(name, "transfer-encoding") || IS(name, "upgrade") ||
           nghttp2_check_header_name(name.data, name.len) == 0 ||
           nghttp2_check_header_value(value.data, value.len) == 0;
}

bool opening_take_header(struct grpc_conn *conn, nghttp2_rcbuf *name_rcbuf,
                         nghttp2_rcbuf *value_rcbuf)
{
    struct opening *opening = &conn->opening;
    struct bytes name = view(name_rcbuf);
    struct bytes value = view(value_rcbuf);
    if (name.len > 0 && name.data[0] == ':') {
        return take_pseudo_header(conn, name, value_rcbuf);
    }
    opening->regular_seen = true;
    if (IS(name, "content-type")) {
        keep(&opening->content_type, value_rcbuf);
    } else if (IS(name, "grpc-timeout")) {
        opening->timeout_is_bad = grpc_timeout_parse(value, &opening->timeout_ns) != OK;
    } else if (IS(name, "grpc-encoding")) {
        if (!IS(value, "identity")) {
            keep(&opening->encoding, value_rcbuf);
        }
    } else if (IS(name, "te")) {
        return IS(value, "trailers");
    } else if (!IS(name, "user-agent") && !IS(name, "accept-encoding") &&
               !IS(name, "grpc-accept-encoding")) {
        if (is_malformed(name, value)) {
            return false;
        }
        add_metadata(opening, name_rcbuf, value_rcbuf);
    }
    return true;
}

static bool is_grpc(struct bytes content_type)
{
    static const char want[] = "application/grpc";
    const size_t len = sizeof want - 1;
    return bytes_has_prefix(content_type, bytes_of(want, len)) &&
           (content_type.len == len || content_type.data[len] == '+' ||
            content_type.data[len] == ';');
}

#define SHOWN_MAX 200 /* bytes of a client's text that an answer repeats */
static int shown(struct bytes text)
{
    return text.len < SHOWN_MAX ? (int)text.len : SHOWN_MAX;
}

__attribute__((format(printf, 4, 5))) static void refuse(struct grpc_conn *conn,
                                                         const char *http_status,
                                                         enum grpc_status status,
                                                         const char *format, ...)
{
    char text[3 * SHOWN_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct arena arena = {0};
    struct bytes encoded = {0};
    if (!grpc_message_encode(&arena, text, &encoded)) {
        encoded = bytes_of(NULL, 0);
    }
    grpc_answer_status(conn->h2.session, conn->opening.stream_id, http_status, status, encoded);
    arena_fini(&arena);
}

/* The texts are grpc-go's. */
static void refuse_path(struct grpc_conn *conn)
{
    struct bytes path = view(conn->opening.path);
    struct bytes rest = path;
    if (rest.len > 0 && rest.data[0] == '/') {
        rest = bytes_of(rest.data + 1, rest.len - 1);
    }
    const uint8_t *slash = rest.len == 0 ? NULL : memrchr(rest.data, '/', rest.len);
    if (slash == NULL) {
        refuse(conn, "200", GRPC_UNIMPLEMENTED, "malformed method name: \"%.*s\"", shown(path),
               (const char *)path.data);
        return;
    }
    struct bytes service = bytes_of(rest.data, (size_t)(slash - rest.data));
    struct bytes method = bytes_of(slash + 1, rest.len - service.len - 1);
    if (grpc_server_knows_service(conn->server, service)) {
        refuse(conn, "200", GRPC_UNIMPLEMENTED, "unknown method %.*s for service %.*s",
               shown(method), (const char *)method.data, shown(service),
               (const char *)service.data);
    } else {
        refuse(conn, "200", GRPC_UNIMPLEMENTED, "unknown service %.*s", shown(service),
               (const char *)service.data);
    }
}

bool opening_check(struct grpc_conn *conn)
{
    struct opening *opening = &conn->opening;
    struct bytes type = view(opening->content_type);
    struct bytes encoding = view(opening->encoding);
    if (!is_grpc(type)) {
        refuse(conn, "415", GRPC_INVALID_ARGUMENT, "invalid gRPC request content-type \"%.*s\"",
               shown(type), (const char *)type.data);
    } else if (!opening->is_post) {
        refuse(conn, "405", GRPC_INTERNAL, "the :method of a gRPC request should be POST");
    } else if (opening->timeout_is_bad) {
        refuse(conn, "400", GRPC_INTERNAL, "malformed grpc-timeout");
    } else if (opening->slot == NULL) {
        refuse_path(conn);
    } else if (encoding.len > 0) {
        refuse(conn, "200", GRPC_UNIMPLEMENTED,
               "grpc: Decompressor is not installed for grpc-encoding \"%.*s\"", shown(encoding),
               (const char *)encoding.data);
    } else if (opening->timeout_ns == 0) {
        refuse(conn, "200", GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
    } else if (grpc_conn_holds_too_much(conn, opening->metadata_bytes) ||
               grpc_conn_pending(conn, false) > CONNECTION_SEND_BYTES_MAX) {
        refuse(conn, "200", GRPC_RESOURCE_EXHAUSTED,
               "grpc: too much waits on this connection already");
    } else {
        return true;
    }
    return false;
}
