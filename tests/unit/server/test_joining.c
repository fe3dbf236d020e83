/* SPDX-License-Identifier: Apache-2.0 */
#include "server/joining.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

#define CLUSTER_ID 0x1122334455667788

static struct store *store;
static struct cluster *cluster;
static struct buf answer;
static struct initial_cluster told;
static struct why why;

static const char *const first_urls[] = {"http://10.0.0.1:2380", "http://10.0.0.1:2390"};
static const char *const second_urls[] = {"http://10.0.0.2:2380"};
static const char *const third_urls[] = {"http://10.0.0.3:2380"};
static const struct cluster_member members[] = {
    {.id = 11, .peer_urls = first_urls, .peer_url_count = 2},
    {.id = 22, .peer_urls = second_urls, .peer_url_count = 1},
    {.id = 33, .peer_urls = third_urls, .peer_url_count = 1, .learner = true},
};

/* Raft's: the second waits for its part, the third learns. */
static const struct node_member present[] = {
    {.id = 11, .role = MEMBER_VOTER},
    {.id = 22, .role = MEMBER_SPARE},
    {.id = 33, .role = MEMBER_LEARNER},
};

static void set_up(void)
{
    why.text[0] = '\0';
    told.count = 0;
    store = store_model_new(NULL);
    ck_assert_int_eq(cluster_new(store, &cluster, NULL), OK);
    ck_assert_int_eq(cluster_bootstrap(cluster, members, ARRAY_LEN(members)), OK);
    joining_describe(&answer, CLUSTER_ID, cluster, present, ARRAY_LEN(present));
    ck_assert(buf_ok(&answer));
}

static void tear_down(void)
{
    buf_fini(&answer);
    initial_cluster_fini(&told);
    cluster_free(cluster);
    store_close(store);
}

