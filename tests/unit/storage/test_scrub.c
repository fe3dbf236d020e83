/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/scrub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "storage/store.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"

/* A store of ROWS rows that reads itself every minute, on a disk in memory that the test
 * changes behind its back. */
#define ROWS        300u
#define VALUE_BYTES 6000u
#define INTERVAL_MS 60000u
#define STEP_MS     50u

static const char path[] = "/store.db";

static struct fixture {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct store *store;
    struct metrics *metrics;
    uint64_t began_ms;
} f;

static void open_store(uint64_t interval_ms)
{
    struct store_config config = {
        .env = env_fake_env(f.fake),
        .metrics = f.metrics,
        .path = path,
        .vfs = simvfs_name(f.sim),
        .fs = fs_fault_fs(f.disk),
        .identity = {.cluster_id = 7, .member_id = 1},
        .scrub_interval_ms = interval_ms,
    };
    struct why why = {.text = ""};
    enum err err = store_open(&config, &f.store, &why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), why.text);
}

static void put(unsigned i)
{
    static char value[VALUE_BYTES];
    char key[32];
    (void)snprintf(key, sizeof key, "key-%u", i % 97);
    memset(value, 'v', sizeof value);
    (void)snprintf(value, sizeof value, "value-%u", i);
    uint64_t index = store_applied_index(f.store) + 1;
    store_entry_begin(f.store, index, 1);
    struct store_put request = {.key = bytes_of_str(key), .value = bytes_of(value, sizeof value)};
    ck_assert_int_eq(store_put(f.store, &request, NULL), OK);
    (void)snprintf(key, sizeof key, "row-%u", i % 10);
    (void)snprintf(value, sizeof value, "lease-of-%u", i);
    store_table_put(f.store, TABLE_LEASE, bytes_of_str(key), bytes_of_str(value));
    store_entry_end(f.store);
}

static void put_many(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        put(i);
        env_fake_turn(f.fake);
    }
}

/* What is there is in the file, and in nobody's memory. */
static void reopen(uint64_t interval_ms)
{
    store_close(f.store);
    metrics_free(f.metrics);
    f.metrics = metrics_new();
    open_store(interval_ms);
}

static void setup(void)
{
    f = (struct fixture){.fake = env_fake_new(4), .disk = fs_fault_new(), .metrics = metrics_new()};
    f.sim = simvfs_new(fs_fault_fs(f.disk), fs_fault_file_id);
    open_store(0);
    put_many(ROWS);
    reopen(INTERVAL_MS);
}

static void teardown(void)
{
    store_close(f.store);
    metrics_free(f.metrics);
    simvfs_free(f.sim);
    fs_fault_free(f.disk);
    env_fake_free(f.fake);
}

static uint64_t metric(const char *name)
{
    CLEANUP(buf_fini) struct buf text = {0};
    char begin[64];
    metrics_write(f.metrics, &text);
    write_u8(&text, 0);
    ck_assert(buf_ok(&text));
    (void)snprintf(begin, sizeof begin, "\n%s ", name);
    const char *line = strstr((const char *)text.data, begin);
    return line == NULL ? UINT64_MAX : (uint64_t)strtod(line + strlen(begin), NULL);
}

static uint64_t passes(void)
{
    return metric("trivet_scrub_passes_total");
}

/* Until COUNT passes were made, or damage was found. */
static void await_passes(uint64_t count)
{
    for (unsigned i = 0; passes() < count && store_damage(f.store) == NULL; i++) {
        ck_assert_uint_lt(i, 4 * INTERVAL_MS / STEP_MS);
        env_fake_advance(f.fake, STEP_MS);
    }
}

/* Turn a bit of the file behind the first TEXT in it. */
static void damage(const char *text)
{
    struct fs *fs = fs_fault_fs(f.disk);
    struct fs_file *file = NULL;
    uint64_t size;
    size_t got;
    ck_assert_int_eq(fs_open(fs, path, FS_CREATE, &file, NULL), OK);
    ck_assert_int_eq(fs_size(file, &size, NULL), OK);
    uint8_t *all = malloc(size);
    ck_assert_ptr_nonnull(all);
    ck_assert_int_eq(fs_read(file, 0, all, size, &got, NULL), OK);
    uint8_t *at = memmem(all, size, text, strlen(text));
    ck_assert_ptr_nonnull(at);
    at += strlen(text);
    *at ^= 1;
    ck_assert_int_eq(fs_write(file, (uint64_t)(at - all), at, 1, NULL), OK);
    fs_close(file);
    free(all);
}

/* ---- sound ---- */

START_TEST(all_is_read_and_checked)
{
    await_passes(1);
    ck_assert_ptr_null(store_damage(f.store));
    ck_assert_uint_eq(metric("trivet_scrub_rows_total"), ROWS);
    ck_assert_uint_gt(metric("trivet_scrub_bytes_total"), ROWS * VALUE_BYTES);
    ck_assert_uint_gt(metric("trivet_scrub_bytes_total"), 4 * SCRUB_SLICE_BYTES);
}
END_TEST

