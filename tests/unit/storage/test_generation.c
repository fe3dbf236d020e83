/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/generation.h"

#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

static revision_t at(int64_t main)
{
    return revision_pack(main, 0);
}

/* put @5, put @6, delete @9, put @12: the header's example. */
static struct generations example(void)
{
    struct generations g = {0};
    ck_assert(generation_put(&g, at(5)));
    ck_assert(generation_put(&g, at(6)));
    ck_assert(generation_delete(&g, at(9)));
    ck_assert(generation_put(&g, at(12)));
    generation_check(&g);
    return g;
}

static const struct {
    int64_t at;
    bool found;
    int64_t mod;
    int64_t create;
    int64_t version;
} seen[] = {
    {4, false, 0, 0, 0}, {5, true, 5, 5, 1},   {6, true, 6, 5, 2},    {8, true, 6, 5, 2},
    {9, false, 0, 0, 0}, {11, false, 0, 0, 0}, {12, true, 12, 12, 1}, {INT64_MAX, true, 12, 12, 1},
};

static void check_seen(const struct generations *g, int64_t from)
{
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) {
        if (seen[i].at < from) {
            continue;
        }
        struct version v = {0};
        ck_assert_msg(generation_find(g, seen[i].at, &v) == seen[i].found, "at %lld",
                      (long long)seen[i].at);
        ck_assert_int_eq(revision_main(v.rev), seen[i].mod);
        ck_assert_int_eq(v.create_revision, seen[i].create);
        ck_assert_int_eq(v.version, seen[i].version);
    }
}

START_TEST(a_revision_sees_the_newest_up_to_it)
{
    struct generations g = example();
    check_seen(&g, 0);
    ck_assert_uint_eq(generation_last(&g), at(12));
    ck_assert(generation_alive(&g));
    generation_fini(&g);
}
END_TEST

static const struct {
    int64_t at;
    size_t kept;
    int64_t garbage_at; /* afterwards */
} compactions[] = {
    {4, 4, 6},
    {5, 4, 6},
    {6, 3, 9},
    {7, 3, 9},
    {9, 2, 10}, /* {9†} {12}: a tombstone of the compaction's own revision stays ... */
    {10, 1, GENERATION_NO_GARBAGE}, /* ... until the next one */
    {12, 1, GENERATION_NO_GARBAGE},
};

START_TEST(a_compaction_keeps_what_can_be_seen)
{
    struct generations g = example();
    ck_assert_int_eq(generation_garbage_at(&g), 6);
    generation_compact(&g, compactions[_i].at);
    generation_check(&g);
    ck_assert_uint_eq(generation_count(&g), compactions[_i].kept);
    ck_assert_int_eq(generation_garbage_at(&g), compactions[_i].garbage_at);
    check_seen(&g, compactions[_i].at);
    generation_fini(&g);
}
END_TEST

START_TEST(a_dead_key_vanishes_with_the_compaction_after_its_tombstone)
{
    struct generations g = {0};
    ck_assert(generation_put(&g, at(2)));
    ck_assert(generation_delete(&g, at(3)));
    generation_compact(&g, 3);
    ck_assert_uint_eq(generation_count(&g), 1);
    ck_assert(!generation_alive(&g));
    struct version v;
    ck_assert(!generation_find(&g, 3, &v));
    generation_compact(&g, 4);
    ck_assert_uint_eq(generation_count(&g), 0);
    ck_assert_uint_eq(generation_last(&g), 0);
    ck_assert(!generation_alive(&g));
    generation_fini(&g);
}
END_TEST

/* Long ones lie apart from what is read at head, and come back when they are short again. */
START_TEST(a_long_life_is_told_as_a_short_one_is)
{
    struct generations g = {0};
    struct version v;
    for (int64_t rev = 2; rev <= 1000; rev++) {
        ck_assert(generation_put(&g, at(rev)));
        generation_expect(&g);
        generation_expect_end(&g);
        ck_assert(generation_find(&g, rev, &v));
        ck_assert_uint_eq(v.rev, at(rev));
        ck_assert_int_eq(v.version, rev - 1);
        ck_assert_int_eq(v.create_revision, 2);
    }
    static const int64_t steps[] = {2, 400, 990, 998, 999, 1000};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        generation_compact(&g, steps[i]);
        generation_check(&g);
        ck_assert_uint_eq(generation_count(&g), (size_t)(1001 - steps[i]));
        ck_assert(generation_find(&g, steps[i], &v));
        ck_assert_uint_eq(v.rev, at(steps[i]));
        ck_assert_int_eq(v.version, steps[i] - 1);
    }
    ck_assert(generation_delete(&g, at(1001)));
    ck_assert(generation_put(&g, at(1002)));
    generation_compact(&g, 1002);
    generation_check(&g);
    ck_assert_uint_eq(generation_count(&g), 1);
    ck_assert(generation_find(&g, 1002, &v));
    ck_assert_int_eq(v.create_revision, 1002);
    generation_fini(&g);
}
END_TEST

START_TEST(deleted_and_made_again_in_the_compacted_revision_the_key_lives)
{
    struct generations g = {0};
    ck_assert(generation_put(&g, at(2)));
    ck_assert(generation_delete(&g, revision_pack(3, 2)));
    ck_assert(generation_put(&g, revision_pack(3, 5)));
    generation_compact(&g, 3);
    struct version v;
    ck_assert_uint_eq(generation_count(&g), 1);
    ck_assert(generation_find(&g, 3, &v));
    ck_assert_uint_eq(v.rev, revision_pack(3, 5));
    ck_assert_int_eq(v.create_revision, 3);
    ck_assert_int_eq(v.version, 1);
    generation_fini(&g);
}
END_TEST

