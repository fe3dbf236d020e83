/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/replace.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/backend_private.h"
#include "storage/store_private.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/simvfs.h"

#define FATAL_STATUS 70 /* base/assert.h */

/* Two members of a cluster on one disk in memory: the leader has applied the entries up to SENT,
 * the follower those up to BEHIND; a copy of the leader's database takes the place of the
 * follower's. Entries are the same for both, and follow from their index. */
#define BEHIND 60u
#define SENT   200u
#define NEWEST 230u

static struct fixture {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct simvfs *sim;
    struct store *leader;
    struct store *follower;
    struct store_copy_request copy;
    struct store_replace_request replace;
    unsigned copied;
    unsigned replaced;
    uint64_t applied_in_cb; /* by the follower, when it was called back */
    unsigned table_rows_in_cb;
    uint64_t durable_index; /* of the follower, as told */
    bool helped;            /* somebody keeps something of the store */
    unsigned prepared;
    unsigned rows_prepared;
    unsigned leases_prepared;
    unsigned disposed;
    enum err prepare_status;
} f;

static const char leader_path[] = "/leader.db";
static const char path[] = "/follower.db";
static const char staged[] = "/follower.db.install";

static void on_durable(void *ctx, uint64_t index)
{
    (void)ctx;
    ck_assert_uint_gt(index, f.durable_index);
    f.durable_index = index;
}

static enum err try_open(const char *file, uint64_t cluster, uint64_t member, struct store **ret,
                         struct why *why)
{
    struct store_config config = {
        .env = env_fake_env(f.fake),
        .path = file,
        .vfs = simvfs_name(f.sim),
        .fs = fs_fault_fs(f.disk),
        .identity = {.cluster_id = cluster, .member_id = member},
        .ring_bytes = 4096,
        .remember_hashes = true,
        .on_durable = member == 2 ? on_durable : NULL,
    };
    return store_open(&config, ret, why);
}

static struct store *open_store(const char *file, uint64_t member)
{
    struct why why = {.text = ""};
    struct store *store = NULL;
    enum err err = try_open(file, 7, member, &store, &why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), why.text);
    store_check(store);
    return store;
}

static void put(struct store *store, uint64_t index, unsigned key, int64_t lease)
{
    char name[32];
    char value[300];
    (void)snprintf(name, sizeof name, "key-%02u", key);
    memset(value, 'v', sizeof value);
    (void)snprintf(value, sizeof value, "%llu", (unsigned long long)index);
    struct store_put request = {
        .key = bytes_of_str(name), .value = bytes_of(value, 20 + index % 280), .lease = lease};
    ck_assert_int_eq(store_put(store, &request, NULL), OK);
}

/* As the state machine does. */
static void apply(struct store *store, uint64_t index)
{
    if (index <= store_applied_index(store)) {
        return;
    }
    store_entry_begin(store, index, 1 + index / 100);
    store_txn_begin(store);
    int64_t deleted;
    uint8_t row = (uint8_t)(index % 11);
    if (index % 50 == 0) {
        ck_assert_int_eq(store_compact(store, store_revision(store) - 9), OK);
    } else if (index % 7 == 0) {
        ck_assert_int_eq(store_delete_range(store, bytes_of_str("key-03"), bytes_of_str("key-06"),
                                            &deleted, NULL),
                         OK);
    } else {
        put(store, index, (unsigned)(index % 23), index % 5 == 0 ? 5 : 0);
    }
    store_table_put(store, TABLE_LEASE, bytes_of(&row, 1), bytes_of(&index, sizeof index));
    store_txn_end(store);
    store_entry_end(store);
}

static void apply_up_to(struct store *store, uint64_t last)
{
    for (uint64_t index = store_applied_index(store) + 1; index <= last; index++) {
        apply(store, index);
        if (index % 10 == 0) {
            env_fake_turn(f.fake);
        }
    }
}

static void on_copied(struct store_copy_request *request)
{
    ck_assert_ptr_eq(request, &f.copy);
    f.copied++;
}

static void make_copy(void)
{
    f.copy = (struct store_copy_request){.path = staged};
    f.copied = 0;
    store_copy_start(f.leader, &f.copy, on_copied);
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.copied, 1);
    ck_assert_msg(f.copy.status == OK, "%s", f.copy.why.text);
    ck_assert_uint_eq(f.copy.manifest.applied_index, SENT);
    ck_assert_uint_gt(f.copy.size_bytes, 0);
}

