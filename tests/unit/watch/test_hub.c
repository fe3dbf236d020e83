/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "tests/unit/watch/watch_fixture.h"

static struct told_stream s;
static struct told_stream other;
static struct told_watcher w[4];

static void setup(void)
{
    hubbed_start();
    told_open(&s);
    told_open(&other);
}

static void teardown(void)
{
    hubbed_stop();
}

static void watch_from(struct told_watcher *watcher, unsigned number, const char *key, int64_t from)
{
    told_watch(&s, watcher, number,
               &(struct watch_spec){.key = bytes_of_str(key), .start_revision = from});
}

/* ---- telling ---- */

START_TEST(a_key_is_told_to_who_watches_it)
{
    told_watch_key(&s, &w[0], 1, "a");
    told_watch_key(&s, &w[1], 2, "b");
    told_watch_key(&other, &w[2], 3, "a");
    put("a", "1");
    put("c", "1");
    turn();
    ck_told(&s, "1:a@2");
    ck_told(&other, "3:a@2");
    delete_key("a");
    put("b", "1");
    put("b", "2");
    turn();
    ck_told(&s, "1:a@4- | 2:b@5 b@6");
    ck_told(&other, "3:a@4-");
}
END_TEST

START_TEST(what_was_before_is_not_told)
{
    put("a", "1");
    told_watch_key(&s, &w[0], 1, "a"); /* applied, not yet published */
    put("a", "2");
    turn();
    ck_told(&s, "1:a@3");
}
END_TEST

START_TEST(ranges_are_told_what_they_hold)
{
    told_watch(&s, &w[0], 1,
               &(struct watch_spec){.key = bytes_of_str("a"), .range_end = bytes_of_str("c")});
    told_watch(&s, &w[1], 2,
               &(struct watch_spec){.key = bytes_of_str("b"), .range_end = bytes_of("", 1)});
    const char *keys[] = {"a", "b", "c"};
    put_many(keys, 3);
    turn();
    ck_told(&s, "1:a@2 b@2 | 2:b@2 c@2");
}
END_TEST

START_TEST(filters_leave_out)
{
    told_watch(&s, &w[0], 1, &(struct watch_spec){.key = bytes_of_str("a"), .no_put = true});
    told_watch(&s, &w[1], 2, &(struct watch_spec){.key = bytes_of_str("a"), .no_delete = true});
    told_watch(&s, &w[2], 3,
               &(struct watch_spec){.key = bytes_of_str("a"), .no_put = true, .no_delete = true});
    put("a", "1");
    delete_key("a");
    turn();
    ck_told(&s, "1:a@3- | 2:a@2");
}
END_TEST

START_TEST(an_empty_range_is_refused)
{
    static const char *const ends[] = {"a", "b"};
    struct watch_spec spec = {.key = bytes_of_str("b"), .range_end = bytes_of_str(ends[_i])};
    ck_assert_int_eq(hub_watch(&s.stream, &w[0].watcher, &spec), ERR_INVALID);
    ck_assert_uint_eq(hubbed.hub->watchers, 0);
}
END_TEST

/* ---- the past, the future ---- */

START_TEST(history_is_told_from_the_start_on)
{
    for (int i = 0; i < 6; i++) {
        put(i % 2 == 0 ? "a" : "b", "x");
    }
    turn();
    store_model_forget(hubbed.store, _i); /* some of it, or all, is on disk only */
    watch_from(&w[0], 1, "a", 3);
    ck_assert_uint_eq(s.stream.behind, 1);
    put("a", "x");
    turn();
    static const char *const want[] = {"a@4", "a@6", "a@8"}; /* however they are cut */
    const char *at = s.text;
    for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
        at = strstr(at, want[i]);
        ck_assert_ptr_nonnull(at);
    }
    ck_assert_uint_eq(s.events, 3);
    ck_assert_uint_eq(s.stream.behind, 0);
}
END_TEST

START_TEST(a_future_start_waits_for_its_revision)
{
    watch_from(&w[0], 1, "a", 4);
    hub_stream_progress(&s.stream);
    put("a", "1");
    put("a", "2");
    turn();
    ck_told(&s, "");
    ck_assert(!hub_is_in_step(&w[0].watcher));
    put("a", "3");
    turn();
    ck_told(&s, "1:a@4");
    hub_stream_progress(&s.stream);
    turn();
    ck_told(&s, "progress@4");
    ck_assert(hub_is_in_step(&w[0].watcher));
}
END_TEST

