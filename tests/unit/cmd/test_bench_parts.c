/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cmd/cli/options.h"
#include "cmd/trivet-bench/latency.h"
#include "cmd/trivet-bench/tidings.h"
#include "cmd/trivet-bench/wire.h"
#include "tests/lib/runner.h"

static struct latency latency;

START_TEST(percentiles_are_within_two_percent)
{
    latency_reset(&latency);
    for (uint64_t i = 1; i <= 100000; i++) {
        latency_record(&latency, i * 1000);
    }
    static const double percents[] = {1, 50, 90, 99, 99.9};
    for (size_t i = 0; i < ARRAY_LEN(percents); i++) {
        double exact = percents[i] * 1000 * 1000;
        double got = (double)latency_percentile_ns(&latency, percents[i]);
        ck_assert_double_ge(got, exact * 0.999);
        ck_assert_double_le(got, exact * 1.02);
    }
    ck_assert_uint_eq(latency_percentile_ns(&latency, 100), 100000000);
    ck_assert_uint_eq(latency.max_ns, 100000000);
}
END_TEST

START_TEST(every_value_has_a_bucket)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        latency_reset(&latency);
        uint64_t value = UINT64_C(1) << shift;
        latency_record(&latency, value);
        latency_record(&latency, value - 1);
        ck_assert_uint_eq(latency_percentile_ns(&latency, 100), value);
    }
    latency_record(&latency, UINT64_MAX);
    ck_assert_uint_eq(latency_percentile_ns(&latency, 100), UINT64_MAX);
}
END_TEST

START_TEST(merged_latencies_add_up)
{
    struct latency *other = calloc(1, sizeof *other);
    latency_reset(&latency);
    latency_record(&latency, 10);
    latency_record(other, 30);
    latency_merge(&latency, other);
    ck_assert_uint_eq(latency.count, 2);
    ck_assert_uint_eq(latency_mean_ns(&latency), 20);
    ck_assert_uint_eq(latency.max_ns, 30);
    free(other);
}
END_TEST

/* Header {cluster 1, member 2, revision 7, term 3}, one kv {key "k", mod_revision 5}, count 1. */
static const uint8_t range_answer[] = {0x0a, 0x08, 0x08, 0x01, 0x10, 0x02, 0x18, 0x07, 0x20, 0x03,
                                       0x12, 0x05, 0x0a, 0x01, 'k',  0x18, 0x05, 0x20, 0x01};

START_TEST(an_answer_is_read)
{
    struct wire_answer answer;
    ck_assert_int_eq(
        wire_read_answer(WIRE_RANGE, bytes_of(range_answer, sizeof range_answer), &answer), OK);
    ck_assert_int_eq(answer.revision, 7);
    ck_assert_int_eq(answer.mod_revision, 5);
    ck_assert_uint_eq(answer.kv_count, 1);
}
END_TEST

START_TEST(an_answer_cut_inside_a_field_is_refused)
{
    static const size_t ends_of_fields[] = {0, 10, 17};
    for (size_t len = 0; len < sizeof range_answer; len++) {
        bool whole = false;
        for (size_t i = 0; i < ARRAY_LEN(ends_of_fields); i++) {
            whole |= len == ends_of_fields[i];
        }
        struct wire_answer answer;
        enum err err = wire_read_answer(WIRE_RANGE, bytes_of(range_answer, len), &answer);
        ck_assert_msg((err == OK) == whole, "cut at %zu: %s", len, err_text(err));
    }
}
END_TEST

START_TEST(events_are_read_out_of_a_watch_response)
{
    /* header {}, watch_id 3, an event {kv {key "k", mod_revision 5, version 2, value "v"}}, one of
     * a deletion */
    static const uint8_t response[] = {0x0a, 0,   0x10, 3, 0x5a, 12, 0x12, 10, 0x0a,
                                       1,    'k', 0x18, 5, 0x20, 2,  0x2a, 1,  'v',
                                       0x5a, 6,   0x08, 1, 0x12, 2,  0x18, 6};
    struct bytes message = bytes_of(response, sizeof response);
    struct reader r = reader_of(message);
    struct wire_watch_answer answer;
    ck_assert_int_eq(wire_read_watch_answer(&r, &answer), OK);
    ck_assert_uint_eq(answer.watch_id, 3);
    ck_assert(!answer.created && !answer.canceled);
    struct wire_event event;
    ck_assert(wire_next_event(&r, &event));
    ck_assert_int_eq(event.mod_revision, 5);
    ck_assert_int_eq(event.version, 2);
    ck_assert(bytes_equal(event.key, bytes_of_str("k")));
    ck_assert(bytes_equal(event.value, bytes_of_str("v")));
    ck_assert(wire_next_event(&r, &event));
    ck_assert_int_eq(event.mod_revision, 6);
    ck_assert_int_eq(event.version, 0);
    ck_assert_uint_eq(event.value.len, 0);
    ck_assert(!wire_next_event(&r, &event));
    ck_assert_int_eq(reader_end(&r), OK);
}
END_TEST

