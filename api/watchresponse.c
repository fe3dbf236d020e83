/* SPDX-License-Identifier: Apache-2.0 */
#include "api/watchresponse.h"

#include "base/assert.h"
#include "base/codec.h"

/* WatchResponse: header 1, watch_id 2, created 3, canceled 4, compact_revision 5, cancel_reason 6,
 * fragment 7. ResponseHeader: cluster_id 1, member_id 2, revision 3, raft_term 4. Of the numbers
 * none takes more than 11 bytes with its tag. */
#define REASON_BYTES_MAX 128u

static uint8_t *put_number(uint8_t *at, unsigned field, uint64_t value)
{
    if (value == 0) {
        return at;
    }
    *at++ = (uint8_t)(field << 3);
    return put_varint(at, value);
}

static uint8_t *put_text(uint8_t *at, unsigned field, const void *data, size_t len)
{
    *at++ = (uint8_t)(field << 3 | 2);
    at = put_varint(at, len);
    memcpy(at, data, len);
    return at + len;
}

size_t watch_response_encode(uint8_t *at, const struct watch_response *response)
{
    uint8_t *start = at;
    uint8_t header[44];
    uint8_t *end = put_number(header, 1, response->header.cluster_id);
    end = put_number(end, 2, response->header.member_id);
    end = put_number(end, 3, (uint64_t)response->header.revision);
    end = put_number(end, 4, response->header.raft_term);
    at = put_text(at, 1, header, (size_t)(end - header));
    at = put_number(at, 2, (uint64_t)response->watch_id);
    at = put_number(at, 3, response->created);
    at = put_number(at, 4, response->canceled);
    at = put_number(at, 5, (uint64_t)response->compact_revision);
    if (response->cancel_reason != NULL) {
        size_t len = strlen(response->cancel_reason);
        at = put_text(at, 6, response->cancel_reason,
                      len < REASON_BYTES_MAX ? len : REASON_BYTES_MAX);
    }
    at = put_number(at, 7, response->fragment);
    size_t size = (size_t)(at - start);
    ASSERT(size <= WATCH_RESPONSE_BYTES_MAX);
    return size;
}
