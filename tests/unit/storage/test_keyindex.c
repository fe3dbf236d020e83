/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyindex.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "storage/keyload.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* The naive copy: keys in order, each with every revision that is kept. */
enum { KEYS = 3000, REVS_MAX = 24 };
struct naive_rev {
    revision_t rev;
    bool tombstone;
    int64_t create;
    int64_t version;
};
struct naive_key {
    uint8_t text[48];
    size_t len;
    struct naive_rev revs[REVS_MAX];
    size_t count;
};

static struct fixture {
    struct naive_key keys[KEYS];
    struct keyindex *ki;
    int64_t main;
    int64_t compacted;
    uint64_t random;
} f;

static uint64_t next_random(void)
{
    return f.random = mix64(f.random + 1);
}

static struct bytes key_at(size_t i)
{
    return bytes_of(f.keys[i].text, f.keys[i].len);
}

static int by_key(const void *a, const void *b)
{
    const struct naive_key *x = a;
    const struct naive_key *y = b;
    return bytes_compare(bytes_of(x->text, x->len), bytes_of(y->text, y->len));
}

/* Keys that share prefixes of all lengths, end in zeros, are each other's prefixes. */
static void make_keys(unsigned kind)
{
    for (size_t i = 0; i < KEYS; i++) {
        struct naive_key *key = &f.keys[i];
        memset(key, 0, sizeof *key);
        int len = 0;
        switch (kind) {
        case 0:
            len = snprintf((char *)key->text, sizeof key->text, "/registry/pods/default/%06zu", i);
            break;
        case 1:
            len = snprintf((char *)key->text, sizeof key->text, "%zx/%zu", i % 7 * 1234567, i);
            break;
        case 2: /* 2 bits of i in each byte, some of them zeros at the end */
            for (size_t rest = i; len < 8; rest /= 3) {
                key->text[len++] = (uint8_t)(rest % 3);
            }
            break;
        default: /* all the same but for the length of a run, and then zeros */
            len = (int)(4 + i % 40);
            memset(key->text, 'a', (size_t)len);
            key->text[0] = (uint8_t)(i / 40 & 0xff);
            key->text[1] = 0;
            break;
        }
        key->len = (size_t)len;
    }
    qsort(f.keys, KEYS, sizeof f.keys[0], by_key);
    for (size_t i = 1; i < KEYS; i++) {
        ck_assert_int_lt(by_key(&f.keys[i - 1], &f.keys[i]), 0);
    }
}

static void set_up(unsigned kind)
{
    make_keys(kind);
    f.ki = keyindex_new();
    ck_assert_ptr_nonnull(f.ki);
    f.main = 1;
    f.compacted = -1;
    f.random = kind + 1;
}

static void tear_down(void)
{
    keyindex_free(f.ki);
}

static bool naive_find(size_t key, int64_t at, struct version *ret)
{
    const struct naive_key *k = &f.keys[key];
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < k->count && revision_main(k->revs[i].rev) <= at; i++) {
        found = i;
    }
    if (found == SIZE_MAX || k->revs[found].tombstone) {
        return false;
    }
    *ret = (struct version){.rev = k->revs[found].rev,
                            .create_revision = k->revs[found].create,
                            .version = k->revs[found].version};
    return true;
}

static bool naive_alive(size_t key)
{
    const struct naive_key *k = &f.keys[key];
    return k->count > 0 && !k->revs[k->count - 1].tombstone;
}

static revision_t naive_append(size_t key, revision_t rev, bool tombstone)
{
    struct naive_key *k = &f.keys[key];
    const struct naive_rev *last = k->count == 0 ? NULL : &k->revs[k->count - 1];
    bool lives = last != NULL && !last->tombstone;
    revision_t prev = last == NULL ? 0 : last->rev;
    struct naive_rev r = {.rev = rev, .tombstone = tombstone};
    if (!tombstone) {
        r.create = lives ? last->create : revision_main(rev);
        r.version = lives ? last->version + 1 : 1;
    }
    ck_assert_uint_lt(k->count, REVS_MAX);
    k->revs[k->count++] = r;
    return prev;
}