START_TEST(a_watch_response_cut_inside_a_field_is_refused)
{
    /* header {revision 5}, watch_id 3, an event {kv {mod_revision 261}} */
    static const uint8_t response[] = {0x0a, 2, 0x18, 5, 0x10, 3, 0x5a, 5, 0x12, 3, 0x18, 0x85, 2};
    static const size_t ends_of_fields[] = {0, 4, 6, sizeof response};
    for (size_t len = 0; len <= sizeof response; len++) {
        bool whole = false;
        for (size_t i = 0; i < ARRAY_LEN(ends_of_fields); i++) {
            whole |= len == ends_of_fields[i];
        }
        struct reader r = reader_of(bytes_of(response, len));
        struct wire_watch_answer answer;
        struct wire_event event = {0};
        bool right = wire_read_watch_answer(&r, &answer) == OK;
        ck_assert(wire_next_event(&r, &event) == (len == sizeof response));
        right &= reader_end(&r) == OK;
        ck_assert_msg(right == whole, "cut at %zu", len);
        ck_assert(len < sizeof response || event.mod_revision == 261);
    }
}
END_TEST

/* An event of a put, in the bytes of the contract. */
static void append_event(struct buf *events, int64_t revision, int64_t version, uint64_t due)
{
    const uint8_t event[] = {0x5a, 16, 0x12, 14, 0x18, (uint8_t)revision, 0x20, (uint8_t)version,
                             0x2a, 8};
    buf_append(events, event, sizeof event);
    write_u64(events, due);
}

static const char *told(struct tidings *tidings, struct sight *sight, int64_t revision,
                        int64_t version, unsigned count)
{
    CLEANUP(buf_fini) struct buf events = {0};
    for (unsigned i = 0; i < count; i++) {
        append_event(&events, revision + i, version + i, 1000 + i);
    }
    const char *wrong = tidings_read(tidings, buf_bytes(&events));
    return wrong != NULL ? wrong : sight_take(sight, tidings);
}

START_TEST(watchers_are_told_everything_once_in_order)
{
    struct tidings tidings = {0};
    struct sight first = {0};
    struct sight second = {0};
    ck_assert_ptr_null(told(&tidings, &first, 5, 1, 3));
    ck_assert_uint_eq(tidings.count, 3);
    ck_assert_uint_eq(tidings_due(&tidings, 2), 1002);
    ck_assert_ptr_null(told(&tidings, &second, 5, 1, 3)); /* the same bytes */
    ck_assert_str_eq(told(&tidings, &second, 5, 1, 3), "an event came twice, or late");
    ck_assert_ptr_null(told(&tidings, &first, 8, 4, 1));
    ck_assert_str_eq(told(&tidings, &first, 10, 6, 1), "events are missing before");
    ck_assert_ptr_null(told(&tidings, &first, 11, 7, 2));
    tidings_fini(&tidings);
}
END_TEST

START_TEST(events_that_cannot_follow_each_other_are_noticed)
{
    struct tidings tidings = {0};
    CLEANUP(buf_fini) struct buf events = {0};
    append_event(&events, 5, 1, 0);
    append_event(&events, 7, 3, 0);
    ck_assert_str_eq(tidings_read(&tidings, buf_bytes(&events)), "events are missing before");
    buf_clear(&events);
    append_event(&events, 5, 1, 0);
    append_event(&events, 5, 2, 0);
    ck_assert_str_eq(tidings_read(&tidings, buf_bytes(&events)), "an event came twice, or late");
    ck_assert_str_eq(tidings_read(&tidings, bytes_of("", 0)), "no valid events");
    for (size_t len = 1; len < 18; len++) {
        ck_assert_str_eq(tidings_read(&tidings, bytes_of(events.data, len)), "no valid events");
    }
    ck_assert_ptr_null(tidings_read(&tidings, bytes_of(events.data, 18)));
    events.data[1] = 8; /* without the value */
    events.data[3] = 6;
    events.data[8] = 0x30;
    ck_assert_str_eq(tidings_read(&tidings, bytes_of(events.data, 10)), "a value that nobody put");
    tidings_fini(&tidings);
}
END_TEST

START_TEST(a_watcher_is_asked_for_in_the_bytes_of_the_contract)
{
    static const uint8_t want[] = {0x0a, 3, 0x0a, 1, 'k'};
    CLEANUP(buf_fini) struct buf buf = {0};
    wire_watch_create(&buf, bytes_of_str("k"));
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of(want, sizeof want)));
}
END_TEST

START_TEST(a_watcher_of_deletions_is_asked_for_in_the_bytes_of_the_contract)
{
    static const uint8_t want[] = {0x0a, 9, 0x0a, 1, 'k', 0x12, 1, 'l', 0x2a, 1, 0};
    CLEANUP(buf_fini) struct buf buf = {0};
    wire_watch_deletions(&buf, bytes_of_str("k"), bytes_of_str("l"));
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of(want, sizeof want)));
}
END_TEST

