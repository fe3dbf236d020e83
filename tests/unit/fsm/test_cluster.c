/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

static struct store *store;
static struct cluster *cluster;
static uint64_t next_index;

static const char *const peers[] = {"http://10.0.0.1:2380", "http://10.0.0.1:2390"};

static void set_up(void)
{
    store = store_model_new(NULL);
    next_index = 1;
    ck_assert_int_eq(cluster_new(store, &cluster, NULL), OK);
}

static void tear_down(void)
{
    cluster_free(cluster);
    store_close(store);
}

/* As after a restart. */
static void reopen(void)
{
    struct why why = {{0}};
    cluster_free(cluster);
    cluster = NULL;
    enum err err = cluster_new(store, &cluster, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

/* FIRST as the command that begins a cluster with them. */
static enum err begin(const struct cluster_member *first, size_t count)
{
    static struct bytes urls[MEMBERS_MAX][MEMBER_URLS_MAX];
    struct command_member members[MEMBERS_MAX] = {{0}};
    for (size_t i = 0; i < count; i++) {
        members[i] = (struct command_member){.id = first[i].id,
                                             .learner = first[i].learner,
                                             .peer_urls = urls[i],
                                             .peer_url_count = first[i].peer_url_count};
        for (size_t j = 0; j < first[i].peer_url_count; j++) {
            urls[i][j] = bytes_of_str(first[i].peer_urls[j]);
        }
    }
    struct command_member_init init = {.members = members, .count = count};
    store_entry_begin(store, next_index++, 1);
    enum err err = cluster_init(cluster, &init);
    store_entry_end(store);
    return err;
}

static enum err publish(uint64_t id, const char *name, struct bytes *urls, size_t count)
{
    struct command_member_publish command = {.member_id = id,
                                             .name = bytes_of_str(name),
                                             .client_urls = urls,
                                             .client_url_count = count};
    store_entry_begin(store, next_index++, 1);
    enum err err = cluster_publish(cluster, &command);
    store_entry_end(store);
    return err;
}

static enum err change(enum command_kind kind, const struct command_member *member)
{
    store_entry_begin(store, next_index++, 1);
    enum err err = kind == COMMAND_MEMBER_ADD      ? cluster_add(cluster, member)
                   : kind == COMMAND_MEMBER_REMOVE ? cluster_remove(cluster, member)
                   : kind == COMMAND_MEMBER_UPDATE ? cluster_update(cluster, member)
                                                   : cluster_promote(cluster, member);
    store_entry_end(store);
    return err;
}

static void put_row(enum store_table table, struct bytes key, struct bytes value)
{
    store_entry_begin(store, next_index++, 1);
    store_table_put(store, table, key, value);
    store_entry_end(store);
}

START_TEST(a_new_cluster_knows_nothing)
{
    const struct cluster_member *members;
    ck_assert_uint_eq(cluster_members(cluster, &members), 0);
    ck_assert_ptr_null(cluster_member(cluster, 1));
    ck_assert_str_eq(cluster_version(cluster), "");
    ck_assert_int_eq(begin(NULL, 0), OK);
    ck_assert(!cluster_has_begun(cluster));
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 0);
}
END_TEST

/* Ids are numbers without a sign, whatever the order in which members are told. */
START_TEST(members_are_in_order_of_their_ids)
{
    static const struct cluster_member first[] = {
        {.id = 0x8000000000000001},
        {.id = 7},
        {.id = UINT64_MAX},
        {.id = 0x0100},
        {.id = 0x00ff},
        {.id = 1},
    };
    static const uint64_t want[] = {1, 7, 0xff, 0x100, 0x8000000000000001, UINT64_MAX};
    ck_assert_int_eq(cluster_bootstrap(cluster, first, ARRAY_LEN(first)), OK);
    for (unsigned opened = 0; opened < 2; opened++) {
        const struct cluster_member *members;
        ck_assert_uint_eq(cluster_members(cluster, &members), ARRAY_LEN(want));
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
            ck_assert_uint_eq(members[i].id, want[i]);
            ck_assert_ptr_eq(cluster_member(cluster, want[i]), &members[i]);
        }
        ck_assert_ptr_null(cluster_member(cluster, 2));
        ck_assert_ptr_null(cluster_member(cluster, 0));
        ck_assert_int_eq(cluster_has_begun(cluster), opened > 0);
        ck_assert_int_eq(begin(first, ARRAY_LEN(first)), OK);
        ck_assert(cluster_has_begun(cluster));
        reopen();
    }
}
END_TEST

