/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/cursor.h"

#include "base/limits.h"
#include "tests/unit/watch/watch_fixture.h"

static struct told_stream s;
static struct told_watcher w;
static struct cursor cursor;

static void setup(void)
{
    hubbed_start();
    told_open(&s);
    cursor_init(&cursor, hubbed.hub, LIVE + 1);
    cursor.state = CURSOR_AT_REST;
    cursor.position = 2;
}

static void teardown(void)
{
    cursor_fini(&cursor);
    hub_cancel(&w.watcher);
    hubbed_stop();
}

static void fill(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        put("a", "x");
    }
    turn();
}

/* As the hub does when all have been told. */
static void next_slice(void)
{
    cursor.state = CURSOR_TELLING;
    cursor_move_on(&cursor);
}

START_TEST(a_slice_in_memory_is_there_at_once)
{
    fill(10);
    cursor_read(&cursor, 5);
    ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    ck_assert_uint_eq(cursor.item_count, 4);
    ck_assert_int_eq(cursor.position, 2);
    ck_assert_int_eq(cursor_reach(&cursor), 6);
    next_slice();
    ck_assert_int_eq(cursor.position, 6);
    ck_assert_int_eq(cursor_reach(&cursor), 6);
    ck_assert_int_eq(cursor.state, CURSOR_AT_REST);
}
END_TEST

START_TEST(a_slice_on_disk_comes_later)
{
    fill(10);
    store_model_forget(hubbed.store, 7);
    cursor_read(&cursor, 10);
    ck_assert_int_eq(cursor.state, CURSOR_READING);
    ck_assert_int_eq(cursor_reach(&cursor), 2); /* whoever comes now is told all of it */
    turn();
    ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    ck_assert_int_eq(cursor_reach(&cursor), 8);
    next_slice();
    cursor_read(&cursor, 10);
    ck_assert_uint_eq(cursor.item_count, 3);
    next_slice();
}
END_TEST

START_TEST(a_slice_is_bounded_by_its_bytes)
{
    fill(WATCH_SLICE_REVISIONS);
    cursor_read(&cursor, WATCH_SLICE_REVISIONS + 1);
    size_t bytes = record_size(cursor.items[0].record);
    ck_assert_uint_gt(cursor.item_count * bytes, WATCH_SLICE_BYTES);
    ck_assert_uint_le((cursor.item_count - 1) * bytes, WATCH_SLICE_BYTES);
    next_slice();
}
END_TEST

START_TEST(a_cut_leaves_whole_revisions)
{
    static const char *const keys[] = {"a", "b", "c"};
    put_many(keys, 3);
    put_many(keys, 3);
    put_many(keys, 3);
    turn();
    cursor_read(&cursor, 4);
    ck_assert_uint_eq(cursor.item_count, 9);
    cursor_cut(&cursor, 4);
    ck_assert_uint_eq(cursor.item_count, 6);
    ck_assert_int_eq(cursor.slice_end, 4);
    cursor_cut(&cursor, 5);
    ck_assert_uint_eq(cursor.item_count, 6);
    next_slice();
    ck_assert_int_eq(cursor.position, 4);
}
END_TEST

static void watch_with_prev(void)
{
    struct watch_spec spec = {.key = bytes_of_str("a"), .prev_kv = true, .start_revision = 1000000};
    told_watch(&s, &w, 1, &spec);
}

/* How many values before are on disk, and whether they are read at once. */
static const struct {
    unsigned puts;
    enum cursor_state state;
    size_t items;
} prevs[] = {{10, CURSOR_LOADED, 10},
             {24, CURSOR_LOADED, 24},
             {26, CURSOR_FETCHING, 26},
             {300, CURSOR_FETCHING, 129}};