START_TEST(a_put_with_a_lease_has_the_bytes_of_the_contract)
{
    static const uint8_t want[] = {0x0a, 1, 'k', 0x12, 1, 'v', 0x18, 0x80, 1};
    CLEANUP(buf_fini) struct buf buf = {0};
    wire_put_leased(&buf, bytes_of_str("k"), bytes_of_str("v"), 128);
    ck_assert(bytes_equal(buf_bytes(&buf), bytes_of(want, sizeof want)));
}
END_TEST

START_TEST(leases_are_counted)
{
    /* header {}, leases {ID 1}, {ID 300} */
    static const uint8_t answer[] = {0x0a, 0, 0x12, 2, 0x08, 1, 0x12, 3, 0x08, 0xac, 2};
    uint64_t count = 7;
    ck_assert_int_eq(wire_count_leases(bytes_of(answer, sizeof answer), &count), OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(wire_count_leases(bytes_of(answer, sizeof answer - 1), &count), ERR_MALFORMED);
}
END_TEST

START_TEST(a_compare_and_swap_has_the_bytes_of_the_contract)
{
    static const uint8_t want[] = {0x0a, 0x07, 0x10, 0x02, 0x1a, 0x01, 'k',  0x30, 0x05, 0x12,
                                   0x08, 0x12, 0x06, 0x0a, 0x01, 'k',  0x12, 0x01, 'v'};
    struct buf buf = {0};
    wire_compare_and_swap(&buf, bytes_of_str("k"), 5, bytes_of_str("v"));
    ck_assert_uint_eq(buf.len, sizeof want);
    ck_assert_mem_eq(buf.data, want, sizeof want);
    buf_fini(&buf);
}
END_TEST

struct target {
    const char *text;
    uint64_t number;
    uint64_t ms;
    bool flag;
};
static const struct option_row rows[] = {
    {"text", OPTION_TEXT, offsetof(struct target, text), "T", "a text"},
    {"number", OPTION_NUMBER, offsetof(struct target, number), "N", "a number"},
    {"time", OPTION_DURATION_MS, offsetof(struct target, ms), "D", "a duration"},
    {"flag", OPTION_BOOL, offsetof(struct target, flag), NULL, "a flag"},
};

static const struct {
    const char *args[4];
    enum err want;
} lines[] = {
    {{"--text", "x", "--flag"}, OK}, {{"--number=12", "a"}, OK},     {{"--time=1.5s"}, OK},
    {{"--", "--text"}, OK},          {{"--number=x"}, ERR_INVALID},  {{"--number=-1"}, ERR_INVALID},
    {{"--time=1y"}, ERR_INVALID},    {{"--flag=1"}, ERR_INVALID},    {{"--text"}, ERR_INVALID},
    {{"--other"}, ERR_INVALID},      {{"a", "b", "c"}, ERR_INVALID},
};

START_TEST(options_are_read_or_refused)
{
    const char *argv[6] = {"tool"};
    int argc = 1;
    for (; argc < 5 && lines[_i].args[argc - 1] != NULL; argc++) {
        argv[argc] = lines[_i].args[argc - 1];
    }
    struct target target = {0};
    struct why why = {{0}};
    const char *args[2];
    size_t arg_count;
    enum err err = options_parse(rows, ARRAY_LEN(rows), argc, argv, &target, args, ARRAY_LEN(args),
                                 &arg_count, &why);
    ck_assert_msg(err == lines[_i].want, "%s: %s", lines[_i].args[0], why.text);
    ck_assert((err == OK) == (why.text[0] == '\0'));
}
END_TEST

static Suite *bench_parts_suite(void)
{
    Suite *suite = suite_create("bench_parts");
    TCase *tcase = tcase_create("bench_parts");
    tcase_add_test(tcase, percentiles_are_within_two_percent);
    tcase_add_test(tcase, every_value_has_a_bucket);
    tcase_add_test(tcase, merged_latencies_add_up);
    tcase_add_test(tcase, an_answer_is_read);
    tcase_add_test(tcase, an_answer_cut_inside_a_field_is_refused);
    tcase_add_test(tcase, events_are_read_out_of_a_watch_response);
    tcase_add_test(tcase, a_watch_response_cut_inside_a_field_is_refused);
    tcase_add_test(tcase, watchers_are_told_everything_once_in_order);
    tcase_add_test(tcase, events_that_cannot_follow_each_other_are_noticed);
    tcase_add_test(tcase, a_watcher_is_asked_for_in_the_bytes_of_the_contract);
    tcase_add_test(tcase, a_compare_and_swap_has_the_bytes_of_the_contract);
    tcase_add_test(tcase, a_watcher_of_deletions_is_asked_for_in_the_bytes_of_the_contract);
    tcase_add_test(tcase, a_put_with_a_lease_has_the_bytes_of_the_contract);
    tcase_add_test(tcase, leases_are_counted);
    tcase_add_loop_test(tcase, options_are_read_or_refused, 0, ARRAY_LEN(lines));
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(bench_parts_suite);
}
