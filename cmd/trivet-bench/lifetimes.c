/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/lifetimes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "cmd/trivet-bench/crowd.h"

#define PATH_GRANT  "/etcdserverpb.Lease/LeaseGrant"
#define PATH_LEASES "/etcdserverpb.Lease/LeaseLeases"
#define PATH_PUT    "/etcdserverpb.KV/Put"
#define PATH_WATCH  "/etcdserverpb.Watch/Watch"
/* So long after its end a lease is waited for. */
#define PATIENCE_MS 120000u

/* One client. A lease of the sample gets its key before the next one is granted. */
struct granter {
    struct lifetimes *owner;
    struct grpc_request request;
    struct buf message;
    size_t slot;
    uint64_t number; /* of its lease */
    uint64_t asked_ns;
    bool putting;
    bool answered;
};

struct lifetimes {
    const struct lifetimes_config *config;
    struct report *report;
    struct granter *granters;
    uint64_t busy;
    uint64_t lease_count;
    uint64_t next; /* to be granted */
    uint64_t stride;
    struct sample {
        uint64_t soonest_ns; /* it may end */
        uint64_t due_ns;
        bool gone;
    } * samples;
    uint64_t sample_count;
    uint64_t gone_count;
    uint64_t last_due_ns;
    struct grpc_request watch;
    bool watches;
    bool failed;
    struct why *why;
    struct env_timer tick;
};

static uint64_t now_ns(const struct lifetimes *lifetimes)
{
    return env_now_ns(lifetimes->config->env);
}

static void fail(struct lifetimes *lifetimes, const char *what, enum grpc_status status,
                 struct bytes text)
{
    if (!lifetimes->failed) {
        lifetimes->failed = true;
        why_set(lifetimes->why, "%s: %s: %.*s", what, grpc_status_name(status), (int)text.len,
                (const char *)text.data);
    }
}

static void note_wrong(struct report *report, const char *what, uint64_t number)
{
    if (report->wrong++ == 0) {
        snprintf(report->wrong_text, sizeof report->wrong_text, "%s: number %" PRIu64, what,
                 number);
    }
}

/* The last lease is one of the sample, so that all have ended with it. */
static bool is_sample(const struct lifetimes *lifetimes, uint64_t number)
{
    return (lifetimes->lease_count - 1 - number) % lifetimes->stride == 0;
}

static struct sample *sample_of(struct lifetimes *lifetimes, uint64_t number)
{
    return &lifetimes->samples[(lifetimes->lease_count - 1 - number) / lifetimes->stride];
}

/* ---- granting ---- */

static void ask(struct granter *granter, const char *path)
{
    const struct lifetimes_config *config = granter->owner->config;
    struct grpc_request_options options = {.path = path, .timeout_ms = config->timeout_ms};
    if (!buf_ok(&granter->message)) {
        fatal("out of memory");
    }
    granter->answered = false;
    client_call(config->client, granter->slot, &granter->request, &options,
                buf_bytes(&granter->message));
}

static void grant_next(struct granter *granter)
{
    struct lifetimes *lifetimes = granter->owner;
    if (lifetimes->failed || lifetimes->next == lifetimes->lease_count) {
        lifetimes->busy--;
        return;
    }
    granter->number = lifetimes->next++;
    granter->putting = false;
    granter->asked_ns = now_ns(lifetimes);
    buf_clear(&granter->message);
    wire_lease_grant(&granter->message, (int64_t)lifetimes->config->ttl_s);
    ask(granter, PATH_GRANT);
}

static void put_key(struct granter *granter, const struct wire_answer *granted)
{
    struct lifetimes *lifetimes = granter->owner;
    struct sample *sample = sample_of(lifetimes, granter->number);
    uint64_t ttl_ns = (uint64_t)granted->ttl_s * 1000000000;
    sample->soonest_ns = granter->asked_ns + ttl_ns;
    sample->due_ns = now_ns(lifetimes) + ttl_ns;
    if (sample->due_ns > lifetimes->last_due_ns) {
        lifetimes->last_due_ns = sample->due_ns;
    }
    granter->putting = true;
    buf_clear(&granter->message);
    wire_put_leased(&granter->message,
                    workload_watched_key(lifetimes->config->workload, granter->number),
                    bytes_of("", 0), granted->lease);
}

