/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "raft/raftlog_files.h"

/* How fast the Raft log is on this disk, and what a switch of segments and a snapshot cost:
 *
 *     bench_raftlog DIRECTORY [SECONDS] [BATCH_BYTES] [DEPTH]
 *
 * DEPTH appends of BATCH_BYTES are always on their way; every 64 MiB a manifest snapshot forgets
 * all but the last 1000 entries. DIRECTORY is left behind: the next run tells how long loading
 * takes. */

#define SAMPLES_MAX    (8u * 1024 * 1024)
#define SNAPSHOT_BYTES (64u * 1024 * 1024)
#define TRAILING       1000

static struct {
    uv_loop_t loop;
    struct env *env;
    struct raftlog *log;
    struct log_entry entry;
    uint64_t index; /* of the next entry */
    uint64_t end_ns;
    uint64_t bytes_since_snapshot;
    unsigned outstanding;
    uint32_t *samples_us;
    size_t sample_count;
    struct raftlog_request snapshot_request;
    bool snapshot_busy;
    uint64_t snapshots;
} bench;

struct append {
    struct raftlog_request request;
    uint64_t start_ns;
};

static void on_snapshot(struct raftlog_request *request)
{
    (void)request;
    bench.snapshot_busy = false;
    bench.snapshots++;
}

static void snapshot(void)
{
    struct log_snapshot s = {
        .index = bench.index - 1, .term = 1, .data = bytes_of_str("a manifest")};
    bench.snapshot_busy = true;
    bench.bytes_since_snapshot = 0;
    bench.log->ops->snapshot_put(bench.log, &bench.snapshot_request, &s, TRAILING, on_snapshot);
}

static void on_append(struct raftlog_request *request);

static void submit(struct append *a)
{
    a->start_ns = env_now_ns(bench.env);
    bench.log->ops->append(bench.log, &a->request, bench.index++, &bench.entry, 1, on_append);
    bench.bytes_since_snapshot += bench.entry.data.len;
    if (bench.bytes_since_snapshot > SNAPSHOT_BYTES && !bench.snapshot_busy) {
        snapshot();
    }
}

static void on_append(struct raftlog_request *request)
{
    struct append *a = CONTAINER_OF(request, struct append, request);
    uint64_t now_ns = env_now_ns(bench.env);
    if (bench.sample_count < SAMPLES_MAX) {
        bench.samples_us[bench.sample_count++] = (uint32_t)((now_ns - a->start_ns) / 1000);
    }
    if (now_ns < bench.end_ns) {
        submit(a);
    } else {
        bench.outstanding--;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(double p)
{
    return bench.sample_count == 0
               ? 0
               : bench.samples_us[(size_t)((double)(bench.sample_count - 1) * p)];
}

static unsigned long argument(int argc, char **argv, int i, unsigned long otherwise)
{
    return argc > i ? strtoul(argv[i], NULL, 10) : otherwise;
}

static enum err open_log(const char *dir, struct why *why)
{
    struct raftlog_files_config config = {
        .env = bench.env, .fs = fs_real(), .dir = dir, .cluster_id = 1, .member_id = 1};
    TRY(raftlog_files_open(&config, &bench.log, why));
    struct raftlog_image image = {0};
    uint64_t start_ns = env_now_ns(bench.env);
    TRY(bench.log->ops->load(bench.log, &image, why));
    printf("loaded %zu entries in %.1f ms\n", image.entry_count,
           (double)(env_now_ns(bench.env) - start_ns) / 1e6);
    bench.index = image.first_index + image.entry_count;
    raftlog_image_fini(&image);
    return OK;
}

static void report(double seconds)
{
    qsort(bench.samples_us, bench.sample_count, sizeof *bench.samples_us, by_value);
    printf("%zu bytes: %.0f appends/s, %.1f MB/s, p50 %" PRIu32 " us, p99 %" PRIu32
           " us, p99.9 %" PRIu32 " us, max %" PRIu32 " us, %" PRIu64 " snapshots\n",
           bench.entry.data.len, (double)bench.sample_count / seconds,
           (double)bench.sample_count * (double)bench.entry.data.len / seconds / 1e6,
           percentile(0.5), percentile(0.99), percentile(0.999), percentile(1.0), bench.snapshots);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY [SECONDS] [BATCH_BYTES] [DEPTH]\n", argv[0]);
        return 2;
    }
    unsigned long seconds = argument(argc, argv, 2, 5);
    size_t bytes = argument(argc, argv, 3, 256);
    unsigned depth = (unsigned)argument(argc, argv, 4, 1);
    struct env_real *real;
    struct why why = {0};
    uv_loop_init(&bench.loop);
    if (env_real_new(&bench.loop, &real, &why) != OK) {
        return 1;
    }
    bench.env = env_real_env(real);
    bench.samples_us = calloc(SAMPLES_MAX, sizeof *bench.samples_us);
    uint8_t *data = malloc(bytes + 1);
    struct append *appends = calloc(depth, sizeof *appends);
    if (bench.samples_us == NULL || data == NULL || appends == NULL) {
        return 1;
    }
    memset(data, 'x', bytes);
    bench.entry =
        (struct log_entry){.term = 1, .kind = LOG_ENTRY_COMMAND, .data = bytes_of(data, bytes)};
    if (open_log(argv[1], &why) != OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    uint64_t start_ns = env_now_ns(bench.env);
    bench.end_ns = start_ns + seconds * 1000000000u;
    for (bench.outstanding = 0; bench.outstanding < depth; bench.outstanding++) {
        submit(&appends[bench.outstanding]);
    }
    while (bench.outstanding > 0) {
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
    double took = (double)(env_now_ns(bench.env) - start_ns) / 1e9;
    bench.log->ops->close(bench.log);
    report(took);
    free(appends);
    free(data);
    free(bench.samples_us);
    env_real_close(real);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    env_real_free(real);
    return 0;
}
