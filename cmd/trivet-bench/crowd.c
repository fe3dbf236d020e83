/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/crowd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include "base/assert.h"

/* After a failed call, so that a server that is down is not asked a million times. */
#define PAUSE_AFTER_ERROR_MS 10u
#define PROGRESS_MS          1000u

struct member {
    struct crowd *crowd;
    struct grpc_request request;
    struct ask ask;
    uint64_t start_ns; /* in an open loop: when it should have started */
    size_t slot;
    bool answered; /* a message has come */
    bool right;    /* and it may be true */
    struct env_timer pause;
    struct queue idle;
};

struct crowd {
    struct crowd_config config;
    struct member *members;
    uint64_t busy;    /* members with a call or a pause */
    uint64_t started; /* operations */
    bool exhausted;   /* there is nothing more to ask; what is under way still counts */
    bool stopping;
    bool measuring;
    double cpu_begin;
    struct env_timer phase; /* end of the warm-up, then of the measurement, then of all */
    /* Progress. */
    struct env_timer progress;
    struct latency *recent;
    uint64_t recent_begin_ns;
    uint64_t recent_errors;
    uint64_t start_ns;
    /* An open loop wakes by a timerfd: libuv's timers know only milliseconds. */
    int timer_fd;
    uv_poll_t poll;
    struct queue idle;
};

static uint64_t now_ns(const struct crowd *crowd)
{
    return env_now_ns(crowd->config.env);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    int status = getrusage(RUSAGE_SELF, &usage);
    ASSERT(status == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The end. */

static void free_crowd(struct crowd *crowd)
{
    for (uint64_t i = 0; crowd->members != NULL && i < crowd->config.clients; i++) {
        ask_fini(&crowd->members[i].ask);
    }
    if (crowd->timer_fd >= 0) {
        close(crowd->timer_fd);
    }
    free(crowd->members);
    free(crowd->recent);
    free(crowd);
}

static void be_done(struct crowd *crowd)
{
    struct crowd_config config = crowd->config;
    config.report->missing = config.workload->missing;
    free_crowd(crowd);
    config.on_done(config.ctx);
}

static void on_poll_closed(uv_handle_t *handle)
{
    be_done(CONTAINER_OF((uv_poll_t *)handle, struct crowd, poll));
}

static void end(struct crowd *crowd)
{
    env_timer_stop(crowd->config.env, &crowd->progress);
    for (uint64_t i = 0; i < crowd->config.clients; i++) {
        grpc_request_cancel(&crowd->members[i].request); /* streams */
    }
    if (crowd->config.progress) {
        fprintf(stderr, "\r\033[K");
    }
    if (crowd->config.rate != 0) {
        uv_close((uv_handle_t *)&crowd->poll, on_poll_closed);
    } else {
        be_done(crowd);
    }
}

/* The end comes in a turn of its own, through on_phase. */
static void end_if_idle(struct crowd *crowd)
{
    if (crowd->stopping && crowd->busy == 0) {
        env_timer_start(crowd->config.env, &crowd->phase, 0);
    }
}

void crowd_stop(struct crowd *crowd)
{
    if (crowd->stopping) {
        return;
    }
    crowd->exhausted = true;
    struct report *report = crowd->config.report;
    crowd->stopping = true;
    report->end_ns = now_ns(crowd);
    report->begin_ns = crowd->measuring ? report->begin_ns : report->end_ns;
    report->cpu_seconds = crowd->measuring ? cpu_seconds() - crowd->cpu_begin : 0;
    crowd->measuring = false;
    if (crowd->config.audience != NULL) {
        audience_end(crowd->config.audience, &report->latency, &report->wrong, report->wrong_text,
                     sizeof report->wrong_text);
    }
    env_timer_stop(crowd->config.env, &crowd->phase);
    if (crowd->config.rate != 0) {
        uv_poll_stop(&crowd->poll);
    }
    end_if_idle(crowd);
}

/* Starting operations. */

/* The stream outlives its operations, so that their time limit cannot be its own. */
static void send_on_stream(struct member *member)
{
    const struct crowd_config *config = &member->crowd->config;
    if (!grpc_request_is_active(&member->request)) {
        struct grpc_request_options options = {
            .path = member->ask.path,
            .timeout_ms = config->warmup_ms + config->duration_ms + config->timeout_ms};
        grpc_request_start(client_connection(config->client, member->slot), &member->request,
                           &options);
    }
    grpc_request_send(&member->request, buf_bytes(&member->ask.message));
}

/* False: there is nothing more to ask. */
static bool start_operation(struct member *member, uint64_t start_ns)
{
    struct crowd *crowd = member->crowd;
    crowd->config.workload->due_ns = start_ns;
    crowd->exhausted = crowd->stopping ||
                       (crowd->config.total != 0 && crowd->started == crowd->config.total) ||
                       !workload_next(crowd->config.workload, &member->ask);
    if (crowd->exhausted) {
        return false;
    }
    crowd->started++;
    crowd->busy++;
    member->start_ns = start_ns;
    member->answered = false;
    if (member->ask.stream) {
        send_on_stream(member);
        return true;
    }
    struct grpc_request_options options = {.path = member->ask.path,
                                           .timeout_ms = crowd->config.timeout_ms};
    client_call(crowd->config.client, member->slot, &member->request, &options,
                buf_bytes(&member->ask.message));
    return true;
}

static uint64_t intended_ns(const struct crowd *crowd, uint64_t n)
{
    return crowd->start_ns + (uint64_t)((double)n * 1e9 / (double)crowd->config.rate);
}

static void arm(struct crowd *crowd)
{
    uint64_t at = intended_ns(crowd, crowd->started);
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)}};
    int status = timerfd_settime(crowd->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    ASSERT(status == 0);
}