static void naive_compact(size_t key, int64_t at)
{
    struct naive_key *k = &f.keys[key];
    size_t drop = 0;
    for (size_t i = 1; i < k->count && revision_main(k->revs[i].rev) <= at; i++) {
        drop = i;
    }
    if (drop < k->count && k->revs[drop].tombstone && revision_main(k->revs[drop].rev) < at) {
        drop++;
    }
    memmove(k->revs, k->revs + drop, (k->count - drop) * sizeof k->revs[0]);
    k->count -= drop;
}

static void put(size_t key)
{
    struct keyindex_change change;
    revision_t rev = revision_pack(++f.main, 0);
    revision_t prev = naive_append(key, rev, false);
    ck_assert(keyindex_put(f.ki, key_at(key), rev, &change));
    struct version want = {0};
    ck_assert(naive_find(key, INT64_MAX, &want));
    ck_assert_uint_eq(change.prev_rev, prev);
    ck_assert_uint_eq(change.made.rev, want.rev);
    ck_assert_int_eq(change.made.create_revision, want.create_revision);
    ck_assert_int_eq(change.made.version, want.version);
}

static void delete_range(size_t from, size_t to)
{
    struct keyindex_cursor cursor;
    uint32_t sub = 0;
    f.main++;
    keyindex_seek(f.ki, key_at(from), &cursor);
    for (; keyindex_valid(&cursor) && bytes_compare(keyindex_key(&cursor), key_at(to)) < 0;
         keyindex_next(&cursor)) {
        while (!bytes_equal(key_at(from), keyindex_key(&cursor))) {
            ck_assert(!naive_alive(from));
            from++;
        }
        ck_assert(keyindex_alive(&cursor) == naive_alive(from));
        if (keyindex_alive(&cursor)) {
            revision_t rev = revision_pack(f.main, sub++);
            revision_t prev = 0;
            ck_assert(keyindex_delete(f.ki, &cursor, rev, &prev));
            ck_assert_uint_eq(prev, naive_append(from, rev, true));
        }
    }
}

static void compact(int64_t at)
{
    f.compacted = at;
    while (!keyindex_compact(f.ki, at, 100)) {
        keyindex_check(f.ki); /* also halfway */
    }
    for (size_t i = 0; i < KEYS; i++) {
        naive_compact(i, at);
    }
}

static void check_counts(size_t from, size_t to)
{
    uint64_t live = 0;
    uint64_t all = 0;
    for (size_t i = from; i < to; i++) {
        live += naive_alive(i);
        all += f.keys[i].count > 0;
    }
    struct key_range range = {.key = key_at(from),
                              .end = to == KEYS ? bytes_of("", 1) : key_at(to)};
    ck_assert_uint_eq(keyindex_count(f.ki, &range), live);
    ck_assert_uint_eq(keyindex_walk_count(f.ki, &range), all);
    range.end = bytes_of("", 0);
    ck_assert_uint_eq(keyindex_count(f.ki, &range), naive_alive(from));
}

static void check_walk(int64_t at)
{
    struct keyindex_cursor cursor;
    keyindex_seek(f.ki, bytes_of(NULL, 0), &cursor);
    for (size_t i = 0; i < KEYS; i++) {
        if (f.keys[i].count == 0) {
            continue;
        }
        ck_assert(keyindex_valid(&cursor));
        ck_assert(bytes_equal(keyindex_key(&cursor), key_at(i)));
        struct version got = {0};
        struct version want = {0};
        ck_assert(keyindex_find(&cursor, at, &got) == naive_find(i, at, &want));
        ck_assert_mem_eq(&got, &want, sizeof got);
        keyindex_next(&cursor);
    }
    ck_assert(!keyindex_valid(&cursor));
}

/* From a key to the first living one. */
static void check_to_living(size_t from)
{
    struct keyindex_cursor cursor;
    keyindex_seek(f.ki, key_at(from), &cursor);
    keyindex_to_living(&cursor);
    while (from < KEYS && !naive_alive(from)) {
        from++;
    }
    ck_assert(keyindex_valid(&cursor) == (from < KEYS));
    if (from < KEYS) {
        ck_assert(bytes_equal(keyindex_key(&cursor), key_at(from)));
        ck_assert(keyindex_alive(&cursor));
    }
}

/* What a restart does with the rows that are left. */
struct row {
    revision_t rev;
    revision_t prev;
    size_t key;
    struct naive_rev naive;
};

static int by_rev(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    return (x->rev > y->rev) - (x->rev < y->rev);
}

