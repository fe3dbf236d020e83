/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"
#include "tests/lib/store_twin.h"

/* Random entries, random questions: the store and its model, which keeps all records in one array,
 * must answer the same. Now and then the store is closed and opened again, or loses power, and then
 * gets the entries again that its disk has lost.
 *
 * An entry is made from the seed and its index alone, so that it can be made again; only the
 * revision that it compacts at is remembered. */
#define ENTRIES   1200u
#define KEYS      24u
#define READS_MAX 6u

static struct fixture {
    uint64_t seed;
    uint64_t random; /* of the questions */
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct store_config config;
    struct store *store;
    struct store *twin;
    struct env_fake *twin_fake;
    struct why why;
    uint64_t claimed; /* durable, as on_durable said */
    int64_t compactions[2 * ENTRIES + 2];
    struct set_hash hashes[ENTRIES + 1];
} f;

static void on_durable(void *ctx, uint64_t durable_index)
{
    (void)ctx;
    ck_assert_uint_gt(durable_index, f.claimed);
    ck_assert_uint_le(durable_index, store_applied_index(f.store));
    f.claimed = durable_index;
}

static void open_on(struct fs_fault *disk)
{
    f.disk = disk;
    f.fake = env_fake_new(f.seed);
    f.sim = simvfs_new(fs_fault_fs(disk), fs_fault_file_id);
    f.config = (struct store_config){
        .env = env_fake_env(f.fake),
        .path = "/db",
        .vfs = simvfs_name(f.sim),
        .fs = fs_fault_fs(disk),
        .identity = {.cluster_id = 7, .member_id = 9},
        .ring_bytes = 4000,
        .remove_permille = f.seed % 2 == 0 ? 0 : 1 + (uint32_t)(f.seed / 2 % 20 * 50),
        .on_durable = on_durable,
    };
    f.claimed = 0;
    enum err err = store_open(&f.config, &f.store, &f.why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), f.why.text);
    store_check(f.store);
}

static void close_store(void)
{
    f.config.on_durable = NULL;
    store_close(f.store);
    simvfs_free(f.sim);
    env_fake_free(f.fake);
}

/* ---- random things ---- */

static uint64_t next(uint64_t *random)
{
    return *random = mix64(*random + 0x9e3779b97f4a7c15u);
}

static uint64_t below(uint64_t *random, uint64_t n)
{
    return next(random) % n;
}

static bool one_in(uint64_t *random, uint64_t n)
{
    return below(random, n) == 0;
}

static struct bytes random_key(uint64_t *random)
{
    static const char keys[KEYS][8] = {
        "a",   "aa",  "ab",  "a\0b", "b", "ba",  "bb",     "bbbbbbb", "c",  "cc", "d", "e1",
        "e10", "e11", "e12", "e2",   "f", "foo", "foobar", "g",       "h1", "h2", "z", "zz",
    };
    size_t i = below(random, KEYS);
    return bytes_of(keys[i], i == 3 ? 3 : strlen(keys[i]));
}

static struct bytes random_end(uint64_t *random)
{
    switch (below(random, 8)) {
    case 0:
    case 1:
        return bytes_of(NULL, 0);
    case 2:
        return bytes_of("", 1);
    default:
        return random_key(random);
    }
}

static struct bytes random_value(uint64_t *random)
{
    static uint8_t value[300];
    size_t len = one_in(random, 4) ? below(random, sizeof value) : below(random, 12);
    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)('a' + below(random, 3));
    }
    return bytes_of(value, len);
}

/* ---- comparing ---- */

static void same_record(const struct record *a, const struct record *b)
{
    ck_assert(bytes_equal(record_key(a), record_key(b)));
    ck_assert(bytes_equal(record_value(a), record_value(b)));
    ck_assert_uint_eq(a->rev, b->rev);
    ck_assert_int_eq(a->tombstone, b->tombstone);
    ck_assert_int_eq(a->create_revision, b->create_revision);
    ck_assert_int_eq(a->version, b->version);
    ck_assert_int_eq(a->lease, b->lease);
}

