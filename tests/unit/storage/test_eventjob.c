/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdio.h>

#include "storage/store_private.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* Of REVISIONS operations of two puts each only the last few stay in memory. */
enum { REVISIONS = 60, VALUE_BYTES = 200, RING_BYTES = 2000 };

static struct fixture {
    struct env_fake *fake;
    struct store *store;
    uint64_t index;
    struct store_events_request request;
    struct store_fetch_request fetch;
    bool called;
    bool fetched;
} f;

static void begin(void)
{
    store_entry_begin(f.store, ++f.index, 1);
    store_txn_begin(f.store);
}

static void end(void)
{
    (void)store_txn_end(f.store);
    store_entry_end(f.store);
}

static void setup(void)
{
    tmpdir_setup();
    f = (struct fixture){.fake = env_fake_new(1)};
    struct store_config config = {.env = env_fake_env(f.fake),
                                  .path = tmpdir_path("store.db"),
                                  .identity = {.cluster_id = 7, .member_id = 9},
                                  .ring_bytes = RING_BYTES};
    struct why why;
    ck_assert_msg(store_open(&config, &f.store, &why) == OK, "%s", why.text);
    char value[VALUE_BYTES] = "";
    for (int i = 0; i < REVISIONS; i++) {
        begin();
        for (int j = 0; j < 2; j++) {
            char key[8];
            (void)snprintf(key, sizeof key, "k%d", (i + j) % 7);
            struct store_put put = {.key = bytes_of_str(key),
                                    .value = bytes_of(value, sizeof value)};
            ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
        }
        end();
    }
    env_fake_advance(f.fake, 5000);
}

