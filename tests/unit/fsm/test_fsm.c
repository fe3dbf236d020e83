/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/fsm.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

#define SELF  0x8e9e05c52164694du
#define OTHER 0xfd422379fda50e48u

static struct store *store;
static struct fsm *fsm;
static struct buf entry;
static uint64_t next_index;

/* What on_result was told, in order. */
static struct {
    uint64_t op;
    enum err status;
    int64_t revision;
    uint64_t index;
    enum command_kind kind;
    int64_t deleted;
    size_t prev_count;
    struct record *prev; /* a count of our own */
} results[64];
static size_t result_count;

static void on_result(void *ctx, uint64_t op, const struct result *result)
{
    ck_assert_ptr_eq(ctx, &results);
    ck_assert_uint_lt(result_count, ARRAY_LEN(results));
    results[result_count].op = op;
    results[result_count].status = result->status;
    results[result_count].revision = result->revision;
    results[result_count].index = result->index;
    results[result_count].kind = result->kind;
    if (result->status == OK && result->kind == COMMAND_DELETE_RANGE) {
        results[result_count].deleted = result->delete_range.deleted;
        results[result_count].prev_count = result->delete_range.prevs.count;
    }
    if (result->status == OK && result->kind == COMMAND_PUT && result->prev != NULL) {
        results[result_count].prev = record_ref(result->prev);
    }
    result_count++;
}

/* What on_applied was asked, and says. */
static size_t applied_count;
static enum err applied_answer;

static enum err on_applied(void *ctx, const struct command *command, const struct result *result)
{
    ck_assert_ptr_eq(ctx, &results);
    ck_assert_int_eq(command->kind, result->kind);
    ck_assert_int_eq(result->status, OK);
    applied_count++;
    return applied_answer;
}

static uint64_t unwanted_op;

static bool is_wanted(void *ctx, uint64_t op)
{
    ck_assert_ptr_eq(ctx, &results);
    return op != unwanted_op;
}

static struct fsm *open_fsm(struct store *upon, const struct cluster_member *members, size_t count)
{
    struct fsm_config config = {.store = upon,
                                .member_id = SELF,
                                .bootstrap = members,
                                .bootstrap_count = count,
                                .is_wanted = is_wanted,
                                .on_result = on_result,
                                .on_applied = on_applied,
                                .ctx = &results};
    struct fsm *made;
    struct why why;
    ck_assert_int_eq(fsm_new(&config, &made, &why), OK);
    return made;
}

static void setup(void)
{
    store = store_model_new(NULL);
    fsm = open_fsm(store, NULL, 0);
    next_index = 1;
    result_count = 0;
    applied_count = 0;
    applied_answer = OK;
    unwanted_op = UINT64_MAX;
    entry_encode_head(&entry, 1789000000000);
}

static void teardown(void)
{
    for (size_t i = 0; i < result_count; i++) {
        record_unref(results[i].prev);
    }
    fsm_free(fsm);
    store_close(store);
    buf_fini(&entry);
}

static void add(uint64_t member_id, uint64_t op, const struct command *command)
{
    command_encode(&entry, (struct command_origin){.member_id = member_id, .op = op}, command);
}

static void add_put(uint64_t member_id, uint64_t op, const char *key, const char *value)
{
    struct command command = {
        .kind = COMMAND_PUT,
        .put = {.key = bytes_of_str(key), .value = bytes_of_str(value), .prev_kv = true}};
    add(member_id, op, &command);
}

static void apply(void)
{
    fsm_apply(fsm, next_index++, 1, buf_bytes(&entry));
    buf_clear(&entry);
    entry_encode_head(&entry, 1789000000000);
}

static int64_t count_of(const char *key)
{
    struct range_query query = {.key = bytes_of_str(key), .count_only = true};
    struct range_result found;
    ck_assert_int_eq(store_range(store, &query, &found), OK);
    return found.count;
}