static void same_records(const struct record_list *a, const struct record_list *b)
{
    ck_assert_uint_eq(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        same_record(a->items[i], b->items[i]);
    }
}

static void same_result(const struct range_result *a, const struct range_result *b)
{
    ck_assert_int_eq(a->revision, b->revision);
    ck_assert_int_eq(a->count, b->count);
    ck_assert_int_eq(a->more, b->more);
    same_records(&a->records, &b->records);
}

/* ---- entries ---- */

/* The model is NULL when an entry is applied again. */
static void apply_put(uint64_t *random, struct store *twin)
{
    struct store_put put = {
        .key = random_key(random),
        .value = random_value(random),
        .lease = one_in(random, 3) ? (int64_t)(next(random) >> 1) : 0,
        .ignore_value = one_in(random, 6),
        .ignore_lease = one_in(random, 6),
        .want_prev = one_in(random, 2),
    };
    struct record *prev = NULL;
    struct record *twin_prev = NULL;
    enum err err = store_put(f.store, &put, &prev);
    if (twin != NULL) {
        ck_assert_int_eq(twin_put(twin, &put, &twin_prev), err);
        ck_assert((prev == NULL) == (twin_prev == NULL));
    }
    if (twin_prev != NULL) {
        same_record(prev, twin_prev);
    }
    record_unref(prev);
    record_unref(twin_prev);
}

static void apply_delete(uint64_t *random, struct store *twin)
{
    struct bytes key = random_key(random);
    struct bytes end = one_in(random, 2) ? bytes_of(NULL, 0) : random_end(random);
    bool want = one_in(random, 2);
    struct record_list prevs = {0};
    struct record_list twin_prevs = {0};
    int64_t deleted = -1;
    int64_t twin_deleted = -1;
    ck_assert_int_eq(store_delete_range(f.store, key, end, &deleted, want ? &prevs : NULL), OK);
    if (twin != NULL) {
        enum err err = twin_delete_range(twin, key, end, &twin_deleted, want ? &twin_prevs : NULL);
        ck_assert_int_eq(err, OK);
        ck_assert_int_eq(deleted, twin_deleted);
        same_records(&prevs, &twin_prevs);
    }
    record_list_fini(&prevs);
    record_list_fini(&twin_prevs);
}

static void apply_table_change(uint64_t *random, struct store *twin)
{
    enum store_table table = 1 + below(random, TABLE_COUNT - 1);
    struct bytes key = random_key(random);
    if (one_in(random, 3)) {
        store_table_delete(f.store, table, key);
        if (twin != NULL) {
            twin_table_delete(twin, table, key);
        }
        return;
    }
    struct bytes value = random_value(random);
    store_table_put(f.store, table, key, value);
    if (twin != NULL) {
        twin_table_put(twin, table, key, value);
    }
}

static void apply_compact(uint64_t which, struct store *twin)
{
    if (twin != NULL) {
        int64_t newest = twin_revision(twin);
        int64_t span = newest - twin_compacted_revision(twin) + 2;
        f.compactions[which] = newest + 1 - (int64_t)below(&f.random, (uint64_t)span);
    }
    enum err err = store_compact(f.store, f.compactions[which]);
    if (twin != NULL) {
        ck_assert_int_eq(twin_compact(twin, f.compactions[which]), err);
    }
}

static void ask_range(void);

static void apply_operation(uint64_t which, uint64_t *random, struct store *twin)
{
    store_txn_begin(f.store);
    if (twin != NULL) {
        twin_txn_begin(twin);
    }
    uint64_t changes = 1 + below(random, 5);
    if (one_in(random, 40)) {
        apply_compact(which, twin);
        changes = 0;
    }
    for (uint64_t i = 0; i < changes; i++) {
        if (one_in(random, 4)) {
            apply_delete(random, twin);
        } else {
            apply_put(random, twin);
        }
        if (twin != NULL && one_in(&f.random, 8)) {
            ask_range(); /* sees what the operation has done so far */
        }
    }
    int64_t revision = store_txn_end(f.store);
    if (twin != NULL) {
        ck_assert_int_eq(twin_txn_end(twin), revision);
    }
}

