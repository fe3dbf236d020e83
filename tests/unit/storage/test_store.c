/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/range.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"
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

/* Four keys, against the order of their names. */
static void put_four_in_operation(void)
{
    static const char *const keys[] = {"d", "c", "b", "a"};
    static const char *const values[] = {"1", "2", "3", "4"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct store_put put = {.key = bytes_of_str(keys[i]), .value = bytes_of_str(values[i])};
        ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
    }
}

static int64_t delete_keys(const char *key, const char *range_end)
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
    ck_assert_int_eq(delete_keys("b", ""), 1);
    ck_assert_int_eq(delete_keys("b", ""), 0);
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

/* Two keys live, two thousand between and around them are dead and not compacted. */
static void put_two_among_dead(void)
{
    char key[16];
    begin();
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "job/%04d", i);
        struct store_put put = {.key = bytes_of_str(key), .value = bytes_of_str("x")};
        ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
    }
    end();
    ck_assert_int_eq(delete_keys("job/", "job/0700"), 700);
    ck_assert_int_eq(delete_keys("job/0701", "job/1800"), 1099);
    ck_assert_int_eq(delete_keys("job/1801", "job0"), 199);
}

START_TEST(dead_keys_cost_a_range_at_head_nothing)
{
    put_two_among_dead();
    struct range_query query = {.key = bytes_of_str("job/"), .range_end = bytes_of_str("job0")};
    for (query.limit = 0; query.limit <= 2; query.limit++) {
        struct range_walk walk;
        size_t budget = 4;
        ck_assert_int_eq(range_begin(&walk, f.store, &query), OK);
        ck_assert_int_eq(range_some(&walk, &budget), OK);
        ck_assert(range_wants_records(&walk));
        ck_assert_uint_eq(walk.count, 2);
        range_fini(&walk);
    }
    query.limit = 0;
    expect_range(&query, "job/0700=x@702,702,1 job/1800=x@1802,1802,1", 2);
    query.keys_only = true;
    query.revision = store_revision(f.store) - 1; /* the last deletion is not to be seen */
    struct range_result result;
    ck_assert_int_eq(store_range(f.store, &query, &result), OK);
    ck_assert_int_eq(result.count, 201);
    ck_assert_uint_eq(result.records.count, 201);
    range_result_fini(&result);
}
END_TEST

START_TEST(a_put_returns_and_keeps_what_was_there)
{
    begin();
    struct store_put put = {.key = bytes_of_str("a"),
                            .value = bytes_of_str("1"),
                            .lease = 77,
                            .want_prev = true,
                            .ignore_value = true};
    struct record *prev = NULL;
    ck_assert_int_eq(store_put(f.store, &put, &prev), ERR_KEY_NOT_FOUND);
    ck_assert_int_eq(store_revision(f.store), 1);
    put.ignore_value = false;
    ck_assert_int_eq(store_put(f.store, &put, &prev), OK);
    ck_assert_ptr_null(prev);
    put.value = bytes_of_str("2");
    put.lease = 0;
    put.ignore_lease = true;
    ck_assert_int_eq(store_put(f.store, &put, &prev), OK);
    ck_assert(bytes_equal(record_value(prev), bytes_of_str("1")));
    record_unref(prev);
    put.ignore_lease = false;
    put.ignore_value = true;
    put.lease = 78;
    ck_assert_int_eq(store_put(f.store, &put, &prev), OK);
    ck_assert(bytes_equal(record_value(prev), bytes_of_str("2")));
    ck_assert_int_eq(prev->lease, 77);
    record_unref(prev);
    end();
    struct range_query query = {.key = bytes_of_str("a")};
    struct range_result result;
    ck_assert_int_eq(store_range(f.store, &query, &result), OK);
    ck_assert_str_eq(text_of(&result.records), "a=2@4,2,3");
    ck_assert_int_eq(result.records.items[0]->lease, 78);
    range_result_fini(&result);
}
END_TEST

