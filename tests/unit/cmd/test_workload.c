/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/workload.h"

#include "base/cleanup.h"
#include "base/codec.h"
#include "tests/lib/runner.h"

/* Answers are made by hand and judged: what cannot be true must be told. */
static struct {
    struct workload workload;
    struct ask ask;
    struct buf answer;
    struct why why;
} t;

static void start(enum workload_kind kind)
{
    const struct workload_options options = {.kind = kind,
                                             .key_size = 8,
                                             .value_size = 20,
                                             .keys = 100,
                                             .prefix = "k/",
                                             .limit = 3,
                                             .read_percent = 50,
                                             .seed = 7};
    ck_assert_int_eq(workload_init(&t.workload, &options, &t.why), OK);
    ask_init(&t.ask, 5);
}

static void setup(void)
{
    memset(&t, 0, sizeof t);
}

static void teardown(void)
{
    ask_fini(&t.ask);
    workload_fini(&t.workload);
    buf_fini(&t.answer);
}

static void put_field(struct buf *buf, unsigned field, uint64_t number)
{
    write_varint(buf, field << 3);
    write_varint(buf, number);
}

static void put_message(struct buf *buf, unsigned field, const struct buf *message)
{
    write_varint(buf, field << 3 | 2);
    write_var_bytes(buf, buf_bytes(message));
}

static void begin_answer(int64_t revision)
{
    CLEANUP(buf_fini) struct buf header = {0};
    put_field(&header, 3, (uint64_t)revision);
    buf_clear(&t.answer);
    put_message(&t.answer, 1, &header);
}

static void add_key(int64_t mod_revision, size_t value_size)
{
    CLEANUP(buf_fini) struct buf kv = {0};
    put_field(&kv, 3, (uint64_t)mod_revision);
    static const uint8_t value[64];
    write_varint(&kv, 5 << 3 | 2);
    write_var_bytes(&kv, bytes_of(value, value_size));
    put_message(&t.answer, 2, &kv);
}

static bool judge(void)
{
    return workload_check(&t.workload, &t.ask, buf_bytes(&t.answer), &t.why);
}

static bool answer_write(int64_t revision)
{
    begin_answer(revision);
    return judge();
}

START_TEST(revisions_of_writes_only_grow)
{
    start(WORKLOAD_PUT);
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(answer_write(10));
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(!answer_write(10));
    ck_assert_msg(strstr(t.why.text, "expected at least 11") != NULL, "%s", t.why.text);
    ck_assert(answer_write(11));
}
END_TEST

START_TEST(a_write_is_measured_against_what_was_acknowledged_before_it_began)
{
    start(WORKLOAD_PUT);
    struct ask other;
    ask_init(&other, 6);
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(workload_next(&t.workload, &other));
    ck_assert(answer_write(20));
    begin_answer(19); /* began at the same time: may come before */
    ck_assert(workload_check(&t.workload, &other, buf_bytes(&t.answer), &t.why));
    ask_fini(&other);
}
END_TEST

START_TEST(a_linearizable_read_is_not_older_than_a_write_before_it)
{
    start(WORKLOAD_RANGE);
    t.workload.acked_revision = 10;
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(9);
    ck_assert(!judge());
    begin_answer(10);
    ck_assert(judge());
    ck_assert_uint_eq(t.workload.missing, 1);
}
END_TEST

START_TEST(a_serializable_read_may_be_older)
{
    start(WORKLOAD_RANGE_SERIALIZABLE);
    t.workload.acked_revision = 10;
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(3);
    ck_assert(judge());
    begin_answer(0);
    ck_assert(!judge());
}
END_TEST

static const struct {
    const char *name;
    int64_t mod_revision;
    size_t value_size;
    unsigned keys;
    bool want;
} reads[] = {
    {"as it was written", 5, 20, 1, true},
    {"of another size", 5, 19, 1, false},
    {"from the future", 10, 20, 1, false},
    {"two keys where one was asked for", 5, 20, 2, false},
};

