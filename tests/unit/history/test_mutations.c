/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/mutate.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/history/generate.h"
#include "tests/history/names.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* Right histories are accepted, and each thing that is made wrong in one is refused, by the checker
 * whose business it is. */
#define SEEDS 200

static const struct history_options options = {.lease_late_ns = INT64_C(3000000000)};

static struct history *good_history(uint64_t seed)
{
    struct history *h = history_new();
    ck_assert_ptr_nonnull(h);
    history_generate(h, &(struct generate_options){.seed = seed});
    ck_assert(history_ok(h));
    return h;
}

static struct history_report *report_of(const struct history *h)
{
    struct history_report *report;
    ck_assert_int_eq(history_check(h, &options, &report), OK);
    return report;
}

START_TEST(right_histories_are_accepted)
{
    unsigned seeds = effort_count(SEEDS, 10, "seeds");
    uint64_t events = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct history *h = good_history(seed);
        struct history_report *report = report_of(h);
        if (history_report_verdict(report) != HISTORY_VALID) {
            history_report_write_text(report, stderr);
            ck_abort_msg("seed %llu: a right history was refused", (unsigned long long)seed);
        }
        events += history_count(h);
        history_report_free(report);
        history_free(h);
    }
    printf("# %u right histories of %llu events were accepted\n", seeds,
           (unsigned long long)events);
}
END_TEST

START_TEST(what_is_made_wrong_is_refused)
{
    size_t which = (size_t)_i;
    unsigned seeds = effort_count(SEEDS / 4, 4, "seeds");
    unsigned tried = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct history *good = good_history(seed);
        struct history *bad = history_mutate(good, which, seed);
        if (bad != NULL) {
            struct history_report *report = report_of(bad);
            bool refused = false;
            for (int c = 0; c < HISTORY_CHECKERS; c++) {
                refused |= (mutation_checkers(which) & 1u << c) != 0 &&
                           history_report_of(report, (enum history_checker)c) == HISTORY_INVALID;
            }
            if (!refused) {
                history_report_write_text(report, stderr);
                ck_abort_msg("seed %llu: '%s' was not refused", (unsigned long long)seed,
                             mutation_name(which));
            }
            tried++;
            history_report_free(report);
        }
        history_free(bad);
        history_free(good);
    }
    printf("# %s: %u refused\n", mutation_name(which), tried);
    ck_assert_msg(tried > 0, "no history has a place for '%s'", mutation_name(which));
}
END_TEST

static Suite *mutations_suite(void)
{
    Suite *suite = suite_create("mutations");
    TCase *good = tcase_create("good");
    tcase_add_test(good, right_histories_are_accepted);
    suite_add_tcase(suite, good);
    TCase *bad = tcase_create("bad");
    tcase_add_loop_test(bad, what_is_made_wrong_is_refused, 0, (int)mutation_count());
    suite_add_tcase(suite, bad);
    return suite;
}

int main(void)
{
    return runner_main(mutations_suite);
}