START_TEST(an_operation_shares_one_revision_and_sees_its_own_writes)
{
    put("a", "0");
    begin();
    store_txn_begin(f.store);
    expect_all(0, "a=0@2,2,1", 1);
    ck_assert_int_eq(store_revision(f.store), 2);
    struct store_put args = {.key = bytes_of_str("b"), .value = bytes_of_str("1")};
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    ck_assert_int_eq(store_revision(f.store), 3);
    expect_all(0, "a=0@2,2,1 b=1@3,3,1", 2);
    int64_t deleted;
    struct record_list prevs;
    ck_assert_int_eq(
        store_delete_range(f.store, bytes_of_str("a"), bytes_of_str("z"), &deleted, &prevs), OK);
    ck_assert_str_eq(text_of(&prevs), "a=0@2,2,1 b=1@3,3,1");
    record_list_fini(&prevs);
    ck_assert_int_eq(deleted, 2);
    expect_all(0, "", 0);
    expect_all(2, "a=0@2,2,1", 1);
    args.value = bytes_of_str("2");
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    ck_assert_int_eq(store_txn_end(f.store), 3);
    end();
    expect_all(0, "b=2@3,3,1", 1);
    ck_assert_int_eq(compact(3),
                     OK); /* deleted and made again in the compacted revision: it lives */
    for (int round = 0; round < 3; round++) {
        expect_all(3, "b=2@3,3,1", 1);
        env_fake_run(f.fake);
        if (round == 1) {
            reopen();
        }
    }
}
END_TEST

/* Written in this order, so that names and revisions go against each other. */
static void put_four(void)
{
    put("d", "1");
    put("c", "2");
    put("b", "3");
    put("a", "4");
    put("c", "0");
}

static const struct {
    struct range_query query;
    const char *want;
    bool more;
} ranges[] = {
    {{.limit = 2}, "a=4@5,5,1 b=3@4,4,1", true},
    {{.limit = 4}, "a=4@5,5,1 b=3@4,4,1 c=0@6,3,2 d=1@2,2,1", false},
    {{.limit = 2, .sort = SORT_DESCEND}, "d=1@2,2,1 c=0@6,3,2", true},
    /* etcd cuts before it sorts when no order is given: the first three names, then by revision. */
    {{.limit = 2, .target = TARGET_MOD}, "b=3@4,4,1 a=4@5,5,1", true},
    {{.limit = 2, .target = TARGET_MOD, .sort = SORT_ASCEND}, "d=1@2,2,1 b=3@4,4,1", true},
    {{.target = TARGET_CREATE}, "d=1@2,2,1 c=0@6,3,2 b=3@4,4,1 a=4@5,5,1", false},
    {{.target = TARGET_VERSION, .sort = SORT_DESCEND, .limit = 1}, "c=0@6,3,2", true},
    {{.target = TARGET_VALUE, .sort = SORT_DESCEND},
     "a=4@5,5,1 b=3@4,4,1 d=1@2,2,1 c=0@6,3,2",
     false},
    {{.target = TARGET_VALUE, .sort = SORT_ASCEND, .limit = 1, .keys_only = true},
     "c=@6,3,2",
     true},
    {{.keys_only = true, .limit = 1}, "a=@5,5,1", true},
    {{.count_only = true, .limit = 1}, "", false},
    {{.min_mod_revision = 4, .max_mod_revision = 5, .limit = 1}, "a=4@5,5,1", true},
    {{.min_create_revision = 3, .max_create_revision = 3}, "c=0@6,3,2", false},
    {{.max_mod_revision = 1}, "", false},
    {{.limit = -1, .revision = -3}, "a=4@5,5,1 b=3@4,4,1 c=0@6,3,2 d=1@2,2,1", false},
};

START_TEST(a_range_is_built_as_etcd_builds_it)
{
    put_four();
    struct range_query query = ranges[_i].query;
    query.key = bytes_of_str("a");
    query.range_end = bytes_of("", 1);
    struct range_result result;
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(store_range(f.store, &query, &result), OK);
        ck_assert_str_eq(text_of(&result.records), ranges[_i].want);
        ck_assert_int_eq(result.more, ranges[_i].more);
        ck_assert_int_eq(result.count, 4);
        range_result_fini(&result);
        reopen();
    }
}
END_TEST