START_TEST(what_a_read_finds_is_checked)
{
    start(WORKLOAD_RANGE);
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(9);
    for (unsigned i = 0; i < reads[_i].keys; i++) {
        add_key(reads[_i].mod_revision, reads[_i].value_size);
    }
    ck_assert_msg(judge() == reads[_i].want, "%s", reads[_i].name);
}
END_TEST

START_TEST(many_keys_are_no_more_than_the_limit)
{
    start(WORKLOAD_RANGE_MANY);
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(9);
    for (unsigned i = 0; i < 3; i++) {
        add_key(4, 20);
    }
    ck_assert(judge());
    add_key(4, 20);
    ck_assert(!judge());
}
END_TEST

static bool answer_txn(int64_t revision, bool succeeded)
{
    begin_answer(revision);
    if (succeeded) {
        put_field(&t.answer, 2, 1);
    }
    return judge();
}

START_TEST(a_swap_of_an_own_key_must_succeed)
{
    start(WORKLOAD_TXN);
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.kind, WIRE_RANGE); /* what revision has my key? */
    begin_answer(9);
    add_key(4, 20);
    ck_assert(judge());
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.kind, WIRE_TXN);
    ck_assert_int_eq(t.ask.own_revision, 4);
    ck_assert(answer_txn(10, true));
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.own_revision, 10);
    ck_assert(!answer_txn(11, false));
}
END_TEST

START_TEST(after_an_unknown_outcome_the_key_is_read_again)
{
    start(WORKLOAD_TXN);
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(9);
    ck_assert(judge()); /* not there */
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.own_revision, 0);
    workload_failed(&t.workload, &t.ask);
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.kind, WIRE_RANGE);
    begin_answer(9);
    ck_assert(judge());
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(answer_txn(10, false)); /* the one before came late */
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert_int_eq(t.ask.kind, WIRE_RANGE);
}
END_TEST

START_TEST(loading_puts_each_key_once_and_failed_ones_again)
{
    start(WORKLOAD_LOAD);
    bool seen[100] = {false};
    for (unsigned i = 0; i < 101; i++) {
        ck_assert(workload_next(&t.workload, &t.ask));
        /* key: field 1, length 8, "k/000042" */
        unsigned number =
            (unsigned)(t.ask.message.data[8] - '0') * 10 + (unsigned)(t.ask.message.data[9] - '0');
        ck_assert(!seen[number]);
        if (i == 50) {
            workload_failed(&t.workload, &t.ask);
        } else {
            seen[number] = true;
            ck_assert(answer_write(2 + (int64_t)i));
        }
    }
    ck_assert(!workload_next(&t.workload, &t.ask));
}
END_TEST

static bool answer_lease(int64_t id, int64_t ttl_s)
{
    begin_answer(1);
    put_field(&t.answer, 2, (uint64_t)id);
    put_field(&t.answer, 3, (uint64_t)ttl_s);
    return judge();
}

START_TEST(a_client_renews_the_lease_that_it_was_granted)
{
    start(WORKLOAD_LEASE_KEEP_ALIVE);
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(!t.ask.stream);
    ck_assert(!answer_lease(0, 600));
    ck_assert(!answer_lease(7, 60));
    ck_assert(answer_lease(7, 600));
    ck_assert(workload_next(&t.workload, &t.ask));
    ck_assert(t.ask.stream);
    ck_assert(bytes_equal(buf_bytes(&t.ask.message), bytes_of("\x08\x07", 2)));
    ck_assert(!answer_lease(7, 0));
    ck_assert(!answer_lease(8, 600));
    ck_assert(answer_lease(7, 600));
}
END_TEST

START_TEST(an_answer_that_is_no_message_is_wrong)
{
    start(WORKLOAD_PUT);
    ck_assert(workload_next(&t.workload, &t.ask));
    begin_answer(9);
    t.answer.len--;
    ck_assert(!judge());
}
END_TEST

/* PutRequest: key 1, value 2. */
static struct bytes field_of(unsigned field)
{
    struct reader r = reader_of(buf_bytes(&t.ask.message));
    struct bytes got = {0};
    while (reader_left(&r) > 0) {
        bool is_it = read_varint(&r) >> 3 == field;
        struct bytes bytes = read_var_bytes(&r, reader_left(&r));
        got = is_it ? bytes : got;
    }
    return got;
}

