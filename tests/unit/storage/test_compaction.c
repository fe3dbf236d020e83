/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/compaction.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "storage/backend_private.h"
#include "tests/lib/database.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

/* A row as the tests write them: key, revision, prev ("5" or "5.1"), and whether it is a tombstone.
 */
struct line {
    const char *key;
    double rev;
    double prev;
    bool tombstone;
};

#define ROWS_MAX 16u

static struct {
    struct database db;
    struct batches *batches; /* of tests that need many rows */
    struct backend_batch batch;
    struct record *records[ROWS_MAX];
    size_t record_count;
    uint64_t index;
} fixture;

static void setup(void)
{
    memset(&fixture, 0, sizeof fixture);
    database_init(&fixture.db, NULL);
    ck_assert_int_eq(database_open(&fixture.db), OK);
}

static void teardown(void)
{
    database_fini(&fixture.db);
    batches_free(fixture.batches);
    for (size_t i = 0; i < fixture.record_count; i++) {
        record_unref(fixture.records[i]);
    }
}

static void reopen(void)
{
    database_close(&fixture.db);
    enum err err = database_open(&fixture.db);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), fixture.db.why.text);
}

/* 12.3 is (12, 3). */
static revision_t rev_of(double text)
{
    int64_t main = (int64_t)text;
    return main == 0 ? 0 : revision_pack(main, (uint32_t)((text - (double)main) * 10 + 0.5));
}

static void on_written(struct backend_batch *batch)
{
    ck_assert_int_eq(batch->status, OK);
}

static void write_lines(const struct line *lines, size_t count, int64_t compacted_revision)
{
    size_t first = fixture.record_count;
    for (size_t i = 0; i < count; i++) {
        struct record *record = record_new(bytes_of_str(lines[i].key), bytes_of_str(""));
        ck_assert_ptr_nonnull(record);
        record->rev = rev_of(lines[i].rev);
        record->prev_rev = rev_of(lines[i].prev);
        record->tombstone = lines[i].tombstone;
        record->create_revision = record->tombstone ? 0 : revision_main(record->rev);
        ck_assert_uint_lt(fixture.record_count, ROWS_MAX);
        fixture.records[fixture.record_count++] = record;
    }
    fixture.batch = (struct backend_batch){
        .records = &fixture.records[first],
        .record_count = count,
        .state = {.applied_index = ++fixture.index,
                  .applied_term = 1,
                  .revision = 100,
                  .compacted_revision = compacted_revision},
    };
    backend_write(fixture.db.backend, &fixture.batch, on_written);
    env_fake_run(fixture.db.fake);
}

static void compact(int64_t revision)
{
    write_lines(NULL, 0, revision);
}

/* The revisions that are left, as "3 5.1 9". */
static const char *left(void)
{
    static char text[256];
    struct record_list list = {0};
    ck_assert_int_eq(backend_read(fixture.db.backend, 1, INT64_MAX, SIZE_MAX, &list, NULL), OK);
    text[0] = '\0';
    for (size_t i = 0; i < list.count; i++) {
        char rev[32];
        uint32_t sub = revision_sub(list.items[i]->rev);
        (void)snprintf(rev, sizeof rev, sub == 0 ? "%s%lld" : "%s%lld.%u", i > 0 ? " " : "",
                       (long long)revision_main(list.items[i]->rev), sub);
        strcat(text, rev);
        record_unref(list.items[i]);
    }
    free(list.items);
    return text;
}

static const struct line history[] = {
    {"a", 3, 0, false}, {"b", 4, 0, false}, {"a", 5, 3, false}, {"b", 6, 4, true},
    {"a", 7, 5, false}, {"c", 8, 0, false}, {"c", 9, 8, true},
};

static const struct {
    int64_t revision;
    const char *left;
} compactions[] = {
    {2, "3 4 5 6 7 8 9"}, {3, "3 4 5 6 7 8 9"}, {5, "4 5 6 7 8 9"}, {6, "5 6 7 8 9"},
    {7, "7 8 9"},         {8, "7 8 9"},         {9, "7 9"},         {10, "7"},
};

