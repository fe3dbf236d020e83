/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of the index and of reads fails once: what could not be made is refused, with
 * nothing changed and nothing lost. (What is written is committed by the cluster already: there the
 * process ends.) */
#include "storage/store.h"

#include <stdio.h>

#include "storage/keyload.h"
#include "storage/ring.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

enum { KEYS = 150 }; /* not a multiple of 7: key_at */

static void check(enum err err)
{
    fault_pause();
    ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
}

static struct bytes key_at(unsigned i)
{
    static char keys[2][16]; /* the last two stay as they are */
    static unsigned turn;
    char *key = keys[turn++ % 2];
    (void)snprintf(key, sizeof keys[0], "k%04u", i * 7 % KEYS);
    return bytes_of_str(key);
}

/* Puts, deletes and a compaction; whatever fails, the index holds what it held before. */
static enum err fill_index(struct keyindex *ki)
{
    int64_t main = 1;
    for (unsigned i = 0; i < 2 * KEYS; i++) {
        uint64_t before = keyindex_live_count(ki);
        struct keyindex_change change;
        if (!keyindex_put(ki, key_at(i), revision_pack(++main, 0), &change)) {
            keyindex_check(ki);
            return keyindex_live_count(ki) == before ? ERR_NOMEM : ERR_CORRUPT;
        }
    }
    struct keyindex_cursor cursor;
    keyindex_seek(ki, bytes_of_str("k0070"), &cursor);
    for (uint32_t sub = 0; keyindex_valid(&cursor); keyindex_next(&cursor)) {
        revision_t prev_rev;
        if (!keyindex_delete(ki, &cursor, revision_pack(main + 1, sub++), &prev_rev)) {
            keyindex_check(ki);
            return ERR_NOMEM;
        }
    }
    /* Without memory to shrink into, more is kept than needed: no error. */
    return keyindex_compact(ki, main + 2, SIZE_MAX) ? OK : ERR_CORRUPT;
}

START_TEST(an_index_keeps_what_it_had)
{
    FAULT_SWEEP (sweep) {
        struct keyindex *ki = keyindex_new();
        enum err err = ki == NULL ? ERR_NOMEM : fill_index(ki);
        if (ki != NULL) {
            keyindex_check(ki);
        }
        keyindex_free(ki);
        fault_pause();
        ck_assert(err == OK || (err == ERR_NOMEM && fault_fired()));
    }
}
END_TEST

static enum err load_index(struct keyload *load, struct keyindex **ret)
{
    for (unsigned i = 0; i < KEYS; i++) {
        struct record_header header = {.create_revision = i + 2, .version = 1, .key = key_at(i)};
        header.lease = i % 2;
        TRY(keyload_add(load, revision_pack(i + 2, 0), &header, NULL));
    }
    for (unsigned i = 0; i < KEYS; i++) {
        struct record_header header = {.prev_rev = revision_pack(i + 2, 0), .key = key_at(i)};
        header.tombstone = true;
        TRY(keyload_add(load, revision_pack(KEYS + i + 2, 0), &header, NULL));
    }
    return keyload_finish(load, -1, ret, NULL);
}

START_TEST(an_index_is_loaded_or_not)
{
    FAULT_SWEEP (sweep) {
        struct keyindex *ki = NULL;
        struct keyload *load = keyload_new();
        enum err err = load == NULL ? ERR_NOMEM : load_index(load, &ki);
        keyload_free(load);
        keyindex_free(ki);
        check(err);
    }
}
END_TEST

START_TEST(a_ring_keeps_what_it_had)
{
    FAULT_SWEEP (sweep) {
        struct ring ring;
        ring_init(&ring, 1, 0);
        enum err err = OK;
        for (int64_t main = 1; main < 3000 && err == OK; main++) {
            struct record *record = record_new(bytes_of_str("k"), bytes_of_str("v"));
            if (record == NULL) {
                err = ERR_NOMEM;
                break;
            }
            record->rev = revision_pack(main, 0);
            if (!ring_push(&ring, record)) {
                record_unref(record);
                err = ERR_NOMEM;
            }
            ring_commit(&ring, revision_pack(main - 2000, 0));
            (void)ring_trim(&ring, 10);
        }
        ring_check(&ring);
        ring_fini(&ring);
        check(err);
    }
}
END_TEST

