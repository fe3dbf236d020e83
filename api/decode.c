/* SPDX-License-Identifier: Apache-2.0 */
#include "api/decode.h"

#include "base/codec.h"
#include "base/limits.h"

/* Types on the wire. */
#define TYPE_VARINT 0u
#define TYPE_LEN    2u

/* ---- UTF-8 ---- */

/* The length of the sequence that begins with FIRST and the least number that needs as many bytes;
 * 0: no sequence begins so. */
static unsigned sequence_length(uint8_t first, uint32_t *least)
{
    if (first < 0x80) {
        *least = 0;
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        *least = 0x80;
        return 2;
    }
    if (first >= 0xe0 && first < 0xf0) {
        *least = 0x800;
        return 3;
    }
    *least = 0x10000;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* How many bytes the character at the beginning of TEXT has; 0: it is none. */
static unsigned character_length(struct bytes text)
{
    uint32_t least;
    unsigned length = sequence_length(text.data[0], &least);
    if (length <= 1) {
        return length;
    }
    if (length > text.len) {
        return 0;
    }
    uint32_t value = text.data[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (text.data[i] & 0x3f);
    }
    bool surrogate = value >= 0xd800 && value < 0xe000;
    return value < least || value > 0x10ffff || surrogate ? 0 : length;
}

bool text_is_utf8(struct bytes text)
{
    while (text.len > 0) {
        unsigned length = character_length(text);
        if (length == 0) {
            return false;
        }
        text = bytes_of(text.data + length, text.len - length);
    }
    return true;
}

/* ---- messages ---- */

static void *arena_allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size == 0 ? 1 : size);
}

static void arena_keep(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

static bool is_sound(const ProtobufCMessage *message);

/* One value of a field. protobuf-c ends a text with a NUL; one that has a NUL inside is cut there,
 * which no name in this API lives with, so it cannot be told from the shorter one. */
static bool value_is_utf8(const ProtobufCFieldDescriptor *field, const void *value)
{
    const void *pointer;
    memcpy(&pointer, value, sizeof pointer);
    if (pointer == NULL) {
        return true;
    }
    return field->type == PROTOBUF_C_TYPE_STRING ? text_is_utf8(bytes_of_str(pointer))
                                                 : is_sound(pointer);
}

static bool field_is_utf8(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    const uint8_t *at = base + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        uint32_t chosen;
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            memcpy(&chosen, base + field->quantifier_offset, sizeof chosen);
            if (chosen != field->id) {
                return true; /* the union holds another member */
            }
        }
        return value_is_utf8(field, at);
    }
    size_t count;
    const uint8_t *items;
    memcpy(&count, base + field->quantifier_offset, sizeof count);
    memcpy(&items, at, sizeof items);
    for (size_t i = 0; i < count; i++) {
        if (!value_is_utf8(field, items + i * sizeof(void *))) {
            return false;
        }
    }
    return true;
}

/* There is no field 0; protobuf-c passes over one whose tag is longer than need be. */
static bool has_field_zero(const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        if (message->unknown_fields[i].tag == 0) {
            return true;
        }
    }
    return false;
}

/* What protobuf-c does not look at, and others refuse. */
static bool is_sound(const ProtobufCMessage *message)
{
    if (has_field_zero(message)) {
        return false;
    }
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        bool has_text =
            field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (has_text && !field_is_utf8(message, field)) {
            return false;
        }
    }
    return true;
}

/* A field's value behind its tag; bytes stay where they are for now. False: none of those below, or
 * not as it is usually written. */
static bool take_plain(const ProtobufCFieldDescriptor *field, unsigned wire_type, struct reader *r,
                       uint8_t *at)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES && wire_type == TYPE_LEN) {
        struct bytes bytes = read_var_bytes(r, reader_left(r));
        const ProtobufCBinaryData data = {.len = bytes.len, .data = (uint8_t *)bytes.data};
        memcpy(at, &data, sizeof data);
        return !r->failed;
    }
    uint64_t number = read_varint(r);
    if (field->type == PROTOBUF_C_TYPE_INT64 && wire_type == TYPE_VARINT) {
        memcpy(at, &number, sizeof number);
        return !r->failed;
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL && wire_type == TYPE_VARINT && number <= 1) {
        const protobuf_c_boolean flag = (protobuf_c_boolean)number;
        memcpy(at, &flag, sizeof flag);
        return !r->failed;
    }
    return false;
}