static void add_alarm(uint64_t op, uint32_t type, uint64_t member_id, bool is_clear)
{
    struct command command = {
        .kind = COMMAND_ALARM,
        .alarm = {.type = type, .member_id = member_id, .is_clear = is_clear}};
    add(SELF, op, &command);
}

START_TEST(each_command_is_a_revision_of_its_own)
{
    add_put(SELF, 1, "a", "1");
    add_put(SELF, 2, "b", "1");
    add_put(SELF, 3, "a", "2");
    apply();
    ck_assert_uint_eq(store_model_entry_count(store), 1);
    ck_assert_uint_eq(result_count, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(results[i].op, i + 1);
        ck_assert_int_eq(results[i].status, OK);
        ck_assert_int_eq(results[i].revision, (int64_t)i + 2);
        ck_assert_uint_eq(results[i].index, 1);
        ck_assert_int_eq(results[i].kind, COMMAND_PUT);
    }
    ck_assert_ptr_null(results[1].prev);
    ck_assert(bytes_equal(record_value(results[2].prev), bytes_of_str("1")));
}
END_TEST

START_TEST(results_go_to_the_member_that_waits)
{
    add_put(OTHER, 1, "a", "1");
    add_put(SELF, 2, "b", "1");
    add_put(0, 3, "c", "1");
    apply();
    ck_assert_uint_eq(result_count, 1);
    ck_assert_uint_eq(results[0].op, 2);
    ck_assert_int_eq(store_revision(store), 4);
}
END_TEST

START_TEST(an_applied_index_is_skipped)
{
    add_put(SELF, 1, "a", "1");
    CLEANUP(buf_fini) struct buf copy = {0};
    buf_append_bytes(&copy, buf_bytes(&entry));
    apply();
    fsm_apply(fsm, 1, 1, buf_bytes(&copy));
    ck_assert_uint_eq(result_count, 1);
    ck_assert_int_eq(store_revision(store), 2);
    /* Neither is it looked at. */
    fsm_apply(fsm, 1, 1, bytes_of_str("garbage"));
    /* What comes with a gap, as indexes of other kinds of entries make, is applied. */
    fsm_apply(fsm, 5, 2, buf_bytes(&copy));
    ck_assert_uint_eq(store_applied_index(store), 5);
    ck_assert_int_eq(store_revision(store), 3);
}
END_TEST

START_TEST(a_refused_command_does_not_hold_up_the_others)
{
    struct command command = {.kind = COMMAND_PUT, .put = {.key = bytes_of_str("a")}};
    command.put.ignore_value = true;
    add(SELF, 1, &command);
    command.put.lease = 99; /* a put alone asks for its lease first */
    add(SELF, 2, &command);
    command = (struct command){.kind = COMMAND_COMPACT, .compact = {.revision = 100}};
    add(SELF, 3, &command);
    add_put(SELF, 4, "b", "1");
    apply();
    ck_assert_uint_eq(result_count, 4);
    static const enum err want[] = {ERR_KEY_NOT_FOUND, ERR_LEASE_NOT_FOUND, ERR_FUTURE_REVISION,
                                    OK};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(results[i].status, want[i]);
        ck_assert_int_eq(results[i].revision, i < 3 ? 1 : 2);
    }
    ck_assert_int_eq(count_of("a"), 0);
    ck_assert_int_eq(count_of("b"), 1);
}
END_TEST

START_TEST(a_delete_tells_what_it_deleted)
{
    add_put(SELF, 1, "a", "1");
    add_put(SELF, 2, "b", "1");
    struct command command = {
        .kind = COMMAND_DELETE_RANGE,
        .delete_range = {.key = bytes_of_str("a"), .range_end = bytes_of("", 1), .prev_kv = true}};
    add(SELF, 3, &command);
    add(SELF, 4, &command);
    command.delete_range.prev_kv = false;
    add_put(SELF, 5, "a", "1");
    add(SELF, 6, &command);
    apply();
    ck_assert_int_eq(results[2].deleted, 2);
    ck_assert_uint_eq(results[2].prev_count, 2);
    ck_assert_int_eq(results[2].revision, 4);
    ck_assert_int_eq(results[3].deleted, 0);
    ck_assert_int_eq(results[3].revision, 4);
    ck_assert_int_eq(results[5].deleted, 1);
    ck_assert_uint_eq(results[5].prev_count, 0);
}
END_TEST

