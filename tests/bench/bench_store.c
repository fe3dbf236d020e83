/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "storage/keyindex.h"
#include "storage/store.h"

/* What the store costs on this machine, without network and Raft log:
 *
 *     bench_store DIRECTORY [KEYS] [VALUE_BYTES] [ENTRY_PUTS]
 *
 * New keys in random order, updates, reads, ranges, counts, a compaction, a restart. Time on the
 * loop is told apart from time until SQLite has it. DIRECTORY must be empty. */
#define KEY_BYTES     40
#define READS         500000u
#define RANGE_KEYS    10000
#define RANGES        50u
#define PENDING_BYTES (64u * 1024 * 1024) /* wait for SQLite above that */

static struct {
    uv_loop_t loop;
    struct env_real *real;
    struct store *store;
    struct store_config config;
    uint64_t keys;
    size_t value_bytes;
    uint64_t entry_puts;
    uint8_t *value;
    uint64_t index;
    uint64_t longest_turn_ns;
} b;

static uint64_t now_ns(void)
{
    return env_now_ns(b.config.env);
}

/* Of the loop's thread: what counts on a machine that others use too. */
static uint64_t cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* "NAME  COUNT/s by the clock, NANOSECONDS of the loop each". */
struct stopwatch {
    uint64_t wall;
    uint64_t cpu;
};

static struct stopwatch start(void)
{
    b.longest_turn_ns = 0;
    return (struct stopwatch){.wall = now_ns(), .cpu = cpu_ns()};
}

static void stop(const struct stopwatch *watch, const char *name, uint64_t count)
{
    double wall = (double)(now_ns() - watch->wall);
    double cpu = (double)(cpu_ns() - watch->cpu);
    printf("%-14s %10.0f /s, %9.0f ns of the loop each, longest turn %.2f ms\n", name,
           (double)count * 1e9 / wall, cpu / (double)count, (double)b.longest_turn_ns / 1e6);
}

static void check(enum err err, const char *what)
{
    if (err != OK) {
        fatal("%s: %s", what, err_text(err));
    }
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%*s %ld", &pages) != 1) {
        return 0;
    }
    (void)fclose(statm);
    return pages * 4;
}

/* The keys are a permutation of KEYS numbers: an odd factor modulo 2^64 mixes, the rest is unique.
 */
static struct bytes write_key(uint64_t i, char *key)
{
    (void)snprintf(key, KEY_BYTES + 1, "/registry/pods/%08" PRIx64 "/%016" PRIx64,
                   mix64(i) & 0xffffffff, i);
    return bytes_of(key, KEY_BYTES);
}

static struct bytes key_of(uint64_t i)
{
    static char key[KEY_BYTES + 1];
    return write_key(i, key);
}

/* A turn of the loop, timed. */
static void turn(uv_run_mode mode)
{
    uint64_t start_ns = cpu_ns();
    uv_run(&b.loop, mode);
    uint64_t took_ns = cpu_ns() - start_ns;
    b.longest_turn_ns = took_ns > b.longest_turn_ns ? took_ns : b.longest_turn_ns;
}

/* The store hears of keys that come as it does from the state machine. */
static void put_some(uint64_t first, uint64_t count, bool update)
{
    static char memory[STORE_EXPECT_MAX][KEY_BYTES + 1];
    struct bytes keys[STORE_EXPECT_MAX];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = first + i;
        keys[i] = write_key(update ? mix64(n) % b.keys : n, memory[i]);
    }
    store_expect(b.store, keys, count);
    for (uint64_t i = 0; i < count; i++) {
        struct store_put put = {.key = keys[i], .value = bytes_of(b.value, b.value_bytes)};
        check(store_put(b.store, &put, NULL), "put");
    }
}

static void put_entry(uint64_t first, uint64_t count, bool update)
{
    store_entry_begin(b.store, ++b.index, 1);
    for (uint64_t done = 0; done < count; done += STORE_EXPECT_MAX) {
        uint64_t left = count - done;
        put_some(first + done, left < STORE_EXPECT_MAX ? left : STORE_EXPECT_MAX, update);
    }
    store_entry_end(b.store);
}

static void settle(size_t pending_bytes)
{
    while (store_pending_bytes(b.store) > pending_bytes) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
}

static void write_keys(const char *name, bool update)
{
    struct stopwatch watch = start();
    for (uint64_t i = 0; i < b.keys; i += b.entry_puts) {
        put_entry(i, b.keys - i < b.entry_puts ? b.keys - i : b.entry_puts, update);
        turn(UV_RUN_NOWAIT);
        settle(PENDING_BYTES);
    }
    stop(&watch, name, b.keys);
    settle(0);
    stop(&watch, "  into SQLite", b.keys);
}