static void on_answer(struct grpc_request *request, struct bytes message)
{
    struct granter *granter = CONTAINER_OF(request, struct granter, request);
    struct lifetimes *lifetimes = granter->owner;
    struct wire_answer answer;
    granter->answered = true;
    if (granter->putting) {
        granter->putting = false; /* on_end goes on with the next lease */
        return;
    }
    if (wire_read_answer(WIRE_LEASE_GRANT, message, &answer) != OK || answer.lease == 0 ||
        answer.ttl_s < (int64_t)lifetimes->config->ttl_s || answer.ttl_s > LIFETIMES_TTL_MAX) {
        note_wrong(lifetimes->report, "no valid lease", granter->number);
    } else if (is_sample(lifetimes, granter->number)) {
        put_key(granter, &answer);
    }
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct granter *granter = CONTAINER_OF(request, struct granter, request);
    struct lifetimes *lifetimes = granter->owner;
    if (status != GRPC_OK || !granter->answered) {
        fail(lifetimes, "a lease is not granted, or its key not put", status, text);
    } else {
        lifetimes->report->answered++;
    }
    if (!lifetimes->failed && granter->putting) {
        ask(granter, PATH_PUT);
    } else {
        grant_next(granter);
    }
}

/* ---- watching ---- */

static uint64_t number_of(struct bytes key, size_t prefix_len)
{
    uint64_t number = 0;
    for (size_t i = prefix_len; i < key.len; i++) {
        number = number * 10 + (uint64_t)(key.data[i] - '0');
    }
    return number;
}

static void take_deletion(struct lifetimes *lifetimes, struct bytes key, uint64_t now)
{
    const struct workload_options *options = &lifetimes->config->workload->options;
    uint64_t number =
        key.len == options->key_size ? number_of(key, strlen(options->prefix)) : UINT64_MAX;
    if (number >= lifetimes->lease_count || !is_sample(lifetimes, number)) {
        return; /* none of ours */
    }
    struct sample *sample = sample_of(lifetimes, number);
    if (sample->gone) {
        note_wrong(lifetimes->report, "a key was deleted twice", number);
        return;
    }
    if (now < sample->soonest_ns) {
        note_wrong(lifetimes->report, "a lease ended too soon", number);
    }
    sample->gone = true;
    lifetimes->gone_count++;
    latency_record(&lifetimes->report->latency, now > sample->due_ns ? now - sample->due_ns : 0);
}

static void on_watch_message(struct grpc_request *request, struct bytes message)
{
    struct lifetimes *lifetimes = CONTAINER_OF(request, struct lifetimes, watch);
    struct reader r = reader_of(message);
    struct wire_watch_answer answer;
    if (wire_read_watch_answer(&r, &answer) != OK || answer.canceled) {
        fail(lifetimes, "the watcher is not told", GRPC_INTERNAL, bytes_of("", 0));
        return;
    }
    lifetimes->watches |= answer.created;
    uint64_t now = now_ns(lifetimes);
    struct wire_event event;
    while (wire_next_event(&r, &event)) {
        take_deletion(lifetimes, event.key, now);
    }
    if (reader_end(&r) != OK) {
        fail(lifetimes, "the watcher is told what is malformed", GRPC_INTERNAL, bytes_of("", 0));
    }
}

static void on_watch_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    fail(CONTAINER_OF(request, struct lifetimes, watch), "the watch stream ended", status, text);
}

static void start_watch(struct lifetimes *lifetimes)
{
    const char *prefix = lifetimes->config->workload->options.prefix;
    struct grpc_request_options options = {.path = PATH_WATCH};
    CLEANUP(freep) char *end = strdup(prefix);
    CLEANUP(buf_fini) struct buf message = {0};
    if (end == NULL) {
        fatal("out of memory");
    }
    end[strlen(end) - 1]++;
    wire_watch_deletions(&message, bytes_of_str(prefix), bytes_of_str(end));
    if (!buf_ok(&message)) {
        fatal("out of memory");
    }
    lifetimes->watch =
        (struct grpc_request){.on_message = on_watch_message, .on_end = on_watch_end};
    grpc_request_start(client_connection(lifetimes->config->client, 0), &lifetimes->watch,
                       &options);
    grpc_request_send(&lifetimes->watch, buf_bytes(&message));
}

/* ---- all of it ---- */

/* Only wakes the loop. */
static void on_tick(struct env_timer *timer)
{
    (void)timer;
}