START_TEST(a_compacted_start_ends_the_watcher)
{
    put("a", "1");
    put("a", "2");
    put("a", "3");
    compact(3);
    turn();
    watch_from(&w[0], 1, "a", 2);
    watch_from(&w[1], 2, "a", 3);
    ck_told(&s, ""); /* not before the caller could say that it was created */
    turn();
    ck_told(&s, "1!required revision has been compacted@3 | 2:a@3 a@4");
    ck_assert_ptr_null(w[0].watcher.group);
    ck_assert_uint_eq(s.stream.watchers, 1);
}
END_TEST

/* In one entry, so that it is compacted before anybody is told. */
START_TEST(who_is_in_step_is_told_what_is_compacted_in_the_same_turn)
{
    told_watch_key(&s, &w[0], 1, "a");
    put("a", "1");
    put("a", "2");
    put("a", "3");
    compact(4);
    turn();
    ck_told(&s, "1:a@2 a@3 a@4");
}
END_TEST

/* ---- slow streams ---- */

START_TEST(a_full_stream_goes_on_where_it_stopped)
{
    told_watch_key(&s, &w[0], 1, "a");
    told_watch_key(&s, &w[1], 2, "b");
    s.room = 0;
    for (int i = 0; i < 3; i++) {
        put("a", "x");
        turn();
    }
    ck_told(&s, "");
    ck_assert_uint_eq(s.stream.behind, 1); /* the one that missed something */
    put("b", "x");
    turn();
    ck_assert_uint_eq(s.stream.behind, 2);
    s.room = SIZE_MAX;
    hub_stream_ready(&s.stream);
    turn();
    ck_told(&s, "1:a@2 a@3 a@4 | 2:b@5");
    ck_assert_uint_eq(s.stream.behind, 0);
    put("a", "x");
    turn();
    ck_told(&s, "1:a@6");
}
END_TEST

START_TEST(a_full_stream_holds_up_no_other)
{
    told_watch_key(&s, &w[0], 1, "a");
    told_watch_key(&other, &w[1], 2, "a");
    s.room = 0;
    put("a", "x");
    put("a", "x");
    turn();
    ck_told(&other, "2:a@2 a@3");
    ck_told(&s, "");
}
END_TEST

START_TEST(who_fell_behind_a_compaction_is_told_nothing_but_that)
{
    told_watch_key(&s, &w[0], 1, "a");
    s.room = 0;
    put("a", "1");
    put("a", "2");
    turn();
    compact(3);
    store_model_forget(hubbed.store, 3);
    turn();
    put("a", "3");
    turn();
    ck_told(&s, "");
    s.room = SIZE_MAX;
    hub_stream_ready(&s.stream);
    turn();
    ck_told(&s, "1!required revision has been compacted@3");
    ck_assert_uint_eq(hubbed.hub->watchers, 0);
}
END_TEST

START_TEST(the_end_waits_for_room_too)
{
    told_watch_key(&s, &w[0], 1, "a");
    s.room = 0;
    put("a", "1");
    put("a", "2");
    turn();
    compact(3);
    store_model_forget(hubbed.store, 3);
    s.room = 1;
    hub_stream_ready(&s.stream);
    env_fake_turn(hubbed.fake); /* joins a cursor, which begins to read */
    s.room = 0;
    put("a", "3");
    turn();
    ck_told(&s, "");
    s.room = 1;
    hub_stream_ready(&s.stream);
    turn();
    ck_told(&s, "1!required revision has been compacted@3");
}
END_TEST

/* Read once for all of them, not once for each. */
START_TEST(many_that_begin_in_the_past_share_their_reads)
{
    enum { COUNT = 2000 };
    struct told_watcher *many = calloc(COUNT, sizeof *many);
    char key[16];
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        put(key, "x");
    }
    turn();
    store_model_forget(hubbed.store, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof key, "k%u", i);
        watch_from(&many[i], i, key, 1 + i % 5);
    }
    unsigned reads = 0;
    while (s.stream.behind > 0) {
        env_fake_turn(hubbed.fake);
        reads += (unsigned)store_model_waiting(hubbed.store);
        ck_assert_uint_lt(reads, 100);
    }
    ck_assert_uint_eq(s.events, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        hub_cancel(&many[i].watcher);
    }
    free(many);
}
END_TEST