START_TEST(what_is_superseded_goes)
{
    write_lines(history, ARRAY_LEN(history), -1);
    compact(compactions[_i].revision);
    ck_assert_str_eq(left(), compactions[_i].left);
    ck_assert_int_eq(fixture.db.compacted, compactions[_i].revision);
    reopen();
    ck_assert_int_eq(backend_removed_revision(fixture.db.backend), compactions[_i].revision);
    ck_assert_str_eq(left(), compactions[_i].left);
}
END_TEST

/* One after the other ends where the last alone ends: tombstones that stayed at their own revision
 * go with the next. */
START_TEST(compactions_add_up)
{
    write_lines(history, ARRAY_LEN(history), -1);
    for (size_t i = 0; i < ARRAY_LEN(compactions); i++) {
        compact(compactions[i].revision);
        ck_assert_str_eq(left(), compactions[i].left);
        if (_i == 1) {
            reopen();
        }
    }
}
END_TEST

/* Deleted and made again inside the compacted revision: the tombstone is superseded there. */
START_TEST(a_tombstone_that_is_superseded_at_once_goes)
{
    static const struct line lines[] = {
        {"k", 5, 0, false}, {"k", 6, 5, true}, {"k", 6.1, 6, false}, {"m", 6.2, 0, false}};
    write_lines(lines, ARRAY_LEN(lines), -1);
    compact(6);
    ck_assert_str_eq(left(), "6.1 6.2");
}
END_TEST

START_TEST(rows_above_the_revision_stay)
{
    write_lines(history, ARRAY_LEN(history), -1);
    static const struct line later[] = {{"a", 11, 7, false}, {"d", 12, 0, false}};
    write_lines(later, ARRAY_LEN(later), 10);
    ck_assert_str_eq(left(), "7 11 12");
    compact(11);
    ck_assert_str_eq(left(), "11 12");
}
END_TEST

START_TEST(a_pin_delays_later_compactions_only)
{
    write_lines(history, ARRAY_LEN(history), -1);
    env_fake_hold_jobs(fixture.db.fake, true);
    struct backend_pin early;
    struct backend_pin late;
    backend_pin(fixture.db.backend, &early, 5);
    backend_pin(fixture.db.backend, &late, 7);
    env_fake_hold_jobs(fixture.db.fake, false);
    compact(10);
    ck_assert_str_eq(left(), "4 5 6 7 8 9");
    ck_assert_int_eq(fixture.db.compacted, 5);
    backend_unpin(fixture.db.backend, &early);
    env_fake_run(fixture.db.fake);
    ck_assert_str_eq(left(), "7 8 9");
    backend_unpin(fixture.db.backend, &late);
    env_fake_run(fixture.db.fake);
    ck_assert_str_eq(left(), "7");
}
END_TEST

/* ---- Many slices ---- */

static void write_many(void)
{
    fixture.batches = batches_new(&(struct batches_config){
        .seed = 31, .count = 400, .records_max = 40, .keys = 30, .value_max = 20});
    for (size_t i = 0; i < 400; i++) {
        if (i >= 390) { /* all is compacted with the last ones */
            fixture.batches->items[i].state.compacted_revision =
                fixture.batches->items[i].state.revision - 5;
        }
        batches_write(fixture.batches, i, fixture.db.backend);
    }
}