static void apply_entry(uint64_t index, struct store *twin)
{
    uint64_t random = mix64(f.seed) + index;
    store_entry_begin(f.store, index, 1);
    if (twin != NULL) {
        twin_entry_begin(twin, index, 1);
    }
    uint64_t operations = below(&random, 3);
    for (uint64_t i = 0; i < operations; i++) {
        apply_operation(2 * index + i, &random, twin);
    }
    if (one_in(&random, 5)) {
        apply_table_change(&random, twin);
    }
    store_entry_end(f.store);
    if (twin != NULL) {
        twin_entry_end(twin);
        f.hashes[index] = store_set_hash(f.store);
    }
    struct set_hash hash = store_set_hash(f.store);
    ck_assert(set_hash_equal(hash, f.hashes[index]));
}

/* ---- questions ---- */

static int64_t random_revision(void)
{
    int64_t newest = twin_revision(f.twin);
    if (one_in(&f.random, 3)) {
        return 0;
    }
    int64_t span = newest - twin_compacted_revision(f.twin) + 3;
    return newest + 1 - (int64_t)below(&f.random, (uint64_t)span);
}

static struct range_query random_query(void)
{
    uint64_t *r = &f.random;
    struct range_query query = {
        .key = one_in(r, 4) ? bytes_of("", 1) : random_key(r),
        .range_end = random_end(r),
        .revision = random_revision(),
        .limit = one_in(r, 2) ? (int64_t)below(r, 8) : 0,
        .sort = below(r, 3),
        .target = one_in(r, 2) ? below(r, 5) : TARGET_KEY,
        .keys_only = one_in(r, 4),
        .count_only = one_in(r, 6),
        .uncounted = one_in(r, 6),
    };
    if (one_in(r, 4)) {
        query.min_mod_revision = random_revision();
        query.max_mod_revision = random_revision();
        query.min_create_revision = one_in(r, 2) ? random_revision() : 0;
        query.max_create_revision = one_in(r, 2) ? random_revision() : 0;
    }
    return query;
}

static void ask_range(void)
{
    struct range_query query = random_query();
    struct range_result got = {0};
    struct range_result want = {0};
    enum err err = store_range(f.store, &query, &got);
    ck_assert_int_eq(err, twin_range(f.twin, &query, &want));
    if (err == OK) {
        same_result(&got, &want);
    }
    range_result_fini(&got);
    range_result_fini(&want);
}

/* Ranges that go on while entries are applied: the model was asked when they began. */
static struct read {
    bool busy;
    bool cancelled;
    struct store_range_request request;
    enum err want_status;
    struct range_result want;
} reads[READS_MAX];

static void on_read(struct store_range_request *request)
{
    struct read *read = CONTAINER_OF(request, struct read, request);
    ck_assert(read->busy);
    read->busy = false;
    bool ended_early =
        request->status == ERR_STOPPED || (read->cancelled && request->status == ERR_CANCELLED);
    if (!ended_early) {
        ck_assert_int_eq(request->status, read->want_status);
    }
    if (request->status == OK) {
        same_result(&request->result, &read->want);
    }
    range_result_fini(&request->result);
    range_result_fini(&read->want);
}

static void start_read(void)
{
    struct read *read = &reads[below(&f.random, READS_MAX)];
    if (read->busy) {
        if (one_in(&f.random, 4)) {
            store_range_cancel(&read->request);
            read->cancelled = true;
        }
        return;
    }
    *read = (struct read){.busy = true, .request = {.query = random_query()}};
    read->want_status = twin_range(f.twin, &read->request.query, &read->want);
    store_range_start(f.store, &read->request, on_read);
}