/* All operations that are due, as far as there are members for them. */
static void start_due(struct crowd *crowd)
{
    uint64_t now = now_ns(crowd);
    while (!queue_empty(&crowd->idle)) {
        uint64_t at = intended_ns(crowd, crowd->started);
        if (at > now && !crowd->exhausted) {
            arm(crowd);
            return;
        }
        struct member *member = QUEUE_ELEM(queue_pop_front(&crowd->idle), struct member, idle);
        if (!start_operation(member, at)) {
            queue_push_back(&crowd->idle, &member->idle);
            return;
        }
    }
}

static void stop_if_exhausted(struct crowd *crowd)
{
    if (crowd->exhausted && crowd->busy == 0) {
        crowd_stop(crowd);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct crowd *crowd = CONTAINER_OF(poll, struct crowd, poll);
    uint64_t count;
    ssize_t n = read(crowd->timer_fd, &count, sizeof count);
    ASSERT(n == sizeof count || errno == EAGAIN);
    start_due(crowd);
    stop_if_exhausted(crowd);
}

static void go_on(struct member *member)
{
    struct crowd *crowd = member->crowd;
    crowd->busy--;
    if (crowd->config.rate != 0) {
        queue_push_back(&crowd->idle, &member->idle);
        start_due(crowd);
    } else {
        (void)start_operation(member, now_ns(crowd));
    }
    stop_if_exhausted(crowd);
    end_if_idle(crowd);
}

static void on_pause_over(struct env_timer *timer)
{
    go_on(CONTAINER_OF(timer, struct member, pause));
}

/* Answers. */

static void record_answer(struct member *member)
{
    struct crowd *crowd = member->crowd;
    crowd->config.report->answered++;
    uint64_t ns = now_ns(crowd) - member->start_ns;
    if (crowd->measuring && member->right && crowd->config.audience == NULL) {
        latency_record(&crowd->config.report->latency, ns);
    }
    if (crowd->config.progress) {
        latency_record(crowd->recent, ns);
    }
}

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct member *member = CONTAINER_OF(request, struct member, request);
    struct crowd *crowd = member->crowd;
    struct report *report = crowd->config.report;
    struct why why;
    member->answered = true;
    member->right = workload_check(crowd->config.workload, &member->ask, message, &why);
    if (!member->right && report->wrong++ == 0) {
        snprintf(report->wrong_text, sizeof report->wrong_text, "%s", why.text);
    }
    report->answer_bytes += crowd->measuring ? message.len : 0;
    if (member->ask.stream) {
        record_answer(member);
        go_on(member);
    }
}

/* What was asked while it was measured counts when its end comes later, too: a server that hangs is
 * not one without errors. */
static bool was_measured(const struct member *member)
{
    const struct crowd *crowd = member->crowd;
    const struct report *report = crowd->config.report;
    return crowd->measuring || (crowd->stopping && member->start_ns >= report->begin_ns &&
                                member->start_ns < report->end_ns);
}

static void record_error(struct member *member, enum grpc_status status, struct bytes text)
{
    struct report *report = member->crowd->config.report;
    member->crowd->recent_errors++;
    if (was_measured(member)) {
        report->errors[status]++;
        snprintf(report->error_text, sizeof report->error_text, "%.*s", (int)text.len,
                 (const char *)text.data);
    }
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct member *member = CONTAINER_OF(request, struct member, request);
    struct crowd *crowd = member->crowd;
    if (member->ask.stream && member->answered) {
        return; /* nothing was asked on it any more */
    }
    if (status != GRPC_OK || !member->answered || member->ask.stream) {
        workload_failed(crowd->config.workload, &member->ask);
        record_error(member, status == GRPC_OK ? GRPC_INTERNAL : status, text);
        env_timer_start(crowd->config.env, &member->pause, PAUSE_AFTER_ERROR_MS);
        return;
    }
    record_answer(member);
    go_on(member);
}

