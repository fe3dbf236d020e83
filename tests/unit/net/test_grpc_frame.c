/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_frame.h"

#include <stdlib.h>

#include "base/hash.h"
#include "tests/lib/runner.h"

#define MAX 1000

/* Three messages in one run of bytes, cut at every place in two, and byte by byte. */
static const char run[] = "\0\0\0\0\5first"
                          "\0\0\0\0\0"
                          "\0\0\0\0\x0blast of all";

static void feed(struct grpc_frame_reader *reader, struct bytes input, struct buf *got)
{
    struct bytes message;
    enum grpc_frame_result result;
    while ((result = grpc_frame_next(reader, &input, MAX, &message)) == GRPC_FRAME_MESSAGE) {
        buf_append_bytes(got, message);
        buf_append_str(got, "|");
    }
    ck_assert_int_eq(result, GRPC_FRAME_MORE);
    ck_assert_uint_eq(input.len, 0);
}

START_TEST(messages_survive_any_cut)
{
    size_t cut = (size_t)_i;
    struct grpc_frame_reader reader = {0};
    struct buf got = {0};
    feed(&reader, bytes_of(run, cut), &got);
    feed(&reader, bytes_of(run + cut, sizeof run - 1 - cut), &got);
    ck_assert(!grpc_frame_is_partial(&reader));
    ck_assert(bytes_equal(buf_bytes(&got), bytes_of_str("first||last of all|")));
    buf_fini(&got);
    grpc_frame_fini(&reader);
}
END_TEST

START_TEST(messages_survive_single_bytes)
{
    struct grpc_frame_reader reader = {0};
    struct buf got = {0};
    for (size_t i = 0; i < sizeof run - 1; i++) {
        feed(&reader, bytes_of(run + i, 1), &got);
    }
    ck_assert(bytes_equal(buf_bytes(&got), bytes_of_str("first||last of all|")));
    buf_fini(&got);
    grpc_frame_fini(&reader);
}
END_TEST

START_TEST(a_whole_message_is_not_copied)
{
    struct grpc_frame_reader reader = {0};
    struct bytes input = bytes_of(run, sizeof run - 1);
    struct bytes message;
    ck_assert_int_eq(grpc_frame_next(&reader, &input, MAX, &message), GRPC_FRAME_MESSAGE);
    ck_assert_ptr_eq(message.data, run + 5);
    ck_assert_uint_eq(grpc_frame_held_bytes(&reader), 0);
    grpc_frame_fini(&reader);
}
END_TEST

START_TEST(a_promise_costs_no_memory)
{
    struct grpc_frame_reader reader = {0};
    struct bytes input = bytes_of("\0\xff\xff\xff\xff"
                                  "ab",
                                  7);
    struct bytes message;
    ck_assert_int_eq(grpc_frame_next(&reader, &input, UINT32_MAX, &message), GRPC_FRAME_MORE);
    ck_assert(grpc_frame_is_partial(&reader));
    ck_assert_uint_eq(grpc_frame_held_bytes(&reader), 2);
    ck_assert_uint_lt(reader.partial.cap, 1000);
    grpc_frame_fini(&reader);
}
END_TEST

static const struct {
    const char *input;
    enum grpc_frame_result want;
} prefixes[] = {
    {"\0\0\0\3\xe9", GRPC_FRAME_TOO_LARGE}, /* 1001 */
    {"\1\0\0\0\1", GRPC_FRAME_COMPRESSED},  {"\2\0\0\0\1", GRPC_FRAME_BAD_FLAG},
    {"\xff\0\0\0\1", GRPC_FRAME_BAD_FLAG},  {"\0\0\0\3\xe8", GRPC_FRAME_MORE}, /* 1000 */
};

START_TEST(prefixes_are_checked)
{
    struct grpc_frame_reader reader = {0};
    struct bytes input = bytes_of(prefixes[_i].input, 5);
    struct bytes message;
    ck_assert_int_eq(grpc_frame_next(&reader, &input, MAX, &message), prefixes[_i].want);
    grpc_frame_fini(&reader);
}
END_TEST

static const struct {
    const char *text;
    const char *encoded;
} texts[] = {
    {"", ""},
    {"etcdserver: no leader", "etcdserver: no leader"},
    {"100%", "100%25"},
    {"a\nb\tc", "a%0Ab%09c"},
    {"\xc3\xa4~\x7f", "%C3%A4~%7F"},
};

