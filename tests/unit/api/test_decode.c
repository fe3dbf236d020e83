/* SPDX-License-Identifier: Apache-2.0 */
#include "api/decode.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"
#include "proto/rpc.pb-c.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"

#define COMPARE 1
#define SUCCESS 2
#define FAILURE 3
#define OPS_MAX 10

static struct arena arena;
static struct buf buf;

static void set_up(void)
{
    arena = (struct arena){0};
    buf = (struct buf){0};
}

static void tear_down(void)
{
    arena_fini(&arena);
    buf_fini(&buf);
}

/* Checked from memory that ends where the bytes end, for the sanitizers. */
static enum err check(struct bytes bytes)
{
    CLEANUP(freep) uint8_t *copy = malloc(bytes.len + 1);
    ck_assert_ptr_nonnull(copy);
    if (bytes.len > 0) {
        memcpy(copy + 1, bytes.data, bytes.len);
    }
    return decode_check_txn(bytes_of(copy + 1, bytes.len), OPS_MAX);
}

static void write_field(struct buf *to, unsigned number, struct bytes value)
{
    write_varint(to, number << 3 | 2);
    write_var_bytes(to, value);
}

/* A TxnRequest with a TxnRequest in a RequestOp of FIELD, DEPTH times. */
static void write_nested(struct buf *to, unsigned field, unsigned depth)
{
    CLEANUP(buf_fini) struct buf inner = {0};
    for (unsigned i = 0; i < depth; i++) {
        CLEANUP(buf_fini) struct buf op = {0};
        write_field(&op, 4, buf_bytes(&inner));
        buf_clear(&inner);
        write_field(&inner, field, buf_bytes(&op));
    }
    buf_append_bytes(to, buf_bytes(&inner));
}

START_TEST(nesting_has_a_bound)
{
    static const struct {
        unsigned depth;
        enum err want;
    } cases[] = {{0, OK},
                 {1, OK},
                 {TXN_DEPTH_MAX, OK},
                 {TXN_DEPTH_MAX + 1, ERR_TOO_MANY_OPS},
                 {5000, ERR_TOO_MANY_OPS}};
    for (unsigned field = SUCCESS; field <= FAILURE; field++) {
        buf_clear(&buf);
        write_nested(&buf, field, cases[_i].depth);
        ck_assert_int_eq(check(buf_bytes(&buf)), cases[_i].want);
    }
}
END_TEST

/* What the check lets pass, the decoder takes as deep as it is. */
START_TEST(what_is_as_deep_as_allowed_is_decoded)
{
    write_nested(&buf, FAILURE, TXN_DEPTH_MAX);
    Etcdserverpb__TxnRequest *txn =
        decode_message(&etcdserverpb__txn_request__descriptor, &arena, buf_bytes(&buf));
    for (unsigned depth = 0; depth < TXN_DEPTH_MAX; depth++) {
        ck_assert_ptr_nonnull(txn);
        ck_assert_uint_eq(txn->n_failure, 1);
        txn = txn->failure[0]->request_txn;
    }
    ck_assert_uint_eq(txn->n_failure, 0);
}
END_TEST

/* A list of empty members, in a transaction or in one nested in it. */
static enum err check_list(unsigned field, unsigned count, bool nested)
{
    CLEANUP(buf_fini) struct buf txn = {0};
    for (unsigned i = 0; i < count; i++) {
        write_field(&txn, field, bytes_of(NULL, 0));
    }
    if (!nested) {
        return check(buf_bytes(&txn));
    }
    CLEANUP(buf_fini) struct buf op = {0};
    CLEANUP(buf_fini) struct buf outer = {0};
    write_field(&op, 4, buf_bytes(&txn));
    write_field(&outer, SUCCESS, buf_bytes(&op));
    return check(buf_bytes(&outer));
}

START_TEST(each_list_has_a_bound_on_each_level)
{
    for (unsigned field = COMPARE; field <= FAILURE; field++) {
        ck_assert_int_eq(check_list(field, OPS_MAX, false), OK);
        ck_assert_int_eq(check_list(field, OPS_MAX + 1, false), ERR_TOO_MANY_OPS);
        ck_assert_int_eq(check_list(field, OPS_MAX + 1, true), OK); /* judged in its turn */
        ck_assert_int_eq(check_list(field, TXN_OPS_MAX, true), OK);
        ck_assert_int_eq(check_list(field, TXN_OPS_MAX + 1, true), ERR_TOO_MANY_OPS);
    }
}
END_TEST

