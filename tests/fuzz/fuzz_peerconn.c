/* SPDX-License-Identifier: Apache-2.0 */
/* A connection between members, from each of its ends: one that was accepted (raft/peerconn.h), one
 * that this member made (raft/peerlink.h), and a question who the members are (raft/peerask.h).
 *
 *   0  which end (modulo 3)
 *   1  steps: what u8 (enum step, modulo), and what that needs
 *
 * Checksums are right in what HELLO, ANSWER and FRAME make; BYTES is for what is not. */
#include "raft/peerconn.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "raft/frame.h"
#include "raft/peerask.h"
#include "server/joining.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/stream_fake.h"
#include "tests/lib/env_fake.h"

#define SELF      1u
#define OTHER     2u
#define CLUSTER   7u
#define STEPS_MAX 64u
#define WAIT_MS   20000u /* longer than a silent peer is borne with */

enum step {
    BYTES,   /* length u16, bytes */
    HELLO,   /* lane u8, flags u8 (enum hello_flag): what in it is wrong */
    ANSWER,  /* verdict u8, id u8 */
    FRAME,   /* kind u8, length u16, payload */
    PIECES,  /* u8: what comes next comes in pieces of so many bytes; 0: whole */
    TIME,    /* ms u16 */
    SEND,    /* this end sends a frame, if it can; length u16 */
    READ,    /* u8: 0 the other end reads nothing */
    BREAK,   /* the connection breaks */
    CONNECT, /* and the next attempt of this end finds somebody */
    STEP_COUNT
};

enum hello_flag { OTHER_CLUSTER = 1, OTHER_TARGET = 2, STRANGER = 4, REMOVED = 8, VERSION = 16 };

struct run {
    struct env_fake *fake;
    struct peer_local local;
    struct stream *stream; /* NULL: none */
    struct peerlink link;
    bool link_idle;
    bool asking;
    size_t piece;
};

/* ---- what is called back ---- */

static bool is_member(void *ctx, uint64_t peer_id)
{
    (void)ctx;
    return peer_id == OTHER;
}

static bool is_removed(void *ctx, uint64_t peer_id)
{
    (void)ctx;
    return peer_id == OTHER + 2;
}

static void describe(void *ctx, struct buf *ret)
{
    (void)ctx;
    buf_append_str(ret, "members");
}

static void on_member(void *ctx, struct peerconn *conn)
{
    (void)ctx;
    CLAIM(conn->peer_id == OTHER);
}

static void on_frame(void *ctx, struct peerconn *conn, enum frame_kind kind, struct bytes payload)
{
    (void)ctx;
    struct frame frame;
    CLAIM(conn->state == PEERCONN_MEMBER);
    if (kind == FRAME_RAFT && frame_decode(payload, &frame) == OK) {
        frame_release(&frame.message);
    }
}

static void on_gone(void *ctx, struct peerconn *conn)
{
    (void)conn;
    ((struct run *)ctx)->stream = NULL;
}

static void on_up(void *ctx, struct peerlink *link, bool up)
{
    (void)ctx;
    CLAIM(up == (link->state == PEERLINK_UP));
}

static void on_idle(void *ctx, struct peerlink *link)
{
    (void)link;
    ((struct run *)ctx)->link_idle = true;
}

static void on_removed(void *ctx)
{
    (void)ctx;
}

static void on_answer(void *ctx, enum err status, struct bytes answer, const char *why)
{
    struct joining_cluster cluster;
    CLAIM((status == OK) == (why == NULL));
    ((struct run *)ctx)->asking = false;
    if (status == OK && joining_decode(answer, &cluster) == OK) {
        joining_cluster_fini(&cluster);
    }
}

/* ---- the ends ---- */

static void accept_one(struct run *run)
{
    static const struct peerconn_callbacks callbacks = {.is_member = is_member,
                                                        .is_removed = is_removed,
                                                        .describe = describe,
                                                        .on_member = on_member,
                                                        .on_frame = on_frame,
                                                        .on_gone = on_gone};
    struct peerconn *conn;
    run->stream = stream_fake_accept(run->local.env);
    CLAIM(peerconn_new(&run->local, &callbacks, run, run->stream, &conn) == OK);
}

/* The next attempt to connect gets there. */
static void offer(struct run *run)
{
    if (stream_fake_count() == 0) {
        run->stream = stream_fake_accept(run->local.env);
        stream_fake_offer(run->stream);
    }
}

static void start_link(struct run *run)
{
    static const struct peerlink_callbacks callbacks = {
        .on_up = on_up, .on_idle = on_idle, .on_removed = on_removed};
    static const struct addr addr = {.host = "fuzz", .port = 1};
    run->link = (struct peerlink){
        .local = &run->local, .callbacks = &callbacks, .ctx = run, .peer_id = OTHER};
    peerlink_init(&run->link);
    peerlink_start(&run->link, &addr);
}

static void start_question(struct run *run)
{
    static const struct addr addr = {.host = "fuzz", .port = 1};
    run->asking = true;
    CLAIM(peerask_start(run->local.env, NULL, &addr, 3000, on_answer, run) == OK);
}

