/* SPDX-License-Identifier: Apache-2.0 */
/* Watch: one stream carries many watchers.
 *
 *   create, cancel ──▶ hub ──▶ on_events ─▶ a response: head (own) + events (shared by all
 * watchers) progress ────────▶ hub ──▶ on_progress, behind the events
 *
 * What is sent stands in the call's queue, in the order in which the hub tells it. When that queue
 * is full the hub keeps the watchers' places instead, and goes on when the client has read.
 *
 * The stream ends when its client goes away, when it asked for a leader and there is none, when it
 * sends what is no request, and with the member. Its watchers are then cancelled some at a time, so
 * that a hundred thousand do not hold the loop. */
#include "api/endless.h"
#include "api/service_private.h"
#include "api/watchresponse.h"
#include "api/message.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "proto/rpc.pb-c.h"

#define PROGRESS_MS_DEFAULT 600000
#define SLICE_WATCHERS      1024u /* cancelled, or told of progress, at once */
#define INVALID_ID          (-1)

struct watch_call {
    struct call call;
    bool open;
    struct endless endless;
    struct queue link; /* in watching->closing */
    struct watch_stream stream;
    struct map by_id;      /* struct rpc_watcher.by_id */
    struct queue watchers; /* struct rpc_watcher.link */
    int64_t next_id;
    struct env_timer progress;
    size_t progress_left; /* watchers still to be looked at in this round */
    bool wants_progress;  /* some watcher does */
};

struct rpc_watcher {
    struct watcher watcher;
    struct map_link by_id;
    struct queue link;
    int64_t id;
    bool fragment;
    bool progress_notify;
    bool told; /* something, since the last round of progress */
};

static struct watch_call *watch_of(struct watch_stream *stream)
{
    return CONTAINER_OF(stream, struct watch_call, stream);
}

static struct rpc_watcher *rpc_watcher_of(struct watcher *watcher)
{
    return CONTAINER_OF(watcher, struct rpc_watcher, watcher);
}

static struct env *env_of(const struct watch_call *watch)
{
    return watch->call.service->watching.env;
}

static int64_t present_revision(const struct watch_call *watch)
{
    return store_revision(server_store(watch->call.server));
}

static void send_response(struct watch_call *watch, const struct watch_response *response,
                          struct bytes events, struct blob *blob)
{
    uint8_t head[WATCH_RESPONSE_BYTES_MAX];
    size_t len = watch_response_encode(head, response);
    const struct grpc_part parts[] = {{.bytes = bytes_of(head, len)},
                                      {.bytes = events, .blob = blob}};
    grpc_call_send_parts(call_grpc(&watch->call), parts, blob == NULL ? 1 : 2);
}

static void send_head(struct watch_call *watch, const struct watch_response *response)
{
    send_response(watch, response, bytes_of(NULL, 0), NULL);
}

/* ---- the end ---- */

static void free_watcher(struct watch_call *watch, struct rpc_watcher *watcher)
{
    hub_cancel(&watcher->watcher);
    map_remove(&watch->by_id, &watcher->by_id);
    queue_remove(&watcher->link);
    free(watcher);
}

/* True: all are gone. */
static bool free_watchers(struct watch_call *watch, size_t *left)
{
    while (!queue_empty(&watch->watchers)) {
        if (*left == 0) {
            return false;
        }
        *left -= 1;
        free_watcher(watch, QUEUE_ELEM(watch->watchers.next, struct rpc_watcher, link));
    }
    return true;
}

/* Once more after the last of it, for streams that end later to begin with a whole slice. */
static void on_closing(struct env_timer *timer)
{
    struct watching *watching = CONTAINER_OF(timer, struct watching, closing_timer);
    watching->closing_left = SLICE_WATCHERS;
    while (!queue_empty(&watching->closing)) {
        struct watch_call *watch = QUEUE_ELEM(watching->closing.next, struct watch_call, link);
        if (!free_watchers(watch, &watching->closing_left)) {
            break;
        }
        queue_remove(&watch->link);
        grpc_call_unref(call_grpc(&watch->call));
    }
    if (watching->closing_left < SLICE_WATCHERS) {
        env_timer_start(watching->env, timer, 0);
    }
}