START_TEST(what_is_watched_is_put_and_tells_when_it_was_due)
{
    static const enum workload_kind kinds[] = {WORKLOAD_WATCH_FANOUT, WORKLOAD_WATCH_MANY,
                                               WORKLOAD_WATCH_SLOW};
    start(kinds[_i]);
    ck_assert(workload_is_watched(&t.workload));
    for (uint64_t due = 1000; due < 1020; due++) {
        t.workload.due_ns = due;
        ck_assert(workload_next(&t.workload, &t.ask));
        struct bytes value = field_of(2);
        ck_assert_uint_eq(value.len, 20);
        ck_assert_uint_eq(get_u64(value.data), due);
        bool is_watched = false;
        for (uint64_t n = 0; n < 100; n++) {
            struct bytes key = workload_watched_key(&t.workload, n);
            is_watched |= bytes_equal(key, field_of(1));
            ck_assert(kinds[_i] != WORKLOAD_WATCH_FANOUT || bytes_equal(key, field_of(1)));
        }
        ck_assert(is_watched);
    }
}
END_TEST

START_TEST(a_watched_value_has_room_for_its_time)
{
    const struct workload_options options = {
        .kind = WORKLOAD_WATCH_MANY, .key_size = 8, .value_size = 7, .keys = 1, .prefix = ""};
    ck_assert_int_eq(workload_init(&t.workload, &options, &t.why), ERR_INVALID);
}
END_TEST

START_TEST(keys_that_do_not_fit_are_refused)
{
    const struct workload_options options = {
        .kind = WORKLOAD_PUT, .key_size = 4, .keys = 101, .prefix = "k/"};
    ck_assert_int_eq(workload_init(&t.workload, &options, &t.why), ERR_INVALID);
}
END_TEST

START_TEST(names_lead_to_kinds_and_back)
{
    for (unsigned i = 0; i < WORKLOAD_KIND_COUNT; i++) {
        enum workload_kind kind;
        ck_assert_int_eq(workload_kind_parse(workload_kind_name((enum workload_kind)i), &kind), OK);
        ck_assert_int_eq(kind, i);
    }
    enum workload_kind kind;
    ck_assert_int_eq(workload_kind_parse("puts", &kind), ERR_NOT_FOUND);
}
END_TEST

static Suite *workload_suite(void)
{
    Suite *suite = suite_create("workload");
    TCase *checks = tcase_create("checks");
    tcase_add_checked_fixture(checks, setup, teardown);
    tcase_add_test(checks, revisions_of_writes_only_grow);
    tcase_add_test(checks, a_write_is_measured_against_what_was_acknowledged_before_it_began);
    tcase_add_test(checks, a_linearizable_read_is_not_older_than_a_write_before_it);
    tcase_add_test(checks, a_serializable_read_may_be_older);
    tcase_add_loop_test(checks, what_a_read_finds_is_checked, 0, ARRAY_LEN(reads));
    tcase_add_test(checks, many_keys_are_no_more_than_the_limit);
    tcase_add_test(checks, a_swap_of_an_own_key_must_succeed);
    tcase_add_test(checks, after_an_unknown_outcome_the_key_is_read_again);
    tcase_add_test(checks, a_client_renews_the_lease_that_it_was_granted);
    tcase_add_test(checks, an_answer_that_is_no_message_is_wrong);
    suite_add_tcase(suite, checks);
    TCase *asking = tcase_create("asking");
    tcase_add_checked_fixture(asking, setup, teardown);
    tcase_add_test(asking, loading_puts_each_key_once_and_failed_ones_again);
    tcase_add_loop_test(asking, what_is_watched_is_put_and_tells_when_it_was_due, 0, 3);
    tcase_add_test(asking, a_watched_value_has_room_for_its_time);
    tcase_add_test(asking, keys_that_do_not_fit_are_refused);
    tcase_add_test(asking, names_lead_to_kinds_and_back);
    suite_add_tcase(suite, asking);
    return suite;
}

int main(void)
{
    return runner_main(workload_suite);
}
