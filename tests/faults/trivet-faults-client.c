/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "cmd/cli/options.h"
#include "tests/faults/watcher.h"

/* trivet-faults-client: clients under faults, and the history of what they asked and were told.
 *
 * It asks until its standard input ends, waits for what is under way and until every watcher was
 * told of everything, and prints one line: `ok N fail N info N invoke N newest REVISION told
 * REVISION`, the highest that anybody was told, and up to which every watcher was told. */

#define ACTORS_MAX    256u
#define LOADS_MAX     8u
#define WATCHERS_MAX  8u
#define FLUSH_MS      1000u
#define CLIENT_DRAINS 60000u /* so long watchers have to be told of everything */

struct options {
    const char *endpoints;
    const char *workloads;
    const char *history;
    uint64_t actors;
    uint64_t rate;
    uint64_t timeout_ms;
    uint64_t seed;
    bool help;
};

#define ROW(name, kind, field, unit, help)                      \
    {                                                           \
        name, kind, offsetof(struct options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("endpoints", OPTION_TEXT, endpoints, "LIST", "host:port,..."),
    ROW("workload", OPTION_TEXT, workloads, "LIST", "what to do, separated by commas: see below"),
    ROW("history", OPTION_TEXT, history, "FILE", "where to write it"),
    ROW("clients", OPTION_NUMBER, actors, "N", "at once (default 20)"),
    ROW("rate", OPTION_NUMBER, rate, "N", "operations a second, at most (default 200)"),
    ROW("timeout", OPTION_DURATION_MS, timeout_ms, "TIME", "of one call (default 2s)"),
    ROW("seed", OPTION_NUMBER, seed, "N", "(default 1)"),
    ROW("help", OPTION_BOOL, help, NULL, "print this"),
};

static const struct load *const loads[] = {&load_append,   &load_bank, &load_lease, &load_lock,
                                           &load_register, &load_set,  &load_watch, &load_wr};

static const struct watcher_range everything = {
    .key = {(const uint8_t *)"\0", 1}, .range_end = {(const uint8_t *)"\0", 1}, .prev_kv = true};
static const struct watcher_range everything_in_parts = {
    .key = {(const uint8_t *)"\0", 1}, .range_end = {(const uint8_t *)"\0", 1}, .fragment = true};
/* Of what the load "watch" does. */
static const struct watcher_range some[] = {
    {.key = {(const uint8_t *)"v", 1}, .range_end = {(const uint8_t *)"w", 1}, .no_put = true},
    {.key = {(const uint8_t *)"v", 1},
     .range_end = {(const uint8_t *)"w", 1},
     .prev_kv = true,
     .no_delete = true},
    {.key = {(const uint8_t *)"v1", 2}, .prev_kv = true},
    {.key = {(const uint8_t *)"v2", 2}, .range_end = {(const uint8_t *)"v5", 2}},
};

struct program {
    struct options options;
    uv_loop_t loop;
    struct env_real *real;
    struct stage stage;
    const struct load *wanted[LOADS_MAX];
    void *shared[LOADS_MAX];
    size_t load_count;
    struct actor *actors[ACTORS_MAX];
    struct watcher *watchers[WATCHERS_MAX];
    size_t watcher_count;
    uv_poll_t input;
    struct env_timer timer; /* flushes; then ends the waiting for watchers */
    uint64_t deadline_ms;   /* 0: not yet */
    int64_t newest;         /* revision that was told to anybody */
    int64_t told;           /* to every watcher */
    bool done;
};

static bool want_load(struct program *program, const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        if (strlen(loads[i]->name) == len && memcmp(loads[i]->name, name, len) == 0 &&
            program->load_count < LOADS_MAX) {
            program->wanted[program->load_count++] = loads[i];
            return true;
        }
    }
    return false;
}

static enum err parse_workloads(struct program *program, struct why *why)
{
    const char *at = program->options.workloads;
    for (const char *comma; at != NULL; at = comma == NULL ? NULL : comma + 1) {
        comma = strchr(at, ',');
        size_t len = comma == NULL ? strlen(at) : (size_t)(comma - at);
        if (!want_load(program, at, len)) {
            why_set(why, "no workload '%.*s'", (int)len, at);
            return ERR_INVALID;
        }
    }
    return OK;
}

static enum err parse(struct program *program, int argc, char **argv, struct why *why)
{
    struct options *options = &program->options;
    *options = (struct options){.actors = 20, .rate = 200, .timeout_ms = 2000, .seed = 1};
    size_t arg_count;
    TRY(options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, options, NULL, 0,
                      &arg_count, why));
    if (options->help) {
        return OK;
    }
    if (options->endpoints == NULL || options->workloads == NULL || options->history == NULL) {
        why_set(why, "--endpoints, --workload and --history are needed");
        return ERR_INVALID;
    }
    if (options->actors == 0 || options->actors > ACTORS_MAX || options->rate == 0 ||
        options->timeout_ms == 0) {
        why_set(why, "--clients is 1 to %u, --rate and --timeout are not 0", ACTORS_MAX);
        return ERR_INVALID;
    }
    return parse_workloads(program, why);
}

/* ---- the end ---- */

/* Up to which revision every watcher was told, and the one that was told most. */
static void measure_told(const struct program *program, int64_t *all, int64_t *most)
{
    *all = INT64_MAX;
    *most = 0;
    for (size_t i = 0; i < program->watcher_count; i++) {
        int64_t told = watcher_told(program->watchers[i]);
        *all = told < *all ? told : *all;
        *most = told > *most ? told : *most;
    }
}

/* They end at one revision, so that what the members have there can be compared with it: leases end
 * when nobody asks any more, too. */
