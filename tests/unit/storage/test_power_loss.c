/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/backend.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "tests/lib/database.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* The protocol between WAL, checkpoint and durable index against the loss of power at any moment. A
 * workload runs once on a disk that remembers every operation; then the disk is looked at as a
 * crash after each of them may have left it: unsynced writes lost, reordered, torn at sectors.
 *
 * Whatever is left must be the first N batches, wholly, N being at least what was said to be
 * durable. */

#define BATCHES 120u

struct workload {
    struct database db;
    struct batches *batches;
};

/* One member's life: writes, waits, syncs, small checkpoints, compactions, now and then a restart.
 */
static void workload_run(struct workload *w, uint64_t seed, bool lying)
{
    database_init(&w->db, NULL);
    simvfs_set_lying(w->db.sim, lying);
    w->db.config.checkpoint_frames = 24;
    w->batches =
        batches_new(&(struct batches_config){.seed = seed, .count = BATCHES, .compact_one_in = 8});
    ck_assert_int_eq(database_open(&w->db), OK);
    for (size_t i = 0; i < BATCHES; i++) {
        uint64_t chance = mix64(seed * 1000 + i);
        batches_write(w->batches, i, w->db.backend);
        if (chance % 3 != 0) {
            env_fake_turn(w->db.fake);
        }
        if (chance % 17 == 0) {
            backend_sync(w->db.backend);
        }
        if (chance % 13 == 0) {
            env_fake_advance(w->db.fake, 1000);
        }
        if (chance % 41 == 0) {
            env_fake_run(w->db.fake);
            database_close(&w->db);
            ck_assert_int_eq(database_open(&w->db), OK);
        }
    }
    env_fake_run(w->db.fake);
    ck_assert_uint_eq(batches_written(w->batches), BATCHES);
    database_close(&w->db);
}

static void workload_fini(struct workload *w)
{
    database_fini(&w->db);
    batches_free(w->batches);
}

enum outcome { SAME_AS_BEFORE, LOST_DURABLE, DETECTED, WRONG };

/* The disk after a crash behind OP_COUNT operations. */
static enum outcome look_after_crash(struct workload *w, uint64_t op_count, uint64_t seed,
                                     const char **wrong)
{
    struct database after;
    database_init(&after, fs_fault_crash(w->db.disk, op_count, seed));
    enum outcome outcome = SAME_AS_BEFORE;
    *wrong = NULL;
    enum err err = database_open(&after);
    if (err == ERR_CORRUPT) {
        outcome = DETECTED;
    } else if (err != OK) {
        *wrong = err_text(err);
        outcome = WRONG;
    } else {
        *wrong = database_compare(&after, w->batches);
        outcome = *wrong != NULL ? WRONG : SAME_AS_BEFORE;
        if (*wrong == NULL && after.state.applied_index < database_claimed(&w->db, op_count)) {
            outcome = LOST_DURABLE;
        }
    }
    if (outcome == SAME_AS_BEFORE) { /* and it goes on working */
        size_t next = after.state.applied_index;
        if (next < BATCHES) {
            w->batches->items[next].status = ERR_CANCELLED;
            batches_write(w->batches, next, after.backend);
        }
        database_close(&after);
        *wrong = database_open(&after) == OK ? database_compare(&after, w->batches)
                                             : "it does not open again";
        outcome = *wrong != NULL ? WRONG : outcome;
    }
    database_fini(&after);
    return outcome;
}

START_TEST(no_crash_loses_what_is_durable)
{
    struct workload w;
    uint64_t seed = 100 + (uint64_t)_i;
    workload_run(&w, seed, false);
    uint64_t ops = fs_fault_op_count(w.db.disk);
    unsigned trials = effort_count(300, 10, "crashes");
    for (uint64_t trial = 0; trial < trials; trial++) {
        uint64_t op_count = mix64(seed << 32 | trial) % (ops + 1);
        const char *wrong;
        enum outcome outcome = look_after_crash(&w, op_count, trial, &wrong);
        ck_assert_msg(outcome == SAME_AS_BEFORE,
                      "seed %llu, crash after operation %llu of %llu, "
                      "chance %llu: outcome %d %s",
                      (unsigned long long)seed, (unsigned long long)op_count,
                      (unsigned long long)ops, (unsigned long long)trial, outcome,
                      wrong != NULL ? wrong : "");
    }
    workload_fini(&w);
}
END_TEST

static void on_fatal(const char *message)
{
    (void)message;
    _exit(DETECTED);
}

/* The same in a process of its own, which damage may end later than the start. */
static enum outcome look_from_afar(struct workload *w, uint64_t op_count, uint64_t seed)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        fatal_set_hook(on_fatal);
        const char *wrong;
        enum outcome outcome = look_after_crash(w, op_count, seed, &wrong);
        if (outcome == WRONG) {
            fprintf(stderr, "# %s\n", wrong);
        }
        _exit((int)outcome);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) <= WRONG ? (enum outcome)WEXITSTATUS(status)
                                                             : WRONG;
}

/* A disk whose syncs do nothing loses what it likes; but never does it go unnoticed that what is
 * left is not what some moment left. */
START_TEST(a_lying_disk_is_found_out)
{
    struct workload w;
    uint64_t seed = 200 + (uint64_t)_i;
    workload_run(&w, seed, true);
    uint64_t ops = fs_fault_op_count(w.db.disk);
    unsigned counts[4] = {0};
    unsigned trials = effort_count(200, 20, "crashes");
    for (uint64_t trial = 0; trial < trials; trial++) {
        uint64_t op_count = mix64(seed << 32 | trial) % (ops + 1);
        enum outcome outcome = look_from_afar(&w, op_count, trial + 2);
        ck_assert_msg(outcome != WRONG, "seed %llu, crash after operation %llu, chance %llu",
                      (unsigned long long)seed, (unsigned long long)op_count,
                      (unsigned long long)trial);
        counts[outcome]++;
    }
    ck_assert_uint_gt(counts[DETECTED] + counts[LOST_DURABLE], 0);
    workload_fini(&w);
}
END_TEST

static Suite *power_loss_suite(void)
{
    Suite *suite = suite_create("power-loss");
    TCase *tc = tcase_create("crash");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, no_crash_loses_what_is_durable, 0, 8);
    suite_add_tcase(suite, tc);
    tc = tcase_create("lying");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_lying_disk_is_found_out, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(power_loss_suite);
}
