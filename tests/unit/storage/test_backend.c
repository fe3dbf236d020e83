/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/backend.h"

#include <stdio.h>

#include "tests/lib/batches.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

#define BATCHES 200u

static struct {
    struct env_fake *fake;
    struct backend_config config;
    struct backend *backend;
    struct backend_state state;
    struct row_log rows;
    struct batches *batches;
    struct why why;
    char path[4096];
    uint64_t durable_index;
} fixture;

static void on_durable(void *ctx, uint64_t index)
{
    (void)ctx;
    ck_assert_uint_gt(index, fixture.durable_index);
    fixture.durable_index = index;
}

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(fixture.path, sizeof fixture.path, "%s", tmpdir_path("db"));
    fixture.fake = env_fake_new(1);
    fixture.config = (struct backend_config){.env = env_fake_env(fixture.fake),
                                             .path = fixture.path,
                                             .identity = {.cluster_id = 7, .member_id = 9},
                                             .on_durable = on_durable};
    fixture.batches =
        batches_new(&(struct batches_config){.seed = 3, .count = BATCHES, .compact_one_in = 20});
}

static void teardown(void)
{
    backend_close(fixture.backend);
    batches_free(fixture.batches);
    row_log_fini(&fixture.rows);
    env_fake_free(fixture.fake);
    tmpdir_teardown();
}

static enum err try_open(void)
{
    row_log_fini(&fixture.rows);
    return backend_open(&fixture.config, row_log_add, &fixture.rows, &fixture.state,
                        &fixture.backend, &fixture.why);
}

static void open_backend(void)
{
    enum err err = try_open();
    ck_assert_msg(err == OK, "%s: %s", err_text(err), fixture.why.text);
}

static void close_backend(void)
{
    backend_close(fixture.backend);
    fixture.backend = NULL;
}

static void write_all(void)
{
    for (size_t i = 0; i < BATCHES; i++) {
        batches_write(fixture.batches, i, fixture.backend);
        if (i % 7 == 0) {
            env_fake_turn(fixture.fake);
        }
    }
    env_fake_run(fixture.fake);
    ck_assert_uint_eq(batches_written(fixture.batches), BATCHES);
}

START_TEST(a_new_database_is_empty)
{
    open_backend();
    ck_assert_uint_eq(fixture.state.applied_index, 0);
    ck_assert_int_eq(fixture.state.compacted_revision, -1);
    ck_assert_uint_eq(fixture.rows.count, 0);
}
END_TEST

START_TEST(what_was_written_is_there_after_a_restart)
{
    open_backend();
    write_all();
    close_backend();
    ck_assert_uint_eq(fixture.durable_index, BATCHES);
    open_backend();
    const struct backend_state *want = &fixture.batches->items[BATCHES - 1].state;
    ck_assert_mem_eq(&fixture.state, want, sizeof *want);
    const char *wrong = batches_compare(fixture.batches, BATCHES, &fixture.rows,
                                        backend_removed_revision(fixture.backend));
    ck_assert_msg(wrong == NULL, "%s", wrong);
    wrong = batches_compare_tables(fixture.batches, BATCHES, fixture.backend);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}
END_TEST

static Suite *backend_suite(void)
{
    Suite *suite = suite_create("backend");
    TCase *tc = tcase_create("open");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_database_is_empty);
    tcase_add_test(tc, what_was_written_is_there_after_a_restart);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(backend_suite);
}
