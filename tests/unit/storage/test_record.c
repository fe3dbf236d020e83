/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/record.h"

#include "storage/slabs.h"
#include "tests/lib/runner.h"

static struct record *make(const char *key, const char *value)
{
    struct record *record = record_new(bytes_of_str(key), bytes_of_str(value));
    ck_assert_ptr_nonnull(record);
    record->rev = revision_pack(1000, 3);
    record->create_revision = 1000;
    record->version = 1;
    return record;
}

static void check_same(const struct record *a, const struct record *b)
{
    ck_assert_uint_eq(a->rev, b->rev);
    ck_assert_uint_eq(a->prev_rev, b->prev_rev);
    ck_assert_int_eq(a->create_revision, b->create_revision);
    ck_assert_int_eq(a->version, b->version);
    ck_assert_int_eq(a->lease, b->lease);
    ck_assert_int_eq(a->tombstone, b->tombstone);
    ck_assert(bytes_equal(record_key(a), record_key(b)));
    ck_assert(bytes_equal(record_value(a), record_value(b)));
}

static const struct {
    const char *name;
    const char *key;
    const char *value;
    revision_t prev_rev;
    int64_t create_revision;
    int64_t version;
    int64_t lease;
    bool tombstone;
} shapes[] = {
    {"new", "key", "value", 0, 1000, 1, 0, false},
    {"empty", "", "", 0, 1000, 1, 0, false},
    {"old", "key", "value", (revision_t)1 << REVISION_SUB_BITS, 1, INT64_MAX, 0, false},
    {"leased", "key", "", 0, 999, 2, INT64_MAX, false},
    {"a negative lease", "key", "v", 0, 999, 2, -1, false},
    {"just before", "key", "v", ((revision_t)1000 << REVISION_SUB_BITS) + 2, 1000, 2, 0, false},
    {"tombstone", "key", "", (revision_t)999 << REVISION_SUB_BITS, 0, 0, 0, true},
};

static struct record *make_shape(int i)
{
    struct record *record = make(shapes[i].key, shapes[i].value);
    record->prev_rev = shapes[i].prev_rev;
    record->create_revision = shapes[i].create_revision;
    record->version = shapes[i].version;
    record->lease = shapes[i].lease;
    record->tombstone = shapes[i].tombstone;
    return record;
}

START_TEST(a_row_gives_the_record_back)
{
    struct record *record = make_shape(_i);
    struct buf header = {0};
    buf_append_str(&header, "before");
    record_encode_header(record, &header);
    ck_assert(buf_ok(&header));
    struct bytes encoded = bytes_of(header.data + 6, header.len - 6);
    struct record *again = NULL;
    ck_assert_msg(record_decode(record->rev, encoded, record_value(record), &again) == OK, "%s",
                  shapes[_i].name);
    check_same(record, again);
    record_unref(again);
    record_unref(record);
    buf_fini(&header);
}
END_TEST

/* No bit of revision, header or value can turn, no byte be missing or added. */
START_TEST(no_change_goes_unnoticed)
{
    struct record *record = make_shape(_i);
    struct buf header = {0};
    record_encode_header(record, &header);
    struct record *got = NULL;
    for (size_t bit = 0; bit < header.len * 8; bit++) {
        header.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(record_decode(record->rev, buf_bytes(&header), record_value(record), &got),
                         ERR_CORRUPT);
        header.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < header.len; len++) {
        ck_assert_int_eq(
            record_decode(record->rev, bytes_of(header.data, len), record_value(record), &got),
            ERR_CORRUPT);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        ck_assert_int_eq(record_decode(record->rev ^ (revision_t)1 << bit, buf_bytes(&header),
                                       record_value(record), &got),
                         ERR_CORRUPT);
    }
    ck_assert_int_eq(record_decode(record->rev, buf_bytes(&header), bytes_of_str("other"), &got),
                     ERR_CORRUPT);
    buf_append(&header, "", 1);
    ck_assert_int_eq(record_decode(record->rev, buf_bytes(&header), record_value(record), &got),
                     ERR_CORRUPT);
    ck_assert_ptr_null(got);
    record_unref(record);
    buf_fini(&header);
}
END_TEST

START_TEST(a_record_is_counted)
{
    struct record *record = make("k", "v");
    ck_assert_ptr_eq(record_ref(record), record);
    record_unref(record);
    ck_assert_uint_eq(record_size(record), sizeof *record + 2);
    record_unref(record);
    record_unref(NULL);
}
END_TEST

/* What changes in memory between the application of a record and its writing is told by its row. */
START_TEST(a_sealed_header_keeps_its_checksum)
{
    struct record *record = make_shape(_i);
    struct buf header = {0};
    struct buf sealed = {0};
    record_encode_header(record, &header);
    record_seal(record, &sealed);
    ck_assert(buf_ok(&sealed));
    buf_clear(&sealed);
    record_encode_header(record, &sealed);
    ck_assert(bytes_equal(buf_bytes(&header), buf_bytes(&sealed)));
    record->value_checksum ^= 1;
    buf_clear(&sealed);
    record_encode_header(record, &sealed);
    struct record *got = NULL;
    ck_assert_int_eq(record_decode(record->rev, buf_bytes(&sealed), record_value(record), &got),
                     ERR_CORRUPT);
    record_unref(record);
    buf_fini(&header);
    buf_fini(&sealed);
}
END_TEST

START_TEST(records_in_slabs_are_as_others)
{
    static char large[2000];
    struct slabs *slabs = slabs_new();
    struct record *small = record_new_in(slabs, bytes_of_str("key"), bytes_of_str("value"));
    struct record *big = record_new_in(slabs, bytes_of_str("key"), bytes_of(large, sizeof large));
    struct record *other = record_new(bytes_of_str("key"), bytes_of_str("value"));
    check_same(other, small);
    ck_assert(bytes_equal(record_value(big), bytes_of(large, sizeof large)));
    slabs_free(slabs); /* they do not need it */
    check_same(other, small);
    record_unref(record_ref(small));
    record_unref(small);
    record_unref(big);
    record_unref(other);
}
END_TEST

START_TEST(revisions_pack)
{
    revision_t rev = revision_pack(INT64_C(1) << 42, REVISION_SUB_MAX);
    ck_assert_int_eq(revision_main(rev), INT64_C(1) << 42);
    ck_assert_uint_eq(revision_sub(rev), REVISION_SUB_MAX);
    ck_assert_uint_lt(rev, revision_pack((INT64_C(1) << 42) + 1, 0));
}
END_TEST

static Suite *record_suite(void)
{
    Suite *suite = suite_create("record");
    TCase *tc = tcase_create("record");
    tcase_add_loop_test(tc, a_row_gives_the_record_back, 0,
                        (int)(sizeof shapes / sizeof shapes[0]));
    tcase_add_loop_test(tc, no_change_goes_unnoticed, 0, (int)(sizeof shapes / sizeof shapes[0]));
    tcase_add_test(tc, a_record_is_counted);
    tcase_add_loop_test(tc, a_sealed_header_keeps_its_checksum, 0,
                        (int)(sizeof shapes / sizeof shapes[0]));
    tcase_add_test(tc, records_in_slabs_are_as_others);
    tcase_add_test(tc, revisions_pack);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(record_suite);
}