START_TEST(what_is_known_of_a_member_is_kept)
{
    struct cluster_member first[] = {
        {.id = 3, .peer_urls = peers, .peer_url_count = 2},
        {.id = 4, .peer_urls = peers + 1, .peer_url_count = 1, .learner = true},
    };
    struct bytes urls[] = {bytes_of_str("http://a:1"), bytes_of_str("http://b:2")};
    ck_assert_int_eq(begin(first, 2), OK);
    ck_assert_int_eq(publish(4, "four", urls, 2), OK);
    ck_assert_int_eq(publish(3, "three", urls, 1), OK);
    ck_assert_int_eq(publish(3, "3", urls + 1, 1), OK); /* again, with another name */
    for (unsigned opened = 0; opened < 2; opened++) {
        const struct cluster_member *three = cluster_member(cluster, 3);
        const struct cluster_member *four = cluster_member(cluster, 4);
        ck_assert_str_eq(three->name, "3");
        ck_assert(!three->learner);
        ck_assert_uint_eq(three->peer_url_count, 2);
        ck_assert_str_eq(three->peer_urls[0], peers[0]);
        ck_assert_str_eq(three->peer_urls[1], peers[1]);
        ck_assert_uint_eq(three->client_url_count, 1);
        ck_assert_str_eq(three->client_urls[0], "http://b:2");
        ck_assert_str_eq(four->name, "four");
        ck_assert(four->learner);
        ck_assert_uint_eq(four->peer_url_count, 1);
        ck_assert_uint_eq(four->client_url_count, 2);
        reopen();
    }
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 2);
}
END_TEST

START_TEST(a_cluster_begins_once)
{
    struct cluster_member first[] = {{.id = 3}, {.id = 9}};
    ck_assert_int_eq(begin(first, 1), OK);
    ck_assert_int_eq(begin(first, 2), OK);
    ck_assert_ptr_null(cluster_member(cluster, 9));
    reopen();
    ck_assert_int_eq(begin(first, 2), OK);
    ck_assert_ptr_null(cluster_member(cluster, 9));
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 1);
}
END_TEST

/* What this member was started with is shown, and forgotten when the log says who they are. */
START_TEST(the_log_tells_who_the_first_members_are)
{
    struct cluster_member told = {.id = 3};
    struct cluster_member first = {.id = 9};
    ck_assert_int_eq(cluster_bootstrap(cluster, &told, 1), OK);
    ck_assert_ptr_nonnull(cluster_member(cluster, 3));
    ck_assert_int_eq(publish(3, "three", NULL, 0), ERR_MEMBER_NOT_FOUND);
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 0);
    ck_assert_int_eq(begin(&first, 1), OK);
    ck_assert_ptr_null(cluster_member(cluster, 3));
    ck_assert_ptr_nonnull(cluster_member(cluster, 9));
    ck_assert_int_eq(publish(3, "three", NULL, 0), ERR_MEMBER_NOT_FOUND);
    ck_assert_int_eq(publish(9, "nine", NULL, 0), OK);
}
END_TEST

START_TEST(the_version_is_kept)
{
    static const char *const versions[] = {"3.7", "3.8.1", ""};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        store_entry_begin(store, next_index++, 1);
        ck_assert_int_eq(cluster_set_version(cluster, bytes_of_str(versions[i])), OK);
        store_entry_end(store);
        ck_assert_str_eq(cluster_version(cluster), versions[i]);
        reopen();
        ck_assert_str_eq(cluster_version(cluster), versions[i]);
    }
    put_row(TABLE_CLUSTER, bytes_of_str("another"), bytes_of_str("row"));
    reopen();
    ck_assert_str_eq(cluster_version(cluster), "");
}
END_TEST

/* ---- changes ---- */

/* Voters 1 to VOTERS, of which the first STARTED have told their name; then as many learners. */
static void make_cluster(size_t voters, size_t started, size_t learners)
{
    static const char *const urls[] = {"http://h:1", "http://h:2", "http://h:3", "http://h:4",
                                       "http://h:5", "http://h:6", "http://h:7"};
    struct cluster_member first[ARRAY_LEN(urls)] = {{0}};
    for (size_t i = 0; i < voters + learners; i++) {
        first[i] = (struct cluster_member){
            .id = i + 1, .peer_urls = &urls[i], .peer_url_count = 1, .learner = i >= voters};
    }
    tear_down();
    set_up();
    ck_assert_int_eq(begin(first, voters + learners), OK);
    for (size_t i = 0; i < started; i++) {
        ck_assert_int_eq(publish(i + 1, "started", NULL, 0), OK);
    }
}

