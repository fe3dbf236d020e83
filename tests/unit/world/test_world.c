/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/world.h"

#include <string.h>

#include "tests/lib/effort.h"
#include "tests/lib/runner.h"
#include "tests/world/worldenv.h"
#include "tests/world/worldshrink.h"

static struct world_options options_of(uint64_t seed, unsigned members, uint64_t fault_mask)
{
    return (struct world_options){.seed = seed,
                                  .members = members,
                                  .fault_mask = fault_mask,
                                  .faults_ms = 8000,
                                  .recovery_ms = 20000};
}

static struct world_stats run(const struct world_options *options)
{
    struct worldrun_outcome outcome;
    worldrun_one(options, false, &outcome);
    ck_assert_msg(outcome.is_good, "seed %llu: %s: %s", (unsigned long long)outcome.seed,
                  outcome.checker, outcome.message);
    return outcome.stats;
}

START_TEST(the_same_seed_is_the_same_run)
{
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= effort_count(8, 2, "seeds"); seed++) {
        struct world_options options = options_of(seed, 0, WORLD_FAULT_ALL);
        uint64_t hash = run(&options).hash;
        ck_assert_uint_eq(hash, run(&options).hash);
        ck_assert_msg(hash != last, "two seeds, one run");
        last = hash;
    }
}
END_TEST

START_TEST(a_clock_goes_at_its_own_speed)
{
    struct worldclock clock = {.rate_ppm = WORLDCLOCK_TRUE_PPM};
    ck_assert_uint_eq(worldclock_ns(&clock, 7), 7000);
    worldclock_set_rate(&clock, 100 * WORLD_S, 1050000);
    ck_assert_uint_eq(worldclock_ns(&clock, 101 * WORLD_S), 101050000000);
    worldclock_set_rate(&clock, 101 * WORLD_S, 950000);
    ck_assert_uint_eq(worldclock_ns(&clock, 102 * WORLD_S), 102000000000);
    for (uint64_t local_us = 102 * WORLD_S; local_us < 102 * WORLD_S + 100; local_us++) {
        uint64_t at_us = worldclock_when_us(&clock, local_us);
        ck_assert_uint_ge(worldclock_ns(&clock, at_us), local_us * 1000);
        ck_assert_uint_lt(worldclock_ns(&clock, at_us - 1), local_us * 1000);
    }
}
END_TEST

/* Each kind of fault by itself, so that what a failure was about is known. */
START_TEST(each_fault_is_survived)
{
    struct world_options options = options_of(1000 + (uint64_t)_i, 3, 1ull << _i);
    options.faults_ms = 40000; /* the rarest comes every 15 s or so */
    struct world_stats stats = run(&options);
    ck_assert_msg(stats.faults[_i] > 0, "no %s in the run", world_fault_names[_i]);
    ck_assert_uint_gt(stats.ops, 0);
}
END_TEST

START_TEST(all_faults_together_are_survived)
{
    unsigned count = effort_count(20, 2, "seeds");
    for (uint64_t seed = 100; seed < 100 + count; seed++) {
        struct world_options options = options_of(seed, 0, WORLD_FAULT_ALL);
        run(&options);
    }
}
END_TEST

/* Seeds that found something, in the version of that day. */
static const struct {
    const char *what;
    struct world_options options;
} found[] = {
    {"of two members the leader is removed, and ends before the other one can lead",
     {.seed = 60,
      .members = 2,
      .fault_mask = WORLD_FAULT_ALL,
      .faults_ms = 20000,
      .recovery_ms = 20000}},
    {"who was cut off when a member came does not let that one call, and it leads",
     {.seed = 2224, .fault_mask = WORLD_FAULT_ALL, .faults_ms = 20000, .recovery_ms = 20000}},
    {"those with the newest log have an old term, and never hear of the new one",
     {.seed = 696, .fault_mask = WORLD_FAULT_ALL, .faults_ms = 20000, .recovery_ms = 20000}},
    {"what was received and not stored is gone with a life, and not sent again",
     {.seed = 2757, .fault_mask = WORLD_FAULT_ALL, .faults_ms = 20000, .recovery_ms = 20000}},
    {"a lease runs out while members say what they have in the end",
     {.seed = 408, .fault_mask = WORLD_FAULT_ALL, .faults_ms = 20000, .recovery_ms = 20000}},
    {"a range is given up while its records are read, and its member stops",
     {.seed = 1796038791643,
      .fault_mask = WORLD_FAULT_ALL,
      .faults_ms = 20000,
      .recovery_ms = 20000}},
    {"who asks for a lock is on his way to the member when all give up",
     {.seed = 1796038791683,
      .fault_mask = WORLD_FAULT_ALL,
      .faults_ms = 20000,
      .recovery_ms = 20000}},
};

START_TEST(what_was_found_stays_mended)
{
    struct worldrun_outcome outcome;
    worldrun_one(&found[_i].options, false, &outcome);
    ck_assert_msg(outcome.is_good, "%s: %s: %s", found[_i].what, outcome.checker, outcome.message);
}
END_TEST

/* Members that do not sync their logs: every crash that takes something away is one too many. */
START_TEST(a_log_that_is_not_synced_is_found)
{
    struct worldrun_outcome outcome = {.is_good = true};
    struct world_options options = options_of(1, 3, 1ull << FAULT_CRASH | 1ull << FAULT_CRASH_ALL);
    options.no_sync = true;
    for (; outcome.is_good && options.seed <= 10; options.seed++) {
        worldrun_one(&options, true, &outcome);
    }
    ck_assert_msg(!outcome.is_good, "nobody missed anything in ten seeds");
    ck_assert_str_ne(outcome.checker, "crash");
}
END_TEST

START_TEST(a_smaller_run_fails_as_the_large_one)
{
    struct worldrun_outcome outcome = {.is_good = true};
    struct world_options options = options_of(0, 3, WORLD_FAULT_ALL);
    options.no_sync = true;
    while (outcome.is_good && options.seed < 10) {
        options.seed++;
        worldrun_one(&options, true, &outcome);
    }
    ck_assert(!outcome.is_good);
    struct world_options smaller = worldshrink(&options, &outcome, 60);
    ck_assert(smaller.faults_ms < options.faults_ms || smaller.fault_mask != outcome.faults);
    struct worldrun_outcome again;
    worldrun_one(&smaller, true, &again);
    ck_assert(!again.is_good);
    ck_assert_str_eq(again.checker, outcome.checker);
}
END_TEST

static Suite *world_suite(void)
{
    Suite *suite = suite_create("world");
    TCase *tc = tcase_create("world");
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, the_same_seed_is_the_same_run);
    tcase_add_test(tc, a_clock_goes_at_its_own_speed);
    tcase_add_loop_test(tc, each_fault_is_survived, 0, FAULT_COUNT);
    tcase_add_test(tc, all_faults_together_are_survived);
    tcase_add_loop_test(tc, what_was_found_stays_mended, 0, (int)(sizeof found / sizeof found[0]));
    tcase_add_test(tc, a_log_that_is_not_synced_is_found);
    tcase_add_test(tc, a_smaller_run_fails_as_the_large_one);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(world_suite);
}
