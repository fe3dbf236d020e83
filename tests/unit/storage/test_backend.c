/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/backend.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "storage/backend_private.h"
#include "tests/lib/batches.h"
#include "tests/lib/loop.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* The backend as it runs in a member: a real loop, threads, files and SQLite's own VFS. What the
 * disk may do to it is in the tests of its parts. */

#define BATCHES 400u

static struct {
    struct loop loop;
    struct backend_config config;
    struct backend *backend;
    struct backend_state state;
    struct row_log rows;
    struct batches *batches;
    struct why why;
    char path[4096];
    uint64_t durable_index;
    int64_t compacted;
} fixture;

static void on_durable(void *ctx, uint64_t index)
{
    (void)ctx;
    ck_assert_uint_gt(index, fixture.durable_index);
    fixture.durable_index = index;
}

static void on_compacted(void *ctx, int64_t revision)
{
    (void)ctx;
    fixture.compacted = revision;
}

static void setup(void)
{
    tmpdir_setup();
    loop_init(&fixture.loop);
    fixture.durable_index = 0;
    fixture.compacted = -1;
    (void)snprintf(fixture.path, sizeof fixture.path, "%s", tmpdir_path("db"));
    fixture.config = (struct backend_config){.env = fixture.loop.env,
                                             .path = fixture.path,
                                             .identity = {.cluster_id = 7, .member_id = 9},
                                             .checkpoint_frames = 64,
                                             .sync_interval_ms = 20,
                                             .remove_permille = 1,
                                             .on_durable = on_durable,
                                             .on_compacted = on_compacted};
    fixture.batches = batches_new(&(struct batches_config){
        .seed = 3, .count = BATCHES, .compact_one_in = 40, .value_max = 2000});
}

static void teardown(void)
{
    backend_close(TAKE(fixture.backend));
    batches_free(fixture.batches);
    row_log_fini(&fixture.rows);
    loop_fini(&fixture.loop);
    tmpdir_teardown();
}

static enum err try_open(void)
{
    row_log_fini(&fixture.rows);
    return backend_open(&fixture.config, row_log_add, &fixture.rows, &fixture.state,
                        &fixture.backend, &fixture.why);
}

static void open_backend(void)
{
    enum err err = try_open();
    ck_assert_msg(err == OK, "%s: %s", err_text(err), fixture.why.text);
}

static void reopen(void)
{
    backend_close(TAKE(fixture.backend));
    open_backend();
}

static void write_some(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        batches_write(fixture.batches, i, fixture.backend);
        if (i % 8 == 0) {
            loop_turns(&fixture.loop, 1);
        }
    }
}

static void write_all(void)
{
    write_some(0, BATCHES);
    RUN_UNTIL(&fixture.loop, batches_written(fixture.batches) == BATCHES);
}