static void read_keys(const char *name, uint64_t among)
{
    struct stopwatch watch = start();
    for (uint64_t i = 0; i < READS; i++) {
        struct range_query query = {.key = key_of(b.keys - 1 - mix64(i) % among)};
        struct range_result result;
        check(store_range(b.store, &query, &result), "get");
        ASSERT(result.count == 1);
        range_result_fini(&result);
    }
    stop(&watch, name, READS);
}

static void make_keys(void)
{
    struct stopwatch watch = start();
    for (uint64_t i = 0; i < READS; i++) {
        (void)key_of(i);
    }
    stop(&watch, "(making keys)", READS);
}

static void on_range(struct store_range_request *request)
{
    check(request->status, "range");
    range_result_fini(&request->result);
    request->query.limit = 0; /* done */
}

static void range_keys(const char *name, bool keys_only)
{
    struct stopwatch watch = start();
    for (uint64_t i = 0; i < RANGES; i++) {
        struct store_range_request request = {
            .query = {.key = bytes_of_str("/registry/pods/"),
                      .range_end = bytes_of_str("/registry/pods0"),
                      .limit = RANGE_KEYS,
                      .keys_only = keys_only}};
        store_range_start(b.store, &request, on_range);
        while (request.query.limit != 0) {
            turn(UV_RUN_ONCE);
        }
    }
    stop(&watch, name, RANGES * (uint64_t)RANGE_KEYS);
}

static void count_keys(void)
{
    struct stopwatch watch = start();
    for (uint64_t i = 0; i < READS; i++) {
        struct range_query query = {
            .key = key_of(i), .range_end = bytes_of_str("/registry/pods0"), .count_only = true};
        struct range_result result;
        check(store_range(b.store, &query, &result), "count");
    }
    stop(&watch, "count", READS);
}

static void on_compacted(struct store_wait *wait)
{
    wait->target = UINT64_MAX;
}

static void compact(void)
{
    struct stopwatch watch = start();
    store_entry_begin(b.store, ++b.index, 1);
    check(store_compact(b.store, store_revision(b.store)), "compact");
    store_entry_end(b.store);
    struct store_wait wait;
    store_compact_wait(b.store, &wait, on_compacted);
    while (wait.target != UINT64_MAX) {
        turn(UV_RUN_ONCE);
    }
    stop(&watch, "compact", b.keys);
}

static void open_store(const char *name)
{
    struct why why = {.text = ""};
    struct stopwatch watch = start();
    if (store_open(&b.config, &b.store, &why) != OK) {
        fatal("%s", why.text);
    }
    stop(&watch, name, store_key_count(b.store) + 1);
}

static void run(void)
{
    long before = resident_kib();
    open_store("open");
    make_keys();
    write_keys("create", false);
    read_keys("get hot", b.keys < 10000 ? b.keys : 10000);
    read_keys("get", b.keys);
    write_keys("update", true);
    range_keys("range", false);
    range_keys("keys", true);
    count_keys();
    compact();
    store_check(b.store);
    (void)malloc_trim(0);
    printf("memory         %10.1f MiB, %.0f bytes a key\n",
           (double)(resident_kib() - before) / 1024,
           (double)(resident_kib() - before) * 1024 / (double)b.keys);
    store_close(b.store);
    (void)malloc_trim(0);
    before = resident_kib();
    open_store("reopen");
    (void)malloc_trim(0);
    printf("memory         %10.1f MiB, %.0f bytes a key\n",
           (double)(resident_kib() - before) / 1024,
           (double)(resident_kib() - before) * 1024 / (double)b.keys);
    store_check(b.store);
    read_keys("get", b.keys);
    store_close(b.store);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s DIRECTORY [KEYS] [VALUE_BYTES] [ENTRY_PUTS]\n", argv[0]);
        return 2;
    }
    (void)mallopt(M_MXFAST, 0); /* as trivetd */
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/store.db", argv[1]);
    b.keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    b.value_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : 256;
    b.entry_puts = argc > 4 ? strtoull(argv[4], NULL, 10) : 64;
    b.value = calloc(1, b.value_bytes + 1);
    if (b.value == NULL || uv_loop_init(&b.loop) != 0 ||
        env_real_new(&b.loop, &b.real, NULL) != OK) {
        return 1;
    }
    b.config = (struct store_config){
        .env = env_real_env(b.real), .path = path, .identity = {.cluster_id = 1, .member_id = 1}};
    run();
    free(b.value);
    env_real_close(b.real);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    env_real_free(b.real);
    return 0;
}
