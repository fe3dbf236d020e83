/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/event.h"

#include "proto/rpc.pb-c.h"
#include "tests/lib/runner.h"

static struct record *record_of(const char *key, const char *value, bool tombstone, int64_t main)
{
    struct record *record = record_new(bytes_of_str(key), bytes_of_str(value));
    ck_assert_ptr_nonnull(record);
    record->rev = revision_pack(main, 3);
    record->tombstone = tombstone;
    if (!tombstone) {
        record->create_revision = main - 1;
        record->version = 2;
        record->lease = -7; /* as wide as a number gets */
    }
    return record;
}

static void ck_kv(const Mvccpb__KeyValue *kv, const struct record *record)
{
    ck_assert_ptr_nonnull(kv);
    ck_assert(bytes_equal(bytes_of(kv->key.data, kv->key.len), record_key(record)));
    ck_assert(bytes_equal(bytes_of(kv->value.data, kv->value.len), record_value(record)));
    ck_assert_int_eq(kv->mod_revision, record_mod_revision(record));
    ck_assert_int_eq(kv->create_revision, record->create_revision);
    ck_assert_int_eq(kv->version, record->version);
    ck_assert_int_eq(kv->lease, record->lease);
}

static const struct {
    const char *name;
    const char *value;
    const char *prev; /* NULL: none */
    bool tombstone;
} events[] = {
    {"a put", "value", NULL, false},
    {"a put of nothing", "", NULL, false},
    {"a put with the value before", "value", "old", false},
    {"a put with an empty value before", "value", "", false},
    {"a deletion", "", NULL, true},
    {"a deletion with the value before", "", "old", true},
};

START_TEST(a_decoder_reads_what_was_encoded)
{
    struct record *record = record_of("key", events[_i].value, events[_i].tombstone, 70000);
    struct record *prev =
        events[_i].prev == NULL ? NULL : record_of("key", events[_i].prev, false, 69999);
    struct blob *blob = event_encode(record, prev);
    Etcdserverpb__WatchResponse *response =
        etcdserverpb__watch_response__unpack(NULL, blob->len, blob->data);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->n_events, 1);
    const Mvccpb__Event *event = response->events[0];
    ck_assert_int_eq(event->type, events[_i].tombstone);
    ck_kv(event->kv, record);
    ck_assert_int_eq(event->prev_kv != NULL, prev != NULL);
    if (prev != NULL) {
        ck_kv(event->prev_kv, prev);
    }
    /* byte for byte what the generated code writes: nothing is sent that is zero */
    ck_assert_uint_eq(etcdserverpb__watch_response__get_packed_size(response), blob->len);
    etcdserverpb__watch_response__free_unpacked(response, NULL);
    blob_unref(blob);
    record_unref(record);
    record_unref(prev);
}
END_TEST

static Suite *event_suite(void)
{
    Suite *suite = suite_create("event");
    TCase *tc = tcase_create("bytes");
    tcase_add_loop_test(tc, a_decoder_reads_what_was_encoded, 0, sizeof events / sizeof events[0]);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(event_suite);
}
