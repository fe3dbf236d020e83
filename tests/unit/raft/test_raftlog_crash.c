/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftlog_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"

/* Random runs of the log on a disk that forgets what was not synced, crashed behind a random
 * operation of the disk, several times in a row. What is loaded then must be what the model says:
 * every operation that was acknowledged, and of the others the first few, in order.
 *
 * TRIVET_TEST_SEED=n runs one seed only, TRIVET_TEST_RUNS=n that many. */

#define RUNS            300
#define LIVES           4
#define CRASHES         10
#define STEPS_MAX       24
#define SEGMENT_SIZE    (16u * 1024)
#define STATES_MAX      256
#define MODEL_ENTRY_MAX 512

/* The log as it should be. Data of an entry is made of its stamp, and so need not be kept. */
struct model {
    uint64_t first;
    uint64_t next;
    uint64_t stamps[MODEL_ENTRY_MAX]; /* of entry i: at i % MODEL_ENTRY_MAX */
    uint64_t snapshot_index;
    uint64_t snapshot_stamp;
};

struct state {
    struct model model;
    uint64_t submitted_at; /* operations of the disk before it */
    uint64_t acked_at;     /* UINT64_MAX: never */
};

struct vote_state {
    uint64_t term;
    uint64_t vote;
    uint64_t submitted_at;
    uint64_t acked_at;
};

static struct {
    uint64_t seed;
    uint64_t random;
    struct env_fake *env;
    struct fs_fault *disk;
    struct raftlog *log;
    struct state *states; /* 0: as loaded; then after each operation */
    size_t state_count;
    struct vote_state votes[STATES_MAX];
    size_t vote_count;
} run;

static uint64_t rnd(uint64_t below)
{
    run.random += 0x9e3779b97f4a7c15u;
    return mix64(run.random) % below;
}

static size_t entry_len(uint64_t stamp)
{
    uint64_t h = mix64(stamp);
    if (h % 50 == 0) {
        return SEGMENT_SIZE + (h >> 8) % SEGMENT_SIZE;
    }
    return (h >> 8) % (h % 3 == 0 ? 6000 : 200);
}

static void fill(uint64_t stamp, uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)mix64(stamp + i / 8);
    }
}

static struct state *last_state(void)
{
    return &run.states[run.state_count - 1];
}

static struct state *push_state(void)
{
    ck_assert_uint_lt(run.state_count, STATES_MAX);
    struct state *s = &run.states[run.state_count];
    *s = *last_state();
    s->submitted_at = fs_fault_op_count(run.disk);
    s->acked_at = UINT64_MAX;
    run.state_count++;
    return s;
}

/* An operation of the test, freed by its callback. */
struct operation {
    struct raftlog_request request;
    size_t state;
    struct log_entry *entries;
    size_t entry_count;
};

static void on_done(struct raftlog_request *request)
{
    struct operation *op = CONTAINER_OF(request, struct operation, request);
    ck_assert(run.states[op->state].acked_at == UINT64_MAX);
    for (size_t i = op->state; i > 0 && run.states[i].acked_at == UINT64_MAX; i--) {
        run.states[i].acked_at = fs_fault_op_count(run.disk);
    }
    for (size_t i = 0; i < op->entry_count; i++) {
        free((void *)(uintptr_t)op->entries[i].data.data);
    }
    free(op->entries);
    free(op);
}

static struct operation *new_operation(void)
{
    struct operation *op = calloc(1, sizeof *op);
    ck_assert_ptr_nonnull(op);
    op->state = run.state_count - 1;
    return op;
}

static void do_append(void)
{
    size_t count = 1 + (size_t)rnd(5);
    struct log_entry *entries = calloc(count, sizeof *entries);
    uint64_t index = last_state()->model.next;
    for (size_t i = 0; i < count; i++) {
        struct state *s = push_state(); /* the last append before a crash may be there in part */
        uint64_t stamp = rnd(UINT64_MAX);
        size_t len = entry_len(stamp);
        uint8_t *data = malloc(len + 1);
        fill(stamp, data, len);
        entries[i] =
            (struct log_entry){.term = stamp, .kind = LOG_ENTRY_COMMAND, .data = {data, len}};
        s->model.stamps[s->model.next++ % MODEL_ENTRY_MAX] = stamp;
    }
    struct operation *op = new_operation();
    op->entries = entries;
    op->entry_count = count;
    run.log->ops->append(run.log, &op->request, index, op->entries, count, on_done);
}

static void do_truncate(void)
{
    const struct model *m = &last_state()->model;
    uint64_t lowest = m->first > m->snapshot_index ? m->first : m->snapshot_index + 1;
    if (lowest >= m->next) {
        return;
    }
    struct state *s = push_state();
    s->model.next = lowest + rnd(s->model.next - lowest);
    run.log->ops->truncate(run.log, s->model.next);
}