START_TEST(a_range_by_value_without_values_keeps_the_lease)
{
    begin();
    struct store_put args = {.key = bytes_of_str("a"), .value = bytes_of_str("1"), .lease = 5};
    ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
    end();
    struct range_query query = {.key = args.key, .keys_only = true, .target = TARGET_VALUE};
    for (int i = 0; i < 4; i++) {
        struct range_result result;
        query.target = i % 2 == 0 ? TARGET_VALUE : TARGET_KEY;
        query.range_end = i / 2 == 0 ? bytes_of("", 0) : bytes_of("b", 1);
        ck_assert_int_eq(store_range(f.store, &query, &result), OK);
        ck_assert_uint_eq(result.records.count, 1);
        ck_assert_int_eq(result.records.items[0]->lease, i % 2 == 0 ? 5 : 0);
        ck_assert_uint_eq(result.records.items[0]->value_len, 0);
        range_result_fini(&result);
    }
}
END_TEST

/* ---- what takes several turns ---- */

enum { MANY = 6000, MOMENTS = 12 };
/* How many moments, of those between the first turn and the last, something is interrupted at. */
static unsigned moments;

static struct bytes many_key(unsigned i)
{
    static char key[32];
    (void)snprintf(key, sizeof key, "key%06u", i);
    return bytes_of_str(key);
}

static void put_many(unsigned step)
{
    for (unsigned i = 0; i < MANY; i += step) {
        char value[32];
        (void)snprintf(value, sizeof value, "%u", (i * 7919 + step) % MANY);
        begin();
        struct store_put args = {.key = many_key(i), .value = bytes_of_str(value)};
        ck_assert_int_eq(store_put(f.store, &args, NULL), OK);
        store_entry_end(f.store);
    }
    store_check(f.store);
}

static struct range_query query_many(void)
{
    return (struct range_query){.key = bytes_of_str("key"), .range_end = bytes_of_str("l")};
}

static struct reading {
    struct store_range_request request;
    struct range_result want;
    enum err status;
    bool done;
} readings[8];

static void on_range(struct store_range_request *request)
{
    struct reading *reading = CONTAINER_OF(request, struct reading, request);
    ck_assert(!reading->done);
    reading->done = true;
    reading->status = request->status;
    if (request->status != OK) {
        ck_assert_uint_eq(request->result.records.count, 0);
        range_result_fini(&reading->want);
        return;
    }
    const struct range_result *got = &request->result;
    ck_assert_int_eq(got->revision, reading->want.revision);
    ck_assert_int_eq(got->count, reading->want.count);
    ck_assert_int_eq(got->more, reading->want.more);
    ck_assert_uint_eq(got->records.count, reading->want.records.count);
    for (size_t i = 0; i < got->records.count; i++) {
        const struct record *a = got->records.items[i];
        const struct record *b = reading->want.records.items[i];
        ck_assert_uint_eq(a->rev, b->rev);
        ck_assert(bytes_equal(record_key(a), record_key(b)));
        ck_assert(bytes_equal(record_value(a), record_value(b)));
    }
    range_result_fini(&request->result);
    range_result_fini(&reading->want);
}

static void start_reading(size_t i, const struct range_query *query)
{
    readings[i] = (struct reading){.request = {.query = *query}};
    ck_assert_int_eq(store_range(f.store, query, &readings[i].want), OK);
    store_range_start(f.store, &readings[i].request, on_range);
    ck_assert(!readings[i].done);
}

static void start_readings(int64_t old_revision)
{
    struct range_query query = query_many();
    start_reading(0, &query);
    query.keys_only = true;
    start_reading(1, &query);
    query = query_many();
    query.revision = old_revision;
    start_reading(2, &query);
    query.count_only = true;
    start_reading(3, &query);
    query = query_many();
    query.sort = SORT_DESCEND;
    query.target = TARGET_VALUE;
    start_reading(4, &query);
    query.limit = 10;
    start_reading(5, &query);
    query.target = TARGET_MOD;
    query.revision = old_revision;
    start_reading(6, &query);
    query = query_many();
    query.limit = MANY / 2;
    start_reading(7, &query);
}