static void ask_events(void)
{
    struct record_list got = {0};
    struct record_list want = {0};
    int64_t from = random_revision();
    if (from <= twin_compacted_revision(f.twin)) {
        from = twin_compacted_revision(f.twin) + 1; /* at it, disk and ring may know more */
    }
    size_t max_bytes = below(&f.random, 8000);
    ck_assert_int_eq(store_events(f.store, from, max_bytes, &got), OK);
    ck_assert_int_eq(twin_events(f.twin, from, max_bytes, &want), OK);
    same_records(&got, &want);
    record_list_fini(&got);
    record_list_fini(&want);
    if (twin_compacted_revision(f.twin) > 1) {
        from = twin_compacted_revision(f.twin) - 1;
        ck_assert_int_eq(store_events(f.store, from, max_bytes, &got), ERR_COMPACTED);
    }
}

static bool hashed[2];

static void on_hash(struct store_hash_request *request)
{
    (void)request;
    hashed[0] = true;
}

static void on_twin_hash(struct store_hash_request *request)
{
    (void)request;
    hashed[1] = true;
}

static void ask_hash(void)
{
    struct store_hash_request got = {.revision = random_revision()};
    struct store_hash_request want = {.revision = got.revision};
    hashed[0] = hashed[1] = false;
    twin_hash_start(f.twin, &want, on_twin_hash);
    store_hash_start(f.store, &got, on_hash);
    env_fake_run(f.twin_fake);
    ck_assert(hashed[1]);
    while (!hashed[0]) {
        ck_assert(env_fake_turn(f.fake));
    }
    ck_assert_int_eq(got.status, want.status);
    ck_assert_int_eq(got.compact_revision, want.compact_revision);
    ck_assert_int_eq(got.current_revision, want.current_revision);
    if (got.status == OK) {
        ck_assert_int_eq(got.hash_revision, want.hash_revision);
        ck_assert_uint_eq(got.hash, want.hash);
    }
}

static void ask_small_things(void)
{
    struct bytes key = random_key(&f.random);
    struct key_version got = {0};
    struct key_version want = {0};
    ck_assert(store_key_version(f.store, key, &got) == twin_key_version(f.twin, key, &want));
    ck_assert_mem_eq(&got, &want, sizeof got);
    ck_assert_int_eq(store_revision(f.store), twin_revision(f.twin));
    ck_assert_int_eq(store_compacted_revision(f.store), twin_compacted_revision(f.twin));
    ck_assert_uint_eq(store_applied_index(f.store), twin_applied_index(f.twin));
    ck_assert_uint_eq(store_key_count(f.store), twin_key_count(f.twin));
}

static enum err sum_row(void *ctx, struct bytes key, struct bytes value)
{
    uint64_t *sum = ctx;
    const struct hash_seed seed = {1, 2};
    *sum = mix64(*sum ^ hash_bytes(key, &seed)) ^ hash_bytes(value, &seed);
    return OK;
}

/* Only right after an opening: tables answer as of the last commit. */
static void check_tables(void)
{
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        uint64_t got = 0;
        uint64_t want = 0;
        ck_assert_int_eq(store_table_foreach(f.store, table, sum_row, &got, NULL), OK);
        ck_assert_int_eq(twin_table_foreach(f.twin, table, sum_row, &want, NULL), OK);
        ck_assert_uint_eq(got, want);
    }
}

/* Which keys have which leases, the order left out. */
static enum err sum_lease(void *ctx, struct bytes key, int64_t lease)
{
    uint64_t *sum = ctx;
    const struct hash_seed seed = {1, 2};
    *sum += mix64(hash_bytes(key, &seed) + (uint64_t)lease);
    return OK;
}

static bool leases_seen;

