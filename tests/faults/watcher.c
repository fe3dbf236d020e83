/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/watcher.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/faults/etcdmsg.h"

#define TICK_MS     500u  /* between questions how far the stream is */
#define AGAIN_MS    50u   /* after a stream that broke */
#define LIFE_MIN_MS 4000u /* of a stream; up to four times as much */
#define ANSWER_MS   5000u /* a stream that says nothing for so long is given up */

struct watcher {
    struct stage *stage;
    struct watcher_range range;
    size_t number;
    size_t slot;
    uint64_t session;
    int64_t process;
    int64_t watch;
    int64_t next; /* revision */
    int64_t told;
    bool open; /* a stream */
    bool created;
    bool stopped;
    uint64_t end_ms;
    uint64_t heard_ms;
    struct grpc_request request;
    struct env_timer timer;
    struct buf value;
};

static void open_stream(struct watcher *watcher);

static void write_down(struct watcher *watcher, enum record_type type, const char *f,
                       int64_t revision)
{
    struct stage *stage = watcher->stage;
    if (!buf_ok(&watcher->value)) {
        fatal("out of memory");
    }
    const struct record record = {.process = watcher->process,
                                  .type = type,
                                  .workload = "watch",
                                  .f = f,
                                  .value = buf_bytes(&watcher->value),
                                  .revision = revision,
                                  .member = client_slot_name(stage->client, watcher->slot),
                                  .session = watcher->session};
    recorder_write(stage->recorder, &record);
}

static struct buf *begin_value(struct watcher *watcher)
{
    buf_clear(&watcher->value);
    return &watcher->value;
}

static void say_start(struct watcher *watcher)
{
    struct buf *value = begin_value(watcher);
    buf_printf(value, "{\"watch\":%" PRId64 ",\"key\":", watcher->watch);
    json_string(value, watcher->range.key);
    if (watcher->range.range_end.len > 0) {
        buf_append_str(value, ",\"range_end\":");
        json_string(value, watcher->range.range_end);
    }
    buf_printf(value, ",\"start_revision\":%" PRId64, watcher->next);
    buf_append_str(value, watcher->range.prev_kv ? ",\"prev_kv\":true" : "");
    buf_append_str(value, watcher->range.no_put ? ",\"no_put\":true" : "");
    buf_append_str(value, watcher->range.no_delete ? ",\"no_delete\":true" : "");
    buf_append_str(value, "}");
}

/* ---- the end of a stream ---- */

static void close_stream(struct watcher *watcher)
{
    grpc_request_cancel(&watcher->request);
    watcher->open = false;
    if (watcher->created) {
        buf_append_str(begin_value(watcher), "{}");
        write_down(watcher, RECORD_INFO, "close", 0);
    } else {
        say_start(watcher);
        write_down(watcher, RECORD_FAIL, "start", 0);
    }
    if (!watcher->stopped) {
        env_timer_start(watcher->stage->env, &watcher->timer, AGAIN_MS);
    }
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    (void)status;
    (void)text;
    close_stream(CONTAINER_OF(request, struct watcher, request));
}

static void send_message(struct watcher *watcher, const Etcdserverpb__WatchRequest *message)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    uint8_t *packed = buf_extend(&bytes, etcdserverpb__watch_request__get_packed_size(message));
    if (packed == NULL) {
        fatal("out of memory");
    }
    etcdserverpb__watch_request__pack(message, packed);
    grpc_request_send(&watcher->request, buf_bytes(&bytes));
}

static void ask_progress(struct watcher *watcher)
{
    Etcdserverpb__WatchProgressRequest progress;
    etcdserverpb__watch_progress_request__init(&progress);
    Etcdserverpb__WatchRequest message;
    etcdserverpb__watch_request__init(&message);
    message.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    message.progress_request = &progress;
    send_message(watcher, &message);
}

