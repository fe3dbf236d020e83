/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/env_real.h"
#include "cmd/cli/options.h"
#include "cmd/trivet-bench/crowd.h"
#include "cmd/trivet-bench/lifetimes.h"
#include "cmd/trivet-bench/slow.h"
#include "config.h"

/* trivet-bench: a load generator for anything that speaks etcd's v3 API. Exit status: 0, 1 when an
 * answer was wrong or nothing was measured, 2 for a wrong command line. */

#define CONNECT_WAIT_MS 5000u
#define KEYS_DEFAULT    10000u
#define LEASES_DEFAULT  1000000u

struct options {
    const char *endpoints;
    uint64_t connections;
    uint64_t clients;
    uint64_t duration_ms;
    uint64_t warmup_ms;
    uint64_t timeout_ms;
    uint64_t rate;
    uint64_t total;
    uint64_t watchers;
    uint64_t streams;
    uint64_t ttl_s;
    struct workload_options workload;
    bool json;
    bool help;
    bool version;
};

#define ROW(name, kind, field, unit, help)                      \
    {                                                           \
        name, kind, offsetof(struct options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("endpoints", OPTION_TEXT, endpoints, "LIST", "host:port,... (default 127.0.0.1:12379)"),
    ROW("connections", OPTION_NUMBER, connections, "N",
        "connections, spread over the endpoints (default: one to each)"),
    ROW("clients", OPTION_NUMBER, clients, "N",
        "clients, spread over the connections; each has one call under way (default 64)"),
    ROW("duration", OPTION_DURATION_MS, duration_ms, "TIME", "how long to measure (default 10s)"),
    ROW("warmup", OPTION_DURATION_MS, warmup_ms, "TIME", "before that, unmeasured (default 1s)"),
    ROW("timeout", OPTION_DURATION_MS, timeout_ms, "TIME", "of one call (default 10s)"),
    ROW("rate", OPTION_NUMBER, rate, "N",
        "open loop: start N operations a second, latency from the time they were due"),
    ROW("total", OPTION_NUMBER, total, "N", "end after N operations; no warm-up"),
    ROW("watchers", OPTION_NUMBER, watchers, "N", "of the watch workloads (default 1000)"),
    ROW("streams", OPTION_NUMBER, streams, "N",
        "their streams, spread over the connections (default: one to each)"),
    ROW("key-size", OPTION_NUMBER, workload.key_size, "BYTES", "(default 16)"),
    ROW("value-size", OPTION_NUMBER, workload.value_size, "BYTES", "(default 256)"),
    ROW("keys", OPTION_NUMBER, workload.keys, "N",
        "number of different keys (default 10000), or of leases (1000000)"),
    ROW("prefix", OPTION_TEXT, workload.prefix, "TEXT", "all keys begin with (default \"b/\")"),
    ROW("ttl", OPTION_NUMBER, ttl_s, "SECONDS", "of the leases of lease-many (default 60)"),
    ROW("limit", OPTION_NUMBER, workload.limit, "N", "keys of one range-many (default 100)"),
    ROW("read-percent", OPTION_NUMBER, workload.read_percent, "N", "reads in mixed (default 50)"),
    ROW("seed", OPTION_NUMBER, workload.seed, "N", "of keys and values (default 1)"),
    ROW("json", OPTION_BOOL, json, NULL, "print one line of JSON"),
    ROW("help", OPTION_BOOL, help, NULL, "print this"),
    ROW("version", OPTION_BOOL, version, NULL, "print the version"),
};

static void print_help(FILE *out)
{
    fprintf(
        out,
        "usage: trivet-bench [OPTION...] WORKLOAD\n"
        "Loads an etcd v3 service, measures it and checks its answers.\n\n"
        "WORKLOAD is one of\n"
        "  put                 puts to random keys\n"
        "  range               linearizable gets of random keys\n"
        "  range-serializable  the same from the member's own state\n"
        "  txn                 each client compares and swaps a key of its own\n"
        "  mixed               linearizable gets and puts\n"
        "  range-many          linearizable ranges of --limit keys\n"
        "  load                puts each of --keys once\n"
        "  lease-grant         leases that nobody keeps alive\n"
        "  lease-keep-alive    each client renews a lease of its own, on a stream\n"
        "  lease-many          grants --keys leases of --ttl: how late they end\n"
        "  watch-fanout        puts to one key that --watchers watch: their events\n"
        "  watch-many          puts to --watchers keys, each with a watcher: their events\n"
        "  watch-slow          puts to --keys keys, alone and beside --watchers who do not read\n"
        "\n");
    options_help(out, rows, ARRAY_LEN(rows));
}

struct program {
    struct options options;
    uv_loop_t loop;
    struct env_real *real;
    struct client *client;
    struct workload workload;
    struct report *report;
    struct audience *audience;
    bool audience_ready;
    char audience_why[256];
    struct crowd *crowd; /* NULL when it is done */
    uv_signal_t interrupt;
};

static void on_done(void *ctx)
{
    ((struct program *)ctx)->crowd = NULL;
}

/* Ctrl-C: report what has been measured. */
static void on_interrupt(uv_signal_t *signal, int number)
{
    (void)number;
    struct program *program = CONTAINER_OF(signal, struct program, interrupt);
    if (program->crowd != NULL) {
        crowd_stop(program->crowd);
    }
}

static enum err parse(struct program *program, int argc, char **argv, struct why *why)
{
    struct options *options = &program->options;
    *options = (struct options){
        .endpoints = "127.0.0.1:12379",
        .clients = 64,
        .duration_ms = 10000,
        .warmup_ms = 1000,
        .timeout_ms = 10000,
        .watchers = 1000,
        .ttl_s = 60,
        .workload = {.key_size = 16,
                     .value_size = 256,
                     .prefix = "b/",
                     .limit = 100,
                     .read_percent = 50,
                     .seed = 1},
    };
    const char *args[1];
    size_t arg_count;
    TRY(options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, options, args,
                      ARRAY_LEN(args), &arg_count, why));
    if (options->help || options->version) {
        return OK;
    }
    if (arg_count == 0) {
        why_set(why, "which workload?");
        return ERR_INVALID;
    }
    if (workload_kind_parse(args[0], &options->workload.kind) != OK) {
        why_set(why, "no workload '%s'", args[0]);
        return ERR_INVALID;
    }
    if (options->workload.kind == WORKLOAD_WATCH_MANY) {
        options->workload.keys = options->watchers;
    }
    if (options->workload.keys == 0) {
        options->workload.keys =
            options->workload.kind == WORKLOAD_LEASE_MANY ? LEASES_DEFAULT : KEYS_DEFAULT;
    }
    if (options->timeout_ms == 0) {
        why_set(why, "--timeout must not be 0");
        return ERR_INVALID;
    }
    bool counted = options->total != 0 || options->workload.kind == WORKLOAD_LOAD;
    if (counted) {
        options->warmup_ms = 0;
        options->duration_ms = 0;
    } else if (options->duration_ms == 0) {
        why_set(why, "--duration must not be 0");
        return ERR_INVALID;
    }
    return OK;
}

