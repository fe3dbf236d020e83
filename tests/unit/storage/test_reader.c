/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/reader.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "storage/store.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* One thread, and a database that takes it several slices to read. */
#define LARGE       40
#define LARGE_BYTES (1024u * 1024)
#define SMALL       20

static struct fixture {
    struct env_fake *fake;
    struct store_config config;
    struct store *store;
    char path[4096];
    uint64_t index;
} f;

struct asked {
    struct store_hash_request hash;
    struct store_range_request range;
    bool done;
};
static struct asked asked[3];

static void put(char kind, int number, size_t value_bytes)
{
    static uint8_t value[LARGE_BYTES];
    char key[16];
    (void)snprintf(key, sizeof key, "%c%02d", kind, number);
    struct store_put args = {.key = bytes_of_str(key), .value = bytes_of(value, value_bytes)};
    store_entry_begin(f.store, ++f.index, 1);
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    store_entry_end(f.store);
}

static void open_store(void)
{
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
}

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    f.config = (struct store_config){.env = env_fake_env(f.fake),
                                     .path = f.path,
                                     .reader_threads = 1,
                                     .identity = {.cluster_id = 7, .member_id = 9}};
    open_store();
    for (int i = 0; i < LARGE; i++) {
        put('l', i, LARGE_BYTES);
    }
    for (int i = 0; i < SMALL; i++) {
        put('s', i, 5);
    }
    store_close(f.store); /* nothing is in memory now */
    open_store();
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        asked[i] = (struct asked){.done = false};
    }
}

static void teardown(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static void on_hash(struct store_hash_request *request)
{
    CONTAINER_OF(request, struct asked, hash)->done = true;
}

static void on_range(struct store_range_request *request)
{
    CONTAINER_OF(request, struct asked, range)->done = true;
    range_result_fini(&request->result);
}

static void ask_hash(struct asked *ask)
{
    store_hash_start(f.store, &ask->hash, on_hash);
}

static void ask_range(struct asked *ask, const char *key, const char *end)
{
    ask->range.query =
        (struct range_query){.key = bytes_of_str(key), .range_end = bytes_of_str(end)};
    store_range_start(f.store, &ask->range, on_range);
}

/* How many turns that took. */
static int turn_until(const bool *done)
{
    int turns = 0;
    for (; !*done; turns++) {
        ck_assert_int_lt(turns, 1000);
        (void)env_fake_turn(f.fake);
    }
    return turns;
}

/* As a list of a few keys waits for a hash of all the database, or for a list of much of it. */
START_TEST(what_is_short_does_not_wait_for_what_is_long)
{
    if (_i == 0) {
        ask_hash(&asked[0]);
    } else {
        ask_range(&asked[0], "l", "m");
    }
    (void)env_fake_turn(f.fake);
    ask_range(&asked[1], "s", "t");
    (void)turn_until(&asked[1].done);
    ck_assert(!asked[0].done);
    (void)turn_until(&asked[0].done);
    ck_assert_int_eq(asked[0].hash.status, OK);
    ck_assert_int_eq(asked[0].range.status, OK);
    ck_assert_int_eq(asked[1].range.status, OK);
}
END_TEST

START_TEST(hashes_are_computed_one_after_the_other)
{
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ask_hash(&asked[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ck_assert_int_ge(turn_until(&asked[i].done), 5); /* slices of 8 MiB */
        ck_assert(i + 1 == ARRAY_LEN(asked) || !asked[i + 1].done);
        ck_assert_int_eq(asked[i].hash.status, OK);
        ck_assert_uint_eq(asked[i].hash.hash, asked[0].hash.hash);
    }
}
END_TEST

/* At any moment: before it begins, while it waits, while it is read. */
START_TEST(a_hash_that_nobody_wants_is_given_up)
{
    ask_hash(&asked[0]);
    ask_hash(&asked[1]);
    ask_hash(&asked[2]);
    for (int turn = 0; turn < _i; turn++) {
        (void)env_fake_turn(f.fake);
    }
    ck_assert(!asked[0].done);
    store_hash_cancel(&asked[1].hash);
    ck_assert(asked[1].done);
    store_hash_cancel(&asked[0].hash);
    for (int turn = 0; turn < 2; turn++) {
        (void)env_fake_turn(f.fake);
    }
    ck_assert(asked[0].done && !asked[2].done);
    ck_assert_int_eq(asked[0].hash.status, ERR_CANCELLED);
    ck_assert_int_eq(asked[1].hash.status, ERR_CANCELLED);
    (void)turn_until(&asked[2].done);
    ck_assert_int_eq(asked[2].hash.status, OK);
    store_hash_cancel(&asked[2].hash); /* too late: nothing happens */
}
END_TEST

START_TEST(a_range_that_nobody_wants_is_given_up)
{
    ask_range(&asked[0], "l", "m");
    for (int turn = 0; turn < 3; turn++) {
        (void)env_fake_turn(f.fake);
    }
    ck_assert(!asked[0].done);
    store_range_cancel(&asked[0].range);
    for (int turn = 0; turn < 2; turn++) {
        (void)env_fake_turn(f.fake);
    }
    ck_assert(asked[0].done);
    ck_assert_int_eq(asked[0].range.status, ERR_CANCELLED);
}
END_TEST

/* A stop waits for the slice that is read, and not for all of the database. */
START_TEST(a_store_that_closes_ends_what_is_long)
{
    ask_hash(&asked[0]);
    ask_hash(&asked[1]);
    ask_range(&asked[2], "l", "m");
    for (int turn = 0; turn < _i; turn++) {
        (void)env_fake_turn(f.fake);
    }
    store_close(f.store);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ck_assert(asked[i].done);
        ck_assert_int_eq(i < 2 ? asked[i].hash.status : asked[i].range.status, ERR_STOPPED);
    }
    open_store();
}
END_TEST

static Suite *reader_suite(void)
{
    Suite *suite = suite_create("reader");
    TCase *tc = tcase_create("reader");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_short_does_not_wait_for_what_is_long, 0, 2);
    tcase_add_test(tc, hashes_are_computed_one_after_the_other);
    tcase_add_loop_test(tc, a_hash_that_nobody_wants_is_given_up, 0, 4);
    tcase_add_test(tc, a_range_that_nobody_wants_is_given_up);
    tcase_add_loop_test(tc, a_store_that_closes_ends_what_is_long, 0, 4);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(reader_suite);
}
