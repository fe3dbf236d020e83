/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of every method, several at once on one connection, with any message, while the member
 * commits late, loses its leader, or waits for a client that does not read. The HTTP/2 around them
 * is right; fuzz_http2 is for what is not.
 *
 * The input is a list of steps: a byte that says what is done (enum step, modulo), and what that
 * needs. Calls are named by a byte, the newest being 0. */
#include "base/cleanup.h"
#include "net/grpc_private.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rpc_conn.h"

#define CALLS_MAX  24u
#define STEPS_MAX  64u
#define WAIT_MS    8000u /* longer than a request waits */
#define OTHER_PATH "/etcdserverpb.KV/Nothing"

enum step {
    OPEN,       /* method u8, flags u8 (enum open_flag), then as MESSAGE */
    MESSAGE,    /* call u8, length u16, bytes: a whole message */
    BYTES,      /* the same, without a prefix */
    HALF_CLOSE, /* call u8 */
    RESET,      /* call u8 */
    TIME,       /* ms u16 */
    READ,       /* u8: 1: the client reads, 0: it does not */
    COMMIT,     /* u8: 1: the member commits and answers reads at once, 0: only now */
    REFUSE,     /* u8: the oldest proposal ends with this error */
    LEADER,     /* u8: 0 nobody, 1 another, else this member leads, in a new term */
    WINDOW,     /* call u8, u16 more bytes */
    COMPACT,    /* u8: another member compacts so many revisions below the newest */
    DRAIN,      /* the member is about to stop */
    STEP_COUNT
};

enum open_flag {
    OPEN_WITH_MESSAGE = 1,
    OPEN_WITH_END = 2, /* and half closed */
    OPEN_REQUIRES_LEADER = 4,
    OPEN_WITH_TIMEOUT = 8,
    OPEN_WITH_VERSION = 16, /* client-api-version, of 4 bytes of the input */
};

struct run {
    struct rpc_conn conn;
    uint32_t calls; /* opened; their streams are 1, 3, 5 ... */
    bool held;
};

/* ---- HPACK's plainest form: literal, without index, no Huffman (RFC 7541 6.2.2) ---- */

static void write_text(struct buf *buf, struct bytes text)
{
    size_t left = text.len;
    if (left < 127) {
        write_u8(buf, (uint8_t)left);
    } else {
        write_u8(buf, 127);
        write_varint(buf, left - 127);
    }
    buf_append_bytes(buf, text);
}

static void write_header(struct buf *buf, const char *name, struct bytes value)
{
    write_u8(buf, 0);
    write_text(buf, bytes_of_str(name));
    write_text(buf, value);
}

/* ---- steps ---- */

static void send_data(struct run *run, struct reader *input, uint32_t stream_id, bool prefixed,
                      bool end)
{
    CLEANUP(buf_fini) struct buf data = {0};
    struct bytes message = fuzz_view(input, read_u16(input));
    if (prefixed) {
        write_u8(&data, 0);
        write_u32_be(&data, (uint32_t)message.len);
    }
    buf_append_bytes(&data, message);
    CLAIM(buf_ok(&data));
    while (data.len > 16384) { /* the frame that everybody takes */
        rpc_conn_frame(&run->conn, H2_DATA, 0, stream_id, bytes_of(data.data, 16384));
        buf_consume(&data, 16384);
    }
    rpc_conn_frame(&run->conn, H2_DATA, end ? H2_END_STREAM : 0, stream_id, buf_bytes(&data));
}

static void open_call(struct run *run, struct reader *input)
{
    const struct grpc_server *server = service_grpc(run->conn.member.service);
    size_t method = read_u8(input) % (server->config.method_count + 1);
    uint8_t flags = read_u8(input);
    if (run->calls == CALLS_MAX) {
        return;
    }
    const char *path =
        method < server->config.method_count ? server->config.methods[method].path : OTHER_PATH;
    uint32_t stream_id = 2 * run->calls++ + 1;
    CLEANUP(buf_fini) struct buf headers = {0};
    write_header(&headers, ":method", bytes_of_str("POST"));
    write_header(&headers, ":scheme", bytes_of_str("http"));
    write_header(&headers, ":path", bytes_of_str(path));
    write_header(&headers, "te", bytes_of_str("trailers"));
    write_header(&headers, "content-type", bytes_of_str("application/grpc"));
    if ((flags & OPEN_REQUIRES_LEADER) != 0) {
        write_header(&headers, "hasleader", bytes_of_str("true"));
    }
    if ((flags & OPEN_WITH_TIMEOUT) != 0) {
        write_header(&headers, "grpc-timeout", bytes_of_str("300m"));
    }
    if ((flags & OPEN_WITH_VERSION) != 0) {
        write_header(&headers, "client-api-version", fuzz_view(input, 4));
    }
    CLAIM(buf_ok(&headers));
    bool end = (flags & OPEN_WITH_END) != 0;
    bool message = (flags & OPEN_WITH_MESSAGE) != 0;
    rpc_conn_frame(&run->conn, H2_HEADERS,
                   (uint8_t)(H2_END_HEADERS | (end && !message ? H2_END_STREAM : 0)), stream_id,
                   buf_bytes(&headers));
    if (message) {
        send_data(run, input, stream_id, true, end);
    }
}

