/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "net/http1.h"
#include "server/server.h"

/* HTTP/1.1 on the client port: /health, /version, /metrics. */
struct http_ctx {
    struct server *server;
    const char *version;
};

/* For http1_server.on_request, with a struct http_ctx. */
void http_on_request(void *ctx, struct http1_request *request);

#endif