static void do_snapshot(void)
{
    struct state *s = push_state();
    struct model *m = &s->model;
    uint64_t trailing = rnd(3) == 0 ? 0 : rnd(30);
    uint64_t index = rnd(4) == 0 ? m->next - 1 + rnd(10) : m->first + rnd(m->next - m->first + 1);
    index = index < m->first ? m->first : index;
    index = index < m->snapshot_index ? m->snapshot_index : index;
    m->snapshot_index = index;
    m->snapshot_stamp = rnd(UINT64_MAX);
    if (trailing == 0 || index + 1 > m->next) {
        m->first = m->next = index + 1;
    } else if (index + 1 > m->first + trailing) {
        m->first = index + 1 - trailing;
    }
    uint8_t data[400];
    fill(m->snapshot_stamp, data, sizeof data);
    struct log_snapshot snapshot = {
        .index = index,
        .term = m->snapshot_stamp,
        .configuration_index = m->snapshot_stamp / 2,
        .configuration = bytes_of(data, 100),
        .data = bytes_of(data, sizeof data),
    };
    struct operation *op = new_operation();
    run.log->ops->snapshot_put(run.log, &op->request, &snapshot, trailing, on_done);
}

static void do_vote(void)
{
    ck_assert_uint_lt(run.vote_count, STATES_MAX);
    struct vote_state *v = &run.votes[run.vote_count];
    *v = v[-1];
    v->submitted_at = fs_fault_op_count(run.disk);
    if (rnd(2) == 0) {
        v->term++;
        v->vote = 0;
        run.log->ops->set_term(run.log, v->term);
    } else {
        v->vote = 1 + rnd(5);
        run.log->ops->set_vote(run.log, v->vote);
    }
    v->acked_at = fs_fault_op_count(run.disk);
    run.vote_count++;
}

static void do_step(void)
{
    uint64_t dice = rnd(20);
    if (dice < 12) {
        do_append();
    } else if (dice < 14) {
        do_truncate();
    } else if (dice < 16) {
        do_snapshot();
    } else if (dice < 17) {
        do_vote();
    } else if (dice < 18) {
        env_fake_advance(run.env, 1000);
    } else {
        env_fake_run(run.env);
    }
    const struct model *m = &last_state()->model;
    ck_assert_uint_le(m->next - m->first, MODEL_ENTRY_MAX);
}

static struct raftlog *open_log(struct fs_fault *disk, struct env_fake *env, struct why *why)
{
    struct raftlog_files_config config = {
        .env = env_fake_env(env),
        .fs = fs_fault_fs(disk),
        .dir = "/log",
        .cluster_id = 7,
        .member_id = 8,
        .segment_bytes = SEGMENT_SIZE,
    };
    struct raftlog *log = NULL;
    enum err err = raftlog_files_open(&config, &log, why);
    ck_assert_msg(err == OK, "seed %" PRIu64 ": open: %s", run.seed, why->text);
    return log;
}

static bool image_is(const struct raftlog_image *image, const struct model *m)
{
    if (image->first_index != m->first || image->entry_count != m->next - m->first ||
        image->snapshot.index != m->snapshot_index) {
        return false;
    }
    for (size_t i = 0; i < image->entry_count; i++) {
        if (image->entries[i].term != m->stamps[(m->first + i) % MODEL_ENTRY_MAX]) {
            return false;
        }
    }
    return image->snapshot.term == m->snapshot_stamp;
}

static void check_bytes(struct bytes got, uint64_t stamp, size_t len)
{
    uint8_t want[2 * SEGMENT_SIZE];
    fill(stamp, want, len);
    ck_assert_msg(bytes_equal(got, bytes_of(want, len)), "seed %" PRIu64 ": other bytes", run.seed);
}

static void check_content(const struct raftlog_image *image)
{
    for (size_t i = 0; i < image->entry_count; i++) {
        const struct log_entry *entry = &image->entries[i];
        ck_assert_int_eq(entry->kind, LOG_ENTRY_COMMAND);
        check_bytes(entry->data, entry->term, entry_len(entry->term));
    }
    if (image->snapshot.index > 0) {
        check_bytes(image->snapshot.configuration, image->snapshot.term, 100);
        check_bytes(image->snapshot.data, image->snapshot.term, 400);
        ck_assert_uint_eq(image->snapshot.configuration_index, image->snapshot.term / 2);
    }
}

/* Which state is it? One that was reached at AT, not before what was acknowledged by then. */
static size_t find_state(const struct raftlog_image *image, uint64_t at)
{
    size_t acked = 0;
    for (size_t i = 0; i < run.state_count; i++) {
        acked = run.states[i].acked_at <= at ? i : acked;
    }
    for (size_t i = acked; i < run.state_count && run.states[i].submitted_at <= at; i++) {
        if (image_is(image, &run.states[i].model)) {
            return i;
        }
    }
    for (size_t i = 0; i < run.state_count; i++) {
        const struct state *s = &run.states[i];
        printf("# state %zu, disk operations %" PRIu64 " to %" PRId64 ": entries %" PRIu64
               " to %" PRIu64 ", snapshot %" PRIu64 "\n",
               i, s->submitted_at, (int64_t)s->acked_at, s->model.first, s->model.next - 1,
               s->model.snapshot_index);
    }
    ck_abort_msg("seed %" PRIu64 ", crash behind %" PRIu64 " operations: loaded entries %" PRIu64
                 " to %" PRIu64 ", snapshot %" PRIu64
                 "; acknowledged was state %zu: entries %" PRIu64 " to %" PRIu64
                 ", snapshot %" PRIu64,
                 run.seed, at, image->first_index, image->first_index + image->entry_count - 1,
                 image->snapshot.index, acked, run.states[acked].model.first,
                 run.states[acked].model.next - 1, run.states[acked].model.snapshot_index);
}

