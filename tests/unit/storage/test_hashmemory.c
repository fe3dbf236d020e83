/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashmemory.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

static struct fixture {
    struct env_fake *fake;
    struct store_config config;
    struct store *store;
    char path[4096];
    uint64_t index;
} f;

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    f.index = 0;
    f.config = (struct store_config){.env = env_fake_env(f.fake),
                                     .path = f.path,
                                     .remember_hashes = true,
                                     .identity = {.cluster_id = 7, .member_id = 9}};
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
}

static void teardown(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static void begin(void)
{
    store_entry_begin(f.store, ++f.index, 1);
    store_txn_begin(f.store);
}

static void end(void)
{
    store_txn_end(f.store);
    store_entry_end(f.store);
}

static void put(const char *key)
{
    struct store_put args = {.key = bytes_of_str(key), .value = bytes_of_str("value")};
    begin();
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    end();
}

static void remove_key(const char *key)
{
    int64_t deleted;
    begin();
    ck_assert_int_eq(
        store_delete_range(f.store, bytes_of_str(key), bytes_of(NULL, 0), &deleted, NULL), OK);
    end();
    ck_assert_int_eq(deleted, 1);
}

static void compact(int64_t revision)
{
    begin();
    ck_assert_int_eq(store_compact(f.store, revision), OK);
    end();
}

static int ended;

static void on_hash(struct store_hash_request *request)
{
    (void)request;
    ended++;
}

static struct store_hash_request hash_of(int64_t revision)
{
    struct store_hash_request request = {.revision = revision};
    ended = 0;
    store_hash_start(f.store, &request, on_hash);
    ck_assert_int_eq(ended, 0); /* never before it returned */
    env_fake_run(f.fake);
    ck_assert_int_eq(ended, 1);
    return request;
}

static void expect(const struct store_hash_request *got, uint32_t hash, int64_t revision,
                   int64_t compacted)
{
    ck_assert_int_eq(got->status, OK);
    ck_assert_uint_eq(got->hash, hash);
    ck_assert_int_eq(got->hash_revision, revision);
    ck_assert_int_eq(got->compact_revision, compacted);
    ck_assert_int_eq(got->current_revision, store_revision(f.store));
}

/* Three keys with two revisions each: 2 to 7. */
static void fill(void)
{
    static const char *const keys[] = {"a", "b", "c", "a", "b", "c"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        put(keys[i]);
    }
}

START_TEST(the_hash_before_a_compaction_is_that_of_its_revision)
{
    fill();
    struct store_hash_request five = hash_of(5);
    expect(&five, five.hash, 5, -1);
    compact(5);
    struct store_hash_request got = hash_of(5);
    expect(&got, five.hash, 5, -1);
    put("d");
    struct store_hash_request six = hash_of(6);
    expect(&six, six.hash, 6, 5);
    compact(6);
    got = hash_of(6);
    expect(&got, six.hash, 6, 5);
    got = hash_of(5); /* compacted, and remembered */
    expect(&got, five.hash, 5, -1);
    got = hash_of(4);
    ck_assert_int_eq(got.status, ERR_COMPACTED);
    got = hash_of(0); /* the newest is never remembered */
    ck_assert_int_eq(got.hash_revision, 8);
    ck_assert_int_eq(got.compact_revision, 6);
}
END_TEST

/* A client may compact at 0 as long as nothing was compacted; to a hash, 0 is the newest. */
START_TEST(a_compaction_at_0_is_not_remembered)
{
    fill();
    compact(0);
    env_fake_run(f.fake);
    struct store_hash_request five = hash_of(5);
    compact(5);
    struct store_hash_request got = hash_of(5);
    expect(&got, five.hash, 5, 0);
    got = hash_of(0);
    ck_assert_int_eq(got.hash_revision, 7);
    ck_assert_int_eq(got.compact_revision, 5);
}
END_TEST

START_TEST(who_asks_too_early_waits)
{
    fill();
    struct store_hash_request want = hash_of(7);
    struct store_hash_request first = {.revision = 7};
    struct store_hash_request second = {.revision = 7};
    compact(7);
    ended = 0;
    store_hash_start(f.store, &first, on_hash);
    store_hash_start(f.store, &second, on_hash);
    env_fake_run(f.fake);
    ck_assert_int_eq(ended, 2);
    expect(&first, want.hash, 7, -1);
    expect(&second, want.hash, 7, -1);
}
END_TEST

START_TEST(ten_are_remembered_until_the_store_closes)
{
    uint32_t hashes[13];
    for (int64_t i = 0; i < 13; i++) {
        put("a");
        hashes[i] = hash_of(2 + i).hash;
        compact(2 + i);
        env_fake_run(f.fake);
    }
    for (int64_t i = 0; i < 13; i++) {
        struct store_hash_request got = hash_of(2 + i);
        if (i < 3) {
            ck_assert_int_eq(got.status, ERR_COMPACTED);
        } else {
            expect(&got, hashes[i], 2 + i, 1 + i);
        }
    }
    store_close(f.store);
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
    struct store_hash_request got = hash_of(13);
    ck_assert_int_eq(got.status, ERR_COMPACTED);
    got = hash_of(14);
    ck_assert_int_eq(got.compact_revision, 14);
}
END_TEST

/* Compactions in a row do not read everything for each of them. */
START_TEST(one_is_computed_at_a_time)
{
    fill();
    struct store_hash_request three = hash_of(3);
    compact(3);
    compact(4);
    compact(5);
    struct store_hash_request got = hash_of(3);
    expect(&got, three.hash, 3, -1);
    got = hash_of(4);
    ck_assert_int_eq(got.status, ERR_COMPACTED);
    got = hash_of(5);
    ck_assert_int_eq(got.compact_revision, 5);
}
END_TEST

/* A tombstone of the compacted revision stays on disk: so what is older does not count, although no
 * key is alive. HashKV does count it then. */
START_TEST(a_tombstone_that_stays_counts_for_a_compaction)
{
    put("a");
    put("b");
    compact(3);
    env_fake_run(f.fake);
    remove_key("a");
    remove_key("b");
    struct store_hash_request plain = hash_of(5);
    ck_assert_int_eq(plain.compact_revision, 3);
    compact(5);
    struct store_hash_request got = hash_of(5);
    ck_assert_int_eq(got.compact_revision, 3);
    ck_assert_uint_ne(got.hash, plain.hash);
}
END_TEST

START_TEST(a_store_that_closes_answers_who_waits)
{
    fill();
    compact(7);
    struct store_hash_request request = {.revision = 7};
    ended = 0;
    store_hash_start(f.store, &request, on_hash);
    store_close(f.store);
    ck_assert_int_eq(ended, 1);
    ck_assert_int_eq(request.status, ERR_STOPPED);
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
}
END_TEST

static Suite *hashmemory_suite(void)
{
    Suite *suite = suite_create("hashmemory");
    TCase *tc = tcase_create("hashmemory");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_hash_before_a_compaction_is_that_of_its_revision);
    tcase_add_test(tc, a_compaction_at_0_is_not_remembered);
    tcase_add_test(tc, who_asks_too_early_waits);
    tcase_add_test(tc, ten_are_remembered_until_the_store_closes);
    tcase_add_test(tc, one_is_computed_at_a_time);
    tcase_add_test(tc, a_tombstone_that_stays_counts_for_a_compaction);
    tcase_add_test(tc, a_store_that_closes_answers_who_waits);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hashmemory_suite);
}