static enum err add(uint64_t id, const char *url, bool learner, bool strict)
{
    struct bytes urls[] = {bytes_of_str(url)};
    struct command_member member = {.id = id,
                                    .learner = learner,
                                    .strict = strict,
                                    .learners_max = 1,
                                    .peer_urls = urls,
                                    .peer_url_count = 1};
    return change(COMMAND_MEMBER_ADD, &member);
}

static enum err change_id(enum command_kind kind, uint64_t id, bool strict)
{
    return change(kind, &(struct command_member){.id = id, .strict = strict});
}

static enum err update(uint64_t id, const char *url)
{
    struct bytes urls[] = {bytes_of_str(url)};
    struct command_member member = {.id = id, .peer_urls = urls, .peer_url_count = 1};
    return change(COMMAND_MEMBER_UPDATE, &member);
}

START_TEST(nothing_changes_before_a_cluster_has_begun)
{
    struct cluster_member told = {.id = 3};
    ck_assert_int_eq(cluster_bootstrap(cluster, &told, 1), OK);
    ck_assert_int_eq(add(4, "http://h:4", false, false), ERR_UNHEALTHY);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 3, false), ERR_UNHEALTHY);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 3, false), ERR_UNHEALTHY);
    ck_assert_int_eq(update(3, "http://h:4"), ERR_UNHEALTHY);
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 0);
}
END_TEST

START_TEST(a_member_is_added_once)
{
    make_cluster(3, 3, 0);
    ck_assert_int_eq(add(2, "http://h:8", false, true), ERR_MEMBER_EXISTS);
    ck_assert_int_eq(add(8, "http://h:2", false, true), ERR_PEER_URL_EXISTS);
    ck_assert_int_eq(add(8, "http://h:8", false, true), OK);
    for (unsigned opened = 0; opened < 2; opened++) {
        const struct cluster_member *added = cluster_member(cluster, 8);
        ck_assert_str_eq(added->name, "");
        ck_assert(!added->learner);
        ck_assert_str_eq(added->peer_urls[0], "http://h:8");
        ck_assert_uint_eq(added->client_url_count, 0);
        ck_assert_int_eq(add(8, "http://h:9", false, false), ERR_MEMBER_EXISTS);
        ck_assert_int_eq(add(9, "http://h:8", false, false), ERR_PEER_URL_EXISTS);
        reopen();
    }
}
END_TEST

START_TEST(there_are_few_learners)
{
    make_cluster(3, 3, 0);
    ck_assert_int_eq(add(8, "http://h:8", true, true), OK);
    ck_assert(cluster_member(cluster, 8)->learner);
    ck_assert_int_eq(add(9, "http://h:9", true, true), ERR_MANY_LEARNERS);
    ck_assert_int_eq(add(9, "http://h:9", true, false), ERR_MANY_LEARNERS);
    ck_assert_int_eq(add(9, "http://h:9", false, true), OK);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 8, false), OK);
    ck_assert_int_eq(add(10, "http://h:10", true, false), OK);
}
END_TEST

START_TEST(a_removed_id_never_comes_back)
{
    make_cluster(3, 3, 0);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 9, true), ERR_MEMBER_NOT_FOUND);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 2, true), OK);
    for (unsigned opened = 0; opened < 2; opened++) {
        ck_assert_ptr_null(cluster_member(cluster, 2));
        ck_assert(cluster_is_removed(cluster, 2));
        ck_assert(!cluster_is_removed(cluster, 1) && !cluster_is_removed(cluster, 9));
        ck_assert_int_eq(add(2, "http://h:2", false, false), ERR_MEMBER_NOT_FOUND);
        ck_assert_int_eq(publish(2, "again", NULL, 0), ERR_MEMBER_NOT_FOUND);
        ck_assert_int_eq(update(2, "http://h:9"), ERR_MEMBER_NOT_FOUND);
        ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 2, false), ERR_MEMBER_NOT_FOUND);
        reopen();
    }
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 2);
    ck_assert_int_eq(add(8, "http://h:2", false, true), OK); /* its URL may */
}
END_TEST