START_TEST(a_turn_has_its_limit)
{
    enum { COUNT = 300 };
    static struct told_watcher many[COUNT];
    hubbed_restart(10);
    told_open(&s);
    for (unsigned i = 0; i < COUNT; i++) {
        told_watch_key(&s, &many[i], i, "a");
    }
    turn();
    put("a", "x");
    put("a", "x");
    env_fake_turn(hubbed.fake);
    ck_assert_uint_gt(s.batches, 0);
    ck_assert_uint_lt(s.batches, 12);
    hub_stream_progress(&s.stream);
    hub_cancel(&many[COUNT - 1].watcher); /* among those that are still to be told */
    turn();
    ck_assert_uint_eq(s.batches, COUNT - 1);
    ck_assert_uint_eq(s.events, 2 * (COUNT - 1));
}
END_TEST

START_TEST(a_batch_has_at_most_so_many_revisions)
{
    for (int i = 0; i < 2 * WATCH_SLICE_REVISIONS + 500; i++) {
        put("a", "x");
    }
    turn();
    watch_from(&w[0], 1, "a", 2);
    turn();
    ck_assert_uint_eq(s.events, 2 * WATCH_SLICE_REVISIONS + 500);
    ck_assert_uint_ge(s.batches, 3);
}
END_TEST

/* ---- errors of the store ---- */

START_TEST(what_cannot_be_read_ends_who_needs_it)
{
    put("a", "1");
    turn();
    told_watch_key(&s, &w[1], 2, "a");
    store_model_forget(hubbed.store, 2);
    store_model_fail_events(hubbed.store, ERR_CORRUPT);
    watch_from(&w[0], 1, "a", 2);
    turn();
    ck_told(&s, "1!data is damaged@-1");
    put("a", "2");
    turn();
    ck_told(&s, "2:a@3");
}
END_TEST

START_TEST(a_store_that_was_replaced_goes_on_where_the_other_stopped)
{
    told_watch_key(&s, &w[0], 1, "a");
    watch_from(&w[1], 2, "a", 6);
    put("a", "1");
    turn();
    ck_told(&s, "1:a@2");
    /* its reads end with the old store */
    store_model_forget(hubbed.store, 2);
    store_model_fail_events(hubbed.store, ERR_STOPPED);
    watch_from(&w[2], 3, "a", 2);
    turn();
    struct store *old = hubbed.store;
    hubbed.store = store_model_new(hubbed.env);
    hubbed.index = 0;
    for (int i = 0; i < 4; i++) { /* revisions 2 to 5, of which 2 has been seen */
        put("a", "1");
    }
    store_model_forget(hubbed.store, 4);
    hub_reset(hubbed.hub, hubbed.store);
    store_close(old);
    env_fake_advance(hubbed.fake, 100);
    put("a", "6");
    turn();
    ck_assert_uint_eq(s.stream.behind, 0);
    ck_assert_ptr_nonnull(strstr(s.text, "1:a@3 a@4"));
    ck_assert_ptr_nonnull(strstr(s.text, "2:a@6"));
    ck_assert_ptr_nonnull(strstr(s.text, "3:a@2"));
    ck_assert_uint_eq(s.events, 1 + 4 + 1 + 5);
}
END_TEST

/* ---- progress ---- */

START_TEST(progress_is_told_behind_the_events)
{
    told_watch_key(&s, &w[0], 1, "a");
    hub_stream_progress(&s.stream);
    put("a", "1");
    turn();
    ck_told(&s, "1:a@2 | progress@2");
}
END_TEST