static void setup(void)
{
    f = (struct fixture){.fake = env_fake_new(3), .disk = fs_fault_new()};
    f.sim = simvfs_new(fs_fault_fs(f.disk), fs_fault_file_id);
    f.leader = open_store(leader_path, 1);
    f.follower = open_store(path, 2);
    apply_up_to(f.leader, SENT);
    apply_up_to(f.follower, BEHIND);
    env_fake_advance(f.fake, 2000);
    make_copy();
}

static void teardown(void)
{
    store_close(f.leader);
    store_close(f.follower);
    simvfs_free(f.sim);
    fs_fault_free(f.disk);
    env_fake_free(f.fake);
}

static enum err count_row(void *ctx, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    (*(unsigned *)ctx)++;
    return OK;
}

static enum err count_lease(void *ctx, struct bytes key, int64_t lease)
{
    ck_assert_int_eq(lease, 5);
    return count_row(ctx, key, key);
}

static void on_replaced(struct store_replace_request *request)
{
    ck_assert_ptr_eq(request, &f.replace);
    f.replaced++;
    f.applied_in_cb = store_applied_index(f.follower);
    if (request->status == OK) {
        enum err err =
            store_table_foreach(f.follower, TABLE_LEASE, count_row, &f.table_rows_in_cb, NULL);
        if (err != OK && fs_fault_fired(f.disk)) {
            _exit(FATAL_STATUS); /* as a server would */
        }
        ck_assert_int_eq(err, OK);
    }
}

static enum err prepare(void *ctx, struct store_reading *reading, struct why *why)
{
    ck_assert_ptr_eq(ctx, &f);
    ck_assert_uint_eq(f.replaced, 0);
    f.prepared++;
    TRY(store_reading_table(reading, TABLE_LEASE, count_row, &f.rows_prepared, why));
    TRY(store_reading_leases(reading, count_lease, &f.leases_prepared));
    return f.prepare_status;
}

static void dispose(void *ctx)
{
    ck_assert_ptr_eq(ctx, &f);
    ck_assert_uint_eq(f.replaced, 1);
    f.disposed++;
}

static void start_replace(void)
{
    static const struct store_replace_helper helper = {
        .prepare = prepare, .dispose = dispose, .ctx = &f};
    f.replace = (struct store_replace_request){
        .path = staged, .manifest = f.copy.manifest, .helper = f.helped ? &helper : NULL};
    f.replaced = 0;
    store_replace_start(f.follower, &f.replace, on_replaced);
}

static void on_hashed(struct store_hash_request *request)
{
    ck_assert_int_eq(request->status, OK);
}

static uint32_t hash_of(struct store *store)
{
    struct store_hash_request request = {.revision = 0};
    store_hash_start(store, &request, on_hashed);
    env_fake_run(f.fake);
    return request.hash;
}

/* Everything that can be seen at the newest revision. */
static void all(struct store *store, int64_t revision, struct range_result *ret)
{
    struct range_query query = {
        .key = bytes_of("", 1), .range_end = bytes_of("", 1), .revision = revision};
    ck_assert_int_eq(store_range(store, &query, ret), OK);
}

static void same(struct store *a, struct store *b)
{
    store_check(a);
    ck_assert_int_eq(store_revision(a), store_revision(b));
    ck_assert_int_eq(store_compacted_revision(a), store_compacted_revision(b));
    ck_assert_uint_eq(store_applied_index(a), store_applied_index(b));
    ck_assert(set_hash_equal(store_set_hash(a), store_set_hash(b)));
    ck_assert_uint_eq(store_key_count(a), store_key_count(b));
    struct range_result of_a;
    struct range_result of_b;
    all(a, 0, &of_a);
    all(b, 0, &of_b);
    ck_assert_uint_eq(of_a.records.count, of_b.records.count);
    for (size_t i = 0; i < of_a.records.count; i++) {
        const struct record *x = of_a.records.items[i];
        const struct record *y = of_b.records.items[i];
        ck_assert_uint_eq(x->rev, y->rev);
        ck_assert(bytes_equal(record_key(x), record_key(y)));
        ck_assert(bytes_equal(record_value(x), record_value(y)));
        ck_assert_int_eq(x->lease, y->lease);
    }
    range_result_fini(&of_a);
    range_result_fini(&of_b);
    ck_assert_uint_eq(hash_of(a), hash_of(b));
}

static void replaced(enum err status)
{
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_msg(f.replace.status == status, "%s: %s", err_text(f.replace.status),
                  f.replace.why.text);
}