START_TEST(a_compaction_leaves_the_revision)
{
    add_put(SELF, 1, "a", "1");
    add_put(SELF, 2, "a", "2");
    struct command command = {.kind = COMMAND_COMPACT, .compact = {.revision = 3}};
    add(SELF, 3, &command);
    add(SELF, 4, &command);
    apply();
    ck_assert_int_eq(results[2].status, OK);
    ck_assert_int_eq(results[2].revision, 3);
    ck_assert_int_eq(store_compacted_revision(store), 3);
    ck_assert_int_eq(results[3].status, ERR_COMPACTED);
}
END_TEST

/* Two members, one of which has asked for everything: their stores are the same afterwards, record
 * by record. */
START_TEST(members_do_not_differ)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        CLEANUP(arena_fini) struct arena arena = {0};
        struct store *stores[2] = {store_model_new(NULL), store_model_new(NULL)};
        struct fsm *fsms[2] = {open_fsm(stores[0], NULL, 0), open_fsm(stores[1], NULL, 0)};
        struct random_commands random = {.state = seed,
                                         .arena = &arena,
                                         .letters = 3,
                                         .depth_max = 2,
                                         .revision_max = 60,
                                         .leases = true};
        for (uint64_t index = 1; index <= 20; index++) {
            struct buf bytes[2] = {{0}, {0}};
            for (unsigned member = 0; member < 2; member++) {
                entry_encode_head(&bytes[member], index);
            }
            for (unsigned i = 0; i < 3; i++) {
                struct command command = random_command(&random);
                for (unsigned member = 0; member < 2; member++) {
                    command_encode(&bytes[member],
                                   (struct command_origin){.member_id = member ? OTHER : SELF},
                                   &command);
                }
            }
            for (unsigned member = 0; member < 2; member++) {
                result_count = 0;
                fsm_apply(fsms[member], index, 1, buf_bytes(&bytes[member]));
                ck_assert_uint_eq(result_count, member == 0 ? 3 : 0);
                for (size_t i = 0; i < result_count; i++) {
                    record_unref(results[i].prev);
                    results[i].prev = NULL;
                }
                buf_fini(&bytes[member]);
            }
        }
        result_count = 0;
        struct record_list events[2] = {{0}, {0}};
        for (unsigned member = 0; member < 2; member++) {
            ck_assert_int_eq(store_events(stores[member], INT64_MAX, 0, &events[member]), OK);
            ck_assert_int_eq(store_events(stores[member], store_compacted_revision(stores[member]),
                                          SIZE_MAX, &events[member]),
                             OK);
        }
        ck_assert_int_eq(store_revision(stores[0]), store_revision(stores[1]));
        ck_assert_uint_eq(events[0].count, events[1].count);
        for (size_t i = 0; i < events[0].count; i++) {
            ck_assert_msg(events[0].items[i]->rev == events[1].items[i]->rev, "seed %lu", seed);
        }
        for (unsigned member = 0; member < 2; member++) {
            record_list_fini(&events[member]);
            fsm_free(fsms[member]);
            store_close(stores[member]);
        }
    }
}
END_TEST

/* ---- entries that must not be ---- */