START_TEST(texts_are_encoded_and_decoded)
{
    struct arena arena = {0};
    struct bytes encoded;
    ck_assert(grpc_message_encode(&arena, texts[_i].text, &encoded));
    ck_assert(bytes_equal(encoded, bytes_of_str(texts[_i].encoded)));
    size_t len = grpc_message_decode((uint8_t *)encoded.data, encoded.len);
    ck_assert(bytes_equal(bytes_of(encoded.data, len), bytes_of_str(texts[_i].text)));
    arena_fini(&arena);
}
END_TEST

static const struct {
    const char *encoded;
    const char *text;
} odd[] = {{"%", "%"},     {"%4", "%4"},   {"%zz", "%zz"}, {"%4z", "%4z"},
           {"%41%", "A%"}, {"%%41", "%A"}, {"a%6", "a%6"}, {"%e4%E4", "\xe4\xe4"}};

START_TEST(what_is_no_escape_stays)
{
    uint8_t text[16];
    size_t len = strlen(odd[_i].encoded);
    memcpy(text, odd[_i].encoded, len);
    len = grpc_message_decode(text, len);
    ck_assert(bytes_equal(bytes_of(text, len), bytes_of_str(odd[_i].text)));
}
END_TEST

static const struct {
    const char *text;
    enum err want;
    uint64_t ns;
} timeouts[] = {
    {"1n", OK, 1},
    {"100u", OK, 100000},
    {"5000m", OK, 5000000000},
    {"7S", OK, 7000000000},
    {"2M", OK, 120000000000},
    {"1H", OK, 3600000000000},
    {"99999999H", OK, UINT64_MAX / 2},
    {"0S", OK, 0},
    {"", ERR_MALFORMED, 0},
    {"5", ERR_MALFORMED, 0},
    {"S", ERR_MALFORMED, 0},
    {"123456789S", ERR_MALFORMED, 0},
    {"-1S", ERR_MALFORMED, 0},
    {"1.5S", ERR_MALFORMED, 0},
    {"1s", ERR_MALFORMED, 0},
    {" 1S", ERR_MALFORMED, 0},
};

START_TEST(timeouts_are_understood)
{
    uint64_t ns = 0;
    ck_assert_int_eq(grpc_timeout_parse(bytes_of_str(timeouts[_i].text), &ns), timeouts[_i].want);
    ck_assert_uint_eq(ns, timeouts[_i].ns);
}
END_TEST

/* What is written is read as the same or, rounded up, a little more; never less. */
START_TEST(timeouts_are_never_shortened)
{
    uint64_t seed = 1;
    for (unsigned i = 0; i < 10000; i++) {
        seed = mix64(seed);
        uint64_t want = seed >> (seed % 60 + 3);
        char text[10];
        size_t len = grpc_timeout_format(want, text);
        uint64_t got;
        ck_assert_int_eq(grpc_timeout_parse(bytes_of(text, len), &got), OK);
        ck_assert_msg(got >= want && got - want <= want / 10000 + 1, "%.*s for %llu", (int)len,
                      text, (unsigned long long)want);
    }
}
END_TEST

static Suite *grpc_frame_suite(void)
{
    Suite *suite = suite_create("grpc_frame");
    TCase *messages = tcase_create("messages");
    tcase_add_loop_test(messages, messages_survive_any_cut, 0, (int)sizeof run);
    tcase_add_test(messages, messages_survive_single_bytes);
    tcase_add_test(messages, a_whole_message_is_not_copied);
    tcase_add_test(messages, a_promise_costs_no_memory);
    tcase_add_loop_test(messages, prefixes_are_checked, 0, (int)ARRAY_LEN(prefixes));
    suite_add_tcase(suite, messages);
    TCase *words = tcase_create("texts");
    tcase_add_loop_test(words, texts_are_encoded_and_decoded, 0, (int)ARRAY_LEN(texts));
    tcase_add_loop_test(words, what_is_no_escape_stays, 0, (int)ARRAY_LEN(odd));
    tcase_add_loop_test(words, timeouts_are_understood, 0, (int)ARRAY_LEN(timeouts));
    tcase_add_test(words, timeouts_are_never_shortened);
    suite_add_tcase(suite, words);
    return suite;
}

int main(void)
{
    return runner_main(grpc_frame_suite);
}
