/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/audience.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "cmd/trivet-bench/tidings.h"
#include "cmd/trivet-bench/wire.h"

#define PATH_WATCH "/etcdserverpb.Watch/Watch"

struct stream_of_watchers {
    struct audience *audience;
    struct grpc_request request;
    uint64_t first; /* number of its watcher 0 */
    uint64_t count; /* of watchers */
    uint64_t created;
};

struct audience {
    struct audience_config config;
    struct stream_of_watchers *streams;
    uint64_t stream_count;
    struct sight *seen; /* by number of the watcher */
    struct tidings tidings;
    uint64_t passed; /* of audience_has_seen: watchers that need not be looked at again */
    uint64_t events;
    uint64_t created;
    bool is_ready;
    bool recording;
    struct latency latency;
    uint64_t wrong;
    char wrong_text[512];
};

static void be_ready(struct audience *audience, const char *why)
{
    if (!audience->is_ready) {
        audience->is_ready = true;
        audience->config.on_ready(audience->config.ctx, why);
    }
}

static void note_wrong(struct audience *audience, const char *what, uint64_t watcher,
                       int64_t revision)
{
    if (audience->wrong++ == 0) {
        snprintf(audience->wrong_text, sizeof audience->wrong_text,
                 "%s: watcher %" PRIu64 ", revision %" PRId64, what, watcher, revision);
    }
}

static void record(struct audience *audience)
{
    uint64_t now = env_now_ns(audience->config.env);
    for (uint64_t i = 0; i < audience->tidings.count; i++) {
        uint64_t due = tidings_due(&audience->tidings, i);
        latency_record(&audience->latency, now > due ? now - due : 0);
    }
}

static void take_events(struct audience *audience, uint64_t watcher, struct bytes events)
{
    const char *wrong = tidings_read(&audience->tidings, events);
    if (wrong == NULL) {
        wrong = sight_take(&audience->seen[watcher], &audience->tidings);
    }
    if (wrong != NULL) {
        note_wrong(audience, wrong, watcher, audience->tidings.first_revision);
    }
    audience->events += audience->tidings.count;
    if (audience->recording) {
        record(audience);
    }
}

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct stream_of_watchers *stream = CONTAINER_OF(request, struct stream_of_watchers, request);
    struct audience *audience = stream->audience;
    struct reader r = reader_of(message);
    struct wire_watch_answer answer;
    if (wire_read_watch_answer(&r, &answer) != OK || answer.canceled ||
        answer.watch_id >= stream->count) {
        note_wrong(audience, "no valid answer", stream->first + answer.watch_id, 0);
        return;
    }
    if (answer.created) {
        stream->created++;
        if (++audience->created == audience->config.watchers) {
            be_ready(audience, "");
        }
        return;
    }
    take_events(audience, stream->first + answer.watch_id, bytes_of(r.at, reader_left(&r)));
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct stream_of_watchers *stream = CONTAINER_OF(request, struct stream_of_watchers, request);
    char why[256];
    snprintf(why, sizeof why, "a watch stream ended: %s: %.*s", grpc_status_name(status),
             (int)text.len, (const char *)text.data);
    note_wrong(stream->audience, why, stream->first, 0);
    be_ready(stream->audience, why);
}

static void start_stream(struct stream_of_watchers *stream, size_t slot)
{
    struct audience *audience = stream->audience;
    struct workload *workload = audience->config.workload;
    struct grpc_request_options options = {.path = PATH_WATCH};
    CLEANUP(buf_fini) struct buf message = {0};
    grpc_request_start(client_connection(audience->config.client, slot), &stream->request,
                       &options);
    for (uint64_t i = 0; i < stream->count; i++) {
        buf_clear(&message);
        wire_watch_create(&message, workload_watched_key(workload, stream->first + i));
        if (!buf_ok(&message)) {
            fatal("out of memory");
        }
        grpc_request_send(&stream->request, buf_bytes(&message));
    }
}

enum err audience_start(const struct audience_config *config, struct audience **ret,
                        struct why *why)
{
    size_t slots = client_slot_count(config->client);
    uint64_t streams = config->streams == 0 ? slots : config->streams;
    if (config->watchers == 0 || config->watchers > WATCHERS_MAX_BENCH ||
        streams > config->watchers) {
        why_set(why, "--watchers is not between 1 and %u, or less than the streams",
                WATCHERS_MAX_BENCH);
        return ERR_INVALID;
    }
    struct audience *audience = calloc(1, sizeof *audience);
    if (audience == NULL) {
        return ERR_NOMEM;
    }
    audience->config = *config;
    audience->streams = calloc(streams, sizeof *audience->streams);
    audience->seen = calloc(config->watchers, sizeof *audience->seen);
    if (audience->streams == NULL || audience->seen == NULL) {
        audience_free(audience);
        return ERR_NOMEM;
    }
    audience->stream_count = streams;
    *ret = audience;
    uint64_t first = 0;
    for (uint64_t i = 0; i < streams; i++) {
        struct stream_of_watchers *stream = &audience->streams[i];
        uint64_t count = config->watchers / streams + (i < config->watchers % streams);
        *stream =
            (struct stream_of_watchers){.audience = audience,
                                        .request = {.on_message = on_message, .on_end = on_end},
                                        .first = first,
                                        .count = count};
        first += count;
        start_stream(stream, i % slots);
    }
    return OK;
}

void audience_begin(struct audience *audience)
{
    audience->recording = true;
}

void audience_end(struct audience *audience, struct latency *ret, uint64_t *wrong, char *wrong_text,
                  size_t wrong_text_size)
{
    audience->recording = false;
    *ret = audience->latency;
    if (audience->wrong > 0) {
        *wrong += audience->wrong;
        snprintf(wrong_text, wrong_text_size, "%s", audience->wrong_text);
    }
}

bool audience_has_seen(struct audience *audience, const int64_t *revisions, uint64_t keys)
{
    while (audience->passed < audience->config.watchers &&
           audience->seen[audience->passed].revision >= revisions[audience->passed % keys]) {
        audience->passed++;
    }
    bool all = audience->passed == audience->config.watchers;
    audience->passed = all ? 0 : audience->passed;
    return all;
}

uint64_t audience_events(const struct audience *audience)
{
    return audience->events;
}

bool audience_is_right(const struct audience *audience)
{
    return audience->wrong == 0;
}

void audience_free(struct audience *audience)
{
    if (audience == NULL) {
        return;
    }
    for (uint64_t i = 0; i < audience->stream_count; i++) {
        if (grpc_request_is_active(&audience->streams[i].request)) {
            grpc_request_cancel(&audience->streams[i].request);
        }
    }
    tidings_fini(&audience->tidings);
    free(audience->streams);
    free(audience->seen);
    free(audience);
}
