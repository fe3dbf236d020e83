/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of base fails once: what could not be made is refused, with nothing changed and
 * nothing lost. */
#include "tests/lib/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "base/heap.h"
#include "base/logger.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/trace.h"
#include "base/worker.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

static void check(enum err err)
{
    fault_pause();
    ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
}

/* What was appended before memory ended is there, and nothing after it. */
static bool fill_buf(bool *ok)
{
    struct buf buf = {0};
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t byte = (uint8_t)i;
        buf_append(&buf, &byte, 1);
    }
    buf_printf(&buf, "%1000d", 7);
    *ok = buf_ok(&buf);
    bool right = *ok ? buf.len == 4000 : buf.len <= 3000;
    for (size_t i = 0; i < buf.len && i < 3000; i++) {
        right &= buf.data[i] == (uint8_t)i;
    }
    buf_fini(&buf);
    return right;
}

START_TEST(a_buf_keeps_what_it_had)
{
    FAULT_SWEEP (sweep) {
        bool ok;
        bool right = fill_buf(&ok);
        fault_pause();
        ck_assert(right);
        ck_assert_int_eq(ok, !fault_fired());
    }
}
END_TEST

START_TEST(an_array_keeps_what_it_had)
{
    FAULT_SWEEP (sweep) {
        unsigned *items = NULL;
        unsigned count = 0;
        unsigned cap = 0;
        while (count < 100 && ARRAY_MAKE_ROOM(items, count, cap, 4)) {
            items[count] = count;
            count++;
        }
        bool right = true;
        for (unsigned i = 0; i < count; i++) {
            right &= items[i] == i;
        }
        free(items);
        fault_pause();
        ck_assert(right && count <= cap);
        ck_assert_int_eq(count == 100, !fault_fired());
    }
}
END_TEST

START_TEST(a_blob_is_made_or_not)
{
    FAULT_SWEEP (sweep) {
        struct blob *blob = blob_copy(bytes_of_str("text"));
        enum err err = blob == NULL ? ERR_NOMEM : OK;
        blob_unref(blob);
        check(err);
    }
}
END_TEST

START_TEST(an_arena_stays_usable)
{
    FAULT_SWEEP (sweep) {
        struct arena arena = {0};
        unsigned failed = 0;
        for (size_t size = 1; size < 100000; size *= 3) {
            uint8_t *at = arena_alloc(&arena, size);
            failed += at == NULL;
            if (at != NULL) {
                memset(at, 1, size);
            }
        }
        arena_fini(&arena);
        fault_pause();
        ck_assert_uint_eq(failed, fault_fired());
    }
}
END_TEST

START_TEST(a_heap_refuses_and_stays_whole)
{
    FAULT_SWEEP (sweep) {
        enum { N = 100 };
        struct heap heap;
        struct heap_link links[N] = {0};
        heap_init(&heap);
        unsigned failed = 0;
        for (size_t i = 0; i < N; i++) {
            failed += heap_insert(&heap, &links[i], N - i) == ERR_NOMEM;
        }
        bool whole = heap.count == N - failed && heap_min(&heap) == &links[N - 1];
        heap_fini(&heap);
        fault_pause();
        ck_assert(whole);
        ck_assert_uint_eq(failed, fault_fired());
    }
}
END_TEST

START_TEST(a_map_needs_its_first_table_only)
{
    FAULT_SWEEP (sweep) {
        enum { N = 100 };
        struct map map;
        struct map_link links[N];
        map_init(&map, (struct hash_seed){1, 2});
        unsigned failed = 0;
        unsigned found = 0;
        for (size_t i = 0; i < N; i++) {
            failed += map_insert(&map, &links[i], i * 77) == ERR_NOMEM;
            found += map_first(&map, i * 77) == &links[i];
        }
        map_fini(&map);
        fault_pause();
        ck_assert_uint_eq(failed, sweep.k == 1); /* the next insert tries again */
        ck_assert_uint_eq(found, N - failed);
    }
}
END_TEST

