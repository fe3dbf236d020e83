/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/integration/message_text.h"

#include <ctype.h>
#include <inttypes.h>

#include "base/cleanup.h"

static const char *const left_out[] = {"cluster_id", "member_id", "raft_term", "hash_revision"};

static bool is_left_out(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(left_out); i++) {
        if (strcmp(name, left_out[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void print_bytes(struct buf *out, const uint8_t *data, size_t len)
{
    buf_append_str(out, "\"");
    for (size_t i = 0; i < len; i++) {
        if (isprint(data[i]) && data[i] != '"' && data[i] != '\\') {
            buf_append(out, &data[i], 1);
        } else {
            buf_printf(out, "\\x%02x", data[i]);
        }
    }
    buf_append_str(out, "\"");
}

static void print_message(struct buf *out, const ProtobufCMessage *message, unsigned depth);

static size_t size_of_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return 4;
    }
}

/* Is a field that stands alone zero, and so not there? A message is there when it has a pointer. */
static bool is_zero(const ProtobufCFieldDescriptor *field, const void *at)
{
    static const uint8_t zeros[sizeof(ProtobufCBinaryData)];
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return ((const ProtobufCBinaryData *)at)->len == 0;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)at;
        return text == NULL || text[0] == '\0';
    }
    return memcmp(at, zeros, size_of_type(field->type)) == 0;
}

static void print_value(struct buf *out, const ProtobufCFieldDescriptor *field, const void *at,
                        unsigned depth)
{
    buf_printf(out, "%*s%s: ", (int)(2 * depth), "", field->name);
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
        buf_printf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        buf_printf(out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = at;
        print_bytes(out, bytes->data, bytes->len);
        break;
    }
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(char *const *)at;
        print_bytes(out, (const uint8_t *)text, strlen(text));
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        buf_append_str(out, "{\n");
        print_message(out, *(ProtobufCMessage *const *)at, depth + 1);
        buf_printf(out, "%*s}", (int)(2 * depth), "");
        break;
    default:
        buf_printf(out, "%u", *(const unsigned *)at);
        break;
    }
    buf_append_str(out, "\n");
}

static void print_field(struct buf *out, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field, unsigned depth)
{
    const uint8_t *base = (const uint8_t *)message;
    const uint8_t *at = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
        const uint8_t *items = *(uint8_t *const *)(const void *)at;
        for (size_t i = 0; i < count; i++) {
            print_value(out, field, items + i * size_of_type(field->type), depth);
        }
    } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        if (*(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id) {
            print_value(out, field, at, depth);
        }
    } else if (!is_zero(field, at)) {
        print_value(out, field, at, depth);
    }
}

static void print_message(struct buf *out, const ProtobufCMessage *message, unsigned depth)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (!is_left_out(field->name)) {
            print_field(out, message, field, depth);
        }
    }
}

void message_text(struct buf *out, const ProtobufCMessage *message)
{
    print_message(out, message, 0);
}
