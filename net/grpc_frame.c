/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_frame.h"

#include "base/assert.h"

/* A stream's buffer above this is given back after each message. */
#define PARTIAL_KEPT_MAX 16384u

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void advance(struct bytes *input, size_t n)
{
    input->data += n;
    input->len -= n;
}

static void forget_delivered(struct grpc_frame_reader *in)
{
    if (in->delivered) {
        in->delivered = false;
        if (in->partial.cap > PARTIAL_KEPT_MAX) {
            buf_fini(&in->partial);
        }
        buf_clear(&in->partial);
    }
}

/* Complete the prefix from the input; false when the input ends before. */
static bool take_prefix(struct grpc_frame_reader *in, struct bytes *input)
{
    size_t missing = (size_t)GRPC_PREFIX_BYTES - in->prefix_len;
    size_t n = input->len < missing ? input->len : missing;
    if (n > 0) {
        memcpy(in->prefix + in->prefix_len, input->data, n);
        in->prefix_len = (uint8_t)(in->prefix_len + n);
        advance(input, n);
    }
    return in->prefix_len == GRPC_PREFIX_BYTES;
}

static enum grpc_frame_result check_prefix(struct grpc_frame_reader *in, size_t message_bytes_max)
{
    in->need = be32(in->prefix + 1);
    if (in->prefix[0] > 1) {
        return GRPC_FRAME_BAD_FLAG;
    }
    if (in->prefix[0] == 1) {
        return GRPC_FRAME_COMPRESSED;
    }
    return in->need > message_bytes_max ? GRPC_FRAME_TOO_LARGE : GRPC_FRAME_MESSAGE;
}

enum grpc_frame_result grpc_frame_next(struct grpc_frame_reader *in, struct bytes *input,
                                       size_t message_bytes_max, struct bytes *ret)
{
    forget_delivered(in);
    if (in->prefix_len < GRPC_PREFIX_BYTES) {
        if (!take_prefix(in, input)) {
            return GRPC_FRAME_MORE;
        }
        enum grpc_frame_result result = check_prefix(in, message_bytes_max);
        if (result != GRPC_FRAME_MESSAGE) {
            return result;
        }
    }
    size_t missing = in->need - in->partial.len;
    if (in->partial.len == 0 && input->len >= missing) {
        *ret = bytes_of(input->data, missing);
        advance(input, missing);
        in->prefix_len = 0;
        return GRPC_FRAME_MESSAGE;
    }
    size_t n = input->len < missing ? input->len : missing;
    buf_append(&in->partial, input->data, n);
    if (!buf_ok(&in->partial)) {
        return GRPC_FRAME_NOMEM;
    }
    advance(input, n);
    if (n < missing) {
        return GRPC_FRAME_MORE;
    }
    *ret = buf_bytes(&in->partial);
    in->prefix_len = 0;
    in->delivered = true;
    return GRPC_FRAME_MESSAGE;
}

bool grpc_frame_is_partial(const struct grpc_frame_reader *in)
{
    return in->prefix_len > 0;
}

size_t grpc_frame_held_bytes(const struct grpc_frame_reader *in)
{
    return in->partial.len;
}

void grpc_frame_fini(struct grpc_frame_reader *in)
{
    buf_fini(&in->partial);
    *in = (struct grpc_frame_reader){0};
}

/* grpc-message: printable ASCII but the percent sign stands for itself (PROTOCOL-HTTP2.md). */
static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

bool grpc_message_encode(struct arena *arena, const char *text, struct bytes *ret)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = strlen(text);
    size_t size = len;
    for (size_t i = 0; i < len; i++) {
        size += is_plain((uint8_t)text[i]) ? 0 : 2;
    }
    uint8_t *out = arena_alloc(arena, size);
    if (out == NULL) {
        return false;
    }
    *ret = bytes_of(out, size);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        if (is_plain(c)) {
            *out++ = c;
        } else {
            *out++ = '%';
            *out++ = (uint8_t)hex[c >> 4];
            *out++ = (uint8_t)hex[c & 15];
        }
    }
    return true;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t grpc_message_decode(uint8_t *text, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '%' && i + 2 < len ? hex_value(text[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text[i + 2]) : -1;
        if (low >= 0) {
            text[out++] = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            text[out++] = text[i];
        }
    }
    return out;
}

static const struct {
    char unit;
    uint64_t ns;
} units[] = {
    {'n', 1},
    {'u', 1000},
    {'m', 1000000},
    {'S', 1000000000},
    {'M', 60 * 1000000000ull},
    {'H', 3600 * 1000000000ull},
};

enum err grpc_timeout_parse(struct bytes text, uint64_t *ret_ns)
{
    if (text.len < 2 || text.len > 9) {
        return ERR_MALFORMED;
    }
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return ERR_MALFORMED;
        }
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if ((char)text.data[text.len - 1] == units[i].unit) {
            /* 8 digits of hours are more than 64 bits of nanoseconds: then as good as none */
            *ret_ns = n > UINT64_MAX / 2 / units[i].ns ? UINT64_MAX / 2 : n * units[i].ns;
            return OK;
        }
    }
    return ERR_MALFORMED;
}

size_t grpc_timeout_format(uint64_t ns, char text[static 10])
{
    size_t i = 0;
    uint64_t n = ns;
    while (n > 99999999 && i + 1 < sizeof units / sizeof units[0]) {
        i++;
        n = ns / units[i].ns + (ns % units[i].ns != 0);
    }
    n = n > 99999999 ? 99999999 : n;
    char digits[10]; /* from the last one on */
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    size_t len = 0;
    while (count > 0) {
        text[len++] = digits[--count];
    }
    text[len++] = units[i].unit;
    text[len] = '\0';
    return len;
}