/* ---- steps ---- */

static void send_bytes(struct run *run, struct bytes bytes)
{
    struct reader r = reader_of(bytes);
    while (reader_left(&r) > 0 && stream_fake_count() > 0 && run->stream != NULL) {
        CLEANUP(fuzz_free)
        struct bytes piece = fuzz_take(&r, run->piece == 0 ? SIZE_MAX : run->piece);
        (void)stream_fake_send(run->stream, piece);
        env_fake_run(run->fake);
    }
}

static void send_hello(struct run *run, struct reader *input)
{
    uint8_t bytes[PEER_HELLO_BYTES];
    uint8_t lane = read_u8(input);
    uint8_t flags = read_u8(input);
    struct peer_hello hello = {
        .version = PEER_VERSION + ((flags & VERSION) != 0),
        .is_question = lane == PEER_LANE_QUESTION,
        .lane = lane % LANE_COUNT,
        .cluster_id = CLUSTER + ((flags & OTHER_CLUSTER) != 0),
        .from = OTHER + ((flags & STRANGER) != 0) + 2 * ((flags & REMOVED) != 0),
        .to = SELF + ((flags & OTHER_TARGET) != 0),
    };
    peer_hello_write(&hello, bytes);
    send_bytes(run, bytes_of(bytes, sizeof bytes));
}

static void send_answer(struct run *run, struct reader *input)
{
    uint8_t bytes[PEER_ANSWER_BYTES];
    uint8_t verdict = read_u8(input);
    peer_answer_write(verdict, read_u8(input), bytes);
    send_bytes(run, bytes_of(bytes, sizeof bytes));
}

static void send_frame(struct run *run, struct reader *input)
{
    static const uint8_t kinds[] = {FRAME_RAFT,     FRAME_READ_INDEX, FRAME_FORWARD,    FRAME_APP,
                                    PEER_KIND_PING, PEER_KIND_PONG,   PEER_KIND_MEMBERS};
    uint8_t which = read_u8(input);
    struct bytes payload = fuzz_view(input, read_u16(input));
    uint8_t header[PEER_FRAME_HEADER_BYTES];
    peer_frame_header_write(which < ARRAY_LEN(kinds) ? kinds[which] : which, payload, header);
    CLEANUP(buf_fini) struct buf frame = {0};
    buf_append(&frame, header, sizeof header);
    buf_append_bytes(&frame, payload);
    CLAIM(buf_ok(&frame));
    send_bytes(run, buf_bytes(&frame));
}

static void send_own(struct run *run, size_t len)
{
    CLEANUP(blob_unrefp) struct blob *blob = blob_new(len);
    CLAIM(blob != NULL);
    memset(blob->data, 'x', len);
    if (run->link.local != NULL) {
        (void)peerlink_send(&run->link, FRAME_APP, blob, 100000);
    }
}

static void do_step(struct run *run, enum step step, struct reader *input)
{
    bool open = run->stream != NULL && stream_fake_count() > 0;
    switch (step) {
    case BYTES:
        send_bytes(run, fuzz_view(input, read_u16(input)));
        break;
    case HELLO:
        send_hello(run, input);
        break;
    case ANSWER:
        send_answer(run, input);
        break;
    case FRAME:
        send_frame(run, input);
        break;
    case PIECES:
        run->piece = read_u8(input);
        break;
    case TIME:
        env_fake_advance(run->fake, read_u16(input));
        break;
    case SEND:
        send_own(run, read_u16(input));
        break;
    case READ:
        if (open) {
            stream_fake_hold(run->stream, read_u8(input) == 0);
        }
        break;
    case BREAK:
        if (open) {
            stream_fake_end(run->stream, ERR_IO);
        }
        break;
    case CONNECT:
        offer(run);
        break;
    case STEP_COUNT:
        break;
    }
    env_fake_run(run->fake);
}

static void start(struct run *run, uint8_t which)
{
    run->fake = env_fake_new(1);
    run->local = (struct peer_local){
        .env = env_fake_env(run->fake), .cluster_id = CLUSTER, .member_id = SELF};
    if (which % 3 == 0) {
        accept_one(run);
        return;
    }
    offer(run);
    if (which % 3 == 1) {
        start_link(run);
    } else {
        start_question(run);
    }
    env_fake_advance(run->fake, 1);
}

static void finish(struct run *run)
{
    stream_fake_offer_end();
    if (run->link.local != NULL) {
        peerlink_stop(&run->link);
        env_fake_advance(run->fake, 1);
        CLAIM(run->link_idle);
    } else {
        env_fake_advance(run->fake, WAIT_MS);
    }
    CLAIM(!run->asking);
    CLAIM(stream_fake_count() == 0);
    env_fake_free(run->fake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.piece = 0};
    start(&run, read_u8(&input));
    for (unsigned i = 0; i < STEPS_MAX && reader_left(&input) > 0; i++) {
        do_step(&run, read_u8(&input) % STEP_COUNT, &input);
    }
    finish(&run);
    return 0;
}