/* A oneof that comes twice is merged by the decoder: what came first counts as well. */
START_TEST(every_member_of_an_operation_is_looked_at)
{
    CLEANUP(buf_fini) struct buf deep = {0};
    CLEANUP(buf_fini) struct buf op = {0};
    write_nested(&deep, SUCCESS, TXN_DEPTH_MAX + 1);
    write_field(&op, 4, buf_bytes(&deep));
    write_field(&op, 4, bytes_of(NULL, 0));
    write_field(&op, 2, bytes_of(NULL, 0));
    write_field(&buf, SUCCESS, buf_bytes(&op));
    ck_assert_int_eq(check(buf_bytes(&buf)), ERR_TOO_MANY_OPS);
}
END_TEST

START_TEST(fields_of_every_type_are_passed_over)
{
    write_varint(&buf, 100 << 3 | 0);
    write_varint(&buf, UINT64_MAX);
    write_varint(&buf, 101 << 3 | 1);
    write_u64(&buf, 1);
    write_varint(&buf, 102 << 3 | 5);
    write_u32(&buf, 1);
    write_field(&buf, 103, bytes_of_str("text"));
    write_nested(&buf, SUCCESS, TXN_DEPTH_MAX + 1);
    ck_assert_int_eq(check(buf_bytes(&buf)), ERR_TOO_MANY_OPS);
}
END_TEST

static bool is_decoded(struct bytes bytes)
{
    return decode_message(&etcdserverpb__txn_request__descriptor, &arena, bytes) != NULL;
}

/* However its tag is written, and however deep. */
START_TEST(there_is_no_field_zero)
{
    static const struct {
        uint8_t bytes[5];
        size_t len;
        bool good;
    } tags[] = {
        {{0x00, 1}, 2, false},             /* field 0 */
        {{0x80, 0x00, 1}, 3, false},       /* the same, with a longer tag */
        {{0x80, 0x80, 0x00, 1}, 4, false}, /* and a longer one */
        {{0xb8, 0x00, 1}, 3, true},        /* field 7, which nobody knows */
    };
    struct bytes field = bytes_of(tags[_i].bytes, tags[_i].len);
    ck_assert_int_eq(is_decoded(field), tags[_i].good);
    write_field(&buf, SUCCESS, field);
    ck_assert_int_eq(is_decoded(buf_bytes(&buf)), tags[_i].good);
}
END_TEST

START_TEST(hostile_bytes_do_no_harm)
{
    struct random_commands random = {.state = 1, .arena = &arena};
    write_nested(&buf, SUCCESS, TXN_DEPTH_MAX);
    for (size_t len = 0; len <= buf.len; len++) {
        enum err err = check(bytes_of(buf.data, len));
        ck_assert(err == OK || err == ERR_TOO_MANY_OPS);
    }
    for (size_t i = 0; i < 8 * buf.len; i++) {
        buf.data[i / 8] ^= (uint8_t)(1u << i % 8);
        enum err err = check(buf_bytes(&buf));
        ck_assert(err == OK || err == ERR_TOO_MANY_OPS);
        buf.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t noise[40];
        size_t len = random_below(&random, sizeof noise);
        for (size_t i = 0; i < len; i++) {
            noise[i] = (uint8_t)random_below(&random, random_below(&random, 2) == 0 ? 40 : 256);
        }
        enum err err = check(bytes_of(noise, len));
        ck_assert(err == OK || err == ERR_TOO_MANY_OPS);
        struct arena small = {.max_bytes = 100000};
        (void)decode_message(&etcdserverpb__txn_request__descriptor, &small, bytes_of(noise, len));
        arena_fini(&small);
    }
}
END_TEST

static void write_plain_field(struct random_commands *random, struct buf *to)
{
    static const uint8_t text[] = "0123456789";
    uint64_t field = 1 + random_below(random, 6); /* of PutRequest; the first two are bytes */
    uint64_t wire_type = field <= 2 ? 2 : 0;
    if (random_below(random, 20) == 0) {
        wire_type = random_below(random, 6);
    }
    write_varint(to, (random_below(random, 20) == 0 ? 7 : field) << 3 | wire_type);
    if (wire_type == 2) {
        write_var_bytes(to, bytes_of(text, random_below(random, sizeof text)));
    } else if (field == 3) {
        write_varint(to, random_below(random, 2) == 0 ? UINT64_MAX : random_below(random, 1000));
    } else {
        write_u8(to, (uint8_t)random_below(random, 3));
    }
}

