/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "storage/backend.h"

/* What SQLite costs behind the store, on this disk:
 *
 *     bench_backend DIRECTORY [ROWS] [VALUE_BYTES] [RECORDS_PER_BATCH]
 *
 * writes ROWS rows of which each fourth supersedes an earlier one, sixteen batches being under way;
 * copies the database while writing goes on; compacts; opens the database after a clean close
 * (headers are checked) and the copy (all values are checked). The files are left behind. */

#define OUT_MAX   16u
#define KEY_BYTES 40u

struct slot {
    struct backend_batch batch;
    struct record **records;
    bool busy;
};

static struct {
    uv_loop_t loop;
    struct env *env;
    struct backend *backend;
    struct slot slots[OUT_MAX];
    unsigned busy;
    uint64_t rows;
    uint64_t per_batch;
    uint64_t value_bytes;
    uint64_t written;
    uint64_t index;
    uint64_t seen;
    uint64_t durable_index;
    int64_t compacted;
    bool copied;
    uint8_t value[1024 * 1024];
} bench = {.compacted = -1};

static double read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Wall clock and processor time: the latter holds when others use the machine as well. */
struct span {
    double wall;
    double cpu;
};

static struct span now(void)
{
    return (struct span){.wall = read_clock(CLOCK_MONOTONIC),
                         .cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

static struct span since(struct span start)
{
    struct span end = now();
    return (struct span){.wall = end.wall - start.wall, .cpu = end.cpu - start.cpu};
}

static void tell(const char *what, uint64_t count, const char *unit, struct span took)
{
    printf("%-8s %11" PRIu64 " %-5s %7.2f s %10.0f /s   processor %6.2f s\n", what, count, unit,
           took.wall, (double)count / took.wall, took.cpu);
}

static void on_durable(void *ctx, uint64_t index)
{
    (void)ctx;
    bench.durable_index = index;
}

static void on_compacted(void *ctx, int64_t revision)
{
    (void)ctx;
    bench.compacted = revision;
}

static enum err count_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    (void)ctx;
    (void)rows;
    bench.seen += count;
    return OK;
}

static struct record *make_record(uint64_t n)
{
    bool again = n % 4 == 3;
    uint64_t key_number = again ? n - 3 : n;
    char key[KEY_BYTES + 1];
    (void)snprintf(key, sizeof key, "%0*" PRIu64, (int)KEY_BYTES,
                   key_number * UINT64_C(0x9e3779b97f4a7c15));
    size_t at = (n * 64) % (sizeof bench.value - bench.value_bytes);
    struct record *record =
        record_new(bytes_of(key, KEY_BYTES), bytes_of(bench.value + at, bench.value_bytes));
    ASSERT(record != NULL);
    record->rev = revision_pack((int64_t)n + 1, 0);
    record->prev_rev = again ? revision_pack((int64_t)n - 2, 0) : 0;
    record->create_revision = again ? (int64_t)n - 2 : (int64_t)n + 1;
    record->version = again ? 2 : 1;
    return record;
}

static void on_written(struct backend_batch *batch)
{
    ASSERT(batch->status == OK);
    struct slot *slot = CONTAINER_OF(batch, struct slot, batch);
    for (size_t i = 0; i < batch->record_count; i++) {
        record_unref(slot->records[i]);
    }
    slot->busy = false;
    bench.busy--;
}

static void write_batch(struct slot *slot, int64_t compacted_revision)
{
    if (slot->records == NULL) {
        slot->records = calloc(bench.per_batch, sizeof(struct record *));
        ASSERT(slot->records != NULL);
    }
    size_t count = 0;
    size_t bytes = 0;
    while (count < bench.per_batch && bench.written < bench.rows) {
        slot->records[count] = make_record(bench.written++);
        bytes += record_size(slot->records[count++]);
    }
    slot->batch = (struct backend_batch){.records = slot->records,
                                         .record_count = count,
                                         .size_bytes = bytes,
                                         .state = {.applied_index = ++bench.index,
                                                   .applied_term = 1,
                                                   .revision = (int64_t)bench.written,
                                                   .compacted_revision = compacted_revision}};
    slot->busy = true;
    bench.busy++;
    backend_write(bench.backend, &slot->batch, on_written);
}

static void write_until(uint64_t rows)
{
    while (bench.written < rows || bench.busy > 0) {
        for (unsigned i = 0; i < OUT_MAX; i++) {
            if (!bench.slots[i].busy && bench.written < rows) {
                write_batch(&bench.slots[i], -1);
            }
        }
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
}

static void open_backend(const char *path)
{
    struct backend_config config = {.env = bench.env,
                                    .path = path,
                                    .identity = {.cluster_id = 1, .member_id = 2},
                                    .on_durable = on_durable,
                                    .on_compacted = on_compacted};
    struct backend_state state;
    struct why why;
    bench.seen = 0;
    struct span start = now();
    enum err err = backend_open(&config, count_rows, NULL, &state, &bench.backend, &why);
    if (err != OK) {
        fatal("%s: %s", err_text(err), why.text);
    }
    tell("open", bench.seen, "rows", since(start));
}

static void on_copied(struct backend_copy *copy)
{
    if (copy->status != OK) {
        fatal("copy: %s: %s", err_text(copy->status), copy->why.text);
    }
    bench.copied = true;
}

static void bench_write(void)
{
    struct span start = now();
    write_until(bench.rows * 9 / 10);
    tell("write", bench.written, "rows", since(start));
}

static void bench_copy(const char *path)
{
    struct span start = now();
    struct backend_copy copy = {.path = path};
    backend_copy(bench.backend, &copy, on_copied);
    uint64_t before = bench.written;
    while (!bench.copied) {
        if (bench.written < bench.rows && bench.busy < OUT_MAX) {
            for (unsigned i = 0; i < OUT_MAX; i++) {
                if (!bench.slots[i].busy && bench.written < bench.rows) {
                    write_batch(&bench.slots[i], -1);
                }
            }
        }
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    tell("copy", copy.size_bytes / 1000000, "MB", since(start));
    printf("         %11" PRIu64 " rows written meanwhile\n", bench.written - before);
    write_until(bench.rows);
}

static void bench_compact(void)
{
    struct span start = now();
    int64_t revision = (int64_t)bench.written;
    write_batch(&bench.slots[0], revision);
    while (bench.compacted < revision) {
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    tell("compact", bench.rows / 4, "rows", since(start));
}

static void on_defragmented(struct backend_copy *request)
{
    if (request->status != OK) {
        fatal("defragment: %s: %s", err_text(request->status), request->why.text);
    }
    bench.copied = true;
}

static void bench_defragment(void)
{
    bench.copied = false;
    uint64_t before = backend_size_bytes(bench.backend);
    struct span start = now();
    struct backend_copy request = {.path = NULL};
    backend_defragment(bench.backend, &request, on_defragmented);
    while (!bench.copied) {
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    tell("defrag", before / 1000000, "MB", since(start));
    printf("         %11" PRIu64 " MB are left\n", backend_size_bytes(bench.backend) / 1000000);
}

static void bench_close(void)
{
    struct span start = now();
    backend_close(bench.backend);
    tell("close", 1, "", since(start));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_backend DIRECTORY [ROWS] [VALUE_BYTES] [RECORDS]\n");
        return 2;
    }
    bench.rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    bench.value_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : 256;
    bench.per_batch = argc > 4 ? strtoull(argv[4], NULL, 10) : 100;
    ASSERT(bench.value_bytes < sizeof bench.value && bench.per_batch > 0);
    for (size_t i = 0; i < sizeof bench.value; i++) {
        bench.value[i] = (uint8_t)mix64(i);
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    struct env_real *real;
    struct why why;
    ASSERT(uv_loop_init(&bench.loop) == 0);
    enum err err = env_real_new(&bench.loop, &real, &why);
    ASSERT(err == OK);
    bench.env = env_real_env(real);
    char path[4096];
    char copy[4096];
    (void)snprintf(path, sizeof path, "%s/db", argv[1]);
    (void)snprintf(copy, sizeof copy, "%s/copy", argv[1]);
    open_backend(path);
    bench_write();
    bench_copy(copy);
    bench_compact();
    bench_close();
    open_backend(path);
    bench_defragment();
    bench_close();
    open_backend(copy);
    bench_close();
    env_real_close(real);
    while (uv_run(&bench.loop, UV_RUN_DEFAULT) != 0) {
    }
    env_real_free(real);
    return 0;
}