static bool copy_bytes(const ProtobufCMessageDescriptor *type, struct arena *arena,
                       uint8_t *decoded)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        ProtobufCBinaryData data;
        struct bytes copy;
        if (type->fields[i].type != PROTOBUF_C_TYPE_BYTES ||
            type->fields[i].label != PROTOBUF_C_LABEL_NONE) {
            continue;
        }
        memcpy(&data, decoded + type->fields[i].offset, sizeof data);
        if (data.len == 0) {
            data.data = NULL;
        } else if (arena_copy(arena, bytes_of(data.data, data.len), &copy)) {
            data.data = (uint8_t *)copy.data;
        } else {
            return false;
        }
        memcpy(decoded + type->fields[i].offset, &data, sizeof data);
    }
    return true;
}

/* What nearly all messages are made of (byte strings, numbers, flags, each in a known field) is
 * decoded here, in a fifth of the time. NULL: with anything else in it, or wrong; protobuf-c says
 * which. */
static void *decode_plain(const ProtobufCMessageDescriptor *type, struct arena *arena,
                          struct bytes message)
{
    uint8_t *decoded = arena_alloc(arena, type->sizeof_message);
    if (decoded == NULL) {
        return NULL;
    }
    protobuf_c_message_init(type, decoded);
    struct reader r = reader_of(message);
    while (reader_left(&r) > 0) {
        unsigned tag = read_u8(&r);
        unsigned number = tag >> 3;
        if (tag >= 0x80 || number == 0 || number > type->n_fields) {
            return NULL;
        }
        const ProtobufCFieldDescriptor *field = &type->fields[number - 1];
        if (field->id != number || field->label != PROTOBUF_C_LABEL_NONE ||
            !take_plain(field, tag & 7, &r, decoded + field->offset)) {
            return NULL;
        }
    }
    return copy_bytes(type, arena, decoded) ? decoded : NULL;
}

void *decode_message(const ProtobufCMessageDescriptor *type, struct arena *arena,
                     struct bytes message)
{
    void *plain = decode_plain(type, arena, message);
    if (plain != NULL) {
        return plain;
    }
    ProtobufCAllocator allocator = {
        .alloc = arena_allocate, .free = arena_keep, .allocator_data = arena};
    ProtobufCMessage *decoded =
        protobuf_c_message_unpack(type, &allocator, message.len, message.data);
    return decoded != NULL && is_sound(decoded) ? decoded : NULL;
}

/* ---- transactions, before they are decoded ---- */

#define TXN_FIELDS   4 /* compare 1, success 2, failure 3 */
#define TXN_SUCCESS  2
#define TXN_FAILURE  3
#define OP_TXN_FIELD 4

/* Pass over a field; its bytes when it has a length. */
static struct bytes read_field(struct reader *r, uint64_t *number)
{
    uint64_t tag = read_varint(r);
    *number = tag >> 3;
    switch (tag & 7) {
    case 0:
        (void)read_varint(r);
        break;
    case 1:
        (void)read_u64(r);
        break;
    case TYPE_LEN:
        return read_var_bytes(r, reader_left(r));
    case 5:
        (void)read_u32(r);
        break;
    default:
        reader_fail(r);
    }
    return bytes_of(NULL, 0);
}

static enum err check_txn(struct bytes txn, unsigned ops_max, unsigned depth);

/* Nested lists have no more than a bound here: which of two faults is told is the converter's to
 * say, who goes through the operations in etcd's order. */
static enum err check_op(struct bytes op, unsigned depth)
{
    struct reader r = reader_of(op);
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes value = read_field(&r, &number);
        if (number == OP_TXN_FIELD && !r.failed) {
            TRY(check_txn(value, TXN_OPS_MAX, depth + 1));
        }
    }
    return OK;
}

static enum err check_txn(struct bytes txn, unsigned ops_max, unsigned depth)
{
    if (depth > TXN_DEPTH_MAX) {
        return ERR_TOO_MANY_OPS;
    }
    unsigned counts[TXN_FIELDS] = {0};
    struct reader r = reader_of(txn);
    while (reader_left(&r) > 0) {
        uint64_t number;
        struct bytes value = read_field(&r, &number);
        if (number < TXN_FIELDS && ++counts[number] > ops_max) {
            return ERR_TOO_MANY_OPS;
        }
        if (number == TXN_SUCCESS || number == TXN_FAILURE) {
            TRY(check_op(value, depth));
        }
    }
    return OK;
}

enum err decode_check_txn(struct bytes message, unsigned ops_max)
{
    return check_txn(message, ops_max, 0);
}