static uint32_t stream_of(const struct run *run, struct reader *input)
{
    uint8_t back = read_u8(input);
    return run->calls == 0 ? 1 : 2 * (run->calls - 1 - back % run->calls) + 1;
}

static void window(struct run *run, struct reader *input)
{
    uint8_t more[4];
    uint32_t stream_id = stream_of(run, input);
    put_u32_be(more, read_u16(input) + 1u);
    rpc_conn_frame(&run->conn, H2_WINDOW_UPDATE, 0, stream_id, bytes_of(more, sizeof more));
}

static void change_leader(struct run *run, struct reader *input)
{
    static const uint64_t leaders[] = {0, FUZZ_OTHER_ID};
    uint8_t which = read_u8(input);
    struct node *node = run->conn.member.node;
    node_fake_set_leader(node, node_term(node) + 1,
                         which < ARRAY_LEN(leaders) ? leaders[which] : FUZZ_MEMBER_ID);
}

static void refuse(struct run *run, struct reader *input)
{
    static const enum err errors[] = {ERR_NOT_LEADER, ERR_LEADER_CHANGED, ERR_TOO_MANY_REQUESTS,
                                      ERR_NO_SPACE};
    enum err err = errors[read_u8(input) % ARRAY_LEN(errors)];
    if (node_fake_proposal_count(run->conn.member.node) > 0) {
        node_fake_refuse(run->conn.member.node, err);
    }
}

static void compact(struct run *run, struct reader *input)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    struct command command = {.kind = COMMAND_COMPACT};
    command.compact.revision = store_revision(run->conn.member.store) - read_u8(input);
    entry_encode_head(&entry, 0);
    command_encode(&entry, (struct command_origin){.member_id = FUZZ_OTHER_ID}, &command);
    CLAIM(buf_ok(&entry));
    if (node_fake_proposal_count(run->conn.member.node) == 0) {
        node_fake_apply(run->conn.member.node, buf_bytes(&entry));
    }
}

static void set_held(struct run *run, struct reader *input)
{
    run->held = read_u8(input) % 2 == 0;
    fuzz_member_settle(&run->conn.member);
}

static void do_step(struct run *run, enum step step, struct reader *input)
{
    switch (step) {
    case OPEN:
        open_call(run, input);
        break;
    case MESSAGE:
    case BYTES:
        send_data(run, input, stream_of(run, input), step == MESSAGE, false);
        break;
    case HALF_CLOSE:
        rpc_conn_frame(&run->conn, H2_DATA, H2_END_STREAM, stream_of(run, input),
                       bytes_of(NULL, 0));
        break;
    case RESET:
        rpc_conn_frame(&run->conn, H2_RST_STREAM, 0, stream_of(run, input),
                       bytes_of("\0\0\0\10", 4));
        break;
    case TIME:
        env_fake_advance(run->conn.member.fake, read_u16(input));
        break;
    case READ:
        stream_fake_hold(run->conn.stream, read_u8(input) % 2 == 0);
        break;
    case COMMIT:
        set_held(run, input);
        break;
    case REFUSE:
        refuse(run, input);
        break;
    case LEADER:
        change_leader(run, input);
        break;
    case WINDOW:
        window(run, input);
        break;
    case COMPACT:
        compact(run, input);
        break;
    case DRAIN:
        fuzz_member_drain(&run->conn.member);
        grpc_conn_drain(run->conn.conn);
        break;
    case STEP_COUNT:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.calls = 0};
    rpc_conn_start(&run.conn);
    rpc_conn_greet(&run.conn);
    for (unsigned i = 0; i < STEPS_MAX && reader_left(&input) > 0 && !run.conn.closed; i++) {
        do_step(&run, read_u8(&input) % STEP_COUNT, &input);
        if (run.held) {
            env_fake_run(run.conn.member.fake);
        } else {
            fuzz_member_settle(&run.conn.member);
        }
    }
    if (!run.conn.closed) {
        stream_fake_hold(run.conn.stream, false);
    }
    fuzz_member_settle(&run.conn.member);
    env_fake_advance(run.conn.member.fake, WAIT_MS); /* what waits gives up */
    rpc_conn_stop(&run.conn);
    return 0;
}