/* The call is over. A connection may end with thousands of streams at once: they share a slice. */
static void close_stream(struct call *call)
{
    struct watch_call *watch = CONTAINER_OF(call, struct watch_call, call);
    if (!watch->open) {
        return;
    }
    struct watching *watching = &call->service->watching;
    watch->open = false;
    env_timer_stop(env_of(watch), &watch->progress);
    endless_close(&watch->endless);
    hub_stream_close(&watch->stream);
    if (!free_watchers(watch, &watching->closing_left)) {
        grpc_call_ref(call_grpc(call));
        queue_push_back(&watching->closing, &watch->link);
    }
    if (watching->closing_left < SLICE_WATCHERS && !env_timer_active(&watching->closing_timer)) {
        env_timer_start(env_of(watch), &watching->closing_timer, 0);
    }
}

static void end_stream(struct call *call, enum err why)
{
    grpc_call_ref(call_grpc(call));
    call_fail(call, why);
    close_stream(call);
    grpc_call_unref(call_grpc(call));
}

static void release(struct call *call)
{
    struct watch_call *watch = CONTAINER_OF(call, struct watch_call, call);
    map_fini(&watch->by_id);
}

/* ---- what the hub tells ---- */

static bool on_ready(struct watch_stream *stream)
{
    return grpc_call_has_room(call_grpc(&watch_of(stream)->call), WATCH_STREAM_BYTES_MAX);
}

static void writable(struct call *call)
{
    hub_stream_ready(&CONTAINER_OF(call, struct watch_call, call)->stream);
}

/* Cut between events, so that no response is larger than a client is ready to take, unless one
 * event is. */
static void send_fragments(struct watch_call *watch, struct watch_response *response,
                           struct blob *blob, const size_t *ends, size_t count, size_t max)
{
    uint8_t head[WATCH_RESPONSE_BYTES_MAX];
    response->fragment = true;
    size_t head_size = watch_response_encode(head, response);
    size_t from = 0;
    for (size_t i = 0; i < count;) {
        do {
            i++;
        } while (i < count && head_size + ends[i] - from < max);
        response->fragment = i < count;
        send_response(watch, response, bytes_of(blob->data + from, ends[i - 1] - from), blob);
        from = ends[i - 1];
    }
}

static void on_events(struct watch_stream *stream, struct watcher *told,
                      const struct watch_events *events)
{
    struct watch_call *watch = watch_of(stream);
    struct rpc_watcher *watcher = rpc_watcher_of(told);
    const size_t *ends;
    struct blob *blob = watch_events_bytes(events, &ends);
    if (blob == NULL) {
        end_stream(&watch->call, ERR_NOMEM);
        return;
    }
    struct watch_response response = {.header = call_header(&watch->call, events->revision),
                                      .watch_id = watcher->id};
    size_t max = watch->call.service->message_bytes_max;
    watcher->told = true;
    if (watcher->fragment && events->count > 1 && blob->len + WATCH_RESPONSE_BYTES_MAX >= max) {
        send_fragments(watch, &response, blob, ends, events->count, max);
    } else if (blob->len > INT32_MAX - WATCH_RESPONSE_BYTES_MAX) { /* what gRPC's clients take */
        end_stream(&watch->call, ERR_TOO_LARGE);
    } else {
        send_response(watch, &response, blob_bytes(blob), blob);
    }
}

static void on_ended(struct watch_stream *stream, struct watcher *ended, enum err why,
                     int64_t compact_revision)
{
    struct watch_call *watch = watch_of(stream);
    struct rpc_watcher *watcher = rpc_watcher_of(ended);
    struct watch_response response = {
        .header = call_header(&watch->call, 0), .watch_id = watcher->id, .canceled = true};
    if (why == ERR_COMPACTED) {
        response.compact_revision = compact_revision;
    } else {
        response.cancel_reason = status_of(why).text;
    }
    send_head(watch, &response);
    free_watcher(watch, watcher);
}

static void on_progress(struct watch_stream *stream, int64_t revision)
{
    struct watch_call *watch = watch_of(stream);
    struct watch_response response = {.header = call_header(&watch->call, revision),
                                      .watch_id = INVALID_ID};
    send_head(watch, &response);
}