static bool is_there(const char *name)
{
    struct fs_file *file = NULL;
    enum err err = fs_open(fs_fault_fs(f.disk), name, FS_READ, &file, NULL);
    fs_close(file);
    return err == OK;
}

static void reopen_follower(void)
{
    store_close(f.follower);
    f.durable_index = 0;
    f.follower = open_store(path, 2);
}

START_TEST(the_state_is_the_others)
{
    start_replace();
    ck_assert_uint_eq(f.replaced, 0);
    env_fake_run(f.fake);
    replaced(OK);
    ck_assert_uint_eq(f.applied_in_cb, SENT);
    ck_assert_uint_eq(f.table_rows_in_cb, 11);
    ck_assert_uint_eq(f.durable_index, SENT);
    ck_assert_uint_eq(store_durable_index(f.follower), SENT);
    unsigned keys = 0;
    ck_assert_int_eq(store_lease_foreach(f.follower, count_lease, &keys), OK);
    ck_assert_uint_gt(keys, 0);
    same(f.follower, f.leader);
    ck_assert(!is_there(staged));
    struct buf ours = {0};
    store_manifest(f.follower, &ours);
    struct store_manifest manifest;
    ck_assert_int_eq(store_manifest_decode(buf_bytes(&ours), &manifest), OK);
    ck_assert(store_manifest_equal(&manifest, &f.copy.manifest));
    buf_fini(&ours);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

START_TEST(writes_go_on_behind_it)
{
    start_replace();
    env_fake_run(f.fake);
    replaced(OK);
    apply_up_to(f.leader, NEWEST);
    apply_up_to(f.follower, NEWEST);
    env_fake_advance(f.fake, 2000);
    ck_assert_uint_eq(store_durable_index(f.follower), NEWEST);
    same(f.follower, f.leader);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

/* At each moment of it. */
START_TEST(what_is_applied_meanwhile_is_in_it_already)
{
    start_replace();
    for (uint64_t index = BEHIND + 1; f.replaced == 0 && index < SENT; index++) {
        apply(f.follower, index);
        env_fake_turn(f.fake);
    }
    env_fake_run(f.fake);
    replaced(OK);
    same(f.follower, f.leader);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

START_TEST(who_comes_as_far_by_himself_keeps_what_he_has)
{
    start_replace();
    for (uint64_t index = BEHIND + 1; index <= SENT; index++) {
        apply(f.follower, index);
    }
    env_fake_run(f.fake);
    replaced(ERR_EXISTS);
    ck_assert(is_there(staged));
    same(f.follower, f.leader);
    apply_up_to(f.leader, NEWEST);
    apply_up_to(f.follower, NEWEST);
    env_fake_advance(f.fake, 2000);
    ck_assert_uint_eq(store_durable_index(f.follower), NEWEST);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

/* To free the index of all that came takes long. */
START_TEST(what_was_not_needed_is_freed_by_a_thread)
{
    const struct backend *backend = f.follower->backend;
    start_replace();
    for (uint64_t index = BEHIND + 1; index <= SENT; index++) {
        apply(f.follower, index);
    }
    while (backend->checkpoint.state != CHECKPOINT_HELD) {
        ck_assert(env_fake_turn(f.fake));
        if (env_fake_job_count(f.fake) == 0) {
            env_fake_advance(f.fake, 1);
        }
    }
    while (backend->checkpoint.state == CHECKPOINT_HELD) {
        ck_assert(env_fake_turn(f.fake));
    }
    ck_assert_uint_eq(f.replaced, 0);
    ck_assert_ptr_nonnull(backend->takeover.request->index);
    env_fake_run(f.fake);
    replaced(ERR_EXISTS);
    same(f.follower, f.leader);
}
END_TEST

struct asked {
    struct store_range_request request;
    unsigned ended;
};

static void on_asked(struct store_range_request *request)
{
    CONTAINER_OF(request, struct asked, request)->ended++;
}

static void ask(struct asked *asked, int64_t revision)
{
    *asked = (struct asked){
        .request = {
            .query = {.key = bytes_of("", 1), .range_end = bytes_of("", 1), .revision = revision}}};
    store_range_start(f.follower, &asked->request, on_asked);
}

START_TEST(reads_under_way_end_on_the_old_data)
{
    struct asked before;
    struct asked during;
    int64_t old_revision = store_revision(f.follower);
    struct range_result want;
    all(f.follower, 0, &want);
    start_replace();
    ask(&before, 0);
    while (f.replaced == 0) {
        ck_assert(env_fake_turn(f.fake) || env_fake_timer_count(f.fake) > 0);
        if (before.ended == 0) {
            continue;
        }
        env_fake_advance(f.fake, 1);
    }
    ck_assert_uint_eq(before.ended, 1);
    ck_assert_int_eq(before.request.status, OK);
    ck_assert_int_eq(before.request.result.revision, old_revision);
    ck_assert_uint_eq(before.request.result.records.count, want.records.count);
    ask(&during, 0);
    env_fake_run(f.fake);
    ck_assert_int_eq(during.request.status, OK);
    ck_assert_int_eq(during.request.result.revision, store_revision(f.leader));
    range_result_fini(&during.request.result);
    ask(&during, old_revision); /* compacted by now */
    env_fake_run(f.fake);
    ck_assert_int_eq(during.request.status, ERR_COMPACTED);
    range_result_fini(&before.request.result);
    range_result_fini(&want);
}
END_TEST

/* A read in each turn: all are answered, each of the old or of the new state as a whole. */
START_TEST(reads_of_every_moment_are_answered)
{
    struct asked asked[64];
    unsigned count = 0;
    int64_t old_revision = store_revision(f.follower);
    start_replace();
    for (; count < ARRAY_LEN(asked); count++) {
        ask(&asked[count], 0);
        env_fake_turn(f.fake);
    }
    env_fake_advance(f.fake, 10);
    replaced(OK);
    unsigned of_old = 0;
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(asked[i].ended, 1);
        ck_assert_int_eq(asked[i].request.status, OK);
        int64_t revision = asked[i].request.result.revision;
        ck_assert(revision == old_revision || revision == store_revision(f.leader));
        of_old += revision == old_revision;
        range_result_fini(&asked[i].request.result);
    }
    ck_assert_uint_gt(of_old, 0);
    ck_assert_uint_lt(of_old, count);
}
END_TEST

/* ---- what will not do ---- */

static void overwrite(uint64_t offset, const void *data, size_t len)
{
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fs_fault_fs(f.disk), staged, FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_write(file, offset, data, len, NULL), OK);
    fs_close(file);
}

static void damage_manifest(void)
{
    f.copy.manifest.hash.lo++;
}

static void damage_term(void)
{
    f.copy.manifest.applied_term++;
}

static void damage_rows(void)
{
    uint8_t junk[64];
    memset(junk, 'x', sizeof junk);
    for (uint64_t page = 9; page * 4096 < f.copy.size_bytes; page++) {
        overwrite(page * 4096 + 3900, junk, sizeof junk); /* cells begin at the end of a page */
    }
}

static void damage_length(void)
{
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fs_fault_fs(f.disk), staged, FS_WRITE, &file, NULL), OK);
    ck_assert_int_eq(fs_truncate(file, f.copy.size_bytes / 2 / 4096 * 4096, NULL), OK);
    fs_close(file);
}

