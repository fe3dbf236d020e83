/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answer.h"

#include "base/assert.h"
#include "base/codec.h"

/* A message inside a message is written after its length, so every part has a size function beside
 * its writer; tests hold the two together. Zero numbers and empty bytes are not sent, as in proto3.
 */

#define TYPE_VARINT 0u
#define TYPE_LEN    2u

static size_t number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + varint_size(value);
}

static size_t bytes_size(size_t len)
{
    return len == 0 ? 0 : 1 + varint_size(len) + len;
}

static size_t message_size(size_t len)
{
    return 1 + varint_size(len) + len;
}

static void write_number(struct buf *buf, unsigned field, uint64_t value)
{
    if (value != 0) {
        write_u8(buf, (uint8_t)(field << 3 | TYPE_VARINT));
        write_varint(buf, value);
    }
}

static void write_message_head(struct buf *buf, unsigned field, size_t len)
{
    write_u8(buf, (uint8_t)(field << 3 | TYPE_LEN));
    write_varint(buf, len);
}

/* ---- KeyValue: key 1, create_revision 2, mod_revision 3, version 4, value 5, lease 6 ---- */

static size_t key_value_size(const struct record *record)
{
    return bytes_size(record->key_len) + number_size((uint64_t)record->create_revision) +
           number_size((uint64_t)record_mod_revision(record)) +
           number_size((uint64_t)record->version) + bytes_size(record->value_len) +
           number_size((uint64_t)record->lease);
}

/* Those below write into memory that has room, and return its end: answers consist of these. */
static uint8_t *put_number(uint8_t *at, unsigned field, uint64_t value)
{
    if (value == 0) {
        return at;
    }
    *at++ = (uint8_t)(field << 3 | TYPE_VARINT);
    return put_varint(at, value);
}

static uint8_t *put_message_head(uint8_t *at, unsigned field, size_t len)
{
    *at++ = (uint8_t)(field << 3 | TYPE_LEN);
    return put_varint(at, len);
}

static uint8_t *put_text(uint8_t *at, unsigned field, struct bytes bytes)
{
    if (bytes.len == 0) {
        return at;
    }
    at = put_message_head(at, field, bytes.len);
    memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static void write_key_value(struct buf *buf, unsigned field, const struct record *record)
{
    size_t size = key_value_size(record);
    uint8_t *at = buf_extend(buf, message_size(size));
    if (at == NULL) {
        return;
    }
    at = put_message_head(at, field, size);
    at = put_text(at, 1, record_key(record));
    at = put_number(at, 2, (uint64_t)record->create_revision);
    at = put_number(at, 3, (uint64_t)record_mod_revision(record));
    at = put_number(at, 4, (uint64_t)record->version);
    at = put_text(at, 5, record_value(record));
    at = put_number(at, 6, (uint64_t)record->lease);
    ASSERT(at == buf->data + buf->len);
}

/* Records lie anywhere in memory, and a walk over many waits for each: so the ones to come are
 * asked for in time. Ten thousand from a million take a third of the time. */
#define AHEAD 8

static void fetch_ahead(struct record *const *records, size_t count, size_t i)
{
    if (i + AHEAD < count) {
        __builtin_prefetch(records[i + AHEAD]);
    }
}

static size_t key_values_size(struct record *const *records, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        fetch_ahead(records, count, i);
        size += message_size(key_value_size(records[i]));
    }
    return size;
}

static void write_key_values(struct buf *buf, unsigned field, struct record *const *records,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fetch_ahead(records, count, i);
        write_key_value(buf, field, records[i]);
    }
}

/* ---- ResponseHeader: cluster_id 1, member_id 2, revision 3, raft_term 4 ---- */

static size_t header_size(const struct answer_header *header)
{
    return number_size(header->cluster_id) + number_size(header->member_id) +
           number_size((uint64_t)header->revision) + number_size(header->raft_term);
}

static void write_header(struct buf *buf, const struct answer_header *header)
{
    size_t size = header_size(header);
    uint8_t *at = buf_extend(buf, message_size(size));
    if (at == NULL) {
        return;
    }
    at = put_message_head(at, 1, size);
    at = put_number(at, 1, header->cluster_id);
    at = put_number(at, 2, header->member_id);
    at = put_number(at, 3, (uint64_t)header->revision);
    at = put_number(at, 4, header->raft_term);
    ASSERT(at == buf->data + buf->len);
}