static const struct watch_stream_ops stream_ops = {
    .ready = on_ready, .events = on_events, .ended = on_ended, .progress = on_progress};

/* ---- progress now and then ---- */

static void start_progress(struct watch_call *watch)
{
    uint64_t interval_ms = watch->call.service->watching.progress_ms;
    watch->progress_left = 0;
    env_timer_start(env_of(watch), &watch->progress,
                    interval_ms + env_random_u64(env_of(watch)) % (interval_ms / 10 + 1));
}

static void tell_progress(struct watch_call *watch, struct rpc_watcher *watcher)
{
    if (!watcher->progress_notify) {
        return;
    }
    if (!watcher->told && hub_is_in_step(&watcher->watcher) &&
        grpc_call_has_room(call_grpc(&watch->call), WATCH_STREAM_BYTES_MAX)) {
        struct watch_response response = {
            .header = call_header(&watch->call, present_revision(watch)), .watch_id = watcher->id};
        send_head(watch, &response);
    }
    watcher->told = false;
}

/* A slice of the round; those who were looked at go to the end of the list. */
static void on_progress_timer(struct env_timer *timer)
{
    struct watch_call *watch = CONTAINER_OF(timer, struct watch_call, progress);
    if (watch->progress_left == 0) {
        watch->progress_left = watch->by_id.count;
    }
    for (size_t i = 0; i < SLICE_WATCHERS && watch->progress_left > 0; i++) {
        struct queue *link = queue_pop_front(&watch->watchers);
        if (link == NULL) {
            watch->progress_left = 0;
            break;
        }
        queue_push_back(&watch->watchers, link);
        watch->progress_left--;
        tell_progress(watch, QUEUE_ELEM(link, struct rpc_watcher, link));
    }
    if (watch->progress_left > 0) {
        env_timer_start(env_of(watch), timer, 0);
    } else {
        start_progress(watch);
    }
}

/* ---- requests ---- */

static struct rpc_watcher *find(const struct watch_call *watch, int64_t id)
{
    uint64_t hash = map_hash_u64(&watch->by_id, (uint64_t)id);
    struct map_link *link = map_first(&watch->by_id, hash);
    for (; link != NULL; link = map_next(link)) {
        struct rpc_watcher *watcher = CONTAINER_OF(link, struct rpc_watcher, by_id);
        if (watcher->id == id) {
            return watcher;
        }
    }
    return NULL;
}

static struct watch_spec spec_of(const Etcdserverpb__WatchCreateRequest *request)
{
    struct watch_spec spec = {.key = message_view(request->key),
                              .range_end = message_view(request->range_end),
                              .start_revision = request->start_revision,
                              .prev_kv = request->prev_kv};
    if (spec.key.len == 0) {
        spec.key = bytes_of("", 1); /* the least of all keys: one NUL */
    }
    for (size_t i = 0; i < request->n_filters; i++) {
        spec.no_put |=
            request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
        spec.no_delete |=
            request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    }
    return spec;
}

/* Why not; NULL: the watcher is the stream's, and its id is set. */
static const char *add_watcher(struct watch_call *watch,
                               const Etcdserverpb__WatchCreateRequest *request,
                               struct rpc_watcher *watcher)
{
    struct watch_spec spec = spec_of(request);
    if (spec.start_revision < 0) {
        return status_of(ERR_COMPACTED).text;
    }
    if (watch_spec_is_empty(&spec)) {
        return "mvcc: watcher range is empty";
    }
    watcher->id = request->watch_id;
    if (watch->by_id.count >= WATCHERS_PER_STREAM_MAX) {
        return status_of(ERR_TOO_MANY_REQUESTS).text;
    }
    if (watcher->id == 0) {
        while (find(watch, watch->next_id) != NULL) {
            watch->next_id++;
        }
        watcher->id = watch->next_id;
    } else if (find(watch, watcher->id) != NULL) {
        return "mvcc: duplicate watch ID provided on the WatchStream";
    }
    if (map_insert(&watch->by_id, &watcher->by_id,
                   map_hash_u64(&watch->by_id, (uint64_t)watcher->id)) != OK) {
        return status_of(ERR_NOMEM).text;
    }
    enum err err = hub_watch(&watch->stream, &watcher->watcher, &spec);
    if (err != OK) {
        map_remove(&watch->by_id, &watcher->by_id);
        return status_of(err == ERR_LIMIT ? ERR_TOO_MANY_REQUESTS : err).text;
    }
    watch->next_id += request->watch_id == 0;
    queue_push_back(&watch->watchers, &watcher->link);
    return NULL;
}