START_TEST(a_metric_that_was_not_made_does_nothing)
{
    FAULT_SWEEP (sweep) {
        struct metrics *metrics = metrics_new();
        counter_add(metrics_counter(metrics, "a", "A.", "x=\"1\""), 1);
        counter_add(metrics_counter(metrics, "a", "A.", "x=\"2\""), 1);
        gauge_set(metrics_gauge(metrics, "b", "B.", NULL), 1);
        histogram_observe(metrics_histogram(metrics, "c", "C.", NULL, 1, 4), 3);
        struct buf buf = {0};
        if (metrics != NULL) {
            metrics_write(metrics, &buf);
        }
        bool ok = metrics == NULL || buf_ok(&buf);
        buf_fini(&buf);
        metrics_free(metrics);
        fault_pause();
        ck_assert(ok || fault_fired());
    }
}
END_TEST

static enum err open_trace(void)
{
    struct trace *trace = NULL;
    TRY(trace_new(10, &trace));
    trace_free(trace);
    return OK;
}

START_TEST(a_trace_is_made_or_not)
{
    FAULT_SWEEP (sweep) {
        check(open_trace());
    }
}
END_TEST

static enum err open_worker(struct env *env)
{
    struct logger *log = NULL;
    TRY(logger_new(env, STDERR_FILENO, LOG_ERROR, "name", &log));
    struct worker *worker = NULL;
    struct worker_config config = {.name = "w", .threads = 2};
    enum err err = env_worker_new(env, &config, &worker, NULL);
    worker_close(worker);
    logger_free(log);
    return err;
}

static enum err open_env(uv_loop_t *loop)
{
    struct env_real *real = NULL;
    TRY(env_real_new(loop, &real, NULL));
    enum err err = open_worker(env_real_env(real));
    env_real_close(real);
    uv_run(loop, UV_RUN_DEFAULT);
    env_real_free(real);
    return err;
}

START_TEST(an_env_its_workers_and_a_logger_are_made_or_not)
{
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    FAULT_SWEEP (sweep) {
        check(open_env(&loop));
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* tmpdir_path asserts, so the paths are made before memory ends. */
struct paths {
    char dir[200];
    char file[200];
    char lock[200];
};

static enum err use_files(const struct paths *paths)
{
    struct fs *fs = fs_real();
    struct fs_file *file = NULL;
    struct fs_names names = {0};
    struct buf buf = {0};
    TRY(fs_replace_file(fs, paths->dir, "file", bytes_of_str("text"), NULL));
    TRY(fs_lock(fs, paths->lock, &file, NULL));
    fs_close(file);
    TRY(fs_list(fs, paths->dir, &names, NULL));
    fs_names_fini(&names);
    enum err err = fs_read_file(fs, paths->file, 100, &buf, NULL);
    buf_fini(&buf);
    return err;
}

START_TEST(files_say_that_memory_ended)
{
    struct paths paths;
    snprintf(paths.dir, sizeof paths.dir, "%s", tmpdir_path(NULL));
    snprintf(paths.file, sizeof paths.file, "%s", tmpdir_path("file"));
    snprintf(paths.lock, sizeof paths.lock, "%s", tmpdir_path("lock"));
    FAULT_SWEEP (sweep) {
        check(use_files(&paths));
    }
}
END_TEST

static Suite *no_memory_suite(void)
{
    Suite *suite = suite_create("no_memory");
    TCase *tc = tcase_create("no_memory");
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_test(tc, a_buf_keeps_what_it_had);
    tcase_add_test(tc, an_array_keeps_what_it_had);
    tcase_add_test(tc, a_blob_is_made_or_not);
    tcase_add_test(tc, an_arena_stays_usable);
    tcase_add_test(tc, a_heap_refuses_and_stays_whole);
    tcase_add_test(tc, a_map_needs_its_first_table_only);
    tcase_add_test(tc, a_metric_that_was_not_made_does_nothing);
    tcase_add_test(tc, a_trace_is_made_or_not);
    tcase_add_test(tc, an_env_its_workers_and_a_logger_are_made_or_not);
    tcase_add_test(tc, files_say_that_memory_ended);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(no_memory_suite);
}