static void on_timer(struct env_timer *timer)
{
    struct watcher *watcher = CONTAINER_OF(timer, struct watcher, timer);
    uint64_t now_ms = env_now_ms(watcher->stage->env);
    if (!watcher->open) {
        open_stream(watcher);
        return;
    }
    if (now_ms >= watcher->end_ms || now_ms - watcher->heard_ms >= ANSWER_MS) {
        close_stream(watcher);
        return;
    }
    if (watcher->created) {
        ask_progress(watcher);
    }
    env_timer_start(watcher->stage->env, &watcher->timer, TICK_MS);
}

/* ---- what is told ---- */

static void say_event(struct buf *value, const Mvccpb__Event *event)
{
    const Mvccpb__KeyValue *kv = event->kv;
    bool is_put = event->type == MVCCPB__EVENT__EVENT_TYPE__PUT;
    buf_printf(value, "{\"type\":\"%s\",\"key\":", is_put ? "put" : "delete");
    json_string(value, msg_view(kv->key));
    if (is_put) {
        buf_append_str(value, ",\"value\":");
        json_value(value, msg_view(kv->value));
        buf_printf(value, ",\"create_revision\":%" PRId64 ",\"version\":%" PRId64,
                   kv->create_revision, kv->version);
    }
    buf_printf(value, ",\"mod_revision\":%" PRId64, kv->mod_revision);
    if (event->prev_kv != NULL) {
        buf_append_str(value, ",\"prev\":{\"value\":");
        json_value(value, msg_view(event->prev_kv->value));
        buf_printf(value, ",\"mod_revision\":%" PRId64 "}", event->prev_kv->mod_revision);
    }
    buf_append_str(value, "}");
}

static void take_events(struct watcher *watcher, const Etcdserverpb__WatchResponse *answer)
{
    struct buf *value = begin_value(watcher);
    buf_printf(value, "{\"watch\":%" PRId64 ",\"events\":[", watcher->watch);
    for (size_t i = 0; i < answer->n_events; i++) {
        if (answer->events[i]->kv == NULL) {
            fatal("%s told of an event without a key",
                  client_slot_name(watcher->stage->client, watcher->slot));
        }
        buf_append_str(value, i == 0 ? "" : ",");
        say_event(value, answer->events[i]);
    }
    buf_printf(value, "]%s}", answer->fragment ? ",\"fragment\":true" : "");
    write_down(watcher, RECORD_INFO, "events", answer->header->revision);
    int64_t last = answer->events[answer->n_events - 1]->kv->mod_revision;
    if (!answer->fragment) {
        watcher->next = last + 1;
        watcher->told = last > watcher->told ? last : watcher->told;
    }
}

static void take_cancel(struct watcher *watcher, const Etcdserverpb__WatchResponse *answer)
{
    struct buf *value = begin_value(watcher);
    buf_printf(value, "{\"watch\":%" PRId64, watcher->watch);
    if (answer->compact_revision != 0) {
        buf_printf(value, ",\"compact_revision\":%" PRId64, answer->compact_revision);
        watcher->next = answer->compact_revision;
    }
    buf_append_str(value, "}");
    write_down(watcher, RECORD_INFO, "cancel", answer->header->revision);
    close_stream(watcher);
}

static void take_progress(struct watcher *watcher, const Etcdserverpb__WatchResponse *answer)
{
    int64_t revision = answer->header->revision;
    buf_printf(begin_value(watcher), "{\"watch\":%" PRId64 "}",
               answer->watch_id < 0 ? -1 : watcher->watch);
    write_down(watcher, RECORD_INFO, "progress", revision);
    watcher->next = revision + 1 > watcher->next ? revision + 1 : watcher->next;
    watcher->told = revision > watcher->told ? revision : watcher->told;
}

