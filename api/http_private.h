/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HTTP_PRIVATE_H
#define API_HTTP_PRIVATE_H

#include "api/service_private.h"
#include "net/http1.h"

/* One request, on the stack of its handler or with what it waits for. */
struct exchange {
    struct service *service;
    struct http1_request *request;
    bool any_origin;
};

void http_respond_text(const struct exchange *exchange, unsigned status, const char *text);

#endif
