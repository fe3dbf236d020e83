/* SPDX-License-Identifier: Apache-2.0 */
#include "server/compactor.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"

#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

/* A member whose revision is ten times its age in minutes, and one more: so a revision tells when
 * it was written down. What it is asked to compact is noted, and answered at once or later. */
static struct env_fake *fake;
static struct compactor compactor;
static bool leads;
static bool idle; /* the revision does not grow */
static bool slow; /* the answer waits */
static enum err answer;
static struct {
    uint64_t at_ms;
    int64_t revision;
} asked[400];
static size_t asked_count;
static uint64_t start_ms;

static uint64_t age_ms(void)
{
    return env_now_ms(env_fake_env(fake)) - start_ms;
}

static bool host_leads(void *ctx)
{
    ck_assert_ptr_eq(ctx, &compactor);
    return leads;
}

static int64_t revision_at(uint64_t ms)
{
    return (int64_t)(ms * 10 / MINUTE) + 1;
}

static int64_t host_revision(void *ctx)
{
    ck_assert_ptr_eq(ctx, &compactor);
    return idle ? 100 : revision_at(age_ms());
}

static void host_compact(void *ctx, int64_t revision)
{
    ck_assert_ptr_eq(ctx, &compactor);
    ck_assert_uint_lt(asked_count, ARRAY_LEN(asked));
    asked[asked_count].at_ms = age_ms();
    asked[asked_count++].revision = revision;
    if (!slow) {
        compactor_done(&compactor, answer);
    }
}

static void start(enum compactor_mode mode, uint64_t retention)
{
    const struct compactor_host host = {host_leads, host_revision, host_compact, &compactor};
    ck_assert_int_eq(compactor_init(&compactor, env_fake_env(fake), NULL, mode, retention, &host),
                     OK);
    compactor_start(&compactor);
}

static void set_up(void)
{
    fake = env_fake_new(1);
    start_ms = env_now_ms(env_fake_env(fake));
    leads = true;
    idle = false;
    slow = false;
    answer = OK;
    asked_count = 0;
    compactor = (struct compactor){.env = env_fake_env(fake)};
}

static void tear_down(void)
{
    compactor_stop(&compactor);
    compactor_fini(&compactor);
    env_fake_free(fake);
}

static void expect(size_t i, uint64_t at_ms, int64_t revision)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert_msg(asked[i].at_ms == at_ms, "%zu: at %llu s", i,
                  (unsigned long long)(asked[i].at_ms / SECOND));
    ck_assert_msg(asked[i].revision == revision, "%zu: revision %lld", i,
                  (long long)asked[i].revision);
}

/* ---- periodic ---- */

/* The first after a whole retention, then one each interval, each to what was a retention and a
 * tenth ago. */
static const struct {
    uint64_t retention;
    uint64_t interval;
} periods[] = {
    {5 * SECOND, 5 * SECOND}, {10 * MINUTE, 10 * MINUTE}, {59 * MINUTE, 59 * MINUTE}, {HOUR, HOUR},
    {90 * MINUTE, HOUR},      {24 * HOUR, HOUR},
};

START_TEST(what_is_older_than_the_retention_goes)
{
    uint64_t retention = periods[_i].retention;
    uint64_t interval = periods[_i].interval;
    if (retention < MINUTE) {
        start_ms -= HOUR; /* so that the revision moves at all: it need not begin at 1 */
    }
    uint64_t begin = age_ms();
    start(COMPACTOR_PERIODIC, retention);
    env_fake_advance(fake, retention - 1);
    ck_assert_uint_eq(asked_count, 0);
    env_fake_advance(fake, 1 + 20 * interval);
    bool moves = interval >= MINUTE; /* faster, and some have nothing new to remove */
    ck_assert(moves ? asked_count == 21 : asked_count > 5);
    for (size_t i = 0; i < asked_count; i++) {
        uint64_t at = moves ? begin + retention + i * interval : asked[i].at_ms;
        uint64_t tenth = i == 0 ? 0 : interval / 10;
        expect(i, at, revision_at(at - retention - tenth));
        ck_assert(i == 0 || asked[i].revision > asked[i - 1].revision);
    }
}
END_TEST

