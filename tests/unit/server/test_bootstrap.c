/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bootstrap.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static struct initial_cluster cluster;
static struct why why;

static void set_up(void)
{
    cluster.count = 0;
    why.text[0] = '\0';
}

static void tear_down(void)
{
    initial_cluster_fini(&cluster);
}

START_TEST(ids_of_the_default_member_are_etcds)
{
    enum err err =
        initial_cluster_parse("default=http://localhost:2380", "etcd-cluster", &cluster, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    ck_assert_uint_eq(cluster.count, 1);
    ck_assert_uint_eq(cluster.members[0].id, 0x8e9e05c52164694d);
    ck_assert_uint_eq(cluster.cluster_id, 0xcdf818194e3a8c32);
    ck_assert_str_eq(cluster.members[0].address, "localhost:2380");
}
END_TEST

START_TEST(ids_do_not_depend_on_the_order_of_the_text)
{
    struct initial_cluster other = {0};
    ck_assert_int_eq(
        initial_cluster_parse("a=http://127.0.0.1:1,b=http://127.0.0.1:2,b=http://127.0.0.1:3", "t",
                              &cluster, &why),
        OK);
    ck_assert_int_eq(
        initial_cluster_parse("b=http://127.0.0.1:3,a=http://127.0.0.1:1,b=http://127.0.0.1:2", "t",
                              &other, &why),
        OK);
    ck_assert_uint_eq(cluster.count, 2);
    ck_assert_uint_eq(other.cluster_id, cluster.cluster_id);
    ck_assert_uint_eq(initial_cluster_find(&other, "b")->id,
                      initial_cluster_find(&cluster, "b")->id);
    ck_assert_uint_eq(initial_cluster_find(&cluster, "b")->peer_url_count, 2);
    ck_assert(cluster.members[0].id < cluster.members[1].id);
    ck_assert_ptr_null(initial_cluster_find(&cluster, "c"));
    initial_cluster_fini(&other);
}
END_TEST

START_TEST(another_token_gives_other_ids)
{
    struct initial_cluster other = {0};
    ck_assert_int_eq(initial_cluster_parse("a=http://127.0.0.1:1", "t", &cluster, &why), OK);
    ck_assert_int_eq(initial_cluster_parse("a=http://127.0.0.1:1", "u", &other, &why), OK);
    ck_assert_uint_ne(other.members[0].id, cluster.members[0].id);
    ck_assert_uint_ne(other.cluster_id, cluster.cluster_id);
    initial_cluster_fini(&other);
}
END_TEST

static const struct {
    const char *text;
    const char *says;
} refused[] = {
    {"", "is not name=url"},
    {"a", "is not name=url"},
    {"=http://127.0.0.1:1", "is not name=url"},
    {"a=http://127.0.0.1:1,", "is not name=url"},
    {"a=127.0.0.1:1", ""},
    {"a=https://127.0.0.1:1", "only http://"},
    {"a=http://127.0.0.1:1,b=http://127.0.0.1:1", "given twice"},
    {"a=http://127.0.0.1:1/path", ""},
};

START_TEST(refuses_with_a_reason)
{
    enum err err = initial_cluster_parse(refused[_i].text, "t", &cluster, &why);
    ck_assert_msg(err != OK, "'%s' was taken", refused[_i].text);
    ck_assert_msg(strstr(why.text, refused[_i].says) != NULL && why.text[0] != '\0',
                  "'%s' says: %s", refused[_i].text, why.text);
    ck_assert_uint_eq(cluster.count, 0);
}
END_TEST

START_TEST(refuses_more_members_than_the_cap)
{
    struct buf text = {0};
    for (int i = 0; i <= MEMBERS_MAX; i++) {
        buf_printf(&text, "%sm%d=http://127.0.0.1:%d", i == 0 ? "" : ",", i, 1000 + i);
    }
    buf_append(&text, "", 1);
    ck_assert_int_eq(initial_cluster_parse((const char *)text.data, "t", &cluster, &why),
                     ERR_LIMIT);
    buf_fini(&text);
}
END_TEST

static Suite *bootstrap_suite(void)
{
    Suite *suite = suite_create("bootstrap");
    TCase *tcase = tcase_create("initial_cluster");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, ids_of_the_default_member_are_etcds);
    tcase_add_test(tcase, ids_do_not_depend_on_the_order_of_the_text);
    tcase_add_test(tcase, another_token_gives_other_ids);
    tcase_add_loop_test(tcase, refuses_with_a_reason, 0, ARRAY_LEN(refused));
    tcase_add_test(tcase, refuses_more_members_than_the_cap);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(bootstrap_suite);
}