START_TEST(many_ids_are_remembered)
{
    make_cluster(3, 3, 0);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t id = 1000 + i * 7919 % 100; /* in no order */
        ck_assert_int_eq(add(id, "http://h:8", false, false), OK);
        ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, id, false), OK);
    }
    reopen();
    for (uint64_t id = 999; id <= 1100; id++) {
        ck_assert_int_eq(cluster_is_removed(cluster, id), id >= 1000 && id < 1100);
    }
}
END_TEST

START_TEST(the_last_voter_stays)
{
    make_cluster(1, 1, 2);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 1, true), ERR_FEW_STARTED);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 1, false), ERR_FEW_STARTED);
    ck_assert_ptr_nonnull(cluster_member(cluster, 1));
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 2, true), OK);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 3, true), OK);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 1, false), ERR_FEW_STARTED);
}
END_TEST

START_TEST(only_a_learner_is_promoted)
{
    make_cluster(1, 1, 1);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 9, true), ERR_MEMBER_NOT_FOUND);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 1, true), ERR_NOT_LEARNER);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 2, true), OK);
    reopen();
    ck_assert(!cluster_member(cluster, 2)->learner);
    ck_assert_str_eq(cluster_member(cluster, 2)->peer_urls[0], "http://h:2");
    ck_assert_int_eq(change_id(COMMAND_MEMBER_PROMOTE, 2, false), ERR_NOT_LEARNER);
}
END_TEST

START_TEST(an_update_changes_peer_urls_alone)
{
    make_cluster(2, 2, 1);
    ck_assert_int_eq(update(9, "http://h:9"), ERR_MEMBER_NOT_FOUND);
    ck_assert_int_eq(update(3, "http://h:1"), ERR_PEER_URL_EXISTS);
    ck_assert_int_eq(update(3, "http://h:3"), OK); /* its own */
    ck_assert_int_eq(update(3, "http://h:9"), OK);
    reopen();
    ck_assert(cluster_member(cluster, 3)->learner);
    ck_assert_str_eq(cluster_member(cluster, 3)->peer_urls[0], "http://h:9");
    ck_assert_int_eq(update(1, "http://h:8"), OK);
    ck_assert_str_eq(cluster_member(cluster, 1)->name, "started");
}
END_TEST

/* What etcd's own tests say of each size: as many voters must have started as make a majority
 * afterwards. */
START_TEST(enough_voters_must_have_started)
{
    static const struct {
        enum command_kind kind;
        size_t voters;
        size_t started;
        enum err err;
    } cases[] = {
        {COMMAND_MEMBER_ADD, 1, 0, ERR_FEW_STARTED},
        {COMMAND_MEMBER_ADD, 1, 1, OK}, /* so that one can become two */
        {COMMAND_MEMBER_ADD, 2, 1, ERR_FEW_STARTED},
        {COMMAND_MEMBER_ADD, 2, 2, OK},
        {COMMAND_MEMBER_ADD, 3, 1, ERR_FEW_STARTED},
        {COMMAND_MEMBER_ADD, 3, 2, ERR_FEW_STARTED},
        {COMMAND_MEMBER_ADD, 3, 3, OK},
        {COMMAND_MEMBER_ADD, 4, 3, OK},
        {COMMAND_MEMBER_ADD, 5, 3, ERR_FEW_STARTED},
        {COMMAND_MEMBER_ADD, 5, 4, OK},
        {COMMAND_MEMBER_REMOVE, 2, 1, ERR_FEW_STARTED}, /* 1 goes, 2 has not started */
        {COMMAND_MEMBER_REMOVE, 2, 2, OK},
        {COMMAND_MEMBER_REMOVE, 3, 2, ERR_FEW_STARTED},
        {COMMAND_MEMBER_REMOVE, 3, 3, OK},
        {COMMAND_MEMBER_REMOVE, 4, 3, OK},
        {COMMAND_MEMBER_REMOVE, 5, 3, ERR_FEW_STARTED},
        {COMMAND_MEMBER_REMOVE, 5, 4, OK},
        {COMMAND_MEMBER_PROMOTE, 1, 0, ERR_FEW_STARTED},
        {COMMAND_MEMBER_PROMOTE, 1, 1, OK},
        {COMMAND_MEMBER_PROMOTE, 2, 1, OK},
        {COMMAND_MEMBER_PROMOTE, 3, 1, ERR_FEW_STARTED},
        {COMMAND_MEMBER_PROMOTE, 3, 2, OK},
        {COMMAND_MEMBER_PROMOTE, 5, 3, OK},
        {COMMAND_MEMBER_PROMOTE, 5, 2, ERR_FEW_STARTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned strict = 0; strict < 2; strict++) {
            make_cluster(cases[i].voters, cases[i].started, 1);
            enum err err =
                cases[i].kind == COMMAND_MEMBER_ADD
                    ? add(9, "http://h:9", false, strict != 0)
                    : change_id(cases[i].kind,
                                cases[i].kind == COMMAND_MEMBER_REMOVE ? 1 : cases[i].voters + 1,
                                strict != 0);
            enum err want = strict != 0 ? cases[i].err : OK;
            ck_assert_msg(err == want, "case %zu, strict %u: %s", i, strict, err_text(err));
        }
    }
    /* Learners do not count, neither when they come nor when they go. */
    make_cluster(3, 1, 0);
    ck_assert_int_eq(add(9, "http://h:9", true, true), OK);
    ck_assert_int_eq(change_id(COMMAND_MEMBER_REMOVE, 9, true), OK);
}
END_TEST

