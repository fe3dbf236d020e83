/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logwriter.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "raft/raftlog_files.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

#define SEGMENT_SIZE (64u * 1024)
#define ENTRIES      3000u
#define DEPTH        8u

/* Group commit seen from above: with the real threads, and by counting the disk's operations. */

static struct {
    struct raftlog *log;
    uint64_t next;
    uint64_t done;
    struct log_entry entry;
    uint8_t data[500];
} fixture;

static void open_log(struct env *env, struct fs *fs, const char *dir)
{
    struct raftlog_files_config config = {.env = env,
                                          .fs = fs,
                                          .dir = dir,
                                          .cluster_id = 1,
                                          .member_id = 2,
                                          .segment_bytes = SEGMENT_SIZE};
    struct why why = {0};
    struct raftlog_image image = {0};
    ck_assert_int_eq(raftlog_files_open(&config, &fixture.log, &why), OK);
    enum err err = fixture.log->ops->load(fixture.log, &image, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    ck_assert_uint_eq(image.first_index + image.entry_count, fixture.next);
    raftlog_image_fini(&image);
}

static void append_one(raftlog_cb cb)
{
    struct raftlog_request *request = malloc(sizeof *request);
    fixture.log->ops->append(fixture.log, request, fixture.next++, &fixture.entry, 1, cb);
}

static void setup(void)
{
    memset(&fixture, 0, sizeof fixture);
    fixture.next = 1;
    fixture.entry = (struct log_entry){
        .term = 1, .kind = LOG_ENTRY_COMMAND, .data = bytes_of(fixture.data, sizeof fixture.data)};
}

static void on_counted(struct raftlog_request *request)
{
    free(request);
    fixture.done++;
}

/* As above; every hundredth forgets most of what is there, and more is appended. */
static void on_appended(struct raftlog_request *request)
{
    on_counted(request);
    if (fixture.next % 100 == 0) {
        struct log_snapshot snapshot = {.index = fixture.done, .term = 1};
        struct raftlog_request *put = malloc(sizeof *put);
        snapshot.index = fixture.next - 1 - DEPTH;
        fixture.log->ops->snapshot_put(fixture.log, put, &snapshot, 20, on_counted);
    }
    if (fixture.next <= ENTRIES) {
        append_one(on_appended);
    }
}

START_TEST(threads_work_beside_the_loop)
{
    uv_loop_t loop;
    struct env_real *real;
    struct why why;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(env_real_new(&loop, &real, &why), OK);
    CLEANUP(freep) char *dir = strdup(tmpdir_path("log"));
    open_log(env_real_env(real), fs_real(), dir);
    for (unsigned i = 0; i < DEPTH; i++) {
        append_one(on_appended);
    }
    while (fixture.next <= ENTRIES) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    fixture.log->ops->close(fixture.log); /* the last ones come back here */
    ck_assert_uint_ge(fixture.done, ENTRIES);
    open_log(env_real_env(real), fs_real(), dir);
    fixture.log->ops->close(fixture.log);
    env_real_close(real);
    uv_run(&loop, UV_RUN_DEFAULT);
    env_real_free(real);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(all_that_waits_is_one_write_and_one_sync)
{
    struct env_fake *fake = env_fake_new(1);
    struct fs_fault *disk = fs_fault_new();
    open_log(env_fake_env(fake), fs_fault_fs(disk), "/log");
    append_one(on_counted);
    env_fake_run(fake);
    env_fake_hold_jobs(fake, true);
    uint64_t before = fs_fault_op_count(disk);
    for (unsigned i = 0; i < 50; i++) {
        append_one(on_counted);
    }
    fixture.next -= 10;
    fixture.log->ops->truncate(fixture.log, fixture.next);
    append_one(on_counted);
    struct log_snapshot snapshot = {.index = 3, .term = 1};
    struct raftlog_request *put = malloc(sizeof *put);
    fixture.log->ops->snapshot_put(fixture.log, put, &snapshot, 1, on_counted);
    env_fake_run(fake);
    ck_assert_uint_eq(fixture.done, 1);
    env_fake_hold_jobs(fake, false);
    env_fake_run(fake);
    ck_assert_uint_eq(fixture.done, 53);
    ck_assert_uint_eq(fs_fault_op_count(disk) - before, 2);
    fixture.log->ops->close(fixture.log);
    fs_fault_free(disk);
    env_fake_free(fake);
}
END_TEST

static Suite *logwriter_suite(void)
{
    Suite *suite = suite_create("logwriter");
    TCase *tc = tcase_create("logwriter");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, threads_work_beside_the_loop);
    tcase_add_test(tc, all_that_waits_is_one_write_and_one_sync);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logwriter_suite);
}