/* Time. */

static void begin_measuring(struct crowd *crowd)
{
    crowd->measuring = true;
    crowd->config.report->begin_ns = now_ns(crowd);
    crowd->cpu_begin = cpu_seconds();
    crowd->config.workload->missing = 0;
    if (crowd->config.audience != NULL) {
        audience_begin(crowd->config.audience);
    }
    if (crowd->config.duration_ms != 0) {
        env_timer_start(crowd->config.env, &crowd->phase, crowd->config.duration_ms);
    }
}

static void on_phase(struct env_timer *timer)
{
    struct crowd *crowd = CONTAINER_OF(timer, struct crowd, phase);
    if (crowd->stopping) {
        end(crowd);
    } else if (crowd->measuring) {
        crowd_stop(crowd);
    } else {
        begin_measuring(crowd);
    }
}

static void on_progress(struct env_timer *timer)
{
    struct crowd *crowd = CONTAINER_OF(timer, struct crowd, progress);
    uint64_t now = now_ns(crowd);
    report_progress(stderr, (double)(now - crowd->start_ns) / 1e9, crowd->recent->count,
                    crowd->recent_errors, now - crowd->recent_begin_ns, crowd->recent);
    latency_reset(crowd->recent);
    crowd->recent_errors = 0;
    crowd->recent_begin_ns = now;
    env_timer_start(crowd->config.env, &crowd->progress, PROGRESS_MS);
}

/* Making. */

static enum err make_open_loop(struct crowd *crowd, struct why *why)
{
    crowd->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (crowd->timer_fd < 0) {
        why_set(why, "make a timer: %s", strerror(errno));
        return ERR_IO;
    }
    int status = uv_poll_init(crowd->config.loop, &crowd->poll, crowd->timer_fd);
    if (status == 0) {
        status = uv_poll_start(&crowd->poll, UV_READABLE, on_poll);
    }
    if (status != 0) {
        why_set(why, "watch a timer: %s", uv_strerror(status));
        return ERR_IO;
    }
    return OK;
}

static void init_members(struct crowd *crowd)
{
    size_t slots = client_slot_count(crowd->config.client);
    for (uint64_t i = 0; i < crowd->config.clients; i++) {
        struct member *member = &crowd->members[i];
        member->crowd = crowd;
        member->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
        member->slot = i % slots;
        ask_init(&member->ask, i);
        env_timer_init(&member->pause, on_pause_over);
        queue_init(&member->idle);
        queue_push_back(&crowd->idle, &member->idle);
    }
}

static void start_members(struct crowd *crowd)
{
    if (crowd->config.rate != 0) {
        start_due(crowd);
        return;
    }
    struct queue *link;
    while ((link = queue_pop_front(&crowd->idle)) != NULL) {
        struct member *member = QUEUE_ELEM(link, struct member, idle);
        (void)start_operation(member, now_ns(crowd)); /* fewer operations than members */
    }
}

enum err crowd_start(const struct crowd_config *config, struct crowd **ret, struct why *why)
{
    if (config->clients == 0 || config->clients > CLIENTS_MAX) {
        why_set(why, "--clients is not between 1 and %u", CLIENTS_MAX);
        return ERR_INVALID;
    }
    struct crowd *crowd = calloc(1, sizeof *crowd);
    if (crowd == NULL) {
        return ERR_NOMEM;
    }
    crowd->config = *config;
    crowd->timer_fd = -1;
    queue_init(&crowd->idle);
    env_timer_init(&crowd->phase, on_phase);
    env_timer_init(&crowd->progress, on_progress);
    crowd->members = calloc(config->clients, sizeof *crowd->members);
    crowd->recent = calloc(1, sizeof *crowd->recent);
    enum err err = crowd->members == NULL || crowd->recent == NULL ? ERR_NOMEM : OK;
    if (err == OK && config->rate != 0) {
        err = make_open_loop(crowd, why);
    }
    if (err != OK) {
        free_crowd(crowd);
        return err;
    }
    init_members(crowd);
    crowd->start_ns = crowd->recent_begin_ns = now_ns(crowd);
    if (config->progress) {
        env_timer_start(config->env, &crowd->progress, PROGRESS_MS);
    }
    if (config->warmup_ms != 0) {
        env_timer_start(config->env, &crowd->phase, config->warmup_ms);
    } else {
        begin_measuring(crowd);
    }
    *ret = crowd;
    start_members(crowd);
    return OK;
}