static enum err grant_all(struct lifetimes *lifetimes)
{
    const struct lifetimes_config *config = lifetimes->config;
    start_watch(lifetimes);
    while (!lifetimes->watches && !lifetimes->failed) {
        uv_run(config->loop, UV_RUN_ONCE);
    }
    lifetimes->report->begin_ns = now_ns(lifetimes);
    lifetimes->busy = config->clients;
    for (uint64_t i = 0; i < config->clients; i++) {
        struct granter *granter = &lifetimes->granters[i];
        granter->owner = lifetimes;
        granter->slot = i % client_slot_count(config->client);
        granter->request = (struct grpc_request){.on_message = on_answer, .on_end = on_end};
        grant_next(granter);
    }
    while (lifetimes->busy > 0) {
        uv_run(config->loop, UV_RUN_ONCE);
    }
    return lifetimes->failed ? ERR_CLOSED : OK;
}

static enum err wait_for_ends(struct lifetimes *lifetimes)
{
    const struct lifetimes_config *config = lifetimes->config;
    uint64_t give_up_ns = lifetimes->last_due_ns + PATIENCE_MS * 1000000ull;
    while (lifetimes->gone_count < lifetimes->sample_count && !lifetimes->failed) {
        env_timer_start(config->env, &lifetimes->tick, 1000);
        uv_run(config->loop, UV_RUN_ONCE);
        if (now_ns(lifetimes) > give_up_ns) {
            fail(lifetimes, "leases do not end", GRPC_DEADLINE_EXCEEDED, bytes_of("", 0));
        }
    }
    env_timer_stop(config->env, &lifetimes->tick);
    return lifetimes->failed ? ERR_CLOSED : OK;
}

static enum err count_left(struct lifetimes *lifetimes, uint64_t *ret)
{
    CLEANUP(buf_fini) struct buf answer = {0};
    if (client_call_sync(lifetimes->config->client, CLIENT_ANY, PATH_LEASES, bytes_of("", 0),
                         lifetimes->config->timeout_ms, &answer, lifetimes->why) != GRPC_OK) {
        return ERR_CLOSED;
    }
    return wire_count_leases(buf_bytes(&answer), ret);
}

static enum err run(struct lifetimes *lifetimes)
{
    struct report *report = lifetimes->report;
    uint64_t left;
    bool progress = lifetimes->config->progress;
    TRY(grant_all(lifetimes));
    uint64_t granted_ns = now_ns(lifetimes);
    if (progress) {
        fprintf(stderr, "%" PRIu64 " leases are granted\n", lifetimes->lease_count);
    }
    TRY(wait_for_ends(lifetimes));
    report->end_ns = now_ns(lifetimes);
    TRY(count_left(lifetimes, &left));
    double granting_s = (double)(granted_ns - report->begin_ns) / 1e9;
    report_note(report, "leases", (double)lifetimes->lease_count);
    report_note(report, "granted_per_second", (double)lifetimes->lease_count / granting_s);
    report_note(report, "granting_seconds", granting_s);
    report_note(report, "granted_at_seconds", (double)granted_ns / 1e9);
    report_note(report, "leases_left", (double)left);
    return OK;
}

static void free_parts(struct lifetimes *lifetimes)
{
    if (grpc_request_is_active(&lifetimes->watch)) {
        grpc_request_cancel(&lifetimes->watch);
    }
    for (uint64_t i = 0; lifetimes->granters != NULL && i < lifetimes->config->clients; i++) {
        buf_fini(&lifetimes->granters[i].message);
    }
    free(lifetimes->granters);
    free(lifetimes->samples);
}

enum err lifetimes_run(const struct lifetimes_config *config, struct report *ret, struct why *why)
{
    if (config->clients == 0 || config->clients > CLIENTS_MAX || config->ttl_s == 0 ||
        config->ttl_s > LIFETIMES_TTL_MAX || config->workload->options.prefix[0] == '\0') {
        why_set(why, "--clients, --ttl or --prefix is out of range");
        return ERR_INVALID;
    }
    uint64_t leases = config->workload->options.keys;
    uint64_t stride = (leases + LIFETIMES_SAMPLE - 1) / LIFETIMES_SAMPLE;
    struct lifetimes lifetimes = {.config = config,
                                  .report = ret,
                                  .lease_count = leases,
                                  .stride = stride,
                                  .sample_count = (leases - 1) / stride + 1,
                                  .why = why};
    env_timer_init(&lifetimes.tick, on_tick);
    lifetimes.granters = calloc(config->clients, sizeof *lifetimes.granters);
    lifetimes.samples = calloc(lifetimes.sample_count, sizeof *lifetimes.samples);
    enum err err = ERR_NOMEM;
    if (lifetimes.granters != NULL && lifetimes.samples != NULL) {
        err = run(&lifetimes);
    }
    free_parts(&lifetimes);
    return err;
}
