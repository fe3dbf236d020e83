/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logsizes.h"

#include "base/hash.h"
#include "tests/lib/runner.h"

#define ENTRIES_MAX 4096u

/* Random operations against the sum of a plain array. */
START_TEST(sums_are_those_of_a_plain_array)
{
    static uint64_t plain[1u << 20];
    struct logsizes sizes = {0};
    uint64_t first = 1;
    uint64_t next = 1;
    uint64_t sum = 0;
    uint64_t random = (uint64_t)_i;
    logsizes_reset(&sizes, first);
    for (unsigned step = 0; step < 20000; step++) {
        random = mix64(random + 1);
        uint64_t some = next > first ? (random >> 8) % (next - first + 1) : 0;
        if (random % 50 == 0) {
            first = first + some;
            logsizes_forget(&sizes, first);
        } else if (random % 50 == 1) {
            next -= some / 8;
            logsizes_truncate(&sizes, next);
        } else if (random % 5000 == 2) {
            first = next = next + 7;
            logsizes_reset(&sizes, first);
        } else if (next - first < ENTRIES_MAX) {
            plain[next++] = random % 1000;
            logsizes_push(&sizes, random % 1000);
        }
        sum = 0;
        for (uint64_t i = first; step % 16 == 0 && i < next; i++) {
            sum += plain[i];
        }
        ck_assert(step % 16 != 0 || sum == logsizes_sum(&sizes));
    }
    logsizes_fini(&sizes);
}
END_TEST

static Suite *logsizes_suite(void)
{
    Suite *suite = suite_create("logsizes");
    TCase *tc = tcase_create("logsizes");
    tcase_add_loop_test(tc, sums_are_those_of_a_plain_array, 1, 6);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logsizes_suite);
}