START_TEST(nothing_new_is_nothing_to_compact)
{
    idle = true;
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, 30 * HOUR);
    ck_assert_uint_eq(asked_count, 1);
    expect(0, HOUR, 100);
    idle = false;
    env_fake_advance(fake, HOUR); /* the book still begins with the same */
    ck_assert_uint_eq(asked_count, 1);
    env_fake_advance(fake, HOUR);
    ck_assert_uint_ge(asked_count, 2);
    ck_assert_int_gt(asked[1].revision, 100);
}
END_TEST

START_TEST(a_failure_is_tried_again_after_a_tenth)
{
    static const enum err failures[] = {ERR_TIMEOUT, ERR_LEADER_CHANGED, ERR_TOO_MANY_REQUESTS};
    answer = failures[_i];
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, HOUR + 12 * MINUTE);
    ck_assert_uint_eq(asked_count, 3);
    expect(0, HOUR, revision_at(0));
    expect(1, HOUR + 6 * MINUTE, revision_at(0));
    expect(2, HOUR + 12 * MINUTE, revision_at(6 * MINUTE));
    answer = OK;
    env_fake_advance(fake, 6 * MINUTE);
    expect(3, HOUR + 18 * MINUTE, revision_at(12 * MINUTE));
    env_fake_advance(fake, HOUR - 1); /* an interval from the one that worked */
    ck_assert_uint_eq(asked_count, 4);
    env_fake_advance(fake, 1);
    expect(4, 2 * HOUR + 18 * MINUTE, revision_at(HOUR + 12 * MINUTE));
}
END_TEST

START_TEST(compacted_by_somebody_else_is_compacted)
{
    answer = ERR_COMPACTED;
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, 2 * HOUR);
    ck_assert_uint_eq(asked_count, 2);
    expect(1, 2 * HOUR, revision_at(54 * MINUTE));
}
END_TEST

/* Who becomes the leader has kept its book as a follower, and is late rather than early. */
START_TEST(only_the_leader_compacts)
{
    leads = false;
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, 5 * HOUR + MINUTE);
    ck_assert_uint_eq(asked_count, 0);
    leads = true;
    env_fake_advance(fake, 5 * MINUTE); /* its next tenth */
    ck_assert_uint_eq(asked_count, 1);
    expect(0, 5 * HOUR + 6 * MINUTE, revision_at(4 * HOUR));
    leads = false;
    env_fake_advance(fake, 3 * HOUR);
    ck_assert_uint_eq(asked_count, 1);
    leads = true;
    env_fake_advance(fake, 6 * MINUTE);
    ck_assert_uint_eq(asked_count, 2);
    expect(1, 8 * HOUR + 12 * MINUTE, revision_at(7 * HOUR + 6 * MINUTE));
}
END_TEST

/* While one is under way no other begins, and what was missed meanwhile is not made up for. */
START_TEST(one_at_a_time)
{
    slow = true;
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, 4 * HOUR);
    ck_assert_uint_eq(asked_count, 1);
    slow = false;
    compactor_done(&compactor, OK);
    env_fake_advance(fake, HOUR - 1);
    ck_assert_uint_eq(asked_count, 1);
    env_fake_advance(fake, 6 * MINUTE);
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

START_TEST(the_shortest_retention_does_not_spin)
{
    start(COMPACTOR_PERIODIC, 1);
    idle = true;
    env_fake_advance(fake, 10);
    ck_assert_uint_eq(asked_count, 2); /* that of its first moment, and 100 */
}
END_TEST

/* ---- by revision ---- */