START_TEST(progress_is_not_told_while_somebody_is_behind)
{
    hub_stream_progress(&s.stream);
    turn();
    ck_told(&s, ""); /* no watcher */
    told_watch_key(&s, &w[0], 1, "a");
    told_watch_key(&s, &w[1], 2, "b");
    s.room = 0;
    put("b", "1");
    turn();
    ck_assert(hub_is_in_step(&w[0].watcher));
    ck_assert(!hub_is_in_step(&w[1].watcher));
    hub_stream_progress(&s.stream);
    turn();
    ck_told(&s, "");
    s.room = 1;
    hub_stream_ready(&s.stream);
    turn();
    hub_stream_progress(&s.stream);
    turn();
    ck_told(&s, "2:b@2 | progress@2");
}
END_TEST

/* ---- cancelling and closing, at any moment ---- */

static void cancel_all(struct told_stream *stream, struct watcher *watcher)
{
    (void)stream;
    (void)watcher;
    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        hub_cancel(&w[i].watcher);
    }
}

START_TEST(a_callback_may_cancel_anybody)
{
    s.on_told = cancel_all;
    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        told_watch_key(&s, &w[i], i, i < 2 ? "a" : "b");
    }
    put("a", "1");
    put("b", "1");
    turn();
    ck_assert_uint_eq(s.batches, 1);
    ck_assert_uint_eq(hubbed.hub->watchers, 0);
    ck_assert_uint_eq(hubbed.hub->groups.bytes, 0);
}
END_TEST

/* Instead of "a", the first time, "b" from what follows on. */
static void watch_b_instead(struct told_stream *stream, struct watcher *watcher)
{
    stream->on_told = NULL;
    hub_cancel(watcher);
    watch_from(&w[1], 1, "b", 3);
}

START_TEST(a_callback_may_watch_something_else)
{
    s.on_told = watch_b_instead;
    if (_i == 0) { /* what follows is in the slice that LIVE tells just now */
        told_watch_key(&s, &w[0], 0, "a");
        told_watch_key(&other, &w[2], 2,
                       "b"); /* a group that is there already, and one that is not */
    }
    put("a", "1");
    put("b", "1");
    put("a", "2");
    put("b", "2");
    if (_i == 1) { /* in that of a cursor that catches up */
        store_model_forget(hubbed.store, 4);
        watch_from(&w[0], 0, "a", 2);
    }
    turn();
    put("b", "3");
    turn();
    ck_assert_uint_eq(hubbed.hub->watchers, _i == 0 ? 2 : 1);
    ck_told(&s, _i == 0 ? "0:a@2 a@4 | 1:b@3 b@5 | 1:b@6" : "0:a@2 a@4 | 1:b@3 | 1:b@5 | 1:b@6");
}
END_TEST

static void close_it(struct told_stream *stream, struct watcher *watcher)
{
    (void)watcher;
    hub_stream_close(&stream->stream);
}

START_TEST(a_closed_stream_is_told_nothing)
{
    s.on_told = close_it;
    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        told_watch_key(i == 3 ? &other : &s, &w[i], i, "a");
    }
    put("a", "1");
    turn();
    put("a", "2");
    turn();
    ck_assert_uint_eq(s.batches, 1);
    ck_told(&other, "3:a@2 | 3:a@3");
    for (unsigned i = 0; i < 3; i++) {
        hub_cancel(&w[i].watcher);
        hub_cancel(&w[i].watcher); /* once more does no harm */
    }
    ck_assert_ptr_null(s.stream.hub);
    hub_stream_close(&s.stream);
    hub_stream_ready(&s.stream);
    hub_stream_progress(&s.stream);
}
END_TEST

START_TEST(a_hub_goes_before_its_watchers)
{
    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        told_watch_key(i == 3 ? &other : &s, &w[i], i, "a");
    }
    s.room = 0;
    put("a", "1");
    turn();
    put("b", "1");
    hub_stream_close(&other.stream);
    hubbed_restart(0);
    for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
        hub_cancel(&w[i].watcher);
        ck_assert(!hub_is_in_step(&w[i].watcher));
    }
    hub_stream_close(&s.stream);
}
END_TEST

/* ---- limits and figures ---- */

