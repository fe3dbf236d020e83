/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/alarm.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

static struct store *store;
static struct alarm_set *set;
static uint64_t next_index;

static void set_up(void)
{
    store = store_model_new(NULL);
    next_index = 1;
    ck_assert_int_eq(alarm_set_new(store, &set, NULL), OK);
}

static void tear_down(void)
{
    alarm_set_free(set);
    store_close(store);
}

/* As after a restart. */
static void reopen(void)
{
    struct why why = {{0}};
    alarm_set_free(set);
    set = NULL;
    enum err err = alarm_set_new(store, &set, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

static enum err change(uint32_t type, uint64_t member_id, bool is_clear, bool *found)
{
    struct command_alarm command = {.type = type, .member_id = member_id, .is_clear = is_clear};
    store_entry_begin(store, next_index++, 1);
    enum err err = alarm_change(set, &command, found);
    store_entry_end(store);
    return err;
}

static void activate(uint32_t type, uint64_t member_id)
{
    bool found = false;
    ck_assert_int_eq(change(type, member_id, false, &found), OK);
    ck_assert(found);
}

static bool deactivate(uint32_t type, uint64_t member_id)
{
    bool found = false;
    ck_assert_int_eq(change(type, member_id, true, &found), OK);
    return found;
}

static size_t count_of(void)
{
    const struct alarm *alarms;
    return alarm_list(set, &alarms);
}

START_TEST(alarms_are_in_order_and_outlive_a_restart)
{
    static const struct alarm want[] = {
        {ALARM_NOSPACE, 1}, {ALARM_NOSPACE, 0x100}, {ALARM_NOSPACE, UINT64_MAX},
        {ALARM_CORRUPT, 0}, {ALARM_CORRUPT, 7},     {UINT32_MAX, 3},
    };
    static const unsigned order[] = {4, 1, 5, 0, 3, 2};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        activate(want[order[i]].type, want[order[i]].member_id);
    }
    activate(ALARM_NOSPACE, 0x100); /* again */
    for (unsigned opened = 0; opened < 2; opened++) {
        const struct alarm *alarms;
        ck_assert_uint_eq(alarm_list(set, &alarms), ARRAY_LEN(want));
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
            ck_assert_uint_eq(alarms[i].type, want[i].type);
            ck_assert_uint_eq(alarms[i].member_id, want[i].member_id);
            ck_assert(alarm_is_raised(set, want[i]));
        }
        ck_assert(!alarm_is_raised(set, (struct alarm){ALARM_NOSPACE, 2}));
        ck_assert(!alarm_is_raised(set, (struct alarm){ALARM_CORRUPT, 1}));
        reopen();
    }
}
END_TEST

START_TEST(only_the_very_alarm_is_cleared)
{
    activate(ALARM_NOSPACE, 1);
    activate(ALARM_NOSPACE, 2);
    ck_assert(!deactivate(ALARM_CORRUPT, 1));
    ck_assert(!deactivate(ALARM_NOSPACE, 3));
    ck_assert(!deactivate(ALARM_NONE, 1));
    ck_assert(deactivate(ALARM_NOSPACE, 1));
    ck_assert(!deactivate(ALARM_NOSPACE, 1));
    ck_assert(alarm_is_active(set, ALARM_NOSPACE));
    reopen();
    ck_assert_uint_eq(count_of(), 1);
    ck_assert(deactivate(ALARM_NOSPACE, 2));
    ck_assert(!alarm_is_active(set, ALARM_NOSPACE));
    ck_assert_uint_eq(store_model_row_count(store, TABLE_ALARM), 0);
    reopen();
    ck_assert_uint_eq(count_of(), 0);
}
END_TEST

START_TEST(no_alarm_is_no_alarm)
{
    bool found = true;
    ck_assert_int_eq(change(ALARM_NONE, 1, false, &found), OK);
    ck_assert(!found);
    ck_assert_uint_eq(count_of(), 0);
    ck_assert_uint_eq(store_model_row_count(store, TABLE_ALARM), 0);
}
END_TEST

/* A client may name any member; what it makes every member keep has an end. */
START_TEST(so_many_alarms_and_no_more)
{
    bool found = false;
    for (uint64_t id = 0; id < ALARMS_MAX; id++) {
        activate(ALARM_NOSPACE, id);
    }
    ck_assert_int_eq(change(ALARM_NOSPACE, ALARMS_MAX, false, &found), ERR_LIMIT);
    ck_assert(!found);
    activate(ALARM_NOSPACE, 5); /* is there */
    reopen();
    ck_assert_uint_eq(count_of(), ALARMS_MAX);
    ck_assert(deactivate(ALARM_NOSPACE, 5));
    activate(ALARM_NOSPACE, ALARMS_MAX);
}
END_TEST

/* ---- what is refused ---- */

static struct txn_op put_op = {.kind = OP_PUT, .put = {.key = {(const uint8_t *)"a", 1}}};
static struct txn_op get_op = {.kind = OP_RANGE, .range = {.key = {(const uint8_t *)"a", 1}}};
static struct command_txn deep = {.failure = &put_op, .failure_count = 1};
static struct command_txn shallow = {.success = &get_op, .success_count = 1};
static struct txn_op deep_op = {.kind = OP_TXN, .txn = &deep};
static struct txn_op shallow_op = {.kind = OP_TXN, .txn = &shallow};

