/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/slow.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cmd/trivet-bench/audience.h"

#define PATH_PUT        "/etcdserverpb.KV/Put"
#define CONNECT_WAIT_MS 5000u
#define CALL_WAIT_MS    10000u
/* Without an event for so long they are not told any more. */
#define SILENCE_MS 30000u

struct slow {
    const struct slow_config *config;
    struct client *client; /* of the watchers */
    struct audience *audience;
    bool is_ready;
    char ready_why[256];
    int64_t *revisions; /* of the last put of each key */
    struct env_timer tick;
};

static void on_ready(void *ctx, const char *why)
{
    struct slow *slow = ctx;
    slow->is_ready = true;
    snprintf(slow->ready_why, sizeof slow->ready_why, "%s", why);
}

/* Only wakes the loop. */
static void on_tick(struct env_timer *timer)
{
    (void)timer;
}

static enum err gather(struct slow *slow, struct why *why)
{
    const struct slow_config *config = slow->config;
    TRY(client_new(&config->watcher_client, &slow->client, why));
    TRY(client_connect_sync(slow->client, CONNECT_WAIT_MS, why));
    const struct audience_config audience = {.env = config->env,
                                             .client = slow->client,
                                             .workload = config->workload,
                                             .watchers = config->watchers,
                                             .streams = config->streams,
                                             .on_ready = on_ready,
                                             .ctx = slow};
    TRY(audience_start(&audience, &slow->audience, why));
    while (!slow->is_ready) {
        uv_run(config->watcher_client.loop, UV_RUN_ONCE);
    }
    if (slow->ready_why[0] != '\0') {
        why_set(why, "%s", slow->ready_why);
        return ERR_CLOSED;
    }
    return OK;
}

static enum err put_each_key(struct slow *slow, struct why *why)
{
    struct workload *workload = slow->config->workload;
    struct bytes value = bytes_of(workload->value, workload->options.value_size);
    CLEANUP(buf_fini) struct buf message = {0};
    CLEANUP(buf_fini) struct buf answer = {0};
    for (uint64_t i = 0; i < workload->options.keys; i++) {
        struct wire_answer put;
        buf_clear(&message);
        wire_put(&message, workload_watched_key(workload, i), value);
        if (client_call_sync(slow->config->client, CLIENT_ANY, PATH_PUT, buf_bytes(&message),
                             CALL_WAIT_MS, &answer, why) != GRPC_OK) {
            return ERR_CLOSED;
        }
        TRY(wire_read_answer(WIRE_PUT, buf_bytes(&answer), &put));
        slow->revisions[i] = put.revision;
    }
    return OK;
}

/* Until every watcher has been told of the last put of its key. */
static enum err wait_for_watchers(struct slow *slow, struct why *why)
{
    const struct slow_config *config = slow->config;
    uint64_t heard_ms = env_now_ms(config->env);
    uint64_t events = audience_events(slow->audience);
    enum err err = OK;
    while (err == OK && audience_is_right(slow->audience) &&
           !audience_has_seen(slow->audience, slow->revisions, config->workload->options.keys)) {
        env_timer_start(config->env, &slow->tick, 1000);
        uv_run(config->watcher_client.loop, UV_RUN_ONCE);
        if (audience_events(slow->audience) != events) {
            events = audience_events(slow->audience);
            heard_ms = env_now_ms(config->env);
        } else if (env_now_ms(config->env) - heard_ms > SILENCE_MS) {
            why_set(why, "watchers are not told what was put");
            err = ERR_TIMEOUT;
        }
    }
    env_timer_stop(config->env, &slow->tick);
    return err;
}

static enum err run(struct slow *slow, struct report *without, struct report *with, struct why *why)
{
    const struct slow_config *config = slow->config;
    TRY(config->run_puts(config->ctx, without, why));
    TRY(gather(slow, why));
    TRY(put_each_key(slow, why));
    TRY(wait_for_watchers(slow, why));
    client_pause(slow->client, true);
    uint64_t before = audience_events(slow->audience);
    TRY(config->run_puts(config->ctx, with, why));
    TRY(put_each_key(slow, why));
    uint64_t begin_ns = env_now_ns(config->env);
    client_pause(slow->client, false);
    TRY(wait_for_watchers(slow, why));
    double seconds = (double)(env_now_ns(config->env) - begin_ns) / 1e9;
    uint64_t events = audience_events(slow->audience) - before;

    double p99 = (double)latency_percentile_ns(&without->latency, 99) / 1e3;
    double p99_with = (double)latency_percentile_ns(&with->latency, 99) / 1e3;
    report_note(with, "alone_ops_per_second", report_rate(without));
    report_note(with, "alone_p50_us", (double)latency_percentile_ns(&without->latency, 50) / 1e3);
    report_note(with, "alone_p99_us", p99);
    report_note(with, "p99_moved_percent", p99 > 0 ? (p99_with / p99 - 1) * 100 : 0);
    report_note(with, "alone_errors", (double)report_error_count(without));
    report_note(with, "watched_events", (double)events);
    report_note(with, "caught_up_seconds", seconds);
    audience_end(slow->audience, &without->latency, &with->wrong, with->wrong_text,
                 sizeof with->wrong_text);
    return OK;
}

enum err slow_run(const struct slow_config *config, struct report *ret, struct why *why)
{
    struct slow slow = {.config = config};
    env_timer_init(&slow.tick, on_tick);
    slow.revisions = calloc(config->workload->options.keys, sizeof *slow.revisions);
    CLEANUP(freep) struct report *without = calloc(1, sizeof *without);
    enum err err = ERR_NOMEM;
    if (slow.revisions != NULL && without != NULL) {
        err = run(&slow, without, ret, why);
    }
    audience_free(slow.audience);
    if (slow.client != NULL) {
        client_close_sync(slow.client);
    }
    free(slow.revisions);
    return err;
}