/* ---- limits ---- */

START_TEST(there_are_as_many_members_as_allowed)
{
    struct cluster_member first[MEMBERS_MAX + 1] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        first[i].id = i + 1;
    }
    ck_assert_int_eq(begin(first, MEMBERS_MAX), OK);
    ck_assert_int_eq(change(COMMAND_MEMBER_ADD, &(struct command_member){.id = MEMBERS_MAX + 1}),
                     ERR_LIMIT);
    ck_assert_int_eq(publish(MEMBERS_MAX, "last", NULL, 0), OK);
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), MEMBERS_MAX);
    reopen();
    ck_assert_str_eq(cluster_member(cluster, MEMBERS_MAX)->name, "last");
    cluster_free(cluster);
    cluster = NULL;
    struct store *other = store_model_new(NULL);
    ck_assert_int_eq(cluster_new(other, &cluster, NULL), OK);
    ck_assert_int_eq(cluster_bootstrap(cluster, first, MEMBERS_MAX + 1), ERR_LIMIT);
    store_close(other);
}
END_TEST

START_TEST(first_members_have_limits)
{
    static char long_url[MEMBER_TEXT_BYTES_MAX + 2];
    const char *urls[MEMBER_URLS_MAX + 1];
    memset(long_url, 'u', sizeof long_url - 1);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        urls[i] = peers[0];
    }
    struct cluster_member first = {
        .id = 1, .peer_urls = urls, .peer_url_count = MEMBER_URLS_MAX + 1};
    ck_assert_int_eq(cluster_bootstrap(cluster, &first, 1), ERR_LIMIT);
    first.peer_url_count = MEMBER_URLS_MAX;
    urls[3] = long_url;
    ck_assert_int_eq(cluster_bootstrap(cluster, &first, 1), ERR_LIMIT);
    urls[3] = long_url + 1; /* as long as allowed */
    ck_assert_int_eq(cluster_bootstrap(cluster, &first, 1), OK);
    ck_assert_int_eq(begin(&first, 1), OK);
    reopen();
    ck_assert_uint_eq(cluster_member(cluster, 1)->peer_url_count, MEMBER_URLS_MAX);
    ck_assert_str_eq(cluster_member(cluster, 1)->peer_urls[3], long_url + 1);
}
END_TEST