static void on_audience_ready(void *ctx, const char *why)
{
    struct program *program = ctx;
    program->audience_ready = true;
    snprintf(program->audience_why, sizeof program->audience_why, "%s", why);
}

static enum err gather_audience(struct program *program, struct why *why)
{
    const struct audience_config config = {.env = env_real_env(program->real),
                                           .client = program->client,
                                           .workload = &program->workload,
                                           .watchers = program->options.watchers,
                                           .streams = program->options.streams,
                                           .on_ready = on_audience_ready,
                                           .ctx = program};
    TRY(audience_start(&config, &program->audience, why));
    while (!program->audience_ready) {
        uv_run(&program->loop, UV_RUN_ONCE);
    }
    if (program->audience_why[0] != '\0') {
        why_set(why, "%s", program->audience_why);
        return ERR_CLOSED;
    }
    return OK;
}

static struct client_config client_config_of(struct program *program)
{
    return (struct client_config){.env = env_real_env(program->real),
                                  .loop = &program->loop,
                                  .endpoints = program->options.endpoints,
                                  .connections = program->options.connections};
}

static bool shows_progress(void)
{
    return isatty(STDERR_FILENO) == 1;
}

/* The crowd asks until its time or its work is over. */
static enum err run_crowd(void *ctx, struct report *report, struct why *why)
{
    struct program *program = ctx;
    const struct options *options = &program->options;
    const struct crowd_config config = {.env = env_real_env(program->real),
                                        .loop = &program->loop,
                                        .client = program->client,
                                        .workload = &program->workload,
                                        .clients = options->clients,
                                        .rate = options->rate,
                                        .total = options->total,
                                        .warmup_ms = options->warmup_ms,
                                        .duration_ms = options->duration_ms,
                                        .timeout_ms = options->timeout_ms,
                                        .progress = shows_progress(),
                                        .audience = program->audience,
                                        .report = report,
                                        .on_done = on_done,
                                        .ctx = program};
    TRY(crowd_start(&config, &program->crowd, why));
    while (program->crowd != NULL) {
        uv_run(&program->loop, UV_RUN_ONCE);
    }
    return OK;
}