/* ---- the answers ---- */

static size_t put_size(const struct answer_header *header, const struct record *prev)
{
    return message_size(header_size(header)) +
           (prev == NULL ? 0 : message_size(key_value_size(prev)));
}

void answer_put(struct buf *buf, const struct answer_header *header, const struct record *prev)
{
    write_header(buf, header);
    if (prev != NULL) {
        write_key_value(buf, 2, prev);
    }
}

static size_t delete_range_size(const struct answer_header *header, int64_t deleted,
                                const struct record_list *prevs)
{
    return message_size(header_size(header)) + number_size((uint64_t)deleted) +
           key_values_size(prevs->items, prevs->count);
}

void answer_delete_range(struct buf *buf, const struct answer_header *header, int64_t deleted,
                         const struct record_list *prevs)
{
    write_header(buf, header);
    write_number(buf, 2, (uint64_t)deleted);
    write_key_values(buf, 3, prevs->items, prevs->count);
}

static size_t range_size(const struct answer_header *header, const struct range_result *result)
{
    return message_size(header_size(header)) +
           key_values_size(result->records.items, result->records.count) +
           number_size(result->more) + number_size((uint64_t)result->count);
}

static void write_range(struct buf *buf, const struct answer_header *header,
                        const struct range_result *result)
{
    write_header(buf, header);
    write_key_values(buf, 2, result->records.items, result->records.count);
    write_number(buf, 3, result->more);
    write_number(buf, 4, (uint64_t)result->count);
}

size_t answer_range_size(const struct answer_header *header, const struct range_result *result)
{
    return range_size(header, result);
}

void answer_range(struct buf *buf, const struct answer_header *header,
                  const struct range_result *result)
{
    if (result->records.count > 1) {
        (void)buf_reserve(buf, range_size(header, result)); /* a failure shows in the writes */
    }
    write_range(buf, header, result);
}

/* A blob of SIZE bytes, to be written through *AT; NULL: no memory. */
static struct blob *begin_blob(size_t size, struct buf *at)
{
    struct blob *blob = blob_new(size);
    if (blob != NULL) {
        *at = (struct buf){.data = blob->data, .cap = blob->len};
    }
    return blob;
}

/* What was written is as large as it was said to be, and where it should be. */
static void end_blob(const struct blob *blob, const struct buf *at)
{
    ASSERT(at->data == blob->data && at->len == blob->len);
}

struct blob *answer_range_blob(const struct answer_header *header,
                               const struct range_result *result)
{
    struct buf at = {0};
    struct blob *blob = begin_blob(range_size(header, result), &at);
    if (blob != NULL) {
        write_range(&at, header, result);
        end_blob(blob, &at);
    }
    return blob;
}

void answer_only_header(struct buf *buf, const struct answer_header *header)
{
    write_header(buf, header);
}

/* ---- leases: header 1, ID 2, TTL 3, grantedTTL 4, keys 5; LeaseStatus: ID 1 ---- */

void answer_lease_keep_alive(struct buf *buf, const struct answer_header *header, int64_t id,
                             int64_t ttl_s)
{
    write_header(buf, header);
    write_number(buf, 2, (uint64_t)id);
    write_number(buf, 3, (uint64_t)ttl_s);
}

void answer_lease_time_to_live(struct buf *buf, const struct answer_header *header, int64_t id,
                               int64_t ttl_s, int64_t granted_ttl_s, const struct lease *lease)
{
    answer_lease_keep_alive(buf, header, id, ttl_s);
    write_number(buf, 4, (uint64_t)granted_ttl_s);
    const struct lease_key *key = lease == NULL ? NULL : lease_key_first(lease);
    for (; key != NULL; key = lease_key_next(key)) {
        struct bytes bytes = lease_key_bytes(key);
        write_message_head(buf, 5, bytes.len);
        buf_append_bytes(buf, bytes);
    }
}

