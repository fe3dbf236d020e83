/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/basedb.h"

#include <stdio.h>

#include "base/fs.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/simvfs.h"

#define STEPS_MAX    16u
#define LARGE_BYTES  9000u
#define CONTENT_MAX  (1u << 24)
#define COMPACT_AT   30u /* the entry that compacts ... */
#define COMPACT_BACK 12  /* ... what is older than so many revisions */

static void put(struct store *store, uint64_t index)
{
    static char value[LARGE_BYTES];
    char key[16];
    memset(value, 'v', sizeof value);
    (void)snprintf(key, sizeof key, "key-%02u", (unsigned)(index % 9));
    struct store_put args = {
        .key = bytes_of_str(key),
        .value = bytes_of(value, index == BASEDB_INDEX ? LARGE_BYTES : index),
        .lease = index % 5 == 0 ? 5 : 0,
    };
    CLAIM(store_put(store, &args, NULL) == OK);
}

void basedb_apply(struct store *store, uint64_t index)
{
    int64_t deleted;
    enum store_table table = 1 + (enum store_table)(index % (TABLE_COUNT - 1));
    uint8_t row = (uint8_t)index;
    store_entry_begin(store, index, 1 + index / 20);
    store_txn_begin(store);
    if (index == COMPACT_AT) {
        CLAIM(store_compact(store, store_revision(store) - COMPACT_BACK) == OK);
    } else if (index % 7 == 0) {
        CLAIM(store_delete_range(store, bytes_of_str("key-03"), bytes_of_str("key-06"), &deleted,
                                 NULL) == OK);
    } else {
        put(store, index);
    }
    store_table_put(store, table, bytes_of(&row, 1), bytes_of(&row, 1));
    (void)store_txn_end(store);
    store_entry_end(store);
}

static void on_copied(struct store_copy_request *request)
{
    CLAIM(request->status == OK);
}

static void make(struct basedb *ret)
{
    struct env_fake *fake = env_fake_new(1);
    struct fs_fault *disk = fs_fault_new();
    struct simvfs *sim = simvfs_new(fs_fault_fs(disk), fs_fault_file_id);
    struct store_copy_request copy = {.path = "/copy.db"};
    struct store *store;
    struct why why;
    struct store_config config = {
        .env = env_fake_env(fake),
        .path = "/store.db",
        .vfs = simvfs_name(sim),
        .fs = fs_fault_fs(disk),
        .identity = {.cluster_id = BASEDB_CLUSTER_ID, .member_id = BASEDB_MEMBER_ID},
    };
    CLAIM(store_open(&config, &store, &why) == OK);
    for (uint64_t index = 1; index <= BASEDB_INDEX; index++) {
        basedb_apply(store, index);
        env_fake_turn(fake);
    }
    env_fake_advance(fake, 1000);
    store_copy_start(store, &copy, on_copied);
    env_fake_run(fake);
    CLAIM(fs_read_file(fs_fault_fs(disk), copy.path, CONTENT_MAX, &ret->content, &why) == OK);
    ret->manifest = copy.manifest;
    store_close(store);
    simvfs_free(sim);
    fs_fault_free(disk);
    env_fake_free(fake);
}

const struct basedb *basedb_get(void)
{
    static struct basedb basedb;
    if (basedb.content.len == 0) {
        make(&basedb);
    }
    return &basedb;
}

/* ---- damage ---- */

/* A page, and an offset in it or behind. */
static size_t read_place(struct reader *input)
{
    size_t page = read_u8(input);
    return page * BASEDB_PAGE_BYTES + read_u16(input);
}

static void overwrite(struct buf *content, size_t at, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len && at + i < content->len; i++) {
        content->data[at + i] = bytes.data[i];
    }
}

static void copy_page(struct buf *content, size_t to, size_t from)
{
    size_t pages = content->len / BASEDB_PAGE_BYTES;
    if (pages > 0 && to % pages != from % pages) {
        memcpy(content->data + to % pages * BASEDB_PAGE_BYTES,
               content->data + from % pages * BASEDB_PAGE_BYTES, BASEDB_PAGE_BYTES);
    }
}

static void do_step(struct buf *content, enum basedb_step step, struct reader *input)
{
    size_t at;
    uint8_t mask;
    switch (step) {
    case BASEDB_BYTES:
        at = read_place(input);
        overwrite(content, at, fuzz_view(input, read_u8(input)));
        break;
    case BASEDB_FLIP:
        at = read_place(input);
        mask = read_u8(input);
        if (at < content->len) {
            content->data[at] ^= mask;
        }
        break;
    case BASEDB_PAGE:
        at = read_u8(input);
        copy_page(content, at, read_u8(input));
        break;
    case BASEDB_CUT:
        at = read_place(input);
        content->len = at < content->len ? at : content->len;
        break;
    case BASEDB_GROW:
        for (unsigned n = read_u16(input); n > 0; n--) {
            write_u8(content, 0xff);
        }
        break;
    default:
        break;
    }
}

void basedb_damage(struct reader *input, struct buf *ret)
{
    buf_clear(ret);
    buf_append_bytes(ret, buf_bytes(&basedb_get()->content));
    for (unsigned i = 0; i < STEPS_MAX && reader_left(input) > 0; i++) {
        enum basedb_step step = read_u8(input) % BASEDB_STEP_COUNT;
        if (step == BASEDB_END) {
            break;
        }
        do_step(ret, step, input);
    }
    CLAIM(buf_ok(ret));
}