START_TEST(again_and_again_at_its_interval)
{
    await_passes(1);
    uint64_t first_ms = env_now_ms(env_fake_env(f.fake));
    ck_assert_uint_lt(first_ms - f.began_ms, INTERVAL_MS + 10000);
    await_passes(3);
    uint64_t passed_ms = env_now_ms(env_fake_env(f.fake)) - first_ms;
    ck_assert_uint_ge(passed_ms, 2 * INTERVAL_MS - 2 * STEP_MS);
    ck_assert_uint_le(passed_ms, 2 * INTERVAL_MS + 2 * STEP_MS);
    ck_assert_uint_eq(metric("trivet_scrub_rows_total"), 3 * ROWS);
}
END_TEST

START_TEST(it_takes_its_time)
{
    while (metric("trivet_scrub_rows_total") == 0) {
        env_fake_advance(f.fake, STEP_MS);
    }
    uint64_t began_ms = env_now_ms(env_fake_env(f.fake));
    uint64_t before = metric("trivet_scrub_bytes_total");
    ck_assert_uint_lt(before, 3 * SCRUB_SLICE_BYTES);
    await_passes(1);
    uint64_t ms = env_now_ms(env_fake_env(f.fake)) - began_ms;
    ck_assert_uint_ge(ms, (metric("trivet_scrub_bytes_total") - before) / SCRUB_RATE_BYTES);
}
END_TEST

START_TEST(never_means_never)
{
    reopen(0);
    env_fake_advance(f.fake, 3 * INTERVAL_MS);
    ck_assert_uint_eq(metric("trivet_scrub_rows_total"), UINT64_MAX); /* there is no such thing */
    ck_assert_ptr_null(store_damage(f.store));
}
END_TEST

/* Rows come and go, and the file becomes another one. */
START_TEST(what_changes_meanwhile_is_no_damage)
{
    reopen(1); /* one pass after the other */
    for (unsigned i = 0; i < 400; i++) {
        put(ROWS + i);
        if (i % 50 == 0) {
            store_entry_begin(f.store, store_applied_index(f.store) + 1, 1);
            ck_assert_int_eq(store_compact(f.store, store_revision(f.store) - 20), OK);
            store_entry_end(f.store);
        }
        env_fake_advance(f.fake, 3);
    }
    ck_assert_ptr_null(store_damage(f.store));
    ck_assert_uint_ge(passes(), 1);
}
END_TEST

static void on_defragmented(struct store_copy_request *request)
{
    ck_assert_msg(request->status == OK, "%s", request->why.text);
    request->path = NULL;
}

START_TEST(nor_is_a_file_that_becomes_another)
{
    reopen(1);
    for (unsigned i = 0; i < 5; i++) {
        struct store_copy_request request = {.path = path};
        env_fake_advance(f.fake, 7 * i);
        store_defragment_start(f.store, &request, on_defragmented);
        while (request.path != NULL) {
            env_fake_advance(f.fake, 1);
        }
    }
    uint64_t before = passes();
    await_passes(before + 2);
    ck_assert_ptr_null(store_damage(f.store));
}
END_TEST

/* ---- damaged ---- */

static const struct {
    const char *text;  /* the first bit behind it is turned */
    const char *place; /* what is said */
} damages[] = {
    {"value-1", "revision "},
    {"value-299", "revision 301.0: the value's checksum is wrong"},
    {"lease-of-297", "table"},
    {"SQLite format", "database"},
};

static bool names(const char *place, unsigned i)
{
    return strstr(place, damages[i].place) != NULL && strstr(place, path) != NULL;
}

/* Also in what was read, and found sound, before. */
START_TEST(damage_is_found_without_anybody_asking)
{
    if (_i % 2 == 1) {
        await_passes(1);
    }
    uint64_t before = passes();
    damage(damages[_i / 2].text);
    await_passes(before + 1);
    ck_assert_ptr_nonnull(store_damage(f.store));
    ck_assert_msg(names(store_damage(f.store), (unsigned)_i / 2), "%s", store_damage(f.store));
    ck_assert_uint_eq(passes(), before);
}
END_TEST

/* ---- the end ---- */

START_TEST(closing_ends_it)
{
    reopen(1);
    env_fake_advance(f.fake, 2);
    if (_i % 2 == 0) {
        env_fake_hold_jobs(f.fake, true);
    }
    env_fake_advance(f.fake, (uint64_t)_i * 31);
    env_fake_hold_jobs(f.fake, false);
    store_close(f.store);
    open_store(0);
}
END_TEST

static Suite *scrub_suite(void)
{
    const TTest *const tests[] = {
        all_is_read_and_checked,
        again_and_again_at_its_interval,
        it_takes_its_time,
        never_means_never,
        what_changes_meanwhile_is_no_damage,
        nor_is_a_file_that_becomes_another,
    };
    Suite *suite = suite_create("scrub");
    TCase *tc = tcase_create("scrub");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        tcase_add_test(tc, tests[i]);
    }
    tcase_add_loop_test(tc, damage_is_found_without_anybody_asking, 0, 2 * ARRAY_LEN(damages));
    tcase_add_loop_test(tc, closing_ends_it, 0, 20);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(scrub_suite);
}
