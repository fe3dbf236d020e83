/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/event.h"

#include "base/assert.h"
#include "base/codec.h"

/* mvccpb.Event: type 1, kv 2, prev_kv 3. KeyValue: key 1, create_revision 2, mod_revision 3,
 * version 4, value 5, lease 6. A deletion has only key and mod_revision: a tombstone's other
 * numbers are zero, and zeros are not sent. */
#define TAG(field, type) ((uint8_t)((field) << 3 | (type)))
#define VARINT           0
#define BYTES            2
#define TYPE_DELETE      1u
#define RESPONSE_EVENTS  11
#define EVENT_TYPE       1
#define EVENT_KV         2
#define EVENT_PREV_KV    3

static size_t number_size(int64_t value)
{
    return value == 0 ? 0 : 1 + varint_size((uint64_t)value);
}

static size_t bytes_size(size_t len)
{
    return len == 0 ? 0 : 1 + varint_size(len) + len;
}

static size_t message_size(size_t len)
{
    return 1 + varint_size(len) + len;
}

static size_t kv_size(const struct record *record)
{
    return bytes_size(record->key_len) + number_size(record->create_revision) +
           number_size(record_mod_revision(record)) + number_size(record->version) +
           bytes_size(record->value_len) + number_size(record->lease);
}

static uint8_t *put_number(uint8_t *at, unsigned field, int64_t value)
{
    if (value == 0) {
        return at;
    }
    *at++ = TAG(field, VARINT);
    return put_varint(at, (uint64_t)value);
}

static uint8_t *put_bytes(uint8_t *at, unsigned field, struct bytes bytes)
{
    if (bytes.len == 0) {
        return at;
    }
    *at++ = TAG(field, BYTES);
    at = put_varint(at, bytes.len);
    memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static uint8_t *put_kv(uint8_t *at, unsigned field, const struct record *record, size_t size)
{
    *at++ = TAG(field, BYTES);
    at = put_varint(at, size);
    at = put_bytes(at, 1, record_key(record));
    at = put_number(at, 2, record->create_revision);
    at = put_number(at, 3, record_mod_revision(record));
    at = put_number(at, 4, record->version);
    at = put_bytes(at, 5, record_value(record));
    return put_number(at, 6, record->lease);
}

struct blob *event_encode(const struct record *record, const struct record *prev)
{
    size_t kv = kv_size(record);
    size_t prev_kv = prev == NULL ? 0 : kv_size(prev);
    size_t size =
        (record->tombstone ? 2 : 0) + message_size(kv) + (prev == NULL ? 0 : message_size(prev_kv));
    struct blob *blob = blob_new(message_size(size));
    if (blob == NULL) {
        return NULL;
    }
    uint8_t *at = blob->data;
    *at++ = TAG(RESPONSE_EVENTS, BYTES);
    at = put_varint(at, size);
    at = put_number(at, EVENT_TYPE, record->tombstone ? TYPE_DELETE : 0);
    at = put_kv(at, EVENT_KV, record, kv);
    if (prev != NULL) {
        at = put_kv(at, EVENT_PREV_KV, prev, prev_kv);
    }
    ASSERT(at == blob->data + blob->len);
    return blob;
}