/* Nearly all messages are not decoded by protobuf-c: as it would have done. */
START_TEST(a_message_of_any_fields_is_what_protobuf_c_makes_of_it)
{
    struct random_commands random = {.state = 1, .arena = &arena};
    unsigned good = 0;
    for (unsigned round = 0; round < 20000; round++) {
        buf_clear(&buf);
        for (uint64_t fields = random_below(&random, 8); fields > 0; fields--) {
            write_plain_field(&random, &buf);
        }
        size_t len = buf.len - (random_below(&random, 10) == 0 && buf.len > 0);
        Etcdserverpb__PutRequest *want = etcdserverpb__put_request__unpack(NULL, len, buf.data);
        const Etcdserverpb__PutRequest *got =
            decode_message(&etcdserverpb__put_request__descriptor, &arena, bytes_of(buf.data, len));
        ck_assert((got == NULL) == (want == NULL));
        if (got != NULL) {
            good++;
            ck_assert(bytes_equal(bytes_of(got->key.data, got->key.len),
                                  bytes_of(want->key.data, want->key.len)));
            ck_assert(bytes_equal(bytes_of(got->value.data, got->value.len),
                                  bytes_of(want->value.data, want->value.len)));
            ck_assert_int_eq(got->lease, want->lease);
            ck_assert_int_eq(got->prev_kv, want->prev_kv);
            ck_assert_int_eq(got->ignore_value, want->ignore_value);
            ck_assert_int_eq(got->ignore_lease, want->ignore_lease);
        }
        etcdserverpb__put_request__free_unpacked(want, NULL);
        arena_reset(&arena);
    }
    ck_assert_uint_gt(good, 5000);
    ck_assert_uint_lt(good, 19000);
}
END_TEST

START_TEST(a_message_beyond_its_memory_is_refused)
{
    struct arena small = {.max_bytes = 10000};
    for (unsigned i = 0; i < 10000; i++) {
        write_field(&buf, SUCCESS, bytes_of(NULL, 0));
    }
    ck_assert_ptr_null(
        decode_message(&etcdserverpb__txn_request__descriptor, &small, buf_bytes(&buf)));
    arena_fini(&small);
}
END_TEST

START_TEST(a_text_is_utf8)
{
    static const struct {
        const char *text;
        bool want;
    } texts[] = {
        {"", true},
        {"plain", true},
        {"\x7f", true},
        {"\xc2\x80", true},          /* the first of two bytes */
        {"\xc3\xa9t\xc3\xa9", true}, /* a word */
        {"\xdf\xbf", true},          /* the last of two */
        {"\xe0\xa0\x80", true},      /* the first of three */
        {"\xed\x9f\xbf", true},      /* the last before the surrogates */
        {"\xee\x80\x80", true},      /* the first after them */
        {"\xef\xbf\xbf", true},      /* the last of three */
        {"\xf0\x90\x80\x80", true},  /* the first of four */
        {"\xf4\x8f\xbf\xbf", true},  /* the last of all */
        {"\x80", false},             /* goes on, from nothing */
        {"a\xbf", false},
        {"\xc0\x80", false}, /* longer than need be */
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false}, /* surrogates */
        {"\xed\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false}, /* beyond the last */
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xfe\xff", false},
        {"\xc2", false}, /* ends early */
        {"\xe2\x82", false},
        {"\xf0\x9f\x98", false},
        {"\xc2\x41", false}, /* does not go on */
        {"\xe2\x82\x41", false},
    };
    ck_assert_msg(text_is_utf8(bytes_of_str(texts[_i].text)) == texts[_i].want, "text %d", _i);
}
END_TEST

static Suite *decode_suite(void)
{
    Suite *suite = suite_create("decode");
    TCase *tc = tcase_create("decode");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, nesting_has_a_bound, 0, 5);
    tcase_add_test(tc, what_is_as_deep_as_allowed_is_decoded);
    tcase_add_test(tc, each_list_has_a_bound_on_each_level);
    tcase_add_test(tc, every_member_of_an_operation_is_looked_at);
    tcase_add_test(tc, fields_of_every_type_are_passed_over);
    tcase_add_loop_test(tc, there_is_no_field_zero, 0, 4);
    tcase_add_test(tc, hostile_bytes_do_no_harm);
    tcase_add_test(tc, a_message_of_any_fields_is_what_protobuf_c_makes_of_it);
    tcase_add_test(tc, a_message_beyond_its_memory_is_refused);
    tcase_add_loop_test(tc, a_text_is_utf8, 0, 29);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(decode_suite);
}