static void check_many(struct database *db)
{
    const char *wrong = database_compare(db, fixture.batches);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

START_TEST(writes_go_between_slices)
{
    write_many();
    env_fake_turn(fixture.db.fake);
    int64_t revision = fixture.batches->items[399].state.revision;
    unsigned slices = 0;
    while (fixture.db.compacted < fixture.batches->items[399].state.compacted_revision) {
        env_fake_turn(fixture.db.fake);
        slices++;
    }
    ck_assert_uint_gt(slices, 10);
    ck_assert_int_gt(revision, 400);
    reopen();
    check_many(&fixture.db);
}
END_TEST

/* Each page of a large row is visited. */
START_TEST(a_slice_removes_few_large_rows)
{
    size_t count = effort_count(40, 20, "large rows");
    fixture.batches = batches_new(
        &(struct batches_config){.seed = 31, .count = count, .keys = 1, .value_max = 1500000});
    fixture.batches->items[count - 1].state.compacted_revision =
        fixture.batches->items[count - 1].state.revision;
    for (size_t i = 0; i < count; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
    }
    uint64_t most = 0;
    while (fixture.db.compacted < fixture.batches->items[count - 1].state.compacted_revision) {
        uint64_t before = fixture.db.backend->latest.row_bytes;
        env_fake_turn(fixture.db.fake);
        uint64_t after = fixture.db.backend->latest.row_bytes;
        most = before > after && before - after > most ? before - after : most;
    }
    ck_assert_uint_gt(most, 1000000);
    ck_assert_uint_lt(most, 6000000);
    reopen();
    check_many(&fixture.db);
}
END_TEST

START_TEST(a_crash_between_slices_goes_on_there)
{
    fixture.db.config.checkpoint_frames = 64;
    fixture.db.config.remove_permille = _i == 0 ? 1 : 0;
    reopen();
    write_many();
    env_fake_turn(fixture.db.fake);
    uint64_t first = fs_fault_op_count(fixture.db.disk);
    env_fake_run(fixture.db.fake);
    uint64_t last = fs_fault_op_count(fixture.db.disk);
    bool partly = false;
    unsigned step = 17 * 40 / effort_count(40, 5, "crashes, or so");
    for (uint64_t op = first; op <= last; op += step) {
        struct database after;
        database_init(&after, fs_fault_crash(fixture.db.disk, op, op % 7 == 0 ? 1 : op));
        after.config.remove_permille = fixture.db.config.remove_permille;
        enum err err = database_open(&after);
        ck_assert_msg(err == OK, "operation %llu: %s", (unsigned long long)op, after.why.text);
        check_many(&after);
        int64_t compacted = after.state.compacted_revision;
        partly |= compacted > 0 && backend_removed_revision(after.backend) < compacted;
        env_fake_run(after.fake);
        ck_assert_int_eq(backend_removed_revision(after.backend), compacted);
        database_close(&after);
        ck_assert_int_eq(database_open(&after), OK);
        check_many(&after);
        database_fini(&after);
    }
    ck_assert(partly);
}
END_TEST

START_TEST(a_full_disk_delays_it)
{
    write_many();
    env_fake_turn(fixture.db.fake);
    fs_fault_arm(fixture.db.disk, FS_FAULT_WRITE, 1, ERR_NO_SPACE, true);
    env_fake_advance(fixture.db.fake, 2000);
    int64_t compacted = fixture.batches->items[399].state.compacted_revision;
    ck_assert_int_lt(fixture.db.compacted, compacted);
    fs_fault_disarm(fixture.db.disk);
    env_fake_advance(fixture.db.fake, 2000);
    ck_assert_int_eq(fixture.db.compacted, compacted);
    reopen();
    check_many(&fixture.db);
}
END_TEST

/* Keys that are put once, and then again the other way round: what goes is found from the last row
 * on, and removed from the first. */
#define TURNED_KEYS 3000

static void write_turned(struct record **records)
{
    for (unsigned i = 0; i < 2 * TURNED_KEYS; i++) {
        unsigned key = i < TURNED_KEYS ? i : 2 * TURNED_KEYS - 1 - i;
        char text[16];
        (void)snprintf(text, sizeof text, "%u", key);
        records[i] = record_new(bytes_of_str(text), bytes_of_str(""));
        ck_assert_ptr_nonnull(records[i]);
        records[i]->rev = revision_pack(2 + i, 0);
        records[i]->prev_rev = i < TURNED_KEYS ? 0 : revision_pack(2 + key, 0);
        records[i]->create_revision = 2 + key;
    }
    fixture.batch = (struct backend_batch){
        .records = records,
        .record_count = 2 * TURNED_KEYS,
        .state = {.applied_index = 1, .applied_term = 1, .revision = 10000},
    };
    backend_write(fixture.db.backend, &fixture.batch, on_written);
    env_fake_run(fixture.db.fake);
}

START_TEST(rows_go_in_the_order_of_the_table)
{
    static struct record *records[2 * TURNED_KEYS];
    write_turned(records);
    fixture.batch.record_count = 0;
    fixture.batch.state.applied_index = 2;
    fixture.batch.state.compacted_revision = 10000;
    backend_write(fixture.db.backend, &fixture.batch, on_written);
    unsigned partly = 0;
    while (fixture.db.compacted < 10000) {
        env_fake_turn(fixture.db.fake);
        struct record_list list = {0};
        ck_assert_int_eq(backend_read(fixture.db.backend, 1, INT64_MAX, SIZE_MAX, &list, NULL), OK);
        size_t gone = 2 * TURNED_KEYS - list.count;
        partly += gone > 0 && gone < TURNED_KEYS;
        for (size_t i = 0; i < list.count; i++) {
            ck_assert_uint_eq(list.items[i]->rev, records[gone + i]->rev);
        }
        record_list_fini(&list);
    }
    ck_assert_uint_gt(partly, 0);
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        record_unref(records[i]);
    }
}
END_TEST