static struct vote_state find_vote(const struct raftlog_image *image, uint64_t at)
{
    size_t acked = 0;
    for (size_t i = 0; i < run.vote_count; i++) {
        acked = run.votes[i].acked_at <= at ? i : acked;
    }
    for (size_t i = acked; i < run.vote_count && run.votes[i].submitted_at <= at; i++) {
        if (image->term == run.votes[i].term && image->vote == run.votes[i].vote) {
            return run.votes[i];
        }
    }
    ck_abort_msg("seed %" PRIu64 ", crash behind %" PRIu64 " operations: term %" PRIu64
                 ", vote %" PRIu64,
                 run.seed, at, image->term, image->vote);
}

/* Load what a crash has left and check it. When KEEP, the next life begins there. */
static void check_crash(uint64_t at, uint64_t crash_seed, bool keep)
{
    struct fs_fault *disk = fs_fault_crash(run.disk, at, crash_seed);
    struct env_fake *env = env_fake_new(run.seed + crash_seed);
    struct why why = {0};
    struct raftlog *log = open_log(disk, env, &why);
    struct raftlog_image image = {0};
    enum err err = log->ops->load(log, &image, &why);
    ck_assert_msg(err == OK, "seed %" PRIu64 ", crash behind %" PRIu64 " operations: load: %s",
                  run.seed, at, why.text);
    size_t found = find_state(&image, at);
    struct vote_state vote = find_vote(&image, at);
    check_content(&image);
    raftlog_image_fini(&image);
    if (!keep) {
        log->ops->close(log);
        env_fake_free(env);
        fs_fault_free(disk);
        return;
    }
    fs_fault_free(run.disk);
    env_fake_free(run.env);
    run.disk = disk;
    run.env = env;
    run.log = log;
    run.states[0] = run.states[found];
    run.states[0].submitted_at = run.states[0].acked_at = 0;
    run.state_count = 1;
    run.votes[0] = vote;
    run.votes[0].submitted_at = run.votes[0].acked_at = 0;
    run.vote_count = 1;
}

static void begin_first_life(void)
{
    run.disk = fs_fault_new();
    run.env = env_fake_new(run.seed);
    struct why why = {0};
    run.log = open_log(run.disk, run.env, &why);
    struct raftlog_image image = {0};
    enum err err = run.log->ops->load(run.log, &image, &why);
    ck_assert_msg(err == OK, "load: %s", why.text);
    ck_assert_uint_eq(image.first_index, 1);
    ck_assert_uint_eq(image.entry_count, 0);
    raftlog_image_fini(&image);
    run.states[0] = (struct state){.model = {.first = 1, .next = 1}};
    run.state_count = 1;
    run.votes[0] = (struct vote_state){0};
    run.vote_count = 1;
}

static void run_seed(uint64_t seed)
{
    run.seed = seed;
    run.random = seed;
    begin_first_life();
    for (unsigned life = 0; life < LIVES; life++) {
        uint64_t loaded_at = fs_fault_op_count(run.disk);
        size_t steps = (size_t)rnd(STEPS_MAX);
        for (size_t i = 0; i < steps; i++) {
            do_step();
        }
        run.log->ops->close(run.log);
        uint64_t ops = fs_fault_op_count(run.disk);
        for (unsigned i = 0; i < CRASHES; i++) {
            /* Now and then in the middle of the first start as well. */
            uint64_t from = life == 0 ? rnd(loaded_at + 1) : 0;
            check_crash(from + rnd(ops - from + 1), rnd(1000), false);
        }
        check_crash(rnd(ops + 1), rnd(1000), true);
    }
    run.log->ops->close(run.log);
    fs_fault_free(run.disk);
    env_fake_free(run.env);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

START_TEST(a_crash_keeps_what_was_acknowledged)
{
    run.states = calloc(STATES_MAX, sizeof *run.states);
    uint64_t one = number_from("TRIVET_TEST_SEED", 0);
    uint64_t runs = number_from("TRIVET_TEST_RUNS", effort_count(RUNS, 10, "runs"));
    for (uint64_t seed = 1; one == 0 && seed <= runs; seed++) {
        run_seed(seed);
    }
    if (one != 0) {
        run_seed(one);
    }
    free(run.states);
}
END_TEST

static Suite *raftlog_crash_suite(void)
{
    Suite *suite = suite_create("raftlog_crash");
    TCase *tc = tcase_create("raftlog_crash");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, a_crash_keeps_what_was_acknowledged);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(raftlog_crash_suite);
}
