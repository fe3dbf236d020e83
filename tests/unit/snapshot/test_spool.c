/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/spool.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "tests/unit/snapshot/backup_fixture.h"

struct taker {
    struct spool_copy copy;
    bool called;
    enum err status;
};
static struct taker takers[3];

static void setup(void)
{
    stored_setup();
    memset(takers, 0, sizeof takers);
}

static void on_called(struct spool_copy *copy, enum err status)
{
    struct taker *taker = CONTAINER_OF(copy, struct taker, copy);
    taker->called = true;
    taker->status = status;
}

static void start(struct taker *taker)
{
    ck_assert_int_eq(spool_start(stored.spool, &taker->copy, on_called), OK);
    ck_assert(!taker->called);
}

static void wait_for(struct taker *taker)
{
    RUN_UNTIL(&stored.loop, taker->called);
    taker->called = false;
    ck_assert_int_eq(taker->status, OK);
}

static void read_piece(struct taker *taker)
{
    spool_read(&taker->copy, on_called);
    ck_assert(!taker->called);
    wait_for(taker);
}

/* Files whose name begins with NAME. */
static size_t count_files(const char *name)
{
    struct fs_names names = {0};
    size_t count = 0;
    ck_assert_int_eq(fs_list(fs_real(), tmpdir_path(NULL), &names, NULL), OK);
    for (size_t i = 0; i < names.count; i++) {
        count += strncmp(names.names[i], name, strlen(name)) == 0;
    }
    fs_names_fini(&names);
    return count;
}

/* Put at the last moment, and not yet known to SQLite. */
START_TEST(what_was_applied_before_is_in_it)
{
    stored_put("last", "moment", 0);
    int64_t revision = store_revision(stored.store);
    const char *path = stored_save("saved.db");
    CLEANUP(backup_closep) struct backup *backup = NULL;
    ck_assert_int_eq(backup_open(fs_real(), path, &backup, &stored.why), OK);
    ck_assert_int_ge(dbfile_info(backup_database(backup))->revision, revision);
}
END_TEST

/* What is written meanwhile is not. */
START_TEST(it_is_of_one_moment)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    start(&takers[0]);
    wait_for(&takers[0]);
    for (int i = 0; i < 50; i++) {
        stored_put("later", "and later", 0);
    }
    int64_t later = store_revision(stored.store);
    while (!takers[0].copy.is_last) {
        read_piece(&takers[0]);
        buf_append_bytes(&bytes, blob_bytes(takers[0].copy.piece));
        stored_put("between", "pieces", 0);
    }
    spool_end(&takers[0].copy);
    tmpdir_write("saved.db", bytes.data, bytes.len);
    CLEANUP(backup_closep) struct backup *backup = NULL;
    ck_assert_int_eq(backup_open(fs_real(), tmpdir_path("saved.db"), &backup, &stored.why), OK);
    ck_assert_msg(backup_verify(backup, false, NULL, &stored.why) == OK, "%s", stored.why.text);
    ck_assert_int_lt(dbfile_info(backup_database(backup))->revision, later);
}
END_TEST

START_TEST(pieces_count_down_to_the_digest)
{
    start(&takers[0]);
    wait_for(&takers[0]);
    uint64_t left = 0;
    for (unsigned i = 0;; i++) {
        read_piece(&takers[0]);
        const struct spool_copy *copy = &takers[0].copy;
        if (copy->is_last) {
            ck_assert_uint_eq(left, 0);
            ck_assert_uint_eq(copy->left_bytes, 0);
            ck_assert_uint_eq(copy->piece->len, DIGEST_BYTES);
            break;
        }
        ck_assert(i == 0 || copy->left_bytes + copy->piece->len == left);
        left = copy->left_bytes;
    }
    spool_end(&takers[0].copy);
}
END_TEST

START_TEST(the_copy_has_no_name)
{
    size_t before = count_files("store.db");
    start(&takers[0]);
    wait_for(&takers[0]);
    ck_assert_uint_eq(count_files("store.db"), before);
    read_piece(&takers[0]);
    spool_end(&takers[0].copy); /* in the middle */
}
END_TEST

START_TEST(copies_that_a_crash_left_are_removed)
{
    tmpdir_write("store.db.copy-17", "half a copy", 11);
    tmpdir_write("store.db.copied", "somebody else's", 15);
    tmpdir_write("other.db.copy-17", "likewise", 8);
    struct spool_config config = {
        .env = stored.loop.env, .fs = fs_real(), .store = stored.store, .path = stored.path};
    struct spool *spool;
    ck_assert_int_eq(spool_new(&config, &spool), OK);
    spool_free(spool);
    ck_assert_uint_eq(count_files("store.db.copy-"), 0);
    ck_assert_uint_eq(count_files("store.db.copied"), 1);
    ck_assert_uint_eq(count_files("other.db.copy-"), 1);
}
END_TEST