/* ---- What waits for the rest of its pages ---- */

/* Rows of about a kilobyte, 16 to a stretch: revision i is key i's, or that of the key that
 * PREV_OF names, 0 for none. */
#define WIDE_ROWS 64

static void write_wide(const int64_t *prev_of, size_t first, size_t count, const char *tombstones)
{
    static char value[1000];
    static struct record *records[WIDE_ROWS];
    for (size_t i = 0; i < count; i++) {
        size_t n = first + i;
        bool tombstone = tombstones != NULL && tombstones[n] == 'x';
        size_t origin = n;
        int64_t version = 1;
        while (prev_of[origin] != 0) {
            origin = (size_t)prev_of[origin];
            version++;
        }
        char key[24];
        (void)snprintf(key, sizeof key, "%zu", origin);
        records[i] = record_new(bytes_of_str(key), bytes_of(value, tombstone ? 0 : sizeof value));
        ck_assert_ptr_nonnull(records[i]);
        records[i]->rev = revision_pack((int64_t)n, 0);
        records[i]->prev_rev = prev_of[n] == 0 ? 0 : revision_pack(prev_of[n], 0);
        records[i]->tombstone = tombstone;
        records[i]->create_revision = tombstone ? 0 : (int64_t)origin;
        records[i]->version = tombstone ? 0 : version;
    }
    fixture.batch = (struct backend_batch){
        .records = records,
        .record_count = count,
        .state = {.applied_index = ++fixture.index,
                  .applied_term = 1,
                  .revision = 100,
                  .compacted_revision = fixture.batch.state.compacted_revision},
    };
    backend_write(fixture.db.backend, &fixture.batch, on_written);
    env_fake_run(fixture.db.fake);
    for (size_t i = 0; i < count; i++) {
        record_unref(records[i]);
    }
}

static void lazily(void)
{
    fixture.db.config.remove_permille = 333;
    reopen();
    fixture.batch.state.compacted_revision = -1;
}

static uint64_t superseded(void)
{
    return fixture.db.backend->latest.superseded_rows;
}

START_TEST(few_of_many_stay)
{
    lazily();
    static const int64_t prev_of[WIDE_ROWS] = {[33] = 1, [34] = 2, [35] = 3, [36] = 4};
    write_wide(prev_of, 1, 36, NULL);
    compact(36);
    ck_assert_int_eq(fixture.db.compacted, 36);
    ck_assert_uint_eq(fixture.db.backend->latest.row_count, 36);
    ck_assert_uint_eq(superseded(), 4);
    reopen(); /* knows it again */
    ck_assert_uint_eq(superseded(), 4);
    static const int64_t more[WIDE_ROWS] = {[37] = 5, [38] = 6};
    write_wide(more, 37, 2, NULL);
    compact(38);
    ck_assert_str_eq(left(), "7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 "
                             "30 31 32 33 34 35 36 37 38");
    ck_assert_uint_eq(superseded(), 0);
}
END_TEST

