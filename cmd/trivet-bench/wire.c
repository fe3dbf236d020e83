/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/wire.h"

#include "base/codec.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LEN = 2, WIRE_FIXED32 = 5 };

static void put_tag(struct buf *buf, unsigned field, enum wire_type type)
{
    write_varint(buf, (uint64_t)field << 3 | type);
}

static void put_bytes(struct buf *buf, unsigned field, struct bytes bytes)
{
    put_tag(buf, field, WIRE_LEN);
    write_var_bytes(buf, bytes);
}

static void put_number(struct buf *buf, unsigned field, uint64_t value)
{
    put_tag(buf, field, WIRE_VARINT);
    write_varint(buf, value);
}

static size_t bytes_field_size(struct bytes bytes)
{
    return 1 + varint_size(bytes.len) + bytes.len;
}

/* PutRequest: key 1, value 2. */
void wire_put(struct buf *buf, struct bytes key, struct bytes value)
{
    put_bytes(buf, 1, key);
    put_bytes(buf, 2, value);
}

/* The same with a lease: 3. */
void wire_put_leased(struct buf *buf, struct bytes key, struct bytes value, int64_t lease)
{
    wire_put(buf, key, value);
    put_number(buf, 3, (uint64_t)lease);
}

/* RangeRequest: key 1, range_end 2, limit 3, serializable 7. */
void wire_range(struct buf *buf, struct bytes key, struct bytes range_end, int64_t limit,
                bool serializable)
{
    put_bytes(buf, 1, key);
    if (range_end.len > 0) {
        put_bytes(buf, 2, range_end);
    }
    if (limit > 0) {
        put_number(buf, 3, (uint64_t)limit);
    }
    if (serializable) {
        put_number(buf, 7, 1);
    }
}

/* TxnRequest: compare 1, success 2. Compare: result 1 (EQUAL = 0), target 2 (MOD = 2), key 3,
 * mod_revision 6. RequestOp: request_put 2. */
void wire_compare_and_swap(struct buf *buf, struct bytes key, int64_t expected, struct bytes value)
{
    size_t compare_size = 2 + bytes_field_size(key) + 1 + varint_size((uint64_t)expected);
    put_tag(buf, 1, WIRE_LEN);
    write_varint(buf, compare_size);
    put_number(buf, 2, 2);
    put_bytes(buf, 3, key);
    put_number(buf, 6, (uint64_t)expected);

    size_t put_size = bytes_field_size(key) + bytes_field_size(value);
    put_tag(buf, 2, WIRE_LEN);
    write_varint(buf, 1 + varint_size(put_size) + put_size);
    put_tag(buf, 2, WIRE_LEN);
    write_varint(buf, put_size);
    wire_put(buf, key, value);
}

/* LeaseGrantRequest: TTL 1. */
void wire_lease_grant(struct buf *buf, int64_t ttl_s)
{
    put_number(buf, 1, (uint64_t)ttl_s);
}

/* LeaseKeepAliveRequest: ID 1. */
void wire_lease_keep_alive(struct buf *buf, int64_t id)
{
    put_number(buf, 1, (uint64_t)id);
}

/* One field: its number, and its value as a number or as bytes. */
static unsigned read_field(struct reader *r, uint64_t *number, struct bytes *bytes)
{
    uint64_t tag = read_varint(r);
    *number = 0;
    *bytes = bytes_of(NULL, 0);
    switch (tag & 7) {
    case WIRE_VARINT:
        *number = read_varint(r);
        break;
    case WIRE_FIXED64:
        *number = read_u64(r);
        break;
    case WIRE_LEN:
        *bytes = read_var_bytes(r, reader_left(r));
        break;
    case WIRE_FIXED32:
        *number = read_u32(r);
        break;
    default:
        reader_fail(r);
    }
    return (unsigned)(tag >> 3);
}

/* ResponseHeader: revision 3. */
static enum err read_header(struct bytes message, struct wire_answer *answer)
{
    struct reader r = reader_of(message);
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes bytes;
        if (read_field(&r, &number, &bytes) == 3) {
            answer->revision = (int64_t)number;
        }
    }
    return reader_end(&r);
}

/* KeyValue: mod_revision 3, value 5. */
static enum err read_key_value(struct bytes message, struct wire_answer *answer)
{
    struct reader r = reader_of(message);
    answer->mod_revision = 0;
    answer->value_size = 0;
    answer->kv_count++;
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes bytes;
        unsigned field = read_field(&r, &number, &bytes);
        if (field == 3) {
            answer->mod_revision = (int64_t)number;
        } else if (field == 5) {
            answer->value_size = bytes.len;
        }
    }
    return reader_end(&r);
}

static bool is_lease(enum wire_kind kind)
{
    return kind == WIRE_LEASE_GRANT || kind == WIRE_LEASE_KEEP_ALIVE;
}