static bool all_done(void)
{
    for (size_t i = 0; i < ARRAY_LEN(readings); i++) {
        if (!readings[i].done) {
            return false;
        }
    }
    return true;
}

/* Everything is written again, deleted and compacted while the ranges go on. */
START_TEST(a_range_in_slices_is_of_the_moment_when_it_began)
{
    f.config.ring_bytes = 100000;
    reopen();
    put_many(1);
    int64_t old_revision = store_revision(f.store);
    put_many(2);
    if (_i == 1) {
        env_fake_run(f.fake); /* most of it has left the ring */
    }
    start_readings(old_revision);
    unsigned turns = 0;
    for (; !all_done(); turns++) {
        begin();
        int64_t deleted;
        ck_assert_int_eq(store_delete_range(f.store, many_key(turns * 300), bytes_of_str("key9"),
                                            &deleted, NULL),
                         OK);
        ck_assert_int_eq(store_compact(f.store, store_revision(f.store)),
                         deleted > 0 ? OK : ERR_COMPACTED);
        end();
        env_fake_turn(f.fake);
        store_check(f.store);
    }
    ck_assert_uint_gt(turns, 10);
    for (size_t i = 0; i < ARRAY_LEN(readings); i++) {
        ck_assert_int_eq(readings[i].status, OK);
    }
    env_fake_run(f.fake);
    store_check(f.store);
    expect_all(0, "", 0);
}
END_TEST

static int moment_of(int i)
{
    return i * MOMENTS / (int)moments;
}

START_TEST(a_range_may_be_cancelled_at_any_moment)
{
    f.config.ring_bytes = 100000;
    reopen();
    put_many(1);
    env_fake_run(f.fake);
    struct range_query query = query_many();
    query.target = TARGET_VALUE;
    start_reading(0, &query);
    int moment = moment_of(_i);
    for (int turn = 0; turn < 3 * moment && !readings[0].done; turn++) {
        env_fake_turn(f.fake);
    }
    store_range_cancel(&readings[0].request);
    env_fake_run(f.fake);
    ck_assert(readings[0].done);
    ck_assert(readings[0].status == ERR_CANCELLED || (readings[0].status == OK && moment > 8));
    store_range_cancel(&readings[0].request); /* too late: nothing happens */
}
END_TEST

START_TEST(closing_ends_what_was_cancelled_while_records_are_read)
{
    put_many(1);
    env_fake_run(f.fake);
    reopen(); /* nothing is in memory now */
    env_fake_hold_jobs(f.fake, true);
    readings[0] = (struct reading){.request = {.query = query_many()}};
    store_range_start(f.store, &readings[0].request, on_range);
    env_fake_run(f.fake);
    ck_assert_uint_gt(env_fake_job_count(f.fake), 0);
    store_range_cancel(&readings[0].request);
    ck_assert(!readings[0].done);
    reopen();
    ck_assert(readings[0].done);
    ck_assert_int_eq(readings[0].status, ERR_CANCELLED);
    env_fake_hold_jobs(f.fake, false);
}
END_TEST

START_TEST(closing_ends_what_goes_on)
{
    f.config.ring_bytes = 100000;
    reopen();
    put_many(1);
    env_fake_run(f.fake);
    start_readings(store_revision(f.store));
    for (int turn = 0; turn < moment_of(2 * _i); turn++) {
        env_fake_turn(f.fake);
    }
    reopen();
    ck_assert(all_done());
    bool stopped = false;
    for (size_t i = 0; i < ARRAY_LEN(readings); i++) {
        ck_assert(readings[i].status == OK || readings[i].status == ERR_STOPPED);
        stopped |= readings[i].status == ERR_STOPPED;
    }
    ck_assert(stopped);
}
END_TEST

