/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/turn.h"

#include <stdio.h>

#include "storage/store_private.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

#define REVISIONS   1000u
#define VALUE_BYTES 4000u

static struct fixture {
    struct env_fake *fake;
    struct store_config config;
    struct store *store;
    char path[4096];
    uint64_t index;
    unsigned before;
    unsigned ended;
} f;

static unsigned turn(void *ctx)
{
    ck_assert_ptr_eq(ctx, &f);
    return f.before;
}

static void open_store(void)
{
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
    store_set_turn(f.store, turn, &f);
}

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    f.index = 0;
    f.ended = 0;
    f.config = (struct store_config){.env = env_fake_env(f.fake),
                                     .path = f.path,
                                     .remember_hashes = true,
                                     .identity = {.cluster_id = 7, .member_id = 9}};
    open_store();
}

static void teardown(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static void put(void)
{
    static uint8_t value[VALUE_BYTES];
    struct store_put args = {.key = bytes_of_str("k"), .value = bytes_of(value, sizeof value)};
    store_entry_begin(f.store, ++f.index, 1);
    store_txn_begin(f.store);
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    store_txn_end(f.store);
    store_entry_end(f.store);
}

/* One key, often: 4 MB of it. */
static void fill(void)
{
    for (unsigned i = 0; i < REVISIONS; i++) {
        put();
    }
    env_fake_advance(f.fake, 1000);
}

static void compact(void)
{
    store_entry_begin(f.store, ++f.index, 1);
    ck_assert_int_eq(store_compact(f.store, store_revision(f.store)), OK);
    store_entry_end(f.store);
    env_fake_run(f.fake);
}

static bool is_removed(void)
{
    return backend_removed_revision(f.store->backend) == store_compacted_revision(f.store);
}

/* How long those before us have. */
static uint64_t wait_ms(void)
{
    return f.before * store_size_bytes(f.store) / TURN_RATE_BYTES;
}

START_TEST(the_first_does_not_wait)
{
    fill();
    f.before = 0;
    compact();
    ck_assert(is_removed());
}
END_TEST

START_TEST(others_wait_for_those_before_them)
{
    fill();
    f.before = (unsigned)_i;
    uint64_t ms = wait_ms();
    ck_assert_uint_ge(ms, 10);
    compact();
    env_fake_advance(f.fake, ms - 2);
    ck_assert(!is_removed());
    ck_assert_int_lt(f.store->index_compacted, store_compacted_revision(f.store));
    env_fake_advance(f.fake, 2);
    ck_assert(is_removed());
    ck_assert_int_eq(f.store->index_compacted, store_compacted_revision(f.store));
}
END_TEST

START_TEST(a_later_compaction_puts_nothing_off)
{
    fill();
    f.before = 2;
    uint64_t ms = wait_ms();
    compact();
    env_fake_advance(f.fake, ms / 2);
    put();
    compact();
    ck_assert(!is_removed());
    env_fake_advance(f.fake, ms / 2 + 1);
    ck_assert(is_removed());
}
END_TEST

static void on_compacted(struct store_wait *wait)
{
    (void)wait;
    f.ended++;
}

START_TEST(who_is_asked_goes_on)
{
    fill();
    f.before = 2;
    compact();
    struct store_wait wait;
    store_compact_wait(f.store, &wait, on_compacted);
    ck_assert_uint_eq(f.ended, 0);
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.ended, 1);
    ck_assert(is_removed());
}
END_TEST

static void on_hash(struct store_hash_request *request)
{
    ck_assert_int_eq(request->status, OK);
    f.ended++;
}

static uint32_t hash_of(int64_t revision)
{
    struct store_hash_request request = {.revision = revision};
    f.ended = 0;
    store_hash_start(f.store, &request, on_hash);
    ck_assert_uint_eq(f.ended, 0);
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.ended, 1);
    return request.hash;
}

START_TEST(a_hash_that_waits_is_had_by_asking)
{
    fill();
    int64_t revision = store_revision(f.store);
    uint32_t hash = hash_of(revision);
    f.before = 2;
    compact();
    ck_assert_uint_eq(hash_of(revision), hash);
    ck_assert(is_removed());
}
END_TEST

START_TEST(the_hash_is_that_before_the_removal)
{
    fill();
    int64_t revision = store_revision(f.store);
    uint32_t hash = hash_of(revision);
    f.before = 2;
    compact();
    fill();
    env_fake_advance(f.fake, wait_ms());
    ck_assert(is_removed());
    ck_assert_uint_eq(hash_of(revision), hash);
}
END_TEST

START_TEST(a_close_ends_the_wait)
{
    fill();
    f.before = 2;
    compact();
    store_close(f.store);
    open_store();
    env_fake_run(f.fake);
    ck_assert(is_removed());
}
END_TEST

static Suite *turn_suite(void)
{
    Suite *suite = suite_create("turn");
    TCase *tc = tcase_create("turn");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_first_does_not_wait);
    tcase_add_loop_test(tc, others_wait_for_those_before_them, 1, 4);
    tcase_add_test(tc, a_later_compaction_puts_nothing_off);
    tcase_add_test(tc, who_is_asked_goes_on);
    tcase_add_test(tc, a_hash_that_waits_is_had_by_asking);
    tcase_add_test(tc, the_hash_is_that_before_the_removal);
    tcase_add_test(tc, a_close_ends_the_wait);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(turn_suite);
}