/* As for all that a start applies again: it changes the store, and reads nothing for an answer. */
START_TEST(what_nobody_waits_for_is_not_answered)
{
    unwanted_op = 7;
    struct txn_op ops[] = {
        {.kind = OP_PUT, .put = {.key = bytes_of_str("k"), .value = bytes_of_str("1")}},
        {.kind = OP_RANGE, .range = {.key = bytes_of_str("k")}}};
    struct command command = {.kind = COMMAND_TXN,
                              .txn = {.success = ops, .success_count = ARRAY_LEN(ops)}};
    store_model_fail_range(store, ERR_CORRUPT); /* fatal, were it read */
    add(SELF, 7, &command);
    apply();
    ck_assert_uint_eq(result_count, 0);
    ck_assert_uint_eq(applied_count, 1);
    store_model_fail_range(store, OK);
    ck_assert_int_eq(count_of("k"), 1);
    add(SELF, 8, &command);
    apply();
    ck_assert_uint_eq(result_count, 1);
    ck_assert_uint_eq(results[0].op, 8);
}
END_TEST

START_TEST(an_entry_of_another_version_is_fatal)
{
    entry.data[0] = COMMAND_VERSION + 1;
    apply();
}
END_TEST

START_TEST(an_entry_that_does_not_decode_is_fatal)
{
    add_put(SELF, 1, "a", "1");
    entry.len--;
    apply();
}
END_TEST

/* ---- reads ---- */

START_TEST(a_plan_is_of_the_present)
{
    add_put(SELF, 1, "a", "1");
    apply();
    struct txn_op op = {.kind = OP_RANGE, .range = {.key = bytes_of_str("a")}};
    struct command_txn txn = {.success = &op, .success_count = 1};
    struct txn_plan plan;
    ck_assert_int_eq(fsm_plan_txn(fsm, &txn, &plan), OK);
    ck_assert_int_eq(plan.revision, 2);
    ck_assert_uint_eq(plan.read_count, 1);
    ck_assert_ptr_eq(plan.reads[0].query, &op.range);
    txn_plan_fini(&plan);
}
END_TEST

/* ---- members ---- */

static const char *const peer_urls[] = {"http://10.0.0.1:2380", "http://10.0.0.1:2381"};
static const struct cluster_member first_members[] = {
    {.id = OTHER, .name = "", .peer_urls = peer_urls, .peer_url_count = 1},
    {.id = SELF, .name = "", .peer_urls = peer_urls, .peer_url_count = 2},
};

/* As the leader tells all of them. */
static void add_members(uint64_t op)
{
    struct bytes urls[2][2];
    struct command_member members[2];
    for (size_t i = 0; i < 2; i++) {
        members[i] = (struct command_member){.id = first_members[i].id,
                                             .peer_urls = urls[i],
                                             .peer_url_count = first_members[i].peer_url_count};
        for (size_t j = 0; j < members[i].peer_url_count; j++) {
            urls[i][j] = bytes_of_str(peer_urls[j]);
        }
    }
    struct command command = {.kind = COMMAND_MEMBER_INIT,
                              .member_init = {.members = members, .count = 2}};
    add(OTHER, op, &command);
}

static void publish(uint64_t op)
{
    struct bytes urls[] = {bytes_of_str("http://10.0.0.1:2379")};
    struct command command = {.kind = COMMAND_MEMBER_PUBLISH,
                              .member_publish = {.member_id = SELF,
                                                 .name = bytes_of_str("one"),
                                                 .client_urls = urls,
                                                 .client_url_count = 1}};
    add(SELF, op, &command);
    command =
        (struct command){.kind = COMMAND_CLUSTER_VERSION, .cluster_version = bytes_of_str("3.7")};
    add(SELF, op + 1, &command);
}