/* What goes takes along what it supersedes, however few those are where they lie. */
START_TEST(what_is_superseded_first_goes_first)
{
    lazily();
    static const int64_t prev_of[WIDE_ROWS] = {
        [33] = 1, [34] = 33, [35] = 34, [36] = 35, [37] = 36, [38] = 37, [39] = 38};
    write_wide(prev_of, 1, 48, NULL);
    compact(34);
    ck_assert_uint_eq(superseded(), 2);
    compact(39);
    ck_assert_uint_eq(superseded(), 0);
    ck_assert_str_eq(left(), "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 "
                             "27 28 29 30 31 32 39 40 41 42 43 44 45 46 47 48");
}
END_TEST

/* Else the key would come to life again. */
START_TEST(a_tombstone_goes_last)
{
    lazily();
    static const int64_t prev_of[WIDE_ROWS] = {[33] = 1, [34] = 33};
    static const char tombstones[WIDE_ROWS + 1] = "..................................x";
    write_wide(prev_of, 1, 49, tombstones);
    compact(40);
    ck_assert_uint_eq(superseded(), 3);
    reopen();
    ck_assert_uint_eq(superseded(), 3);
    static const int64_t more[WIDE_ROWS] = {[50] = 36, [51] = 37, [52] = 38, [53] = 39};
    write_wide(more, 50, 4, NULL);
    compact(53);
    ck_assert_uint_eq(superseded(), 0);
    ck_assert_str_eq(left(), "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 "
                             "27 28 29 30 31 32 35 40 41 42 43 44 45 46 47 48 49 50 51 52 53");
}
END_TEST

static void on_defragmented(struct backend_copy *copy)
{
    ck_assert_msg(copy->status == OK, "%s", copy->why.text);
}

START_TEST(a_defragmentation_leaves_it_out)
{
    lazily();
    static const int64_t prev_of[WIDE_ROWS] = {[33] = 1, [34] = 2, [35] = 34};
    write_wide(prev_of, 1, 36, NULL);
    compact(36);
    ck_assert_uint_eq(superseded(), 3);
    struct backend_copy request = {0};
    backend_defragment(fixture.db.backend, &request, on_defragmented);
    static const int64_t more[WIDE_ROWS] = {[37] = 3};
    write_wide(more, 37, 1, NULL);
    ck_assert_uint_eq(superseded(), 0);
    static const char rows[] = "3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 "
                               "27 28 29 30 31 32 33 35 36 37";
    ck_assert_str_eq(left(), rows);
    reopen();
    ck_assert_str_eq(left(), rows);
    compact(37);
    ck_assert_uint_eq(superseded(), 1);
}
END_TEST

/* A key is deleted and made again, and a walk looks at both in different slices: a defragmentation
 * between the two leaves the tombstone out, and the put names it in vain. */