static size_t rows_of_all(struct row *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < KEYS; i++) {
        const struct naive_key *k = &f.keys[i];
        for (size_t j = 0; j < k->count; j++) {
            bool first_ever = k->revs[j].version == 1 && j == 0; /* its tombstone may be gone */
            rows[count++] = (struct row){
                .rev = k->revs[j].rev,
                .prev = j > 0        ? k->revs[j - 1].rev
                        : first_ever ? 0
                                     : 1,
                .key = i,
                .naive = k->revs[j],
            };
        }
    }
    qsort(rows, count, sizeof rows[0], by_rev);
    return count;
}

static enum err load_rows(const struct row *rows, size_t count, struct keyindex **ret)
{
    struct keyload *load = keyload_new();
    enum err err = OK;
    for (size_t i = 0; i < count && err == OK; i++) {
        struct record_header header = {
            .tombstone = rows[i].naive.tombstone,
            .prev_rev = rows[i].prev,
            .create_revision = rows[i].naive.create,
            .version = rows[i].naive.version,
            .key = key_at(rows[i].key),
        };
        err = keyload_add(load, rows[i].rev, &header, NULL);
    }
    if (err == OK) {
        err = keyload_finish(load, f.compacted, ret, NULL);
    }
    keyload_free(load);
    return err;
}

static void reload(void)
{
    static struct row rows[KEYS * REVS_MAX];
    size_t count = rows_of_all(rows);
    struct keyindex *ki = NULL;
    ck_assert_int_eq(load_rows(rows, count, &ki), OK);
    keyindex_check(ki);
    ck_assert_uint_eq(keyindex_revision_count(ki), count);
    keyindex_free(f.ki);
    f.ki = ki;
}

/* Puts that were expected, as the state machine does it: in their order for the most part. */
static void put_expected(const size_t *keys, size_t count)
{
    struct bytes expected[KEYINDEX_EXPECT_MAX];
    ck_assert_uint_le(count, KEYINDEX_EXPECT_MAX);
    for (size_t i = 0; i < count; i++) {
        expected[i] = key_at(keys[i]);
    }
    keyindex_expect(f.ki, expected, count);
    for (size_t i = 0; i < count; i++) {
        if (f.keys[keys[i]].count + 2 < REVS_MAX) {
            put(keys[i]);
        }
        switch (next_random() % 64) {
        case 0:
            delete_range(keys[i], keys[i] + 1 < KEYS ? keys[i] + 1 : keys[i]);
            break;
        case 1:
            compact(f.compacted > f.main - 300 ? f.compacted : f.main - 300);
            break;
        case 2:
            i++;
            break;
        }
    }
}

static void random_change(void)
{
    size_t key = next_random() % KEYS;
    switch (next_random() % 10) {
    case 0:
        delete_range(key, key + next_random() % (KEYS - key));
        break;
    case 1:
        delete_range(key, key + 1 < KEYS ? key + 1 : key);
        break;
    default: {
        size_t count = next_random() % 200;
        size_t others[KEYINDEX_EXPECT_MAX];
        for (size_t i = 0; i < count; i++) {
            others[i % KEYINDEX_EXPECT_MAX] = (key + i * (next_random() % 3)) % KEYS;
            if (i % KEYINDEX_EXPECT_MAX == KEYINDEX_EXPECT_MAX - 1 || i + 1 == count) {
                put_expected(others, i % KEYINDEX_EXPECT_MAX + 1);
            }
        }
    }
    }
}

START_TEST(random_changes_agree_with_a_list)
{
    set_up((unsigned)_i);
    unsigned steps = effort_count(120, 25, "steps"); /* 25: with a reload */
    for (unsigned step = 0; step < steps; step++) {
        random_change();
        keyindex_check(f.ki);
        size_t from = next_random() % KEYS;
        check_counts(from, from + next_random() % (KEYS - from + 1));
        for (unsigned i = 0; i < 20; i++) {
            check_to_living(next_random() % KEYS);
        }
        if (step % 10 == 9) {
            compact(f.main - (int64_t)(next_random() % 300 % (uint64_t)(f.main)));
            keyindex_check(f.ki);
            check_walk(f.compacted);
            check_walk(INT64_MAX);
        }
        if (step % 25 == 24) {
            reload();
            check_walk(f.compacted + (int64_t)(next_random() % (uint64_t)(f.main - f.compacted)));
        }
    }
    check_to_living(0);
    delete_range(0, KEYS - 1);
    check_to_living(0); /* the last key at most */
    compact(++f.main);
    compact(f.main + 1);
    check_to_living(0);
    struct key_range all = {.key = key_at(0), .end = key_at(KEYS - 1)};
    ck_assert_uint_eq(keyindex_walk_count(f.ki, &all), 0);
    keyindex_check(f.ki);
    tear_down();
}
END_TEST