static void take_answer(struct watcher *watcher, const Etcdserverpb__WatchResponse *answer)
{
    watcher->heard_ms = env_now_ms(watcher->stage->env);
    if (answer->created) {
        watcher->created = true;
        say_start(watcher);
        write_down(watcher, RECORD_OK, "start", answer->header->revision);
    }
    if (answer->canceled) {
        take_cancel(watcher, answer);
    } else if (answer->n_events > 0) {
        take_events(watcher, answer);
    } else if (!answer->created) {
        take_progress(watcher, answer);
    }
}

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct watcher *watcher = CONTAINER_OF(request, struct watcher, request);
    Etcdserverpb__WatchResponse *answer =
        etcdserverpb__watch_response__unpack(NULL, message.len, message.data);
    if (answer == NULL || answer->header == NULL) {
        fatal("%s answered a watch with what is no answer",
              client_slot_name(watcher->stage->client, watcher->slot));
    }
    take_answer(watcher, answer);
    etcdserverpb__watch_response__free_unpacked(answer, NULL);
}

/* ---- a new stream ---- */

static bool choose_slot(struct watcher *watcher)
{
    struct client *client = watcher->stage->client;
    size_t count = client_slot_count(client);
    size_t first = stage_below(watcher->stage, count);
    for (size_t i = 0; i < count; i++) {
        watcher->slot = (first + i) % count;
        if (client_is_connected(client, watcher->slot)) {
            return true;
        }
    }
    return false;
}

static void send_create(struct watcher *watcher)
{
    const struct watcher_range *range = &watcher->range;
    Etcdserverpb__WatchCreateRequest create;
    etcdserverpb__watch_create_request__init(&create);
    create.key = msg_bytes(range->key);
    create.range_end = msg_bytes(range->range_end);
    create.start_revision = watcher->next;
    create.prev_kv = range->prev_kv;
    create.fragment = range->fragment;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    create.filters = filters;
    if (range->no_put) {
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    }
    if (range->no_delete) {
        filters[create.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    }
    Etcdserverpb__WatchRequest message;
    etcdserverpb__watch_request__init(&message);
    message.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    message.create_request = &create;
    send_message(watcher, &message);
}

static void open_stream(struct watcher *watcher)
{
    struct stage *stage = watcher->stage;
    if (!choose_slot(watcher)) {
        env_timer_start(stage->env, &watcher->timer, AGAIN_MS);
        return;
    }
    uint64_t now_ms = env_now_ms(stage->env);
    watcher->process = stage->next_process++;
    watcher->watch++;
    watcher->session =
        client_slot_attempts(stage->client, watcher->slot) * CLIENT_SLOTS_MAX + watcher->slot;
    watcher->open = true;
    watcher->created = false;
    watcher->heard_ms = now_ms;
    watcher->end_ms = now_ms + LIFE_MIN_MS + stage_below(stage, 3 * LIFE_MIN_MS);
    say_start(watcher);
    write_down(watcher, RECORD_INVOKE, "start", 0);
    const struct grpc_request_options options = {.path = "/etcdserverpb.Watch/Watch"};
    grpc_request_start(client_connection(stage->client, watcher->slot), &watcher->request,
                       &options);
    send_create(watcher);
    env_timer_start(stage->env, &watcher->timer, TICK_MS);
}

/* ---- life ---- */

struct watcher *watcher_new(struct stage *stage, const struct watcher_range *range, size_t number)
{
    struct watcher *watcher = calloc(1, sizeof *watcher);
    if (watcher == NULL) {
        fatal("out of memory");
    }
    watcher->stage = stage;
    watcher->range = *range;
    watcher->number = number;
    watcher->next = 1;
    watcher->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    env_timer_init(&watcher->timer, on_timer);
    open_stream(watcher);
    return watcher;
}

int64_t watcher_told(const struct watcher *watcher)
{
    return watcher->told;
}

void watcher_stop(struct watcher *watcher)
{
    watcher->stopped = true;
    env_timer_stop(watcher->stage->env, &watcher->timer);
    if (watcher->open) {
        close_stream(watcher);
    }
}

void watcher_free(struct watcher *watcher)
{
    if (watcher == NULL) {
        return;
    }
    env_timer_stop(watcher->stage->env, &watcher->timer);
    grpc_request_cancel(&watcher->request);
    buf_fini(&watcher->value);
    free(watcher);
}