START_TEST(what_was_left_out_is_not_waited_for)
{
    static struct record *records[6 * TURNED_KEYS];
    size_t count = ARRAY_LEN(records);
    for (size_t i = 0; i < count; i++) {
        char text[16] = "deleted";
        bool again = i < 2 || i + 1 == count;
        if (!again) {
            (void)snprintf(text, sizeof text, "%u", (unsigned)i);
        }
        records[i] = record_new(bytes_of_str(text), bytes_of_str(""));
        ck_assert_ptr_nonnull(records[i]);
        records[i]->rev = revision_pack(2 + (int64_t)i, 0);
        records[i]->prev_rev = again && i > 0 ? revision_pack(i == 1 ? 2 : 3, 0) : 0;
        records[i]->tombstone = i == 1;
        records[i]->create_revision = i == 1 ? 0 : 2 + (int64_t)i;
        records[i]->version = i == 1 ? 0 : 1;
    }
    fixture.db.config.remove_permille = 0;
    reopen();
    fixture.batch = (struct backend_batch){
        .records = records,
        .record_count = count,
        .state = {.applied_index = 1,
                  .applied_term = 1,
                  .revision = 20000,
                  .compacted_revision = 20000},
    };
    backend_write(fixture.db.backend, &fixture.batch, on_written);
    const struct compaction *c = &fixture.db.backend->compaction;
    while (c->looked_at == 0) {
        env_fake_turn(fixture.db.fake);
    }
    ck_assert_int_eq(c->phase, COMPACTION_LOOKS);
    struct backend_copy request = {0};
    backend_defragment(fixture.db.backend, &request, on_defragmented);
    env_fake_run(fixture.db.fake);
    ck_assert_uint_eq(fixture.db.backend->latest.row_count, count - 2);
    ck_assert_int_eq(fixture.db.compacted, 20000);
    ck_assert_uint_eq(superseded(), 0);
    ck_assert_uint_eq(c->garbage.rows, 0);
    for (size_t i = 0; i < count; i++) {
        record_unref(records[i]);
    }
}
END_TEST

/* Random batches, stops, defragmentations: only what is superseded goes, and always that before
 * what supersedes it. */
START_TEST(at_random)
{
    static const uint32_t permilles[] = {333, 0, 800};
    lazily();
    fixture.db.config.remove_permille = permilles[_i];
    reopen();
    fixture.batches = batches_new(&(struct batches_config){.seed = 100 + (uint64_t)_i,
                                                           .count = 600,
                                                           .records_max = 8,
                                                           .keys = 30 + 15 * (unsigned)_i,
                                                           .value_max = 1500,
                                                           .compact_one_in = 20});
    struct backend_copy request = {0};
    bool waited = false;
    bool went = false;
    for (size_t i = 0; i < 600; i++) {
        batches_write(fixture.batches, i, fixture.db.backend);
        if (i % 7 == 0) {
            env_fake_turn(fixture.db.fake);
        } else if (i % 50 == 3) {
            env_fake_run(fixture.db.fake);
            waited |= superseded() > 0;
        }
        if (i % 190 == 150) {
            backend_defragment(fixture.db.backend, &request, on_defragmented);
            env_fake_run(fixture.db.fake);
        }
        if (i % 60 == 59) {
            env_fake_run(fixture.db.fake);
            uint64_t before = superseded();
            reopen();
            check_many(&fixture.db);
            ck_assert_uint_eq(superseded(), before);
            went |= fixture.db.rows.count < fixture.batches->record_count / 2;
        }
    }
    ck_assert(waited);
    ck_assert(went);
}
END_TEST

static Suite *compaction_suite(void)
{
    Suite *suite = suite_create("compaction");
    TCase *tc = tcase_create("rows");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_superseded_goes, 0, (int)ARRAY_LEN(compactions));
    tcase_add_loop_test(tc, compactions_add_up, 0, 2);
    tcase_add_test(tc, a_tombstone_that_is_superseded_at_once_goes);
    tcase_add_test(tc, rows_above_the_revision_stay);
    tcase_add_test(tc, a_pin_delays_later_compactions_only);
    suite_add_tcase(suite, tc);
    tc = tcase_create("slices");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, writes_go_between_slices);
    tcase_add_test(tc, a_slice_removes_few_large_rows);
    tcase_add_loop_test(tc, a_crash_between_slices_goes_on_there, 0, 2);
    tcase_add_test(tc, a_full_disk_delays_it);
    tcase_add_test(tc, rows_go_in_the_order_of_the_table);
    suite_add_tcase(suite, tc);
    tc = tcase_create("waiting");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, few_of_many_stay);
    tcase_add_test(tc, what_is_superseded_first_goes_first);
    tcase_add_test(tc, a_tombstone_goes_last);
    tcase_add_test(tc, a_defragmentation_leaves_it_out);
    tcase_add_test(tc, what_was_left_out_is_not_waited_for);
    tcase_add_loop_test(tc, at_random, 0, 3);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(compaction_suite);
}
