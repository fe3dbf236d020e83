/* SPDX-License-Identifier: Apache-2.0 */
/* A database that comes from the leader to a member that is behind: damaged, in a wrong order, of
 * another cluster. It takes the place of the member's own, whole, or the member goes on with what
 * it has.
 *
 *   0  damage (tests/fuzz/basedb.h)
 *   1  steps: what u8 (enum step, modulo), and what that needs */
#include "server/statetake.h"

#include "base/cleanup.h"
#include "tests/fuzz/basedb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/simvfs.h"

#define SELF      2u
#define LEADER    1u
#define BEHIND    10u /* entries that the member has */
#define STEPS_MAX 32u

enum step {
    ALL,    /* ask, offer, every chunk, end: as it should be */
    ASK,    /* size u16 */
    OFFER,  /* flags u8 (enum offer_flag) */
    CHUNK,  /* u8: which; flags u8: 1 cut by a byte */
    END,    /* u8: 1: another digest, 2: another size */
    FRAME,  /* peer u8, length u16, bytes: anything */
    NUMBER, /* u8: what comes next is of this copy */
    TIME,   /* ms u16 */
    APPLY,  /* the next entry comes by the log */
    FULL,   /* u8: the disk is full, or (0) is not */
    STEP_COUNT
};

enum offer_flag { OFFER_SIZE = 1, OFFER_INDEX = 2, OFFER_CLUSTER = 4, OFFER_HASH = 8 };

struct run {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct store *store;
    struct node *node;
    struct statetake *take;
    struct buf content;
    uint64_t number;
    unsigned replaced;
};

static void on_replaced(void *ctx)
{
    struct run *run = ctx;
    CLAIM(store_applied_index(run->store) == BASEDB_INDEX);
    run->replaced++;
}

static void start(struct run *run)
{
    run->fake = env_fake_new(1);
    run->disk = fs_fault_new();
    run->sim = simvfs_new(fs_fault_fs(run->disk), fs_fault_file_id);
    struct why why;
    struct store_config config = {
        .env = env_fake_env(run->fake),
        .path = "/store.db",
        .vfs = simvfs_name(run->sim),
        .fs = fs_fault_fs(run->disk),
        .identity = {.cluster_id = BASEDB_CLUSTER_ID, .member_id = SELF},
    };
    CLAIM(store_open(&config, &run->store, &why) == OK);
    for (uint64_t index = 1; index <= BEHIND; index++) {
        basedb_apply(run->store, index);
    }
    env_fake_advance(run->fake, 1000);
    run->node = node_fake_new(env_fake_env(run->fake), SELF);
    node_fake_set_leader(run->node, 2, LEADER);
    struct statetake_config take = {.env = env_fake_env(run->fake),
                                    .node = run->node,
                                    .store = run->store,
                                    .fs = fs_fault_fs(run->disk),
                                    .on_replaced = on_replaced,
                                    .ctx = run};
    CLAIM(statetake_new(&take, &run->take) == OK);
}

static void drop_frames(struct run *run)
{
    struct stateframe frame;
    while (node_fake_frame_count(run->node) > 0) {
        struct node_frame sent = node_fake_take_frame(run->node);
        CLAIM(stateframe_decode(blob_bytes(sent.payload), &frame) == OK);
        blob_unref(sent.payload);
    }
}

static void finish(struct run *run)
{
    fs_fault_set_capacity(run->disk, 0);
    env_fake_run(run->fake);
    store_check(run->store);
    CLAIM(run->replaced <= 1);
    statetake_stop(run->take);
    store_close(run->store);
    statetake_free(run->take);
    drop_frames(run);
    node_fake_free(run->node);
    simvfs_free(run->sim);
    fs_fault_free(run->disk);
    env_fake_free(run->fake);
    buf_fini(&run->content);
}

/* ---- what the leader says ---- */

static void say(struct run *run, struct stateframe *frame)
{
    frame->number = run->number;
    statetake_on_frame(run->take, LEADER, frame);
    env_fake_run(run->fake);
    drop_frames(run);
}