START_TEST(a_range_may_be_one_key_all_from_a_key_or_nothing)
{
    set_up(0);
    for (size_t i = 0; i < KEYS; i++) {
        put(i);
    }
    check_counts(0, KEYS);
    check_counts(KEYS - 1, KEYS);
    struct key_range range = {.key = key_at(5), .end = key_at(5)};
    ck_assert_uint_eq(keyindex_count(f.ki, &range), 0);
    range.end = key_at(2);
    ck_assert_uint_eq(keyindex_count(f.ki, &range), 0);
    range.end = bytes_of_str("");
    ck_assert_uint_eq(keyindex_count(f.ki, &range), 1);
    ck_assert(key_range_before_end(&range, key_at(5)));
    ck_assert(!key_range_before_end(&range, key_at(6)));
    tear_down();
}
END_TEST

/* Rows that no sane run leaves behind, made from a sound set of three: put a@2, put a@3, put b@4.
 */
static const struct {
    const char *name;
    size_t row; /* that is changed */
    revision_t rev;
    revision_t prev;
    int64_t version;
    bool tombstone;
    bool drop;
} damages[] = {
    {"its predecessor is missing", 0, 0, 0, 0, false, true},
    {"the predecessor is another key's", 2, 0, 2ull << 20, 0, false, false},
    {"a version is left out", 1, 0, 0, 4, false, false},
    {"a revision comes twice", 1, 2ull << 20, 0, 0, false, false},
    {"a tombstone of nothing", 2, 0, 0, 0, true, false},
    {"the key begins again", 1, 0, 1, 1, false, false},
};

START_TEST(a_load_refuses_rows_that_do_not_fit)
{
    set_up(0);
    struct row rows[] = {
        {.rev = 2ull << 20, .naive = {.create = 2, .version = 1}},
        {.rev = 3ull << 20, .prev = 2ull << 20, .naive = {.create = 2, .version = 2}},
        {.rev = 4ull << 20, .key = 1, .naive = {.create = 4, .version = 1}},
    };
    struct keyindex *ki = NULL;
    ck_assert_int_eq(load_rows(rows, 3, &ki), OK);
    keyindex_free(TAKE(ki));
    struct row *row = &rows[damages[_i].row];
    row->rev = damages[_i].rev != 0 ? damages[_i].rev : row->rev;
    row->prev = damages[_i].prev == 1 ? 0 : damages[_i].prev != 0 ? damages[_i].prev : row->prev;
    row->naive.version = damages[_i].version != 0 ? damages[_i].version : row->naive.version;
    if (damages[_i].tombstone) {
        row->naive = (struct naive_rev){.tombstone = true};
    }
    size_t skip = damages[_i].drop;
    ck_assert_msg(load_rows(rows + skip, 3 - skip, &ki) == ERR_CORRUPT, "%s", damages[_i].name);
    tear_down();
}
END_TEST

START_TEST(an_index_of_no_rows_is_empty)
{
    set_up(0);
    struct keyindex *ki = NULL;
    ck_assert_int_eq(load_rows(NULL, 0, &ki), OK);
    keyindex_check(ki);
    ck_assert_uint_eq(keyindex_live_count(ki), 0);
    keyindex_free(ki);
    tear_down();
}
END_TEST

static Suite *keyindex_suite(void)
{
    Suite *suite = suite_create("keyindex");
    TCase *tc = tcase_create("keyindex");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, random_changes_agree_with_a_list, 0, 4);
    tcase_add_test(tc, a_range_may_be_one_key_all_from_a_key_or_nothing);
    tcase_add_loop_test(tc, a_load_refuses_rows_that_do_not_fit, 0, ARRAY_LEN(damages));
    tcase_add_test(tc, an_index_of_no_rows_is_empty);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(keyindex_suite);
}