enum effect { FREE, WRITES, GROWS };
static const struct {
    const char *name;
    enum effect effect;
    struct command command;
} commands[] = {
    {"put", GROWS, {.kind = COMMAND_PUT}},
    {"delete", WRITES, {.kind = COMMAND_DELETE_RANGE}},
    {"compact", WRITES, {.kind = COMMAND_COMPACT}},
    {"empty txn", WRITES, {.kind = COMMAND_TXN}},
    {"txn that puts",
     GROWS,
     {.kind = COMMAND_TXN, .txn = {.success = &put_op, .success_count = 1}}},
    {"txn that may put",
     GROWS,
     {.kind = COMMAND_TXN, .txn = {.failure = &put_op, .failure_count = 1}}},
    {"txn that puts further down",
     GROWS,
     {.kind = COMMAND_TXN, .txn = {.success = &deep_op, .success_count = 1}}},
    {"txn that reads further down",
     WRITES,
     {.kind = COMMAND_TXN, .txn = {.success = &shallow_op, .success_count = 1}}},
    {"publish", FREE, {.kind = COMMAND_MEMBER_PUBLISH}},
    {"version", FREE, {.kind = COMMAND_CLUSTER_VERSION}},
    {"alarm", FREE, {.kind = COMMAND_ALARM}},
    {"lease grant", GROWS, {.kind = COMMAND_LEASE_GRANT}},
    {"lease revoke", WRITES, {.kind = COMMAND_LEASE_REVOKE}},
    {"lease checkpoint", FREE, {.kind = COMMAND_LEASE_CHECKPOINT}},
};

static enum err expected(enum effect effect, bool no_space, bool corrupt)
{
    if (corrupt && effect != FREE) {
        return ERR_CORRUPT;
    }
    return no_space && effect == GROWS ? ERR_QUOTA : OK;
}

START_TEST(every_command_under_every_alarm)
{
    bool no_space = (_i & 1) != 0;
    bool corrupt = (_i & 2) != 0;
    bool unknown = (_i & 4) != 0;
    if (no_space) {
        activate(ALARM_NOSPACE, 9);
    }
    if (corrupt) {
        activate(ALARM_CORRUPT, 1);
    }
    if (unknown) {
        activate(77, 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        enum err got = alarm_admit(set, &commands[i].command);
        enum err want = expected(commands[i].effect, no_space, corrupt);
        ck_assert_msg(got == want, "%s: %s", commands[i].name, err_text(got));
    }
}
END_TEST

/* ---- rows ---- */

static const struct {
    const char *name;
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
    enum err want;
} bad_rows[] = {
    {"short key", "\0\0\0\1\0\0\0\0\0\0\0", 11, "\1", 1, ERR_CORRUPT},
    {"long key", "\0\0\0\1\0\0\0\0\0\0\0\0\0", 13, "\1", 1, ERR_CORRUPT},
    {"empty value", "\0\0\0\1\0\0\0\0\0\0\0\0", 12, "", 0, ERR_CORRUPT},
    {"long value", "\0\0\0\1\0\0\0\0\0\0\0\0", 12, "\1\1", 2, ERR_CORRUPT},
    {"format 0", "\0\0\0\1\0\0\0\0\0\0\0\0", 12, "\0", 1, ERR_CORRUPT},
    {"newer format", "\0\0\0\1\0\0\0\0\0\0\0\0", 12, "\2", 1, ERR_VERSION},
};

START_TEST(a_damaged_row_is_refused)
{
    struct alarm_set *none = NULL;
    struct why why = {{0}};
    store_entry_begin(store, next_index++, 1);
    store_table_put(store, TABLE_ALARM, bytes_of(bad_rows[_i].key, bad_rows[_i].key_len),
                    bytes_of(bad_rows[_i].value, bad_rows[_i].value_len));
    store_entry_end(store);
    enum err got = alarm_set_new(store, &none, &why);
    ck_assert_msg(got == bad_rows[_i].want, "%s: %s", bad_rows[_i].name, err_text(got));
    ck_assert_ptr_null(none);
    ck_assert_str_ne(why.text, "");
}
END_TEST

START_TEST(a_start_without_memory_is_told)
{
    activate(ALARM_NOSPACE, 1);
    FAULT_SWEEP (sweep) {
        struct alarm_set *other = NULL;
        enum err err = alarm_set_new(store, &other, NULL);
        alarm_set_free(other);
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
}
END_TEST

static Suite *alarm_suite(void)
{
    Suite *suite = suite_create("alarm");
    TCase *tc = tcase_create("alarm");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, alarms_are_in_order_and_outlive_a_restart);
    tcase_add_test(tc, only_the_very_alarm_is_cleared);
    tcase_add_test(tc, no_alarm_is_no_alarm);
    tcase_add_test(tc, so_many_alarms_and_no_more);
    tcase_add_loop_test(tc, every_command_under_every_alarm, 0, 8);
    tcase_add_loop_test(tc, a_damaged_row_is_refused, 0, ARRAY_LEN(bad_rows));
    tcase_add_test(tc, a_start_without_memory_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(alarm_suite);
}
