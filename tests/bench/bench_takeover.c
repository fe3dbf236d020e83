/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "fsm/fsm.h"

/* How long the loop stands still when another member's database takes the place of ours:
 *
 *     bench_takeover DIRECTORY [KEYS] [LEASES]
 *
 * Two state machines, one with so many keys and leases (each key has one), one with nothing; then
 * the second gets a copy of the first. DIRECTORY must be empty. */
#define ENTRY_COMMANDS 1000u

static struct {
    uv_loop_t loop;
    struct env_real *real;
    struct env *env;
    const char *dir;
    struct store *stores[2];
    struct fsm *fsms[2];
    char paths[2][512];
    struct leases *prepared;
    bool done;
    uint64_t reload_ns;
    uint64_t reload_cpu_ns;
    uint64_t longest_turn_ns;
} b;

static uint64_t now_ns(void)
{
    return env_now_ns(b.env);
}

/* Of the loop's thread: what counts on a machine that others use too. */
static uint64_t cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void check(enum err err, const struct why *why, const char *what)
{
    if (err != OK) {
        fatal("%s: %s: %s", what, err_text(err), why->text);
    }
}

static void turn(void)
{
    uint64_t began = now_ns();
    (void)uv_run(&b.loop, UV_RUN_NOWAIT);
    uint64_t took = now_ns() - began;
    b.longest_turn_ns = took > b.longest_turn_ns ? took : b.longest_turn_ns;
}

static void on_result(void *ctx, uint64_t op, const struct result *result)
{
    (void)ctx;
    (void)op;
    (void)result;
}

static void open_one(unsigned i)
{
    struct why why = {.text = ""};
    (void)snprintf(b.paths[i], sizeof b.paths[i], "%s/m%u.db", b.dir, i + 1);
    struct store_config store = {
        .env = b.env, .path = b.paths[i], .identity = {.cluster_id = 7, .member_id = i + 1}};
    check(store_open(&store, &b.stores[i], &why), &why, "open");
    struct fsm_config fsm = {.store = b.stores[i], .member_id = i + 1, .on_result = on_result};
    check(fsm_new(&fsm, &b.fsms[i], &why), &why, "open");
}

static void encode(struct buf *entry, uint64_t i, uint64_t leases, bool grants)
{
    char key[32];
    (void)snprintf(key, sizeof key, "key-%020" PRIu64, i);
    struct command command = {.kind = COMMAND_PUT};
    command.put.key = bytes_of_str(key);
    command.put.value = bytes_of_str("value");
    command.put.lease = leases == 0 ? 0 : 1 + (int64_t)(i % leases);
    if (grants) {
        command = (struct command){.kind = COMMAND_LEASE_GRANT,
                                   .lease_grant = {.id = 1 + (int64_t)i, .ttl_s = 1000}};
    }
    command_encode(entry, (struct command_origin){.member_id = 9}, &command);
}

static void apply_many(uint64_t count, uint64_t leases, bool grants)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    for (uint64_t i = 0; i < count;) {
        buf_clear(&entry);
        entry_encode_head(&entry, 0);
        for (unsigned k = 0; k < ENTRY_COMMANDS && i < count; k++) {
            encode(&entry, i++, leases, grants);
        }
        ASSERT(buf_ok(&entry));
        fsm_apply(b.fsms[0], store_applied_index(b.stores[0]) + 1, 1, buf_bytes(&entry));
        while (store_pending_bytes(b.stores[0]) > 16u * 1024 * 1024) {
            turn();
        }
    }
}

static enum err prepare(void *ctx, struct store_reading *reading, struct why *why)
{
    (void)ctx;
    return leases_prepare((struct hash_seed){1, 2}, reading, &b.prepared, why);
}

static void dispose(void *ctx)
{
    (void)ctx;
    leases_dispose(TAKE(b.prepared));
}

static void on_copied(struct store_copy_request *request)
{
    check(request->status, &request->why, "copy");
    b.done = true;
}

static void on_replaced(struct store_replace_request *request)
{
    struct why why = {.text = ""};
    check(request->status, &request->why, "replace");
    uint64_t began = now_ns();
    uint64_t cpu_began = cpu_ns();
    check(fsm_reload(b.fsms[1], b.prepared, &why), &why, "reload");
    b.reload_ns = now_ns() - began;
    b.reload_cpu_ns = cpu_ns() - cpu_began;
    b.done = true;
}

static void await(void)
{
    while (!b.done) {
        turn();
    }
    b.done = false;
}

static void take_over(void)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s.install", b.paths[1]);
    struct store_copy_request copy = {.path = path};
    store_copy_start(b.stores[0], &copy, on_copied);
    await();
    static const struct store_replace_helper helper = {.prepare = prepare, .dispose = dispose};
    struct store_replace_request replace = {
        .path = path, .manifest = copy.manifest, .helper = &helper};
    b.longest_turn_ns = 0;
    uint64_t began = now_ns();
    store_replace_start(b.stores[1], &replace, on_replaced);
    await();
    printf("taken over in %.0f ms; longest turn %.2f ms, of which the state machine's part %.2f ms "
           "(%.2f ms of CPU)\n",
           (double)(now_ns() - began) / 1e6, (double)b.longest_turn_ns / 1e6,
           (double)b.reload_ns / 1e6, (double)b.reload_cpu_ns / 1e6);
    for (unsigned i = 0; i < 50; i++) {
        turn();
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_takeover DIRECTORY [KEYS] [LEASES]\n");
        return 2;
    }
    struct why why = {.text = ""};
    b.dir = argv[1];
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    uint64_t leases = argc > 3 ? strtoull(argv[3], NULL, 10) : 100000;
    ASSERT(uv_loop_init(&b.loop) == 0);
    check(env_real_new(&b.loop, &b.real, &why), &why, "environment");
    b.env = env_real_env(b.real);
    open_one(0);
    open_one(1);
    apply_many(leases, leases, true);
    apply_many(keys, leases, false);
    printf("%" PRIu64 " keys, %" PRIu64 " leases\n", store_key_count(b.stores[0]), leases);
    take_over();
    ASSERT(store_key_count(b.stores[1]) == keys);
    for (unsigned i = 0; i < 2; i++) {
        fsm_free(b.fsms[i]);
        store_close(b.stores[i]);
    }
    return 0;
}