/* Lease answers: ID 2, TTL 3. */
enum err wire_read_answer(enum wire_kind kind, struct bytes message, struct wire_answer *ret)
{
    struct reader r = reader_of(message);
    *ret = (struct wire_answer){0};
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes bytes;
        unsigned field = read_field(&r, &number, &bytes);
        if (field == 1) {
            TRY(read_header(bytes, ret));
        } else if (field == 2 && kind == WIRE_TXN) {
            ret->succeeded = number != 0;
        } else if (field == 2 && kind == WIRE_RANGE) {
            TRY(read_key_value(bytes, ret));
        } else if (field == 2 && is_lease(kind)) {
            ret->lease = (int64_t)number;
        } else if (field == 3 && is_lease(kind)) {
            ret->ttl_s = (int64_t)number;
        }
    }
    return reader_end(&r);
}

/* LeaseLeasesResponse: leases 2. */
enum err wire_count_leases(struct bytes message, uint64_t *ret)
{
    struct reader r = reader_of(message);
    uint64_t count = 0;
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes bytes;
        count += read_field(&r, &number, &bytes) == 2;
    }
    TRY(reader_end(&r));
    *ret = count;
    return OK;
}

/* WatchRequest: create_request 1. WatchCreateRequest: key 1. */
void wire_watch_create(struct buf *buf, struct bytes key)
{
    put_tag(buf, 1, WIRE_LEN);
    write_varint(buf, bytes_field_size(key));
    put_bytes(buf, 1, key);
}

/* With range_end 2 and filters 5, packed: NOPUT is 0. */
void wire_watch_deletions(struct buf *buf, struct bytes key, struct bytes range_end)
{
    static const uint8_t filters[] = {0};
    struct bytes packed = bytes_of(filters, sizeof filters);
    put_tag(buf, 1, WIRE_LEN);
    write_varint(buf,
                 bytes_field_size(key) + bytes_field_size(range_end) + bytes_field_size(packed));
    put_bytes(buf, 1, key);
    put_bytes(buf, 2, range_end);
    put_bytes(buf, 5, packed);
}

/* The millions of events of a second are read below here: a view and a switch for each field, every
 * byte looked at once. */

#define TAG(field, type) ((field) << 3 | (type))

static inline struct bytes read_view(struct reader *r)
{
    uint64_t n = read_varint(r);
    if (n > reader_left(r)) {
        reader_fail(r);
        n = 0;
    }
    struct bytes view = bytes_of(r->at, (size_t)n);
    r->at += n;
    return view;
}

static void pass_over(struct reader *r, uint64_t tag)
{
    switch (tag & 7) {
    case WIRE_VARINT:
        (void)read_varint(r);
        break;
    case WIRE_FIXED64:
        (void)read_u64(r);
        break;
    case WIRE_LEN:
        (void)read_view(r);
        break;
    case WIRE_FIXED32:
        (void)read_u32(r);
        break;
    default:
        reader_fail(r);
    }
}

/* WatchResponse: watch_id 2, created 3, canceled 4, events 11. */
#define TAG_EVENTS TAG(11, WIRE_LEN)

enum err wire_read_watch_answer(struct reader *r, struct wire_watch_answer *ret)
{
    *ret = (struct wire_watch_answer){0};
    while (reader_left(r) > 0 && *r->at != TAG_EVENTS) {
        uint64_t tag = read_varint(r);
        switch (tag) {
        case TAG(2, WIRE_VARINT):
            ret->watch_id = read_varint(r);
            break;
        case TAG(3, WIRE_VARINT):
            ret->created = read_varint(r) != 0;
            break;
        case TAG(4, WIRE_VARINT):
            ret->canceled = read_varint(r) != 0;
            break;
        default:
            pass_over(r, tag);
        }
    }
    return r->failed ? ERR_MALFORMED : OK;
}

/* KeyValue: key 1, mod_revision 3, version 4, value 5. False: malformed. */
static bool read_event_kv(struct bytes message, struct wire_event *ret)
{
    struct reader r = reader_of(message);
    while (reader_left(&r) > 0) {
        uint64_t tag = read_varint(&r);
        switch (tag) {
        case TAG(1, WIRE_LEN):
            ret->key = read_view(&r);
            break;
        case TAG(3, WIRE_VARINT):
            ret->mod_revision = (int64_t)read_varint(&r);
            break;
        case TAG(4, WIRE_VARINT):
            ret->version = (int64_t)read_varint(&r);
            break;
        case TAG(5, WIRE_LEN):
            ret->value = read_view(&r);
            break;
        default:
            pass_over(&r, tag);
        }
    }
    return !r.failed;
}

/* Event: kv 2. */
static bool read_event(struct bytes message, struct wire_event *ret)
{
    struct reader r = reader_of(message);
    *ret = (struct wire_event){0};
    while (reader_left(&r) > 0) {
        uint64_t tag = read_varint(&r);
        if (tag != TAG(2, WIRE_LEN)) {
            pass_over(&r, tag);
        } else if (!read_event_kv(read_view(&r), ret)) {
            return false;
        }
    }
    return !r.failed;
}

bool wire_next_event(struct reader *r, struct wire_event *ret)
{
    if (reader_left(r) == 0) {
        return false;
    }
    if (read_varint(r) != TAG_EVENTS || !read_event(read_view(r), ret)) {
        reader_fail(r);
    }
    return !r->failed;
}