static void finish_if_told(struct program *program)
{
    int64_t all;
    int64_t most;
    measure_told(program, &all, &most);
    program->told = all;
    program->newest = most > program->stage.newest ? most : program->stage.newest;
    if (all < program->newest && env_now_ms(program->stage.env) < program->deadline_ms) {
        return;
    }
    for (size_t i = 0; i < program->watcher_count; i++) {
        watcher_stop(program->watchers[i]);
    }
    program->done = true;
}

static void on_timer(struct env_timer *timer)
{
    struct program *program = CONTAINER_OF(timer, struct program, timer);
    recorder_flush(program->stage.recorder);
    if (program->deadline_ms != 0) {
        finish_if_told(program);
    }
    env_timer_start(program->stage.env, timer,
                    program->deadline_ms != 0 ? FLUSH_MS / 10 : FLUSH_MS);
}

static void on_idle(struct stage *stage)
{
    struct program *program = stage->ctx;
    program->deadline_ms = env_now_ms(stage->env) + CLIENT_DRAINS;
    env_timer_start(stage->env, &program->timer, 0);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct program *program = CONTAINER_OF(poll, struct program, input);
    char ignored[256];
    if (status == 0 && read(STDIN_FILENO, ignored, sizeof ignored) > 0) {
        return;
    }
    uv_poll_stop(poll);
    program->stage.stopping = true;
}

/* ---- the run ---- */

static void start(struct program *program)
{
    struct stage *stage = &program->stage;
    bool watches = false;
    for (size_t i = 0; i < program->load_count; i++) {
        watches = watches || program->wanted[i] == &load_watch;
        program->shared[i] = calloc(1, program->wanted[i]->shared_bytes + 1);
        if (program->shared[i] == NULL) {
            fatal("out of memory");
        }
    }
    program->watchers[program->watcher_count++] = watcher_new(stage, &everything, 0);
    program->watchers[program->watcher_count++] = watcher_new(stage, &everything_in_parts, 1);
    for (size_t i = 0; watches && i < ARRAY_LEN(some); i++) {
        program->watchers[program->watcher_count++] = watcher_new(stage, &some[i], 2 + i);
    }
    for (size_t i = 0; i < program->options.actors; i++) {
        size_t load = i % program->load_count;
        program->actors[i] = actor_new(stage, program->wanted[load], program->shared[load], i);
    }
}

static enum err prepare(struct program *program, struct why *why)
{
    struct options *options = &program->options;
    struct stage *stage = &program->stage;
    *stage = (struct stage){.env = env_real_env(program->real),
                            .random = mix64(options->seed),
                            .timeout_ms = options->timeout_ms,
                            .gap_ms = options->actors * 1000 / options->rate,
                            .on_idle = on_idle,
                            .ctx = program};
    const struct client_config config = {
        .env = stage->env, .loop = &program->loop, .endpoints = options->endpoints};
    TRY(recorder_open(stage->env, options->history, &stage->recorder, why));
    TRY(client_new(&config, &stage->client, why));
    if (uv_poll_init(&program->loop, &program->input, STDIN_FILENO) != 0 ||
        uv_poll_start(&program->input, UV_READABLE, on_input) != 0) {
        why_set(why, "standard input is no pipe");
        return ERR_INVALID;
    }
    env_timer_init(&program->timer, on_timer);
    env_timer_start(stage->env, &program->timer, FLUSH_MS);
    return OK;
}

static enum err run(struct program *program, struct why *why)
{
    TRY(prepare(program, why));
    start(program);
    while (!program->done) {
        uv_run(&program->loop, UV_RUN_ONCE);
    }
    const struct recorder *recorder = program->stage.recorder;
    printf("ok %" PRIu64 " fail %" PRIu64 " info %" PRIu64 " invoke %" PRIu64 " newest %" PRId64
           " told %" PRId64 "\n",
           recorder_count(recorder, RECORD_OK), recorder_count(recorder, RECORD_FAIL),
           recorder_count(recorder, RECORD_INFO), recorder_count(recorder, RECORD_INVOKE),
           program->newest, program->told);
    return recorder_close(TAKE(program->stage.recorder), why);
}

static void close_all(struct program *program)
{
    struct stage *stage = &program->stage;
    for (size_t i = 0; i < program->watcher_count; i++) {
        watcher_free(program->watchers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(program->actors); i++) {
        actor_free(program->actors[i]);
    }
    for (size_t i = 0; i < program->load_count; i++) {
        free(program->shared[i]);
    }
    env_timer_stop(stage->env, &program->timer);
    client_close_sync(stage->client);
    uv_close((uv_handle_t *)&program->input, NULL);
    env_real_close(program->real);
    while (uv_run(&program->loop, UV_RUN_ONCE) != 0) {
    }
    env_real_free(program->real);
    uv_loop_close(&program->loop);
}

int main(int argc, char **argv)
{
    struct program *program = calloc(1, sizeof *program);
    struct why why = {""};
    if (program == NULL) {
        fatal("out of memory");
    }
    if (parse(program, argc, argv, &why) != OK) {
        fprintf(stderr, "trivet-faults-client: %s\nTry 'trivet-faults-client --help'.\n", why.text);
        free(program);
        return 2;
    }
    if (program->options.help) {
        options_help(stdout, rows, ARRAY_LEN(rows));
        printf("Workloads: append bank lease lock register set watch wr\n");
        free(program);
        return 0;
    }
    if (uv_loop_init(&program->loop) != 0 ||
        env_real_new(&program->loop, &program->real, &why) != OK) {
        fatal("%s", why.text);
    }
    if (run(program, &why) != OK) {
        fatal("%s", why.text); /* nothing that must be put in order */
    }
    close_all(program);
    free(program);
    return 0;
}