START_TEST(there_is_a_limit_to_memory)
{
    CLEANUP(freep) char *key = malloc(REQUEST_BYTES_MAX);
    memset(key, 'k', REQUEST_BYTES_MAX);
    struct told_watcher *many = calloc(16, sizeof *many);
    enum err err = OK;
    unsigned count = 0;
    while (err == OK && count < 16) {
        key[0] = (char)('a' + (char)count);
        struct watch_spec spec = {.key = bytes_of(key, REQUEST_BYTES_MAX)};
        err = hub_watch(&s.stream, &many[count].watcher, &spec);
        count += err == OK;
    }
    ck_assert_int_eq(err, ERR_LIMIT);
    ck_assert_uint_eq(count, WATCH_BYTES_MAX / REQUEST_BYTES_MAX - 1);
    struct watch_spec small = {.key = bytes_of_str("small")};
    ck_assert_int_eq(hub_watch(&s.stream, &w[0].watcher, &small), OK);
    for (unsigned i = 0; i < count; i++) {
        hub_cancel(&many[i].watcher);
    }
    free(many);
}
END_TEST

static void ck_metric(const char *line)
{
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(hubbed.metrics, &text);
    buf_append(&text, "", 1);
    ck_assert_msg(strstr((char *)text.data, line) != NULL, "no '%s' in:\n%s", line, text.data);
}

START_TEST(metrics_tell_how_it_stands)
{
    told_watch_key(&s, &w[0], 1, "a");
    told_watch_key(&s, &w[1], 2, "b");
    put("b", "1");
    put("b", "2");
    ck_metric("\netcd_debugging_mvcc_pending_events_total 2\n");
    turn();
    s.room = 0;
    put("a", "1");
    turn();
    ck_metric("\netcd_debugging_mvcc_pending_events_total 0\n");
    ck_metric("\netcd_debugging_mvcc_watcher_total 2\n");
    ck_metric("\netcd_debugging_mvcc_watch_stream_total 2\n");
    ck_metric("\netcd_debugging_mvcc_slow_watcher_total 1\n");
    ck_metric("\netcd_debugging_mvcc_events_total 2\n");
    hub_stream_close(&other.stream);
    ck_metric("\netcd_debugging_mvcc_watch_stream_total 1\n");
}
END_TEST

static Suite *hub_suite(void)
{
    Suite *suite = suite_create("hub");
    TCase *tc = tcase_create("telling");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_key_is_told_to_who_watches_it);
    tcase_add_test(tc, what_was_before_is_not_told);
    tcase_add_test(tc, ranges_are_told_what_they_hold);
    tcase_add_test(tc, filters_leave_out);
    tcase_add_loop_test(tc, an_empty_range_is_refused, 0, 2);
    suite_add_tcase(suite, tc);
    tc = tcase_create("history");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, history_is_told_from_the_start_on, 0, 9);
    tcase_add_test(tc, a_future_start_waits_for_its_revision);
    tcase_add_test(tc, a_compacted_start_ends_the_watcher);
    tcase_add_test(tc, who_is_in_step_is_told_what_is_compacted_in_the_same_turn);
    tcase_add_test(tc, many_that_begin_in_the_past_share_their_reads);
    tcase_add_test(tc, a_batch_has_at_most_so_many_revisions);
    tcase_add_test(tc, what_cannot_be_read_ends_who_needs_it);
    tcase_add_test(tc, a_store_that_was_replaced_goes_on_where_the_other_stopped);
    suite_add_tcase(suite, tc);
    tc = tcase_create("slow");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_full_stream_goes_on_where_it_stopped);
    tcase_add_test(tc, a_full_stream_holds_up_no_other);
    tcase_add_test(tc, who_fell_behind_a_compaction_is_told_nothing_but_that);
    tcase_add_test(tc, the_end_waits_for_room_too);
    tcase_add_test(tc, a_turn_has_its_limit);
    suite_add_tcase(suite, tc);
    tc = tcase_create("life");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, progress_is_told_behind_the_events);
    tcase_add_test(tc, progress_is_not_told_while_somebody_is_behind);
    tcase_add_test(tc, a_callback_may_cancel_anybody);
    tcase_add_loop_test(tc, a_callback_may_watch_something_else, 0, 2);
    tcase_add_test(tc, a_closed_stream_is_told_nothing);
    tcase_add_test(tc, a_hub_goes_before_its_watchers);
    tcase_add_test(tc, there_is_a_limit_to_memory);
    tcase_add_test(tc, metrics_tell_how_it_stands);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hub_suite);
}
