/* SPDX-License-Identifier: Apache-2.0 */
#include "server/quota.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static struct txn_op ops[] = {
    {.kind = OP_PUT,
     .put = {.key = {(const uint8_t *)"a", 1}, .value = {(const uint8_t *)"bc", 2}}},
    {.kind = OP_PUT, .put = {.key = {(const uint8_t *)"ab", 2}}},
    {.kind = OP_DELETE_RANGE, .delete_range = {.key = {(const uint8_t *)"a", 1}}},
    {.kind = OP_RANGE, .range = {.key = {(const uint8_t *)"a", 1}}},
};
static struct command_txn inner = {
    .success = ops + 1, .success_count = 3, .failure = ops, .failure_count = 1};
static struct txn_op nested[] = {{.kind = OP_TXN, .txn = &inner}, {.kind = OP_TXN, .txn = &inner}};

static const struct {
    const char *name;
    size_t want;
    struct command command;
} costs[] = {
    {"put", 256 + 3, {.kind = COMMAND_PUT, .put = {.key = {(const uint8_t *)"abc", 3}}}},
    {"put with a value",
     256 + 5,
     {.kind = COMMAND_PUT,
      .put = {.key = {(const uint8_t *)"abc", 3}, .value = {(const uint8_t *)"de", 2}}}},
    {"delete", 0, {.kind = COMMAND_DELETE_RANGE}},
    {"compact", 0, {.kind = COMMAND_COMPACT}},
    {"publish", 0, {.kind = COMMAND_MEMBER_PUBLISH}},
    {"version", 0, {.kind = COMMAND_CLUSTER_VERSION}},
    {"alarm", 0, {.kind = COMMAND_ALARM}},
    {"lease grant", 64, {.kind = COMMAND_LEASE_GRANT}},
    {"lease revoke", 0, {.kind = COMMAND_LEASE_REVOKE}},
    {"lease checkpoint", 0, {.kind = COMMAND_LEASE_CHECKPOINT}},
    {"empty txn", 0, {.kind = COMMAND_TXN}},
    {"txn without puts", 0, {.kind = COMMAND_TXN, .txn = {.success = ops + 2, .success_count = 2}}},
    {"all puts of a branch",
     512 + 5,
     {.kind = COMMAND_TXN, .txn = {.failure = ops, .failure_count = 4}}},
    {"the dearer branch",
     512 + 5,
     {.kind = COMMAND_TXN,
      .txn = {.success = ops, .success_count = 1, .failure = ops, .failure_count = 2}}},
    {"the dearer branch, the other one",
     512 + 5,
     {.kind = COMMAND_TXN,
      .txn = {.success = ops, .success_count = 2, .failure = ops, .failure_count = 1}}},
    {"of what is nested the dearer branch",
     2 * (256 + 3),
     {.kind = COMMAND_TXN, .txn = {.success = nested, .success_count = 2}}},
};

START_TEST(a_command_costs_what_it_may_add)
{
    size_t got = quota_cost(&costs[_i].command);
    ck_assert_msg(got == costs[_i].want, "%s: %zu", costs[_i].name, got);
}
END_TEST

/* Every command against no limit, one it just stays below, one it just reaches, and a full one. */
START_TEST(only_what_adds_reaches_the_limit)
{
    const uint64_t limit = 10000;
    size_t cost = costs[_i].want;
    const struct {
        uint64_t limit;
        uint64_t size;
        bool want;
    } cases[] = {
        {0, UINT64_MAX / 2, false},
        {limit, 0, false},
        {limit, limit - cost - 1, false},
        {limit, limit - cost, cost > 0},
        {limit, limit, cost > 0},
        {limit, 10 * limit, cost > 0},
        {1, 0, cost > 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool got = quota_is_reached(cases[i].limit, cases[i].size, cost);
        ck_assert_msg(got == cases[i].want, "%s, case %zu", costs[_i].name, i);
    }
}
END_TEST

static Suite *quota_suite(void)
{
    Suite *suite = suite_create("quota");
    TCase *tc = tcase_create("quota");
    tcase_add_loop_test(tc, a_command_costs_what_it_may_add, 0, ARRAY_LEN(costs));
    tcase_add_loop_test(tc, only_what_adds_reaches_the_limit, 0, ARRAY_LEN(costs));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(quota_suite);
}