static void damage_header(void)
{
    overwrite(0, "not a database", 14);
}

static void damage_name(void)
{
    ck_assert_int_eq(fs_unlink(fs_fault_fs(f.disk), staged, NULL), OK);
}

/* A sound database of another cluster. */
static void damage_cluster(void)
{
    struct store *other = NULL;
    struct why why = {.text = ""};
    ck_assert_int_eq(try_open("/other.db", 8, 1, &other, &why), OK);
    apply_up_to(other, SENT);
    env_fake_advance(f.fake, 2000);
    ck_assert_int_eq(fs_unlink(fs_fault_fs(f.disk), staged, NULL), OK);
    struct store_copy_request copy = {.path = staged};
    f.copied = 0;
    f.copy = copy;
    store_copy_start(other, &f.copy, on_copied);
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.copied, 1);
    store_close(other);
}

static const struct {
    void (*damage)(void);
    enum err want;
} refused[] = {
    {damage_manifest, ERR_CORRUPT}, {damage_term, ERR_CORRUPT},   {damage_rows, ERR_CORRUPT},
    {damage_length, ERR_CORRUPT},   {damage_header, ERR_CORRUPT}, {damage_name, ERR_FOREIGN},
    {damage_cluster, ERR_FOREIGN},
};

START_TEST(what_is_not_as_announced_is_refused)
{
    int64_t revision = store_revision(f.follower);
    refused[_i].damage();
    start_replace();
    env_fake_run(f.fake);
    replaced(refused[_i].want);
    ck_assert_uint_gt(strlen(f.replace.why.text), 0);
    ck_assert_int_eq(store_revision(f.follower), revision);
    apply_up_to(f.follower, NEWEST);
    apply_up_to(f.leader, NEWEST);
    env_fake_advance(f.fake, 2000);
    same(f.follower, f.leader);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

static unsigned second_ended;

static void on_second(struct store_replace_request *request)
{
    ck_assert_int_eq(request->status, ERR_TOO_MANY_REQUESTS);
    second_ended++;
}

START_TEST(only_one_at_a_time)
{
    struct store_replace_request second = {.path = staged, .manifest = f.copy.manifest};
    start_replace();
    second_ended = 0;
    store_replace_start(f.follower, &second, on_second);
    env_fake_run(f.fake);
    ck_assert_uint_eq(second_ended, 1);
    replaced(OK);
}
END_TEST

/* ---- crashes, ends, full disks ---- */

/* Power fails at every operation of it. */
START_TEST(a_crash_leaves_the_old_state_or_the_new_one)
{
    uint64_t first = fs_fault_op_count(f.disk);
    start_replace();
    for (uint64_t index = BEHIND + 1; index <= BEHIND + 5; index++) {
        apply(f.follower, index);
        env_fake_turn(f.fake);
    }
    env_fake_run(f.fake);
    replaced(OK);
    uint64_t replaced_at = fs_fault_op_count(f.disk);
    apply_up_to(f.follower, SENT + 10);
    env_fake_advance(f.fake, 2000);
    uint64_t last = fs_fault_op_count(f.disk);
    unsigned chances = effort_count(5, 1, "outcomes of each crash");
    unsigned olds = 0;
    unsigned news = 0;
    struct fixture whole = f;
    for (uint64_t next, op = first; op <= last; op = op < last && next > last ? last : next) {
        next = first + effort_next(op - first, 8); /* the last one is always tried */
        for (uint64_t chance = 0; chance < chances; chance++) {
            f.fake = env_fake_new(3);
            f.disk = fs_fault_crash(whole.disk, op, chance * 1000 + chance);
            f.sim = simvfs_new(fs_fault_fs(f.disk), fs_fault_file_id);
            f.durable_index = 0;
            f.leader = open_store(leader_path, 1);
            f.follower = open_store(path, 2);
            uint64_t applied = store_applied_index(f.follower);
            ck_assert_msg(applied >= (op < replaced_at ? BEHIND : SENT),
                          "operation %llu of %llu..%llu: %llu", (unsigned long long)op,
                          (unsigned long long)first, (unsigned long long)last,
                          (unsigned long long)applied);
            olds += applied < SENT;
            news += applied >= SENT;
            apply_up_to(f.leader, SENT + 20);
            apply_up_to(f.follower, SENT + 20);
            same(f.follower, f.leader);
            teardown();
        }
    }
    f = whole;
    ck_assert_uint_gt(olds, 0);
    ck_assert_uint_gt(news, 0);
}
END_TEST

#define NOT_FIRED 3

/* In a process of its own: the K-th operation of the disk fails. All goes on with the old state, or
 * the new one, or the process ends with a message. */
static void with_fault(uint64_t k)
{
    fs_fault_arm(f.disk, FS_FAULT_ALL, k, ERR_IO, false);
    start_replace();
    env_fake_advance(f.fake, 20);
    if (!fs_fault_fired(f.disk)) {
        _exit(NOT_FIRED);
    }
    fs_fault_disarm(f.disk);
    env_fake_advance(f.fake, 2000);
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_uint_eq(store_applied_index(f.follower), f.replace.status == OK ? SENT : BEHIND);
    apply_up_to(f.leader, NEWEST);
    apply_up_to(f.follower, NEWEST);
    env_fake_advance(f.fake, 2000);
    same(f.follower, f.leader);
    _exit(0);
}

START_TEST(a_disk_that_fails_is_an_error_or_the_end)
{
    unsigned errors = 0;
    unsigned ends = 0;
    for (uint64_t k = 1;; k = effort_next(k, 16)) {
        (void)fflush(NULL);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            if (freopen("/dev/null", "w", stderr) == NULL) {
                _exit(1);
            }
            with_fault(k);
        }
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status), "operation %llu: status %d", (unsigned long long)k,
                      status);
        if (WEXITSTATUS(status) == NOT_FIRED) {
            break;
        }
        ck_assert_msg(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FATAL_STATUS,
                      "operation %llu: exit status %d", (unsigned long long)k, WEXITSTATUS(status));
        errors += WEXITSTATUS(status) == 0;
        ends += WEXITSTATUS(status) == FATAL_STATUS;
    }
    ck_assert_uint_gt(errors, effort_count(10, 5, "errors"));
    ck_assert_uint_gt(ends, effort_count(3, 1, "ends"));
}
END_TEST