START_TEST(what_is_refused_is_told_in_a_later_turn)
{
    put("a", "1");
    struct range_query query = {.key = bytes_of_str("a"), .revision = 3};
    readings[0] = (struct reading){.request = {.query = query}};
    store_range_start(f.store, &readings[0].request, on_range);
    ck_assert(!readings[0].done);
    env_fake_run(f.fake);
    ck_assert_int_eq(readings[0].status, ERR_FUTURE_REVISION);
}
END_TEST

START_TEST(only_small_ranges_are_cheap)
{
    put_many(1);
    struct range_query query = query_many();
    ck_assert(!store_range_is_cheap(f.store, &query));
    query.limit = 10;
    ck_assert(store_range_is_cheap(f.store, &query));
    query.sort = SORT_DESCEND;
    ck_assert(!store_range_is_cheap(f.store, &query));
    query = query_many();
    query.count_only = true;
    ck_assert(store_range_is_cheap(f.store, &query));
    query.revision = store_revision(f.store) - 1;
    ck_assert(!store_range_is_cheap(f.store, &query));
    query = query_many();
    query.key = bytes_of_str("key005990");
    ck_assert(store_range_is_cheap(f.store, &query));
    query.range_end = bytes_of_str("");
    ck_assert(store_range_is_cheap(f.store, &query));
}
END_TEST

/* ---- events ---- */

START_TEST(events_come_in_whole_revisions_from_disk_and_ring)
{
    f.config.ring_bytes = 3000;
    reopen();
    for (int i = 0; i < 50; i++) {
        begin();
        store_txn_begin(f.store);
        put_four_in_operation();
        store_txn_end(f.store);
        end();
        if (i % 7 == 0) {
            env_fake_run(f.fake);
        }
    }
    for (int64_t from = 0; from < 60; from++) {
        for (size_t max_bytes = 0; max_bytes < 20000; max_bytes += 977) {
            struct record_list list;
            ck_assert_int_eq(store_events(f.store, from, max_bytes, &list), OK);
            ck_assert_uint_eq(list.count % 4, 0);
            size_t bytes = 0;
            for (size_t i = 0; i < list.count; i++) {
                int64_t first = from < 2 ? 2 : from;
                ck_assert_uint_eq(list.items[i]->rev,
                                  revision_pack(first + (int64_t)i / 4, (uint32_t)i % 4));
                ck_assert(i % 4 != 0 || bytes <= max_bytes);
                bytes += record_size(list.items[i]);
            }
            int64_t last = list.count == 0 ? 0 : record_mod_revision(list.items[list.count - 1]);
            ck_assert(bytes > max_bytes || last == store_revision(f.store) || from > 51);
            record_list_fini(&list);
        }
    }
    ck_assert_int_eq(compact(20), OK);
    struct record_list list;
    ck_assert_int_eq(store_events(f.store, 19, 100, &list), ERR_COMPACTED);
    ck_assert_int_eq(store_events(f.store, 20, 100, &list), OK);
    record_list_fini(&list);
}
END_TEST

/* ---- waiting, bounds ---- */

static unsigned waits_called;

static void on_wait(struct store_wait *wait)
{
    (void)wait;
    waits_called++;
}

START_TEST(waits_are_called_when_their_time_has_come)
{
    struct store_wait compacted;
    struct store_wait durable[3];
    put_many(1);
    uint64_t half = f.index;
    put_many(1);
    ck_assert_int_eq(compact(store_revision(f.store)), OK);
    waits_called = 0;
    store_compact_wait(f.store, &compacted, on_wait);
    ck_assert_uint_eq(waits_called, 0);
    env_fake_run(f.fake);
    ck_assert_uint_eq(waits_called, 1);
    store_compact_wait(f.store, &compacted, on_wait); /* it is done already */
    ck_assert_uint_eq(waits_called, 1);
    env_fake_run(f.fake);
    ck_assert_uint_eq(waits_called, 2);

    store_durable_wait(f.store, &durable[0], f.index + 1, on_wait);
    store_durable_wait(f.store, &durable[1], half, on_wait);
    store_durable_wait(f.store, &durable[2], half, on_wait);
    store_wait_cancel(&durable[2]);
    env_fake_advance(f.fake, 5000);
    ck_assert_uint_eq(store_durable_index(f.store), f.index);
    ck_assert_uint_eq(waits_called, 3);
    put("a", "1");
    env_fake_advance(f.fake, 5000);
    ck_assert_uint_eq(waits_called, 4);
}
END_TEST