START_TEST(a_key_that_lost_its_beginning_resumes)
{
    struct generations g = {0};
    const struct version first = {.rev = at(20), .create_revision = 3, .version = 7};
    ck_assert(generation_resume(&g, &first));
    ck_assert(generation_put(&g, at(21)));
    struct version v;
    ck_assert(generation_find(&g, 21, &v));
    ck_assert_int_eq(v.create_revision, 3);
    ck_assert_int_eq(v.version, 8);
    generation_fini(&g);

    const struct version dead = {.rev = at(9)};
    ck_assert(generation_resume(&g, &dead));
    ck_assert(!generation_alive(&g));
    generation_check(&g);
    ck_assert(generation_put(&g, at(10)));
    ck_assert(generation_find(&g, 10, &v));
    ck_assert_int_eq(v.create_revision, 10);
    ck_assert_int_eq(v.version, 1);
    generation_check(&g);
    generation_fini(&g);
}
END_TEST

/* The naive copy: every revision ever, and what compaction must have left of it. */
enum { REVS_MAX = 4000 };
struct naive {
    struct {
        revision_t rev;
        bool tombstone;
        int64_t create;
        int64_t version;
    } revs[REVS_MAX];
    size_t count;
};

static size_t naive_find(const struct naive *n, int64_t main)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < n->count && revision_main(n->revs[i].rev) <= main; i++) {
        found = i;
    }
    return found;
}

static void compare(const struct generations *g, const struct naive *n, int64_t main)
{
    struct version v = {0};
    size_t i = naive_find(n, main);
    bool want = i != SIZE_MAX && !n->revs[i].tombstone;
    ck_assert(generation_find(g, main, &v) == want);
    if (want) {
        ck_assert_uint_eq(v.rev, n->revs[i].rev);
        ck_assert_int_eq(v.create_revision, n->revs[i].create);
        ck_assert_int_eq(v.version, n->revs[i].version);
    }
}

static size_t naive_kept(const struct naive *n, int64_t compacted)
{
    size_t newest = naive_find(n, compacted);
    if (newest == SIZE_MAX) {
        return n->count;
    }
    bool gone = n->revs[newest].tombstone && revision_main(n->revs[newest].rev) < compacted;
    return n->count - newest - (gone ? 1 : 0);
}

static void naive_append(struct naive *n, revision_t rev, bool tombstone)
{
    bool lives = n->count > 0 && !n->revs[n->count - 1].tombstone;
    n->revs[n->count].rev = rev;
    n->revs[n->count].tombstone = tombstone;
    n->revs[n->count].create = lives ? n->revs[n->count - 1].create : revision_main(rev);
    n->revs[n->count].version = lives ? n->revs[n->count - 1].version + 1 : 1;
    n->count++;
}

START_TEST(random_lives_agree_with_a_list)
{
    static struct naive naive;
    naive.count = 0;
    struct generations g = {0};
    uint64_t random = (uint64_t)_i + 1;
    int64_t main = 1;
    int64_t compacted = 0;
    uint32_t sub = 0;
    unsigned revs = effort_count(REVS_MAX, 400, "revisions");
    while (naive.count < revs) {
        random = mix64(random + 1);
        bool next = random % 4 != 0; /* else the same main revision again */
        main += next ? 1 + (int64_t)(random >> 8 & 1) : 0;
        sub = next ? 0 : sub + 1;
        bool tombstone = generation_alive(&g) && (random >> 16) % 5 == 0;
        revision_t rev = revision_pack(main, sub);
        ck_assert(tombstone ? generation_delete(&g, rev) : generation_put(&g, rev));
        naive_append(&naive, rev, tombstone);
        if ((random >> 24) % 50 == 0) {
            compacted += (int64_t)(random >> 32) % (main - compacted + 1);
            generation_compact(&g, compacted);
            ck_assert_int_gt(generation_garbage_at(&g), compacted);
            ck_assert_uint_eq(generation_count(&g), naive_kept(&naive, compacted));
        }
        generation_check(&g);
        compare(&g, &naive, INT64_MAX);
        compare(&g, &naive, compacted);
        compare(&g, &naive, compacted + (int64_t)(random >> 40) % (main - compacted + 1));
    }
    generation_fini(&g);
}
END_TEST

static Suite *generation_suite(void)
{
    Suite *suite = suite_create("generation");
    TCase *tc = tcase_create("generation");
    tcase_add_test(tc, a_revision_sees_the_newest_up_to_it);
    tcase_add_loop_test(tc, a_compaction_keeps_what_can_be_seen, 0,
                        sizeof compactions / sizeof compactions[0]);
    tcase_add_test(tc, a_dead_key_vanishes_with_the_compaction_after_its_tombstone);
    tcase_add_test(tc, a_long_life_is_told_as_a_short_one_is);
    tcase_add_test(tc, deleted_and_made_again_in_the_compacted_revision_the_key_lives);
    tcase_add_test(tc, a_key_that_lost_its_beginning_resumes);
    tcase_add_loop_test(tc, random_lives_agree_with_a_list, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(generation_suite);
}