static void create(struct watch_call *watch, const Etcdserverpb__WatchCreateRequest *request)
{
    struct watch_response response = {.header = call_header(&watch->call, present_revision(watch)),
                                      .created = true};
    struct rpc_watcher *watcher = calloc(1, sizeof *watcher);
    const char *refused =
        watcher == NULL ? status_of(ERR_NOMEM).text : add_watcher(watch, request, watcher);
    if (refused != NULL) {
        free(watcher);
        response.watch_id = INVALID_ID;
        response.canceled = true;
        response.cancel_reason = refused;
        send_head(watch, &response);
        return;
    }
    watcher->fragment = request->fragment;
    watcher->progress_notify = request->progress_notify;
    response.watch_id = watcher->id;
    send_head(watch, &response);
    if (watcher->progress_notify && !watch->wants_progress) {
        watch->wants_progress = true;
        start_progress(watch);
    }
}

static void cancel(struct watch_call *watch, int64_t id)
{
    struct rpc_watcher *watcher = find(watch, id);
    if (watcher == NULL) {
        return;
    }
    free_watcher(watch, watcher);
    struct watch_response response = {.header = call_header(&watch->call, present_revision(watch)),
                                      .watch_id = id,
                                      .canceled = true};
    send_head(watch, &response);
}

static void rpc_watch_watch(struct call *call, const void *message)
{
    struct watch_call *watch = CONTAINER_OF(call, struct watch_call, call);
    const Etcdserverpb__WatchRequest *request = message;
    switch (request->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(watch, request->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(watch, request->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        hub_stream_progress(&watch->stream);
        break;
    default:
        break; /* asks for nothing */
    }
}

/* ---- streams ---- */

static void open_stream(struct call *call)
{
    struct watch_call *watch = CONTAINER_OF(call, struct watch_call, call);
    if (!endless_open(&watch->endless, call, end_stream)) {
        return;
    }
    watch->open = true;
    map_init(&watch->by_id, env_hash_seed(env_of(watch)));
    queue_init(&watch->watchers);
    queue_init(&watch->link);
    env_timer_init(&watch->progress, on_progress_timer);
    hub_stream_open(server_hub(call->server), &watch->stream, &stream_ops);
}

void watching_init(struct service *service, uint64_t progress_ms)
{
    struct watching *watching = &service->watching;
    watching->env = server_env(service->server);
    queue_init(&watching->closing);
    env_timer_init(&watching->closing_timer, on_closing);
    watching->closing_left = SLICE_WATCHERS;
    watching->progress_ms = progress_ms == 0 ? PROGRESS_MS_DEFAULT : progress_ms;
}

void watching_fini(struct service *service)
{
    struct watching *watching = &service->watching;
    env_timer_stop(watching->env, &watching->closing_timer);
    struct queue *link;
    while ((link = queue_pop_front(&watching->closing)) != NULL) {
        struct watch_call *watch = QUEUE_ELEM(link, struct watch_call, link);
        bool all = free_watchers(watch, &(size_t){SIZE_MAX});
        ASSERT(all);
        grpc_call_unref(call_grpc(&watch->call));
    }
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Watch/Watch",
        .request = &etcdserverpb__watch_request__descriptor,
        .state_bytes = sizeof(struct watch_call),
        .client_stream = true,
        .server_stream = true,
        .open = open_stream,
        .writable = writable,
        .handle = rpc_watch_watch,
        .closed = close_stream,
        .release = release,
    },
};

const struct method_table rpc_watch = {.rows = rows, .count = ARRAY_LEN(rows)};