/* After _i turns of it. */
START_TEST(closing_ends_it)
{
    start_replace();
    for (int i = 0; i < _i; i++) {
        env_fake_turn(f.fake);
    }
    struct asked asked;
    ask(&asked, 0);
    uint64_t applied = store_applied_index(f.follower);
    if (f.replaced == 0) {
        apply(f.follower, applied + 1);
        applied++;
    }
    store_close(f.follower);
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_uint_eq(asked.ended, 1);
    if (asked.request.status == OK) {
        range_result_fini(&asked.request.result);
    }
    ck_assert(f.replace.status == OK || f.replace.status == ERR_STOPPED);
    ck_assert_uint_eq(f.replace.status == OK, applied >= SENT);
    f.durable_index = 0;
    f.follower = open_store(path, 2);
    ck_assert_uint_eq(store_applied_index(f.follower), applied);
    apply_up_to(f.follower, SENT);
    same(f.follower, f.leader);
}
END_TEST

START_TEST(what_waited_for_room_is_in_it_already)
{
    fs_fault_arm(f.disk, FS_FAULT_WRITE | FS_FAULT_ALLOCATE, 1, ERR_NO_SPACE, true);
    apply_up_to(f.follower, BEHIND + 20);
    env_fake_advance(f.fake, 1000);
    ck_assert(fs_fault_fired(f.disk));
    start_replace();
    env_fake_advance(f.fake, 50);
    replaced(ERR_NO_SPACE); /* it could not even be made ours */
    fs_fault_disarm(f.disk);
    start_replace();
    env_fake_advance(f.fake, 50); /* before what waits for room is tried again */
    replaced(OK);
    same(f.follower, f.leader);
    apply_up_to(f.leader, NEWEST);
    apply_up_to(f.follower, NEWEST);
    env_fake_advance(f.fake, 3000);
    ck_assert_uint_eq(store_durable_index(f.follower), NEWEST);
    reopen_follower();
    same(f.follower, f.leader);
}
END_TEST

