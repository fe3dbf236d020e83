/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_WATCHRESPONSE_H
#define API_WATCHRESPONSE_H

#include "api/answer.h"

/* WatchResponse, but for its events: those follow as bytes that are shared (watch/hub.h). */
struct watch_response {
    struct answer_header header;
    int64_t watch_id;
    bool created;
    bool canceled;
    bool fragment;
    int64_t compact_revision;
    const char *cancel_reason; /* NULL: none */
};

#define WATCH_RESPONSE_BYTES_MAX 256
/* The size; into memory of at least WATCH_RESPONSE_BYTES_MAX. A longer reason is cut. */
size_t watch_response_encode(uint8_t *at, const struct watch_response *response);

#endif