/* ---- reads of a store ---- */

static struct fixture {
    struct env_fake *fake;
    struct store *store;
    char path[4096];
} f;

static void set_up(void)
{
    fault_pause();
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    struct store_config config = {
        .env = env_fake_env(f.fake), .path = f.path, .identity = {.cluster_id = 7, .member_id = 9}};
    ck_assert_int_eq(store_open(&config, &f.store, NULL), OK);
    store_entry_begin(f.store, 1, 1);
    for (unsigned i = 0; i < KEYS; i++) {
        struct store_put put = {.key = key_at(i), .value = key_at(i * 3)};
        ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
    }
    store_entry_end(f.store);
}

static void tear_down(void)
{
    fault_pause();
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static const struct range_query queries[] = {
    {.key = {(const uint8_t *)"k0007", 5}},
    {.key = {(const uint8_t *)"k0007", 5}, .keys_only = true},
    {.key = {(const uint8_t *)"k0007", 5}, .keys_only = true, .target = TARGET_VALUE},
    {.key = {(const uint8_t *)"k", 1}, .range_end = {(const uint8_t *)"l", 1}},
    {.key = {(const uint8_t *)"k", 1}, .range_end = {(const uint8_t *)"l", 1}, .keys_only = true},
    {.key = {(const uint8_t *)"k", 1},
     .range_end = {(const uint8_t *)"l", 1},
     .target = TARGET_MOD,
     .sort = SORT_DESCEND,
     .limit = 10},
    {.key = {(const uint8_t *)"k", 1},
     .range_end = {(const uint8_t *)"l", 1},
     .target = TARGET_VALUE,
     .keys_only = true,
     .limit = 10},
};

START_TEST(a_range_is_answered_or_not)
{
    FAULT_SWEEP (sweep) {
        struct range_result result = {0};
        enum err err = store_range(f.store, &queries[_i], &result);
        bool any = result.records.count > 0;
        range_result_fini(&result);
        check(err);
        ck_assert(any == (err == OK));
    }
}
END_TEST

START_TEST(events_are_told_or_not)
{
    FAULT_SWEEP (sweep) {
        struct record_list list = {0};
        enum err err = store_events(f.store, 2, SIZE_MAX, &list);
        record_list_fini(&list);
        check(err);
    }
}
END_TEST

static enum err got;

static void on_range(struct store_range_request *request)
{
    got = request->status;
    range_result_fini(&request->result);
}

static void on_hash(struct store_hash_request *request)
{
    got = request->status;
}

START_TEST(a_request_that_cannot_begin_is_told_later)
{
    struct store_range_request range = {.query = queries[3]};
    got = OK;
    fault_arm(1);
    store_range_start(f.store, &range, on_range);
    fault_pause();
    ck_assert(fault_fired());
    ck_assert_int_eq(got, OK);
    store_range_cancel(&range);
    env_fake_run(f.fake);
    ck_assert_int_eq(got, ERR_NOMEM);

    struct store_hash_request hash = {.revision = 0};
    got = OK;
    fault_arm(1);
    store_hash_start(f.store, &hash, on_hash);
    fault_pause();
    ck_assert(fault_fired());
    ck_assert_int_eq(got, OK);
    env_fake_run(f.fake);
    ck_assert_int_eq(got, ERR_NOMEM);
}
END_TEST

static Suite *store_no_memory_suite(void)
{
    Suite *suite = suite_create("store_no_memory");
    TCase *tc = tcase_create("index_no_memory");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_index_keeps_what_it_had);
    tcase_add_test(tc, an_index_is_loaded_or_not);
    tcase_add_test(tc, a_ring_keeps_what_it_had);
    suite_add_tcase(suite, tc);
    tc = tcase_create("store_no_memory");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_range_is_answered_or_not, 0, ARRAY_LEN(queries));
    tcase_add_test(tc, events_are_told_or_not);
    tcase_add_test(tc, a_request_that_cannot_begin_is_told_later);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(store_no_memory_suite);
}