static void offer(struct run *run, uint8_t flags)
{
    struct stateframe frame = {.what = STATE_OFFER,
                               .size_bytes = run->content.len + ((flags & OFFER_SIZE) != 0),
                               .manifest = basedb_get()->manifest};
    frame.manifest.applied_index += (flags & OFFER_INDEX) != 0;
    frame.manifest.cluster_id += (flags & OFFER_CLUSTER) != 0;
    frame.manifest.hash.lo += (flags & OFFER_HASH) != 0;
    if (frame.size_bytes > 0) {
        say(run, &frame);
    }
}

static size_t chunk_count(const struct run *run)
{
    return (run->content.len + STATE_CHUNK_BYTES - 1) / STATE_CHUNK_BYTES;
}

static struct bytes chunk_of(const struct run *run, size_t i)
{
    uint64_t offset = (uint64_t)i * STATE_CHUNK_BYTES;
    return bytes_of(run->content.data + offset, stateframe_chunk_len(offset, run->content.len));
}

static void chunk(struct run *run, size_t i, bool cut)
{
    if (i < chunk_count(run)) {
        struct stateframe frame = {.what = STATE_CHUNK,
                                   .offset = (uint64_t)i * STATE_CHUNK_BYTES,
                                   .chunk = chunk_of(run, i)};
        frame.chunk.len -= cut && frame.chunk.len > 1;
        say(run, &frame);
    }
}

static void end(struct run *run, uint8_t flags)
{
    struct stateframe frame = {.what = STATE_END, .size_bytes = run->content.len};
    for (size_t i = 0; i < chunk_count(run); i++) {
        struct set_hash element =
            stateframe_element((uint64_t)i * STATE_CHUNK_BYTES, chunk_of(run, i));
        set_hash_add(&frame.digest, element);
    }
    frame.digest.lo ^= (flags & 1) != 0;
    frame.size_bytes += (flags & 2) != 0;
    if (frame.size_bytes > 0) {
        say(run, &frame);
    }
}

static void ask(struct run *run, uint16_t size)
{
    struct stateframe frame = {.what = STATE_ASK, .size_bytes = size + 1u};
    say(run, &frame);
}

static void all(struct run *run)
{
    ask(run, 0);
    offer(run, 0);
    for (size_t i = 0; i < chunk_count(run); i++) {
        chunk(run, i, false);
    }
    end(run, 0);
    env_fake_advance(run->fake, 100);
}

static void any_frame(struct run *run, struct reader *input)
{
    struct stateframe frame;
    uint64_t peer = LEADER + read_u8(input) % 3;
    CLEANUP(fuzz_free) struct bytes bytes = fuzz_take(input, read_u16(input));
    if (peer != SELF && stateframe_decode(bytes, &frame) == OK &&
        (frame.what == STATE_ASK || frame.what == STATE_OFFER || frame.what == STATE_CHUNK ||
         frame.what == STATE_END)) {
        statetake_on_frame(run->take, peer, &frame);
        env_fake_run(run->fake);
    }
}

static void apply(struct run *run)
{
    uint64_t next = store_applied_index(run->store) + 1;
    if (next <= BASEDB_INDEX) {
        basedb_apply(run->store, next);
    }
}

static void do_step(struct run *run, enum step step, struct reader *input)
{
    uint8_t which;
    switch (step) {
    case ALL:
        all(run);
        break;
    case ASK:
        ask(run, read_u16(input));
        break;
    case OFFER:
        offer(run, read_u8(input));
        break;
    case CHUNK:
        which = read_u8(input);
        chunk(run, which, (read_u8(input) & 1) != 0);
        break;
    case END:
        end(run, read_u8(input));
        break;
    case FRAME:
        any_frame(run, input);
        break;
    case NUMBER:
        run->number = read_u8(input);
        break;
    case TIME:
        env_fake_advance(run->fake, read_u16(input));
        break;
    case APPLY:
        apply(run);
        break;
    case FULL:
        /* The member's own database has its room. */
        fs_fault_set_capacity(run->disk, read_u8(input) == 0 ? 0 : 1u << 19);
        break;
    case STEP_COUNT:
        break;
    }
    env_fake_run(run->fake);
    drop_frames(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.number = 1};
    basedb_damage(&input, &run.content);
    start(&run);
    for (unsigned i = 0; i < STEPS_MAX && reader_left(&input) > 0; i++) {
        do_step(&run, read_u8(&input) % STEP_COUNT, &input);
    }
    finish(&run);
    return 0;
}
