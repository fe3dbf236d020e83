/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/ring.h"

#include "base/hash.h"
#include "tests/lib/runner.h"

enum { KEEP_BYTES = 2000 };

static struct ring ring;

static void setup(void)
{
    ring_init(&ring, KEEP_BYTES, revision_pack(10, REVISION_SUB_MAX));
}

static void teardown(void)
{
    ring_check(&ring);
    ring_fini(&ring);
}

static void push(revision_t rev)
{
    struct record *record = record_new(bytes_of_str("key"), bytes_of_str("value"));
    ck_assert_ptr_nonnull(record);
    record->rev = rev;
    ck_assert(ring_push(&ring, record));
}

static size_t size_of_one(void)
{
    return ring.pending_bytes / (ring.end - ring.committed);
}

START_TEST(nothing_is_found_in_an_empty_ring)
{
    ck_assert_ptr_null(ring_get(&ring, revision_pack(10, 0)));
    ck_assert_ptr_null(ring_get(&ring, revision_pack(11, 0)));
    ck_assert_uint_eq(ring_seek(&ring, 1), ring.end);
    ring_commit(&ring, revision_pack(100, 0));
    ck_assert(!ring_trim(&ring, 10));
}
END_TEST

START_TEST(what_is_not_committed_never_leaves)
{
    for (int64_t main = 11; main < 1011; main++) {
        push(revision_pack(main, 0));
        ck_assert(!ring_trim(&ring, 100));
    }
    ck_assert_uint_eq(ring.end - ring.first, 1000);
    size_t size = size_of_one();
    ring_commit(&ring, revision_pack(510, 0));
    ck_assert_uint_eq(ring.kept_bytes, 500 * size);
    ck_assert_uint_eq(ring.pending_bytes, 500 * size);
    ck_assert(ring_trim(&ring, 10)); /* a slice */
    ck_assert_uint_eq(ring.gone, revision_pack(20, 0));
    ck_assert(!ring_trim(&ring, 1000));
    ck_assert_uint_le(ring.kept_bytes, KEEP_BYTES);
    ck_assert_uint_eq(ring.pending_bytes, 500 * size);
    ck_assert_ptr_null(ring_get(&ring, ring.gone));
    ck_assert_ptr_nonnull(ring_get(&ring, revision_pack(511, 0)));
    ring_commit(&ring, revision_pack(5000, 0));
    ck_assert_uint_eq(ring.pending_bytes, 0);
}
END_TEST

START_TEST(a_record_that_somebody_holds_outlives_the_ring)
{
    push(revision_pack(11, 0));
    struct record *held = record_ref(ring_get(&ring, revision_pack(11, 0)));
    ring_fini(&ring);
    ck_assert_uint_eq(held->refs, 1);
    record_unref(held);
    ring_init(&ring, 0, 0);
}
END_TEST

/* Operations of 1 to 50 changes, commits and trims now and then: every revision, there or not, is
 * found where a search from the front finds it. */
START_TEST(records_are_found_by_revision)
{
    uint64_t random = (uint64_t)_i + 1;
    for (int64_t main = 11; main < 600; main++) {
        random = mix64(random + 1);
        uint32_t subs = random % 3 == 0 ? 1 + (uint32_t)(random >> 8) % 50 : 1;
        for (uint32_t sub = 0; sub < subs; sub++) {
            push(revision_pack(main, sub));
        }
        if (random % 7 == 0) {
            ring_commit(&ring, revision_pack(main - (int64_t)(random >> 16) % 5, 0));
            (void)ring_trim(&ring, (random >> 24) % 300);
            ring_check(&ring);
        }
    }
    uint64_t place = ring.first;
    for (int64_t main = 10; main < 602; main++) {
        for (uint32_t sub = 0; sub < 52; sub++) {
            revision_t rev = revision_pack(main, sub);
            while (place < ring.end && ring_at(&ring, place)->rev < rev) {
                place++;
            }
            ck_assert_uint_eq(ring_seek(&ring, rev), place);
            bool there = place < ring.end && ring_at(&ring, place)->rev == rev;
            ck_assert((ring_get(&ring, rev) != NULL) == there);
        }
    }
}
END_TEST

static Suite *ring_suite(void)
{
    Suite *suite = suite_create("ring");
    TCase *tc = tcase_create("ring");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_is_found_in_an_empty_ring);
    tcase_add_test(tc, what_is_not_committed_never_leaves);
    tcase_add_test(tc, a_record_that_somebody_holds_outlives_the_ring);
    tcase_add_loop_test(tc, records_are_found_by_revision, 0, 5);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(ring_suite);
}
