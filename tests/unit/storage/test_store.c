/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

static struct fixture {
    struct env_fake *fake;
    struct store_config config;
    struct store *store;
    struct why why;
    char path[4096];
    uint64_t index;
} f;

static void open_store(void)
{
    enum err err = store_open(&f.config, &f.store, &f.why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), f.why.text);
    f.index = store_applied_index(f.store);
    store_check(f.store);
}

static void reopen(void)
{
    store_close(f.store);
    open_store();
}

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    f.config = (struct store_config){
        .env = env_fake_env(f.fake), .path = f.path, .identity = {.cluster_id = 7, .member_id = 9}};
    open_store();
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
}

static void end(void)
{
    store_entry_end(f.store);
    store_check(f.store);
}

static void put(const char *key, const char *value)
{
    begin();
    struct store_put put = {.key = bytes_of_str(key), .value = bytes_of_str(value)};
    ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
    end();
}

static int64_t delete (const char *key, const char *range_end)
{
    int64_t deleted = -1;
    begin();
    ck_assert_int_eq(
        store_delete_range(f.store, bytes_of_str(key), bytes_of_str(range_end), &deleted, NULL),
        OK);
    end();
    return deleted;
}

static enum err compact(int64_t revision)
{
    begin();
    enum err err = store_compact(f.store, revision);
    end();
    return err;
}

/* "key=value@mod,create,version " of each record. */
static const char *text_of(const struct record_list *list)
{
    static char text[4096];
    size_t at = 0;
    text[0] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct record *r = list->items[i];
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s=%.*s@%lld,%lld,%lld%s",
                               i == 0 ? "" : " ", (int)r->key_len, (const char *)r->data,
                               (int)r->value_len, (const char *)r->data + r->key_len,
                               (long long)record_mod_revision(r), (long long)r->create_revision,
                               (long long)r->version, r->tombstone ? "!" : "");
    }
    return text;
}

static void expect_range(const struct range_query *query, const char *want, int64_t count)
{
    struct range_result result;
    ck_assert_int_eq(store_range(f.store, query, &result), OK);
    ck_assert_str_eq(text_of(&result.records), want);
    ck_assert_int_eq(result.count, count);
    ck_assert_int_eq(result.revision, store_revision(f.store));
    range_result_fini(&result);
}

static void expect_all(int64_t revision, const char *want, int64_t count)
{
    struct range_query query = {
        .key = bytes_of("", 1), .range_end = bytes_of("", 1), .revision = revision};
    expect_range(&query, want, count);
}

START_TEST(a_new_store_is_empty_at_revision_1)
{
    ck_assert_int_eq(store_revision(f.store), 1);
    ck_assert_int_eq(store_compacted_revision(f.store), -1);
    ck_assert_uint_eq(store_applied_index(f.store), 0);
    ck_assert_uint_eq(store_key_count(f.store), 0);
    expect_all(0, "", 0);
    reopen();
    ck_assert_int_eq(store_revision(f.store), 1);
    ck_assert_int_eq(compact(0), OK);
    ck_assert_int_eq(compact(0), ERR_COMPACTED);
    ck_assert_int_eq(compact(-5), ERR_COMPACTED);
    ck_assert_int_eq(compact(2), ERR_FUTURE_REVISION);
}
END_TEST

START_TEST(every_revision_can_be_read_until_it_is_compacted)
{
    put("a", "1");
    put("b", "2");
    put("a", "3");
    ck_assert_int_eq(delete ("b", ""), 1);
    ck_assert_int_eq(delete ("b", ""), 0);
    put("b", "4");
    ck_assert_int_eq(store_revision(f.store), 6);
    for (int round = 0; round < 3; round++) {
        expect_all(1, "", 0);
        expect_all(2, "a=1@2,2,1", 1);
        expect_all(3, "a=1@2,2,1 b=2@3,3,1", 2);
        expect_all(4, "a=3@4,2,2 b=2@3,3,1", 2);
        expect_all(5, "a=3@4,2,2", 1);
        expect_all(6, "a=3@4,2,2 b=4@6,6,1", 2);
        if (round == 0) {
            env_fake_run(f.fake); /* from the ring, then from disk */
        } else {
            reopen();
        }
    }
    ck_assert_int_eq(compact(5), OK);
    struct range_query query = {.key = bytes_of_str("a"), .revision = 4};
    struct range_result result;
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(store_range(f.store, &query, &result), ERR_COMPACTED);
        expect_all(5, "a=3@4,2,2", 1);
        expect_all(6, "a=3@4,2,2 b=4@6,6,1", 2);
        env_fake_run(f.fake);
        if (round == 1) {
            reopen();
        }
    }
    query.revision = 7;
    ck_assert_int_eq(store_range(f.store, &query, &result), ERR_FUTURE_REVISION);
}
END_TEST

static Suite *store_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_store_is_empty_at_revision_1);
    tcase_add_test(tc, every_revision_can_be_read_until_it_is_compacted);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(store_suite);
}