START_TEST(what_is_pending_is_bounded_by_what_is_kept_afterwards)
{
    f.config.ring_bytes = 50000;
    reopen();
    env_fake_hold_jobs(f.fake, true);
    put_many(1);
    env_fake_turn(f.fake);
    size_t pending = store_pending_bytes(f.store);
    ck_assert_uint_gt(pending, MANY * sizeof(struct record));
    struct range_query query = query_many();
    struct range_result result;
    ck_assert_int_eq(store_range(f.store, &query, &result), OK); /* all of it from the ring */
    ck_assert_uint_eq(result.records.count, MANY);
    range_result_fini(&result);
    env_fake_hold_jobs(f.fake, false);
    env_fake_advance(f.fake, 1000);
    ck_assert_uint_eq(store_pending_bytes(f.store), 0);
    store_check(f.store);
}
END_TEST

/* ---- a disk without room ---- */

#define FATAL_STATUS 70 /* base/assert.h */
#define FULL_BYTES   100000u

static struct fs_fault *disk;
static struct simvfs *sim;

static void setup_disk(void)
{
    disk = fs_fault_new();
    sim = simvfs_new(fs_fault_fs(disk), fs_fault_file_id);
    f.fake = env_fake_new(1);
    f.config = (struct store_config){.env = env_fake_env(f.fake),
                                     .path = "/store.db",
                                     .vfs = simvfs_name(sim),
                                     .fs = fs_fault_fs(disk),
                                     .full_bytes = FULL_BYTES,
                                     .identity = {.cluster_id = 7, .member_id = 9}};
    open_store();
}

static void teardown_disk(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    simvfs_free(sim);
    fs_fault_free(disk);
}

static void put_bytes(size_t bytes)
{
    for (size_t before = store_pending_bytes(f.store);
         store_pending_bytes(f.store) < before + bytes;) {
        put("a key", "a value");
    }
    env_fake_advance(f.fake, 100);
}

static void let_the_disk_be_full(void)
{
    fs_fault_set_capacity(disk, fs_fault_used_bytes(disk));
    put_bytes(FULL_BYTES / 2);
    ck_assert_uint_gt(store_pending_bytes(f.store), FULL_BYTES / 3);
}

START_TEST(what_waits_for_room_is_written_when_there_is_some)
{
    let_the_disk_be_full();
    fs_fault_set_capacity(disk, 0);
    env_fake_advance(f.fake, 1000);
    ck_assert_uint_eq(store_pending_bytes(f.store), 0);
}
END_TEST

static void on_rewritten(struct store_copy_request *request)
{
    ck_assert_int_eq(request->status, ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(request->why.text, "/store.db"));
    waits_called++;
}

START_TEST(without_room_nothing_is_rewritten)
{
    struct store_copy_request request = {.path = NULL};
    waits_called = 0;
    let_the_disk_be_full();
    store_defragment_start(f.store, &request, on_rewritten);
    ck_assert_uint_eq(waits_called, 0);
    env_fake_run(f.fake);
    ck_assert_uint_eq(waits_called, 1);
}
END_TEST

/* A follower is not asked whether there is room. */
START_TEST(more_than_may_wait_for_room_is_the_end)
{
    let_the_disk_be_full();
    put_bytes(FULL_BYTES);
}
END_TEST

START_TEST(what_waits_for_a_slow_disk_is_not_the_end)
{
    env_fake_hold_jobs(f.fake, true);
    put_bytes(2 * FULL_BYTES);
    env_fake_hold_jobs(f.fake, false);
    env_fake_advance(f.fake, 1000);
    ck_assert_uint_eq(store_pending_bytes(f.store), 0);
}
END_TEST

/* ---- hashes ---- */