START_TEST(only_so_many_are_taken_at_once)
{
    start(&takers[0]);
    start(&takers[1]);
    ck_assert_int_eq(spool_start(stored.spool, &takers[2].copy, on_called), ERR_TOO_MANY_REQUESTS);
    wait_for(&takers[0]);
    wait_for(&takers[1]);
    spool_end(&takers[0].copy);
    spool_end(&takers[1].copy);
    /* Their files are closed by the thread. */
    RUN_UNTIL(&stored.loop, spool_start(stored.spool, &takers[2].copy, on_called) == OK);
    wait_for(&takers[2]);
    ck_assert(!takers[2].called);
    spool_end(&takers[2].copy);
}
END_TEST

START_TEST(a_disk_is_not_filled_up)
{
    struct spool_config config = {.env = stored.loop.env,
                                  .fs = fs_real(),
                                  .store = stored.store,
                                  .path = stored.path,
                                  .copies_max = 1,
                                  .spare_bytes = UINT64_MAX / 2};
    struct spool *spool;
    ck_assert_int_eq(spool_new(&config, &spool), OK);
    ck_assert_int_eq(spool_start(spool, &takers[0].copy, on_called), ERR_NO_SPACE);
    spool_free(spool);
}
END_TEST

static enum err room_for_one_and_a_half(struct fs *fs, const char *path, uint64_t *ret,
                                        struct why *why)
{
    (void)fs;
    (void)path;
    (void)why;
    *ret = store_size_bytes(stored.store) * 3 / 2;
    return OK;
}

struct other {
    struct store_copy_request request;
    bool called;
};

static void on_other(struct store_copy_request *request)
{
    CONTAINER_OF(request, struct other, request)->called = true;
}

/* What the first one will take is not there for the second, though the disk does not say so yet. */
START_TEST(two_at_once_do_not_fill_it_up)
{
    struct fs_ops ops = *fs_real()->ops;
    struct fs fs = {.ops = &ops};
    struct spool_config config = {.env = stored.loop.env,
                                  .fs = &fs,
                                  .store = stored.store,
                                  .path = stored.path,
                                  .copies_max = 2};
    struct spool *spool;
    ops.free_bytes = room_for_one_and_a_half;
    ck_assert_int_eq(spool_new(&config, &spool), OK);
    ck_assert_int_eq(spool_start(spool, &takers[0].copy, on_called), OK);
    ck_assert_int_eq(spool_start(spool, &takers[1].copy, on_called), ERR_NO_SPACE);
    wait_for(&takers[0]);
    /* Nor does one beside one that is made for a member, or beside a defragmentation. */
    for (unsigned i = 0; i < 2; i++) {
        struct other other = {.request = {.path = tmpdir_path("another")}};
        (i == 0 ? store_copy_start : store_defragment_start)(stored.store, &other.request,
                                                             on_other);
        ck_assert_int_eq(spool_start(spool, &takers[1].copy, on_called), ERR_NO_SPACE);
        RUN_UNTIL(&stored.loop, other.called);
        ck_assert_int_eq(other.request.status, OK);
    }
    ck_assert_int_eq(spool_start(spool, &takers[1].copy, on_called), OK);
    wait_for(&takers[1]);
    spool_end(&takers[0].copy);
    spool_end(&takers[1].copy);
    spool_free(spool);
}
END_TEST

/* The member ends while a copy is made, and while one is read. */
START_TEST(a_store_that_closes_ends_it)
{
    start(&takers[0]);
    store_close(TAKE(stored.store));
    ck_assert(takers[0].called);
    ck_assert_int_eq(takers[0].status, ERR_STOPPED);
    spool_end(&takers[0].copy);
    ck_assert_uint_eq(count_files("store.db.copy-"), 0);
}
END_TEST

START_TEST(a_copy_outlives_its_store)
{
    start(&takers[0]);
    wait_for(&takers[0]);
    store_close(TAKE(stored.store));
    while (!takers[0].copy.is_last) {
        read_piece(&takers[0]);
    }
    spool_end(&takers[0].copy);
}
END_TEST

static Suite *spool_suite(void)
{
    Suite *suite = suite_create("spool");
    TCase *tc = tcase_create("spool");
    tcase_add_checked_fixture(tc, setup, stored_teardown);
    tcase_add_test(tc, what_was_applied_before_is_in_it);
    tcase_add_test(tc, it_is_of_one_moment);
    tcase_add_test(tc, pieces_count_down_to_the_digest);
    tcase_add_test(tc, the_copy_has_no_name);
    tcase_add_test(tc, copies_that_a_crash_left_are_removed);
    tcase_add_test(tc, only_so_many_are_taken_at_once);
    tcase_add_test(tc, a_disk_is_not_filled_up);
    tcase_add_test(tc, two_at_once_do_not_fill_it_up);
    tcase_add_test(tc, a_store_that_closes_ends_it);
    tcase_add_test(tc, a_copy_outlives_its_store);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(spool_suite);
}