START_TEST(who_keeps_something_of_it_reads_it_before)
{
    f.helped = true;
    start_replace();
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_int_eq(f.replace.status, OK);
    ck_assert_uint_eq(f.prepared, 1);
    ck_assert_uint_eq(f.disposed, 1);
    ck_assert_uint_eq(f.rows_prepared, f.table_rows_in_cb);
    ck_assert_uint_gt(f.leases_prepared, 0);
    unsigned left = 0;
    ck_assert_int_eq(store_lease_foreach(f.follower, count_lease, &left), OK);
    ck_assert_uint_eq(left, 0); /* they were told */
}
END_TEST

START_TEST(who_cannot_read_it_keeps_the_old_one)
{
    f.helped = true;
    f.prepare_status = ERR_NOMEM;
    start_replace();
    env_fake_run(f.fake);
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_int_eq(f.replace.status, ERR_NOMEM);
    ck_assert_uint_eq(f.disposed, 0);
    ck_assert_uint_eq(store_applied_index(f.follower), BEHIND);
}
END_TEST

static Suite *replace_suite(void)
{
    Suite *suite = suite_create("replace");
    TCase *tc = tcase_create("replace");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, the_state_is_the_others);
    tcase_add_test(tc, writes_go_on_behind_it);
    tcase_add_test(tc, what_is_applied_meanwhile_is_in_it_already);
    tcase_add_test(tc, who_comes_as_far_by_himself_keeps_what_he_has);
    tcase_add_test(tc, what_was_not_needed_is_freed_by_a_thread);
    tcase_add_test(tc, reads_under_way_end_on_the_old_data);
    tcase_add_test(tc, reads_of_every_moment_are_answered);
    tcase_add_loop_test(tc, what_is_not_as_announced_is_refused, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(tc, only_one_at_a_time);
    tcase_add_test(tc, a_crash_leaves_the_old_state_or_the_new_one);
    tcase_add_test(tc, a_disk_that_fails_is_an_error_or_the_end);
    tcase_add_test(tc, who_keeps_something_of_it_reads_it_before);
    tcase_add_test(tc, who_cannot_read_it_keeps_the_old_one);
    tcase_add_loop_test(tc, closing_ends_it, 0, 24);
    tcase_add_test(tc, what_waited_for_room_is_in_it_already);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(replace_suite);
}