static void on_defragmented(struct store_copy_request *request)
{
    ck_assert_int_eq(request->status, OK);
    waits_called++;
}

static void put_row(const char *key, const char *value)
{
    begin();
    store_table_put(f.store, TABLE_ALARM, bytes_of_str(key), bytes_of_str(value));
    end();
}

/* Members compare them: what a member does to its own database must not move them. */
START_TEST(hashes_depend_on_what_was_applied_alone)
{
    put_many(1);
    put_row("row", "1");
    env_fake_advance(f.fake, 1000);
    struct set_hash records = store_set_hash(f.store);
    struct set_hash tables = store_tables_hash(f.store);
    ck_assert_uint_eq(store_committed_index(f.store), f.index);
    begin();
    ck_assert_int_eq(store_compact(f.store, store_revision(f.store)), OK);
    end();
    env_fake_advance(f.fake, 5000);
    ck_assert(set_hash_equal(store_set_hash(f.store), records));
    struct store_copy_request defragment = {0};
    waits_called = 0;
    store_defragment_start(f.store, &defragment, on_defragmented);
    env_fake_advance(f.fake, 5000);
    ck_assert_uint_eq(waits_called, 1);
    ck_assert(set_hash_equal(store_set_hash(f.store), records));
    ck_assert(set_hash_equal(store_tables_hash(f.store), tables));
    reopen();
    ck_assert(set_hash_equal(store_set_hash(f.store), records));
    ck_assert(set_hash_equal(store_tables_hash(f.store), tables));
    ck_assert_uint_eq(store_committed_index(f.store), f.index);
    put("a", "1");
    ck_assert(!set_hash_equal(store_set_hash(f.store), records));
    put_row("row", "2");
    env_fake_advance(f.fake, 1000);
    ck_assert(!set_hash_equal(store_tables_hash(f.store), tables));
}
END_TEST

static uint64_t told_index;

static void on_commit(void *ctx)
{
    ck_assert_ptr_eq(ctx, &told_index);
    ck_assert_uint_gt(store_committed_index(f.store), told_index);
    told_index = store_committed_index(f.store);
}

START_TEST(every_transaction_is_told)
{
    told_index = store_committed_index(f.store);
    store_on_commit(f.store, on_commit, &told_index);
    env_fake_hold_jobs(f.fake, true);
    put("a", "1");
    put("a", "2");
    env_fake_run(f.fake);
    ck_assert_uint_lt(told_index, f.index);
    env_fake_hold_jobs(f.fake, false);
    env_fake_advance(f.fake, 1000);
    ck_assert_uint_eq(told_index, f.index);
    store_on_commit(f.store, NULL, NULL);
    put("a", "3");
    env_fake_advance(f.fake, 1000);
    ck_assert_uint_lt(told_index, f.index);
}
END_TEST