void answer_lease_status(struct buf *buf, int64_t id)
{
    write_message_head(buf, 2, number_size((uint64_t)id));
    write_number(buf, 1, (uint64_t)id);
}

struct blob *answer_range_chunk(const struct answer_header *header,
                                const struct range_result *piece)
{
    size_t size = key_values_size(piece->records.items, piece->records.count) +
                  number_size(piece->more) + number_size((uint64_t)piece->count) +
                  (header == NULL ? 0 : message_size(header_size(header)));
    struct buf at = {0};
    struct blob *blob = begin_blob(message_size(size), &at);
    if (blob == NULL) {
        return NULL;
    }
    write_message_head(&at, 1, size);
    if (header != NULL) {
        write_header(&at, header);
    }
    write_key_values(&at, 2, piece->records.items, piece->records.count);
    write_number(&at, 3, piece->more);
    write_number(&at, 4, (uint64_t)piece->count);
    end_blob(blob, &at);
    return blob;
}

/* ---- transactions: TxnResponse header 1, succeeded 2, responses 3 ----
 *
 * ResponseOp: response_range 1, response_put 2, response_delete_range 3, response_txn 4. Inner
 * headers hold only the revision; that of a nested transaction holds nothing, but is there. */

static size_t txn_size(const struct answer_header *header, const struct txn_result *result);

static size_t op_body_size(const struct op_result *op)
{
    struct answer_header inner = {.revision = op->revision};
    switch (op->kind) {
    case OP_RANGE:
        return range_size(&inner, &op->range);
    case OP_PUT:
        return put_size(&inner, op->prev);
    case OP_DELETE_RANGE:
        return delete_range_size(&inner, op->delete_range.deleted, &op->delete_range.prevs);
    case OP_TXN:
        return txn_size(&(struct answer_header){0}, op->txn);
    }
    return 0;
}

static size_t txn_size(const struct answer_header *header, const struct txn_result *result)
{
    size_t size = message_size(header_size(header)) + number_size(result->succeeded);
    for (size_t i = 0; i < result->response_count; i++) {
        size += message_size(message_size(op_body_size(&result->responses[i])));
    }
    return size;
}

static void write_op(struct buf *buf, const struct op_result *op)
{
    struct answer_header inner = {.revision = op->revision};
    size_t body_size = op_body_size(op);
    write_message_head(buf, 3, message_size(body_size));
    write_message_head(buf, op->kind, body_size); /* enum op_kind has ResponseOp's numbers */
    switch (op->kind) {
    case OP_RANGE:
        answer_range(buf, &inner, &op->range);
        break;
    case OP_PUT:
        answer_put(buf, &inner, op->prev);
        break;
    case OP_DELETE_RANGE:
        answer_delete_range(buf, &inner, op->delete_range.deleted, &op->delete_range.prevs);
        break;
    case OP_TXN:
        answer_txn(buf, &(struct answer_header){0}, op->txn);
        break;
    }
}

void answer_txn(struct buf *buf, const struct answer_header *header,
                const struct txn_result *result)
{
    write_header(buf, header);
    write_number(buf, 2, result->succeeded);
    for (size_t i = 0; i < result->response_count; i++) {
        write_op(buf, &result->responses[i]);
    }
}

size_t answer_txn_records(const struct txn_result *result)
{
    size_t count = 0;
    for (size_t i = 0; i < result->response_count; i++) {
        const struct op_result *op = &result->responses[i];
        switch (op->kind) {
        case OP_RANGE:
            count += op->range.records.count;
            break;
        case OP_PUT:
            count += op->prev != NULL;
            break;
        case OP_DELETE_RANGE:
            count += op->delete_range.prevs.count;
            break;
        case OP_TXN:
            count += answer_txn_records(op->txn);
            break;
        }
    }
    return count;
}

size_t answer_txn_size(const struct answer_header *header, const struct txn_result *result)
{
    return txn_size(header, result);
}

struct blob *answer_txn_blob(const struct answer_header *header, const struct txn_result *result)
{
    struct buf at = {0};
    struct blob *blob = begin_blob(txn_size(header, result), &at);
    if (blob != NULL) {
        answer_txn(&at, header, result);
        end_blob(blob, &at);
    }
    return blob;
}
