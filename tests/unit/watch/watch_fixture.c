/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/watch/watch_fixture.h"

#include <stdio.h>

#include "base/assert.h"

struct hub_fixture hubbed;

static void new_hub(size_t turn_work)
{
    struct hub_config config = {.env = hubbed.env,
                                .metrics = hubbed.metrics,
                                .store = hubbed.store,
                                .turn_work = turn_work};
    ck_assert_int_eq(hub_new(&config, &hubbed.hub), OK);
}

void hubbed_start(void)
{
    hubbed = (struct hub_fixture){.fake = env_fake_new(1)};
    hubbed.env = env_fake_env(hubbed.fake);
    hubbed.store = store_model_new(hubbed.env);
    hubbed.metrics = metrics_new();
    new_hub(0);
}

void hubbed_restart(size_t turn_work)
{
    hub_stop(hubbed.hub);
    hub_free(hubbed.hub);
    metrics_free(hubbed.metrics);
    hubbed.metrics = metrics_new();
    new_hub(turn_work);
}

void hubbed_stop(void)
{
    hub_check(hubbed.hub);
    hub_stop(hubbed.hub);
    store_close(hubbed.store);
    hub_free(hubbed.hub);
    metrics_free(hubbed.metrics);
    env_fake_free(hubbed.fake);
}

/* ---- writing ---- */

static void begin(void)
{
    store_entry_begin(hubbed.store, ++hubbed.index, 1);
    store_txn_begin(hubbed.store);
}

static void end(void)
{
    (void)store_txn_end(hubbed.store);
    store_entry_end(hubbed.store);
    hub_publish(hubbed.hub);
}

void put(const char *key, const char *value)
{
    begin();
    struct store_put args = {.key = bytes_of_str(key), .value = bytes_of_str(value)};
    ck_assert_int_eq(store_put(hubbed.store, &args, NULL), OK);
    end();
}

void put_many(const char *const *keys, size_t count)
{
    begin();
    for (size_t i = 0; i < count; i++) {
        struct store_put args = {.key = bytes_of_str(keys[i]), .value = bytes_of_str("v")};
        ck_assert_int_eq(store_put(hubbed.store, &args, NULL), OK);
    }
    end();
}

void change_key(const char *key, const char *changes)
{
    begin();
    for (const char *change = changes; *change != '\0'; change++) {
        struct store_put args = {.key = bytes_of_str(key), .value = bytes_of_str("v")};
        int64_t deleted;
        enum err err = *change == 'p' ? store_put(hubbed.store, &args, NULL)
                                      : store_delete_range(hubbed.store, bytes_of_str(key),
                                                           bytes_of(NULL, 0), &deleted, NULL);
        ck_assert_int_eq(err, OK);
    }
    end();
}

void delete_key(const char *key)
{
    int64_t deleted;
    begin();
    ck_assert_int_eq(
        store_delete_range(hubbed.store, bytes_of_str(key), bytes_of(NULL, 0), &deleted, NULL), OK);
    ck_assert_int_eq(deleted, 1);
    end();
}

void compact(int64_t revision)
{
    begin();
    ck_assert_int_eq(store_compact(hubbed.store, revision), OK);
    end();
}

void turn(void)
{
    env_fake_run(hubbed.fake);
}

/* ---- being told ---- */

static void add(struct told_stream *stream, const char *text)
{
    size_t len = strlen(stream->text);
    (void)snprintf(stream->text + len, sizeof stream->text - len, "%s%s", len == 0 ? "" : " | ",
                   text);
}

static unsigned number_of(struct watcher *watcher)
{
    return CONTAINER_OF(watcher, struct told_watcher, watcher)->number;
}

static bool on_ready(struct watch_stream *stream)
{
    return CONTAINER_OF(stream, struct told_stream, stream)->room > 0;
}

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    struct told_stream *told = CONTAINER_OF(stream, struct told_stream, stream);
    ASSERT(told->room > 0);
    told->room--;
    told->batches++;
    told->events += events->count;
    char text[1024];
    size_t at = (size_t)snprintf(text, sizeof text, "%u:", number_of(watcher));
    for (size_t i = 0; i < events->count && at < sizeof text; i++) {
        const struct record *record = watch_events_record(events, i);
        at +=
            (size_t)snprintf(text + at, sizeof text - at, "%s%.*s@%lld%s", i == 0 ? "" : " ",
                             (int)record->key_len, (const char *)record->data,
                             (long long)record_mod_revision(record), record->tombstone ? "-" : "");
    }
    add(told, text);
    if (told->on_told != NULL) {
        told->on_told(told, watcher);
    }
}

static void on_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                     int64_t compact_revision)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%u!%s@%lld", number_of(watcher), err_text(why),
                   (long long)compact_revision);
    add(CONTAINER_OF(stream, struct told_stream, stream), text);
}

static void on_progress(struct watch_stream *stream, int64_t revision)
{
    char text[64];
    (void)snprintf(text, sizeof text, "progress@%lld", (long long)revision);
    add(CONTAINER_OF(stream, struct told_stream, stream), text);
}

static const struct watch_stream_ops ops = {
    .ready = on_ready, .events = on_events, .ended = on_ended, .progress = on_progress};

void told_open(struct told_stream *stream)
{
    *stream = (struct told_stream){.room = SIZE_MAX};
    hub_stream_open(hubbed.hub, &stream->stream, &ops);
}

void told_watch(struct told_stream *stream, struct told_watcher *watcher, unsigned number,
                const struct watch_spec *spec)
{
    watcher->number = number;
    ck_assert_int_eq(hub_watch(&stream->stream, &watcher->watcher, spec), OK);
}

void told_watch_key(struct told_stream *stream, struct told_watcher *watcher, unsigned number,
                    const char *key)
{
    told_watch(stream, watcher, number, &(struct watch_spec){.key = bytes_of_str(key)});
}

void ck_told(struct told_stream *stream, const char *want)
{
    ck_assert_str_eq(stream->text, want);
    stream->text[0] = '\0';
}
