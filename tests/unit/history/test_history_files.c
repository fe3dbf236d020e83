/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/history.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/history/generate.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* Files of histories: written and read again they are the same; what is no history is refused with
 * its line, whatever it is. */

static enum err read_text(struct history *h, const void *text, size_t len, struct why *why)
{
    FILE *in = fmemopen((void *)text, len, "r");
    ck_assert_ptr_nonnull(in);
    enum err err = history_read_json(h, in, why);
    fclose(in);
    return err;
}

typedef void (*write_fn)(const struct history *h, const struct history_event *e, FILE *out);

static char *written(const struct history *h, write_fn write, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < history_count(h); i++) {
        write(h, history_at(h, i), out);
    }
    fclose(out);
    return text;
}

static char *generated(uint64_t seed, unsigned operations, size_t *ret_len)
{
    struct history *h = history_new();
    ck_assert_ptr_nonnull(h);
    history_generate(h, &(struct generate_options){.seed = seed, .operations = operations});
    char *text = written(h, history_write_json, ret_len);
    history_free(h);
    return text;
}

START_TEST(what_is_written_is_read)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        size_t len;
        size_t again_len;
        struct why why = {0};
        char *text = generated(seed, 300, &len);
        struct history *h = history_new();
        ck_assert_msg(read_text(h, text, len, &why) == OK, "%s", why.text);
        char *again = written(h, history_write_json, &again_len);
        ck_assert_uint_eq(again_len, len);
        ck_assert_int_eq(memcmp(again, text, len), 0);
        free(text);
        free(again);
        history_free(h);
    }
}
END_TEST

static const struct {
    const char *text;
    const char *why;
} refused[] = {
    {"[]", "line 1, column 1: an object is expected"},
    {"{\"process\":1", "line 1, column 13: a comma or the closing bracket is expected"},
    {"\n\n{\"process\":1}", "line 3, column 14: \"process\", \"type\", \"workload\" and \"f\" are "
                            "needed"},
    {"{\"process\":-1}", "line 1, column 14: the number is negative"},
    {"{\"process\":1.5}", "line 1, column 12: an integer is expected, not a fraction"},
    {"{\"process\":99999999999999999999}",
     "line 1, column 12: the integer does not fit in 64 bits"},
    {"{\"type\":\"okay\"}", "line 1, column 15: unknown type"},
    {"{\"workload\":\"regster\"}", "line 1, column 22: unknown workload"},
    {"{\"process\":\"nemesi\"}", "line 1, column 20: a process is an integer or \"nemesis\""},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"set\",\"f\":\"write\"}",
     "line 1, column 55: this workload has no such \"f\""},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"register\",\"f\":\"write\",\"value\":[1]}",
     "line 1, column 71: an element is missing"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"register\",\"f\":\"write\",\"value\":[1,2,3]}",
     "line 1, column 73: too many elements"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"register\",\"f\":\"write\",\"value\":[1,{}]}",
     "line 1, column 71: a string, an integer or null is expected"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"register\",\"f\":\"write\",\"value\":[null,2]}",
     "line 1, column 73: a key is missing"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"register\",\"f\":\"cas\",\"value\":[1,2]}",
     "line 1, column 69: a list is expected"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"wr\",\"f\":\"txn\",\"value\":[[\"append\",1,2]]"
     "}",
     "line 1, column 70: \"r\", \"w\" or \"c\" is expected"},
    {"{\"process\":1,\"type\":\"ok\",\"workload\":\"watch\",\"f\":\"events\"}",
     "line 1, column 58: what was told is of type \"info\""},
    {"{\"f\":\"\\u0100\"}", "line 1, column 13: \\u beyond 00ff in a string: strings are bytes"},
    {"{\"f\":\"a", "line 1, column 8: the string does not end"},
    {"{\"f\":\"a\"} {}", "line 1, column 11: something stands behind the end"},
    {"{\"x\":[1,]}", "line 1, column 9: a value is expected"},
};

START_TEST(what_is_no_history_is_refused_with_its_line)
{
    struct why why = {0};
    struct history *h = history_new();
    ck_assert_int_eq(read_text(h, refused[_i].text, strlen(refused[_i].text), &why), ERR_MALFORMED);
    ck_assert_str_eq(why.text, refused[_i].why);
    history_free(h);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
    struct buf text = {0};
    struct why why = {0};
    buf_append_str(&text, "{\"x\":");
    for (int i = 0; i < 100000; i++) {
        buf_append_str(&text, "[");
    }
    struct history *h = history_new();
    ck_assert_int_eq(read_text(h, text.data, text.len, &why), ERR_MALFORMED);
    ck_assert_ptr_nonnull(strstr(why.text, "nested too deeply"));
    buf_fini(&text);
    history_free(h);
}
END_TEST