static void check_content(uint64_t applied_index)
{
    ck_assert_uint_eq(fixture.state.applied_index, applied_index);
    const char *wrong = batches_compare(fixture.batches, applied_index, &fixture.rows,
                                        backend_removed_revision(fixture.backend));
    ck_assert_msg(wrong == NULL, "%s", wrong);
    wrong = batches_compare_tables(fixture.batches, applied_index, fixture.backend);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

/* ---- Opening ---- */

START_TEST(a_new_database_is_empty)
{
    open_backend();
    ck_assert_uint_eq(fixture.state.applied_index, 0);
    ck_assert_int_eq(fixture.state.revision, 0);
    ck_assert_int_eq(fixture.state.compacted_revision, -1);
    ck_assert_uint_eq(fixture.rows.count, 0);
}
END_TEST

START_TEST(members_do_not_sync_in_step)
{
    unsigned interval_ms[3];
    for (uint64_t i = 0; i < ARRAY_LEN(interval_ms); i++) {
        (void)unlink(fixture.path);
        fixture.config.identity.member_id = 0x1000 + i;
        fixture.config.sync_interval_ms = 0;
        fixture.config.checkpoint_frames = 0;
        open_backend();
        const struct checkpoint *cp = &fixture.backend->checkpoint;
        interval_ms[i] = cp->sync_interval_ms;
        ck_assert_uint_ge(cp->sync_interval_ms, 750);
        ck_assert_uint_le(cp->sync_interval_ms, 1000);
        ck_assert_uint_ge(cp->frames, 768);
        ck_assert_uint_le(cp->frames, 1024);
        backend_close(TAKE(fixture.backend));
    }
    ck_assert_uint_ne(interval_ms[0], interval_ms[1]);
    ck_assert_uint_ne(interval_ms[0], interval_ms[2]);
    ck_assert_uint_ne(interval_ms[1], interval_ms[2]);
}
END_TEST

START_TEST(what_was_written_is_there_after_a_restart)
{
    open_backend();
    write_all();
    reopen();
    ck_assert_uint_eq(fixture.durable_index, BATCHES);
    ck_assert_mem_eq(&fixture.state, &fixture.batches->items[BATCHES - 1].state,
                     sizeof fixture.state);
    check_content(BATCHES);
}
END_TEST

/* The exit status of another process that opens the database. */
static int open_elsewhere(void)
{
    /* Under valgrind the link's target is this program, the link itself is not. */
    char program[4096];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt(len, 0);
    program[len] = '\0';
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        execl(program, "test_backend", "--open", fixture.path, NULL);
        _exit(99);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(another_process_is_refused)
{
    open_backend();
    write_some(0, 10);
    ck_assert_int_eq(open_elsewhere(), ERR_LOCKED);
}
END_TEST

START_TEST(what_is_no_database_is_refused)
{
    static const char text[] =
        "This is not a database, but longer than the header of one would be: "
        "it goes on and on until a hundred bytes are passed.";
    tmpdir_write("db", text, sizeof text);
    ck_assert_int_eq(try_open(), ERR_CORRUPT);
    ck_assert_msg(strstr(fixture.why.text, "not a database") != NULL, "%s", fixture.why.text);
}
END_TEST

START_TEST(a_file_that_may_not_be_written_is_refused)
{
    if (geteuid() == 0) {
        runner_skip("root may write everything");
    }
    open_backend();
    backend_close(TAKE(fixture.backend));
    ck_assert_int_eq(chmod(fixture.path, 0400), 0);
    ck_assert_int_eq(try_open(), ERR_IO);
}
END_TEST

START_TEST(a_missing_folder_is_an_error)
{
    fixture.config.path = "/nowhere/to/be/found/db";
    ck_assert_int_eq(try_open(), ERR_IO);
    ck_assert_msg(strstr(fixture.why.text, "/nowhere/to/be/found/db") != NULL, "%s",
                  fixture.why.text);
}
END_TEST

/* What a defragmentation left when the power failed is no database. */
START_TEST(leftovers_are_removed)
{
    tmpdir_write("db.defrag", "half", 4);
    open_backend();
    ck_assert_int_ne(access(tmpdir_path("db.defrag"), F_OK), 0);
}
END_TEST

/* ---- Reading ---- */

static const struct record *newest(void)
{
    return fixture.batches->records[fixture.batches->record_count - 1];
}

static void check_record(const struct record *got, const struct record *want)
{
    ck_assert_uint_eq(got->rev, want->rev);
    ck_assert_uint_eq(got->prev_rev, want->prev_rev);
    ck_assert_int_eq(got->create_revision, want->create_revision);
    ck_assert_int_eq(got->version, want->version);
    ck_assert_int_eq(got->lease, want->lease);
    ck_assert_int_eq(got->tombstone, want->tombstone);
    ck_assert(bytes_equal(record_key(got), record_key(want)));
    ck_assert(bytes_equal(record_value(got), record_value(want)));
}

START_TEST(one_record_is_read)
{
    open_backend();
    write_all();
    struct record *record = NULL;
    ck_assert_int_eq(backend_get(fixture.backend, newest()->rev, &record, NULL), OK);
    check_record(record, newest());
    record_unref(record);
    ck_assert_int_eq(backend_get(fixture.backend, newest()->rev + 1, &record, &fixture.why),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(backend_get(fixture.backend, UINT64_MAX, &record, NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(ranges_end_with_a_whole_revision)
{
    open_backend();
    for (size_t i = 0; i < BATCHES; i++) {
        fixture.batches->items[i].state.compacted_revision = -1;
    }
    write_all();
    revision_t from = 1;
    size_t seen = 0;
    while (seen < fixture.batches->record_count) {
        struct record_list list = {0};
        ck_assert_int_eq(backend_read(fixture.backend, from, INT64_MAX, 1000, &list, NULL), OK);
        ck_assert_uint_gt(list.count, 0);
        for (size_t i = 0; i < list.count; i++) {
            check_record(list.items[i], fixture.batches->records[seen++]);
            from = revision_pack(record_mod_revision(list.items[i]) + 1, 0);
            record_unref(list.items[i]);
        }
        free(list.items);
        if (seen < fixture.batches->record_count) {
            ck_assert_uint_ge(fixture.batches->records[seen]->rev, from);
        }
    }
}
END_TEST

struct fetching {
    struct backend_fetch fetch;
    revision_t revs[64];
    struct record *records[64];
    bool ended;
};

static void on_fetched(struct backend_fetch *fetch)
{
    CONTAINER_OF(fetch, struct fetching, fetch)->ended = true;
}

static void prepare_fetch(struct fetching *f, size_t last)
{
    *f = (struct fetching){.fetch = {.revs = f->revs, .records = f->records, .count = 64}};
    for (size_t i = 0; i < 64; i++) {
        f->revs[i] = fixture.batches->records[last - (i * 37) % 64]->rev;
    }
}

static void start_fetch(struct fetching *f, size_t last)
{
    prepare_fetch(f, last);
    backend_fetch(fixture.backend, &f->fetch, on_fetched);
}

static void end_fetch(struct fetching *f, size_t last)
{
    ck_assert_msg(f->fetch.status == OK, "%s", f->fetch.why.text);
    for (size_t i = 0; i < 64; i++) {
        check_record(f->records[i], fixture.batches->records[last - (i * 37) % 64]);
        record_unref(f->records[i]);
    }
}

START_TEST(many_records_are_fetched)
{
    for (size_t i = 0; i < BATCHES; i++) {
        fixture.batches->items[i].state.compacted_revision = -1;
    }
    open_backend();
    write_all();
    size_t last = fixture.batches->record_count - 1;
    static struct fetching f[20];
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        start_fetch(&f[i], last - i);
    }
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        RUN_UNTIL(&fixture.loop, f[i].ended);
        end_fetch(&f[i], last - i);
    }
}
END_TEST

START_TEST(a_fetch_with_one_missing_gives_none)
{
    open_backend();
    write_all();
    struct fetching f;
    prepare_fetch(&f, fixture.batches->record_count - 1);
    f.revs[63] = newest()->rev + 77;
    backend_fetch(fixture.backend, &f.fetch, on_fetched);
    RUN_UNTIL(&fixture.loop, f.ended);
    ck_assert_int_ne(f.fetch.status, OK);
    for (size_t i = 0; i < 64; i++) {
        ck_assert_ptr_null(f.records[i]);
    }
}
END_TEST

struct scanning {
    struct backend_scan scan;
    struct row_log rows;
    bool ended;
};

static void on_scanned(struct backend_scan *scan)
{
    CONTAINER_OF(scan, struct scanning, scan)->ended = true;
}

static void scan_all(bool with_values)
{
    struct scanning s = {.scan = {.from = 1,
                                  .to = UINT64_MAX,
                                  .with_values = with_values,
                                  .rows = row_log_add,
                                  .rows_ctx = &s.rows}};
    backend_scan(fixture.backend, &s.scan, on_scanned);
    RUN_UNTIL(&fixture.loop, s.ended);
    ck_assert_int_eq(s.scan.status, OK);
    const char *wrong = batches_compare(fixture.batches, BATCHES, &s.rows, -1);
    ck_assert_msg(wrong == NULL, "%s", wrong);
    ck_assert_uint_eq(s.rows.rows[0].value.len, with_values ? s.rows.rows[0].value_len : 0);
    row_log_fini(&s.rows);
}

START_TEST(scans_give_every_row)
{
    open_backend();
    write_all();
    scan_all(false);
    scan_all(true);
}
END_TEST

static enum err refuse_row(void *ctx, const struct backend_row *rows, size_t count)
{
    (void)rows;
    *(size_t *)ctx += count;
    return ERR_CANCELLED;
}

START_TEST(a_scan_ends_when_told)
{
    open_backend();
    write_all();
    size_t seen = 0;
    struct scanning s = {
        .scan = {.from = 1, .to = UINT64_MAX, .rows = refuse_row, .rows_ctx = &seen}};
    backend_scan(fixture.backend, &s.scan, on_scanned);
    RUN_UNTIL(&fixture.loop, s.ended);
    ck_assert_int_eq(s.scan.status, ERR_CANCELLED);
    ck_assert_uint_eq(seen, 1);
}
END_TEST

/* ---- All at once ---- */

struct copying {
    struct backend_copy copy;
    bool ended;
};

static void on_copy_ended(struct backend_copy *copy)
{
    ck_assert_msg(copy->status == OK, "%s", copy->why.text);
    CONTAINER_OF(copy, struct copying, copy)->ended = true;
}

struct taking {
    struct backend_takeover takeover;
    bool ended;
};

static enum err prepare_nothing(struct backend_takeover *takeover, struct conn *conn,
                                struct why *why)
{
    (void)takeover;
    (void)conn;
    (void)why;
    return OK;
}

static void go_on(struct backend_takeover *takeover)
{
    (void)takeover;
    backend_takeover_go(fixture.backend);
}

static bool is_as_far_itself(struct backend_takeover *takeover)
{
    (void)takeover;
    return false;
}

static void on_taken(struct backend_copy *copy)
{
    struct backend_takeover *takeover = CONTAINER_OF(copy, struct backend_takeover, copy);
    CONTAINER_OF(takeover, struct taking, takeover)->ended = true;
}

/* The same file is opened again by all, for which nobody may give up the lock of it in between. */
START_TEST(another_process_is_refused_when_nothing_took_its_place)
{
    open_backend();
    write_some(0, 10);
    char copy_path[4096];
    (void)snprintf(copy_path, sizeof copy_path, "%s", tmpdir_path("copy"));
    struct copying copy = {.copy = {.path = copy_path}};
    backend_copy(fixture.backend, &copy.copy, on_copy_ended);
    RUN_UNTIL(&fixture.loop, copy.ended);
    struct taking taking = {
        .takeover = {.copy = {.path = copy_path},
                     .want = schema_manifest(&fixture.config.identity, &copy.copy.state),
                     .prepare = prepare_nothing,
                     .checked = go_on,
                     .still = is_as_far_itself}};
    backend_take_over(fixture.backend, &taking.takeover, on_taken);
    RUN_UNTIL(&fixture.loop, taking.ended);
    ck_assert_int_eq(taking.takeover.copy.status, ERR_EXISTS);
    ck_assert_int_eq(open_elsewhere(), ERR_LOCKED);
}
END_TEST

START_TEST(another_process_is_refused_when_another_file_took_its_place)
{
    open_backend();
    write_some(0, 10);
    struct copying defragment = {.ended = false};
    backend_defragment(fixture.backend, &defragment.copy, on_copy_ended);
    RUN_UNTIL(&fixture.loop, defragment.ended);
    ck_assert_int_eq(open_elsewhere(), ERR_LOCKED);
}
END_TEST

static pthread_t loop_thread;
static unsigned removed_by_threads;
static unsigned removed_by_loop;

static enum err note_unlink(struct fs *fs, const char *path, struct why *why)
{
    (void)(pthread_equal(pthread_self(), loop_thread) ? removed_by_loop++ : removed_by_threads++);
    return fs_real()->ops->unlink(fs, path, why);
}

static enum err no_free_bytes(struct fs *fs, const char *path, uint64_t *ret, struct why *why)
{
    (void)fs;
    (void)path;
    (void)why;
    *ret = 0;
    return OK;
}

static void on_failed(struct backend_copy *copy)
{
    CONTAINER_OF(copy, struct copying, copy)->ended = true;
}

/* Half a new file may be as large as the database, and its blocks take long to free. */
START_TEST(a_thread_removes_what_came_to_nothing)
{
    struct fs_ops ops = *fs_real()->ops;
    ops.unlink = note_unlink;
    ops.free_bytes = no_free_bytes;
    struct fs fs = {.ops = &ops};
    fixture.config.fs = &fs;
    open_backend();
    write_some(0, 10);
    loop_thread = pthread_self();
    removed_by_threads = 0;
    removed_by_loop = 0;
    struct copying defragment = {.ended = false};
    backend_defragment(fixture.backend, &defragment.copy, on_failed);
    RUN_UNTIL(&fixture.loop, defragment.ended);
    ck_assert_int_eq(defragment.copy.status, ERR_NO_SPACE);
    ck_assert_uint_eq(removed_by_loop, 0);
    ck_assert_uint_gt(removed_by_threads, 0);
    backend_close(TAKE(fixture.backend));
}
END_TEST

/* Writes, reads, copies, compaction and defragmentation at the same time; under the sanitizers this
 * is where threads would be seen to touch the same thing. */
START_TEST(everything_at_once)
{
    open_backend();
    write_some(0, 100);
    char copy_path[4096];
    (void)snprintf(copy_path, sizeof copy_path, "%s", tmpdir_path("copy"));
    struct copying copy = {.copy = {.path = copy_path}};
    struct copying defragment = {.ended = false};
    backend_copy(fixture.backend, &copy.copy, on_copy_ended);
    backend_defragment(fixture.backend, &defragment.copy, on_copy_ended);
    struct scanning scans[4] = {0};
    for (size_t i = 0; i < ARRAY_LEN(scans); i++) {
        scans[i].scan = (struct backend_scan){.from = 1,
                                              .to = UINT64_MAX,
                                              .with_values = true,
                                              .rows = row_log_add,
                                              .rows_ctx = &scans[i].rows};
        backend_scan(fixture.backend, &scans[i].scan, on_scanned);
    }
    for (size_t i = 100; i < BATCHES; i++) {
        batches_write(fixture.batches, i, fixture.backend);
        loop_turns(&fixture.loop, 1);
        struct record *record = NULL;
        size_t seen = batches_written(fixture.batches);
        const struct backend_batch *batch = &fixture.batches->items[seen > 0 ? seen - 1 : 0];
        if (seen > 0 && batch->record_count > 0) {
            revision_t rev = batch->records[batch->record_count - 1]->rev;
            enum err err = backend_get(fixture.backend, rev, &record, &fixture.why);
            ck_assert_msg(err == OK || err == ERR_NOT_FOUND, "%s", fixture.why.text);
            record_unref(record);
        }
    }
    RUN_UNTIL(&fixture.loop, batches_written(fixture.batches) == BATCHES);
    RUN_UNTIL(&fixture.loop, copy.ended && defragment.ended);
    for (size_t i = 0; i < ARRAY_LEN(scans); i++) {
        RUN_UNTIL(&fixture.loop, scans[i].ended);
        ck_assert_int_eq(scans[i].scan.status, OK);
        row_log_fini(&scans[i].rows);
    }
    backend_sync(fixture.backend);
    RUN_UNTIL(&fixture.loop, fixture.durable_index == BATCHES);
    int64_t compacted = fixture.batches->items[BATCHES - 1].state.compacted_revision;
    RUN_UNTIL(&fixture.loop, fixture.compacted == compacted);
    reopen();
    check_content(BATCHES);
    backend_close(TAKE(fixture.backend));
    fixture.config.path = copy_path;
    open_backend();
    check_content(copy.copy.state.applied_index);
}
END_TEST

START_TEST(closing_waits_for_readers)
{
    open_backend();
    write_all();
    static struct fetching f[10];
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        start_fetch(&f[i], fixture.batches->record_count - 1);
    }
    backend_close(TAKE(fixture.backend));
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        ck_assert(f[i].ended);
        for (size_t r = 0; r < 64 && f[i].fetch.status == OK; r++) {
            record_unref(f[i].records[r]);
        }
    }
}
END_TEST

/* ---- For people ---- */

static int take_text(void *ctx, int count, char **values, char **names)
{
    (void)names;
    struct buf *buf = ctx;
    for (int i = 0; i < count; i++) {
        buf_printf(buf, "%s%s", i > 0 ? "|" : "", values[i] != NULL ? values[i] : "NULL");
    }
    buf_printf(buf, "\n");
    return 0;
}

static void on_written(struct backend_batch *batch)
{
    ck_assert_int_eq(batch->status, OK);
}

START_TEST(the_view_shows_live_keys)
{
    open_backend();
    struct record *records[4] = {
        record_new(bytes_of_str("a"), bytes_of_str("one")),
        record_new(bytes_of_str("b"), bytes_of_str("two")),
        record_new(bytes_of_str("a"), bytes_of_str("three")),
        record_new(bytes_of_str("b"), bytes_of_str("")),
    };
    for (unsigned i = 0; i < 4; i++) {
        records[i]->rev = revision_pack(i + 2, 0);
        records[i]->create_revision = i < 2 ? i + 2 : i;
        records[i]->prev_rev = i < 2 ? 0 : records[i - 2]->rev;
        records[i]->version = 300 + i;
    }
    records[3]->tombstone = true;
    struct backend_batch batch = {
        .records = records, .record_count = 4, .state = {.applied_index = 1, .revision = 5}};
    backend_write(fixture.backend, &batch, on_written);
    backend_close(TAKE(fixture.backend));
    sqlite3 *db = NULL;
    ck_assert_int_eq(sqlite3_open(fixture.path, &db), SQLITE_OK);
    struct buf text = {0};
    int rc = sqlite3_exec(db, "SELECT * FROM kv; SELECT applied_index, revision FROM meta;",
                          take_text, &text, NULL);
    ck_assert_int_eq(rc, SQLITE_OK);
    buf_append(&text, "", 1);
    ck_assert_str_eq((const char *)text.data, "a|three|4\n1|5\n");
    buf_fini(&text);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    for (unsigned i = 0; i < 4; i++) {
        record_unref(records[i]);
    }
}
END_TEST

static Suite *backend_suite(void)
{
    Suite *suite = suite_create("backend");
    TCase *tc = tcase_create("open");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_database_is_empty);
    tcase_add_test(tc, members_do_not_sync_in_step);
    tcase_add_test(tc, what_was_written_is_there_after_a_restart);
    tcase_add_test(tc, another_process_is_refused);
    tcase_add_test(tc, what_is_no_database_is_refused);
    tcase_add_test(tc, a_file_that_may_not_be_written_is_refused);
    tcase_add_test(tc, a_missing_folder_is_an_error);
    tcase_add_test(tc, leftovers_are_removed);
    suite_add_tcase(suite, tc);
    tc = tcase_create("read");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_record_is_read);
    tcase_add_test(tc, ranges_end_with_a_whole_revision);
    tcase_add_test(tc, many_records_are_fetched);
    tcase_add_test(tc, a_fetch_with_one_missing_gives_none);
    tcase_add_test(tc, scans_give_every_row);
    tcase_add_test(tc, a_scan_ends_when_told);
    tcase_add_test(tc, another_process_is_refused_when_nothing_took_its_place);
    tcase_add_test(tc, another_process_is_refused_when_another_file_took_its_place);
    tcase_add_test(tc, a_thread_removes_what_came_to_nothing);
    tcase_add_test(tc, everything_at_once);
    tcase_add_test(tc, closing_waits_for_readers);
    tcase_add_test(tc, the_view_shows_live_keys);
    suite_add_tcase(suite, tc);
    return suite;
}

/* The other process of another_process_is_refused: the exit status is the error. */
static int open_and_tell(const char *path)
{
    uv_loop_t uv;
    struct env_real *real = NULL;
    if (uv_loop_init(&uv) != 0 || env_real_new(&uv, &real, NULL) != OK) {
        return 98;
    }
    struct backend_config config = {
        .env = env_real_env(real), .path = path, .identity = {.cluster_id = 7, .member_id = 9}};
    struct row_log rows = {0};
    struct backend_state state;
    struct backend *backend = NULL;
    _exit((int)backend_open(&config, row_log_add, &rows, &state, &backend, NULL));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--open") == 0) {
        return open_and_tell(argv[2]);
    }
    return runner_main(backend_suite);
}