static enum err run_slow(struct program *program, struct why *why)
{
    const struct slow_config config = {.env = env_real_env(program->real),
                                       .client = program->client,
                                       .watcher_client = client_config_of(program),
                                       .workload = &program->workload,
                                       .watchers = program->options.watchers,
                                       .streams = program->options.streams,
                                       .run_puts = run_crowd,
                                       .ctx = program};
    return slow_run(&config, program->report, why);
}

static enum err run_lifetimes(struct program *program, struct why *why)
{
    const struct lifetimes_config config = {.env = env_real_env(program->real),
                                            .loop = &program->loop,
                                            .client = program->client,
                                            .workload = &program->workload,
                                            .clients = program->options.clients,
                                            .ttl_s = program->options.ttl_s,
                                            .timeout_ms = program->options.timeout_ms,
                                            .progress = shows_progress()};
    return lifetimes_run(&config, program->report, why);
}

static enum err measure(struct program *program, struct why *why)
{
    const struct client_config config = client_config_of(program);
    TRY(client_new(&config, &program->client, why));
    TRY(client_connect_sync(program->client, CONNECT_WAIT_MS, why));
    switch (program->options.workload.kind) {
    case WORKLOAD_WATCH_SLOW:
        return run_slow(program, why);
    case WORKLOAD_LEASE_MANY:
        return run_lifetimes(program, why);
    case WORKLOAD_WATCH_FANOUT:
    case WORKLOAD_WATCH_MANY:
        TRY(gather_audience(program, why));
        break;
    default:
        break;
    }
    return run_crowd(program, program->report, why);
}

static void print_report(const struct program *program)
{
    const struct options *options = &program->options;
    const struct report_run run = {.workload = workload_kind_name(options->workload.kind),
                                   .endpoints = options->endpoints,
                                   .connections = client_slot_count(program->client),
                                   .clients = options->clients,
                                   .key_size = options->workload.key_size,
                                   .value_size = options->workload.value_size,
                                   .rate = options->rate,
                                   .seed = options->workload.seed};
    if (options->json) {
        report_print_json(stdout, program->report, &run);
    } else {
        report_print(stdout, program->report, &run);
    }
}

static int run(struct program *program)
{
    struct why why = {""};
    enum err err = workload_init(&program->workload, &program->options.workload, &why);
    if (err == OK) {
        err = measure(program, &why);
    }
    if (err != OK) {
        fprintf(stderr, "trivet-bench: %s\n", why.text[0] != '\0' ? why.text : err_text(err));
        return err == ERR_INVALID ? 2 : 1;
    }
    print_report(program);
    return program->report->wrong > 0 || program->report->latency.count == 0 ? 1 : 0;
}

static void close_all(struct program *program)
{
    audience_free(program->audience);
    if (program->client != NULL) {
        client_close_sync(program->client);
    }
    workload_fini(&program->workload);
    uv_close((uv_handle_t *)&program->interrupt, NULL);
    env_real_close(program->real);
    while (uv_run(&program->loop, UV_RUN_ONCE) != 0) {
    }
    env_real_free(program->real);
    uv_loop_close(&program->loop);
    free(program->report);
}

int main(int argc, char **argv)
{
    struct program program = {.client = NULL};
    struct why why = {""};
    if (parse(&program, argc, argv, &why) != OK) {
        fprintf(stderr, "trivet-bench: %s\nTry 'trivet-bench --help'.\n", why.text);
        return 2;
    }
    if (program.options.help) {
        print_help(stdout);
        return 0;
    }
    if (program.options.version) {
        printf("trivet-bench %s\n", TRIVET_VERSION);
        return 0;
    }
    program.report = calloc(1, sizeof *program.report);
    if (program.report == NULL || uv_loop_init(&program.loop) != 0) {
        fatal("out of memory");
    }
    if (env_real_new(&program.loop, &program.real, &why) != OK) {
        fatal("%s", why.text);
    }
    if (uv_signal_init(&program.loop, &program.interrupt) != 0 ||
        uv_signal_start_oneshot(&program.interrupt, on_interrupt, SIGINT) != 0) {
        fatal("watch for SIGINT: out of memory");
    }
    int status = run(&program);
    close_all(&program);
    return status;
}