static void tell(const char *text)
{
    initial_cluster_fini(&told);
    enum err err = initial_cluster_parse(text, "token", &told, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

/* The member called NAME is looked for in the answer. */
static enum err find(const char *name, uint64_t *id)
{
    struct joining_cluster existing;
    ck_assert_int_eq(joining_decode(buf_bytes(&answer), &existing), OK);
    const struct initial_member *self = initial_cluster_find(&told, name);
    ck_assert_ptr_nonnull(self);
    enum err err = joining_find(&told, self, &existing, id, &why);
    joining_cluster_fini(&existing);
    return err;
}

START_TEST(an_answer_comes_back)
{
    struct joining_cluster existing;
    ck_assert_int_eq(joining_decode(buf_bytes(&answer), &existing), OK);
    ck_assert_uint_eq(existing.cluster.cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(existing.cluster.count, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(existing.cluster.members[i].id, members[i].id);
        ck_assert_uint_eq(existing.cluster.members[i].peer_url_count, members[i].peer_url_count);
        ck_assert_str_eq(existing.cluster.members[i].name, "");
        ck_assert(!existing.has_started[i]);
        ck_assert_int_eq(existing.votes[i], i == 0);
    }
    ck_assert_str_eq(existing.cluster.members[0].peer_urls[1], first_urls[1]);
    ck_assert(!joining_has_started(&existing, 11) && !joining_has_started(&existing, 99));
    joining_cluster_fini(&existing);
}
END_TEST

/* Whatever the names and the order are. */
START_TEST(a_member_finds_itself_by_its_urls)
{
    static const char text[] = "x=http://10.0.0.3:2380,y=http://10.0.0.1:2390,"
                               "z=http://10.0.0.2:2380,y=http://10.0.0.1:2380";
    uint64_t id = 0;
    buf_clear(&answer); /* of a cluster where none of them votes yet */
    joining_describe(&answer, CLUSTER_ID, cluster, NULL, 0);
    tell(text);
    ck_assert_int_eq(find("x", &id), OK);
    ck_assert_uint_eq(id, 33);
    ck_assert_int_eq(find("y", &id), OK);
    ck_assert_uint_eq(id, 11);
    ck_assert_int_eq(find("z", &id), OK);
    ck_assert_uint_eq(id, 22);
}
END_TEST

/* It votes before it has told its name: what it has confirmed may be committed by that. */
START_TEST(who_votes_does_not_join)
{
    uint64_t id = 7;
    tell("a=http://10.0.0.1:2390,a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,"
         "c=http://10.0.0.3:2380");
    ck_assert_int_eq(find("a", &id), ERR_INVALID);
    ck_assert_msg(strstr(why.text, "member b votes already") != NULL, "%s", why.text);
    ck_assert_uint_eq(id, 7);
}
END_TEST

static const struct {
    const char *told;
    const char *says;
} different[] = {
    {"a=http://10.0.0.1:2380,a=http://10.0.0.1:2390,b=http://10.0.0.2:2380",
     "member count is unequal"},
    {"a=http://10.0.0.1:2380,a=http://10.0.0.1:2390,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380,"
     "d=http://10.0.0.4:2380",
     "member count is unequal"},
    {"a=http://10.0.0.1:2380,a=http://10.0.0.1:2390,b=http://10.0.0.2:2380,c=http://10.0.0.3:2381",
     "PeerURLs: no match found for existing member (21, [http://10.0.0.3:2380])"},
    {"a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380",
     "PeerURLs: no match found for existing member (b, [http://10.0.0.1:2380])"},
};

START_TEST(members_must_be_the_same)
{
    uint64_t id = 7;
    tell(different[_i].told);
    ck_assert_int_eq(find("a", &id), ERR_INVALID);
    ck_assert_msg(strstr(why.text, different[_i].says) != NULL, "%s", why.text);
    ck_assert_uint_eq(id, 7);
}
END_TEST

/* It had a name, so it had data: without it its vote could be given twice. */
START_TEST(who_has_started_does_not_join)
{
    struct command_member first = {.id = 33, .peer_urls = NULL};
    struct bytes url = bytes_of_str(third_urls[0]);
    first.peer_urls = &url;
    first.peer_url_count = 1;
    struct command_member_init init = {.members = &first, .count = 1};
    struct command_member_publish publish = {.member_id = 33, .name = bytes_of_str("three")};
    store_entry_begin(store, 1, 1);
    ck_assert_int_eq(cluster_init(cluster, &init), OK);
    ck_assert_int_eq(cluster_publish(cluster, &publish), OK);
    store_entry_end(store);
    buf_clear(&answer);
    joining_describe(&answer, CLUSTER_ID, cluster, present, ARRAY_LEN(present));
    uint64_t id = 7;
    tell("three=http://10.0.0.3:2380");
    ck_assert_int_eq(find("three", &id), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "has been started before"));
    struct joining_cluster existing;
    ck_assert_int_eq(joining_decode(buf_bytes(&answer), &existing), OK);
    ck_assert(joining_has_started(&existing, 33));
    joining_cluster_fini(&existing);
}
END_TEST

/* ---- garbage ---- */

/* A copy that ends where the memory ends, so that a sanitizer sees a step too far. */
static enum err decode_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, len);
    struct joining_cluster existing;
    enum err err = joining_decode(bytes_of(copy, len), &existing);
    if (err == OK) {
        joining_cluster_fini(&existing);
    }
    free(copy);
    return err;
}

START_TEST(an_answer_cut_anywhere_is_malformed)
{
    for (size_t len = 0; len < answer.len; len++) {
        ck_assert_int_eq(decode_copy(answer.data, len), ERR_MALFORMED);
    }
    write_u8(&answer, 0);
    ck_assert_int_eq(decode_copy(answer.data, answer.len), ERR_MALFORMED);
}
END_TEST

