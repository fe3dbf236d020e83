/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashkv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/store.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* Changes that a real etcd was given and the hashes that it answered, recorded by
 * tests/integration/hashkv_record: the store must answer the same. */
static const char *const vectors[] = {
    "tests/data/hashkv_etcd.txt",
    "tests/data/hashkv_etcd_few.txt", /* two keys, which are often both dead */
};

static struct fixture {
    struct env_fake *fake;
    struct store_config config;
    struct store *store;
    char path[4096];
    uint64_t index;
    bool in_txn;
    FILE *vectors;
    unsigned line;
} f;

static void setup(void)
{
    tmpdir_setup();
    (void)snprintf(f.path, sizeof f.path, "%s", tmpdir_path("store.db"));
    f.fake = env_fake_new(1);
    f.config = (struct store_config){
        .env = env_fake_env(f.fake), .path = f.path, .identity = {.cluster_id = 7, .member_id = 9}};
    ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
}

static void teardown(void)
{
    store_close(f.store);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

static void open_vectors(const char *name)
{
    char path[4096];
    const char *source = getenv("srcdir");
    (void)snprintf(path, sizeof path, "%s/%s", source == NULL ? "." : source, name);
    f.vectors = fopen(path, "r");
    ck_assert_msg(f.vectors != NULL, "%s: %s", path, strerror(errno));
}

static struct buf unhex(const char *text)
{
    struct buf bytes = {0};
    for (size_t i = 0; text[i] != '-' && text[i] != 0; i += 2) {
        const char digits[] = {text[i], text[i + 1], 0};
        uint8_t byte = (uint8_t)strtoul(digits, NULL, 16);
        buf_append(&bytes, &byte, 1);
    }
    return bytes;
}

static void begin_single(void)
{
    if (!f.in_txn) {
        store_entry_begin(f.store, ++f.index, 1);
        store_txn_begin(f.store);
    }
}

static void end_single(void)
{
    if (!f.in_txn) {
        store_txn_end(f.store);
        store_entry_end(f.store);
    }
}

static void apply_put(const char *key, const char *value, int64_t lease)
{
    CLEANUP(buf_fini) struct buf k = unhex(key);
    CLEANUP(buf_fini) struct buf v = unhex(value);
    struct store_put put = {.key = buf_bytes(&k), .value = buf_bytes(&v), .lease = lease};
    begin_single();
    ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
    end_single();
}

static void apply_delete(const char *key, const char *range_end)
{
    CLEANUP(buf_fini) struct buf k = unhex(key);
    CLEANUP(buf_fini) struct buf e = unhex(range_end);
    int64_t deleted;
    begin_single();
    ck_assert_int_eq(store_delete_range(f.store, buf_bytes(&k), buf_bytes(&e), &deleted, NULL), OK);
    end_single();
}

static void apply_compact(int64_t revision)
{
    begin_single();
    ck_assert_int_eq(store_compact(f.store, revision), OK);
    end_single();
}

static void on_hash(struct store_hash_request *request)
{
    request->private_state = request; /* seen */
}

static void check_hash(int64_t revision, uint32_t want, int64_t compacted)
{
    struct store_hash_request request = {.revision = revision};
    store_hash_start(f.store, &request, on_hash);
    while (request.private_state != &request) {
        ck_assert(env_fake_turn(f.fake));
    }
    ck_assert_int_eq(request.status, OK);
    ck_assert_int_eq(request.compact_revision, compacted);
    ck_assert_int_eq(request.hash_revision, revision);
    ck_assert_msg(request.hash == want, "line %u: revision %lld: %u instead of etcd's %u", f.line,
                  (long long)revision, request.hash, want);
}

static void apply_line(const char *line)
{
    char a[512];
    char b[512];
    long long x;
    long long y;
    unsigned hash;
    if (sscanf(line, "put %511s %511s %lld", a, b, &x) == 3) {
        apply_put(a, b, x);
    } else if (sscanf(line, "del %511s %511s", a, b) == 2) {
        apply_delete(a, b);
    } else if (strncmp(line, "begin", 5) == 0) {
        begin_single();
        f.in_txn = true;
    } else if (strncmp(line, "end", 3) == 0) {
        f.in_txn = false;
        end_single();
    } else if (sscanf(line, "compact %lld", &x) == 1) {
        apply_compact(x);
    } else if (sscanf(line, "hash %lld %u %lld", &x, &hash, &y) == 3) {
        check_hash(x, hash, y);
    } else {
        ck_assert_msg(line[0] == '#', "line %u: %s", f.line, line);
    }
}

/* With or without closing and opening the store now and then, so that hashes come from disks in all
 * states. */
START_TEST(every_hash_is_etcds)
{
    open_vectors(vectors[_i / 2]);
    char line[2048];
    while (fgets(line, sizeof line, f.vectors) != NULL) {
        f.line++;
        apply_line(line);
        if (_i % 2 == 1 && f.line % 29 == 0 && !f.in_txn) {
            store_close(f.store);
            ck_assert_int_eq(store_open(&f.config, &f.store, NULL), OK);
        }
    }
    ck_assert_uint_gt(f.line, 500);
    ck_assert_int_eq(fclose(f.vectors), 0);
}
END_TEST

START_TEST(a_hash_outside_of_what_is_kept_is_refused)
{
    apply_put("61", "62", 0);
    apply_put("61", "63", 0);
    apply_put("61", "64", 0);
    apply_compact(3);
    struct store_hash_request request = {.revision = 2};
    store_hash_start(f.store, &request, on_hash);
    env_fake_run(f.fake);
    ck_assert_int_eq(request.status, ERR_COMPACTED);
    request = (struct store_hash_request){.revision = 5};
    store_hash_start(f.store, &request, on_hash);
    env_fake_run(f.fake);
    ck_assert_int_eq(request.status, ERR_FUTURE_REVISION);
}
END_TEST

/* As etcd has it: no error, and the hash of its bucket's name alone. */
START_TEST(a_hash_below_all_revisions_is_of_nothing)
{
    apply_put("61", "62", 0);
    apply_put("61", "63", 0);
    check_hash(-1, 1084519789, -1);
    apply_compact(3);
    check_hash(-1, 1084519789, 3);
    check_hash(INT64_MIN, 1084519789, 3);
}
END_TEST

START_TEST(superseded_revisions_are_found_in_order)
{
    struct superseded set = {0};
    const revision_t prevs[] = {50, 10, 30};
    for (size_t i = 0; i < ARRAY_LEN(prevs); i++) {
        ck_assert_int_eq(superseded_add(&set, prevs[i]), OK);
    }
    superseded_seal(&set);
    for (revision_t rev = 1; rev < 60; rev++) {
        ck_assert(superseded_has(&set, rev) == (rev == 10 || rev == 30 || rev == 50));
    }
    superseded_fini(&set);
}
END_TEST

static Suite *hashkv_suite(void)
{
    Suite *suite = suite_create("hashkv");
    TCase *tc = tcase_create("hashkv");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_hash_is_etcds, 0, 2 * ARRAY_LEN(vectors));
    tcase_add_test(tc, a_hash_outside_of_what_is_kept_is_refused);
    tcase_add_test(tc, a_hash_below_all_revisions_is_of_nothing);
    tcase_add_test(tc, superseded_revisions_are_found_in_order);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hashkv_suite);
}
