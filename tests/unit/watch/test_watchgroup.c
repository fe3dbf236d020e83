/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/watchgroup.h"

#include <stdio.h>

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"

static struct env_fake *fake;
static struct watchgroups groups;

static void setup(void)
{
    fake = env_fake_new(1);
    watchgroups_init(&groups, env_fake_env(fake));
}

static void teardown(void)
{
    watchgroups_fini(&groups);
    env_fake_free(fake);
}

static struct watchgroup *get(const char *key, const char *end)
{
    struct bytes range_end = end[0] == '*' ? bytes_of("", 1) : bytes_of_str(end);
    size_t before = groups.bytes;
    size_t cost = watchgroup_cost(&groups, bytes_of_str(key), range_end);
    struct watchgroup *group = watchgroup_get(&groups, bytes_of_str(key), range_end);
    ck_assert_ptr_nonnull(group);
    ck_assert_uint_eq(groups.bytes, before + cost);
    return group;
}

static void on_found(struct watchgroup *group, void *ctx)
{
    char *text = ctx;
    (void)sprintf(text + strlen(text), "[%.*s,%.*s)", (int)group->key.len,
                  (const char *)group->key.data, (int)group->range_end.len,
                  group->range_end.len == 1 && group->range_end.data[0] == 0
                      ? "*"
                      : (const char *)group->range_end.data);
}

static void ck_found(const char *key, const char *want)
{
    char text[256] = "";
    watchgroup_find(&groups, bytes_of_str(key), on_found, text);
    ck_assert_str_eq(text, want);
}

START_TEST(the_same_key_or_range_is_the_same_group)
{
    struct watchgroup *key = get("a", "");
    struct watchgroup *range = get("a", "b");
    ck_assert_ptr_ne(key, range);
    ck_assert_ptr_eq(get("a", ""), key);
    ck_assert_ptr_eq(get("a", "b"), range);
    watchgroup_unref(&groups, key);
    watchgroup_unref(&groups, range);
    ck_found("a", "[a,)[a,b)");
    watchgroup_unref(&groups, key);
    ck_found("a", "[a,b)");
    watchgroup_unref(&groups, range);
    ck_found("a", "");
}
END_TEST

START_TEST(a_change_concerns_its_key_and_the_ranges_around)
{
    struct watchgroup *made[] = {get("b", ""),  get("b", "c"), get("a", "c"), get("a", "b"),
                                 get("bb", ""), get("b", "*"), get("c", "*")};
    ck_found("b", "[b,)[a,c)[b,*)[b,c)");
    ck_found("bb", "[bb,)[a,c)[b,*)[b,c)");
    ck_found("a", "[a,b)[a,c)");
    ck_found("c", "[b,*)[c,*)");
    ck_found("", "");
    for (unsigned i = 0; i < sizeof made / sizeof made[0]; i++) {
        watchgroup_unref(&groups, made[i]);
    }
}
END_TEST

static Suite *watchgroup_suite(void)
{
    Suite *suite = suite_create("watchgroup");
    TCase *tc = tcase_create("groups");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_same_key_or_range_is_the_same_group);
    tcase_add_test(tc, a_change_concerns_its_key_and_the_ranges_around);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(watchgroup_suite);
}