START_TEST(flipped_bits_do_no_harm)
{
    for (size_t bit = 0; bit < 8 * answer.len; bit++) {
        answer.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum err err = decode_copy(answer.data, answer.len);
        ck_assert_msg(err == OK || err == ERR_MALFORMED, "bit %zu: %s", bit, err_text(err));
        answer.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

static void write_head(struct buf *buf, unsigned count)
{
    write_u8(buf, 1);
    write_u64(buf, CLUSTER_ID);
    write_u8(buf, (uint8_t)count);
}

static void write_bare(struct buf *buf, uint64_t id)
{
    write_u64(buf, id);
    write_u8(buf, 0);
    write_var_bytes(buf, bytes_of_str("n"));
    write_u8(buf, 0);
}

START_TEST(ids_are_in_order_and_members_as_many_as_allowed)
{
    static const struct {
        unsigned count;
        uint64_t ids[2];
        enum err err;
    } cases[] = {
        {2, {1, 2}, OK},
        {2, {2, 2}, ERR_MALFORMED},
        {2, {2, 1}, ERR_MALFORMED},
        {1, {0, 0}, ERR_MALFORMED},
        {0, {0, 0}, ERR_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_fini) struct buf buf = {0};
        write_head(&buf, cases[i].count);
        for (size_t j = 0; j < cases[i].count; j++) {
            write_bare(&buf, cases[i].ids[j]);
        }
        ck_assert_int_eq(decode_copy(buf.data, buf.len), cases[i].err);
    }
    for (unsigned count = MEMBERS_MAX; count <= MEMBERS_MAX + 1; count++) {
        CLEANUP(buf_fini) struct buf buf = {0};
        write_head(&buf, count);
        for (uint64_t id = 1; id <= count; id++) {
            write_bare(&buf, id);
        }
        ck_assert_int_eq(decode_copy(buf.data, buf.len), count <= MEMBERS_MAX ? OK : ERR_MALFORMED);
    }
}
END_TEST

START_TEST(texts_and_urls_have_limits)
{
    static char text[MEMBER_TEXT_BYTES_MAX + 1];
    memset(text, 't', sizeof text);
    for (size_t len = MEMBER_TEXT_BYTES_MAX; len <= MEMBER_TEXT_BYTES_MAX + 1; len++) {
        CLEANUP(buf_fini) struct buf buf = {0};
        write_head(&buf, 1);
        write_u64(&buf, 1);
        write_u8(&buf, 0);
        write_var_bytes(&buf, bytes_of(text, len));
        write_u8(&buf, 0);
        ck_assert_int_eq(decode_copy(buf.data, buf.len),
                         len <= MEMBER_TEXT_BYTES_MAX ? OK : ERR_MALFORMED);
    }
    for (unsigned urls = MEMBER_URLS_MAX; urls <= MEMBER_URLS_MAX + 1; urls++) {
        CLEANUP(buf_fini) struct buf buf = {0};
        write_head(&buf, 1);
        write_u64(&buf, 1);
        write_u8(&buf, 0);
        write_var_bytes(&buf, bytes_of_str("n"));
        write_u8(&buf, (uint8_t)urls);
        for (unsigned i = 0; i < urls; i++) {
            write_var_bytes(&buf, bytes_of_str("http://h:1"));
        }
        ck_assert_int_eq(decode_copy(buf.data, buf.len),
                         urls <= MEMBER_URLS_MAX ? OK : ERR_MALFORMED);
    }
    CLEANUP(buf_fini) struct buf zero = {0};
    write_head(&zero, 1);
    write_u64(&zero, 1);
    write_u8(&zero, 0);
    write_var_bytes(&zero, bytes_of("n\0n", 3));
    write_u8(&zero, 0);
    ck_assert_int_eq(decode_copy(zero.data, zero.len), ERR_MALFORMED);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    FAULT_SWEEP (sweep) {
        struct joining_cluster existing;
        enum err err = joining_decode(buf_bytes(&answer), &existing);
        if (err == OK) {
            joining_cluster_fini(&existing);
        }
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
}
END_TEST

static Suite *joining_suite(void)
{
    Suite *suite = suite_create("joining");
    TCase *tc = tcase_create("joining");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_answer_comes_back);
    tcase_add_test(tc, a_member_finds_itself_by_its_urls);
    tcase_add_loop_test(tc, members_must_be_the_same, 0, (int)ARRAY_LEN(different));
    tcase_add_test(tc, who_votes_does_not_join);
    tcase_add_test(tc, who_has_started_does_not_join);
    tcase_add_test(tc, an_answer_cut_anywhere_is_malformed);
    tcase_add_test(tc, flipped_bits_do_no_harm);
    tcase_add_test(tc, ids_are_in_order_and_members_as_many_as_allowed);
    tcase_add_test(tc, texts_and_urls_have_limits);
    tcase_add_test(tc, memory_that_ends_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(joining_suite);
}