START_TEST(memory_that_ends_is_told)
{
    struct cluster_member first[] = {
        {.id = 3, .peer_urls = peers, .peer_url_count = 2},
        {.id = 4, .peer_urls = peers + 1, .peer_url_count = 1},
    };
    FAULT_SWEEP (sweep) {
        struct cluster *made = NULL;
        enum err err = cluster_new(store, &made, NULL);
        if (err == OK) {
            err = cluster_bootstrap(made, first, 2);
        }
        if (err == OK) {
            err = cluster_bootstrap(made, first, 2); /* what is known is written over */
        }
        cluster_free(made);
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
}
END_TEST

/* ---- damage ---- */

static struct buf row; /* of a member: format, learner, name, peer URLs, client URLs */

static void make_row(void)
{
    buf_clear(&row);
    write_u8(&row, 1);
    write_u8(&row, 0);
    write_var_bytes(&row, bytes_of_str("name"));
    write_varint(&row, 2);
    write_var_bytes(&row, bytes_of_str(peers[0]));
    write_var_bytes(&row, bytes_of_str(peers[1]));
    write_varint(&row, 1);
    write_var_bytes(&row, bytes_of_str("http://a:1"));
}

static enum err open_with_row(struct bytes key, struct bytes value)
{
    struct store *other = store_model_new(NULL);
    struct cluster *made = NULL;
    struct why why;
    store_entry_begin(other, 1, 1);
    store_table_put(other, TABLE_MEMBER, key, value);
    store_entry_end(other);
    enum err err = cluster_new(other, &made, &why);
    ck_assert_int_eq(err == OK, made != NULL);
    if (err != OK) {
        ck_assert_ptr_nonnull(strstr(why.text, err_text(err)));
    }
    cluster_free(made);
    store_close(other);
    return err;
}

START_TEST(a_row_cut_anywhere_is_damage)
{
    struct bytes key = bytes_of("\0\0\0\0\0\0\0\1", 8);
    make_row();
    ck_assert_int_eq(open_with_row(key, buf_bytes(&row)), OK);
    for (size_t len = 0; len < row.len; len++) {
        ck_assert_int_eq(open_with_row(key, bytes_of(row.data, len)), ERR_CORRUPT);
    }
    ck_assert_int_eq(open_with_row(bytes_of(key.data, 7), buf_bytes(&row)), ERR_CORRUPT);
    ck_assert_int_eq(open_with_row(bytes_of("\0\0\0\0\0\0\0\1\1", 9), buf_bytes(&row)),
                     ERR_CORRUPT);
    ck_assert_int_eq(open_with_row(bytes_of("\0\0\0\0\0\0\0\0", 8), buf_bytes(&row)), ERR_CORRUPT);
    write_u8(&row, 0);
    ck_assert_int_eq(open_with_row(key, buf_bytes(&row)), ERR_CORRUPT);
    buf_fini(&row);
}
END_TEST

START_TEST(a_row_of_a_newer_format_is_told_from_damage)
{
    struct bytes key = bytes_of("\0\0\0\0\0\0\0\1", 8);
    make_row();
    row.data[0] = 2;
    for (size_t len = 1; len <= row.len; len++) {
        ck_assert_int_eq(open_with_row(key, bytes_of(row.data, len)), ERR_VERSION);
    }
    row.data[0] = 0;
    ck_assert_int_eq(open_with_row(key, buf_bytes(&row)), ERR_CORRUPT);
    buf_fini(&row);
}
END_TEST

START_TEST(flipped_bits_do_no_harm)
{
    struct bytes key = bytes_of("\0\0\0\0\0\0\0\1", 8);
    make_row();
    for (size_t bit = 0; bit < 8 * row.len; bit++) {
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum err err = open_with_row(key, buf_bytes(&row));
        ck_assert_msg(err == OK || err == ERR_CORRUPT || err == ERR_VERSION, "bit %zu: %s", bit,
                      err_text(err));
        row.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_fini(&row);
}
END_TEST

static Suite *cluster_suite(void)
{
    Suite *suite = suite_create("cluster");
    TCase *tc = tcase_create("cluster");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_new_cluster_knows_nothing);
    tcase_add_test(tc, members_are_in_order_of_their_ids);
    tcase_add_test(tc, what_is_known_of_a_member_is_kept);
    tcase_add_test(tc, a_cluster_begins_once);
    tcase_add_test(tc, the_log_tells_who_the_first_members_are);
    tcase_add_test(tc, the_version_is_kept);
    tcase_add_test(tc, nothing_changes_before_a_cluster_has_begun);
    tcase_add_test(tc, a_member_is_added_once);
    tcase_add_test(tc, there_are_few_learners);
    tcase_add_test(tc, a_removed_id_never_comes_back);
    tcase_add_test(tc, many_ids_are_remembered);
    tcase_add_test(tc, the_last_voter_stays);
    tcase_add_test(tc, only_a_learner_is_promoted);
    tcase_add_test(tc, an_update_changes_peer_urls_alone);
    tcase_add_test(tc, enough_voters_must_have_started);
    tcase_add_test(tc, there_are_as_many_members_as_allowed);
    tcase_add_test(tc, first_members_have_limits);
    tcase_add_test(tc, memory_that_ends_is_told);
    tcase_add_test(tc, a_row_cut_anywhere_is_damage);
    tcase_add_test(tc, a_row_of_a_newer_format_is_told_from_damage);
    tcase_add_test(tc, flipped_bits_do_no_harm);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(cluster_suite);
}
