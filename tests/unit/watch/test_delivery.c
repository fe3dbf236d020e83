/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/delivery.h"

#include <stdio.h>

#include "tests/unit/watch/watch_fixture.h"

static struct told_stream s;
static struct told_watcher w[300];

/* What a callback was given. */
static struct blob *seen[4];
static size_t seen_count;

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    (void)stream;
    (void)watcher;
    ck_assert_uint_lt(seen_count, 4);
    const size_t *ends;
    seen[seen_count++] = blob_ref(watch_events_bytes(events, &ends));
    ck_assert_uint_eq(ends[events->count - 1], seen[seen_count - 1]->len);
}

static const struct watch_stream_ops keeping = {.events = on_events};

static void setup(void)
{
    hubbed_start();
    told_open(&s);
    seen_count = 0;
}

static void teardown(void)
{
    for (size_t i = 0; i < seen_count; i++) {
        blob_unref(seen[i]);
    }
    hubbed_stop();
}

START_TEST(bytes_are_made_once_for_all_who_are_told_the_same)
{
    static struct watch_stream stream;
    hub_stream_open(hubbed.hub, &stream, &keeping);
    struct watch_spec spec = {.key = bytes_of_str("a")};
    for (unsigned i = 0; i < 2; i++) { /* the same group, the same way */
        ck_assert_int_eq(hub_watch(&stream, &w[i].watcher, &spec), OK);
    }
    spec.range_end = bytes_of_str("b"); /* another group: one event is shared all the same */
    ck_assert_int_eq(hub_watch(&stream, &w[2].watcher, &spec), OK);
    spec.prev_kv = true; /* another way: but there is no value before */
    ck_assert_int_eq(hub_watch(&stream, &w[3].watcher, &spec), OK);
    put("a", "1");
    turn();
    ck_assert_uint_eq(seen_count, 4);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_ptr_eq(seen[i], seen[0]);
    }
}
END_TEST

START_TEST(a_value_before_makes_other_bytes)
{
    static struct watch_stream stream;
    put("a", "1");
    turn();
    hub_stream_open(hubbed.hub, &stream, &keeping);
    struct watch_spec spec = {.key = bytes_of_str("a")};
    for (unsigned i = 0; i < 4; i++) {
        spec.prev_kv = i >= 2;
        ck_assert_int_eq(hub_watch(&stream, &w[i].watcher, &spec), OK);
    }
    put("a", "2");
    turn();
    ck_assert_ptr_eq(seen[0], seen[1]);
    ck_assert_ptr_ne(seen[1], seen[2]);
    ck_assert_ptr_eq(seen[2], seen[3]);
    ck_assert_uint_gt(seen[2]->len, seen[0]->len);
}
END_TEST

/* Ranges that all hold the key: records times ranges are more than a slice may concern. */
START_TEST(where_many_ranges_overlap_all_are_told)
{
    char end[8];
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(end, sizeof end, "b%03u", i);
        told_watch(&s, &w[i], i,
                   &(struct watch_spec){.key = bytes_of_str("a"), .range_end = bytes_of_str(end)});
    }
    for (unsigned i = 0; i < 100; i++) {
        put("a", "x");
    }
    turn();
    ck_assert_uint_eq(s.events, 300 * 100);
    ck_assert_uint_ge(s.batches, 2 * 300); /* it was cut */
}
END_TEST

/* A watcher that joined with a later revision than the others is told from there. */
START_TEST(everybody_is_told_from_the_own_first_revision_on)
{
    for (unsigned i = 0; i < 5; i++) {
        told_watch(&s, &w[i], i,
                   &(struct watch_spec){.key = bytes_of_str("a"), .start_revision = 2 + i % 3});
    }
    put("a", "1");
    put("a", "2");
    put("a", "3");
    turn();
    ck_told(&s, "0:a@2 a@3 a@4 | 1:a@3 a@4 | 2:a@4 | 3:a@2 a@3 a@4 | 4:a@3 a@4");
}
END_TEST

static Suite *delivery_suite(void)
{
    Suite *suite = suite_create("delivery");
    TCase *tc = tcase_create("telling");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bytes_are_made_once_for_all_who_are_told_the_same);
    tcase_add_test(tc, a_value_before_makes_other_bytes);
    tcase_add_test(tc, where_many_ranges_overlap_all_are_told);
    tcase_add_test(tc, everybody_is_told_from_the_own_first_revision_on);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(delivery_suite);
}