static void ck_members(const struct cluster *cluster, const char *name)
{
    const struct cluster_member *members;
    ck_assert_uint_eq(cluster_members(cluster, &members), 2);
    ck_assert_uint_eq(members[0].id, SELF);
    ck_assert_uint_eq(members[1].id, OTHER);
    ck_assert_str_eq(members[0].name, name);
    ck_assert_str_eq(members[1].name, "");
    ck_assert_uint_eq(members[0].peer_url_count, 2);
    ck_assert_str_eq(members[0].peer_urls[1], peer_urls[1]);
    ck_assert_uint_eq(members[1].peer_url_count, 1);
    ck_assert_uint_eq(members[0].client_url_count, name[0] == '\0' ? 0 : 1);
    ck_assert_ptr_eq(cluster_member(cluster, OTHER), &members[1]);
    ck_assert_ptr_null(cluster_member(cluster, 7));
}

START_TEST(the_first_members_are_written_when_the_log_tells_them)
{
    fsm_free(fsm);
    fsm = open_fsm(store, first_members, 2);
    ck_members(fsm_cluster(fsm), "");
    add_put(SELF, 1, "key", "value");
    apply();
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 0);
    add_members(2);
    apply();
    ck_assert_uint_eq(store_model_row_count(store, TABLE_MEMBER), 2);
    /* From now on the store knows them, whatever the flags say. */
    fsm_free(fsm);
    fsm = open_fsm(store, first_members, 1);
    ck_members(fsm_cluster(fsm), "");
}
END_TEST

START_TEST(a_published_member_is_kept)
{
    fsm_free(fsm);
    fsm = open_fsm(store, first_members, 2);
    ck_assert_str_eq(cluster_version(fsm_cluster(fsm)), "");
    add_members(1);
    publish(1);
    apply();
    ck_assert_int_eq(results[0].status, OK);
    ck_assert_int_eq(results[1].status, OK);
    ck_assert_int_eq(store_revision(store), 1);
    for (unsigned reopened = 0; reopened < 2; reopened++) {
        ck_members(fsm_cluster(fsm), "one");
        ck_assert_str_eq(cluster_member(fsm_cluster(fsm), SELF)->client_urls[0],
                         "http://10.0.0.1:2379");
        ck_assert_str_eq(cluster_version(fsm_cluster(fsm)), "3.7");
        fsm_free(fsm);
        fsm = open_fsm(store, NULL, 0);
    }
}
END_TEST

START_TEST(a_damaged_row_is_refused)
{
    static const struct {
        enum store_table table;
        struct bytes key;
        struct bytes value;
        enum err want;
    } rows[] = {
        {TABLE_MEMBER,
         {(const uint8_t *)"short", 5},
         {(const uint8_t *)"\1\0\0\0\0", 5},
         ERR_CORRUPT},
        {TABLE_MEMBER,
         {(const uint8_t *)"8 bytes!", 8},
         {(const uint8_t *)"\1\0\0\0", 4},
         ERR_CORRUPT},
        {TABLE_MEMBER,
         {(const uint8_t *)"8 bytes!", 8},
         {(const uint8_t *)"\2\0\0\0\0", 5},
         ERR_VERSION},
        {TABLE_MEMBER,
         {(const uint8_t *)"8 bytes!", 8},
         {(const uint8_t *)"\1\0\0\0\0+", 6},
         ERR_CORRUPT},
        {TABLE_MEMBER, {(const uint8_t *)"8 bytes!", 8}, {(const uint8_t *)"\1\0\0\0\0", 5}, OK},
    };
    store_entry_begin(store, next_index, 1);
    store_table_put(store, rows[_i].table, rows[_i].key, rows[_i].value);
    store_entry_end(store);
    struct fsm_config config = {.store = store, .member_id = SELF, .on_result = on_result};
    struct fsm *made = NULL;
    struct why why = {{0}};
    ck_assert_int_eq(fsm_new(&config, &made, &why), rows[_i].want);
    fsm_free(made);
}
END_TEST

