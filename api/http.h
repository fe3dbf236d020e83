/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "net/http1.h"

/* HTTP/1.1 beside gRPC. For http1_server.on_request, with the struct service as ctx. */

/* On the client port: /health, /livez, /readyz, /version, /metrics; answers for browsers of any
 * origin. */
void http_on_client_request(void *ctx, struct http1_request *request);
/* On --listen-metrics-urls: all but /version. */
void http_on_metrics_request(void *ctx, struct http1_request *request);

#endif
