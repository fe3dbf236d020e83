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

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
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
    double start = now();
    enum err err = backend_open(&config, count_rows, NULL, &state, &bench.backend, &why);
    if (err != OK) {
        fatal("%s: %s", err_text(err), why.text);
    }
    double took = now() - start;
    printf("open   %10" PRIu64 " rows  %6.2f s  %9.0f rows/s\n", bench.seen, took,
           (double)bench.seen / took);
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
    double start = now();
    write_until(bench.rows * 9 / 10);
    double took = now() - start;
    printf("write  %10" PRIu64 " rows  %6.2f s  %9.0f rows/s\n", bench.written, took,
           (double)bench.written / took);
}

static void bench_copy(const char *path)
{
    double start = now();
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
    double took = now() - start;
    printf("copy   %10.0f MB    %6.2f s  %9.0f MB/s, %" PRIu64 " rows written meanwhile\n",
           (double)copy.size_bytes / 1e6, took, (double)copy.size_bytes / 1e6 / took,
           bench.written - before);
    write_until(bench.rows);
}

static void bench_compact(void)
{
    double start = now();
    int64_t revision = (int64_t)bench.written;
    write_batch(&bench.slots[0], revision);
    while (bench.compacted < revision) {
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    double took = now() - start;
    printf("compact %9" PRIu64 " gone  %6.2f s  %9.0f rows/s\n", bench.rows / 4, took,
           (double)bench.rows / 4 / took);
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
    double before = (double)backend_size_bytes(bench.backend) / 1e6;
    double start = now();
    struct backend_copy request = {.path = NULL};
    backend_defragment(bench.backend, &request, on_defragmented);
    while (!bench.copied) {
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    printf("defrag %10.0f MB    %6.2f s  to %.0f MB\n", before, now() - start,
           (double)backend_size_bytes(bench.backend) / 1e6);
}

static void bench_close(void)
{
    double start = now();
    backend_close(bench.backend);
    printf("close                    %6.2f s\n", now() - start);
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