/* Only right after an opening, and only once. */
static void check_leases(void)
{
    uint64_t got = 0;
    uint64_t want = 0;
    ck_assert_int_eq(store_lease_foreach(f.store, sum_lease, &got), OK);
    ck_assert_int_eq(twin_lease_foreach(f.twin, sum_lease, &want), OK);
    ck_assert_uint_eq(got, want);
    leases_seen |= got != 0;
    got = 0;
    ck_assert_int_eq(store_lease_foreach(f.store, sum_lease, &got), OK);
    ck_assert_uint_eq(got, 0);
}

/* What is observed: everything, in order. */
static struct {
    revision_t last;
    size_t count;
} observed;

static void on_change(void *ctx, const struct record *record)
{
    ck_assert_ptr_eq(ctx, f.store);
    ck_assert_uint_gt(record->rev, observed.last);
    ck_assert_int_eq(record_mod_revision(record), store_revision(f.store));
    observed.last = record->rev;
    observed.count++;
}

/* ---- restarts ---- */

static void reopen_cleanly(void)
{
    struct fs_fault *disk = f.disk;
    uint64_t applied = store_applied_index(f.store);
    close_store();
    open_on(disk);
    ck_assert_uint_eq(store_applied_index(f.store), applied);
    ck_assert_uint_eq(store_durable_index(f.store), applied);
    ck_assert_uint_eq(store_pending_bytes(f.store), 0);
    check_tables();
    check_leases();
    store_observe(f.store, on_change, f.store);
}

static void lose_power(void)
{
    uint64_t applied = store_applied_index(f.store);
    uint64_t claimed = f.claimed;
    struct fs_fault *after =
        fs_fault_crash(f.disk, fs_fault_op_count(f.disk), below(&f.random, 100));
    close_store();
    fs_fault_free(f.disk);
    open_on(after);
    uint64_t index = store_applied_index(f.store);
    ck_assert_uint_ge(index, claimed);
    ck_assert_uint_le(index, applied);
    ck_assert(index == 0 || set_hash_equal(store_set_hash(f.store), f.hashes[index]));
    while (index < applied) {
        apply_entry(++index, NULL);
    }
}

static void step(uint64_t index)
{
    apply_entry(index, f.twin);
    store_check(f.store);
    for (uint64_t turns = below(&f.random, 4); turns > 0; turns--) {
        env_fake_turn(f.fake);
        store_check(f.store);
    }
    ask_range();
    ask_range();
    start_read();
    ask_small_things();
    if (one_in(&f.random, 8)) {
        ask_events();
    }
    if (one_in(&f.random, 12)) {
        ask_hash();
    }
    if (one_in(&f.random, 30)) {
        env_fake_advance(f.fake, below(&f.random, 3000)); /* syncs, checkpoints */
    }
    if (one_in(&f.random, 60)) {
        reopen_cleanly();
    } else if (one_in(&f.random, 60)) {
        lose_power();
    }
}

START_TEST(the_store_answers_as_its_model)
{
    memset(&f, 0, sizeof f);
    memset(&observed, 0, sizeof observed);
    leases_seen = false;
    f.seed = (uint64_t)_i + 1;
    const char *given = getenv("TRIVET_SEED");
    if (given != NULL) {
        f.seed = strtoull(given, NULL, 10);
    }
    f.random = mix64(f.seed);
    f.twin_fake = env_fake_new(1);
    f.twin = twin_new(env_fake_env(f.twin_fake));
    open_on(fs_fault_new());
    printf("# seed %llu\n", (unsigned long long)f.seed);
    unsigned entries = effort_count(ENTRIES, 150, "entries");
    for (uint64_t index = 1; index <= entries; index++) {
        step(index);
    }
    close_store();
    fs_fault_free(f.disk);
    twin_close(f.twin);
    env_fake_free(f.twin_fake);
    ck_assert_uint_gt(observed.count, entries / 10);
    ck_assert(leases_seen);
}
END_TEST

static Suite *store_model_suite(void)
{
    Suite *suite = suite_create("store_model");
    TCase *tc = tcase_create("store_model");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, the_store_answers_as_its_model, 0, 4);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(store_model_suite);
}