static void teardown(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static void on_events(struct store_events_request *request)
{
    ck_assert_ptr_eq(request, &f.request);
    ck_assert(!f.called);
    f.called = true;
}

static void start(int64_t from, int64_t to, size_t max_bytes)
{
    f.called = false;
    f.request = (struct store_events_request){.from = from, .to = to, .max_bytes = max_bytes};
    store_events_start(f.store, &f.request, on_events);
    ck_assert(!f.called);
}

static void read_events(int64_t from, int64_t to, size_t max_bytes)
{
    start(from, to, max_bytes);
    env_fake_run(f.fake);
    ck_assert(f.called);
}

/* Two records a revision, none left out. */
static void ck_records(const struct record_list *list, int64_t from, int64_t next)
{
    ck_assert_uint_eq(list->count, 2 * (size_t)(next - from));
    for (size_t i = 0; i < list->count; i++) {
        revision_t rev = revision_pack(from + (int64_t)i / 2, i % 2);
        ck_assert_uint_eq(list->items[i]->rev, rev);
        ck_assert_uint_eq(list->items[i]->value_len, VALUE_BYTES);
    }
}

START_TEST(everything_is_read_in_slices_then_from_memory)
{
    static const size_t slices[] = {0, 1000, 3000, 1000000};
    int64_t at = 2;
    struct record_list list;
    unsigned reads = 0;
    while (store_events_recent(f.store, at, INT64_MAX, SIZE_MAX, &list) == ERR_NOT_FOUND) {
        read_events(at, INT64_MAX, slices[_i]);
        ck_assert_int_eq(f.request.status, OK);
        ck_assert_int_gt(f.request.next, at);
        ck_records(&f.request.records, at, f.request.next);
        record_list_fini(&f.request.records);
        at = f.request.next;
        reads++;
    }
    ck_records(&list, at, REVISIONS + 2);
    ck_assert_uint_gt(list.count, 0);
    record_list_fini(&list);
    ck_assert_uint_ge(reads, slices[_i] == 1000000 ? 1 : 5);
    read_events(at, INT64_MAX, 1000); /* in memory: the other way is to be gone */
    ck_assert_int_eq(f.request.status, OK);
    ck_assert_int_eq(f.request.next, at);
    ck_assert_uint_eq(f.request.records.count, 0);
}
END_TEST

START_TEST(an_end_is_kept)
{
    read_events(5, 9, SIZE_MAX);
    ck_assert_int_eq(f.request.next, 10);
    ck_records(&f.request.records, 5, 10);
    record_list_fini(&f.request.records);
    struct record_list list;
    ck_assert_int_eq(store_events_recent(f.store, REVISIONS, REVISIONS, SIZE_MAX, &list), OK);
    ck_records(&list, REVISIONS, REVISIONS + 1);
    record_list_fini(&list);
}
END_TEST

static void compact(int64_t revision)
{
    begin();
    ck_assert_int_eq(store_compact(f.store, revision), OK);
    end();
}

START_TEST(what_is_compacted_is_refused)
{
    compact(30);
    read_events(29, INT64_MAX, 1000);
    ck_assert_int_eq(f.request.status, ERR_COMPACTED);
    read_events(30, 35, SIZE_MAX);
    ck_assert_int_eq(f.request.status, OK);
    ck_records(&f.request.records, 30, 36);
    record_list_fini(&f.request.records);
}
END_TEST

/* All that began before it is read to its end as if there had been no compaction. */
START_TEST(a_compaction_takes_nothing_from_what_is_being_read)
{
    env_fake_hold_jobs(f.fake, true);
    start(2, 40, SIZE_MAX);
    compact(50);
    env_fake_run(f.fake);
    ck_assert(!queue_empty(&f.store->pins));
    ck_assert_int_lt(f.store->index_compacted, 50);
    env_fake_hold_jobs(f.fake, false);
    env_fake_run(f.fake);
    ck_assert_int_eq(f.request.status, OK);
    ck_records(&f.request.records, 2, 41);
    record_list_fini(&f.request.records);
    ck_assert(queue_empty(&f.store->pins));
    env_fake_advance(f.fake, 1000);
    ck_assert_int_eq(f.store->index_compacted, 50);
}
END_TEST

static void on_fetched(struct store_fetch_request *request)
{
    ck_assert_ptr_eq(request, &f.fetch);
    f.fetched = true;
}

START_TEST(records_are_fetched_by_their_revisions)
{
    revision_t revs[] = {revision_pack(9, 1), revision_pack(2, 0), revision_pack(5, 1)};
    struct record *records[3];
    f.fetch = (struct store_fetch_request){.revs = revs, .count = 3, .records = records};
    store_fetch_start(f.store, &f.fetch, on_fetched);
    env_fake_run(f.fake);
    ck_assert(f.fetched);
    ck_assert_int_eq(f.fetch.status, OK);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(records[i]->rev, revs[i]);
        record_unref(records[i]);
        ck_assert_ptr_null(store_recent_record(f.store, revs[i]));
        struct record *record;
        ck_assert_int_eq(store_record(f.store, revs[i], &record), OK);
        ck_assert_uint_eq(record->rev, revs[i]);
        record_unref(record);
    }
    revision_t newest = revision_pack(REVISIONS + 1, 1);
    ck_assert_uint_eq(store_recent_record(f.store, newest)->rev, newest);
    ck_assert_ptr_null(store_damage(f.store));
    revs[1] = revision_pack(2, 7); /* no such change */
    f.fetched = false;
    store_fetch_start(f.store, &f.fetch, on_fetched);
    env_fake_run(f.fake);
    ck_assert_int_eq(f.fetch.status, ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(store_damage(f.store), "revision 2.7 is not there"));
    ck_assert_int_eq(store_record(f.store, revision_pack(3, 9), &records[0]), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(store_damage(f.store), "revision 2.7")); /* the first one */
}
END_TEST

START_TEST(a_store_that_closes_calls_back)
{
    setup();
    revision_t rev = revision_pack(2, 0);
    struct record *record;
    f.fetch = (struct store_fetch_request){.revs = &rev, .count = 1, .records = &record};
    env_fake_hold_jobs(f.fake, true);
    start(2, 40, SIZE_MAX);
    store_fetch_start(f.store, &f.fetch, on_fetched);
    store_close(f.store);
    ck_assert(f.called && f.fetched);
    ck_assert_int_eq(f.request.status, ERR_STOPPED);
    ck_assert_int_eq(f.fetch.status, ERR_STOPPED);
    env_fake_free(f.fake);
    tmpdir_teardown();
}
END_TEST

static Suite *eventjob_suite(void)
{
    Suite *suite = suite_create("eventjob");
    TCase *tc = tcase_create("events");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, everything_is_read_in_slices_then_from_memory, 0, 4);
    tcase_add_test(tc, an_end_is_kept);
    tcase_add_test(tc, what_is_compacted_is_refused);
    tcase_add_test(tc, a_compaction_takes_nothing_from_what_is_being_read);
    tcase_add_test(tc, records_are_fetched_by_their_revisions);
    suite_add_tcase(suite, tc);
    tc = tcase_create("close");
    tcase_add_test(tc, a_store_that_closes_calls_back);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(eventjob_suite);
}