/* In the order of the log: what stands before the alarm and after its end is applied. */
START_TEST(an_alarm_forbids_what_comes_after_it)
{
    static const enum err want[] = {OK, OK, ERR_QUOTA, ERR_QUOTA, OK, OK};
    add_put(SELF, 1, "a", "1");
    add_alarm(2, ALARM_NOSPACE, OTHER, false);
    add_put(SELF, 3, "b", "1");
    add_put(OTHER, 4, "c", "1");
    apply();
    add_put(SELF, 5, "d", "1");
    add_alarm(6, ALARM_NOSPACE, OTHER, true);
    add_put(SELF, 7, "e", "1");
    apply();
    ck_assert_uint_eq(result_count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        ck_assert_int_eq(results[i].status, want[i]);
    }
    ck_assert_int_eq(results[2].revision, 2);
    ck_assert_int_eq(results[5].revision, 3);
    ck_assert_int_eq(count_of("b") + count_of("c") + count_of("d"), 0);
    ck_assert_int_eq(count_of("a") + count_of("e"), 2);
    const struct alarm *alarms;
    ck_assert_uint_eq(alarm_list(fsm_alarms(fsm), &alarms), 0);
}
END_TEST

START_TEST(an_alarm_is_there_after_a_restart)
{
    add_alarm(1, ALARM_CORRUPT, OTHER, false);
    apply();
    fsm_free(fsm);
    fsm = open_fsm(store, NULL, 0);
    ck_assert(alarm_is_active(fsm_alarms(fsm), ALARM_CORRUPT));
    struct command command = {.kind = COMMAND_DELETE_RANGE,
                              .delete_range = {.key = bytes_of_str("a")}};
    add(SELF, 2, &command);
    apply();
    ck_assert_int_eq(results[1].status, ERR_CORRUPT);
}
END_TEST

/* Applied is applied, whatever its client is told. */
START_TEST(what_was_applied_may_be_told_otherwise)
{
    applied_answer = ERR_QUOTA;
    add_put(SELF, 1, "a", "1");
    add_put(SELF, 2, "a", "2"); /* its previous record is freed all the same */
    add_put(OTHER, 3, "b", "1");
    struct command refused = {.kind = COMMAND_COMPACT, .compact = {.revision = 100}};
    add(SELF, 4, &refused);
    apply();
    ck_assert_uint_eq(applied_count, 3);
    ck_assert_int_eq(results[0].status, ERR_QUOTA);
    ck_assert_int_eq(results[1].status, ERR_QUOTA);
    ck_assert_int_eq(results[2].status, ERR_FUTURE_REVISION);
    ck_assert_int_eq(count_of("a") + count_of("b"), 2);
}
END_TEST

static Suite *fsm_suite(void)
{
    Suite *suite = suite_create("fsm");
    TCase *tc = tcase_create("apply");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_command_is_a_revision_of_its_own);
    tcase_add_test(tc, results_go_to_the_member_that_waits);
    tcase_add_test(tc, what_nobody_waits_for_is_not_answered);
    tcase_add_test(tc, an_applied_index_is_skipped);
    tcase_add_test(tc, a_refused_command_does_not_hold_up_the_others);
    tcase_add_test(tc, a_delete_tells_what_it_deleted);
    tcase_add_test(tc, a_compaction_leaves_the_revision);
    tcase_add_test(tc, members_do_not_differ);
    tcase_add_exit_test(tc, an_entry_of_another_version_is_fatal, 70);
    tcase_add_exit_test(tc, an_entry_that_does_not_decode_is_fatal, 70);
    tcase_add_test(tc, a_plan_is_of_the_present);
    suite_add_tcase(suite, tc);
    tc = tcase_create("members");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_first_members_are_written_when_the_log_tells_them);
    tcase_add_test(tc, a_published_member_is_kept);
    tcase_add_loop_test(tc, a_damaged_row_is_refused, 0, 5);
    tcase_add_test(tc, an_alarm_forbids_what_comes_after_it);
    tcase_add_test(tc, an_alarm_is_there_after_a_restart);
    tcase_add_test(tc, what_was_applied_may_be_told_otherwise);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main_apart(fsm_suite);
}