START_TEST(the_newest_revisions_stay)
{
    start(COMPACTOR_REVISION, 120);
    env_fake_advance(fake, HOUR);
    ck_assert_uint_eq(asked_count, 10); /* at 10 minutes the 101st is below the retention */
    for (size_t i = 0; i < asked_count; i++) {
        uint64_t at = (15 + 5 * i) * MINUTE;
        expect(i, at, revision_at(at) - 120);
    }
}
END_TEST

START_TEST(by_revision_failures_and_followers_wait_for_the_next_look)
{
    answer = ERR_TIMEOUT;
    start(COMPACTOR_REVISION, 10);
    env_fake_advance(fake, 5 * MINUTE);
    expect(0, 5 * MINUTE, 41);
    answer = OK;
    idle = true;
    leads = false;
    env_fake_advance(fake, 5 * MINUTE);
    ck_assert_uint_eq(asked_count, 1);
    leads = true;
    env_fake_advance(fake, 5 * MINUTE);
    expect(1, 15 * MINUTE, 90);
    env_fake_advance(fake, HOUR); /* nothing new */
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

/* ---- limits ---- */

START_TEST(off_is_off)
{
    static const struct {
        enum compactor_mode mode;
        uint64_t retention;
    } offs[] = {{COMPACTOR_OFF, HOUR}, {COMPACTOR_PERIODIC, 0}, {COMPACTOR_REVISION, 0}};
    start(offs[_i].mode, offs[_i].retention);
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

START_TEST(a_retention_has_a_limit)
{
    const struct compactor_host host = {host_leads, host_revision, host_compact, &compactor};
    struct env *env = env_fake_env(fake);
    ck_assert_int_eq(compactor_init(&compactor, env, NULL, COMPACTOR_PERIODIC,
                                    COMPACTOR_RETENTION_MS_MAX + 1, &host),
                     ERR_LIMIT);
    start(COMPACTOR_REVISION, UINT64_MAX);
    env_fake_advance(fake, HOUR);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(a_stop_ends_it_even_while_it_compacts)
{
    slow = true;
    start(COMPACTOR_PERIODIC, HOUR);
    env_fake_advance(fake, HOUR);
    ck_assert_uint_eq(asked_count, 1);
    compactor_stop(&compactor);
    compactor_done(&compactor, ERR_STOPPED);
    ck_assert_uint_eq(env_fake_timer_count(fake), 0);
}
END_TEST

START_TEST(without_memory_it_does_not_begin)
{
    const struct compactor_host host = {host_leads, host_revision, host_compact, &compactor};
    FAULT_SWEEP (sweep) {
        enum err err =
            compactor_init(&compactor, env_fake_env(fake), NULL, COMPACTOR_PERIODIC, HOUR, &host);
        compactor_fini(&compactor);
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
        compactor.book = NULL;
    }
}
END_TEST

static Suite *compactor_suite(void)
{
    Suite *suite = suite_create("compactor");
    TCase *tc = tcase_create("compactor");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, what_is_older_than_the_retention_goes, 0, ARRAY_LEN(periods));
    tcase_add_test(tc, nothing_new_is_nothing_to_compact);
    tcase_add_loop_test(tc, a_failure_is_tried_again_after_a_tenth, 0, 3);
    tcase_add_test(tc, compacted_by_somebody_else_is_compacted);
    tcase_add_test(tc, only_the_leader_compacts);
    tcase_add_test(tc, one_at_a_time);
    tcase_add_test(tc, the_shortest_retention_does_not_spin);
    tcase_add_test(tc, the_newest_revisions_stay);
    tcase_add_test(tc, by_revision_failures_and_followers_wait_for_the_next_look);
    tcase_add_loop_test(tc, off_is_off, 0, 3);
    tcase_add_test(tc, a_retention_has_a_limit);
    tcase_add_test(tc, a_stop_ends_it_even_while_it_compacts);
    tcase_add_test(tc, without_memory_it_does_not_begin);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(compactor_suite);
}