/* Whatever stands in a file: it is read and judged, or refused. */
START_TEST(damaged_files_do_no_harm)
{
    unsigned tries = effort_count(4000, 100, "damaged files");
    size_t len;
    char *text = generated(5, 60, &len);
    uint64_t random = 1;
    unsigned read = 0;
    for (unsigned i = 0; i < tries; i++) {
        char *copy = malloc(len);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        for (uint64_t k = 0; k <= i % 3; k++) {
            random += 0x9e3779b97f4a7c15u;
            uint64_t r = mix64(random);
            /* Digits and quotes are what may be read as something else. */
            static const char bytes[] = "0123456789\",:[]{}nulfaiok\\- ";
            copy[r % len] = bytes[(r >> 32) % (sizeof bytes - 1)];
        }
        struct history *h = history_new();
        struct why why = {0};
        enum err err = read_text(h, copy, len, &why);
        ck_assert(err == OK || err == ERR_MALFORMED);
        if (err == OK) {
            struct history_report *report;
            struct history_options options = {0};
            ck_assert_int_eq(history_check(h, &options, &report), OK);
            history_report_free(report);
            read++;
        } else {
            ck_assert_ptr_nonnull(strstr(why.text, "line "));
        }
        history_free(h);
        free(copy);
    }
    printf("# %u of %u damaged files could be read\n", read, tries);
    ck_assert_uint_gt(read, 0);
    free(text);
}
END_TEST

START_TEST(edn_is_as_jepsen_reads_it)
{
    static const char json[] =
        "{\"index\":0,\"time\":5,\"process\":0,\"type\":\"invoke\",\"workload\":\"append\",\"f\":"
        "\"txn\",\"value\":[[\"append\",\"x\",1],[\"r\",\"y\",null]]}\n"
        "{\"index\":1,\"time\":6,\"process\":0,\"type\":\"ok\",\"workload\":\"append\",\"f\":"
        "\"txn\",\"value\":[[\"append\",\"x\",1],[\"r\",\"y\",[2,3]]],\"revision\":7}\n"
        "{\"index\":2,\"time\":7,\"process\":1,\"type\":\"fail\",\"workload\":\"register\",\"f\":"
        "\"cas\",\"value\":[4,[5,null]]}\n"
        "{\"index\":3,\"time\":8,\"process\":\"nemesis\",\"type\":\"info\",\"workload\":"
        "\"nemesis\",\"f\":\"kill\",\"value\":{\"a\":[1]}}\n";
    static const char edn[] =
        "{:index 0 :time 5 :process 0 :type :invoke :workload :append :f :txn :value "
        "[[:append \"x\" 1] [:r \"y\" nil]]}\n"
        "{:index 1 :time 6 :process 0 :type :ok :workload :append :f :txn :value "
        "[[:append \"x\" 1] [:r \"y\" [2 3]]] :revision 7}\n"
        "{:index 2 :time 7 :process 1 :type :fail :workload :register :f :cas :value "
        "[4 [5 nil]]}\n"
        "{:index 3 :time 8 :process :nemesis :type :info :workload :nemesis :f \"kill\" :value "
        "\"{\\\"a\\\":[1]}\"}\n";
    struct why why = {0};
    struct history *h = history_new();
    size_t len;
    ck_assert_msg(read_text(h, json, sizeof json - 1, &why) == OK, "%s", why.text);
    char *text = written(h, history_write_edn, &len);
    ck_assert_str_eq(text, edn);
    free(text);
    history_free(h);
}
END_TEST

START_TEST(digits_are_the_integer)
{
    struct history *h = history_new();
    ck_assert_uint_eq(history_text(h, bytes_of_str("7")), history_int(h, 7));
    ck_assert_uint_eq(history_text(h, bytes_of_str("-3")), history_int(h, -3));
    ck_assert_uint_eq(history_int(h, INT64_MIN),
                      history_text(h, bytes_of_str("-9223372036854775808")));
    int64_t number;
    ck_assert(!history_symbol_int(h, history_text(h, bytes_of_str("07")), &number));
    ck_assert(!history_symbol_int(h, history_text(h, bytes_of_str("+7")), &number));
    ck_assert(!history_symbol_int(h, history_text(h, bytes_of("7\0", 2)), &number));
    ck_assert(
        !history_symbol_int(h, history_text(h, bytes_of_str("9223372036854775808")), &number));
    history_free(h);
}
END_TEST

static Suite *history_files_suite(void)
{
    Suite *suite = suite_create("history_files");
    TCase *tcase = tcase_create("files");
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_loop_test(tcase, what_is_no_history_is_refused_with_its_line, 0,
                        (int)ARRAY_LEN(refused));
    tcase_add_test(tcase, deep_nesting_is_refused);
    tcase_add_test(tcase, damaged_files_do_no_harm);
    tcase_add_test(tcase, edn_is_as_jepsen_reads_it);
    tcase_add_test(tcase, digits_are_the_integer);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(history_files_suite);
}