START_TEST(values_before_are_there_for_who_wants_them)
{
    fill(prevs[_i].puts);
    watch_with_prev();
    store_model_forget(hubbed.store, prevs[_i].puts + 1);
    cursor_read(&cursor, prevs[_i].puts + 1);
    env_fake_turn(hubbed.fake); /* the records have come */
    env_fake_turn(hubbed.fake);
    if (prevs[_i].state == CURSOR_LOADED) {
        ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    }
    turn();
    ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    ck_assert_uint_eq(cursor.item_count, prevs[_i].items);
    ck_assert_ptr_null(cursor.items[0].prev); /* created there */
    for (size_t i = 1; i < cursor.item_count; i++) {
        ck_assert_uint_eq(cursor.items[i].prev->rev, cursor.items[i].record->prev_rev);
    }
    next_slice();
}
END_TEST

/* A key that was put at 2, or not, is changed several times at once: the value before is that of
 * the revision before, not what the same operation put. */
static const struct {
    const char *before;
    const char *changes;
    int64_t prevs[3]; /* revision of the value before each of them; 0: none */
} at_once[] = {{"p", "pd", {2, 2}}, {"", "pd", {0, 0}},   {"p", "dp", {2, 0}},
               {"p", "pp", {2, 2}}, {"pd", "pd", {0, 0}}, {"", "pdp", {0, 0, 0}}};

START_TEST(the_value_before_is_of_a_revision_before)
{
    size_t number = (size_t)_i / 2;
    bool on_disk = _i % 2 == 1;
    int64_t revision = 2;
    if (at_once[number].before[0] != '\0') {
        change_key("a", at_once[number].before);
        revision++;
    }
    change_key("a", at_once[number].changes);
    turn();
    watch_with_prev();
    if (on_disk) {
        store_model_forget(hubbed.store, revision + 1);
    }
    cursor.position = revision;
    cursor_read(&cursor, revision);
    turn();
    ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    ck_assert_uint_eq(cursor.item_count, strlen(at_once[number].changes));
    for (size_t i = 0; i < cursor.item_count; i++) {
        const struct record *prev = cursor.items[i].prev;
        ck_assert_int_eq(prev == NULL ? 0 : record_mod_revision(prev), at_once[number].prevs[i]);
    }
    next_slice();
}
END_TEST

START_TEST(values_before_are_not_read_for_nobody)
{
    fill(30);
    store_model_forget(hubbed.store, 31);
    cursor_read(&cursor, 31);
    turn();
    ck_assert_int_eq(cursor.state, CURSOR_LOADED);
    for (size_t i = 0; i < cursor.item_count; i++) {
        ck_assert_ptr_null(cursor.items[i].prev);
    }
    next_slice();
}
END_TEST

START_TEST(compacted_history_ends_it)
{
    fill(10);
    compact(8);
    turn();
    store_model_forget(hubbed.store, 9);
    cursor_read(&cursor, 10);
    turn();
    ck_assert_int_eq(cursor.state, CURSOR_ENDING);
    ck_assert_int_eq(cursor.why, ERR_COMPACTED);
    ck_assert_int_eq(cursor.position, 8);
    cursor.state = CURSOR_AT_REST;
    cursor_read(&cursor, 10);
    turn();
    ck_assert_uint_eq(cursor.item_count, 2);
    ck_assert_ptr_null(cursor.items[0].prev);
    next_slice();
}
END_TEST

static Suite *cursor_suite(void)
{
    Suite *suite = suite_create("cursor");
    TCase *tc = tcase_create("reading");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_slice_in_memory_is_there_at_once);
    tcase_add_test(tc, a_slice_on_disk_comes_later);
    tcase_add_test(tc, a_slice_is_bounded_by_its_bytes);
    tcase_add_test(tc, a_cut_leaves_whole_revisions);
    tcase_add_loop_test(tc, values_before_are_there_for_who_wants_them, 0,
                        sizeof prevs / sizeof prevs[0]);
    tcase_add_loop_test(tc, the_value_before_is_of_a_revision_before, 0,
                        2 * sizeof at_once / sizeof at_once[0]);
    tcase_add_test(tc, values_before_are_not_read_for_nobody);
    tcase_add_test(tc, compacted_history_ends_it);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(cursor_suite);
}