START_TEST(the_manifest_is_of_the_durable_state)
{
    struct buf before = {0};
    struct buf after = {0};
    store_manifest(f.store, &before);
    put("a", "1");
    store_manifest(f.store, &after);
    ck_assert(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
    env_fake_advance(f.fake, 5000);
    buf_clear(&after);
    store_manifest(f.store, &after);
    ck_assert(!bytes_equal(buf_bytes(&before), buf_bytes(&after)));
    buf_clear(&before);
    reopen();
    store_manifest(f.store, &before);
    ck_assert(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
    buf_fini(&before);
    buf_fini(&after);
}
END_TEST

START_TEST(a_store_of_somebody_else_is_refused)
{
    store_close(f.store);
    f.store = NULL;
    struct store *store = NULL;
    f.config.identity.member_id = 10;
    ck_assert_int_eq(store_open(&f.config, &store, &f.why), ERR_FOREIGN);
    ck_assert_ptr_null(store);
    f.config.identity.member_id = 9;
    f.config.ring_bytes = RING_BYTES_MAX + 1;
    ck_assert_int_eq(store_open(&f.config, &store, &f.why), ERR_INVALID);
    ck_assert_ptr_null(store);
}
END_TEST

START_TEST(metrics_tell_what_was_done)
{
    store_close(f.store);
    struct metrics *metrics = metrics_new();
    f.config.metrics = metrics;
    open_store();
    put("a", "1");
    put("b", "1");
    delete_keys("a", "");
    begin();
    store_txn_begin(f.store);
    put_four_in_operation();
    store_txn_end(f.store);
    end();
    ck_assert_int_eq(compact(3), OK);
    expect_all(0, "a=4@5,5,1 b=3@5,3,2 c=2@5,5,1 d=1@5,5,1", 4);
    struct buf text = {0};
    metrics_write(metrics, &text);
    buf_append(&text, "", 1);
    static const char *const lines[] = {
        "\netcd_mvcc_put_total 6\n",
        "\netcd_mvcc_delete_total 1\n",
        "\netcd_mvcc_range_total 1\n",
        "\netcd_mvcc_txn_total 1\n",
        "\netcd_debugging_mvcc_keys_total 4\n",
        "\netcd_debugging_mvcc_current_revision 5\n",
        "\netcd_debugging_mvcc_compact_revision 3\n",
        "\netcd_mvcc_db_total_size_in_bytes ",
        "\netcd_mvcc_db_total_size_in_use_in_bytes ",
        "\ntrivet_mvcc_db_superseded_rows 0\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        ck_assert_msg(strstr((const char *)text.data, lines[i]) != NULL, "no%s in %s", lines[i],
                      text.data);
    }
    buf_fini(&text);
    store_close(f.store);
    f.store = NULL;
    metrics_free(metrics);
}
END_TEST

static Suite *store_suite(void)
{
    Suite *suite = suite_create("store");
    moments = effort_count(MOMENTS, 4, "moments");
    TCase *tc = tcase_create("store");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_store_is_empty_at_revision_1);
    tcase_add_test(tc, every_revision_can_be_read_until_it_is_compacted);
    tcase_add_test(tc, dead_keys_cost_a_range_at_head_nothing);
    tcase_add_test(tc, a_put_returns_and_keeps_what_was_there);
    tcase_add_test(tc, an_operation_shares_one_revision_and_sees_its_own_writes);
    tcase_add_loop_test(tc, a_range_is_built_as_etcd_builds_it, 0, ARRAY_LEN(ranges));
    tcase_add_test(tc, a_range_by_value_without_values_keeps_the_lease);
    tcase_add_test(tc, what_is_refused_is_told_in_a_later_turn);
    tcase_add_test(tc, only_small_ranges_are_cheap);
    tcase_add_test(tc, events_come_in_whole_revisions_from_disk_and_ring);
    tcase_add_test(tc, hashes_depend_on_what_was_applied_alone);
    tcase_add_test(tc, every_transaction_is_told);
    tcase_add_test(tc, the_manifest_is_of_the_durable_state);
    tcase_add_test(tc, a_store_of_somebody_else_is_refused);
    tcase_add_test(tc, metrics_tell_what_was_done);
    suite_add_tcase(suite, tc);

    tc = tcase_create("store_in_turns");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_range_in_slices_is_of_the_moment_when_it_began, 0, 2);
    tcase_add_loop_test(tc, a_range_may_be_cancelled_at_any_moment, 0, (int)moments);
    tcase_add_loop_test(tc, closing_ends_what_goes_on, 0, (int)moments / 2);
    tcase_add_test(tc, closing_ends_what_was_cancelled_while_records_are_read);
    tcase_add_test(tc, waits_are_called_when_their_time_has_come);
    tcase_add_test(tc, what_is_pending_is_bounded_by_what_is_kept_afterwards);
    suite_add_tcase(suite, tc);
    tc = tcase_create("full");
    tcase_add_checked_fixture(tc, setup_disk, teardown_disk);
    tcase_add_test(tc, what_waits_for_room_is_written_when_there_is_some);
    tcase_add_test(tc, without_room_nothing_is_rewritten);
    tcase_add_exit_test(tc, more_than_may_wait_for_room_is_the_end, FATAL_STATUS);
    tcase_add_test(tc, what_waits_for_a_slow_disk_is_not_the_end);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(store_suite);
}
