/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of other members to a whole member: forwarded commands and what comes back of them,
 * leases, hashes, databases. The member leads, follows, or knows no leader, and has requests of its
 * own under way.
 *
 * The input is a list of steps: what u8 (enum step, modulo), and what that needs. */
#include "base/cleanup.h"
#include "server/stateframe.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/onemember.h"

#define STEPS_MAX 48u
#define OPS_MAX   16u
#define WAIT_MS   8000u

enum step {
    FORWARD_FRAME, /* peer u8, length u16, payload */
    APP_FRAME,     /* the same */
    COMMANDS,      /* peer u8, length u16, bodies of commands: kind u8, length u8, bytes */
    LEADER,        /* u8: 0 nobody, 1 and 2 the others, else this member */
    TIME,          /* ms u16 */
    PUT,           /* a put of the member itself */
    RENEW,         /* of a lease, by the member itself */
    COMMIT,        /* u8: 0 later, else now and from now on */
    REFUSE,        /* the oldest proposal: u8 */
    CONNECT,       /* u8: 0 the member reaches nobody, else all */
    STEP_COUNT
};

struct asked {
    struct op op;
    bool over;
};

struct run {
    struct fuzz_member member;
    struct asked asked[OPS_MAX];
    size_t asked_count;
    struct lease_ask lease;
    int64_t lease_id;
    int64_t lease_answer;
    bool lease_asked;
    bool held;
};

static void on_op(struct op *op, enum err status)
{
    (void)status;
    struct asked *asked = CONTAINER_OF(op, struct asked, op);
    CLAIM(!asked->over);
    asked->over = true;
}

static void put(struct run *run)
{
    struct command command = {.kind = COMMAND_PUT,
                              .put = {.key = bytes_of_str("k"), .value = bytes_of_str("v")}};
    if (run->asked_count < OPS_MAX) {
        server_propose(run->member.server, &run->asked[run->asked_count++].op, &command, on_op);
    }
}

static void on_renewed(struct lease_ask *ask, enum err status)
{
    (void)status;
    CONTAINER_OF(ask, struct run, lease)->lease_asked = false;
}

static void renew(struct run *run)
{
    if (!run->lease_asked) {
        run->lease_asked = true;
        run->lease_id = 1;
        run->lease =
            (struct lease_ask){.ids = &run->lease_id, .answers = &run->lease_answer, .count = 1};
        server_lease_renew(run->member.server, &run->lease, on_renewed);
    }
}

static uint64_t peer_of(struct reader *input)
{
    return read_u8(input) % 2 == 0 ? FUZZ_OTHER_ID : FUZZ_OTHER_ID + 1;
}

/* A database that takes the place of the member's own, which this store has not: fuzz_state. */
static bool brings_database(enum frame_kind kind, struct bytes payload)
{
    struct stateframe frame;
    return kind == FRAME_APP && stateframe_decode(payload, &frame) == OK &&
           (frame.what == STATE_OFFER || frame.what == STATE_CHUNK || frame.what == STATE_END);
}

static void deliver(struct run *run, struct reader *input, enum frame_kind kind)
{
    uint64_t peer = peer_of(input);
    CLEANUP(fuzz_free) struct bytes payload = fuzz_take(input, read_u16(input));
    if (!brings_database(kind, payload)) {
        node_fake_deliver(run->member.node, peer, kind, payload);
    }
}

/* Envelopes that are right, around bodies that may be. */
static void deliver_commands(struct run *run, struct reader *input)
{
    uint64_t peer = peer_of(input);
    struct bytes bodies = fuzz_view(input, read_u16(input));
    struct reader r = reader_of(bodies);
    CLEANUP(buf_fini) struct buf frame = {0};
    write_u8(&frame, 1);
    while (reader_left(&r) > 0) {
        uint8_t kind = read_u8(&r);
        struct bytes body = fuzz_view(&r, read_u8(&r));
        write_u8(&frame, kind);
        write_u64(&frame, peer);
        write_u64(&frame, 1);
        write_u32(&frame, (uint32_t)body.len);
        buf_append_bytes(&frame, body);
    }
    CLAIM(buf_ok(&frame));
    node_fake_deliver(run->member.node, peer, FRAME_FORWARD, buf_bytes(&frame));
}

static void change_leader(struct run *run, struct reader *input)
{
    static const uint64_t leaders[] = {0, FUZZ_OTHER_ID, FUZZ_OTHER_ID + 1};
    uint8_t which = read_u8(input);
    struct node *node = run->member.node;
    node_fake_set_leader(node, node_term(node) + 1,
                         which < ARRAY_LEN(leaders) ? leaders[which] : FUZZ_MEMBER_ID);
}

static void refuse(struct run *run, struct reader *input)
{
    static const enum err errors[] = {ERR_NOT_LEADER, ERR_LEADER_CHANGED, ERR_NO_SPACE};
    enum err err = errors[read_u8(input) % ARRAY_LEN(errors)];
    if (node_fake_proposal_count(run->member.node) > 0) {
        node_fake_refuse(run->member.node, err);
    }
}

static void do_step(struct run *run, enum step step, struct reader *input)
{
    switch (step) {
    case FORWARD_FRAME:
        deliver(run, input, FRAME_FORWARD);
        break;
    case APP_FRAME:
        deliver(run, input, FRAME_APP);
        break;
    case COMMANDS:
        deliver_commands(run, input);
        break;
    case LEADER:
        change_leader(run, input);
        break;
    case TIME:
        env_fake_advance(run->member.fake, read_u16(input));
        break;
    case PUT:
        put(run);
        break;
    case RENEW:
        renew(run);
        break;
    case COMMIT:
        run->held = read_u8(input) == 0;
        break;
    case REFUSE:
        refuse(run, input);
        break;
    case CONNECT:
        node_fake_set_connected(run->member.node, read_u8(input) != 0);
        break;
    case STEP_COUNT:
        break;
    }
}

/* Nobody gets them. */
static void drop_frames(struct run *run)
{
    while (node_fake_frame_count(run->member.node) > 0) {
        blob_unref(node_fake_take_frame(run->member.node).payload);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.asked_count = 0};
    fuzz_member_start(&run.member, 3);
    for (unsigned i = 0; i < STEPS_MAX && reader_left(&input) > 0; i++) {
        do_step(&run, read_u8(&input) % STEP_COUNT, &input);
        if (run.held) {
            env_fake_run(run.member.fake);
        } else {
            fuzz_member_settle(&run.member);
        }
        drop_frames(&run);
    }
    fuzz_member_settle(&run.member);
    env_fake_advance(run.member.fake, WAIT_MS);
    for (size_t i = 0; i < run.asked_count; i++) {
        CLAIM(run.asked[i].over);
    }
    CLAIM(!run.lease_asked);
    store_check(run.member.store);
    node_fake_set_connected(run.member.node, false);
    drop_frames(&run);
    fuzz_member_stop(&run.member);
    return 0;
}
